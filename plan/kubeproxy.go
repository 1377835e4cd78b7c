package plan

import (
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// kube-proxy's modes that need more than others.
const (
	proxyNone     = "none"
	proxyNFTables = "nftables"
	proxyIPVS     = "ipvs"
)

// kubeProxy adds kube-proxy as a systemd service of a node. It goes through
// the endpoint, never to one master; the API server's own bootstrap lets its
// user do what it must (the ClusterRoleBinding system:node-proxier). It starts
// when its node is known to the API, which it would otherwise wait for in ever
// longer intervals.
func (c *compiler) kubeProxy(h inventory.Host) {
	if !onProxied(c.inventory, h) {
		return
	}
	inv := c.inventory
	const kubeconfig = "/var/lib/kube-proxy/kubeconfig.conf"
	config := c.templates.Render("var/lib/kube-proxy/config.yaml", map[string]any{
		"Kubeconfig": kubeconfig,
		"Mode":       inv.KubeProxy.Mode,
		"Node":       h.Name,
		"PodCIDR":    strings.Join(c.podNetworks(), ","),
	})
	inputs := append([]resource.Input{
		c.artifact(h.Name, releaseKubeProxy),
		c.content(h.Name, "/var/lib/kube-proxy/config.yaml", mergedYAML(config, inv.KubeProxy.Settings)),
		c.kubeconfig(h, kubeconfig, inv.Cluster.Endpoint.String(), userKubeProxy, kubeProxyCert),
		c.unitFile(h.Name, "kube-proxy.service", nil),
	}, c.credentials(h, caFile, kubeProxyCert)...)
	after := [][]StepID{inputSteps(h.Name, inputs), step(h.Name, c.names), step(Cluster, resource.Node{Name: h.Name})}
	for _, name := range c.nodePackages() {
		after = append(after, step(h.Name, resource.Package{Name: name}))
	}
	for _, name := range c.modules(h) {
		after = append(after, step(h.Name, resource.Module{Name: name}))
	}
	c.add(h.Name, resource.Unit{Name: "kube-proxy.service", Inputs: inputs}, after...)
}

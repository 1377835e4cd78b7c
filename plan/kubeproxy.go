package plan

import (
	"net"
	"net/netip"
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

const kubeProxyUnit = "kube-proxy.service"

// proxyHealthz is where a kube-proxy says whether it is well; "" where its
// user has it say so nowhere.
// https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/
func proxyHealthz(inv *inventory.Inventory) string {
	address := "127.0.0.1:10256"
	if own, ok := inv.KubeProxy.Settings["healthzBindAddress"].(string); ok {
		host, port, err := net.SplitHostPort(own)
		switch bound, parseErr := netip.ParseAddr(host); {
		case err != nil:
			return ""
		case parseErr == nil && !bound.IsUnspecified():
			address = own
		default:
			address = net.JoinHostPort("127.0.0.1", port)
		}
	}
	return "http://" + address + "/livez"
}

// kubeProxy adds kube-proxy as a systemd service of a node. The API server's own
// bootstrap lets its user do what it must (the ClusterRoleBinding
// system:node-proxier). It starts
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
		"Node":       nameOfHost,
		"PodCIDR":    strings.Join(c.podNetworks(), ","),
	})
	inputs := append([]resource.Input{
		c.artifact(h.Name, releaseKubeProxy),
		c.content(h.Name, "/var/lib/kube-proxy/config.yaml", withHostName(c.templates.merge("kube-proxy", config, inv.KubeProxy.Settings, c.withFeatureGates), h.Name)),
		c.kubeconfig(h, kubeconfig, c.server(h), userKubeProxy, kubeProxyCert),
		c.unitFile(h.Name, kubeProxyUnit, nil),
	}, c.credentials(h, caFile, kubeProxyCert)...)
	after := [][]StepID{inputSteps(h.Name, inputs), step(h.Name, c.names), step(Cluster, resource.Node{Name: h.Name})}
	for _, name := range c.nodePackages() {
		after = append(after, step(h.Name, resource.Package{Name: name}))
	}
	for _, name := range c.modules(h) {
		after = append(after, step(h.Name, resource.Module{Name: name}))
	}
	c.serving(h.Name, resource.Unit{Name: kubeProxyUnit, Inputs: inputs}, proxyRollout(h.Name, kubeProxyUnit, proxyHealthz(inv)), after...)
}

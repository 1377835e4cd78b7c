package plan

import (
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// cniConfig is what the runtime reads to join a pod to the bridge.
const cniConfig = "/etc/cni/net.d/10-kinstall.conflist"

// network adds a node's part of the pod network: the CNI configuration with
// the node's own subnet, firewall rules, and what carries packets between the
// nodes' bridges. With an external network, kinstall keeps out.
//
// Routes and rules are set at once, each a resource of its own, and again at
// boot by a unit that runs a script of the same; running it anew disturbs
// nothing.
func (c *compiler) network(h inventory.Host) {
	if !onBridged(c.inventory, h) {
		return
	}
	n := c.inventory.Network
	if onCNI(c.inventory, h) {
		config := c.file(h.Name, cniConfig, map[string]any{"MTU": n.MTU, "Subnet": c.subnets[h.Name].String()})
		c.add(h.Name, resource.PodMTU{Bridge: podBridge, MTU: PodMTU(c.inventory)}, step(h.Name, config))
	}

	rules := append(c.firewallRules(h), c.tunnelRules()...)
	var routes []resource.Route
	if n.Kind == inventory.NetworkRoutes {
		routes = c.routes(h)
	}
	script := resource.File{
		Path:      "/usr/local/lib/kinstall/network.sh",
		Content:   c.templates.Render("usr/local/lib/kinstall/network.sh", map[string]any{"Metric": resource.RouteMetric, "Rules": rules, "Routes": routes}),
		Ownership: resource.Ownership{Mode: 0o755},
	}
	c.add(h.Name, script, c.parents(h.Name, script.Path))
	inputs := []resource.Input{script, c.unitFile(h.Name, "kinstall-network.service", nil)}
	tools := append(step(h.Name, resource.Package{Name: "iptables"}), step(h.Name, resource.Package{Name: "iproute2"})...)
	var live []StepID
	for _, r := range rules {
		live = append(live, c.add(h.Name, r, tools))
	}
	for _, r := range routes {
		live = append(live, c.addStep(Step{Host: h.Name, Resource: r, Successor: true}, tools))
	}
	c.add(h.Name, resource.Unit{Name: "kinstall-network.service", Inputs: inputs, Oneshot: true}, inputSteps(h.Name, inputs), live)

	switch n.Kind {
	case inventory.NetworkFlannel:
		c.flannel(h)
	case inventory.NetworkBird:
		c.bird(h)
	case inventory.NetworkOpenVSwitch:
		c.openVSwitch(h)
	}
}

// others are all hosts with containers but one, sorted by name.
func (c *compiler) others(h inventory.Host) []inventory.Host {
	others := slices.DeleteFunc(c.inventory.ContainerHosts(), func(n inventory.Host) bool { return n.Name == h.Name })
	slices.SortFunc(others, func(a, b inventory.Host) int { return strings.Compare(a.Name, b.Name) })
	return others
}

// routes lead to the containers of every other host.
func (c *compiler) routes(h inventory.Host) []resource.Route {
	var routes []resource.Route
	for _, n := range c.others(h) {
		routes = append(routes, resource.Route{Destination: c.subnets[n.Name].String(), Via: n.Address.String()})
	}
	return routes
}

// firewallRules let pods' traffic through a FORWARD chain whose policy is
// DROP, and give what leaves the pod network the host's own address. The
// bridge plugin's ipMasq would do that to traffic between nodes' pods as well,
// and hide who is calling.
//
// Docker puts chains of its own in front of all other rules and keeps
// DOCKER-USER, which it goes through first, for its users
// (https://docs.docker.com/engine/network/packet-filtering-firewalls/). Without
// Kubernetes only containers reach each other: what else dials them goes
// through published ports, as with Docker everywhere.
func (c *compiler) firewallRules(h inventory.Host) []resource.FirewallRule {
	pods := c.inventory.Cluster.PodCIDR.String()
	masquerade := resource.FirewallRule{Table: "nat", Chain: "POSTROUTING", Rule: []string{"-s", pods, "!", "-d", pods, "-j", "MASQUERADE"}}
	chain := "FORWARD"
	if c.inventory.Runtime.Kind == inventory.RuntimeDocker {
		chain = dockerUserChain
		if !h.IsNode() {
			return []resource.FirewallRule{
				{Table: "filter", Chain: chain, Rule: []string{"-s", pods, "-d", pods, "-j", "ACCEPT"}},
				masquerade,
			}
		}
	}
	return []resource.FirewallRule{
		{Table: "filter", Chain: chain, Rule: []string{"-s", pods, "-j", "ACCEPT"}},
		{Table: "filter", Chain: chain, Rule: []string{"-d", pods, "-j", "ACCEPT"}},
		masquerade,
	}
}

// dockerUserChain is the chain Docker leaves to its users.
const dockerUserChain = "DOCKER-USER"

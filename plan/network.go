package plan

import (
	"iter"
	"net/netip"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// cniConfig is what the runtime reads to join a pod to the bridge.
const cniConfig = "/etc/cni/net.d/10-kinstall.conflist"

const (
	// networkScript sets routes and rules at boot, the routes as routesFile has
	// them, which is the same on every host.
	networkScript = "/usr/local/lib/kinstall/network.sh"
	routesFile    = "/etc/kinstall/routes"
)

// onRoutes are hosts with a static route to the pods of each other host.
func onRoutes(inv *inventory.Inventory, h inventory.Host) bool {
	return h.RunsContainers() && inv.Network.Kind == inventory.NetworkRoutes
}

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
		config := c.file(h.Name, cniConfig, map[string]any{"MTU": n.MTU, "Subnet": c.subnets[h.Name].String(), "SubnetV6": c.subnetV6(h)})
		c.add(h.Name, resource.PodMTU{Bridge: podBridge, MTU: n.PodMTU()}, step(h.Name, config))
	}

	rules := append(c.firewallRules(h), c.tunnelRules()...)
	var own []string // addresses
	var live []StepID
	tools := append(step(h.Name, resource.Package{Name: "iptables"}), step(h.Name, resource.Package{Name: "iproute2"})...)
	if onRoutes(c.inventory, h) && len(c.sorted) > 1 {
		routes := resource.StaticRoutes{Table: c.routes, Own: []string{h.Address.String()}}
		if c.inventory.DualStack() {
			routes.Own = append(routes.Own, h.AddressV6.String())
		}
		own = routes.Own
		live = append(live, c.addStep(Step{Host: h.Name, Resource: routes, Successor: true}, tools))
	}
	script := c.templates.file(networkScript, c.templates.Render(networkScript[1:], map[string]any{
		"AddressV6": c.addressV6(h), "Metric": resource.RouteMetric, "Rules": rules, "Routes": routesFile, "Own": own,
	}))
	script.Mode = 0o755
	for _, r := range rules {
		live = append(live, c.add(h.Name, r, tools))
	}
	// What sets them at boot is written when they were seen to cut nobody off.
	c.add(h.Name, script, c.parents(h.Name, script.Path), live)
	inputs := []resource.Input{script, c.unitFile(h.Name, networkUnit, nil)}
	if len(own) > 0 {
		inputs = append(inputs, c.content(h.Name, routesFile, c.routesText, live))
	}
	unit := c.serving(h.Name, resource.Unit{Name: networkUnit, Inputs: inputs, Oneshot: true}, *networkRollout(h.Name, networkUnit), inputSteps(h.Name, inputs), live)
	if _, theirs := c.inventory.Preparation.Sysctls[forwardingV6]; c.inventory.DualStack() && !theirs {
		c.add(h.Name, resource.Sysctl{Key: forwardingV6, Value: "1"}, []StepID{unit}, step(h.Name, resource.Package{Name: "procps"}))
	}

	if add := networkOf(c.inventory).add; add != nil {
		add(c, h)
	}
}

const networkUnit = "kinstall-network.service"

// forwardingV6 makes a router of IPv6 out of a host. It stands not among the
// settings of /etc/sysctl.d: the kernel forgets the default routes that it was
// told by advertisements as soon as it is set, unless the interface was told to
// take them nevertheless. The script of the boot does both, in that order, when
// the network is up.
const forwardingV6 = "net.ipv6.conf.all.forwarding"

// subnetV6 is the host's part of the second pod network, addressV6 its address
// there; "" without dual-stack.
func (c *compiler) subnetV6(h inventory.Host) string {
	if subnet, ok := c.subnetsV6[h.Name]; ok {
		return subnet.String()
	}
	return ""
}

func (c *compiler) addressV6(h inventory.Host) string {
	if c.inventory.DualStack() {
		return h.AddressV6.String()
	}
	return ""
}

// podNetworks are the pod networks of all families, IPv4 first.
func (c *compiler) podNetworks() []string {
	networks := []string{c.inventory.Cluster.PodCIDR.String()}
	if c.inventory.DualStack() {
		networks = append(networks, c.inventory.Cluster.PodCIDRv6.String())
	}
	return networks
}

// bridgeAddress is that of the bridge on which a subnet's pods are, with the
// subnet's length: the first there is.
func bridgeAddress(subnet netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
}

// others are all hosts with containers but one, sorted by name.
func (c *compiler) others(h inventory.Host) iter.Seq[*inventory.Host] {
	return func(yield func(*inventory.Host) bool) {
		for i := range c.sorted {
			if n := &c.sorted[i]; n.Name != h.Name && !yield(n) {
				return
			}
		}
	}
}

// routeTable leads to the containers of every host.
func (c *compiler) routeTable() *resource.RouteTable {
	var routes []resource.Route
	for _, n := range c.sorted {
		routes = append(routes, resource.Route{Destination: c.subnets[n.Name].String(), Via: n.Address.String()})
		if subnet, ok := c.subnetsV6[n.Name]; ok {
			routes = append(routes, resource.Route{Destination: subnet.String(), Via: n.AddressV6.String()})
		}
	}
	return resource.NewRouteTable(routes)
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
	chain := runtimeOf(c.inventory).forward
	var rules []resource.FirewallRule
	for _, pods := range c.podNetworks() {
		if chain == dockerUserChain && !h.IsNode() {
			rules = append(rules, resource.FirewallRule{Table: "filter", Chain: chain, Rule: []string{"-s", pods, "-d", pods, "-j", "ACCEPT"}})
		} else {
			rules = append(rules,
				resource.FirewallRule{Table: "filter", Chain: chain, Rule: []string{"-s", pods, "-j", "ACCEPT"}},
				resource.FirewallRule{Table: "filter", Chain: chain, Rule: []string{"-d", pods, "-j", "ACCEPT"}})
		}
		rules = append(rules, resource.FirewallRule{Table: "nat", Chain: "POSTROUTING", Rule: []string{"-s", pods, "!", "-d", pods, "-j", "MASQUERADE"}})
	}
	return rules
}

// dockerUserChain is the chain Docker leaves to its users.
const dockerUserChain = "DOCKER-USER"

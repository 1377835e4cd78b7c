package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	switchUnit    = "kinstall-openvswitch.service"
	switchScript  = "/usr/local/lib/kinstall/openvswitch.sh"
	switchFlows   = "/etc/kinstall/openvswitch.flows"
	switchNoKmod  = "/etc/modprobe.d/kinstall-openvswitch.conf"
	switchPackage = "openvswitch-switch"

	// podSwitch is where pods' packets go into tunnels and come out of them. A
	// cable joins it to the pods' Linux bridge: podPort is the end in the switch,
	// podCable the other one.
	podSwitch  = "br0"
	tunnelPort = "tunnel0"
	podPort    = "pods0"
	podCable   = "ovs0"
	// underlaySwitch has the interface and the address that tunnels of a userspace
	// datapath go through.
	underlaySwitch = "br-underlay"

	// podBridge is the Linux bridge that the CNI plugin joins pods to.
	podBridge = "cni0"

	tunDevice = "/dev/net/tun"
)

func onOpenVSwitch(inv *inventory.Inventory, h inventory.Host) bool {
	return h.RunsContainers() && inv.Network.Kind == inventory.NetworkOpenVSwitch
}

func inUserspace(inv *inventory.Inventory) bool {
	return inv.Network.Kind == inventory.NetworkOpenVSwitch && inv.Network.Datapath == inventory.DatapathUserspace
}

// openVSwitchModules are what the kernel must have for a datapath and a tunnel.
func openVSwitchModules(n inventory.Network) []string {
	switch {
	case n.Kind != inventory.NetworkOpenVSwitch:
		return nil
	case n.Datapath == inventory.DatapathUserspace:
		return []string{"tun"}
	case n.Tunnel == inventory.TunnelGRE:
		return []string{"ip_gre", "openvswitch"}
	default:
		return []string{"openvswitch", "vxlan"}
	}
}

// openVSwitch adds the switch with one tunnel port, whatever the number of
// hosts: flows say to which host a packet goes. What comes out of the tunnel
// goes to the pods and nowhere else, so that there is no loop.
//
// The pod network as a whole leads to the pods' bridge: hosts and pods ask for
// the MAC address of a pod elsewhere by ARP, and those packets travel like all
// others.
func (c *compiler) openVSwitch(h inventory.Host) {
	inv := c.inventory
	n := inv.Network
	subnet := c.subnets[h.Name]
	userspace := inUserspace(inv)
	pods, ready, gateway := podBridge, []StepID(nil), bridgeAddress(subnet).String()
	after := [][]StepID{step(h.Name, resource.Package{Name: "iproute2"})}
	if !onCNI(inv, h) { // docker0 is Docker's to make
		pods, gateway = resource.DockerBridge, ""
		ready = step(h.Name, resource.Unit{Name: DockerUnit})
	}

	software := resource.Package{Name: switchPackage}
	if userspace {
		// The service would not start where the module is not to be had.
		after = append(after, step(h.Name, c.file(h.Name, switchNoKmod, nil)), c.packages(h.Name, "ethtool"))
	}
	for _, m := range openVSwitchModules(n) {
		after = append(after, step(h.Name, resource.Module{Name: m}))
	}
	after = append(after, c.sysctlSteps(h))
	c.add(h.Name, software, after...)

	type remote struct{ Name, Subnet, Address string }
	var remotes []remote
	for other := range c.others(h) {
		remotes = append(remotes, remote{other.Name, c.subnets[other.Name].String(), other.TunnelEnd().String()})
	}
	flows := c.file(h.Name, switchFlows, map[string]any{
		"Pods": podPort, "Remotes": remotes, "Subnet": subnet.String(), "Tunnel": tunnelPort,
	})
	address := ""
	if userspace {
		address = h.TunnelAddress.String()
	}
	script := c.templates.file(switchScript, c.templates.Render(switchScript[1:], map[string]any{
		"Address": address, "Bridge": pods, "Cable": podCable, "Flows": switchFlows, "Gateway": gateway, "Interface": n.Interface,
		"MAC": bridgeMAC(subnet), "Metric": resource.RouteMetric, "MTU": n.MTU, "Network": inv.Cluster.PodCIDR.String(), "Port": podPort, "Switch": podSwitch,
		"Tunnel": tunnelPort, "Type": n.Tunnel, "Underlay": underlaySwitch, "Userspace": userspace,
	}))
	script.Mode = 0o755
	c.add(h.Name, script, c.parents(h.Name, script.Path))
	inputs := []resource.Input{software, script, flows, c.unitFile(h.Name, switchUnit, map[string]any{
		"Docker": pods == resource.DockerBridge, "Flows": switchFlows, "Switch": podSwitch,
	})}
	successor := func(r resource.Resource, after ...[]StepID) StepID {
		return c.addStep(Step{Host: h.Name, Resource: r, Successor: true}, after...)
	}
	unit := c.addStep(Step{
		Host:      h.Name,
		Resource:  resource.Unit{Name: switchUnit, Inputs: inputs, Oneshot: true, ReloadOn: []resource.ID{flows.ID()}},
		Successor: true,
		Rollout:   networkRollout(h.Name, switchUnit),
	}, inputSteps(h.Name, inputs), ready)

	if userspace {
		successor(resource.Switch{
			Name: underlaySwitch, Datapath: switchDatapath(n), Script: switchScript,
			Ports: []resource.SwitchPort{{Name: n.Interface}}, Address: address, Device: tunDevice,
		}, []StepID{unit})
	}
	inForce := successor(resource.Switch{
		Name: podSwitch, Datapath: switchDatapath(n), FailMode: "secure", Script: switchScript,
		Ports: []resource.SwitchPort{
			{Name: podPort},
			{Name: tunnelPort, Type: n.Tunnel, Options: map[string]string{"remote_ip": "flow"}},
		},
		Flows: switchFlows,
		Cable: &resource.Cable{Name: podCable, Bridge: pods, MTU: n.MTU},
	}, []StepID{unit})
	c.add(h.Name, resource.Link{Name: podPort})
	successor(resource.Route{Destination: inv.Cluster.PodCIDR.String(), Device: pods}, []StepID{inForce})
}

// tunnelRules keep the host's own kernel from answering what arrives for a
// switch: it sees the packets of an interface that a userspace datapath has as a
// port, too
// (https://docs.openvswitch.org/en/latest/intro/install/userspace/#firewall-rules).
func (c *compiler) tunnelRules() []resource.FirewallRule {
	if !inUserspace(c.inventory) {
		return nil
	}
	return []resource.FirewallRule{{Table: "raw", Chain: "PREROUTING", Rule: []string{"-i", c.inventory.Network.Interface, "-j", "DROP"}}}
}

// switchDatapath is Open vSwitch's word.
func switchDatapath(n inventory.Network) string {
	if n.Datapath == inventory.DatapathUserspace {
		return "netdev"
	}
	return "system"
}

// bridgeMAC is the hardware address of a host's bridge, made from its IP address
// as CNI plugins make theirs, so that neighbours find it where it was before a
// reboot.
func bridgeMAC(subnet netip.Prefix) string {
	ip := bridgeAddress(subnet).Addr().As4()
	return fmt.Sprintf("0a:58:%02x:%02x:%02x:%02x", ip[0], ip[1], ip[2], ip[3])
}

// checkOpenVSwitch wants the kernel to have what the chosen datapath is made
// of, and a userspace datapath to have an interface of its own.
func checkOpenVSwitch(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	n := inv.Network
	if !onOpenVSwitch(inv, host) {
		return nil
	}
	var problems []Problem
	for _, name := range openVSwitchModules(n) {
		found, err := o.Facts.Module(name)
		if err != nil || found.Exists || found.Value != "" {
			continue // what was not observed is reported with the module's own step
		}
		hint := fmt.Sprintf("set `datapath = %q` in the network block and give each host a tunnel_address, or boot a kernel that has the module", inventory.DatapathUserspace)
		if inUserspace(inv) {
			hint = "boot a kernel that has the module"
		}
		problems = append(problems, Problem{host.Name, fmt.Sprintf("the kernel %s has no module %s, which network %q with datapath = %q and tunnel = %q needs",
			o.Facts.Host.Kernel, name, n.Kind, n.Datapath, n.Tunnel), hint})
	}
	if len(problems) > 0 {
		return problems
	}
	links := o.Facts.Host.Links
	if _, ours := o.Facts.Host.State.Resources[string(resource.NewID(resource.KindFile, switchScript))]; !ours {
		for _, name := range []string{podSwitch, underlaySwitch} {
			if _, there := links[name]; there {
				problems = append(problems, Problem{host.Name, fmt.Sprintf("has a bridge %s already, which network %q makes for itself", name, n.Kind), "rename it; kinstall takes over nobody else's"})
			}
		}
	}
	if !inUserspace(inv) {
		if end := host.TunnelEnd().String(); host.TunnelAddress.IsValid() && !slices.Contains(o.Facts.Host.Addresses, end) {
			problems = append(problems, Problem{host.Name, fmt.Sprintf("does not have the tunnel_address %s", end), "set it on the host, or correct the inventory"})
		}
		return problems
	}
	tun, err := o.Facts.File(tunDevice)
	if module, noModule := o.Facts.Module("tun"); err == nil && !tun.Exists && noModule == nil && module.Exists { // else it comes with the module
		problems = append(problems, Problem{host.Name, fmt.Sprintf("has no %s, which datapath = %q needs", tunDevice, n.Datapath), "load the module tun; in a container, bind the device"})
	}
	if _, there := links[n.Interface]; len(links) > 0 && !there {
		problems = append(problems, Problem{host.Name, fmt.Sprintf("has no interface %s, which datapath = %q needs for its tunnels", n.Interface, n.Datapath),
			"set `interface` in the network block to one that carries nothing else"})
	}
	if addresses := o.Facts.Host.Interfaces[n.Interface]; len(addresses) > 0 {
		problems = append(problems, Problem{host.Name, fmt.Sprintf("%s has the address %s and would be taken into a switch", n.Interface, addresses[0]),
			"choose an interface without an address, or take the address out of the host's own configuration; kinstall gives tunnel_address to the switch"})
	}
	return problems
}

// tunnelLink is the interface that tunnelled packets go through and its MTU, as
// far as they were learnt.
func tunnelLink(inv *inventory.Inventory, host inventory.Host, facts fact.Host) (name string, mtu int) {
	if inUserspace(inv) {
		return inv.Network.Interface, facts.Links[inv.Network.Interface].MTU
	}
	if onOpenVSwitch(inv, host) && host.TunnelAddress.IsValid() {
		for name, addresses := range facts.Interfaces {
			for _, text := range addresses {
				if p, err := netip.ParsePrefix(text); err == nil && p.Addr() == host.TunnelEnd() {
					return name, facts.Links[name].MTU
				}
			}
		}
	}
	return facts.Interface, facts.MTU
}

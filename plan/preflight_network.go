package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// networkQueries ask what only the preflight of networks wants to know.
func networkQueries(p *Plan, host inventory.Host) []fact.Query {
	inv := p.Inventory
	var queries []fact.Query
	for _, need := range kernelNeeds() {
		if need.on(inv, host) {
			queries = append(queries, fact.Query{Kind: fact.KindModule, Name: need.module})
		}
	}
	if onVirtualAddress(inv, host) {
		queries = append(queries, fact.Query{Kind: fact.KindNeighbor, Name: inv.VirtualAddress().String()})
	}
	for _, peer := range pathPeers(p, host) {
		queries = append(queries, fact.Query{Kind: fact.KindPath, Name: peer.Address.String(), Size: packetSize(inv)})
	}
	return queries
}

// kernelNeed is a module that must be there, or be built in, for something in
// the inventory.
type kernelNeed struct {
	module string
	on     condition
	what   string // needs it
	hint   string
}

func kernelNeeds() []kernelNeed {
	const boot = "boot the distribution's own kernel; cloud and container images may have a smaller one"
	mode := func(mode string) condition {
		return func(inv *inventory.Inventory, h inventory.Host) bool { return h.IsNode() && inv.KubeProxy.Mode == mode }
	}
	return []kernelNeed{
		{"overlay", func(_ *inventory.Inventory, h inventory.Host) bool { return h.RunsContainers() }, "the container runtime", boot},
		{"bridge", onBridged, "the pods' bridge", boot},
		{"veth", onBridged, "the pods' bridge", boot},
		{"br_netfilter", onBridged, "the pods' bridge", boot},
		{"vxlan", onVXLAN, `network "flannel" with backend = "vxlan"`, "set backend = \"host-gw\" if all nodes are on one link, or " + boot},
		{"nf_tables", mode(proxyNFTables), fmt.Sprintf("kube_proxy.mode = %q", proxyNFTables), "set kube_proxy.mode = \"iptables\", or " + boot},
		{"ip_vs", mode(proxyIPVS), fmt.Sprintf("kube_proxy.mode = %q", proxyIPVS), fmt.Sprintf("set kube_proxy.mode = %q, or boot a kernel with IPVS", proxyNFTables)},
	}
}

// onVXLAN are hosts whose containers' packets travel in UDP.
func onVXLAN(inv *inventory.Inventory, h inventory.Host) bool {
	return h.RunsContainers() && inv.Network.Kind == inventory.NetworkFlannel && inv.Network.Backend == inventory.FlannelVXLAN
}

// checkKernel finds what the kernel lacks. Where it can't be told (a host that
// keeps no list of its kernel's parts) the host has the benefit of the doubt.
func checkKernel(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	var problems []Problem
	for _, need := range kernelNeeds() {
		if !need.on(inv, host) {
			continue
		}
		found, err := o.Facts.Module(need.module)
		if err != nil || found.Exists || found.Value != "" {
			continue
		}
		problems = append(problems, Problem{host.Name, fmt.Sprintf("the kernel %s has no module %s, which %s needs", o.Facts.Host.Kernel, need.module, need.what), need.hint})
	}
	return problems
}

// vxlanPort is where flannel's VXLAN listens, Linux' own default.
const vxlanPort = 8472

// checkUDPPorts finds ports that something else took, before the network that
// wants them is there.
func checkUDPPorts(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	if !onVXLAN(inv, host) {
		return nil
	}
	if _, ours := o.Facts.Host.State.Resources[string(resource.Link{Name: flannelLink}.ID())]; ours {
		return nil
	}
	process, taken := o.Facts.Host.ListeningUDP[vxlanPort]
	if !taken {
		return nil
	}
	hint := "stop that program, or set backend = \"host-gw\""
	if process == "" {
		process = "the kernel, for a tunnel of somebody else's"
		hint = "`ip -d link show type vxlan` shows it: remove that interface with the network it belongs to, or set backend = \"host-gw\""
	}
	return []Problem{{host.Name, fmt.Sprintf("UDP port %d, which flannel needs, is taken by %s", vxlanPort, process), hint}}
}

// checkLink finds nodes that a router stands before, where the network hands
// packets of pods to the nodes themselves: no router knows the way to a pod.
func checkLink(p *Plan, host inventory.Host, o Observation) []Problem {
	inv := p.Inventory
	if !host.RunsContainers() || !inv.Network.Direct() {
		return nil
	}
	var networks []netip.Prefix
	for _, text := range o.Facts.Host.Networks {
		if network, err := netip.ParsePrefix(text); err == nil {
			networks = append(networks, network)
		}
	}
	var beyond []string
	for _, own := range []netip.Addr{host.Address, host.AddressV6} {
		var link netip.Prefix // what most nodes are on, if any network of the host's is
		for _, n := range networks {
			if own.IsValid() && n.Addr().Is4() == own.Is4() && (!link.IsValid() || n.Contains(own)) {
				link = n
			}
		}
		if !link.IsValid() {
			continue // not learnt, or not there
		}
		for _, i := range p.outsideOf(link) {
			node := &inv.Hosts[i]
			address := addressLike(node, own)
			if !slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address) }) {
				beyond = append(beyond, fmt.Sprintf("%s (%s)", node.Name, address))
			}
		}
	}
	if len(beyond) == 0 {
		return nil
	}
	more := ""
	if rest := len(beyond) - 3; rest > 0 {
		beyond, more = beyond[:3], fmt.Sprintf(" and %d more", rest)
	}
	return []Problem{{host.Name, fmt.Sprintf("reaches %s%s through a router only; its own networks are %s", strings.Join(beyond, ", "), more, strings.Join(o.Facts.Host.Networks, ", ")),
		fmt.Sprintf("routers don't know the pods' addresses, so that network %q can't work here; use network \"flannel\" with backend = \"vxlan\"", inv.Network.Kind)}}
}

// packetSize is the largest packet of pods that travels between hosts, with
// what the network adds to it. No IPv4 packet is larger than 65,535 bytes.
func packetSize(inv *inventory.Inventory) int { return min(inv.Network.PodMTU()+inv.Overhead(), 65535) }

// checkMTU finds interfaces that packets of pods would not fit through.
func checkMTU(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	n := inv.Network
	link, found := tunnelLink(inv, host, o.Facts.Host)
	if !host.RunsContainers() || !n.Bridged() || found == 0 || packetSize(inv) <= found {
		return nil
	}
	text := fmt.Sprintf("%s has an MTU of %d, pods have %d", link, found, inv.Network.PodMTU())
	if inv.Overhead() > 0 {
		text += fmt.Sprintf(" and the network adds %d bytes", inv.Overhead())
	}
	return []Problem{{host.Name, text, fmt.Sprintf("set `mtu = %d` in the network block", found-inv.Overhead())}}
}

// pathPeers are the hosts that a host sends large packets to: the next one by
// name, so that all of them are a ring, and the first other master. All pairs would
// be too many, and hosts behind one router fail together. Tunnels that leave by
// an address of their own go another way, which is not looked at.
func pathPeers(p *Plan, host inventory.Host) []inventory.Host {
	if !onBridged(p.Inventory, host) || onOpenVSwitch(p.Inventory, host) && host.TunnelAddress.IsValid() {
		return nil
	}
	return p.look().ring.peers(host)
}

// checkPath finds ways between hosts that large packets don't pass. Hosts that
// answer no ping at all say nothing about them.
func checkPath(p *Plan, host inventory.Host, o Observation) []Problem {
	inv := p.Inventory
	size := packetSize(inv)
	if mtu := o.Facts.Host.MTU; mtu != 0 && mtu < size {
		return nil // for checkMTU
	}
	var problems []Problem
	for _, peer := range pathPeers(p, host) {
		found, err := o.Facts.Path(peer.Address.String())
		if err != nil || !found.Answers || found.Fits {
			continue
		}
		text := fmt.Sprintf("packets of %d bytes to %s (%s) are lost on the way", size, peer.Name, peer.Address)
		hint := "find out what on the way has a smaller MTU (tracepath), and set `mtu` in the network block to what passes"
		if overhead := inv.Overhead(); overhead > 0 {
			hint += fmt.Sprintf(" less the network's %d", overhead)
		}
		if found.Largest > 0 {
			text += fmt.Sprintf("; %d pass", found.Largest)
			hint = fmt.Sprintf("set `mtu = %d` in the network block, or mend the way", found.Largest-inv.Overhead())
		}
		problems = append(problems, Problem{host.Name, text, hint})
	}
	return problems
}

// checkAddresses finds addresses of pods and services that are in use already,
// before the first apply: by an interface of something else (a VPN, libvirt,
// an older cluster), or by a route to somewhere else. A larger network that
// holds them is no obstacle: the more exact route wins.
func checkAddresses(p *Plan, host inventory.Host, o Observation) []Problem {
	if len(o.Facts.Host.State.Resources) > 0 || !host.RunsContainers() {
		return nil
	}
	type network struct {
		what, attribute string
		prefix          netip.Prefix
	}
	networks := []network{{"the pod network", "cluster.pod_cidr", p.Inventory.Cluster.PodCIDR}}
	if p.Inventory.Kubernetes() {
		networks = append(networks, network{"the service network", "cluster.service_cidr", p.Inventory.Cluster.ServiceCIDR})
	}
	// What is found to be as planned is no obstacle.
	bridge := ""
	if row, ok := p.addressRow(host.Name); ok {
		bridge = row.Bridge
	}
	var problems []Problem
	devices := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(o.Facts.Host.Interfaces)) {
		if name == resource.DockerBridge && onDocker(p.Inventory, host) {
			devices[name] = true // Docker was here before; docker0 is made anew
			continue
		}
		for _, text := range o.Facts.Host.Interfaces[name] {
			address, _, _ := strings.Cut(text, "/")
			parsed, err := netip.ParseAddr(address)
			if err != nil {
				continue
			}
			for _, n := range networks {
				if n.prefix.Contains(parsed) && bridge != address {
					devices[name] = true
					problems = append(problems, Problem{host.Name, fmt.Sprintf("%s has the address %s, which is of %s %s", name, text, n.what, n.prefix),
						fmt.Sprintf("if an older cluster left it behind, `ip link delete %s`; else choose another %s", name, n.attribute)})
				}
			}
		}
	}
	for _, route := range o.Facts.Host.Routes {
		destination, err := netip.ParsePrefix(route.Destination)
		if err != nil || devices[route.Device] {
			continue
		}
		for _, n := range networks {
			if n.prefix.Bits() <= destination.Bits() && n.prefix.Contains(destination.Addr()) && !slices.ContainsFunc(p.look().rows[route.Destination], func(i int) bool {
				return p.Addresses[i].Host == host.Name || p.Addresses[i].Address == route.Via
			}) {
				way := "dev " + route.Device
				if route.Via != "" {
					way = "via " + route.Via + " " + way
				}
				problems = append(problems, Problem{host.Name, fmt.Sprintf("has a route to %s (%s), which is of %s %s", route.Destination, way, n.what, n.prefix),
					fmt.Sprintf("if nothing needs it, `ip route delete %s`; else choose another %s", route.Destination, n.attribute)})
			}
		}
	}
	return problems
}

// checkDuplicate tells of another machine that has the host's address.
func checkDuplicate(_ *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	if o.Facts.Host.Duplicate == "" {
		return nil
	}
	return []Problem{{host.Name, fmt.Sprintf("another machine, with the MAC address %s, answers for %s", o.Facts.Host.Duplicate, host.Address),
		"give one of the two another address; `ip neigh` on a third one, and the switches, say where it is"}}
}

// checkOverrides finds files that undo kinstall's kernel parameters, forwarding
// among them, at the next boot: systemd reads them later than kinstall's own.
func checkOverrides(p *Plan, host inventory.Host, o Observation) []Problem {
	later := map[string]map[string]fact.SysctlLine{sysctlFile: {}, sysctlMinimumFile: {}}
	for _, line := range o.Facts.Host.Sysctls {
		for ours, lines := range later {
			if path.Base(line.File) > path.Base(ours) {
				lines[line.Key] = line
			}
		}
	}
	if len(later[sysctlMinimumFile]) == 0 { // the one read first
		return nil
	}
	var problems []Problem
	for _, i := range p.look().steps[host.Name] {
		wanted, ok := p.Steps[i].Resource.(resource.Sysctl)
		if !ok {
			continue
		}
		file, value := sysctlFile, strings.Join(strings.Fields(wanted.Value), " ")
		if wanted.AtLeast {
			file, value = sysctlMinimumFile, "at least "+value
		}
		if line, ok := later[file][dotted(wanted.Key)]; ok && !wanted.Allows(line.Value) {
			problems = append(problems, Problem{host.Name, fmt.Sprintf("at boot, %s sets %s = %s, later than kinstall's own %s sets %s", line.File, line.Key, line.Value, file, value),
				"remove that line; what is to be otherwise belongs into `sysctls` of the preparation block"})
		}
	}
	return problems
}

// dotted is a kernel parameter's name as sysctl(8) prints it.
func dotted(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' {
		return strings.NewReplacer("/", ".", ".", "/").Replace(key)
	}
	return key
}

package plan

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
)

// check is one condition a host must meet before anything is changed on it.
type check func(p *Plan, host inventory.Host, o Observation) []Problem

// checks is the table of preflight conditions.
var checks = []check{
	byInventory(checkSystem), byInventory(checkHostname), byInventory(checkClock), byInventory(checkAddress), byInventory(checkInterface),
	byInventory(checkDisk), byInventory(checkPorts), byInventory(checkOwner), byInventory(checkRuntime), byInventory(checkKernel),
	byInventory(checkOpenVSwitch), byInventory(checkUDPPorts), checkLink, byInventory(checkMTU), checkPath, byInventory(checkDuplicate),
	checkAddresses, checkOverrides,
}

// byInventory is a check that needs no more of the plan than its inventory.
func byInventory(check func(*inventory.Inventory, inventory.Host, Observation) []Problem) check {
	return func(p *Plan, host inventory.Host, o Observation) []Problem { return check(p.Inventory, host, o) }
}

// preflight returns what must be mended on reachable hosts, in inventory order.
func preflight(p *Plan, observed Observed, unreachable map[string]error) []Problem {
	var problems []Problem
	for _, name := range p.Hosts() {
		host, ok := p.host(name)
		if !ok || unreachable[name] != nil {
			continue
		}
		for _, check := range checks {
			problems = append(problems, check(p, host, observed.Hosts[name])...)
		}
		problems = append(problems, checkVirtualAddress(p.Inventory, host, observed, unreachable)...)
	}
	return problems
}

func checkSystem(_ *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	var problems []Problem
	facts := o.Facts.Host
	if facts.OS != "debian" && facts.OS != "ubuntu" {
		problems = append(problems, Problem{host.Name, fmt.Sprintf("runs %q, which kinstall does not know", facts.OSName), "use Debian 12 or newer, or Ubuntu 22.04 or newer"})
	}
	if facts.Architecture != "amd64" {
		problems = append(problems, Problem{host.Name, fmt.Sprintf("has the architecture %q", facts.Architecture), "only amd64 hosts can be installed"})
	}
	return problems
}

func checkHostname(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	if found := o.Facts.Host.Hostname; found != host.Name && !inv.Preparation.SetHostname {
		return []Problem{{host.Name, fmt.Sprintf("the machine at %s calls itself %q", host.Address, found),
			"check the address; if it is right, rename the host block or set `set_hostname = true` in the `preparation` block"}}
	}
	return nil
}

func checkClock(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	skew := o.Skew
	if skew < 0 {
		skew = -skew
	}
	if limit := inv.Preparation.MaxClockSkew; limit > 0 && skew > limit {
		return []Problem{{host.Name, fmt.Sprintf("its clock is off by %s (allowed: %s)", skew.Round(10*time.Millisecond), limit),
			"synchronise it (timedatectl set-ntp true); certificates and etcd leases depend on it"}}
	}
	return nil
}

func checkAddress(_ *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	addresses := o.Facts.Host.Addresses
	if !slices.Contains(addresses, host.Address.String()) {
		return []Problem{{host.Name, fmt.Sprintf("does not have the address %s (it has %s)", host.Address, strings.Join(addresses, ", ")),
			"`address` must be the host's own; to reach it by way of another machine use `bastion`"}}
	}
	if host.AddressV6.IsValid() && !slices.Contains(addresses, host.AddressV6.String()) {
		return []Problem{{host.Name, fmt.Sprintf("does not have the address %s (it has %s)", host.AddressV6, strings.Join(addresses, ", ")),
			"`address_v6` must be the host's own, set before kinstall comes; look whether IPv6 is turned off (net.ipv6.conf.all.disable_ipv6)"}}
	}
	return nil
}

// checkInterface finds hosts whose two addresses are on two interfaces, where
// flannel wants them on one.
func checkInterface(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	if !inv.DualStack() || !host.RunsContainers() || inv.Network.Kind != inventory.NetworkFlannel {
		return nil
	}
	holders := o.Facts.Host.Holders
	first, second := holders[host.Address.String()], holders[host.AddressV6.String()]
	if first == second || first == "" || second == "" {
		return nil
	}
	return []Problem{{host.Name, fmt.Sprintf("has %s on %s and %s on %s", host.Address, first, host.AddressV6, second),
		"flannel wants both addresses on one interface; name another `address_v6`, or use network \"routes\""}}
}

// diskNeeded is what binaries and images take, with room to breathe.
const diskNeeded = 2 << 30

// uploadPath holds what is on its way to its place. How much that is, apply
// knows when it has fetched it.
const uploadPath = "/var/tmp"

func checkDisk(_ *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	if len(o.Facts.Host.State.Resources) > 0 {
		return nil // installed already; what is there is not fetched again
	}
	paths := make([]string, 0, len(o.Facts.Host.DiskFree))
	for path := range o.Facts.Host.DiskFree {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	for _, path := range paths {
		if free := o.Facts.Host.DiskFree[path]; path != uploadPath && free < diskNeeded {
			return []Problem{{host.Name, fmt.Sprintf("%s has %d MiB free, %d MiB are needed", path, free>>20, int64(diskNeeded)>>20), "free some space, or grow the disk"}}
		}
	}
	return nil
}

// checkPorts finds ports that something else took before the first apply.
func checkPorts(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	if len(o.Facts.Host.State.Resources) > 0 {
		return nil
	}
	need := map[int]string{}
	if host.Has(inventory.RoleEtcd) {
		need[2379], need[2380] = "etcd", "etcd"
	}
	if host.Has(inventory.RoleMaster) {
		need[6443], need[10257], need[10259] = "the API server", "the controller manager", "the scheduler"
	}
	if host.IsNode() {
		need[10250] = "the kubelet"
	}
	if onBird(inv, host) && inv.Network.Mode == inventory.BirdBGP {
		need[179] = "bird"
	}
	if b, ok := balancerOf(inv); ok && b.on(inv, host) {
		need[inv.LoadBalancer.Port] = "the load balancer"
		for _, l := range inv.LoadBalancer.Listeners {
			need[l.Port] = fmt.Sprintf("the load balancer's listener %q", l.Name)
		}
	}
	ports := make([]int, 0, len(need))
	for port := range need {
		ports = append(ports, port)
	}
	sort.Ints(ports)
	var problems []Problem
	for _, port := range ports {
		if process, taken := o.Facts.Host.Listening[port]; taken {
			by := "another program"
			if process != "" {
				by = process
			}
			problems = append(problems, Problem{host.Name, fmt.Sprintf("port %d, which %s needs, is taken by %s", port, need[port], by), "stop that program, or choose another host"})
		}
	}
	return problems
}

// checkOwner refuses a host that another cluster's inventory manages.
func checkOwner(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	if owner := o.Facts.Host.State.Cluster; owner != "" && owner != inv.Cluster.Name {
		return []Problem{{host.Name, fmt.Sprintf("belongs to the cluster %q", owner), "remove it from that cluster first; " + fact.StatePath + " on the host says what is installed"}}
	}
	return nil
}

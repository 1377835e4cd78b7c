package resource

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
)

// Hostname is the machine's own name.
type Hostname struct{ Name string }

// ID implements Resource.
func (h Hostname) ID() ID { return NewID(KindHostname, h.Name) }

// Queries implements Resource: the hostname is among what is always learnt.
func (h Hostname) Queries() []fact.Query { return nil }

// Diff implements Resource.
func (h Hostname) Diff(facts fact.Set) (Change, error) {
	change := Change{Action: NoOp, Record: fact.Record{Digest: h.Name}}
	if facts.Host.Hostname != h.Name {
		change.Action = Update
		change.Fields = []Field{{Name: "hostname", Before: facts.Host.Hostname, After: h.Name}}
		change.because(driftOrMissing(facts, h.ID()), fmt.Sprintf("hostname is %s", facts.Host.Hostname))
	}
	return change, nil
}

// SwapOff turns swap off now; that it stays off is the business of the unit
// files and fstab entries shown beside it.
type SwapOff struct{}

// ID implements Resource.
func (SwapOff) ID() ID { return NewID(KindSwap, "off") }

// Queries implements Resource: swaps are among what is always learnt; fstab
// decides whether they come back.
func (SwapOff) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindFile, Name: "/etc/fstab", Content: true}}
}

// DisableSwapEntries returns an fstab with its swap entries commented out.
func DisableSwapEntries(fstab string) string {
	lines := strings.SplitAfter(fstab, "\n")
	for i, line := range lines {
		fields := strings.Fields(line)
		if len(fields) >= 3 && !strings.HasPrefix(fields[0], "#") && fields[2] == "swap" {
			lines[i] = "# disabled by kinstall: " + line
		}
	}
	return strings.Join(lines, "")
}

// Diff implements Resource.
func (s SwapOff) Diff(facts fact.Set) (Change, error) {
	fstab, err := facts.File("/etc/fstab")
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp, Record: fact.Record{Digest: "off"}, Evidence: fstab.SHA256}
	if len(facts.Host.SwapActive) > 0 {
		change.Action = Update
		for _, device := range facts.Host.SwapActive {
			change.Fields = append(change.Fields, Field{Name: "swap", Before: device, After: "off"})
		}
		change.because(driftOrMissing(facts, s.ID()), "swap is in use")
	}
	if before := string(fstab.Content); DisableSwapEntries(before) != before {
		change.Action = Update
		change.Text = &Text{Name: "/etc/fstab", Before: before, After: DisableSwapEntries(before)}
		change.because(driftOrMissing(facts, s.ID()), "/etc/fstab turns swap on at boot")
	}
	return change, nil
}

// Sysctl is the live value of a kernel parameter; a file in /etc/sysctl.d
// keeps it over a reboot.
type Sysctl struct {
	Key, Value string
	// AtLeast makes Value, a whole number, a lower bound: a higher one is as
	// good, and is never lowered.
	AtLeast bool
}

// ID implements Resource.
func (s Sysctl) ID() ID { return NewID(KindSysctl, s.Key) }

// Queries implements Resource.
func (s Sysctl) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindSysctl, Name: s.Key}}
}

// Allows tells whether the parameter may have a value. Values are compared word
// by word: the kernel separates with tabs.
func (s Sysctl) Allows(value string) bool {
	if s.AtLeast {
		wanted, err := strconv.ParseUint(s.Value, 10, 64)
		found, foundErr := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		if err == nil && foundErr == nil {
			return found >= wanted
		}
	}
	return strings.Join(strings.Fields(value), " ") == strings.Join(strings.Fields(s.Value), " ")
}

// Diff implements Resource.
func (s Sysctl) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Sysctl(s.Key)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp, Record: fact.Record{Digest: s.Value}}
	if found.Exists && s.Allows(found.Value) {
		return change, nil
	}
	change.Action = Update
	change.Fields = []Field{{Name: "value", Before: found.Value, After: s.Value}}
	change.compareRecord(facts, s.ID(), s.Value)
	return change, nil
}

// compareRecord gives the reason for a kind whose record is a plain value.
func (c *Change) compareRecord(facts fact.Set, id ID, wanted string) {
	switch record, known := recorded(facts, id); {
	case !known:
	case record.Digest == wanted:
		c.because(Drift, "changed on the host")
	default:
		c.because(Intent, "changed in the inventory")
	}
}

// driftOrMissing tells what was right once and is no more from what never was.
func driftOrMissing(facts fact.Set, id ID) Cause {
	if _, known := recorded(facts, id); known {
		return Drift
	}
	return Missing
}

// Module is a kernel module that must be there; a file in /etc/modules-load.d
// keeps it over a reboot.
type Module struct{ Name string }

// ID implements Resource.
func (m Module) ID() ID { return NewID(KindModule, m.Name) }

// Queries implements Resource.
func (m Module) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindModule, Name: m.Name}}
}

// Diff implements Resource.
func (m Module) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Module(m.Name)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp, Record: fact.Record{Digest: "loaded"}}
	if !found.Exists {
		change.Action = Create
		change.compareRecord(facts, m.ID(), "loaded")
	}
	return change, nil
}

// Package is a package of the distribution.
type Package struct{ Name string }

// ID implements Resource.
func (p Package) ID() ID { return NewID(KindPackage, p.Name) }

// Queries implements Resource.
func (p Package) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindPackage, Name: p.Name}}
}

// InputDigest implements Input: any installed version will do.
func (p Package) InputDigest(fact.Set) (string, bool) { return "installed", true }

// Diff implements Resource.
func (p Package) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Package(p.Name)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp, Record: fact.Record{Digest: "installed"}}
	if !found.Installed {
		change.Action = Create
		change.compareRecord(facts, p.ID(), "installed")
	}
	return change, nil
}

// RouteMetric is that of kinstall's static routes. Routing programs leave it
// alone: flannel's routes have none, bird's have 32 unless told otherwise. So
// one network can follow another without the two taking routes from each other.
const RouteMetric = 64

// Route is a live static route of metric RouteMetric; its network's own unit
// sets it again at boot. Hosts that another version of kinstall worked on
// remember one for each other host, in place of StaticRoutes.
type Route struct {
	Destination string // prefix: "10.244.1.0/24"
	Via         string // next hop; "" for a network that Device itself leads to
	Device      string // "" for the one the next hop is found by
}

// Way is where the route leads, in the words of ip-route(8).
func (r Route) Way() []string {
	if r.Via == "" {
		return []string{"dev", r.Device}
	}
	return []string{"via", r.Via}
}

// ID implements Resource.
func (r Route) ID() ID { return NewID(KindRoute, r.Destination) }

// Queries implements Resource.
func (r Route) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindRoute, Name: r.question()}}
}

func (r Route) question() string { return fact.RouteOfMetric(r.Destination, RouteMetric) }

// Diff implements Resource.
func (r Route) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Route(r.question())
	if err != nil {
		return Change{}, err
	}
	name, before, after := "via", found.Via, r.Via
	if r.Via == "" {
		name, before, after = "dev", found.Device, r.Device
	}
	change := Change{Action: NoOp, Record: fact.Record{Digest: after}}
	if found.Exists && found.Via == r.Via && before == after {
		return change, nil
	}
	change.Action = Create
	if found.Exists {
		change.Action = Update
	}
	change.Fields = []Field{{Name: name, Before: before, After: after}}
	change.compareRecord(facts, r.ID(), after)
	return change, nil
}

// Link is a network interface that a program of the plan makes. It is part of
// the plan only to be deleted when it leaves it: those programs leave theirs
// behind.
type Link struct{ Name string }

// ID implements Resource.
func (l Link) ID() ID { return NewID(KindLink, l.Name) }

// Queries implements Resource.
func (l Link) Queries() []fact.Query { return nil }

// Diff implements Resource.
func (l Link) Diff(fact.Set) (Change, error) {
	return Change{Action: NoOp, Record: fact.Record{Digest: "made by its program"}}, nil
}

// DynamicRoutes are routes into a network by way of other hosts that a program
// of the plan keeps up to date. As with Link, they matter when that program has
// left and its routes are still there.
type DynamicRoutes struct{ Network string } // prefix: "10.244.0.0/16"

// ID implements Resource.
func (r DynamicRoutes) ID() ID { return NewID(KindDynamicRoutes, r.Network) }

// Queries implements Resource.
func (r DynamicRoutes) Queries() []fact.Query { return nil }

// Diff implements Resource.
func (r DynamicRoutes) Diff(fact.Set) (Change, error) {
	return Change{Action: NoOp, Record: fact.Record{Digest: "made by their program"}}, nil
}

// PodMTU is the MTU of a bridge and of all pods' interfaces on it. The CNI
// configuration says it for pods to come; this is about those that run, which
// need not be made anew.
type PodMTU struct {
	Bridge string // "cni0"
	MTU    int
}

// ID implements Resource.
func (m PodMTU) ID() ID { return NewID(KindPodMTU, m.Bridge) }

// Queries implements Resource: a host's interfaces are always learnt.
func (m PodMTU) Queries() []fact.Query { return nil }

// found is the MTU of the bridge and of each port; nothing if there is none.
func (m PodMTU) found(facts fact.Set) []int {
	var mtu []int
	for name, link := range facts.Host.Links {
		if name == m.Bridge || link.Master == m.Bridge {
			mtu = append(mtu, link.MTU)
		}
	}
	return mtu
}

// Diff implements Resource.
func (m PodMTU) Diff(facts fact.Set) (Change, error) {
	wanted := strconv.Itoa(m.MTU)
	change := Change{Action: NoOp, Record: fact.Record{Digest: wanted}}
	ports := m.found(facts)
	others := map[int]int{} // how many have which MTU
	for _, mtu := range ports {
		if mtu != m.MTU {
			others[mtu]++
		}
	}
	if len(others) == 0 {
		return change, nil
	}
	var found []string
	for _, mtu := range slices.Sorted(maps.Keys(others)) {
		found = append(found, fmt.Sprintf("%d (%d of %d)", mtu, others[mtu], len(ports)))
	}
	change.Action = Update
	change.Fields = []Field{{Name: "mtu", Before: strings.Join(found, ", "), After: wanted}}
	change.compareRecord(facts, m.ID(), wanted)
	return change, nil
}

// Grows reports whether a running pod's interface has less than wanted.
func (m PodMTU) Grows(facts fact.Set) bool {
	return slices.ContainsFunc(m.found(facts), func(mtu int) bool { return mtu < m.MTU })
}

// FirewallRule is a rule that must stand at the top of an iptables chain, so
// that a policy of DROP (dockerd leaves one) does not stop pod traffic.
type FirewallRule struct {
	Table string   // "filter"
	Chain string   // "FORWARD"
	Rule  []string // words after the chain: "-s", "10.244.0.0/16", "-j", "ACCEPT"
}

// ID implements Resource: "firewall:filter/FORWARD -s 10.244.0.0/16 -j ACCEPT".
func (r FirewallRule) ID() ID {
	return NewID(KindFirewallRule, r.Table+"/"+r.Chain+" "+strings.Join(r.Rule, " "))
}

// ParseFirewallRule reads a rule back from its ID, for deletion.
func ParseFirewallRule(id ID) (FirewallRule, error) {
	words := strings.Fields(id.Name())
	if len(words) < 2 {
		return FirewallRule{}, fmt.Errorf("%s: not a firewall rule", id)
	}
	table, chain, ok := strings.Cut(words[0], "/")
	if !ok {
		return FirewallRule{}, fmt.Errorf("%s: not a firewall rule", id)
	}
	return FirewallRule{Table: table, Chain: chain, Rule: words[1:]}, nil
}

// Program is the one that sets the rule: that of the addresses in it.
func (r FirewallRule) Program() string {
	for _, word := range r.Rule {
		address, _, _ := strings.Cut(word, "/")
		if a, err := netip.ParseAddr(address); err == nil && a.Is6() {
			return "ip6tables"
		}
	}
	return "iptables"
}

// Queries implements Resource.
func (r FirewallRule) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindFirewall, Name: r.ID().Name(), Args: append([]string{r.Table, r.Chain}, r.Rule...)}}
}

// Diff implements Resource.
func (r FirewallRule) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Firewall(r.ID().Name())
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp, Record: fact.Record{Digest: "present"}}
	if !found.Exists {
		change.Action = Create
		change.compareRecord(facts, r.ID(), "present")
	}
	return change, nil
}

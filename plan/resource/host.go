package resource

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
)

// Hostname is the machine's own name.
type Hostname struct{ Name string }

// ID implements Resource.
func (h Hostname) ID() ID { return NewID("hostname", h.Name) }

// Queries implements Resource: the hostname is among what is always learnt.
func (h Hostname) Queries() []fact.Query { return nil }

// Diff implements Resource.
func (h Hostname) Diff(facts fact.Set) (Change, error) {
	change := Change{Action: NoOp, Record: fact.Record{Digest: h.Name}}
	if facts.Host.Hostname != h.Name {
		change.Action = Update
		change.Fields = []Field{{Name: "hostname", Before: facts.Host.Hostname, After: h.Name}}
		change.because(Drift, fmt.Sprintf("hostname is %s", facts.Host.Hostname))
	}
	return change, nil
}

// SwapOff turns swap off now; that it stays off is the business of the unit
// files and fstab entries shown beside it.
type SwapOff struct{}

// ID implements Resource.
func (SwapOff) ID() ID { return NewID("swap", "off") }

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
		change.because(Drift, "swap is in use")
	}
	if before := string(fstab.Content); DisableSwapEntries(before) != before {
		change.Action = Update
		change.Text = &Text{Name: "/etc/fstab", Before: before, After: DisableSwapEntries(before)}
		change.because(Drift, "/etc/fstab turns swap on at boot")
	}
	return change, nil
}

// Sysctl is the live value of a kernel parameter; a file in /etc/sysctl.d
// keeps it over a reboot.
type Sysctl struct{ Key, Value string }

// ID implements Resource.
func (s Sysctl) ID() ID { return NewID("sysctl", s.Key) }

// Queries implements Resource.
func (s Sysctl) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindSysctl, Name: s.Key}}
}

// Diff implements Resource. Values are compared word by word: the kernel
// separates with tabs.
func (s Sysctl) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Sysctl(s.Key)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp, Record: fact.Record{Digest: s.Value}}
	if found.Exists && strings.Join(strings.Fields(found.Value), " ") == strings.Join(strings.Fields(s.Value), " ") {
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

// Module is a kernel module that must be there; a file in /etc/modules-load.d
// keeps it over a reboot.
type Module struct{ Name string }

// ID implements Resource.
func (m Module) ID() ID { return NewID("module", m.Name) }

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
func (p Package) ID() ID { return NewID("package", p.Name) }

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

// Route is a live static route; the unit kinstall-network.service sets it
// again at boot.
type Route struct {
	Destination string // prefix: "10.244.1.0/24"
	Via         string // next hop
}

// ID implements Resource.
func (r Route) ID() ID { return NewID("route", r.Destination) }

// Queries implements Resource.
func (r Route) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindRoute, Name: r.Destination}}
}

// Diff implements Resource.
func (r Route) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Route(r.Destination)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp, Record: fact.Record{Digest: r.Via}}
	if found.Exists && found.Via == r.Via {
		return change, nil
	}
	change.Action = Create
	if found.Exists {
		change.Action = Update
	}
	change.Fields = []Field{{Name: "via", Before: found.Via, After: r.Via}}
	change.compareRecord(facts, r.ID(), r.Via)
	return change, nil
}

// Link is a network interface that a program of the plan makes. It is part of
// the plan only to be deleted when it leaves it: those programs leave theirs
// behind.
type Link struct{ Name string }

// ID implements Resource.
func (l Link) ID() ID { return NewID("link", l.Name) }

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
func (r DynamicRoutes) ID() ID { return NewID("routes", r.Network) }

// Queries implements Resource.
func (r DynamicRoutes) Queries() []fact.Query { return nil }

// Diff implements Resource.
func (r DynamicRoutes) Diff(fact.Set) (Change, error) {
	return Change{Action: NoOp, Record: fact.Record{Digest: "made by their program"}}, nil
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
	return NewID("firewall", r.Table+"/"+r.Chain+" "+strings.Join(r.Rule, " "))
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

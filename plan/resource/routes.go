package resource

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/kinstall/kinstall/plan/fact"
)

// StaticRoutes are a host's routes of metric RouteMetric to what lies behind all
// other hosts; the unit kinstall-network.service sets them again at boot. They
// are one resource, however many hosts there are: a record that says which
// routes are kinstall's own grows with the number of address ranges, not of hosts.
type StaticRoutes struct {
	Table *RouteTable // of all hosts, the same for each of them
	// Own are the host's own addresses, one of each family. The table's routes by
	// way of them are those to the host itself, which it does not get.
	Own []string
}

// RouteTable are the routes to what lies behind each of many hosts, by way of
// that host. Hosts share it; nobody changes it.
type RouteTable struct {
	Routes []Route // each with a next hop; sorted by their lines
	// SHA256 is the digest of the table's lines, "DESTINATION via GATEWAY", each
	// with its newline, in the order of their bytes.
	SHA256 string
	// Ranges are the addresses of all destinations, in as few prefixes as there can be.
	Ranges []string

	Gateways map[string]string // by destination
}

// line is how a route stands in the digest of a table.
func (r Route) line() string { return r.Destination + " via " + r.Via }

// NewRouteTable makes a table of routes, which it sorts.
func NewRouteTable(routes []Route) *RouteTable {
	slices.SortFunc(routes, func(a, b Route) int { return cmp.Compare(a.line(), b.line()) })
	table := &RouteTable{Routes: routes, Gateways: make(map[string]string, len(routes))}
	var lines bytes.Buffer
	var destinations []netip.Prefix
	for _, r := range routes {
		lines.WriteString(r.line() + "\n")
		table.Gateways[r.Destination] = r.Via
		if prefix, err := netip.ParsePrefix(r.Destination); err == nil {
			destinations = append(destinations, prefix.Masked())
		}
	}
	table.SHA256 = SHA256(lines.Bytes())
	for _, p := range ranges(destinations) {
		table.Ranges = append(table.Ranges, p.String())
	}
	return table
}

// ranges returns the fewest prefixes that hold exactly the addresses of others.
func ranges(prefixes []netip.Prefix) []netip.Prefix {
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var merged []netip.Prefix
	for _, p := range prefixes {
		if last := len(merged) - 1; last >= 0 && merged[last].Overlaps(p) {
			continue // within it
		}
		merged = append(merged, p)
		for len(merged) > 1 {
			a, b := merged[len(merged)-2], merged[len(merged)-1]
			if a.Bits() != b.Bits() || a.Bits() == 0 {
				break
			}
			parent := netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked()
			if parent.Addr() != a.Addr() || !parent.Contains(b.Addr()) {
				break
			}
			merged = append(merged[:len(merged)-2], parent)
		}
	}
	return merged
}

// ID implements Resource.
func (r StaticRoutes) ID() ID { return NewID(KindStaticRoutes, "pods") }

// own reports whether a route of the table is one to the host itself.
func (r StaticRoutes) own(route Route) bool { return slices.Contains(r.Own, route.Via) }

// Leads reports whether there is to be a route to a destination.
func (r StaticRoutes) Leads(destination string) bool {
	via, ok := r.Table.Gateways[destination]
	return ok && !slices.Contains(r.Own, via)
}

// Routes returns the routes the host is to have.
func (r StaticRoutes) Routes() []Route {
	routes := make([]Route, 0, len(r.Table.Routes))
	for _, route := range r.Table.Routes {
		if !r.own(route) {
			routes = append(routes, route)
		}
	}
	return routes
}

// Queries implements Resource. With the routes to the host itself, those found
// are to have the digest of the table.
func (r StaticRoutes) Queries() []fact.Query {
	q := fact.Query{Kind: fact.KindRoutes, Name: fact.RoutesOfMetric(RouteMetric)}
	if r.Table == nil {
		return []fact.Query{q}
	}
	q.WantSHA256 = r.Table.SHA256
	if len(r.Own) > 0 {
		for _, route := range r.Table.Routes {
			if r.own(route) {
				q.Args = append(q.Args, route.line())
			}
		}
	}
	return []fact.Query{q}
}

// namedRoutes is how many routes a change names, besides those it takes away.
const namedRoutes = 12

// Diff implements Resource. What is found beyond the wanted routes is taken away
// only if it leads to where kinstall's own routes have led, as the host's record
// has it; whatever else has the same metric is somebody else's.
func (r StaticRoutes) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Routes(fact.RoutesOfMetric(RouteMetric))
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp, Record: fact.Record{Digest: r.Table.SHA256, Ranges: r.Table.Ranges}}
	if found.AsWanted {
		return change, nil
	}
	record, known := recorded(facts, r.ID())
	present := make(map[string]fact.Route, len(found.Routes))
	for _, route := range found.Routes {
		present[route.Destination] = route.Route
	}
	var differ, missing []Field
	unnamed, right := 0, 0
	for _, route := range r.Table.Routes {
		if r.own(route) {
			continue
		}
		is, there := present[route.Destination]
		switch {
		case there && is.Via == route.Via:
			right++
		case there:
			differ = append(differ, Field{Name: route.Destination, Before: way(is), After: "via " + route.Via})
		case len(missing) < namedRoutes:
			missing = append(missing, Field{Name: route.Destination, After: "via " + route.Via})
		default:
			unnamed++
		}
	}
	var extra []Field
	for _, route := range found.Routes {
		if route.Via != "" && !r.Leads(route.Destination) && within(record.Ranges, route.Destination) {
			extra = append(extra, Field{Name: route.Destination, Before: way(route.Route)})
			change.Removes = append(change.Removes, route.Destination)
		}
	}
	if len(differ)+len(missing)+len(extra) == 0 {
		return change, nil
	}
	change.Action = Update
	if right+len(differ)+len(extra) == 0 {
		change.Action = Create
	}
	change.Fields = slices.Concat(differ, missing)
	if rest := len(change.Fields) - namedRoutes; rest > 0 {
		unnamed += rest
		change.Fields = change.Fields[:namedRoutes]
	}
	if len(extra) > namedRoutes {
		unnamed += len(extra) - namedRoutes
		extra = extra[:namedRoutes]
	}
	change.Fields = append(change.Fields, extra...)
	if unnamed > 0 {
		change.Fields = append(change.Fields, Field{Name: fmt.Sprintf("… and %d more", unnamed)})
	}
	if known {
		change.compareRecord(facts, r.ID(), r.Table.SHA256)
	}
	return change, nil
}

// way is where a route that was found leads.
func way(r fact.Route) string {
	if r.Via == "" {
		return "dev " + r.Device
	}
	return "via " + r.Via
}

// within reports whether a destination lies in one of the ranges.
func within(ranges []string, destination string) bool {
	d, err := netip.ParsePrefix(destination)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(ranges, func(text string) bool {
		p, err := netip.ParsePrefix(text)
		return err == nil && p.Bits() <= d.Bits() && p.Contains(d.Addr())
	})
}

// InterimRoutes are routes that are set for a program which will keep them from
// then on, while networks change. No host's state remembers them.
type InterimRoutes struct{ StaticRoutes }

// ID implements Resource.
func (r InterimRoutes) ID() ID { return NewID(KindInterimRoutes, "pods") }

// Queries implements Resource.
func (r InterimRoutes) Queries() []fact.Query { return nil }

// Diff implements Resource: whether they are needed is the plan's to say.
func (r InterimRoutes) Diff(fact.Set) (Change, error) { return Change{Action: NoOp}, nil }

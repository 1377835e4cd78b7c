package plan

import (
	"fmt"
	"slices"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// pingPackage has what the gates between hosts look with.
const pingPackage = "iputils-ping"

// carriesPods tells what carries packets between the hosts' pods: by its kind,
// or because it is the program of a network. What else a network leaves behind
// (files, certificates, images) goes after it.
func carriesPods(id resource.ID) bool {
	return describe(id).CarriesPods ||
		slices.ContainsFunc(networkKinds(), func(n networkKind) bool { return slices.Contains(n.programs, id) })
}

// handOver orders the change from one pod network to another, so that pods
// reach each other all the time and a mistake reaches one host only.
//
// The new network comes first, beside the old one: host by host, and before
// the next host a gate sees that the pods of this one and of all others still
// reach each other. When every host knows the new way to every other, the old
// one goes, host by host behind gates as well. That works because networks keep
// their hands off each other's routes: those of flannel have the metric 0,
// bird's 32, static ones 64 (see resource.RouteMetric); a packet takes the first
// there is, and what arrives is taken in whatever way it came.
//
// Interfaces and switches go when no host sends through them any more, and
// flannel's keys when no flannel is left to write them anew.
//
// leaving are the orphans that carry pods. What the change takes beside the
// delta's items is returned, gates above all: nothing when nothing is handed
// over, as on bare machines, or when no more than a host comes or goes.
func (d *Delta) handOver(o order, leaving []Item) []Item {
	if !d.switches(leaving) {
		o.departures(leaving, nil, nil)
		return nil
	}
	h := d.newHandover()
	interim := d.interimRoutes(h.hosts, leaving)
	arriving := h.arrive(o, d.Items, interim)
	turn := h.depart(leaving)
	o.departures(leaving, turn, h.last)
	o.mtu(d, arriving, h.last[0])
	return append(interim, h.gates...)
}

// handover is a chain of gates, each after the one before.
type handover struct {
	inventory *inventory.Inventory
	hosts     []string // that have pods, in inventory order
	all       []string // hosts, with or without pods
	gates     []Item
	last      []StepID // what the next step waits for: the last gate
}

// newHandover begins with a look at how things are. Hosts that can't be reached
// would be left behind, cut off from the others: they are a problem.
func (d *Delta) newHandover() *handover {
	h := &handover{inventory: d.Plan.Inventory, all: d.Plan.Hosts()}
	planned := map[string]bool{}
	for _, host := range h.all {
		planned[host] = true
	}
	var tools []StepID
	for _, row := range d.Plan.Addresses {
		switch {
		case row.Bridge == "" || !planned[row.Host]:
		case d.Unreachable[row.Host] != nil:
			d.Problems = append(d.Problems, Problem{row.Host, "can't be reached, and the pod network changes: its pods would be cut off from the others'",
				"make it reachable, or take it out of the inventory; with -limit only the hosts you name are changed"})
		default:
			h.hosts = append(h.hosts, row.Host)
			tools = append(tools, step(row.Host, resource.Package{Name: pingPackage})...)
		}
	}
	h.gate(resource.CheckReachable, "", "which hosts' pods reach each other as it is", tools)
	return h
}

// gate adds a gate to the chain.
func (h *handover) gate(kind resource.CheckKind, host, text string, after []StepID) {
	step := Step{Host: Cluster, Resource: resource.Gate{Check: resource.Check{Kind: kind, Host: host, Text: text}}, After: sortedIDs(slices.Concat(after, h.last))}
	h.gates = append(h.gates, Item{&step, &resource.Change{Action: resource.Wait}})
	h.last = []StepID{step.ID()}
}

// arrive has what carries pods from now on come host by host, what belongs to
// the whole cluster first. It returns those steps by host.
func (h *handover) arrive(o order, items, interim []Item) map[string][]StepID {
	arriving, ahead := map[string][]StepID{}, map[string]StepID{}
	for _, item := range items {
		if item.Step.Successor && item.Change.Changes() {
			arriving[item.Step.Host] = append(arriving[item.Step.Host], item.Step.ID())
		}
	}
	for _, item := range interim {
		ahead[item.Step.Host] = item.Step.ID()
	}
	come := func(host string) []StepID {
		came := slices.Clone(arriving[host])
		if id, ok := ahead[host]; ok {
			came = append(came, id)
		}
		for _, id := range came {
			o.wait(id, h.last...)
		}
		return came
	}
	shared := come(Cluster)
	for _, host := range h.hosts {
		if came := slices.Concat(come(host), shared); len(came) > 0 {
			h.gate(resource.CheckReachable, host, "its pods reach the other hosts'", came)
		}
	}
	if _, learnt := LearntRouteMetric(h.inventory); learnt && len(h.gates) > 1 {
		h.gate(resource.CheckLearnt, "", fmt.Sprintf("every host knows the way to every other by %s", h.inventory.Network.Kind), nil)
	}
	return arriving
}

// depart has what carried pods until now go host by host. It returns what each
// host has to wait for before its turn; what belongs to the whole cluster goes
// first.
func (h *handover) depart(leaving []Item) map[string][]StepID {
	turn := map[string][]StepID{Cluster: h.last}
	gone, pods := map[string][]StepID{}, map[string]bool{}
	for _, item := range leaving {
		if !describe(item.Step.Resource.ID()).Outlasts {
			gone[item.Step.Host] = append(gone[item.Step.Host], item.Step.ID())
		}
	}
	for _, host := range h.hosts {
		pods[host] = true
	}
	for _, host := range h.all {
		turn[host] = h.last
		if gone := gone[host]; len(gone) > 0 && pods[host] {
			h.gate(resource.CheckStillReachable, host, "its pods do so without the previous network", gone)
		}
	}
	return turn
}

// interimRoutes are set ahead of a flannel of the backend host-gw that follows
// another network: it leaves a route alone that leads where its own would, and
// misses it for ten seconds when that network takes it along.
func (d *Delta) interimRoutes(hosts []string, leaving []Item) []Item {
	n := d.Plan.Inventory.Network
	if n.Kind != inventory.NetworkFlannel || n.Backend != inventory.FlannelHostGW {
		return nil
	}
	if !slices.ContainsFunc(leaving, func(item Item) bool {
		id := item.Step.Resource.ID()
		return slices.ContainsFunc(networkKinds(), func(n networkKind) bool { return n.withdraws && n.sends(id) })
	}) {
		return nil
	}
	var routes []resource.Route
	for _, host := range hosts {
		row, _ := d.Plan.addressRow(host)
		routes = append(routes, resource.Route{Destination: row.PodSubnet, Via: row.Address})
	}
	table := resource.NewRouteTable(routes)
	var items []Item
	for _, host := range hosts {
		row, _ := d.Plan.addressRow(host)
		items = append(items, Item{
			&Step{Host: host, Resource: resource.InterimRoutes{StaticRoutes: resource.StaticRoutes{Table: table, Own: []string{row.Address}}}},
			&resource.Change{Action: resource.Create, Fields: []resource.Field{{Name: "routes", After: fmt.Sprint(len(routes) - 1)}}},
		})
	}
	return items
}

// switches reports whether pods' packets are to take another way between hosts
// that have one: a network leaves, or its program is started anew.
func (d *Delta) switches(leaving []Item) bool {
	if !d.Plan.Inventory.Network.Bridged() {
		return false // nothing of kinstall's follows
	}
	for _, item := range d.Items {
		if !item.Step.Successor {
			continue
		}
		if kind := describe(item.Step.Resource.ID()); kind.Program() && item.Change.Action == kind.StartedBy {
			return true
		}
	}
	own := networkOf(d.Plan.Inventory).eachHost
	return slices.ContainsFunc(leaving, func(item Item) bool {
		// What led to a host that is gone makes no change of networks.
		return !slices.Contains(own, item.Step.Resource.ID().Kind())
	})
}

// departures says when each part of a network goes: on its host's turn,
// after the programs that would make it anew. What others may still use waits
// for the end.
func (o order) departures(leaving []Item, turn map[string][]StepID, end []StepID) {
	programs := map[string][]StepID{}
	var all []StepID
	for _, item := range leaving {
		if describe(item.Step.Resource.ID()).Program() {
			programs[item.Step.Host] = append(programs[item.Step.Host], item.Step.ID())
			all = append(all, item.Step.ID())
		}
	}
	for _, item := range leaving {
		id, host := item.Step.ID(), item.Step.Host
		o.wait(id, turn[host]...)
		kind := describe(item.Step.Resource.ID())
		if kind.Remade && kind.Scope == resource.ScopeCluster {
			o.wait(id, all...)
		} else if kind.Remade {
			o.wait(id, programs[host]...)
			o.wait(id, programs[Cluster]...)
		}
		if kind.Outlasts {
			o.wait(id, end...)
		}
	}
}

// mtu has pods' interfaces shrink before packets take the new way, and
// grow when none takes the old one.
func (o order) mtu(d *Delta, arriving map[string][]StepID, end StepID) {
	for _, item := range d.Items {
		s := item.Step
		r, ok := s.Resource.(resource.PodMTU)
		if !ok || !item.Change.Changes() {
			continue
		}
		if r.Grows(d.Observed.facts(s.Host)) {
			o.wait(s.ID(), end)
			continue
		}
		for _, id := range slices.Concat(arriving[s.Host], arriving[Cluster]) {
			o.wait(id, s.ID())
		}
	}
}

// LearntRouteMetric is that of the routes a network's own program sets, one
// for each other host's subnet; ok is false when it has no such program.
func LearntRouteMetric(inv *inventory.Inventory) (metric int, ok bool) {
	n := networkOf(inv)
	return n.metric, n.learnt
}

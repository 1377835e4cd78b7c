package plan

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// A host that leaves the inventory is still known: the keepers remember every
// host that kinstall was at work on. Its departure is planned like everything
// else:
//
//  1. Its node is cordoned and drained. What leads to its pods on other hosts
//     (routes, peers, flows) stays until then.
//  2. The other hosts learn that it is gone: balancers, API servers, /etc/hosts.
//  3. Its own services stop, its containers end, its files are deleted. Data stay.
//  4. The node's object is deleted, and the host is forgotten.
//
// One that is gone for good (Plan.Forget) is not asked: there is only the last.

// Departure is a host that leaves.
type Departure struct {
	Name string
	fact.HostRecord
	Forgotten bool // it is gone for good, and not asked
}

// Forget returns the plan with hosts that are gone for good: those that left the
// inventory and are not to be asked any more.
func (p *Plan) Forget(hosts []string) *Plan {
	if len(hosts) == 0 {
		return p
	}
	other := p.another()
	other.forgotten = slices.Clone(hosts)
	return other
}

// Departures are the hosts that the keepers remember and the inventory lacks, by
// name. A plan for some hosts only has none.
func (p *Plan) Departures(observed Observed) []Departure {
	if p.limited {
		return nil
	}
	return p.departures(p.shared(observed))
}

func (p *Plan) departures(shared fact.State) []Departure {
	var leaving []Departure
	for id, record := range shared.Resources {
		id := resource.ID(id)
		if _, stays := p.host(id.Name()); id.Kind() != resource.KindHost || stays || record.Host == nil {
			continue
		}
		leaving = append(leaving, Departure{Name: id.Name(), HostRecord: *record.Host, Forgotten: slices.Contains(p.forgotten, id.Name())})
	}
	slices.SortFunc(leaving, func(a, b Departure) int { return strings.Compare(a.Name, b.Name) })
	return leaving
}

// DepartureQueries are what must be known of the cluster for hosts that leave.
func (p *Plan) DepartureQueries(leaving []Departure) []fact.Query {
	var queries []fact.Query
	for _, l := range leaving {
		queries = append(queries, resource.Drain{Node: l.Name}.Queries()...)
	}
	return queries
}

// shared is what belongs to no single host, as the states of all hosts remember it.
func (p *Plan) shared(observed Observed) fact.State {
	shared := fact.State{Resources: map[string]fact.Record{}}
	for _, host := range p.Hosts() {
		for id, record := range observed.Hosts[host].Facts.Host.State.Resources {
			if kept(resource.ID(id)) {
				shared.Resources[id] = record
			}
		}
	}
	return shared
}

// kept tells what keepers remember.
func kept(id resource.ID) bool {
	scope := describe(id).Scope
	return scope == resource.ScopeCluster || scope == resource.ScopeKeepers
}

// remember is what the keepers are to remember of a host: nothing new of one
// that was not asked.
func (p *Plan) remember(name string, observed Observed) fact.Record {
	o, ok := observed.Hosts[name]
	h, _ := p.host(name)
	if !ok || o.Err != nil {
		return fact.Record{}
	}
	return fact.Record{Host: &fact.HostRecord{
		Address: h.Address.String(), Port: h.SSH.Port, User: h.SSH.User, Become: h.SSH.Become,
		HostKey: cmp.Or(o.HostKey, h.SSH.Fingerprint), Roles: h.Roles,
	}}
}

// hosts has the keepers remember every host.
func (c *compiler) hosts() {
	if len(Keepers(c.inventory)) == 0 {
		return
	}
	for _, h := range c.inventory.Hosts {
		c.add(Cluster, resource.Host{Name: h.Name})
	}
}

// depart adds what the departures of hosts take to the delta's items.
func (d *Delta) depart(o order) {
	if len(d.Leaving) == 0 {
		return
	}
	var elsewhere, remade []StepID
	for i := range d.Items {
		item := &d.Items[i]
		switch kind := describe(item.Step.Resource.ID()); {
		case item.Change.Changes() && kind.Remade && kind.Scope == resource.ScopeCluster:
			remade = append(remade, item.Step.ID())
		case item.Change.Changes() || item.Change.Action == resource.Wait:
			elsewhere = append(elsewhere, item.Step.ID())
		}
	}
	elsewhere = d.independent(o, elsewhere, remade)
	for _, l := range d.Leaving {
		stopped := d.leaves(o, l, elsewhere)
		for _, id := range remade { // as long as the host's programs run, they would make it again
			o.wait(id, stopped...)
		}
	}
}

// independent returns those of some steps that don't wait for any of others, by
// whichever way. What a program is started with comes in its turn, and so waits
// for what the program waits for.
func (d *Delta) independent(o order, some, others []StepID) []StepID {
	if len(others) == 0 {
		return some
	}
	next := map[StepID][]StepID{} // steps by what they wait for
	for i := range d.Items {
		id := d.Items[i].Step.ID()
		for _, before := range slices.Concat(d.Items[i].Step.After, o[id]) {
			next[before] = append(next[before], id)
		}
		if d.Items[i].Step.Rollout == nil || !d.Items[i].Change.Changes() {
			continue
		}
		switch r := d.Items[i].Step.Resource.(type) {
		case resource.Unit:
			next[id] = append(next[id], inputSteps(d.Items[i].Step.Host, r.Inputs)...)
		case resource.StaticPod:
			next[id] = append(next[id], inputSteps(d.Items[i].Step.Host, r.Inputs)...)
		}
	}
	waits := map[StepID]bool{}
	var visit func(StepID)
	visit = func(id StepID) {
		for _, waiting := range next[id] {
			if !waits[waiting] {
				waits[waiting] = true
				visit(waiting)
			}
		}
	}
	for _, id := range others {
		visit(id)
	}
	return slices.DeleteFunc(slices.Clone(some), func(id StepID) bool { return waits[id] })
}

// leaves adds the departure of a host, in the order that is said above; elsewhere
// is what the others do before the host stops. It returns the steps after which
// nothing of the host's own runs. Edges go by way of its programs, of which there
// are few.
func (d *Delta) leaves(o order, l Departure, elsewhere []StepID) (stopped []StepID) {
	here, asked := d.Observed.Leaving[l.Name]
	if !l.Forgotten && (!asked || here.Err != nil) {
		return nil // it stays remembered; checkDepartures says so
	}
	var last []StepID // before the host is forgotten
	add := func(host string, r resource.Resource, change resource.Change, after ...StepID) StepID {
		item := Item{&Step{Host: host, Resource: r}, &change}
		d.Items = append(d.Items, item)
		id := item.Step.ID()
		o.wait(id, after...)
		return id
	}
	node, err := d.Observed.Cluster.Node(l.Name)
	if err != nil {
		node = fact.Node{} // checkDepartures says so
	}
	if drain := (resource.Drain{Node: l.Name}); node.Exists && !l.Forgotten {
		change, _ := drain.Diff(d.Observed.Cluster) // it was observed
		drained := add(Cluster, drain, change)
		for i := range d.Items {
			if item := &d.Items[i]; item.Change.Changes() && d.leadsToPods(*item.Step) {
				o.wait(item.Step.ID(), drained)
			}
		}
		elsewhere = append(slices.Clone(elsewhere), drained)
	}
	if !l.Forgotten {
		last, stopped = d.clear(add, l, here.Facts.Host.State, elsewhere)
	}
	if node.Exists {
		orphan := resource.Orphan{Was: resource.NewID(resource.KindNode, l.Name)}
		change, _ := orphan.Diff(fact.Set{}) // an orphan's Diff looks at nothing and can't fail
		last = append(last, add(Cluster, orphan, change, slices.Concat(last, elsewhere)...))
	}
	text := "left the inventory; data on it stay"
	if l.Forgotten {
		text = "gone for good; nothing is changed on it"
	}
	add(Cluster, resource.Orphan{Was: resource.Host{Name: l.Name}.ID()},
		resource.Change{Action: resource.Delete, Reasons: []resource.Reason{{Cause: resource.Intent, Text: text}}}, slices.Concat(last, elsewhere)...)
	return stopped
}

// clear adds the deletion of all that a host's state remembers. First its kubelet
// stops, then the containers that it had started, then the other programs, then
// the rest goes. It returns all these steps, and those after which no program runs.
func (d *Delta) clear(add func(string, resource.Resource, resource.Change, ...StepID) StepID, l Departure, state fact.State, before []StepID) (all, stopped []StepID) {
	kubelet, runtime := unitID(KubeletUnit), ""
	for _, r := range runtimeKinds() {
		if _, has := state.Resources[string(unitID(r.unit))]; has {
			runtime = r.unit
		}
	}
	var programs []StepID
	first, rest := before, []Item(nil)
	for _, item := range orphans(l.Name, state, func(id resource.ID) bool { return !kept(id) }) {
		switch id := item.Step.Resource.ID(); {
		case id == kubelet:
			first = []StepID{add(l.Name, item.Step.Resource, *item.Change, before...)}
			all = append(all, first...)
			if runtime != "" {
				containers := resource.Containers{Runtime: runtime}
				change, _ := containers.Diff(fact.Set{})
				first = []StepID{add(l.Name, containers, change, first...)}
				all = append(all, first...)
			}
		case id.Kind() == resource.KindImage: // data of its runtime, which can't be asked any more
			item.Change = &resource.Change{Action: resource.NoOp}
			rest = append(rest, item)
		default:
			rest = append(rest, item)
		}
	}
	for _, item := range rest {
		if describe(item.Step.Resource.ID()).Program() {
			programs = append(programs, add(l.Name, item.Step.Resource, *item.Change, first...))
		}
	}
	stopped = programs
	if len(stopped) == 0 {
		stopped = first
	}
	for _, item := range rest {
		if !describe(item.Step.Resource.ID()).Program() {
			all = append(all, add(l.Name, item.Step.Resource, *item.Change, stopped...))
		}
	}
	return slices.Concat(all, programs), stopped
}

// isLeaving reports whether a place is a host that leaves.
func (d *Delta) isLeaving(host string) bool {
	return slices.ContainsFunc(d.Leaving, func(l Departure) bool { return l.Name == host })
}

// leadsToPods tells steps that say where other hosts' pods are.
func (d *Delta) leadsToPods(s Step) bool {
	return !d.isLeaving(s.Host) && (s.Successor || carriesPods(s.Resource.ID()) || s.Rollout != nil && s.Rollout.Group == groupNetworks)
}

// Hosts are the names of the hosts that the delta is about: those of the plan,
// in inventory order, then those that leave and were asked.
func (d *Delta) Hosts() []string {
	names := d.Plan.Hosts()
	for _, l := range d.Leaving {
		if o, asked := d.Observed.Leaving[l.Name]; asked && o.Err == nil && !l.Forgotten {
			names = append(names, l.Name)
		}
	}
	return names
}

// checkDepartures finds what keeps hosts from leaving.
func checkDepartures(p *Plan, observed Observed, leaving []Departure) []Problem {
	var problems []Problem
	inv := p.Inventory
	for _, l := range leaving {
		say := func(hint, format string, args ...any) {
			problems = append(problems, Problem{l.Name, "left the inventory, " + fmt.Sprintf(format, args...), hint})
		}
		forget := fmt.Sprintf("if the machine is gone for good, say so: -forget %s", l.Name)
		o := observed.Leaving[l.Name]
		if i := slices.IndexFunc(inv.Hosts, func(h inventory.Host) bool {
			return h.Address.String() == l.Address && h.SSH.Port == l.Port
		}); i >= 0 && !l.Forgotten {
			say("a node keeps its name for life: call the host "+l.Name+" again; or take it out of the inventory, apply, and add it under its new name",
				"and %s is at its address %s: a host can't be renamed", inv.Hosts[i].Name, l.Address)
			continue
		}
		if leadsTo(inv, l.Address) {
			say("let `endpoint` lead to a host that stays, or to a load balancer on one, first",
				"and cluster.endpoint leads to it (%s): all clients of the API would be cut off", net.JoinHostPort(inv.Cluster.Endpoint.Host, strconv.Itoa(inv.Cluster.Endpoint.Port)))
		}
		if inv.Kubernetes() {
			switch node, err := observed.Cluster.Node(l.Name); {
			case err != nil && (slices.Contains(l.Roles, inventory.RoleMaster) || slices.Contains(l.Roles, inventory.RoleWorker)):
				say("bring the API back first", "and its node can't be drained: the API server does not answer")
			case node.Exists && !l.Forgotten:
				problems = append(problems, barePods(l.Name, node.Pods)...)
				if arriving := arriving(p, observed); inv.Network.Bridged() && len(arriving) > 0 {
					say("one after the other: put the host block back, apply, and remove it then",
						"while %s would come: where pods are would change on all hosts before its own have gone", strings.Join(arriving, ", "))
				}
			}
		}
		switch state := o.Facts.Host.State; {
		case l.Forgotten:
		case o.Err != nil:
			say("bring it back, and apply again; or, "+forget, "and can't be reached at %s: %s", net.JoinHostPort(l.Address, strconv.Itoa(l.Port)), strings.TrimPrefix(o.Err.Error(), l.Name+": "))
		case state.Cluster != "" && state.Cluster != inv.Cluster.Name:
			say("forget it here: -forget "+l.Name, "and belongs to the cluster %q by now", state.Cluster)
		}
	}
	return append(problems, checkMasters(p, observed)...)
}

// leadsTo reports whether the endpoint leads to an address that no host has.
func leadsTo(inv *inventory.Inventory, address string) bool {
	e := inv.Cluster.Endpoint
	return e.Host == address || e.Address.IsValid() && e.Address.String() == address
}

// arriving are the nodes that come, by name.
func arriving(p *Plan, observed Observed) []string {
	var names []string
	for _, h := range p.Inventory.Nodes() {
		if node, err := observed.Cluster.Node(h.Name); err == nil && !node.Exists {
			names = append(names, h.Name)
		}
	}
	slices.Sort(names)
	return names
}

// checkMasters finds an inventory whose masters are all new, while other hosts
// are nodes of a cluster that lives: nobody is left who knows it.
func checkMasters(p *Plan, observed Observed) []Problem {
	if p.limited || !p.Inventory.Kubernetes() {
		return nil
	}
	nodes := map[string]bool{} // where kinstall has started a kubelet
	for name, o := range observed.Hosts {
		if o.Err != nil {
			if h, _ := p.host(name); h.Has(inventory.RoleMaster) {
				return nil // it may be the one
			}
		}
		if _, has := o.Facts.Host.State.Resources[string(unitID(KubeletUnit))]; has {
			nodes[name] = true
		}
	}
	for _, h := range Keepers(p.Inventory) {
		if nodes[h.Name] {
			return nil
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(nodes))
	return []Problem{{Cluster, fmt.Sprintf("all masters of the inventory are new, but %s %s of a cluster that lives: another one would be founded", strings.Join(names, ", "), map[bool]string{true: "is a node", false: "are nodes"}[len(names) == 1]),
		"keep a master that serves until the new ones do: add them, apply, and remove the old ones then. If those are lost for good, install the nodes anew"}}
}

package plan

import (
	"fmt"
	"runtime"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Observation is what was learnt of one host.
type Observation struct {
	Facts fact.Set
	// Skew is how far the host's clock is ahead of the operator's, give or
	// take the round trip.
	Skew time.Duration
	// HostKey is the fingerprint of the SSH host key that it showed
	// ("SHA256:…"), of a certificate that of the key in it.
	HostKey string
	Err     error // why nothing was learnt; the rest is then empty
}

// Observed is what was learnt of all hosts and of the cluster's API.
type Observed struct {
	Hosts map[string]Observation
	// Elsewhere holds hosts that a limited plan leaves out, as far as they were
	// asked: for what concerns the cluster as a whole.
	Elsewhere map[string]Observation
	// Leaving holds the hosts that leave the inventory (Plan.Departures), but for
	// those that are gone for good.
	Leaving map[string]Observation
	// Cluster holds the answers of the API server; ClusterErr says why there
	// are none. No answers and no error means there is no API server yet.
	Cluster    fact.Set
	ClusterErr error
}

// Item is a step and what it would change. Where nothing changes, which is nearly
// everywhere in a large cluster, both are shared: the step is the plan's own, the
// change may be that of many hosts. Their fields are not set through an item; who
// wants others gives the item a copy (OwnStep, OwnChange).
type Item struct {
	Step   *Step
	Change *resource.Change
}

// OwnStep gives the item a copy of its step, for the caller to change.
func (i *Item) OwnStep() *Step {
	own := *i.Step
	i.Step = &own
	return i.Step
}

// OwnChange gives the item a copy of its change, for the caller to change.
func (i *Item) OwnChange() *resource.Change {
	own := *i.Change
	i.Change = &own
	return i.Change
}

// Problem is something that must be mended before anything may be applied.
type Problem struct {
	Host    string `json:"host"`
	Summary string `json:"summary"`
	Hint    string `json:"hint,omitempty"`
}

// Delta is the difference between a plan and what was observed: exactly what
// apply will do, in a valid order.
type Delta struct {
	Plan        *Plan
	Observed    Observed
	Items       []Item // every step of every reachable host, changed or not
	Unreachable map[string]error
	// Later are changes that are not made because of hosts which can't be reached;
	// none unless the plan goes on without them, see Plan.SkipUnreachable.
	Later    []Postponed
	Problems []Problem
	// Upgrade is the change of versions; nil where they stay.
	Upgrade *Upgrade
	// Leaving are the hosts that leave the inventory.
	Leaving []Departure
	// Turns are the changes of members of what serves; see Turn.
	Turns []Turn

	members []memberChange // of etcd's list
}

// Diff compares the plan with what was observed.
func (p *Plan) Diff(observed Observed) *Delta {
	shared := p.shared(observed)
	delta := &Delta{Plan: p, Observed: observed, Unreachable: map[string]error{}}
	if !p.limited {
		delta.Leaving = p.departures(shared)
	}
	for _, host := range p.Hosts() {
		observation, ok := observed.Hosts[host]
		switch {
		case !ok:
			delta.Unreachable[host] = fact.ErrNotObserved
		case observation.Err != nil:
			delta.Unreachable[host] = observation.Err
		}
	}
	members, memberProblems := memberChanges(p, observed)
	delta.members = members
	delta.Upgrade = p.upgrade(observed)
	delta.Problems = slices.Concat(preflight(p, observed, delta.Unreachable), checkIdentities(p, observed), memberProblems, checkAuthorities(p, observed),
		checkDrains(p, observed), checkDepartures(p, observed, delta.Leaving), delta.Upgrade.check(p, observed))

	delta.judge()
	delta.awaitChanges()
	routes := map[string]resource.StaticRoutes{}
	for i := range p.Steps {
		if r, ok := p.Steps[i].Resource.(resource.StaticRoutes); ok {
			routes[p.Steps[i].Host] = r
		}
	}
	var early, late []Item           // what carries pods, and the rest
	wanted := map[resource.ID]bool{} // of one host after the other
	collect := func(host string, state fact.State, counts func(resource.ID) bool) {
		if p.wantsAll(host, state) {
			return
		}
		clear(wanted)
		for _, i := range p.look().steps[host] {
			wanted[p.Steps[i].resourceID()] = true
		}
		for _, item := range orphans(host, state, func(id resource.ID) bool { return !wanted[id] && counts(id) }) {
			if was := item.Step.Resource.ID(); was.Kind() == resource.KindRoute && routes[host].Table != nil && routes[host].Leads(was.Name()) {
				// Remembered by a version that had a resource for each route. It stays: it is
				// one of StaticRoutes now, and no more to be remembered by itself.
				item.Change = &resource.Change{Action: resource.NoOp}
				late = append(late, item)
			} else if carriesPods(item.Step.Resource.ID()) {
				early = append(early, item)
			} else {
				late = append(late, item)
			}
		}
	}
	for _, host := range p.Hosts() {
		if delta.Unreachable[host] != nil {
			continue
		}
		collect(host, observed.Hosts[host].Facts.Host.State, func(id resource.ID) bool { return !kept(id) })
	}
	if !p.limited { // else other hosts may live by what is shared
		// A node goes with its host, and not before: see Delta.depart.
		collect(Cluster, shared, func(id resource.ID) bool { return ofCluster(id) && id.Kind() != resource.KindNode })
	}
	delta.tellBalancers()
	delta.arrange(early, late)
	delta.kubelets()
	delta.Turns = delta.turns()
	delta.postpone()
	if delta.Upgrade != nil {
		delta.Upgrade.Phases = delta.phases()
	}
	return delta
}

// judge compares the steps of all hosts that were reached with what was found
// there, several hosts at a time: none needs to know what another one changes.
func (d *Delta) judge() {
	p := d.Plan
	var hosts []string // and what stands for one
	for host := range p.look().steps {
		if d.Unreachable[host] == nil {
			hosts = append(hosts, host)
		}
	}
	items := make([]Item, len(p.Steps)) // without a step where nothing is known
	var mu sync.Mutex
	failed := map[int]error{}
	workers := runtime.GOMAXPROCS(0)
	fault.Each(workers, func(worker int) {
		same := unchanged{}
		for h := worker; h < len(hosts); h += workers {
			facts := d.Observed.facts(hosts[h]).Remembering()
			for _, i := range p.look().steps[hosts[h]] {
				var err error
				if items[i], err = d.judgeStep(&p.Steps[i], facts, same); err != nil {
					mu.Lock()
					failed[i] = err
					mu.Unlock()
				}
			}
		}
	})
	d.Items = items[:0]
	for i := range items {
		if err := failed[i]; err != nil {
			step := &p.Steps[i]
			d.Problems = append(d.Problems, Problem{Host: step.Host, Summary: fmt.Sprintf("%s: %v", step.resourceID(), err)})
		} else if items[i].Step != nil {
			d.Items = append(d.Items, items[i])
		}
	}
}

func (d *Delta) judgeStep(planned *Step, found fact.Set, same unchanged) (Item, error) {
	step, facts := d.asFound(planned, found)
	change, err := step.Resource.Diff(facts)
	if err != nil {
		return Item{}, err
	}
	if host, ok := step.Resource.(resource.Host); ok {
		change.Record = d.Plan.remember(host.Name, d.Observed)
	}
	if change.Action == resource.NoOp {
		return Item{step, same.share(step.resourceID(), change)}, nil
	}
	own := change // so that only what is kept goes to the heap
	return Item{step, &own}, nil
}

// unchanged are changes that change nothing, by resource: those of one host are
// nearly always those of the next.
type unchanged map[resource.ID]*resource.Change

// share returns the change, or an equal one of another host.
func (u unchanged) share(id resource.ID, change resource.Change) *resource.Change {
	if known := u[id]; known != nil && known.Plain() && change.Plain() && known.Evidence == change.Evidence &&
		known.Sensitive == change.Sensitive && known.Record.Equal(change.Record) {
		return known
	}
	own := change
	u[id] = &own
	return &own
}

// awaitChanges makes gates wait for what changes before them.
func (d *Delta) awaitChanges() {
	changed := map[StepID]bool{}
	for i := range d.Items {
		item := &d.Items[i]
		if _, isGate := item.Step.Resource.(resource.Gate); isGate {
			// etcd is asked before API servers of another version are touched.
			if d.Upgrade != nil && item.Step.resourceID() == etcdGateID || slices.ContainsFunc(item.Step.After, func(before StepID) bool { return changed[before] }) {
				item.OwnChange().Action = resource.Wait
			}
		}
		if item.Change.Action != resource.NoOp {
			changed[item.Step.ID()] = true
		}
	}
}

// wantsAll reports whether the plan has all that a host's state remembers: then
// nothing of it is an orphan.
func (p *Plan) wantsAll(host string, state fact.State) bool {
	remembered := 0
	for _, i := range p.look().steps[host] {
		if _, ok := state.Resources[string(p.Steps[i].resourceID())]; ok {
			remembered++
		}
	}
	return remembered == len(state.Resources)
}

func (o Observed) facts(host string) fact.Set {
	switch host {
	case Operator:
		return fact.NewSet(fact.Host{})
	case Cluster:
		return o.Cluster
	}
	if leaving, ok := o.Leaving[host]; ok {
		return leaving.Facts
	}
	return o.Hosts[host].Facts
}

// Facts are what was learnt of a host, nothing of one that could not be asked.
func (o Observed) Facts(host string) fact.Set { return o.facts(host) }

// ofCluster tells what belongs to no single host: every one of Keepers
// remembers it.
func ofCluster(id resource.ID) bool { return describe(id).Scope == resource.ScopeCluster }

// Keepers are the hosts whose states remember what belongs to no single host:
// the masters, and without Kubernetes the members of etcd.
func Keepers(inv *inventory.Inventory) []inventory.Host {
	if inv.Kubernetes() {
		return inv.With(inventory.RoleMaster)
	}
	return inv.With(inventory.RoleEtcd)
}

// orphans returns deletions for what a state remembers and the plan no longer
// has, programs first. When each may go is decided later.
func orphans(host string, state fact.State, gone func(resource.ID) bool) []Item {
	var ids []string
	for id := range state.Resources {
		if gone(resource.ID(id)) {
			ids = append(ids, id)
		}
	}
	sort.Slice(ids, func(i, j int) bool {
		a, b := describe(resource.ID(ids[i])).Program(), describe(resource.ID(ids[j])).Program()
		if a != b {
			return a
		}
		return ids[i] < ids[j]
	})
	var items []Item
	for _, id := range ids {
		orphan := resource.Orphan{Was: resource.ID(id), Record: state.Resources[id]}
		change, _ := orphan.Diff(fact.Set{}) // an orphan's Diff looks at nothing and can't fail
		items = append(items, Item{&Step{Host: host, Resource: orphan}, &change})
	}
	return items
}

// Summary counts what a delta would do.
type Summary struct {
	Create         int `json:"create"`
	Change         int `json:"change"`
	Delete         int `json:"delete"`
	Restart        int `json:"restart"`
	Check          int `json:"check"`
	Deferred       int `json:"deferred"`
	HostsChanged   int `json:"hosts_changed"`
	HostsUnchanged int `json:"hosts_unchanged"`
	Hosts          int `json:"hosts"`
	Unreachable    int `json:"unreachable"`
	// Later is the number of changes that wait for unreachable hosts.
	Later int `json:"later"`
	// Of the resources that would change, those of the cluster's API and etcd's
	// keys, and those on the operator's machine: they belong to no host.
	Cluster  int `json:"cluster"`
	Operator int `json:"operator"`
}

// Changes is the number of resources that would change.
func (s Summary) Changes() int {
	return s.Create + s.Change + s.Delete + s.Restart + s.Check + s.Deferred
}

// Summary counts the delta's changes.
func (d *Delta) Summary() Summary {
	s := Summary{Unreachable: len(d.Unreachable), Later: len(d.Later), Hosts: len(d.Hosts())}
	touched := map[string]bool{}
	for _, item := range d.Items {
		switch item.Change.Action {
		case resource.Create:
			s.Create++
		case resource.Update, resource.Replace:
			s.Change++
		case resource.Delete:
			s.Delete++
		case resource.Restart, resource.Reload:
			s.Restart++
		case resource.Verify:
			s.Check++
		case resource.Deferred:
			s.Deferred++
		}
		switch {
		case !item.Change.Changes():
		case item.Step.Host == Cluster:
			s.Cluster++
		case item.Step.Host == Operator:
			s.Operator++
		default:
			touched[item.Step.Host] = true
		}
	}
	for _, host := range d.Hosts() {
		switch {
		case touched[host]:
			s.HostsChanged++
		case d.Unreachable[host] == nil:
			s.HostsUnchanged++
		}
	}
	return s
}

package plan

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
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

// Item is a step and what it would change.
type Item struct {
	Step   Step
	Change resource.Change
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
	delta := &Delta{Plan: p, Observed: observed, Unreachable: map[string]error{}, Leaving: p.Departures(observed)}
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

	changed := map[StepID]bool{}
	delta.Items = make([]Item, 0, len(p.Steps))
	routes := map[string]resource.StaticRoutes{}
	for i := range p.Steps {
		step := &p.Steps[i]
		if r, ok := step.Resource.(resource.StaticRoutes); ok {
			routes[step.Host] = r
		}
		if delta.Unreachable[step.Host] != nil {
			continue
		}
		step, facts := delta.asFound(step, observed.facts(step.Host))
		change, err := step.Resource.Diff(facts)
		if err != nil {
			delta.Problems = append(delta.Problems, Problem{Host: step.Host, Summary: fmt.Sprintf("%s: %v", step.resourceID(), err)})
			continue
		}
		if _, isGate := step.Resource.(resource.Gate); isGate {
			if delta.Upgrade != nil && step.resourceID() == etcdGateID {
				change.Action = resource.Wait // it is asked before API servers are touched
			}
			for _, before := range step.After {
				if changed[before] {
					change.Action = resource.Wait
				}
			}
		}
		if change.Action != resource.NoOp {
			changed[step.ID()] = true
		}
		if host, ok := step.Resource.(resource.Host); ok {
			change.Record = p.remember(host.Name, observed)
		}
		if record, ok := facts.Host.State.Resources[string(step.resourceID())]; ok && record.Equal(change.Record) {
			change.Record = record // no second copy of what is the same on nearly every host
		}
		delta.Items = append(delta.Items, Item{*step, change})
	}
	var early, late []Item           // what carries pods, and the rest
	wanted := map[resource.ID]bool{} // of one host after the other
	collect := func(host string, state fact.State, counts func(resource.ID) bool) {
		clear(wanted)
		for _, i := range p.look().steps[host] {
			wanted[p.Steps[i].resourceID()] = true
		}
		for _, item := range orphans(host, state, func(id resource.ID) bool { return !wanted[id] && counts(id) }) {
			if was := item.Step.Resource.ID(); was.Kind() == resource.KindRoute && routes[host].Table != nil && routes[host].Leads(was.Name()) {
				// Remembered by a version that had a resource for each route. It stays: it is
				// one of StaticRoutes now, and no more to be remembered by itself.
				item.Change = resource.Change{Action: resource.NoOp}
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
		collect(Cluster, p.shared(observed), func(id resource.ID) bool { return ofCluster(id) && id.Kind() != resource.KindNode })
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
		items = append(items, Item{Step{Host: host, Resource: orphan}, change})
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

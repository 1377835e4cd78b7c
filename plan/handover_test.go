package plan

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// follows is what is observed of the machines of a plan when another plan was
// applied to them: only what left is told, all else is to be done.
func follows(old, next *Plan) Observed {
	observed := Observed{Hosts: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
	for _, h := range next.Inventory.Hosts {
		o := bare(next, h)
		state := fact.State{Cluster: next.Inventory.Cluster.Name, Resources: map[string]fact.Record{}}
		for _, s := range old.Steps {
			if s.Host == h.Name || s.Host == Cluster && slices.ContainsFunc(Keepers(old.Inventory), func(k inventory.Host) bool { return k.Name == h.Name }) && ofCluster(s.Resource.ID()) {
				state.Resources[string(s.Resource.ID())] = fact.Record{Digest: "x"}
			}
		}
		o.Facts.Host.State = state
		o.Facts.Host.Links = map[string]fact.Link{"cni0": {MTU: old.Inventory.Network.PodMTU()}}
		o.Facts.Put(fact.Key{Kind: fact.KindFile, Name: memberDirectory(old.Inventory)}, fact.File{Exists: h.Has(inventory.RoleEtcd), Type: "directory"})
		observed.Hosts[h.Name] = o
	}
	return observed
}

func withNetwork(t *testing.T, network inventory.Network) *Plan {
	inv := load(t, "lab")
	inv.Network = network
	return compile(t, inv)
}

// From one network to another: the golden files hold the order, and what each
// step waits for; then what must hold for any of them.
func TestHandOver(t *testing.T) {
	all := networks()
	all["routes"] = inventory.Network{Kind: inventory.NetworkRoutes}
	for _, tt := range []struct{ from, to string }{
		{"routes", "flannel-etcd"},
		{"flannel-etcd", "routes"},
		{"flannel-kubernetes", "bird-ospf"},
		{"bird-bgp", "flannel-kubernetes"},
		{"flannel-etcd", "flannel-kubernetes"},
		{"bird-ospf", "flannel-kubernetes"},
		{"routes", "openvswitch"},
		{"openvswitch", "bird-ospf"},
	} {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			old, next := withNetwork(t, all[tt.from]), withNetwork(t, all[tt.to])
			delta := next.Diff(follows(old, next))
			steps := map[StepID]Step{}
			var order []Step
			for _, item := range delta.Items {
				steps[item.Step.ID()] = *item.Step
				order = append(order, *item.Step)
			}
			order = inOrder(order, placesOf(order)) // panics at a cycle
			if len(order) != len(delta.Items) {
				t.Fatalf("%d of %d steps can be ordered", len(order), len(delta.Items))
			}
			part := map[StepID]bool{}
			var arrivals, departures []StepID
			var b strings.Builder
			for _, s := range order {
				gate, isGate := s.Resource.(resource.Gate)
				_, leaves := s.Resource.(resource.Orphan)
				var sign string
				switch {
				case isGate && ofHandOver(gate):
					sign = "◷"
				case leaves && carriesPods(s.Resource.ID()):
					sign = "-"
					departures = append(departures, s.ID())
				case s.Successor || s.Resource.ID().Kind() == resource.KindInterimRoutes:
					sign = "+"
					arrivals = append(arrivals, s.ID())
				case s.Resource.ID().Kind() == "podmtu":
					sign = "~"
				default:
					continue
				}
				part[s.ID()] = true
				fmt.Fprintf(&b, "%s %s\n", sign, s.ID())
				for _, id := range s.After {
					if part[id] {
						fmt.Fprintf(&b, "    after %s\n", id)
					}
				}
			}
			golden(t, filepath.Join("testdata", "handover", tt.from+" to "+tt.to+".txt"), []byte(b.String()))

			waits := func(id, on StepID) bool { return waitsFor(steps, id, on, map[StepID]bool{}) }
			for _, gone := range departures {
				for _, came := range arrivals {
					if !waits(gone, came) {
						t.Errorf("%s goes before %s has come", gone, came)
					}
				}
			}
			// Host by host, a gate between.
			hosts := next.Hosts()
			for _, ids := range [][]StepID{arrivals, departures} {
				for _, a := range ids {
					for _, b := range ids {
						i, j := indexOf(hosts, steps[a].Host), indexOf(hosts, steps[b].Host)
						if i >= 0 && j == i+1 && !waits(b, a) && !describe(steps[a].Resource.ID()).Outlasts {
							t.Errorf("%s does not wait for %s", b, a)
						}
					}
				}
			}
		})
	}
}

func ofHandOver(gate resource.Gate) bool {
	return gate.Kind == resource.CheckReachable || gate.Kind == resource.CheckLearnt || gate.Kind == resource.CheckStillReachable
}

func indexOf(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

// waitsFor reports whether a step is done after another, directly or not.
func waitsFor(steps map[StepID]Step, id, on StepID, seen map[StepID]bool) bool {
	if id == on {
		return true
	}
	if seen[id] {
		return false
	}
	seen[id] = true
	for _, before := range steps[id].After {
		if waitsFor(steps, before, on, seen) {
			return true
		}
	}
	return false
}

// Nothing is handed over where only a host comes or goes, on bare machines, or
// when the network is somebody else's from now on.
func TestNothingHandedOver(t *testing.T) {
	routes := withNetwork(t, inventory.Network{Kind: inventory.NetworkRoutes})
	lessRoutes := func() Observed {
		observed := follows(routes, routes)
		for _, o := range observed.Hosts {
			o.Facts.Host.State.Resources["route:10.244.99.0/24"] = fact.Record{Digest: "10.88.0.99"}
			o.Facts.Put(fact.Key{Kind: fact.KindRoutes, Name: fact.RoutesOfMetric(resource.RouteMetric)}, fact.Routes{Routes: []fact.HostRoute{
				{Destination: "10.244.98.0/24", Route: fact.Route{Exists: true, Via: "10.88.0.98"}},
			}})
		}
		return observed
	}
	external := withNetwork(t, inventory.Network{Kind: inventory.NetworkExternal})
	for name, delta := range map[string]*Delta{
		"a host leaves": routes.Diff(lessRoutes()),
		"bare machines": routes.Diff(follows(&Plan{Inventory: routes.Inventory}, routes)),
		"external":      external.Diff(follows(routes, external)),
	} {
		for _, item := range delta.Items {
			if gate, ok := item.Step.Resource.(resource.Gate); ok && ofHandOver(gate) {
				t.Errorf("%s: %s", name, item.Step.ID())
			}
		}
	}
}

// A program of the network that is started anew takes its host out for a
// moment: that happens to one host at a time as well, but not when it is only
// reloaded or enabled.
func TestHandOverOfRestarts(t *testing.T) {
	p := withNetwork(t, networks()["flannel-etcd"])
	for action, gates := range map[resource.Action]int{resource.Restart: 6, resource.Reload: 0, resource.Update: 0} {
		delta := &Delta{Plan: p}
		for i := range p.Steps {
			change := resource.Change{Action: resource.NoOp}
			if p.Steps[i].Successor {
				change.Action = action
			}
			delta.Items = append(delta.Items, Item{&p.Steps[i], &change})
		}
		if found := delta.handOver(order{}, nil); len(found) != gates {
			t.Errorf("%s: %d gates, want %d", action, len(found), gates)
		}
	}
}

// A host that can't be reached would be cut off.
func TestHandOverWithoutAHost(t *testing.T) {
	all := networks()
	old, next := withNetwork(t, inventory.Network{Kind: inventory.NetworkRoutes}), withNetwork(t, all["bird-ospf"])
	observed := follows(old, next)
	observed.Hosts["huashan"] = Observation{Err: errors.New("no answer")}
	delta := next.Diff(observed)
	if len(delta.Problems) != 1 || delta.Problems[0].Host != "huashan" || !strings.Contains(delta.Problems[0].Summary, "cut off") {
		t.Errorf("problems: %v", delta.Problems)
	}
	limited := next.Limit([]string{"shaolin", "wudang"}).Diff(observed)
	if len(limited.Problems) != 0 {
		t.Errorf("problems with -limit: %v", limited.Problems)
	}
}

// What all hosts share stays when only some are to be changed: the others may
// live by it.
func TestLimitKeepsWhatIsShared(t *testing.T) {
	all := networks()
	old, next := withNetwork(t, all["flannel-kubernetes"]), withNetwork(t, all["bird-ospf"])
	delta := next.Limit([]string{"shaolin", "huashan"}).Diff(follows(old, next))
	for _, item := range delta.Items {
		if item.Step.Host == Cluster && item.Change.Action == resource.Delete {
			t.Errorf("%s is deleted", item.Step.ID())
		}
	}
}

// Another version of kinstall had a resource for each route. A host that
// remembers those keeps every route that is still wanted, forgets that they were
// resources of their own, and loses those to hosts that are gone.
func TestRoutesOfAnotherVersion(t *testing.T) {
	p := withNetwork(t, inventory.Network{Kind: inventory.NetworkRoutes})
	observed := follows(p, p)
	var kept []string
	for name, o := range observed.Hosts {
		state := o.Facts.Host.State.Resources
		delete(state, "staticroutes:pods")
		var found fact.Routes
		for _, row := range p.Addresses {
			if row.Host != name {
				state["route:"+row.PodSubnet] = fact.Record{Digest: row.Address}
				kept = append(kept, name+"/route:"+row.PodSubnet)
				found.Routes = append(found.Routes, fact.HostRoute{Destination: row.PodSubnet, Route: fact.Route{Exists: true, Via: row.Address}})
			}
		}
		gone := fact.HostRoute{Destination: "10.244.99.0/24", Route: fact.Route{Exists: true, Via: "10.88.0.99"}}
		state["route:"+gone.Destination] = fact.Record{Digest: gone.Via}
		found.Routes = append(found.Routes, gone)
		o.Facts.Put(fact.Key{Kind: fact.KindRoutes, Name: fact.RoutesOfMetric(resource.RouteMetric)}, found)
	}
	delta := p.Diff(observed)
	forgotten := map[string]bool{}
	for _, item := range delta.Items {
		id := item.Step.Resource.ID()
		switch {
		case id.Kind() == resource.KindStaticRoutes && (item.Change.Action != resource.NoOp || item.Change.Record.Empty()):
			t.Errorf("%s is not taken over as it is: %+v", item.Step.ID(), item.Change)
		case id == "route:10.244.99.0/24":
			if item.Change.Action != resource.Delete {
				t.Errorf("%s: %s, to a host that is gone", item.Step.ID(), item.Change.Action)
			}
		case id.Kind() == resource.KindRoute:
			if item.Change.Action != resource.NoOp {
				t.Errorf("%s is to %s", item.Step.ID(), item.Change.Action)
			}
			forgotten[string(item.Step.ID())] = true
		}
		if gate, ok := item.Step.Resource.(resource.Gate); ok && ofHandOver(gate) {
			t.Errorf("%s, though no network changes", item.Step.ID())
		}
	}
	for _, id := range kept {
		if !forgotten[id] {
			t.Errorf("%s stays in the state for ever", id)
		}
	}

	// To another network, they go as ever.
	next := withNetwork(t, networks()["flannel-etcd"])
	for name, o := range follows(p, next).Hosts {
		o.Facts.Host.State.Resources["route:10.244.99.0/24"] = fact.Record{Digest: "10.88.0.99"}
		observed.Hosts[name] = o
	}
	deleted := 0
	for _, item := range next.Diff(observed).Items {
		if item.Step.Resource.ID().Kind() == resource.KindRoute && item.Change.Action == resource.Delete {
			deleted++
		}
	}
	if deleted != len(next.Hosts()) {
		t.Errorf("%d of %d routes are deleted", deleted, len(next.Hosts()))
	}
}

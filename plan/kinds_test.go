package plan

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/templates"
)

// Whatever kind of network, runtime or load balancer an inventory may name has
// its line, once.
func TestEveryKindOfTheInventoryIsDescribed(t *testing.T) {
	var networks, runtimes, balancers []string
	for _, n := range networkKinds() {
		networks = append(networks, n.kind)
	}
	for _, r := range runtimeKinds() {
		runtimes = append(runtimes, r.kind)
		if r.add == nil || r.unit == "" || r.criUnit == "" || r.criSocket == "" || r.forward == "" {
			t.Errorf("runtime %s is described in part: %+v", r.kind, r)
		}
	}
	for _, b := range balancerKinds() {
		balancers = append(balancers, b.kind)
		upstreams := 0
		for _, f := range b.files {
			if f.upstream {
				upstreams++
			}
			if !slices.Contains(templates.Names(), f.path[1:]) {
				t.Errorf("load balancer %s: %s has no template", b.kind, f.path)
			}
		}
		installed := len(b.packages) > 0 && b.unit != "" && upstreams == 1
		if b.kind == inventory.BalancerExternal {
			installed = len(b.packages) == 0 && b.unit == "" && upstreams == 0
		}
		if !installed || b.asks == nil {
			t.Errorf("load balancer %s is described in part: %+v", b.kind, b)
		}
	}
	for _, c := range []struct {
		what      string
		want, got []string
	}{
		{"network", inventory.NetworkKinds(), networks},
		{"runtime", inventory.RuntimeKinds(), runtimes},
		{"load balancer", inventory.BalancerKinds(), balancers},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("kinds of %s, the inventory's and the table's (-want +got):\n%s", c.what, diff)
		}
	}
}

// A step is where its kind's descriptor says; and what carries packets between
// hosts' pods is the same for one who comes and one who goes: each program that
// takes over from another network is known as one that leaves, too, and the
// other way round.
func TestStepsAreAsDescribed(t *testing.T) {
	for name, inv := range variants(t) {
		t.Run(name, func(t *testing.T) {
			own := networkOf(inv)
			if own.kind != inv.Network.Kind {
				t.Errorf("network %q is described as %+v", inv.Network.Kind, own)
			}
			for _, s := range compile(t, inv).Steps {
				id := s.Resource.ID()
				d, known := resource.Describe(id.Kind())
				if !known {
					t.Errorf("%s has no descriptor", s.ID())
				}
				scope := resource.ScopeHost
				switch s.Host {
				case Cluster:
					scope = resource.ScopeCluster
					if id.Kind() == resource.KindHost {
						scope = resource.ScopeKeepers
					}
				case Operator:
					scope = resource.ScopeOperator
				}
				if d.Scope != scope {
					t.Errorf("%s has the scope %q", s.ID(), d.Scope)
				}
				if s.Successor && !carriesPods(id) {
					t.Errorf("%s carries pods, and would not be known as such when it leaves", s.ID())
				}
				if carriesPods(id) && (d.Program() || slices.Contains(own.eachHost, id.Kind())) && (!s.Successor || !own.sends(id)) {
					t.Errorf("%s carries pods, and would not be known as such when it comes", s.ID())
				}
			}
		})
	}
}

// Several components of a host may ask for what is of a shared kind, and their
// edges are joined; anything else added twice is a mistake of the programmer.
func TestSharedKinds(t *testing.T) {
	for _, c := range []struct {
		r      resource.Resource
		shared bool
	}{
		{resource.Directory{Path: "/etc/x"}, true},
		{resource.Package{Name: "x"}, true},
		{resource.Module{Name: "x"}, true},
		{resource.File{Path: "/etc/x"}, false},
		{resource.Unit{Name: "x.service"}, false},
		{resource.Sysctl{Key: "net.x"}, false},
	} {
		b := builder{index: map[StepID]int{}}
		twice := func() (panicked bool) {
			defer func() { panicked = recover() != nil }()
			b.add("emei", c.r, []StepID{"emei/file:/b"})
			b.add("emei", c.r, []StepID{"emei/file:/a"}, []StepID{"emei/file:/b"})
			return false
		}
		if panicked := twice(); panicked == c.shared {
			t.Errorf("%s added twice: a mistake: %v", c.r.ID(), panicked)
		}
		if len(b.steps) != 1 {
			t.Fatalf("%s: %d steps", c.r.ID(), len(b.steps))
		}
		want := []StepID{"emei/file:/b"}
		if c.shared {
			want = []StepID{"emei/file:/a", "emei/file:/b"}
		}
		if diff := cmp.Diff(want, b.steps[0].After); diff != "" {
			t.Errorf("%s comes after (-want +got):\n%s", c.r.ID(), diff)
		}
	}
}

package provision

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

// A host that is down is left for later, and the others are changed, also what
// would wait for that host.
func TestSkipUnreachable(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin", "wudang", "emei", "huashan")
	f.roles(map[string]string{"shaolin": inventory.RoleMaster, "wudang": inventory.RoleMaster, "emei": inventory.RoleMaster, "huashan": inventory.RoleWorker})
	made, away := f.directory(t, "shaolin"), f.directory(t, "huashan")
	waiting := resource.Directory{Path: f.hosts["wudang"].path("/etc/waiting"), Ownership: self(t, 0o755)}
	f.step("wudang", waiting, f.steps[1].ID())
	f.hosts["huashan"].Close()
	release, err := f.Lock(t.Context(), []string{"shaolin", "wudang", "emei", "huashan"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer release()

	p := f.plan().SkipUnreachable()
	observed, err := f.Observe(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	delta := p.Diff(observed)
	delta.Problems = nil // what the test's own machine lacks
	if diff := cmp.Diff([]string{"huashan"}, delta.Skipped()); diff != "" {
		t.Fatalf("left for later (-want +got):\n%s", diff)
	}
	report, err := f.executor().Apply(t.Context(), delta)
	if err != nil {
		t.Fatal(err)
	}
	want := map[plan.StepID]EventKind{f.steps[0].ID(): Finished, f.steps[2].ID(): Finished}
	if diff := cmp.Diff(want, outcomes(report)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, path := range []string{made, waiting.Path} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	absent(t, away)
}

// The gate of etcd lets pass what a quorum serves, when it is said who is away;
// nobody else may be ill.
func TestServesWithout(t *testing.T) {
	health := func(leader string, ill ...string) cluster.Health {
		h := cluster.Health{Leader: leader}
		for _, name := range []string{"shaolin", "wudang", "emei"} {
			m := cluster.MemberHealth{Name: name}
			for _, other := range ill {
				if other == name {
					m.Problem = "connection refused"
				}
			}
			h.Members = append(h.Members, m)
		}
		return h
	}
	for _, c := range []struct {
		name    string
		health  cluster.Health
		without []string
		want    bool
	}{
		{"the one that is left out is ill", health("shaolin", "emei"), []string{"emei"}, true},
		{"it is well all the same", health("shaolin"), []string{"emei"}, true},
		{"another one is ill", health("shaolin", "wudang"), []string{"emei"}, false},
		{"no leader", health("", "emei"), []string{"emei"}, false},
		{"no quorum", health("shaolin", "wudang", "emei"), []string{"wudang", "emei"}, false},
	} {
		if got := serves(c.health, c.without); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

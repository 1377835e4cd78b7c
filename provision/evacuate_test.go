package provision

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// fakeNodes are nodes whose cordons a test looks at.
type fakeNodes struct {
	checks *fakeChecks                                  // what is asked of nodes is noted there
	theirs bool                                         // somebody else has cordoned them
	drains func(ctx context.Context, node string) error // what becomes of a drain
}

func (n *fakeNodes) cordon(_ context.Context, node, why string) (bool, error) {
	n.checks.note("cordon " + node + " for a " + why)
	return !n.theirs, nil
}

func (n *fakeNodes) uncordon(_ context.Context, node, why string) error {
	n.checks.note("uncordon " + node + " from a " + why)
	return nil
}

func (n *fakeNodes) drain(ctx context.Context, node string, _ func(string)) error {
	n.checks.note("drain " + node)
	if n.drains == nil {
		return nil
	}
	return n.drains(ctx, node)
}

func (n *fakeNodes) remove(_ context.Context, node string) error {
	n.checks.note("remove " + node)
	return nil
}

// evacuated is a fleet with a member on each host whose node is drained for its
// turn, and the delta in which all of them change.
func evacuated(t *testing.T, hosts ...string) (*testFleet, *fakeHosts, *plan.Delta) {
	t.Helper()
	f := newFleet(t, Options{}, hosts...)
	s := fakes(f)
	for _, host := range hosts {
		f.add(plan.Step{Host: host, Resource: named(host), Rollout: &plan.Rollout{Group: "kubelet-workers", Evacuate: host}})
	}
	delta := f.everything(t)
	for i := range delta.Items {
		delta.Items[i].OwnChange().Action = resource.Restart
		turnOf(delta, i)
	}
	return f, s, delta
}

// A node is drained before its member is touched, and takes pods again when the
// member was seen to work, or nothing has come of its turn.
func TestTurnEvacuatesItsNode(t *testing.T) {
	broken, forbidden := errors.New("no answer"), errors.New("the disruption budget web needs 2 healthy pods")
	for _, c := range []struct {
		name    string
		theirs  bool
		works   []error // of each look at the member
		drains  error
		want    []string
		touched int
	}{
		{name: "it works",
			want:    []string{"before kubelet-workers", "cordon huashan for a turn", "drain huashan", "after kubelet-workers", "uncordon huashan from a turn"},
			touched: 1},
		{name: "it does not and is rolled back", works: []error{broken, nil},
			want:    []string{"before kubelet-workers", "cordon huashan for a turn", "drain huashan", "after kubelet-workers", "after kubelet-workers", "uncordon huashan from a turn"},
			touched: 1},
		{name: "it can't be put back", works: []error{broken, broken}, // pods would go where none can run
			want:    []string{"before kubelet-workers", "cordon huashan for a turn", "drain huashan", "after kubelet-workers", "after kubelet-workers"},
			touched: 1},
		{name: "a budget forbids it", drains: forbidden,
			want: []string{"before kubelet-workers", "cordon huashan for a turn", "drain huashan", "uncordon huashan from a turn"}},
		{name: "somebody else has cordoned it", theirs: true,
			want:    []string{"before kubelet-workers", "cordon huashan for a turn", "drain huashan", "after kubelet-workers"},
			touched: 1},
		{name: "a budget forbids it, and somebody else has cordoned it", theirs: true, drains: forbidden,
			want: []string{"before kubelet-workers", "cordon huashan for a turn", "drain huashan"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, s, delta := evacuated(t, "huashan")
			looks := 0
			checks := &fakeChecks{works: func(plan.Rollout, processes) error {
				looks++
				if looks > len(c.works) {
					return nil
				}
				return c.works[looks-1]
			}}
			e := f.executor()
			e.checks = checks
			e.nodes = &fakeNodes{checks: checks, theirs: c.theirs, drains: func(context.Context, string) error {
				if len(s.begun()) > 0 {
					t.Error("the member was touched before its node was drained")
				}
				return c.drains
			}}
			_, err := e.Apply(t.Context(), delta)
			switch {
			case c.drains != nil:
				if !errors.Is(err, c.drains) || !strings.Contains(err.Error(), "not touched: ") {
					t.Errorf("Apply: %v", err)
				}
			case c.works != nil:
				if !errors.Is(err, broken) {
					t.Errorf("Apply: %v", err)
				}
			case err != nil:
				t.Errorf("Apply: %v", err)
			}
			if diff := cmp.Diff(c.want, checks.asked); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := len(s.begun()); got != c.touched {
				t.Errorf("the member was touched %d times, not %d", got, c.touched)
			}
		})
	}
}

// One that does not serve has nothing to lose: its kubelet could not even end
// its pods.
func TestTurnEvacuatesNoNodeThatIsDown(t *testing.T) {
	f, _, delta := evacuated(t, "huashan")
	delta.Turns[0].Down = true
	checks := &fakeChecks{}
	e := f.executor()
	e.checks, e.nodes = checks, &fakeNodes{checks: checks}
	if _, err := e.Apply(t.Context(), delta); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"after kubelet-workers"}, checks.asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An interrupt ends a drain that waits: the node takes pods again, and nothing
// was touched.
func TestDrainIsGivenUp(t *testing.T) {
	f, s, delta := evacuated(t, "huashan", "hengshan")
	ctx, interrupt := context.WithCancel(t.Context())
	checks := &fakeChecks{}
	e := f.executor()
	e.checks = checks
	e.nodes = &fakeNodes{checks: checks, drains: func(ctx context.Context, _ string) error {
		interrupt()
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), errStopped) {
			t.Errorf("the drain ends because of %v", context.Cause(ctx))
		}
		return context.Cause(ctx)
	}}
	report, err := e.Apply(ctx, delta)
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("Apply: %v", err)
	}
	for id, kind := range outcomes(report) {
		if kind != Skipped {
			t.Errorf("%s: %s", id, kind)
		}
	}
	if diff := cmp.Diff([]string{"before kubelet-workers", "cordon huashan for a turn", "drain huashan", "uncordon huashan from a turn"}, checks.asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(s.begun()) > 0 {
		t.Errorf("touched %v", s.begun())
	}
}

// A node that was drained in vain, because another member's change failed
// meanwhile, takes pods again.
func TestDrainedInVain(t *testing.T) {
	f, s, delta := evacuated(t, "huashan", "hengshan", "songshan")
	f.inventory.Rollout.Workers = inventory.Batch{Hosts: 2}
	failed := make(chan struct{})
	checks := &fakeChecks{}
	checks.works = func(r plan.Rollout, _ processes) error {
		if r.Evacuate != "hengshan" {
			return nil
		}
		select {
		case <-failed:
			return nil // rolled back
		default:
			close(failed)
			return errors.New("no answer")
		}
	}
	e := f.executor()
	e.checks = checks
	e.nodes = &fakeNodes{checks: checks, drains: func(_ context.Context, node string) error {
		if node == "songshan" {
			<-failed
		}
		return nil
	}}
	report, err := e.Apply(t.Context(), delta)
	if err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("Apply: %v", err)
	}
	if kind := outcomes(report)[delta.Items[2].Step.ID()]; kind != Skipped {
		t.Errorf("songshan: %s", kind)
	}
	if touched := s.begun(); len(touched) != 2 {
		t.Errorf("touched %v", touched)
	}
	lifted := map[string]int{}
	for _, what := range checks.asked {
		if strings.HasPrefix(what, "uncordon ") {
			lifted[what]++
		}
	}
	if diff := cmp.Diff(map[string]int{"uncordon huashan from a turn": 1, "uncordon hengshan from a turn": 1, "uncordon songshan from a turn": 1}, lifted); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

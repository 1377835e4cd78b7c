package provision

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// How the pod before crashed is no word about the one that follows it: after a
// rollback the pod of the bad manifest is still seen until the kubelet takes
// up the good one.
func TestCrashesOfThePodBefore(t *testing.T) {
	p := resource.Process{Host: "shaolin", Pod: "kube-apiserver"}
	bad := status{pod: "b", crashes: 7, trouble: "does not run: restarted 7 times"}
	found := map[resource.Process]status{p: bad}
	before := processes{pod: map[resource.Process]string{p: "b"}}
	if err := hopeless(found, before, turnCrashes); err != nil {
		t.Errorf("the pod before: %v", err)
	}
	for name, before := range map[string]processes{
		"another pod": {pod: map[resource.Process]string{p: "a"}}, "none before": {}, "whichever runs": {any: true, pod: before.pod},
	} {
		var crash *ProcessError
		if err := hopeless(found, before, turnCrashes); !errors.As(err, &crash) || crash.Process != p {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A container that was started again and does not run for a while waits for the
// kubelet's back-off: it has crashed once more than it was started again.
func TestBackOffCounts(t *testing.T) {
	p, unit := resource.Process{Host: "shaolin", Pod: "kube-apiserver"}, resource.Process{Host: "shaolin", Unit: "etcd.service"}
	begin := time.Now()
	b := backOff{}
	var got []int
	for _, look := range []struct {
		at     time.Duration
		status status
	}{
		{0, status{pod: "a", crashes: 0}},                                 // has not begun
		{5 * time.Second, status{pod: "a", crashes: 0}},                   // takes long to begin
		{6 * time.Second, status{pod: "a", crashes: 1}},                   // started again, or about to be
		{8 * time.Second, status{pod: "a", crashes: 1}},                   //
		{8500 * time.Millisecond, status{pod: "a", crashes: 1}},           //
		{9 * time.Second, status{pod: "a", crashes: 1}},                   // it waits
		{10 * time.Second, status{pod: "a", crashes: 1, identity: "a 1"}}, // runs
		{11 * time.Second, status{pod: "a", crashes: 1}},                  //
		{13 * time.Second, status{pod: "b", crashes: 1}},                  // another pod
		{15 * time.Second, status{pod: "b", crashes: 1}},                  //
	} {
		statuses := map[resource.Process]status{p: look.status, unit: {crashes: 1}}
		counted := b.counts(statuses, begin.Add(look.at))
		got = append(got, counted[p].crashes)
		if counted[unit].crashes != 1 {
			t.Errorf("at %s a unit has crashed %d times", look.at, counted[unit].crashes)
		}
	}
	if diff := cmp.Diff([]int{0, 0, 1, 1, 1, 2, 1, 1, 1, 1}, got); diff != "" {
		t.Errorf("crashes (-want +got):\n%s", diff)
	}
}

// What is to hold after a rollback is what held before the change.
func TestChecksOfARollback(t *testing.T) {
	runs := resource.Check{Kind: resource.CheckProcess, Process: resource.Process{Host: "emei", Unit: "nginx.service"}}
	held, newPort := resource.Check{Kind: resource.CheckHealthz, URL: "http://127.0.0.1:1/"}, resource.Check{Kind: resource.CheckEndpoint, Host: "emei"}
	r := plan.Rollout{After: []resource.Check{runs, held, newPort}}
	before := processes{held: map[resource.Check]bool{runs: true, held: true, newPort: false}}
	if diff := cmp.Diff([]resource.Check{runs, held}, before.rollback(r).After); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	before.held[runs] = false
	if diff := cmp.Diff([]resource.Check{runs, held}, before.rollback(r).After); diff != "" {
		t.Errorf("its process is asked for in any case (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(r.After, anyProcesses.rollback(r).After); diff != "" {
		t.Errorf("nobody looked before (-want +got):\n%s", diff)
	}
	if len(r.After) != 3 {
		t.Errorf("the plan's own checks were changed: %v", r.After)
	}
}

// Where bringing a member's files fails before it was started with any, they
// are put back and it is not started anew.
func TestRollBackOfWhatWasNotStarted(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.program(t, "systemctl", systemctl)
	member := func(content string) {
		f.steps = nil
		first := resource.File{Path: h.path("/etc/member.env"), Content: []byte(content), Ownership: self(t, 0o640)}
		second := resource.File{Path: h.path("/etc/other.env"), Content: []byte(content), Ownership: self(t, 0o640)}
		after := []plan.StepID{f.step("shaolin", first), f.step("shaolin", second)}
		f.add(plan.Step{Host: "shaolin", After: after, Rollout: &plan.Rollout{Group: "etcd"},
			Resource: resource.Unit{Name: "member.service", Inputs: []resource.Input{first, second}, NoBlock: true}})
	}
	member("good\n")
	e := f.executor()
	e.checks = &fakeChecks{}
	if _, err := e.Apply(t.Context(), f.survey(t)); err != nil {
		t.Fatal(err)
	}
	f.connectAnew(t, Options{})
	member("new\n")
	delta := f.survey(t)
	for i := range delta.Items { // the second file can't be written
		if file, ok := delta.Items[i].Step.Resource.(resource.File); ok && strings.HasSuffix(file.Path, "other.env") {
			file.Owner = "nobody-of-this-name"
			delta.Items[i].OwnStep().Resource = file
		}
	}
	e = f.executor()
	checks := &fakeChecks{runs: map[resource.Process]string{{Host: "shaolin", Unit: "member.service"}: "1"}}
	e.checks = checks
	_, err := e.Apply(t.Context(), delta)
	var back *RolledBackError
	if !errors.As(err, &back) {
		t.Errorf("Apply: %v", err)
	}
	if got := h.read(t, h.path("/etc/member.env")); got != "good\n" {
		t.Errorf("the file holds %q", got)
	}
	if done := h.journal(t); len(done) != 1 {
		t.Errorf("the unit was started anew: %v", done)
	}
	// It goes on running: no other process is waited for.
	if diff := cmp.Diff([]string{"before etcd", "after etcd"}, checks.asked); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}

// A member that is only looked at, and runs, is not given up for how often it has
// crashed before: it is if it crashes once more.
func TestCrashesBeforeALook(t *testing.T) {
	p := resource.Process{Host: "emei", Pod: "kube-scheduler"}
	runs := func(crashes int) map[resource.Process]status {
		return map[resource.Process]status{p: {pod: "a", identity: "a 1", crashes: crashes, trouble: "runs, but not for long: restarted 2 times"}}
	}
	waits := map[resource.Process]status{p: {pod: "a", crashes: 2, trouble: "not running: restarted 2 times"}}
	for _, c := range []struct {
		name       string
		first, now map[resource.Process]status
		hopeless   bool
	}{
		{"it runs on", runs(2), runs(2), false},
		{"it crashed once more", runs(2), runs(3), true},
		{"it did not run to begin with", waits, waits, true},
		{"it never crashed", map[resource.Process]status{p: {pod: "a", identity: "a 1"}}, runs(1), false},
	} {
		if err := hopeless(c.now, anyProcesses, seenCrashes(c.first)); (err != nil) != c.hopeless {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A kubelet of another version may begin static pods anew, a moment after it says
// that its node is Ready.
func TestStaticPodsAreTakenUp(t *testing.T) {
	begun := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	kubelet := status{identity: "1", since: begun, age: 2 * time.Second}
	old := kubelet
	old.age = 15 * time.Second
	for _, c := range []struct {
		name         string
		kubelet, pod status
		want         bool
	}{
		{"the pod of the kubelet before", kubelet, status{identity: "a", since: begun.Add(-time.Minute)}, false},
		{"it has ended", kubelet, status{since: begun.Add(-time.Minute)}, false},
		{"begun anew", kubelet, status{identity: "b", since: begun.Add(time.Second)}, true},
		{"left as it was", old, status{identity: "a", since: begun.Add(-time.Minute)}, true},
		{"no kubelet", status{age: time.Hour}, status{identity: "a"}, false},
	} {
		if err := takenUp(c.kubelet, c.pod); (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

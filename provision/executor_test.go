package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/ssh"
)

// named is a step's resource of which tests want to know only when it is done.
func named(name string) resource.File {
	return resource.File{Path: "/test/" + name, Content: []byte(name)}
}

// fakeHosts are hosts whose scripts do nothing but what a test says.
type fakeHosts struct {
	mu    sync.Mutex
	order []string // the named steps, as they began

	fail  map[string]string        // steps that fail, and what they say
	hold  map[string]chan struct{} // steps that wait
	free  []func()                 // ends all waiting
	began map[string]chan struct{} // closed when a step begins

	active, peak map[string]int // named steps at a time, by host
}

func fakes(f *testFleet) *fakeHosts {
	s := &fakeHosts{fail: map[string]string{}, hold: map[string]chan struct{}{}, began: map[string]chan struct{}{}, active: map[string]int{}, peak: map[string]int{}}
	for name, h := range f.hosts {
		h.answer = func(script string, _, stderr io.Writer) (int, bool) { return s.run(name, script, stderr), true }
	}
	return s
}

// block makes a step wait until release is called, and tells when it begins.
func (s *fakeHosts) block(name string) (began <-chan struct{}, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold[name], s.began[name] = make(chan struct{}), make(chan struct{})
	held := s.hold[name]
	release = sync.OnceFunc(func() { close(held) })
	s.free = append(s.free, release)
	return s.began[name], release
}

// holds returns the release of every step that block was called for.
func (s *fakeHosts) holds() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.free)
}

func (s *fakeHosts) run(host, script string, stderr io.Writer) int {
	_, rest, found := strings.Cut(script, "'/test/")
	if !found {
		return 0
	}
	name, _, _ := strings.Cut(rest, "'")
	s.mu.Lock()
	s.order = append(s.order, name)
	s.active[host]++
	s.peak[host] = max(s.peak[host], s.active[host])
	hold, began, failure := s.hold[name], s.began[name], s.fail[name]
	if began != nil {
		close(began)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.active[host]--
		s.mu.Unlock()
	}()
	if hold != nil {
		<-hold
	}
	if failure != "" {
		fmt.Fprintln(stderr, failure)
		return 7
	}
	return 0
}

// most is how many steps ran at a time on a host.
func (s *fakeHosts) most(host string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peak[host]
}

func (s *fakeHosts) begun() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

func TestApplyKeepsTheOrderOfEdges(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	s := fakes(f)
	// Written down last to first, so that only the edges can bring it about.
	d := plan.NewStepID("shaolin", named("d").ID())
	c := plan.NewStepID("wudang", named("c").ID())
	b := plan.NewStepID("shaolin", named("b").ID())
	a := plan.NewStepID("shaolin", named("a").ID())
	f.step("wudang", named("e"), d, c)
	f.step("shaolin", named("d"), b)
	f.step("wudang", named("c"), a)
	f.step("shaolin", named("b"), a)
	f.step("shaolin", named("a"))
	report := f.mustApply(t, f.everything(t))
	place := map[string]int{}
	for i, name := range s.begun() {
		place[name] = i
	}
	for _, edge := range []string{"ab", "ac", "bd", "de", "ce"} {
		if place[edge[:1]] >= place[edge[1:]] {
			t.Errorf("%s did not come before %s: %v", edge[:1], edge[1:], s.begun())
		}
	}
	if report.Count(Finished) != 5 || len(report.Results) != 5 || report.Elapsed <= 0 {
		t.Errorf("report: %+v", report)
	}
}

func TestApplyRunsIndependentStepsInParallelButNotTooMany(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	s := fakes(f)
	const steps = 3 * stepsPerHost
	var releases []func()
	for i := range steps {
		name := fmt.Sprintf("s%02d", i)
		_, release := s.block(name)
		releases = append(releases, release)
		f.step("shaolin", named(name))
	}
	go func() {
		// All that may run at a time do so: were it fewer, the test would end
		// with its time.
		for s.most("shaolin") < stepsPerHost {
			runtime.Gosched()
		}
		for _, release := range releases {
			release()
		}
	}()
	f.mustApply(t, f.everything(t))
	if peak := s.most("shaolin"); peak != stepsPerHost {
		t.Errorf("%d steps ran at a time on one host, not %d", peak, stepsPerHost)
	}
}

func TestApplyGoesOnAfterAFailure(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	s := fakes(f)
	s.fail["bad"] = "no such device"
	bad := f.step("shaolin", named("bad"))
	after := f.step("shaolin", named("after-bad"), bad)
	further := f.step("wudang", named("further"), after)
	free := f.step("wudang", named("free"))
	freeAfter := f.step("shaolin", named("free-after"), free)
	var events []EventKind
	e := f.executor()
	e.Notify = func(event Event) {
		if event.Item.Step.ID() == bad {
			events = append(events, event.Kind)
		}
	}
	report, err := e.Apply(t.Context(), f.everything(t))

	want := map[plan.StepID]EventKind{bad: Failed, after: Skipped, further: Skipped, free: Finished, freeAfter: Finished}
	if diff := cmp.Diff(want, outcomes(report)); diff != "" {
		t.Errorf("what became of the steps (-want +got):\n%s", diff)
	}
	if slices.Contains(s.begun(), "after-bad") || slices.Contains(s.begun(), "further") {
		t.Errorf("a step ran though what it depends on failed: %v", s.begun())
	}
	var failed *FailedError
	if !errors.As(err, &failed) || failed.Failed != 1 || failed.Skipped != 2 {
		t.Fatalf("Apply: %v", err)
	}
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitCode != 7 || exit.Host != "shaolin" || exit.Command != "create file:/test/bad" || string(exit.Stderr) != "no such device\n" {
		t.Errorf("the error does not carry the failed command: %+v", exit)
	}
	// The host and the step once each.
	if got, want := failed.First.Error(), "shaolin: create file:/test/bad: exit code 7: no such device"; got != want {
		t.Errorf("error:\n got %s\nwant %s", got, want)
	}
	if diff := cmp.Diff([]EventKind{Started, Failed}, events); diff != "" {
		t.Errorf("events of the failed step (-want +got):\n%s", diff)
	}
}

func TestApplyInterrupted(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	s := fakes(f)
	began, release := s.block("slow")
	slow := f.step("shaolin", named("slow"))
	next := f.step("shaolin", named("next"), slow)
	// More than may run at a time: those that wait for their turn don't get it.
	var running []<-chan struct{}
	for i := range 2 * stepsPerHost {
		name := fmt.Sprintf("w%d", i)
		b, r := s.block(name)
		defer r()
		running = append(running, b)
		f.step("wudang", named(name))
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		for started := 0; started < stepsPerHost; {
			started = 0
			for _, b := range running {
				select {
				case <-b:
					started++
				default:
				}
			}
			runtime.Gosched()
		}
		cancel()
		release()
		for _, hold := range s.holds() {
			hold()
		}
	}()
	report, err := f.executor().Apply(ctx, f.everything(t))
	if !errors.Is(err, ErrInterrupted) || !report.Interrupted {
		t.Errorf("Apply: %v, interrupted %v", err, report.Interrupted)
	}
	got := outcomes(report)
	if got[slow] != Finished {
		t.Errorf("the step under way was not finished: %s", got[slow])
	}
	if got[next] != Skipped || slices.Contains(s.begun(), "next") {
		t.Errorf("a step began after the interrupt: %v", s.begun())
	}
	if n := len(s.begun()); n != 1+stepsPerHost {
		t.Errorf("%d steps began: %v", n, s.begun())
	}
	if len(report.Results) != len(f.steps) {
		t.Errorf("%d of %d steps are in the report", len(report.Results), len(f.steps))
	}
}

func TestApplyBeforeAnythingBegan(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	s := fakes(f)
	f.step("shaolin", named("a"))
	delta := f.everything(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := len(f.hosts["shaolin"].ran())
	report, err := f.executor().Apply(ctx, delta)
	if !errors.Is(err, ErrInterrupted) || report.Count(Skipped) != 1 || len(s.begun()) != 0 || len(f.hosts["shaolin"].ran()) != before {
		t.Errorf("Apply: %v, %+v, ran %v", err, report, s.begun())
	}
}

// What depends on a host that could not be reached does not happen.
func TestApplySkipsWhatWaitsForAnAbsentStep(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	fakes(f)
	orphaned := f.step("shaolin", named("orphaned"), plan.NewStepID("wudang", named("elsewhere").ID()))
	free := f.step("shaolin", named("free"))
	report, err := f.executor().Apply(t.Context(), f.everything(t))
	if diff := cmp.Diff(map[plan.StepID]EventKind{orphaned: Skipped, free: Finished}, outcomes(report)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err == nil {
		t.Error("a step that was not carried out is no success")
	}
}

func TestApplyRefuses(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	s := fakes(f)
	a, b := plan.NewStepID("shaolin", named("a").ID()), plan.NewStepID("shaolin", named("b").ID())
	f.step("shaolin", named("a"), b)
	f.step("shaolin", named("b"), a)
	delta := f.everything(t)
	if _, err := f.executor().Apply(t.Context(), delta); err == nil || !strings.Contains(err.Error(), "cycle") {
		t.Errorf("a graph with a cycle: %v", err)
	}
	delta.Problems = []plan.Problem{{Host: "shaolin", Summary: "no space"}}
	if _, err := f.executor().Apply(t.Context(), delta); err == nil || !strings.Contains(err.Error(), "1 problem") {
		t.Errorf("a delta with a problem: %v", err)
	}
	if len(s.begun()) > 0 {
		t.Errorf("ran %v", s.begun())
	}
}

// The state is one file, written once for many steps, and again for what must
// survive a crash.
func TestApplyWritesStateOnce(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	for i := range 10 {
		f.step("shaolin", resource.Directory{Path: h.path(fmt.Sprintf("/etc/d%d", i)), Ownership: self(t, 0o755)})
	}
	f.mustApply(t, f.survey(t))
	written := 0
	for _, script := range h.ran() {
		if strings.Contains(script, fact.StatePath+"'") && strings.Contains(script, "mv -fT") {
			written++
		}
	}
	if written != 1 {
		t.Errorf("the state was written %d times for 10 directories", written)
	}
	state := h.stateFile(t)
	if state.Cluster != "wuxia" || len(state.Resources) != 10 {
		t.Errorf("state: %+v", state)
	}
	if delta := f.survey(t); len(changes(delta)) != 0 {
		t.Errorf("the second plan changes %v", changes(delta))
	}
}

// A delta without changes: what is as desired is managed from then on.
func TestApplyWithoutChanges(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	// etc is there already: nothing to change, though kinstall never made it.
	f.step("shaolin", resource.Directory{Path: h.path("/etc"), Ownership: self(t, 0o755)})
	delta := f.survey(t)
	if n := len(changes(delta)); n != 0 {
		t.Fatalf("%d changes", n)
	}
	before := len(h.ran())
	f.mustApply(t, delta)
	if n := len(h.ran()) - before; n != 1 {
		t.Errorf("adoption took %d execs", n)
	}
	if _, ok := h.stateFile(t).Resources["directory:"+h.path("/etc")]; !ok {
		t.Errorf("the directory is not in the state: %+v", h.stateFile(t))
	}

	f.connectAnew(t, Options{})
	delta = f.survey(t)
	before = len(h.ran())
	f.mustApply(t, delta)
	if n := len(h.ran()) - before; n != 0 {
		t.Errorf("adoption of what is adopted took %d execs", n)
	}

	// What is only forgotten when it leaves the inventory is so here, too.
	f.steps = nil
	f.step("shaolin", resource.Directory{Path: h.path("/run"), Ownership: self(t, 0o755)})
	f.connectAnew(t, Options{})
	f.mustApply(t, f.survey(t))
	resources := h.stateFile(t).Resources
	if _, ok := resources["directory:"+h.path("/etc")]; ok || len(resources) != 1 {
		t.Errorf("state: %+v", resources)
	}
}

// Apply adopts what is as it should be beside what it changes.
func TestApplyAdopts(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	f.step("shaolin", resource.Directory{Path: h.path("/etc"), Ownership: self(t, 0o755)})
	f.step("shaolin", resource.Directory{Path: h.path("/etc/new"), Ownership: self(t, 0o755)})
	f.mustApply(t, f.survey(t))
	if n := len(h.stateFile(t).Resources); n != 2 {
		t.Errorf("%d resources in the state", n)
	}
}

// Without a member of etcd in the inventory there is nobody to be asked to
// delete keys; whoever remembers them forgets them.
func TestEtcdLeavesWithItsKeys(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	f.step("shaolin", resource.Directory{Path: h.path("/etc"), Ownership: self(t, 0o755)})
	f.mustApply(t, f.survey(t))
	state := h.stateFile(t)
	keys := resource.NewID("etcd", "/coreos.com/network/")
	state.Resources[string(keys)] = fact.Record{Digest: "written"}
	if err := os.WriteFile(h.path(fact.StatePath), state.Format(), 0o600); err != nil {
		t.Fatal(err)
	}
	f.connectAnew(t, Options{})
	delta := f.survey(t)
	if diff := cmp.Diff(map[plan.StepID]resource.Action{plan.NewStepID(plan.Cluster, keys): resource.Delete}, changes(delta)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	f.mustApply(t, delta)
	if resources := h.stateFile(t).Resources; len(resources) != 1 {
		t.Errorf("state: %+v", resources)
	}
}

// Slots are few on each host and, with a low -parallelism, on all of them.
func TestSlots(t *testing.T) {
	for _, c := range []struct{ parallelism, onOne, onThree int }{{1, 1, 1}, {7, stepsPerHost, 7}, {100, stepsPerHost, 3 * stepsPerHost}} {
		f := newFleet(t, Options{Parallelism: c.parallelism}, "shaolin", "wudang", "emei")
		for name := range f.hosts {
			for i := range 2 * stepsPerHost {
				f.step(name, named(fmt.Sprintf("%s-%d", name, i)))
			}
		}
		gate := resource.Gate{Check: resource.Check{Kind: resource.CheckEndpoint}}
		f.step(plan.Cluster, gate)
		e := f.executor()
		e.delta = f.everything(t)
		r := newRun(t.Context(), e)
		taken := map[string]int{}
		for _, n := range r.nodes {
			if n.item().Step.Host == "shaolin" && r.take(n) {
				taken["shaolin"]++
			}
		}
		if taken["shaolin"] != c.onOne {
			t.Errorf("parallelism %d: %d slots on one host, not %d", c.parallelism, taken["shaolin"], c.onOne)
		}
		all := taken["shaolin"]
		for _, n := range r.nodes {
			if host := n.item().Step.Host; host == plan.Cluster {
				if !r.take(n) {
					t.Errorf("parallelism %d: no place for a gate", c.parallelism)
				}
			} else if !n.slot && r.take(n) {
				all++
			}
		}
		if all != c.onThree {
			t.Errorf("parallelism %d: %d slots on three hosts, not %d", c.parallelism, all, c.onThree)
		}
		for _, n := range r.nodes {
			r.release(n)
			r.release(n)
		}
		if r.total != 0 || r.busy["shaolin"] != 0 {
			t.Errorf("parallelism %d: %d slots are left taken", c.parallelism, r.total)
		}
	}
}

// What most waits for comes first.
func TestApplyBeginsWithTheLongestChain(t *testing.T) {
	f := newFleet(t, Options{Parallelism: 1}, "shaolin")
	s := fakes(f)
	f.step("shaolin", named("single"))
	a := f.step("shaolin", named("short-1"))
	f.step("shaolin", named("short-2"), a)
	a = f.step("shaolin", named("long-1"))
	a = f.step("shaolin", named("long-2"), a)
	f.step("shaolin", named("long-3"), a)
	f.mustApply(t, f.everything(t))
	if diff := cmp.Diff([]string{"long-1", "short-1", "long-2", "single", "short-2", "long-3"}, s.begun()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLockLost(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin", "wudang")
	s := fakes(f)
	for _, h := range f.hosts {
		fake := h.answer
		h.answer = func(script string, stdout, stderr io.Writer) (int, bool) {
			if strings.Contains(script, "echo held") {
				return 0, false // locks are real
			}
			return fake(script, stdout, stderr)
		}
	}
	began, release := s.block("slow")
	slow := f.step("shaolin", named("slow"))
	next := f.step("shaolin", named("next"), slow)
	delta := f.everything(t)
	go func() {
		<-began
		f.hosts["wudang"].steal(t, "bob")
		<-f.locks.Load().ending
		release()
	}()
	report, err := f.executor().Apply(t.Context(), delta)
	var lost *LockLostError
	if !errors.As(err, &lost) || lost.Host != "wudang" {
		t.Errorf("Apply: %v", err)
	}
	if err != nil && !strings.Contains(err.Error(), "taken meanwhile by bob") {
		t.Errorf("the error does not say who has it: %v", err)
	}
	if report.Interrupted {
		t.Error("a lost lock is no interrupt of the user's")
	}
	want := map[plan.StepID]EventKind{slow: Finished, next: Skipped}
	if diff := cmp.Diff(want, outcomes(report)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A lock that is given back on purpose is not lost, and another can be had.
func TestLock(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin", "wudang")
	free, err := f.Lock(t.Context(), []string{"shaolin", "wudang"}, "first")
	if err != nil {
		t.Fatal(err)
	}
	other := NewFleet(f.inventory, f.authorities, Options{})
	defer other.Close()
	_, err = other.Lock(t.Context(), []string{"wudang"}, "second")
	var locked *ssh.LockedError
	if !errors.As(err, &locked) || locked.Host != "wudang" || !strings.HasPrefix(locked.Holder, "first by ") {
		t.Errorf("the second lock: %v", err)
	}
	ending := f.locks.Load().ending
	free()
	free()
	select {
	case <-ending:
		t.Error("a lock that was given back counts as lost")
	default:
	}
	free, err = other.Lock(t.Context(), []string{"shaolin", "wudang"}, "third")
	if err != nil {
		t.Fatal(err)
	}
	free()
}

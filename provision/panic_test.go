package provision

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// faulty authorities panic where they should issue.
type faulty struct{ Authorities }

func (faulty) Issue(context.Context, resource.Certificate) (certificate, key []byte, err error) {
	var none []int
	return nil, nil, errors.New(string(rune(none[3])))
}

// TestApplyOutlivesAPanic: a step's panic fails that step; others go on.
func TestApplyOutlivesAPanic(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	fakes(f)
	bad := f.step("shaolin", resource.Certificate{Path: "/test/bad.crt", Authority: plan.AuthorityEtcd, CommonName: "bad"})
	after := f.step("shaolin", named("after"), bad)
	free := f.step("wudang", named("free"))
	e := f.executor()
	e.Authorities = faulty{e.Authorities}
	var last Event
	e.Notify = func(event Event) {
		if event.Kind == Skipped {
			last = event
		}
	}
	report, err := e.Apply(t.Context(), f.everything(t))
	got := outcomes(report)
	if got[bad] != Failed || got[after] != Skipped || got[free] != Finished {
		t.Errorf("outcomes: %v", got)
	}
	if last.Done != 1 || last.Total != 2 {
		t.Errorf("a step that is not begun counts as done: %d of %d", last.Done, last.Total)
	}
	var fault *PanicError
	if !errors.As(err, &fault) || !strings.Contains(string(fault.Stack), "panic_test.go") {
		t.Fatalf("Apply: %v", err)
	}
	if text := fault.Error(); !strings.Contains(text, "index out of range") || strings.Contains(text, "goroutine") {
		t.Errorf("error: %s", text)
	}
}

// TestPanicsBesideSteps: whatever runs beside the steps, its panic is an error
// with the trace of where it was, or the fleet's owner is told.
func TestPanicsBesideSteps(t *testing.T) {
	t.Run("while what was started is looked at", func(t *testing.T) {
		f := newFleet(t, Options{}, "shaolin")
		fakes(f)
		e := f.executor()
		e.checks = faultyChecks{}
		r := newRun(t.Context(), withDelta(e, f.everything(t)))
		r.started.add(plan.Item{Step: &plan.Step{Host: "shaolin", Resource: resource.Unit{Name: "x.service"}, Rollout: &plan.Rollout{}}})
		err := Recover(func() error {
			r.seeStarted()
			return nil
		})
		wantFault(t, err)
	})
	t.Run("while it is said who is slow", func(t *testing.T) {
		told := make(chan *PanicError, 1)
		f := newUnlockedFleet(t, Options{Fault: func(e *PanicError) { told <- e }, Deadlines: Deadlines{Notice: 1}, Log: func(string) { panic("the log") }}, "shaolin")
		defer f.waiting.begin("shaolin", "observing")()
		defer f.nameSlow()()
		if e := <-told; e.Value != "the log" {
			t.Errorf("told of %v", e)
		}
	})
	t.Run("while a lock is lost", func(t *testing.T) {
		told := make(chan *PanicError, 1)
		f := newUnlockedFleet(t, Options{Fault: func(e *PanicError) { told <- e }}, "shaolin")
		f.lockAll(t)
		f.locks.Load().end(func(error) { panic("told of a lost lock") })
		f.hosts["shaolin"].steal(t, "somebody")
		wantFault(t, <-told)
	})
}

func wantFault(t *testing.T, err error) {
	t.Helper()
	var fault *PanicError
	if !errors.As(err, &fault) || len(fault.Stack) == 0 {
		t.Errorf("got %v", err)
	}
}

func withDelta(e *Executor, d *plan.Delta) *Executor {
	e.delta = d
	return e
}

// faultyChecks panic wherever they are asked.
type faultyChecks struct{ checker }

package provision

import (
	"errors"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// faulty authorities panic where they should issue.
type faulty struct{ Authorities }

func (faulty) Issue(resource.Certificate) (certificate, key []byte, err error) {
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

package fault

import (
	"errors"
	"strings"
	"testing"
)

// A panic in one of several goroutines is the error of whoever recovers around
// the wait, with the stack of where it happened; the others end first.
func TestGroupRaisesAPanicAgain(t *testing.T) {
	others := 0
	err := Recover(func() error {
		var g Group
		g.SetLimit(1)
		g.Go(func() error { return errors.New("an error like any other") })
		g.Go(func() error { return deep() })
		g.Go(func() error { others++; return nil })
		return g.Wait()
	})
	var fault *Error
	if !errors.As(err, &fault) || fault.Value != "deep down" || !strings.Contains(string(fault.Stack), "fault.deep") {
		t.Errorf("got %v", err)
	}
	if others != 1 {
		t.Error("another function was not run")
	}
}

//go:noinline
func deep() error { panic("deep down") }

func TestGroupReturnsTheFirstError(t *testing.T) {
	g, ctx := WithContext(t.Context())
	first := errors.New("first")
	g.Go(func() error { return first })
	g.Go(func() error {
		<-ctx.Done()
		return ctx.Err()
	})
	if err := g.Wait(); !errors.Is(err, first) {
		t.Errorf("got %v", err)
	}
}

func TestEach(t *testing.T) {
	got := make([]int, 3)
	Each(3, func(i int) { got[i] = i + 1 })
	if got[0]+got[1]+got[2] != 6 {
		t.Errorf("got %v", got)
	}
	err := Recover(func() error {
		Each(2, func(i int) { _ = got[i+2] })
		return nil
	})
	if !errors.As(err, new(*Error)) || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("got %v", err)
	}
}

// A goroutine that nobody waits for has its handler told.
func TestHandler(t *testing.T) {
	told := make(chan *Error, 1)
	h := Handler(func(e *Error) { told <- e })
	h.Go(func() { _ = deep() })
	if e := <-told; e.Value != "deep down" {
		t.Errorf("told of %v", e)
	}
	h.Guard(func() {})
	select {
	case e := <-told:
		t.Errorf("told of %v, where nothing happened", e)
	default:
	}
	var none Handler
	err := Recover(func() error {
		none.Guard(func() { _ = deep() })
		return nil
	})
	if err == nil {
		t.Error("without a handler a panic is lost")
	}
}

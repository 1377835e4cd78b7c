// Package fault keeps panics from ending the program with a page of stacks and
// the exit code of something else (2 means "changes pending").
//
// Contract: whoever starts a goroutine starts it so that its panic reaches
// somebody. Where an error of it is waited for, Recover makes the panic that
// error; where functions are waited for together, a Group raises it again in the
// goroutine that waits; and one that nobody waits for is started with
// Handler.Go. None of it catches what the runtime calls fatal (out of memory, a
// stack that overflows), or panics in goroutines of libraries.
package fault

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Error is a panic: a fault of kinstall itself, and of no host.
type Error struct {
	Value any
	Stack []byte // of the goroutine, as runtime/debug.Stack prints it
}

func (e *Error) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error, as those of the runtime are.
func (e *Error) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Recover makes do's panic its error, an *Error. It catches none of other
// goroutines but those of a Group that do waits for.
func Recover(do func() error) (err error) {
	defer func() {
		switch value := recover().(type) {
		case nil:
		case *Error: // raised again by a Group
			err = value
		default:
			err = &Error{Value: value, Stack: debug.Stack()}
		}
	}()
	return do()
}

// A Handler is told of the panic of a goroutine that nobody waits for. It may be
// called from several goroutines at once, and should end the program: what the
// goroutine owed to others won't come. With a nil Handler it ends as ever.
type Handler func(*Error)

// Go runs do in a goroutine of its own.
func (h Handler) Go(do func()) { go h.Guard(do) }

// Guard runs do.
func (h Handler) Guard(do func()) {
	err := Recover(func() error {
		do()
		return nil
	})
	var e *Error
	switch {
	case !errors.As(err, &e):
	case h == nil:
		panic(fmt.Sprintf("%v\n\n%s", e.Value, e.Stack))
	default:
		h(e)
	}
}

// Group is an errgroup.Group whose Wait raises the first panic of its functions
// again, as an *Error. The zero value is ready for use.
type Group struct {
	group *errgroup.Group // made on first use

	mu    sync.Mutex
	first *Error
}

// WithContext returns a group and a context that ends with its first error, as
// that of errgroup does.
func WithContext(ctx context.Context) (*Group, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	return &Group{group: group}, ctx
}

func (g *Group) errgroup() *errgroup.Group {
	if g.group == nil {
		g.group = new(errgroup.Group)
	}
	return g.group
}

// SetLimit bounds how many functions run at a time.
func (g *Group) SetLimit(n int) { g.errgroup().SetLimit(n) }

// Go runs do in a goroutine of its own, as soon as the limit allows.
func (g *Group) Go(do func() error) {
	g.errgroup().Go(func() error {
		err := Recover(do)
		if e := (*Error)(nil); errors.As(err, &e) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.first == nil {
				g.first = e
			}
		}
		return err
	})
}

// Wait waits for all functions and returns the first error.
func (g *Group) Wait() error {
	err := g.errgroup().Wait()
	if g.first != nil {
		panic(g.first)
	}
	return err
}

// Each runs do for every number below n at the same time, and waits.
func Each(n int, do func(i int)) {
	var g Group
	for i := range n {
		g.Go(func() error {
			do(i)
			return nil
		})
	}
	_ = g.Wait()
}

package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// stepsPerHost is how many steps run on one host at a time: below the eight
// sessions a connection may have, so that state, gates and the lock find room.
const stepsPerHost = 5

// run is one execution of a delta's graph. Its fields belong to the goroutine
// of execute; steps run in goroutines of their own and hand over an outcome.
type run struct {
	executor *Executor
	ctx      context.Context // no step begins once it has ended
	work     context.Context // of steps under way; it does not end

	nodes []*graphNode
	lanes map[string]*lane
	queue []*graphNode   // ready to start, as soon as there is a slot
	busy  map[string]int // slots taken, by place
	total int            // slots taken on all hosts

	done     chan outcome
	running  int
	left     int // nodes not settled
	report   *Report
	firstErr error
}

// node of the execution graph.
type graphNode struct {
	item    plan.Item
	lane    *lane // nil if it may run at any time
	waiting int   // predecessors not settled
	next    []*graphNode
	skipped bool

	height   int // changes in the longest chain that waits for it, itself included
	measured bool
	slot     bool // it has taken one
}

// lane lets its steps run one at a time, and none after one has failed.
type lane struct {
	name    string
	busy    bool
	stopped error // the failure that ended it
	queue   []*graphNode
}

// outcome is how a step ended.
type outcome struct {
	node    *graphNode
	kind    EventKind // Finished, Failed or Skipped
	err     error
	elapsed time.Duration
}

// errNotBegun marks a step that the end of the run's context kept from
// changing anything.
var errNotBegun = errors.New("not begun")

func newRun(ctx context.Context, e *Executor) *run {
	delta := e.delta
	r := &run{
		executor: e, ctx: ctx, work: context.WithoutCancel(ctx),
		nodes: buildGraph(delta), lanes: map[string]*lane{}, busy: map[string]int{},
		done: make(chan outcome), report: &Report{},
	}
	r.left = len(r.nodes)
	e.progress = map[string]*hostProgress{}
	for _, n := range r.nodes {
		step := n.item.Step
		if e.progress[step.Host] == nil {
			e.progress[step.Host] = &hostProgress{}
		}
		if n.item.Change.Action != resource.NoOp {
			e.progress[step.Host].total++
		}
		if inLane(delta, n.item) {
			if r.lanes[step.Lane] == nil {
				r.lanes[step.Lane] = &lane{name: step.Lane}
			}
			n.lane = r.lanes[step.Lane]
		}
	}
	return r
}

// inLane reports whether a step has to keep to its lane: what changes a member
// that serves. A member that does not run is started beside whatever else goes
// on: there is nothing to take down, and the others may need it.
func inLane(delta *plan.Delta, item plan.Item) bool {
	return item.Step.Lane != "" && delta.Living[item.Step.Lane] &&
		item.Change.Changes() && item.Change.Action != resource.Create
}

// buildGraph links the delta's items. Edges to steps that are not in it (on
// unreachable hosts) make a step be skipped: what it waits for won't happen.
func buildGraph(delta *plan.Delta) []*graphNode {
	byID := map[plan.StepID]*graphNode{}
	nodes := make([]*graphNode, 0, len(delta.Items))
	for _, item := range delta.Items {
		n := &graphNode{item: item}
		byID[item.Step.ID()] = n
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		for _, id := range n.item.Step.After {
			before, ok := byID[id]
			if !ok {
				n.skipped = true
				continue
			}
			before.next = append(before.next, n)
			n.waiting++
		}
	}
	for _, n := range nodes {
		n.measure()
	}
	return nodes
}

// measure computes the heights of a node and of all that wait for it. A cycle
// ends it; nothing on one is ever ready.
func (n *graphNode) measure() int {
	if n.measured {
		return n.height
	}
	n.measured = true
	for _, next := range n.next {
		n.height = max(n.height, next.measure())
	}
	if n.item.Change.Action != resource.NoOp {
		n.height++
	}
	return n.height
}

// execute runs the graph to its end.
func (r *run) execute() (*Report, error) {
	begin := time.Now()
	var first []*graphNode
	for _, n := range r.nodes {
		if n.waiting == 0 {
			first = append(first, n)
		}
	}
	for _, n := range first {
		r.ready(n)
	}
	r.dispatch()
	interrupt := r.ctx.Done()
	for r.running > 0 {
		select {
		case o := <-r.done:
			r.running--
			r.finish(o)
		case <-interrupt:
			interrupt = nil
		}
		r.dispatch()
	}
	hosts := map[string]bool{}
	for host := range r.executor.progress {
		hosts[host] = true
	}
	if err := r.executor.flush(r.work, hosts); r.firstErr == nil {
		r.firstErr = err
	}
	r.report.Elapsed = time.Since(begin)
	r.report.Connections, r.report.Execs = r.executor.Fleet.Counts()
	return r.report, r.verdict()
}

// verdict is the error that says how the run went.
func (r *run) verdict() error {
	skipped := r.report.Count(Skipped)
	var failed error
	if r.firstErr != nil {
		failed = &FailedError{Failed: r.report.Count(Failed), Skipped: skipped, First: r.firstErr}
	}
	var lost *LockLostError
	switch {
	case errors.As(context.Cause(r.ctx), &lost) && skipped > 0:
		if failed != nil {
			return fmt.Errorf("%w; %w", lost, failed)
		}
		return lost
	case r.ctx.Err() != nil && skipped > 0:
		r.report.Interrupted = true
	}
	switch {
	case failed != nil:
		return failed
	case r.report.Interrupted:
		return ErrInterrupted
	case skipped > 0:
		return fmt.Errorf("%d steps were not begun: they wait for steps on hosts that could not be reached", skipped)
	case r.left != 0:
		return fmt.Errorf("%d steps were never reached: the plan's graph has a cycle", r.left)
	}
	return nil
}

// ready takes a node whose predecessors are all settled a step further.
func (r *run) ready(n *graphNode) {
	switch {
	case n.item.Change.Action == resource.NoOp:
		if !n.skipped && r.ctx.Err() == nil {
			r.executor.adopt(n.item)
		}
		r.settle(n, !n.skipped)
	case n.skipped || r.ctx.Err() != nil:
		r.skip(n, nil)
	case n.lane == nil:
		r.queue = append(r.queue, n)
	case n.lane.stopped != nil:
		r.start(n, r.passOver)
	case n.lane.busy:
		n.lane.queue = append(n.lane.queue, n)
	default:
		n.lane.busy = true
		r.start(n, r.carryOutInLane)
	}
}

// dispatch starts what is ready, as far as there are slots: what most waits
// for comes first.
func (r *run) dispatch() {
	for progress := true; progress; {
		progress = false
		queue := r.queue
		r.queue = nil
		slices.SortStableFunc(queue, func(a, b *graphNode) int { return cmp.Compare(b.height, a.height) })
		for _, n := range queue {
			switch {
			case r.ctx.Err() != nil:
				r.skip(n, nil) // may add to the queue
				progress = true
			case r.take(n):
				r.start(n, r.carryOut)
			default:
				r.queue = append(r.queue, n)
			}
		}
	}
}

// take takes a slot for a step, if there is one.
//
// Steps of lanes have none: they are few, and what their gates wait for may be
// the doing of a step that needs a slot. Gates of the graph only wait, too.
func (r *run) take(n *graphNode) bool {
	if _, isGate := n.item.Step.Resource.(resource.Gate); isGate {
		return true
	}
	place, parallelism := n.item.Step.Host, r.executor.Fleet.options.Parallelism
	if _, isHost := r.executor.Fleet.machines[place]; !isHost {
		// Many nodes may have to be waited for at a time.
		if r.busy[place] >= max(parallelism, stepsPerHost) {
			return false
		}
	} else {
		if r.busy[place] >= stepsPerHost || r.total >= parallelism {
			return false
		}
		r.total++
	}
	r.busy[place]++
	n.slot = true
	return true
}

// release gives a step's slot back.
func (r *run) release(n *graphNode) {
	if !n.slot {
		return
	}
	n.slot = false
	r.busy[n.item.Step.Host]--
	if _, isHost := r.executor.Fleet.machines[n.item.Step.Host]; isHost {
		r.total--
	}
}

// settle is called when a node is done with, and moves on what waited only
// for it.
func (r *run) settle(n *graphNode, ok bool) {
	r.left--
	for _, next := range n.next {
		next.skipped = next.skipped || !ok
		if next.waiting--; next.waiting == 0 {
			r.ready(next)
		}
	}
}

func (r *run) skip(n *graphNode, why error) {
	r.report.Results = append(r.report.Results, Result{Item: n.item, Kind: Skipped, Err: why})
	r.executor.tell(Event{Kind: Skipped, Item: n.item, Err: why})
	r.settle(n, false)
}

// start runs a step's work in a goroutine of its own.
func (r *run) start(n *graphNode, work func(*graphNode) error) {
	r.running++
	go func() {
		begin := time.Now()
		o := outcome{node: n, kind: Finished, err: work(n)}
		o.elapsed = time.Since(begin)
		var stopped *laneStoppedError
		switch {
		case errors.Is(o.err, errNotBegun):
			o.kind, o.err = Skipped, nil
		case errors.As(o.err, &stopped):
			o.kind = Skipped
		case o.err != nil:
			o.kind = Failed
		}
		r.done <- o
	}()
}

// finish takes a step's outcome in.
func (r *run) finish(o outcome) {
	n := o.node
	r.release(n)
	if o.kind == Failed && r.firstErr == nil {
		r.firstErr = o.err
	}
	r.report.Results = append(r.report.Results, Result{Item: n.item, Kind: o.kind, Err: o.err, Elapsed: o.elapsed})
	r.executor.tell(Event{Kind: o.kind, Item: n.item, Err: o.err, Elapsed: o.elapsed})
	if l := n.lane; l != nil && l.stopped == nil {
		l.busy = false
		if o.kind == Failed {
			l.stopped = o.err
		}
		queue := l.queue
		l.queue = nil
		for _, waiting := range queue {
			r.ready(waiting) // the first goes on, the others queue again
		}
	}
	r.settle(n, o.kind == Finished)
}

// carryOut does a step's work. It runs in the step's goroutine.
func (r *run) carryOut(n *graphNode) error {
	r.executor.tell(Event{Kind: Started, Item: n.item})
	_, err := r.change(n)
	return failedStep(n.item, err)
}

// change makes the step's resource as it should be, and reports whether
// anything may have been changed.
func (r *run) change(n *graphNode) (changed bool, err error) {
	t, err := r.executor.begin(r.work, n.item)
	if err != nil {
		return false, err
	}
	err = t.carryOut(r.work)
	return !errors.Is(err, ErrStale), err
}

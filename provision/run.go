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
	"github.com/kinstall/kinstall/plan/rollout"
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

	nodes   []*graphNode
	machine *rollout.Machine // decides on turns
	members map[string]*graphNode
	// stoppedBy is the member whose failure stopped the groups of a program.
	stoppedBy map[string]plan.StepID
	changes   map[plan.StepID]bool // steps that this run is still to change
	queue     []*graphNode         // ready to start, as soon as there is a slot
	busy      map[string]int       // slots taken, by place
	total     int                  // slots taken on all hosts

	unstaged   int  // of stageFirst, turns whose large files are not on their hosts yet
	incomplete bool // some can't be brought there

	started  startedItems
	done     chan outcome
	running  int
	left     int // nodes not settled
	report   *Report
	firstErr error
}

// graphNode is an item, or a member's turn with its parts.
type graphNode struct {
	items    []plan.Item
	turnPlan *plan.Turn             // nil for an item that is no member's change
	turn     *turn                  // while turnPlan is carried out
	staging  bool                   // its large files are being brought to the host
	stages   bool                   // they are still to be
	staged   map[plan.StepID]string // where they lie there
	stageErr error                  // why they don't
	begun    time.Time

	waiting int // predecessors not settled
	next    []*graphNode
	skipped bool

	height   int // changes in the longest chain that waits for it, itself included
	measured bool
	slot     bool // it has taken one
}

// item is the node's own: of a turn, its member.
func (n *graphNode) item() plan.Item { return n.items[len(n.items)-1] }

// name is what the machine that decides on turns calls it.
func (n *graphNode) name() string { return string(n.item().Step.ID()) }

func (n *graphNode) gate() bool {
	_, isGate := n.item().Step.Resource.(resource.Gate)
	return isGate
}

func (n *graphNode) host() string { return n.item().Step.Host }

// outcome is how a step, or a part of a turn, ended.
type outcome struct {
	node    *graphNode
	event   *rollout.Event   // of a turn; the rest is then empty
	end     *rollout.Command // of a turn that has taken back what it had begun; the rest is then empty
	kind    EventKind        // Finished, Failed or Skipped
	err     error
	elapsed time.Duration
}

func newRun(ctx context.Context, e *Executor) *run {
	delta := e.delta
	r := &run{
		executor: e, ctx: ctx, work: context.WithoutCancel(ctx),
		nodes: buildGraph(delta), members: map[string]*graphNode{}, stoppedBy: map[string]plan.StepID{}, changes: map[plan.StepID]bool{}, busy: map[string]int{},
		done: make(chan outcome), report: &Report{},
	}
	r.left = len(r.nodes)
	e.progress = map[string]*hostProgress{}
	var members []rollout.Member
	for _, n := range r.nodes {
		host := n.host()
		if e.progress[host] == nil {
			e.progress[host] = &hostProgress{}
		}
		for _, item := range n.items {
			if item.Change.Action != resource.NoOp {
				e.progress[host].total++
				r.changes[item.Step.ID()] = true
			}
		}
		if t := n.turnPlan; t != nil {
			n.turn, n.stages = &turn{node: n}, stages(n)
			r.members[n.name()] = n
			members = append(members, rollout.Member{Name: n.name(), Group: t.Group, Down: t.Down, Unchanged: t.Unchanged})
		}
	}
	groups := plan.Groups(delta.Plan.Inventory)
	for i := range groups {
		groups[i].AtOnce = min(groups[i].AtOnce, e.Fleet.options.Parallelism)
	}
	r.machine = rollout.New(groups, members)
	return r
}

// buildGraph links the delta's nodes. One that waits for what is not in the
// delta (steps of unreachable hosts) is skipped: that won't happen.
func buildGraph(delta *plan.Delta) []*graphNode {
	planned := delta.Graph()
	nodes := make([]*graphNode, len(planned))
	for i, p := range planned {
		nodes[i] = &graphNode{items: p.Items, turnPlan: p.Turn, skipped: p.Blocked, waiting: len(p.After), staged: map[plan.StepID]string{}}
	}
	for i, p := range planned {
		for _, before := range p.After {
			nodes[before].next = append(nodes[before].next, nodes[i])
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
	if n.item().Change.Action != resource.NoOp {
		n.height++
	}
	return n.height
}

// execute runs the graph to its end.
func (r *run) execute() (*Report, error) {
	begin := time.Now()
	r.executor.rememberHosts(r.work)
	if r.executor.delta.Upgrade != nil {
		r.stageFirst()
	}
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
			if interrupt != nil && r.ctx.Err() != nil { // perhaps it ended because of that
				interrupt = nil
				r.decide(rollout.Event{Kind: rollout.Stop})
			}
			r.finish(o)
		case <-interrupt:
			interrupt = nil
			r.decide(rollout.Event{Kind: rollout.Stop})
		}
		r.dispatch()
	}
	r.seeStarted()
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
	case n.turn == nil && n.item().Change.Action == resource.NoOp:
		if !n.skipped && r.ctx.Err() == nil {
			r.executor.adopt(n.item())
		}
		r.settle(n, !n.skipped)
	case n.skipped || r.ctx.Err() != nil:
		r.skip(n)
	case n.turn != nil && n.stages:
		n.staging = true
		r.queue = append(r.queue, n)
	case n.turn != nil:
		r.decide(rollout.Event{Kind: rollout.Ready, Member: n.name()})
	default:
		r.queue = append(r.queue, n)
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
			case r.ctx.Err() != nil && n.staging && r.unstaged > 0:
				r.staged(n, outcome{node: n, kind: Skipped})
				progress = true
			case r.ctx.Err() != nil:
				r.skip(n) // may add to the queue
				progress = true
			case r.take(n) && n.staging:
				r.start(n, r.stage)
			case n.slot:
				r.start(n, r.carryOut)
			default:
				r.queue = append(r.queue, n)
			}
		}
	}
}

// take takes a slot for a step, if there is one.
//
// Turns have none: rollouts bound them, and what is waited for in one may be the
// doing of a step that needs a slot. Gates of the graph only wait, too.
func (r *run) take(n *graphNode) bool {
	if n.gate() {
		n.slot = true
		return true
	}
	place, parallelism := n.host(), r.executor.Fleet.options.Parallelism
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
	if n.gate() {
		return
	}
	r.busy[n.host()]--
	if _, isHost := r.executor.Fleet.machines[n.host()]; isHost {
		r.total--
	}
}

// settle is called when a node is done with, and moves on what waited only
// for it.
func (r *run) settle(n *graphNode, ok bool) {
	r.left--
	if ok {
		for _, item := range n.items {
			delete(r.changes, item.Step.ID())
		}
	}
	for _, next := range n.next {
		next.skipped = next.skipped || !ok
		if next.waiting--; next.waiting == 0 {
			r.ready(next)
		}
	}
}

// skip ends a node that was not begun.
func (r *run) skip(n *graphNode) {
	if n.turn != nil {
		r.decide(rollout.Event{Kind: rollout.Blocked, Member: n.name()})
		return
	}
	r.report.Results = append(r.report.Results, Result{Item: n.item(), Kind: Skipped})
	r.executor.tell(Event{Kind: Skipped, Item: n.item()})
	r.settle(n, false)
}

// start runs a step's work in a goroutine of its own.
func (r *run) start(n *graphNode, work func(*graphNode) error) {
	r.running++
	go func() {
		begin := time.Now()
		o := outcome{node: n, kind: Finished, err: Recover(func() error { return work(n) })}
		o.elapsed = time.Since(begin)
		if o.err != nil {
			o.kind = Failed
		}
		r.done <- o
	}()
}

// finish takes in how a step, or a part of a turn, ended.
func (r *run) finish(o outcome) {
	n := o.node
	switch {
	case o.event != nil:
		r.decide(*o.event)
		return
	case o.end != nil:
		r.endTurn(n, *o.end)
		return
	}
	r.release(n)
	if o.kind == Failed && r.firstErr == nil {
		r.firstErr = o.err
	}
	if n.staging {
		r.staged(n, o)
		return
	}
	r.report.Results = append(r.report.Results, Result{Item: n.item(), Kind: o.kind, Err: o.err, Elapsed: o.elapsed})
	r.executor.tell(Event{Kind: o.kind, Item: n.item(), Err: o.err, Elapsed: o.elapsed})
	r.settle(n, o.kind == Finished)
}

// stageFirst has the large files of all turns brought to their hosts before the
// first turn: with new versions, a host that lacks room or a source that fails is
// found out before anything is touched.
func (r *run) stageFirst() {
	for _, n := range r.nodes {
		if n.stages && !n.skipped {
			n.staging = true
			r.unstaged++
			r.queue = append(r.queue, n)
		}
	}
	if r.unstaged == 0 {
		return
	}
	for _, n := range r.nodes {
		if n.turn != nil {
			n.waiting++
		}
	}
}

// allStaged lets turns begin that waited for nothing else; none may if files are
// missing on some host.
func (r *run) allStaged(complete bool) {
	for _, n := range r.nodes {
		if n.turn == nil {
			continue
		}
		n.skipped = n.skipped || !complete
		if n.waiting--; n.waiting == 0 {
			r.ready(n)
		}
	}
}

// staged takes a turn whose large files lie on the host a step further.
func (r *run) staged(n *graphNode, o outcome) {
	n.staging, n.stages = false, false
	if r.unstaged > 0 {
		n.stageErr = o.err
		r.incomplete = r.incomplete || o.kind != Finished
		if r.unstaged--; r.unstaged == 0 {
			r.allStaged(!r.incomplete)
		}
		return
	}
	if o.kind != Failed && r.ctx.Err() == nil {
		r.decide(rollout.Event{Kind: rollout.Ready, Member: n.name()})
		return
	}
	n.stageErr = o.err
	r.decide(rollout.Event{Kind: rollout.Blocked, Member: n.name()})
}

// carryOut does a step's work. It runs in the step's goroutine.
func (r *run) carryOut(n *graphNode) error {
	item := n.item()
	r.executor.tell(Event{Kind: Started, Item: item})
	task, err := r.executor.begin(r.work, item)
	if err == nil {
		err = task.carryOut(r.work)
	}
	if err == nil && task.started {
		r.started.add(item)
	}
	return failedStep(item, err)
}

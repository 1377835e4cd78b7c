package provision

import (
	"errors"
	"fmt"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/plan/rollout"
)

// turn is the change of one member while it is carried out: what package
// rollout decides, done. Its methods are called one after the other.
type turn struct {
	node *graphNode
	// changed are the items that were carried out so far, with what the host's
	// state is to remember of them once the member has been seen to work.
	changed []changedItem
	started bool         // the member itself was come to
	before  processes    // those that ran before the change
	drains  []plan.Drain // balancers that can be told of its turn
	drained []plan.Drain // balancers that send the member nothing for now
	// cordoned says that its node was cordoned for the turn, and is to take pods
	// again.
	cordoned bool
	now      processes // those that were seen to work
}

type changedItem struct {
	item   plan.Item
	record fact.Record
}

// member is the step whose process is changed.
func (t *turn) member() plan.Item { return t.node.items[len(t.node.items)-1] }

// GroupStoppedError says why a member was not begun: a change of another one
// of its group failed.
type GroupStoppedError struct {
	Group string
	By    plan.StepID // the member whose change failed
	cause error
}

func (e *GroupStoppedError) Error() string {
	return fmt.Sprintf("not begun, because a change of %s before it failed", plan.ProgramTitle(e.Group))
}

func (e *GroupStoppedError) Unwrap() error { return e.cause }

// decide takes an event of a member to the rollouts' decisions, and carries out
// what they say.
func (r *run) decide(e rollout.Event) {
	for _, c := range r.machine.Step(e) {
		r.carryOutCommand(c)
	}
}

func (r *run) carryOutCommand(c rollout.Command) {
	n := r.members[c.Member]
	switch c.Kind {
	case rollout.Ask:
		r.answer(n, rollout.Asked, r.ask)
	case rollout.Change:
		n.turn.drains = r.drainable(n.turn.member())
		r.answer(n, rollout.Changed, r.changeMember)
	case rollout.See:
		r.answer(n, rollout.Seen, r.see)
	case rollout.RollBack:
		r.groupStops(n)
		r.answer(n, rollout.RolledBack, r.rollBack)
	case rollout.Record:
		r.answer(n, rollout.Recorded, r.record)
	default:
		if !n.turn.cordoned || c.Stands == rollout.Unrestored {
			r.endTurn(n, c)
			return
		}
		// Somebody else's failure, or an interrupt, came after its node was drained.
		r.running++
		r.executor.Fleet.options.Fault.Go(func() {
			r.uncordon(n.turn)
			r.done <- outcome{node: n, end: &c}
		})
	}
}

// untouchedError is that of a change which changed nothing.
type untouchedError struct{ error }

func (e untouchedError) Unwrap() error { return e.error }

// answer does a part of a turn in a goroutine of its own, and has the answer
// taken in by the run.
func (r *run) answer(n *graphNode, kind rollout.EventKind, do func(*turn) error) {
	r.running++
	go func() {
		err := Recover(func() error { return do(n.turn) })
		e := rollout.Event{Kind: kind, Member: n.name(), Err: err}
		var untouched untouchedError
		if errors.As(err, &untouched) {
			e.Err, e.Untouched = untouched.error, true
		}
		r.done <- outcome{node: n, event: &e}
	}()
}

// endTurn settles a member's node, and tells what became of each of its items.
func (r *run) endTurn(n *graphNode, c rollout.Command) {
	member := n.turn.member()
	kind, err := Finished, c.Err
	parts := Finished
	switch c.Kind {
	case rollout.Skipped:
		kind, parts = Skipped, Skipped
		switch {
		case err != nil:
			group := member.Step.Rollout.Group
			err = &GroupStoppedError{Group: group, By: r.stoppedBy[plan.ProgramTitle(group)], cause: err}
		case n.stageErr != nil:
			kind, err = Failed, n.stageErr
		}
	case rollout.Failed:
		r.groupStops(n)
		kind, parts = Failed, Skipped
		switch c.Stands {
		case rollout.PutBack:
			parts = RolledBack
			err = &RolledBackError{Cause: err}
		case rollout.Unrestored:
			parts = RolledBack
		}
		err = failedStep(member, err)
		if r.firstErr == nil {
			r.firstErr = err
		}
	}
	elapsed := time.Duration(0)
	if !n.begun.IsZero() {
		elapsed = time.Since(n.begun)
	}
	for _, item := range n.items {
		result := Result{Item: item, Kind: parts, Elapsed: elapsed, Turn: member.Step.ID()}
		if item.Step.ID() == member.Step.ID() {
			result.Kind, result.Err = kind, err
		} else if item.Change.Action == resource.NoOp {
			continue // it was written by a run before this one
		}
		r.report.Results = append(r.report.Results, result)
		r.executor.tell(Event{Kind: result.Kind, Item: item, Err: result.Err, Elapsed: elapsed})
	}
	r.executor.forgetPending(n)
	r.settle(n, kind == Finished)
}

// groupStops remembers whose failure it was that stopped a group.
func (r *run) groupStops(n *graphNode) {
	program := plan.ProgramTitle(n.turnPlan.Group)
	if r.stoppedBy[program] == "" {
		r.stoppedBy[program] = n.item().Step.ID()
	}
}

// RolledBackError says that a change did not work and was taken back: what
// was there before works again.
type RolledBackError struct{ Cause error }

func (e *RolledBackError) Error() string {
	return e.Cause.Error() + "; it was rolled back, and what was there before works again"
}

func (e *RolledBackError) Unwrap() error { return e.Cause }

func (r *run) reporter(item plan.Item) func(string) {
	return func(text string) { r.executor.tell(Event{Kind: Progress, Item: item, Text: text}) }
}

// goesOn reports whether a change leaves its member's process running: it is
// reloaded, or only enabled at boot.
func goesOn(member plan.Item) bool {
	_, unit := member.Step.Resource.(resource.Unit)
	return unit && (member.Change.Action == resource.Reload || member.Change.Action == resource.Update)
}

// ask waits until the others can do without the member, and its pods have gone
// to other nodes where its rollout wants that.
func (r *run) ask(t *turn) error {
	item := t.member()
	r.executor.tell(Event{Kind: Started, Item: item})
	why, err := "not touched, because the others can't do without it", r.executor.checks.before(r.ctx, *item.Step.Rollout, r.reporter(item))
	if err == nil && r.ctx.Err() == nil {
		why, err = "not touched", r.evacuate(t)
	}
	if err != nil && r.ctx.Err() == nil { // else it is the stop, of which the machine knows
		return fmt.Errorf("%s: %w", why, err)
	}
	return nil
}

// changeMember brings the member's new bytes to their places, and starts it.
func (r *run) changeMember(t *turn) error {
	e, member := r.executor, t.member()
	if t.node.begun.IsZero() {
		t.node.begun = time.Now()
	}
	host := member.Step.Host
	before, err := e.checks.processes(r.work, *member.Step.Rollout)
	if err != nil {
		return untouchedError{err}
	}
	t.before = before
	t.before.reloaded = goesOn(member)
	m, err := e.Fleet.connect(r.work, host)
	if err == nil {
		err = m.keep(r.work, t.node.turnPlan.Kept)
	}
	if err != nil {
		return untouchedError{err}
	}
	if !t.node.turnPlan.Down {
		r.drain(t)
	}
	for _, item := range t.node.items {
		task, err := e.begin(r.work, item)
		t.started = item.Step.ID() == member.Step.ID()
		if err == nil && item.Change.Action != resource.NoOp {
			e.tell(Event{Kind: Started, Item: item})
			task.staged = t.node.staged[item.Step.ID()]
			var record fact.Record
			if record, err = task.perform(r.work); err == nil {
				item.OwnChange().Record = record
			}
		}
		if err != nil {
			if item.Step.ID() != member.Step.ID() {
				err = fmt.Errorf("%s: %w", label(item), err)
			}
			if len(t.changed) == 0 && (errors.Is(err, ErrStale) || errors.As(err, new(*RefusedError))) {
				r.undrain(t)
				return untouchedError{err}
			}
			return err
		}
		t.changed = append(t.changed, changedItem{item, item.Change.Record})
		e.pend(item.Step.ID(), item.Change.Record)
	}
	return nil
}

// see waits until the member is seen to work, and to go on working.
func (r *run) see(t *turn) error {
	member := t.member()
	if t.node.begun.IsZero() { // nothing was changed; it is only looked at
		t.node.begun = time.Now()
		r.executor.tell(Event{Kind: Started, Item: member})
		t.before, t.started = anyProcesses, true
		for _, item := range t.node.items {
			t.changed = append(t.changed, changedItem{item, item.Change.Record})
		}
	}
	now, err := r.executor.checks.after(r.work, *member.Step.Rollout, t.before, r.reporter(member))
	t.now = now
	if err == nil {
		r.undrain(t)
		r.uncordon(t)
	}
	return err
}

// rollBack puts the previous bytes back, starts the member with them and sees
// it work.
func (r *run) rollBack(t *turn) error {
	defer r.undrain(t) // however it goes: a balancer leaves a server that does not answer out by itself
	e, member := r.executor, t.member()
	report := r.reporter(member)
	files := t.node.turnPlan.Kept
	report("putting the previous files back")
	before, err := e.checks.processes(r.work, *member.Step.Rollout)
	if err != nil {
		return fmt.Errorf("putting back %s failed: %w", pathsOf(files), err)
	}
	before.reloaded = goesOn(member)
	first, then := "", ""
	if len(files) == 0 || !t.started {
		// Nothing that it was started with is changed: what is to be seen is that
		// it works.
		before = anyProcesses
	} else {
		first, then = aroundRollback(member)
	}
	for _, d := range t.node.turnPlan.Owned {
		first = handOverScript(d) + first
	}
	m, err := e.Fleet.connect(r.work, member.Step.Host)
	if err == nil && len(files) > 0 {
		err = m.putBack(r.work, files, first, then)
	}
	if err != nil {
		return fmt.Errorf("putting back %s failed: %w", pathsOf(files), err)
	}
	if _, err := e.checks.after(r.work, t.before.rollback(*member.Step.Rollout), before, report); err != nil {
		return fmt.Errorf("%s was put back, but still: %w", pathsOf(files), err)
	}
	r.uncordon(t)
	return nil
}

// record writes down what was seen to work.
func (r *run) record(t *turn) error {
	m, err := r.executor.Fleet.connect(r.work, t.member().Step.Host)
	if err != nil {
		return err
	}
	for _, c := range t.changed {
		id := c.item.Step.Resource.ID()
		if _, orphan := c.item.Step.Resource.(resource.Orphan); orphan {
			m.state.remove(id)
			continue
		}
		if c.item.Step.ID() == t.member().Step.ID() {
			c.record.Started = t.now.started(*c.item.Step)
		}
		if !c.record.Empty() {
			m.state.put(id, c.record)
		}
	}
	if err := m.flush(r.work); err != nil {
		return fmt.Errorf("it works, but that could not be recorded: %w", err)
	}
	return m.forget(r.work, t.node.turnPlan.Kept)
}

// pend remembers what was done to a resource that is not recorded yet.
func (e *Executor) pend(id plan.StepID, record fact.Record) {
	e.pendingMu.Lock()
	defer e.pendingMu.Unlock()
	e.pending[id] = record
}

func (e *Executor) forgetPending(n *graphNode) {
	e.pendingMu.Lock()
	defer e.pendingMu.Unlock()
	for _, item := range n.items {
		delete(e.pending, item.Step.ID())
	}
}

// latest is what is known last of a resource of a host: what was just done to
// it, or what is recorded.
func (e *Executor) latest(host string, id resource.ID) fact.Record {
	e.pendingMu.Lock()
	record, ok := e.pending[plan.NewStepID(host, id)]
	e.pendingMu.Unlock()
	if m := e.Fleet.machines[host]; !ok && m != nil {
		record, _ = m.state.record(id)
	}
	return record
}

// stage brings the large files of a turn to the host before its turn comes.
func (r *run) stage(n *graphNode) error {
	for _, item := range n.items {
		artifact, ok := item.Step.Resource.(resource.Artifact)
		if !ok || !item.Change.Changes() {
			continue
		}
		task, err := r.executor.begin(r.work, item)
		if err != nil {
			return failedStep(item, err)
		}
		r.executor.tell(Event{Kind: Started, Item: item})
		staged, err := task.stageArtifact(r.work, artifact)
		if err != nil {
			return failedStep(item, err)
		}
		n.staged[item.Step.ID()] = staged
	}
	return nil
}

// stages reports whether a turn has something to bring to its host beforehand.
func stages(n *graphNode) bool {
	for _, item := range n.items {
		if _, ok := item.Step.Resource.(resource.Artifact); ok && item.Change.Changes() {
			return true
		}
	}
	return false
}

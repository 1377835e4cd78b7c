package provision

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

// stepsPerHost is how many steps run on one host at a time: below the eight
// sessions a connection may have, so that state and probes find room.
const stepsPerHost = 5

// Executor carries out deltas.
type Executor struct {
	Fleet       *Fleet
	Authorities Authorities
	Releases    Releases
	// Notify is told what happens, from many goroutines but never concurrently.
	Notify func(Event)

	delta *plan.Delta

	notify   sync.Mutex
	progress map[string]*hostProgress

	clientMu sync.Mutex
	client   *cluster.Client
}

// hostProgress counts a host's steps that change something.
type hostProgress struct{ done, total int }

// FailedError says that steps failed; the Report has each with its cause.
type FailedError struct {
	Failed, Skipped int
	First           error
}

func (e *FailedError) Error() string {
	switch {
	case e.Failed == 1 && e.Skipped == 0:
		return fmt.Sprintf("1 step failed: %v", e.First)
	case e.Failed == 1:
		return fmt.Sprintf("1 step failed, %d that depend on it were not begun: %v", e.Skipped, e.First)
	default:
		return fmt.Sprintf("%d steps failed, %d were not begun; the first: %v", e.Failed, e.Skipped, e.First)
	}
}

func (e *FailedError) Unwrap() error { return e.First }

// ErrInterrupted is returned when the context ended before all steps had begun.
var ErrInterrupted = errors.New("interrupted; the steps under way were finished, the rest was not begun")

// facts are those the delta was computed from.
func (e *Executor) facts(host string) fact.Set { return e.delta.Observed.Hosts[host].Facts }

// kubernetes returns the client of the cluster's API, made on first use.
func (e *Executor) kubernetes(ctx context.Context) (*cluster.Client, error) {
	e.clientMu.Lock()
	defer e.clientMu.Unlock()
	if e.client != nil {
		return e.client, nil
	}
	client, err := e.Fleet.kubernetes(ctx, e.Fleet.masterNames())
	if err != nil {
		return nil, err
	}
	e.client = client
	return client, nil
}

// node of the execution graph.
type graphNode struct {
	item    plan.Item
	waiting int // predecessors not done
	next    []*graphNode
	skipped bool
}

// Apply carries out the delta: in parallel, each step after those it depends
// on. A failed step stops what depends on it; everything else goes on. When
// ctx ends, no further step begins and those under way are finished.
//
// The report is complete in any case. The error is nil when every step
// finished, ErrInterrupted, or a *FailedError.
func (e *Executor) Apply(ctx context.Context, delta *plan.Delta) (*Report, error) {
	begin := time.Now()
	e.delta = delta
	e.client = nil
	e.progress = map[string]*hostProgress{}
	defer func() {
		if e.client != nil {
			e.client.Close()
		}
	}()
	if len(delta.Problems) > 0 {
		return &Report{}, fmt.Errorf("%d problems stand in the way; nothing was changed", len(delta.Problems))
	}

	nodes := buildGraph(delta)
	report := &Report{}
	// Steps under way are finished even when ctx ends.
	work := context.WithoutCancel(ctx)
	limits := map[string]*semaphore.Weighted{}
	lanes := map[string]*sync.Mutex{}
	for _, n := range nodes {
		host := n.item.Step.Host
		if limits[host] == nil {
			limits[host] = semaphore.NewWeighted(stepsPerHost)
			e.progress[host] = &hostProgress{}
		}
		if n.item.Change.Action != resource.NoOp {
			e.progress[host].total++
		}
		if lane := n.item.Step.Lane; lane != "" && delta.Living[lane] && lanes[lane] == nil {
			lanes[lane] = &sync.Mutex{}
		}
	}
	for host, m := range e.Fleet.machines {
		if e.progress[host] != nil {
			m.state.claim(e.Fleet.inventory.Cluster.Name)
		}
	}

	type outcome struct {
		node    *graphNode
		err     error
		elapsed time.Duration
	}
	done := make(chan outcome)
	running, left := 0, len(nodes)
	start := func(n *graphNode) {
		running++
		go func() {
			// Gates only wait: they take no session and must not keep steps
			// from theirs.
			if _, isGate := n.item.Step.Resource.(resource.Gate); !isGate {
				limit := limits[n.item.Step.Host]
				_ = limit.Acquire(work, 1) // work never ends
				defer limit.Release(1)
			}
			if ctx.Err() != nil {
				done <- outcome{node: n, err: ErrInterrupted}
				return
			}
			stepBegin := time.Now()
			err := e.step(work, n.item, lanes[n.item.Step.Lane])
			done <- outcome{n, err, time.Since(stepBegin)}
		}()
	}
	// settle marks a node done without work, and starts or settles what waited
	// only for it.
	var settle func(n *graphNode, ok bool)
	ready := func(n *graphNode) {
		switch {
		case n.skipped || ctx.Err() != nil:
			if n.item.Change.Action != resource.NoOp {
				report.Results = append(report.Results, Result{Item: n.item, Kind: Skipped})
				e.tell(Event{Kind: Skipped, Item: n.item})
			}
			settle(n, false)
		case n.item.Change.Action == resource.NoOp:
			e.adopt(n.item)
			settle(n, true)
		default:
			start(n)
		}
	}
	settle = func(n *graphNode, ok bool) {
		left--
		for _, next := range n.next {
			next.skipped = next.skipped || !ok
			if next.waiting--; next.waiting == 0 {
				ready(next)
			}
		}
	}
	var first []*graphNode
	for _, n := range nodes {
		if n.waiting == 0 {
			first = append(first, n)
		}
	}
	for _, n := range first {
		ready(n)
	}
	var firstErr error
	interrupted := false
	for running > 0 {
		o := <-done
		running--
		result := Result{Item: o.node.item, Kind: Finished, Err: o.err, Elapsed: o.elapsed}
		switch {
		case errors.Is(o.err, ErrInterrupted):
			result.Kind, result.Err = Skipped, nil
			interrupted = true
		case o.err != nil:
			result.Kind = Failed
			if firstErr == nil {
				firstErr = o.err
			}
		}
		report.Results = append(report.Results, result)
		e.tell(Event{Kind: result.Kind, Item: o.node.item, Err: result.Err, Elapsed: o.elapsed})
		settle(o.node, result.Kind == Finished)
	}
	stateErr := e.flushAll(work)
	if firstErr == nil {
		firstErr = stateErr
	}
	report.Elapsed = time.Since(begin)
	report.Interrupted = interrupted || ctx.Err() != nil && report.Count(Skipped) > 0
	report.Connections, report.Execs = e.Fleet.Counts()
	switch {
	case firstErr != nil:
		return report, &FailedError{Failed: max(report.Count(Failed), 1), Skipped: report.Count(Skipped), First: firstErr}
	case report.Interrupted:
		return report, ErrInterrupted
	case left != 0:
		return report, fmt.Errorf("%d steps were never reached: the plan's graph has a cycle", left)
	}
	return report, nil
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
	return nodes
}

// adopt records a resource that is as desired already, so that it counts as
// managed from now on.
func (e *Executor) adopt(item plan.Item) {
	m, ok := e.Fleet.machines[item.Step.Host]
	if !ok {
		return
	}
	id := item.Step.Resource.ID()
	if _, orphan := item.Step.Resource.(resource.Orphan); orphan {
		m.state.remove(id)
		return
	}
	if record := item.Change.Record; record.Digest != "" || len(record.Files)+len(record.Inputs) > 0 {
		m.state.put(id, record)
	}
}

// step carries out one item.
func (e *Executor) step(ctx context.Context, item plan.Item, lane *sync.Mutex) error {
	if lane != nil {
		lane.Lock()
		defer lane.Unlock()
		if gate := item.Step.Gate; gate != nil && gate.Gate == resource.GateEtcd {
			// A member is taken down only while all others can do without it.
			if err := e.wait(ctx, *gate, func(text string) { e.tell(Event{Kind: Progress, Item: item, Text: text}) }); err != nil {
				return fmt.Errorf("%s: not touched, because the cluster is not healthy as it is: %w", item.Step.Host, err)
			}
		}
	}
	e.tell(Event{Kind: Started, Item: item})
	t := &task{executor: e, item: item, report: func(text string) { e.tell(Event{Kind: Progress, Item: item, Text: text}) }}
	kind := item.Step.Resource.ID().Kind()
	apply := appliers[kind]
	if _, orphan := item.Step.Resource.(resource.Orphan); orphan {
		apply = removers[kind]
	}
	if apply == nil {
		return fmt.Errorf("%s: nothing knows how to %s a %s", item.Step.Host, item.Change.Action, kind)
	}
	if item.Step.Host != plan.Operator && item.Step.Host != plan.Cluster {
		m, err := e.Fleet.connect(ctx, item.Step.Host)
		if err != nil {
			return err
		}
		t.machine = m
	}
	if t.machine != nil && item.Change.Action == resource.Deferred {
		changes, err := t.judgeAgain(ctx)
		if err != nil || !changes {
			return err
		}
	}
	record, err := apply(ctx, t)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", item.Step.Host, t.label(), err)
	}
	if t.machine != nil {
		id := item.Step.Resource.ID()
		if _, orphan := item.Step.Resource.(resource.Orphan); orphan {
			t.machine.state.remove(id)
		} else {
			t.machine.state.put(id, record)
		}
		if kind == "unit" || kind == "artifact" {
			// The restarts and the large transfers are what must not be
			// repeated after a crash.
			if err := t.machine.flush(ctx); err != nil {
				return err
			}
		}
	}
	if lane != nil && item.Step.Gate != nil {
		if err := e.wait(ctx, *item.Step.Gate, t.report); err != nil {
			return fmt.Errorf("%s: %s: %w", item.Step.Host, item.Step.Gate.Text, err)
		}
	}
	return nil
}

// judgeAgain observes a deferred resource now that what it waited for is
// there, and reports whether anything is to be done.
func (t *task) judgeAgain(ctx context.Context) (bool, error) {
	r := t.item.Step.Resource
	facts, _, err := t.machine.ask(ctx, r.Queries())
	if err != nil {
		return false, err
	}
	change, err := r.Diff(facts)
	if err != nil {
		return false, fmt.Errorf("%s: %s: %w", t.machine.host.Name, r.ID(), err)
	}
	t.item.Change = change
	if !change.Changes() {
		t.executor.adopt(t.item)
		return false, nil
	}
	return true, nil
}

// flushAll writes the state of every host that was worked on.
func (e *Executor) flushAll(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, 0, len(e.progress))
	var mu sync.Mutex
	for host := range e.progress {
		m, ok := e.Fleet.machines[host]
		if !ok || m.client == nil {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := m.flush(ctx); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// tell passes an event on, one at a time.
func (e *Executor) tell(event Event) {
	e.notify.Lock()
	defer e.notify.Unlock()
	p := e.progress[event.Item.Step.Host]
	if p != nil {
		if event.Kind == Finished || event.Kind == Failed || event.Kind == Skipped {
			p.done++
		}
		event.Done, event.Total = p.done, p.total
	}
	if e.Notify != nil {
		e.Notify(event)
	}
}

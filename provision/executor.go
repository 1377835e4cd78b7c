package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

// Executor carries out deltas, one at a time.
type Executor struct {
	Fleet       *Fleet
	Authorities Authorities
	Releases    Releases
	// Notify is told what happens, from many goroutines but never concurrently.
	Notify func(Event)

	delta *plan.Delta
	// arming has the hosts undo by themselves what cuts them off.
	arming *arming

	// stopping ends when no further step is to begin: what only waits gives up then.
	stopping context.Context
	// nodes cordons and drains nodes; nil stands for the real ones.
	nodes nodes
	// tokens are what kubelets join with; nil stands for the real ones.
	tokens tokens
	// checks asks hosts and the cluster; nil stands for the real ones.
	checks checker
	paths  podPaths
	// patience with pods' hosts that don't reach each other; 0 stands for reachableTimeout.
	patience time.Duration

	notify   sync.Mutex
	progress map[string]*hostProgress

	clientMu sync.Mutex
	client   *cluster.Client

	joining *joining

	pendingMu sync.Mutex
	pending   map[plan.StepID]fact.Record // of turns under way
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
	case e.Failed == 0:
		return fmt.Sprintf("the steps went well, but what was done is not recorded: %v", e.First)
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
func (e *Executor) facts(host string) fact.Set { return e.delta.Observed.Facts(host) }

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

// Apply carries out the delta: in parallel, each step after those it depends
// on. A failed step stops what depends on it; everything else goes on. When
// ctx ends, or the lock of a host is lost, no further step begins and those
// under way are finished.
//
// Members of what serves are changed in turns, as package rollout decides: one
// that is not seen to work gets its previous bytes back, and stops its group.
//
// What was started beside that is looked at once more when all else is done.
//
// What is as desired already is adopted: the hosts' states say from then on that
// it is managed. That is all there is to a delta without changes, and costs
// nothing on hosts whose state says so already.
//
// Before that, what is needed on this machine is checked: see checkLocal. The
// report is nil if that failed, with a *LocalError; else it is complete. The error is nil when every step
// finished, ErrInterrupted, a *FailedError, a *LockLostError, or both of these
// joined.
func (e *Executor) Apply(ctx context.Context, delta *plan.Delta) (*Report, error) {
	if len(delta.Problems) > 0 {
		return &Report{}, fmt.Errorf("%d problems stand in the way; nothing was changed", len(delta.Problems))
	}
	e.delta, e.client, e.pending, e.paths = delta, nil, map[plan.StepID]fact.Record{}, podPaths{}
	e.progress = nil
	if err := e.checkLocal(ctx); err != nil && ctx.Err() == nil {
		return nil, err
	}
	e.arming = newArming(delta, e.Fleet.options.ConfirmTimeout)
	if e.checks == nil {
		e.checks = clusterChecks{e}
	}
	if e.nodes == nil {
		e.nodes = clusterNodes{e}
	}
	if e.tokens == nil {
		e.tokens = clusterTokens{e}
	}
	e.joining = &joining{}
	defer func() {
		e.joining.forget(context.WithoutCancel(ctx), e)
		if e.client != nil {
			e.client.Close()
		}
	}()
	ctx, stop := e.Fleet.whileLocked(ctx)
	defer stop()
	e.stopping = ctx
	return newRun(ctx, e).execute()
}

// adopt records a resource that is as desired already, so that it counts as
// managed from now on.
func (e *Executor) adopt(item plan.Item) {
	id := item.Step.Resource.ID()
	_, orphan := item.Step.Resource.(resource.Orphan)
	record := item.Change.Record
	if !orphan && record.Empty() {
		return
	}
	if orphan && item.Step.Host == plan.Cluster {
		for _, m := range e.known(e.Fleet.inventory.Hosts) { // one may have been a keeper before
			m.state.remove(id)
		}
		return
	}
	for _, m := range e.keepers(item.Step.Host) {
		if orphan {
			m.state.remove(id)
		} else {
			m.state.put(id, record)
		}
	}
}

// rememberHosts has the keepers of a cluster that lives remember the hosts before
// anything is done on them: one that leaves the inventory after a run that died
// must be known. A keeper that can't write it now does so at the end, or says why.
// Those of a cluster that is only coming into being do so with the first thing
// that they record.
func (e *Executor) rememberHosts(ctx context.Context) {
	for _, item := range e.delta.Items {
		if _, host := item.Step.Resource.(resource.Host); host {
			e.adopt(item)
		}
	}
	lived := map[string]bool{}
	for _, keeper := range plan.Keepers(e.Fleet.inventory) {
		if len(e.facts(keeper.Name).Host.State.Resources) > 0 {
			lived[keeper.Name] = true
		}
	}
	_ = e.flush(ctx, lived)
}

// keepers are the machines whose state remembers what belongs to a host: the
// host itself, and for what belongs to the cluster each of its keepers whose
// state is known.
func (e *Executor) keepers(host string) []*machine {
	if host == plan.Cluster {
		return e.known(plan.Keepers(e.Fleet.inventory))
	}
	if m, ok := e.Fleet.machines[host]; ok {
		return []*machine{m}
	}
	return nil
}

// known are those of the hosts whose state is known.
func (e *Executor) known(hosts []inventory.Host) []*machine {
	var all []*machine
	for _, host := range hosts {
		if o, ok := e.delta.Observed.Hosts[host.Name]; ok && o.Err == nil {
			all = append(all, e.Fleet.machines[host.Name])
		}
	}
	return all
}

// flush writes the states of hosts where they differ from what the hosts have.
func (e *Executor) flush(ctx context.Context, hosts map[string]bool) error {
	var mu sync.Mutex
	var errs []error
	var group fault.Group
	group.SetLimit(e.Fleet.options.Parallelism)
	for host := range hosts {
		m, ok := e.Fleet.machines[host]
		if !ok || m.ssh() == nil {
			continue // the operator's machine and the cluster's API have no state
		}
		group.Go(func() error {
			if err := m.flush(ctx); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(errs...)
}

// begin returns the task of an item, connected to its host.
func (e *Executor) begin(ctx context.Context, item plan.Item) (*task, error) {
	t := &task{executor: e, item: item, report: func(text string) { e.tell(Event{Kind: Progress, Item: item, Text: text}) }}
	switch item.Step.Host {
	case plan.Operator:
		return t, nil
	case plan.Cluster:
		return t, e.Fleet.mayChangeCluster()
	}
	m, err := e.Fleet.connect(ctx, item.Step.Host)
	t.machine = m
	return t, err
}

// perform makes the task's resource as it should be, and returns what the
// state of its host is to remember of that.
func (t *task) perform(ctx context.Context) (fact.Record, error) {
	r := t.item.Step.Resource
	kind := r.ID().Kind()
	apply := appliers[kind]
	if _, orphan := r.(resource.Orphan); orphan {
		apply = removers[kind]
	}
	if apply == nil {
		return fact.Record{}, fmt.Errorf("nothing knows how to %s a %s", t.item.Change.Action, kind)
	}
	var record fact.Record
	err := t.armed(ctx, func() (err error) {
		ctx, cancel := t.limited(ctx)
		defer cancel()
		record, err = apply(ctx, t)
		return err
	})
	return record, err
}

// carryOut makes the task's resource as it should be and records that.
func (t *task) carryOut(ctx context.Context) error {
	if t.item.Change.Action == resource.Verify && t.item.Step.Rollout == nil {
		return nil // the gate that waits for it sees to that
	}
	r := t.item.Step.Resource
	kind := r.ID().Kind()
	_, orphan := r.(resource.Orphan)
	if t.machine != nil && t.item.Change.Action == resource.Deferred {
		changes, err := t.judgeAgain(ctx)
		if err != nil || !changes {
			return err
		}
	}
	record, err := t.start(ctx)
	if err != nil {
		return err
	}
	if t.machine == nil {
		t.item.OwnChange().Record = record
		t.executor.adopt(t.item)
		return nil
	}
	switch {
	case orphan:
		t.machine.state.remove(r.ID())
	case !record.Empty():
		t.machine.state.put(r.ID(), record)
	}
	if d, _ := resource.Describe(kind); d.RecordAtOnce {
		return t.machine.flush(ctx)
	}
	return nil
}

// start performs a step that has no turn. What it starts is marked as not seen
// to work yet: the end of the run looks, or the next run does.
func (t *task) start(ctx context.Context) (fact.Record, error) {
	if t.item.Change.Action == resource.Verify {
		// Not now: how it works may depend on what is still to come.
		record := t.item.Change.Record
		t.started, record.Unproven = true, true
		return record, nil
	}
	record, err := t.perform(ctx)
	t.started = t.item.Step.Rollout != nil && isProcess(t.item.Step.Resource) && !record.Empty()
	record.Unproven = t.started
	return record, err
}

// isProcess tells units and static pods from what has no process of its own.
func isProcess(r resource.Resource) bool {
	switch r.(type) {
	case resource.Unit, resource.StaticPod:
		return true
	}
	return false
}

// judgeAgain observes a deferred resource now that what it waited for is
// there, and reports whether anything is to be done.
func (t *task) judgeAgain(ctx context.Context) (bool, error) {
	r := t.item.Step.Resource
	facts, _, err := t.machine.ask(ctx, r.Queries())
	if err != nil {
		return false, err
	}
	// Records made since the plan count as well.
	facts.Host.State = t.machine.state.snapshot()
	change, err := r.Diff(facts)
	if err != nil {
		return false, err
	}
	t.item.Change = &change
	if !change.Changes() {
		t.executor.adopt(t.item)
		return false, nil
	}
	return true, nil
}

// stepError says where an error occurred and in which step, once: what comes
// from package ssh names the host, and often the step, itself.
type stepError struct {
	host, label string
	err         error
}

func failedStep(item plan.Item, err error) error {
	if err == nil {
		return nil
	}
	return &stepError{item.Step.Host, label(item), err}
}

func (e *stepError) Error() string {
	text := strings.TrimPrefix(e.err.Error(), e.host+": ")
	return e.host + ": " + e.label + ": " + strings.TrimPrefix(text, e.label+": ")
}

func (e *stepError) Unwrap() error { return e.err }

// tell passes an event on, one at a time.
func (e *Executor) tell(event Event) {
	e.notify.Lock()
	defer e.notify.Unlock()
	p := e.progress[event.Item.Step.Host]
	if p != nil {
		if event.Kind == Finished || event.Kind == Failed || event.Kind == RolledBack {
			p.done++
		}
		event.Done, event.Total = p.done, p.total
	}
	if e.Notify != nil {
		e.Notify(event)
	}
}

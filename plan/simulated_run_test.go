package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/plan/rollout"
)

// What may go wrong at a moment of a run. A moment is a script sent to a host.
const (
	crash      = "kinstall dies"
	lostBefore = "the connection breaks before the script runs"
	lostAfter  = "the connection breaks when the script has run"
	powerCut   = "the host loses its power"
)

// crashed is what ends a run in which kinstall died.
type crashed struct{}

var errLost = errors.New("the connection broke")

// simRun carries out a delta as provision's executor does (run.go, turn.go,
// started.go), but one script after the other, in any order that the executor
// could have them in.
type simRun struct {
	t      *rapid.T
	sorted bool // everything is done in the order of the plan
	w      *world
	inv    *inventory.Inventory
	delta  *Delta
	nodes  []*simNode
	byName map[string]*simNode
	turns  *rollout.Machine

	queue   []func() // what may be done next, in any order
	waiting int      // in a row, of what was done and has to wait
	faults  map[int]string
	moment  int

	states  map[string]fact.State // in kinstall's memory
	pending map[StepID]fact.Record
	started []Item
	failed  []error // what the exit code would be about

	// What the promises are held to.
	begin   map[StepID]fact.Record // on the host's disk, of members and parts of turns
	serving map[string]int         // starts of processes that ran at the beginning
	seen    map[StepID]bool        // members seen to work by the world's own account
	proven  map[string]bool        // programs, see programOf
	broken  map[string]bool        // hosts that were lost at some moment
}

type simNode struct {
	Node
	next    []*simNode
	waiting int
	skipped bool

	asked   bool // the others can do without it, unless one of them loses its power now
	changed []Item
	before  map[resource.Process]string // nil: any process will do
}

func (n *simNode) item() Item   { return n.Items[len(n.Items)-1] }
func (n *simNode) name() string { return string(n.item().Step.ID()) }
func (n *simNode) host() string { return n.item().Step.Host }

func newSimRun(t *rapid.T, w *world, delta *Delta) *simRun {
	r := &simRun{
		t: t, w: w, inv: delta.Plan.Inventory, delta: delta, byName: map[string]*simNode{}, states: map[string]fact.State{}, pending: map[StepID]fact.Record{},
		begin: map[StepID]fact.Record{}, serving: map[string]int{}, seen: map[StepID]bool{}, proven: map[string]bool{}, broken: map[string]bool{},
	}
	for _, n := range delta.Graph() {
		r.nodes = append(r.nodes, &simNode{Node: n, waiting: len(n.After), skipped: n.Blocked})
	}
	var members []rollout.Member
	for _, n := range r.nodes {
		for _, before := range n.After {
			r.nodes[before].next = append(r.nodes[before].next, n)
		}
		if n.Turn != nil {
			r.byName[n.name()] = n
			members = append(members, rollout.Member{Name: n.name(), Group: n.Turn.Group, Down: n.Turn.Down, Unchanged: n.Turn.Unchanged})
		}
	}
	r.turns = rollout.New(Groups(r.inv), members)
	asked := maps.Clone(delta.Observed.Hosts)
	maps.Copy(asked, delta.Observed.Leaving)
	for name, o := range asked {
		if o.Err == nil {
			state := o.Facts.Host.State
			state.Resources = maps.Clone(state.Resources)
			r.states[name] = state
		} else {
			r.broken[name] = true
		}
	}
	for _, n := range r.byName {
		for _, item := range n.Items {
			r.begin[item.Step.ID()] = r.states[n.host()].Resources[string(item.Step.Resource.ID())]
		}
	}
	for host, h := range w.hosts {
		for name, p := range h.processes {
			if p.running {
				r.serving[host+"/"+name] = p.starts
			}
		}
	}
	return r
}

// execute runs to the end, or until kinstall dies.
func (r *simRun) execute() (died bool) {
	defer func() {
		if what := recover(); what != nil {
			if _, ok := what.(crashed); !ok {
				panic(what)
			}
			died = true
		}
	}()
	var first []*simNode
	for _, n := range r.nodes {
		if n.waiting == 0 {
			first = append(first, n)
		}
	}
	for _, n := range first {
		r.ready(n)
	}
	for len(r.queue) > 0 {
		i := 0
		if !r.sorted && r.waiting == 0 && len(r.queue) > 1 {
			i = rapid.IntRange(0, len(r.queue)-1).Draw(r.t, "next")
		}
		do := r.queue[i]
		r.queue = slices.Delete(r.queue, i, i+1)
		do()
		r.promises()
	}
	if left := r.turns.Left(); len(left) > 0 {
		r.fatalf("nothing is under way, and %v have not ended", left)
	}
	r.seeStarted()
	for _, host := range slices.Sorted(maps.Keys(r.states)) {
		r.fail(r.flush(host))
	}
	r.promises()
	return false
}

func (r *simRun) fatalf(format string, args ...any) {
	if r.t == nil { // nothing is left to chance
		r.w.tb.Fatalf(format, args...)
	}
	r.t.Fatalf(format, args...)
}

func (r *simRun) fail(err error) {
	if err != nil {
		r.failed = append(r.failed, err)
	}
}

// script is a moment at which something is done to a host, well or not.
func (r *simRun) script(host string, do func() error) error {
	r.moment++
	fault := r.faults[r.moment]
	if fault != "" {
		delete(r.faults, r.moment)
		r.t.Logf("    %d: on %s %s", r.moment, host, fault)
	}
	if host == Operator || host == Cluster {
		if fault == crash {
			panic(crashed{})
		}
		return do()
	}
	if fault == powerCut && r.quiet() {
		r.w.powerCut(host)
		r.broken[host] = true
	}
	if r.w.host(host).down {
		r.broken[host] = true
		return errLost
	}
	var err error
	if fault != lostBefore {
		err = do()
	}
	switch fault {
	case crash:
		panic(crashed{})
	case lostBefore, lostAfter:
		r.broken[host] = true
		return errLost
	}
	return err
}

// quiet reports whether no member is between being asked about and being seen:
// what happens then, nobody could have known when asking.
func (r *simRun) quiet() bool {
	for _, h := range r.w.hosts {
		for _, p := range h.processes {
			if p.starting {
				return false
			}
		}
	}
	for _, n := range r.byName {
		if (n.asked || n.changed != nil) && !r.seen[n.item().Step.ID()] {
			return false
		}
	}
	return true
}

func (r *simRun) do(what func()) {
	r.queue = append(r.queue, func() { r.waiting = 0; what() })
}

// await has something tried again as long as others are on their way.
func (r *simRun) await(try func() error, then func(error)) {
	var again func()
	again = func() {
		err := try()
		if errors.Is(err, errNot) && r.waiting <= len(r.queue) {
			r.waiting++
			r.queue = append(r.queue, again)
			return
		}
		r.waiting = 0
		then(err)
	}
	r.queue = append(r.queue, again)
}

func (r *simRun) ready(n *simNode) {
	switch {
	case n.Turn == nil && n.item().Change.Action == resource.NoOp:
		if !n.skipped {
			r.adopt(n.item().Step, n.item().Change.Record)
		}
		r.settle(n, !n.skipped)
	case n.skipped && n.Turn != nil:
		r.decide(rollout.Event{Kind: rollout.Blocked, Member: n.name()})
	case n.skipped:
		r.settle(n, false)
	case n.Turn != nil:
		r.decide(rollout.Event{Kind: rollout.Ready, Member: n.name()})
	default:
		r.plain(n)
	}
}

func (r *simRun) settle(n *simNode, ok bool) {
	for _, next := range n.next {
		next.skipped = next.skipped || !ok
		if next.waiting--; next.waiting == 0 {
			r.ready(next)
		}
	}
}

// plain carries out what is no member's change.
func (r *simRun) plain(n *simNode) {
	item := n.item()
	end := func(err error) {
		if err != nil {
			r.fail(fmt.Errorf("%s: %w", n.name(), err))
		}
		r.settle(n, err == nil)
	}
	if gate, ok := item.Step.Resource.(resource.Gate); ok {
		r.await(func() error {
			if !r.w.passes(r.inv, gate) {
				return errNot
			}
			return nil
		}, end)
		return
	}
	if changesList(item.Step.Resource) {
		r.await(func() error { return r.changeList(item) }, end)
		return
	}
	r.do(func() {
		switch {
		case item.Change.Action == resource.Verify && item.Step.Rollout == nil:
			end(nil)
			return
		case item.Change.Action == resource.Verify:
			// Looked at when all else is done, as what is started now.
			record := item.Change.Record
			record.Unproven = true
			r.started = append(r.started, item)
			r.adopt(item.Step, record)
			end(nil)
			return
		case item.Change.Action == resource.Deferred && item.Step.Host != Cluster && item.Step.Host != Operator:
			h, _ := r.inv.Host(item.Step.Host)
			facts := r.w.facts(h, r.delta.Plan.Queries(h.Name))
			facts.Host.State = r.states[h.Name]
			change, err := item.Step.Resource.Diff(facts)
			if err != nil || !change.Changes() {
				r.adopt(item.Step, change.Record)
				end(err)
				return
			}
			item.Change = &change
		}
		record, err := r.perform(item)
		if err != nil {
			end(err)
			return
		}
		r.w.comeUp()
		switch item.Step.Resource.(type) {
		case resource.Unit, resource.StaticPod:
			if item.Step.Rollout != nil && !record.Empty() {
				record.Unproven = true
				r.started = append(r.started, item)
			}
		}
		r.adopt(item.Step, record)
		if describe(item.Step.Resource.ID()).RecordAtOnce {
			err = r.flush(n.host())
		}
		end(err)
	})
}

// perform is what an applier does.
func (r *simRun) perform(item Item) (fact.Record, error) {
	host := item.Step.Host
	var inputs []resource.Input
	switch m := item.Step.Resource.(type) {
	case resource.Unit:
		inputs = m.Inputs
	case resource.StaticPod:
		inputs = m.Inputs
	}
	digests := map[string]string{}
	for _, input := range inputs {
		id := input.ID()
		digest, known := input.InputDigest(r.delta.Observed.facts(host))
		if !known {
			record, ok := r.pending[NewStepID(host, id)]
			if !ok {
				record = r.states[host].Resources[string(id)]
			}
			if digest, ok = record.Files[id.Name()]; !ok {
				return fact.Record{}, fmt.Errorf("its input %s was not applied", id)
			}
		}
		digests[string(id)] = digest
	}
	var record fact.Record
	err := r.script(host, func() error {
		if err := r.unchanged(item); err != nil {
			return err
		}
		record = r.w.carryOut(host, item, digests)
		return nil
	})
	return record, err
}

// errStale is provision.ErrStale.
var errStale = errors.New("changed on the host since it was planned")

// unchanged checks what a script that writes a file checks.
func (r *simRun) unchanged(item Item) error {
	var path string
	switch f := item.Step.Resource.(type) {
	case resource.File:
		path = f.Path
	case resource.Block:
		path = f.Path
	case resource.AuthorityFile:
		path = f.Path
	case resource.StaticPod:
		path = f.Path
	case resource.Certificate:
		path = f.Path
	default:
		return nil
	}
	if item.Change.Action != resource.Deferred && r.w.host(item.Step.Host).files[path].SHA256 != item.Change.Evidence {
		return errStale
	}
	return nil
}

// adopt has the states in memory remember what is there.
func (r *simRun) adopt(step *Step, record fact.Record) {
	id := string(step.Resource.ID())
	_, orphan := step.Resource.(resource.Orphan)
	hosts := []string{step.Host}
	if step.Host == Cluster {
		hosts = nil
		keepers := Keepers(r.inv)
		if orphan {
			keepers = r.inv.Hosts
		}
		for _, h := range keepers {
			hosts = append(hosts, h.Name)
		}
	}
	for _, host := range hosts {
		state, known := r.states[host]
		switch {
		case !known:
		case orphan:
			delete(state.Resources, id)
		case !record.Empty():
			state.Resources[id] = record
		}
	}
}

// flush writes a host's state, if it differs.
func (r *simRun) flush(host string) error {
	state, known := r.states[host]
	if !known {
		return nil
	}
	if len(state.Resources) > 0 {
		state.Cluster = r.inv.Cluster.Name
	}
	h := r.w.host(host)
	if state.Cluster == h.state.Cluster && maps.EqualFunc(state.Resources, h.state.Resources, fact.Record.Equal) {
		return nil
	}
	return r.script(host, func() error {
		h.state = state
		h.state.Resources = maps.Clone(state.Resources)
		return nil
	})
}

func (r *simRun) decide(e rollout.Event) {
	for _, c := range r.turns.Step(e) {
		n := r.byName[c.Member]
		answer := func(kind rollout.EventKind, err error) {
			e := rollout.Event{Kind: kind, Member: c.Member, Err: err}
			var untouched untouchedError
			if errors.As(err, &untouched) {
				e.Untouched = true
			}
			r.decide(e)
		}
		switch c.Kind {
		case rollout.Ask:
			r.await(func() error { return r.ask(n) }, func(err error) { answer(rollout.Asked, err) })
		case rollout.Change:
			r.do(func() { answer(rollout.Changed, r.change(n)) })
		case rollout.See:
			if n.Turn.Unchanged {
				n.changed = n.Items
			}
			r.await(func() error { _, err := r.after(n, n.before); return err }, func(err error) { answer(rollout.Seen, err) })
		case rollout.RollBack:
			r.do(func() {
				before, err := r.rollBack(n)
				if err != nil {
					answer(rollout.RolledBack, err)
					return
				}
				r.await(func() error { _, err := r.after(n, before); return err }, func(err error) { answer(rollout.RolledBack, err) })
			})
		case rollout.Record:
			r.do(func() { answer(rollout.Recorded, r.record(n)) })
		default:
			if c.Kind == rollout.Failed {
				r.fail(fmt.Errorf("%s: %s: %w", c.Member, c.Stands, c.Err))
			}
			r.w.comeUp()
			r.ended(c)
			r.settle(n, c.Kind == rollout.Finished)
		}
	}
}

// untouchedError is that of a change which changed nothing.
type untouchedError struct{ error }

func (r *simRun) ask(n *simNode) error {
	for _, c := range n.item().Step.Rollout.Before {
		if !r.w.holds(r.inv, c) {
			return errNot
		}
	}
	n.asked = true
	return nil
}

// processes are those that a member's checks look at, as they run now.
func (r *simRun) processes(n *simNode) map[resource.Process]string {
	found := map[resource.Process]string{}
	for _, c := range n.item().Step.Rollout.After {
		if c.Kind == resource.CheckProcess {
			found[c.Process] = r.w.host(c.Process.Host).processes[c.Process.Name()].identity()
		}
	}
	return found
}

func (r *simRun) change(n *simNode) error {
	host := n.host()
	if r.w.host(host).down {
		r.broken[host] = true
		return untouchedError{errLost}
	}
	n.before = r.processes(n)
	if n.item().Change.Action == resource.Reload {
		n.before = nil
	}
	if err := r.script(host, func() error { return r.w.keep(host, n.Turn.Kept) }); err != nil {
		return untouchedError{err}
	}
	n.changed = []Item{}
	for _, item := range n.Items {
		if item.Change.Action != resource.NoOp {
			if item.Step.ID() == n.item().Step.ID() {
				r.mayTake(n)
			}
			record, err := r.perform(item)
			if err != nil && len(n.changed) == 0 && errors.Is(err, errStale) {
				return untouchedError{err}
			}
			if err != nil {
				return err
			}
			item.OwnChange().Record = record
		}
		n.changed = append(n.changed, item)
		r.pending[item.Step.ID()] = item.Change.Record
	}
	return nil
}

// after looks whether a member works, with another process than before.
func (r *simRun) after(n *simNode, before map[resource.Process]string) (map[resource.Process]string, error) {
	host := n.host()
	if r.w.host(host).down {
		r.broken[host] = true
		return nil, errLost
	}
	if processName(n.item()) == KubeletUnit {
		for _, p := range r.w.host(host).processes {
			if p.pod && p.starting { // it has begun the pods anew, too
				p.starting, p.running = false, true
			}
		}
	}
	now := r.processes(n)
	for process, identity := range now {
		p := r.w.host(process.Host).processes[process.Name()]
		if p != nil && p.starting {
			p.starting, p.running = false, true
			identity = p.identity()
			now[process] = identity
		}
		switch {
		case p != nil && p.unhealthy:
			return nil, fmt.Errorf("%s on %s crashes", process.Name(), process.Host)
		case identity == "":
			return nil, errNot
		case before != nil && before[process] != "" && before[process] == identity:
			return nil, fmt.Errorf("the previous process still runs: %w", errNot)
		}
	}
	for _, c := range n.item().Step.Rollout.After {
		if !r.w.holds(r.inv, c) {
			return nil, fmt.Errorf("%s: %w", c.Text, errNot)
		}
	}
	r.witness(n)
	return now, nil
}

// rollBack puts the previous files back, and returns the processes that must
// not be those that are seen to work then.
func (r *simRun) rollBack(n *simNode) (map[resource.Process]string, error) {
	host := n.host()
	before := r.processes(n)
	if n.item().Change.Action == resource.Reload || len(n.Turn.Kept) == 0 {
		before = nil
	}
	if len(n.Turn.Kept) == 0 {
		return before, nil
	}
	return before, r.script(host, func() error {
		h := r.w.host(host)
		var manifest string
		pod, isPod := n.item().Step.Resource.(resource.StaticPod)
		if isPod {
			manifest = h.files[pod.Path].SHA256
		}
		for _, d := range n.Turn.Owned {
			r.w.put(host, d.Path, fact.File{Exists: true, Type: "directory", Mode: d.Mode, Owner: d.Owner, Group: d.Group})
		}
		for _, kept := range n.Turn.Kept {
			if err := r.w.restore(host, kept); err != nil {
				return err
			}
		}
		switch m := n.item().Step.Resource.(type) {
		case resource.Unit:
			r.w.start(host, m.Name, false, read(m.Inputs))
		case resource.StaticPod:
			if h.files[m.Path].SHA256 != manifest {
				r.w.start(host, m.Name, true, read(m.Inputs, m.Path))
			}
		}
		return nil
	})
}

func (r *simRun) record(n *simNode) error {
	for _, item := range n.changed {
		record := item.Change.Record
		if item.Step.ID() == n.item().Step.ID() {
			record.Started = ""
			if unit, ok := item.Step.Resource.(resource.Unit); ok {
				record.Started = r.w.host(n.host()).processes[unit.Name].identity()
			}
		}
		r.adopt(item.Step, record)
	}
	if err := r.flush(n.host()); err != nil {
		return err
	}
	for _, g := range Groups(r.inv) {
		if g.Name == n.Turn.Group {
			r.proven[programOf(g)] = true
		}
	}
	return r.script(n.host(), func() error {
		for _, kept := range n.Turn.Kept {
			if kept.Secret {
				delete(r.w.host(n.host()).kept, kept.Path)
			}
		}
		return nil
	})
}

// seeStarted looks at what was started outside of turns.
func (r *simRun) seeStarted() {
	if len(r.failed) > 0 {
		return
	}
	for _, item := range r.started {
		n := &simNode{Node: Node{Items: []Item{item}}}
		if _, err := r.after(n, nil); err != nil {
			r.fail(fmt.Errorf("%s: %w", n.name(), err))
			continue
		}
		state := r.states[n.host()]
		if record, known := state.Resources[string(item.Step.Resource.ID())]; known {
			record.Unproven, record.Started = false, ""
			if unit, ok := item.Step.Resource.(resource.Unit); ok {
				record.Started = r.w.host(n.host()).processes[unit.Name].identity()
			}
			state.Resources[string(item.Step.Resource.ID())] = record
		}
	}
}

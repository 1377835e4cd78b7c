package plan

import (
	"path"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// Turn is the change of one member of what serves on a living cluster: it is
// begun when its group's rollout lets it, and everything that belongs to the
// member's new version reaches its place in it and not before.
type Turn struct {
	Step  StepID // the unit, static pod or certificate
	Group string
	// Parts are the steps that bring what the member is started with, in the
	// order in which they are carried out. Those without a change were written
	// by a run that ended before the member was seen to work with them.
	Parts []StepID
	// Kept are the files whose previous bytes are kept on the host, and put back
	// when the member is not seen to work.
	Kept []KeptFile
	// Owned are the directories that change hands in it, with whom they belonged to.
	Owned []resource.Directory
	// Down: it does not serve now. Unchanged: nothing is written or restarted.
	Down, Unchanged bool
}

// KeptFile is a file that a turn replaces.
type KeptFile struct {
	Step   StepID // that writes it
	Path   string
	Found  string // its SHA-256 when the host was observed; "" when it was not there
	Served string // that of the bytes which were last seen to work; "" if not known
	Secret bool   // not kept for longer than it may be needed
}

// turns finds the members that are changed in a turn of their own: those that
// serve, or did before. What is new joins beside whatever else goes on: the
// others may need it.
//
// What only runs serves nobody yet: after a first installation that was not
// finished, runtimes and load balancers may run while there is no API server.
// To wait for nodes or the endpoint would be to wait for what comes after them.
func (d *Delta) turns() []Turn {
	living, changes := map[string]bool{}, false
	for i := range d.Items {
		item := &d.Items[i]
		r := item.Step.Rollout
		if r == nil {
			continue
		}
		changes = changes || item.Change.Changes()
		if living[r.Group] {
			continue
		}
		if facts := d.Observed.facts(item.Step.Host); serves(item.Step.Resource, facts) && proven(item.Step.Resource, facts) {
			living[r.Group] = true
		}
	}
	if !changes {
		return nil
	}
	items := make(map[StepID]*Item, len(d.Items))
	for i := range d.Items {
		items[d.Items[i].Step.ID()] = &d.Items[i]
	}
	dropIns := d.dropIns()
	claimed := map[StepID]bool{}
	var turns []Turn
	for i := range d.Items {
		if d.Items[i].Step.Rollout == nil || !d.Items[i].Change.Changes() {
			continue
		}
		step, change := *d.Items[i].Step, d.Items[i].Change
		facts := d.Observed.facts(step.Host)
		up := serves(step.Resource, facts)
		if !d.takesTurn(step, up, living[step.Rollout.Group]) {
			continue
		}
		d.Items[i].OwnStep().Rollout = d.askable(step)
		turn := Turn{Step: step.ID(), Group: step.Rollout.Group, Down: !up, Unchanged: change.Action == resource.Verify}
		claim := func(id StepID) {
			if part := items[id]; part != nil && !claimed[id] && isPart(*part, facts) {
				claimed[id] = true
				turn.Parts = append(turn.Parts, id)
				turn.keep(*part, facts)
			}
		}
		switch r := step.Resource.(type) {
		case resource.Unit:
			for _, input := range r.Inputs {
				claim(NewStepID(step.Host, input.ID()))
			}
			for _, id := range dropIns[step.ID()] {
				claim(id)
			}
		case resource.StaticPod:
			for _, input := range r.Inputs {
				claim(NewStepID(step.Host, input.ID()))
			}
			turn.keep(d.Items[i], facts)
		default:
			turn.keep(d.Items[i], facts)
		}
		turns = append(turns, turn)
	}
	return turns
}

// tellBalancers has balancers read their configuration anew that an apply told to
// leave out a server, and that died before it told them otherwise: the plan mends
// the file, and would not know that the balancer has read it as it is.
func (d *Delta) tellBalancers() {
	var units map[StepID]*Item
	for i := range d.Items {
		step := d.Items[i].Step
		if step.Rollout == nil {
			continue
		}
		for _, drain := range step.Rollout.Drains {
			found, err := d.Observed.facts(drain.Host).File(drain.File.Path)
			if err != nil || found.SHA256 != resource.SHA256(drain.Without) {
				continue
			}
			if units == nil {
				units = make(map[StepID]*Item, len(d.Items))
				for j := range d.Items {
					units[d.Items[j].Step.ID()] = &d.Items[j]
				}
			}
			unit := units[NewStepID(drain.Host, unitID(drain.Unit))]
			if unit != nil && unit.Change.Action == resource.NoOp {
				change := unit.OwnChange()
				change.Action = resource.Reload
				change.Reasons = append(change.Reasons, resource.Reason{Cause: resource.Drift, Text: "reload: an apply that died has it leave out " + step.Host})
			}
		}
	}
}

// askable is the rollout of a step without its own node where that is not Ready
// before the change: other steps may have to come for that, which wait for this
// one (a kubelet for its runtime, the API server's image for Docker), so that an
// installation that was interrupted between them could never be finished. Of a
// kubelet it is asked always, and a gate sees to all nodes in the end.
func (d *Delta) askable(step Step) *Rollout {
	node, err := d.Observed.Cluster.Node(step.Host)
	if err == nil && node.Ready || step.Resource.ID() == (resource.Unit{Name: KubeletUnit}).ID() {
		return step.Rollout
	}
	rest := *step.Rollout
	rest.After = slices.DeleteFunc(slices.Clone(rest.After), func(c resource.Check) bool { return c.Kind == resource.CheckNode && c.Host == step.Host })
	return &rest
}

// takesTurn reports whether a member is changed in a turn: one that serves
// where others of its group do, and one that is down and did serve before, so
// that it gets its previous files back if it does not come up with the new ones.
func (d *Delta) takesTurn(step Step, up, living bool) bool {
	if up {
		return living
	}
	facts := d.Observed.facts(step.Host)
	_, known := facts.Host.State.Resources[string(step.Resource.ID())]
	return known && isProgram(step.Resource) && (living || proven(step.Resource, facts))
}

// serves reports whether a member of a group serves on its host.
func serves(r resource.Resource, facts fact.Set) bool {
	switch r := r.(type) {
	case resource.Unit:
		found, err := facts.Unit(r.Name)
		return err == nil && found.Running()
	case resource.StaticPod:
		found, err := facts.Pod(r.Name)
		return err == nil && found.Running
	case resource.Certificate: // the API server's, see servingCertificateRollout
		found, err := facts.Pod(apiServerPod)
		return err == nil && found.Running
	}
	return false
}

// isProgram tells members that run from a certificate that one of them serves:
// where none runs, it is a file for one to start with.
func isProgram(r resource.Resource) bool {
	_, certificate := r.(resource.Certificate)
	return !certificate
}

// proven reports whether a member was seen to work once.
func proven(r resource.Resource, facts fact.Set) bool {
	id := r.ID()
	if !isProgram(r) {
		id = resource.StaticPod{Path: ManifestDirectory + "/" + apiServerPod + ".yaml"}.ID()
	}
	record, known := facts.Host.State.Resources[string(id)]
	return known && !record.Unproven
}

// isPart reports whether a step of a member's inputs belongs to its turn: it
// replaces bytes that are read when the member starts, or has replaced them
// without its being recorded. Packages are the distribution's to replace, and
// an image is named by its version: both come beforehand.
func isPart(item Item, facts fact.Set) bool {
	switch r := item.Step.Resource.(type) {
	case resource.File, resource.Artifact, resource.Certificate, resource.AuthorityFile, resource.Orphan:
	case resource.Directory:
		return r.Unit != "" && item.Change.Changes()
	default:
		return false
	}
	if item.Step.Rollout != nil {
		return false // it has turns of its own
	}
	if item.Change.Changes() {
		return true
	}
	record := facts.Host.State.Resources[string(item.Step.Resource.ID())]
	return !record.Equal(item.Change.Record) && !item.Change.Record.Empty()
}

// keep remembers what a step of the turn replaces.
func (t *Turn) keep(item Item, facts fact.Set) {
	id := item.Step.ID()
	record := facts.Host.State.Resources[string(item.Step.Resource.ID())]
	add := func(file string, secret bool) {
		kept := KeptFile{Step: id, Path: file, Served: record.Files[file], Secret: secret}
		if found, err := facts.File(file); err == nil && found.Exists {
			kept.Found = found.SHA256
		}
		t.Kept = append(t.Kept, kept)
	}
	switch r := item.Step.Resource.(type) {
	case resource.Directory:
		if found, ok := r.AsFound(facts); ok {
			t.Owned = append(t.Owned, found)
		}
	case resource.File:
		add(r.Path, r.Sensitive)
	case resource.StaticPod:
		add(r.Path, false)
	case resource.Certificate:
		add(r.Path, false)
		add(r.KeyPath, true)
	case resource.AuthorityFile:
		add(r.Path, r.Part == resource.PartPrivateKey)
	case resource.Artifact:
		for _, m := range r.Members {
			add(m.To, false)
		}
	case resource.Orphan:
		if r.Was.Kind() == "file" {
			add(r.Was.Name(), false)
		}
	}
}

// dropIns are the orphaned drop-ins of each unit that stays: systemd reads
// them as long as they are there, so they go with their unit's turn, or
// before it is started.
func (d *Delta) dropIns() map[StepID][]StepID {
	found := map[StepID][]StepID{}
	isOrphan := func(item Item) bool {
		_, ok := item.Step.Resource.(resource.Orphan)
		return ok
	}
	if !slices.ContainsFunc(d.Items, isOrphan) {
		return found
	}
	units := map[StepID]bool{}
	for i := range d.Items {
		if _, ok := d.Items[i].Step.Resource.(resource.Unit); ok {
			units[d.Items[i].Step.ID()] = true
		}
	}
	for _, item := range d.Items {
		orphan, ok := item.Step.Resource.(resource.Orphan)
		if !ok || orphan.Was.Kind() != "file" {
			continue
		}
		unit, ok := strings.CutSuffix(path.Dir(orphan.Was.Name()), ".d")
		if !ok || path.Dir(unit) != "/etc/systemd/system" {
			continue
		}
		if owner := NewStepID(item.Step.Host, resource.NewID("unit", path.Base(unit))); units[owner] {
			found[owner] = append(found[owner], item.Step.ID())
		}
	}
	return found
}

// Node is one thing to be carried out: an item, or a turn with its parts.
type Node struct {
	// Items in the order in which they are carried out: of a turn the parts,
	// then the member itself; else one.
	Items []Item
	Turn  *Turn // nil for an item that is no member's change
	// After are the indices of the nodes that must be done before.
	After []int
	// Blocked: it waits for a step that is not in the delta, as those of hosts
	// that can't be reached.
	Blocked bool
}

// Graph is the delta as it is carried out, in an order in which each node
// stands after those it depends on, unless two depend on each other. What changes
// on the operator's machine comes before all else.
func (d *Delta) Graph() []Node {
	nodes := make([]Node, 0, len(d.Items))
	at := map[StepID]int{}         // index of a step's node
	owner := map[StepID]*Turn{}    // of a part
	byMember := map[StepID]*Turn{} // turns by their member
	byID := make(map[StepID]*Item) // items of parts
	for i := range d.Turns {
		turn := &d.Turns[i]
		byMember[turn.Step] = turn
		for _, part := range turn.Parts {
			owner[part] = turn
		}
	}
	if len(owner) > 0 {
		for i := range d.Items {
			if id := d.Items[i].Step.ID(); owner[id] != nil {
				byID[id] = &d.Items[i]
			}
		}
	}
	for _, item := range d.Items {
		id := item.Step.ID()
		if owner[id] != nil {
			continue // joins its member's node
		}
		node := Node{Turn: byMember[id]}
		if node.Turn != nil {
			for _, part := range node.Turn.Parts {
				node.Items = append(node.Items, *byID[part])
				at[part] = len(nodes)
			}
		}
		node.Items = append(node.Items, item)
		at[id] = len(nodes)
		nodes = append(nodes, node)
	}
	for i := range nodes {
		node := &nodes[i]
		for _, item := range node.Items {
			for _, before := range item.Step.After {
				switch j, ok := at[before]; {
				case !ok:
					node.Blocked = true
				case j != i && !slices.Contains(node.After, j):
					node.After = append(node.After, j)
				}
			}
		}
	}
	d.untangle(nodes)
	operatorFirst(nodes)
	return nodes
}

// operatorFirst has hosts and the cluster wait for what is written on the
// operator's machine: without the lock file or the authorities, what is done on
// hosts could not be repeated.
func operatorFirst(nodes []Node) {
	var operator []int
	for i, node := range nodes {
		if item := node.Items[0]; item.Step.Host == Operator && item.Change.Changes() {
			operator = append(operator, i)
		}
	}
	for i := range nodes {
		if nodes[i].Items[0].Step.Host != Operator && len(nodes[i].After) == 0 {
			nodes[i].After = operator
		}
	}
}

// untangle drops the edges by which a turn would wait for itself: a package
// that wants a configuration to be there before it is installed, where its
// program is then started with both, has long been installed when the
// configuration changes in a turn.
func (d *Delta) untangle(nodes []Node) {
	for i := range nodes {
		if nodes[i].Turn == nil || len(nodes[i].Turn.Parts) == 0 {
			continue
		}
		host := nodes[i].Items[0].Step.Host
		seen := map[int]bool{i: true}
		var visit func(j int)
		visit = func(j int) {
			for _, before := range nodes[j].After {
				if !seen[before] && nodes[before].Items[0].Step.Host == host {
					seen[before] = true
					visit(before)
				}
			}
		}
		visit(i)
		for j := range seen {
			if j != i {
				nodes[j].After = slices.DeleteFunc(nodes[j].After, func(before int) bool { return before == i })
			}
		}
	}
}

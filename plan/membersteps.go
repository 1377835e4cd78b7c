package plan

import (
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

var bootstrapID = resource.NewID(resource.KindFile, bootstrapFile)

// asFound returns a step and the facts it is judged by where the members of
// etcd decide on them: what a member reads at its very first start.
func (d *Delta) asFound(step *Step, facts fact.Set) (*Step, fact.Set) {
	switch step.resourceID() {
	case bootstrapID:
		return d.bootstrap(step, facts)
	case EtcdUnit:
		if d.memberStep(clearData, step.Host) != nil {
			// By then it does not run.
			unit, err := facts.Unit(etcdUnit)
			if err == nil && unit.LoadState != "not-found" {
				stopped := fact.Unit{LoadState: unit.LoadState, ActiveState: "inactive", UnitFileState: unit.UnitFileState}
				facts = facts.With(fact.Key{Kind: fact.KindUnit, Name: etcdUnit}, stopped)
			}
		}
	}
	return step, facts
}

// bootstrap returns what is to be in a host's bootstrapFile. A host that joins
// gets the list of etcd's members as it is when it starts: etcd compares them.
// One that has its data never reads it again, and is left as it is.
func (d *Delta) bootstrap(step *Step, facts fact.Set) (*Step, fact.Set) {
	file, ok := step.Resource.(resource.File)
	found, err := facts.File(bootstrapFile)
	if !ok || err != nil {
		return step, facts
	}
	content := []byte(nil)
	if joins := d.memberStep(startMember, step.Host); joins != nil {
		content = newTexts().Render(bootstrapFile[1:], bootstrapFlags(d.Plan.Inventory, initialCluster(joins.list), "existing"))
		if found.SHA256 == file.Digest() { // then its content was not fetched
			found.Content, found.HasContent = file.Content, true
		} else if found.SHA256 == resource.SHA256(content) {
			found.Content, found.HasContent = nil, false
		}
	} else if found.HasContent && !LacksData(d.Plan.Inventory, facts) {
		content = found.Content
		found.Content, found.HasContent = nil, false
	}
	if content == nil {
		return step, facts
	}
	own := *step
	file.Content, file.SHA256 = content, ""
	own.Resource = file
	return &own, facts.With(fact.Key{Kind: fact.KindFile, Name: bootstrapFile}, found)
}

// initialCluster is etcd's list of members as the flag has it, sorted by name.
func initialCluster(list resource.EtcdList) string {
	var all []string
	for _, e := range list {
		name := e.String()
		for _, url := range e.PeerURLs {
			all = append(all, name+"="+url)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// memberStep is what is to be done about the member on a host, nil if it is not.
func (d *Delta) memberStep(action memberAction, host string) *memberChange {
	for i := range d.members {
		if c := &d.members[i]; c.action == action && c.host == host {
			return c
		}
	}
	return nil
}

// MovesInEtcd reports whether the member on a host joins etcd or leaves it: it
// may then be listed or not, with a vote or without.
func (d *Delta) MovesInEtcd(host string) bool {
	return slices.ContainsFunc(d.members, func(c memberChange) bool { return c.host == host && c.host != "" })
}

// removesLate reports whether a member is removed that serves until then.
func (d *Delta) removesLate(r resource.EtcdRemoval) bool {
	return slices.ContainsFunc(d.members, func(c memberChange) bool { return c.late && c.entry.ID == r.Entry.ID })
}

// changeMembers returns the steps that change etcd's list of members, and says
// what waits for what:
//
//   - members that are down and have their data are started before all of them;
//   - each waits for the one before;
//   - a member is listed when its host is ready to start it, and starts then;
//   - members that serve have their own turns after those that join: with one
//     away, etcd adds none;
//   - the API servers wait for etcd's gate, and that for the votes;
//   - members that leave in good health do so when all API servers, and whatever
//     else asks etcd, know the new list; then their service is stopped.
func (d *Delta) changeMembers(o order, gone []Item) []Item {
	if len(d.members) == 0 {
		return nil
	}
	var down, up []StepID
	items := map[StepID]*Item{}
	for i := range d.Items {
		item := &d.Items[i]
		id := item.Step.ID()
		items[id] = item
		if item.Step.Resource.ID() != EtcdUnit || !item.Change.Changes() || d.memberStep(startMember, item.Step.Host) != nil {
			continue
		}
		if serves(item.Step.Resource, d.Observed.facts(item.Step.Host)) {
			up = append(up, id)
		} else {
			down = append(down, id)
		}
	}
	var steps []Item
	last := down
	for _, c := range d.members {
		unit := NewStepID(c.host, EtcdUnit)
		step := Step{Host: Cluster}
		var after []StepID
		switch c.action {
		case startMember:
			o.wait(unit, last...)
			last = []StepID{unit}
			continue
		case clearData:
			step = Step{Host: c.host, Resource: resource.EtcdData{Directory: memberDirectory(d.Plan.Inventory), Unit: etcdUnit, Reason: c.reason}}
		case addLearner:
			step.Resource = resource.EtcdLearner{Entry: c.entry, List: c.list}
			after = d.readyToStart(items[unit])
		case promoteMember:
			step.Resource = resource.EtcdVoter{Entry: c.entry, List: c.list}
			if !slices.Contains(up, unit) { // else it was started by an apply before
				after = []StepID{unit}
			}
		case removeMember:
			step.Resource = resource.EtcdRemoval{Entry: c.entry, List: c.list, Reason: c.reason}
			if c.late {
				after = slices.Concat(up, d.learnsOfMembers())
			}
		}
		if !c.late {
			o.wait(Step{Host: Cluster, Resource: resource.Gate{Check: resource.Check{Kind: resource.CheckEtcd}}}.ID(), step.ID())
			for _, id := range up {
				o.wait(id, step.ID())
			}
		}
		step.After = sortedIDs(slices.DeleteFunc(slices.Concat(after, last), func(id StepID) bool { return id == "" }))
		change, err := step.Resource.Diff(d.Observed.facts(step.Host))
		if err != nil {
			d.Problems = append(d.Problems, Problem{step.Host, err.Error(), ""})
			continue
		}
		steps = append(steps, Item{&step, &change})
		last = []StepID{step.ID()}
		if c.action == removeMember {
			for _, orphan := range gone {
				if orphan.Step.ID() == unit {
					o.wait(unit, step.ID())
				}
			}
		}
	}
	return steps
}

// readyToStart is what a host that joins must have before its member is
// listed: all that its unit needs. Where the unit was there before, its inputs
// come in its turn.
func (d *Delta) readyToStart(unit *Item) []StepID {
	if unit == nil {
		return nil
	}
	u, ok := unit.Step.Resource.(resource.Unit)
	if !ok || !d.takesTurn(*unit.Step, serves(u, d.Observed.facts(unit.Step.Host)), true) {
		return unit.Step.After
	}
	inputs := inputSteps(unit.Step.Host, u.Inputs)
	return slices.DeleteFunc(slices.Clone(unit.Step.After), func(id StepID) bool { return slices.Contains(inputs, id) })
}

// learnsOfMembers are the steps by which whoever asks etcd learns of its new
// members, and is seen to work with them.
func (d *Delta) learnsOfMembers() []StepID {
	var ids []StepID
	for _, item := range d.Items {
		gate, isGate := item.Step.Resource.(resource.Gate)
		switch {
		case isGate && d.Unreachable[gate.Host] == nil:
			switch gate.Kind {
			case resource.CheckEtcd, resource.CheckAPIServer, resource.CheckEndpoint:
				ids = append(ids, item.Step.ID())
			}
		case item.Step.Rollout == nil || !item.Change.Changes():
		case item.Step.Rollout.Group == groupAPIServers || item.Step.Rollout.Group == groupNetworks:
			ids = append(ids, item.Step.ID())
		}
	}
	return ids
}

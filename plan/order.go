package plan

import (
	"slices"

	"github.com/kinstall/kinstall/plan/resource"
)

// order is what items of a delta have to wait for beyond what the components
// that planned them said (Step.After): what depends on how things were found,
// as the order in which one network follows another and what is not wanted any
// more goes. All of it is collected here, by arrange, and given to the items at
// the end.
type order map[StepID][]StepID

// wait has a step wait for others.
func (o order) wait(id StepID, before ...StepID) {
	if len(before) > 0 {
		o[id] = append(o[id], before...)
	}
}

// arrange adds the orphans to a delta's items, those that carry pods (leaving)
// apart from the rest (gone), with whatever a change of networks takes beside
// them, and says what waits for what.
func (d *Delta) arrange(leaving, gone []Item) {
	o := order{}
	gates := d.handOver(o, leaving)
	members := d.changeMembers(o, gone)
	d.Items = append(append(append(d.Items, gates...), members...), leaving...)
	o.deleteLast(d.Items, gone)
	o.succession(d, gone)
	o.keysFirst(leaving, gone)
	d.Items = append(d.Items, gone...)
	turned := o.upgrade(d)
	d.holdersLast(o)
	d.addressFirst(o)
	d.depart(o) // after whatever else waits for something
	o.dropInsFirst(d.dropIns())
	if len(o)+len(turned) == 0 {
		return
	}
	for i := range d.Items {
		item := &d.Items[i]
		id := item.Step.ID()
		if more := o[id]; len(more) > 0 {
			item.OwnStep().After = sortedIDs(slices.Concat(item.Step.After, more)) // the plan's own edges stay
		}
		if other := turned[id]; len(other) > 0 {
			item.OwnStep().After = slices.DeleteFunc(slices.Clone(item.Step.After), func(id StepID) bool { return slices.Contains(other, id) })
		}
	}
}

// deleteLast makes deletions wait: what replaces an orphan must serve before the
// orphan goes, so they wait for every gate, and for what changes on their own
// host. Programs go before the rest, so that nothing runs on without its files.
func (o order) deleteLast(items, gone []Item) {
	var gates []StepID
	changes, programs := map[string][]StepID{}, map[string][]StepID{}
	for _, item := range items {
		id := item.Step.ID()
		if _, isGate := item.Step.Resource.(resource.Gate); isGate {
			gates = append(gates, id)
		} else if item.Change.Changes() {
			changes[item.Step.Host] = append(changes[item.Step.Host], id)
		}
	}
	for _, item := range gone {
		if describe(item.Step.Resource.ID()).Program() {
			programs[item.Step.Host] = append(programs[item.Step.Host], item.Step.ID())
		}
	}
	for _, item := range gone {
		id, host := item.Step.ID(), item.Step.Host
		o.wait(id, changes[host]...)
		o.wait(id, gates...)
		if !describe(item.Step.Resource.ID()).Program() {
			o.wait(id, programs[host]...)
		}
	}
}

// keysFirst has an etcd that leaves wait until its keys are deleted: its data
// stays, and it may come again.
func (o order) keysFirst(leaving, gone []Item) {
	for _, unit := range gone {
		if unit.Step.Resource.ID() != EtcdUnit {
			continue
		}
		for _, item := range leaving {
			if item.Step.Resource.ID().Kind() == resource.KindEtcdKeys {
				o.wait(unit.Step.ID(), item.Step.ID())
			}
		}
	}
}

// dropInsFirst turns the order round for drop-ins that leave: systemd reads
// them as long as they are there, so they go before their unit is restarted.
func (o order) dropInsFirst(dropIns map[StepID][]StepID) {
	for unit, gone := range dropIns {
		for _, id := range gone {
			delete(o, id)
		}
		o.wait(unit, gone...)
	}
}

package resource

import "github.com/kinstall/kinstall/plan/fact"

// Host is that kinstall is at work on a host. The keepers remember it (see
// plan.Keepers), so that it is known when it leaves the inventory.
type Host struct{ Name string }

// ID implements Resource.
func (h Host) ID() ID { return NewID(KindHost, h.Name) }

// Queries implements Resource.
func (h Host) Queries() []fact.Query { return nil }

// Diff implements Resource: nothing is to be done. What is remembered follows
// from how the host was reached, which is the plan's to say.
func (h Host) Diff(fact.Set) (Change, error) { return Change{Action: NoOp}, nil }

// Drain takes the pods from the node of a host that leaves. It stays cordoned.
type Drain struct{ Node string }

// ID implements Resource.
func (d Drain) ID() ID { return NewID(KindDrain, d.Node) }

// Queries implements Resource.
func (d Drain) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindNode, Name: d.Node, Pods: true}}
}

// Diff implements Resource.
func (d Drain) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Node(d.Node)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp}
	if !found.Exists {
		return change, nil
	}
	if !found.Unschedulable {
		change.Fields = append(change.Fields, Field{Name: "unschedulable", After: "true"})
		change.because(Intent, "cordon: its host left the inventory")
	}
	change.evict(found.Pods)
	if len(change.Reasons) > 0 {
		change.Action = Update
	}
	return change, nil
}

// Containers are those that the kubelet of a host had its runtime run. They run on
// when kubelet and runtime are stopped; on a host that leaves they are stopped.
// Runtime is the unit of the runtime.
type Containers struct{ Runtime string }

// ID implements Resource.
func (c Containers) ID() ID { return NewID(KindContainers, "kubernetes") }

// Queries implements Resource.
func (c Containers) Queries() []fact.Query { return nil }

// Diff implements Resource. That its host leaves is the plan's to know.
func (c Containers) Diff(fact.Set) (Change, error) {
	change := Change{Action: Delete}
	change.because(Follows, "without a kubelet nobody stops them")
	return change, nil
}

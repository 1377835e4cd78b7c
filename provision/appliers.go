package provision

import (
	"context"
	"fmt"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// task is one item being carried out.
type task struct {
	executor *Executor
	machine  *machine // nil for steps of the operator and of the cluster's API
	item     plan.Item
	report   func(text string) // tells the user how far it is
	staged   string            // where an artifact's file lies on the host already; "" if it does not
	started  bool              // a process was started that is not seen to work yet
}

// applier carries out a task and returns what the host's state is to remember
// of its resource.
type applier func(context.Context, *task) (fact.Record, error)

// appliers is how each kind of resource is made as it should be. Every kind of
// package resource has a line; which one it is, its function's argument says.
var appliers = byKind(
	// on a host
	apply(applyFile),
	apply(applyDirectory),
	apply(applyBlock),
	apply(applyAuthorityFile),
	apply(applyCertificate),
	apply(applyRotatedCertificate),
	apply(applyJoined),
	apply(applyServingCertificate),
	apply(applyUnit),
	apply(applyStaticPod),
	apply(applyArtifact),
	apply(applyImage),
	apply(applyHostname),
	apply(applySwapOff),
	apply(applySysctl),
	apply(applyModule),
	apply(applyPackage),
	apply(applyRoute),
	apply(applyStaticRoutes),
	apply(applyInterimRoutes),
	apply(applyFirewallRule),
	apply(applySwitch),
	apply(applyNothing[resource.Link]),
	apply(applyNothing[resource.DynamicRoutes]),
	apply(applyPodMTU),
	apply(applyEtcdData),
	apply(applyContainers),
	// on the operator's machine
	apply(applyAuthority),
	apply(applyLockFile),
	// on the cluster's API and its etcd
	apply(applyNode),
	apply(applyObject),
	apply(applyEtcdKeys),
	apply(applyEtcdLearner),
	apply(applyEtcdVoter),
	apply(applyEtcdRemoval),
	apply(applyGate),
	apply(applyDrain),
	// nowhere
	apply(applyNothing[resource.Host]),
)

// removers is how each kind goes that is removed when it leaves the inventory
// (see resource.Descriptor.Removable).
var removers = map[resource.Kind]applier{
	resource.KindFile:               remove(removeFiles),
	resource.KindAuthorityFile:      remove(removeFiles),
	resource.KindCertificate:        remove(removeFiles),
	resource.KindStaticPod:          remove(removeFiles),
	resource.KindRotatedCertificate: remove(removeRotatedCertificate),
	resource.KindArtifact:           remove(removeFiles),
	resource.KindBlock:              remove(removeBlock),
	resource.KindUnit:               remove(removeUnit),
	resource.KindImage:              remove(removeImage),
	resource.KindRoute:              remove(removeRoute),
	resource.KindStaticRoutes:       remove(removeStaticRoutes),
	resource.KindFirewallRule:       remove(removeFirewallRule),
	resource.KindSwitch:             remove(removeSwitch),
	resource.KindLink:               remove(removeLink),
	resource.KindDynamicRoutes:      remove(removeDynamicRoutes),
	// on the cluster's API and its etcd
	resource.KindNode:     remove(removeNode),
	resource.KindObject:   remove(removeObject),
	resource.KindEtcdKeys: remove(removeEtcdKeys),
	// of what is only remembered
	resource.KindHost: remove(removeHost),
}

// kindApplier is a kind and how it is applied.
type kindApplier struct {
	kind  resource.Kind
	apply applier
}

// apply registers a function for the kind of resource that it takes.
func apply[R resource.Resource](do func(context.Context, *task, R) (fact.Record, error)) kindApplier {
	var kind R // an ID begins with the kind, whatever the resource's name
	return kindApplier{kind.ID().Kind(), func(ctx context.Context, t *task) (fact.Record, error) {
		r, err := wanted[R](t)
		if err != nil {
			return fact.Record{}, err
		}
		return do(ctx, t, r)
	}}
}

// remove makes an applier of what deletes an orphan. Nothing is remembered of
// one that is gone.
func remove(do func(context.Context, *task, resource.Orphan) error) applier {
	return func(ctx context.Context, t *task) (fact.Record, error) {
		o, err := wanted[resource.Orphan](t)
		if err != nil {
			return fact.Record{}, err
		}
		return fact.Record{}, do(ctx, t, o)
	}
}

func byKind(all ...kindApplier) map[resource.Kind]applier {
	table := map[resource.Kind]applier{}
	for _, a := range all {
		if table[a.kind] != nil {
			panic("provision: kind " + string(a.kind) + " has two appliers")
		}
		table[a.kind] = a.apply
	}
	return table
}

// label names a task in errors and on the screen: "create file:/etc/etcd.env".
func (t *task) label() string { return label(t.item) }

func label(item plan.Item) string {
	return fmt.Sprintf("%s %s", item.Change.Action, item.Step.Resource.ID())
}

// wanted returns the task's resource as the type that its kind has.
func wanted[R resource.Resource](t *task) (R, error) {
	r, ok := t.item.Step.Resource.(R)
	if !ok {
		return r, fmt.Errorf("%s: the step holds a %T", t.label(), t.item.Step.Resource)
	}
	return r, nil
}

package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

// nodes are those of the cluster, as far as pods are kept or taken from them. The
// reasons are those of package resource (CordonFor…).
type nodes interface {
	// cordon keeps new pods from a node. own says that the cordon is one for this
	// reason, and not an older one for another.
	cordon(ctx context.Context, node, why string) (own bool, err error)
	// uncordon lifts the cordon for that reason, and no other.
	uncordon(ctx context.Context, node, why string) error
	// drain waits until the pods of a cordoned node have gone.
	drain(ctx context.Context, node string, report func(string)) error
	// remove deletes a node's object.
	remove(ctx context.Context, node string) error
}

// clusterNodes are the real ones.
type clusterNodes struct{ *Executor }

// patchTimeout bounds one change of a node, on an API server that may just have
// lost its leader.
const patchTimeout = time.Minute

// drainTimeout is how long a drain may take where the inventory does not say.
const drainTimeout = 5 * time.Minute

// api is a client to change the cluster with, while enough locks are held.
func (e clusterNodes) api(ctx context.Context) (*cluster.Client, error) {
	if err := e.Fleet.mayChangeCluster(); err != nil {
		return nil, err
	}
	return e.kubernetes(ctx)
}

func (e clusterNodes) cordon(ctx context.Context, node, why string) (own bool, err error) {
	client, err := e.api(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, patchTimeout)
	defer cancel()
	return client.Cordon(ctx, node, why)
}

func (e clusterNodes) uncordon(ctx context.Context, node, why string) error {
	client, err := e.api(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patchTimeout)
	defer cancel()
	return client.Uncordon(ctx, node, why)
}

func (e clusterNodes) drain(ctx context.Context, node string, report func(string)) error {
	client, err := e.api(ctx)
	if err != nil {
		return err
	}
	return client.Drain(ctx, node, report)
}

func (e clusterNodes) remove(ctx context.Context, node string) error {
	client, err := e.api(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patchTimeout)
	defer cancel()
	return client.DeleteNode(ctx, node)
}

// errStopped is why what waits gives up when the run is told to stop.
var errStopped = errors.New("interrupted")

// drain evicts the pods of a cordoned node and waits until they have ended: for
// the inventory's drain_timeout, and no longer than until the run is told to stop.
func (e *Executor) drain(ctx context.Context, node string, report func(string)) error {
	patience := cmp.Or(e.Fleet.inventory.Rollout.DrainTimeout, drainTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("given up after %s (drain_timeout)", patience))
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	defer context.AfterFunc(e.stopping, func() { giveUp(errStopped) })()
	report("evicting its pods")
	return e.nodes.drain(ctx, node, report)
}

// evacuate cordons and drains the node of a member before its turn. If that is
// given up, the node takes pods again, as it did before.
func (r *run) evacuate(t *turn) error {
	member := t.member()
	node := member.Step.Rollout.Evacuate
	if node == "" {
		return nil
	}
	e, report := r.executor, r.reporter(member)
	report("cordoning node " + node)
	own, err := e.nodes.cordon(r.work, node, resource.CordonForTurn)
	if err != nil {
		return err
	}
	t.cordoned = own
	if err := e.drain(r.work, node, report); err != nil {
		r.uncordon(t)
		return err
	}
	return nil
}

// uncordon has the node of a member take pods again. A cordon that can't be
// lifted bears kinstall's mark: the next plan lifts it.
func (r *run) uncordon(t *turn) {
	if !t.cordoned {
		return
	}
	t.cordoned = false
	member := t.member()
	node := member.Step.Rollout.Evacuate
	if err := r.executor.nodes.uncordon(r.work, node, resource.CordonForTurn); err != nil {
		r.reporter(member)(fmt.Sprintf("node %s is still cordoned, until the next apply: %v", node, err))
	}
}

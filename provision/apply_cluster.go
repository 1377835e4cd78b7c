package provision

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

func applyAuthority(_ context.Context, t *task, a resource.Authority) (fact.Record, error) {
	if a.Exists {
		return fact.Record{}, t.executor.Authorities.Encrypt(a.Name)
	}
	return fact.Record{}, t.executor.Authorities.Create(a)
}

func applyLockFile(_ context.Context, _ *task, l resource.LockFile) (fact.Record, error) {
	found, err := os.ReadFile(l.Path)
	if err != nil && !os.IsNotExist(err) {
		return fact.Record{}, err
	}
	if string(found) != string(l.Before) {
		return fact.Record{}, fmt.Errorf("%s: %w", l.Path, ErrStale)
	}
	return fact.Record{}, replaceFile(l.Path, l.After)
}

// replaceFile writes a file of the operator's machine atomically.
func replaceFile(file string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".kinstall.*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once renamed, which is as wanted
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(0o644) // a lock file holds no secret and is committed
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	return err
}

func applyNode(ctx context.Context, t *task, n resource.Node) (fact.Record, error) {
	client, err := t.executor.kubernetes(ctx)
	if err != nil {
		return fact.Record{}, err
	}
	patching, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	t.report("waiting for the kubelet to register")
	if err := client.ApplyNode(patching, n); err != nil || n.Schedule != resource.Drained {
		return fact.Record{}, err
	}
	err = t.executor.drain(ctx, n.Name, t.report)
	if found, unknown := t.executor.delta.Observed.Cluster.Node(n.Name); err != nil && (unknown != nil || !found.Unschedulable) {
		err = errors.Join(err, t.executor.nodes.uncordon(ctx, n.Name, resource.CordonForState))
	}
	return fact.Record{}, err
}

func applyObject(ctx context.Context, t *task, o resource.Object) (fact.Record, error) {
	client, err := t.executor.kubernetes(ctx)
	if err != nil {
		return fact.Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	return t.item.Change.Record, stale(client.ApplyObject(ctx, o, t.seen(o)))
}

// seen is what the plan saw of an object; nil if it is judged only now.
func (t *task) seen(o resource.Object) *fact.Object {
	found, err := t.executor.delta.Observed.Cluster.Object(o.ID().Name())
	if err != nil || t.item.Change.Action == resource.Deferred {
		return nil
	}
	return &found
}

// stale has what moved in the cluster count as ErrStale.
func stale(err error) error {
	if errors.Is(err, cluster.ErrMoved) {
		return staleError{err}
	}
	return err
}

// staleError is ErrStale in the words of its cause.
type staleError struct{ error }

func (e staleError) Is(target error) bool { return target == ErrStale }
func (e staleError) Unwrap() error        { return e.error }

func removeObject(ctx context.Context, t *task, o resource.Orphan) error {
	client, err := t.executor.kubernetes(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	return client.DeleteObject(ctx, o.Was)
}

// applyEtcdKeys writes what the plan showed. Where etcd was not there to be
// compared with, keys that are not wanted stay: nobody was told of them.
func applyEtcdKeys(ctx context.Context, t *task, e resource.EtcdKeys) (fact.Record, error) {
	members, config, err := t.executor.etcd(ctx)
	if err != nil {
		return fact.Record{}, err
	}
	found, err := cluster.EtcdKeys(ctx, members, config, e.Prefix)
	if err != nil {
		return fact.Record{}, err
	}
	writes := e.Writes(found.Keys)
	if t.item.Change.Action == resource.Deferred {
		writes = slices.DeleteFunc(writes, func(w resource.EtcdWrite) bool { return w.After == "" })
	}
	return t.item.Change.Record, cluster.WriteEtcdKeys(ctx, members, config, writes)
}

func removeEtcdKeys(ctx context.Context, t *task, o resource.Orphan) error {
	names := t.executor.etcdNames()
	if len(names) == 0 { // etcd itself leaves, after its keys: it may come again, with its data
		for _, host := range t.executor.Fleet.inventory.Hosts {
			if _, member := t.executor.facts(host.Name).Host.State.Resources[plan.EtcdUnit]; member {
				names = append(names, host.Name)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	members, config, err := t.executor.Fleet.etcd(ctx, names)
	if err != nil {
		return err
	}
	return cluster.DeleteEtcdKeys(ctx, members, config, o.Was.Name())
}

// etcd lists the members that can be reached.
func (e *Executor) etcd(ctx context.Context) ([]cluster.Member, *tls.Config, error) {
	return e.Fleet.etcd(ctx, e.etcdNames())
}

func (e *Executor) etcdNames() []string {
	var names []string
	for _, host := range e.Fleet.inventory.With(inventory.RoleEtcd) {
		names = append(names, host.Name)
	}
	return names
}

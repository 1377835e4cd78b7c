package provision

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sync/semaphore"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// admit adds the hosts that leave the inventory to the fleet. How they are
// reached is remembered, with what the inventory says of all hosts: credentials
// and the bastion. They are held to the host key that they had.
func (f *Fleet) admit(leaving []plan.Departure) (names []string) {
	for _, l := range leaving {
		if l.Forgotten {
			continue
		}
		names = append(names, l.Name)
		if f.machines[l.Name] != nil {
			continue
		}
		host := inventory.Host{Name: l.Name, Roles: l.Roles, SSH: f.inventory.SSH}
		host.Address, _ = netip.ParseAddr(l.Address) // one that is none can't be dialled, and that is said
		host.SSH.Port, host.SSH.User, host.SSH.Become, host.SSH.Fingerprint = l.Port, l.User, l.Become, l.HostKey
		f.machines[l.Name] = &machine{fleet: f, host: host, cluster: f.inventory.Cluster.Name, dialling: semaphore.NewWeighted(1)}
	}
	return names
}

// observeLeaving locks and asks the hosts that leave, once it is known which
// those are. One that is locked by somebody else is an error.
func (f *Fleet) observeLeaving(ctx context.Context, p *plan.Plan, observed *plan.Observed, leaving []plan.Departure) error {
	names := f.admit(leaving)
	if len(names) == 0 {
		return nil
	}
	if err := f.lockMore(ctx, names); err != nil {
		return err
	}
	observed.Leaving = map[string]plan.Observation{}
	asked := asking{fleet: f}
	asked.group.SetLimit(f.options.Parallelism)
	asked.ask(ctx, observed.Leaving, names, p.ElsewhereQueries)
	_ = asked.group.Wait()
	return ctx.Err()
}

// lockMore takes the locks of further hosts, if the fleet holds locks.
func (f *Fleet) lockMore(ctx context.Context, names []string) error {
	set := f.locks.Load()
	if set == nil {
		return nil
	}
	taken, failed, err := f.takeLocksInTime(ctx, names, set.claim)
	if err != nil {
		return err
	}
	set.hold(f, names, taken, failed)
	return nil
}

// applyDrain cordons and drains the node of a host that leaves. Given up, the node
// takes pods again, as it did before.
func applyDrain(ctx context.Context, t *task, d resource.Drain) (fact.Record, error) {
	nodes := t.executor.nodes
	own, err := nodes.cordon(ctx, d.Node, resource.CordonForDeparture)
	if err != nil {
		return fact.Record{}, err
	}
	err = t.executor.drain(ctx, d.Node, t.report)
	if err != nil && own {
		err = errors.Join(err, nodes.uncordon(ctx, d.Node, resource.CordonForDeparture))
	}
	return fact.Record{}, err
}

func removeNode(ctx context.Context, t *task, o resource.Orphan) error {
	return t.executor.nodes.remove(ctx, o.Was.Name())
}

// removeHost has the host itself forget what belonged to no single host, as far
// as it was asked. The keepers forget the host as they do any orphan.
func removeHost(ctx context.Context, t *task, o resource.Orphan) error {
	if !slices.Contains(t.executor.delta.Hosts(), o.Was.Name()) {
		return nil
	}
	m, err := t.executor.Fleet.connect(ctx, o.Was.Name())
	if err != nil {
		return err
	}
	for id := range m.state.snapshot().Resources {
		if d, _ := resource.Describe(resource.ID(id).Kind()); d.Scope != resource.ScopeHost {
			m.state.remove(resource.ID(id))
		}
	}
	return m.flush(ctx)
}

// The containers that a kubelet had its runtime run, the last of them after
// 30 s by force; then what was mounted for them.
const (
	stopContainerdPods = `running() { ctr -n k8s.io tasks ls | awk '$3 == "RUNNING" { print $1 }'; }
for signal in TERM KILL; do
	for task in $(running); do ctr -n k8s.io tasks kill --signal $signal "$task" >/dev/null 2>&1 || true; done
	waited=0
	while [ -n "$(running)" ] && [ "$waited" -lt 60 ]; do sleep 0.5; waited=$((waited+1)); done
done
left=$(running)
`
	stopDockerPods = `running() { docker ps --quiet --filter label=io.kubernetes.pod.uid; }
set --
for container in $(running); do set -- "$@" "$container"; done
if [ "$#" -gt 0 ]; then docker stop --time 30 "$@" >/dev/null; fi
left=$(running)
`
	unmountPods = `if [ -n "$left" ]; then echo "containers that do not end: "$left >&2; exit 1; fi
awk '$2 ~ "^/var/lib/kubelet/pods/" { print $2 }' /proc/mounts | while read -r at; do umount -- "$at" || umount -l -- "$at" || true; done
`
)

func applyContainers(ctx context.Context, t *task, c resource.Containers) (fact.Record, error) {
	stop := stopContainerdPods
	if c.Runtime == plan.DockerUnit {
		stop = stopDockerPods
	}
	return fact.Record{}, t.machine.script(ctx, t.label(), stop+unmountPods)
}

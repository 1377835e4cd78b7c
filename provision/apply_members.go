package provision

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
	"github.com/kinstall/kinstall/provision/shell"
)

// etcdSeats are the hosts on which a member of etcd runs or is to run, those of
// members that leave included.
func (e *Executor) etcdSeats() []string {
	names := e.etcdNames()
	for _, host := range e.Fleet.inventory.Hosts {
		if e.delta.MovesInEtcd(host.Name) && !slices.Contains(names, host.Name) {
			names = append(names, host.Name)
		}
	}
	for _, host := range e.delta.Leaving {
		if e.delta.MovesInEtcd(host.Name) {
			names = append(names, host.Name)
		}
	}
	return names
}

// listChange makes one change of etcd's list of members, bounded as a gate is:
// package cluster looks at the list before, and again for as long as etcd
// refuses it for the moment.
func (t *task) listChange(ctx context.Context, change func(context.Context, []cluster.Member, *tls.Config) error) (fact.Record, error) {
	members, config, err := t.executor.Fleet.etcd(ctx, t.executor.etcdSeats())
	if err != nil {
		return fact.Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	return fact.Record{}, stale(change(ctx, members, config))
}

func applyEtcdLearner(ctx context.Context, t *task, l resource.EtcdLearner) (fact.Record, error) {
	return t.listChange(ctx, func(ctx context.Context, members []cluster.Member, config *tls.Config) error {
		return cluster.AddLearner(ctx, members, config, l, t.report)
	})
}

// applyEtcdVoter waits until the learner has caught up, or its process can't be
// waited for any longer.
func applyEtcdVoter(ctx context.Context, t *task, v resource.EtcdVoter) (fact.Record, error) {
	return t.listChange(ctx, func(ctx context.Context, members []cluster.Member, config *tls.Config) error {
		ctx, end := context.WithCancelCause(ctx)
		defer end(nil)
		t.executor.Fleet.options.Fault.Go(func() { t.endWhenHopeless(ctx, end, v.Entry.Name) })
		return cluster.Promote(ctx, members, config, v, t.report)
	})
}

// endWhenHopeless ends a context when the etcd on a host fails for good.
func (t *task) endWhenHopeless(ctx context.Context, end context.CancelCauseFunc, host string) {
	if _, ok := t.executor.Fleet.machines[host]; !ok {
		return
	}
	look := clusterChecks{t.executor}.watch([]resource.Process{{Host: host, Unit: strings.TrimPrefix(plan.EtcdUnit, "unit:")}})
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := look(ctx); err != nil {
				end(err)
				return
			}
		}
	}
}

func applyEtcdRemoval(ctx context.Context, t *task, r resource.EtcdRemoval) (fact.Record, error) {
	return t.listChange(ctx, func(ctx context.Context, members []cluster.Member, config *tls.Config) error {
		return cluster.Remove(ctx, members, config, r, t.report)
	})
}

// applyEtcdData stops the unit, and moves the data aside. What was moved there
// before goes first: killed between, the next run finds the data where it was.
func applyEtcdData(ctx context.Context, t *task, d resource.EtcdData) (fact.Record, error) {
	unit, from, to := shell.Quote(d.Unit), shell.Quote(d.Directory), shell.Quote(d.Aside())
	return fact.Record{}, t.machine.script(ctx, t.label(), fmt.Sprintf(`if systemctl cat -- %[1]s >/dev/null 2>&1; then
	systemctl stop -- %[1]s
	systemctl reset-failed -- %[1]s 2>/dev/null || true
fi
if [ -e %[2]s ]; then
	rm -rf -- %[3]s
	mv -T -- %[2]s %[3]s
	sync -- %[4]s
fi
`, unit, from, to, shell.Quote(strings.TrimSuffix(d.Directory, "/member"))))
}

package provision

import (
	"context"
	"fmt"
	"slices"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

// drainable are the balancers that can be told to send a member nothing new: those
// of which the configuration is as planned, and not still to be changed by this
// very run.
func (r *run) drainable(member plan.Item) []plan.Drain {
	return slices.DeleteFunc(slices.Clone(member.Step.Rollout.Drains), func(d plan.Drain) bool {
		return r.changes[plan.NewStepID(d.Host, d.File.ID())]
	})
}

// drain has the balancers send a member nothing new during its turn. One that
// can't be told (its configuration is another one now; its host is not locked)
// sends it clients as ever: they find another server while this one is away, as in
// a failure.
func (r *run) drain(t *turn) {
	member := t.member()
	for _, d := range t.drains {
		r.reporter(member)("taking it out of the load balancer on " + d.Host)
		if err := r.executor.balance(r.work, d, d.File.Content, d.Without); err == nil {
			t.drained = append(t.drained, d)
		}
	}
}

// undrain has the balancers send the member clients again. One that can't be
// told is mended by the next plan, which finds its configuration changed.
func (r *run) undrain(t *turn) {
	for _, d := range t.drained {
		if err := r.executor.balance(r.work, d, d.Without, d.File.Content); err != nil {
			r.reporter(t.member())(fmt.Sprintf("the load balancer on %s still leaves it out: %v", d.Host, err))
		}
	}
	t.drained = nil
}

// balance replaces a balancer's configuration and has it read anew.
func (e *Executor) balance(ctx context.Context, d plan.Drain, from, to []byte) error {
	m, err := e.Fleet.connect(ctx, d.Host)
	if err != nil {
		return err
	}
	return m.writeFile(ctx, fileWrite{
		label: "change " + d.File.Path, path: d.File.Path, content: to, own: d.File.Own(), before: resource.SHA256(from), test: d.File.Test,
		then: reloadScript(d.Unit),
	})
}

// reloadScript reloads a balancer, and waits until its processes of before take no
// more clients: they do so for a moment after the reload has returned, and would
// send them to the member that is about to go. nginx says so in their names. They
// live on for the connections that they have; who does not stop to take clients
// within 5 s is not waited for any longer. HAProxy has its old process listen until
// the new one does, which is a matter of milliseconds and can't be seen from outside.
func reloadScript(unit string) string {
	return fmt.Sprintf(`main=$(systemctl show -p MainPID -- %[1]s | sed -n 's/^MainPID=//p')
before=
for pid in $(cat "/proc/$main/task/$main/children" 2>/dev/null || true); do
	if grep -aqs '^nginx: worker process' "/proc/$pid/cmdline"; then before="$before $pid"; fi
done
systemctl reload -- %[1]s
if [ "$(cat "/proc/$main/comm" 2>/dev/null || true)" = haproxy ]; then sleep 1; fi
tries=0
for pid in $before; do
	while [ "$tries" -lt 100 ] && grep -aqs '^nginx: worker process' "/proc/$pid/cmdline" && ! grep -aqs 'shutting down' "/proc/$pid/cmdline"; do
		sleep 0.05
		tries=$((tries + 1))
	done
done
`, shell.Quote(unit))
}

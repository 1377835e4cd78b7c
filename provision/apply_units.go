package provision

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

func applyUnit(ctx context.Context, t *task) (fact.Record, error) {
	u, err := want[resource.Unit](t)
	if err != nil {
		return fact.Record{}, err
	}
	name := shell.Quote(u.Name)
	if u.Stopped {
		return fact.Record{}, t.machine.script(ctx, t.label(), fmt.Sprintf("systemctl disable --now -- %s\n", name))
	}
	digests, err := t.inputDigests(u.Inputs)
	if err != nil {
		return fact.Record{}, err
	}
	verb := "restart" // starts what does not run, and reads changed units either way
	switch t.item.Change.Action {
	case resource.Reload:
		verb = "reload-or-restart"
	case resource.Update: // runs as it should; only not enabled
		verb = ""
	}
	block := ""
	if u.NoBlock {
		block = "--no-block"
	}
	var b strings.Builder
	b.WriteString("systemctl daemon-reload\n")
	fmt.Fprintf(&b, "systemctl enable --quiet -- %s\n", name)
	if verb != "" {
		// reset-failed: a unit that failed often before may be started again.
		fmt.Fprintf(&b, "systemctl reset-failed -- %s 2>/dev/null || true\n", name)
		fmt.Fprintf(&b, "if ! systemctl %s %s -- %s; then\n", block, verb, name)
		// What systemd knows of the failure, for a person who can't log in now.
		fmt.Fprintf(&b, "\tsystemctl --no-pager --lines=0 status -- %s >&2 || true\n", name)
		fmt.Fprintf(&b, "\tjournalctl --no-pager --lines=20 --output=cat --unit=%s >&2 || true\n\texit 1\nfi\n", name)
	}
	if err := t.machine.script(ctx, t.label(), b.String()); err != nil {
		return fact.Record{}, err
	}
	return fact.Record{Inputs: digests}, nil
}

func removeUnit(ctx context.Context, t *task) (fact.Record, error) {
	o, err := want[resource.Orphan](t)
	if err != nil {
		return fact.Record{}, err
	}
	name := shell.Quote(o.Was.Name())
	return fact.Record{}, t.machine.script(ctx, t.label(), fmt.Sprintf(
		"if [ \"$(systemctl show -p LoadState --value -- %[1]s)\" != not-found ]; then systemctl disable --now --quiet -- %[1]s; fi\n", name))
}

func applyHostname(ctx context.Context, t *task) (fact.Record, error) {
	h, err := want[resource.Hostname](t)
	if err != nil {
		return fact.Record{}, err
	}
	return t.item.Change.Record, t.machine.script(ctx, t.label(), fmt.Sprintf(
		"printf '%%s\\n' %[1]s > /etc/hostname\nchmod 0644 /etc/hostname\nhostname -- %[1]s\n", shell.Quote(h.Name)))
}

func applySwapOff(ctx context.Context, t *task) (fact.Record, error) {
	if err := t.machine.script(ctx, t.label(), "swapoff -a\n"); err != nil {
		return fact.Record{}, err
	}
	if text := t.item.Change.Text; text != nil {
		if err := t.machine.writeFile(ctx, fileWrite{
			label: t.label(), path: "/etc/fstab", content: []byte(text.After), before: t.item.Change.Evidence, likeBefore: true,
		}); err != nil {
			return fact.Record{}, err
		}
	}
	return t.item.Change.Record, nil
}

func applySysctl(ctx context.Context, t *task) (fact.Record, error) {
	s, err := want[resource.Sysctl](t)
	if err != nil {
		return fact.Record{}, err
	}
	// Not sysctl(8): written directly, the kernel's refusal is the error.
	file := path.Join("/proc/sys", strings.ReplaceAll(s.Key, ".", "/"))
	return t.item.Change.Record, t.machine.script(ctx, t.label(), fmt.Sprintf("printf '%%s\\n' %s > %s\n", shell.Quote(s.Value), shell.Quote(file)))
}

func applyModule(ctx context.Context, t *task) (fact.Record, error) {
	m, err := want[resource.Module](t)
	if err != nil {
		return fact.Record{}, err
	}
	return t.item.Change.Record, t.machine.script(ctx, t.label(), "modprobe -- "+shell.Quote(m.Name)+"\n")
}

func applyPackage(ctx context.Context, t *task) (fact.Record, error) {
	p, err := want[resource.Package](t)
	if err != nil {
		return fact.Record{}, err
	}
	t.machine.packages.Lock()
	defer t.machine.packages.Unlock()
	// The lists may be old on a machine that has been up for long: they are
	// fetched only when the installation fails without.
	install := "DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=120 install " + shell.Quote(p.Name) + " >&2"
	return t.item.Change.Record, t.machine.script(ctx, t.label(), fmt.Sprintf(
		"if ! { %[1]s; } 2>/dev/null; then\n\tapt-get -qq -o DPkg::Lock::Timeout=120 update >&2\n\t%[1]s\nfi\n", install))
}

func applyRoute(ctx context.Context, t *task) (fact.Record, error) {
	r, err := want[resource.Route](t)
	if err != nil {
		return fact.Record{}, err
	}
	return t.item.Change.Record, t.machine.script(ctx, t.label(), "ip route replace "+shell.Join(r.Destination, "via", r.Via)+"\n")
}

func removeRoute(ctx context.Context, t *task) (fact.Record, error) {
	o, err := want[resource.Orphan](t)
	if err != nil {
		return fact.Record{}, err
	}
	destination := shell.Quote(o.Was.Name())
	return fact.Record{}, t.machine.script(ctx, t.label(), fmt.Sprintf(
		"if [ -n \"$(ip route show exact %[1]s)\" ]; then ip route del %[1]s; fi\n", destination))
}

func applyFirewallRule(ctx context.Context, t *task) (fact.Record, error) {
	r, err := want[resource.FirewallRule](t)
	if err != nil {
		return fact.Record{}, err
	}
	rule := shell.Join(r.Rule...)
	return t.item.Change.Record, t.machine.script(ctx, t.label(), fmt.Sprintf(
		"iptables -w -t %[1]s -C %[2]s %[3]s 2>/dev/null || iptables -w -t %[1]s -I %[2]s 1 %[3]s\n",
		shell.Quote(r.Table), shell.Quote(r.Chain), rule))
}

func removeFirewallRule(ctx context.Context, t *task) (fact.Record, error) {
	o, err := want[resource.Orphan](t)
	if err != nil {
		return fact.Record{}, err
	}
	r, err := resource.ParseFirewallRule(o.Was)
	if err != nil {
		return fact.Record{}, err
	}
	rule := shell.Join(r.Rule...)
	return fact.Record{}, t.machine.script(ctx, t.label(), fmt.Sprintf(
		"if iptables -w -t %[1]s -C %[2]s %[3]s 2>/dev/null; then iptables -w -t %[1]s -D %[2]s %[3]s; fi\n",
		shell.Quote(r.Table), shell.Quote(r.Chain), rule))
}

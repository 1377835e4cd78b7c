package provision

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/probe"
	"github.com/kinstall/kinstall/provision/shell"
	"github.com/kinstall/kinstall/provision/ssh"
)

func applyUnit(ctx context.Context, t *task, u resource.Unit) (fact.Record, error) {
	name := shell.Quote(u.Name)
	if u.Stopped {
		return fact.Record{}, t.machine.script(ctx, t.label(), fmt.Sprintf("systemctl disable --now -- %s\n", name))
	}
	digests, err := t.inputDigests(u.Inputs)
	if err != nil {
		return fact.Record{}, err
	}
	digests = u.Recorded(digests)
	verb := "restart" // starts what does not run, and reads changed units either way
	switch t.item.Change.Action {
	case resource.Reload:
		verb = "reload-or-restart"
	case resource.Update: // runs as it should; only not enabled
		verb = ""
	}
	script := restartScript(u.Name, verb, u.NoBlock)
	if t.item.Change.RestartsContainers() {
		script = stopContainers + script
	}
	for _, idle := range u.Idle {
		script = fmt.Sprintf("systemctl disable --now --quiet -- %s\n", shell.Quote(idle)) + script
	}
	for _, old := range u.Relieves {
		script = relieveScript(script, u.Name, old)
	}
	if u.Docker != nil {
		script += startContainers
		if u.Docker.Bridge != "" {
			script += fmt.Sprintf(bridgeCheck, resource.DockerBridge, shell.Quote(u.Docker.Bridge))
		}
	}
	if err := t.machine.script(ctx, t.label(), script); err != nil {
		return fact.Record{}, err
	}
	return fact.Record{Inputs: digests}, nil
}

// restartScript makes systemd read a unit's files, enables it, and does the
// verb to it: restart, reload-or-restart, or nothing if that is empty.
func restartScript(unit, verb string, noBlock bool) string {
	name, block := shell.Quote(unit), ""
	if noBlock {
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
	return b.String()
}

// relieveScript starts a unit beside one that listens at the same port, which
// listens no longer from then on. Where the other one doesn't let anybody listen
// beside it, it has to go first; it comes back if the unit does not start even then.
func relieveScript(start, unit string, old resource.Relieved) string {
	return fmt.Sprintf(`start() {
%[1]s}
quit() {
	if systemctl is-active --quiet -- %[2]s; then systemctl kill --kill-who=main --signal=%[3]s -- %[2]s; fi
}
if (start); then
	quit
else
	quit
	if ! (start); then
		systemctl stop -- %[4]s
		systemctl restart -- %[2]s
		exit 1
	fi
fi
`, start, shell.Quote(old.Unit), shell.Quote(old.Quit), shell.Quote(unit))
}

// What a restart of Docker with its containers does around the restart itself.
// Which containers were stopped stands in a file, so that they are started
// also when the restart fails and another one follows. Those that remove
// themselves when they end can't be started again.
const (
	stopContainers = `for container in $(docker ps --quiet --no-trunc); do running="$container ${running-}"; done # oldest first
if [ -n "${running-}" ]; then
	printf '%s\n' $running >>/run/kinstall-stopped-containers
	docker stop $running >/dev/null
fi
`
	startContainers = `if [ -e /run/kinstall-stopped-containers ]; then
	lost=
	for container in $(cat /run/kinstall-stopped-containers); do
		if docker container inspect "$container" >/dev/null 2>&1 && ! docker start "$container" >/dev/null; then lost="$lost $container"; fi
	done
	if [ -n "$lost" ]; then echo "containers that do not start again:$lost" >&2; exit 1; fi
	rm -f /run/kinstall-stopped-containers
fi
`
	// bridgeCheck holds the daemon to what it was told.
	bridgeCheck = `case "$(ip -o -4 addr show dev %[1]s) " in
*" "%[2]s" "*) ;;
*) echo "%[1]s has not got the address "%[2]s >&2; exit 1 ;;
esac
`
)

func removeUnit(ctx context.Context, t *task, o resource.Orphan) error {
	name := shell.Quote(o.Was.Name())
	// How it ended matters no more: a failure would be listed for ever.
	return t.machine.script(ctx, t.label(), fmt.Sprintf(
		"if [ \"$(systemctl show -p LoadState --value -- %[1]s)\" != not-found ]; then systemctl disable --now --quiet -- %[1]s; systemctl reset-failed -- %[1]s 2>/dev/null || true; fi\n", name))
}

func applyHostname(ctx context.Context, t *task, h resource.Hostname) (fact.Record, error) {
	w := fileWrite{path: "/etc/hostname", content: []byte(h.Name + "\n"), own: resource.Ownership{Mode: 0o644, Owner: "root", Group: "root"}}
	return t.item.Change.Record, t.machine.write(ctx, ssh.Command{
		Label:  t.label(),
		Script: scriptHeader + placeScript(w, "cat") + "hostname -- " + shell.Quote(h.Name) + "\n",
		Stdin:  w.content,
		Root:   true,
	})
}

func applySwapOff(ctx context.Context, t *task, _ resource.SwapOff) (fact.Record, error) {
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

func applySysctl(ctx context.Context, t *task, s resource.Sysctl) (fact.Record, error) {
	// Not sysctl(8): written directly, the kernel's refusal is the error.
	file, err := probe.SysctlPath(s.Key)
	if err != nil {
		return fact.Record{}, err
	}
	write := fmt.Sprintf("printf '%%s\\n' %s > %s\n", shell.Quote(s.Value), shell.Quote("/proc/sys/"+file))
	if s.AtLeast {
		// Raised since it was observed, by somebody who needs more.
		write = fmt.Sprintf("[ \"$(cat %s)\" -ge %s ] 2>/dev/null || %s", shell.Quote("/proc/sys/"+file), shell.Quote(s.Value), write)
	}
	return t.item.Change.Record, t.machine.script(ctx, t.label(), write)
}

func applyModule(ctx context.Context, t *task, m resource.Module) (fact.Record, error) {
	return t.item.Change.Record, t.machine.script(ctx, t.label(), "modprobe -- "+shell.Quote(m.Name)+"\n")
}

func applyPackage(ctx context.Context, t *task, p resource.Package) (fact.Record, error) {
	t.machine.packages.Lock()
	defer t.machine.packages.Unlock()
	// Nothing is removed to make room (docker-ce for docker.io): that is the
	// user's to decide. The lists may be old on a machine that has been up for long: they are
	// fetched only when the installation fails without.
	install := "DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends --no-remove -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=120 install " + shell.Quote(p.Name) + " >&2"
	return t.item.Change.Record, t.machine.script(ctx, t.label(), fmt.Sprintf(
		"if ! { %[1]s; } 2>/dev/null; then\n\tapt-get -qq -o DPkg::Lock::Timeout=120 update >&2\n\t%[1]s\nfi\n", install))
}

func applyRoute(ctx context.Context, t *task, r resource.Route) (fact.Record, error) {
	words := append(append([]string{r.Destination}, r.Way()...), "metric", routeMetric)
	return t.item.Change.Record, t.machine.script(ctx, t.label(), ipRoute(r.Destination)+"replace "+shell.Join(words...)+"\n")
}

// applyStaticRoutes sets all routes at once, those that are right already
// included, which changes nothing about them. Routes that are no longer wanted
// go when the others are there.
func applyStaticRoutes(ctx context.Context, t *task, r resource.StaticRoutes) (fact.Record, error) {
	script := staticRoutesScript(t.item.Change.Removes)
	return t.item.Change.Record, t.machine.write(ctx, ssh.Command{Label: t.label(), Script: script, Stdin: routeBatch(r, " metric "+routeMetric), Root: true})
}

// staticRoutesScript sets the routes on its standard input and deletes others.
func staticRoutesScript(removes []string) string {
	var b strings.Builder
	b.WriteString(scriptHeader + "ip -batch -\n")
	for _, destination := range removes {
		b.WriteString(deleteRoute(destination))
	}
	return b.String()
}

func applyInterimRoutes(ctx context.Context, t *task, r resource.InterimRoutes) (fact.Record, error) {
	return fact.Record{}, t.machine.write(ctx, ssh.Command{Label: t.label(), Script: scriptHeader + "ip -batch -\n", Stdin: routeBatch(r.StaticRoutes, ""), Root: true})
}

// routeBatch is what `ip -batch` reads to set routes: a line each, which tells
// the family by its addresses.
func routeBatch(r resource.StaticRoutes, suffix string) []byte {
	var b bytes.Buffer
	for _, route := range r.Routes() {
		fmt.Fprintf(&b, "route replace %s via %s%s\n", route.Destination, route.Via, suffix)
	}
	return b.Bytes()
}

// removeStaticRoutes removes what leads, by way of other hosts, to where the
// record has it that kinstall's routes led.
func removeStaticRoutes(ctx context.Context, t *task, o resource.Orphan) error {
	return t.machine.script(ctx, t.label(), removeRoutesScript(o.Record.Ranges))
}

func removeRoutesScript(ranges []string) string {
	var script strings.Builder
	for _, prefix := range ranges {
		ip := strings.TrimSuffix(ipRoute(prefix), " route ")
		fmt.Fprintf(&script, "routes=$(%[1]s route show root %[2]s metric %[3]s)\n"+
			"printf '%%s\\n' \"$routes\" | sed -n 's/^\\([^ ]*\\) via .*/route del \\1 metric %[3]s/p' | %[1]s -batch -\n", ip, shell.Quote(prefix), routeMetric)
	}
	return script.String()
}

var routeMetric = strconv.Itoa(resource.RouteMetric)

// ipRoute begins a command about a destination. The family is said outright:
// "ip route show" takes IPv4 for granted.
func ipRoute(destination string) string {
	if prefix, err := netip.ParsePrefix(destination); err == nil && prefix.Addr().Is6() {
		return "ip -6 route "
	}
	return "ip -4 route "
}

func removeRoute(ctx context.Context, t *task, o resource.Orphan) error {
	return t.machine.script(ctx, t.label(), deleteRoute(o.Was.Name()))
}

// deleteRoute deletes the route of kinstall's metric to a destination, if there
// is one.
func deleteRoute(destination string) string {
	return fmt.Sprintf("if [ -n \"$(%[1]sshow exact %[2]s metric %[3]s)\" ]; then %[1]sdel %[2]s metric %[3]s; fi\n", ipRoute(destination), shell.Quote(destination), routeMetric)
}

func applyFirewallRule(ctx context.Context, t *task, r resource.FirewallRule) (fact.Record, error) {
	rule := shell.Join(r.Rule...)
	// A chain of somebody's own (Docker's DOCKER-USER) may not be there yet;
	// whose it is takes it as it finds it.
	return t.item.Change.Record, t.machine.script(ctx, t.label(), fmt.Sprintf(
		"%[4]s -w -t %[1]s -n -L %[2]s >/dev/null 2>&1 || %[4]s -w -t %[1]s -N %[2]s\n"+
			"%[4]s -w -t %[1]s -C %[2]s %[3]s 2>/dev/null || %[4]s -w -t %[1]s -I %[2]s 1 %[3]s\n",
		shell.Quote(r.Table), shell.Quote(r.Chain), rule, r.Program()))
}

func removeFirewallRule(ctx context.Context, t *task, o resource.Orphan) error {
	r, err := resource.ParseFirewallRule(o.Was)
	if err != nil {
		return err
	}
	rule := shell.Join(r.Rule...)
	return t.machine.script(ctx, t.label(), fmt.Sprintf(
		"if %[4]s -w -t %[1]s -C %[2]s %[3]s 2>/dev/null; then %[4]s -w -t %[1]s -D %[2]s %[3]s; fi\n",
		shell.Quote(r.Table), shell.Quote(r.Chain), rule, r.Program()))
}

// applyNothing is for what a program makes by itself.
func applyNothing[R resource.Resource](_ context.Context, t *task, _ R) (fact.Record, error) {
	return t.item.Change.Record, nil
}

func removeLink(ctx context.Context, t *task, o resource.Orphan) error {
	name := shell.Quote(o.Was.Name())
	return t.machine.script(ctx, t.label(), fmt.Sprintf(
		"if ip link show dev %[1]s >/dev/null 2>&1; then ip link del dev %[1]s; fi\n", name))
}

func removeDynamicRoutes(ctx context.Context, t *task, o resource.Orphan) error {
	// In IPv4, those with a metric are another network's; in IPv6 all have one. A
	// bridge's own route has no next hop.
	others := "*' metric '*"
	if prefix, err := netip.ParsePrefix(o.Was.Name()); err == nil && prefix.Addr().Is6() {
		others = "*' metric " + routeMetric + " '*"
	}
	return t.machine.script(ctx, t.label(), fmt.Sprintf(`%[1]sshow root %[2]s | while read -r route; do
	case " $route " in
	%[3]s) ;;
	*' via '*) %[1]sdel $route </dev/null || exit 1 ;;
	esac
done
`, ipRoute(o.Was.Name()), shell.Quote(o.Was.Name()), others))
}

// applyPodMTU sets the MTU of a bridge, of its ports, and of the interfaces at
// their other ends, in the pods. Kernels keep TCP connections to the new size.
func applyPodMTU(ctx context.Context, t *task, m resource.PodMTU) (fact.Record, error) {
	return t.item.Change.Record, t.machine.script(ctx, t.label(), fmt.Sprintf(`bridge=%s mtu=%d
# "12: veth1@if2: <...": the port's number and name.
ports=$(ip -o link show master "$bridge" | sed -n 's/^\([0-9]*\): \([^@:]*\).*/\1 \2/p')
while read -r number port; do
	# Pods come and go: a port that is gone meanwhile needs nothing.
	[ -z "$port" ] || ip link set dev "$port" mtu "$mtu" || ! ip link show dev "$port" >/dev/null 2>&1
done <<END
$ports
END
for space in /run/netns/*; do
	[ -e "$space" ] || continue
	space=${space##*/}
	# "2: eth0@if12: <...": the port at the other end is number 12.
	peer=$(ip -n "$space" -o link show dev eth0 2>/dev/null | sed -n 's/^[0-9]*: eth0@if\([0-9]*\):.*/\1/p')
	[ -n "$peer" ] || continue
	case "
$ports" in
*"
$peer "*) ip -n "$space" link set dev eth0 mtu "$mtu" || ! ip -n "$space" link show dev eth0 >/dev/null 2>&1 ;;
	esac
done
ip link set dev "$bridge" mtu "$mtu"
`, shell.Quote(m.Bridge), m.MTU))
}

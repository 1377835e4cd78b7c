package provision

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/ssh"
)

// A unit is restarted for what changed since it was last started, however the
// run ended in which that was written.
func TestRestartSurvivesACrash(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.program(t, "systemctl", systemctl)
	describe := func(content string) plan.StepID {
		f.steps = nil
		file := resource.File{Path: h.path("/etc/nginx.conf"), Content: []byte(content)}
		written := f.step("shaolin", file)
		return f.step("shaolin", resource.Unit{Name: "nginx.service", Inputs: []resource.Input{file}}, written)
	}
	unit := describe("one\n")
	f.mustApply(t, f.survey(t))
	if diff := cmp.Diff([]string{"restart nginx.service"}, h.journal(t)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	f.connectAnew(t, Options{})
	if found := changes(f.survey(t)); len(found) > 0 {
		t.Fatalf("the second plan changes %v", found)
	}

	// Written, and then the end: neither the restart nor the state was reached.
	describe("two\n")
	if err := os.WriteFile(h.path("/etc/nginx.conf"), []byte("two\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.connectAnew(t, Options{})
	delta := f.survey(t)
	if diff := cmp.Diff(map[plan.StepID]resource.Action{unit: resource.Restart}, changes(delta)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	// The restart fails, too: it is not forgotten.
	if err := os.WriteFile(h.path("/broken"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := f.executor().Apply(t.Context(), delta)
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(exit.Stderr), "main process exited") {
		t.Errorf("Apply: %v", err)
	}
	os.Remove(h.path("/broken"))
	f.connectAnew(t, Options{})
	delta = f.survey(t)
	if diff := cmp.Diff(map[plan.StepID]resource.Action{unit: resource.Restart}, changes(delta)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	// The restart is recorded at once: the connection breaks right after it,
	// before anything else could be written.
	f.mustApply(t, delta)
	last := h.ran()[len(h.ran())-1]
	if !strings.Contains(last, fact.StatePath) {
		t.Errorf("the last script was %q", last)
	}
	f.connectAnew(t, Options{})
	if found := changes(f.survey(t)); len(found) > 0 {
		t.Errorf("the last plan changes %v", found)
	}

	// It leaves the inventory: stopped before its file goes.
	f.connectAnew(t, Options{})
	f.steps = nil
	f.step("shaolin", resource.Directory{Path: h.path("/etc")})
	f.mustApply(t, f.survey(t))
	journal := h.journal(t)
	if journal[len(journal)-1] != "stop nginx.service" {
		t.Errorf("journal: %v", journal)
	}
	if _, err := os.Stat(h.path("/etc/nginx.conf")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

// What must not be repeated after a crash is on the host's disk before
// anything else begins, and is not written twice.
func TestStateIsWrittenRightAfterARestart(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.program(t, "systemctl", systemctl)
	file := resource.File{Path: h.path("/etc/unit.env"), Content: []byte("x")}
	unit := f.step("shaolin", resource.Unit{Name: "member.service", Inputs: []resource.Input{file}}, f.step("shaolin", file))
	f.step("shaolin", resource.Sysctl{Key: "net.test", Value: "1"}, unit)
	delta := f.everything(t)
	known, written := false, 0
	h.answer = func(script string, _, _ io.Writer) (int, bool) {
		switch {
		case strings.Contains(script, "/proc/sys/net/test"):
			_, known = h.stateFile(t).Resources["unit:member.service"]
			return 1, true // the end: nothing more to remember
		case strings.Contains(script, fact.StatePath):
			written++
		}
		return 0, false
	}
	if report, _ := f.executor().Apply(t.Context(), delta); report.Count(Finished) != 2 {
		t.Errorf("outcomes: %v", outcomes(report))
	}
	if !known || written != 1 {
		t.Errorf("the restart was remembered: %v; the state was written %d times", known, written)
	}
}

func TestUnitReload(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.program(t, "systemctl", systemctl)
	for _, content := range []string{"one\n", "two\n"} {
		f.connectAnew(t, Options{})
		f.steps = nil
		file := resource.File{Path: h.path("/etc/nginx.conf"), Content: []byte(content)}
		written := f.step("shaolin", file)
		f.step("shaolin", resource.Unit{Name: "nginx.service", Inputs: []resource.Input{file}, ReloadOn: []resource.ID{file.ID()}}, written)
		f.mustApply(t, f.survey(t))
	}
	if diff := cmp.Diff([]string{"restart nginx.service", "reload-or-restart nginx.service"}, h.journal(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What changes the system itself: the commands, as the host would run them.
func TestSystemCommands(t *testing.T) {
	needRoot(t)
	orphan := func(id string) resource.Resource { return resource.Orphan{Was: resource.ID(id)} }
	routes := resource.StaticRoutes{Table: resource.NewRouteTable([]resource.Route{{Destination: "10.244.1.0/24", Via: "10.0.0.2"}})}
	for _, c := range []struct {
		name     string
		resource resource.Resource
		want     []string
	}{
		{"route", resource.Route{Destination: "10.244.1.0/24", Via: "10.0.0.2"}, []string{"ip -4 route replace 10.244.1.0/24 via 10.0.0.2 metric 64"}},
		{"IPv6 route", resource.Route{Destination: "fd00:1::/64", Via: "fd00::2"}, []string{"ip -6 route replace fd00:1::/64 via fd00::2 metric 64"}},
		{"route by an interface", resource.Route{Destination: "10.244.0.0/16", Device: "cni0"}, []string{"ip -4 route replace 10.244.0.0/16 dev cni0 metric 64"}},
		{"switch", resource.Switch{Name: "br0", Script: "make-switches"}, []string{"make-switches"}},
		{"switch leaves", orphan("switch:br0"), []string{"ovs-vsctl -t 30 --if-exists del-br br0"}},
		{"route leaves", orphan("route:10.244.1.0/24"), []string{"ip -4 route show exact 10.244.1.0/24 metric 64", "ip -4 route del 10.244.1.0/24 metric 64"}},
		{"IPv6 route leaves", orphan("route:fd00:1::/64"), []string{"ip -6 route show exact fd00:1::/64 metric 64", "ip -6 route del fd00:1::/64 metric 64"}},
		{"static routes", routes, []string{"ip -batch -"}},
		{"interim routes", resource.InterimRoutes{StaticRoutes: routes}, []string{"ip -batch -"}},
		{"routes leave", orphan("routes:10.244.0.0/16"), []string{"ip -4 route show root 10.244.0.0/16", "ip -4 route del 10.244.1.0/24 via 10.0.0.2"}},
		{"IPv6 routes leave", orphan("routes:fd00::/48"), []string{"ip -6 route show root fd00::/48", "ip -6 route del 10.244.1.0/24 via 10.0.0.2", "ip -6 route del 10.244.1.0/24 via 10.0.0.2 metric 32"}},
		{"firewall", resource.FirewallRule{Table: "filter", Chain: "FORWARD", Rule: []string{"-s", "10.244.0.0/16", "-j", "ACCEPT"}}, []string{
			"iptables -w -t filter -n -L FORWARD", "iptables -w -t filter -C FORWARD -s 10.244.0.0/16 -j ACCEPT", "iptables -w -t filter -I FORWARD 1 -s 10.244.0.0/16 -j ACCEPT"}},
		{"IPv6 firewall", resource.FirewallRule{Table: "filter", Chain: "FORWARD", Rule: []string{"-s", "fd00::/48", "-j", "ACCEPT"}}, []string{
			"ip6tables -w -t filter -n -L FORWARD", "ip6tables -w -t filter -C FORWARD -s fd00::/48 -j ACCEPT", "ip6tables -w -t filter -I FORWARD 1 -s fd00::/48 -j ACCEPT"}},
		{"firewall leaves, gone already", orphan("firewall:filter/FORWARD -s 10.244.0.0/16 -j ACCEPT"), []string{
			"iptables -w -t filter -C FORWARD -s 10.244.0.0/16 -j ACCEPT"}},
		{"IPv6 firewall leaves, gone already", orphan("firewall:filter/FORWARD -s fd00::/48 -j ACCEPT"), []string{
			"ip6tables -w -t filter -C FORWARD -s fd00::/48 -j ACCEPT"}},
		{"module", resource.Module{Name: "br_netfilter"}, []string{"modprobe -- br_netfilter"}},
		{"hostname", resource.Hostname{Name: "shaolin"}, []string{"hostname -- shaolin"}},
		{"swap", resource.SwapOff{}, []string{"swapoff -a"}},
		{"package", resource.Package{Name: "nginx"}, []string{
			"apt-get -qq -y --no-install-recommends --no-remove -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=120 install nginx"}},
		{"image leaves", orphan("image:registry.k8s.io/pause:3.10"), []string{"ctr -n k8s.io images remove registry.k8s.io/pause:3.10"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, Options{}, "shaolin")
			h := f.hosts["shaolin"]
			for _, name := range []string{"ip", "iptables", "ip6tables", "modprobe", "hostname", "swapoff", "apt-get", "ctr", "ovs-vsctl", "make-switches"} {
				h.program(t, name, `echo "${0##*/} $*" >>"$HOST/commands"
case "$*" in *' -C '*) exit 1 ;; *show*) printf '10.244.1.0/24 via 10.0.0.2%s\n' '' ' metric 32' ' metric 64'; echo 10.244.0.0/24 dev cni0 ;; esac
exit 0
`)
			}
			// What arms the step comes before, and is tested elsewhere.
			h.program(t, "systemd-run", `rm -f "$HOST/commands"`)
			f.step("shaolin", c.resource)
			f.mustApply(t, f.everything(t))
			got := strings.Split(strings.TrimSpace(h.read(t, h.path("/commands"))), "\n")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if c.name == "hostname" && h.read(t, h.path("/etc/hostname")) != "shaolin\n" {
				t.Errorf("/etc/hostname: %q", h.read(t, h.path("/etc/hostname")))
			}
		})
	}
}

func TestSysctl(t *testing.T) {
	needRoot(t)
	for key, file := range map[string]string{
		"net.ipv4.ip_forward":              "net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.100/rp_filter": "net/ipv4/conf/eth0.100/rp_filter",
		"net.ipv4.conf.eth0/100.rp_filter": "net/ipv4/conf/eth0.100/rp_filter",
	} {
		f := newFleet(t, Options{}, "shaolin")
		h := f.hosts["shaolin"]
		target := h.path("/proc/sys/" + file)
		if err := os.MkdirAll(target[:strings.LastIndex(target, "/")], 0o755); err != nil {
			t.Fatal(err)
		}
		f.step("shaolin", resource.Sysctl{Key: key, Value: "1"})
		f.mustApply(t, f.everything(t))
		if got := h.read(t, target); got != "1\n" {
			t.Errorf("%s: %q", key, got)
		}
	}
}

// A limit that was raised after it was observed is not lowered.
func TestSysctlAtLeast(t *testing.T) {
	needRoot(t)
	for found, want := range map[string]string{"128\n": "8192\n", "8192\n": "8192\n", "16384\n": "16384\n"} {
		f := newFleet(t, Options{}, "shaolin")
		h := f.hosts["shaolin"]
		f.step("shaolin", resource.Sysctl{Key: "fs.inotify.max_user_instances", Value: "8192", AtLeast: true})
		target := h.path("/proc/sys/fs/inotify/max_user_instances")
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, []byte("128\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		delta := f.everything(t)
		if err := os.WriteFile(target, []byte(found), 0o644); err != nil {
			t.Fatal(err)
		}
		f.mustApply(t, delta)
		if got := h.read(t, target); got != want {
			t.Errorf("found %q: left at %q, want %q", found, got, want)
		}
	}
}

// One balancer takes the place of another: beside it where that lets it, else after
// it; and the old one is back when the new one does not start at all.
func TestRelieve(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails int // how often the new unit does not start
		want  string
		err   bool
	}{
		{"both listen for a moment", 0, "start kill", false},
		{"the old one keeps the port for itself", 1, "start kill start", false},
		{"the new one does not start", 2, "start kill start stop restart-old", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(`#!/bin/sh
case "$*" in
is-active*) exit 0 ;;
kill\ --kill-who=main\ --signal=QUIT\ --\ nginx.service) echo kill ;;
stop\ --\ haproxy.service) echo stop ;;
restart\ --\ nginx.service) echo restart-old ;;
*) echo "unexpected: $*" ;;
esac
`), 0o755); err != nil {
				t.Fatal(err)
			}
			start := fmt.Sprintf("echo start\necho x >>%[1]s/starts\nif [ \"$(wc -l <%[1]s/starts)\" -le %[2]d ]; then exit 1; fi\n", dir, c.fails)
			sh := exec.Command("sh", "-eu")
			sh.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			sh.Stdin = strings.NewReader(relieveScript(start, "haproxy.service", resource.Relieved{Unit: "nginx.service", Quit: "QUIT"}))
			out, err := sh.Output()
			if got := strings.Join(strings.Fields(string(out)), " "); got != c.want || (err != nil) != c.err {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

package confirm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// host is a machine of files: scripts run in /bin/sh with fakes of the programs
// that change a machine, and with the paths of the system moved below a
// directory.
type host struct {
	t        *testing.T
	dir      string
	programs string   // directory of fakes
	enter    []string // a command in front of each script
}

// before is how a host is in most tests, by file.
var before = map[string]string{
	"net/routes.4": "default via 10.0.0.1 dev eth0 \n10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.5 \n" +
		"local 10.0.0.5 dev eth0 table local proto kernel scope host src 10.0.0.5\n",
	"net/routes.6":    "default via fe80::1 dev eth0 proto ra metric 1024 expires 1795sec hoplimit 64 pref medium\n",
	"net/rules.4":     "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n",
	"net/rules.6":     "0:\tfrom all lookup local\n",
	"net/addresses.4": "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0\\       valid_lft forever\n",
	"net/addresses.6": "2: eth0    inet6 fe80::5/64 scope link \\       valid_lft forever\n",
	"net/links":       "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536\n2: eth0@if7: <BROADCAST,UP> mtu 1500\n",
	"net/all-links":   "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536\n2: eth0@if7: <BROADCAST,UP> mtu 1500\n9: br0: <BROADCAST> mtu 1500\n",
	"iptables":        "filter INPUT\nfilter FORWARD\nfilter FORWARD -s 10.9.0.0/16 -j ACCEPT\n",
	"ip6tables":       "",
	"name":            "taishan\n",
	"etc/hostname":    "taishan\n",
	"etc/bird.conf":   "router id 10.0.0.5;\n",

	"proc/sys/net/ipv4/ip_forward":           "0\n",
	"proc/sys/net/ipv4/conf/all/forwarding":  "0\n",
	"proc/sys/net/ipv4/conf/eth0/forwarding": "0\n",
	"proc/sys/net/ipv4/tcp_rmem":             "4096\t131072\t6291456\n",

	"units/bird.service":   "ActiveState=active\nUnitFileState=enabled\nInvocationID=a1\n",
	"units/chrony.service": "ActiveState=active\nUnitFileState=enabled\nInvocationID=c1\n",
}

func newHost(t *testing.T) *host {
	t.Helper()
	programs, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, dir: t.TempDir(), programs: programs}
	for name, content := range before {
		h.write(name, content)
	}
	return h
}

func (h *host) write(name, content string) {
	h.t.Helper()
	file := filepath.Join(h.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) read(name string) string {
	h.t.Helper()
	content, err := os.ReadFile(filepath.Join(h.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "(absent)"
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return string(content)
}

// moved is a script with the system's paths below the host's directory.
func (h *host) moved(script string) string {
	return strings.NewReplacer(
		Directory, h.dir+Directory,
		"/etc/", h.dir+"/etc/",
		"/proc/sys/", h.dir+"/proc/sys/",
		"PATH=/usr/local/sbin:", "PATH="+h.programs+":/usr/local/sbin:",
	).Replace(script)
}

// run runs a script and returns what it printed and its exit code.
func (h *host) run(script string, args ...string) (printed string, code int) {
	h.t.Helper()
	if len(args) == 0 {
		args = []string{"-c", h.moved(script)}
	}
	args = append(append(h.enter[:len(h.enter):len(h.enter)], "/bin/sh"), args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + h.programs + ":" + os.Getenv("PATH"), "HOST=" + h.dir, "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (h *host) must(script string, args ...string) string {
	h.t.Helper()
	out, code := h.run(script, args...)
	if code != 0 {
		h.t.Fatalf("exit code %d: %s\n%s", code, out, script)
	}
	return out
}

// fire runs what the timer, or the boot, would.
func (h *host) fire(s Session, args ...string) string {
	h.t.Helper()
	return h.must("", append([]string{filepath.Join(h.dir, s.directory(), "revert.sh")}, args...)...)
}

// answer confirms and returns how the session stands.
func (h *host) answer(s Session, settled ...string) Answer {
	h.t.Helper()
	answer, err := ParseAnswer(h.must(s.Confirm(settled)))
	if err != nil {
		h.t.Fatal(err)
	}
	return answer
}

// differences compares the host with how it was.
func (h *host) differences() string {
	h.t.Helper()
	found, want := map[string][]string{}, map[string][]string{}
	for name, content := range before {
		found[name], want[name] = canonical(h.read(name)), canonical(content)
	}
	return cmp.Diff(want, found)
}

// canonical are the lines of a text without what may differ: their order, the
// space between words, for how long addresses and routes are there, and the table
// local, which a fake does not have.
func canonical(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "\\")
		words := strings.Fields(line)
		if i := slices.Index(words, "expires"); i > 0 {
			words = slices.Delete(words, i, i+2)
		}
		if line = strings.Join(words, " "); !strings.Contains(line, " table local ") {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

var (
	session = Session{Token: "a1b2", Timeout: time.Minute}
	all     = Touched{
		Files:   []string{"/etc/hostname", "/etc/bird.conf", "/etc/new.conf"},
		Sysctls: []string{"net/ipv4/ip_forward", "net/ipv4/tcp_rmem", "net/ipv4/none"},
		Rules: []Rule{
			{"iptables", "filter", "INPUT", []string{"-p", "tcp", "--dport", "22", "-j", "DROP"}},
			{"iptables", "filter", "FORWARD", []string{"-s", "10.9.0.0/16", "-j", "ACCEPT"}},
			{"iptables", "filter", "DOCKER-USER", []string{"-m", "comment", "--comment", "it's a 'comment' $HOST", "-j", "ACCEPT"}},
		},
		Units:    []Unit{{Name: "bird.service"}, {Name: "flanneld.service"}, {Name: "chrony.service", Before: "false"}},
		Links:    []string{"docker0", "br0", "flannel.1"},
		Hostname: true,
	}
)

// breakIt changes everything there is.
func breakIt(h *host) {
	h.write("net/routes.4", "default via 10.0.0.66 dev eth0\n10.0.0.0/24 via 10.0.0.7 dev eth0 metric 64\n10.0.3.0/24 dev veth1 proto kernel scope link\n")
	h.write("net/routes.6", "")
	h.write("net/rules.4", "0:\tfrom all lookup local\n100:\tfrom 10.0.0.0/8 lookup 7\n")
	h.write("net/addresses.4", "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n9: br0    inet 10.0.0.5/24 brd 10.0.0.255 scope global br0\\       valid_lft forever\n")
	h.write("net/all-links", before["net/all-links"]+"12: docker0: <BROADCAST> mtu 1500\n")
	h.write("net/links", "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536\n")
	h.write("iptables", "filter INPUT\nfilter FORWARD\nfilter INPUT -p tcp --dport 22 -j DROP\nfilter DOCKER-USER\nfilter DOCKER-USER -m comment --comment it's a 'comment' $HOST -j ACCEPT\n")
	h.write("name", "songshan\n")
	h.write("etc/hostname", "songshan\n")
	h.write("etc/bird.conf", "router id 10.0.0.7;\n")
	h.write("etc/new.conf", "new\n")
	h.write("proc/sys/net/ipv4/ip_forward", "1\n")
	h.write("proc/sys/net/ipv4/conf/eth0/forwarding", "1\n")
	h.write("proc/sys/net/ipv4/tcp_rmem", "1 1 1\n")
	h.write("units/bird.service", "ActiveState=active\nUnitFileState=enabled\nInvocationID=a2\n")
	h.write("units/flanneld.service", "ActiveState=activating\nUnitFileState=enabled\nInvocationID=f1\n")
}

func TestRevertPutsEverythingBack(t *testing.T) {
	h := newHost(t)
	h.must(session.Arm(all))
	if diff := h.differences(); diff != "" {
		t.Fatalf("arming changed (-want +got):\n%s", diff)
	}
	if timer := h.read("timers"); !strings.Contains(timer, "--unit=kinstall-revert-a1b2 ") || !strings.Contains(timer, "--on-active=60s ") ||
		!strings.Contains(timer, "/session-a1b2/revert.sh\n") {
		t.Errorf("the timer: %s", timer)
	}
	breakIt(h)
	h.fire(session, "now")

	h.write("units/bird.service", strings.Replace(h.read("units/bird.service"), "a2+", "a1", 1)) // it was restarted
	want := map[string]string{
		"etc/new.conf":           "(absent)",
		"units/flanneld.service": "ActiveState=inactive\nUnitFileState=disabled\nInvocationID=f1\n",
		"systemctl":              "stop flanneld.service\ndaemon-reload\ndisable flanneld.service\nreset-failed bird.service\nrestart bird.service\n",
	}
	got := map[string]string{}
	for name := range want {
		got[name] = h.read(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("not as before (-want +got):\n%s", diff)
	}
	// A connected route that somebody has added meanwhile is left alone.
	const veth = "10.0.3.0/24 dev veth1 proto kernel scope link\n"
	routes := h.read("net/routes.4")
	if !strings.Contains(routes, veth) {
		t.Errorf("routes: %s", routes)
	}
	h.write("net/routes.4", strings.Replace(routes, veth, "", 1))
	if diff := h.differences(); diff != "" {
		t.Errorf("not as before (-want +got):\n%s", diff)
	}
	for _, name := range []string{bootUnit, bootWants} {
		if h.read(name) != "(absent)" {
			t.Errorf("%s is left behind", name)
		}
	}

	answer := h.answer(session)
	if answer.State != Reverted {
		t.Errorf("the session is %s", answer.State)
	}
	said := strings.Join(answer.PutBack, "\n")
	for _, want := range []string{
		"stopped flanneld.service", "removed ", "/etc/new.conf", "ipv4/ip_forward is 0 again", "tcp_rmem is 4096 131072 6291456 again",
		"deleted the rule filter/INPUT -p tcp --dport 22 -j DROP", "put back the rule filter/FORWARD -s 10.9.0.0/16 -j ACCEPT",
		"deleted the route 10.0.0.0/24 via 10.0.0.7 dev eth0 metric 64", "put back the route default via 10.0.0.1 dev eth0",
		"put the address 10.0.0.5/24 back on eth0", "deleted the interface docker0", "the hostname is taishan again", "restarted bird.service",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	if strings.Contains(said, "could not") {
		t.Errorf("the host says:\n%s", said)
	}

	// Once more, as after a power cut in the middle of it.
	dir := filepath.Join(h.dir, session.directory())
	if err := os.Rename(filepath.Join(dir, "reverted"), filepath.Join(dir, "reverting")); err != nil {
		t.Fatal(err)
	}
	h.write("etc/hostname", "half\n")
	h.fire(session, "boot")
	if got := h.read("etc/hostname"); got != "taishan\n" || h.answer(session).State != Reverted {
		t.Errorf("the second run left %q, %+v", got, h.answer(session))
	}
}

func TestConfirmedChangesStay(t *testing.T) {
	h := newHost(t)
	h.must(session.Arm(all))
	h.write("etc/bird.conf", "router id 10.0.0.8;\n")
	h.write("proc/sys/net/ipv4/ip_forward", "1\n")
	revert := h.moved(h.read(session.directory() + "/revert.sh"))
	if got := h.answer(session); got.State != Confirmed || got.PutBack != nil {
		t.Fatalf("confirming: %+v", got)
	}
	if got := h.read("systemctl"); got != "stop kinstall-revert-a1b2.timer kinstall-revert-a1b2.service\n" {
		t.Errorf("the timer: %s", got)
	}
	// A timer that fires at that moment comes too late.
	late := filepath.Join(h.dir, session.directory(), "revert.sh")
	if err := os.WriteFile(late, []byte(revert), 0o700); err != nil {
		t.Fatal(err)
	}
	h.must("", late, "now")
	if h.read("etc/bird.conf") != "router id 10.0.0.8;\n" || h.read("proc/sys/net/ipv4/ip_forward") != "1\n" {
		t.Error("what was confirmed was put back")
	}
	// The answer got lost, and is asked for again.
	if got := h.answer(session); got.State != Confirmed {
		t.Errorf("asked again: %+v", got)
	}
	if h.read(bootUnit) != "(absent)" || h.read(bootWants) != "(absent)" {
		t.Error("the unit of the boot is left behind")
	}
	// The next change may be armed.
	next := Session{Token: "c3", Timeout: time.Minute}
	h.must(next.Arm(all))
	if h.answer(session).State != Gone {
		t.Error("the old session is still there")
	}
}

func TestTheTimerWaitsWhenPutOff(t *testing.T) {
	h := newHost(t)
	s := Session{Token: "d4", Timeout: time.Second}
	h.must(s.Arm(all))
	h.write("proc/sys/net/ipv4/ip_forward", "1\n")
	h.must(Session{Token: "d4", Timeout: time.Hour}.Postpone())
	ended := make(chan string)
	go func() {
		out, _ := h.run("", filepath.Join(h.dir, s.directory(), "revert.sh"))
		ended <- out
	}()
	select {
	case out := <-ended:
		t.Fatalf("it did not wait: %s", out)
	case <-time.After(1500 * time.Millisecond): // longer than the first time limit
	}
	if h.read("proc/sys/net/ipv4/ip_forward") != "1\n" {
		t.Error("put back ahead of time")
	}
	h.must(Session{Token: "d4", Timeout: 0}.Postpone())
	if out := <-ended; !strings.Contains(out, "ip_forward is 0 again") {
		t.Errorf("it said %s", out)
	}
}

func TestArmRefusesWhatCouldNotBeUndone(t *testing.T) {
	h := newHost(t)
	h.write("no-systemd", "")
	out, code := h.run(session.Arm(all))
	if code != 1 || !strings.Contains(out, "systemd-run failed") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if h.read(bootUnit) != "(absent)" || h.read(bootWants) != "(absent)" || h.answer(session).State != Gone {
		t.Error("something is left behind")
	}
	if err := os.Remove(filepath.Join(h.dir, "no-systemd")); err != nil {
		t.Fatal(err)
	}

	h.must(session.Arm(all))
	if out, code := h.run(Session{Token: "other", Timeout: time.Minute}.Arm(all)); code != ExitUnconfirmed || !strings.Contains(out, "not confirmed") {
		t.Errorf("armed twice: exit code %d: %s", code, out)
	}
	if h.answer(session).State != Confirmed {
		t.Error("the first session was harmed")
	}
}

func TestKeptFilesAreThoseOfBefore(t *testing.T) {
	files := []string{"/etc/bird.conf", "/etc/new.conf"}
	for _, confirmed := range []bool{true, false} {
		h := newHost(t)
		h.must(Keep(files))
		h.write("etc/bird.conf", "router id 10.0.0.9;\n")
		h.write("etc/new.conf", "new\n")
		h.must(Keep(files)) // a run that follows a crash
		h.must(session.Arm(all))
		wantBird, wantNew := before["etc/bird.conf"], "(absent)"
		if confirmed {
			h.answer(session, files...)
			// Whatever comes next finds new files of before.
			wantBird, wantNew = "router id 10.0.0.9;\n", "new\n"
			h.must(Keep(files))
			h.write("etc/bird.conf", "broken\n")
			h.write("etc/new.conf", "broken\n")
			next := Session{Token: "e5", Timeout: time.Minute}
			h.must(next.Arm(all))
			h.fire(next, "now")
		} else {
			h.fire(session, "now")
		}
		if bird, added := h.read("etc/bird.conf"), h.read("etc/new.conf"); bird != wantBird || added != wantNew {
			t.Errorf("confirmed %v: %q and %q", confirmed, bird, added)
		}
		if left := h.read(Directory + "/kept/files/etc/bird.conf"); left != "(absent)" {
			t.Errorf("confirmed %v: %q is still kept", confirmed, left)
		}
	}
}

func TestBootPutsFilesBackAndNothingElse(t *testing.T) {
	h := newHost(t)
	h.must(session.Arm(all))
	breakIt(h)
	if unit := h.read(bootUnit); !strings.Contains(unit, "/session-a1b2/revert.sh boot\n") || !strings.Contains(unit, "Before=systemd-sysctl.service") {
		t.Errorf("the unit of the boot: %s", unit)
	}
	if target, err := os.Readlink(filepath.Join(h.dir, bootWants)); err != nil || target != filepath.Join(h.dir, bootUnit) {
		t.Errorf("it is not enabled: %s, %v", target, err)
	}
	routes := h.read("net/routes.4")
	h.fire(session, "boot")
	if h.read("etc/hostname") != "taishan\n" || h.read("etc/bird.conf") != before["etc/bird.conf"] || h.read("etc/new.conf") != "(absent)" {
		t.Error("files are not as before")
	}
	if h.read("net/routes.4") != routes {
		t.Error("routes of before the reboot were set")
	}
	if said := h.read("systemctl"); said != "daemon-reload\ndisable flanneld.service\n" {
		t.Errorf("units at boot: %s", said)
	}
	if h.read(bootUnit) != "(absent)" || h.answer(session).State != Reverted {
		t.Error("it would run again")
	}
}

// A network namespace of the test's own, with the kernel's and iproute2's word
// for what routes look like.
func TestRevertOfARealKernelsNetwork(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has network namespaces")
	}
	h := newHost(t)
	h.programs = t.TempDir()
	for _, fake := range []string{"hostname", "iptables", "ip6tables", "systemctl", "systemd-run"} {
		target, err := filepath.Abs("testdata/" + fake)
		if err == nil {
			err = os.Symlink(target, filepath.Join(h.programs, fake))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	space := exec.Command("unshare", "--net", "sh", "-c", "echo ready; read -r end")
	end, err := space.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := space.StdoutPipe()
	if err == nil {
		err = space.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { end.Close(); _ = space.Wait() }()
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	h.enter = []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", space.Process.Pid)}

	const show = `for f in 4 6; do ip -o -$f addr show | grep -v ' scope link'; ip -$f rule show; ip -$f route show table all | grep -v ' table local' | sort; done; ip -o link show up | cut -d : -f 2`
	h.must(`set -e
ip link set lo up
ip link add eth0 type veth peer name cable0; ip link set eth0 up; ip link set cable0 up
ip addr add 10.0.0.5/24 brd + dev eth0
ip -6 addr add fd00::5/64 dev eth0 nodad
ip route add default via 10.0.0.1
ip route add 10.7.0.0/16 via 10.0.0.7 metric 64
ip route add 10.8.0.0/16 nexthop via 10.0.0.8 weight 1 nexthop via 10.0.0.9 weight 2
ip route add unreachable 10.9.0.0/16
ip route add default via 10.0.0.2 table 7
ip rule add from 10.5.0.0/16 lookup 7 pref 100
ip -6 route add default via fd00::1
ip link add br0 type bridge`)
	want := h.must(show)
	h.must(session.Arm(Touched{}))
	if diff := cmp.Diff(want, h.must(show)); diff != "" {
		t.Errorf("arming changed (-want +got):\n%s", diff)
	}
	h.must(`set -e
ip link set br0 up
ip addr del 10.0.0.5/24 dev eth0
ip addr add 10.0.0.5/24 brd + dev br0
ip -6 addr flush dev eth0 scope global
ip route add 10.0.0.1 via 10.0.0.66
ip route add 10.7.0.0/16 via 10.0.0.9 metric 64
ip route flush table 7
ip rule del pref 100
ip rule add from 10.6.0.0/16 lookup 7 pref 99
ip route del unreachable 10.9.0.0/16`)
	if h.must(show) == want {
		t.Fatal("nothing is broken")
	}
	h.fire(session, "now")
	h.must("ip link set br0 down")
	if diff := cmp.Diff(want, h.must(show)); diff != "" {
		t.Errorf("not as before (-want +got):\n%s\nit said %q", diff, h.answer(session).PutBack)
	}
	if said := h.answer(session).PutBack; len(said) == 0 || slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "could not") }) {
		t.Errorf("the host says %q", said)
	}
}

func TestParseAnswer(t *testing.T) {
	if _, err := ParseAnswer("whatever\n"); err == nil {
		t.Error("an answer of something else is taken")
	}
	got, err := ParseAnswer("reverted\nput back /a\nput back /a\nstopped b\n")
	if diff := cmp.Diff(Answer{Reverted, []string{"put back /a", "stopped b"}}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

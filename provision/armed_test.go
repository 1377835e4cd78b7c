package provision

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/confirm"
)

// armable gives a host what it takes to arm: a timer that fires, and programs
// that leave the test's own machine alone.
func (h *testHost) armable(t *testing.T) {
	t.Helper()
	h.program(t, "ip", "exit 0")
	h.program(t, "ovs-vsctl", "exit 0")
	for _, name := range []string{"hostname", "iptables", "systemctl"} {
		fake, err := os.ReadFile(filepath.Join("confirm", "testdata", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(h.bin, name), fake, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	h.program(t, "systemd-run", `echo "$*" >>"$HOST/timers"
for script; do :; done
sh "$script" </dev/null >>"$HOST/reverts" 2>&1 &
`)
	h.file(t, "/iptables", "filter INPUT\n")
	h.file(t, "/name", "debian\n")
	h.file(t, "/etc/hostname", "debian\n")
	h.file(t, "/proc/sys/net/ipv4/ip_forward", "0\n")
}

func (h *testHost) file(t *testing.T, path, content string) {
	t.Helper()
	path = h.path(path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// sessions are the marks of the host's sessions: confirmed, reverted.
func (h *testHost) sessions(t *testing.T) []string {
	t.Helper()
	var marks []string
	for _, mark := range []string{"armed", "confirmed", "reverting", "reverted"} {
		found, err := filepath.Glob(h.path(confirm.Directory + "/*/" + mark))
		if err != nil {
			t.Fatal(err)
		}
		for range found {
			marks = append(marks, mark)
		}
	}
	return marks
}

// comesAbout waits for a condition, for half a minute at most.
func comesAbout(ctx context.Context, holds func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// cutOff has no new connection come through once a script with a certain text has
// begun, until the host has put back what it changed.
func (h *testHost) cutOff(t *testing.T, text string) {
	h.answer = func(script string, _, _ io.Writer) (int, bool) {
		if strings.Contains(script, text) && !strings.Contains(script, "systemd-run") {
			h.RefuseDials(1 << 30)
			go func() {
				if comesAbout(t.Context(), func() bool {
					found, _ := filepath.Glob(h.path(confirm.Directory + "/*/reverted"))
					return len(found) > 0
				}) {
					h.RefuseDials(0)
				}
			}()
		}
		return 0, false
	}
}

const ipForward = "/proc/sys/net/ipv4/ip_forward"

var forwards = resource.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"}

func TestArmedStepIsConfirmedOverANewConnection(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{ConfirmTimeout: time.Minute}, "shaolin")
	h := f.hosts["shaolin"]
	h.armable(t)
	f.step("shaolin", forwards)
	delta := f.everything(t)
	before := h.Counts()
	f.mustApply(t, delta)
	after := h.Counts()
	if n := after.Connections - before.Connections; n != 1 {
		t.Errorf("%d new connections, not 1", n)
	}
	// Arm, the step itself, confirm, the state.
	if n := after.Execs - before.Execs; n != 4 {
		t.Errorf("%d execs, not 4", n)
	}
	if got := h.read(t, h.path(ipForward)); got != "1\n" {
		t.Errorf("ip_forward is %q", got)
	}
	if diff := cmp.Diff([]string{"confirmed"}, h.sessions(t)); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	if timers := h.read(t, h.path("/timers")); !strings.Contains(timers, "--on-active=60s") {
		t.Errorf("timers: %s", timers)
	}
	if _, done := h.stateFile(t).Resources["sysctl:net.ipv4.ip_forward"]; !done {
		t.Error("it is not recorded")
	}
}

// Two steps that each wait for the other can only end in one session.
func TestArmedStepsShareASession(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.armable(t)
	h.program(t, "iptables", `case "$*" in
*' -C '*) exit 1 ;;
*' -I '*)
	echo begun >>"$HOST/begun"
	until [ "$(wc -l <"$HOST/begun")" -ge 2 ]; do sleep 0.1; done ;;
esac
`)
	f.step("shaolin", resource.FirewallRule{Table: "filter", Chain: "FORWARD", Rule: []string{"-s", "10.1.0.0/16", "-j", "ACCEPT"}})
	f.step("shaolin", resource.FirewallRule{Table: "filter", Chain: "FORWARD", Rule: []string{"-d", "10.1.0.0/16", "-j", "ACCEPT"}})
	f.mustApply(t, f.everything(t))
	if n := strings.Count(h.read(t, h.path("/timers")), "\n"); n != 1 {
		t.Errorf("%d timers", n)
	}
}

func TestHostThatIsCutOffUndoesItself(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{ConfirmTimeout: 2 * time.Second}, "shaolin", "wudang")
	h := f.hosts["shaolin"]
	h.armable(t)
	h.cutOff(t, "ip_forward'")
	bad := f.step("shaolin", forwards)
	after := f.step("shaolin", resource.File{Path: h.path("/etc/after"), Content: []byte("x")}, bad)
	other := f.step("wudang", resource.Directory{Path: f.hosts["wudang"].path("/other"), Ownership: self(t, 0o755)})
	report, err := f.executor().Apply(t.Context(), f.everything(t))

	if diff := cmp.Diff(map[plan.StepID]EventKind{bad: Failed, after: Skipped, other: Finished}, outcomes(report)); diff != "" {
		t.Errorf("what became of the steps (-want +got):\n%s", diff)
	}
	var undone *UndoneError
	if !errors.As(err, &undone) || undone.Unseen || undone.Host != "shaolin" {
		t.Fatalf("Apply: %v", err)
	}
	for _, want := range []string{"could not be reached over a new connection within 2s of the change", "ipv4/ip_forward is 0 again"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
	if got := h.read(t, h.path(ipForward)); got != "0\n" {
		t.Errorf("ip_forward is %q", got)
	}
	if _, recorded := h.stateFile(t).Resources["sysctl:net.ipv4.ip_forward"]; recorded {
		t.Error("what was undone is recorded as done")
	}
	if _, err := os.Stat(h.path("/etc/after")); err == nil {
		t.Error("what waits for it was done")
	}
}

// The files of a unit are written by steps before the unit's own.
func TestUndoneUnitGetsItsFilesBack(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{ConfirmTimeout: 2 * time.Second}, "shaolin")
	h := f.hosts["shaolin"]
	h.armable(t)
	h.cutOff(t, "systemctl  restart -- 'bird.service'")
	h.file(t, "/etc/bird.conf", "old\n")
	h.file(t, "/units/bird.service", "ActiveState=active\nUnitFileState=enabled\nInvocationID=a\n")
	config := resource.File{Path: h.path("/etc/bird.conf"), Content: []byte("new\n")}
	added := resource.File{Path: h.path("/etc/added.conf"), Content: []byte("new\n")}
	one, two := f.step("shaolin", config), f.step("shaolin", added)
	f.step("shaolin", resource.Unit{Name: "bird.service", Inputs: []resource.Input{config, added}}, one, two)
	delta := f.everything(t)
	delta.Items[0].OwnChange().Evidence = resource.SHA256([]byte("old\n"))
	_, err := f.executor().Apply(t.Context(), delta)
	var undone *UndoneError
	if !errors.As(err, &undone) {
		t.Fatalf("Apply: %v", err)
	}
	if got := h.read(t, h.path("/etc/bird.conf")); got != "old\n" {
		t.Errorf("bird.conf is %q", got)
	}
	if _, err := os.Stat(h.path("/etc/added.conf")); err == nil {
		t.Error("added.conf is still there")
	}
	if log := h.read(t, h.path("/systemctl")); strings.Count(log, "restart bird.service") != 2 {
		t.Errorf("what systemctl was told: %s", log)
	}
	for id := range h.stateFile(t).Resources {
		t.Errorf("%s is recorded as done", id)
	}
}

// A step may take longer than the host waits.
func TestLongArmedStepPutsTheHostOff(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{ConfirmTimeout: 2 * time.Second}, "shaolin")
	h := f.hosts["shaolin"]
	h.armable(t)
	// It ends when it was put off a second time: later than the first time limit.
	puts := 0
	h.answer = func(script string, _, _ io.Writer) (int, bool) {
		if strings.Contains(script, "until.new") {
			h.mu.Lock()
			defer h.mu.Unlock()
			if puts++; puts == 4 {
				go func() { _ = os.WriteFile(h.path("/enough"), nil, 0o644) }()
			}
		}
		return 0, false
	}
	h.program(t, "hostname", `[ "$1" = -- ] || { cat "$HOST/name"; exit; }
i=0
until [ -e "$HOST/enough" ] || [ $((i = i + 1)) -gt 300 ]; do sleep 0.1; done
echo "$2" >"$HOST/name"
`)
	f.step("shaolin", resource.Hostname{Name: "shaolin"})
	f.mustApply(t, f.everything(t))
	if got := h.read(t, h.path("/name")); got != "shaolin\n" {
		t.Errorf("the name is %q", got)
	}
	if diff := cmp.Diff([]string{"confirmed"}, h.sessions(t)); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
}

// crashArmed is a run that dies between arming a host and confirming.
func (f *testFleet) crashArmed(t *testing.T, timeout time.Duration) {
	t.Helper()
	h := f.hosts["shaolin"]
	h.armable(t)
	f.step("shaolin", forwards)
	delta := f.everything(t)
	m, err := f.connect(t.Context(), "shaolin")
	if err != nil {
		t.Fatal(err)
	}
	if err := arm(t.Context(), m, confirm.Session{Token: "dead", Run: "dead", Timeout: timeout}, *newArming(delta, 0).touched["shaolin"]); err != nil {
		t.Fatal(err)
	}
	h.file(t, ipForward, "2\n")
	f.connectAnew(t, Options{})
}

// The operator's machine dies before it can confirm, and nobody comes in time.
func TestCrashBeforeConfirming(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	f.crashArmed(t, 2*time.Second)
	if !comesAbout(t.Context(), func() bool {
		sessions := h.sessions(t)
		return h.read(t, h.path(ipForward)) == "0\n" && len(sessions) == 1 && sessions[0] == "reverted"
	}) {
		t.Fatalf("ip_forward is %q, sessions are %v", h.read(t, h.path(ipForward)), h.sessions(t))
	}
	f.connectAnew(t, Options{})
	f.mustApply(t, f.everything(t))
	if got := h.read(t, h.path(ipForward)); got != "1\n" {
		t.Errorf("after that, ip_forward is %q", got)
	}
}

// A run that comes before the time is up has reached the host, which is what
// the host waits for: the change stands, and the run goes on from there.
func TestNextRunConfirms(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	f.crashArmed(t, time.Minute)
	f.mustApply(t, f.everything(t))
	if got := h.read(t, h.path(ipForward)); got != "1\n" {
		t.Errorf("ip_forward is %q", got)
	}
	if diff := cmp.Diff([]string{"confirmed"}, h.sessions(t)); diff != "" { // this run's own
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(h.path(confirm.Directory + "/session-dead")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the session of the run that died: %v", err)
	}
}

func TestStepThatCanNotBeArmedIsNotBegun(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.armable(t)
	h.program(t, "systemd-run", "echo no systemd >&2; exit 1")
	id := f.step("shaolin", forwards)
	report, err := f.executor().Apply(t.Context(), f.everything(t))
	if err == nil || !strings.Contains(err.Error(), "not begun") || !strings.Contains(err.Error(), "systemd-run failed") || outcomes(report)[id] != Failed {
		t.Errorf("Apply: %v", err)
	}
	if got := h.read(t, h.path(ipForward)); got != "0\n" {
		t.Errorf("ip_forward is %q", got)
	}
	if left := h.sessions(t); len(left) > 0 {
		t.Errorf("sessions: %v", left)
	}
}

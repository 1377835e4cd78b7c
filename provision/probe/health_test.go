package probe

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kinstall/kinstall/plan/fact"
)

// uptime is how many ticks ago this machine began to run.
func uptime(t testing.TB) int {
	t.Helper()
	out, err := exec.Command("cat", "/proc/self/stat").Output()
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(out[strings.LastIndexByte(string(out), ')')+1:]))
	ticks, err := strconv.Atoi(fields[19])
	if err != nil {
		t.Fatal(err)
	}
	return ticks
}

func bootID(t testing.TB) string {
	t.Helper()
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(id))
}

// program replaces one of the machine's programs.
func (m *machine) program(t testing.TB, name, text string) {
	t.Helper()
	bin, _, _ := strings.Cut(m.path, ":")
	write(t, filepath.Join(bin, name), "#!/bin/sh\n"+text+"\n", 0o755)
}

// systemctl answers with these blocks of properties, whatever it is asked.
func (m *machine) systemctl(t testing.TB, blocks ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "units")
	write(t, file, strings.Join(blocks, "\n\n")+"\n", 0o644)
	m.program(t, "systemctl", "cat "+file)
}

// justNow ignores what moves from one run to the next; tests look at it themselves.
var justNow = cmpopts.IgnoreFields(fact.Unit{}, "StartedTime", "Age")

func TestUnitsInTrouble(t *testing.T) {
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) { testUnitsInTrouble(t, newMachine(t, shell)) })
	}
}

func testUnitsInTrouble(t *testing.T, m *machine) {
	now := uptime(t)
	ago := func(ticks int) string { return strconv.Itoa((now-ticks)*10000 + 1234) } // µs
	m.program(t, "journalctl", `for unit; do :; done
case "$*" in *"_SYSTEMD_INVOCATION_ID=0a1b + INVOCATION_ID=0a1b") unit=its-last-run ;; esac
case $unit in
looping.service) echo 'of the run before, which went well' ;;
failed.service) printf '%b\n' 'Started failed.service - A service.' '\033[31mred\033[0m	tab' 'failed.service: Main process exited, code=exited, status=203/EXEC' 'failed.service: Failed to locate executable /usr/local/bin/failed: No such file or directory' ;;
its-last-run) i=0; while [ $i -lt 30 ]; do i=$((i + 1)); echo "line $i"; done; printf 'E1121 "command failed" err="unknown flag: --no-such-flag" \000\001\377日本\n\n' ;;
starting.service) printf '%s\n' 'starting.service: Scheduled restart job, restart counter is at 1.' ;;
healthy.service | once.service) echo 'nobody asked' ;;
flapping.service) head -c 3000 /dev/zero | tr '\000' x; echo ;;
esac`)
	m.systemctl(t,
		"ActiveState=active\nLoadState=loaded\nSubState=running\nUnitFileState=enabled\nMainPID=812\nNRestarts=5\nResult=success\nExecMainCode=0\nExecMainStatus=0\nExecMainStartTimestampMonotonic="+ago(50000),
		"LoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=enabled\nMainPID=0\nNRestarts=7\nResult=exit-code\nExecMainCode=1\nExecMainStatus=203\nExecMainStartTimestampMonotonic="+ago(90000),
		"LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nUnitFileState=enabled\nMainPID=0\nNRestarts=12\nResult=exit-code\nExecMainCode=1\nExecMainStatus=1\nInvocationID=0a1b\nExecMainStartTimestampMonotonic="+ago(300),
		"LoadState=loaded\nActiveState=activating\nSubState=start\nUnitFileState=enabled\nMainPID=77\nNRestarts=1\nResult=success\nExecMainCode=0\nExecMainStatus=0\nExecMainStartTimestampMonotonic="+ago(100),
		"LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nMainPID=99\nNRestarts=3\nResult=success\nExecMainCode=0\nExecMainStatus=0\nExecMainStartTimestampMonotonic="+ago(200),
		"LoadState=loaded\nActiveState=inactive\nSubState=dead\nUnitFileState=disabled\nMainPID=0\nNRestarts=0\nResult=success\nExecMainCode=1\nExecMainStatus=0\nExecMainStartTimestampMonotonic=0",
		"LoadState=loaded\nActiveState=active\nSubState=exited\nUnitFileState=enabled",
		"LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nMainPID=98\nNRestarts=1\nResult=success\nExecMainStartTimestampMonotonic="+ago(200),
	)
	var queries []fact.Query
	names := []string{"healthy.service", "failed.service", "looping.service", "starting.service", "flapping.service", "stopped.service", "old.service", "once.service"}
	for _, name := range names {
		queries = append(queries, fact.Query{Kind: fact.KindUnit, Name: name})
	}
	set, err := m.probe(t, queries)
	if err != nil {
		t.Fatal(err)
	}
	id := func(ticks int) string { return bootID(t) + "/" + ago(ticks) }
	var many []string
	for i := 17; i <= 30; i++ {
		many = append(many, fmt.Sprintf("line %d", i))
	}
	many = append(many, `E1121 "command failed" err="unknown flag: --no-such-flag" 日本`)
	want := []struct {
		fact.Unit
		running  bool
		starting bool
		trouble  string
	}{
		{Unit: fact.Unit{LoadState: "loaded", ActiveState: "active", SubState: "running", UnitFileState: "enabled", MainPID: 812, NRestarts: 5, Result: "success", Started: id(50000)}, running: true},
		{Unit: fact.Unit{LoadState: "loaded", ActiveState: "failed", SubState: "failed", UnitFileState: "enabled", NRestarts: 7, Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 203, Started: id(90000),
			Log: "red tab\nfailed.service: Failed to locate executable /usr/local/bin/failed: No such file or directory"},
			trouble: "failed: exit code 203/EXEC, restarted 7 times"},
		{Unit: fact.Unit{LoadState: "loaded", ActiveState: "activating", SubState: "auto-restart", UnitFileState: "enabled", NRestarts: 12, Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 1, Started: id(300),
			Log: strings.Join(many, "\n")},
			trouble: "crashes: exit code 1, restarted 12 times"},
		{Unit: fact.Unit{LoadState: "loaded", ActiveState: "activating", SubState: "start", UnitFileState: "enabled", MainPID: 77, NRestarts: 1, Result: "success", Started: id(100),
			Log: "starting.service: Scheduled restart job, restart counter is at 1."}, starting: true},
		{Unit: fact.Unit{LoadState: "loaded", ActiveState: "active", SubState: "running", UnitFileState: "enabled", MainPID: 99, NRestarts: 3, Result: "success", Started: id(200),
			Log: strings.Repeat("x", 500) + "…"}, running: true, trouble: "runs, but not for long: restarted 3 times"},
		{Unit: fact.Unit{LoadState: "loaded", ActiveState: "inactive", SubState: "dead", UnitFileState: "disabled", Result: "success", ExecMainCode: 1}},
		{Unit: fact.Unit{LoadState: "loaded", ActiveState: "active", SubState: "exited", UnitFileState: "enabled"}, running: true},
		{Unit: fact.Unit{LoadState: "loaded", ActiveState: "active", SubState: "running", UnitFileState: "enabled", MainPID: 98, NRestarts: 1, Result: "success", Started: id(200)}, running: true},
	}
	for i, name := range names {
		got, err := set.Unit(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[i].Unit, got, justNow); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.Running() != want[i].running || got.Starting() != want[i].starting || got.Trouble() != want[i].trouble {
			t.Errorf("%s: running %v, starting %v, trouble %q", name, got.Running(), got.Starting(), got.Trouble())
		}
	}
	healthy, err := set.Unit("healthy.service")
	if err != nil {
		t.Fatal(err)
	}
	if off := time.Since(healthy.StartedTime) - 500*time.Second; off < -5*time.Second || off > 5*time.Second {
		t.Errorf("a process that began 500 s ago is said to have begun at %v", healthy.StartedTime)
	}
	if off := healthy.Age - 500*time.Second; off < -time.Second || off > 5*time.Second {
		t.Errorf("a process that began 500 s ago is said to be %v old", healthy.Age)
	}
}

// Healthy units cost one systemctl for all of them and nothing else; a journal
// that hangs costs its patience once.
func TestHealthyUnitsCostNothing(t *testing.T) {
	m := newMachine(t, shells(t)["sh"])
	m.program(t, "journalctl", "echo called")
	block := "LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=0\nExecMainStartTimestampMonotonic=5"
	m.systemctl(t, block, block)
	queries := []fact.Query{{Kind: fact.KindUnit, Name: "a.service"}, {Kind: fact.KindUnit, Name: "b.service"}}
	out := string(m.run(t, m.script(t, queries)))
	if strings.Contains(out, "\nlog.") {
		t.Errorf("the log of a healthy unit came:\n%s", out)
	}

	m.program(t, "timeout", `case $* in *journalctl*) echo so far; exit 124 ;; esac; shift 3; exec "$@"`) // as if that was all that came in time
	failed := "LoadState=loaded\nActiveState=failed\nSubState=failed"
	m.systemctl(t, failed, failed)
	set, err := m.probe(t, queries)
	if err != nil {
		t.Fatal(err)
	}
	for name, log := range map[string]string{"a.service": "so far", "b.service": ""} {
		if unit, err := set.Unit(name); err != nil || unit.Log != log || unit.Trouble() != "failed" {
			t.Errorf("%s: got %+v, %v, want the log %q", name, unit, err, log)
		}
	}
}

// podMachine is a machine with a kubelet's directory of logs and a /proc of its own.
type podMachine struct {
	*machine
	logs, processes string
}

func newPodMachine(t testing.TB, shell []string) *podMachine {
	t.Helper()
	m := newMachine(t, shell)
	return &podMachine{machine: m, logs: filepath.Join(m.root, "pods"), processes: filepath.Join(m.root, "proc")}
}

// process is a process in the cgroup of a pod.
func (m *podMachine) process(t testing.TB, pid int, comm, state, cgroup string, began int) {
	t.Helper()
	dir := filepath.Join(m.processes, strconv.Itoa(pid))
	write(t, filepath.Join(dir, "cgroup"), cgroup+"\n", 0o644)
	write(t, filepath.Join(dir, "stat"), fmt.Sprintf("%d (%s) %s 1 1 1 0 -1 4194560 1 0 0 0 1 2 3 4 20 0 9 0 %d 1 2 3\n", pid, comm, state, began), 0o644)
}

// log is a container's log, written so long ago.
func (m *podMachine) log(t testing.TB, path, text string, ago time.Duration) {
	t.Helper()
	path = filepath.Join(m.logs, path)
	if text == "" { // a directory
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	} else {
		write(t, path, text, 0o640)
	}
	at := time.Now().Add(-ago)
	for p := path; p != m.logs; p = filepath.Dir(p) {
		if info, err := os.Stat(p); err != nil || p != path && info.ModTime().Before(at) {
			continue
		}
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *podMachine) probe(t testing.TB, queries []fact.Query) (fact.Set, error) {
	t.Helper()
	before := listing(t, m.root)
	text := strings.NewReplacer("pod_logs=/var/log/pods\n", "pod_logs="+m.logs+"\n", "processes=/proc\n", "processes="+m.processes+"\n").Replace(m.script(t, queries))
	out := m.run(t, text)
	if diff := cmp.Diff(before, listing(t, m.root)); diff != "" {
		t.Errorf("the probe changed the host (-before +after):\n%s", diff)
	}
	return Parse(out, queries)
}

func TestStaticPods(t *testing.T) {
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) { testStaticPods(t, newPodMachine(t, shell)) })
	}
}

func testStaticPods(t *testing.T, m *podMachine) {
	now := uptime(t)
	uid := func(c string) string { return strings.Repeat(c, 32) }
	slice := func(uid, container string) string {
		return "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid + ".slice/cri-containerd-" + container + ".scope"
	}
	line := func(s string) string { return "2026-11-21T15:04:45.123456789Z stderr F " + s + "\n" }
	query := func(name string) fact.Query {
		return fact.Query{Kind: fact.KindStaticPod, Name: name, Args: []string{"kube-system", "emei"}}
	}

	// Runs as it should; the pod of the manifest before has left its log.
	m.log(t, "kube-system_kube-apiserver-emei_"+uid("a")+"/kube-apiserver/0.log", line("old"), time.Hour)
	m.log(t, "kube-system_kube-apiserver-emei_"+uid("b")+"/kube-apiserver/2.log", line("new"), time.Second)
	m.process(t, 100, "pause", "S", slice(uid("b"), "00"), now-90000)
	m.process(t, 101, "kube-apiserver", "S", slice(uid("b"), "01"), now-80000)
	m.process(t, 1009, "sh) S (x", "S", slice(uid("b"), "01"), now-100) // a probe inside the container, with a trap for a name
	m.process(t, 7, "kube-apiserver", "Z", slice(uid("b"), "01"), now-90000)
	m.process(t, 8, "etcd", "S", "0::/system.slice/etcd.service", now-90000)
	// Crashes: the log of its last attempt.
	m.log(t, "kube-system_kube-scheduler-emei_"+uid("c")+"/kube-scheduler/6.log", line("attempt 6"), time.Minute)
	m.log(t, "kube-system_kube-scheduler-emei_"+uid("c")+"/kube-scheduler/7.log",
		line("attempt 7")+"2026-11-21T15:04:46+01:00 stdout P unknown flag: --no-such-flag\n", 10*time.Second)
	m.log(t, "kube-system_kube-scheduler-emei_"+uid("c")+"/kube-scheduler/7.log.20261121-150445", line("rotated"), time.Second)
	m.process(t, 102, "pause", "S", slice(uid("c"), "00"), now-5000)
	// Was started again a moment ago, below cgroupfs and by Docker.
	m.log(t, "kube-system_kube-controller-manager-emei_"+uid("d")+"/kube-controller-manager/2.log",
		`{"log":"begin\n","stream":"stderr","time":"2026-11-21T15:04:25Z"}`+"\n"+`{"log":"it \u003cwas\u003e me\n","stream":"stderr","time":"2026-11-21T15:04:45.5Z"}`+"\n", time.Minute)
	m.log(t, "kube-system_kube-controller-manager-emei_"+uid("d")+"/kube-controller-manager/3.log", `{"log":"now\n","stream":"stderr"}`+"\n", time.Second)
	m.process(t, 103, "kube-controller", "S", "12:cpu:/kubepods/burstable/pod"+uid("d")+"/0123\n0::/kubepods/burstable/pod"+uid("d")+"/0123", now-500)
	// The same, but the one before it had run for long; its log does not say all of that.
	m.log(t, "kube-system_etcd-emei_"+uid("9")+"/etcd/1.log", "2026-11-21T10:00:00.5Z stdout F hello\n"+line("and goodbye"), time.Minute)
	m.log(t, "kube-system_etcd-emei_"+uid("9")+"/etcd/2.log", line("now"), time.Second)
	m.process(t, 104, "etcd", "S", slice(uid("9"), "01"), now-500)
	// Has another node's name, belongs to the API, or is another pod's.
	m.log(t, "kube-system_proxy-other_"+uid("e")+"/proxy/0.log", line("x"), 0)
	m.log(t, "kube-system_proxy-emei_01234567-0123-0123-0123-0123456789ab/proxy/0.log", line("x"), 0)
	// Has a sandbox and no container; the pod before it does not count any more.
	m.log(t, "kube-system_waiting-emei_"+uid("0")+"/waiting/0.log", line("before"), time.Minute)
	m.log(t, "kube-system_waiting-emei_"+uid("f"), "", time.Second)
	m.program(t, "journalctl", `case $* in *" kubelet.service") ;; *) exit 1 ;; esac
echo 'E1121 "Error syncing pod" err="ErrImageNeverPull" pod="kube-system/waiting-emei"'
echo 'E1121 "Error syncing pod" err="else" pod="kube-system/another-emei"'`)

	queries := []fact.Query{query("kube-apiserver"), query("kube-scheduler"), query("kube-controller-manager"), query("proxy"), query("waiting"), query("etcd")}
	set, err := m.probe(t, queries)
	if err != nil {
		t.Fatal(err)
	}
	id := func(pid, ticks int) string { return fmt.Sprintf("%s/%d/%d", bootID(t), pid, now-ticks) }
	for name, want := range map[string]struct {
		fact.Pod
		trouble string
	}{
		"kube-apiserver":          {Pod: fact.Pod{UID: uid("b"), Attempt: 2, PID: 101, Running: true, Started: id(101, 80000)}},
		"kube-scheduler":          {Pod: fact.Pod{UID: uid("c"), Attempt: 7, Log: "attempt 7\nunknown flag: --no-such-flag"}, trouble: "does not run: restarted 7 times"},
		"kube-controller-manager": {Pod: fact.Pod{UID: uid("d"), Attempt: 3, PID: 103, Running: true, Started: id(103, 500), Before: 20500 * time.Millisecond, Log: "begin\nit <was> me"}, trouble: "runs, but not for long: restarted 3 times"},
		"etcd":                    {Pod: fact.Pod{UID: uid("9"), Attempt: 2, PID: 104, Running: true, Started: id(104, 500), Before: 5*time.Hour + 4*time.Minute + 44*time.Second + 623456789, Log: "hello\nand goodbye"}},
		"proxy":                   {trouble: "does not run: the kubelet has not started it"},
		"waiting":                 {Pod: fact.Pod{UID: uid("f"), Log: `E1121 "Error syncing pod" err="ErrImageNeverPull" pod="kube-system/waiting-emei"`}, trouble: "does not run"},
	} {
		got, err := set.Pod(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Pod, got, cmpopts.IgnoreFields(fact.Pod{}, "StartedTime", "Age")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.Trouble() != want.trouble {
			t.Errorf("%s: trouble %q, want %q", name, got.Trouble(), want.trouble)
		}
	}
	apiserver, err := set.Pod("kube-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	if off := time.Since(apiserver.StartedTime) - 800*time.Second; off < -5*time.Second || off > 5*time.Second {
		t.Errorf("a process that began 800 s ago is said to have begun at %v", apiserver.StartedTime)
	}
}

// Before there is a kubelet, nothing is asked of anybody.
func TestStaticPodsOfABareHost(t *testing.T) {
	m := newPodMachine(t, shells(t)["sh"])
	m.program(t, "journalctl", "echo 'kube-apiserver: not to be asked'")
	set, err := m.probe(t, []fact.Query{{Kind: fact.KindStaticPod, Name: "kube-apiserver", Args: []string{"kube-system", "emei"}}})
	if err != nil {
		t.Fatal(err)
	}
	if pod, err := set.Pod("kube-apiserver"); err != nil || pod != (fact.Pod{}) {
		t.Errorf("got %+v, %v", pod, err)
	}
}

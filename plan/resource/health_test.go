package resource_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// What runs is judged as well as what is on the disk.
func TestUnitHealth(t *testing.T) {
	began := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	config := resource.File{Path: "/etc/a.conf", Content: []byte("config")}
	binary := resource.Artifact{Name: "a", SHA256: "sum", Members: []resource.Member{{To: "/usr/local/bin/a"}}}
	u := resource.Unit{Name: "a.service", Inputs: []resource.Input{config, binary}, ReloadOn: []resource.ID{config.ID()}}
	records := func(started string) map[string]fact.Record {
		return map[string]fact.Record{
			"unit:a.service":   {Started: started, Inputs: map[string]string{"file:/etc/a.conf": sha("config"), "artifact:a": "sum"}},
			"file:/etc/a.conf": {Files: map[string]string{"/etc/a.conf": sha("config")}},
			"artifact:a":       {Digest: "sum", Files: map[string]string{"/usr/local/bin/a": sha("binary")}},
		}
	}
	// The process began at 9:26:53; the files are a day older.
	type world struct {
		unit           fact.Unit
		config, binary fact.File
	}
	at := func(edit func(*world)) map[fact.Key]any {
		w := world{unit: fact.Unit{LoadState: "loaded", ActiveState: "active", SubState: "running", UnitFileState: "enabled", Result: "success", MainPID: 7, Started: "boot/2", StartedTime: began},
			config: found("config", 0o644), binary: found("binary", 0o755)}
		for _, f := range []*fact.File{&w.config, &w.binary} {
			f.MTime, f.CTime = began.AddDate(0, 0, -1), began.AddDate(0, 0, -1)
		}
		if edit != nil {
			edit(&w)
		}
		return map[fact.Key]any{unit("a.service"): w.unit, file("/etc/a.conf"): w.config, file("/usr/local/bin/a"): w.binary}
	}
	later := began.Add(time.Second)
	run(t, []diffCase{
		{name: "the process that was started, files as old as they may be", r: u, records: records("boot/2"), want: resource.NoOp,
			answers: at(func(w *world) { w.config.MTime, w.config.CTime, w.binary.CTime = later, later, later })},
		{name: "another process, of the same files", r: u, records: records("boot/1"), answers: at(nil), want: resource.NoOp},
		{name: "another process, a file written since", r: u, records: records("boot/1"), want: resource.Reload,
			answers: at(func(w *world) { w.config.MTime = later }),
			reasons: because(resource.Drift, "reload: runs since before /etc/a.conf was written")},
		{name: "another process, a program put in place since", r: u, records: records("boot/1"), want: resource.Restart,
			answers: at(func(w *world) { w.binary.CTime = later }),
			reasons: because(resource.Drift, "restart: runs since before /usr/local/bin/a was written")},
		{name: "another process, a file as somebody wrote it", r: u, records: records("boot/1"), want: resource.Reload,
			answers: at(func(w *world) { w.config.SHA256 = sha("edited") }),
			reasons: because(resource.Drift, "reload: was started with /etc/a.conf as changed on the host")},
		{name: "another process, another program", r: u, records: records("boot/1"), want: resource.Restart,
			answers: at(func(w *world) { w.binary.SHA256 = sha("theirs") }),
			reasons: because(resource.Drift, "restart: was started with /usr/local/bin/a as changed on the host")},
		{name: "a file edited under the process that was started", r: u, records: records("boot/2"), want: resource.NoOp,
			answers: at(func(w *world) { w.config.SHA256, w.config.MTime = sha("edited"), later })},
		{name: "a record of before there were processes in it", r: u, records: records(""), want: resource.NoOp,
			answers: at(func(w *world) { w.config.MTime = later })},
		{name: "a unit without a process", r: u, records: records("boot/1"), want: resource.NoOp,
			answers: at(func(w *world) {
				w.unit.Started, w.unit.StartedTime, w.config.MTime = "", time.Time{}, later
			})},
		{name: "unit file touched", r: u, records: records("boot/2"), want: resource.Update,
			answers: at(func(w *world) { w.unit.NeedDaemonReload = true }),
			reasons: because(resource.Drift, "systemd has not read its unit file again since that changed")},
		{name: "failed", r: u, records: records("boot/2"), want: resource.Create,
			answers: at(func(w *world) {
				w.unit.ActiveState, w.unit.Result, w.unit.ExecMainCode, w.unit.ExecMainStatus, w.unit.NRestarts = "failed", "exit-code", 1, 203, 7
			}),
			reasons: because(resource.Drift, "failed: exit code 203/EXEC, restarted 7 times"), fields: []resource.Field{{Name: "active", Before: "failed", After: "active"}}},
		{name: "waits to be restarted", r: u, records: records("boot/2"), want: resource.Create,
			answers: at(func(w *world) {
				w.unit.ActiveState, w.unit.SubState, w.unit.Result, w.unit.ExecMainCode, w.unit.ExecMainStatus = "activating", "auto-restart", "exit-code", 1, 1
			}),
			reasons: because(resource.Drift, "crashes: exit code 1")},
		{name: "never started well", r: u, want: resource.Create,
			answers: at(func(w *world) { w.unit.ActiveState, w.unit.SubState = "activating", "auto-restart" }),
			reasons: append(because(resource.Missing, "to be started"), because(resource.Missing, "crashes")...)},
		{name: "waits for its peers", r: u, records: records("boot/2"), want: resource.NoOp,
			answers: at(func(w *world) { w.unit.ActiveState, w.unit.SubState = "activating", "start" })},
		{name: "up again, for a moment", r: u, records: records("boot/1"), want: resource.Verify,
			answers: at(func(w *world) { w.unit.NRestarts, w.unit.Age = 3, time.Second }),
			reasons: because(resource.Drift, "runs, but not for long: restarted 3 times")},
		{name: "up again, for a moment, and to be restarted", r: u, records: map[string]fact.Record{"unit:a.service": {Inputs: map[string]string{"file:/etc/a.conf": sha("old"), "artifact:a": "sum"}}}, want: resource.Reload,
			answers: at(func(w *world) { w.unit.NRestarts, w.unit.Age = 3, time.Second }),
			reasons: append(because(resource.Follows, "reload: /etc/a.conf changes"), because(resource.Drift, "runs, but not for long: restarted 3 times")...)},
	})
}

// What is as wanted is recorded with the process that was seen, so that the next
// plan can tell it from another.
func TestUnitRecordsItsProcess(t *testing.T) {
	config := resource.File{Path: "/etc/a.conf", Content: []byte("config")}
	u := resource.Unit{Name: "a.service", Inputs: []resource.Input{config}}
	for _, started := range []string{"", "boot/1"} {
		facts := host(map[string]fact.Record{"unit:a.service": {Started: started, Inputs: map[string]string{"file:/etc/a.conf": sha("config")}}}, map[fact.Key]any{
			unit("a.service"):   fact.Unit{LoadState: "loaded", ActiveState: "active", UnitFileState: "enabled", Started: "boot/2", StartedTime: time.Now()},
			file("/etc/a.conf"): found("config", 0o644),
		})
		change, err := u.Diff(facts)
		if err != nil {
			t.Fatal(err)
		}
		want := fact.Record{Inputs: map[string]string{"file:/etc/a.conf": sha("config")}, Started: "boot/2"}
		if diff := cmp.Diff(want, change.Record); change.Action != resource.NoOp || diff != "" {
			t.Errorf("recorded %q: %s, record (-want +got):\n%s", started, change.Action, diff)
		}
	}
}

func TestStaticPodHealth(t *testing.T) {
	p := resource.StaticPod{Name: "kube-apiserver", Node: "emei", Path: "/m/a.yaml", Manifest: "pod\n"}
	wrote := map[string]fact.Record{"staticpod:/m/a.yaml": {Digest: "0600 root:root", Files: map[string]string{"/m/a.yaml": sha("pod\n")}}}
	recorded := func(change func(*fact.Record)) map[string]fact.Record {
		record := fact.Record{Digest: "0600 root:root", Files: map[string]string{"/m/a.yaml": sha("pod\n")}}
		change(&record)
		return map[string]fact.Record{"staticpod:/m/a.yaml": record}
	}
	runs := fact.Pod{UID: "1", PID: 7, Running: true, Attempt: 1, Age: time.Hour}
	at := func(manifest string, pod fact.Pod) map[fact.Key]any {
		return map[fact.Key]any{file("/m/a.yaml"): found(manifest, 0o600), {Kind: fact.KindStaticPod, Name: "kube-apiserver"}: pod}
	}
	run(t, []diffCase{
		{name: "runs", r: p, records: wrote, answers: at("pod\n", fact.Pod{UID: "1", PID: 7, Running: true, Attempt: 3, Age: time.Hour}), want: resource.NoOp},
		{name: "restarted once", r: p, records: wrote, answers: at("pod\n", fact.Pod{UID: "1", PID: 7, Running: true, Attempt: 1, Age: time.Second}), want: resource.NoOp},
		{name: "started, and not seen", r: p, records: recorded(func(r *fact.Record) { r.Unproven = true }), answers: at("pod\n", runs), want: resource.Verify,
			reasons: because(resource.Unknown, "started by an apply that ended before it was seen to work")},
		{name: "written, and not recorded", r: p, records: recorded(func(r *fact.Record) { r.Files["/m/a.yaml"] = sha("old\n") }), answers: at("pod\n", runs), want: resource.Verify,
			reasons: because(resource.Unknown, "started by an apply that ended before it was seen to work")},
		{name: "not there", r: p, records: wrote, answers: at("pod\n", fact.Pod{}), want: resource.Verify,
			reasons: because(resource.Drift, "does not run: the kubelet has not started it")},
		{name: "crashes", r: p, records: wrote, answers: at("pod\n", fact.Pod{UID: "1", Attempt: 7}), want: resource.Verify,
			reasons: because(resource.Drift, "does not run: restarted 7 times")},
		{name: "up again, for a moment", r: p, records: wrote, answers: at("pod\n", fact.Pod{UID: "1", PID: 7, Running: true, Attempt: 7, Age: time.Second, Before: time.Second}), want: resource.Verify,
			reasons: because(resource.Drift, "runs, but not for long: restarted 7 times")},
		{name: "up again after it had run for long", r: p, records: wrote, answers: at("pod\n", fact.Pod{UID: "1", PID: 7, Running: true, Attempt: 7, Age: time.Second, Before: time.Hour}), want: resource.NoOp},
		{name: "to be written anyway", r: p, records: wrote, answers: at("edited\n", fact.Pod{}), want: resource.Update,
			reasons: because(resource.Drift, "changed on the host")},
		{name: "not observed", r: p, records: wrote, answers: map[fact.Key]any{file("/m/a.yaml"): found("pod\n", 0o600)}, err: "not observed"},
	})
	change, err := p.Diff(host(wrote, at("pod\n", fact.Pod{UID: "1", Attempt: 7, Log: "one\nError: unknown flag: --no-such-flag"})))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"one", "Error: unknown flag: --no-such-flag"}, change.Log); diff != "" || !strings.Contains(change.Hint, "--no-such-flag") {
		t.Errorf("hint %q, log (-want +got):\n%s", change.Hint, diff)
	}
}

package provision

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// settled is a fleet of two hosts, the first of which keeps what is known of the
// cluster, with a file and a unit on each, all of it applied.
func settled(t *testing.T) *testFleet {
	t.Helper()
	needRoot(t)
	f := newUnlockedFleet(t, Options{}, "shaolin", "huashan")
	f.inventory.Hosts[0].Roles = []string{inventory.RoleEtcd}
	f.inventory.SSH = f.inventory.Hosts[1].SSH
	f.inventory.SSH.KnownHosts = "" // the key that it had is what counts
	f.connectAnew(t, Options{})
	for name, h := range f.hosts {
		h.program(t, "systemctl", systemctl)
		f.step(plan.Cluster, resource.Host{Name: name})
		f.member(t, name, "x\n")
	}
	e := f.executor()
	e.checks = &fakeChecks{}
	if _, err := e.Apply(t.Context(), f.survey(t)); err != nil {
		t.Fatal(err)
	}
	return f
}

// leave takes a host out of the inventory, as another run finds it.
func (f *testFleet) leave(t *testing.T, name string) {
	t.Helper()
	f.inventory.Hosts = f.inventory.Hosts[:1]
	var steps []plan.Step
	for _, s := range f.steps {
		if s.Host != name && s.Resource.ID() != (resource.Host{Name: name}).ID() {
			steps = append(steps, s)
		}
	}
	f.steps = steps
	f.connectAnew(t, Options{})
}

// A host that left the inventory is still known: it is reached where it was, its
// services stop, its files go, and then it is forgotten.
func TestHostLeaves(t *testing.T) {
	f := settled(t)
	h := f.hosts["huashan"]
	file := h.path("/etc/member.env")
	record := f.hosts["shaolin"].stateFile(t).Resources["host:huashan"].Host
	if record == nil || record.Address != h.Host || record.Port != h.Port || record.User != "root" || !strings.HasPrefix(record.HostKey, "SHA256:") {
		t.Fatalf("remembered: %+v", record)
	}
	f.leave(t, "huashan")
	delta := f.survey(t)
	want := map[plan.StepID]resource.Action{
		plan.NewStepID("huashan", "unit:member.service"):        resource.Delete,
		plan.NewStepID("huashan", resource.NewID("file", file)): resource.Delete,
		plan.NewStepID(plan.Cluster, "host:huashan"):            resource.Delete,
	}
	if diff := cmp.Diff(want, changes(delta)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	e := f.executor()
	e.checks = &fakeChecks{}
	if _, err := e.Apply(t.Context(), delta); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
	if journal := h.journal(t); journal[len(journal)-1] != "stop member.service" {
		t.Errorf("%v", journal)
	}
	if left := h.stateFile(t).Resources; len(left) > 0 {
		t.Errorf("the host still remembers %v", left)
	}
	if _, known := f.hosts["shaolin"].stateFile(t).Resources["host:huashan"]; known {
		t.Error("the host is still remembered")
	}
	f.connectAnew(t, Options{})
	if delta := f.survey(t); len(changes(delta)) > 0 || len(delta.Leaving) > 0 {
		t.Errorf("once more: %v, %v", changes(delta), delta.Leaving)
	}
}

// Plan and apply are told what is in the way of a departure, and nothing is done.
func TestHostLeavesUnreached(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(t *testing.T, f *testFleet)
		want string
	}{
		"it is off": {func(_ *testing.T, f *testFleet) { f.hosts["huashan"].Close() }, "can't be reached"},
		"another machine is there": {func(t *testing.T, f *testFleet) {
			f.remember(t, func(r *fact.HostRecord) { r.HostKey = "SHA256:" + strings.Repeat("A", 43) })
		}, "SHA256:"},
	} {
		t.Run(name, func(t *testing.T) {
			f := settled(t)
			file := f.hosts["huashan"].path("/etc/member.env")
			c.edit(t, f)
			f.leave(t, "huashan")
			p := f.plan()
			observed, err := f.Observe(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			delta := p.Diff(observed)
			said := ""
			for _, problem := range delta.Problems {
				if problem.Host == "huashan" {
					said += problem.Summary + "\n" + problem.Hint
				}
			}
			if !strings.Contains(said, c.want) || !strings.Contains(said, "-forget huashan") {
				t.Errorf("problems: %s", said)
			}
			// It is gone for good.
			p = p.Forget([]string{"huashan"})
			if observed, err = f.Observe(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			delta = p.Diff(observed)
			delta.Problems = nil
			e := f.executor()
			e.checks = &fakeChecks{}
			if _, err := e.Apply(t.Context(), delta); err != nil {
				t.Fatal(err)
			}
			if _, known := f.hosts["shaolin"].stateFile(t).Resources["host:huashan"]; known {
				t.Error("the host is still remembered")
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("something was done on a host that was to be left alone: %v", err)
			}
		})
	}
}

// remember changes what the keeper remembers of huashan.
func (f *testFleet) remember(t *testing.T, edit func(*fact.HostRecord)) {
	t.Helper()
	h := f.hosts["shaolin"]
	state := h.stateFile(t)
	edit(state.Resources["host:huashan"].Host)
	if err := os.WriteFile(h.path(fact.StatePath), state.Format(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A new host is remembered before anything is done on it, where the cluster
// lives: a run that dies leaves no host behind that nobody knows.
func TestHostsAreRememberedFirst(t *testing.T) {
	f := settled(t)
	next := newHost(t)
	next.program(t, "systemctl", systemctl)
	f.hosts["hengshan"] = next
	added := f.inventory.Hosts[1]
	added.Name, added.SSH.Port, added.SSH.KnownHosts, added.SSH.KeyFiles = "hengshan", next.Port, next.KnownHosts, []string{next.ClientKey}
	f.inventory.Hosts = append(f.inventory.Hosts, added)
	f.connectAnew(t, Options{})
	f.step(plan.Cluster, resource.Host{Name: "hengshan"})
	f.step("hengshan", resource.File{Path: next.path("/etc/x"), Content: []byte("x"), Ownership: self(t, 0o600)})
	delta := f.survey(t)
	var known bool
	e := f.executor()
	e.checks = &fakeChecks{}
	e.Notify = func(event Event) {
		if event.Kind == Started && event.Item.Step.Host == "hengshan" {
			_, known = f.hosts["shaolin"].stateFile(t).Resources["host:hengshan"]
		}
	}
	if _, err := e.Apply(t.Context(), delta); err != nil {
		t.Fatal(err)
	}
	if !known {
		t.Error("something was done on the host before it was remembered")
	}
}

// fakeRuntime is a ctr and a docker of a few lines: what runs lies in a directory,
// and one container only ends by force.
const fakeRuntime = `
case "$0 $*" in
*docker" ps "*"label=io.kubernetes.pod.uid"*) ls "$HOST/tasks" ;;
*docker" stop --time 30 "*) shift 3; for id in "$@"; do rm "$HOST/tasks/$id"; done ;;
*ctr" -n k8s.io tasks ls") echo "TASK PID STATUS"; for id in $(ls "$HOST/tasks"); do echo "$id 1 RUNNING"; done; echo "ended 2 STOPPED" ;;
*ctr" -n k8s.io tasks kill --signal TERM stubborn") ;;
*ctr" -n k8s.io tasks kill --signal "*) rm -f "$HOST/tasks/$7" ;;
*) echo "what is $0 $*?" >&2; exit 1 ;;
esac
`

// On a host that leaves, nothing that its kubelet had started runs on.
func TestContainersEnd(t *testing.T) {
	needRoot(t)
	for _, runtime := range []string{"containerd.service", plan.DockerUnit} {
		t.Run(runtime, func(t *testing.T) {
			f := newFleet(t, Options{}, "huashan")
			h := f.hosts["huashan"]
			containers := []string{"web", "pause"}
			if runtime != plan.DockerUnit {
				containers = append(containers, "stubborn")
			}
			for _, name := range containers {
				if err := os.MkdirAll(h.path("/tasks/"+name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, program := range []string{"ctr", "docker"} {
				h.program(t, program, strings.ReplaceAll(fakeRuntime, "rm ", "rm -r "))
			}
			h.program(t, "sleep", "")
			f.step("huashan", resource.Containers{Runtime: runtime})
			delta := f.everything(t)
			delta.Items[0].OwnChange().Action = resource.Delete
			f.mustApply(t, delta)
			if left, err := os.ReadDir(h.path("/tasks")); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// A member of etcd on a host that leaves is asked as all others are: whether a
// quorum stays depends on it.
func TestLeavingMembersAreAsked(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin")
	f.inventory.Hosts[0].Roles = []string{inventory.RoleEtcd}
	f.inventory.Etcd.DataDir = "/var/lib/etcd"
	observed := plan.Observed{Leaving: map[string]plan.Observation{"down": {Err: errors.New("no route to host")}}}
	for _, name := range []string{"wudang", "worker"} {
		facts := fact.NewSet(fact.Host{State: fact.State{Resources: map[string]fact.Record{}}})
		if name == "wudang" {
			facts.Host.State.Resources[plan.EtcdUnit] = fact.Record{}
			facts.Put(fact.Key{Kind: fact.KindUnit, Name: "etcd.service"}, fact.Unit{ActiveState: "active"})
		}
		observed.Leaving[name] = plan.Observation{Facts: facts}
	}
	f.admit([]plan.Departure{{Name: "wudang", HostRecord: fact.HostRecord{Address: "10.88.0.12", Port: 22}}})
	if diff := cmp.Diff([]string{"wudang"}, f.members(observed)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if url := f.etcdMember("wudang").ClientURL; url != "https://10.88.0.12:2379" {
		t.Errorf("asked at %s", url)
	}
}

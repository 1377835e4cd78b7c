package provision

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

// fakeChecks is a cluster of which a test says how it is.
type fakeChecks struct {
	mu    sync.Mutex
	asked []string
	runs  map[resource.Process]string                  // what runs now
	ill   error                                        // of before
	works func(r plan.Rollout, before processes) error // of after
	opens func(g resource.Gate) error                  // of gate
}

func (c *fakeChecks) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, what)
}

func (c *fakeChecks) processes(_ context.Context, _ plan.Rollout) (processes, error) {
	return processes{identity: c.runs}, nil
}

func (c *fakeChecks) before(_ context.Context, r plan.Rollout, _ func(string)) error {
	c.note("before " + r.Group)
	return c.ill
}

func (c *fakeChecks) after(_ context.Context, r plan.Rollout, before processes, _ func(string)) (processes, error) {
	what := "after " + r.Group
	if !before.any {
		for p, identity := range before.identity {
			what += " " + p.Name() + "=" + identity
		}
	}
	c.note(what)
	if c.works == nil {
		return processes{identity: c.runs}, nil
	}
	return processes{identity: c.runs}, c.works(r, before)
}

func (c *fakeChecks) gate(_ context.Context, g resource.Gate, _ func(string)) error {
	c.note("gate " + string(g.Kind))
	if c.opens == nil {
		return nil
	}
	return c.opens(g)
}

// turn has a step of the delta carried out in a turn.
func turnOf(delta *plan.Delta, i int) *plan.Turn {
	item := delta.Items[i]
	delta.Turns = append(delta.Turns, plan.Turn{Step: item.Step.ID(), Group: item.Step.Rollout.Group})
	return &delta.Turns[len(delta.Turns)-1]
}

func TestTurnsOneAtATimeWhereItServes(t *testing.T) {
	for name, living := range map[string]bool{"first bring-up": false, "living cluster": true} {
		t.Run(name, func(t *testing.T) {
			hosts := []string{"shaolin", "wudang", "emei"}
			f := newFleet(t, Options{}, hosts...)
			s := fakes(f)
			checks := &fakeChecks{}
			for _, host := range hosts {
				f.add(plan.Step{Host: host, Resource: named(host), Rollout: &plan.Rollout{Group: "apiserver"}})
				if !living { // all are there at a time, or the test would not end
					_, release := s.block(host)
					defer release()
				}
			}
			delta := f.everything(t)
			for i := range delta.Items {
				delta.Items[i].OwnChange().Action = resource.Update
				if living {
					turnOf(delta, i)
				}
			}
			if !living {
				go func() {
					for _, began := range s.began {
						<-began
					}
					for _, release := range s.holds() {
						release()
					}
				}()
			}
			e := f.executor()
			e.checks = checks
			if _, err := e.Apply(t.Context(), delta); err != nil {
				t.Fatal(err)
			}
			var want []string
			if living {
				for range hosts {
					want = append(want, "before apiserver", "after apiserver")
				}
			}
			if diff := cmp.Diff(want, checks.asked); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
		})
	}
}

// Where the others can't do without a member, it is not touched, and nor is
// any other of its group.
func TestTurnLeavesAnIllClusterAlone(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	s := fakes(f)
	first := f.add(plan.Step{Host: "shaolin", Resource: named("a"), Rollout: &plan.Rollout{Group: "etcd"}})
	second := f.add(plan.Step{Host: "wudang", Resource: named("b"), Rollout: &plan.Rollout{Group: "etcd"}})
	delta := f.everything(t)
	for i := range delta.Items {
		delta.Items[i].OwnChange().Action = resource.Restart
		turnOf(delta, i)
	}
	e := f.executor()
	e.checks = &fakeChecks{ill: errors.New("emei is down")}
	report, err := e.Apply(t.Context(), delta)
	if err == nil || !strings.Contains(err.Error(), "not touched") || !strings.Contains(err.Error(), "emei is down") {
		t.Errorf("Apply: %v", err)
	}
	if diff := cmp.Diff(map[plan.StepID]EventKind{first: Failed, second: Skipped}, outcomes(report)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(s.begun()) > 0 {
		t.Errorf("touched %v", s.begun())
	}
}

func TestCanDoWithout(t *testing.T) {
	well := func(names ...string) (members []cluster.MemberHealth) {
		for _, name := range names {
			members = append(members, cluster.MemberHealth{Name: name})
		}
		return members
	}
	ill := cluster.MemberHealth{Name: "emei", Problem: "connection refused"}
	for _, c := range []struct {
		name   string
		health cluster.Health
		want   bool
	}{
		{"all well", cluster.Health{Members: well("shaolin", "wudang", "emei"), Leader: "wudang"}, true},
		{"it is ill itself", cluster.Health{Members: append(well("shaolin", "wudang"), cluster.MemberHealth{Name: "shaolin", Problem: "timeout"}), Leader: "wudang"}, true},
		{"another is ill", cluster.Health{Members: append(well("shaolin", "wudang"), ill), Leader: "wudang"}, false},
		{"no leader", cluster.Health{Members: well("shaolin", "wudang", "emei")}, false},
		{"alarm", cluster.Health{Members: well("shaolin", "wudang"), Leader: "wudang", Alarms: []string{"NOSPACE on wudang"}}, false},
		{"the only one", cluster.Health{Members: []cluster.MemberHealth{{Name: "shaolin", Problem: "timeout"}}}, true},
	} {
		if got := canDoWithout(c.health, "shaolin"); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// An interrupt keeps the next member of a group from being changed; the turn
// under way is finished.
func TestTurnsInterrupted(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	s := fakes(f)
	began, release := s.block("a")
	defer release()
	first := f.add(plan.Step{Host: "shaolin", Resource: named("a"), Rollout: &plan.Rollout{Group: "etcd"}})
	second := f.add(plan.Step{Host: "wudang", Resource: named("b"), Rollout: &plan.Rollout{Group: "etcd"}})
	delta := f.everything(t)
	for i := range delta.Items {
		delta.Items[i].OwnChange().Action = resource.Restart
		turnOf(delta, i)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
		release()
	}()
	e := f.executor()
	checks := &fakeChecks{}
	e.checks = checks
	report, err := e.Apply(ctx, delta)
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("Apply: %v", err)
	}
	if diff := cmp.Diff(map[plan.StepID]EventKind{first: Finished, second: Skipped}, outcomes(report)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"before etcd", "after etcd"}, checks.asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// systemctl is a systemd of a few lines: units that were started are active,
// and log what was done to them.
const systemctl = `
run=$HOST/run/units
mkdir -p "$run"
verb=
for word in "$@"; do
	case $word in
	show) verb=show; shift; break ;;
	-*) ;;
	*) if [ -z "$verb" ]; then verb=$word; else unit=$word; fi ;;
	esac
done
case $verb in
daemon-reload | reset-failed | status | cat) exit 0 ;;
show)
	first=yes
	for word in "$@"; do
		case $word in *.service) ;; *) continue ;; esac
		if [ $first = no ]; then echo; fi
		first=no
		active=inactive
		if [ -e "$run/$word" ]; then active=active; fi
		printf 'LoadState=loaded\nActiveState=%s\nSubState=running\nUnitFileState=enabled\nNeedDaemonReload=no\nMainPID=1\n' $active
	done ;;
enable) : ;;
disable | stop) rm -f "$run/$unit"; echo "stop $unit" >>"$HOST/journal" ;;
restart | reload | reload-or-restart)
	echo "$verb $unit" >>"$HOST/journal"
	if [ -e "$HOST/broken" ]; then echo "$unit: main process exited" >&2; exit 1; fi
	: >"$run/$unit" ;;
esac
`

// journal returns what was done to the host's units so far.
func (h *testHost) journal(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(h.path("/journal"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// member is a unit with its configuration, in a group.
func (f *testFleet) member(t *testing.T, host, content string) (config resource.File, unit plan.StepID) {
	t.Helper()
	config = resource.File{Path: f.hosts[host].path("/etc/member.env"), Content: []byte(content), Ownership: self(t, 0o640)}
	written := f.step(host, config)
	return config, f.add(plan.Step{
		Host: host, Resource: resource.Unit{Name: "member.service", Inputs: []resource.Input{config}, NoBlock: true},
		After: []plan.StepID{written}, Rollout: &plan.Rollout{Group: "etcd"},
	})
}

// asked about, changed, seen: a member's file reaches its place in its turn,
// is put back when it is not seen to work, and nothing of it is recorded.
func TestTurnThatFailsPutsBackAUnitsFiles(t *testing.T) {
	needRoot(t)
	hosts := []string{"shaolin", "wudang"}
	f := newFleet(t, Options{}, hosts...)
	for _, host := range hosts {
		f.hosts[host].program(t, "systemctl", systemctl)
		f.member(t, host, "good\n")
	}
	e := f.executor()
	e.checks = &fakeChecks{}
	if _, err := e.Apply(t.Context(), f.survey(t)); err != nil {
		t.Fatal(err)
	}
	good := map[string]fact.State{}
	for _, host := range hosts {
		good[host] = f.hosts[host].stateFile(t)
	}

	f.connectAnew(t, Options{})
	f.steps = nil
	units := map[string]plan.StepID{}
	for _, host := range hosts {
		_, units[host] = f.member(t, host, "bad\n")
	}
	delta := f.survey(t)
	if len(delta.Turns) != 2 {
		t.Fatalf("turns: %+v", delta.Turns)
	}
	e = f.executor()
	holds := func(content string) (hosts int) {
		for _, h := range f.hosts {
			if h.read(t, h.path("/etc/member.env")) == content {
				hosts++
			}
		}
		return hosts
	}
	e.checks = &fakeChecks{works: func(plan.Rollout, processes) error {
		switch holds("bad\n") {
		case 0:
			return nil
		case 1:
			return errors.New("bad flag")
		}
		t.Error("the file has reached a member before its turn")
		return nil
	}}
	report, err := e.Apply(t.Context(), delta)
	if err == nil {
		t.Fatal("a member that does not work is no success")
	}
	var back *RolledBackError
	if !errors.As(err, &back) || !strings.Contains(err.Error(), "bad flag; it was rolled back, and what was there before works again") {
		t.Errorf("Apply: %v", err)
	}
	failed, skipped := "", ""
	for host, id := range units {
		switch outcomes(report)[id] {
		case Failed:
			failed = host
		case Skipped:
			skipped = host
		}
	}
	if failed == "" || skipped == "" {
		t.Fatalf("outcomes: %v", outcomes(report))
	}
	if kind := outcomes(report)[plan.NewStepID(failed, resource.File{Path: f.hosts[failed].path("/etc/member.env")}.ID())]; kind != RolledBack {
		t.Errorf("the file that was put back counts as %s", kind)
	}
	for _, host := range hosts {
		h := f.hosts[host]
		file := h.path("/etc/member.env")
		if got := h.read(t, file); got != "good\n" {
			t.Errorf("%s: the file holds %q", host, got)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: mode %v, %v", host, info.Mode(), err)
		}
		if diff := cmp.Diff(good[host], h.stateFile(t)); diff != "" {
			t.Errorf("%s: the state is not as before (-want +got):\n%s", host, diff)
		}
		if left := h.leftovers(t); len(left) > 0 {
			t.Errorf("%s: left behind %v", host, left)
		}
	}
	if info, err := os.Stat(f.hosts[failed].path(backupPath)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: backups: %v, %v", failed, info, err)
	}
	// Started, restarted with the new file, restarted with the old one; the
	// other was never touched.
	if n := len(f.hosts[failed].journal(t)); n != 3 {
		t.Errorf("%s: %v", failed, f.hosts[failed].journal(t))
	}
	if n := len(f.hosts[skipped].journal(t)); n != 1 {
		t.Errorf("%s: %v", skipped, f.hosts[skipped].journal(t))
	}
	var why string
	for _, r := range report.Results {
		if r.Kind == Skipped && r.Err != nil {
			why = r.Err.Error()
		}
	}
	if !strings.Contains(why, "a change of etcd's members before it failed") {
		t.Errorf("why the other was not begun: %q", why)
	}

	// The next plan sees a change of the inventory, not of the host's.
	f.connectAnew(t, Options{})
	for _, item := range f.survey(t).Items {
		for _, reason := range item.Change.Reasons {
			if reason.Cause == resource.Drift {
				t.Errorf("%s: %+v", item.Step.ID(), reason)
			}
		}
	}
}

// A run that dies after a member was changed and before it was seen to work
// has recorded nothing: the next one looks, and takes back what does not work.
func TestRollBackAcrossRuns(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.program(t, "systemctl", systemctl)
	f.member(t, "shaolin", "good\n")
	e := f.executor()
	e.checks = &fakeChecks{}
	if _, err := e.Apply(t.Context(), f.survey(t)); err != nil {
		t.Fatal(err)
	}
	good := h.stateFile(t)
	file := h.path("/etc/member.env")
	for i, c := range []struct {
		content string
		crash   bool // the run ends when the member has been changed
		want    string
	}{
		{"bad 1\n", true, "bad 1\n"},
		{"bad 1\n", false, "good\n"},
		{"bad 2\n", true, "bad 2\n"},
		{"bad 3\n", true, "bad 3\n"},
		{"bad 4\n", false, "good\n"},
	} {
		f.connectAnew(t, Options{})
		f.steps = nil
		f.member(t, "shaolin", c.content)
		delta := f.survey(t)
		e := f.executor()
		ctx, cancel := context.WithCancel(t.Context())
		crashed := make(chan struct{})
		e.checks = &fakeChecks{works: func(plan.Rollout, processes) error {
			if c.crash {
				close(crashed)
				<-ctx.Done() // the program is gone: nothing more happens
				runtime.Goexit()
			}
			if h.read(t, file) != "good\n" {
				return errors.New("bad flag")
			}
			return nil
		}}
		ended := make(chan error, 1)
		go func() {
			_, err := e.Apply(ctx, delta)
			ended <- err
		}()
		if c.crash {
			<-crashed
		} else if err := <-ended; err == nil || !strings.Contains(err.Error(), "works again") {
			t.Errorf("%d: Apply: %v", i, err)
		}
		cancel()
		if got := h.read(t, file); got != c.want {
			t.Errorf("%d: the file holds %q, not %q", i, got, c.want)
		}
		if diff := cmp.Diff(good, h.stateFile(t)); diff != "" {
			t.Errorf("%d: recorded without having been seen (-want +got):\n%s", i, diff)
		}
	}
	f.connectAnew(t, Options{})
	f.steps = nil
	f.member(t, "shaolin", "good\n")
	if found := changes(f.survey(t)); len(found) > 0 {
		t.Errorf("the good configuration changes %v", found)
	}
}

func TestTurnThatFailsPutsBackAManifest(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name    string
		recover bool
		want    string
	}{
		{"and heals", true, "it was rolled back, and what was there before works again"},
		{"and still fails", false, "was put back, but still: no answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, Options{}, "shaolin")
			h := f.hosts["shaolin"]
			manifest := plan.ManifestDirectory + "/kube-apiserver.yaml"
			if err := os.WriteFile(h.path(manifest), []byte("good\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			f.add(plan.Step{Host: "shaolin", Resource: resource.StaticPod{Name: "kube-apiserver", Path: manifest, Manifest: "bad " + resource.Placeholder + "\n"}, Rollout: &plan.Rollout{Group: "apiserver"}})
			delta := f.everything(t)
			found := resource.SHA256([]byte("good\n"))
			delta.Items[0].Change = &resource.Change{Action: resource.Update, Evidence: found}
			turnOf(delta, 0).Kept = []plan.KeptFile{{Step: delta.Items[0].Step.ID(), Path: manifest, Found: found}}
			e := f.executor()
			checks := &fakeChecks{
				runs: map[resource.Process]string{{Host: "shaolin", Pod: "kube-apiserver"}: "uid 1"},
				works: func(plan.Rollout, processes) error {
					if h.read(t, h.path(manifest)) == "good\n" && c.recover {
						return nil
					}
					return errors.New("no answer")
				},
			}
			e.checks = checks
			_, err := e.Apply(t.Context(), delta)
			if err == nil || !strings.Contains(err.Error(), "no answer") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Apply: %v", err)
			}
			if got := h.read(t, h.path(manifest)); got != "good\n" {
				t.Errorf("the manifest holds %q", got)
			}
			// What is waited for is another process than the one before, each time.
			want := []string{"before apiserver", "after apiserver kube-apiserver=uid 1", "after apiserver kube-apiserver=uid 1"}
			if diff := cmp.Diff(want, checks.asked); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A file that somebody else changed is neither overwritten nor put back.
func TestTurnLeavesAStaleFileAlone(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	manifest := plan.ManifestDirectory + "/kube-apiserver.yaml"
	if err := os.WriteFile(h.path(manifest), []byte("of somebody else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.add(plan.Step{Host: "shaolin", Resource: resource.StaticPod{Path: manifest, Manifest: "new\n"}, Rollout: &plan.Rollout{Group: "apiserver"}})
	delta := f.everything(t)
	found := resource.SHA256([]byte("good\n"))
	delta.Items[0].Change = &resource.Change{Action: resource.Update, Evidence: found}
	turnOf(delta, 0).Kept = []plan.KeptFile{{Step: delta.Items[0].Step.ID(), Path: manifest, Found: found}}
	e := f.executor()
	checks := &fakeChecks{}
	e.checks = checks
	if _, err := e.Apply(t.Context(), delta); !errors.Is(err, ErrStale) || strings.Contains(err.Error(), "put back") {
		t.Errorf("Apply: %v", err)
	}
	if got := h.read(t, h.path(manifest)); got != "of somebody else\n" {
		t.Errorf("the manifest holds %q", got)
	}
	if diff := cmp.Diff([]string{"before apiserver"}, checks.asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A balancer sends a member nothing new while it is changed, and clients again
// however that ends.
func TestTurnDrainsTheBalancers(t *testing.T) {
	needRoot(t)
	for name, works := range map[string]error{"it works": nil, "it does not": errors.New("no answer")} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, Options{}, "shaolin", "emei")
			balancer, h := f.hosts["emei"], f.hosts["shaolin"]
			balancer.program(t, "systemctl", systemctl)
			with := resource.File{Path: balancer.path("/etc/upstreams"), Content: []byte("shaolin\nwudang\n"), Ownership: self(t, 0o640)}
			if err := os.WriteFile(with.Path, with.Content, 0o640); err != nil {
				t.Fatal(err)
			}
			manifest := plan.ManifestDirectory + "/kube-apiserver.yaml"
			if err := os.WriteFile(h.path(manifest), []byte("good\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			f.add(plan.Step{Host: "shaolin", Resource: resource.StaticPod{Name: "kube-apiserver", Path: manifest, Manifest: "new\n"}, Rollout: &plan.Rollout{
				Group: "apiserver", Drains: []plan.Drain{{Host: "emei", Unit: "balancer.service", File: with, Without: []byte("wudang\n")}},
			}})
			delta := f.everything(t)
			found := resource.SHA256([]byte("good\n"))
			delta.Items[0].Change = &resource.Change{Action: resource.Update, Evidence: found}
			turnOf(delta, 0).Kept = []plan.KeptFile{{Step: delta.Items[0].Step.ID(), Path: manifest, Found: found}}
			e := f.executor()
			var during []string
			e.checks = &fakeChecks{works: func(plan.Rollout, processes) error {
				during = append(during, balancer.read(t, with.Path))
				if h.read(t, h.path(manifest)) == "good\n" {
					return nil
				}
				return works
			}}
			if _, err := e.Apply(t.Context(), delta); !errors.Is(err, works) {
				t.Errorf("Apply: %v", err)
			}
			want := []string{"wudang\n"}
			if works != nil { // and once more when it was put back
				want = append(want, "wudang\n")
			}
			if diff := cmp.Diff(want, during); diff != "" {
				t.Errorf("the balancer while it is looked at (-want +got):\n%s", diff)
			}
			if got := balancer.read(t, with.Path); got != string(with.Content) {
				t.Errorf("the balancer afterwards: %q", got)
			}
			if diff := cmp.Diff([]string{"reload balancer.service", "reload balancer.service"}, balancer.journal(t)); diff != "" {
				t.Errorf("reloads (-want +got):\n%s", diff)
			}
		})
	}
}

// A unit that is only enabled runs on: no other process is waited for.
func TestGoesOn(t *testing.T) {
	unit, pod := resource.Unit{Name: "kubelet.service"}, resource.StaticPod{Name: "kube-apiserver"}
	for _, c := range []struct {
		action resource.Action
		of     resource.Resource
		want   bool
	}{
		{resource.Restart, unit, false},
		{resource.Create, unit, false},
		{resource.Reload, unit, true},
		{resource.Update, unit, true},
		{resource.Update, pod, false},
	} {
		if got := goesOn(plan.Item{Step: &plan.Step{Resource: c.of}, Change: &resource.Change{Action: c.action}}); got != c.want {
			t.Errorf("%s of %T: %v", c.action, c.of, got)
		}
	}
}

// A member that was only looked at and does not work may have a copy of a version
// before: what it has is what served last, and stays.
func TestPuttingBackWhatServedLast(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	file := h.path("/etc/member.env")
	m, err := f.connect(t.Context(), "shaolin")
	if err != nil {
		t.Fatal(err)
	}
	write := func(content string) plan.KeptFile {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
		sum := resource.SHA256([]byte(content))
		return plan.KeptFile{Step: "shaolin/file:/etc/member.env", Path: file, Found: sum, Served: sum}
	}
	if err := m.keep(t.Context(), []plan.KeptFile{write("one\n")}); err != nil {
		t.Fatal(err)
	}
	two := write("two\n")
	if err := m.putBack(t.Context(), []plan.KeptFile{two}, "", ""); err != nil {
		t.Error(err)
	}
	if got := h.read(t, file); got != "two\n" {
		t.Errorf("it holds %q", got)
	}
	write("three\n") // nobody knows where that came from
	if err := m.putBack(t.Context(), []plan.KeptFile{two}, "", ""); err == nil || !strings.Contains(err.Error(), "is not what was replaced") {
		t.Errorf("another file: %v", err)
	}
}

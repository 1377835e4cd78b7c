package provision

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

// fakeGates is a cluster of which a test says how it is.
type fakeGates struct {
	mu     sync.Mutex
	asked  []string
	since  string
	ill    error                                                // of before
	answer func(g resource.Gate, since string, asked int) error // of wait
}

func (g *fakeGates) before(_ context.Context, gate resource.Gate, host string, _ func(string)) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, "before "+string(gate.Gate)+" "+host)
	return g.since, g.ill
}

func (g *fakeGates) wait(_ context.Context, gate resource.Gate, since string, _ func(string)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, strings.TrimSpace("wait "+string(gate.Gate)+" "+gate.Host+" "+since))
	if g.answer == nil {
		return nil
	}
	return g.answer(gate, since, len(g.asked))
}

func TestLaneOneAtATimeWhereItServes(t *testing.T) {
	for name, living := range map[string]bool{"first bring-up": false, "living cluster": true} {
		t.Run(name, func(t *testing.T) {
			hosts := []string{"shaolin", "wudang", "emei"}
			f := newFleet(t, Options{}, hosts...)
			s := fakes(f)
			gates := &fakeGates{}
			for _, host := range hosts {
				gate := resource.Gate{Gate: resource.GateAPIServer, Host: host, Text: "ready"}
				f.add(plan.Step{Host: host, Resource: named(host), Lane: "apiserver", Gate: &gate})
				if !living { // all are there at a time, or the test would not end
					_, release := s.block(host)
					defer release()
				}
			}
			delta := f.everything(t)
			delta.Living["apiserver"] = living
			for i := range delta.Items {
				delta.Items[i].Change.Action = resource.Update
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
			e.gates = gates
			if _, err := e.Apply(t.Context(), delta); err != nil {
				t.Fatal(err)
			}
			var want []string
			if living {
				for _, host := range s.begun() {
					want = append(want, "before apiserver "+host, "wait apiserver "+host)
				}
			}
			if diff := cmp.Diff(want, gates.asked); diff != "" {
				t.Errorf("gates, steps in the order %v (-want +got):\n%s", s.begun(), diff)
			}
		})
	}
}

// A member that does not run is started at once: the gates of the others may
// wait for nothing else.
func TestLaneStartsWhatDoesNotRun(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	s := fakes(f)
	_, release := s.block("shaolin")
	defer release()
	gates := &fakeGates{}
	gate := resource.Gate{Gate: resource.GateEtcd, Text: "healthy"}
	for _, host := range []string{"shaolin", "wudang"} {
		f.add(plan.Step{Host: host, Resource: named(host), Lane: "etcd", Gate: &gate})
	}
	delta := f.everything(t)
	delta.Living["etcd"] = true
	delta.Items[0].Change.Action = resource.Update
	go func() {
		<-s.began["shaolin"] // the lane is taken
		release()
	}()
	e := f.executor()
	e.gates = gates
	if _, err := e.Apply(t.Context(), delta); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"before etcd shaolin", "wait etcd"}, gates.asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Where the others can't do without a member, it is not touched, and nor is
// any other of its lane.
func TestLaneLeavesAnIllClusterAlone(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	s := fakes(f)
	gate := resource.Gate{Gate: resource.GateEtcd, Text: "healthy"}
	first := f.add(plan.Step{Host: "shaolin", Resource: named("a"), Lane: "etcd", Gate: &gate})
	second := f.add(plan.Step{Host: "wudang", Resource: named("b"), Lane: "etcd", Gate: &gate})
	delta := f.everything(t)
	delta.Living["etcd"] = true
	for i := range delta.Items {
		delta.Items[i].Change.Action = resource.Restart
	}
	e := f.executor()
	e.gates = &fakeGates{ill: errors.New("emei is down")}
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

// A member that is not touched has its files put back: nothing has read them.
func TestLaneGivesBackWhatIsNotTouched(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.program(t, "systemctl", systemctl)
	f.member(t, "shaolin", "good\n")
	f.mustApply(t, f.survey(t))
	f.connectAnew(t, Options{})
	f.steps = nil
	f.member(t, "shaolin", "new\n")
	e := f.executor()
	e.gates = &fakeGates{ill: errors.New("wudang is down")}
	_, err := e.Apply(t.Context(), f.survey(t))
	if err == nil || !strings.Contains(err.Error(), "wudang is down; put back "+h.path("/etc/member.env")) {
		t.Errorf("Apply: %v", err)
	}
	if got := h.read(t, h.path("/etc/member.env")); got != "good\n" {
		t.Errorf("the file holds %q", got)
	}
	if n := len(h.journal(t)); n != 1 {
		t.Errorf("journal: %v", h.journal(t))
	}
}

// An interrupt keeps the next member of a lane from being changed.
func TestLaneInterrupted(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	s := fakes(f)
	began, release := s.block("a")
	defer release()
	gate := resource.Gate{Gate: resource.GateEtcd, Text: "healthy"}
	first := f.add(plan.Step{Host: "shaolin", Resource: named("a"), Lane: "etcd", Gate: &gate})
	second := f.add(plan.Step{Host: "wudang", Resource: named("b"), Lane: "etcd", Gate: &gate})
	delta := f.everything(t)
	delta.Living["etcd"] = true
	for i := range delta.Items {
		delta.Items[i].Change.Action = resource.Restart
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
		release()
	}()
	e := f.executor()
	gates := &fakeGates{}
	e.gates = gates
	report, err := e.Apply(ctx, delta)
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("Apply: %v", err)
	}
	if diff := cmp.Diff(map[plan.StepID]EventKind{first: Finished, second: Skipped}, outcomes(report)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The step under way is finished with its gate.
	if diff := cmp.Diff([]string{"before etcd", "wait etcd"}, []string{strings.TrimSuffix(gates.asked[0], " shaolin"), gates.asked[1]}); diff != "" {
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
daemon-reload | reset-failed | status) exit 0 ;;
show)
	first=yes
	for word in "$@"; do
		case $word in *.service) ;; *) continue ;; esac
		if [ $first = no ]; then echo; fi
		first=no
		active=inactive
		if [ -e "$run/$word" ]; then active=active; fi
		printf 'LoadState=loaded\nActiveState=%s\nSubState=running\nUnitFileState=enabled\nNeedDaemonReload=no\nMainPID=1\nActiveEnterTimestampMonotonic=1\n' $active
	done ;;
enable) : ;;
disable) rm -f "$run/$unit"; echo "stop $unit" >>"$HOST/journal" ;;
restart | reload-or-restart)
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

// member is a unit with its configuration, in a lane.
func (f *testFleet) member(t *testing.T, host, content string) (config resource.File, unit plan.StepID) {
	t.Helper()
	config = resource.File{Path: f.hosts[host].path("/etc/member.env"), Content: []byte(content), Ownership: self(t, 0o640)}
	gate := resource.Gate{Gate: resource.GateEtcd, Text: "3 members healthy"}
	written := f.step(host, config)
	return config, f.add(plan.Step{
		Host: host, Resource: resource.Unit{Name: "member.service", Inputs: []resource.Input{config}, NoBlock: true},
		After: []plan.StepID{written}, Lane: "etcd", Gate: &gate,
	})
}

func TestGateThatFailsPutsBackAUnitsFiles(t *testing.T) {
	needRoot(t)
	hosts := []string{"shaolin", "wudang"}
	f := newFleet(t, Options{}, hosts...)
	for _, host := range hosts {
		f.hosts[host].program(t, "systemctl", systemctl)
		f.member(t, host, "good\n")
	}
	e := f.executor()
	e.gates = &fakeGates{}
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
	if !delta.Living["etcd"] {
		t.Fatal("the lane does not count as living")
	}
	e = f.executor()
	e.gates = &fakeGates{answer: func(_ resource.Gate, _ string, _ int) error {
		for _, host := range hosts {
			h := f.hosts[host]
			if journal := h.journal(t); h.read(t, h.path("/etc/member.env")) == "bad\n" && len(journal) > 1 {
				return errors.New("bad flag")
			}
		}
		return nil
	}}
	report, err := e.Apply(t.Context(), delta)
	if err == nil {
		t.Fatal("a gate that failed is no success")
	}
	for _, text := range []string{"3 members healthy: bad flag", "etc/member.env was put back, and the cluster is healthy again"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error lacks %q: %v", text, err)
		}
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
		info, err := os.Stat(h.path(backupPath))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: backups: %v, %v", host, info, err)
		}
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
	if !strings.Contains(why, "lane etcd has stopped") || !strings.Contains(why, "put back") {
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

// What served last is what is put back, also when a run before this one ended
// after the file was written, or between that and the end of its own gate.
func TestRollBackAcrossRuns(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.program(t, "systemctl", systemctl)
	f.member(t, "shaolin", "good\n")
	f.mustApply(t, f.survey(t))
	file := h.path("/etc/member.env")
	for i, c := range []struct {
		content string
		crash   bool // the run ends when the file has been written
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
		e.gates = &fakeGates{answer: func(resource.Gate, string, int) error {
			if h.read(t, file) != "good\n" {
				return errors.New("bad flag")
			}
			return nil
		}}
		if c.crash {
			// The file is written, and nothing else happens any more.
			e.delta, e.kept = delta, keepFor(delta)
			task, err := e.begin(t.Context(), delta.Items[0])
			if err == nil {
				err = task.carryOut(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		} else if _, err := e.Apply(t.Context(), delta); err == nil || !strings.Contains(err.Error(), "is healthy again") {
			t.Errorf("%d: Apply: %v", i, err)
		}
		if got := h.read(t, file); got != c.want {
			t.Errorf("%d: the file holds %q, not %q", i, got, c.want)
		}
	}
	f.connectAnew(t, Options{})
	f.steps = nil
	f.member(t, "shaolin", "good\n")
	if found := changes(f.survey(t)); len(found) > 0 {
		t.Errorf("the good configuration changes %v", found)
	}
}

func TestGateThatFailsPutsBackAManifest(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name    string
		recover bool
		want    string
	}{
		{"and heals", true, "was put back, and the cluster is healthy again"},
		{"and still fails", false, "was put back, but still not: no answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, Options{}, "shaolin")
			h := f.hosts["shaolin"]
			manifest := plan.ManifestDirectory + "/kube-apiserver.yaml"
			if err := os.WriteFile(h.path(manifest), []byte("good\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			gate := resource.Gate{Gate: resource.GateAPIServer, Host: "shaolin", Text: "/readyz"}
			f.add(plan.Step{Host: "shaolin", Resource: resource.StaticPod{Name: "kube-apiserver", Path: manifest, Manifest: "bad " + resource.Placeholder + "\n"}, Lane: "apiserver", Gate: &gate})
			delta := f.everything(t)
			delta.Living["apiserver"] = true
			delta.Items[0].Change = resource.Change{Action: resource.Update, Evidence: resource.SHA256([]byte("good\n"))}
			e := f.executor()
			gates := &fakeGates{since: "1700000000.5", answer: func(resource.Gate, string, int) error {
				if h.read(t, h.path(manifest)) == "good\n" && c.recover {
					return nil
				}
				return errors.New("no answer")
			}}
			e.gates = gates
			_, err := e.Apply(t.Context(), delta)
			if err == nil || !strings.Contains(err.Error(), "/readyz: no answer") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Apply: %v", err)
			}
			if got := h.read(t, h.path(manifest)); got != "good\n" {
				t.Errorf("the manifest holds %q", got)
			}
			// The first wait is for another process than the one before.
			want := []string{"before apiserver shaolin", "wait apiserver shaolin 1700000000.5", "wait apiserver shaolin"}
			if diff := cmp.Diff(want, gates.asked); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A file that somebody else changed is neither overwritten nor put back.
func TestLaneStaleFileIsLeftAlone(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	manifest := plan.ManifestDirectory + "/kube-apiserver.yaml"
	if err := os.WriteFile(h.path(manifest), []byte("of somebody else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := resource.Gate{Gate: resource.GateAPIServer, Host: "shaolin", Text: "/readyz"}
	f.add(plan.Step{Host: "shaolin", Resource: resource.StaticPod{Path: manifest, Manifest: "new\n"}, Lane: "apiserver", Gate: &gate})
	delta := f.everything(t)
	delta.Living["apiserver"] = true
	delta.Items[0].Change = resource.Change{Action: resource.Update, Evidence: resource.SHA256([]byte("good\n"))}
	e := f.executor()
	gates := &fakeGates{}
	e.gates = gates
	if _, err := e.Apply(t.Context(), delta); !errors.Is(err, ErrStale) || strings.Contains(err.Error(), "putting back") {
		t.Errorf("Apply: %v", err)
	}
	if got := h.read(t, h.path(manifest)); got != "of somebody else\n" {
		t.Errorf("the manifest holds %q", got)
	}
	if diff := cmp.Diff([]string{"before apiserver shaolin"}, gates.asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An API server that answers is not the new one until its process is another.
func TestSucceeds(t *testing.T) {
	var mu sync.Mutex
	started, served := "100.5", 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case "/readyz":
			fmt.Fprint(w, "ok")
		case "/metrics":
			fmt.Fprintf(w, "# HELP x\nprocess_start_time_seconds %s\n", started)
			if served++; served == 2 {
				started = "200.5"
			}
		}
	}))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	instance := cluster.Instance{
		Server: cluster.Server{Name: "shaolin", Address: server.Listener.Addr().String(), Dial: new(net.Dialer).DialContext},
		TLS:    &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	var said []string
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	never := func(context.Context, *x509.Certificate) error { return nil }
	err := cluster.WaitAPIServer(ctx, instance, allOf(never, succeeds(instance, "100.5")), func(text string) { said = append(said, text) })
	if err != nil {
		t.Fatal(err)
	}
	if served != 3 {
		t.Errorf("asked %d times", served)
	}
	if diff := cmp.Diff([]string{"the previous process still runs"}, said); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

package provision

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// tree lists everything below a directory with what a change would show in.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err == nil {
			found[p] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What is promised of plan: one connection and one exec a host, however much
// is asked, and not a byte changed.
func TestObserveTakesOneConnectionAndOneExecAHost(t *testing.T) {
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("host-%02d", i))
	}
	f := newUnlockedFleet(t, Options{}, names...)
	before := map[string]map[string]string{}
	for _, name := range names {
		h := f.hosts[name]
		if err := os.WriteFile(h.path("/etc/there"), []byte("as it should be\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		f.step(name, resource.File{Path: h.path("/etc/there"), Content: []byte("as it should be\n"), Ownership: self(t, 0o644)})
		for i := range 20 {
			f.step(name, resource.File{Path: h.path(fmt.Sprintf("/etc/missing-%d", i)), Content: []byte("x")})
		}
		f.step(name, resource.Directory{Path: h.path("/etc")})
		f.step(name, resource.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"})
		f.step(name, resource.Package{Name: "coreutils"})
		before[name] = tree(t, h.dir)
	}
	delta := f.survey(t)
	if n := len(delta.Unreachable); n > 0 {
		t.Errorf("%d hosts could not be observed", n)
	}
	for _, name := range names {
		h := f.hosts[name]
		counts := h.Counts()
		if counts.Connections != 1 || counts.Execs != 1 || counts.Sessions != 1 || counts.SFTP != 0 {
			t.Errorf("%s: %d connections, %d execs, %d sessions, %d SFTP sessions", name, counts.Connections, counts.Execs, counts.Sessions, counts.SFTP)
		}
		if got := delta.Observed.Hosts[name].HostKey; got != h.Fingerprint {
			t.Errorf("%s: host key %q, want %q", name, got, h.Fingerprint)
		}
		if diff := cmp.Diff(before[name], tree(t, h.dir)); diff != "" {
			t.Errorf("%s was changed by being observed:\n%s", name, diff)
		}
		found := changes(delta)
		if action, changes := found[plan.NewStepID(name, resource.NewID("file", h.path("/etc/there")))]; changes {
			t.Errorf("%s: a file that is as it should be: %s", name, action)
		}
		if action := found[plan.NewStepID(name, resource.NewID("file", h.path("/etc/missing-7")))]; action != resource.Create {
			t.Errorf("%s: a missing file: %s", name, action)
		}
	}
	if connections, execs := f.Counts(); connections != 30 || execs != 30 {
		t.Errorf("Counts() = %d, %d", connections, execs)
	}
}

// replay answers observations with what a real host said once.
type replay struct {
	mu     sync.Mutex
	answer []byte
	active int
	peak   int
	gate   chan struct{} // closed when as many as allowed are at it
	limit  int
	dialed func() int // on all hosts
	early  int        // of them, when the gate was closed
}

func (r *replay) serve(_ string, stdout, _ io.Writer) (int, bool) {
	r.mu.Lock()
	r.active++
	r.peak = max(r.peak, r.active)
	if r.active == r.limit {
		select {
		case <-r.gate:
		default:
			r.early = r.dialed()
			close(r.gate)
		}
	}
	r.mu.Unlock()
	<-r.gate
	r.mu.Lock()
	r.active--
	r.mu.Unlock()
	_, _ = stdout.Write(r.answer)
	return 0, true
}

func TestObserveManyHosts(t *testing.T) {
	const parallelism = 16
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprintf("host-%03d", i))
	}
	template := newUnlockedFleet(t, Options{}, "template")
	steps := func(f *testFleet, host string) {
		f.step(host, resource.File{Path: "/nonexistent/kinstall", Content: []byte("x")})
	}
	steps(template, "template")
	script := ""
	var answer bytes.Buffer
	template.hosts["template"].answer = func(s string, _, _ io.Writer) (int, bool) { script = s; return 0, false }
	template.survey(t)
	_, text, found := strings.Cut(template.hosts["template"].printed(), "BEGIN kinstall probe")
	if !found || script == "" {
		t.Fatalf("the probe printed %q", template.hosts["template"].printed())
	}
	// Standard error, empty here, may have been recorded before or after.
	end := strings.LastIndex(text, "\nEND ")
	line, _, _ := strings.Cut(text[end+1:], "\n")
	answer.WriteString("BEGIN kinstall probe" + text[:end+1] + line + "\n")

	f := newUnlockedFleet(t, Options{Parallelism: parallelism}, names...)
	r := &replay{answer: answer.Bytes(), gate: make(chan struct{}), limit: parallelism}
	r.dialed = func() int {
		n := 0
		for _, h := range f.hosts {
			n += h.Counts().Dials
		}
		return n
	}
	for _, name := range names {
		steps(f, name)
		f.hosts[name].answer = r.serve
	}
	delta := f.survey(t)
	if got := len(changes(delta)); got != len(names) {
		t.Errorf("%d changes on %d hosts", got, len(names))
	}
	if r.peak != parallelism || r.early != parallelism {
		t.Errorf("%d hosts were asked and %d dialled at a time, not %d", r.peak, r.early, parallelism)
	}
	if connections, execs := f.Counts(); connections != len(names) || execs != len(names) {
		t.Errorf("%d connections and %d execs for %d hosts", connections, execs, len(names))
	}
}

// A host that can't be reached is named; the rest is observed all the same.
func TestObserveNamesUnreachableHosts(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin", "wudang")
	for name, h := range f.hosts {
		f.step(name, resource.File{Path: h.path("/etc/x"), Content: []byte("x")})
	}
	f.hosts["wudang"].Close()
	release, err := f.Lock(t.Context(), []string{"shaolin", "wudang"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	observed, err := f.Observe(t.Context(), f.plan())
	if err != nil {
		t.Fatal(err)
	}
	if err := observed.Hosts["shaolin"].Err; err != nil {
		t.Error(err)
	}
	if err := observed.Hosts["wudang"].Err; err == nil || !strings.HasPrefix(err.Error(), "wudang: ") {
		t.Errorf("the error of wudang: %v", err)
	}
}

// An answer that was cut off is an error, never "absent".
func TestObserveRefusesHalfAnAnswer(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	f.step("shaolin", resource.File{Path: h.path("/etc/x"), Content: []byte("x")})
	h.answer = func(_ string, stdout, _ io.Writer) (int, bool) {
		fmt.Fprint(stdout, "BEGIN kinstall probe 1\nhost.time ok 12\n17")
		return 0, true
	}
	observed, err := f.Observe(t.Context(), f.plan())
	if err != nil {
		t.Fatal(err)
	}
	if err := observed.Hosts["shaolin"].Err; err == nil {
		t.Error("half an answer was taken for a whole one")
	}
}

// A limited plan asks etcd's members all the same, once each; and everybody
// where one of them has no data and etcd does not answer.
func TestObserveAsksForMembersLeftOut(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin", "wudang", "huashan", "hengshan")
	for i := range 2 {
		f.inventory.Hosts[i].Roles = []string{inventory.RoleEtcd}
	}
	f.inventory.Etcd.DataDir = f.hosts["shaolin"].path("/etcd") // the hosts share a file system
	for name, h := range f.hosts {
		h.program(t, "systemctl", "echo LoadState=not-found; echo ActiveState=inactive; echo SubState=dead; echo UnitFileState=; echo NeedDaemonReload=no; echo MainPID=0\n")
		f.step(name, resource.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"})
	}
	look := func(limit ...string) []string {
		t.Helper()
		f.Close()
		f.Fleet = NewFleet(f.inventory, f.authorities, Options{})
		observed, err := f.Observe(t.Context(), f.plan().Limit(limit))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for name, o := range observed.Elsewhere {
			if o.Err != nil || plan.LacksData(f.inventory, o.Facts) == (limit[0] == "hengshan") {
				t.Errorf("%s: %v", name, o.Err)
			}
			names = append(names, name)
		}
		slices.Sort(names)
		if connections, execs := f.Counts(); connections != execs || execs != len(names)+len(limit) {
			t.Errorf("%d connections, %d execs for %v and %v", connections, execs, limit, names)
		}
		return names
	}
	if diff := cmp.Diff([]string{"hengshan", "shaolin", "wudang"}, look("huashan")); diff != "" {
		t.Errorf("without data (-want +got):\n%s", diff)
	}
	if err := os.MkdirAll(filepath.Join(f.inventory.Etcd.DataDir, "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"shaolin", "wudang"}, look("hengshan")); diff != "" {
		t.Errorf("with data (-want +got):\n%s", diff)
	}
}

package provision

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/pki"
	"github.com/kinstall/kinstall/provision/sshtest"
)

// testHost is a host of a test: an SSH server whose scripts are looked at, and
// run by the machine's own /bin/sh with the host's fixed paths (its state, its
// backups, its lock, the kubelet's manifests) moved below dir.
type testHost struct {
	*sshtest.Server
	dir string
	bin string // stands first in PATH; programs of the system are replaced here

	// answer, if set, is asked first; it may block. Of a script it takes on, it
	// returns the exit code.
	answer func(script string, stdout, stderr io.Writer) (code int, taken bool)

	mu      sync.Mutex
	scripts []string
	output  bytes.Buffer // standard output and standard error of all scripts
	active  int
	peak    int
}

func newHost(t *testing.T) *testHost {
	t.Helper()
	h := &testHost{dir: t.TempDir()}
	h.bin = filepath.Join(h.dir, "bin")
	for _, dir := range []string{"bin", "var/lib", "run", "etc/kubernetes/manifests", "etc/systemd/system"} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// No timer of a test may run on the machine of the test.
	h.program(t, "systemd-run", `echo "$*" >>"$HOST/timers"`)
	h.Server = sshtest.New(t, sshtest.Options{Handler: h.serve})
	return h
}

// path returns where a path of the host lies.
func (h *testHost) path(p string) string { return h.dir + p }

// program puts a program of the host in place: a script for sh.
func (h *testHost) program(t *testing.T, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.bin, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// serve is the sshtest.Handler. Standard input is what package ssh sends: a
// line with a mark and two sizes, the script, the payload.
func (h *testHost) serve(line string, stdin io.Reader, stdout, stderr io.Writer) int {
	in := bufio.NewReader(stdin)
	header, err := in.ReadString('\n')
	var mark string
	var size, payload int
	if _, scanErr := fmt.Sscanf(header, "%s %d %d\n", &mark, &size, &payload); err != nil || scanErr != nil {
		return 125
	}
	script := make([]byte, size)
	if _, err := io.ReadFull(in, script); err != nil {
		return 125
	}
	text := string(script)
	h.mu.Lock()
	h.scripts = append(h.scripts, text)
	h.active++
	h.peak = max(h.peak, h.active)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.active--
		h.mu.Unlock()
	}()
	if h.answer != nil {
		begin := &marked{w: stdout, mark: mark + " 1\n"}
		beginErr := &marked{w: stderr, mark: mark + "\n"}
		if code, taken := h.answer(text, begin, beginErr); taken {
			_, _ = begin.Write(nil)
			_, _ = beginErr.Write(nil)
			go func() { _, _ = io.Copy(io.Discard, in) }()
			return code
		}
	}
	moved := strings.NewReplacer(
		"/var/lib/kinstall", h.path("/var/lib/kinstall"),
		lockPath, h.path(lockPath),
		"/etc/kubernetes", h.path("/etc/kubernetes"),
		"/etc/hostname", h.path("/etc/hostname"),
		"/etc/systemd/system/", h.path("/etc/systemd/system/"),
		"/proc/sys/", h.path("/proc/sys/"),
		"PATH=/usr/local/sbin:", "PATH="+h.bin+":/usr/local/sbin:",
	).Replace(text)
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir = h.dir
	cmd.Env = []string{"PATH=" + h.bin + ":" + os.Getenv("PATH"), "HOME=" + h.dir, "HOST=" + h.dir}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(stdout, &locked{h}), io.MultiWriter(stderr, &locked{h})
	pipe, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return 127
	}
	go func() {
		defer pipe.Close()
		fmt.Fprintf(pipe, "%s %d %d\n%s", mark, len(moved), payload, moved)
		_, _ = io.Copy(pipe, in)
	}()
	var exit *exec.ExitError
	switch err := cmd.Wait(); {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	return 255
}

// marked writes the mark that says that a script has begun before anything else.
type marked struct {
	w    io.Writer
	mark string
}

func (m *marked) Write(b []byte) (int, error) {
	if m.mark != "" {
		if _, err := io.WriteString(m.w, m.mark); err != nil {
			return 0, err
		}
		m.mark = ""
	}
	return m.w.Write(b)
}

type locked struct{ h *testHost }

func (l *locked) Write(b []byte) (int, error) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	return l.h.output.Write(b)
}

// ran returns the scripts that were run so far.
func (h *testHost) ran() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.scripts...)
}

// printed returns all that scripts wrote so far.
func (h *testHost) printed() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.output.String()
}

func (h *testHost) read(t *testing.T, p string) string {
	t.Helper()
	data, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// stateFile returns the state on the host's disk.
func (h *testHost) stateFile(t *testing.T) fact.State {
	t.Helper()
	data, err := os.ReadFile(h.path(fact.StatePath))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	state, err := fact.ParseState(data)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// leftovers lists temporary files anywhere on the host.
func (h *testHost) leftovers(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(h.dir, func(p string, _ os.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(p), ".kinstall.") || strings.HasSuffix(p, ".new") {
			found = append(found, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// testFleet is a fleet of testHosts and what is needed to work on it.
type testFleet struct {
	*Fleet
	hosts       map[string]*testHost
	inventory   *inventory.Inventory
	authorities *pki.Store
	steps       []plan.Step
	unlock      func()
}

// newFleet is a fleet that holds all locks, as apply does.
func newFleet(t *testing.T, options Options, names ...string) *testFleet {
	t.Helper()
	f := newUnlockedFleet(t, options, names...)
	f.lockAll(t)
	return f
}

// newUnlockedFleet is a fleet that has not dialled yet.
func newUnlockedFleet(t *testing.T, options Options, names ...string) *testFleet {
	t.Helper()
	store, err := pki.Open(filepath.Join(t.TempDir(), "pki"), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &testFleet{hosts: map[string]*testHost{}, authorities: store}
	f.inventory = &inventory.Inventory{Cluster: inventory.Cluster{Name: "wuxia"}}
	for _, name := range names {
		h := newHost(t)
		f.hosts[name] = h
		f.inventory.Hosts = append(f.inventory.Hosts, inventory.Host{
			Name: name, Address: netip.MustParseAddr(h.Host),
			SSH: inventory.SSH{User: "root", Port: h.Port, KeyFiles: []string{h.ClientKey}, KnownHosts: h.KnownHosts, Timeout: 10 * time.Second},
		})
	}
	f.Fleet = NewFleet(f.inventory, store, options)
	t.Cleanup(func() { f.Close() })
	return f
}

// connectAnew is another run of the program: nothing is remembered but by the hosts.
func (f *testFleet) connectAnew(t *testing.T, options Options) {
	t.Helper()
	f.Close()
	f.Fleet = NewFleet(f.inventory, f.authorities, options)
	f.lockAll(t)
}

func (f *testFleet) lockAll(t *testing.T) {
	t.Helper()
	var names []string
	for _, host := range f.inventory.Hosts {
		names = append(names, host.Name)
	}
	var err error
	if f.unlock, err = f.Lock(t.Context(), names, "apply"); err != nil {
		t.Fatal(err)
	}
}

// step adds a step to the fleet's plan.
func (f *testFleet) step(host string, r resource.Resource, after ...plan.StepID) plan.StepID {
	return f.add(plan.Step{Host: host, Resource: r, After: after})
}

func (f *testFleet) add(s plan.Step) plan.StepID {
	f.steps = append(f.steps, s)
	return s.ID()
}

func (f *testFleet) plan() *plan.Plan { return &plan.Plan{Inventory: f.inventory, Steps: f.steps} }

// survey observes and compares.
func (f *testFleet) survey(t *testing.T) *plan.Delta {
	t.Helper()
	p := f.plan()
	observed, err := f.Observe(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	delta := p.Diff(observed)
	for host, err := range delta.Unreachable {
		t.Fatalf("%s: %v", host, err)
	}
	// What the test's own machine lacks for a cluster is not the matter here.
	delta.Problems = nil
	return delta
}

// everything is a delta in which each step creates its resource, of hosts that
// were not looked at: for tests of the executor alone.
func (f *testFleet) everything(t *testing.T) *plan.Delta {
	t.Helper()
	p := f.plan()
	delta := &plan.Delta{Plan: p, Observed: plan.Observed{Hosts: map[string]plan.Observation{}}}
	for _, s := range p.Steps {
		delta.Items = append(delta.Items, plan.Item{Step: &s, Change: &resource.Change{Action: resource.Create, Record: fact.Record{Digest: "done"}}})
	}
	for name := range f.hosts {
		if _, err := f.connect(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	return delta
}

func (f *testFleet) executor() *Executor {
	return &Executor{Fleet: f.Fleet, Authorities: f.authorities}
}

// mustApply applies a delta of which everything succeeds.
func (f *testFleet) mustApply(t *testing.T, delta *plan.Delta) *Report {
	t.Helper()
	report, err := f.executor().Apply(t.Context(), delta)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return report
}

// changes maps each step that changes something to its action.
func changes(delta *plan.Delta) map[plan.StepID]resource.Action {
	found := map[plan.StepID]resource.Action{}
	for _, item := range delta.Items {
		if item.Change.Changes() {
			found[item.Step.ID()] = item.Change.Action
		}
	}
	return found
}

// outcomes maps each step of a report to how it ended.
func outcomes(report *Report) map[plan.StepID]EventKind {
	found := map[plan.StepID]EventKind{}
	for _, r := range report.Results {
		found[r.Item.Step.ID()] = r.Kind
	}
	return found
}

// self owns what tests make: with it, tests need not be root.
func self(t *testing.T, mode uint32) resource.Ownership {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return resource.Ownership{Mode: mode, Owner: u.Username, Group: g.Name}
}

// needRoot skips tests of what is always given to root: the hosts' states,
// certificates, binaries.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can give files to root")
	}
}

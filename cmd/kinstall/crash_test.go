package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/provision"
)

// wantTrace checks that a panic was told in one line, which names a private
// file with the trace, and returns that file's content.
func wantTrace(t *testing.T, th *theater, code int) string {
	t.Helper()
	if code != exitPanic {
		t.Errorf("exit code %d, want %d", code, exitPanic)
	}
	said := strings.TrimSuffix(th.err.String(), "\n")
	lines := strings.Split(said, "\n")
	last := lines[len(lines)-1]
	if n := strings.Count(said, "a fault of kinstall"); n != 1 {
		t.Errorf("told %d times:\n%s", n, said)
	}
	if strings.Contains(said, "goroutine") {
		t.Errorf("a stack is on the screen:\n%s", said)
	}
	found := regexp.MustCompile(`; its trace is in (/\S+)$`).FindStringSubmatch(last)
	if found == nil {
		t.Fatalf("no file is named: %s", last)
	}
	info, err := os.Stat(found[1])
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o", info.Mode().Perm())
	}
	trace, err := os.ReadFile(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(trace)
}

// TestPanicIsOneLine: a panic is no "changes pending", and no page of stacks.
func TestPanicIsOneLine(t *testing.T) {
	th := newTheater(t)
	th.load = func(string, inventory.Options) (*inventory.Inventory, *inventory.Lock, hcl.Diagnostics) {
		panic("a value\x1b[2J of\nthe inventory " + strings.Repeat("x", 10_000))
	}
	code := th.run("plan", "lab.hcl", "-detailed-exitcode", "-var", "password=open sesame")
	trace := wantTrace(t, th, code)
	if !strings.Contains(trace, "crash_test.go") || !strings.Contains(trace, "panic: a value") {
		t.Errorf("trace:\n%s", trace)
	}
	if strings.Contains(trace, "sesame") {
		t.Error("the trace has the value of a variable")
	}
	if said := th.err.String(); len(said) > 600 || strings.Contains(said, "\x1b") {
		t.Errorf("stderr: %q", said)
	}
}

// TestPanicWithoutCache: where the cache directory can't be written, the trace
// goes to the temporary files.
func TestPanicWithoutCache(t *testing.T) {
	th := newTheater(t)
	write(t, "file", "")
	th.console.environ = append(th.console.environ, "XDG_CACHE_HOME="+filepath.Join(filepath.Dir(mustAbs(t, "file")), "file", "below"))
	t.Setenv("TMPDIR", t.TempDir())
	th.load = func(string, inventory.Options) (*inventory.Inventory, *inventory.Lock, hcl.Diagnostics) { panic("oh") }
	wantTrace(t, th, th.run("validate", "lab.hcl"))
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// TestPanicOfAStep: the report is printed, and the program's fault is told.
func TestPanicOfAStep(t *testing.T) {
	th := newTheater(t)
	th.fleet.apply = failFirst(provision.Recover(func() error { panic(errors.New("a step's")) }))
	code := th.run("apply", "lab.hcl", "-yes")
	wantTrace(t, th, code)
	if !strings.Contains(th.err.String(), "1 failed") {
		t.Errorf("no report:\n%s", th.err.String())
	}
}

// TestPanicWhileObserving: a fault is not an unreachable host.
func TestPanicWhileObserving(t *testing.T) {
	th := newTheater(t)
	th.fleet.observe = func(context.Context) error {
		th.fleet.observed.Hosts["emei"] = plan.Observation{Err: provision.Recover(func() error { panic("observing") })}
		return nil
	}
	wantTrace(t, th, th.run("plan", "lab.hcl"))
}

// TestPanicInTheBackground: one that no error can tell of ends the program at
// once, whatever else is waited for.
func TestPanicInTheBackground(t *testing.T) {
	th := newTheater(t)
	hang := make(chan struct{})
	defer close(hang)
	th.fleet.apply = func(context.Context, *plan.Delta, func(provision.Event)) (*provision.Report, error) {
		var fault *provision.PanicError
		errors.As(provision.Recover(func() error { panic("keeping a lock") }), &fault)
		th.options.Fault(fault)
		th.options.Fault(fault)
		<-hang
		return nil, nil
	}
	code := th.run("apply", "lab.hcl", "-yes")
	trace := wantTrace(t, th, code)
	if !strings.Contains(trace, "panic: keeping a lock") || !strings.Contains(th.err.String(), "may be half done") {
		t.Errorf("trace: %s\nstderr: %s", trace, th.err.String())
	}
}

// TestSignalWhileLoading: nothing can be half done, so that one signal ends
// whatever the program is busy with.
func TestSignalWhileLoading(t *testing.T) {
	for _, command := range [][]string{{"validate", "lab.hcl"}, {"plan", "lab.hcl"}, {"apply", "lab.hcl", "-yes"}, {"kubeconfig", "lab.hcl"}} {
		for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
			th := newTheater(t)
			hang := make(chan struct{})
			th.load = func(string, inventory.Options) (*inventory.Inventory, *inventory.Lock, hcl.Diagnostics) {
				th.signals <- sig
				<-hang
				return nil, nil, nil
			}
			if code := th.run(command...); code != exitInterrupted {
				t.Errorf("%v: exit code %d", command, code)
			}
			if got := th.err.String(); got != "Interrupted; nothing was changed.\n" {
				t.Errorf("%v: stderr: %q", command, got)
			}
		}
	}
}

// TestSecondSignalWhileObserving: no step runs, and none is spoken of.
func TestSecondSignalWhileObserving(t *testing.T) {
	th := newTheater(t)
	hang := make(chan struct{})
	th.fleet.observe = func(ctx context.Context) error {
		th.signals <- os.Interrupt
		<-ctx.Done()
		th.signals <- os.Interrupt
		<-hang
		return nil
	}
	if code := th.run("plan", "lab.hcl"); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if got := th.err.String(); strings.Contains(got, "half done") || !strings.Contains(got, "Aborted") {
		t.Errorf("stderr: %q", got)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// paged is a theater on a terminal whose pager marks what goes through it.
func paged(t *testing.T, pager string) *theater {
	th := newTheater(t)
	th.console.outTerminal = true
	th.console.size = func() (int, int, error) { return 80, 24, nil }
	th.console.environ = append(th.console.environ, "PATH="+os.Getenv("PATH"), "NO_COLOR=1", "PAGER="+pager)
	th.fleet.apply = succeed
	return th
}

func TestPager(t *testing.T) {
	const mark = `echo "paged with $LESS"; cat`
	for _, s := range []struct {
		name, pager string
		setup       func(*theater)
		args        []string
		want        bool
	}{
		{name: "plan", pager: mark, args: []string{"plan", "lab.hcl"}, want: true},
		{name: "asking", pager: mark, setup: answer("yes\n"), args: []string{"apply", "lab.hcl"}, want: true},
		{name: "not asking", pager: mark, args: []string{"apply", "lab.hcl", "-yes"}},
		{name: "not wanted", pager: mark, args: []string{"plan", "lab.hcl", "-no-pager"}},
		{name: "json", pager: mark, args: []string{"plan", "lab.hcl", "-json"}},
		{name: "no terminal", pager: mark, setup: func(th *theater) { th.console.outTerminal = false }, args: []string{"plan", "lab.hcl"}},
		{name: "dumb terminal", pager: mark, setup: func(th *theater) { th.console.environ = append(th.console.environ, "TERM=dumb") }, args: []string{"plan", "lab.hcl"}},
		{name: "none", pager: "", args: []string{"plan", "lab.hcl"}},
		{name: "not installed", pager: "no-such-pager", args: []string{"plan", "lab.hcl"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			th := paged(t, s.pager)
			if s.setup != nil {
				s.setup(th)
			}
			if code := th.run(s.args...); code != exitOK {
				t.Fatalf("exit code %d: %s", code, th.err.String())
			}
			if got := strings.Contains(th.out.String(), "paged with FRX\n"); got != s.want {
				t.Errorf("through the pager: %v, want %v\n%s", got, s.want, th.out.String())
			}
			if !strings.Contains(th.out.String(), "kinstall.conf") {
				t.Errorf("no plan is shown:\n%s", th.out.String())
			}
		})
	}
}

// TestSignalsWhilePaging: Ctrl-C is the pager's, SIGTERM the program's.
func TestSignalsWhilePaging(t *testing.T) {
	for sig, want := range map[os.Signal]int{os.Interrupt: exitOK, syscall.SIGTERM: exitInterrupted} {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		th := paged(t, "cat >/dev/null; cat "+fifo)
		th.signals = make(chan os.Signal) // what was sent is being handled
		codes := make(chan int, 1)
		go func() { codes <- th.run("plan", "lab.hcl") }()
		held, err := os.OpenFile(fifo, os.O_WRONLY, 0) // once the pager runs
		if err != nil {
			t.Fatal(err)
		}
		th.signals <- sig
		if want == exitInterrupted {
			if code := <-codes; code != want {
				t.Errorf("%v: exit code %d", sig, code)
			}
		}
		held.Close() // the pager ends
		if want == exitOK {
			if code := <-codes; code != want {
				t.Errorf("%v: exit code %d: %s", sig, code, th.err.String())
			}
		}
	}
}

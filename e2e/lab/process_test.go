package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestParseProcStat(t *testing.T) {
	const tail = " S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 2387968 200"
	for _, name := range []string{"(sh)", "(a b)", "(evil) Z 1)"} {
		state, start, err := parseProcStat("42 " + name + tail)
		if err != nil || state != 'S' || start != 987654 {
			t.Errorf("%s: state %c, start %d, error %v", name, state, start, err)
		}
	}
	for _, line := range []string{"", "42 (sh)", "42 sh S 1"} {
		if _, _, err := parseProcStat(line); err == nil {
			t.Errorf("%q: no error", line)
		}
	}
}

func TestProcess(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	defer func() { _ = cmd.Process.Kill(); <-ended }()

	_, start, err := procStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pid")
	if _, err := readProcess(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no pid file: error %v", err)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, "%d %d\n", cmd.Process.Pid, start), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := readProcess(file)
	if err != nil {
		t.Fatal(err)
	}

	// The pid now belongs to another process: it must be left alone.
	before := process{p.PID, p.Start - 1}
	if before.alive() {
		t.Error("a process that has the pid of an earlier one is taken for it")
	}
	if err := before.signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if !p.alive() {
		t.Fatal("another process was ended")
	}

	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-ended
	if p.alive() {
		t.Error("still alive after SIGKILL")
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Errorf("signal to a process that is gone: %v", err)
	}
}

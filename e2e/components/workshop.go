package components

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// workshop is where one piece is built: a folder for work that is thrown away
// afterwards, and one for the files of the piece.
type workshop struct {
	dir   string
	files string
	log   io.Writer // what the commands say
}

// lay makes the folders, those of the files to come included.
func (w *workshop) lay(files []File) error {
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		for _, name := range []string{f.Path, f.Checksum} {
			if err := os.MkdirAll(filepath.Dir(w.file(name)), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

// file returns where a file of the piece belongs, given its path in the mirror.
func (w *workshop) file(path string) string {
	return filepath.Join(w.files, filepath.FromSlash(path))
}

// mkdir makes a folder for work.
func (w *workshop) mkdir(name string) (string, error) {
	dir := filepath.Join(w.dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// errorLines is how much of a failed command's output its error carries; the
// log has all of it.
const errorLines = 30

// killDelay is how long a cancelled command has to end before it is killed.
const killDelay = 10 * time.Second

// command is one program to run.
type command struct {
	dir  string
	env  []string // added to the environment
	argv []string
}

// run runs a command and returns its standard output. Both outputs go to the
// log as well. When ctx ends, the command's whole process group is sent TERM.
func (w *workshop) run(ctx context.Context, c command) ([]byte, error) {
	fmt.Fprintf(w.log, "+ %s\n", strings.Join(c.argv, " "))
	var stdout, both bytes.Buffer
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	// Two goroutines copy the two outputs.
	shared := &lockedWriter{w: io.MultiWriter(w.log, &both)}
	cmd.Stdout = io.MultiWriter(&stdout, shared)
	cmd.Stderr = shared
	// go and apt-get start children that a signal to them alone would orphan.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	if err := cmd.Run(); err != nil {
		name := strings.Join(c.argv[:min(2, len(c.argv))], " ")
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", name, ctx.Err())
		}
		if tail := lastLines(both.String(), errorLines); tail != "" {
			return nil, fmt.Errorf("%s: %w:\n%s", name, err, tail)
		}
		if errors.Is(err, exec.ErrNotFound) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return stdout.Bytes(), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// lockedWriter lets several goroutines write to one writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

package signer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kinstall/kinstall/plan/inventory"
)

// command runs a program for each certificate: the request in PEM on its
// standard input, certificates in PEM on its standard output.
type command struct {
	argv    []string
	dir     string // of the inventory: where it runs, and what relative paths begin at
	timeout time.Duration
}

func newCommand(s *inventory.Signer) (*command, error) {
	c := &command{argv: s.Command, dir: s.Dir, timeout: s.Timeout}
	program := c.argv[0]
	if strings.Contains(program, "/") && !filepath.IsAbs(program) {
		program = filepath.Join(c.dir, program)
	}
	if _, err := exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	return c, nil
}

func (c *command) String() string { return "command " + strconv.Quote(c.argv[0]) }

// Sign implements Signer. The program's process group is killed when its time is
// up or it says too much, so that nothing it started holds up the answer.
func (c *command) Sign(ctx context.Context, r Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "KINSTALL_AUTHORITY="+r.Authority, "KINSTALL_NOT_AFTER="+r.NotAfter.UTC().Format(time.RFC3339))
	cmd.Stdin = bytes.NewReader(r.CSR)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, errs := &bounded{limit: maxAnswer, full: cancel}, &bounded{limit: 4 * maxQuoted}
	cmd.Stdout, cmd.Stderr = out, errs
	err := cmd.Run()
	said := ""
	if text := bytes.TrimSpace(errs.text); len(text) > 0 {
		said = "; it said " + quoted(text)
	}
	switch {
	case out.over:
		return nil, fmt.Errorf("answered with more than %d bytes%s", maxAnswer, said)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("gave no answer within %s%s", c.timeout, said)
	case err != nil:
		return nil, fmt.Errorf("%w%s", err, said)
	case len(out.text) == 0:
		return nil, fmt.Errorf("ended well and answered nothing%s", said)
	}
	return out.text, nil
}

// bounded keeps what is written up to a limit, and then calls full, if there is
// one. It is a Writer and nothing else: the ReadFrom of a buffer would be preferred
// to Write, and know no limit.
type bounded struct {
	text  []byte
	limit int
	over  bool
	full  func()
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - len(b.text)
	b.text = append(b.text, p[:min(room, len(p))]...)
	if len(p) > room && !b.over {
		if b.over = true; b.full != nil {
			b.full()
		}
	}
	return len(p), nil
}

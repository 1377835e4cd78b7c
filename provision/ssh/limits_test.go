package ssh_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/provision/ssh"
	"github.com/kinstall/kinstall/provision/sshtest"
)

// Time that is up ends the session, whatever came meanwhile; the connection stays.
func TestRunTimeout(t *testing.T) {
	for name, how := range map[string]sshtest.Misbehaviour{
		"silent": sshtest.Silent, "silent after the mark": sshtest.SilentAfterMark, "drip": sshtest.Drip(5 * time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{}, 8)
			c := dial(t, sshtest.New(t, sshtest.Options{Misbehave: func(s *sshtest.Session) int {
				code := how(s)
				ended <- struct{}{}
				return code
			}}).Target("emei"))
			_, err := c.Run(t.Context(), ssh.Command{Label: "observe", Script: "true", Timeout: 100 * time.Millisecond})
			var late *ssh.TimeoutError
			if !errors.As(err, &late) || late.Host != "emei" || late.Op != "observe" || late.After != 100*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got error %v", err)
			}
			if ssh.Hint(err) == "" {
				t.Error("no hint")
			}
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Error("the session was not ended")
			}
			if err := c.Err(); err != nil {
				t.Errorf("the connection was ended: %v", err)
			}
		})
	}
}

// The end of the caller's own context is not mistaken for a deadline.
func TestRunTimeoutIsNotCancel(t *testing.T) {
	c := dial(t, sshtest.New(t, sshtest.Options{Misbehave: sshtest.Silent}).Target("emei"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Run(ctx, ssh.Command{Script: "true", Timeout: time.Hour})
	var late *ssh.TimeoutError
	if !errors.Is(err, context.Canceled) || errors.As(err, &late) {
		t.Errorf("got error %v", err)
	}
}

// Of a long standard error, both ends are kept.
func TestRunLongErrors(t *testing.T) {
	long := "first\n" + strings.Repeat("and so on\n", 1<<20) + "last\n"
	c := dial(t, sshtest.New(t, sshtest.Options{Misbehave: sshtest.Say("out", long, 3)}).Target("emei"))
	r, err := c.Run(t.Context(), ssh.Command{Script: "true"})
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitCode != 3 || string(r.Stdout) != "out" {
		t.Fatalf("got error %v", err)
	}
	if len(r.Stderr) > 70<<10 || !bytes.HasPrefix(r.Stderr, []byte("first\nand so on\n")) || !bytes.HasSuffix(r.Stderr, []byte("and so on\nlast\n")) || !bytes.Contains(r.Stderr, []byte(" bytes are left out here]\n")) {
		t.Errorf("kept %d bytes: %.40q … %.40q", len(r.Stderr), r.Stderr, r.Stderr[len(r.Stderr)-40:])
	}
	// What just fits is whole.
	for _, size := range []int{32 << 10, 32<<10 + 1, 60 << 10} {
		whole := strings.Repeat("x", size-1) + "\n"
		c := dial(t, sshtest.New(t, sshtest.Options{Misbehave: sshtest.Say("", whole, 0)}).Target("emei"))
		r, err := c.Run(t.Context(), ssh.Command{Script: "true"})
		if err != nil || string(r.Stderr) != whole {
			t.Errorf("of %d bytes, %d came: %v", size, len(r.Stderr), err)
		}
	}
}

// A limit on output is exact enough to be relied on, and says what was passed.
func TestRunMaxOutput(t *testing.T) {
	say := func(n int) *ssh.Client {
		return dial(t, sshtest.New(t, sshtest.Options{Misbehave: sshtest.Say(strings.Repeat("x", n), "", 0)}).Target("emei"))
	}
	if r, err := say(5000).Run(t.Context(), ssh.Command{Script: "true", MaxOutput: 5000}); err != nil || len(r.Stdout) != 5000 {
		t.Errorf("%d bytes: %v", len(r.Stdout), err)
	}
	_, err := say(5000+128<<10).Run(t.Context(), ssh.Command{Label: "look", Script: "true", MaxOutput: 5000})
	var flood *ssh.OutputError
	if !errors.As(err, &flood) || !strings.HasPrefix(err.Error(), "emei: look: the host sent more than 5000 bytes of standard output") || ssh.Hint(err) == "" {
		t.Errorf("got error %v", err)
	}
}

// What the operator can mend comes with what to do.
func TestHints(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	closed := sshtest.New(t, sshtest.Options{})
	closed.Close()
	public := write(t, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop operator\n")
	if err := os.Rename(public, public+".pub"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		change     func(*ssh.Target)
		want, hint string
	}{
		{"refused", func(to *ssh.Target) { to.Port = closed.Port }, "connection refused", "does sshd run"},
		{"no known_hosts", func(to *ssh.Target) { to.KnownHosts += ".missing" }, "known_hosts: ", "-trust-on-first-use"},
		{"no key", func(to *ssh.Target) { to.KeyFiles = []string{s.ClientKey + ".missing"} }, "key file: ", "ssh-keygen"},
		{"public key", func(to *ssh.Target) { to.KeyFiles = []string{public + ".pub"} }, "holds a public key", "without .pub"},
	} {
		to := s.Target("emei")
		tt.change(&to)
		_, err := newDialer(t, ssh.Options{}).Dial(t.Context(), to)
		if err == nil || !strings.HasPrefix(err.Error(), "emei: ") || !strings.Contains(err.Error(), tt.want) || !strings.Contains(ssh.Hint(err), tt.hint) {
			t.Errorf("%s: got error %v, hint %q", tt.name, err, ssh.Hint(err))
		}
	}
}

// A session that is forbidden is not asked for again.
func TestSessionProhibited(t *testing.T) {
	c := dial(t, sshtest.New(t, sshtest.Options{RefuseSessions: true}).Target("emei"))
	began := time.Now()
	_, err := c.Run(t.Context(), ssh.Command{Label: "look", Script: "true"})
	if err == nil || ssh.IsTransient(err) || !strings.Contains(err.Error(), "refuses to open a session: no sessions here?[2J") || strings.Contains(ssh.Hint(err), "MaxSessions") {
		t.Errorf("got error %q, hint %q", err, ssh.Hint(err))
	}
	if elapsed := time.Since(began); elapsed > 10*time.Second {
		t.Errorf("it took %s", elapsed)
	}
}

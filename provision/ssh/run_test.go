package ssh_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/provision/shell"
	"github.com/kinstall/kinstall/provision/ssh"
	"github.com/kinstall/kinstall/provision/sshtest"
)

func newEd25519(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func digest(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

func TestRun(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	c := dial(t, s.Target("emei"))
	nasty := "it's $HOME `id` \\ \"x\" !\n\ttwo é\r lines ' "
	for _, tt := range []struct {
		name   string
		cmd    ssh.Command
		want   ssh.Result
		errors string
	}{
		{name: "empty"},
		{name: "stdout and stderr", cmd: ssh.Command{Script: "echo out; echo err >&2"},
			want: ssh.Result{Stdout: []byte("out\n"), Stderr: []byte("err\n")}},
		{name: "no newline at the end", cmd: ssh.Command{Script: "printf a"}, want: ssh.Result{Stdout: []byte("a")}},
		{name: "values", cmd: ssh.Command{Script: "printf %s " + shell.Quote(nasty)}, want: ssh.Result{Stdout: []byte(nasty)}},
		{name: "here document", cmd: ssh.Command{Script: "cat <<'EOF'\n$x 'y'\nEOF\n"}, want: ssh.Result{Stdout: []byte("$x 'y'\n")}},
		{name: "comment at the end", cmd: ssh.Command{Script: "echo a # b"}, want: ssh.Result{Stdout: []byte("a\n")}},
		{name: "payload", cmd: ssh.Command{Script: "cat", Stdin: []byte("\x00\xff\nkeep\n\n")}, want: ssh.Result{Stdout: []byte("\x00\xff\nkeep\n\n")}},
		{name: "size of the payload", cmd: ssh.Command{Script: `echo "$kinstall_stdin"; wc -c`, Stdin: []byte("12345")}, want: ssh.Result{Stdout: []byte("5\n5\n")}},
		{name: "payload nobody reads", cmd: ssh.Command{Script: "echo a", Stdin: make([]byte, 4<<20)}, want: ssh.Result{Stdout: []byte("a\n")}},
		{name: "C locale", cmd: ssh.Command{Script: "echo $LC_ALL"}, want: ssh.Result{Stdout: []byte("C\n")}},
		{name: "exit code", cmd: ssh.Command{Label: "restart etcd", Script: "echo out; printf '1\\n2\\n3\\n\\033[31mfour\\n' >&2; exit 7"},
			want:   ssh.Result{Stdout: []byte("out\n"), Stderr: []byte("1\n2\n3\n\x1b[31mfour\n"), ExitCode: 7},
			errors: "emei: restart etcd: exit code 7: 2; 3; ?[31mfour"},
		{name: "set -e", cmd: ssh.Command{Script: "set -e\nfalse\necho no"}, want: ssh.Result{ExitCode: 1}, errors: "emei: command: exit code 1"},
		{name: "signal", cmd: ssh.Command{Script: "kill -9 $$"}, want: ssh.Result{ExitCode: 137, Stderr: []byte("Killed\n")}, errors: "emei: command: exit code 137"},
		{name: "syntax error", cmd: ssh.Command{Script: "if"},
			want:   ssh.Result{ExitCode: 2, Stderr: []byte("sh: 3: eval: Syntax error: end of file unexpected\n")},
			errors: "Syntax error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := c.Run(t.Context(), tt.cmd)
			got := r
			if len(got.Stdout) == 0 {
				got.Stdout = nil
			}
			if len(got.Stderr) == 0 {
				got.Stderr = nil
			}
			// The exact words are the shell's affair.
			if tt.name == "syntax error" && bytes.Contains(got.Stderr, []byte("yntax error")) || tt.name == "signal" {
				got.Stderr = tt.want.Stderr
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			switch {
			case tt.errors == "" && err != nil:
				t.Error(err)
			case tt.errors != "":
				var e *ssh.ExitError
				if !errors.As(err, &e) || e.ExitCode != tt.want.ExitCode || !strings.Contains(err.Error(), tt.errors) {
					t.Errorf("error %v, want %q", err, tt.errors)
				} else if !bytes.Equal(e.Stderr, r.Stderr) {
					t.Errorf("the error's stderr is %q, the result's %q", e.Stderr, r.Stderr)
				}
			}
		})
	}
	// Nothing of what was run is in a command line.
	seen := map[string]bool{}
	for _, line := range s.Commands() {
		seen[line] = true
	}
	if len(seen) != 1 {
		t.Errorf("%d different command lines, want one constant: %v", len(seen), seen)
	}
}

func TestRunLarge(t *testing.T) {
	c := dial(t, sshtest.New(t, sshtest.Options{}).Target("emei"))
	payload := randomBytes(t, 5<<20)
	value := strings.Repeat("'\n$x`é\\", 1<<17) // 1 MB
	start := time.Now()
	r, err := c.Run(t.Context(), ssh.Command{
		Script: "x=" + shell.Quote(value) + "\nprintf %s \"$x\" | sha256sum\ncat",
		Stdin:  payload, MaxOutput: 6 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes of script, 5 MiB there and back: %v", len(shell.Quote(value)), time.Since(start))
	if want := digest([]byte(value)) + "  -\n"; !strings.HasPrefix(string(r.Stdout), want) {
		t.Errorf("value: %.80q, want %q", r.Stdout, want)
	} else if got := r.Stdout[len(want):]; !bytes.Equal(got, payload) {
		t.Errorf("payload: %d bytes with digest %s, want %d with %s", len(got), digest(got), len(payload), digest(payload))
	}
}

func TestRunNUL(t *testing.T) {
	c := dial(t, sshtest.New(t, sshtest.Options{}).Target("emei"))
	if _, err := c.Run(t.Context(), ssh.Command{Script: "echo a\x00b"}); err == nil {
		t.Error("a script with a NUL byte was run")
	}
}

// A script that arrives in part is not run.
func TestHalfScript(t *testing.T) {
	var line string
	var input bytes.Buffer
	s := sshtest.New(t, sshtest.Options{Handler: func(cmd string, stdin io.Reader, _, _ io.Writer) int {
		line = cmd
		_, _ = io.Copy(&input, stdin)
		return 1
	}})
	c := dial(t, s.Target("emei"))
	dir := t.TempDir()
	_, _ = c.Run(t.Context(), ssh.Command{Script: "touch " + shell.Quote(dir+"/a") + "\ntouch " + shell.Quote(dir+"/b")})

	real := sshtest.New(t, sshtest.Options{})
	raw := dialRaw(t, real)
	for n := range input.Len() {
		session, err := raw.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		session.Stdin = bytes.NewReader(input.Bytes()[:n])
		err = session.Run(line)
		if err == nil {
			t.Errorf("%d of %d bytes: success", n, input.Len())
		}
		if files, _ := os.ReadDir(dir); len(files) > 0 {
			t.Fatalf("%d of %d bytes: the script ran", n, input.Len())
		}
	}
}

func TestRunLost(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  func(*sshtest.Server)
		script string
	}{
		{"before any output", func(s *sshtest.Server) { s.DropAfterOutput(0) }, "echo a"},
		{"in the middle of the output", func(s *sshtest.Server) { s.DropAfterOutput(1000) }, "head -c 100000 /dev/zero"},
		{"no exit status", func(s *sshtest.Server) { s.NoExitStatus(true) }, "echo all is well"},
		{"no exit status of a failure", func(s *sshtest.Server) { s.NoExitStatus(true) }, "exit 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sshtest.New(t, sshtest.Options{})
			c := dial(t, s.Target("emei"))
			tt.fault(s)
			r, err := c.Run(t.Context(), ssh.Command{Label: "probe", Script: tt.script})
			var lost *ssh.ConnError
			if !errors.As(err, &lost) || !ssh.IsTransient(err) || !strings.HasPrefix(err.Error(), "emei: probe: ") {
				t.Errorf("Run = %v, want a transient ConnError", err)
			}
			if diff := cmp.Diff(ssh.Result{}, r); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

// A login shell that runs nothing is not a script that fails.
func TestNotStarted(t *testing.T) {
	for _, tt := range []struct {
		name, output string
		code         int
	}{
		{"nologin", "This account is currently not available.\n", 1},
		{"silent success", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sshtest.New(t, sshtest.Options{Handler: func(_ string, _ io.Reader, stdout, _ io.Writer) int {
				_, _ = io.WriteString(stdout, tt.output)
				return tt.code
			}})
			_, err := dial(t, s.Target("emei")).Run(t.Context(), ssh.Command{Script: "true"})
			var e *ssh.ConnError
			if !errors.As(err, &e) || e.Temporary() || !strings.Contains(err.Error(), strings.TrimSpace(tt.output)) {
				t.Errorf("Run = %v", err)
			}
		})
	}
}

// What login scripts print is not part of the result.
func TestNoisyLogin(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	noisy := sshtest.New(t, sshtest.Options{Handler: func(cmd string, stdin io.Reader, stdout, stderr io.Writer) int {
		_, _ = io.WriteString(stdout, "Welcome!")
		_, _ = io.WriteString(stderr, "noise\n")
		raw := dialRaw(t, s)
		session, err := raw.NewSession()
		if err != nil {
			t.Error(err)
			return 1
		}
		session.Stdin, session.Stdout, session.Stderr = stdin, stdout, stderr
		if err := session.Run(cmd); err != nil {
			t.Error(err)
		}
		return 0
	}})
	c := dial(t, noisy.Target("emei"))
	r, err := c.Run(t.Context(), ssh.Command{Script: "echo a; echo b >&2"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ssh.Result{Stdout: []byte("a\n"), Stderr: []byte("b\n")}, r); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	lock, err := c.Hold(t.Context(), filepath.Join(t.TempDir(), "lock"), claim("me"))
	if err != nil {
		t.Fatal(err)
	}
	lock.Release()
}

func TestRunCancel(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	c := dial(t, s.Target("emei"))
	started := filepath.Join(s.Dir, "started")
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("interrupted")
	ended := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, ssh.Command{Label: "wait", Script: "echo $$ >started.tmp; mv started.tmp started; sleep 1000"})
		ended <- err
	}()
	pid := waitFile(t, started)
	cancel(reason)
	err := <-ended
	if !errors.Is(err, context.Canceled) || !errors.Is(err, reason) || !strings.HasPrefix(err.Error(), "emei: wait: ") {
		t.Errorf("Run = %v", err)
	}
	if ssh.IsTransient(err) {
		t.Error("a cancelled command is not a transient error")
	}
	waitFor(t, "the end of the remote shell", func() bool {
		_, err := os.Stat("/proc/" + pid)
		return errors.Is(err, os.ErrNotExist)
	})
	mustRun(t, c, "true") // the connection is as good as before

	t.Run("dead network", func(t *testing.T) {
		s.Freeze()
		defer s.Thaw()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := c.Run(ctx, ssh.Command{Script: "true"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run = %v", err)
		}
	})
}

func waitFile(t *testing.T, path string) string {
	t.Helper()
	var content []byte
	waitFor(t, path, func() bool {
		var err error
		content, err = os.ReadFile(path)
		return err == nil
	})
	return strings.TrimSpace(string(content))
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestSessionsAreLimited(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	c := dial(t, s.Target("emei"))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			r, err := c.Run(t.Context(), ssh.Command{Script: fmt.Sprintf("sleep 0.1; echo %d", i)})
			if err != nil || string(r.Stdout) != fmt.Sprintf("%d\n", i) {
				t.Errorf("run %d: %q, %v", i, r.Stdout, err)
			}
		})
	}
	wg.Wait()
	if got := s.Counts(); got.PeakSessions != 8 || got.Execs != 20 || got.Connections != 1 {
		t.Errorf("counts = %+v, want 20 commands, 8 at a time", got)
	}
}

// A host that allows fewer sessions than sshd's default still serves all.
func TestFewSessions(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{MaxSessions: 2})
	c := dial(t, s.Target("emei"))
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := c.Run(t.Context(), ssh.Command{Script: "sleep 0.05"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestBecome(t *testing.T) {
	// A stand-in for sudo: what it does with "-n -- sh -c …" is the argument.
	sudo := func(body string) *sshtest.Server {
		bin := t.TempDir()
		if body != "" {
			if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte("#!/bin/sh\n"+body), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		// The directories of the real commands, without a real sudo in them.
		for _, name := range []string{"sh", "env", "dd", "id", "cat", "flock", "head", "timeout"} {
			for _, dir := range []string{"/usr/bin", "/bin"} {
				if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
					if err := os.Symlink(filepath.Join(dir, name), filepath.Join(bin, name)); err != nil {
						t.Fatal(err)
					}
					break
				}
			}
		}
		return sshtest.New(t, sshtest.Options{Env: []string{"PATH=" + bin}})
	}
	works := `[ "$1 $2" = "-n --" ] || exit 99
echo "sudo: unable to resolve host emei" >&2
shift 2
AS=root exec "$@"
`
	for _, tt := range []struct {
		name, sudo string
		become     bool
		reason     string // "" is success
		hint       string
	}{
		{name: "works", sudo: works, become: true},
		{name: "password", sudo: "echo 'sudo: a password is required' >&2; exit 1", become: true, reason: "wants a password", hint: "NOPASSWD"},
		{name: "not in sudoers", sudo: "echo 'admin is not in the sudoers file.' >&2; exit 1", become: true, reason: "does not allow", hint: "sudoers.d"},
		{name: "missing", become: true, reason: "not installed", hint: "install sudo"},
		{name: "not allowed by the inventory", sudo: works, reason: "inventory", hint: "become = true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sudo(tt.sudo)
			target := s.Target("emei")
			target.User, target.Become = "admin", tt.become
			c := dial(t, target)
			// Without Root, sudo has no part in it.
			if r, err := c.Run(t.Context(), ssh.Command{Script: `echo "as $AS"`}); err != nil || string(r.Stdout) != "as \n" {
				t.Errorf("Run as the login user = %q, %v", r.Stdout, err)
			}
			r, err := c.Run(t.Context(), ssh.Command{Script: `echo "as $AS"; echo warn >&2; cat`, Stdin: []byte("payload"), Root: true})
			if tt.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(ssh.Result{Stdout: []byte("as root\npayload"), Stderr: []byte("warn\n")}, r); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				lock, err := c.Hold(t.Context(), filepath.Join(s.Dir, "lock"), claim("me"))
				if err != nil {
					t.Fatal(err)
				}
				lock.Release()
				return
			}
			var e *ssh.BecomeError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.reason) || !strings.Contains(ssh.Hint(err), tt.hint) {
				t.Errorf("Run = %v, hint %q", err, ssh.Hint(err))
			}
			if tt.become {
				if _, err := c.Hold(t.Context(), filepath.Join(s.Dir, "lock"), claim("me")); !errors.As(err, &e) {
					t.Errorf("Hold = %v", err)
				}
			}
		})
	}

	t.Run("root needs no sudo", func(t *testing.T) {
		target := sudo("").Target("emei")
		target.Become = true
		if _, err := dial(t, target).Run(t.Context(), ssh.Command{Script: "true", Root: true}); err != nil {
			t.Error(err)
		}
	})
}

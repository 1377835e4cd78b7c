package ssh_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/provision/ssh"
	"github.com/kinstall/kinstall/provision/sshtest"
)

func claim(holder string) ssh.Claim { return ssh.Claim{Holder: holder, Token: "token of " + holder} }

func TestHold(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	path := filepath.Join(s.Dir, "it's a lock")
	first, second := dial(t, s.Target("emei")), dial(t, s.Target("emei"))

	lock, err := first.Hold(t.Context(), path, claim("alice@laptop pid 12 since 10:00 'quoted'\n$x"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Hold(t.Context(), path, claim("bob"))
	var locked *ssh.LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("Hold of a held lock = %v", err)
	}
	want := &ssh.LockedError{Host: "emei", Path: path, Holder: "alice@laptop pid 12 since 10:00 'quoted' $x"}
	if diff := cmp.Diff(want, locked); diff != "" {
		t.Errorf("LockedError (-want +got):\n%s", diff)
	}
	select {
	case <-lock.Lost():
		t.Error("the lock is lost while it is held")
	default:
	}

	lock.Release()
	lock.Release()
	select {
	case <-lock.Lost():
	default:
		t.Error("the lock is not lost after Release")
	}
	lock, err = second.Hold(t.Context(), path, claim("bob"))
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); string(text) != "bob\ntoken of bob\n" {
		t.Errorf("the lock file holds %q", text)
	}

	// The lock goes with the connection, without any farewell.
	s.DropConnections()
	<-lock.Lost()
	third := dial(t, s.Target("emei"))
	waitFor(t, "the lock of a lost connection", func() bool {
		lock, err = third.Hold(t.Context(), path, claim("carol"))
		return err == nil
	})
	lock.Release()
}

// When the network dies without a word, the host frees the lock by itself.
func TestHoldDeadNetwork(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	path := filepath.Join(s.Dir, "lock")
	d := newDialer(t, ssh.Options{KeepAlive: 100 * time.Millisecond})
	c := dialWith(t, d, s.Target("emei"))
	lock, err := c.Hold(t.Context(), path, claim("alice"))
	if err != nil {
		t.Fatal(err)
	}
	// Heartbeats keep it well beyond the host's patience.
	select {
	case <-lock.Lost():
		t.Fatal("lost in spite of heartbeats")
	case <-time.After(time.Second):
	}
	s.Freeze()
	other := sshtest.New(t, sshtest.Options{}) // the same machine by another way
	c = dial(t, other.Target("emei"))
	waitFor(t, "the lock to be free", func() bool {
		lock, err := c.Hold(t.Context(), path, claim("bob"))
		if err == nil {
			lock.Release()
		}
		return err == nil
	})
	select {
	case <-lock.Lost():
	case <-time.After(5 * time.Second):
		t.Error("the holder has not noticed")
	}
}

func TestHoldFailures(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	c := dial(t, s.Target("emei"))
	_, err := c.Hold(t.Context(), filepath.Join(s.Dir, "no", "directory"), claim("alice"))
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), "no/directory") {
		t.Errorf("Hold = %v", err)
	}

	s.DropAfterOutput(0)
	if _, err := c.Hold(t.Context(), filepath.Join(s.Dir, "lock"), claim("alice")); !ssh.IsTransient(err) {
		t.Errorf("Hold = %v", err)
	}

	c = dial(t, s.Target("emei"))
	s.Freeze()
	defer s.Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Hold(ctx, filepath.Join(s.Dir, "lock"), claim("alice")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Hold = %v", err)
	}
}

// held fails the test unless the lock is held for as long as a round trip takes.
func held(t *testing.T, c *ssh.Client, lock *ssh.Lock) {
	t.Helper()
	if _, err := c.Run(t.Context(), ssh.Command{Script: "true\n"}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lock.Lost():
		t.Error("the lock is not held")
	default:
	}
}

// A lock that went with its connection is had again, as long as nobody took it.
func TestRetake(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	path := filepath.Join(s.Dir, "it's a lock")
	mine := claim("alice")
	c := dial(t, s.Target("emei"))
	lost, err := c.Hold(t.Context(), path, mine)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.DropConnections()
		<-lost.Lost()
		c = dial(t, s.Target("emei"))
		lock, err := c.Retake(t.Context(), path, mine)
		if err != nil {
			t.Fatal(err)
		}
		held(t, c, lock)
		if _, err := dial(t, s.Target("emei")).Hold(t.Context(), path, claim("bob")); err == nil {
			t.Fatal("two hold the lock")
		}
		lost = lock
	}
	lost.Release()
	var token *ssh.TokenError
	if _, err := c.Retake(t.Context(), path, mine); !errors.As(err, &token) || token.Holder != "" {
		t.Errorf("a lock that was given back is taken back: %v", err)
	}
}

// The host may believe for a minute that a connection lives which the client
// knows to be lost. Its lock is taken over.
func TestRetakeFromDeadConnection(t *testing.T) {
	s, other := sshtest.New(t, sshtest.Options{}), sshtest.New(t, sshtest.Options{}) // one machine, two ways
	path := filepath.Join(s.Dir, "lock")
	c := dial(t, s.Target("emei"))
	if _, err := c.Hold(t.Context(), path, claim("alice")); err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	defer s.Thaw()
	c = dial(t, other.Target("emei"))
	again, err := c.Retake(t.Context(), path, claim("alice"))
	if err != nil {
		t.Fatal(err)
	}
	held(t, c, again)
	again.Release()
}

func TestRetakeWhatSomebodyElseTook(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	path := filepath.Join(s.Dir, "lock")
	lock, err := dial(t, s.Target("emei")).Hold(t.Context(), path, claim("alice"))
	if err != nil {
		t.Fatal(err)
	}
	s.DropConnections()
	<-lock.Lost()
	bob, c := dial(t, s.Target("emei")), dial(t, s.Target("emei"))
	waitFor(t, "the lock of a lost connection", func() bool {
		lock, err = bob.Hold(t.Context(), path, claim("bob"))
		return err == nil
	})
	var token *ssh.TokenError
	if _, err := c.Retake(t.Context(), path, claim("alice")); !errors.As(err, &token) || token.Holder != "bob" {
		t.Errorf("while bob has it: %v", err)
	}
	held(t, bob, lock)
	bob.Close() // without a word, so that bob's claim stays where it is
	<-lock.Lost()
	if _, err := c.Retake(t.Context(), path, claim("alice")); !errors.As(err, &token) || token.Holder != "bob" {
		t.Errorf("after bob: %v", err)
	}
}

func TestFence(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	path := filepath.Join(s.Dir, "it's a lock")
	c := dial(t, s.Target("emei"))
	run := func(token string) (ssh.Result, error) {
		return c.Run(t.Context(), ssh.Command{Label: "write", Stdin: []byte("payload"), Script: ssh.Fence(path, token, "set -eu\ncat\nexit 5\n")})
	}
	if holder, is := ssh.Fenced(second(run("token of alice"))); !is || holder != "" {
		t.Errorf("without any lock: %q, %v", holder, is)
	}
	lock, err := c.Hold(t.Context(), path, claim("alice"))
	if err != nil {
		t.Fatal(err)
	}
	result, err := run("token of alice")
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitCode != 5 || string(result.Stdout) != "payload" {
		t.Errorf("with the lock: %v, %q", err, result.Stdout)
	}
	if _, is := ssh.Fenced(err); is {
		t.Error("a script's own exit code counts as fenced")
	}
	result, err = run("token of bob")
	if holder, is := ssh.Fenced(err); !is || holder != "alice" || len(result.Stdout) > 0 {
		t.Errorf("with another token: %q, %v, %v, %q", holder, is, err, result.Stdout)
	}
	lock.Release()
	if _, is := ssh.Fenced(second(run("token of alice"))); !is {
		t.Error("after the lock was given back, the script ran")
	}
}

func second(_ ssh.Result, err error) error { return err }

// Nobody takes a lock while a script of its last holder runs, be the holder gone;
// what that left behind in the background does not count.
func TestFenceKeepsTheNextHolderOut(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	path, pipe, daemon := filepath.Join(s.Dir, "lock"), filepath.Join(s.Dir, "pipe"), filepath.Join(s.Dir, "daemon")
	for _, name := range []string{pipe, daemon} {
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, worker, bob := dial(t, s.Target("emei")), dial(t, s.Target("emei")), dial(t, s.Target("emei"))
	lock, err := c.Hold(t.Context(), path, claim("alice"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := worker.Run(t.Context(), ssh.Command{Label: "write", Script: ssh.Fence(path, "token of alice", fmt.Sprintf(
			"cat %s >/dev/null 2>&1 </dev/null &\necho begun >%s\ncat %[2]s >/dev/null\n", daemon, pipe))})
		ended <- err
	}()
	if text, err := os.ReadFile(pipe); err != nil || string(text) != "begun\n" {
		t.Fatalf("%q, %v", text, err)
	}
	c.Close()
	<-lock.Lost()
	var locked *ssh.LockedError
	waitFor(t, "the holder to be gone", func() bool {
		_, err := bob.Hold(t.Context(), path, claim("bob"))
		return errors.As(err, &locked) && locked.Step
	})
	if locked.Holder != "alice" {
		t.Errorf("the step is of %q", locked.Holder)
	}
	if err := os.WriteFile(pipe, []byte("go on\n"), 0); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	lock, err = bob.Hold(t.Context(), path, claim("bob"))
	if err != nil {
		t.Errorf("after the script's end: %v", err)
	} else {
		lock.Release()
	}
	if err := os.WriteFile(daemon, nil, 0); err != nil { // ends it
		t.Error(err)
	}
}

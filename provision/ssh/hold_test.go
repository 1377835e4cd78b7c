package ssh_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/provision/ssh"
	"github.com/kinstall/kinstall/provision/sshtest"
)

func TestHold(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	path := filepath.Join(s.Dir, "it's a lock")
	first, second := dial(t, s.Target("emei")), dial(t, s.Target("emei"))

	lock, err := first.Hold(t.Context(), path, "alice@laptop pid 12 since 10:00 'quoted'\n$x")
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Hold(t.Context(), path, "bob")
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
	lock, err = second.Hold(t.Context(), path, "bob")
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); string(text) != "bob\n" {
		t.Errorf("the lock file holds %q", text)
	}

	// The lock goes with the connection, without any farewell.
	s.DropConnections()
	<-lock.Lost()
	third := dial(t, s.Target("emei"))
	waitFor(t, "the lock of a lost connection", func() bool {
		lock, err = third.Hold(t.Context(), path, "carol")
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
	lock, err := c.Hold(t.Context(), path, "alice")
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
	waitFor(t, "the file to be emptied", func() bool {
		text, err := os.ReadFile(path)
		return err == nil && len(text) == 0
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
	_, err := c.Hold(t.Context(), filepath.Join(s.Dir, "no", "directory"), "alice")
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), "no/directory") {
		t.Errorf("Hold = %v", err)
	}

	s.DropAfterOutput(0)
	if _, err := c.Hold(t.Context(), filepath.Join(s.Dir, "lock"), "alice"); !ssh.IsTransient(err) {
		t.Errorf("Hold = %v", err)
	}

	c = dial(t, s.Target("emei"))
	s.Freeze()
	defer s.Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Hold(ctx, filepath.Join(s.Dir, "lock"), "alice"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Hold = %v", err)
	}
}

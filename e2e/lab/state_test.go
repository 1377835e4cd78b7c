package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLockFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), file, nil)
	if err != nil {
		t.Fatal(err)
	}

	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := lockFile(short, file, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("second lock: error %v, want that the time is up", err)
	}

	// The holder removes the file, as Down does. Who waits must end up with the
	// lock on the file that is there then, or a third could lock that one as well.
	waiting := make(chan struct{})
	got := make(chan error)
	var unlockSecond func()
	go func() {
		var err error
		unlockSecond, err = lockFile(t.Context(), file, func() { close(waiting) })
		got <- err
	}()
	<-waiting
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	defer unlockSecond()
	if _, err := lockFile(short, file, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("third lock: error %v, want that the time is up", err)
	}
}

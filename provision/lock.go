package provision

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kinstall/kinstall/provision/ssh"
)

// LockLostError says that the lock of a host was lost while it was relied on:
// the connection broke, or somebody ended the process that held it. Another
// kinstall may be at work on that host.
type LockLostError struct{ Host string }

func (e *LockLostError) Error() string {
	return fmt.Sprintf("%s: the lock on the host was lost, as happens when its connection breaks; the steps under way were finished, the rest was not begun", e.Host)
}

// locksLost remembers the first lock that was lost.
type locksLost struct {
	once  sync.Once
	first chan struct{} // closed when host is set
	host  string
}

func (l *locksLost) add(host string) {
	l.once.Do(func() {
		l.host = host
		close(l.first)
	})
}

// whileLocked returns a context that ends with a *LockLostError as its cause
// when a lock that the fleet holds is lost.
func (f *Fleet) whileLocked(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-f.lost.first:
			cancel(&LockLostError{f.lost.host})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// Lock takes the lock of each host, so that one kinstall at a time changes it.
// The kernel frees a lock when the connection ends, however that comes about;
// an Executor then begins no further step. If one is held by somebody else,
// none is kept and the error is a *ssh.LockedError. Hosts that can't be reached
// are left out.
func (f *Fleet) Lock(ctx context.Context, hosts []string, description string) (release func(), err error) {
	var mu sync.Mutex
	var locks []*ssh.Lock
	released := make(chan struct{})
	release = sync.OnceFunc(func() {
		close(released)
		var group errgroup.Group
		for _, lock := range locks {
			group.Go(func() error { lock.Release(); return nil })
		}
		_ = group.Wait()
	})
	holder := description
	if name, err := os.Hostname(); err == nil {
		holder = fmt.Sprintf("%s by %s on %s, pid %d", description, currentUser(), name, os.Getpid())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.options.Parallelism)
	for _, name := range hosts {
		group.Go(func() error {
			m, err := f.connect(ctx, name)
			if err != nil {
				return nil //nolint:nilerr // it is named as unreachable by the observation that follows
			}
			lock, err := m.ssh().Hold(ctx, lockPath, holder)
			if err != nil {
				return err
			}
			mu.Lock()
			locks = append(locks, lock)
			mu.Unlock()
			go func() {
				<-lock.Lost()
				select {
				case <-released:
				default:
					f.lost.add(name)
				}
			}()
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		release()
		return func() {}, err
	}
	return release, nil
}

func currentUser() string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if user := os.Getenv(name); user != "" {
			return user
		}
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

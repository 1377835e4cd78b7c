package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/ssh"
)

// many is more dials than any test makes.
const many = 1 << 30

// steal has the host lose its connections, and somebody else take the lock before
// anybody can connect again.
func (h *testHost) steal(t *testing.T, by string) {
	h.RefuseDials(many)
	h.DropConnections()
	file, err := os.OpenFile(h.path(lockPath), os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { file.Close() })
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Error(err)
	}
	h.claim(t, by)
	h.RefuseDials(0)
}

// claim writes into the lock's file as somebody does who takes it.
func (h *testHost) claim(t *testing.T, by string) {
	if err := os.WriteFile(h.path(lockPath), []byte(by+"\nanother token\n"), 0o644); err != nil {
		t.Error(err)
	}
}

// other is a second run of the program on the same hosts.
func (f *testFleet) other(t *testing.T, options Options) *Fleet {
	other := NewFleet(f.inventory, f.authorities, options)
	t.Cleanup(func() { other.Close() })
	return other
}

// roles gives each host its role.
func (f *testFleet) roles(roles map[string]string) {
	for i := range f.inventory.Hosts {
		h := &f.inventory.Hosts[i]
		if role := roles[h.Name]; role != "" {
			h.Roles = []string{role}
		}
	}
}

// directory is a step that needs no root.
func (f *testFleet) directory(t *testing.T, host string) string {
	path := f.hosts[host].path("/etc/made")
	f.step(host, resource.Directory{Path: path, Ownership: self(t, 0o755)})
	return path
}

func absent(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s was made: %v", path, err)
	}
}

// Two runs that change different hosts change one cluster.
func TestLockOfDisjointHosts(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin", "wudang", "emei", "huashan")
	f.roles(map[string]string{"shaolin": inventory.RoleMaster, "emei": inventory.RoleEtcd})
	free, err := f.Lock(t.Context(), []string{"wudang"}, "first")
	if err != nil {
		t.Fatal(err)
	}
	other := f.other(t, Options{})
	_, err = other.Lock(t.Context(), []string{"huashan"}, "second")
	var locked *ssh.LockedError
	if !errors.As(err, &locked) || locked.Host != "shaolin" || !strings.HasPrefix(locked.Holder, "first by ") {
		t.Fatalf("the second run: %v", err)
	}
	free()
	free, err = other.Lock(t.Context(), []string{"huashan"}, "second")
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	for host, want := range map[string]bool{"shaolin": true, "emei": true, "huashan": true, "wudang": false} {
		content, err := os.ReadFile(f.hosts[host].path(lockPath))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(content, []byte("second by ")) != want {
			t.Errorf("%s: the lock's file holds %q", host, content)
		}
	}
}

func TestLockWithoutSomeMasters(t *testing.T) {
	var said []string
	f := newUnlockedFleet(t, Options{Log: func(text string) { said = append(said, text) }}, "shaolin", "wudang", "emei", "huashan")
	f.roles(map[string]string{"shaolin": inventory.RoleMaster, "wudang": inventory.RoleMaster, "emei": inventory.RoleMaster})
	f.hosts["wudang"].Close()
	free, err := f.Lock(t.Context(), []string{"huashan"}, "first")
	if err != nil {
		t.Fatalf("with two of three masters: %v", err)
	}
	if text := strings.Join(said, "\n"); len(said) != 1 || !strings.Contains(text, "wudang can't be locked") || !strings.Contains(text, "connection refused") {
		t.Errorf("said %q", said)
	}
	free()

	f.hosts["emei"].Close()
	_, err = f.other(t, Options{}).Lock(t.Context(), []string{"huashan"}, "second")
	var few *NoMajorityError
	if !errors.As(err, &few) || few.Locked != 1 || few.Of != 3 || few.Failed["wudang"] == nil || few.Failed["emei"] == nil {
		t.Fatalf("with one of three masters: %v", err)
	}
	for _, name := range []string{"shaolin", "huashan"} { // given back
		if text := f.hosts[name].read(t, f.hosts[name].path(lockPath)); text != "" {
			t.Errorf("%s: the lock's file holds %q", name, text)
		}
	}
}

func TestLockTimeout(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	_, err := f.other(t, Options{LockTimeout: time.Millisecond}).Lock(t.Context(), []string{"shaolin"}, "second")
	var locked *ssh.LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("after the timeout: %v", err)
	}

	said := make(chan string, 100)
	patient := f.other(t, Options{LockTimeout: time.Hour, Log: func(text string) { said <- text }})
	ended := make(chan error, 1)
	go func() {
		_, err := patient.Lock(t.Context(), []string{"wudang", "shaolin"}, "second")
		ended <- err
	}()
	var text string
	select {
	case text = <-said:
	case err := <-ended:
		t.Fatalf("did not wait: %v", err)
	}
	if !strings.Contains(text, "Waiting up to 1h0m0s") || !strings.Contains(text, "held by apply by ") {
		t.Errorf("said %q", text)
	}
	select {
	case err := <-ended:
		t.Fatalf("did not wait: %v", err)
	default:
	}
	f.unlock()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestLockTimeoutInterrupted(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	ctx, cancel := context.WithCancel(t.Context())
	patient := f.other(t, Options{LockTimeout: time.Hour, Log: func(string) { cancel() }})
	if _, err := patient.Lock(ctx, []string{"shaolin"}, "second"); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock: %v", err)
	}
}

// A host that could not be locked is not written to, even if it can be reached by
// the time it is observed.
func TestNotLockedIsNotWritten(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		break_, mend func(t *testing.T, h *testHost)
	}{
		{"not reached at first", "known_hosts", func(t *testing.T, h *testHost) {
			if err := os.Rename(h.KnownHosts, h.KnownHosts+".away"); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, h *testHost) {
			if err := os.Rename(h.KnownHosts+".away", h.KnownHosts); err != nil {
				t.Fatal(err)
			}
		}},
		{"no lock there", "No locks available", func(_ *testing.T, h *testHost) {
			h.answer = func(script string, _, stderr io.Writer) (int, bool) {
				if strings.Contains(script, "echo held") {
					fmt.Fprintln(stderr, "flock: 9: No locks available")
					return 70, true
				}
				return 0, false
			}
		}, func(*testing.T, *testHost) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newUnlockedFleet(t, Options{}, "shaolin", "wudang")
			good, bad := f.directory(t, "shaolin"), f.directory(t, "wudang")
			c.break_(t, f.hosts["wudang"])
			free, err := f.Lock(t.Context(), []string{"shaolin", "wudang"}, "apply")
			if err != nil {
				t.Fatal(err)
			}
			defer free()
			c.mend(t, f.hosts["wudang"])
			f.machines["wudang"].failure = nil // which is remembered for some seconds
			p := f.plan()
			observed, err := f.Observe(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			delta := p.Diff(observed)
			if err := delta.Unreachable["wudang"]; err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("unreachable: %v", err)
			}
			delta.Problems = nil
			if _, err := f.executor().Apply(t.Context(), delta); err != nil {
				t.Errorf("Apply: %v", err)
			}
			if _, err := os.Stat(good); err != nil {
				t.Error(err)
			}
			absent(t, bad)
			// Nor by any other way.
			if err := f.machines["wudang"].script(t.Context(), "write", "mkdir "+bad); err == nil {
				t.Error("a script was run on a host that is not locked")
			}
			absent(t, bad)
		})
	}
}

// Without any lock, nothing is written at all.
func TestNothingIsWrittenWithoutLocks(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	path := f.directory(t, "shaolin")
	delta := f.survey(t)
	f.unlock()
	report, err := f.executor().Apply(t.Context(), delta)
	if !errors.Is(err, errNotLocked) || report.Count(Failed) != 1 {
		t.Errorf("Apply: %v", err)
	}
	absent(t, path)
}

// A script finds out itself that the lock has passed to somebody else.
func TestFencedWrite(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	path := f.directory(t, "shaolin")
	delta := f.survey(t)
	h.claim(t, "bob")
	report, err := f.executor().Apply(t.Context(), delta)
	var lost *LockLostError
	if !errors.As(err, &lost) || lost.Host != "shaolin" || !strings.Contains(err.Error(), "taken meanwhile by bob") {
		t.Errorf("Apply: %v", err)
	}
	if report.Count(Finished) != 0 {
		t.Errorf("outcomes %v", outcomes(report))
	}
	absent(t, path)
	// Neither a rollback nor the host's state.
	before := len(h.ran())
	m := f.machines["shaolin"]
	if err := m.script(t.Context(), "put back", "mkdir "+path); !errors.As(err, &lost) {
		t.Errorf("put back: %v", err)
	}
	m.state.put("file:/etc/x", delta.Items[0].Change.Record)
	if err := m.flush(t.Context()); !errors.As(err, &lost) {
		t.Errorf("flush: %v", err)
	}
	if n := len(h.ran()) - before; n != 0 {
		t.Errorf("%d scripts were sent to a host that is somebody else's", n)
	}
}

// A connection that breaks takes the lock with it. When nobody had it meanwhile,
// the run goes on over the next connection.
func TestLockIsTakenBack(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin", "wudang")
	path := f.directory(t, "shaolin")
	delta := f.survey(t)
	for range 2 {
		f.hosts["shaolin"].DropConnections()
		<-f.machines["shaolin"].ssh().Done()
	}
	f.mustApply(t, delta)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if _, err := f.other(t, Options{}).Lock(t.Context(), []string{"shaolin"}, "second"); !errors.As(err, new(*ssh.LockedError)) {
		t.Errorf("another run's lock: %v", err)
	}
}

// A gate, and whatever waits beside the cable that is plugged in again: connect
// waits for the lock, for as long as it may be had.
func TestConnectWaitsForTheLock(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	m := f.machines["shaolin"]
	old := m.ssh()
	h.RefuseDials(3)
	h.DropConnections()
	<-old.Done()
	if _, err := f.connect(t.Context(), "shaolin"); err != nil {
		t.Fatal(err)
	}
	if m.ssh() == old {
		t.Error("the connection is the dead one")
	}
	conn, err := m.tunnel(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// What changed the host when the connection broke is not run again; what only
// read is.
func TestConnectionLostMeanwhile(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	m := f.machines["shaolin"]
	before := len(h.ran())
	h.DropAfterOutput(0)
	err := m.script(t.Context(), "write", "echo written\n")
	if !ssh.IsConnectionLost(err) || !strings.Contains(err.Error(), "whether it took effect is not known") {
		t.Errorf("write: %v", err)
	}
	if _, err := f.connect(t.Context(), "shaolin"); err != nil {
		t.Fatal(err)
	}
	h.DropAfterOutput(0)
	if out, err := m.look(t.Context(), "look", "echo found\n"); err != nil || out != "found\n" {
		t.Errorf("look: %q, %v", out, err)
	}
	written := 0
	for _, script := range h.ran()[before:] {
		if strings.Contains(script, "echo written") {
			written++
		}
	}
	if written != 1 {
		t.Errorf("written %d times", written)
	}
}

func TestLockNotTakenBack(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		patience     time.Duration
		lose         func(t *testing.T, h *testHost)
	}{
		{"somebody else took it", "taken meanwhile by bob", time.Minute, func(t *testing.T, h *testHost) { h.steal(t, "bob") }},
		{"not reached again", "within 200ms", 200 * time.Millisecond, func(_ *testing.T, h *testHost) {
			h.RefuseDials(many)
			h.DropConnections()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, Options{RetakeTimeout: c.patience}, "shaolin")
			path := f.directory(t, "shaolin")
			delta := f.survey(t)
			client := f.machines["shaolin"].ssh()
			c.lose(t, f.hosts["shaolin"])
			<-client.Done()
			_, err := f.executor().Apply(t.Context(), delta)
			var lost *LockLostError
			if !errors.As(err, &lost) || lost.Host != "shaolin" || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("Apply: %v", err)
			}
			f.hosts["shaolin"].RefuseDials(0)
			if err := f.machines["shaolin"].script(t.Context(), "put back", "mkdir "+path); !errors.As(err, &lost) {
				t.Errorf("a rollback: %v", err)
			}
			absent(t, path)
		})
	}
}

// When too few locks are left, other hosts are not written to either: another
// run may have a majority.
func TestMajorityLost(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin", "wudang", "emei")
	f.roles(map[string]string{"shaolin": inventory.RoleMaster, "wudang": inventory.RoleMaster, "emei": inventory.RoleMaster})
	f.lockAll(t)
	lose := func(name string) {
		f.hosts[name].claim(t, "bob")
		if err := f.machines[name].script(t.Context(), "write", "true"); !errors.As(err, new(*LockLostError)) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	path := f.hosts["emei"].path("/etc/made")
	lose("shaolin")
	if err := f.machines["emei"].script(t.Context(), "put back", "mkdir "+path); err != nil {
		t.Errorf("with two of three locks left: %v", err)
	}
	lose("wudang")
	if err := f.machines["emei"].script(t.Context(), "put back", "rmdir "+path); !errors.As(err, new(*LockLostError)) {
		t.Errorf("with one of three locks left: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	f.step(plan.Cluster, named("of the cluster"))
	report, _ := f.executor().Apply(t.Context(), &plan.Delta{Plan: f.plan()})
	if report.Count(Finished) != 0 {
		t.Errorf("outcomes %v", outcomes(report))
	}
	if err := f.mayChangeCluster(); !errors.As(err, new(*LockLostError)) {
		t.Errorf("the cluster's own: %v", err)
	}
}

// How to get at a host is said, too: a first apply is often the first contact.
func TestNoMajorityHint(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin")
	f.roles(map[string]string{"shaolin": inventory.RoleMaster})
	if err := os.WriteFile(f.hosts["shaolin"].KnownHosts, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := f.Lock(t.Context(), nil, "apply")
	var key *ssh.HostKeyError
	var few *NoMajorityError
	if !errors.As(err, &few) || !errors.As(few.Failed["shaolin"], &key) || !strings.Contains(few.Hint(), "shaolin: "+key.Hint()) {
		t.Errorf("%v, hint %q", err, ssh.Hint(err))
	}
}

// Two runs that begin at the same moment: one gets all locks.
func TestLockAtTheSameTime(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin", "wudang", "emei")
	f.roles(map[string]string{"shaolin": inventory.RoleMaster, "wudang": inventory.RoleMaster, "emei": inventory.RoleMaster})
	const runs = 4
	var mu sync.Mutex
	var won, refused int
	var group sync.WaitGroup
	for range runs {
		other := f.other(t, Options{})
		group.Go(func() {
			_, err := other.Lock(t.Context(), nil, "apply")
			mu.Lock()
			defer mu.Unlock()
			var locked *ssh.LockedError
			switch {
			case err == nil:
				won++
			case errors.As(err, &locked):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won != 1 || refused != runs-1 {
		t.Errorf("%d runs hold the locks, %d were refused", won, refused)
	}
}

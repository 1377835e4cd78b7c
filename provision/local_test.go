package provision

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// wantUntouched checks that apply refused for something local, before any host
// was asked to do anything.
func wantUntouched(t *testing.T, f *testFleet, e *Executor, delta *plan.Delta, parts ...string) error {
	t.Helper()
	before := map[string]int{}
	for name, h := range f.hosts {
		before[name] = len(h.ran())
	}
	report, err := e.Apply(t.Context(), delta)
	var refused *LocalError
	if !errors.As(err, &refused) || report != nil {
		t.Fatalf("Apply: %v, report %v", err, report)
	}
	for _, part := range append(parts, "nothing was changed") {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}
	for name, h := range f.hosts {
		if n := len(h.ran()); n != before[name] {
			t.Errorf("%s was asked to run %d scripts", name, n-before[name])
		}
	}
	return err
}

func TestApplyWantsToWriteFirst(t *testing.T) {
	// Nobody can make files there, root included.
	const readOnly = "/proc/self"
	for name, r := range map[string]resource.Resource{
		"lock file":   resource.LockFile{Path: readOnly + "/lab.lock.hcl", After: []byte("new")},
		"authorities": resource.Authority{Name: plan.AuthorityEtcd},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, Options{}, "shaolin")
			f.inventory.PKI.Dir = readOnly + "/pki/etcd"
			f.step(plan.Operator, r)
			f.step("shaolin", named("a"))
			wantUntouched(t, f, f.executor(), f.everything(t), "the "+name, readOnly)
		})
	}
}

// TestTryToWrite leaves nothing behind and makes no directory.
func TestTryToWrite(t *testing.T) {
	dir := t.TempDir()
	if err := tryToWrite(filepath.Join(dir, "a", "b")); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tryToWrite(file); err == nil {
		t.Error("a file is no directory to write to")
	}
}

// TestApplyFetchesFirst: one release that can't be had stops everything, and all
// of them are named.
func TestApplyFetchesFirst(t *testing.T) {
	releases := &localReleases{files: map[string]string{}}
	f := newFleet(t, Options{}, "shaolin", "wudang")
	here := releases.release(t, "example.org/here", []byte("HERE"))
	digest := strings.Repeat("0", 64)
	f.step("wudang", named("a"))
	for _, host := range []string{"shaolin", "wudang"} {
		f.step(host, resource.Artifact{Name: "here", Location: "example.org/here", SHA256: here, Members: []resource.Member{{To: "/test/here"}}})
		f.step(host, resource.Artifact{Name: "lost", Location: "example.org/lost", SHA256: digest, Members: []resource.Member{{To: "/test/lost"}}})
		f.step(host, resource.Image{Reference: "example.org/gone:1", Location: "example.org/gone.tar", SHA256: digest})
	}
	wantUntouched(t, f, f.withReleases(releases), f.everything(t), "example.org/lost: not found", "example.org/gone.tar: not found")
	slices.Sort(releases.fetched)
	if got, want := strings.Join(releases.fetched, " "), "example.org/gone.tar example.org/here example.org/lost"; got != want {
		t.Errorf("fetched %s, want %s", got, want)
	}
}

// TestApplyWantsRoom: hosts whose disks are too small for what will be sent
// are named before anything is.
func TestApplyWantsRoom(t *testing.T) {
	releases := &localReleases{files: map[string]string{}}
	f := newFleet(t, Options{}, "shaolin", "wudang", "emei", "huashan")
	big := releases.release(t, "example.org/big", make([]byte, 3<<20))
	for _, host := range []string{"shaolin", "wudang", "emei", "huashan"} {
		f.step(host, resource.Artifact{Name: "big", Location: "example.org/big", SHA256: big, Members: []resource.Member{{To: "/test/big"}}})
	}
	delta := f.everything(t)
	const much = 1 << 40
	for host, free := range map[string]map[string]int64{
		"shaolin": {"/": much, "/var/lib": 1 << 30, "/var/tmp": 1 << 30},
		"wudang":  {"/": much, "/var/lib": 5 << 20, "/var/tmp": much},
		"emei":    {"/": much, "/var/lib": much, "/var/tmp": 5 << 20},
		"huashan": {"/": 5 << 20},
	} {
		delta.Observed.Hosts[host] = plan.Observation{Facts: fact.NewSet(fact.Host{DiskFree: free})}
	}
	err := wantUntouched(t, f, f.withReleases(releases), delta,
		"wudang: /var/lib has 5 MiB free, and 9 MiB are needed for the binaries and images",
		"emei: /var/tmp has 5 MiB free, and 6 MiB are needed for uploads", "huashan: /var/lib has 5 MiB free")
	if strings.Contains(err.Error(), "shaolin") {
		t.Errorf("shaolin has room: %v", err)
	}
}

// TestApplyInterruptedWhileFetching: that is an interrupt, and no failure.
func TestApplyInterruptedWhileFetching(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	s := fakes(f)
	f.step("shaolin", named("a"))
	f.step("shaolin", resource.Artifact{Name: "etcd", Location: "example.org/etcd", SHA256: strings.Repeat("0", 64), Members: []resource.Member{{To: "/test/etcd"}}})
	ctx, cancel := context.WithCancel(t.Context())
	e := f.executor()
	e.Releases = cancelling(cancel)
	report, err := e.Apply(ctx, f.everything(t))
	if !errors.Is(err, ErrInterrupted) || report.Count(Skipped) != 2 || len(s.begun()) > 0 {
		t.Errorf("Apply: %v, %+v", err, report)
	}
}

// cancelling releases are interrupted in their transfer.
type cancelling func()

func (c cancelling) Fetch(ctx context.Context, _, _ string, progress func(done, total int64)) (string, error) {
	progress(1, 100)
	c()
	return "", ctx.Err()
}

// TestNothingWithoutTheLockFile: the lock file is stale, so that no host is
// touched.
func TestNothingWithoutTheLockFile(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	s := fakes(f)
	path := filepath.Join(t.TempDir(), "lab.lock.hcl")
	if err := os.WriteFile(path, []byte("somebody else's"), 0o600); err != nil {
		t.Fatal(err)
	}
	lock := f.step(plan.Operator, resource.LockFile{Path: path, Before: []byte("as planned"), After: []byte("new")})
	a := f.step("shaolin", named("a"))
	b := f.step("shaolin", named("b"), a)
	report, err := f.executor().Apply(t.Context(), f.everything(t))
	got := outcomes(report)
	if !errors.Is(err, ErrStale) || got[lock] != Failed || got[a] != Skipped || got[b] != Skipped || len(s.begun()) > 0 {
		t.Errorf("Apply: %v, %v, ran %v", err, got, s.begun())
	}
}

// silent authorities are with a signer that does not answer.
type silent struct{ Authorities }

func (silent) Exists(string) bool { return true }

func (silent) ClientTLS(authority, _ string, _ []string, _ time.Duration) (*tls.Config, error) {
	return nil, fmt.Errorf("the signer of %s gave no answer", authority)
}

// A signer that does not work is found before a host is changed.
func TestApplyAsksSignersFirst(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	f.step("shaolin", named("a"))
	f.inventory.PKI.Signers = []*inventory.Signer{{Kind: inventory.SignerCommand, Authorities: []string{plan.AuthorityEtcd}}}
	e := f.executor()
	e.Authorities = silent{e.Authorities}
	err := wantUntouched(t, f, e, f.everything(t), "the signer of etcd gave no answer")
	if strings.Contains(err.Error(), "kubernetes") {
		t.Errorf("somebody was asked who signs nothing: %v", err)
	}
}

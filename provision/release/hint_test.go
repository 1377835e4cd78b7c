package release

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNoInternet: who can't reach the official locations is told of mirrors.
func TestNoInternet(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close() // so that nothing listens there
	s, err := New(Config{Source: "https://" + listener.Addr().String(), CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.backoff = func(int) (none time.Duration) { return none }
	_, err = s.Digests(t.Context(), []Wanted{{Name: "kubelet", Location: "dl.k8s.io/kubelet", ChecksumLocation: "dl.k8s.io/kubelet.sha256"}})
	var adviser interface{ Hint() string }
	if !errors.As(err, &adviser) || !strings.Contains(adviser.Hint(), "mirror") {
		t.Errorf("no hint at mirrors: %v", err)
	}
}

// TestMissingVersion: who asks for a version that a directory lacks is told which
// it has.
func TestMissingVersion(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"v1.35.4", "v1.36.3", "stable"} {
		folder := filepath.Join(dir, "dl.k8s.io/release", version, "bin")
		if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, "kubelet"), []byte(version), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Config{Source: dir, CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		w    Wanted
		hint string // beginning
	}{
		{"another version", Wanted{Name: "kubelet", Version: "1.36.9", Location: "dl.k8s.io/release/v1.36.9/bin/kubelet"}, "the source has 1.35.4, 1.36.3: set one of these versions in the inventory, or put the file there"},
		{"nothing of it", Wanted{Name: "kube-proxy", Version: "1.36.9", Location: "dl.k8s.io/release/v1.36.9/bin/kube-proxy"}, "put the file there"},
		{"no folder", Wanted{Name: "etcd", Version: "3.6.8", Location: "github.com/etcd/v3.6.8/etcd-3.6.8"}, "put the file there"},
	} {
		_, err := s.Digests(t.Context(), []Wanted{c.w})
		var adviser interface{ Hint() string }
		if !errors.As(err, &adviser) || !strings.HasPrefix(adviser.Hint(), c.hint) {
			t.Errorf("%s: %v, hint %v", c.name, err, adviser)
		}
		if err == nil || !strings.Contains(err.Error(), c.w.Name+" "+c.w.Version+": ") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

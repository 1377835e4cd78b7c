package release

import (
	"errors"
	"net"
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

// Package components builds the real Kubernetes components for the lab, from
// ordinary module builds and a few Debian packages, into a Mirror: a folder
// with the layout of the official download locations and their checksum files.
//
// What is built is cached by version. Each piece (all Kubernetes binaries,
// etcd, containerd …) lives under a key of its name, its version and a hash of
// its recipe, so that a new version or a changed recipe rebuilds that piece and
// nothing else, and the mirror may hold several versions side by side. The key
// does not cover the Go toolchain or the revision of a Debian package: an update
// of those is no reason to spend the minutes again.
//
// The caller owes it a Go toolchain on PATH with access to a module proxy, and
// Debian 12 on amd64 with apt-get and dpkg-deb; BuildFlannel also wants gcc and
// the C library's headers. Missing apt package lists are fetched, as root.
package components

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// The platform of everything in the mirror.
const (
	goos   = "linux"
	goarch = "amd64"
)

// parallelPieces bounds how many pieces are built at once. The compiler already
// uses every core; a second piece fills the gaps (linking, downloads, gzip).
const parallelPieces = 2

// heartbeat is how often a running build says that it is still at work.
const heartbeat = time.Minute

// Builder fills a mirror. The zero value is not ready: set Versions, usually to
// Default().
type Builder struct {
	// CacheDir/mirror becomes the mirror; CacheDir/components holds the pieces it
	// is made of and the logs of their builds. Empty means DefaultCacheDir.
	CacheDir string

	Versions Versions

	// Log receives progress, one line a call without a newline; calls don't
	// overlap. It may be nil.
	Log func(format string, args ...any)

	logging sync.Mutex
}

// DefaultCacheDir is kinstall/lab in the user's cache directory.
func DefaultCacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("components: find the cache directory: %w", err)
	}
	return filepath.Join(dir, "kinstall", "lab"), nil
}

// Build brings everything but flannel into the mirror. What is there already is
// not built again, and a build that fails or is cancelled leaves nothing
// half-written behind. Builders of several processes wait for each other.
func (b *Builder) Build(ctx context.Context) (Mirror, error) {
	if err := b.Versions.validate(); err != nil {
		return Mirror{}, err
	}
	return b.fill(ctx, clusterPieces(b.Versions))
}

// BuildKubernetes brings the binaries and images of another version of
// Kubernetes into the same mirror, beside those that are there; the mirror that
// it returns lists these only.
func (b *Builder) BuildKubernetes(ctx context.Context, version string) (Mirror, error) {
	v := b.Versions
	v.Kubernetes = version
	if err := v.validate(); err != nil {
		return Mirror{}, err
	}
	return b.fill(ctx, []piece{kubernetesPiece(v)})
}

// BuildFlannel brings flanneld and its image into the same mirror; the mirror
// that it returns lists these only.
func (b *Builder) BuildFlannel(ctx context.Context) (Mirror, error) {
	if err := b.Versions.validate(); err != nil {
		return Mirror{}, err
	}
	return b.fill(ctx, []piece{flannelPiece(b.Versions)})
}

// BuildDocker brings Docker's static release into the same mirror; the mirror
// that it returns lists this only.
func (b *Builder) BuildDocker(ctx context.Context) (Mirror, error) {
	if err := b.Versions.validate(); err != nil {
		return Mirror{}, err
	}
	return b.fill(ctx, []piece{dockerPiece(b.Versions, &debian{})})
}

// fill makes sure that the pieces are in the cache and in the mirror.
func (b *Builder) fill(ctx context.Context, pieces []piece) (_ Mirror, err error) {
	if runtime.GOOS != goos || runtime.GOARCH != goarch {
		return Mirror{}, fmt.Errorf("components: build for %s/%s: only %s/%s is supported",
			runtime.GOOS, runtime.GOARCH, goos, goarch)
	}
	s, err := b.open(ctx)
	if err != nil {
		return Mirror{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	m := Mirror{Dir: s.mirror()}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelPieces)
	for _, p := range pieces {
		m.Files = append(m.Files, p.files...)
		st, err := s.stamp(p)
		if err != nil {
			return Mirror{}, err
		}
		if st.intact(s.piece(p)) {
			continue
		}
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err() // another piece has failed: start no more
			}
			return b.build(ctx, s, p)
		})
	}
	if err := group.Wait(); err != nil {
		return Mirror{}, err
	}
	for _, p := range pieces {
		if err := s.publish(p); err != nil {
			return Mirror{}, err
		}
	}
	return m, nil
}

// open locks the cache, waiting for whoever holds it.
func (b *Builder) open(ctx context.Context) (*store, error) {
	dir := b.CacheDir
	if dir == "" {
		var err error
		if dir, err = DefaultCacheDir(); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("components: %w", err)
	}
	return openStore(ctx, dir, func() {
		b.logf("components: waiting for another build in %s", dir)
	})
}

// build builds one piece into the store and says how it goes.
func (b *Builder) build(ctx context.Context, s *store, p piece) error {
	b.logf("components: %s %s: building", p.name, p.version)
	start := time.Now()
	elapsed := func() time.Duration { return time.Since(start).Round(time.Second) }

	stop := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				b.logf("components: %s %s: still building after %s", p.name, p.version, elapsed())
			}
		}
	})
	st, err := s.build(ctx, p)
	close(stop)
	beating.Wait()
	if err != nil {
		return fmt.Errorf("components: %s %s: %w", p.name, p.version, err)
	}
	b.logf("components: %s %s: built in %s (%.1f MB)", p.name, p.version, elapsed(), float64(st.size())/1e6)
	return nil
}

func (b *Builder) logf(format string, args ...any) {
	if b.Log == nil {
		return
	}
	b.logging.Lock()
	defer b.logging.Unlock()
	b.Log(format, args...)
}

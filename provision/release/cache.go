package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The cache directory holds
//
//	sha256/HEX      downloads by digest; HEX.part while under way
//	stamps/HEX      what a file was like when it was hashed last, by its path
//	images/HEX      which archive an image became, by its reference and digest
//	locks/HEX       flock files, never removed: that would race
//
// Stamps and images are conveniences: lost or damaged ones cost time only.
func (s *Store) cached(digest string) string { return filepath.Join(s.cacheDir, "sha256", digest) }

func nameOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// stamp tells whether a file is still the one that was hashed. Change time and
// inode are part of it because size and modification time can be put back.
type stamp struct {
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	Modified int64  `json:"mtime_ns"`
	Changed  int64  `json:"ctime_ns"`
	Inode    uint64 `json:"inode"`
	SHA256   string `json:"sha256,omitempty"`
}

func stampOf(path string, f *os.File) (stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	if !info.Mode().IsRegular() {
		return stamp{}, fmt.Errorf("%s: is not a regular file", path)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return stamp{}, fmt.Errorf("stat %s: %w", path, err)
	}
	changed := time.Unix(st.Ctim.Unix())
	return stamp{Path: path, Size: info.Size(), Modified: info.ModTime().UnixNano(), Changed: changed.UnixNano(), Inode: st.Ino}, nil
}

// hashFile returns a file's digest, from its stamp if nothing moved since.
func (s *Store) hashFile(ctx context.Context, path string) (string, error) {
	return s.once(ctx, "hash "+path, func() (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		before, err := stampOf(path, f)
		if err != nil {
			return "", err
		}
		if known, ok := s.known(before); ok {
			return known, nil
		}
		hash := sha256.New()
		if _, err := io.Copy(hash, contextReader{ctx, f}); err != nil {
			return "", fmt.Errorf("hash %s: %w", path, err)
		}
		digest := hex.EncodeToString(hash.Sum(nil))
		after, err := stampOf(path, f)
		if err != nil {
			return "", err
		}
		// A file that is being written, or was a moment ago, may change again
		// within the resolution of its times: it is hashed anew next time.
		if after == before && time.Since(time.Unix(0, after.Changed)) > 100*time.Millisecond {
			s.remember(after, digest)
		}
		return digest, nil
	})
}

func (s *Store) cachePath(folder, key string) string {
	return filepath.Join(s.cacheDir, folder, nameOf(key))
}

func (s *Store) stampPath(path string) string { return s.cachePath("stamps", path) }

// known returns the remembered digest of a file that is still as it was.
func (s *Store) known(now stamp) (string, bool) {
	var then stamp
	if !readJSON(s.stampPath(now.Path), &then) || !isDigest(then.SHA256) {
		return "", false
	}
	digest := then.SHA256
	then.SHA256 = ""
	return digest, then == now
}

func (s *Store) remember(st stamp, digest string) {
	st.SHA256 = digest
	writeJSON(s.stampPath(st.Path), st)
}

// readJSON reads a record of the cache; false if there is none or it is damaged.
func readJSON(path string, value any) bool {
	data, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(data, value) == nil
}

// writeJSON writes a record of the cache. A record that can't be written is
// not an error: all it can do is save time.
func writeJSON(path string, value any) {
	data, err := json.Marshal(value)
	if err != nil || os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return
	}
	_, writeErr := f.Write(data)
	if err := f.Close(); err != nil || writeErr != nil || os.Rename(f.Name(), path) != nil {
		os.Remove(f.Name())
	}
}

// partial is a file of the cache that is not complete yet.
type partial struct{ *os.File }

// newPartial starts a file afresh, over what an interrupted run left of it.
// The caller holds the lock of that name.
func (s *Store) newPartial(name string) (*partial, error) {
	dir := filepath.Join(s.cacheDir, "sha256")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make cache directory: %w", err)
	}
	path := filepath.Join(dir, name+".part")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &partial{f}, nil
}

func (p *partial) discard() {
	p.Close()
	os.Remove(p.Name())
}

// keep puts a complete file into its place, on disk before it bears its name.
func (s *Store) keep(p *partial, digest string) error {
	path := s.cached(digest)
	if err := p.Sync(); err != nil {
		return err
	}
	if err := os.Rename(p.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return err
	}
	if st, err := stampOf(path, p.File); err == nil { // nobody but us has written it
		s.remember(st, digest)
	}
	return p.Close()
}

// lock holds the lock of a name in the cache against other processes.
func (s *Store) lock(ctx context.Context, name string) (unlock func(), err error) {
	dir := filepath.Join(s.cacheDir, "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make cache directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock cache: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			f.Close()
			return nil, fmt.Errorf("lock cache: %w", err)
		}
		// Polled, because a waiting flock can't be cancelled.
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			f.Close()
			return nil, err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

package release

import (
	"context"
	"fmt"
	"os"
)

// Fetch returns the path of a local file whose SHA-256 was found to be the
// given one: in the cache, or in the source itself if that is a directory. The
// caller must not change the file.
//
// Progress, which may be nil, is told how many bytes of a download are there
// and how many there will be, -1 if that isn't known; it is called from one
// goroutine at a time, but not from the caller's own. Where several callers
// want the same file, only the first one's is called.
func (s *Store) Fetch(ctx context.Context, location, sha256 string, progress func(done, total int64)) (string, error) {
	if !isDigest(sha256) {
		return "", fmt.Errorf("fetch %s: %q is not a SHA-256 in lower-case hex", location, sha256)
	}
	at, err := s.locate(location)
	if err != nil {
		return "", fmt.Errorf("fetch artifact: %w", err)
	}
	if at.path != "" {
		got, err := s.hashFile(ctx, at.path)
		switch {
		case isMissing(err):
			return "", fmt.Errorf("fetch artifact: %w", missing(at.path, nil))
		case err != nil:
			return "", fmt.Errorf("fetch artifact: %w", err)
		case got != sha256:
			return "", fmt.Errorf("fetch artifact: %w", mismatch(at.path, at.path, sha256, got))
		}
		return at.path, nil
	}
	path, err := s.once(ctx, "fetch "+sha256, func() (string, error) { return s.fetch(ctx, location, at, sha256, progress) })
	if err != nil {
		return "", fmt.Errorf("fetch artifact: %w", err)
	}
	return path, nil
}

func mismatch(from, path, want, got string) *MismatchError {
	e := &MismatchError{From: from, Want: want, Got: got}
	if info, err := os.Stat(path); err == nil {
		e.Size = info.Size()
	}
	return e
}

// fetch fills the cache, unless it has the file.
func (s *Store) fetch(ctx context.Context, location string, at target, want string, progress func(done, total int64)) (string, error) {
	if s.intact(ctx, want) {
		return s.cached(want), nil
	}
	if image, ok := s.fromRegistry(location); ok {
		got, err := s.pull(ctx, image, progress)
		if err != nil {
			return "", err
		}
		if got != want {
			e := mismatch(image, s.cached(got), want, got)
			e.hint = "the tag names another image than before, or its archive was made by another version of kinstall; if that is as it should be, remove the line of " + location + " from the lock file"
			return "", e
		}
		return s.cached(got), nil
	}
	unlock, err := s.lock(ctx, want)
	if err != nil {
		return "", err
	}
	defer unlock()
	if s.intact(ctx, want) { // another process was quicker
		return s.cached(want), nil
	}
	p, err := s.newPartial(want)
	if err != nil {
		return "", err
	}
	defer p.discard()
	got, err := s.download(ctx, at.url, p.File, progress)
	if err != nil {
		return "", err
	}
	if got != want {
		return "", mismatch(at.String(), p.Name(), want, got)
	}
	if err := s.keep(p, want); err != nil {
		return "", fmt.Errorf("keep %s in the cache: %w", location, err)
	}
	return s.cached(want), nil
}

// intact reports whether the cache has a file, and has it unchanged. One that
// is not what its name says is removed.
func (s *Store) intact(ctx context.Context, digest string) bool {
	path := s.cached(digest)
	got, err := s.hashFile(ctx, path)
	if err != nil {
		return false
	}
	if got != digest {
		os.Remove(path)
		os.Remove(s.stampPath(path))
		return false
	}
	return true
}

package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"github.com/kinstall/kinstall/plan/fault"
)

// Digest finds out the lower-case hex SHA-256 that a file ought to have, in
// this order: as pinned by its name; as the source's checksum file says; for a
// local file without one, as it is; for an image nobody publishes, as its
// archive turns out, which is pulled into the cache for that.
//
// A mirror may hold a checksum file LOCATION.sha256 where the official source
// has none, as for archives of images.
func (s *Store) Digest(ctx context.Context, w Wanted) (string, error) {
	if w.Image != "" {
		s.mu.Lock()
		s.images[w.Location] = w.Image
		s.mu.Unlock()
	}
	if digest, ok := s.pinned[w.Name]; ok {
		return digest, nil
	}
	at, err := s.locate(w.Location)
	if err != nil {
		return "", fmt.Errorf("find digest of %s: %w", w.title(), err)
	}
	if image, ok := s.fromRegistry(w.Location); ok {
		digest, err := s.pull(ctx, image, nil)
		if err != nil {
			return "", fmt.Errorf("find digest of %s: %w", w.title(), err)
		}
		return digest, nil
	}
	if at.path != "" { // known now rather than in the middle of an apply
		if _, err := os.Stat(at.path); isMissing(err) {
			return "", fmt.Errorf("find digest of %s: %w", w.title(), missing(at.path, s.versions(w)))
		}
	}
	digest, err := s.published(ctx, w, at)
	if isMissing(err) && at.path != "" {
		digest, err = s.hashFile(ctx, at.path)
	}
	if err != nil {
		return "", fmt.Errorf("find digest of %s: %w", w.title(), err)
	}
	return digest, nil
}

// title is what an error calls it: "kubelet 1.36.3".
func (w Wanted) title() string {
	if w.Version == "" {
		return w.Name
	}
	return w.Name + " " + w.Version
}

// versions are those that a local source has of a file, sorted as text.
func (s *Store) versions(w Wanted) []string {
	if w.Version == "" || s.dir == "" || !strings.Contains(w.Location, w.Version) {
		return nil
	}
	first, _, _ := strings.Cut(w.Location, w.Version)
	folder, prefix := path.Split(first) // "dl.k8s.io/release/", "v"
	entries, err := os.ReadDir(filepath.Join(s.dir, filepath.FromSlash(folder)))
	if err != nil {
		return nil // it has nothing of it
	}
	var found []string
	for _, entry := range entries {
		version, ok := strings.CutPrefix(entry.Name(), prefix)
		if !ok {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.dir, filepath.FromSlash(strings.ReplaceAll(w.Location, w.Version, version)))); err == nil {
			found = append(found, version)
		}
	}
	return found
}

func noChecksum(name, location string) error {
	return &advised{
		fmt.Errorf("%s: the source publishes no SHA-256 of it", location),
		fmt.Sprintf("pin it in the inventory: artifacts { sha256 = { %q = \"…\" } }", name),
	}
}

// published reads the digest from the source's checksum file; an error that
// isMissing says there is none.
func (s *Store) published(ctx context.Context, w Wanted, at target) (string, error) {
	location := w.ChecksumLocation
	switch {
	case filepath.IsAbs(w.Location): // a file of the operator's own has no source
		return "", fs.ErrNotExist
	case location == "" && s.mirror != nil:
		location = w.Location + ".sha256"
	case location == "" && at.path != "":
		return "", fs.ErrNotExist
	case location == "":
		return "", noChecksum(w.Name, w.Location)
	}
	from, err := s.locate(location)
	if err != nil {
		return "", err
	}
	data, err := s.readSmall(ctx, from)
	if err != nil {
		if isMissing(err) && from.url != nil {
			return "", errors.Join(noChecksum(w.Name, w.Location), err)
		}
		return "", err
	}
	digest, err := parseChecksum(data, w.Location)
	if err != nil {
		return "", fmt.Errorf("%s: %w", from, err)
	}
	return digest, nil
}

// Digests finds out the digests of many files, by location. It goes on after
// an error and returns all errors joined, beside the digests that were found.
func (s *Store) Digests(ctx context.Context, wanted []Wanted) (map[string]string, error) {
	var order []Wanted
	seen := map[Wanted]bool{}
	for _, w := range wanted {
		if !seen[w] {
			seen[w] = true
			order = append(order, w)
		}
	}
	sort.SliceStable(order, func(i, j int) bool { return order[i].Location < order[j].Location })
	digests, errs := make([]string, len(order)), make([]error, len(order))
	slots := make(chan struct{}, parallel)
	fault.Each(len(order), func(i int) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			digests[i], errs[i] = s.Digest(ctx, order[i])
		case <-ctx.Done():
			errs[i] = ctx.Err()
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err // once, and not for every file
	}
	found := map[string]string{}
	for i, w := range order {
		if errs[i] != nil {
			continue
		}
		if other, ok := found[w.Location]; ok && other != digests[i] {
			errs[i] = fmt.Errorf("%s is pinned to two digests, %s and %s", w.Location, other, digests[i])
			continue
		}
		found[w.Location] = digests[i]
	}
	return found, errors.Join(errs...)
}

// parseChecksum finds the digest of a location in a checksum file: the bare
// hex, or lines "HEX  FILE" or "HEX *FILE" as sha256sum writes them, whose FILE
// is the location's last elements. Other lines, like those of a signature
// around it, are skipped: the file's integrity rests on https, not on them.
func parseChecksum(data []byte, location string) (string, error) {
	if bare := strings.ToLower(strings.TrimSpace(string(data))); isDigest(bare) {
		return bare, nil
	}
	found := ""
	for line := range strings.Lines(string(data)) {
		digest, file, ok := strings.Cut(strings.TrimSpace(line), " ")
		if digest = strings.ToLower(digest); !ok || !isDigest(digest) {
			continue
		}
		file = strings.TrimPrefix(strings.TrimPrefix(strings.TrimLeft(file, " "), "*"), "./")
		if file == "" || !strings.HasSuffix("/"+location, "/"+file) {
			continue
		}
		if found != "" && found != digest {
			return "", fmt.Errorf("it has two digests of %s", file)
		}
		found = digest
	}
	if found == "" {
		return "", fmt.Errorf("it has no SHA-256 of %s", path.Base(location))
	}
	return found, nil
}

package components

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
)

// debian fetches packages without installing them. One is shared by all pieces
// of a run, since apt's lists are.
type debian struct {
	updating sync.Mutex
}

// unpack downloads the package in the version that apt prefers, and returns the
// folder its files were unpacked into and its version.
func (d *debian) unpack(ctx context.Context, w *workshop, name string) (dir, version string, err error) {
	packages, err := w.mkdir("package")
	if err != nil {
		return "", "", err
	}
	if err := d.download(ctx, w, packages, name); err != nil {
		return "", "", err
	}
	// The file's name holds the version and the architecture.
	found, err := filepath.Glob(filepath.Join(packages, name+"_*.deb"))
	if err != nil {
		return "", "", err
	}
	if len(found) != 1 {
		return "", "", fmt.Errorf("apt-get download %s left %d packages, want 1", name, len(found))
	}
	out, err := w.run(ctx, command{dir: packages, argv: []string{"dpkg-deb", "--field", found[0], "Version"}})
	if err != nil {
		return "", "", err
	}
	if dir, err = w.mkdir("unpacked"); err != nil {
		return "", "", err
	}
	if _, err := w.run(ctx, command{dir: packages, argv: []string{"dpkg-deb", "--extract", found[0], dir}}); err != nil {
		return "", "", err
	}
	return dir, strings.TrimSpace(string(out)), nil
}

// download fetches the package file, with a fresh index if the one here does not
// know the package, or knows a version that the archive has since replaced.
func (d *debian) download(ctx context.Context, w *workshop, dir, name string) error {
	d.updating.Lock()
	defer d.updating.Unlock()
	get := command{dir: dir, argv: []string{"apt-get", "--quiet", "download", name}}
	_, first := w.run(ctx, get)
	if first == nil || ctx.Err() != nil {
		return first
	}
	if _, err := w.run(ctx, command{dir: dir, argv: []string{"apt-get", "--quiet", "update"}}); err != nil {
		return errors.Join(first, err)
	}
	_, err := w.run(ctx, get)
	return err
}

// upstream returns the upstream part of a Debian version, without the epoch, the
// Debian revision and the mark of a repacked source ("1.1.5+ds1-1" is "1.1.5"),
// as deb-version(7) has it.
func upstream(version string) string {
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		version = version[:i]
	}
	version, _, _ = strings.Cut(version, "+")
	return version
}

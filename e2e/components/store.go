package components

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A piece is what is built, cached and replaced as one.
type piece struct {
	name    string
	version string
	files   []File // what build must leave; their checksum files are the store's work

	// recipe is all that decides what the piece becomes, as plain data fit for
	// encoding/json: module requirements, sources, flags, image configuration.
	recipe any

	// revision is raised by hand when the code of build changes what it makes.
	revision int

	build func(context.Context, *workshop) error
}

// storeRevision is raised when a change of this package (checksum files,
// archives, images) makes every cached piece worthless.
const storeRevision = 1

// key names the piece in the cache: readable, and different whenever the piece
// could turn out different.
func (p piece) key() (string, error) {
	recipe, err := json.Marshal(struct {
		Name, Version   string
		Files           []File
		Recipe          any
		Revision, Store int
	}{p.name, p.version, p.files, p.recipe, p.revision, storeRevision})
	if err != nil {
		return "", fmt.Errorf("components: recipe of %s: %w", p.name, err)
	}
	sum := sha256.Sum256(recipe)
	return p.name + "-" + p.version + "-" + hex.EncodeToString(sum[:6]), nil
}

// stamp tells what a complete piece consists of. It is written last.
type stamp struct {
	Key   string            `json:"key"`
	Files map[string]status `json:"files"` // by path below the piece's files folder
}

type status struct {
	Size    int64     `json:"size"`
	ModTime time.Time `json:"modTime"`
}

func (s status) of(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && info.Size() == s.Size && info.ModTime().Equal(s.ModTime)
}

// intact reports whether every file is there with the size and time it was
// built with. It reads none: that is what Mirror.Check is for.
func (s stamp) intact(dir string) bool {
	if len(s.Files) == 0 {
		return false
	}
	for name, want := range s.Files {
		info, err := os.Lstat(filepath.Join(dir, "files", filepath.FromSlash(name)))
		if err != nil || !want.of(info) {
			return false
		}
	}
	return true
}

func (s stamp) size() int64 {
	var n int64
	for _, f := range s.Files {
		n += f.Size
	}
	return n
}

// store is the builder's part of a cache directory that it shares with the rest
// of the lab, locked against other builders:
//
//	mirror/                        the mirror, hard links into pieces
//	components/lock
//	components/pieces/KEY/files/   one piece, with paths as in the mirror
//	components/pieces/KEY/stamp.json
//	components/logs/KEY.log        what the commands of its last build said
//	components/tmp/                builds under way
type store struct {
	dir  string
	lock *os.File
}

// openStore makes and locks the store; waiting is called once if that can't be
// done at once.
func openStore(ctx context.Context, dir string, waiting func()) (*store, error) {
	s := &store{dir: dir}
	for _, d := range []string{s.mirror(), s.own("pieces"), s.own("logs")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("components: make the cache: %w", err)
		}
	}
	lock, err := os.OpenFile(s.own("lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("components: lock the cache: %w", err)
	}
	if err := flock(ctx, lock, waiting); err != nil {
		lock.Close()
		return nil, fmt.Errorf("components: lock %s: %w", lock.Name(), err)
	}
	s.lock = lock
	// Whatever is under way belongs to a builder that died: the lock is ours.
	if err := os.RemoveAll(s.tmp()); err != nil {
		return nil, errors.Join(fmt.Errorf("components: clear the cache: %w", err), s.close())
	}
	return s, nil
}

// flock takes the lock, asking again at intervals, since a blocking flock would
// not end with ctx.
func flock(ctx context.Context, f *os.File, waiting func()) error {
	const interval = 200 * time.Millisecond
	for first := true; ; first = false {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
	}
}

func (s *store) close() error { return s.lock.Close() }

func (s *store) mirror() string { return filepath.Join(s.dir, "mirror") }
func (s *store) tmp() string    { return s.own("tmp") }

func (s *store) own(elements ...string) string {
	return filepath.Join(append([]string{s.dir, "components"}, elements...)...)
}

// piece returns the folder of a piece whose key is known to be sound.
func (s *store) piece(p piece) string {
	key, err := p.key()
	if err != nil {
		return ""
	}
	return s.own("pieces", key)
}

// stamp returns the stamp of the piece; an empty one when the piece has none or
// one that can't be used, which comes to the same: it must be built.
func (s *store) stamp(p piece) (stamp, error) {
	key, err := p.key()
	if err != nil {
		return stamp{}, err
	}
	data, err := os.ReadFile(s.own("pieces", key, "stamp.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return stamp{}, nil
	}
	if err != nil {
		return stamp{}, fmt.Errorf("components: %w", err)
	}
	var st stamp
	if json.Unmarshal(data, &st) != nil || st.Key != key {
		return stamp{}, nil //nolint:nilerr // a stamp that can't be read is as good as none
	}
	return st, nil
}

// build builds the piece aside and moves it into place once complete.
func (s *store) build(ctx context.Context, p piece) (_ stamp, err error) {
	key, err := p.key()
	if err != nil {
		return stamp{}, err
	}
	if err := os.MkdirAll(s.tmp(), 0o755); err != nil {
		return stamp{}, err
	}
	aside, err := os.MkdirTemp(s.tmp(), p.name+"-")
	if err != nil {
		return stamp{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(aside)) }()

	log, err := os.Create(s.own("logs", key+".log"))
	if err != nil {
		return stamp{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	w := &workshop{dir: filepath.Join(aside, "work"), files: filepath.Join(aside, "piece", "files"), log: log}
	if err := w.lay(p.files); err != nil {
		return stamp{}, err
	}
	if err := p.build(ctx, w); err != nil {
		return stamp{}, err
	}
	st, err := seal(key, filepath.Join(aside, "piece"), p.files)
	if err != nil {
		return stamp{}, err
	}
	place := s.own("pieces", key)
	if err := os.RemoveAll(place); err != nil {
		return stamp{}, err
	}
	if err := os.Rename(filepath.Join(aside, "piece"), place); err != nil {
		return stamp{}, err
	}
	return st, nil
}

// seal writes the checksum files of a finished piece and then its stamp.
func seal(key, dir string, files []File) (stamp, error) {
	st := stamp{Key: key, Files: map[string]status{}}
	note := func(name string) error {
		info, err := os.Lstat(filepath.Join(dir, "files", filepath.FromSlash(name)))
		if err != nil {
			return fmt.Errorf("built, but without %s: %w", name, err)
		}
		if !info.Mode().IsRegular() || info.Size() == 0 {
			return fmt.Errorf("built, but %s is empty or no regular file", name)
		}
		st.Files[name] = status{Size: info.Size(), ModTime: info.ModTime()}
		return nil
	}
	sums := map[string]string{}
	for _, f := range files {
		if err := note(f.Path); err != nil {
			return stamp{}, err
		}
		digest, err := digestFile(filepath.Join(dir, "files", filepath.FromSlash(f.Path)))
		if err != nil {
			return stamp{}, err
		}
		sums[f.Checksum] += f.line(digest)
	}
	for name, content := range sums {
		if err := os.WriteFile(filepath.Join(dir, "files", filepath.FromSlash(name)), []byte(content), 0o644); err != nil {
			return stamp{}, err
		}
		if err := note(name); err != nil {
			return stamp{}, err
		}
	}
	data, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return stamp{}, err
	}
	return st, os.WriteFile(filepath.Join(dir, "stamp.json"), append(data, '\n'), 0o644)
}

// publish makes the mirror show the files of a piece that is in the cache,
// leaving alone those it shows already.
func (s *store) publish(p piece) error {
	st, err := s.stamp(p)
	if err != nil {
		return err
	}
	for name := range st.Files {
		from := filepath.Join(s.piece(p), "files", filepath.FromSlash(name))
		if err := link(from, filepath.Join(s.mirror(), filepath.FromSlash(name)), s.tmp()); err != nil {
			return fmt.Errorf("components: mirror %s: %w", name, err)
		}
	}
	return nil
}

// link makes to a hard link to from, replacing in one step what was there.
func link(from, to, tmp string) error {
	source, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(to); err == nil && os.SameFile(source, info) {
		return nil
	}
	for _, dir := range []string{filepath.Dir(to), tmp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	aside, err := os.MkdirTemp(tmp, "link-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	if err := os.Link(from, filepath.Join(aside, "file")); err != nil {
		return err
	}
	return os.Rename(filepath.Join(aside, "file"), to)
}

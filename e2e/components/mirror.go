package components

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// File is one download of the mirror.
type File struct {
	Path     string // below Mirror.Dir, slash-separated: host, then the path of the official URL
	Checksum string // the file that holds its SHA-256, in the same notation; may serve several files

	// bare says that the checksum file is the hex digest and nothing else, as at
	// dl.k8s.io, instead of sha256sum's "<hex>  <file>" lines.
	bare bool
}

// Mirror is a folder that holds what `wget -x` of the official locations would
// leave, so that it can stand in for them as the source of artifacts.
//
// Its files are hard links into the builder's cache. Do not write to them in
// place: copy one first to try what happens to an altered or truncated download.
type Mirror struct {
	Dir   string // absolute
	Files []File // in a fixed order
}

// Check reads every file and compares it with its checksum file. The error
// joins one error for each file that is missing or differs.
func (m Mirror) Check() error {
	var errs []error
	for _, f := range m.Files {
		if err := m.check(f); err != nil {
			errs = append(errs, fmt.Errorf("components: check %s: %w", f.Path, err))
		}
	}
	return errors.Join(errs...)
}

func (m Mirror) check(f File) error {
	sums, err := os.ReadFile(filepath.Join(m.Dir, filepath.FromSlash(f.Checksum)))
	if err != nil {
		return err
	}
	want, err := f.expected(string(sums))
	if err != nil {
		return err
	}
	got, err := digestFile(filepath.Join(m.Dir, filepath.FromSlash(f.Path)))
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("sha-256 is %s, want %s as in %s", got, want, path.Base(f.Checksum))
	}
	return nil
}

// expected finds f's digest in the content of its checksum file.
func (f File) expected(sums string) (string, error) {
	if f.bare {
		return validDigest(strings.TrimSpace(sums))
	}
	for line := range strings.Lines(sums) {
		digest, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if ok && name == path.Base(f.Path) {
			return validDigest(digest)
		}
	}
	return "", fmt.Errorf("%s does not list %s", path.Base(f.Checksum), path.Base(f.Path))
}

// line is what f's checksum file says about a file of that digest.
func (f File) line(digest string) string {
	if f.bare {
		return digest
	}
	return digest + "  " + path.Base(f.Path) + "\n"
}

func validDigest(s string) (string, error) {
	if b, err := hex.DecodeString(s); err != nil || len(b) != sha256.Size {
		return "", fmt.Errorf("%.80q is no sha-256", s)
	}
	return strings.ToLower(s), nil
}

// digestFile returns the SHA-256 of a file in hex.
func digestFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

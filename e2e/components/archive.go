package components

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// entry is one entry of a tar archive. Owner, times and order are fixed by
// writeTar, so that the same entries always make the same bytes.
type entry struct {
	name string // as it stands in the archive; a folder ends with "/"
	mode int64  // permission bits; a folder's, a file's
	from string // file whose content is taken, or
	data string // the content itself, or
	link string // the target of a symbolic link
}

// timestamp is the modification time of all that is written into archives and
// images: the epoch, for archives that depend on their content alone.
func timestamp() time.Time { return time.Unix(0, 0).UTC() }

func writeTar(w io.Writer, entries []entry) error {
	tw := tar.NewWriter(w)
	for _, e := range entries {
		if err := writeEntry(tw, e); err != nil {
			return fmt.Errorf("archive %s: %w", e.name, err)
		}
	}
	return tw.Close()
}

func writeEntry(tw *tar.Writer, e entry) error {
	h := &tar.Header{Name: e.name, Mode: e.mode, ModTime: timestamp()}
	switch {
	case e.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
		return tw.WriteHeader(h)
	case e.name[len(e.name)-1] == '/':
		h.Typeflag = tar.TypeDir
		return tw.WriteHeader(h)
	case e.from != "":
		f, err := os.Open(e.from)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err = io.Copy(tw, f)
		return err
	default:
		h.Typeflag, h.Size = tar.TypeReg, int64(len(e.data))
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.WriteString(tw, e.data)
		return err
	}
}

// writeTarGz makes a .tar.gz of the entries, in their order.
func writeTarGz(name string, entries []entry) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return compressTar(f, entries)
}

func compressTar(w io.Writer, entries []entry) error {
	zw := gzip.NewWriter(w)
	if err := writeTar(zw, entries); err != nil {
		return err
	}
	return zw.Close()
}

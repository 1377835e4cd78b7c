package release

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sort"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// nameAnnotation is where containerd, and docker save since 25, put an image's
// full name in an OCI index.
const nameAnnotation = "io.containerd.image.name"

// maxIndex bounds an archive's table of contents, in bytes.
const maxIndex = 4 << 20

// ArchiveTags returns the names an archive of images gives to them, sorted and
// as containerd has them after importing it ("docker.io/library/nginx:1.29"
// for "nginx:1.29"). The archive is a docker-archive or an OCI archive, plain or
// compressed with gzip. Like containerd it believes the OCI index if there is
// one. None is no error: images may be without a name.
func ArchiveTags(archivePath string) ([]string, error) {
	f, err := os.Open(archivePath)
	if err != nil {
		return nil, fmt.Errorf("read image archive: %w", err)
	}
	defer f.Close()
	tags, err := archiveTags(f)
	if err != nil {
		return nil, fmt.Errorf("read image archive %s: %w", archivePath, err)
	}
	return tags, nil
}

func archiveTags(f io.ReadSeeker) ([]string, error) {
	var archive io.Reader = f // tar seeks over the layers if it can
	magic := make([]byte, 2)
	if n, err := io.ReadFull(f, magic); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	} else if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	} else if n == 2 && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			return nil, err
		}
		archive = unzipped
	}
	var (
		manifest           tarball.Manifest
		index              v1.IndexManifest
		isDocker, isLayout bool
	)
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch path.Clean(header.Name) {
		case "manifest.json":
			isDocker = true
			err = readEntry(r, header, &manifest)
		case "index.json":
			isLayout = true
			err = readEntry(r, header, &index)
		}
		if err != nil {
			return nil, err
		}
	}
	if !isDocker && !isLayout {
		return nil, errors.New("it is neither a docker-archive nor an OCI archive: no manifest.json, no index.json")
	}
	seen := map[string]bool{}
	if isLayout {
		for _, m := range index.Manifests {
			if tag := m.Annotations[nameAnnotation]; tag != "" {
				seen[tag] = true
			}
		}
	} else {
		for _, d := range manifest {
			for _, tag := range d.RepoTags {
				seen[fullName(tag)] = true
			}
		}
	}
	tags := make([]string, 0, len(seen))
	for tag := range seen {
		tags = append(tags, tag)
	}
	sort.Strings(tags)
	return tags, nil
}

func readEntry(r io.Reader, header *tar.Header, value any) error {
	if header.Size > maxIndex {
		return fmt.Errorf("%s is too large: %d bytes", header.Name, header.Size)
	}
	if err := json.NewDecoder(r).Decode(value); err != nil {
		return fmt.Errorf("%s: %w", header.Name, err)
	}
	return nil
}

// fullName adds what Docker leaves out of a name: its own registry, the
// repository "library", the tag "latest".
func fullName(image string) string {
	tag, err := name.NewTag(image)
	if err != nil {
		return image
	}
	full := tag.Name()
	if rest, ok := strings.CutPrefix(full, name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return full
}

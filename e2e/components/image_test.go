package components

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func writeFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// listTar describes each entry in a line: mode, name, content or target.
func listTar(t *testing.T, r io.Reader) []string {
	t.Helper()
	var lines []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(timestamp()) || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s: time %s, owner %d:%d", h.Name, h.ModTime, h.Uid, h.Gid)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%c %04o %s %s%s", h.Typeflag, h.Mode, h.Name, h.Linkname, content)))
	}
}

func TestImageRoundTrip(t *testing.T) {
	program := writeFile(t, "PROGRAM")
	for tag, tc := range map[string]struct {
		image  image
		config v1.Config
		layer  []string
	}{
		"registry.k8s.io/kube-apiserver-amd64:v1.36.3": {
			image: binaryImage("registry.k8s.io/kube-apiserver-amd64:v1.36.3", "/usr/local/bin/", "kube-apiserver", program),
			config: v1.Config{
				Entrypoint: []string{"/usr/local/bin/kube-apiserver"},
				Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
				WorkingDir: "/",
			},
			layer: []string{
				"5 1777 tmp/", "5 0755 usr/", "5 0755 usr/local/", "5 0755 usr/local/bin/",
				"0 0755 usr/local/bin/kube-apiserver PROGRAM",
			},
		},
		"registry.k8s.io/pause:3.10.1": {
			image: binaryImage("registry.k8s.io/pause:3.10.1", "/", "pause", program),
			config: v1.Config{
				Entrypoint: []string{"/pause"},
				Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
				WorkingDir: "/",
			},
			layer: []string{"5 1777 tmp/", "0 0755 pause PROGRAM"},
		},
		Toolbox: {
			image:  toolboxImage(program, map[string]string{"fetch": program, "stream": program}, []string{"busybox", "nc", "sh"}),
			config: v1.Config{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin"}, WorkingDir: "/"},
			layer: []string{
				"5 0755 bin/", "0 0755 bin/busybox PROGRAM", "0 0755 bin/fetch PROGRAM", "0 0755 bin/stream PROGRAM", "2 0777 bin/nc busybox", "2 0777 bin/sh busybox",
				"5 0755 etc/", "0 0644 etc/group root:x:0:", "0 0644 etc/passwd root:x:0:0:root:/root:/bin/sh",
				"5 0700 root/", "5 1777 tmp/",
			},
		},
	} {
		t.Run(tag, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "image.tar")
			if err := tc.image.write(file); err != nil {
				t.Fatal(err)
			}
			opener := func() (io.ReadCloser, error) { return os.Open(file) }
			manifest, err := tarball.LoadManifest(opener)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tag}, manifest[0].RepoTags); diff != "" || len(manifest) != 1 {
				t.Errorf("%d images, RepoTags (-want +got):\n%s", len(manifest), diff)
			}
			ref, err := name.NewTag(tag)
			if err != nil {
				t.Fatal(err)
			}
			img, err := tarball.Image(opener, &ref)
			if err != nil {
				t.Fatal(err)
			}
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.config, config.Config); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
			if got := config.OS + "/" + config.Architecture; got != "linux/amd64" {
				t.Errorf("platform %s", got)
			}
			layers, err := img.Layers()
			if err != nil || len(layers) != 1 {
				t.Fatalf("%d layers, %v", len(layers), err)
			}
			content, err := layers[0].Uncompressed()
			if err != nil {
				t.Fatal(err)
			}
			defer content.Close()
			if diff := cmp.Diff(tc.layer, listTar(t, content)); diff != "" {
				t.Errorf("layer (-want +got):\n%s", diff)
			}
			again := filepath.Join(t.TempDir(), "again.tar")
			if err := tc.image.write(again); err != nil {
				t.Fatal(err)
			}
			a, errA := os.ReadFile(file)
			b, errB := os.ReadFile(again)
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Errorf("written twice, the archive differs (%v, %v)", errA, errB)
			}
		})
	}
}

func TestImageRefusesBadTag(t *testing.T) {
	err := binaryImage("No Such/Tag", "/", "x", writeFile(t, "x")).write(filepath.Join(t.TempDir(), "x.tar"))
	if err == nil || !strings.Contains(err.Error(), "image No Such/Tag") {
		t.Errorf("error %v", err)
	}
}

func TestTarGz(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.tar.gz")
	err := writeTarGz(file, []entry{
		{name: "bin/", mode: 0o755},
		{name: "bin/ctr", mode: 0o755, from: writeFile(t, "CTR")},
		{name: "README", mode: 0o644, data: "text"},
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"5 0755 bin/", "0 0755 bin/ctr CTR", "0 0644 README text"}
	if diff := cmp.Diff(want, listTar(t, zr)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if err := writeTarGz(file, []entry{{name: "x", from: filepath.Join(t.TempDir(), "absent")}}); !errors.Is(err, os.ErrNotExist) ||
		!strings.Contains(err.Error(), "archive x") {
		t.Errorf("a missing file: error %v", err)
	}
}

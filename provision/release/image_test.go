package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// hub is a registry in this process that counts the layers it hands out.
type hub struct {
	host   string
	layers atomic.Int64
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{}
	serve := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			h.layers.Add(1)
		}
		serve.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	h.host = strings.TrimPrefix(s.URL, "http://")
	return h
}

func newImage(t *testing.T, architecture string) v1.Image {
	t.Helper()
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", architecture
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// push publishes one image for each architecture under a name.
func (h *hub) push(t *testing.T, image string, architectures ...string) (index v1.ImageIndex, amd64 v1.Image) {
	t.Helper()
	index = empty.Index
	for _, architecture := range architectures {
		img := newImage(t, architecture)
		if architecture == "amd64" {
			amd64 = img
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	h.layers.Store(0)
	return index, amd64
}

const pauseAt = "registry.k8s.io/images/pause_3.10.1.tar"

func TestPull(t *testing.T) {
	h := newHub(t)
	image := h.host + "/pause:3.10.1"
	_, amd64 := h.push(t, image, "arm64", "amd64", "s390x")
	wanted := Wanted{Name: "image/pause", Location: pauseAt, Image: image}

	s := newStore(t)
	digest, err := s.Digest(t.Context(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	path, err := s.Fetch(t.Context(), pauseAt, digest, nil)
	if got := fetched(t, path, err); digestOf(got) != digest {
		t.Errorf("archive has digest %s, want %s", digestOf(got), digest)
	}
	tags, err := ArchiveTags(path)
	if diff := cmp.Diff([]string{image}, tags); diff != "" || err != nil {
		t.Errorf("tags (-want +got):\n%s%v", diff, err)
	}
	archived, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := archived.ConfigName()
	if want, _ := amd64.ConfigName(); got != want {
		t.Errorf("archive has image %s, want the one for amd64, %s", got, want)
	}

	// Asked again, it is not transferred again.
	before := h.layers.Load()
	if again, err := s.Digest(t.Context(), wanted); again != digest || err != nil {
		t.Errorf("digest is now %s (%v)", again, err)
	}
	if after := h.layers.Load(); after > before+1 { // its configuration may be
		t.Errorf("%d blobs were transferred again", after-before)
	}

	// Elsewhere, with the digest from a lock file: the same bytes.
	other := newStore(t, func(c *Config) { c.Images = map[string]string{pauseAt: image} })
	var last, total int64
	path, err = other.Fetch(t.Context(), pauseAt, digest, func(d, n int64) { last, total = d, n })
	if size := int64(len(fetched(t, path, err))); last != size || total != size {
		t.Errorf("progress ended with %d of %d, want %d", last, total, size)
	}
	if left := downloads(t, other); len(left) != 1 || left[0] != digest {
		t.Errorf("cache holds %v", left)
	}

	// The tag moves on: what is there stays good, what isn't is refused.
	h.push(t, image, "amd64")
	if _, err := other.Fetch(t.Context(), pauseAt, digest, nil); err != nil {
		t.Errorf("cached archive: %v", err)
	}
	third := newStore(t, func(c *Config) { c.Images = map[string]string{pauseAt: image} })
	_, err = third.Fetch(t.Context(), pauseAt, digest, nil)
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || mismatch.Size == 0 || !strings.Contains(hint(err), "lock file") {
		t.Errorf("got error %v with hint %q", err, hint(err))
	}
	if moved, err := s.Digest(t.Context(), wanted); moved == digest || err != nil {
		t.Errorf("digest is still %s (%v)", moved, err)
	}
}

func TestPullByDigest(t *testing.T) {
	h := newHub(t)
	index, _ := h.push(t, h.host+"/pause:3.10.1", "amd64")
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	h.push(t, h.host+"/pause:3.10.1", "amd64") // the tag moves on, the digest stays
	s := newStore(t)
	sum, err := s.Digest(t.Context(), Wanted{Name: "image/pause", Location: pauseAt, Image: h.host + "/pause:3.10.1@" + digest.String()})
	if err != nil {
		t.Fatal(err)
	}
	tags, err := ArchiveTags(s.cached(sum))
	if diff := cmp.Diff([]string{h.host + "/pause:3.10.1"}, tags); diff != "" || err != nil {
		t.Errorf("tags (-want +got):\n%s%v", diff, err)
	}
}

func TestPullRefuses(t *testing.T) {
	h := newHub(t)
	h.push(t, h.host+"/arm:1", "arm64")
	ref, err := name.ParseReference(h.host + "/single:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, newImage(t, "arm64")); err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]string{
		h.host + "/absent:1": "404 Not Found",
		h.host + "/arm:1":    "linux/amd64",
		h.host + "/single:1": "for linux/arm64 only",
		"UPPER/case:1":       "UPPER/case:1",
	} {
		s := newStore(t)
		_, err := s.Digest(t.Context(), Wanted{Name: "image/x", Location: pauseAt, Image: image})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), image) {
			t.Errorf("%s: got error %v, want one that says %q", image, err, want)
		}
		if left := downloads(t, s); len(left) != 0 {
			t.Errorf("%s: left behind %v", image, left)
		}
	}
}

func TestRegistryMustEncrypt(t *testing.T) {
	for address, want := range map[string]bool{
		"http://127.0.0.1:5000/v2/": true, "http://localhost/v2/": true, "http://[::1]:5000/v2/": true,
		"http://10.0.0.1:5000/v2/": false, "http://registry.local/v2/": false, "http://localhost.example.com/v2/": false,
	} {
		request, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = encrypted{roundTrip(func() (*http.Response, error) { return &http.Response{}, nil })}.RoundTrip(request)
		if (err == nil) != want {
			t.Errorf("%s: error %v", address, err)
		}
	}
}

type roundTrip func() (*http.Response, error)

func (f roundTrip) RoundTrip(*http.Request) (*http.Response, error) { return f() }

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchiveTags(t *testing.T) {
	tarred := func(files ...string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i := 0; i < len(files); i += 2 {
			if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
				t.Fatal(err)
			}
			io.WriteString(w, files[i+1])
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	manifest := func(tags ...string) string {
		data, err := json.Marshal(tarball.Manifest{{Config: "c.json", RepoTags: tags}})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	index := func(annotations string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"x","size":1,"digest":"sha256:%s","annotations":{%s}}]}`, otherDigest, annotations)
	}
	named := index(`"io.containerd.image.name":"docker.io/library/app:1"`)
	docker := tarred("layer.tar", strings.Repeat("x", 5000), "manifest.json", manifest("registry.k8s.io/kube-proxy-amd64:v1.36.3", "app:1", "app"))
	for name, c := range map[string]struct {
		data []byte
		want []string
		err  string
	}{
		"docker":                   {docker, []string{"docker.io/library/app:1", "docker.io/library/app:latest", "registry.k8s.io/kube-proxy-amd64:v1.36.3"}, ""},
		"docker, gzip":             {gzipped(t, docker), []string{"docker.io/library/app:1", "docker.io/library/app:latest", "registry.k8s.io/kube-proxy-amd64:v1.36.3"}, ""},
		"docker without names":     {tarred("manifest.json", manifest()), []string{}, ""},
		"OCI":                      {tarred("oci-layout", "{}", "./index.json", named), []string{"docker.io/library/app:1"}, ""},
		"OCI with a bare tag only": {tarred("index.json", index(`"org.opencontainers.image.ref.name":"v1"`)), []string{}, ""},
		"both":                     {tarred("manifest.json", manifest("other:1"), "index.json", named), []string{"docker.io/library/app:1"}, ""},
		"neither":                  {tarred("a", "b"), nil, "neither a docker-archive nor an OCI archive"},
		"broken manifest":          {tarred("manifest.json", "["), nil, "manifest.json: unexpected EOF"},
		"truncated":                {docker[:2000], nil, "unexpected EOF"},
		"truncated gzip":           {gzipped(t, docker)[:40], nil, "unexpected EOF"},
		"not a tar":                {bytes.Repeat([]byte("x"), 2000), nil, "invalid tar header"},
		"empty":                    {nil, nil, "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image.tar")
			if err := os.WriteFile(path, c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := ArchiveTags(path)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), path) {
					t.Errorf("got error %v, want one that says %q", err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("tags (-want +got):\n%s%v", diff, err)
			}
		})
	}
}

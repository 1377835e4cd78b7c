package provision

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/ssh"
)

// localReleases are releases that were fetched already.
type localReleases struct {
	mu      sync.Mutex
	files   map[string]string // by location
	fetched []string
}

func (r *localReleases) Fetch(_ context.Context, location, _ string, progress func(done, total int64)) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetched = append(r.fetched, location)
	progress(1, 1)
	file, ok := r.files[location]
	if !ok {
		return "", errors.New(location + ": not found")
	}
	return file, nil
}

// release makes a release of the given bytes and returns its digest.
func (r *localReleases) release(t *testing.T, location string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), path.Base(location))
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	r.files[location] = file
	return resource.SHA256(content)
}

// archive packs files in a gzipped tar, as releases are.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o777, Uid: 1234, Gid: 1234, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (f *testFleet) withReleases(r *localReleases) *Executor {
	e := f.executor()
	e.Releases = r
	return e
}

// uploads lists what lies in a connection's staging directory.
func uploads(t *testing.T, f *testFleet, host string) []string {
	t.Helper()
	dir, err := f.machines[host].ssh().StagingDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestArtifacts(t *testing.T) {
	needRoot(t)
	releases := &localReleases{files: map[string]string{}}
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	const etcd, kubelet, odd = "github.com/etcd/etcd-v3.tar.gz", "dl.k8s.io/v1/kubelet", "example.org/it's odd.tgz"
	etcdSum := releases.release(t, etcd, archive(t, map[string]string{"etcd-v3/etcd": "ETCD", "etcd-v3/etcdctl": "CTL", "etcd-v3/README": "no"}))
	kubeletSum := releases.release(t, kubelet, []byte("KUBELET"))
	oddSum := releases.release(t, odd, archive(t, map[string]string{"a dir/it's $HOME": "ODD"}))
	describe := func(kubeletDigest string) {
		f.steps = nil
		f.step("shaolin", resource.Artifact{Name: "etcd", Version: "3", Location: etcd, SHA256: etcdSum, Members: []resource.Member{
			{From: "etcd-v3/etcd", To: h.path("/usr/bin/etcd")}, {From: "etcd-v3/etcdctl", To: h.path("/opt/etcd/etcdctl"), Mode: 0o750},
		}})
		f.step("shaolin", resource.Artifact{Name: "kubelet", Version: "1", Location: kubelet, SHA256: kubeletDigest, Members: []resource.Member{{To: h.path("/usr/bin/kubelet")}}})
		f.step("shaolin", resource.Artifact{Name: "odd", Version: "1", Location: odd, SHA256: oddSum, Members: []resource.Member{{From: "a dir/it's $HOME", To: h.path("/usr/bin/it's $HOME")}}})
	}
	describe(kubeletSum)
	if _, err := f.withReleases(releases).Apply(t.Context(), f.survey(t)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"/usr/bin/etcd": "ETCD", "/opt/etcd/etcdctl": "CTL", "/usr/bin/kubelet": "KUBELET", "/usr/bin/it's $HOME": "ODD"} {
		if got := h.read(t, h.path(name)); got != want {
			t.Errorf("%s holds %q", name, got)
		}
		info, _ := os.Stat(h.path(name))
		mode := os.FileMode(0o755)
		if name == "/opt/etcd/etcdctl" {
			mode = 0o750
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	if left := append(uploads(t, f, "shaolin"), h.leftovers(t)...); len(left) > 0 {
		t.Errorf("left behind %v", left)
	}
	record := h.stateFile(t).Resources["artifact:etcd"]
	if record.Digest != etcdSum || record.Files[h.path("/usr/bin/etcd")] != resource.SHA256([]byte("ETCD")) || len(record.Files) != 2 {
		t.Errorf("record: %+v", record)
	}

	// What is there is never fetched or sent again, nor is it read again: its
	// digest was recorded.
	f.connectAnew(t, Options{})
	fetched := len(releases.fetched)
	h.program(t, "sha256sum", "echo \"$@\" >>\"$HOST/hashed\"\nexec /usr/bin/sha256sum \"$@\"\n")
	delta := f.survey(t)
	if found := changes(delta); len(found) > 0 {
		t.Errorf("the second plan changes %v", found)
	}
	if data, err := os.ReadFile(h.path("/hashed")); err == nil {
		t.Errorf("the second plan hashed %s", data)
	}
	if _, err := f.withReleases(releases).Apply(t.Context(), delta); err != nil {
		t.Fatal(err)
	}
	if n := len(releases.fetched) - fetched; n != 0 || h.Counts().SFTP != 1 {
		t.Errorf("fetched %d artifacts again; %d SFTP sessions", n, h.Counts().SFTP)
	}

	// A release that is not what its digest says: refused on the host, removed,
	// and what was installed stays.
	f.connectAnew(t, Options{})
	describe(strings.Repeat("0", 64))
	_, err := f.withReleases(releases).Apply(t.Context(), f.survey(t))
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(exit.Stderr), "the upload has SHA-256 "+kubeletSum+", expected 000") {
		t.Errorf("Apply: %v", err)
	}
	if left := append(uploads(t, f, "shaolin"), h.leftovers(t)...); len(left) > 0 {
		t.Errorf("left behind %v", left)
	}
	if got := h.read(t, h.path("/usr/bin/kubelet")); got != "KUBELET" {
		t.Errorf("kubelet holds %q", got)
	}
	if record := h.stateFile(t).Resources["artifact:kubelet"]; record.Digest != kubeletSum {
		t.Errorf("record: %+v", record)
	}
}

func TestArtifactFailsCleanly(t *testing.T) {
	needRoot(t)
	const location = "example.org/tool.tar.gz"
	for _, c := range []struct {
		name, from string
		prepare    func(t *testing.T, h *testHost)
		want       string
	}{
		{"no such member", "bin/other", func(*testing.T, *testHost) {}, "bin/other: Not found in archive"},
		{"disk full", "bin/tool", func(t *testing.T, h *testHost) {
			h.program(t, "mv", "for f; do :; done; printf half >\"$f\"; echo 'No space left on device' >&2; exit 1\n")
		}, "No space left on device"},
		{"killed before the rename", "bin/tool", func(t *testing.T, h *testHost) {
			h.program(t, "sync", "kill -TERM $PPID; sleep 1\n")
		}, "exit code 129"},
	} {
		t.Run(c.name, func(t *testing.T) {
			releases := &localReleases{files: map[string]string{}}
			f := newFleet(t, Options{}, "shaolin")
			h := f.hosts["shaolin"]
			sum := releases.release(t, location, archive(t, map[string]string{"bin/tool": "TOOL"}))
			f.step("shaolin", resource.Artifact{Name: "tool", Location: location, SHA256: sum, Members: []resource.Member{{From: c.from, To: h.path("/usr/bin/tool")}}})
			c.prepare(t, h)
			_, err := f.withReleases(releases).Apply(t.Context(), f.survey(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Apply: %v", err)
			}
			if _, err := os.Stat(h.path("/usr/bin/tool")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something is installed: %v", err)
			}
			if left := append(uploads(t, f, "shaolin"), h.leftovers(t)...); len(left) > 0 {
				t.Errorf("left behind %v", left)
			}
		})
	}
}

func TestArtifactThatCannotBeFetched(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	f.step("shaolin", resource.Artifact{Name: "tool", Location: "example.org/tool", SHA256: strings.Repeat("0", 64), Members: []resource.Member{{To: "/nonexistent/tool"}}})
	_, err := f.withReleases(&localReleases{}).Apply(t.Context(), f.everything(t))
	var local *LocalError
	if !errors.As(err, &local) || local.Error() != "nothing was changed: example.org/tool: not found" {
		t.Errorf("Apply: %v", err)
	}
}

const contentDigest = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

// Images are imported, named as the plan wants, and pinned; what the name stands
// for is remembered.
func TestImages(t *testing.T) {
	needRoot(t)
	const location = "example.org/pause.tar"
	for _, c := range []struct {
		name, tag string
		want      []string
	}{
		{"named as wanted", "registry.k8s.io/pause:3.10", []string{
			"-n k8s.io images import --local UPLOAD",
			"-n k8s.io images label registry.k8s.io/pause:3.10 io.cri-containerd.pinned=pinned",
			"-n k8s.io images ls",
		}},
		{"named for its architecture", "registry.k8s.io/pause-amd64:3.10", []string{
			"-n k8s.io images import --local UPLOAD",
			"-n k8s.io images tag --force registry.k8s.io/pause-amd64:3.10 registry.k8s.io/pause:3.10",
			"-n k8s.io images label registry.k8s.io/pause:3.10 io.cri-containerd.pinned=pinned",
			"-n k8s.io images ls",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			releases := &localReleases{files: map[string]string{}}
			f := newFleet(t, Options{}, "shaolin")
			h := f.hosts["shaolin"]
			h.program(t, "ctr", `printf '%s\n' "$*" >>"$HOST/ctr"
case $4 in
ls) printf '%s\n' 'REF TYPE DIGEST SIZE PLATFORMS LABELS' 'registry.k8s.io/pause:3.1 x sha256:00 1 KiB' 'registry.k8s.io/pause:3.10 application/vnd.oci.image.manifest.v1+json sha256:`+contentDigest+` 312.5 KiB linux/amd64 io.cri-containerd.pinned=pinned' ;;
*) echo noise ;;
esac
`)
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			manifest := `[{"Config":"config.json","RepoTags":["` + c.tag + `"],"Layers":[]}]`
			for name, content := range map[string]string{"manifest.json": manifest, "config.json": "{}"} {
				_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
				_, _ = w.Write([]byte(content))
			}
			w.Close()
			sum := releases.release(t, location, b.Bytes())
			image := resource.Image{Reference: "registry.k8s.io/pause:3.10", Location: location, SHA256: sum}
			f.step("shaolin", image)
			delta := f.everything(t)
			delta.Items[0].Change.Record.Digest = sum
			if _, err := f.withReleases(releases).Apply(t.Context(), delta); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, line := range strings.Split(strings.TrimSpace(h.read(t, h.path("/ctr"))), "\n") {
				if before, _, ok := strings.Cut(line, " /var/tmp/"); ok {
					line = before + " UPLOAD"
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if left := uploads(t, f, "shaolin"); len(left) > 0 {
				t.Errorf("left behind %v", left)
			}
			if record := h.stateFile(t).Resources["image:registry.k8s.io/pause:3.10"]; record.Digest != sum || record.Content != "sha256:"+contentDigest {
				t.Errorf("record: %+v", record)
			}
		})
	}
}

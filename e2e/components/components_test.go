package components

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakePiece leaves three files that begin with content, and counts its builds.
func fakePiece(version, recipe, content string, builds *int) piece {
	return piece{
		name: "fake", version: version, recipe: recipe,
		files: []File{
			{Path: "host/" + version + "/f", Checksum: "host/" + version + "/SHA256SUMS"},
			{Path: "host/" + version + "/g", Checksum: "host/" + version + "/SHA256SUMS"},
			{Path: "host/" + version + "/h", Checksum: "host/" + version + "/h.sha256", bare: true},
		},
		build: func(_ context.Context, w *workshop) error {
			*builds++
			for _, name := range []string{"f", "g", "h"} {
				if err := os.WriteFile(w.file("host/"+version+"/"+name), []byte(content+name), 0o755); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func TestFillBuildsOnceAndOnlyWhatChanged(t *testing.T) {
	b := &Builder{CacheDir: t.TempDir()}
	fill := func(pieces ...piece) Mirror {
		t.Helper()
		m, err := b.fill(t.Context(), pieces)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		return m
	}
	var one, two int
	m := fill(fakePiece("1", "r", "x", &one))
	fill(fakePiece("1", "r", "x", &one))
	if one != 1 {
		t.Errorf("an unchanged piece was built %d times, want once", one)
	}
	fill(fakePiece("1", "r", "x", &one), fakePiece("2", "r", "y", &two))
	if one != 1 || two != 1 {
		t.Errorf("a second version: %d and %d builds, want 1 and 1", one, two)
	}
	fill(fakePiece("1", "changed", "z", &one), fakePiece("2", "r", "y", &two))
	if one != 2 || two != 1 {
		t.Errorf("a changed recipe: %d and %d builds, want 2 and 1", one, two)
	}
	for name, want := range map[string]string{"host/1/f": "zf", "host/2/f": "yf"} {
		got, err := os.ReadFile(filepath.Join(m.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
}

func TestFillRepairs(t *testing.T) {
	for name, tc := range map[string]struct {
		damage     func(t *testing.T, m Mirror)
		wantBuilds int
	}{
		"file gone from the mirror": {
			damage: func(t *testing.T, m Mirror) {
				if err := os.Remove(filepath.Join(m.Dir, "host/1/f")); err != nil {
					t.Fatal(err)
				}
			},
			wantBuilds: 1,
		},
		"file replaced in the mirror": {
			damage: func(t *testing.T, m Mirror) {
				f := filepath.Join(m.Dir, "host/1/f")
				if err := errors.Join(os.Remove(f), os.WriteFile(f, []byte("other"), 0o644)); err != nil {
					t.Fatal(err)
				}
			},
			wantBuilds: 1,
		},
		"file truncated in place": {
			damage: func(t *testing.T, m Mirror) {
				if err := os.Truncate(filepath.Join(m.Dir, "host/1/f"), 1); err != nil {
					t.Fatal(err)
				}
			},
			wantBuilds: 2,
		},
		"file rewritten in place at the same size": {
			damage: func(t *testing.T, m Mirror) {
				f := filepath.Join(m.Dir, "host/1/f")
				later := time.Now().Add(time.Hour)
				if err := errors.Join(os.WriteFile(f, []byte("yf"), 0o644), os.Chtimes(f, later, later)); err != nil {
					t.Fatal(err)
				}
			},
			wantBuilds: 2,
		},
		"stamp cut short": {
			damage: func(t *testing.T, m Mirror) {
				stamps, err := filepath.Glob(filepath.Join(m.Dir, "../components/pieces/*/stamp.json"))
				if err != nil || len(stamps) != 1 {
					t.Fatalf("stamps: %v, %v", stamps, err)
				}
				if err := os.Truncate(stamps[0], 10); err != nil {
					t.Fatal(err)
				}
			},
			wantBuilds: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &Builder{CacheDir: t.TempDir()}
			builds := 0
			p := fakePiece("1", "r", "x", &builds)
			m, err := b.fill(t.Context(), []piece{p})
			if err != nil {
				t.Fatal(err)
			}
			tc.damage(t, m)
			if m, err = b.fill(t.Context(), []piece{p}); err != nil {
				t.Fatal(err)
			}
			if err := m.Check(); err != nil {
				t.Error(err)
			}
			if builds != tc.wantBuilds {
				t.Errorf("%d builds, want %d", builds, tc.wantBuilds)
			}
		})
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	cause := errors.New("compiler fell over")
	for name, tc := range map[string]struct {
		build func(w *workshop) error
		want  string
	}{
		"error half-way": {
			build: func(w *workshop) error {
				return errors.Join(os.WriteFile(w.file("host/1/f"), []byte("half"), 0o644), cause)
			},
			want: "components: fake 1: compiler fell over",
		},
		"a file missing": {
			build: func(w *workshop) error { return os.WriteFile(w.file("host/1/f"), []byte("f"), 0o644) },
			want:  "built, but without host/1/g",
		},
		"a file empty": {
			build: func(w *workshop) error { return os.WriteFile(w.file("host/1/f"), nil, 0o644) },
			want:  "host/1/f is empty",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &Builder{CacheDir: t.TempDir()}
			builds := 0
			p := fakePiece("1", "r", "x", &builds)
			p.build = func(_ context.Context, w *workshop) error { return tc.build(w) }
			_, err := b.fill(t.Context(), []piece{p})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want one with %q", err, tc.want)
			}
			for _, f := range tree(t, b.CacheDir) {
				if f != "components/lock" && !strings.HasPrefix(f, "components/logs/") {
					t.Errorf("left behind: %s", f)
				}
			}
		})
	}
}

func TestFailureStartsNoMore(t *testing.T) {
	cause := errors.New("compiler fell over")
	started := 0
	var pieces []piece
	// The first two fill both places and fail; none of the rest may start.
	var both sync.WaitGroup
	both.Add(parallelPieces)
	for n := range 2 * parallelPieces {
		builds := 0
		p := fakePiece(strconv.Itoa(n), "r", "x", &builds)
		p.build = func(context.Context, *workshop) error {
			if n >= parallelPieces {
				started++
				return nil
			}
			both.Done()
			both.Wait()
			return cause
		}
		pieces = append(pieces, p)
	}
	b := &Builder{CacheDir: t.TempDir(), Log: t.Logf}
	if _, err := b.fill(t.Context(), pieces); !errors.Is(err, cause) {
		t.Errorf("error %v, want the cause", err)
	}
	if started != 0 {
		t.Errorf("%d pieces were started after a failure", started)
	}
}

// A builder that was killed leaves what it was building; the next one clears it.
func TestDeadBuildIsCleared(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "components", "tmp", "fake-123", "work")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Builder{CacheDir: dir}).fill(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stat: %v, want it gone", err)
	}
}

func TestBuildersWaitForEachOther(t *testing.T) {
	dir := t.TempDir()
	first, err := openStore(t.Context(), dir, func() { t.Error("waited for nobody") })
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	done := make(chan error)
	go func() {
		second, err := openStore(t.Context(), dir, func() { close(waiting) })
		if err == nil {
			err = second.close()
		}
		done <- err
	}()
	<-waiting
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	third, err := openStore(t.Context(), dir, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer third.close()
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := openStore(ctx, dir, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while waiting: error %v, want context.Canceled", err)
	}
}

func TestChecksumFiles(t *testing.T) {
	b := &Builder{CacheDir: t.TempDir()}
	builds := 0
	m, err := b.fill(t.Context(), []piece{fakePiece("1", "r", "x", &builds)})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"SHA256SUMS": digest(t, "xf") + "  f\n" + digest(t, "xg") + "  g\n",
		"h.sha256":   digest(t, "xh"),
	}
	for name, want := range want {
		got, err := os.ReadFile(filepath.Join(m.Dir, "host/1", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCheckNamesEveryBadFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("good", "good")
	write("altered", "altered")
	write("unlisted", "unlisted")
	write("garbled", "garbled")
	write("garbled.sha256", "<html>not found</html>")
	write("SUMS", digest(t, "good")+"  good\n"+digest(t, "as built")+"  altered\n"+digest(t, "x")+"  missing\n")
	err := Mirror{Dir: dir, Files: []File{
		{Path: "good", Checksum: "SUMS"},
		{Path: "altered", Checksum: "SUMS"},
		{Path: "missing", Checksum: "SUMS"},
		{Path: "unlisted", Checksum: "SUMS"},
		{Path: "garbled", Checksum: "garbled.sha256", bare: true},
		{Path: "good", Checksum: "absent", bare: true},
	}}.Check()
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.Split(strings.ReplaceAll(err.Error(), dir, "DIR"), "\n")
	want := []string{
		"components: check altered: sha-256 is " + digest(t, "altered") + ", want " + digest(t, "as built") + " as in SUMS",
		"components: check missing: open DIR/missing: no such file or directory",
		"components: check unlisted: SUMS does not list unlisted",
		`components: check garbled: "<html>not found</html>" is no sha-256`,
		"components: check good: open DIR/absent: no such file or directory",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

// The mirror must have the paths of the official locations: they are what an
// inventory without a source of its own downloads from.
func TestLayout(t *testing.T) {
	var got []string
	for _, p := range append(clusterPieces(Default()), flannelPiece(Default()), dockerPiece(Default(), &debian{})) {
		for _, f := range p.files {
			got = append(got, f.Path, f.Checksum)
		}
	}
	slices.Sort(got)
	golden(t, "layout.txt", strings.Join(slices.Compact(got), "\n")+"\n")
}

// Two versions of Kubernetes lie side by side: they have no file in common.
func TestVersionsOfKubernetesSideBySide(t *testing.T) {
	previous := Default()
	previous.Kubernetes = PreviousKubernetes
	paths := map[string]bool{}
	for _, f := range append(kubernetesPiece(Default()).files, kubernetesPiece(previous).files...) {
		if paths[f.Path] {
			t.Errorf("both have %s", f.Path)
		}
		paths[f.Path] = true
	}
	if _, err := (&Builder{CacheDir: t.TempDir(), Versions: Default()}).BuildKubernetes(t.Context(), "latest"); err == nil {
		t.Error("a version that is none")
	}
}

func TestKeysAreDistinctAndStable(t *testing.T) {
	keys := func(v Versions) map[string]string {
		m := map[string]string{}
		for _, p := range append(clusterPieces(v), flannelPiece(v), dockerPiece(v, &debian{})) {
			key, err := p.key()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(key, p.name+"-"+p.version+"-") {
				t.Errorf("key %s does not begin with name and version", key)
			}
			m[p.name] = key
		}
		return m
	}
	before := keys(Default())
	if diff := cmp.Diff(before, keys(Default())); diff != "" {
		t.Errorf("keys differ from one call to the next:\n%s", diff)
	}
	v := Default()
	v.Etcd = "3.6.9"
	after := keys(v)
	for name := range before {
		if changed := before[name] != after[name]; changed != (name == "etcd") {
			t.Errorf("a new version of etcd: key of %s changed: %t", name, changed)
		}
	}
}

func TestVersionsAreValidated(t *testing.T) {
	for _, bad := range []string{"", "v1.36.3", "1.36", "latest", "../../1.2.3", "1.2.3 "} {
		v := Default()
		v.Kubernetes = bad
		if _, err := (&Builder{CacheDir: t.TempDir(), Versions: v}).Build(t.Context()); err == nil ||
			!strings.Contains(err.Error(), "kubernetes version") {
			t.Errorf("kubernetes %q: error %v", bad, err)
		}
	}
	if err := Default().validate(); err != nil {
		t.Error(err)
	}
}

func TestDefaultCacheDirIsTheUsers(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/home/guo/.cache")
	got, err := DefaultCacheDir()
	if err != nil || got != "/home/guo/.cache/kinstall/lab" {
		t.Errorf("%q, %v", got, err)
	}
}

package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func digestOf(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:])
}

const (
	kubelet     = "a kubelet of 36 megabytes, they say"
	kubeletAt   = "example.com/release/v1.36.3/bin/linux/amd64/kubelet"
	etcd        = "an etcd archive"
	etcdAt      = "example.com/etcd-io/etcd/releases/download/v3.6.8/etcd-v3.6.8-linux-amd64.tar.gz"
	etcdSumsAt  = "example.com/etcd-io/etcd/releases/download/v3.6.8/SHA256SUMS"
	plainSumAt  = kubeletAt + ".sha256"
	otherDigest = "0000000000000000000000000000000000000000000000000000000000000000"
)

// official is what a server or directory with the official layout holds.
func official() map[string]string {
	return map[string]string{
		kubeletAt:  kubelet,
		plainSumAt: digestOf(kubelet),
		etcdAt:     etcd,
		etcdSumsAt: otherDigest + "  etcd-v3.6.8-darwin-amd64.zip\n" + digestOf(etcd) + "  etcd-v3.6.8-linux-amd64.tar.gz\n",
	}
}

// server is an https server of files that counts what it is asked.
type server struct {
	*httptest.Server
	caFile string

	mu     sync.Mutex
	files  map[string]http.HandlerFunc // by HOST/PATH
	counts map[string]int
}

// newServer serves files by HOST/PATH; prefix is what a mirror's URL has before it.
func newServer(t *testing.T, files map[string]string) *server {
	t.Helper()
	s := &server{files: map[string]http.HandlerFunc{}, counts: map[string]int{}}
	for name, content := range files {
		s.files[name] = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, content) }
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A request for a host of its own is one for the official location.
		name := strings.TrimPrefix(r.URL.Path, "/mirror/")
		if r.Host == "example.com" {
			name = r.Host + r.URL.Path
		}
		s.mu.Lock()
		s.counts[name]++
		handle := s.files[name]
		s.mu.Unlock()
		if handle == nil {
			http.NotFound(w, r)
			return
		}
		handle(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the test
	s.StartTLS()
	t.Cleanup(s.Close)
	s.caFile = filepath.Join(t.TempDir(), "ca.pem")
	write(t, s.caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	return s
}

func (s *server) handle(name string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = h
}

func (s *server) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[name]
}

// mirrored returns a store whose mirror is the server; official one that
// finds the server where it looks for example.com.
func (s *server) mirrored(t *testing.T, change ...func(*Config)) *Store {
	return newStore(t, append([]func(*Config){func(c *Config) { c.Source, c.CAFile = s.URL+"/mirror", s.caFile }}, change...)...)
}

func (s *server) official(t *testing.T, change ...func(*Config)) *Store {
	return newStore(t, append([]func(*Config){func(c *Config) {
		c.CAFile = s.caFile
		c.Transport = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.Listener.Addr().String())
		}}
	}}, change...)...)
}

func newStore(t *testing.T, change ...func(*Config)) *Store {
	t.Helper()
	c := Config{CacheDir: filepath.Join(t.TempDir(), "cache")}
	for _, f := range change {
		f(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.backoff = func(int) time.Duration { return 0 }
	t.Cleanup(s.transport.CloseIdleConnections)
	return s
}

func newDirectory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), content)
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fetched reads what a Fetch returned.
func fetched(t *testing.T, path string, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// downloads lists what lies among the cached downloads, whole or not.
func downloads(t *testing.T, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.cacheDir, "sha256"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

var (
	kubeletWanted = Wanted{Name: "kubelet", Location: kubeletAt, ChecksumLocation: plainSumAt}
	etcdWanted    = Wanted{Name: "etcd", Location: etcdAt, ChecksumLocation: etcdSumsAt}
)

func TestDigestsAndFetch(t *testing.T) {
	web := newServer(t, official())
	for name, s := range map[string]*Store{
		"official":  web.official(t),
		"mirror":    web.mirrored(t),
		"directory": newStore(t, func(c *Config) { c.Source = newDirectory(t, official()) }),
		"file URL":  newStore(t, func(c *Config) { c.Source = "file://" + newDirectory(t, official()) }),
		"pinned elsewhere": web.mirrored(t, func(c *Config) {
			c.Pinned = map[string]string{"kubelet": strings.ToUpper(digestOf(kubelet)), "containerd": otherDigest}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.Digests(t.Context(), []Wanted{kubeletWanted, etcdWanted, kubeletWanted})
			want := map[string]string{kubeletAt: digestOf(kubelet), etcdAt: digestOf(etcd)}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Fatalf("digests (-want +got):\n%s%v", diff, err)
			}
			for location, content := range map[string]string{kubeletAt: kubelet, etcdAt: etcd} {
				path, err := s.Fetch(t.Context(), location, got[location], nil)
				if got := fetched(t, path, err); got != content {
					t.Errorf("%s: got %q", location, got)
				}
			}
		})
	}
}

func TestDigestWithoutChecksumFile(t *testing.T) {
	web := newServer(t, map[string]string{
		kubeletAt:                           kubelet,
		"example.com/images/x.tar":          "x",
		"example.com/images/x.tar.sha256":   digestOf("x"),
		"example.com/broken/kubelet.sha256": "<html>Please log in</html>",
	})
	mirror, official := web.mirrored(t), web.official(t)
	directory := newStore(t, func(c *Config) {
		c.Source = newDirectory(t, map[string]string{kubeletAt: kubelet, "example.com/broken/kubelet": "", "example.com/broken/kubelet.sha256": "<html>"})
	})
	own := filepath.Join(t.TempDir(), "app.tar")
	write(t, own, "app")

	for name, c := range map[string]struct {
		store  *Store
		wanted Wanted
		want   string
		err    string // or what the error says
		hint   string
	}{
		"directory without a checksum file":  {directory, kubeletWanted, digestOf(kubelet), "", ""},
		"directory without a checksum":       {directory, Wanted{Name: "kubelet", Location: kubeletAt}, digestOf(kubelet), "", ""},
		"directory without the file":         {directory, etcdWanted, "", "etcd-v3.6.8-linux-amd64.tar.gz: file does not exist", "put the file there"},
		"directory, broken checksum file":    {directory, Wanted{Name: "kubelet", Location: "example.com/broken/kubelet", ChecksumLocation: "example.com/broken/kubelet.sha256"}, "", "it has no SHA-256 of kubelet", ""},
		"mirror's own checksum file":         {mirror, Wanted{Name: "image/x", Location: "example.com/images/x.tar", Image: "registry.example.com/x:1"}, digestOf("x"), "", ""},
		"mirror without a checksum file":     {mirror, kubeletWanted, "", "publishes no SHA-256", `"kubelet" = `},
		"mirror, broken checksum file":       {mirror, Wanted{Name: "kubelet", Location: "example.com/broken/kubelet", ChecksumLocation: "example.com/broken/kubelet.sha256"}, "", "it has no SHA-256 of kubelet", ""},
		"official without a checksum":        {official, Wanted{Name: "kubelet", Location: kubeletAt}, "", "publishes no SHA-256", `"kubelet" = `},
		"a file of one's own":                {mirror, Wanted{Name: "image/app", Location: own}, digestOf("app"), "", ""},
		"a file of one's own that's missing": {official, Wanted{Name: "image/app", Location: own + "x"}, "", "file does not exist", "put the file there"},
		"not a location":                     {official, Wanted{Name: "x", Location: "https://example.com/x"}, "", "is not the location of an artifact", ""},
		"outside the source":                 {directory, Wanted{Name: "x", Location: "example.com/../../etc/passwd"}, "", "is not the location of an artifact", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.store.Digest(t.Context(), c.wanted)
			if c.err == "" {
				if got != c.want || err != nil {
					t.Errorf("got %s (%v), want %s", got, err, c.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), c.wanted.Name) {
				t.Errorf("got error %v, want one that says %q and names %s", err, c.err, c.wanted.Name)
			}
			if !strings.Contains(hint(err), c.hint) {
				t.Errorf("hint %q does not say %q", hint(err), c.hint)
			}
		})
	}
}

func TestDigestsReportsAllErrors(t *testing.T) {
	web := newServer(t, official())
	got, err := web.mirrored(t).Digests(t.Context(), []Wanted{
		{Name: "one", Location: "example.com/one", ChecksumLocation: "example.com/one.sha256"},
		kubeletWanted,
		{Name: "two", Location: "example.com/two", ChecksumLocation: "example.com/two.sha256"},
	})
	if err == nil || !strings.Contains(err.Error(), "example.com/one") || !strings.Contains(err.Error(), "example.com/two") {
		t.Errorf("error does not name both: %v", err)
	}
	if diff := cmp.Diff(map[string]string{kubeletAt: digestOf(kubelet)}, got); diff != "" {
		t.Errorf("what was found (-want +got):\n%s", diff)
	}
}

func TestParseChecksum(t *testing.T) {
	const location = "dl.k8s.io/v1.36.3/bin/linux/amd64/kubelet"
	want := digestOf("x")
	for name, c := range map[string]struct{ data, err string }{
		"bare":               {want, ""},
		"bare, line, case":   {strings.ToUpper(want) + "\r\n", ""},
		"sums":               {otherDigest + "  kubeadm\n" + want + "  kubelet\n", ""},
		"binary mode":        {want + " *kubelet\n", ""},
		"with a directory":   {otherDigest + "  bin/linux/arm64/kubelet\n" + want + "  ./bin/linux/amd64/kubelet\n", ""},
		"said twice":         {want + "  kubelet\n" + want + "  amd64/kubelet\n", ""},
		"in a signature":     {"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + want + "  kubelet\n-----BEGIN PGP SIGNATURE-----\nabc\n", ""},
		"ambiguous":          {want + "  kubelet\n" + otherDigest + " *kubelet\n", "it has two digests of kubelet"},
		"of other files":     {want + "  kubelet.exe\n" + want + "  xkubelet\n", "it has no SHA-256 of kubelet"},
		"SHA-512":            {want + want + "  kubelet\n", "it has no SHA-256 of kubelet"},
		"bare SHA-512":       {want + want, "it has no SHA-256 of kubelet"},
		"a digest, no name":  {want + "  \n" + want + "\n", "it has no SHA-256 of kubelet"},
		"empty":              {"", "it has no SHA-256 of kubelet"},
		"not even hex":       {strings.Repeat("g", 64), "it has no SHA-256 of kubelet"},
		"an error in a page": {"<!DOCTYPE html><p>404</p>", "it has no SHA-256 of kubelet"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseChecksum([]byte(c.data), location)
			switch {
			case c.err == "" && (got != want || err != nil):
				t.Errorf("got %s (%v), want %s", got, err, want)
			case c.err != "" && (err == nil || err.Error() != c.err):
				t.Errorf("got %s and error %v, want %q", got, err, c.err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	notCA := filepath.Join(t.TempDir(), "ca.pem")
	write(t, notCA, "nothing")
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"http":               {Config{Source: "http://user:hunter2@mirror.example.com/x"}, "http is not encrypted"},
		"relative directory": {Config{Source: "artifacts"}, "expected an absolute path"},
		"file with a host":   {Config{Source: "file://server/share"}, "expected an absolute path"},
		"mirror with query":  {Config{Source: "https://mirror.example.com/?token=hunter2"}, "expected an absolute path"},
		"not a URL":          {Config{Source: "https://user:hunter2@mirror:x/"}, "neither"},
		"missing CA file":    {Config{CAFile: "/nonexistent/ca.pem"}, "/nonexistent/ca.pem"},
		"CA file without CA": {Config{CAFile: notCA}, "holds no PEM certificate"},
		"pinned to nothing":  {Config{Pinned: map[string]string{"kubelet": "abc"}}, `pinned digest of "kubelet"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(c.config)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one that says %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "//user:hunter2") {
				t.Errorf("error shows the password: %v", err)
			}
		})
	}
}

func TestFetchRefuses(t *testing.T) {
	truncated := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, kubelet)
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, kubelet) }))
	defer plain.Close()

	for name, c := range map[string]struct {
		handle http.HandlerFunc
		want   []string // in the error
		asked  int
	}{
		"truncated in transit": {truncated, []string{fmt.Sprintf("broke off after %d of 1000 bytes", len(kubelet)), "tried 3 times"}, 3},
		"truncated at the source": {
			func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, kubelet[:10]) },
			[]string{"SHA-256 is " + digestOf(kubelet[:10]), "(10 bytes)", "expected " + digestOf(kubelet)}, 1},
		"altered": {
			func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "X"+kubelet[1:]) },
			[]string{"SHA-256 is " + digestOf("X"+kubelet[1:]), "expected " + digestOf(kubelet)}, 1},
		"not there":              {status(404), []string{"404 Not Found"}, 1},
		"forbidden":              {status(403), []string{"403 Forbidden"}, 1},
		"server down":            {status(503), []string{"503 Service Unavailable", "tried 3 times"}, 3},
		"redirect to http":       {redirect(plain.URL), []string{"redirect refused: it leads from https to http"}, 1},
		"redirect without end":   {redirect("/mirror/" + kubeletAt), []string{"redirect refused: the tenth in a row"}, 10},
		"connection broken":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, []string{"EOF", "tried 3 times"}, 3},
		"nothing comes any more": {nil, []string{"no data for too long", "tried 3 times"}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			web := newServer(t, nil)
			s := web.mirrored(t)
			if c.handle == nil {
				s.stall = 20 * time.Millisecond
				c.handle = func(w http.ResponseWriter, r *http.Request) {
					w.WriteHeader(http.StatusOK)
					w.(http.Flusher).Flush()
					<-r.Context().Done()
				}
			}
			web.handle(kubeletAt, c.handle)
			_, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(c.want, "/mirror/"+kubeletAt) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if n := web.count(kubeletAt); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
			if left := downloads(t, s); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			var mismatch *MismatchError
			if errors.As(err, &mismatch) != strings.Contains(c.want[0], "SHA-256") {
				t.Errorf("error is a %T", err)
			}
		})
	}
}

func TestFetchVerifiesServer(t *testing.T) {
	web := newServer(t, official())
	s := newStore(t, func(c *Config) { c.Source = web.URL + "/mirror" }) // without its CA
	if _, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil); err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "tried") {
		t.Errorf("got error %v, want one about the certificate, at once", err)
	}
	if web.count(kubeletAt) != 0 {
		t.Error("asked all the same")
	}
}

func TestFetchHidesPassword(t *testing.T) {
	web := newServer(t, nil)
	s := web.mirrored(t, func(c *Config) {
		c.Source = strings.Replace(web.URL, "https://", "https://user:hunter2@", 1) + "/mirror"
	})
	seen := ""
	web.handle(kubeletAt, func(w http.ResponseWriter, r *http.Request) {
		_, seen, _ = r.BasicAuth()
		w.WriteHeader(http.StatusForbidden)
	})
	_, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	if seen != "hunter2" {
		t.Errorf("the server got password %q", seen)
	}
	web.Close()
	_, closed := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	for _, err := range []error{err, closed} {
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v", err)
		}
	}
}

func TestFetchOvercomes(t *testing.T) {
	web := newServer(t, nil)
	for name, flaky := range map[string]http.HandlerFunc{
		"a broken transfer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "a longer text than the kubelet's own, of which nothing may remain")
		},
		"a busy server": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
	} {
		t.Run(name, func(t *testing.T) {
			times := 0
			web.handle(kubeletAt, func(w http.ResponseWriter, r *http.Request) {
				if times++; times < 3 {
					flaky(w, r)
					return
				}
				io.WriteString(w, kubelet)
			})
			path, err := web.mirrored(t).Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
			if got := fetched(t, path, err); got != kubelet {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestFetchFollowsHTTPS(t *testing.T) {
	web := newServer(t, map[string]string{"cdn": kubelet})
	web.handle(kubeletAt, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, web.URL+"/cdn", http.StatusFound)
	})
	web.handle("/cdn", web.files["cdn"])
	path, err := web.official(t).Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	if got := fetched(t, path, err); got != kubelet {
		t.Errorf("got %q", got)
	}
}

// A server that marks a .tar.gz as gzip-encoded must not have it unpacked.
func TestFetchTakesBytesAsTheyAre(t *testing.T) {
	web := newServer(t, nil)
	packed := string(gzipped(t, []byte(etcd)))
	web.handle(etcdAt, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, packed)
	})
	path, err := web.mirrored(t).Fetch(t.Context(), etcdAt, digestOf(packed), nil)
	if got := fetched(t, path, err); got != packed {
		t.Errorf("got %q", got)
	}
}

func TestFetchCaches(t *testing.T) {
	web := newServer(t, official())
	s := web.mirrored(t)
	var told []int64
	progress := func(done, total int64) { told = append(told, done, total) }
	path, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), progress)
	fetched(t, path, err)
	if size := int64(len(kubelet)); len(told) == 0 || told[len(told)-2] != size || told[len(told)-1] != size {
		t.Errorf("progress %v, want it to end with %d of %d", told, size, size)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
	again, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	fetched(t, again, err)
	// Another process with the same cache, and even another source.
	other := newStore(t, func(c *Config) { c.CacheDir = s.cacheDir; c.Transport = &http.Transport{DialContext: noNetwork(t)} })
	third, err := other.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	fetched(t, third, err)
	if web.count(kubeletAt) != 1 || again != path || third != path {
		t.Errorf("asked %d times, want once; paths %s, %s, %s", web.count(kubeletAt), path, again, third)
	}
}

func noNetwork(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, _, address string) (net.Conn, error) {
		t.Errorf("dials %s", address)
		return nil, errors.New("no network")
	}
}

func TestFetchDetectsDamagedCache(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"altered": func(t *testing.T, path string) { write(t, path, "X"+kubelet[1:]) },
		"altered, time put back": func(t *testing.T, path string) {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, "X"+kubelet[1:])
			if err := os.Chtimes(path, time.Now(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		},
		"truncated": func(t *testing.T, path string) { write(t, path, "") },
		"deleted": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			web := newServer(t, official())
			s := web.mirrored(t)
			path, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
			fetched(t, path, err)
			damage(t, path)
			path, err = s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
			if got := fetched(t, path, err); got != kubelet {
				t.Errorf("got %q", got)
			}
			if n := web.count(kubeletAt); n != 2 {
				t.Errorf("asked %d times, want 2", n)
			}

			// Removed even if there is nothing to replace it with.
			damage(t, path)
			web.Close()
			if _, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil); err == nil {
				t.Error("no error without the server")
			}
			if left := downloads(t, s); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A file that was touched but is as it was is hashed again, and kept.
func TestFetchKeepsTouchedCache(t *testing.T) {
	web := newServer(t, official())
	s := web.mirrored(t)
	path, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	fetched(t, path, err)
	if err := os.Chtimes(path, time.Now(), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	path, err = s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	fetched(t, path, err)
	if n := web.count(kubeletAt); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestFetchOnceAtATime(t *testing.T) {
	web := newServer(t, official())
	cache := filepath.Join(t.TempDir(), "cache")
	var wg sync.WaitGroup
	for range 3 { // as many processes
		s := web.mirrored(t, func(c *Config) { c.CacheDir = cache })
		for range 4 {
			wg.Go(func() {
				path, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
				if data, readErr := os.ReadFile(path); err != nil || readErr != nil || string(data) != kubelet {
					t.Errorf("got %q (%v, %v)", data, err, readErr)
				}
			})
		}
	}
	wg.Wait()
	if n := web.count(kubeletAt); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestFetchCancelled(t *testing.T) {
	web := newServer(t, nil)
	started := make(chan struct{})
	web.handle(kubeletAt, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, kubelet[:5])
		w.(http.Flusher).Flush()
		close(started)
		<-r.Context().Done()
	})
	s := web.mirrored(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, err := s.Fetch(ctx, kubeletAt, digestOf(kubelet), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want context.Canceled", err)
	}
	// The download that was cancelled stands in nobody's way, not even that of
	// a caller who shares it.
	web.handle(kubeletAt, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, kubelet) })
	path, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	fetched(t, path, err)
	if diff := cmp.Diff([]string{digestOf(kubelet)}, downloads(t, s)); diff != "" {
		t.Errorf("cache (-want +got):\n%s", diff)
	}
}

func TestFetchWaitsForOtherProcess(t *testing.T) {
	web := newServer(t, official())
	s := web.mirrored(t)
	unlock, err := s.lock(t.Context(), digestOf(kubelet))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Fetch(ctx, kubeletAt, digestOf(kubelet), nil); !errors.Is(err, context.DeadlineExceeded) || web.count(kubeletAt) != 0 {
		t.Errorf("got error %v after %d requests, want it to wait for the lock", err, web.count(kubeletAt))
	}
	unlock()
	path, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	fetched(t, path, err)
}

func TestFetchFromDirectory(t *testing.T) {
	files := official()
	dir := newDirectory(t, files)
	s := newStore(t, func(c *Config) { c.Source = dir })
	path, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	if got := fetched(t, path, err); got != kubelet || path != filepath.Join(dir, kubeletAt) {
		t.Errorf("got %q at %s", got, path)
	}
	if left := downloads(t, s); len(left) != 0 {
		t.Errorf("copied to the cache: %v", left)
	}

	write(t, path, "altered")
	_, err = s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil)
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) {
		t.Fatalf("got error %v, want a *MismatchError", err)
	}
	want := MismatchError{From: path, Want: digestOf(kubelet), Got: digestOf("altered"), Size: 7}
	if diff := cmp.Diff(want, *mismatch, cmp.AllowUnexported(MismatchError{})); diff != "" || hint(err) == "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the operator's own file is gone: %v", err)
	}

	os.Remove(path)
	if _, err := s.Fetch(t.Context(), kubeletAt, digestOf(kubelet), nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("got error %v, want fs.ErrNotExist with the path", err)
	}
	if _, err := s.Fetch(t.Context(), kubeletAt, "", nil); err == nil {
		t.Error("fetched without a digest")
	}
}

// An unchanged file is not read again. That it was not is seen by giving it
// other bytes behind the stamp's back, in the stamp itself.
func TestHashIsRemembered(t *testing.T) {
	s := newStore(t)
	path := filepath.Join(t.TempDir(), "big")
	write(t, path, "big")
	hash := func() string {
		t.Helper()
		digest, err := s.hashFile(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	if hash() != digestOf("big") {
		t.Fatal("wrong digest")
	}
	remembered := func(digest string) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		st, err := stampOf(path, f)
		if err != nil {
			t.Fatal(err)
		}
		s.remember(st, digest)
	}
	remembered(otherDigest)
	if got := hash(); got != otherDigest {
		t.Errorf("hashed again: %s", got)
	}
	if err := os.Chtimes(path, time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if got := hash(); got != digestOf("big") {
		t.Errorf("not hashed again although it was touched: %s", got)
	}
	remembered(otherDigest)
	write(t, s.stampPath(path), "{")
	if got := hash(); got != digestOf("big") {
		t.Errorf("a damaged stamp was believed: %s", got)
	}
}

func TestFullDiskIsNotRetried(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	if _, err := io.Copy(full, bytes.NewReader([]byte("x"))); err == nil || passing(transferError{err}) {
		t.Errorf("error %v passes for one of the network", err)
	}
}

// Package release gets binaries and image archives to the operator's machine:
// from the official locations, from a mirror, from a directory, or, for images
// nobody publishes as a file, from their registry.
//
// A location is HOST/PATH of the official download, and at the same time its
// path in a mirror or directory, which hold what `wget -x` of the official
// locations would give. An absolute path is a location too: a file of the
// operator's own, whatever the source.
//
// The contract:
//
//   - Fetch returns only files whose SHA-256 was found to be the wanted one.
//     What differs is refused with a *MismatchError; a download is then
//     removed, a file of the operator's own is left alone.
//   - Downloads go through https with verified certificates, redirects
//     included, to a cache addressed by digest: a temporary file is hashed
//     while it is written, and renamed when it is whole and right.
//   - A file is hashed again only when its size, times or inode are not those
//     it had when it was hashed last, so that a run without changes doesn't
//     read hundreds of megabytes.
//   - One file is downloaded once at a time, within the process and across
//     processes that share the cache.
//   - Nothing is written but the cache, and that only when it is needed.
//
// Advice for the operator is separate from an error: it is what its method
// Hint returns.
package release

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Config says where a Store gets its files. The zero value is the official
// locations and the user's cache directory.
type Config struct {
	// Source is a directory (absolute path or file:// URL), the https:// URL of
	// a mirror, or "" for the official locations and registries.
	Source string
	// CAFile holds the authorities, in PEM, that https is verified with instead
	// of the system's; "" means the system's.
	CAFile string
	// CacheDir is where downloads are kept and digests remembered; "" means
	// kinstall/artifacts in the user's cache directory.
	CacheDir string
	// Pinned maps an artifact's name to its hex SHA-256, over what the source says.
	Pinned map[string]string
	// Images maps a location to the image reference whose archive it names, for
	// archives that nobody publishes as a file; those are pulled from the
	// registry when Source is "".
	Images map[string]string
	// Transport carries requests; nil means Go's default, which honours
	// HTTPS_PROXY and NO_PROXY. It is copied.
	Transport *http.Transport
}

// Wanted is a file whose digest is asked for.
type Wanted struct {
	Name     string // under which a digest may be pinned: "kubelet", "image/pause"
	Version  string // as it stands in Location; "" if it has none
	Location string
	// ChecksumLocation is that of the file that says the digest: the bare hex,
	// or lines as sha256sum writes them. "" if there is none.
	ChecksumLocation string
	// Image is the reference of an image that nobody publishes as a file, for
	// linux/amd64; "" for everything else.
	Image string
}

// Store gets files from a source. Its methods may be called concurrently.
type Store struct {
	dir       string   // local source, "" if it is remote
	mirror    *url.URL // nil: the official locations
	cacheDir  string
	pinned    map[string]string
	transport *http.Transport
	client    *http.Client
	backoff   func(try int) time.Duration // before try 1, 2, …
	stall     time.Duration               // without a byte, after which a transfer is given up
	flights   singleflight.Group

	mu     sync.Mutex
	images map[string]string
}

const (
	tries    = 3
	parallel = 4 // digests found out at a time
)

// New returns a Store. Nothing is read but CAFile, and nothing is written.
func New(c Config) (*Store, error) {
	s := &Store{
		cacheDir: c.CacheDir,
		pinned:   map[string]string{},
		images:   map[string]string{},
		backoff:  func(try int) time.Duration { return 500 * time.Millisecond << (2 * (try - 1)) }, // 0.5 s, 2 s
		stall:    time.Minute,
	}
	if s.cacheDir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find the user's cache directory: %w", err)
		}
		s.cacheDir = filepath.Join(base, "kinstall", "artifacts")
	}
	var err error
	if s.cacheDir, err = filepath.Abs(s.cacheDir); err != nil {
		return nil, fmt.Errorf("find the cache directory: %w", err)
	}
	for name, digest := range c.Pinned {
		digest = strings.ToLower(digest)
		if !isDigest(digest) {
			return nil, fmt.Errorf("pinned digest of %q is not a SHA-256 in hex", name)
		}
		s.pinned[name] = digest
	}
	for location, image := range c.Images {
		s.images[location] = image
	}
	if err := s.setSource(c.Source); err != nil {
		return nil, err
	}

	s.transport = &http.Transport{Proxy: http.ProxyFromEnvironment}
	if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		s.transport = standard.Clone()
	}
	if c.Transport != nil {
		s.transport = c.Transport.Clone()
	}
	// Else a .tar.gz that a server marks as "Content-Encoding: gzip" would
	// arrive unpacked, with another digest.
	s.transport.DisableCompression = true
	s.transport.ResponseHeaderTimeout = 30 * time.Second
	if s.transport.TLSClientConfig == nil {
		s.transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	s.transport.TLSClientConfig.InsecureSkipVerify = false
	if c.CAFile != "" {
		data, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the source's authorities: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read the source's authorities: %s holds no PEM certificate", c.CAFile)
		}
		s.transport.TLSClientConfig.RootCAs = roots
	}
	s.client = &http.Client{Transport: s.transport, CheckRedirect: checkRedirect}
	return s, nil
}

func (s *Store) setSource(source string) error {
	if source == "" {
		return nil
	}
	if filepath.IsAbs(source) {
		s.dir = filepath.Clean(source)
		return nil
	}
	u, err := url.Parse(source)
	if err != nil {
		return errors.New("source of artifacts is neither an absolute path nor a URL") // err would quote a password
	}
	switch {
	case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && path.IsAbs(u.Path):
		s.dir = filepath.Clean(filepath.FromSlash(u.Path))
	case u.Scheme == "https" && u.Host != "" && u.RawQuery == "" && u.Fragment == "":
		s.mirror = u
	case u.Scheme == "http":
		return fmt.Errorf("source of artifacts %s: http is not encrypted and not supported; use https", shown(u))
	default:
		return fmt.Errorf("source of artifacts %s: expected an absolute path, file:///PATH or https://HOST/PATH", shown(u))
	}
	return nil
}

// target is where a location's file lies: a path or a URL.
type target struct {
	path string
	url  *url.URL
}

func (t target) String() string {
	if t.url != nil {
		return shown(t.url)
	}
	return t.path
}

// shown is a URL fit for an error: without what may be a password.
func shown(u *url.URL) string {
	c := *u
	c.User = nil
	return c.String()
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)

// locate finds a location in the source.
func (s *Store) locate(location string) (target, error) {
	if filepath.IsAbs(location) {
		return target{path: filepath.Clean(location)}, nil
	}
	host, rest, ok := strings.Cut(location, "/")
	if !ok || !hostForm.MatchString(host) || !fs.ValidPath(location) || strings.ContainsFunc(rest, unfit) {
		return target{}, fmt.Errorf("%q is not the location of an artifact, HOST/PATH", location)
	}
	switch {
	case s.dir != "":
		return target{path: filepath.Join(s.dir, filepath.FromSlash(location))}, nil
	case s.mirror != nil:
		u := *s.mirror
		u.Path, u.RawPath = path.Join("/", u.Path, location), ""
		return target{url: &u}, nil
	default:
		return target{url: &url.URL{Scheme: "https", Host: host, Path: "/" + rest}}, nil
	}
}

// unfit finds what belongs into neither a URL's path nor a file's.
func unfit(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`\?#%`, r) }

// fromRegistry returns the image to be pulled for a location, if that is where
// its archive comes from.
func (s *Store) fromRegistry(location string) (image string, ok bool) {
	if s.dir != "" || s.mirror != nil {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	image, ok = s.images[location]
	return image, ok
}

// once runs do, unless it is running for the same key already: then that run's
// result is awaited and shared. Another caller's cancelled context is no result.
func (s *Store) once(ctx context.Context, key string, do func() (string, error)) (string, error) {
	for {
		running := s.flights.DoChan(key, func() (any, error) { return do() })
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case result := <-running:
			if result.Err == nil {
				return result.Val.(string), nil
			}
			if ctx.Err() == nil && (errors.Is(result.Err, context.Canceled) || errors.Is(result.Err, context.DeadlineExceeded)) {
				continue
			}
			return "", result.Err
		}
	}
}

func isDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, r := range s {
		if !strings.ContainsRune("0123456789abcdef", r) {
			return false
		}
	}
	return true
}

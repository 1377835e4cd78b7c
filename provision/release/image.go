package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

var platform = v1.Platform{OS: "linux", Architecture: "amd64"}

// archived says which archive an image became.
type archived struct {
	Image  string `json:"image"` // REFERENCE@DIGEST
	SHA256 string `json:"sha256"`
}

// pull puts an image's archive into the cache, unless it is there, and returns
// the archive's digest. The archive is a docker-archive without times or owners:
// the same image under the same name gives the same bytes. The registry is
// always asked which image the reference names; layers come only when needed.
// Credentials are those that `docker login` keeps.
func (s *Store) pull(ctx context.Context, image string, progress func(done, total int64)) (string, error) {
	return s.once(ctx, "pull "+image, func() (digest string, err error) {
		err = s.retry(ctx, func(ctx context.Context) error {
			digest, err = s.pullOnce(ctx, image, progress)
			return err
		})
		return digest, err
	})
}

func (s *Store) pullOnce(ctx context.Context, image string, progress func(done, total int64)) (string, error) {
	ref, tag, err := parseImage(image)
	if err != nil {
		return "", err
	}
	img, err := remote.Image(ref,
		remote.WithContext(ctx),
		remote.WithPlatform(platform),
		remote.WithTransport(encrypted{s.transport}),
		remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return "", registryError(image, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return "", registryError(image, err)
	}
	if config.Architecture != "" && config.Architecture != platform.Architecture || config.OS != "" && config.OS != platform.OS {
		return "", fmt.Errorf("pull %s: the registry has it for %s/%s only, not for %s", image, config.OS, config.Architecture, platform)
	}
	imageDigest, err := img.Digest()
	if err != nil {
		return "", registryError(image, err)
	}
	key := tag.Name() + "@" + imageDigest.String()
	recordPath := s.cachePath("images", key)
	have := func() (string, bool) {
		var known archived
		ok := readJSON(recordPath, &known) && known.Image == key && isDigest(known.SHA256) && s.intact(ctx, known.SHA256)
		return known.SHA256, ok
	}
	if digest, ok := have(); ok {
		return digest, nil
	}
	unlock, err := s.lock(ctx, nameOf(key))
	if err != nil {
		return "", err
	}
	defer unlock()
	if digest, ok := have(); ok { // another process was quicker
		return digest, nil
	}
	p, err := s.newPartial(nameOf(key))
	if err != nil {
		return "", err
	}
	defer p.discard()
	total, err := tarball.CalculateSize(map[name.Reference]v1.Image{tag: img})
	if err != nil {
		return "", registryError(image, err)
	}
	hash := sha256.New()
	if err := tarball.Write(tag, img, io.MultiWriter(p, hash, &counter{total: total, progress: progress})); err != nil {
		return "", registryError(image, err)
	}
	digest := hex.EncodeToString(hash.Sum(nil))
	if err := s.keep(p, digest); err != nil {
		return "", fmt.Errorf("keep %s in the cache: %w", image, err)
	}
	writeJSON(recordPath, archived{key, digest})
	return digest, nil
}

// parseImage returns what to ask the registry for, and the name the archive
// gives the image. A digest in the reference says what to pull, the tag beside
// it how to call it.
func parseImage(image string) (ref name.Reference, tag name.Tag, err error) {
	ref, err = name.ParseReference(image)
	if err != nil {
		return nil, name.Tag{}, fmt.Errorf("pull %s: %w", image, err)
	}
	named, _, _ := strings.Cut(image, "@")
	tag, err = name.NewTag(named)
	if err != nil {
		return nil, name.Tag{}, fmt.Errorf("pull %s: %w", image, err)
	}
	return ref, tag, nil
}

// registryError wraps an error of the registry, as a *StatusError where it is one.
func registryError(image string, err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode != 0 {
		status := fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
		for _, d := range answer.Errors {
			status += ", " + string(d.Code)
		}
		return fmt.Errorf("pull image: %w", &StatusError{URL: image, Code: answer.StatusCode, Status: status})
	}
	return fmt.Errorf("pull %s: %w", image, unconnected(err))
}

// encrypted refuses http, to which the registry client would fall back for
// private addresses: the tag is what says which image is wanted, and nothing
// but https vouches for the answer. This machine itself is the exception.
type encrypted struct{ http.RoundTripper }

var errUnencrypted = errors.New("the registry does not speak https")

func (t encrypted) RoundTrip(request *http.Request) (*http.Response, error) {
	host := request.URL.Hostname()
	ip := net.ParseIP(host)
	if request.URL.Scheme != "https" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, errUnencrypted
	}
	return t.RoundTripper.RoundTrip(request)
}

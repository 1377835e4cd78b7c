package components

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// image is a container image of one layer.
type image struct {
	tag    string // the RepoTag: registry, repository and tag
	config v1.Config
	layer  []entry
}

// binaryImage is an image that holds one static program at dir/program, dir
// being "/usr/local/bin/" or "/", and starts it.
func binaryImage(tag, dir, program, from string) image {
	layer := []entry{{name: "tmp/", mode: 0o1777}}
	if dir == "/usr/local/bin/" {
		layer = append(layer,
			entry{name: "usr/", mode: 0o755},
			entry{name: "usr/local/", mode: 0o755},
			entry{name: "usr/local/bin/", mode: 0o755})
	}
	layer = append(layer, entry{name: dir[1:] + program, mode: 0o755, from: from})
	return image{
		tag: tag,
		config: v1.Config{
			Entrypoint: []string{dir + program},
			Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			WorkingDir: "/",
		},
		layer: layer,
	}
}

// write makes the docker-archive of the image (what `docker save` writes and
// `ctr images import` and `docker load` read), the same bytes for the same
// content. The layer is compressed: it travels over SSH to every host.
func (i image) write(path string) (err error) {
	tag, err := name.NewTag(i.tag, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("image %s: %w", i.tag, err)
	}
	var blob bytes.Buffer
	if err := compressTar(&blob, i.layer); err != nil {
		return fmt.Errorf("image %s: %w", i.tag, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(blob.Bytes())), nil
	})
	if err != nil {
		return fmt.Errorf("image %s: %w", i.tag, err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("image %s: %w", i.tag, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("image %s: %w", i.tag, err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = goos, goarch
	config.Created = v1.Time{Time: timestamp()}
	config.Config = i.config
	for n := range config.History {
		config.History[n].Created = config.Created
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return fmt.Errorf("image %s: %w", i.tag, err)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := tarball.Write(tag, img, f); err != nil {
		return fmt.Errorf("image %s: %w", i.tag, err)
	}
	return nil
}

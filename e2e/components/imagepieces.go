package components

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kinstall/kinstall/e2e/images"
)

// An archive of an image that no official location offers for download lies
// where its registry would be: REGISTRY/REPOSITORY/TAG.tar.
func imageFile(tag string) File {
	path := strings.Replace(tag, ":", "/", 1) + ".tar"
	return File{Path: path, Checksum: path + ".sha256", bare: true}
}

// pausePiece makes the pod sandbox image.
func pausePiece(v Versions) piece {
	tag := "registry.k8s.io/pause:" + v.Pause
	module := goModule{Main: images.Pause()}
	return piece{
		name: "pause", version: v.Pause, recipe: module,
		files: []File{imageFile(tag)},
		build: func(ctx context.Context, w *workshop) error {
			bin, err := module.build(ctx, w)
			if err != nil {
				return err
			}
			img := binaryImage(tag, "/", "pause", filepath.Join(bin, programName(ownModule)))
			img.config.User = "65535:65535"
			return img.write(w.file(imageFile(tag).Path))
		},
	}
}

// coreDNSPiece makes the image of a CoreDNS with a cluster's plugins.
func coreDNSPiece(v Versions) piece {
	tag := "registry.k8s.io/coredns/coredns:v" + v.CoreDNS
	module := goModule{
		Require: []moduleVersion{{"github.com/coredns/coredns", "v" + v.CoreDNS}},
		Main:    images.CoreDNS(),
	}
	return piece{
		name: "coredns", version: v.CoreDNS, recipe: module,
		files: []File{imageFile(tag)},
		build: func(ctx context.Context, w *workshop) error {
			bin, err := module.build(ctx, w)
			if err != nil {
				return err
			}
			img := binaryImage(tag, "/", "coredns", filepath.Join(bin, programName(ownModule)))
			img.config.ExposedPorts = map[string]struct{}{"53/tcp": {}, "53/udp": {}}
			return img.write(w.file(imageFile(tag).Path))
		},
	}
}

// Toolbox is the image of test workloads: Debian's static BusyBox with its
// applets (sh, ping, nc, httpd, sha256sum, dd, sleep …), fetch, an HTTP client,
// and stream, which measures the way between two of them.
const Toolbox = "kinstall.example/toolbox:1"

// toolboxPiece makes the Toolbox image.
func toolboxPiece(packages *debian) piece {
	programs := map[string]goModule{"fetch": {Main: images.Fetch()}, "stream": {Main: images.Stream()}}
	return piece{
		name: "toolbox", version: "1", recipe: programs,
		files: []File{imageFile(Toolbox)},
		build: func(ctx context.Context, w *workshop) error {
			dir, _, err := packages.unpack(ctx, w, "busybox-static")
			if err != nil {
				return err
			}
			busybox := filepath.Join(dir, "bin", "busybox")
			applets, err := w.run(ctx, command{dir: dir, argv: []string{busybox, "--list"}})
			if err != nil {
				return fmt.Errorf("list busybox's applets: %w", err)
			}
			built := map[string]string{}
			for name, module := range programs {
				bin, err := module.build(ctx, w)
				if err != nil {
					return err
				}
				built[name] = filepath.Join(bin, name) // out of the next one's way
				if err := os.Rename(filepath.Join(bin, programName(ownModule)), built[name]); err != nil {
					return err
				}
			}
			return toolboxImage(busybox, built, strings.Fields(string(applets))).write(w.file(imageFile(Toolbox).Path))
		},
	}
}

// toolboxImage holds programs, busybox and a link to that for each of its applets.
func toolboxImage(busybox string, programs map[string]string, applets []string) image {
	layer := []entry{
		{name: "bin/", mode: 0o755},
		{name: "bin/busybox", mode: 0o755, from: busybox},
	}
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		layer = append(layer, entry{name: "bin/" + name, mode: 0o755, from: programs[name]})
	}
	for _, a := range applets {
		if a != "busybox" {
			layer = append(layer, entry{name: "bin/" + a, link: "busybox"})
		}
	}
	layer = append(layer,
		entry{name: "etc/", mode: 0o755},
		entry{name: "etc/group", mode: 0o644, data: "root:x:0:\n"},
		entry{name: "etc/passwd", mode: 0o644, data: "root:x:0:0:root:/root:/bin/sh\n"},
		entry{name: "root/", mode: 0o700},
		entry{name: "tmp/", mode: 0o1777},
	)
	return image{
		tag: Toolbox,
		config: v1.Config{
			Cmd:        []string{"/bin/sh"},
			Env:        []string{"PATH=/bin"},
			WorkingDir: "/",
		},
		layer: layer,
	}
}

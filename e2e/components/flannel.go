package components

import (
	"context"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// flannelPiece makes the flanneld of flannel's GitHub release, with cgo, for its
// udp backend, and static; and the image with it. The official image has
// iptables as well, which flannel does not call when it is told to leave packet
// filters alone.
func flannelPiece(v Versions) piece {
	const module = "github.com/flannel-io/flannel"
	version := "v" + v.Flannel
	program := module + "/releases/download/" + version + "/flanneld-" + goarch
	tag := "ghcr.io/flannel-io/flannel:" + version
	build := goModule{
		Require:  []moduleVersion{{module, version}},
		Programs: []string{module},
		X:        map[string]string{module + "/pkg/version.Version": version},
		CGO:      true,
		// The version that flannel itself asks for can't be had from a proxy.
		Replace: []replacement{{
			Old: "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common",
			New: moduleVersion{"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common", "v1.3.103"},
		}},
	}
	return piece{
		name: "flannel", version: v.Flannel, recipe: build,
		files: []File{{Path: program, Checksum: program + ".sha256"}, imageFile(tag)},
		build: func(ctx context.Context, w *workshop) error {
			bin, err := build.build(ctx, w)
			if err != nil {
				return err
			}
			if err := os.Rename(filepath.Join(bin, "flannel"), w.file(program)); err != nil {
				return err
			}
			return flannelImage(tag, w.file(program)).write(w.file(imageFile(tag).Path))
		},
	}
}

// flannelImage has flanneld where the official one has it.
func flannelImage(tag, program string) image {
	return image{
		tag: tag,
		config: v1.Config{
			Entrypoint: []string{"/opt/bin/flanneld"},
			Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			WorkingDir: "/",
		},
		layer: []entry{
			{name: "opt/", mode: 0o755},
			{name: "opt/bin/", mode: 0o755},
			{name: "opt/bin/flanneld", mode: 0o755, from: program},
			{name: "tmp/", mode: 0o1777},
		},
	}
}

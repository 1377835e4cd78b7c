package components

import (
	"context"
	"os"
	"path/filepath"
)

// flannelPiece makes the flanneld of flannel's GitHub release: with cgo, for its
// udp backend, and static.
func flannelPiece(v Versions) piece {
	const module = "github.com/flannel-io/flannel"
	version := "v" + v.Flannel
	program := module + "/releases/download/" + version + "/flanneld-" + goarch
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
		files: []File{{Path: program, Checksum: program + ".sha256"}},
		build: func(ctx context.Context, w *workshop) error {
			bin, err := build.build(ctx, w)
			if err != nil {
				return err
			}
			return os.Rename(filepath.Join(bin, "flannel"), w.file(program))
		},
	}
}

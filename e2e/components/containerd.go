package components

import (
	"context"
	"path/filepath"
)

// containerdPiece makes the archive of containerd's GitHub release.
func containerdPiece(v Versions) piece {
	const path = "github.com/containerd/containerd/v2"
	version := "v" + v.Containerd
	archive := "github.com/containerd/containerd/releases/download/" + version +
		"/containerd-" + v.Containerd + "-" + goos + "-" + goarch + ".tar.gz"
	programs := []string{"containerd", "containerd-shim-runc-v2", "ctr"}
	module := goModule{
		Require: []moduleVersion{{path, version}},
		X:       map[string]string{path + "/version.Version": version},
	}
	for _, p := range programs {
		module.Programs = append(module.Programs, path+"/cmd/"+p)
	}
	return piece{
		name: "containerd", version: v.Containerd, recipe: module,
		files: []File{{Path: archive, Checksum: archive + ".sha256sum"}},
		build: func(ctx context.Context, w *workshop) error {
			bin, err := module.build(ctx, w)
			if err != nil {
				return err
			}
			entries := []entry{{name: "bin/", mode: 0o755}}
			for _, p := range programs {
				entries = append(entries, entry{name: "bin/" + p, mode: 0o755, from: filepath.Join(bin, p)})
			}
			return writeTarGz(w.file(archive), entries)
		},
	}
}

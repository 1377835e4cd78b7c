package components

import (
	"context"
	"path/filepath"
)

// etcdPiece makes the archive of etcd's GitHub release.
func etcdPiece(v Versions) piece {
	version := "v" + v.Etcd
	top := "etcd-" + version + "-" + goos + "-" + goarch
	folder := "github.com/etcd-io/etcd/releases/download/" + version + "/"
	archive := folder + top + ".tar.gz"
	module := goModule{
		Require: []moduleVersion{
			{"go.etcd.io/etcd/server/v3", version},
			{"go.etcd.io/etcd/etcdctl/v3", version},
			{"go.etcd.io/etcd/etcdutl/v3", version},
		},
		Programs: []string{
			"go.etcd.io/etcd/server/v3",
			"go.etcd.io/etcd/etcdctl/v3",
			"go.etcd.io/etcd/etcdutl/v3",
		},
		Names: map[string]string{"go.etcd.io/etcd/server/v3": "etcd"},
	}
	return piece{
		name: "etcd", version: v.Etcd, recipe: module,
		files: []File{{Path: archive, Checksum: folder + "SHA256SUMS"}},
		build: func(ctx context.Context, w *workshop) error {
			bin, err := module.build(ctx, w)
			if err != nil {
				return err
			}
			entries := []entry{{name: top + "/", mode: 0o755}}
			for _, p := range []string{"etcd", "etcdctl", "etcdutl"} {
				entries = append(entries, entry{name: top + "/" + p, mode: 0o755, from: filepath.Join(bin, p)})
			}
			return writeTarGz(w.file(archive), entries)
		},
	}
}

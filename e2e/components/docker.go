package components

import (
	"context"
	"fmt"
	"path/filepath"
)

// dockerPiece packs the programs of Debian's packages as Docker's static release
// has them. Unlike the official ones they are linked dynamically: hosts need
// libdevmapper1.02.1. The official location has no checksum file.
func dockerPiece(v Versions, packages *debian) piece {
	archive := "download.docker.com/linux/static/stable/x86_64/docker-" + v.Docker + ".tgz"
	return piece{
		name: "docker", version: v.Docker,
		files: []File{{Path: archive, Checksum: archive + ".sha256"}},
		build: func(ctx context.Context, w *workshop) error {
			dir := ""
			for _, name := range []string{"containerd", "docker.io", "runc", "tini"} {
				unpacked, version, err := packages.unpack(ctx, w, name)
				if err != nil {
					return err
				}
				if name == "docker.io" && upstream(version) != v.Docker {
					return fmt.Errorf("debian's package is version %s, not %s: docker comes from there, so ask for %s",
						version, v.Docker, upstream(version))
				}
				dir = unpacked // the same for all
			}
			entries := []entry{{name: "docker/", mode: 0o755}}
			for _, program := range []struct{ name, from string }{
				{"containerd", "usr/bin/containerd"},
				{"containerd-shim-runc-v2", "usr/bin/containerd-shim-runc-v2"},
				{"ctr", "usr/bin/ctr"},
				{"docker", "usr/bin/docker"},
				{"docker-init", "usr/bin/tini-static"},
				{"docker-proxy", "usr/sbin/docker-proxy"},
				{"dockerd", "usr/sbin/dockerd"},
				{"runc", "usr/sbin/runc"},
			} {
				entries = append(entries, entry{name: "docker/" + program.name, mode: 0o755, from: filepath.Join(dir, program.from)})
			}
			return writeTarGz(w.file(archive), entries)
		},
	}
}

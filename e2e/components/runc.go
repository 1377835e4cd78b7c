package components

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// runcPiece takes runc from Debian's package, which is built with seccomp; a
// runc from its module alone is not, and fails to start pods. Unlike the official
// one it is linked dynamically: hosts need libseccomp2, part of every Debian.
func runcPiece(v Versions, packages *debian) piece {
	folder := "github.com/opencontainers/runc/releases/download/v" + v.Runc + "/"
	program := folder + "runc." + goarch
	return piece{
		name: "runc", version: v.Runc,
		files: []File{{Path: program, Checksum: folder + "runc.sha256sum"}},
		build: func(ctx context.Context, w *workshop) error {
			dir, version, err := packages.unpack(ctx, w, "runc")
			if err != nil {
				return err
			}
			if upstream(version) != v.Runc {
				return fmt.Errorf("debian's package is version %s, not %s: runc comes from there, so ask for %s",
					version, v.Runc, upstream(version))
			}
			return os.Rename(filepath.Join(dir, "usr", "sbin", "runc"), w.file(program))
		},
	}
}

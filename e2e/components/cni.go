package components

import (
	"context"
	"path"
	"path/filepath"
)

// cniPiece makes the archive of the CNI plugins' GitHub release, with all the
// plugins that run on Linux.
func cniPiece(v Versions) piece {
	const module = "github.com/containernetworking/plugins"
	version := "v" + v.CNI
	archive := module + "/releases/download/" + version + "/cni-plugins-" + goos + "-" + goarch + "-" + version + ".tgz"
	build := goModule{
		Require: []moduleVersion{{module, version}},
		X:       map[string]string{module + "/pkg/utils/buildversion.BuildVersion": version},
	}
	for _, p := range []string{
		"ipam/dhcp", "ipam/host-local", "ipam/static",
		"main/bridge", "main/dummy", "main/host-device", "main/ipvlan", "main/loopback",
		"main/macvlan", "main/ptp", "main/tap", "main/vlan",
		"meta/bandwidth", "meta/firewall", "meta/portmap", "meta/sbr", "meta/tuning", "meta/vrf",
	} {
		build.Programs = append(build.Programs, module+"/plugins/"+p)
	}
	return piece{
		name: "cni", version: v.CNI, recipe: build,
		files: []File{{Path: archive, Checksum: archive + ".sha256"}},
		build: func(ctx context.Context, w *workshop) error {
			bin, err := build.build(ctx, w)
			if err != nil {
				return err
			}
			entries := []entry{{name: "./", mode: 0o755}}
			for _, p := range build.Programs {
				name := path.Base(p)
				entries = append(entries, entry{name: "./" + name, mode: 0o755, from: filepath.Join(bin, name)})
			}
			return writeTarGz(w.file(archive), entries)
		},
	}
}

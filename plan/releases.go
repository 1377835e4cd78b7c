package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// ChecksumFormat says how a checksum file names a digest.
type ChecksumFormat string

// The formats official checksum files have.
const (
	// ChecksumBare is nothing but the hex digest.
	ChecksumBare ChecksumFormat = "bare"
	// ChecksumList is lines of "HEX  FILE", as sha256sum prints them; FILE is
	// the last part of the release's location.
	ChecksumList ChecksumFormat = "list"
)

// Checksum is the official file that tells a release's SHA-256.
type Checksum struct {
	Location string // HOST/PATH; "" if there is none
	Format   ChecksumFormat
}

// Release is one file kinstall takes from a source: software or an image archive.
type Release struct {
	Name     string // "etcd", "image/pause": what artifacts.sha256 calls it
	Version  string // without v
	Location string // HOST/PATH of the official download, also its path in a mirror; or an absolute path here
	Checksum Checksum
	Members  []resource.Member // of software: what is installed of it
	// Image is the reference an image archive is imported under. An image
	// without an official archive (Registry is true) lies at Location in a
	// mirror only; otherwise it is pulled from its registry.
	Image    string
	Registry bool
}

// IsImage tells an image archive from software.
func (r Release) IsImage() bool { return r.Image != "" }

// Pinned tells whether the lock file keeps the release's digest. An archive on
// the operator's own disk is the operator's to change: its digest is learnt
// anew each time.
func (r Release) Pinned() bool { return !path.IsAbs(r.Location) }

// The names of releases.
const (
	releaseKubelet           = "kubelet"
	releaseKubeProxy         = "kube-proxy"
	releaseEtcd              = "etcd"
	releaseContainerd        = "containerd"
	releaseRunc              = "runc"
	releaseDocker            = "docker"
	releaseCRIDockerd        = "cri-dockerd"
	releaseCNI               = "cni-plugins"
	releaseAPIServer         = "image/kube-apiserver"
	releaseControllerManager = "image/kube-controller-manager"
	releaseScheduler         = "image/kube-scheduler"
	releasePause             = "image/pause"
	releaseCoreDNS           = "image/coredns"
	releaseFlannel           = "flannel"
	releaseFlannelImage      = "image/flannel"
)

// Releases returns every artifact and image archive an inventory needs, in a
// fixed order. Where each lies is what its project publishes:
// https://kubernetes.io/releases/download/ and the release pages on GitHub.
func Releases(inv *inventory.Inventory) []Release {
	kubernetes := "dl.k8s.io/release/v" + inv.Cluster.Version + "/bin/linux/amd64/"
	binary := func(name string) Release {
		return Release{
			Name: name, Version: inv.Cluster.Version, Location: kubernetes + name,
			Checksum: Checksum{kubernetes + name + ".sha256", ChecksumBare},
			Members:  []resource.Member{{To: "/usr/local/bin/" + name, Mode: 0o755}},
		}
	}
	controlPlane := func(release string) Release {
		name := strings.TrimPrefix(release, "image/")
		return Release{
			Name: release, Version: inv.Cluster.Version, Location: kubernetes + name + ".tar",
			Checksum: Checksum{kubernetes + name + ".tar.sha256", ChecksumBare},
			Image:    "registry.k8s.io/" + name + ":v" + inv.Cluster.Version,
		}
	}

	var releases []Release
	if len(inv.With(inventory.RoleEtcd)) > 0 {
		etcd := github("etcd-io/etcd", inv.Etcd.Version)
		etcdName := "etcd-v" + inv.Etcd.Version + "-linux-amd64"
		releases = append(releases, Release{
			Name: releaseEtcd, Version: inv.Etcd.Version, Location: etcd + etcdName + ".tar.gz",
			Checksum: Checksum{etcd + "SHA256SUMS", ChecksumList},
			Members:  members(etcdName+"/", "/usr/local/bin/", "etcd", "etcdctl", "etcdutl"),
		})
	}
	releases = append(releases, runtimeReleases(inv)...)
	if len(inv.Nodes()) > 0 {
		releases = append(releases, binary(releaseKubelet))
		if inv.KubeProxy.Mode != proxyNone {
			releases = append(releases, binary(releaseKubeProxy))
		}
	}

	if len(inv.ContainerHosts()) > 0 {
		switch {
		case flannelIn(inv, inventory.StoreEtcd):
			program := github("flannel-io/flannel", inv.Network.Version) + "flanneld-amd64"
			releases = append(releases, Release{
				Name: releaseFlannel, Version: inv.Network.Version, Location: program,
				Checksum: Checksum{program + ".sha256", ChecksumList},
				Members:  []resource.Member{{To: "/usr/local/bin/flanneld", Mode: 0o755}},
			})
		case flannelIn(inv, inventory.StoreKubernetes):
			releases = append(releases, pulled(releaseFlannelImage, "ghcr.io/flannel-io/flannel:v"+inv.Network.Version))
		}
	}

	if len(inv.With(inventory.RoleMaster)) > 0 {
		releases = append(releases, controlPlane(releaseAPIServer), controlPlane(releaseControllerManager), controlPlane(releaseScheduler))
	}
	if len(inv.Nodes()) > 0 {
		releases = append(releases, pulled(releasePause, inv.Runtime.SandboxImage))
		if inv.DNS.Kind == dnsCoreDNS {
			releases = append(releases, pulled(releaseCoreDNS, "registry.k8s.io/coredns/coredns:v"+inv.DNS.Version))
		}
	}
	return append(releases, ownImages(inv)...)
}

// runtimeReleases are those of the runtime; Docker itself may be a package.
func runtimeReleases(inv *inventory.Inventory) []Release {
	rt := inv.Runtime
	var releases []Release
	on := func(condition condition) bool {
		return slices.ContainsFunc(inv.Hosts, func(h inventory.Host) bool { return condition(inv, h) })
	}
	if on(onContainerd) {
		containerd := github("containerd/containerd", rt.Version) + "containerd-" + rt.Version + "-linux-amd64.tar.gz"
		runc := github("opencontainers/runc", rt.RuncVersion)
		releases = append(releases,
			Release{
				Name: releaseContainerd, Version: rt.Version, Location: containerd,
				Checksum: Checksum{containerd + ".sha256sum", ChecksumList},
				Members:  members("bin/", "/usr/local/bin/", "containerd", "containerd-shim-runc-v2", "ctr"),
			},
			Release{
				Name: releaseRunc, Version: rt.RuncVersion, Location: runc + "runc.amd64",
				Checksum: Checksum{runc + "runc.sha256sum", ChecksumList},
				Members:  []resource.Member{{To: "/usr/local/sbin/runc", Mode: 0o755}},
			})
	}
	if on(onDocker) && rt.Version != "" {
		// https://docs.docker.com/engine/install/binaries/; no checksums are published.
		releases = append(releases, Release{
			Name: releaseDocker, Version: rt.Version,
			Location: "download.docker.com/linux/static/stable/x86_64/docker-" + rt.Version + ".tgz",
			Members: members("docker/", "/usr/local/bin/",
				"containerd", "containerd-shim-runc-v2", "ctr", "docker", "docker-init", "docker-proxy", "dockerd", "runc"),
		})
	}
	if rt.Kind == inventory.RuntimeDocker && on(onNodes) {
		// No checksums are published.
		releases = append(releases, Release{
			Name: releaseCRIDockerd, Version: rt.CRIDockerdVersion,
			Location: github("Mirantis/cri-dockerd", rt.CRIDockerdVersion) + "cri-dockerd-" + rt.CRIDockerdVersion + ".amd64.tgz",
			Members:  members("cri-dockerd/", "/usr/local/bin/", "cri-dockerd"),
		})
	}
	if on(onCNI) {
		cni := github("containernetworking/plugins", rt.CNIVersion) + "cni-plugins-linux-amd64-v" + rt.CNIVersion + ".tgz"
		releases = append(releases, Release{
			Name: releaseCNI, Version: rt.CNIVersion, Location: cni,
			Checksum: Checksum{cni + ".sha256", ChecksumList},
			Members:  members("./", "/opt/cni/bin/", "bandwidth", "bridge", "firewall", "host-local", "loopback", "portmap", "tuning"),
		})
	}
	return releases
}

// ownImages are the archives the user names: their locations are absolute
// paths of the operator's machine.
func ownImages(inv *inventory.Inventory) []Release {
	var releases []Release
	if len(inv.Artifacts.Images) == 0 || len(inv.ContainerHosts()) == 0 {
		return nil
	}
	for _, reference := range slices.Sorted(maps.Keys(inv.Artifacts.Images)) {
		releases = append(releases, Release{Name: "image/" + reference, Location: inv.Artifacts.Images[reference], Image: reference})
	}
	return releases
}

// github is where a project's files of one version lie.
func github(project, version string) string {
	return fmt.Sprintf("github.com/%s/releases/download/v%s/", project, version)
}

func members(from, to string, names ...string) []resource.Member {
	var all []resource.Member
	for _, name := range names {
		all = append(all, resource.Member{From: from + name, To: to + name, Mode: 0o755})
	}
	return all
}

// pulled is an image without an official archive: REPOSITORY/TAG.tar in a mirror.
func pulled(name, reference string) Release {
	repository, version := reference, "latest"
	if named, digest, ok := strings.Cut(reference, "@"); ok {
		repository, version = named, strings.ReplaceAll(digest, ":", "-")
		if i := strings.LastIndexByte(named, ':'); i > strings.LastIndexByte(named, '/') {
			repository = named[:i]
		}
	} else if i := strings.LastIndexByte(reference, ':'); i > strings.LastIndexByte(reference, '/') {
		repository, version = reference[:i], reference[i+1:]
	}
	return Release{
		Name: name, Version: strings.TrimPrefix(version, "v"), Location: repository + "/" + version + ".tar",
		Image: reference, Registry: true,
	}
}

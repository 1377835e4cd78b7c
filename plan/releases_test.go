package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/inventory"
)

func TestReleases(t *testing.T) {
	var got []string
	for _, r := range Releases(load(t, "lab")) {
		line := r.Name + " " + r.Version + " " + r.Location
		if r.Checksum.Location != "" {
			line += " " + string(r.Checksum.Format) + " " + r.Checksum.Location
		}
		if r.IsImage() {
			line += " as " + r.Image
		}
		if r.IsImage() == (len(r.Members) > 0) {
			t.Errorf("%s is neither software nor image, or both", r.Name)
		}
		if r.Registry != (r.IsImage() && r.Checksum.Location == "") {
			t.Errorf("%s: only what has no official archive is pulled", r.Name)
		}
		got = append(got, line)
	}
	const k8s, gh = "dl.k8s.io/release/v1.36.3/bin/linux/amd64/", "github.com/"
	want := []string{
		"etcd 3.6.8 " + gh + "etcd-io/etcd/releases/download/v3.6.8/etcd-v3.6.8-linux-amd64.tar.gz list " + gh + "etcd-io/etcd/releases/download/v3.6.8/SHA256SUMS",
		"containerd 2.4.2 " + gh + "containerd/containerd/releases/download/v2.4.2/containerd-2.4.2-linux-amd64.tar.gz list " + gh + "containerd/containerd/releases/download/v2.4.2/containerd-2.4.2-linux-amd64.tar.gz.sha256sum",
		"runc 1.1.5 " + gh + "opencontainers/runc/releases/download/v1.1.5/runc.amd64 list " + gh + "opencontainers/runc/releases/download/v1.1.5/runc.sha256sum",
		"cni-plugins 1.9.1 " + gh + "containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-amd64-v1.9.1.tgz list " + gh + "containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-amd64-v1.9.1.tgz.sha256",
		"kubelet 1.36.3 " + k8s + "kubelet bare " + k8s + "kubelet.sha256",
		"kube-proxy 1.36.3 " + k8s + "kube-proxy bare " + k8s + "kube-proxy.sha256",
		"image/kube-apiserver 1.36.3 " + k8s + "kube-apiserver.tar bare " + k8s + "kube-apiserver.tar.sha256 as registry.k8s.io/kube-apiserver:v1.36.3",
		"image/kube-controller-manager 1.36.3 " + k8s + "kube-controller-manager.tar bare " + k8s + "kube-controller-manager.tar.sha256 as registry.k8s.io/kube-controller-manager:v1.36.3",
		"image/kube-scheduler 1.36.3 " + k8s + "kube-scheduler.tar bare " + k8s + "kube-scheduler.tar.sha256 as registry.k8s.io/kube-scheduler:v1.36.3",
		"image/pause 3.10.1 registry.k8s.io/pause/3.10.1.tar as registry.k8s.io/pause:3.10.1",
		"image/coredns 1.14.7 registry.k8s.io/coredns/coredns/v1.14.7.tar as registry.k8s.io/coredns/coredns:v1.14.7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReleasesFollowTheInventory(t *testing.T) {
	inv := load(t, "lab")
	inv.DNS.Kind = "none"
	inv.KubeProxy.Mode = "none"
	for i := range inv.Hosts {
		inv.Hosts[i].Roles = []string{inventory.RoleEtcd}
	}
	for _, r := range Releases(inv) {
		if r.Name != "etcd" {
			t.Errorf("hosts that run nothing but etcd need %s", r.Name)
		}
	}
}

func TestPulledImages(t *testing.T) {
	sum := strings.Repeat("0", 64)
	for reference, want := range map[string]string{
		"registry.k8s.io/pause:3.10.1":           "registry.k8s.io/pause/3.10.1.tar",
		"localhost:5000/pause":                   "localhost:5000/pause/latest.tar",
		"localhost:5000/a/pause:3":               "localhost:5000/a/pause/3.tar",
		"mirror.example/pause@sha256:" + sum:     "mirror.example/pause/sha256-" + sum + ".tar",
		"mirror.example:1/pause:3@sha256:" + sum: "mirror.example:1/pause/sha256-" + sum + ".tar",
	} {
		if got := pulled("image/pause", reference); got.Location != want || got.Image != reference {
			t.Errorf("%s lies at %s, want %s", reference, got.Location, want)
		}
	}
}

// Every release of every variant can be pinned by its name.
func TestReleasesCanBePinned(t *testing.T) {
	names := map[string]bool{}
	for _, inv := range variants(t) {
		for _, r := range Releases(inv) {
			if inv.Artifacts.Images[r.Image] == "" {
				names[r.Name] = true
			}
		}
	}
	if len(names) < 13 {
		t.Errorf("only %d names", len(names))
	}
	for name := range names {
		block := fmt.Sprintf("artifacts {\n  sha256 = { %q = %q }\n}", name, strings.Repeat("0a", 32))
		if said := refusedBy(t, block); said != "" {
			t.Errorf("%s can't be pinned: %s", name, said)
		}
	}
}

package components

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// kubernetesPiece builds the binaries that run on hosts and the images of the
// control plane, as dl.k8s.io has them.
func kubernetesPiece(v Versions) piece {
	binaries := []string{"kubeadm", "kubectl", "kubelet", "kube-proxy"}
	images := []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}

	version := "v" + v.Kubernetes
	module := goModule{
		Require: []moduleVersion{{"k8s.io/kubernetes", version}},
		X:       kubernetesVersionVariables(v.Kubernetes),
	}
	for _, p := range append(append([]string{}, binaries...), images...) {
		module.Programs = append(module.Programs, "k8s.io/kubernetes/cmd/"+p)
	}

	var files []File
	folder := "dl.k8s.io/release/" + version + "/bin/" + goos + "/" + goarch + "/"
	add := func(name string) {
		files = append(files, File{Path: folder + name, Checksum: folder + name + ".sha256", bare: true})
	}
	for _, b := range binaries {
		add(b)
	}
	for _, i := range images {
		add(i + ".tar")
	}
	// The official archives carry the architecture in the repository's name.
	imageOf := func(program, bin string) image {
		return binaryImage("registry.k8s.io/"+program+"-"+goarch+":"+version,
			"/usr/local/bin/", program, filepath.Join(bin, program))
	}

	return piece{
		name: "kubernetes", version: v.Kubernetes, files: files, recipe: module,
		build: func(ctx context.Context, w *workshop) error {
			staged, err := stagedModules(ctx, w, module.Require[0], stagedVersion(v.Kubernetes))
			if err != nil {
				return err
			}
			module := module
			module.Replace = staged
			bin, err := module.build(ctx, w)
			if err != nil {
				return err
			}
			for _, b := range binaries {
				if err := os.Rename(filepath.Join(bin, b), w.file(folder+b)); err != nil {
					return err
				}
			}
			for _, i := range images {
				if err := imageOf(i, bin).write(w.file(folder + i + ".tar")); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// stagedVersion is the version under which the staging modules of a Kubernetes
// release are published: v0.36.3 for 1.36.3.
func stagedVersion(kubernetes string) string {
	_, rest, _ := strings.Cut(kubernetes, ".")
	return "v0." + rest
}

// kubernetesVersionVariables are the variables that hack/lib/version.sh of
// Kubernetes sets, as for a build from an archive of the sources. Without them
// the components take themselves for v0.0.0 and refuse to work together.
func kubernetesVersionVariables(version string) map[string]string {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	x := map[string]string{}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for name, value := range map[string]string{
			"gitVersion":   "v" + version,
			"gitMajor":     major,
			"gitMinor":     minor,
			"gitTreeState": "archive",
		} {
			x[fmt.Sprintf("%s.%s", pkg, name)] = value
		}
	}
	return x
}

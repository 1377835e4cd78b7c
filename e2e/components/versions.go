package components

import (
	"fmt"
	"regexp"
)

// Versions names the version of each component, without a leading "v".
type Versions struct {
	Kubernetes string
	Etcd       string
	Containerd string
	CNI        string // the CNI project's plugins
	CoreDNS    string
	Pause      string // the tag of the pod sandbox image
	Runc       string // must be the upstream version of Debian's package, see Builder
	Flannel    string
	Docker     string // must be the upstream version of Debian's package, too
}

// PreviousKubernetes is a patch of the minor before Default's: what the story
// of an upgrade begins with.
const PreviousKubernetes = "1.35.4"

// Default returns the versions the lab runs unless told otherwise.
func Default() Versions {
	return Versions{
		Kubernetes: "1.36.3",
		Etcd:       "3.6.8",
		Containerd: "2.4.2",
		CNI:        "1.9.1",
		CoreDNS:    "1.14.7",
		Pause:      "3.10.1",
		Runc:       "1.1.5",
		Flannel:    "0.28.4",
		Docker:     "20.10.24",
	}
}

// validate reports the first version that could not be a release's: it becomes
// part of paths and of module queries, where "latest" or "../x" must not pass.
func (v Versions) validate() error {
	for _, c := range []struct{ name, version string }{
		{"kubernetes", v.Kubernetes},
		{"etcd", v.Etcd},
		{"containerd", v.Containerd},
		{"cni", v.CNI},
		{"coredns", v.CoreDNS},
		{"pause", v.Pause},
		{"runc", v.Runc},
		{"flannel", v.Flannel},
		{"docker", v.Docker},
	} {
		if !releaseVersion.MatchString(c.version) {
			return fmt.Errorf("components: %s version %q: want MAJOR.MINOR.PATCH without a leading v", c.name, c.version)
		}
	}
	return nil
}

var releaseVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$`)

package inventory

import (
	"fmt"
	"strconv"
	"strings"
)

// Versions of what comes with every Kubernetes minor.
const (
	defaultContainerd = "2.4.2"
	defaultRunc       = "1.3.3"
	defaultCRIDockerd = "0.3.24"
	defaultCNI        = "1.9.1"
	defaultSandbox    = "registry.k8s.io/pause:3.10.1"
	defaultCoreDNS    = "1.14.7"
	defaultFlannel    = "0.28.4"
)

// release is what differs between the supported Kubernetes minors.
type release struct {
	minor string
	// patch is a release of the minor that is known to exist: what is advised to
	// whoever has to pass through it.
	patch string
	// etcd is the default version; etcdMin and etcdMax bound what works: from
	// this version on, up to any patch of that minor.
	etcd, etcdMin, etcdMax string
}

// releases is the table of supported minors, newest first. etcd's versions are
// those of kubeadm's SupportedEtcdVersion and MinExternalEtcdVersion; 1.33 is
// the last minor whose client is built for etcd 3.5.
func releases() []release {
	return []release{
		{minor: "1.36", patch: "1.36.3", etcd: "3.6.8", etcdMin: "3.5.24", etcdMax: "3.6"},
		{minor: "1.35", patch: "1.35.4", etcd: "3.6.8", etcdMin: "3.5.24", etcdMax: "3.6"},
		{minor: "1.34", patch: "1.34.4", etcd: "3.6.8", etcdMin: "3.5.24", etcdMax: "3.6"},
		{minor: "1.33", patch: "1.33.13", etcd: "3.5.26", etcdMin: "3.5.21", etcdMax: "3.6"},
	}
}

// SupportedMinors are the Kubernetes minors an inventory may name, newest first.
func SupportedMinors() []string {
	var minors []string
	for _, r := range releases() {
		minors = append(minors, r.minor)
	}
	return minors
}

// releaseOf finds the row of a Kubernetes version.
func releaseOf(version string) (release, bool) {
	for _, r := range releases() {
		if minorOf(version) == r.minor {
			return r, true
		}
	}
	return release{}, false
}

// PatchOf is a release of a supported minor ("1.35") that is known to exist; ""
// of one that is not supported.
func PatchOf(minor string) string {
	for _, r := range releases() {
		if r.minor == minor {
			return r.patch
		}
	}
	return ""
}

// MinorOf cuts "1.36.3" to "1.36".
func MinorOf(version string) string { return minorOf(version) }

// MinorsBetween is how many minors lie from one version to another of the same
// major, 1 from 1.35.4 to 1.36.0; negative the other way.
func MinorsBetween(from, to string) int {
	return versionPart(strings.Split(to, "."), 1) - versionPart(strings.Split(from, "."), 1)
}

// CompareVersions orders two versions of dotted numbers, as cmp.Compare does.
func CompareVersions(a, b string) int { return compareVersions(a, b) }

// etcdBefore is the first patch from which etcd may go to the next minor, by
// that minor. From older ones to 3.6, members that were removed long ago come
// back (https://etcd.io/blog/2025/zombie_members_upgrade/).
func etcdBefore() map[string]string { return map[string]string{"3.6": "3.5.26"} }

// EtcdBefore is the first patch of the minor before from which etcd may go to a
// minor; "" if any will do.
func EtcdBefore(minor string) string { return etcdBefore()[minor] }

// minorOf cuts "1.36.3" to "1.36".
func minorOf(version string) string {
	return version[:max(0, strings.LastIndexByte(version, '.'))]
}

// compareVersions orders dotted numbers; a missing part counts as zero. Both
// must have passed versionText (or be constants of this file).
func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if x, y := versionPart(as, i), versionPart(bs, i); x != y {
			if x < y {
				return -1
			}
			return 1
		}
	}
	return 0
}

func versionPart(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, err := strconv.Atoi(parts[i])
	if err != nil {
		return 0
	}
	return n
}

func kubernetesVersion(s string) *fault {
	if f := versionText(s); f != nil {
		return f
	}
	if _, ok := releaseOf(s); !ok {
		minors := SupportedMinors()
		return faultf(unsupportedVersion, "Kubernetes %s is not supported: expected a patch release of %s.", s, strings.Join(minors, ", ")).
			advise("Choose one of the supported minors, like %q.", minors[0]+".0")
	}
	return nil
}

// etcdFits judges etcd against Kubernetes; both are well-formed.
func etcdFits(etcd, kubernetes string) *fault {
	r, ok := releaseOf(kubernetes)
	if !ok {
		return nil // reported at the Kubernetes version
	}
	if compareVersions(etcd, r.etcdMin) < 0 || compareVersions(minorOf(etcd), r.etcdMax) > 0 {
		return faultf(unsupportedVersion, "etcd %s does not go with Kubernetes %s: expected %s or newer, up to %s.", etcd, kubernetes, r.etcdMin, r.etcdMax).
			advise("Leave it out to get %s, or choose a version in between.", r.etcd)
	}
	return nil
}

// atLeast accepts versions of one major from a first one on.
func atLeast(what, first, why string) grammar {
	return func(s string) *fault {
		if f := versionText(s); f != nil {
			return f
		}
		major, _, _ := strings.Cut(first, ".")
		if !strings.HasPrefix(s, major+".") || compareVersions(s, first) < 0 {
			f := faultf(unsupportedVersion, "%s %s is not supported: expected %s or newer, below %s.", what, s, first, nextMajor(major))
			if why != "" {
				f.detail += " " + why
			}
			return f
		}
		return nil
	}
}

// dockerVersion takes Docker Engine's versions since the first that knows
// cgroups v2.
func dockerVersion(s string) *fault {
	if f := versionText(s); f != nil {
		return f
	}
	if compareVersions(s, "20.10.0") < 0 {
		return faultf(unsupportedVersion, "Docker Engine %s is not supported: expected 20.10.0 or newer.", s)
	}
	return nil
}

// lastForDocker20 is the last cri-dockerd that does with Docker's API 1.41, of
// Docker Engine 20.10; later ones need 1.42
// (https://github.com/Mirantis/cri-dockerd/pull/346).
const lastForDocker20 = "0.3.11"

// DockerNeeded is the oldest Docker Engine that the runtime's cri-dockerd can
// talk to.
func (r Runtime) DockerNeeded() string {
	if compareVersions(r.CRIDockerdVersion, lastForDocker20) > 0 {
		return "23.0.0"
	}
	return "20.10.0"
}

func nextMajor(major string) string {
	n, err := strconv.Atoi(major)
	if err != nil {
		return major
	}
	return fmt.Sprintf("%d.0.0", n+1)
}

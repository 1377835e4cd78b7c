package plan

import (
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// program is what runs in some version on hosts, and need not be the same on all
// of them while an upgrade is under way.
type program struct {
	name, plural string // "API server", "API servers"
	// behind is how many minors it may be older than the API servers
	// (https://kubernetes.io/releases/version-skew-policy/). None may be newer.
	behind int
	// found is the version that runs on a host, or is about to, as far as what was
	// observed tells; "" if it does not.
	found func(o Observed, host string) string
}

// serverProgram is that of the API servers, against which the others are held.
func serverProgram() program {
	return program{"API server", "API servers", 1, inManifest(apiServerPod)}
}

// kubernetesPrograms are those that have the version of cluster.version.
func kubernetesPrograms() []program {
	return []program{
		serverProgram(),
		{"controller manager", "controller managers", 1, inManifest(controllerPod)},
		{"scheduler", "schedulers", 1, inManifest(schedulerPod)},
		{"kubelet", "kubelets", 3, kubeletFound},
		{"kube-proxy", "kube-proxies", 3, ofArtifact(releaseKubeProxy)},
	}
}

// finding is a version that was found on a host.
type finding struct{ program, host, version string }

// findings are the versions of a program on all hosts of the inventory that were
// asked, in inventory order; those of hosts that the plan leaves out as well.
func (p *Plan) findings(o Observed, of program) []finding {
	var all []finding
	for i := range p.Inventory.Hosts {
		host := p.Inventory.Hosts[i].Name
		if version := of.found(o, host); version != "" {
			all = append(all, finding{of.name, host, version})
		}
	}
	return all
}

// releaseForm is that of the versions that can be compared.
var releaseForm = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$`)

// asRelease is a version that can be compared, without v; "" for any other.
func asRelease(version string) string {
	version = strings.TrimPrefix(version, "v")
	if !releaseForm.MatchString(version) {
		return ""
	}
	return version
}

// inManifest finds a version by the image in a static pod's manifest: what the
// kubelet runs, or will in a moment.
func inManifest(pod string) func(Observed, string) string {
	return func(o Observed, host string) string {
		facts, ok := o.Learnt(host)
		if !ok {
			return ""
		}
		file, err := facts.File(manifestPath(pod))
		if err != nil || !file.Exists || !file.HasContent {
			return ""
		}
		var manifest struct {
			Spec struct {
				Containers []struct {
					Image string `json:"image"`
				} `json:"containers"`
			} `json:"spec"`
		}
		if yaml.Unmarshal(file.Content, &manifest) != nil || len(manifest.Spec.Containers) != 1 {
			return "" // somebody wrote it who is not kinstall
		}
		image := manifest.Spec.Containers[0].Image
		return asRelease(image[strings.LastIndexByte(image, ':')+1:])
	}
}

// ofArtifact finds the version that a host remembers to have been installed.
func ofArtifact(release string) func(Observed, string) string {
	id := string(resource.NewID(resource.KindArtifact, release))
	return func(o Observed, host string) string {
		facts, ok := o.Learnt(host)
		if !ok {
			return ""
		}
		return asRelease(facts.Host.State.Resources[id].Version)
	}
}

// kubeletFound is what the node says, which is the one that runs; else what the
// host remembers.
func kubeletFound(o Observed, host string) string {
	if node, err := o.Cluster.Node(host); err == nil && node.Exists {
		if version := asRelease(node.Kubelet); version != "" {
			return version
		}
	}
	return ofArtifact(releaseKubelet)(o, host)
}

// manifestPath is where the kubelet looks for a static pod.
func manifestPath(pod string) string { return ManifestDirectory + "/" + pod + ".yaml" }

// versionQueries ask for what tells the versions of a master's control plane,
// also of one that the plan leaves out.
func versionQueries(host inventory.Host) []fact.Query {
	if !host.Has(inventory.RoleMaster) {
		return nil
	}
	var queries []fact.Query
	for _, pod := range []string{apiServerPod, controllerPod, schedulerPod} {
		queries = append(queries, fact.Query{Kind: fact.KindFile, Name: manifestPath(pod), Content: true})
	}
	return queries
}

// distinct are the versions found, oldest first.
func distinct(found []finding) []string {
	var versions []string
	for _, f := range found {
		versions = append(versions, f.version)
	}
	slices.SortFunc(versions, inventory.CompareVersions)
	return slices.Compact(versions)
}

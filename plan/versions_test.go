package plan

import (
	"testing"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// What tells the version of a program, and what does not.
func TestVersionsFound(t *testing.T) {
	manifest := func(content string) func(Observed) {
		return func(o Observed) {
			o.Hosts["emei"].Facts.Put(fact.Key{Kind: fact.KindFile, Name: "/etc/kubernetes/manifests/kube-apiserver.yaml"},
				fact.File{Exists: true, Type: "file", HasContent: true, Content: []byte(content)})
		}
	}
	image := func(reference string) func(Observed) {
		return manifest("spec:\n  containers:\n  - image: " + reference + "\n")
	}
	installed := func(artifact, version string) func(Observed) {
		return func(o Observed) {
			o.Hosts["emei"].Facts.Host.State.Resources[string(resource.NewID(resource.KindArtifact, artifact))] = fact.Record{Version: version}
		}
	}
	node := func(n fact.Node) func(Observed) {
		return func(o Observed) { o.Cluster.Put(fact.Key{Kind: fact.KindNode, Name: "emei"}, n) }
	}
	server := serverProgram()
	kubelet := kubernetesPrograms()[3]
	proxy := kubernetesPrograms()[4]
	for _, c := range []struct {
		name  string
		of    program
		found []func(Observed)
		want  string
	}{
		{"a manifest", server, []func(Observed){image(`"registry.k8s.io/kube-apiserver:v1.35.4"`)}, "1.35.4"},
		{"a registry with a port", server, []func(Observed){image(`"mirror.example.com:5000/kube-apiserver:v1.35.4"`)}, "1.35.4"},
		{"no manifest", server, nil, ""},
		{"somebody else's manifest", server, []func(Observed){manifest("\t:")}, ""},
		{"two containers", server, []func(Observed){manifest("spec:\n  containers: [{image: \"a:v1.35.4\"}, {image: \"b:v1.35.4\"}]\n")}, ""},
		{"a digest", server, []func(Observed){image(`"registry.k8s.io/kube-apiserver@sha256:0123"`)}, ""},
		{"no release", server, []func(Observed){image(`"registry.k8s.io/kube-apiserver:v1.36.0-rc.1"`)}, ""},
		{"a number that is none", server, []func(Observed){image(`"registry.k8s.io/kube-apiserver:v1.99999999999999999999.1"`)}, ""},
		{"the node's word", kubelet, []func(Observed){node(fact.Node{Exists: true, Kubelet: "1.35.4"}), installed("kubelet", "1.36.3")}, "1.35.4"},
		{"no node", kubelet, []func(Observed){node(fact.Node{}), installed("kubelet", "1.36.3")}, "1.36.3"},
		{"no answer of the API", kubelet, []func(Observed){installed("kubelet", "1.36.3")}, "1.36.3"},
		{"installed by a kinstall that did not write it down", kubelet, []func(Observed){installed("kubelet", "")}, ""},
		{"a kube-proxy", proxy, []func(Observed){installed("kube-proxy", "1.36.3")}, "1.36.3"},
		{"an etcd", program{found: ofArtifact(releaseEtcd)}, []func(Observed){installed("etcd", "3.6.8")}, "3.6.8"},
		{"a containerd", program{found: ofArtifact(releaseContainerd)}, []func(Observed){installed("containerd", "2.4.2")}, "2.4.2"},
	} {
		facts := fact.NewSet(fact.Host{State: fact.State{Resources: map[string]fact.Record{}}})
		o := Observed{Hosts: map[string]Observation{"emei": {Facts: facts}}, Cluster: fact.NewSet(fact.Host{})}
		for _, put := range c.found {
			put(o)
		}
		if got := c.of.found(o, "emei"); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
		if got := c.of.found(o, "shaolin"); got != "" {
			t.Errorf("%s: %q of a host that was not asked", c.name, got)
		}
	}
}

package plan

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Every mode of kube-proxy compiles, and brings what it needs.
func TestKubeProxyModes(t *testing.T) {
	for mode, want := range map[string]struct {
		runs     bool
		packages []string
		modules  []string
	}{
		"iptables": {runs: true},
		"nftables": {runs: true, packages: []string{"nftables"}},
		"ipvs":     {runs: true, packages: []string{"ipset", "ipvsadm"}, modules: []string{"ip_vs", "ip_vs_rr", "ip_vs_sh", "ip_vs_wrr", "nf_conntrack"}},
		"none":     {},
	} {
		inv := load(t, "single")
		inv.KubeProxy.Mode = mode
		p := compile(t, inv)
		has := func(id resource.ID) bool {
			return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Host == "solo" && s.Resource.ID() == id })
		}
		for _, id := range []resource.ID{"unit:kube-proxy.service", "artifact:kube-proxy", "file:/var/lib/kube-proxy/config.yaml", "cert:/etc/kubernetes/pki/kube-proxy.crt"} {
			if has(id) != want.runs {
				t.Errorf("%s: %s is there: %v", mode, id, has(id))
			}
		}
		for _, name := range want.packages {
			if !has(resource.NewID("package", name)) {
				t.Errorf("%s: no package %s", mode, name)
			}
		}
		for _, name := range want.modules {
			if !has(resource.NewID("module", name)) {
				t.Errorf("%s: no module %s", mode, name)
			}
		}
		for _, s := range p.Steps {
			if f, ok := s.Resource.(resource.File); ok && f.Path == "/var/lib/kube-proxy/config.yaml" && !strings.Contains(string(f.Content), "mode: "+mode+"\n") {
				t.Errorf("%s: kube-proxy is told\n%s", mode, f.Content)
			}
		}
	}
}

func TestPreflightOfIPVS(t *testing.T) {
	inv := load(t, "single")
	host := inv.Hosts[0]
	for _, test := range []struct {
		mode   string
		module fact.Value
		want   []string
	}{
		{"ipvs", fact.Value{}, []string{`the kernel 6.1.0 has no module ip_vs, which kube_proxy.mode = "ipvs" needs`}},
		{"ipvs", fact.Value{Value: fact.Loadable}, nil},
		{"ipvs", fact.Value{Exists: true, Value: "loaded"}, nil},
		{"nftables", fact.Value{}, nil},
	} {
		inv.KubeProxy.Mode = test.mode
		facts := fact.NewSet(fact.Host{Kernel: "6.1.0"})
		facts.Put(fact.Key{Kind: fact.KindModule, Name: "ip_vs"}, test.module)
		if diff := cmp.Diff(test.want, summaries(checkKernel(inv, host, Observation{Facts: facts}))); diff != "" {
			t.Errorf("%s, %+v:\n%s", test.mode, test.module, diff)
		}
	}
}

func TestPreflightOfRuntime(t *testing.T) {
	inv := load(t, "docker")
	for unit, want := range map[string][]string{
		"unit:containerd.service": {`its containers run in containerd, and the inventory says runtime "docker"`},
		"unit:docker.service":     nil,
		"unit:etcd.service":       nil,
	} {
		facts := fact.NewSet(fact.Host{State: fact.State{Resources: map[string]fact.Record{unit: {}}}})
		if diff := cmp.Diff(want, summaries(checkRuntime(inv, inv.Hosts[0], Observation{Facts: facts}))); diff != "" {
			t.Errorf("%s:\n%s", unit, diff)
		}
	}
}

// There is one Docker on a host.
func TestPreflightOfDockersSource(t *testing.T) {
	for _, tt := range []struct {
		name, version string
		packages      []string
		state         string
		want          []string
	}{
		{name: "a package beside the release", version: "28.5.1", packages: []string{"docker.io"}, want: []string{
			"has the package docker.io, and the inventory says Docker 28.5.1 from its release"}},
		{name: "the release", version: "28.5.1", state: "artifact:docker"},
		{name: "the release, no more wanted", state: "artifact:docker", want: []string{
			`its Docker comes from a release, and the inventory says package "docker.io"`}},
		{name: "the package", packages: []string{"docker.io"}},
	} {
		inv := load(t, "docker")
		if inv.Runtime.Version = tt.version; tt.version != "" {
			inv.Runtime.Package = ""
		}
		facts := fact.NewSet(fact.Host{State: fact.State{Resources: map[string]fact.Record{tt.state: {}}}})
		for _, q := range runtimeQueries(inv, inv.Hosts[0]) {
			facts.Put(q.Key(), fact.Package{Installed: slices.Contains(tt.packages, q.Name)})
		}
		if diff := cmp.Diff(tt.want, summaries(checkRuntime(inv, inv.Hosts[0], Observation{Facts: facts}))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func summaries(problems []Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, p.Summary)
	}
	return all
}

// Passwords reach the files they belong to and are never shown.
func TestRegistryCredentials(t *testing.T) {
	inv := load(t, "cri-dockerd")
	files := map[string][]byte{}
	for _, path := range OperatorFiles(inv) {
		files[path] = []byte("s3cr:et\n")
	}
	p, diags := Compile(inv, ProposeLock(inv, inventory.Lock{}, digests(inv)), nil, noAuthorities{}, files)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	found := map[string]string{}
	for _, s := range p.Steps {
		f, ok := s.Resource.(resource.File)
		if !ok || !bytes.Contains(f.Content, []byte("cHVsbGVyOnMzY3I6ZXQ=")) { // puller:s3cr:et
			continue
		}
		found[s.Host] = f.Path
		if f.Own().Mode != 0o600 {
			t.Errorf("%s has mode %04o", s.ID(), f.Own().Mode)
		}
		facts := fact.NewSet(fact.Host{})
		for _, q := range f.Queries() {
			if q.Content {
				t.Errorf("%s: the content is fetched", s.ID())
			}
			facts.Put(q.Key(), fact.File{Exists: true, Type: "file", Mode: 0o600, Owner: "root", Group: "root", SHA256: "other"})
		}
		change, err := f.Diff(facts)
		if err != nil {
			t.Fatal(err)
		}
		if shown := string(must(json.Marshal(change))); change.Text != nil || strings.Contains(shown, "cHVsbGVy") || strings.Contains(shown, "s3cr") {
			t.Errorf("%s shows its secret: %s", s.ID(), shown)
		}
	}
	want := map[string]string{"master": "/var/lib/kubelet/config.json", "worker": "/var/lib/kubelet/config.json", "side": "/root/.docker/config.json"}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	if p, diags := Compile(inv, ProposeLock(inv, inventory.Lock{}, digests(inv)), nil, noAuthorities{}, nil); p != nil || !diags.HasErrors() {
		t.Error("compiled without a file that was not read")
	}
}

// A drop-in that leaves is gone before its unit is restarted.
func TestDropInLeavesFirst(t *testing.T) {
	p := compile(t, load(t, "cri-dockerd"))
	const dropIn = "file:/etc/systemd/system/docker.service.d/kinstall-proxy.conf"
	observed := Observed{Hosts: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
	for _, h := range p.Inventory.Hosts {
		observation := bare(p, h)
		if h.Name == "side" {
			observation.Facts.Host.State.Resources = map[string]fact.Record{
				dropIn: {}, "unit:docker.service": {Inputs: map[string]string{dropIn: "x"}},
			}
		}
		observed.Hosts[h.Name] = observation
	}
	for _, item := range p.Diff(observed).Items {
		if item.Step.Resource.ID() == dropIn && len(item.Step.After) > 0 {
			t.Errorf("the drop-in waits for %v", item.Step.After)
		}
		if item.Step.Resource.ID() != "unit:docker.service" {
			continue
		}
		waits := slices.Contains(item.Step.After, NewStepID(item.Step.Host, dropIn))
		if waits != (item.Step.Host == "side") {
			t.Errorf("%s waits for the drop-in: %v", item.Step.Host, waits)
		}
	}
	for _, s := range p.Steps {
		if slices.Contains(s.After, NewStepID("side", dropIn)) {
			t.Errorf("the plan itself was changed: %s", s.ID())
		}
	}
}

package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// bare is what is observed of a machine fresh from its installation.
func bare(p *Plan, h inventory.Host) Observation {
	hostname := h.Name
	if p.Inventory.Preparation.SetHostname {
		hostname = "debian"
	}
	facts := fact.NewSet(fact.Host{
		Hostname: hostname, OS: "debian", Architecture: "amd64", Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Addresses: []string{h.Address.String()}, DiskFree: map[string]int64{"/": 100 << 30}, SwapActive: []string{"/dev/sda2"},
	})
	if h.AddressV6.IsValid() {
		facts.Host.Addresses = append(facts.Host.Addresses, h.AddressV6.String())
	}
	for _, q := range p.Queries(h.Name) {
		facts.Put(q.Key(), bareAnswer(q))
	}
	return Observation{Facts: facts}
}

// bareAnswer is what a machine fresh from its installation answers.
func bareAnswer(q fact.Query) any {
	switch q.Kind {
	case fact.KindFile:
		return fact.File{}
	case fact.KindUnit:
		return fact.Unit{LoadState: "not-found", ActiveState: "inactive"}
	case fact.KindStaticPod:
		return fact.Pod{}
	case fact.KindPackage:
		return fact.Package{}
	case fact.KindRoute:
		return fact.Route{}
	case fact.KindRoutes:
		return fact.Routes{}
	case fact.KindSwitch:
		return fact.Switch{}
	case fact.KindModule:
		return fact.Value{Value: fact.Loadable}
	case fact.KindImage, fact.KindDockerImage:
		return fact.Image{}
	case fact.KindEtcdData:
		return fact.EtcdData{}
	case fact.KindCertificates:
		return fact.Certificates{}
	}
	return fact.Value{}
}

// On bare machines everything is to be done, nothing is in the way, and no
// lane holds anybody up.
func TestDeltaOfBareMachines(t *testing.T) {
	for name, inv := range variants(t) {
		p := compile(t, inv)
		observed := Observed{Hosts: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
		for _, h := range p.Inventory.Hosts {
			observed.Hosts[h.Name] = bare(p, h)
		}
		delta := p.Diff(observed)
		for _, problem := range delta.Problems {
			t.Errorf("%s: problem on %s: %s", name, problem.Host, problem.Summary)
		}
		if len(delta.Turns) > 0 {
			t.Errorf("%s: members take turns on bare machines: %+v", name, delta.Turns)
		}
		if len(delta.Items) != len(p.Steps) {
			t.Errorf("%s: %d items for %d steps", name, len(delta.Items), len(p.Steps))
		}
		for _, item := range delta.Items {
			if kind := item.Step.Resource.ID().Kind(); item.Change.Action == resource.NoOp && kind != "link" && kind != "routes" && kind != "podmtu" && kind != "host" {
				t.Errorf("%s: nothing to do for %s", name, item.Step.ID())
			}
			if _, gate := item.Step.Resource.(resource.Gate); gate != (item.Change.Action == resource.Wait) {
				t.Errorf("%s: %s is to %s", name, item.Step.ID(), item.Change.Action)
			}
		}
	}
}

// A plan limited to some hosts keeps its order and its own edges.
func TestLimit(t *testing.T) {
	p := compile(t, load(t, "lab")).Limit([]string{"huashan"})
	seen := map[StepID]bool{}
	for _, s := range p.Steps {
		if s.Host != Operator && s.Host != Cluster && s.Host != "huashan" {
			t.Errorf("%s is not about huashan", s.ID())
		}
		for _, id := range s.After {
			if !seen[id] {
				t.Errorf("%s waits for %s, which is not there", s.ID(), id)
			}
		}
		seen[s.ID()] = true
	}
	for _, id := range []StepID{"(cluster)/node:huashan", "(cluster)/gate:node/huashan", "huashan/unit:kubelet.service"} {
		if !seen[id] {
			t.Errorf("%s is missing", id)
		}
	}
	if seen["(cluster)/gate:apiserver/emei"] {
		t.Error("a gate of another host is left")
	}
}

// The states of these hosts say what is in the API and in etcd.
func TestKeepers(t *testing.T) {
	for name, want := range map[string][]string{
		"split":          {"master-1", "master-2"},
		"docker-flannel": {"one", "three", "four"},
		"docker":         nil,
	} {
		var got []string
		for _, h := range Keepers(load(t, name)) {
			got = append(got, h.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

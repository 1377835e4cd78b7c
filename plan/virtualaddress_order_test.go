package plan

import (
	"slices"
	"testing"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Where a cluster is alive, nobody is sent to the address before it is there and
// certificates name it; where it is not, or the address is there, nothing waits.
func TestAddressComesFirst(t *testing.T) {
	inv := load(t, "virtual-address")
	p := compile(t, inv)
	server := resource.StaticPod{Path: ManifestDirectory + "/" + apiServerPod + ".yaml"}.ID()
	for _, c := range []struct {
		name           string
		living, holder bool
		want           bool
	}{
		{"a first installation", false, false, false},
		{"the address is new", true, false, true},
		{"it is there", true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			observed := Observed{Hosts: map[string]Observation{}}
			for _, h := range inv.Hosts {
				host := fact.Host{}
				if c.living && h.Has(inventory.RoleMaster) {
					host.State.Resources = map[string]fact.Record{string(server): {}}
				}
				if c.holder && h.Name == "balancer-2" {
					host.Addresses = []string{vip}
				}
				facts := fact.NewSet(host)
				facts.Put(fact.Key{Kind: fact.KindStaticPod, Name: apiServerPod}, fact.Pod{Running: c.living})
				observed.Hosts[h.Name] = Observation{Facts: facts}
			}
			d := &Delta{Plan: p, Observed: observed}
			for _, s := range p.Steps {
				d.Items = append(d.Items, Item{&s, &resource.Change{Action: resource.Update}})
			}
			o := order{}
			d.addressFirst(o)
			waits := func(id StepID) bool {
				return slices.Contains(o[id], NewStepID(Cluster, "gate:virtual-address")) && slices.Contains(o[id], NewStepID("master-1", "cert:"+APIServerCertificate))
			}
			for _, id := range []StepID{
				NewStepID("worker-1", "block:/etc/hosts#hosts"), NewStepID("worker-1", unitID(KubeletUnit)), NewStepID("master-2", unitID(KubeletUnit)),
				NewStepID("master-1", "staticpod:/etc/kubernetes/manifests/kube-scheduler.yaml"),
			} {
				if waits(id) != c.want {
					t.Errorf("%s waits: %v", id, o[id])
				}
			}
			for _, id := range []StepID{NewStepID("master-1", server), NewStepID("balancer-1", unitID(nginxUnit)), NewStepID("balancer-1", unitID(KeepalivedUnit))} {
				if len(o[id]) > 0 {
					t.Errorf("%s waits: %v", id, o[id])
				}
			}
			// Whatever waits, everything can be done.
			for i := range d.Items {
				s := d.Items[i].OwnStep()
				s.After = sortedIDs(slices.Concat(s.After, o[s.ID()]))
			}
			var steps []Step
			index := map[StepID]int{}
			for i, item := range d.Items {
				steps, index[item.Step.ID()] = append(steps, *item.Step), i
			}
			inOrder(steps, index) // panics on a cycle
		})
	}
}

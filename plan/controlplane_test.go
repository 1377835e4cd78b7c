package plan

import (
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Losing the load balancer stops no program of a control plane: on masters all
// that dial the API dial the server of their own host, and wait for no balancer.
func TestMastersDialTheirOwnServer(t *testing.T) {
	for name, inv := range variants(t) {
		p := compile(t, inv)
		after := map[StepID][]StepID{}
		dialled := map[string]int{}
		for _, s := range p.Steps {
			after[s.ID()] = s.After
			h, _ := inv.Host(s.Host)
			f, isFile := s.Resource.(resource.File)
			if !isFile || !h.Has(inventory.RoleMaster) || !strings.Contains(string(f.Content), "\nkind: Config\n") {
				continue
			}
			dialled[s.Host]++
			if want := "server: \"https://" + hostPort(h.Address, APIServerPort) + "\""; !strings.Contains(string(f.Content), want) {
				t.Errorf("%s: %s lacks %s:\n%s", name, s.ID(), want, f.Content)
			}
		}
		for _, h := range inv.With(inventory.RoleMaster) {
			want := 4
			if !onProxied(inv, h) {
				want = 3
			}
			if dialled[h.Name] != want {
				t.Errorf("%s: %s has %d kubeconfigs, want %d", name, h.Name, dialled[h.Name], want)
			}
			for _, pod := range []string{controllerPod, schedulerPod} {
				id := step(h.Name, resource.StaticPod{Path: manifestPath(pod)})[0]
				if waits := awaited(after, id); waits[NewStepID(Cluster, "gate:endpoint")] || waits[NewStepID(h.Name, unitID(nginxUnit))] {
					t.Errorf("%s: %s waits for the load balancer", name, id)
				}
			}
		}
	}
}

// awaited is everything a step waits for, directly or not.
func awaited(after map[StepID][]StepID, id StepID) map[StepID]bool {
	seen := map[StepID]bool{}
	var walk func(StepID)
	walk = func(id StepID) {
		for _, before := range after[id] {
			if !seen[before] {
				seen[before] = true
				walk(before)
			}
		}
	}
	walk(id)
	return seen
}

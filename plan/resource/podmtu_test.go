package resource_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

func TestPodMTU(t *testing.T) {
	mtu := resource.PodMTU{Bridge: "cni0", MTU: 1450}
	for name, tt := range map[string]struct {
		links  map[string]fact.Link
		action resource.Action
		before string
		grows  bool
	}{
		"no bridge yet":        {map[string]fact.Link{"eth0": {MTU: 1500}}, resource.NoOp, "", false},
		"as wanted":            {map[string]fact.Link{"eth0": {MTU: 1500}, "cni0": {MTU: 1450}, "veth1": {MTU: 1450, Master: "cni0"}, "veth2": {MTU: 1500, Master: "docker0"}}, resource.NoOp, "", false},
		"pods from before":     {map[string]fact.Link{"cni0": {MTU: 1450}, "veth1": {MTU: 1500, Master: "cni0"}, "veth2": {MTU: 1450, Master: "cni0"}}, resource.Update, "1500 (1 of 3)", false},
		"all, and they shrank": {map[string]fact.Link{"cni0": {MTU: 1400}, "veth1": {MTU: 1400, Master: "cni0"}}, resource.Update, "1400 (2 of 2)", true},
	} {
		facts := fact.NewSet(fact.Host{Links: tt.links})
		change, err := mtu.Diff(facts)
		if err != nil {
			t.Fatal(err)
		}
		if change.Action != tt.action || mtu.Grows(facts) != tt.grows {
			t.Errorf("%s: %s, grows: %v", name, change.Action, mtu.Grows(facts))
		}
		if tt.before != "" {
			if diff := cmp.Diff([]resource.Field{{Name: "mtu", Before: tt.before, After: "1450"}}, change.Fields); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

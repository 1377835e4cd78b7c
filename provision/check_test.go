package provision

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// A static pod that is on the disk as wanted and does not run is in every plan,
// until it runs; carrying that out writes nothing and records nothing.
func TestCheckWritesNothing(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	pod := resource.StaticPod{Name: "kinstall-test-pod", Node: "shaolin", Path: "/etc/kubernetes/manifests/kinstall-test-pod.yaml", Manifest: "kind: Pod\n"}
	id := f.step("shaolin", pod)
	if diff := cmp.Diff(map[plan.StepID]resource.Action{id: resource.Create}, changes(f.survey(t))); diff != "" {
		t.Fatalf("first plan (-want +got):\n%s", diff)
	}
	f.mustApply(t, f.survey(t))
	host := f.hosts["shaolin"]
	state := host.stateFile(t)
	for range 2 {
		delta := f.survey(t)
		if diff := cmp.Diff(map[plan.StepID]resource.Action{id: resource.Verify}, changes(delta)); diff != "" {
			t.Fatalf("a pod that does not run (-want +got):\n%s", diff)
		}
		before := len(host.ran())
		report := f.mustApply(t, delta)
		if report.Count(Finished) != 1 {
			t.Errorf("outcomes %v", outcomes(report))
		}
		for _, script := range host.ran()[before:] {
			if strings.Contains(script, pod.Path) {
				t.Errorf("a check wrote to the host:\n%s", script)
			}
		}
		if diff := cmp.Diff(state, host.stateFile(t)); diff != "" {
			t.Errorf("a check was recorded (-before +after):\n%s", diff)
		}
	}
}

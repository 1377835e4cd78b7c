package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// A node with pods that would be gone for good is not drained; one that is only
// cordoned keeps them.
func TestCheckDrains(t *testing.T) {
	for _, c := range []struct {
		schedule resource.Schedule
		pods     []fact.NodePod
		want     []string
	}{
		{resource.Drained, []fact.NodePod{{Namespace: "default", Name: "web"}}, nil},
		{resource.Cordoned, []fact.NodePod{{Namespace: "default", Name: "by-hand", Bare: true}}, nil},
		{resource.Drained, []fact.NodePod{{Namespace: "default", Name: "by-hand", Bare: true}, {Namespace: "x", Name: "y", Bare: true}, {Namespace: "x", Name: "z"}},
			[]string{"can't be drained: no controller would make these pods again elsewhere: default/by-hand, x/y",
				"kubectl delete pod -n default by-hand", "kubectl delete pod -n x y"}},
	} {
		p := &Plan{Steps: []Step{{Host: Cluster, Resource: resource.Node{Name: "huashan", Schedule: c.schedule}}}}
		observed := Observed{Cluster: fact.NewSet(fact.Host{})}
		observed.Cluster.Put(fact.Key{Kind: fact.KindNode, Name: "huashan"}, fact.Node{Exists: true, Pods: c.pods})
		var got []string
		for _, problem := range checkDrains(p, observed) {
			got = append(got, problem.Summary)
			got = append(got, strings.Split(problem.Hint, "\n")[1:]...)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.schedule, diff)
		}
	}
}

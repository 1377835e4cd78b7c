package provision

import (
	"errors"
	"fmt"
	"testing"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

// What an object is held against before it is applied: what the plan saw, or
// nothing if it is judged only then.
func TestSeenObject(t *testing.T) {
	o := resource.Object{APIVersion: "v1", Kind: "Service", Namespace: "kube-system", Name: "kube-dns"}
	facts := fact.NewSet(fact.Host{})
	facts.Put(o.Queries()[0].Key(), fact.Object{Exists: true, Live: "a"})
	observed := &Executor{delta: &plan.Delta{Observed: plan.Observed{Cluster: facts}}}
	for name, tt := range map[string]struct {
		executor *Executor
		action   resource.Action
		want     bool
	}{
		"seen":         {observed, resource.Update, true},
		"judged later": {observed, resource.Deferred, false},
		"not observed": {&Executor{delta: &plan.Delta{}}, resource.Deferred, false},
	} {
		task := &task{executor: tt.executor, item: plan.Item{Change: &resource.Change{Action: tt.action}}}
		if seen := task.seen(o); (seen != nil) != tt.want || seen != nil && seen.Live != "a" {
			t.Errorf("%s: %+v", name, seen)
		}
	}
	err := error(staleError{fmt.Errorf("apply %s: spec: %w", o.ID(), cluster.ErrMoved)})
	if !errors.Is(err, ErrStale) || !errors.Is(err, cluster.ErrMoved) || err.Error() != "apply object:v1/Service/kube-system/kube-dns: spec: changed on the cluster since it was planned; plan again" {
		t.Errorf("error %v", err)
	}
}

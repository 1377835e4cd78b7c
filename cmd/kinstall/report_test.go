package main

import (
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision"
)

// A report says where something was done, also when that was on no host.
func TestAchievements(t *testing.T) {
	for _, c := range []struct {
		places []string
		want   string
	}{
		{nil, "0 created, 0 changed, 0 deleted, 0 restarted on 0 hosts in 2.0 s"},
		{[]string{plan.Operator}, "0 created, 1 changed, 0 deleted, 0 restarted on the operator's machine in 2.0 s"},
		{[]string{plan.Operator, plan.Cluster}, "0 created, 2 changed, 0 deleted, 0 restarted in the cluster in 2.0 s"},
		{[]string{plan.Cluster, "shaolin", "wudang"}, "0 created, 3 changed, 0 deleted, 0 restarted on 2 hosts in 2.0 s"},
	} {
		report := &provision.Report{Elapsed: 2 * time.Second}
		for _, place := range c.places {
			item := plan.Item{Step: &plan.Step{Host: place}, Change: &resource.Change{Action: resource.Update}}
			report.Results = append(report.Results, provision.Result{Item: item, Kind: provision.Finished})
		}
		if got := achievements(report); got != c.want {
			t.Errorf("%v: %q, not %q", c.places, got, c.want)
		}
	}
}

package resource_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

func tableOf(n int) *resource.RouteTable {
	var routes []resource.Route
	for i := range n {
		routes = append(routes, resource.Route{Destination: fmt.Sprintf("10.244.%d.0/24", i), Via: fmt.Sprintf("10.0.0.%d", i)})
	}
	return resource.NewRouteTable(routes)
}

func TestRanges(t *testing.T) {
	for _, c := range []struct{ destinations, want []string }{
		{nil, nil},
		{[]string{"10.244.1.0/24", "10.244.0.0/24"}, []string{"10.244.0.0/23"}},
		{[]string{"10.244.1.0/24", "10.244.2.0/24"}, []string{"10.244.1.0/24", "10.244.2.0/24"}},
		{[]string{"10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/23", "fd00::/64", "fd00:0:0:1::/64"}, []string{"10.244.0.0/22", "fd00::/63"}},
		{[]string{"10.244.0.0/16", "10.244.7.0/24", "10.245.0.0/16"}, []string{"10.244.0.0/15"}},
		{[]string{"0.0.0.0/1", "128.0.0.0/1", "::/0"}, []string{"0.0.0.0/0", "::/0"}},
	} {
		var routes []resource.Route
		for _, d := range c.destinations {
			routes = append(routes, resource.Route{Destination: d, Via: "10.0.0.1"})
		}
		if diff := cmp.Diff(c.want, resource.NewRouteTable(routes).Ranges); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.destinations, diff)
		}
	}
}

func TestStaticRoutes(t *testing.T) {
	r := resource.StaticRoutes{Table: tableOf(4), Own: []string{"10.0.0.0"}}
	at := func(destination, via string) fact.HostRoute {
		return fact.HostRoute{Destination: destination, Route: fact.Route{Exists: true, Via: via}}
	}
	right := []fact.HostRoute{at("10.244.1.0/24", "10.0.0.1"), at("10.244.2.0/24", "10.0.0.2"), at("10.244.3.0/24", "10.0.0.3")}
	with := func(more ...fact.HostRoute) []fact.HostRoute { return append(right[:3:3], more...) }
	record := fact.Record{Digest: r.Table.SHA256, Ranges: []string{"10.244.0.0/21"}}
	older := fact.Record{Digest: "of other hosts", Ranges: record.Ranges}
	for _, c := range []struct {
		name    string
		found   fact.Routes
		record  *fact.Record
		want    resource.Action
		fields  []resource.Field
		removes []string
		reasons []resource.Reason
	}{
		{name: "as wanted", found: fact.Routes{AsWanted: true}, want: resource.NoOp},
		{name: "as wanted, one by one", found: fact.Routes{Routes: right}, want: resource.NoOp},
		{name: "bare", want: resource.Create, fields: []resource.Field{
			{Name: "10.244.1.0/24", After: "via 10.0.0.1"}, {Name: "10.244.2.0/24", After: "via 10.0.0.2"}, {Name: "10.244.3.0/24", After: "via 10.0.0.3"}}},
		{name: "a host came", found: fact.Routes{Routes: right[:2]}, record: &older, want: resource.Update,
			fields: []resource.Field{{Name: "10.244.3.0/24", After: "via 10.0.0.3"}}, reasons: []resource.Reason{{resource.Intent, "changed in the inventory"}}},
		{name: "deleted by hand", found: fact.Routes{Routes: right[:2]}, record: &record, want: resource.Update,
			fields: []resource.Field{{Name: "10.244.3.0/24", After: "via 10.0.0.3"}}, reasons: []resource.Reason{{resource.Drift, "changed on the host"}}},
		{name: "elsewhere", found: fact.Routes{Routes: append(right[:2:2], at("10.244.3.0/24", "10.0.0.9"))}, want: resource.Update,
			fields: []resource.Field{{Name: "10.244.3.0/24", Before: "via 10.0.0.9", After: "via 10.0.0.3"}}},
		{name: "by an interface", found: fact.Routes{Routes: append(right[:2:2], fact.HostRoute{Destination: "10.244.3.0/24", Route: fact.Route{Exists: true, Device: "eth0"}})},
			want: resource.Update, fields: []resource.Field{{Name: "10.244.3.0/24", Before: "dev eth0", After: "via 10.0.0.3"}}},
		{name: "a host left", found: fact.Routes{Routes: with(at("10.244.7.0/24", "10.0.0.7"))}, record: &older, want: resource.Update,
			fields: []resource.Field{{Name: "10.244.7.0/24", Before: "via 10.0.0.7"}}, removes: []string{"10.244.7.0/24"},
			reasons: []resource.Reason{{resource.Intent, "changed in the inventory"}}},
		{name: "to the host itself", found: fact.Routes{Routes: with(at("10.244.0.0/24", "10.0.0.7"))}, record: &record, want: resource.Update,
			fields: []resource.Field{{Name: "10.244.0.0/24", Before: "via 10.0.0.7"}}, removes: []string{"10.244.0.0/24"},
			reasons: []resource.Reason{{resource.Drift, "changed on the host"}}},
		{name: "somebody else's, elsewhere", found: fact.Routes{Routes: with(at("10.244.8.0/24", "10.0.0.7"), at("192.168.0.0/24", "10.0.0.7"))}, record: &record, want: resource.NoOp},
		{name: "somebody else's, larger", found: fact.Routes{Routes: with(at("10.244.0.0/16", "10.0.0.7"))}, record: &record, want: resource.NoOp},
		{name: "an interface's own", found: fact.Routes{Routes: with(fact.HostRoute{Destination: "10.244.7.0/24", Route: fact.Route{Exists: true, Device: "cni0"}})}, record: &record, want: resource.NoOp},
		{name: "nothing is known to be kinstall's", found: fact.Routes{Routes: with(at("10.244.7.0/24", "10.0.0.7"))}, want: resource.NoOp},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts := fact.NewSet(fact.Host{State: fact.State{Resources: map[string]fact.Record{}}})
			if c.record != nil {
				facts.Host.State.Resources[string(r.ID())] = *c.record
			}
			facts.Put(r.Queries()[0].Key(), c.found)
			change, err := r.Diff(facts)
			if err != nil {
				t.Fatal(err)
			}
			if change.Action != c.want {
				t.Errorf("action %s, want %s", change.Action, c.want)
			}
			if diff := cmp.Diff(c.fields, change.Fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.removes, change.Removes); diff != "" {
				t.Errorf("removes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.reasons, change.Reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(fact.Record{Digest: r.Table.SHA256, Ranges: []string{"10.244.0.0/22"}}, change.Record); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

// Of many, a change names some, and counts the rest; what goes is told whole.
func TestManyStaticRoutes(t *testing.T) {
	r := resource.StaticRoutes{Table: tableOf(200)}
	facts := fact.NewSet(fact.Host{State: fact.State{Resources: map[string]fact.Record{string(r.ID()): {Ranges: []string{"10.0.0.0/8"}}}}})
	var found fact.Routes
	for i := range 20 {
		found.Routes = append(found.Routes, fact.HostRoute{Destination: fmt.Sprintf("10.245.%d.0/24", i), Route: fact.Route{Exists: true, Via: "10.0.0.1"}})
	}
	facts.Put(r.Queries()[0].Key(), found)
	change, err := r.Diff(facts)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(change.Fields); n != 25 {
		t.Errorf("%d fields, want 12 of either sort and the rest", n)
	}
	if rest := change.Fields[len(change.Fields)-1]; rest != (resource.Field{Name: "… and 196 more"}) {
		t.Errorf("the rest: %+v", rest)
	}
	if n := len(change.Removes); n != 20 {
		t.Errorf("%d routes are removed, want 20", n)
	}
}

// A host does not get the route to itself, and its question says so.
func TestOwnRoute(t *testing.T) {
	r := resource.StaticRoutes{Table: tableOf(3), Own: []string{"10.0.0.1"}}
	var got []string
	for _, route := range r.Routes() {
		got = append(got, route.Destination)
	}
	if diff := cmp.Diff([]string{"10.244.0.0/24", "10.244.2.0/24"}, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if r.Leads("10.244.1.0/24") || !r.Leads("10.244.2.0/24") || r.Leads("10.244.9.0/24") {
		t.Error("leads to the wrong destinations")
	}
	if diff := cmp.Diff([]string{"10.244.1.0/24 via 10.0.0.1"}, r.Queries()[0].Args); diff != "" {
		t.Errorf("own lines (-want +got):\n%s", diff)
	}
}

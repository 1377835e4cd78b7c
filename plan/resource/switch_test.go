package resource_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// Whatever is otherwise in force than it should be is seen, and named.
func TestSwitchDiff(t *testing.T) {
	wanted := resource.Switch{
		Name: "br0", Datapath: "netdev", FailMode: "secure", Address: "10.92.0.11/24", Flows: "/etc/flows", Script: "/make",
		Ports: []resource.SwitchPort{{Name: "pods0"}, {Name: "tunnel0", Type: "gre", Options: map[string]string{"remote_ip": "flow"}}},
		Cable: &resource.Cable{Name: "ovs0", Bridge: "cni0", MTU: 1462},
	}
	for _, test := range []struct {
		name   string
		change func(*fact.Switch, *fact.Host)
		want   resource.Action
		fields []resource.Field
	}{
		{"as wanted", func(*fact.Switch, *fact.Host) {}, resource.NoOp, nil},
		{"none", func(s *fact.Switch, _ *fact.Host) { *s = fact.Switch{} }, resource.Create, nil},
		{"another datapath that lets everything pass", func(s *fact.Switch, _ *fact.Host) { s.Datapath, s.FailMode = "system", "" }, resource.Update, []resource.Field{
			{Name: "datapath", Before: "system", After: "netdev"}, {Name: "fail mode", After: "secure"}}},
		{"a port of another type", func(s *fact.Switch, _ *fact.Host) { s.Ports["tunnel0"] = fact.SwitchPort{Type: "vxlan"} }, resource.Update, []resource.Field{
			{Name: "port tunnel0", Before: "vxlan", After: "gre remote_ip=flow"}}},
		{"a port less", func(s *fact.Switch, _ *fact.Host) { delete(s.Ports, "tunnel0") }, resource.Update, []resource.Field{
			{Name: "port tunnel0", After: "gre remote_ip=flow"}}},
		{"a port without its interface", func(s *fact.Switch, _ *fact.Host) { s.Ports["pods0"] = fact.SwitchPort{Error: "no such device"} }, resource.Update, []resource.Field{
			{Name: "port pods0", Before: "no such device", After: "there"}}},
		{"a port of somebody's", func(s *fact.Switch, _ *fact.Host) { s.Ports["tap7"] = fact.SwitchPort{} }, resource.NoOp, nil},
		{"flows", func(s *fact.Switch, _ *fact.Host) { s.Flows = []string{"-b", "+a"} }, resource.Update, []resource.Field{
			{Name: "flow", Before: "b"}, {Name: "flow", After: "a"}}},
		{"flows that can't be read", func(s *fact.Switch, _ *fact.Host) { s.Flows = []string{"unreadable: x"} }, resource.Update, []resource.Field{
			{Name: "flows", Before: "unreadable: x", After: "those of /etc/flows"}}},
		{"no address", func(_ *fact.Switch, h *fact.Host) { h.Interfaces = nil }, resource.Update, []resource.Field{{Name: "address", After: "10.92.0.11/24"}}},
		{"a cable pulled out", func(_ *fact.Switch, h *fact.Host) { h.Links["ovs0"] = fact.Link{MTU: 1500} }, resource.Update, []resource.Field{
			{Name: "ovs0 in", After: "cni0"}, {Name: "MTU of ovs0", Before: "1500", After: "1462"}}},
		{"no cable", func(_ *fact.Switch, h *fact.Host) { delete(h.Links, "ovs0") }, resource.Update, []resource.Field{{Name: "ovs0 in", After: "cni0"}}},
	} {
		found := fact.Switch{Exists: true, Datapath: "netdev", FailMode: "secure", Ports: map[string]fact.SwitchPort{
			"pods0": {}, "tunnel0": {Type: "gre", Options: map[string]string{"remote_ip": "flow"}},
		}}
		host := fact.Host{
			Interfaces: map[string][]string{"br0": {"10.92.0.11/24"}},
			Links:      map[string]fact.Link{"ovs0": {MTU: 1462, Master: "cni0"}},
		}
		test.change(&found, &host)
		facts := fact.NewSet(host)
		facts.Put(fact.Key{Kind: fact.KindSwitch, Name: "br0"}, found)
		change, err := wanted.Diff(facts)
		if err != nil {
			t.Fatal(err)
		}
		if change.Action != test.want || !cmp.Equal(change.Fields, test.fields) {
			t.Errorf("%s: %s\n%s", test.name, change.Action, cmp.Diff(test.fields, change.Fields))
		}
		if change.Action == resource.NoOp {
			continue
		}
		for digest, cause := range map[string]resource.Cause{change.Record.Digest: resource.Drift, "another": resource.Intent} {
			host.State.Resources = map[string]fact.Record{"switch:br0": {Digest: digest}}
			again := fact.NewSet(host)
			again.Put(fact.Key{Kind: fact.KindSwitch, Name: "br0"}, found)
			if c, err := wanted.Diff(again); err != nil || len(c.Reasons) != 1 || c.Reasons[0].Cause != cause {
				t.Errorf("%s: reasons %v, %v; want %s", test.name, c.Reasons, err, cause)
			}
		}
	}
}

// A route through an interface is another one than a route through a router.
func TestRouteOfDevice(t *testing.T) {
	wanted := resource.Route{Destination: "10.244.0.0/16", Device: "cni0"}
	for _, test := range []struct {
		found fact.Route
		want  resource.Action
	}{
		{fact.Route{Exists: true, Device: "cni0"}, resource.NoOp},
		{fact.Route{}, resource.Create},
		{fact.Route{Exists: true, Device: "docker0"}, resource.Update},
		{fact.Route{Exists: true, Via: "10.88.0.1", Device: "cni0"}, resource.Update},
	} {
		facts := fact.NewSet(fact.Host{})
		facts.Put(fact.Key{Kind: fact.KindRoute, Name: fact.RouteOfMetric(wanted.Destination, resource.RouteMetric)}, test.found)
		if change, err := wanted.Diff(facts); err != nil || change.Action != test.want {
			t.Errorf("%+v: %s, %v; want %s", test.found, change.Action, err, test.want)
		}
	}
}

package plan

import (
	"slices"
	"testing"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

func TestArmed(t *testing.T) {
	docker := resource.Unit{Name: DockerUnit, Docker: &resource.Docker{Bridge: "10.1.10.1/24"}}
	for _, test := range []struct {
		host   string
		r      resource.Resource
		action resource.Action
		want   bool
	}{
		{"shaolin", resource.Route{Destination: "10.0.0.0/8"}, resource.Create, true},
		{"shaolin", resource.Route{Destination: "10.0.0.0/8"}, resource.NoOp, false},
		{"shaolin", resource.Orphan{Was: "route:10.0.0.0/8"}, resource.Delete, true},
		{"shaolin", resource.FirewallRule{Table: "filter", Chain: "INPUT"}, resource.Create, true},
		{"shaolin", resource.Sysctl{Key: "net.ipv4.ip_forward"}, resource.Deferred, true},
		{"shaolin", resource.Hostname{Name: "shaolin"}, resource.Update, true},
		{"shaolin", resource.Switch{Name: "br0"}, resource.Create, true},
		{"shaolin", resource.Orphan{Was: "link:flannel.1"}, resource.Delete, true},
		{"shaolin", resource.Unit{Name: networkUnit}, resource.Restart, true},
		{"shaolin", resource.Unit{Name: birdUnit}, resource.Reload, true},
		{"shaolin", resource.Orphan{Was: "unit:" + flannelUnit}, resource.Delete, true},
		{"shaolin", docker, resource.Restart, true},
		{"shaolin", docker, resource.Reload, false},
		{"shaolin", resource.Unit{Name: DockerUnit, Docker: &resource.Docker{}}, resource.Restart, false},
		{"shaolin", resource.Unit{Name: birdUnit}, resource.Verify, false},
		{"shaolin", resource.Unit{Name: "etcd.service"}, resource.Restart, false},
		{"shaolin", resource.File{Path: "/etc/hosts"}, resource.Update, false},
		{Cluster, resource.Object{Kind: "DaemonSet", Name: "flannel"}, resource.Update, false},
		{Operator, resource.Hostname{Name: "shaolin"}, resource.Update, false},
	} {
		item := Item{&Step{Host: test.host, Resource: test.r}, &resource.Change{Action: test.action}}
		if item.Armed() != test.want {
			t.Errorf("%s on %s, %s: armed is %v", test.r.ID(), test.host, test.action, item.Armed())
		}
	}
}

// What would cut the operator off again at the next boot is written when it was
// seen that it does not.
func TestBootFilesFollowWhatIsArmed(t *testing.T) {
	checked := 0
	for name, inv := range variants(t) {
		p := compile(t, inv)
		observed := Observed{Hosts: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
		for _, h := range p.Inventory.Hosts {
			observed.Hosts[h.Name] = bare(p, h)
		}
		before := map[StepID][]StepID{}
		for _, s := range p.Steps {
			before[s.ID()] = s.After
		}
		for _, item := range p.Diff(observed).Items {
			file := map[resource.Kind]string{
				resource.KindSysctl:       sysctlFile,
				resource.KindRoute:        "/usr/local/lib/kinstall/network.sh",
				resource.KindFirewallRule: "/usr/local/lib/kinstall/network.sh",
			}[item.Step.Resource.ID().Kind()]
			step := item.Step.Resource.ID()
			if s, ok := item.Step.Resource.(resource.Sysctl); ok && s.AtLeast {
				file = sysctlMinimumFile
			}
			if file == "" || !item.Armed() || step == resource.NewID("sysctl", forwardingV6) ||
				inv.Network.Kind == inventory.NetworkOpenVSwitch && step.Kind() == resource.KindRoute { // its unit sets it
				continue
			}
			if !slices.Contains(before[NewStepID(item.Step.Host, resource.NewID("file", file))], item.Step.ID()) {
				t.Errorf("%s: %s does not wait for %s", name, file, item.Step.ID())
			}
			checked++
		}
	}
	if checked == 0 {
		t.Error("nothing was checked")
	}
}

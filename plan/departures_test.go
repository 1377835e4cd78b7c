package plan

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// without is an inventory that lacks hosts.
func without(inv *inventory.Inventory, names ...string) *inventory.Inventory {
	rest := *inv
	rest.Hosts = slices.DeleteFunc(slices.Clone(inv.Hosts), func(h inventory.Host) bool { return slices.Contains(names, h.Name) })
	return &rest
}

// departed is what is observed when hosts have left the inventory of a plan that
// was applied.
func departed(old, next *Plan) Observed {
	observed := follows(old, next)
	observed.Leaving = map[string]Observation{}
	for _, h := range old.Inventory.Hosts {
		record := fact.Record{Host: &fact.HostRecord{Address: h.Address.String(), Port: 22, User: "root", HostKey: "SHA256:" + h.Name, Roles: h.Roles}}
		for _, k := range Keepers(next.Inventory) {
			observed.Hosts[k.Name].Facts.Host.State.Resources[string(resource.Host{Name: h.Name}.ID())] = record
		}
		if h.IsNode() {
			observed.Cluster.Put(fact.Key{Kind: fact.KindNode, Name: h.Name}, fact.Node{Exists: true, Ready: true, Pods: []fact.NodePod{{Namespace: "default", Name: "web-" + h.Name}}})
		}
		if _, stays := next.host(h.Name); stays {
			continue
		}
		facts := fact.NewSet(fact.Host{State: fact.State{Cluster: old.Inventory.Cluster.Name, Resources: map[string]fact.Record{}}})
		for _, s := range old.Steps {
			if s.Host == h.Name {
				facts.Host.State.Resources[string(s.Resource.ID())] = fact.Record{Digest: "x"}
			}
		}
		observed.Leaving[h.Name] = Observation{Facts: facts}
	}
	return observed
}

// leavingSteps are the departures' own steps of a delta in a valid order, and all
// its steps by name.
func leavingSteps(t *testing.T, delta *Delta) (own []Item, steps map[StepID]Step) {
	t.Helper()
	steps = map[StepID]Step{}
	byID := map[StepID]Item{}
	var order []Step
	for _, item := range delta.Items {
		steps[item.Step.ID()], byID[item.Step.ID()] = *item.Step, item
		order = append(order, *item.Step)
	}
	order = inOrder(order, placesOf(order)) // panics at a cycle
	for _, s := range order {
		kind := s.Resource.ID().Kind()
		_, orphan := s.Resource.(resource.Orphan)
		if delta.isLeaving(s.Host) || kind == resource.KindDrain || orphan && (kind == resource.KindNode || kind == resource.KindHost) {
			own = append(own, byID[s.ID()])
		}
	}
	return own, steps
}

// A host that left the inventory is drained, stopped, cleared and forgotten, in
// this order. The golden files hold what is done; then what must hold of any.
func TestDepartures(t *testing.T) {
	lab := load(t, "lab")
	split := load(t, "split")
	flannel := without(lab)
	flannel.Network = networks()["flannel-etcd"]
	for _, c := range []struct {
		name   string
		inv    *inventory.Inventory
		leaves string
		forget []string
	}{
		{"worker", lab, "huashan", nil},
		{"master", lab, "wudang", nil},
		{"balancer", split, "lb-b", nil},
		{"worker with flannel in etcd", flannel, "huashan", nil},
		{"gone for good", lab, "huashan", []string{"huashan"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := compile(t, c.inv)
			rest := without(c.inv, c.leaves)
			if lb := c.inv.LoadBalancer; lb != nil {
				balancer := *lb
				balancer.Hosts = slices.DeleteFunc(slices.Clone(lb.Hosts), func(h string) bool { return h == c.leaves })
				rest.LoadBalancer = &balancer
			}
			next := compile(t, rest).Forget(c.forget)
			observed := departed(old, next)
			if c.forget != nil {
				delete(observed.Leaving, c.leaves)
			}
			delta := next.Diff(observed)
			own, steps := leavingSteps(t, delta)
			var b strings.Builder
			for _, item := range own {
				fmt.Fprintf(&b, "%s %s\n", item.Change.Action, item.Step.ID())
				for _, reason := range item.Change.Reasons {
					if reason.Text != "left the inventory" {
						fmt.Fprintf(&b, "    because %s\n", reason.Text)
					}
				}
			}
			golden(t, filepath.Join("testdata", "departures", c.name+".txt"), []byte(b.String()))

			waits := func(id, on StepID) bool { return waitsFor(steps, id, on, map[StepID]bool{}) }
			drain := NewStepID(Cluster, resource.Drain{Node: c.leaves}.ID())
			node := NewStepID(Cluster, resource.NewID(resource.KindNode, c.leaves))
			forget := NewStepID(Cluster, resource.Host{Name: c.leaves}.ID())
			_, drained := steps[drain]
			_, isNode := steps[node]
			if h, _ := c.inv.Host(c.leaves); drained != (h.IsNode() && c.forget == nil) || isNode != h.IsNode() {
				t.Errorf("drained: %v, node deleted: %v", drained, isNode)
			}
			for _, item := range delta.Items {
				id, onHost := item.Step.ID(), item.Step.Host == c.leaves
				switch {
				case onHost && !waits(forget, id):
					t.Errorf("the host is forgotten before %s", id)
				case onHost && isNode && !waits(node, id):
					t.Errorf("the node is deleted before %s", id)
				case onHost && drained && !waits(id, drain):
					t.Errorf("%s does not wait for the drain", id)
				case !onHost && drained && id != drain && item.Change.Changes() && delta.leadsToPods(*item.Step) && !waits(id, drain):
					t.Errorf("%s: others lose the way to its pods before they have gone", id)
				case id.Kind() == resource.KindEtcdKeys && item.Change.Changes() && drained && !waits(id, NewStepID(c.leaves, unitID(flannelUnit))):
					t.Errorf("%s is changed while the host's flannel would write it again", id)
				case onHost && describe(item.Step.Resource.ID()).Program() && !waits(id, NewStepID("shaolin", resource.StaticPod{Path: ManifestDirectory + "/kube-apiserver.yaml"}.ID())) && c.inv == lab:
					t.Errorf("%s stops before others have changed", id)
				}
			}
		})
	}
}

// Where nothing changes elsewhere, the host still stops after its pods have gone.
func TestDepartureAlone(t *testing.T) {
	lab := load(t, "lab")
	old := compile(t, lab)
	rest := without(lab, "huashan")
	observed := departed(old, compile(t, rest))
	next := &Plan{Inventory: rest}
	for _, h := range rest.Hosts {
		dir := resource.Directory{Path: "/x", Ownership: resource.Ownership{Mode: 0o755}}
		next.Steps = append(next.Steps, Step{Host: h.Name, Resource: dir}, Step{Host: Cluster, Resource: resource.Host{Name: h.Name}})
		facts := observed.Hosts[h.Name].Facts
		facts.Put(fact.Key{Kind: fact.KindFile, Name: "/x"}, fact.File{Exists: true, Type: "directory", Mode: 0o755, Owner: "root", Group: "root"})
		for id := range facts.Host.State.Resources {
			if resource.ID(id).Kind() != resource.KindHost {
				delete(facts.Host.State.Resources, id)
			}
		}
	}
	delta := next.Diff(observed)
	own, steps := leavingSteps(t, delta)
	kubelet, containers := NewStepID("huashan", unitID(KubeletUnit)), NewStepID("huashan", resource.Containers{}.ID())
	drain := NewStepID(Cluster, resource.Drain{Node: "huashan"}.ID())
	for _, item := range own {
		id := item.Step.ID()
		if id != drain && !waitsFor(steps, id, drain, map[StepID]bool{}) {
			t.Errorf("%s does not wait for the drain", id)
		}
		if item.Step.Host == "huashan" && id != kubelet && !waitsFor(steps, id, kubelet, map[StepID]bool{}) {
			t.Errorf("%s does not wait for the kubelet's end", id)
		}
		if id == NewStepID("huashan", unitID(containerdUnit)) && !waitsFor(steps, id, containers, map[StepID]bool{}) {
			t.Errorf("%s does not wait for the containers' end", id)
		}
	}
	if got := changes(delta); len(own) < 20 || slices.ContainsFunc(got, func(text string) bool { return !strings.Contains(text, "huashan") }) {
		t.Errorf("%d steps of the host; changes: %v", len(own), got)
	}
}

// A member of etcd is taken off its list before it stops, and after the API
// servers know that; one that is gone for good, before all else.
func TestMembersDepart(t *testing.T) {
	lab := load(t, "lab")
	leaves := []string{"wudang", "emei"}
	for _, forget := range [][]string{nil, {"emei"}} {
		t.Run(fmt.Sprint("forgotten ", forget), func(t *testing.T) {
			old, next := compile(t, lab), compile(t, without(lab, leaves...)).Forget(forget)
			observed := departed(old, next)
			list := fact.EtcdMembers{ClusterID: 1, Leader: 1, Quorum: true}
			for i, h := range lab.With(inventory.RoleEtcd) {
				gone := slices.Contains(forget, h.Name)
				list.Members = append(list.Members, fact.EtcdMember{ID: uint64(i + 1), Name: h.Name, PeerURLs: []string{peerURL(h)}, ClientURLs: []string{"x"}, Healthy: !gone})
				if gone {
					delete(observed.Leaving, h.Name)
				}
			}
			observed.Cluster.Put(fact.EtcdMembersKey, list)
			observed.Hosts["shaolin"].Facts.Put(fact.Key{Kind: fact.KindEtcdData, Name: logDirectory(lab)}, fact.EtcdData{ClusterID: 1, MemberID: 1})
			delta := next.Diff(observed)
			for _, problem := range delta.Problems {
				if strings.Contains(problem.Summary, "member") {
					t.Errorf("%s: %s", problem.Host, problem.Summary)
				}
			}
			_, steps := leavingSteps(t, delta)
			waits := func(id, on StepID) bool { return waitsFor(steps, id, on, map[StepID]bool{}) }
			apiserver := NewStepID("shaolin", resource.StaticPod{Path: ManifestDirectory + "/kube-apiserver.yaml"}.ID())
			removals := 0
			for _, s := range steps {
				removal, ok := s.Resource.(resource.EtcdRemoval)
				if !ok {
					continue
				}
				removals++
				unit, host := NewStepID(removal.Entry.Name, EtcdUnit), NewStepID(Cluster, resource.Host{Name: removal.Entry.Name}.ID())
				gone := slices.Contains(forget, removal.Entry.Name)
				if _, stops := steps[unit]; stops == gone || stops && !waits(unit, s.ID()) || !waits(host, s.ID()) {
					t.Errorf("%s stops, or is forgotten, before it has left", removal.Entry.Name)
				}
				if waits(s.ID(), apiserver) == gone {
					t.Errorf("%s leaves after the API servers know of it: %v", removal.Entry.Name, !gone)
				}
			}
			if removals != len(leaves) {
				t.Errorf("%d members are removed", removals)
			}
		})
	}
}

func TestCheckDepartures(t *testing.T) {
	lab := load(t, "lab")
	old := compile(t, lab)
	for _, c := range []struct {
		name   string
		next   *inventory.Inventory
		forget []string
		edit   func(*Observed)
		want   []string
	}{
		{name: "a worker", next: without(lab, "huashan")},
		{name: "can't be reached", next: without(lab, "huashan"), edit: func(o *Observed) {
			o.Leaving["huashan"] = Observation{Err: errors.New("huashan: connect: no route to host")}
		},
			want: []string{"huashan: left the inventory, and can't be reached at 10.88.0.14:22: connect: no route to host"}},
		{name: "gone for good", next: without(lab, "huashan"), forget: []string{"huashan"}, edit: func(o *Observed) { o.Leaving = nil }},
		{name: "renamed", next: func() *inventory.Inventory {
			inv := without(lab, "huashan")
			h, _ := lab.Host("huashan")
			h.Name = "hengshan"
			inv.Hosts = append(inv.Hosts, h)
			return inv
		}(), want: []string{"huashan: left the inventory, and hengshan is at its address 10.88.0.14: a host can't be renamed"}},
		{name: "one comes as one goes", next: func() *inventory.Inventory {
			inv := without(lab, "huashan")
			h, _ := lab.Host("huashan")
			h.Name, h.Address = "hengshan", h.Address.Next()
			inv.Hosts = append(inv.Hosts, h)
			return inv
		}(), edit: func(o *Observed) { o.Cluster.Put(fact.Key{Kind: fact.KindNode, Name: "hengshan"}, fact.Node{}) },
			want: []string{"huashan: left the inventory, while hengshan would come: where pods are would change on all hosts before its own have gone"}},
		{name: "the API is down", next: without(lab, "huashan"), edit: func(o *Observed) { o.Cluster = fact.NewSet(fact.Host{}) },
			want: []string{"huashan: left the inventory, and its node can't be drained: the API server does not answer"}},
		{name: "bare pods", next: without(lab, "huashan"), edit: func(o *Observed) {
			o.Cluster.Put(fact.Key{Kind: fact.KindNode, Name: "huashan"}, fact.Node{Exists: true, Pods: []fact.NodePod{{Namespace: "default", Name: "by-hand", Bare: true}}})
		}, want: []string{"huashan: can't be drained: no controller would make these pods again elsewhere: default/by-hand"}},
		{name: "of another cluster by now", next: without(lab, "huashan"), edit: func(o *Observed) {
			o.Leaving["huashan"] = Observation{Facts: fact.NewSet(fact.Host{State: fact.State{Cluster: "other"}})}
		}, want: []string{`huashan: left the inventory, and belongs to the cluster "other" by now`}},
		{name: "the endpoint's own host", next: func() *inventory.Inventory {
			inv := without(lab, "huashan")
			inv.Cluster.Endpoint.Host = "10.88.0.14"
			return inv
		}(), want: []string{"huashan: left the inventory, and cluster.endpoint leads to it (10.88.0.14:8443): all clients of the API would be cut off"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := compile(t, c.next).Forget(c.forget)
			observed := departed(old, next)
			if c.edit != nil {
				c.edit(&observed)
			}
			var got []string
			for _, problem := range checkDepartures(next, observed, next.Departures(observed)) {
				if problem.Hint == "" {
					t.Errorf("no way out of: %s", problem.Summary)
				}
				got = append(got, problem.Host+": "+problem.Summary)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Where all masters are new and nodes are not, another cluster would be founded.
func TestCheckMasters(t *testing.T) {
	lab := load(t, "lab")
	old := compile(t, lab)
	moved := without(lab)
	for i := range moved.Hosts {
		if moved.Hosts[i].Has(inventory.RoleMaster) {
			moved.Hosts[i].Name = "new-" + moved.Hosts[i].Name
		}
	}
	moved.LoadBalancer = nil
	for _, c := range []struct {
		name string
		edit func(*Observed)
		want int
	}{
		{"nodes live", func(*Observed) {}, 1},
		{"a first installation that died", func(o *Observed) {
			delete(o.Hosts["huashan"].Facts.Host.State.Resources, string(unitID(KubeletUnit)))
		}, 0},
		{"a master can't be asked", func(o *Observed) { o.Hosts["new-shaolin"] = Observation{Err: errors.New("down")} }, 0},
	} {
		p := &Plan{Inventory: moved, Steps: []Step{{Host: "huashan", Resource: resource.Unit{Name: KubeletUnit}}}}
		observed := Observed{Hosts: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
		for _, h := range moved.Hosts {
			o := Observation{Facts: fact.NewSet(fact.Host{State: fact.State{Resources: map[string]fact.Record{}}})}
			for _, s := range old.Steps {
				if s.Host == h.Name {
					o.Facts.Host.State.Resources[string(s.Resource.ID())] = fact.Record{Digest: "x"}
				}
			}
			observed.Hosts[h.Name] = o
		}
		c.edit(&observed)
		if problems := checkMasters(p, observed); len(problems) != c.want {
			t.Errorf("%s: %v", c.name, problems)
		}
	}
}

// A host may leave in the same plan in which versions change: nothing waits for
// itself then.
func TestDepartureInAnUpgrade(t *testing.T) {
	for _, network := range []string{`"routes" {}`, "\"flannel\" {\n  store = \"etcd\"\n}", "\"flannel\" {\n  store = \"kubernetes\"\n}"} {
		d := upgradable(35, 4)
		d.network = network
		w := living(t, loadDraft(t, d))
		d.minor, d.kubernetes, d.workers = 36, 3, 1
		p := compileWith(t, loadDraft(t, d), modelAuthority())
		delta := p.Diff(w.observe(p))
		for _, problem := range delta.Problems {
			t.Errorf("problem on %s: %s", problem.Host, problem.Summary)
		}
		if left := cycle(delta.Graph()); len(left) > 0 {
			t.Errorf("%s: these wait for each other: %v", network, left)
		}
	}
}

package plan

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// What each network has that static routes have not, and the other way round,
// on one host and in the cluster.
func TestNetworksGolden(t *testing.T) {
	routed := compile(t, load(t, "lab"))
	for name, network := range networks() {
		t.Run(name, func(t *testing.T) {
			inv := load(t, "lab")
			inv.Network = network
			p := compile(t, inv)
			golden(t, filepath.Join("testdata", "networks", name+".txt"), difference(routed, p))
		})
	}
}

// difference is what one plan has and another has not, and the other way round,
// on two hosts and in the cluster.
func difference(old, next *Plan) []byte {
	var b bytes.Buffer
	for _, host := range []string{"shaolin", "huashan", Cluster} {
		fmt.Fprintf(&b, "##### %s\n\n", host)
		before, after := only(old, host, nil), only(next, host, nil)
		for id := range before {
			if _, still := after[id]; !still {
				delete(before, id)
			}
		}
		gone := only(old, host, func(s Step) bool { _, still := after[s.ID()]; return !still })
		fresh := only(next, host, func(s Step) bool {
			was, there := before[s.ID()]
			return !there || !cmp.Equal(was, s)
		})
		for _, id := range slices.Sorted(maps.Keys(gone)) {
			fmt.Fprintf(&b, "- %s\n", gone[id].Resource.ID())
		}
		part := &Plan{Inventory: next.Inventory}
		for _, s := range next.Steps {
			if _, ok := fresh[s.ID()]; ok {
				part.Steps = append(part.Steps, s)
				fmt.Fprintf(&b, "+ %s\n", s.Resource.ID())
				if s.Host == Cluster || s.Resource.ID().Kind() == "unit" {
					was := before[s.ID()]
					for _, id := range s.After {
						if !slices.Contains(was.After, id) && !strings.HasSuffix(string(id), "iptables") {
							fmt.Fprintf(&b, "    after %s\n", id)
						}
					}
				}
			}
		}
		b.WriteString("\n")
		b.Write(describeFiles(part, host))
	}
	return b.Bytes()
}

// only returns a host's steps by ID.
func only(p *Plan, host string, keep func(Step) bool) map[StepID]Step {
	steps := map[StepID]Step{}
	for _, s := range p.Steps {
		if s.Host == host && (keep == nil || keep(s)) {
			steps[s.ID()] = s
		}
	}
	return steps
}

// A new host touches nothing of another's where the network says so.
func TestNetworksAndNewHosts(t *testing.T) {
	for name, untouched := range map[string]bool{
		"bird-ospf": true, "flannel-etcd": true, "flannel-kubernetes": true, "bird-bgp": false,
	} {
		inv := load(t, "lab")
		inv.Network = networks()[name]
		before := compile(t, inv)
		grown := *inv
		added := inv.Hosts[len(inv.Hosts)-1]
		added.Name, added.Address = "kunlun", added.Address.Next()
		grown.Hosts = append(slices.Clone(inv.Hosts), added)
		lock := ProposeLock(inv, inventory.Lock{}, digests(inv))
		after, diags := Compile(&grown, ProposeLock(&grown, lock, digests(inv)), nil, noAuthorities{}, nil)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		changed := false
		for _, host := range []string{"shaolin", "huashan"} {
			was := only(before, host, nil)
			for id, s := range only(after, host, nil) {
				if s.Resource.ID().Kind() != "block" && !cmp.Equal(was[id].Resource, s.Resource) {
					changed = true
					if untouched {
						t.Errorf("%s: %s changes", name, id)
					}
				}
			}
		}
		if changed == untouched {
			t.Errorf("%s: a new host touches others: %v", name, changed)
		}
	}
}

// From one network to another: what leaves is removed, before what takes over.
func TestChangeOfNetwork(t *testing.T) {
	of := func(network inventory.Network) *Plan {
		inv := load(t, "lab")
		inv.Network = network
		return compile(t, inv)
	}
	observe := func(old, next *Plan) Observed {
		observed := Observed{Hosts: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
		for _, h := range next.Inventory.Hosts {
			o := bare(next, h)
			state := fact.State{Cluster: "wuxia", Resources: map[string]fact.Record{}}
			for _, s := range old.Steps {
				if s.Host == h.Name || s.Host == Cluster && h.Has(inventory.RoleMaster) && ofCluster(s.Resource.ID()) {
					state.Resources[string(s.Resource.ID())] = fact.Record{Digest: "x"}
				}
			}
			state.Cluster = next.Inventory.Cluster.Name
			o.Facts.Host.State = state
			observed.Hosts[h.Name] = o
		}
		return observed
	}
	all := networks()
	all["routes"] = inventory.Network{Kind: inventory.NetworkRoutes}
	for _, tt := range []struct {
		from, to string
		gone     []string // of huashan and of the cluster
		waits    string   // what takes over on huashan
	}{
		{"routes", "flannel-etcd", []string{"huashan route:10.244.0.0/24", "huashan route:10.244.2.0/24", "huashan route:10.244.3.0/24"}, "unit:flanneld.service"},
		{"flannel-etcd", "routes", []string{
			"huashan unit:flanneld.service", "huashan link:flannel.1", "(cluster) etcd:/coreos.com/network/", "huashan artifact:flannel",
			"huashan authorityfile:/etc/kubernetes/pki/etcd/ca.crt", "huashan cert:/etc/kubernetes/pki/etcd/flannel.crt",
			"huashan file:/etc/flannel/net-conf.json", "huashan file:/etc/systemd/system/flanneld.service",
		}, "route:10.244.0.0/24"},
		{"flannel-kubernetes", "bird-ospf", []string{
			"huashan routes:10.244.0.0/16", "(cluster) object:apps/v1/DaemonSet/kube-system/flannel",
			"huashan image:ghcr.io/flannel-io/flannel:v0.28.4",
			"(cluster) object:rbac.authorization.k8s.io/v1/ClusterRole//flannel",
			"(cluster) object:rbac.authorization.k8s.io/v1/ClusterRoleBinding//flannel",
			"(cluster) object:v1/ConfigMap/kube-system/flannel",
			"(cluster) object:v1/ServiceAccount/kube-system/flannel",
		}, "unit:bird.service"},
		{"bird-bgp", "routes", []string{"huashan unit:bird.service", "huashan file:/etc/kinstall/bird.conf", "huashan file:/etc/systemd/system/bird.service"}, "route:10.244.0.0/24"},
	} {
		old, next := of(all[tt.from]), of(all[tt.to])
		delta := next.Diff(observe(old, next))
		var gone []string
		var ids []StepID
		for _, item := range delta.Items {
			if item.Change.Action != resource.Delete || item.Step.Host != "huashan" && item.Step.Host != Cluster {
				continue
			}
			gone = append(gone, item.Step.Host+" "+string(item.Step.Resource.ID()))
			if carriesPods(item.Step.Resource.ID()) {
				ids = append(ids, item.Step.ID())
			} else if len(item.Step.After) == 0 {
				t.Errorf("%s to %s: %s goes before what replaces it serves", tt.from, tt.to, item.Step.ID())
			}
		}
		var steps []Step
		for _, item := range delta.Items {
			steps = append(steps, item.Step)
		}
		if n := len(inOrder(steps)); n != len(delta.Items) { // panics at a cycle
			t.Errorf("%s to %s: %d of %d steps can be ordered", tt.from, tt.to, n, len(delta.Items))
		}
		if diff := cmp.Diff(tt.gone, gone); diff != "" {
			t.Errorf("%s to %s, deleted (-want +got):\n%s", tt.from, tt.to, diff)
		}
		for _, item := range delta.Items {
			if item.Step.Host == "huashan" && string(item.Step.Resource.ID()) == tt.waits {
				for _, id := range ids {
					if !slices.Contains(item.Step.After, id) {
						t.Errorf("%s to %s: %s does not wait for the end of %s", tt.from, tt.to, tt.waits, id)
					}
				}
			}
		}
	}
}

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

	"github.com/kinstall/kinstall/plan/inventory"
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
			return !there || !cmp.Equal(was, s, cmp.AllowUnexported(Step{}))
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
		"bird-ospf": true, "flannel-etcd": true, "flannel-kubernetes": true, "bird-bgp": false, "openvswitch": false,
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

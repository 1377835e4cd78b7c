package plan

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// gates adds what is waited for between the parts of a bring-up: etcd before
// the API servers, all of them and the load balancer before the workers, and
// every node in the end.
func (c *compiler) gates() {
	inv := c.inventory
	var members, servers [][]StepID
	for _, h := range inv.With(inventory.RoleEtcd) {
		members = append(members, step(h.Name, resource.Unit{Name: etcdUnit}))
	}
	if len(members) > 0 {
		c.add(Cluster, c.etcdGate(), members...)
	}
	if !inv.Kubernetes() {
		return
	}

	for _, h := range inv.With(inventory.RoleMaster) {
		gate := c.apiServerGate(h)
		servers = append(servers, step(Cluster, gate))
		c.add(Cluster, gate,
			step(h.Name, resource.StaticPod{Path: ManifestDirectory + "/kube-apiserver.yaml"}),
			step(h.Name, resource.Unit{Name: KubeletUnit}))
	}
	// All API servers, not just the first: one whose access rules are not read
	// yet refuses kubelets, who then wait for seconds before they come again.
	if b, ok := balancerOf(inv); ok && b.local {
		// Where the endpoint for people leads is not seen to: nodes don't dial it.
		for _, h := range inv.Nodes() {
			c.add(Cluster, c.localGate(h, b), append(servers, step(h.Name, resource.Unit{Name: b.unit}))...)
		}
	} else {
		for _, h := range inv.Hosts {
			if ok && b.on(inv, h) {
				servers = append(servers, step(h.Name, resource.Unit{Name: b.unit}))
			}
			if onVirtualAddress(inv, h) {
				servers = append(servers, step(h.Name, resource.Unit{Name: KeepalivedUnit}))
			}
		}
		c.add(Cluster, c.endpointGate(), servers...)
		c.virtualAddressGate()
	}

	for _, h := range inv.Nodes() {
		after := [][]StepID{step(h.Name, resource.Unit{Name: KubeletUnit}), step(Cluster, resource.Node{Name: h.Name})}
		if inv.Network.Bridged() {
			c.add(Cluster, resource.Gate{
				Check:   resource.Check{Kind: resource.CheckNode, Host: h.Name, Text: "the node is Ready"},
				Watches: []resource.Process{{Host: h.Name, Unit: KubeletUnit}},
			},
				append(after, step(h.Name, resource.File{Path: cniConfig}))...)
		}
		// With a network kinstall keeps out of, nodes are Ready when the user brings it.
	}
}

func (c *compiler) apiServerGate(h inventory.Host) resource.Gate {
	return resource.Gate{
		Check:   resource.Check{Kind: resource.CheckAPIServer, Host: h.Name, Text: "/readyz at " + hostPort(h.Address, APIServerPort)},
		Watches: []resource.Process{{Host: h.Name, Unit: KubeletUnit}, {Host: h.Name, Pod: apiServerPod}},
	}
}

func (c *compiler) endpointGate() resource.Gate {
	gate := resource.Gate{Check: resource.Check{Kind: resource.CheckEndpoint, Text: "/readyz at " + c.inventory.Cluster.Endpoint.String()}}
	if b, ok := balancerOf(c.inventory); ok {
		for _, host := range c.inventory.LoadBalancer.Hosts {
			gate.Watches = append(gate.Watches, resource.Process{Host: host, Unit: b.unit})
			if c.inventory.VirtualAddress().IsValid() {
				gate.Watches = append(gate.Watches, resource.Process{Host: host, Unit: KeepalivedUnit})
			}
		}
		sortWatches(gate.Watches)
	}
	return gate
}

// localGate waits until a node finds the API through its own balancer.
func (c *compiler) localGate(h inventory.Host, b balancerKind) resource.Gate {
	return resource.Gate{Check: throughBalancer(h.Name), Watches: []resource.Process{{Host: h.Name, Unit: b.unit}}}
}

// served are the steps after which the API serves objects of the cluster.
func (c *compiler) served() []StepID {
	if !c.inventory.BalancesLocally() {
		return step(Cluster, c.endpointGate())
	}
	var servers []StepID
	for _, m := range c.inventory.With(inventory.RoleMaster) {
		servers = append(servers, step(Cluster, c.apiServerGate(m))...)
	}
	return servers
}

// servedTo are the steps after which it serves the programs of a host that is no
// master.
func (c *compiler) servedTo(h inventory.Host) []StepID {
	if b, ok := balancerOf(c.inventory); ok && b.local {
		return step(Cluster, c.localGate(h, b))
	}
	return step(Cluster, c.endpointGate())
}

func sortWatches(watches []resource.Process) {
	slices.SortFunc(watches, func(a, b resource.Process) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Unit, b.Unit))
	})
}

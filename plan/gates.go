package plan

import (
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
	for _, h := range inv.Hosts {
		if inv.Balances(h.Name) {
			servers = append(servers, step(h.Name, resource.Unit{Name: nginxUnit}))
		}
	}
	// All API servers, not just the first: one whose access rules are not read
	// yet refuses kubelets, who then wait for seconds before they come again.
	c.add(Cluster, c.endpointGate(), servers...)

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
	if c.inventory.LoadBalancer != nil {
		for _, host := range c.inventory.LoadBalancer.Hosts {
			gate.Watches = append(gate.Watches, resource.Process{Host: host, Unit: nginxUnit})
		}
		sortWatches(gate.Watches)
	}
	return gate
}

func sortWatches(watches []resource.Process) {
	slices.SortFunc(watches, func(a, b resource.Process) int { return strings.Compare(a.Host, b.Host) })
}

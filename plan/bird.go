package plan

import (
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	birdConfig = "/etc/kinstall/bird.conf"
	birdUnit   = "bird.service"
	birdMetric = 32 // of the routes it sets, if not told otherwise
)

func onBird(inv *inventory.Inventory, h inventory.Host) bool {
	return h.RunsContainers() && inv.Network.Kind == inventory.NetworkBird
}

// bird adds the routing daemon, which announces the host's own subnet and
// learns the others'. It reloads without losing a route.
//
// By OSPF the configuration names nothing but the host itself: hosts come and
// go without touching it. By BGP it names every other host.
func (c *compiler) bird(h inventory.Host) {
	n := c.inventory.Network
	type neighbor struct{ Name, Address string }
	var neighbors []neighbor
	if n.Mode == inventory.BirdBGP {
		for other := range c.others(h) {
			neighbors = append(neighbors, neighbor{other.Name, other.Address.String()})
		}
	}
	config := c.file(h.Name, birdConfig, map[string]any{
		"Address":   h.Address.String(),
		"ASN":       n.ASN,
		"Mode":      n.Mode,
		"Neighbors": neighbors,
		"Pods":      c.inventory.Cluster.PodCIDR.String(),
		"Subnet":    c.subnets[h.Name].String(),
	})
	software := resource.Package{Name: "bird2"}
	unit := c.unitFile(h.Name, birdUnit, nil)
	c.add(h.Name, software, step(h.Name, config), step(h.Name, unit)) // which starts the unit
	inputs := []resource.Input{software, config, unit}
	c.addStep(Step{
		Host:      h.Name,
		Resource:  resource.Unit{Name: birdUnit, Inputs: inputs, ReloadOn: []resource.ID{config.ID()}},
		Successor: true,
		Rollout:   networkRollout(h.Name, birdUnit),
	}, inputSteps(h.Name, inputs))
}

package plan

import (
	"slices"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// networkKind is what one kind of pod network is told from the others by,
// besides its attributes in the inventory.
type networkKind struct {
	kind string
	// add adds what a host needs besides the bridge, the rules and the routes
	// that stand in network.go; nil: nothing.
	add func(*compiler, inventory.Host)
	// programs carry packets between the hosts' pods, in whichever store or mode.
	// What they leave behind is told by its kind (resource.Descriptor.CarriesPods).
	programs []resource.ID
	// eachHost are the kinds that change as other hosts come and go, which makes no
	// change of networks; what other versions of kinstall had for it included.
	eachHost []resource.Kind
	// learnt says that its program sets a route to each other host's subnet, of
	// this metric.
	learnt bool
	metric int
	// withdraws says that its routes are gone as soon as it leaves.
	withdraws bool
}

// networkKinds has one line for each of inventory.NetworkKinds.
func networkKinds() []networkKind {
	return []networkKind{
		{kind: inventory.NetworkRoutes, eachHost: []resource.Kind{resource.KindStaticRoutes, resource.KindRoute}, withdraws: true},
		{kind: inventory.NetworkFlannel, add: (*compiler).flannel, programs: []resource.ID{unitID(flannelUnit), flannelDaemonSet}, learnt: true},
		{kind: inventory.NetworkBird, add: (*compiler).bird, programs: []resource.ID{unitID(birdUnit)}, learnt: true, metric: birdMetric, withdraws: true},
		{kind: inventory.NetworkOpenVSwitch, add: (*compiler).openVSwitch, programs: []resource.ID{unitID(switchUnit)}},
		{kind: inventory.NetworkExternal},
	}
}

// networkOf is the kind of an inventory's network.
func networkOf(inv *inventory.Inventory) networkKind {
	for _, n := range networkKinds() {
		if n.kind == inv.Network.Kind {
			return n
		}
	}
	return networkKind{}
}

// sends reports whether a resource is what the network sends packets by: its
// program, or what it has for each host.
func (n networkKind) sends(id resource.ID) bool {
	return slices.Contains(n.programs, id) || slices.Contains(n.eachHost, id.Kind())
}

func unitID(name string) resource.ID { return resource.NewID(resource.KindUnit, name) }

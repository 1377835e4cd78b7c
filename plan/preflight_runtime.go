package plan

import (
	"fmt"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// checkRuntime refuses to swap the runtime under a host's containers: those of
// the old one would be left to nobody.
func checkRuntime(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	if !host.RunsContainers() {
		return nil
	}
	kind := map[string]string{containerdUnit: inventory.RuntimeContainerd, dockerUnit: inventory.RuntimeDocker}
	for _, unit := range []string{containerdUnit, dockerUnit} {
		_, installed := o.Facts.Host.State.Resources[string(resource.NewID("unit", unit))]
		if installed && kind[unit] != inv.Runtime.Kind {
			return []Problem{{host.Name, fmt.Sprintf("its containers run in %s, and the inventory says runtime %q", kind[unit], inv.Runtime.Kind),
				"set the runtime back; to change it, take the host out of the inventory, install it anew, and add it again"}}
		}
	}
	return nil
}

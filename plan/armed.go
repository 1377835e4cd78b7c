package plan

import "github.com/kinstall/kinstall/plan/resource"

// Armed reports whether carrying an item out may cut the operator off from its
// host: routes, firewall rules, kernel parameters, the host's name, and the
// programs and interfaces of the pod network, also when they leave. Such an item
// is armed first: the host undoes it by itself unless it is reached again over a
// new connection.
//
// What the cluster's API runs on a host (flannel's DaemonSet) is not armed; a
// gate is behind it.
func (i Item) Armed() bool {
	if i.Step.Host == Operator || i.Step.Host == Cluster || !i.Change.Changes() || i.Change.Action == resource.Verify {
		return false
	}
	r := i.Step.Resource
	id := r.ID()
	if id.Kind() == resource.KindUnit {
		if unit, ok := r.(resource.Unit); ok && unit.Docker != nil {
			// Docker makes docker0, and leaves it alone when only its configuration is reread.
			return unit.Docker.Bridge != "" && i.Change.Action != resource.Reload
		}
		return id.Name() == networkUnit || carriesPods(id)
	}
	kind, _ := resource.Describe(id.Kind())
	return kind.CutsOff
}

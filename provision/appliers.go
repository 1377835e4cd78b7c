package provision

import (
	"context"
	"fmt"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// task is one item being carried out.
type task struct {
	executor *Executor
	machine  *machine // nil for steps of the operator and of the cluster's API
	item     plan.Item
	report   func(text string) // tells the user how far it is
}

// applier makes one resource as it should be and returns what the host's
// state is to remember of it.
type applier func(context.Context, *task) (fact.Record, error)

// appliers is how each kind of resource is carried out.
var appliers = map[resource.Kind]applier{
	// on a host
	"file":          applyFile,
	"directory":     applyDirectory,
	"block":         applyBlock,
	"authorityfile": applyAuthorityFile,
	"cert":          applyCertificate,
	"unit":          applyUnit,
	"staticpod":     applyStaticPod,
	"artifact":      applyArtifact,
	"image":         applyImage,
	"hostname":      applyHostname,
	"swap":          applySwapOff,
	"sysctl":        applySysctl,
	"module":        applyModule,
	"package":       applyPackage,
	"route":         applyRoute,
	"interimroute":  applyInterimRoute,
	"firewall":      applyFirewallRule,
	"switch":        applySwitch,
	"link":          applyNothing,
	"routes":        applyNothing,
	"podmtu":        applyPodMTU,
	// on the operator's machine
	"authority": applyAuthority,
	"lock":      applyLockFile,
	// on the cluster's API and its etcd
	"node":   applyNode,
	"object": applyObject,
	"etcd":   applyEtcdKeys,
	"gate":   applyGate,
}

// removers is how each kind that is removed when it leaves the inventory goes.
var removers = map[resource.Kind]applier{
	"file":          removeFiles,
	"authorityfile": removeFiles,
	"cert":          removeFiles,
	"staticpod":     removeFiles,
	"artifact":      removeFiles,
	"block":         removeBlock,
	"unit":          removeUnit,
	"image":         removeImage,
	"route":         removeRoute,
	"firewall":      removeFirewallRule,
	"switch":        removeSwitch,
	"link":          removeLink,
	"routes":        removeDynamicRoutes,
	// on the cluster's API and its etcd
	"object": removeObject,
	"etcd":   removeEtcdKeys,
}

// label names a task in errors and on the screen: "create file:/etc/etcd.env".
func (t *task) label() string { return label(t.item) }

func label(item plan.Item) string {
	return fmt.Sprintf("%s %s", item.Change.Action, item.Step.Resource.ID())
}

// want returns the task's resource as its kind.
func want[T resource.Resource](t *task) (T, error) {
	r, ok := t.item.Step.Resource.(T)
	if !ok {
		return r, fmt.Errorf("%s: the step holds a %T", t.label(), t.item.Step.Resource)
	}
	return r, nil
}

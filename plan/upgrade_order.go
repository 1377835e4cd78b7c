package plan

import (
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// upgrade orders a change of versions, so that Kubernetes' version skew policy
// holds at each moment: etcd and the runtimes come first, then the images on all
// hosts, then the API servers; when all of these are new, the controller managers
// and schedulers; then the kubelets of masters, then those of workers, and each
// kube-proxy after its kubelet.
//
// A master's kubelet is installed before its API server, which it runs. On a
// master that lives it is the other way round: the edges that say so are
// returned, to be dropped.
func (o order) upgrade(d *Delta) (turned map[StepID][]StepID) {
	u := d.Upgrade
	if u == nil {
		return nil
	}
	turned = map[StepID][]StepID{}
	inv := d.Plan.Inventory
	runtime := runtimeOf(inv)
	runtimes := map[resource.ID]bool{unitID(runtime.unit): true, unitID(runtime.criUnit): true}
	planned := map[StepID]bool{}
	for i := range d.Plan.Steps {
		planned[d.Plan.Steps[i].ID()] = true
	}
	// Also of hosts that can't be reached: what waits for them is not begun.
	steps := func(hosts []inventory.Host, ids ...resource.ID) []StepID {
		var all []StepID
		for _, h := range hosts {
			for _, id := range ids {
				if step := NewStepID(h.Name, id); planned[step] {
					all = append(all, step)
				}
			}
		}
		return all
	}
	masters := inv.With(inventory.RoleMaster)
	pod := func(name string) resource.ID { return resource.StaticPod{Path: manifestPath(name)}.ID() }
	servers := steps(masters, pod(apiServerPod))
	controllers := steps(masters, pod(controllerPod), pod(schedulerPod))
	kubelets := steps(masters, unitID(KubeletUnit))
	members := steps(inv.With(inventory.RoleEtcd), resource.ID(EtcdUnit))

	var before []StepID // of API servers
	for _, item := range d.Items {
		id := item.Step.Resource.ID()
		_, image := item.Step.Resource.(resource.Image)
		switch {
		case !item.Change.Changes():
		case image:
			before = append(before, item.Step.ID())
		case runtimes[id]:
			before = append(before, item.Step.ID())
			o.wait(item.Step.ID(), members...)
		}
	}
	for _, item := range d.Items {
		id, host := item.Step.ID(), item.Step.Host
		h, _ := inv.Host(host)
		switch item.Step.Resource.ID() {
		case pod(apiServerPod):
			o.wait(id, before...)
		case pod(controllerPod), pod(schedulerPod):
			o.wait(id, servers...)
		case unitID(KubeletUnit):
			switch {
			case !h.Has(inventory.RoleMaster):
				o.wait(id, kubelets...)
				o.wait(id, controllers...)
			case d.livingMaster(host):
				o.wait(id, controllers...)
				o.wait(id, servers...)
			}
		case unitID(kubeProxyUnit):
			o.wait(id, step(host, resource.Unit{Name: KubeletUnit})...)
			o.wait(id, servers...)
		}
		if gate, ok := item.Step.Resource.(resource.Gate); ok && gate.Check.Kind == resource.CheckAPIServer && d.livingMaster(gate.Host) {
			turned[id] = step(gate.Host, resource.Unit{Name: KubeletUnit})
		}
	}
	return turned
}

// etcdGateID is what the gate for all of etcd is called.
const etcdGateID resource.ID = "gate:etcd"

// livingMaster reports whether a master's kubelet runs an API server of which the
// version is known.
func (d *Delta) livingMaster(host string) bool {
	unit, err := d.Observed.facts(host).Unit(KubeletUnit)
	return err == nil && unit.Running() && serverProgram().found(d.Observed, host) != ""
}

// evacuates reports whether a host's node is drained before its kubelet is
// changed, as Kubernetes asks for a new minor version. The pods of an only node
// could go nowhere, and a node that is not Ready has nobody to end its pods.
func (p *Plan) evacuates(o Observed, host string) bool {
	version := kubeletFound(o, host)
	node, err := o.Cluster.Node(host)
	return version != "" && inventory.MinorsBetween(version, p.Inventory.Cluster.Version) != 0 &&
		len(p.Inventory.Nodes()) > 1 && err == nil && node.Ready
}

// evacuate has kubelets that change their minor version wait until their nodes
// are drained.
func (d *Delta) evacuate() {
	if d.Upgrade == nil || !d.Upgrade.minor {
		return
	}
	for i := range d.Items {
		item := &d.Items[i]
		if item.Step.Resource.ID() != unitID(KubeletUnit) || item.Step.Rollout == nil || !item.Change.Changes() || !d.Plan.evacuates(d.Observed, item.Step.Host) {
			continue
		}
		rollout := *item.Step.Rollout // the plan's own stays
		rollout.Evacuate = item.Step.Host
		item.Step.Rollout = &rollout
	}
}

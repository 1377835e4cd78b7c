package plan

import (
	"slices"

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

	var before []StepID    // of API servers
	var balancers []StepID // that have to be right before they can leave one out
	balancer, balanced := balancerOf(inv)
	for _, item := range d.Items {
		id := item.Step.Resource.ID()
		_, image := item.Step.Resource.(resource.Image)
		_, orphan := item.Step.Resource.(resource.Orphan)
		switch {
		case !item.Change.Changes(), orphan: // what leaves goes when all is upgraded
		case balanced && !balancer.asks(inv) && id == unitID(balancer.unit):
			balancers = append(balancers, item.Step.ID())
		case image:
			before = append(before, item.Step.ID())
		case runtimes[id]:
			before = append(before, item.Step.ID())
			o.wait(item.Step.ID(), members...)
		}
	}
	for _, item := range d.Items {
		id, host := item.Step.ID(), item.Step.Host
		h, stays := inv.Host(host)
		if _, orphan := item.Step.Resource.(resource.Orphan); orphan || !stays && host != Cluster {
			continue
		}
		switch item.Step.Resource.ID() {
		case pod(apiServerPod):
			o.wait(id, before...)
			switch {
			case !d.livingMaster(host): // a balancer may wait for it
			case item.Change.Action == resource.Verify:
				// A run that died in its turn left it out; it is sent clients when it was
				// seen to serve.
				for _, balancer := range balancers {
					o.wait(balancer, id)
				}
			default:
				o.wait(id, balancers...)
			}
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
		if gate, ok := item.Step.Resource.(resource.Gate); ok && gate.Kind == resource.CheckAPIServer && d.livingMaster(gate.Host) {
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

// kubelets prepares the turns of kubelets that change their version: with another
// minor version their nodes are drained. A kubelet tells static pods by a digest
// of all they may have, which is another in other versions: on a master its turn
// is one of the control plane there, too, and takes as much care.
func (d *Delta) kubelets() {
	if !d.Upgrade.kubernetes() {
		return
	}
	pods := map[string][]*Rollout{} // of masters that live
	for i := range d.Items {
		step := d.Items[i].Step
		if _, pod := step.Resource.(resource.StaticPod); pod && step.Rollout != nil && d.livingMaster(step.Host) {
			pods[step.Host] = append(pods[step.Host], step.Rollout)
		}
	}
	for i := range d.Items {
		item := &d.Items[i]
		host := item.Step.Host
		version := kubeletFound(d.Observed, host)
		if item.Step.Resource.ID() != unitID(KubeletUnit) || item.Step.Rollout == nil || !item.Change.Changes() ||
			version == "" || version == d.Plan.Inventory.Cluster.Version {
			continue
		}
		rollout := *item.Step.Rollout // the plan's own stays
		rollout.Before, rollout.After = slices.Clone(rollout.Before), slices.Clone(rollout.After)
		if d.Plan.evacuates(d.Observed, host) {
			rollout.Evacuate = host
		}
		if len(pods[host]) > 0 && inventory.MinorsBetween(version, d.Plan.Inventory.Cluster.Version) != 0 {
			rollout.After = append(rollout.After, resource.Check{
				Kind: resource.CheckTakenUp, Host: host, Process: resource.Process{Host: host, Pod: apiServerPod},
				Text: "the kubelet of " + host + " has taken up its static pods",
			})
		}
		for _, pod := range pods[host] {
			rollout.Before = append(rollout.Before, pod.Before...)
			rollout.Drains = append(rollout.Drains, pod.Drains...)
			for _, check := range pod.After {
				if check.Kind != resource.CheckProcess { // it may be the one from before
					rollout.After = append(rollout.After, check)
				}
			}
		}
		item.OwnStep().Rollout = &rollout
	}
}

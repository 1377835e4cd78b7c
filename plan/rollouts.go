package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/plan/rollout"
)

// Rollout says, as plain data, how a step that changes what serves is carried
// out on a living cluster: one member of its group after the other. The
// decisions that follow from it are those of package rollout.
type Rollout struct {
	Group string // one of the constants below
	// Before must hold before a member that serves is touched: the others can
	// do without it.
	Before []resource.Check
	// After must hold before the change counts as done, and still after a
	// settling time; else the member gets its previous bytes back.
	After []resource.Check
	// Drains are what sends clients to the member, and sends it none during its
	// turn: a server that has begun to listen may not yet know who may do what.
	Drains []Drain
	// Evacuate is the node that is cordoned and drained before the member is
	// changed, and takes pods again when it was seen to work, or was rolled back;
	// "" for none. The plan asks for the pods on it (fact.Query.Pods) where it is to
	// say how many there are.
	Evacuate string
}

// Drain is a balancer's configuration, and what it is while a member has its turn.
type Drain struct {
	Host    string
	Unit    string        // that reads it anew when it is reloaded
	File    resource.File // as it is otherwise
	Without []byte
}

// The groups, in the order in which a plan lists them.
const (
	groupEtcd           = "etcd"
	groupAPIServers     = "apiserver"
	groupControllers    = "controllers"
	groupBalancers      = "balancer"
	groupLocalBalancers = "balancer-local"
	groupVirtualAddress = "vip"
	groupNetworks       = "network"
	groupMasterRuntimes = "runtime-masters"
	groupMasterKubelets = "kubelet-masters"
	groupWorkerRuntimes = "runtime-workers"
	groupWorkerKubelets = "kubelet-workers"
	groupProxies        = "kube-proxy"
)

// kubeletsTitle is what the groups of kubelets run.
const kubeletsTitle = "kubelets"

// groupTitles is how groups are called in a plan, and the programs that several
// of them run.
var groupTitles = []struct{ name, title, program string }{
	{groupEtcd, "etcd's members", ""},
	{groupAPIServers, "API servers", ""},
	{groupControllers, "controller managers, schedulers", ""},
	{groupBalancers, "load balancers", ""},
	{groupLocalBalancers, "load balancers of nodes", ""},
	{groupVirtualAddress, "the virtual address", ""},
	{groupNetworks, "programs of the pod network", ""},
	{groupMasterRuntimes, "runtimes of masters", "runtimes"},
	{groupMasterKubelets, "kubelets of masters", kubeletsTitle},
	{groupWorkerRuntimes, "runtimes of workers", "runtimes"},
	{groupWorkerKubelets, "kubelets of workers", kubeletsTitle},
	{groupProxies, "kube-proxies", ""},
}

// Groups are the groups of an inventory with how many members of each may be
// changed at a time, once the first has been seen to work: one, and of what
// runs on workers as many as its rollout block says.
func Groups(inv *inventory.Inventory) []rollout.Group {
	workers := len(inv.Hosts) - len(inv.With(inventory.RoleMaster))
	var groups []rollout.Group
	for _, g := range groupTitles {
		group := rollout.Group{Name: g.name, Program: g.program, AtOnce: 1}
		switch g.name {
		case groupNetworks, groupLocalBalancers, groupWorkerRuntimes, groupWorkerKubelets, groupProxies:
			group.AtOnce = inv.Rollout.Workers.Of(workers)
		}
		groups = append(groups, group)
	}
	return groups
}

// GroupTitle is how a group is called in a plan.
func GroupTitle(name string) string {
	for _, g := range groupTitles {
		if g.name == name {
			return g.title
		}
	}
	return name
}

// ProgramTitle is how what a group's members run is called: after a failure
// none of these is touched any more, in whichever group.
func ProgramTitle(name string) string {
	for _, g := range groupTitles {
		if g.name == name && g.program != "" {
			return g.program
		}
	}
	return GroupTitle(name)
}

// serving adds a unit that serves: it is changed as its rollout says.
func (c *compiler) serving(host string, u resource.Unit, r Rollout, after ...[]StepID) StepID {
	return c.addStep(Step{Host: host, Resource: u, Rollout: &r}, after...)
}

// unitRuns is the first thing to be seen of a unit that was started.
func unitRuns(host, unit string) resource.Check {
	return resource.Check{Kind: resource.CheckProcess, Host: host, Process: resource.Process{Host: host, Unit: unit}, Text: unit + " runs"}
}

func podRuns(host, pod string) resource.Check {
	return resource.Check{Kind: resource.CheckProcess, Host: host, Process: resource.Process{Host: host, Pod: pod}, Text: pod + " runs"}
}

func nodeReady(host string) resource.Check {
	return resource.Check{Kind: resource.CheckNode, Host: host, Text: "node " + host + " is Ready"}
}

// elsewhere asks each other host of a role for a check, in the order of their
// names: that of host blocks decides no content.
func (c *compiler) elsewhere(h inventory.Host, role string, check func(inventory.Host) resource.Check) []resource.Check {
	var checks []resource.Check
	for _, other := range c.inventory.With(role) {
		if other.Name != h.Name {
			checks = append(checks, check(other))
		}
	}
	slices.SortFunc(checks, func(a, b resource.Check) int { return strings.Compare(a.Host, b.Host) })
	return checks
}

// etcdRollout changes a member when the others can do without it.
func (c *compiler) etcdRollout(h inventory.Host) Rollout {
	return Rollout{
		Group:  groupEtcd,
		Before: []resource.Check{{Kind: resource.CheckEtcdWithout, Host: h.Name, Text: "the other members are healthy under one leader"}},
		After:  []resource.Check{unitRuns(h.Name, etcdUnit), {Kind: resource.CheckEtcd, Host: h.Name, Text: "the member is healthy and follows a leader"}},
	}
}

func (c *compiler) apiServerRollout(h inventory.Host) Rollout {
	return Rollout{
		Group:  groupAPIServers,
		Before: c.elsewhere(h, inventory.RoleMaster, func(other inventory.Host) resource.Check { return c.apiServerGate(other).Check }),
		After:  []resource.Check{podRuns(h.Name, apiServerPod), c.apiServerGate(h).Check},
		Drains: slices.SortedFunc(slices.Values(c.drained[h.Name]), func(a, b Drain) int { return strings.Compare(a.Host, b.Host) }),
	}
}

// servingCertificateRollout is that of a certificate which the API server
// that runs takes up.
func (c *compiler) servingCertificateRollout(h inventory.Host) Rollout {
	r := c.apiServerRollout(h)
	r.After, r.Drains = []resource.Check{c.apiServerGate(h).Check}, nil
	return r
}

// controllerRollout is that of a program which says at /healthz how it is.
func (c *compiler) controllerRollout(h inventory.Host, pod string, healthz func(inventory.Host) string) Rollout {
	healthy := func(on inventory.Host) resource.Check {
		return resource.Check{Kind: resource.CheckHealthz, Host: on.Name, URL: healthz(on), Text: fmt.Sprintf("%s on %s is well", pod, on.Name)}
	}
	return Rollout{
		Group:  groupControllers,
		Before: c.elsewhere(h, inventory.RoleMaster, healthy),
		After:  []resource.Check{podRuns(h.Name, pod), healthy(h)},
	}
}

// nodeRollout is that of a program without which a host is no node: its
// runtime or its kubelet.
func (c *compiler) nodeRollout(h inventory.Host, masters, workers string, after ...resource.Check) Rollout {
	r := Rollout{Group: workers, After: after}
	if h.IsNode() && c.inventory.Network.Bridged() { // else nodes are Ready when the user brings a network
		r.After = append(r.After, nodeReady(h.Name))
	}
	if h.Has(inventory.RoleMaster) {
		r.Group = masters
		if c.inventory.Network.Bridged() {
			r.Before = c.elsewhere(h, inventory.RoleMaster, func(other inventory.Host) resource.Check { return nodeReady(other.Name) })
		}
	}
	return r
}

func (c *compiler) kubeletRollout(h inventory.Host) Rollout {
	return c.nodeRollout(h, groupMasterKubelets, groupWorkerKubelets, unitRuns(h.Name, KubeletUnit))
}

func (c *compiler) runtimeRollout(h inventory.Host, unit string, after ...resource.Check) Rollout {
	return c.nodeRollout(h, groupMasterRuntimes, groupWorkerRuntimes, slices.Concat([]resource.Check{unitRuns(h.Name, unit)}, after)...)
}

// balancerRollout changes a balancer while the API can be reached through the
// others; one that only its own host dials is for nobody else to ask about.
func (c *compiler) balancerRollout(h inventory.Host, b balancerKind) Rollout {
	r := Rollout{Group: groupBalancers, After: []resource.Check{unitRuns(h.Name, b.unit), throughBalancer(h.Name)}}
	if b.local {
		r.Group = groupLocalBalancers
		return r
	}
	for _, other := range slices.Sorted(slices.Values(c.inventory.LoadBalancer.Hosts)) {
		if other != h.Name {
			r.Before = append(r.Before, throughBalancer(other))
		}
	}
	return r
}

func throughBalancer(host string) resource.Check {
	return resource.Check{Kind: resource.CheckEndpoint, Host: host, Text: "/readyz through " + host}
}

// networkRollout is that of a program of the pod network. Whether pods reach
// each other is what the gates of a handover see, see Delta.handOver.
func networkRollout(host, unit string) *Rollout {
	return &Rollout{Group: groupNetworks, After: []resource.Check{unitRuns(host, unit)}}
}

// proxyRollout asks kube-proxy, unless its user turned that off.
func proxyRollout(host, unit, healthz string) Rollout {
	r := Rollout{Group: groupProxies, After: []resource.Check{unitRuns(host, unit)}}
	if healthz != "" {
		r.After = append(r.After, resource.Check{Kind: resource.CheckHealthz, Host: host, URL: healthz, Text: "kube-proxy on " + host + " is well"})
	}
	return r
}

package resource

import "github.com/kinstall/kinstall/plan/fact"

// CheckKind says what a check looks at.
type CheckKind string

// The checks.
const (
	// CheckProcess: the process named by Process runs, is not the one from
	// before the change, and has not been started anew since.
	CheckProcess CheckKind = "process"
	// CheckEtcd with a host: that member is healthy and the members have one
	// leader. Without one: every member is healthy, and there is no alarm.
	CheckEtcd CheckKind = "etcd"
	// CheckEtcdWithout: the members can do without the one on the host.
	CheckEtcdWithout CheckKind = "etcd-without"
	CheckAPIServer   CheckKind = "apiserver" // /readyz of the instance on Host, serving the wanted certificate
	CheckHealthz     CheckKind = "healthz"   // the program on Host says at URL that it is well
	CheckDocker      CheckKind = "docker"    // Docker on Host answers
	CheckContainerd  CheckKind = "containerd"
	// CheckEndpoint: /readyz through the cluster's endpoint; with a host,
	// through the load balancer on that host.
	CheckEndpoint CheckKind = "endpoint"
	// CheckVirtualAddress: exactly one host of the load balancer has the virtual
	// address, and /readyz answers there. With a host, which had its turn, it is
	// enough that some host has it: until all know of a change, two may.
	CheckVirtualAddress CheckKind = "virtual-address"
	// CheckVirtualAddressWithout: a host other than Host could take the virtual address.
	CheckVirtualAddressWithout CheckKind = "virtual-address-without"
	// CheckTakenUp: the kubelet on Host runs the static pod of Process as it knows it
	// now: begun anew since the kubelet was started, or left as it was.
	CheckTakenUp CheckKind = "taken-up"
	// CheckNode: the node is Ready, and its kubelet has said so since it was
	// started last.
	CheckNode CheckKind = "node"
	// CheckReachable without a host finds out which hosts' pods reach each other
	// before the network is changed; with a host, those of that host do so again.
	CheckReachable CheckKind = "reachable"
	// CheckLearnt: every host has a route to every other's pods from the
	// network's own program.
	CheckLearnt CheckKind = "learnt"
	// CheckStillReachable is the same without the previous network: with packets
	// as large as pods send them.
	CheckStillReachable CheckKind = "still-reachable"
)

// Seen says what a check of the kind sees, of any member: "its node is Ready".
func (k CheckKind) Seen() string {
	switch k {
	case CheckProcess:
		return "a new process runs, and goes on running"
	case CheckEtcd:
		return "it is healthy and follows a leader"
	case CheckEtcdWithout:
		return "the other members are healthy under one leader"
	case CheckAPIServer:
		return "/readyz, with the certificate on the disk"
	case CheckHealthz:
		return "it says that it is well"
	case CheckDocker, CheckContainerd:
		return "the runtime answers"
	case CheckEndpoint:
		return "the API answers through it"
	case CheckVirtualAddress:
		return "the API answers at the address"
	case CheckVirtualAddressWithout:
		return "another host can have it"
	case CheckTakenUp:
		return "it has taken up its static pods"
	case CheckNode:
		return "its node has reported Ready since"
	}
	return string(k)
}

// Check is a condition of what serves, as plain data: how it is asked is
// provision's business.
type Check struct {
	Kind CheckKind
	// Host the condition is about; "" for the cluster.
	Host string
	// Process is what CheckProcess and CheckTakenUp look at.
	Process Process
	// URL is what CheckHealthz asks, from the host itself.
	URL string
	// Text says what is seen: "3 members healthy, one leader".
	Text string
}

// Process is a program that serves on a host: a systemd unit or a static pod.
type Process struct {
	Host string
	Unit string // "kubelet.service"; "" for a pod
	Pod  string // "kube-apiserver"; "" for a unit
}

// Name of the unit or pod.
func (p Process) Name() string {
	if p.Unit != "" {
		return p.Unit
	}
	return p.Pod
}

// Query is what is to be asked of the host to learn how the process is.
func (p Process) Query() fact.Query {
	if p.Unit != "" {
		return fact.Query{Kind: fact.KindUnit, Name: p.Unit}
	}
	return fact.Query{Kind: fact.KindStaticPod, Name: p.Pod, Args: []string{"kube-system", p.Host}}
}

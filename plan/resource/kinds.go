package resource

import (
	"cmp"
	"maps"
	"slices"
)

// Kind is the first part of an ID: what sort of thing a resource is. It stands
// in hosts' states and in printed plans, so that it never changes.
type Kind string

// The kinds. Each has its Descriptor in the table below.
const (
	// On a host.
	KindFile          Kind = "file"          // File
	KindDirectory     Kind = "directory"     // Directory
	KindBlock         Kind = "block"         // Block
	KindAuthorityFile Kind = "authorityfile" // AuthorityFile
	KindCertificate   Kind = "cert"          // Certificate
	KindUnit          Kind = "unit"          // Unit
	KindStaticPod     Kind = "staticpod"     // StaticPod
	KindArtifact      Kind = "artifact"      // Artifact
	KindImage         Kind = "image"         // Image
	KindHostname      Kind = "hostname"      // Hostname
	KindSwap          Kind = "swap"          // SwapOff
	KindSysctl        Kind = "sysctl"        // Sysctl
	KindModule        Kind = "module"        // Module
	KindPackage       Kind = "package"       // Package
	KindRoute         Kind = "route"         // Route
	KindStaticRoutes  Kind = "staticroutes"  // StaticRoutes
	KindInterimRoutes Kind = "interimroutes" // InterimRoutes
	KindDynamicRoutes Kind = "routes"        // DynamicRoutes
	KindFirewallRule  Kind = "firewall"      // FirewallRule
	KindSwitch        Kind = "switch"        // Switch
	KindLink          Kind = "link"          // Link
	KindPodMTU        Kind = "podmtu"        // PodMTU
	KindEtcdData      Kind = "etcd-data"     // EtcdData
	KindContainers    Kind = "containers"    // Containers
	// KindRotatedCertificate is that of RotatedCertificate.
	KindRotatedCertificate Kind = "rotatedcert"
	KindJoined             Kind = "joined"      // Joined
	KindServingCertificate Kind = "servingcert" // ServingCertificate
	// On the operator's machine.
	KindAuthority Kind = "authority" // Authority
	KindLockFile  Kind = "lock"      // LockFile
	// On the cluster's API, and in its etcd.
	KindNode     Kind = "node"   // Node
	KindObject   Kind = "object" // Object
	KindEtcdKeys Kind = "etcd"   // EtcdKeys
	KindGate     Kind = "gate"   // Gate
	// Changes of etcd's own list of members.
	KindEtcdLearner Kind = "etcd-learner" // EtcdLearner
	KindEtcdVoter   Kind = "etcd-voter"   // EtcdVoter
	KindEtcdMember  Kind = "etcd-member"  // EtcdRemoval
	KindDrain       Kind = "drain"        // Drain
	// Only remembered.
	KindHost Kind = "host" // Host
)

// Scope says where resources of a kind are.
type Scope string

// The scopes.
const (
	ScopeHost     Scope = ""         // on one host, whose state remembers it
	ScopeCluster  Scope = "cluster"  // nowhere in particular: the states of all keepers remember it (see plan.Keepers)
	ScopeKeepers  Scope = "keepers"  // only in the states of all keepers: it is no thing, but known
	ScopeOperator Scope = "operator" // on the operator's machine, which has no state
)

// Descriptor is what has to be known of a kind besides its data and its Diff.
// How it is applied and removed stands in package provision.
type Descriptor struct {
	Kind  Kind
	Scope Scope
	// Removable kinds are deleted when they leave the inventory. Of the others,
	// what hosts may rely on by now (packages, kernel parameters, the host's name)
	// or what may hold data (directories) is only forgotten; the rest is
	// remembered by no state.
	Removable bool
	// Shared kinds may be asked for by several components of one host, whose
	// edges are joined.
	Shared bool
	// RecordAtOnce kinds take so long, or disturb so much, that they must not be
	// repeated after a crash: the host's state is written right after each.
	RecordAtOnce bool
	// StartedBy is the action that starts a program anew, for kinds that are
	// programs. They are deleted before what they use and what they would make
	// again. "" for all others, static pods among them, which end when the kubelet
	// sees that their file is gone.
	StartedBy Action

	// CutsOff kinds may cut the operator off from the host: such a step is armed
	// (see plan.Item.Armed). Programs that may are told by name.
	CutsOff bool

	// What carries packets between the pods of different hosts, whatever network
	// it belongs to. Programs that do so are told by name (see package plan).
	CarriesPods bool
	// Remade kinds come again as long as a program that makes them runs, on their
	// own host or, for those of the cluster, on any: they are deleted after it.
	Remade bool
	// Outlasts is for what other hosts may still send packets to, or read, when
	// their own host is done with it: it is deleted when every host is.
	Outlasts bool
}

// Program reports whether the kind is a program that runs.
func (d Descriptor) Program() bool { return d.StartedBy != "" }

// descriptors has one line a kind.
var descriptors = index(
	Descriptor{Kind: KindFile, Removable: true},
	Descriptor{Kind: KindDirectory, Shared: true},
	Descriptor{Kind: KindBlock, Removable: true},
	Descriptor{Kind: KindAuthorityFile, Removable: true},
	Descriptor{Kind: KindCertificate, Removable: true},
	Descriptor{Kind: KindRotatedCertificate, Removable: true},
	Descriptor{Kind: KindUnit, Removable: true, RecordAtOnce: true, StartedBy: Restart},
	Descriptor{Kind: KindStaticPod, Removable: true},
	Descriptor{Kind: KindArtifact, Removable: true, RecordAtOnce: true},
	Descriptor{Kind: KindImage, Removable: true},
	Descriptor{Kind: KindHostname, CutsOff: true},
	Descriptor{Kind: KindSwap},
	Descriptor{Kind: KindSysctl, CutsOff: true},
	Descriptor{Kind: KindModule, Shared: true},
	Descriptor{Kind: KindPackage, Shared: true},
	Descriptor{Kind: KindRoute, Removable: true, CutsOff: true, CarriesPods: true},
	Descriptor{Kind: KindStaticRoutes, Removable: true, CutsOff: true, CarriesPods: true},
	Descriptor{Kind: KindInterimRoutes, CutsOff: true},
	Descriptor{Kind: KindDynamicRoutes, Removable: true, CutsOff: true, CarriesPods: true, Remade: true},
	Descriptor{Kind: KindFirewallRule, Removable: true, CutsOff: true},
	Descriptor{Kind: KindSwitch, Removable: true, CutsOff: true, CarriesPods: true, Remade: true, Outlasts: true},
	Descriptor{Kind: KindLink, Removable: true, CutsOff: true, CarriesPods: true, Remade: true, Outlasts: true},
	Descriptor{Kind: KindPodMTU},
	Descriptor{Kind: KindEtcdData},
	Descriptor{Kind: KindContainers},
	Descriptor{Kind: KindJoined},
	Descriptor{Kind: KindServingCertificate},

	Descriptor{Kind: KindAuthority, Scope: ScopeOperator},
	Descriptor{Kind: KindLockFile, Scope: ScopeOperator},

	Descriptor{Kind: KindNode, Scope: ScopeCluster, Removable: true},
	Descriptor{Kind: KindObject, Scope: ScopeCluster, Removable: true, StartedBy: Update},
	Descriptor{Kind: KindEtcdKeys, Scope: ScopeCluster, Removable: true, CarriesPods: true, Remade: true, Outlasts: true},
	Descriptor{Kind: KindGate, Scope: ScopeCluster},
	Descriptor{Kind: KindEtcdLearner, Scope: ScopeCluster},
	Descriptor{Kind: KindEtcdVoter, Scope: ScopeCluster},
	Descriptor{Kind: KindEtcdMember, Scope: ScopeCluster},
	Descriptor{Kind: KindDrain, Scope: ScopeCluster},
	Descriptor{Kind: KindHost, Scope: ScopeKeepers, Removable: true},
)

func index(all ...Descriptor) map[Kind]Descriptor {
	byKind := map[Kind]Descriptor{}
	for _, d := range all {
		if _, twice := byKind[d.Kind]; twice {
			panic("resource: kind " + string(d.Kind) + " described twice")
		}
		byKind[d.Kind] = d
	}
	return byKind
}

// Describe returns what has to be known of a kind; false for one that is not
// known, as the state of a host that another version worked on may have.
func Describe(kind Kind) (Descriptor, bool) {
	d, ok := descriptors[kind]
	return d, ok
}

// Kinds returns the descriptors of all kinds, sorted by kind.
func Kinds() []Descriptor {
	return slices.SortedFunc(maps.Values(descriptors), func(a, b Descriptor) int { return cmp.Compare(a.Kind, b.Kind) })
}

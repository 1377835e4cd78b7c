// Package fact holds the questions kinstall puts to a host and the answers it
// gets: plain data, without any way of asking.
//
// A resource names its Queries; the union of all queries of a host is asked
// in one exec; the answers form a Set. An answer that did not arrive is an
// error for whoever needs it, never "absent": a Set tells "was not observed"
// (ErrNotObserved) apart from "was observed and is not there" (Exists false).
package fact

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Kind says what a Query asks about.
type Kind string

// The kinds of questions. All but the last five are answered by the host's own
// probe; Node, Object and Deprecated by the cluster's API servers, Etcd and
// EtcdMembers by its etcd.
const (
	KindFile     Kind = "file"     // Name: absolute path (file, directory or link)
	KindUnit     Kind = "unit"     // Name: systemd unit with suffix
	KindPackage  Kind = "package"  // Name: distribution package
	KindSysctl   Kind = "sysctl"   // Name: dotted key
	KindModule   Kind = "module"   // Name: kernel module
	KindRoute    Kind = "route"    // Name: destination prefix, or RouteOfMetric's
	KindRoutes   Kind = "routes"   // Name: RoutesOfMetric's
	KindFirewall Kind = "firewall" // Name: iptables rule specification, see resource.FirewallRule
	KindSwitch   Kind = "switch"   // Name: bridge of Open vSwitch
	KindImage    Kind = "image"    // Name: image reference in containerd's k8s.io namespace
	// KindDockerImage's Name is an image reference as Docker takes it.
	KindDockerImage Kind = "dockerimage"
	KindPath        Kind = "path"     // Name: another host's IP address
	KindNeighbor    Kind = "neighbor" // Name: an IP address that may be in use
	// KindEtcdData's Name is the directory with a member's write-ahead log.
	KindEtcdData Kind = "etcddata"
	// KindCertificates' Name is the path of a file in PEM that may hold a key, too.
	KindCertificates Kind = "certificates"
	// KindStaticPod's Name is that of the pod in its manifest: "kube-apiserver".
	KindStaticPod Kind = "staticpod"
	KindNode      Kind = "node"   // Name: Kubernetes node
	KindObject    Kind = "object" // Name: GROUP/VERSION/KIND/NAMESPACE/NAME
	KindEtcd      Kind = "etcd"   // Name: prefix of keys, with a slash at its end
	// KindEtcdMembers has no name: there is one list.
	KindEtcdMembers Kind = "etcdmembers"
	// KindDeprecated's Name is the host of an API server.
	KindDeprecated Kind = "deprecated"
)

// Query is one question. The zero values of the optional fields ask for the least.
type Query struct {
	Kind Kind
	Name string
	// WantSHA256 (file) is the lower-case hex digest of the wanted content. The
	// content comes back only when it differs. (routes) That of all routes' lines,
	// "DESTINATION via GATEWAY" and a newline, in the order of their bytes, those
	// in Args included. The routes come back only when it differs.
	WantSHA256 string
	// Content (file) asks for the content. Never set for a secret.
	Content bool
	// Block (file) makes WantSHA256 that of kinstall's block in the file, marker
	// lines included, instead of the whole file's.
	Block bool
	// Trusted (file) allows a digest recorded on the host to stand in for
	// reading the file when its size, mtime, ctime and inode are those at the
	// time of recording: for binaries of a hundred megabytes.
	Trusted bool
	// Args (firewall) are the words of the rule, after -C CHAIN; (switch) the path
	// of the file with the wanted flows, if they are to be compared; (static pod)
	// the pod's namespace and the node's name, which its own ends with; (routes)
	// lines that count as found.
	Args []string
	// Size (path) is that of a packet, its IP header included, in bytes.
	Size int
	// Pods (node) asks for the pods on it that a drain would evict.
	Pods bool
	// Manifest (object) is the wanted object as JSON, for the server-side dry run.
	Manifest []byte
}

// Key identifies what a query is about; queries with equal keys are merged.
type Key struct {
	Kind Kind
	Name string
}

// Key returns the query's key.
func (q Query) Key() Key { return Key{q.Kind, q.Name} }

// File is the answer to a file query.
type File struct {
	Exists bool
	Type   string // "file", "directory", "link" or "other"
	Mode   uint32 // permission bits with setuid, setgid, sticky: 0o7777
	Owner  string // user name, or number where there is no name
	Group  string
	Size   int64
	SHA256 string // of a regular file
	// Content is set when it was asked for and the digest differs from the
	// wanted one; HasContent tells an empty file from none.
	Content    []byte
	HasContent bool
	// ContentLeftOut is set when it was asked for, differs, and is too large to be
	// fetched.
	ContentLeftOut bool
	// BlockAsWanted is set when a block was asked about, and is as wanted.
	BlockAsWanted bool
	Target        string // of a link
	// MTime is when the content was last written, CTime when the file was last
	// written, put in place (by a rename) or changed in its attributes: the host's
	// clock, both.
	MTime, CTime time.Time
}

// Package is the answer to a package query.
type Package struct {
	Installed bool
	Version   string
}

// Path is the answer to a path query: what pings that may not be divided on
// their way say of it. A host that answers none of them, or can't ask, has
// Answers false.
type Path struct {
	Answers bool // small packets come back
	Fits    bool // packets of the size asked about do
	Largest int  // that came back, if those don't; 0 if not known
}

// Neighbor is the answer to a neighbor query.
type Neighbor struct {
	// MAC of the machine that has the address on a link of the host's, "" if no
	// machine has it, or the host itself.
	MAC string
}

// Value is the answer to a sysctl, module or firewall query.
type Value struct {
	Exists bool
	Value  string
}

// Loadable is the value of a module that is not there and could be loaded.
const Loadable = "loadable"

// Unlisted is the value of a module that is not seen on a host that keeps no
// list of what is built into its kernel.
const Unlisted = "unlisted"

// Route is the answer to a route query: what `ip route show exact PREFIX` says.
type Route struct {
	Exists bool
	Via    string // next hop; "" for a directly connected network
	Device string
}

// RouteOfMetric names the route to a destination that has that metric, whatever
// others there are. A bare destination names the one packets take.
func RouteOfMetric(destination string, metric int) string {
	return fmt.Sprintf("%s metric %d", destination, metric)
}

// RoutesOfMetric names all routes of the main table that have a metric, of both
// families.
func RoutesOfMetric(metric int) string { return fmt.Sprintf("metric %d", metric) }

// Routes is the answer to a routes query.
type Routes struct {
	AsWanted bool        // they are; Routes is then empty
	Routes   []HostRoute // whatever has the metric
}

// Switch is the answer to a switch query.
type Switch struct {
	Exists   bool // false as well while Open vSwitch is not there or does not answer
	Datapath string
	FailMode string
	Ports    map[string]SwitchPort // by name
	// Flows are the differences between the flows in force and those of the file,
	// as ovs-ofctl diff-flows writes them: "-" and a flow that is not in the file,
	// "+" and one that is not in the switch. Or the one line that says why they
	// can't be compared.
	Flows []string
}

// SwitchPort is a port of a switch. Error is Open vSwitch's word on why it does
// not work.
type SwitchPort struct {
	Type    string
	Options map[string]string
	Error   string
}

// Image is the answer to an image query.
type Image struct {
	// Observable is false when containerd or Docker does not answer yet.
	Observable bool
	Exists     bool
	Digest     string // target digest or, of Docker, the image's ID: "sha256:…"
}

// Taint of a node.
type Taint struct {
	Key    string
	Value  string
	Effect string
}

// Node is the answer to a node query.
type Node struct {
	Exists      bool
	Labels      map[string]string
	Annotations map[string]string
	Taints      []Taint
	PodCIDRs    []string
	// Unschedulable says that it is cordoned: no new pods come to it. Cordon is
	// why kinstall did that, "" where somebody else did.
	Unschedulable bool
	Cordon        string
	// Pods are those that a drain would evict, sorted; only if asked for.
	Pods []NodePod
	// Ready is what the node's condition of that name says, Reason and Message why.
	Ready           bool
	Reason, Message string
	// Heartbeat is when the kubelet last said that it is there, by its own clock.
	Heartbeat time.Time
	// Kubelet is the version of the kubelet that registered it last, without v;
	// "" if it has not said so yet.
	Kubelet string
}

// NodePod is a pod on a node that a drain would evict.
type NodePod struct {
	Namespace, Name string
	// Bare says that no controller would make it again elsewhere, EmptyDir that it
	// has data in an emptyDir volume, which end with it.
	Bare, EmptyDir bool
}

// String is the pod's name with its namespace: "default/web-1".
func (p NodePod) String() string { return p.Namespace + "/" + p.Name }

// Trouble says why a node is not ready, "" if it is.
func (n Node) Trouble() string {
	switch {
	case n.Ready:
		return ""
	case n.Message != "":
		return "NotReady: " + n.Message
	case n.Reason != "":
		return "NotReady: " + n.Reason
	}
	return "NotReady: the kubelet has not reported its status"
}

// Object is the answer to an object query: YAML without the fields the server
// manages, as it is and as a server-side apply would make it.
type Object struct {
	Exists  bool
	Live    string
	Planned string
	// Refused is why the server would not take it, as it is now; Planned is then
	// empty.
	Refused string
	// Managed says that kinstall owns fields of it; Applied is the digest of the
	// manifest it applied last, "" where an older kinstall did not write it down.
	Managed bool
	Applied string
	// Differences are what an apply would change: by path ("spec.ports.0.port"),
	// a digest of the value before and after.
	Differences map[string]string
}

// Etcd is the answer to a query of keys.
type Etcd struct {
	Keys map[string]string // by whole key
}

// DeprecatedAPI is one that will be gone in a later release.
type DeprecatedAPI struct {
	Group, Version, Resource string // Group is "" for the core's
	Removed                  string // the first release without it: "1.36"
}

// String is the API's name: "flowschemas.v1beta3.flowcontrol.apiserver.k8s.io".
func (a DeprecatedAPI) String() string {
	name := a.Resource + "." + a.Version
	if a.Group != "" {
		name += "." + a.Group
	}
	return name
}

// Deprecated is the answer to a query of deprecated APIs: those which somebody
// asked one API server for since it was started, sorted. Err is why that is not
// known.
type Deprecated struct {
	APIs []DeprecatedAPI
	Err  string
}

// EtcdMember is an entry of etcd's own list of members.
type EtcdMember struct {
	ID       uint64
	Name     string   // "" of one that was added and has never started
	PeerURLs []string // "https://10.27.53.32:2380"
	// ClientURLs are empty until the member has served for the first time: it
	// tells the others then.
	ClientURLs []string
	Learner    bool
	// Healthy says that the member answered for itself, and knows a leader. One
	// that was not asked is not.
	Healthy bool
}

// EtcdMembers is etcd's list of members, sorted by name and ID.
type EtcdMembers struct {
	Members   []EtcdMember
	ClusterID uint64 // 0 if it is not known
	Leader    uint64 // the ID of the member that leads, 0 for none
	// Quorum says that a quorum stands behind the list. Else it is what one
	// member knew last.
	Quorum bool
}

// Certificates is the answer to a query of the certificates in a file: what else
// is in it, as their private key, stays on the host.
type Certificates struct {
	Exists bool // the file, or where it leads
	Link   bool // the path is that of a symbolic link
	PEM    []byte
}

// EtcdData is the answer to a query of a member's data: whose it is, by the
// first records of its write-ahead log. Both are 0 where there is no log.
type EtcdData struct {
	MemberID, ClusterID uint64
}

// Known reports whether there is data that says whose it is.
func (d EtcdData) Known() bool { return d.MemberID != 0 }

// Host is what is learnt about every host, asked for or not.
type Host struct {
	Hostname     string
	Time         time.Time // the host's clock when the probe began
	OS           string    // ID of os-release: "debian"
	OSVersion    string    // VERSION_ID
	OSName       string    // PRETTY_NAME
	Kernel       string
	Architecture string // dpkg's or uname's word, normalised to Go's: "amd64"
	MachineID    string
	CPUs         int
	MemoryBytes  int64
	SwapActive   []string         // devices and files in use, from /proc/swaps
	CgroupV2     bool             // /sys/fs/cgroup is the unified hierarchy
	DiskFree     map[string]int64 // bytes free at /, /var/lib, /var/tmp
	Listening    map[int]string   // TCP port → process name ("" if unknown)
	ListeningUDP map[int]string   // UDP port → process name ("": unknown, or the kernel)
	Addresses    []string         // the host's own IP addresses
	// Interfaces are those of the host with their IPv4 addresses and prefix
	// lengths: "docker0" → "10.1.10.1/24".
	Interfaces map[string][]string
	Networks   []string        // prefixes of those: what is reached without a router
	Links      map[string]Link // all interfaces, by name
	// Holders are the interfaces by their addresses, of both families.
	Holders map[string]string
	// Interface and MTU are those that carry the address the inventory names.
	Interface string
	MTU       int
	Routes    []HostRoute // the main table's, IPv4
	// Sysctls are the assignments in the files that set kernel parameters at
	// boot, in the order in which they take effect (sysctl.d(5)).
	Sysctls []SysctlLine
	// Duplicate is the MAC address of another machine that answers for the
	// host's own address, "" if none does or it was not asked (arping is not
	// there, or the host is installed).
	Duplicate string
	State     State
	// BootID is the kernel's name for this boot, Uptime the time since it began,
	// when Time was read, to a hundredth of a second.
	BootID string
	Uptime time.Duration
}

// Link is a network interface.
type Link struct {
	MTU    int
	Master string // the bridge it is a port of, or ""
}

// HostRoute is an entry of a routing table.
type HostRoute struct {
	Destination string // prefix
	Route
}

// SysctlLine is an assignment in a file. Key has dots for separators.
type SysctlLine struct {
	File, Key, Value string
}

// ErrNotObserved is returned for a question that was not put or not answered.
var ErrNotObserved = errors.New("not observed")

// Set holds the answers of one host (or of the cluster's API).
type Set struct {
	Host    Host
	answers map[Key]any
	// concluded is nil unless conclusions are kept, see Remembering.
	concluded map[string]any
}

// NewSet returns an empty set for a host.
func NewSet(host Host) Set { return Set{Host: host, answers: map[Key]any{}} }

// Put records an answer; value is one of this package's answer types and must
// fit the kind. For the observer and for tests.
func (s Set) Put(key Key, value any) { s.answers[key] = value }

// Has reports whether a question was answered.
func (s Set) Has(key Key) bool {
	_, ok := s.answers[key]
	return ok
}

// Remembering returns the set with a memory of what Conclude found, for one
// goroutine and as long as no answer is added.
func (s Set) Remembering() Set {
	s.concluded = map[string]any{}
	return s
}

// Conclude returns what a set's answers say of something, by a name that stands for
// it and for how: found once where the set remembers, since several resources may
// ask.
func Conclude[T any](s Set, name string, how func() T) T {
	if known, ok := s.concluded[name].(T); ok {
		return known
	}
	found := how()
	if s.concluded != nil {
		s.concluded[name] = found
	}
	return found
}

// Len is the number of answers.
func (s Set) Len() int { return len(s.answers) }

// get takes the answers alone: what is known of the host is much to be copied for
// each of them.
func get[T any](answers map[Key]any, kind Kind, name string) (T, error) {
	var zero T
	value, ok := answers[Key{kind, name}]
	if !ok {
		return zero, fmt.Errorf("%s %s: %w", kind, name, ErrNotObserved)
	}
	answer, ok := value.(T)
	if !ok {
		return zero, fmt.Errorf("%s %s: answer has type %T", kind, name, value)
	}
	return answer, nil
}

// File returns the answer about a path.
func (s Set) File(path string) (File, error) { return get[File](s.answers, KindFile, path) }

// Unit returns the answer about a systemd unit.
func (s Set) Unit(name string) (Unit, error) { return get[Unit](s.answers, KindUnit, name) }

// Package returns the answer about a package.
func (s Set) Package(name string) (Package, error) { return get[Package](s.answers, KindPackage, name) }

// Sysctl returns the value of a kernel parameter.
func (s Set) Sysctl(key string) (Value, error) { return get[Value](s.answers, KindSysctl, key) }

// Path tells what packets reach another host.
func (s Set) Path(address string) (Path, error) { return get[Path](s.answers, KindPath, address) }

// Neighbor tells which machine of a link has an address.
func (s Set) Neighbor(address string) (Neighbor, error) {
	return get[Neighbor](s.answers, KindNeighbor, address)
}

// Module tells whether a kernel module is loaded or built in.
func (s Set) Module(name string) (Value, error) { return get[Value](s.answers, KindModule, name) }

// Route returns the answer about a destination.
func (s Set) Route(destination string) (Route, error) {
	return get[Route](s.answers, KindRoute, destination)
}

// Pod returns the answer about a static pod.
func (s Set) Pod(name string) (Pod, error) { return get[Pod](s.answers, KindStaticPod, name) }

// Routes returns the answer about all routes of a metric.
func (s Set) Routes(name string) (Routes, error) { return get[Routes](s.answers, KindRoutes, name) }

// Switch returns the answer about a bridge of Open vSwitch.
func (s Set) Switch(name string) (Switch, error) { return get[Switch](s.answers, KindSwitch, name) }

// Firewall tells whether a rule is there.
func (s Set) Firewall(name string) (Value, error) { return get[Value](s.answers, KindFirewall, name) }

// DockerImage returns the answer about an image of Docker.
func (s Set) DockerImage(ref string) (Image, error) {
	return get[Image](s.answers, KindDockerImage, ref)
}

// Image returns the answer about an image reference.
func (s Set) Image(ref string) (Image, error) { return get[Image](s.answers, KindImage, ref) }

// Node returns the answer about a Kubernetes node.
func (s Set) Node(name string) (Node, error) { return get[Node](s.answers, KindNode, name) }

// Object returns the answer about a Kubernetes object.
func (s Set) Object(name string) (Object, error) { return get[Object](s.answers, KindObject, name) }

// Etcd returns the keys below a prefix.
func (s Set) Etcd(prefix string) (Etcd, error) { return get[Etcd](s.answers, KindEtcd, prefix) }

// Deprecated returns what the API server of a host says of deprecated APIs.
func (s Set) Deprecated(host string) (Deprecated, error) {
	return get[Deprecated](s.answers, KindDeprecated, host)
}

// EtcdData tells whose data lies in a directory of write-ahead logs.
func (s Set) EtcdData(directory string) (EtcdData, error) {
	return get[EtcdData](s.answers, KindEtcdData, directory)
}

// Certificates tells which certificates are in a file.
func (s Set) Certificates(path string) (Certificates, error) {
	return get[Certificates](s.answers, KindCertificates, path)
}

// With returns the set with another answer in place of one.
func (s Set) With(key Key, value any) Set {
	other := Set{Host: s.Host, answers: maps.Clone(s.answers)}
	other.answers[key] = value
	return other
}

// EtcdMembersKey is where the list of etcd's members is put.
var EtcdMembersKey = Key{Kind: KindEtcdMembers}

// EtcdMembers returns etcd's list of members; it is not observed where etcd
// does not answer.
func (s Set) EtcdMembers() (EtcdMembers, error) {
	return get[EtcdMembers](s.answers, KindEtcdMembers, "")
}

// Merge returns the union of queries by key, sorted by kind and name. Of two
// file queries about one path the one that wants more wins.
func Merge(queries []Query) []Query {
	all := make([]*Query, len(queries)) // they are large to be moved about
	for i := range queries {
		all[i] = &queries[i]
	}
	slices.SortStableFunc(all, func(a, b *Query) int {
		if c := cmp.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		return cmp.Compare(a.Name, b.Name)
	})
	merged := make([]Query, 0, len(queries))
	for _, next := range all {
		q := *next
		last := len(merged) - 1
		if last < 0 || merged[last].Key() != q.Key() {
			merged = append(merged, q)
			continue
		}
		old := merged[last]
		if q.Block != old.Block { // who wants the whole file wants its content whatever the block says
			q.Block, q.WantSHA256, old.WantSHA256 = false, "", ""
		}
		q.Content = q.Content || old.Content
		q.Trusted = q.Trusted && old.Trusted
		q.Pods = q.Pods || old.Pods
		if q.WantSHA256 == "" {
			q.WantSHA256 = old.WantSHA256
		}
		merged[last] = q
	}
	return merged
}

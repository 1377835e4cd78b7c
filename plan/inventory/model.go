// Package inventory turns an HCL file into an Inventory: decoded, defaulted
// and validated. It knows nothing of hosts beyond what the user wrote; nothing
// learnt from a machine ever flows back into it.
//
// Load reports every mistake at once as hcl.Diagnostics, each with its source
// range and a hint. An Inventory that Load returned without an error is
// complete: every default is filled in, every reference resolves, every
// value has passed its grammar, so that later stages need not check again.
// It is immutable from then on.
package inventory

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Roles a host may have. A host may have several; "worker" is the role of a
// host that runs a kubelet without being a master, "container" that of one that
// runs containers without Kubernetes: a runtime and the network, no kubelet.
const (
	RoleEtcd      = "etcd"
	RoleMaster    = "master"
	RoleWorker    = "worker"
	RoleContainer = "container"
)

// The states of a host that is a node.
const (
	StateActive   = "active"   // pods come and go
	StateCordoned = "cordoned" // no new pods come
	StateDrained  = "drained"  // and those that are there are evicted
)

// Inventory is the whole of what the user asked for.
type Inventory struct {
	// Path is the file it was read from; Dir is its directory, against which
	// relative paths were resolved and beside which pki/ and the lock file lie.
	Path string
	Dir  string

	Cluster           Cluster
	SSH               SSH // defaults for every host
	Etcd              Etcd
	Network           Network
	Runtime           Runtime
	LoadBalancer      *LoadBalancer // nil: the endpoint is provided from outside, or is a master
	Artifacts         Artifacts
	PKI               PKI
	APIServer         Component
	Audit             *Audit // nil: the API servers write no audit log
	Admission         Admission
	ControllerManager Component
	Scheduler         Component
	Kubelet           Kubelet
	KubeProxy         KubeProxy
	DNS               DNS
	Preparation       Preparation
	Rollout           Rollout

	// Hosts in the order of the file, groups expanded in place.
	Hosts []Host
}

// Cluster is the `cluster "NAME"` block.
type Cluster struct {
	Name     string // RFC 1123 label
	Version  string // Kubernetes version without the leading v: "1.36.3"; may be "" where there is no Kubernetes
	Endpoint Endpoint
	PodCIDR  netip.Prefix // default 10.244.0.0/16
	// PodSubnetSize is the prefix length of one host's part of PodCIDR; default 24.
	PodSubnetSize int
	ServiceCIDR   netip.Prefix // default 10.96.0.0/12
	// PodCIDRv6, PodSubnetSizeV6 (default 64) and ServiceCIDRv6 are those of the
	// second address family; all unset in a cluster of one.
	PodCIDRv6       netip.Prefix
	PodSubnetSizeV6 int
	ServiceCIDRv6   netip.Prefix
	Domain          string // DNS domain of services; default "cluster.local"
	// CertSANs are extra names and addresses for every API server certificate.
	CertSANs []string
	// CertValidity of leaf certificates (default 8760h), CertRenewBefore the
	// window before expiry in which a plan renews them (default 720h), and
	// CAValidity that of authorities (default 87600h).
	CertValidity    time.Duration
	CertRenewBefore time.Duration
	CAValidity      time.Duration
	// Hardening is how much of the table of package hardening is seen to:
	// HardeningCIS (default) | HardeningBaseline.
	Hardening string
	// FeatureGates of all of Kubernetes' programs: name → "true" or "false".
	FeatureGates map[string]string
}

// The levels of hardening.
const (
	HardeningCIS      = "cis"
	HardeningBaseline = "baseline"
)

// Audit is the `audit` block: what the API servers write down of each request,
// and where.
type Audit struct {
	// Enabled is false to have no audit log though the level of hardening wants one.
	Enabled bool
	// PolicyFile is an audit.k8s.io/v1 Policy on the operator's machine, absolute;
	// "": kinstall's own.
	PolicyFile string
	// LogPath on the masters; MaxAge in days, MaxBackups in files and MaxSize in
	// megabytes bound what is kept.
	LogPath                     string
	MaxAge, MaxBackups, MaxSize int
	// WebhookFile is a kubeconfig on the operator's machine that says where
	// events are sent, too; "": nowhere.
	WebhookFile string
}

// Admission is the `admission` block.
type Admission struct {
	// Enable and Disable are names of admission plugins, beside the defaults.
	Enable, Disable []string
	// ConfigFile is an AdmissionConfiguration on the operator's machine; "": none.
	ConfigFile  string
	PodSecurity *PodSecurity // nil: what namespaces say themselves
}

// PodSecurity is the `pod_security` block: the Pod Security Standards of namespaces
// that say nothing themselves. Each is "privileged", "baseline" or "restricted".
type PodSecurity struct {
	Enforce, Audit, Warn string
	// ExemptNamespaces are not judged, beside kube-system.
	ExemptNamespaces []string
}

// Endpoint is what every client of the API dials.
type Endpoint struct {
	Host string // DNS name or IP address
	Port int
	// Address is where Host leads: the load balancer's address, or Host itself
	// when it is an IP address. When Host is a name, every host gets a line for
	// it in the managed block of /etc/hosts. Invalid (zero) when the name is
	// expected to resolve by itself.
	Address netip.Addr
}

// SSH says how to reach a host. In Host.SSH every field is resolved.
type SSH struct {
	User        string        // default "root"
	Port        int           // default 22
	KeyFiles    []string      // "~" expanded, absolute
	Agent       bool          // use SSH_AUTH_SOCK; default: true when no key file is given
	KnownHosts  string        // absolute; default ~/.ssh/known_hosts
	Fingerprint string        // "SHA256:…" of the host key, per host
	Become      bool          // run privileged work through sudo -n; default: User is not root
	Bastion     *Bastion      // jump host, or nil
	Timeout     time.Duration // of one connection attempt; default 10s
}

// Bastion is the `bastion` block inside `ssh`: a jump host, verified like any other.
type Bastion struct {
	Address     string // IP address or DNS name
	Port        int
	User        string
	KeyFiles    []string
	KnownHosts  string
	Fingerprint string
}

// Component carries what a user adds to a Kubernetes component.
type Component struct {
	// Args are extra command line flags, name without dashes → value. They win
	// over kinstall's own; flags that would break the cluster's promises are
	// refused in validation.
	Args map[string]string
}

// Etcd is the `etcd` block.
type Etcd struct {
	Version string // without v; default: the version the Kubernetes minor was tested with
	DataDir string // default /var/lib/etcd
	Args    map[string]string
}

// How kubelets come by the certificates by which they are known to the API.
const (
	CertificatesPlanned = "planned" // kinstall issues and renews them
	CertificatesRotated = "rotated" // kubelets renew them through the API
	// CertificatesRequested: kubelets ask for them through the API, and kinstall
	// approves of that.
	CertificatesRequested = "requested"
)

// Kubelet is the `kubelet` block.
type Kubelet struct {
	// Certificates: CertificatesPlanned (default) | CertificatesRotated.
	Certificates string
	// ServingCertificates: CertificatesPlanned (default) | CertificatesRequested.
	ServingCertificates string
	Args                map[string]string
	Settings            map[string]any // merged over the generated KubeletConfiguration (JSON-like values)
}

// KubeProxy is the `kube_proxy` block.
type KubeProxy struct {
	Mode     string // iptables | nftables | ipvs | none; default iptables
	Settings map[string]any
}

// The kinds of networks.
const (
	NetworkRoutes      = "routes"      // static routes between the nodes' bridges
	NetworkFlannel     = "flannel"     // flannel between them
	NetworkBird        = "bird"        // routes learnt by OSPF or BGP
	NetworkOpenVSwitch = "openvswitch" // tunnels between Open vSwitch bridges
	NetworkExternal    = "external"    // none of kinstall's
)

// NetworkKinds are all kinds of networks, in the order they are told of.
func NetworkKinds() []string {
	return []string{NetworkRoutes, NetworkFlannel, NetworkBird, NetworkOpenVSwitch, NetworkExternal}
}

// What the attributes of networks may say.
const (
	FlannelVXLAN    = "vxlan"
	FlannelHostGW   = "host-gw"
	StoreKubernetes = "kubernetes"
	StoreEtcd       = "etcd"
	BirdOSPF        = "ospf"
	BirdBGP         = "bgp"

	TunnelVXLAN       = "vxlan"
	TunnelGRE         = "gre"
	DatapathKernel    = "kernel"
	DatapathUserspace = "userspace"
)

// Network is the `network "KIND"` block.
type Network struct {
	Kind string
	// MTU of the pod interfaces; 0: the kernel's default, 1500.
	MTU int
	// Backend (FlannelVXLAN | FlannelHostGW), Store (StoreKubernetes |
	// StoreEtcd) and Version, without v, are flannel's.
	Backend, Store, Version string
	// Mode (BirdOSPF | BirdBGP) and ASN, of BirdBGP, are bird's.
	Mode string
	ASN  int
	// Tunnel (TunnelVXLAN | TunnelGRE) and Datapath (DatapathKernel |
	// DatapathUserspace) are Open vSwitch's. Interface is the hosts' that a
	// userspace datapath sends tunnels through.
	Tunnel, Datapath, Interface string
}

// Bridged reports whether the network is kinstall's: a bridge on every node
// that has the node's subnet, and something between the bridges.
func (n Network) Bridged() bool { return n.Kind != NetworkExternal }

// PodMTU is the MTU of the pods' interfaces, whether it was chosen or not.
func (n Network) PodMTU() int { return cmp.Or(n.MTU, ethernetMTU) }

// What a tunnel adds to a packet: the outer IPv4 or IPv6 header, the tunnel's own
// (UDP and VXLAN, RFC 7348; GRE without a key, RFC 2784) and the inner Ethernet
// header.
const (
	vxlanOverhead   = 50
	vxlanOverheadV6 = 70
	greOverhead     = 38
)

// Overhead is what the network adds to each packet between nodes, in bytes.
// Where IPv6 travels in a VXLAN of its own, it is that one's, which is larger:
// an interface of a pod has one MTU for both.
func (inv *Inventory) Overhead() int {
	switch n := inv.Network; {
	case n.Kind == NetworkOpenVSwitch && n.Tunnel == TunnelGRE:
		return greOverhead
	case n.Kind == NetworkFlannel && n.Backend == FlannelVXLAN && inv.DualStack():
		return vxlanOverheadV6
	case n.Kind == NetworkFlannel && n.Backend == FlannelVXLAN, n.Kind == NetworkOpenVSwitch && n.Tunnel == TunnelVXLAN:
		return vxlanOverhead
	}
	return 0
}

// Direct reports whether nodes hand packets of pods to each other themselves,
// so that no router may stand between them.
func (n Network) Direct() bool {
	return n.Kind == NetworkRoutes || n.Kind == NetworkFlannel && n.Backend == FlannelHostGW || n.Kind == NetworkBird && n.Mode == BirdBGP
}

// The kinds of runtimes.
const (
	RuntimeContainerd = "containerd"
	RuntimeDocker     = "docker"
)

// RuntimeKinds are all kinds of runtimes, in the order they are told of.
func RuntimeKinds() []string { return []string{RuntimeContainerd, RuntimeDocker} }

// Who makes the control groups of containers.
const (
	CgroupSystemd = "systemd"
	CgroupFS      = "cgroupfs"
)

// Runtime is the `runtime "KIND"` block.
type Runtime struct {
	Kind         string // RuntimeContainerd | RuntimeDocker
	Version      string // containerd's or Docker's, without v; "": Docker's Package
	RuncVersion  string
	CNIVersion   string // of the CNI plugins
	SandboxImage string // default registry.k8s.io/pause:3.10.1
	// CgroupDriver of runtime and kubelet: CgroupSystemd (default) | CgroupFS.
	CgroupDriver string
	// Settings are merged over the generated config.toml or daemon.json.
	Settings   map[string]any
	Proxy      *Proxy      // nil: registries are asked directly
	Registries []*Registry // in the order of the file

	// The rest is RuntimeDocker's.

	Package           string // of the distribution: default docker.io; "": Version
	CRIDockerdVersion string // without v
	// LogMaxSize and LogMaxFile bound the logs of one container: the size of a
	// file with its unit ("10m") and the number of files.
	LogMaxSize string
	LogMaxFile int
	// LiveRestore keeps containers running while dockerd restarts.
	LiveRestore bool
}

// Registry returns what the inventory says of a registry, nil if nothing.
func (r Runtime) Registry(name string) *Registry {
	for _, registry := range r.Registries {
		if registry.Name == name {
			return registry
		}
	}
	return nil
}

// Proxy is the `proxy` block of the runtime: how it reaches registries.
type Proxy struct {
	HTTP, HTTPS string // URLs, "" for none
	// NoProxy are names, domains, addresses and networks that are dialled
	// directly, beside those of the cluster itself.
	NoProxy []string
}

// DockerHub is the registry of images whose name says no other.
const DockerHub = "docker.io"

// Registry is a `registry "HOST"` block of the runtime.
type Registry struct {
	Name    string   // as in image references: "registry.example.com:5000"
	Mirrors []string // URLs, asked in this order before the registry itself
	CAFile  string   // absolute path on this machine; "" means the hosts' own authorities
	// Username and PasswordFile log in; both or none are set. The file lies on
	// this machine; its content is no part of an Inventory.
	Username     string
	PasswordFile string
}

// The kinds of load balancers.
const (
	BalancerNginx    = "nginx"    // nginx with its stream module, on some hosts
	BalancerHAProxy  = "haproxy"  // HAProxy in TCP mode, on some hosts
	BalancerLocal    = "local"    // HAProxy on each node, for that node's own programs
	BalancerExternal = "external" // the user's own: kinstall installs none
)

// BalancerKinds are all kinds of load balancers.
func BalancerKinds() []string { return append(installedBalancers(), BalancerExternal) }

// installedBalancers are the kinds that kinstall installs.
func installedBalancers() []string { return append(sharedBalancers(), BalancerLocal) }

// sharedBalancers are the kinds that the hosts which the block names carry, for
// all others.
func sharedBalancers() []string { return []string{BalancerNginx, BalancerHAProxy} }

// LocalAddress is where each node's own balancer listens, with the kind local.
const LocalAddress = "127.0.0.1"

// LoadBalancer is the `load_balancer "KIND"` block.
type LoadBalancer struct {
	Kind  string   // one of BalancerKinds
	Hosts []string // names of hosts that carry it; none of the kinds local and external
	Port  int      // where it listens; default 8443, of the kind local 7443; 0 of the external kind
	// Weights of the API servers by their hosts' names, from 1 to 256; 1 for those
	// that are not named.
	Weights map[string]int
	Timeout time.Duration // after which a silent connection is closed; default 1h
	// VirtualAddress moves to another of Hosts when the one that has it fails;
	// invalid (zero) for none.
	VirtualAddress netip.Addr
	// Listeners are further services, in the order of the file.
	Listeners []*Listener
	// RouterID tells the hosts that share the virtual address from others on the
	// link (VRRP's VRID, 1 to 255); default: the last byte of the address.
	RouterID int
}

// Listener is a `listen "NAME"` block: a TCP service of the user's that the load
// balancer's hosts pass on.
type Listener struct {
	Name string // a DNS label
	Port int    // where the load balancer listens
	// TargetPort is where the targets do; default: Port.
	TargetPort int
	// Targets are the hosts with one of Roles (any, if there are none) and all of
	// Labels; with neither, all nodes.
	Roles  []string
	Labels map[string]string
}

// Takes reports whether a host is one of the targets.
func (l *Listener) Takes(h Host) bool {
	if len(l.Roles) == 0 && len(l.Labels) == 0 {
		return h.IsNode()
	}
	if len(l.Roles) > 0 && !slices.ContainsFunc(l.Roles, h.Has) {
		return false
	}
	for key, value := range l.Labels {
		if found, ok := h.Labels[key]; !ok || found != value {
			return false
		}
	}
	return true
}

// Artifacts is the `artifacts` block: where binaries and images come from.
type Artifacts struct {
	// Source is a directory (absolute path or file:// URL), an https:// URL
	// of a mirror, or "" for the official locations. A mirror holds what
	// `wget -x` of the official locations would give: HOST/PATH.
	Source string
	// CAFile verifies an https mirror; "" means the system's roots.
	CAFile string
	// SHA256 pins digests by artifact name ("kubelet", "etcd", "image/pause"),
	// over what the source's own checksum files say.
	SHA256 map[string]string
	// Images are further image archives to import on every node: image
	// reference → absolute path of the archive on the operator's machine.
	Images map[string]string
}

// PKI is the `pki` block.
type PKI struct {
	Dir string // absolute; default "pki" beside the inventory
	// KeyAlgorithm is what keys are made with, those of certificates and of
	// authorities that kinstall creates: "ecdsa-p256" (default) | "ecdsa-p384" |
	// "rsa-2048" | "rsa-3072" | "rsa-4096".
	KeyAlgorithm string
	// What the names of authorities say that kinstall creates, "" for nothing.
	Organization, OrganizationalUnit, Country, Province, Locality string
	Signers                                                       []*Signer   // in the order of the file
	Encryption                                                    *Encryption // nil: private keys lie in the clear
}

// Encryption is the `encryption` block of the PKI: how private keys in Dir are
// encrypted with age. Either Passphrase or the others are set.
type Encryption struct {
	Recipients   []string // age's public keys: "age1…"
	IdentityFile string   // absolute: by which this machine reads the keys
	Passphrase   bool     // asked for
	Place        string   // of the block, as FILE:LINE
}

// SignerOf returns who signs for an authority whose key is not kept in Dir,
// nil for one whose key is.
func (p PKI) SignerOf(authority string) *Signer {
	for _, s := range p.Signers {
		if slices.Contains(s.Authorities, authority) {
			return s
		}
	}
	return nil
}

// The kinds of signers.
const (
	SignerCFSSL   = "cfssl"   // a cfssl server
	SignerCommand = "command" // a program
)

// SignerKinds are all kinds of signers, in the order they are told of.
func SignerKinds() []string { return []string{SignerCFSSL, SignerCommand} }

// signedAuthorities are those that a signer may sign for: the pair that signs
// service accounts' tokens is no certificate authority.
func signedAuthorities() []string { return []string{"kubernetes", "etcd", "front-proxy"} }

// Signer is a `signer "KIND"` block of the PKI.
type Signer struct {
	Kind        string        // SignerCFSSL | SignerCommand
	Authorities []string      // which it signs for; default: all
	Timeout     time.Duration // of one certificate; default 30s

	// URL, Profile, AuthKeyFile and CAFile are SignerCFSSL's: where the server
	// is, by which of its profiles it signs ("": its default), the key that
	// requests are authenticated with, and who vouches for an https URL ("": the
	// system's authorities). The files lie on this machine; their content is no
	// part of an Inventory.
	URL, Profile, AuthKeyFile, CAFile string
	Command                           []string // SignerCommand's: program and arguments

	Dir   string // of the inventory, absolute: where a command runs
	Place string // of the block, as FILE:LINE
}

// DNS is the `dns` block: the cluster's name service.
type DNS struct {
	Kind    string // coredns | none; default coredns
	Version string // without v
	// Upstreams answer for names outside the cluster: IP addresses, with a port
	// if it is not 53. Default: those in the /etc/resolv.conf of the node the
	// name service happens to run on. The one word "none" leaves such names
	// unanswered, for clusters without a name server to ask.
	Upstreams []string
}

// Preparation is the `preparation` block: what kinstall may change of the hosts themselves.
type Preparation struct {
	SetHostname  bool              // default false: a differing hostname is an error
	Swap         string            // "off" (default: turned off and kept off) | "keep"
	MaxClockSkew time.Duration     // default 2s... compared between hosts
	Sysctls      map[string]string // additions
}

// Rollout is the `rollout` block: how changes of a living cluster go from host
// to host.
type Rollout struct {
	// Workers is how many workers are changed at a time once the first has been
	// seen to work. Default: 10%.
	Workers Batch
	// DrainTimeout is how long is waited for the pods of a node to end that is
	// drained. Default: 5 m.
	DrainTimeout time.Duration
}

// Batch is a number of hosts, or a share of them.
type Batch struct {
	Hosts   int // 0: Percent counts
	Percent int // 1 to 100
}

// Of is the number of hosts out of n: at least one.
func (b Batch) Of(n int) int {
	if b.Hosts > 0 {
		return b.Hosts
	}
	return max(1, n*b.Percent/100)
}

// String is the batch as it is written: "3" or "10%".
func (b Batch) String() string {
	if b.Hosts > 0 {
		return strconv.Itoa(b.Hosts)
	}
	return strconv.Itoa(b.Percent) + "%"
}

// Host is one machine.
type Host struct {
	Name    string // RFC 1123 subdomain, the node's name
	Address netip.Addr
	Roles   []string // sorted
	Labels  map[string]string
	Taints  []Taint
	// State says what may run on the node: StateActive (default), StateCordoned or
	// StateDrained; "" for a host that is no node.
	State string
	// PodSubnet fixes the host's part of the pod network; invalid (zero): allocated.
	PodSubnet netip.Prefix
	// AddressV6 and PodSubnetV6 are the same in a dual-stack cluster; every host
	// that runs containers has an AddressV6 there.
	AddressV6   netip.Addr
	PodSubnetV6 netip.Prefix
	// TunnelAddress is where the tunnels of NetworkOpenVSwitch end, with the length of
	// its network; invalid (zero): at Address.
	TunnelAddress netip.Prefix
	SSH           SSH
}

// TunnelEnd is the address that other hosts send tunnelled packets to.
func (h Host) TunnelEnd() netip.Addr {
	if h.TunnelAddress.IsValid() {
		return h.TunnelAddress.Addr()
	}
	return h.Address
}

// Taint is a node taint.
type Taint struct {
	Key, Value string
	Effect     string // NoSchedule | PreferNoSchedule | NoExecute
}

// Has reports whether the host has the role.
func (h Host) Has(role string) bool {
	for _, r := range h.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// IsNode reports whether the host runs a kubelet: masters and workers do, a
// host that is only an etcd member or load balancer does not.
func (h Host) IsNode() bool { return h.Has(RoleMaster) || h.Has(RoleWorker) }

// RunsContainers reports whether the host has a container runtime and a part of
// the pod network: nodes do, and hosts that run containers without Kubernetes.
func (h Host) RunsContainers() bool { return h.IsNode() || h.Has(RoleContainer) }

// With returns the hosts that have the role, in inventory order.
func (inv *Inventory) With(role string) []Host {
	return inv.those(func(h *Host) bool { return h.Has(role) })
}

// Nodes returns the hosts that run a kubelet, in inventory order.
func (inv *Inventory) Nodes() []Host {
	return inv.those(func(h *Host) bool { return h.IsNode() })
}

// ContainerHosts returns the hosts that have a container runtime, in inventory order.
func (inv *Inventory) ContainerHosts() []Host {
	return inv.those(func(h *Host) bool { return h.RunsContainers() })
}

// those returns the hosts that fit. A Host is large: none is copied to be
// looked at.
func (inv *Inventory) those(fit func(*Host) bool) []Host {
	count := 0
	for i := range inv.Hosts {
		if fit(&inv.Hosts[i]) {
			count++
		}
	}
	if count == 0 {
		return nil
	}
	hosts := make([]Host, 0, count)
	for i := range inv.Hosts {
		if h := &inv.Hosts[i]; fit(h) {
			hosts = append(hosts, *h)
		}
	}
	return hosts
}

// DualStack reports whether pods, services and hosts have IPv6 beside IPv4.
func (inv *Inventory) DualStack() bool { return inv.Cluster.PodCIDRv6.IsValid() }

// Kubernetes reports whether there is a Kubernetes cluster: without masters
// the hosts run containers and nothing else.
func (inv *Inventory) Kubernetes() bool {
	for i := range inv.Hosts {
		if inv.Hosts[i].Has(RoleMaster) {
			return true
		}
	}
	return false
}

// Host returns the host of that name.
func (inv *Inventory) Host(name string) (Host, bool) {
	for i := range inv.Hosts {
		if inv.Hosts[i].Name == name {
			return inv.Hosts[i], true
		}
	}
	return Host{}, false
}

// Balances reports whether the host carries a load balancer that others dial.
func (inv *Inventory) Balances(name string) bool {
	return inv.LoadBalancer != nil && slices.Contains(inv.LoadBalancer.Hosts, name)
}

// BalancesLocally reports whether each node has a load balancer of its own.
func (inv *Inventory) BalancesLocally() bool {
	return inv.LoadBalancer != nil && inv.LoadBalancer.Kind == BalancerLocal
}

// VirtualAddress is the address that the hosts of the load balancer share,
// invalid (zero) for none.
func (inv *Inventory) VirtualAddress() netip.Addr {
	if inv.LoadBalancer == nil {
		return netip.Addr{}
	}
	return inv.LoadBalancer.VirtualAddress
}

// Lock is inventory.lock.hcl beside the inventory: decisions a pure function
// of the inventory can't keep stable when hosts come and go, pinned in the
// open and fit for version control. The zero Lock is an absent file.
type Lock struct {
	// Subnets maps host name → its part of the pod network, SubnetsV6 that of
	// the second family.
	Subnets   map[string]netip.Prefix
	SubnetsV6 map[string]netip.Prefix
	// Artifacts maps an artifact's location (host/path as in a mirror) →
	// hex SHA-256.
	Artifacts map[string]string
}

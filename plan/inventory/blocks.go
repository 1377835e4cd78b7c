package inventory

import "time"

// schema is the root of the tree: the blocks of an inventory, in the order in
// which the canonical form and the reference list them. Its target is
// *Inventory, but for host, whose target is *hostDecl. variable and locals
// are decoded before everything else (variables.go); they stand here for the
// reference.
func schema() *block {
	return &block{
		place: "at the top of an inventory",
		blocks: []*block{
			clusterBlock(),
			sshBlock(false),
			etcdBlock(),
			networkBlock(),
			runtimeBlock(),
			loadBalancerBlock(),
			artifactsBlock(),
			pkiBlock(),
			componentBlock("api_server", "kube-apiserver", "max-requests-inflight", "800", ownedAPIServerArgs,
				func(inv *Inventory) any { return &inv.APIServer }),
			auditBlock(),
			admissionBlock(),
			componentBlock("controller_manager", "kube-controller-manager", "terminated-pod-gc-threshold", "500", ownedControllerManagerArgs,
				func(inv *Inventory) any { return &inv.ControllerManager }),
			componentBlock("scheduler", "kube-scheduler", "v", "2", ownedSchedulerArgs,
				func(inv *Inventory) any { return &inv.Scheduler }),
			kubeletBlock(),
			kubeProxyBlock(),
			dnsBlock(),
			preparationBlock(),
			rolloutBlock(),
			hostBlock(),
			variableBlock(),
			localsBlock(),
		},
	}
}

func clusterBlock() *block {
	return &block{
		name:     "cluster",
		doc:      "The cluster as a whole.",
		required: true,
		label: &label{name: "NAME", doc: "The cluster's name (RFC 1123 label); it stands in certificates and kubeconfigs.",
			kind: text("name", dnsLabel), field: of(func(c *Cluster) any { return &c.Name })},
		target: part(func(inv *Inventory) any { return &inv.Cluster }),
		example: `cluster "wuxia" {
  version   = "1.36.3"
  endpoint  = "kubernetes.default.svc:8443"
  pod_cidr  = "10.244.0.0/16"
  cert_sans = ["api.example.com"]
}`,
		attrs: []attr{
			{name: "version", kind: text("version", kubernetesVersion), required: true, kubernetes: true,
				field:   of(func(c *Cluster) any { return &c.Version }),
				doc:     "Kubernetes version, without a leading v. A patch release of one of the supported minors (see Versions).",
				example: `"1.36.3"`},
			{name: "endpoint", kind: endpoint(),
				field:    of(func(c *Cluster) any { return &c.Endpoint }),
				computed: "the first load balancer host's address and port; without one, the first master's address and 6443 (of two masters it has to be said)",
				doc:      "What clients of the API dial: people, and the programs of workers unless load_balancer is `local`. A name that leads to a host of the inventory (its own name, or any name when there is a load balancer or a single master) gets a line in every host's /etc/hosts; other names must resolve by themselves on every host and stand in cert_sans. Names that hosts need otherwise (localhost, registries, proxies) are refused.",
				example:  `"kubernetes.default.svc:8443"`},
			{name: "pod_cidr", kind: prefix(), fallback: `"10.244.0.0/16"`,
				field:   of(func(c *Cluster) any { return &c.PodCIDR }),
				doc:     "The pods' network. Every node gets a subnet of it; it must not overlap with services or hosts.",
				example: `"10.244.0.0/16"`},
			{name: "pod_subnet_size", kind: number(1, 128), computed: "24, or 64 when pod_cidr is IPv6",
				field:   of(func(c *Cluster) any { return &c.PodSubnetSize }),
				doc:     "Prefix length of one node's part of pod_cidr; at most 16 more than that of pod_cidr.",
				example: `24`},
			{name: "service_cidr", kind: prefix(), fallback: `"10.96.0.0/12"`,
				field:   of(func(c *Cluster) any { return &c.ServiceCIDR }),
				doc:     "The services' network, of 16 to 1,048,576 addresses. Its first address is the API's, its tenth the name service's.",
				example: `"10.96.0.0/12"`},
			{name: "pod_cidr_v6", kind: prefixV6(), computed: "none: the cluster has one address family",
				field:   of(func(c *Cluster) any { return &c.PodCIDRv6 }),
				doc:     "The pods' IPv6 network, for dual-stack beside the IPv4 one. It takes service_cidr_v6 and every host's address_v6, too. It is for new clusters: a node keeps its pod networks for life.",
				example: `"fd00:10:244::/56"`},
			{name: "pod_subnet_size_v6", kind: number(1, 128), computed: "64 when there is a pod_cidr_v6",
				field:   of(func(c *Cluster) any { return &c.PodSubnetSizeV6 }),
				doc:     "Prefix length of one node's part of pod_cidr_v6; at most 16 more than that of pod_cidr_v6.",
				example: `64`},
			{name: "service_cidr_v6", kind: prefixV6(),
				field:   of(func(c *Cluster) any { return &c.ServiceCIDRv6 }),
				doc:     "The services' IPv6 network, of 16 to 1,048,576 addresses: a prefix length from /108 to /124.",
				example: `"fd00:10:96::/112"`},
			{name: "domain", kind: text("DNS domain", domainName), fallback: `"cluster.local"`,
				field:   of(func(c *Cluster) any { return &c.Domain }),
				doc:     "DNS domain of services.",
				example: `"cluster.local"`},
			{name: "cert_sans", kind: list("names and addresses", certName, false),
				field:   of(func(c *Cluster) any { return &c.CertSANs }),
				doc:     "Further names and addresses for every API server's certificate.",
				example: `["api.example.com", "203.0.113.7"]`},
			{name: "cert_validity", kind: duration(time.Hour), fallback: `"8760h"`,
				field:   of(func(c *Cluster) any { return &c.CertValidity }),
				doc:     "How long certificates are valid; an hour at least.",
				example: `"8760h"`},
			{name: "cert_renew_before", kind: duration(time.Minute), fallback: `"720h"`,
				field:   of(func(c *Cluster) any { return &c.CertRenewBefore }),
				doc:     "How long before its expiry a plan renews a certificate.",
				example: `"720h"`},
			{name: "ca_validity", kind: duration(24 * time.Hour), fallback: `"87600h"`,
				field:   of(func(c *Cluster) any { return &c.CAValidity }),
				doc:     "How long authorities are valid.",
				example: `"87600h"`},
			{name: "hardening", kind: choice(HardeningCIS, HardeningBaseline), fallback: quoted(HardeningCIS),
				field:   of(func(c *Cluster) any { return &c.Hardening }),
				doc:     "`cis`: what the CIS Kubernetes Benchmark asks for and an installer can see to, an audit log among it. `baseline`: what costs workloads and their owners nothing. docs/security.md lists both; your own args and settings win over either.",
				example: quoted(HardeningBaseline)},
			{name: "feature_gates", kind: textMap("map of bools", featureGate, oneOf("true", "false")),
				field:   of(func(c *Cluster) any { return &c.FeatureGates }),
				doc:     "Feature gates of API servers, controller managers, schedulers, kubelets and kube-proxies. A gate that a program does not know keeps it from starting; gates in a component's own args or settings win.",
				example: `{ InPlacePodVerticalScaling = true }`},
		},
	}
}

// sshBlock is the same for all hosts and within one, but for the fingerprint,
// which belongs to one key, and for defaults, which within a host are what the
// ssh block for all says.
func sshBlock(inHost bool) *block {
	b := &block{
		name:   "ssh",
		doc:    "How to reach the hosts. An ssh block inside a host block overrides single attributes for that host.",
		target: part(func(inv *Inventory) any { return &inv.SSH }),
		example: `ssh {
  user        = "debian"
  key_file    = "~/.ssh/id_ed25519"
  known_hosts = "known_hosts"

  bastion {
    address = "gate.example.com"
  }
}`,
		attrs: []attr{
			{name: "user", kind: text("login name", login), fallback: `"root"`,
				field:   of(func(s *SSH) any { return &s.User }),
				doc:     "Login name on the hosts.",
				example: `"debian"`},
			{name: "port", kind: port(), fallback: `22`,
				field:   of(func(s *SSH) any { return &s.Port }),
				doc:     "Port of sshd.",
				example: `22`},
			{name: "key_file", kind: singlePath(), alias: true,
				field:   of(func(s *SSH) any { return &s.KeyFiles }),
				doc:     "Private key to log in with; short for key_files with one element.",
				example: `"~/.ssh/id_ed25519"`},
			{name: "key_files", kind: pathList(),
				field:   of(func(s *SSH) any { return &s.KeyFiles }),
				doc:     "Private keys to log in with, tried in this order.",
				example: `["~/.ssh/id_ed25519"]`},
			{name: "agent", kind: boolean(), computed: "true when there is no key file",
				field:   of(func(s *SSH) any { return &s.Agent }),
				doc:     "Whether to ask the agent at SSH_AUTH_SOCK for keys.",
				example: `true`},
			{name: "known_hosts", kind: filePath(), fallback: `"~/.ssh/known_hosts"`,
				field:   of(func(s *SSH) any { return &s.KnownHosts }),
				doc:     "File of host keys, in OpenSSH's format; @cert-authority lines count. Host keys are always verified.",
				example: `"known_hosts"`},
			{name: "fingerprint", kind: text("fingerprint", fingerprint),
				field:   of(func(s *SSH) any { return &s.Fingerprint }),
				doc:     "Fingerprint of the host's key, instead of a line in known_hosts. Only inside a host block.",
				example: `"SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s"`},
			{name: "become", kind: boolean(), computed: "true when user is not root",
				field:   of(func(s *SSH) any { return &s.Become }),
				doc:     "Whether to run privileged work through `sudo -n`.",
				example: `true`},
			{name: "timeout", kind: duration(time.Second), fallback: `"10s"`,
				field:   of(func(s *SSH) any { return &s.Timeout }),
				doc:     "How long one attempt to connect may take.",
				example: `"10s"`},
		},
		blocks: []*block{bastionBlock()},
	}
	if !inHost {
		refusal := misplacedFingerprint
		for i := range b.attrs {
			if b.attrs[i].name == "fingerprint" {
				b.attrs[i].refusal = &refusal
			}
		}
		return b
	}
	b.doc = "What differs for this host from the ssh block for all. Attributes not set here are as there."
	b.example = ""
	b.target = part(func(h *hostDecl) any { return &h.SSH })
	for i := range b.attrs {
		if b.attrs[i].name != "fingerprint" {
			b.attrs[i].fallback, b.attrs[i].computed = "", "as in the ssh block for all hosts"
		}
		if b.attrs[i].alias {
			b.attrs[i].computed = ""
		}
	}
	return b
}

func bastionBlock() *block {
	return &block{
		name: "bastion",
		doc:  "A jump host, verified like any other. In a host's ssh block it replaces the common one as a whole; address = \"\" there means to dial the host directly.",
		target: func(outer any, make bool) any {
			ssh := outer.(*SSH)
			if ssh.Bastion == nil {
				if !make {
					return nil
				}
				ssh.Bastion = &Bastion{}
			}
			return ssh.Bastion
		},
		attrs: []attr{
			{name: "address", kind: text("name or address", bastionAddress), required: true,
				field:   of(func(b *Bastion) any { return &b.Address }),
				doc:     "Where to dial it: IP address or DNS name.",
				example: `"gate.example.com"`},
			{name: "port", kind: port(), fallback: `22`,
				field:   of(func(b *Bastion) any { return &b.Port }),
				doc:     "Port of its sshd.",
				example: `22`},
			{name: "user", kind: text("login name", login), computed: "the user of the ssh block around it",
				field:   of(func(b *Bastion) any { return &b.User }),
				doc:     "Login name on it.",
				example: `"jump"`},
			{name: "key_file", kind: singlePath(), alias: true,
				field:   of(func(b *Bastion) any { return &b.KeyFiles }),
				doc:     "Private key to log in with; short for key_files with one element.",
				example: `"~/.ssh/id_ed25519"`},
			{name: "key_files", kind: pathList(), computed: "those of the ssh block around it",
				field:   of(func(b *Bastion) any { return &b.KeyFiles }),
				doc:     "Private keys to log in with.",
				example: `["~/.ssh/id_ed25519"]`},
			{name: "known_hosts", kind: filePath(), computed: "that of the ssh block around it",
				field:   of(func(b *Bastion) any { return &b.KnownHosts }),
				doc:     "File of host keys.",
				example: `"known_hosts"`},
			{name: "fingerprint", kind: text("fingerprint", fingerprint),
				field:   of(func(b *Bastion) any { return &b.Fingerprint }),
				doc:     "Fingerprint of its host key, instead of a line in known_hosts.",
				example: `"SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s"`},
		},
	}
}

func etcdBlock() *block {
	return &block{
		name:   "etcd",
		doc:    "The members on the hosts with the role etcd.",
		target: part(func(inv *Inventory) any { return &inv.Etcd }),
		example: `etcd {
  version = "3.6.8"
  args    = { "quota-backend-bytes" = 4294967296 }
}`,
		attrs: []attr{
			{name: "version", kind: text("version", versionText), computed: "what goes with the Kubernetes version (see Versions), the newest without Kubernetes",
				field:   of(func(e *Etcd) any { return &e.Version }),
				doc:     "etcd's version, without a leading v.",
				example: `"3.6.8"`},
			{name: "data_dir", kind: text("path on the hosts", dataDirectory("etcd")), fallback: `"/var/lib/etcd"`,
				field:   of(func(e *Etcd) any { return &e.DataDir }),
				doc:     "Directory of its data.",
				example: `"/var/lib/etcd"`},
			{name: "args", kind: args(ownedEtcdArgs),
				field:   of(func(e *Etcd) any { return &e.Args }),
				doc:     "Further flags, names without dashes.",
				example: `{ "quota-backend-bytes" = 4294967296 }`},
		},
	}
}

func networkBlock() *block {
	return &block{
		name:   "network",
		doc:    "How pods on different hosts reach each other. Without this block: routes.",
		target: part(func(inv *Inventory) any { return &inv.Network }),
		label: &label{name: "KIND", doc: "`routes`: a bridge on every node and static routes between them. `flannel`: flannel carries packets between the nodes' bridges. `bird`: nodes tell each other their routes by OSPF or BGP. `openvswitch`: Open vSwitch carries packets in tunnels. `external`: kinstall keeps out, your manifests bring a network. docs/networks.md helps to choose.",
			kind: choice(NetworkKinds()...), field: of(func(n *Network) any { return &n.Kind })},
		example: `network "flannel" {
  backend = "vxlan"
  store   = "kubernetes"
}`,
		attrs: []attr{
			{name: "mtu", kind: number(576, 65535), labels: []string{NetworkRoutes, NetworkFlannel, NetworkBird, NetworkOpenVSwitch},
				computed: "1450 in a VXLAN (1430 with dual-stack), 1462 in GRE, else 1500",
				field:    of(func(n *Network) any { return &n.MTU }),
				doc:      "MTU of the pods' interfaces. A plan says when the hosts' own interfaces have no room for it.",
				example:  `1450`},
			{name: "backend", kind: choice(FlannelVXLAN, FlannelHostGW), labels: []string{NetworkFlannel}, fallback: quoted(FlannelVXLAN),
				field:   of(func(n *Network) any { return &n.Backend }),
				doc:     "`vxlan`: packets travel in UDP port 8472, through any network. `host-gw`: routes between hosts of one link.",
				example: quoted(FlannelHostGW)},
			{name: "store", kind: choice(StoreKubernetes, StoreEtcd), labels: []string{NetworkFlannel}, fallback: quoted(StoreKubernetes),
				field:   of(func(n *Network) any { return &n.Store }),
				doc:     "Where flannel keeps who has which subnet. `kubernetes`: in the nodes' objects; it runs as a DaemonSet. `etcd`: in the cluster's etcd; it runs as a service of its own, before any container, and every node holds a certificate for etcd.",
				example: quoted(StoreEtcd)},
			{name: "version", kind: text("version", atLeast("flannel", "0.20.0", "")), labels: []string{NetworkFlannel}, fallback: quoted(defaultFlannel),
				field:   of(func(n *Network) any { return &n.Version }),
				doc:     "flannel's version, without a leading v.",
				example: quoted(defaultFlannel)},
			{name: "mode", kind: choice(BirdOSPF, BirdBGP), labels: []string{NetworkBird}, fallback: quoted(BirdOSPF),
				field:   of(func(n *Network) any { return &n.Mode }),
				doc:     "`ospf`: nodes find each other; a new one touches no other. `bgp`: every node has a session with every other (iBGP); for links without multicast.",
				example: quoted(BirdBGP)},
			{name: "asn", kind: number(1, 4294967294), labels: []string{NetworkBird}, fallback: "64512",
				field:   of(func(n *Network) any { return &n.ASN }),
				doc:     "Number of the autonomous system, with mode = \"bgp\".",
				example: `64512`},
			{name: "tunnel", kind: choice(TunnelVXLAN, TunnelGRE), labels: []string{NetworkOpenVSwitch}, fallback: quoted(TunnelVXLAN),
				field:   of(func(n *Network) any { return &n.Tunnel }),
				doc:     "`vxlan`: packets travel in UDP port 4789. `gre`: in IP protocol 47, with 12 bytes less each.",
				example: quoted(TunnelGRE)},
			{name: "datapath", kind: choice(DatapathKernel, DatapathUserspace), labels: []string{NetworkOpenVSwitch}, fallback: quoted(DatapathKernel),
				field:   of(func(n *Network) any { return &n.Datapath }),
				doc:     "Where Open vSwitch handles packets. `kernel`: in the kernel's module openvswitch. `userspace`: in its own process, where the kernel has no such module; every host needs an interface for the tunnels alone, and its tunnel_address.",
				example: quoted(DatapathKernel)},
			{name: "interface", kind: text("interface", interfaceName), labels: []string{NetworkOpenVSwitch}, fallback: `"eth1"`,
				field:   of(func(n *Network) any { return &n.Interface }),
				doc:     "With datapath = \"userspace\": the hosts' interface that tunnels go through. It becomes a port of a switch that holds tunnel_address, and has no address itself.",
				example: `"eth1"`},
		},
	}
}

func loadBalancerBlock() *block {
	return &block{
		name: "load_balancer",
		doc:  "A layer-4 load balancer over all API servers, for the programs of workers and for people; programs on masters talk to the API server of their own host. Without this block, clusters of three masters and more have the kind `local`; smaller ones dial the endpoint: the only master, or a load balancer of yours that nobody looks at. Which kind to choose: [High availability](high-availability.md).",
		target: func(outer any, make bool) any {
			inv := outer.(*Inventory)
			if inv.LoadBalancer == nil {
				if !make {
					return nil
				}
				inv.LoadBalancer = &LoadBalancer{}
			}
			return inv.LoadBalancer
		},
		label: &label{name: "KIND", doc: "`nginx`: nginx with its stream module, on the named hosts. `haproxy`: HAProxy, on the named hosts; it asks each API server whether it is ready. `local`: a HAProxy on every node, which only the node itself dials: no host matters to any other; people dial cluster.endpoint then. `external`: one of yours, which cluster.endpoint leads to; kinstall sees that each API server can be reached through it.",
			kind: choice(BalancerKinds()...), field: of(func(l *LoadBalancer) any { return &l.Kind })},
		example: `load_balancer "nginx" {
  hosts = ["emei"]
  port  = 8443
}`,
		attrs: []attr{
			{name: "hosts", kind: list("host names", hostName, false), required: true, labels: sharedBalancers(),
				field:   of(func(l *LoadBalancer) any { return &l.Hosts }),
				doc:     "Hosts that carry it. Clients dial vip, or without one the first host, unless cluster.endpoint says otherwise. With a vip, the first one is the first to have it.",
				example: `["emei"]`},
			{name: "port", kind: port(), fallback: `8443`, labels: sharedBalancers(),
				field:   of(func(l *LoadBalancer) any { return &l.Port }),
				doc:     "Where it listens. On a master this can't be 6443, which is the API server's.",
				example: `8443`},
			{name: "port", kind: port(), fallback: `7443`, labels: []string{BalancerLocal},
				field:   of(func(l *LoadBalancer) any { return &l.Port }),
				doc:     "Where it listens, on 127.0.0.1 of each node.",
				example: `7443`},
			{name: "weights", kind: weights(), labels: installedBalancers(),
				field:   of(func(l *LoadBalancer) any { return &l.Weights }),
				doc:     "Shares of the clients that API servers get, by the names of their hosts; 1 for those that are not named.",
				example: `{ emei = 2 }`},
			{name: "timeout", kind: silence(), fallback: `"1h"`, labels: installedBalancers(),
				field:   of(func(l *LoadBalancer) any { return &l.Timeout }),
				doc:     "How long a connection may be silent in both directions before it is closed. Kubernetes' own clients say something every 30 s.",
				example: `"1h"`},
			{name: "vip", kind: address(), labels: sharedBalancers(),
				field:   of(func(l *LoadBalancer) any { return &l.VirtualAddress }),
				doc:     "An address that hosts share: keepalived moves it to another of them when the one that has it fails. It is of the hosts' network, and no machine's own. Clients dial it unless cluster.endpoint says otherwise. See [high availability](high-availability.md#a-virtual-address).",
				example: `"10.27.53.40"`},
			{name: "router_id", kind: number(1, 255), labels: sharedBalancers(), computed: "the last byte of vip",
				field:   of(func(l *LoadBalancer) any { return &l.RouterID }),
				doc:     "VRRP's virtual router ID. Whoever shares an address on the same link needs another one.",
				example: `40`},
		},
		blocks: []*block{listenBlock()},
	}
}

func listenBlock() *block {
	return &block{
		name: "listen",
		doc:  "A TCP service of yours, which the load balancer passes on from a port of its hosts to a port of others: an ingress on labelled nodes, a registry.",
		many: true,
		label: &label{name: "NAME", doc: "What it is called in the load balancer's configuration.",
			kind: text("name", dnsLabel), field: of(func(l *Listener) any { return &l.Name })},
		target: func(outer any, make bool) any {
			if !make {
				return nil
			}
			listener := &Listener{}
			lb := outer.(*LoadBalancer)
			lb.Listeners = append(lb.Listeners, listener)
			return listener
		},
		each: func(outer any) []any {
			var all []any
			for _, listener := range outer.(*LoadBalancer).Listeners {
				all = append(all, listener)
			}
			return all
		},
		example: `listen "ingress" {
  port        = 443
  target_port = 30443
  labels      = { ingress = "public" }
}`,
		attrs: []attr{
			{name: "port", kind: port(), required: true,
				field:   of(func(l *Listener) any { return &l.Port }),
				doc:     "Where the load balancer listens, on all its hosts.",
				example: `443`},
			{name: "target_port", kind: port(), computed: "port",
				field:   of(func(l *Listener) any { return &l.TargetPort }),
				doc:     "Where the service listens on its hosts, as a NodePort.",
				example: `30443`},
			{name: "roles", kind: list("roles", oneOf(RoleEtcd, RoleMaster, RoleWorker, RoleContainer), true), computed: "any",
				field:   of(func(l *Listener) any { return &l.Roles }),
				doc:     "The service is on hosts with one of these roles.",
				example: `["worker"]`},
			{name: "labels", kind: textMap("map of labels", labelKey, labelValue), computed: "any",
				field:   of(func(l *Listener) any { return &l.Labels }),
				doc:     "The service is on hosts with all of these labels, as the inventory gives them. Without roles and labels it is on every node.",
				example: `{ ingress = "public" }`},
		},
	}
}

func artifactsBlock() *block {
	return &block{
		name:   "artifacts",
		doc:    "Where binaries and images come from. Every one is verified by its SHA-256 before it is used.",
		target: part(func(inv *Inventory) any { return &inv.Artifacts }),
		example: `artifacts {
  source = "https://mirror.example.com/kinstall"
  images = { "registry.example/app:1" = "images/app.tar" }
  sha256 = {
    kubelet = "4d6ac1c2b5ff2fbd64c3d1a7f8fc87e9b1d9a3e9bf3a2d5a3f29cbbd0f37bb7c"
  }
}`,
		attrs: []attr{
			{name: "source", kind: artifactSource(), computed: "the official locations",
				field:   of(func(a *Artifacts) any { return &a.Source }),
				doc:     "A directory or file:// URL on this machine, or an https:// URL of a mirror. A mirror holds what `wget -x` of the official locations would give: HOST/PATH.",
				example: `"https://mirror.example.com/kinstall"`},
			{name: "ca_file", kind: filePath(), computed: "the system's authorities",
				field:   of(func(a *Artifacts) any { return &a.CAFile }),
				doc:     "Authorities (PEM) that verify an https source.",
				example: `"mirror-ca.pem"`},
			{name: "sha256", kind: textMap("map of digests", artifactName, digest),
				field:   of(func(a *Artifacts) any { return &a.SHA256 }),
				doc:     "Digests by artifact name (`kubelet`, `etcd`, `image/pause`, `image/REFERENCE` for those of images), which win over the source's own checksum files. Names that are none are refused.",
				example: `{ kubelet = "4d6ac1c2b5ff2fbd64c3d1a7f8fc87e9b1d9a3e9bf3a2d5a3f29cbbd0f37bb7c" }`},
			{name: "images", kind: imageMap(),
				field:   of(func(a *Artifacts) any { return &a.Images }),
				doc:     "Further image archives to import on every node, by image reference; paths relative to the inventory.",
				example: `{ "registry.example/app:1" = "images/app.tar" }`},
		},
	}
}

func componentBlock(name, program, flag, value string, owned func() []owned, field func(*Inventory) any) *block {
	example := `{ "` + flag + `" = ` + value + ` }`
	return &block{
		name:    name,
		doc:     "What you add to " + program + ".",
		target:  part(field),
		example: name + " {\n  args = " + example + "\n}",
		attrs: []attr{
			{name: "args", kind: args(owned),
				field:   of(func(c *Component) any { return &c.Args }),
				doc:     "Further flags, names without dashes. They win over kinstall's own; those that kinstall must set are refused.",
				example: example},
		},
	}
}

func kubeletBlock() *block {
	return &block{
		name:   "kubelet",
		doc:    "What you add to every kubelet.",
		target: part(func(inv *Inventory) any { return &inv.Kubelet }),
		example: `kubelet {
  settings = {
    maxPods      = 200
    evictionHard = { "memory.available" = "200Mi" }
  }
}`,
		attrs: []attr{
			{name: "certificates", kind: choice(CertificatesPlanned, CertificatesRotated), fallback: quoted(CertificatesPlanned),
				field:   of(func(k *Kubelet) any { return &k.Certificates }),
				doc:     "Who renews the certificates by which kubelets are known to the API. `planned`: kinstall, whenever it is run. `rotated`: the kubelets, through the API, from then on without anybody's doing; see docs/joining.md. May be changed on a living cluster.",
				example: quoted(CertificatesRotated)},
			{name: "serving_certificates", kind: choice(CertificatesPlanned, CertificatesRequested), fallback: quoted(CertificatesPlanned),
				field:   of(func(k *Kubelet) any { return &k.ServingCertificates }),
				doc:     "Who issues the certificates with which kubelets serve logs, exec and metrics. `planned`: kinstall, whenever it is run. `requested`: the cluster, at the kubelets' request; `apply` and `kinstall approve` (which a timer is to run) approve of requests that fit the inventory, see docs/joining.md. May be changed on a living cluster.",
				example: quoted(CertificatesRequested)},
			{name: "args", kind: args(ownedKubelet),
				field:   of(func(k *Kubelet) any { return &k.Args }),
				doc:     "Further flags, names without dashes. Prefer settings.",
				example: `{ v = 2 }`},
			{name: "settings", kind: settings("KubeletConfiguration", checkKubelet),
				field:   of(func(k *Kubelet) any { return &k.Settings }),
				doc:     "Merged over the generated KubeletConfiguration (kubelet.config.k8s.io/v1beta1); fields and types are checked.",
				example: `{ maxPods = 200 }`},
		},
	}
}

func kubeProxyBlock() *block {
	return &block{
		name:   "kube_proxy",
		doc:    "kube-proxy on every node.",
		target: part(func(inv *Inventory) any { return &inv.KubeProxy }),
		example: `kube_proxy {
  mode     = "nftables"
  settings = { conntrack = { maxPerCore = 65536 } }
}`,
		attrs: []attr{
			{name: "mode", kind: choice("iptables", "nftables", "ipvs", "none"), fallback: `"iptables"`,
				field:   of(func(k *KubeProxy) any { return &k.Mode }),
				doc:     "How services are carried out; `none` installs no kube-proxy.",
				example: `"nftables"`},
			{name: "settings", kind: settings("KubeProxyConfiguration", checkKubeProxy),
				field:   of(func(k *KubeProxy) any { return &k.Settings }),
				doc:     "Merged over the generated KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1); fields and types are checked.",
				example: `{ conntrack = { maxPerCore = 65536 } }`},
		},
	}
}

func dnsBlock() *block {
	return &block{
		name:    "dns",
		doc:     "The cluster's name service.",
		target:  part(func(inv *Inventory) any { return &inv.DNS }),
		example: "dns {\n  kind = \"coredns\"\n}",
		attrs: []attr{
			{name: "kind", kind: choice("coredns", "none"), fallback: `"coredns"`,
				field:   of(func(d *DNS) any { return &d.Kind }),
				doc:     "`none` installs no name service.",
				example: `"coredns"`},
			{name: "version", kind: text("version", atLeast("CoreDNS", "1.11.0", "")), fallback: quoted(defaultCoreDNS),
				field:   of(func(d *DNS) any { return &d.Version }),
				doc:     "CoreDNS' version, without a leading v.",
				example: quoted(defaultCoreDNS)},
			{name: "upstreams", kind: upstreams(), computed: "those in the /etc/resolv.conf of the node it runs on",
				field:   of(func(d *DNS) any { return &d.Upstreams }),
				doc:     "Name servers for names outside the cluster: IP addresses, with a port if it is not 53. `[\"none\"]`, or an empty list, leaves such names unanswered.",
				example: `["192.0.2.53"]`},
		},
	}
}

func preparationBlock() *block {
	return &block{
		name:   "preparation",
		doc:    "What kinstall may change of the hosts themselves.",
		target: part(func(inv *Inventory) any { return &inv.Preparation }),
		example: `preparation {
  set_hostname = true
  sysctls      = { "fs.inotify.max_user_watches" = 1048576 }
}`,
		attrs: []attr{
			{name: "set_hostname", kind: boolean(), fallback: `false`,
				field:   of(func(p *Preparation) any { return &p.SetHostname }),
				doc:     "Whether to give each machine the name of its host block. Otherwise a machine of another name is an error.",
				example: `true`},
			{name: "swap", kind: choice("off", "keep"), fallback: `"off"`,
				field:   of(func(p *Preparation) any { return &p.Swap }),
				doc:     "`off` turns swap off and keeps it off; `keep` leaves it alone (the kubelet then needs failSwapOn = false).",
				example: `"off"`},
			{name: "max_clock_skew", kind: duration(10 * time.Millisecond), fallback: `"2s"`,
				field:   of(func(p *Preparation) any { return &p.MaxClockSkew }),
				doc:     "How far the clocks of two hosts may be apart.",
				example: `"2s"`},
			{name: "sysctls", kind: textMap("map of sysctls", sysctlName, sysctlValue),
				field:   of(func(p *Preparation) any { return &p.Sysctls }),
				doc:     "Further kernel settings for every host. They win over what hosts with containers get at least: fs.inotify.max_user_instances 8192 and fs.inotify.max_user_watches 1048576; a host that has more of these keeps it. What pods need of the kernel (`net.ipv4.ip_forward = 1` and its like) stays as kinstall sets it.",
				example: `{ "fs.inotify.max_user_watches" = 1048576 }`},
		},
	}
}

func rolloutBlock() *block {
	return &block{
		name:   "rollout",
		doc:    "How changes of a living cluster go from host to host. What masters run is always changed one member at a time.",
		target: part(func(inv *Inventory) any { return &inv.Rollout }),
		example: `rollout {
  workers = "20%"
}`,
		attrs: []attr{
			{name: "workers", kind: batch(), fallback: `"10%"`,
				field:   of(func(r *Rollout) any { return &r.Workers }),
				doc:     "How many workers are changed at a time, once the first of them has been seen to work: a number, or a share of all workers.",
				example: `"5"`},
			{name: "drain_timeout", kind: duration(time.Second), fallback: `"5m"`,
				field:   of(func(r *Rollout) any { return &r.DrainTimeout }),
				doc:     "How long the pods of a node that is drained are waited for: until disruption budgets allow that they are evicted, and until they have ended. Then the drain is given up, and the node is as it was.",
				example: `"15m"`},
		},
	}
}

func hostBlock() *block {
	return &block{
		name:     "host",
		doc:      "One machine, or with count or for_each a group of machines that differ in little.",
		required: true,
		many:     true,
		label: &label{name: "NAME", doc: "The host's name, which is also its node's: RFC 1123, at most 63 characters. A group's hosts are called NAME-0, NAME-1 … or NAME-KEY, unless name says otherwise.",
			kind: text("name", hostName), field: of(func(h *hostDecl) any { return &h.Name })},
		target: part(func(h *hostDecl) any { return h }),
		example: `host "huashan" {
  address = "10.27.52.80"
  roles   = ["worker"]
  labels  = { zone = "north" }
  taints  = ["dedicated=db:NoSchedule"]

  ssh {
    fingerprint = "SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s"
  }
}

host "worker" {
  count   = 3
  address = cidrhost("10.27.53.0/24", 100 + count.index)
  roles   = ["worker"]
}

host "db" {
  for_each = { north = "10.27.54.10", south = "10.27.55.10" }
  address  = each.value
  roles    = ["worker"]
  labels   = { zone = each.key }
}`,
		attrs: []attr{
			{name: "count", kind: kind{name: "number"}, meta: true,
				doc:     "How many hosts this block stands for; count.index is 0, 1, 2 … in it.",
				example: `3`},
			{name: "for_each", kind: kind{name: "map, or set or list of strings"}, meta: true,
				doc:     "A host for each element; each.key and each.value are its key and value (the same for sets and lists).",
				example: `{ north = "10.27.54.10" }`},
			{name: "name", kind: text("name", hostName), computed: "the label; in groups NAME-INDEX or NAME-KEY", meta: true,
				doc:     "The host's name, when it is not to follow from the label.",
				example: `"rack${count.index}"`},
			{name: "address", kind: address(), required: true,
				field:   of(func(h *hostDecl) any { return &h.Address }),
				doc:     "Its address, by which this machine and the other hosts reach it.",
				example: `"10.27.52.80"`},
			{name: "address_v6", kind: addressV6(),
				field:   of(func(h *hostDecl) any { return &h.AddressV6 }),
				doc:     "Its IPv6 address in a dual-stack cluster (see cluster.pod_cidr_v6), on the interface that has address. Every host that runs containers has one there.",
				example: `"fd00:27:52::80"`},
			{name: "roles", kind: list("roles", oneOf(RoleEtcd, RoleMaster, RoleWorker, RoleContainer), true),
				field:    of(func(h *hostDecl) any { return &h.Roles }),
				computed: "none, which is right for a host that is only a load balancer",
				doc:      "`etcd`: an etcd member. `master`: API server, controller manager, scheduler and a kubelet. `worker`: a kubelet. `container`: a runtime and the network without Kubernetes; with such hosts only there is no cluster.version, no master, and etcd only for flannel.",
				example:  `["etcd", "master"]`},
			{name: "labels", kind: labelMap(), computed: "masters: `{ \"node-role.kubernetes.io/control-plane\" = \"\" }`",
				field:   of(func(h *hostDecl) any { return &h.Labels }),
				doc:     "Labels of the node, beside the default. null removes a default.",
				example: `{ zone = "north" }`},
			{name: "taints", kind: taints(), computed: "masters: `[\"node-role.kubernetes.io/control-plane:NoSchedule\"]`",
				field:   of(func(h *hostDecl) any { return &h.Taints }),
				doc:     "All taints of the node, KEY[=VALUE]:EFFECT. Replaces the default: `taints = []` lets pods run on a master.",
				example: `["dedicated=db:NoSchedule"]`},
			{name: "state", kind: choice(StateActive, StateCordoned, StateDrained), fallback: `"active"`,
				field:   of(func(h *hostDecl) any { return &h.State }),
				doc:     "What may run on the node. `active`: pods come and go. `cordoned`: no new pods come. `drained`: those that are there are evicted, too, as disruption budgets allow; static pods and those of DaemonSets stay. A node that somebody else has cordoned stays so (docs/hosts.md).",
				example: `"drained"`},
			{name: "pod_subnet", kind: prefix(), computed: "allocated, and kept in the lock file",
				field:   of(func(h *hostDecl) any { return &h.PodSubnet }),
				doc:     "Fixes the node's part of pod_cidr.",
				example: `"10.244.7.0/24"`},
			{name: "pod_subnet_v6", kind: prefixV6(), computed: "allocated, and kept in the lock file, when there is a pod_cidr_v6",
				field:   of(func(h *hostDecl) any { return &h.PodSubnetV6 }),
				doc:     "Fixes the node's part of pod_cidr_v6.",
				example: `"fd00:10:244:7::/64"`},
			{name: "tunnel_address", kind: interfaceAddress(), computed: "the host's address",
				field:   of(func(h *hostDecl) any { return &h.TunnelAddress }),
				doc:     "With network \"openvswitch\": the address that other hosts send tunnelled packets to, with the length of its network. With datapath = \"userspace\" it is required, and kinstall sets it.",
				example: `"10.92.0.11/24"`},
		},
		blocks: []*block{sshBlock(true)},
	}
}

// variableBlock and localsBlock describe what variables.go decodes.
func variableBlock() *block {
	return &block{
		name:  "variable",
		doc:   "A value given from outside: `-var NAME=VALUE`, `-var-file FILE` or the environment variable KINSTALL_VAR_NAME, in this order of precedence. Used as var.NAME.",
		many:  true,
		label: &label{name: "NAME", doc: "The variable's name: letters, digits, '-' and '_'.", kind: kind{name: "name"}},
		example: `variable "workers" {
  type        = number
  default     = 3
  description = "How many workers to have"

  validation {
    condition     = var.workers > 0
    error_message = "There must be a worker."
  }
}`,
		attrs: []attr{
			{name: "type", kind: kind{name: "type"}, computed: "the default's, when that is text, a number or a bool; else any",
				doc: "string, number, bool, any, list(…), set(…), map(…), object({…}) or tuple([…]).", example: `list(string)`},
			{name: "default", kind: kind{name: "any"},
				doc: "The value when none is given. Without a default, a value must be given.", example: `3`},
			{name: "description", kind: kind{name: "string"},
				doc: "What it is for.", example: `"How many workers to have"`},
		},
		blocks: []*block{{
			name: "validation",
			doc:  "A condition that the value must meet.",
			many: true,
			attrs: []attr{
				{name: "condition", kind: kind{name: "bool"}, required: true,
					doc: "An expression over the variable itself.", example: `var.workers > 0`},
				{name: "error_message", kind: kind{name: "string"}, required: true,
					doc: "What to say when it is false.", example: `"There must be a worker."`},
			},
		}},
	}
}

func localsBlock() *block {
	return &block{
		name:    "locals",
		doc:     "Named values, used as local.NAME. They may use variables and each other, in any order; several locals blocks are one.",
		many:    true,
		example: "locals {\n  net     = \"10.27.0.0/16\"\n  workers = cidrsubnet(local.net, 8, 53)\n}",
	}
}

func quoted(s string) string { return `"` + s + `"` }

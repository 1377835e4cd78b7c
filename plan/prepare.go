package plan

import (
	"slices"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// setting is a name and a value, as templates range over them.
type setting struct{ Name, Value string }

// settings merges tables of settings, later ones winning, sorted by name.
func settings(tables ...map[string]string) []setting {
	merged := map[string]string{}
	var names []string
	for _, table := range tables {
		for name, value := range table {
			if _, ok := merged[name]; !ok {
				names = append(names, name)
			}
			merged[name] = value
		}
	}
	slices.Sort(names)
	list := make([]setting, 0, len(names))
	for _, name := range names {
		list = append(list, setting{name, merged[name]})
	}
	return list
}

const (
	// sysctlFile sets kernel parameters at boot.
	sysctlFile = "/etc/sysctl.d/99-kinstall.conf"
	// sysctlMinimumFile raises limits at boot. It is read before other files,
	// so that one that asks for more wins.
	sysctlMinimumFile = "/etc/sysctl.d/05-kinstall.conf"
)

// prepare adds what a host's system must have before anything is installed on
// it: its name, names for the others, kernel settings, packages, directories.
// A host gets what its roles need and nothing more.
func (c *compiler) prepare(h inventory.Host) {
	inv := c.inventory
	if inv.Preparation.SetHostname {
		c.add(h.Name, resource.Hostname{Name: h.Name})
	}
	c.add(h.Name, c.names)

	if inv.Preparation.Swap == "off" && (h.IsNode() || h.Has(inventory.RoleEtcd)) {
		c.add(h.Name, resource.SwapOff{})
	}
	var tools []StepID // modprobe and sysctl among them
	if h.RunsContainers() {
		tools = c.packages(h.Name, c.hostPackages(h)...)
	}
	modules := c.modules(h)
	var loaded []StepID
	for _, m := range modules {
		loaded = append(loaded, c.add(h.Name, resource.Module{Name: m}, tools))
	}
	if len(modules) > 0 {
		c.file(h.Name, "/etc/modules-load.d/kinstall.conf", map[string]any{"Modules": modules})
	}
	// Keys below net.bridge appear when br_netfilter is loaded.
	sysctls := c.sysctls(h)
	var live []StepID
	for _, s := range sysctls {
		live = append(live, c.add(h.Name, s, tools, loaded))
	}
	// At boot they are set again when they were seen to cut nobody off.
	for _, file := range []struct {
		path    string
		atLeast bool
	}{{sysctlMinimumFile, true}, {sysctlFile, false}} {
		held := slices.DeleteFunc(slices.Clone(sysctls), func(s resource.Sysctl) bool { return s.AtLeast != file.atLeast })
		if len(held) > 0 {
			c.file(h.Name, file.path, map[string]any{"Sysctls": held}, live)
		}
	}

	for _, d := range directories() {
		if d.on(inv, h) {
			c.directory(h.Name, d.path, d.mode)
		}
	}
	if h.Has(inventory.RoleEtcd) {
		c.add(h.Name, etcdDirectory(inv), c.parents(h.Name, inv.Etcd.DataDir))
	}
}

// hostsBlock is the block of /etc/hosts by which every host finds every other one,
// and the API server's endpoint, without a name server.
func (c *compiler) hostsBlock() resource.Block {
	type line struct{ Address, Name string }
	var lines []line
	endpoint := c.inventory.Cluster.Endpoint
	_, isHost := c.inventory.Host(endpoint.Host)
	for _, h := range c.inventory.Hosts {
		lines = append(lines, line{h.Address.String(), h.Name})
	}
	if endpoint.Address.IsValid() && endpoint.Host != endpoint.Address.String() && !isHost {
		lines = append(lines, line{endpoint.Address.String(), endpoint.Host})
	}
	slices.SortFunc(lines, func(a, b line) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	content := c.templates.Render("etc/hosts", map[string]any{"Lines": lines})
	return resource.Block{Path: "/etc/hosts", Name: "hosts", Content: string(content)}.WithDigests()
}

// modules of the kernel: what containers' filesystems and bridges need, and
// what kube-proxy's mode does.
func (c *compiler) modules(h inventory.Host) []string {
	if !h.RunsContainers() {
		return nil
	}
	modules := []string{"br_netfilter", "overlay"}
	if h.IsNode() && c.inventory.KubeProxy.Mode == proxyIPVS {
		modules = append(modules, "ip_vs", "ip_vs_rr", "ip_vs_sh", "ip_vs_wrr", "nf_conntrack")
	}
	modules = append(modules, openVSwitchModules(c.inventory.Network)...)
	return modules
}

// nodeMinimums are limits of the kernel that a host with containers soon meets,
// counted over all programs of a user, root's among them.
//
// The kernel's own 128 inotify instances are used up by kubelet, containerd, its
// shims, systemd and a few dozen containers that watch their configuration;
// what comes then fails with "too many open files", kubelets start no static pod,
// and nothing else says why. 8192 is what kops and the images of EKS and GKE set.
// The kernel derives its limit of watches from the memory, 1048576 at most:
// asking for less would lower it at boot on a large machine. A watch takes memory
// only once it is used.
var nodeMinimums = map[string]string{
	"fs.inotify.max_user_instances": "8192",
	"fs.inotify.max_user_watches":   "1048576",
}

// sysctls are what containers need of the kernel and the inventory's additions,
// which can't say otherwise.
func (c *compiler) sysctls(h inventory.Host) []resource.Sysctl {
	var node, minimums map[string]string
	if h.RunsContainers() {
		minimums = nodeMinimums
		node = map[string]string{}
		for _, s := range c.inventory.ContainerSysctls() {
			node[s.Name] = s.Value
		}
		if h.IsNode() {
			for _, s := range c.inventory.KubeletSysctls() {
				node[s.Name] = s.Value
			}
		}
	}
	exact := settings(node, c.inventory.Preparation.Sysctls)
	var all []resource.Sysctl
	for _, s := range settings(minimums, node, c.inventory.Preparation.Sysctls) {
		all = append(all, resource.Sysctl{Key: s.Name, Value: s.Value, AtLeast: !slices.Contains(exact, s)})
	}
	return all
}

// sysctlSteps are the steps of a host's kernel parameters.
func (c *compiler) sysctlSteps(h inventory.Host) []StepID {
	var steps []StepID
	for _, s := range c.sysctls(h) {
		steps = append(steps, step(h.Name, s)...)
	}
	return steps
}

// hostPackages are those of a host that runs containers; without a kubelet it
// needs what kinstall itself calls.
func (c *compiler) hostPackages(h inventory.Host) []string {
	if h.IsNode() {
		return c.nodePackages()
	}
	return []string{"iproute2", "iptables", pingPackage, "kmod", "procps"}
}

// nodePackages are the programs kubelet, kube-proxy, CNI plugins and kinstall
// itself call on a node.
func (c *compiler) nodePackages() []string {
	packages := []string{"conntrack", "ethtool", "iproute2", "iptables", pingPackage, "kmod", "procps", "socat"}
	switch c.inventory.KubeProxy.Mode {
	case proxyNFTables:
		packages = append(packages, "nftables")
	case proxyIPVS:
		packages = append(packages, "ipset", "ipvsadm")
	}
	return packages
}

// condition tells the hosts a row of a table is about.
type condition func(*inventory.Inventory, inventory.Host) bool

// directory is a row of directories.
type directory struct {
	path string
	mode uint32
	on   condition
}

// directories that programs share or that do not make themselves, parents
// first. They are made before any program could make them with another mode.
func directories() []directory {
	return []directory{
		{"/etc/kubernetes", 0o755, hasPKI},
		{pkiDir, 0o755, hasPKI},
		{pkiDir + "/etcd", 0o755, anyOf(onEtcd, onMasters, onFlannelEtcd)},
		{ManifestDirectory, 0o755, onMasters},
		{apiServerDirectory, 0o700, onMasters},
		{"/etc/etcd", 0o755, onEtcd},
		{"/etc/containerd", 0o755, onContainerd},
		{"/etc/docker", 0o755, onDocker},
		{"/root/.docker", 0o700, onDockerAlone},
		{"/opt/cni", 0o755, onCNI},
		{"/opt/cni/bin", 0o755, onCNI},
		{"/etc/cni", 0o755, onBridgedCNI},
		{"/etc/cni/net.d", 0o755, onBridgedCNI},
		{"/usr/local/lib/kinstall", 0o755, onBridged},
		{"/etc/flannel", 0o755, onFlannelEtcd},
		{"/etc/kinstall", 0o755, anyOf(onRoutes, onBird, onOpenVSwitch)},
		{"/var/lib/kubelet", 0o750, onNodes},
		{"/var/lib/kubelet/pki", 0o755, onNodes},
		{"/var/lib/kube-proxy", 0o755, onProxied},
	}
}

func onEtcd(_ *inventory.Inventory, h inventory.Host) bool    { return h.Has(inventory.RoleEtcd) }
func onMasters(_ *inventory.Inventory, h inventory.Host) bool { return h.Has(inventory.RoleMaster) }
func onNodes(_ *inventory.Inventory, h inventory.Host) bool   { return h.IsNode() }

// onPlannedNodes are nodes whose certificates kinstall renews.
func onPlannedNodes(inv *inventory.Inventory, h inventory.Host) bool {
	return h.IsNode() && inv.Kubelet.Certificates == inventory.CertificatesPlanned
}

// onPlannedServing are nodes whose certificates for serving kinstall renews.
func onPlannedServing(inv *inventory.Inventory, h inventory.Host) bool {
	return h.IsNode() && inv.Kubelet.ServingCertificates == inventory.CertificatesPlanned
}

// onContainerd and onDocker are hosts with that runtime.
func onContainerd(inv *inventory.Inventory, h inventory.Host) bool {
	return h.RunsContainers() && inv.Runtime.Kind == inventory.RuntimeContainerd
}

func onDocker(inv *inventory.Inventory, h inventory.Host) bool {
	return h.RunsContainers() && inv.Runtime.Kind == inventory.RuntimeDocker
}

// onDockerAlone are hosts where Docker's users log in to registries.
func onDockerAlone(inv *inventory.Inventory, h inventory.Host) bool {
	return onDocker(inv, h) && !h.IsNode() &&
		slices.ContainsFunc(inv.Runtime.Registries, func(r *inventory.Registry) bool { return r.PasswordFile != "" })
}

// onCNI are hosts whose containers get their network from CNI plugins: all but
// those where Docker gives it.
func onCNI(inv *inventory.Inventory, h inventory.Host) bool {
	return h.IsNode() || onContainerd(inv, h)
}

// onBridged are hosts whose containers have a subnet of the pod network.
func onBridged(inv *inventory.Inventory, h inventory.Host) bool {
	return h.RunsContainers() && inv.Network.Bridged()
}

func onBridgedCNI(inv *inventory.Inventory, h inventory.Host) bool {
	return onBridged(inv, h) && onCNI(inv, h)
}

func onProxied(inv *inventory.Inventory, h inventory.Host) bool {
	return h.IsNode() && inv.KubeProxy.Mode != proxyNone
}

func hasPKI(inv *inventory.Inventory, h inventory.Host) bool {
	return anyOf(onNodes, onEtcd, onFlannelEtcd, onBalanced(caFile))(inv, h)
}

func anyOf(conditions ...condition) condition {
	return func(inv *inventory.Inventory, h inventory.Host) bool {
		return slices.ContainsFunc(conditions, func(on condition) bool { return on(inv, h) })
	}
}

package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
)

var (
	vxlan  = inventory.Network{Kind: inventory.NetworkFlannel, Backend: inventory.FlannelVXLAN, Store: inventory.StoreEtcd, MTU: 1450}
	routes = inventory.Network{Kind: inventory.NetworkRoutes}
)

// What is wrong is said with what was found and what to do about it.
func TestPreflightOfTheWire(t *testing.T) {
	ours := fact.State{Resources: map[string]fact.Record{"link:flannel.1": {}, "unit:kubelet.service": {}}}
	via := func(destination, gateway, device string) []fact.HostRoute {
		return []fact.HostRoute{{Destination: destination, Route: fact.Route{Exists: true, Via: gateway, Device: device}}}
	}
	sysctls := func(file, key, value string) []fact.SysctlLine {
		return []fact.SysctlLine{
			{File: "/etc/sysctl.d/10-early.conf", Key: key, Value: "7"},
			{File: "/etc/sysctl.d/99-kinstall.conf", Key: key, Value: "1"},
			{File: file, Key: key, Value: value},
		}
	}
	for _, tt := range []struct {
		name    string
		network inventory.Network
		host    fact.Host // huashan, 10.88.0.14, whose pods are to have 10.244.1.0/24
		paths   map[string]fact.Path
		want    []string // summary, hint
	}{
		{name: "nothing", network: vxlan},

		{name: "VXLAN's port", network: vxlan, host: fact.Host{ListeningUDP: map[int]string{8472: "flanneld", 53: "dnsmasq"}}, want: []string{
			"UDP port 8472, which flannel needs, is taken by flanneld", "stop that program, or set backend = \"host-gw\""}},
		{name: "VXLAN's port, without a program", network: vxlan, host: fact.Host{ListeningUDP: map[int]string{8472: ""}}, want: []string{
			"UDP port 8472, which flannel needs, is taken by the kernel, for a tunnel of somebody else's",
			"`ip -d link show type vxlan` shows it: remove that interface with the network it belongs to, or set backend = \"host-gw\""}},
		{name: "VXLAN's port is its own", network: vxlan, host: fact.Host{ListeningUDP: map[int]string{8472: ""}, State: ours}},
		{name: "nobody wants the port", network: routes, host: fact.Host{ListeningUDP: map[int]string{8472: "x"}}},

		{name: "large packets are lost", network: vxlan, host: fact.Host{MTU: 1500, Interface: "ens4"}, paths: map[string]fact.Path{
			"10.88.0.11": {Answers: true, Largest: 1400}, "10.88.0.12": {Answers: true, Fits: true}}, want: []string{
			"packets of 1500 bytes to shaolin (10.88.0.11) are lost on the way; 1400 pass", "set `mtu = 1350` in the network block, or mend the way"}},
		{name: "how large is not known", network: routes, paths: map[string]fact.Path{"10.88.0.11": {Answers: true}}, want: []string{
			"packets of 1500 bytes to shaolin (10.88.0.11) are lost on the way",
			"find out what on the way has a smaller MTU (tracepath), and set `mtu` in the network block to what passes"}},
		{name: "no ping is answered", network: routes, paths: map[string]fact.Path{"10.88.0.11": {}}},
		{name: "the own interface is the reason", network: routes, host: fact.Host{MTU: 1400, Interface: "ens4"}, paths: map[string]fact.Path{
			"10.88.0.11": {Answers: true, Largest: 1400}}, want: []string{"ens4 has an MTU of 1400, pods have 1500", "set `mtu = 1400` in the network block"}},

		{name: "a foreign bridge", network: routes, host: fact.Host{
			Interfaces: map[string][]string{"ens4": {"10.88.0.14/24"}, "virbr1": {"10.244.9.1/24"}},
			Routes:     via("10.244.9.0/24", "", "virbr1"),
		}, want: []string{"virbr1 has the address 10.244.9.1/24, which is of the pod network 10.244.0.0/16",
			"if an older cluster left it behind, `ip link delete virbr1`; else choose another cluster.pod_cidr"}},
		{name: "Docker's bridge, where Docker is not the runtime", network: routes, host: fact.Host{Interfaces: map[string][]string{"docker0": {"10.97.0.1/16"}}}, want: []string{
			"docker0 has the address 10.97.0.1/16, which is of the service network 10.96.0.0/12",
			"if an older cluster left it behind, `ip link delete docker0`; else choose another cluster.service_cidr"}},
		{name: "a bridge with another host's subnet", network: routes, host: fact.Host{Interfaces: map[string][]string{"cni0": {"10.244.0.1/24"}}}, want: []string{
			"cni0 has the address 10.244.0.1/24, which is of the pod network 10.244.0.0/16",
			"if an older cluster left it behind, `ip link delete cni0`; else choose another cluster.pod_cidr"}},
		{name: "the planned bridge", network: routes, host: fact.Host{Interfaces: map[string][]string{"cni0": {"10.244.1.1/24"}}, Routes: via("10.244.1.0/24", "", "cni0")}},
		{name: "a VPN", network: routes, host: fact.Host{Routes: via("10.244.128.0/17", "", "tun0")}, want: []string{
			"has a route to 10.244.128.0/17 (dev tun0), which is of the pod network 10.244.0.0/16",
			"if nothing needs it, `ip route delete 10.244.128.0/17`; else choose another cluster.pod_cidr"}},
		{name: "a route to the wrong host", network: routes, host: fact.Host{Routes: via("10.244.0.0/24", "10.88.0.99", "ens4")}, want: []string{
			"has a route to 10.244.0.0/24 (via 10.88.0.99 dev ens4), which is of the pod network 10.244.0.0/16",
			"if nothing needs it, `ip route delete 10.244.0.0/24`; else choose another cluster.pod_cidr"}},
		{name: "a route that is to be", network: routes, host: fact.Host{Routes: via("10.244.0.0/24", "10.88.0.13", "ens4")}},
		{name: "a larger network", network: routes, host: fact.Host{Routes: append(via("10.0.0.0/8", "10.88.0.1", "ens4"), via("0.0.0.0/0", "10.88.0.1", "ens4")...)}},
		{name: "an installed host", network: routes, host: fact.Host{State: ours, Interfaces: map[string][]string{"cali0": {"10.244.9.1/24"}}, Routes: via("10.244.9.0/24", "", "tun0")}},

		{name: "two machines with one address", network: routes, host: fact.Host{Duplicate: "02:42:0a:58:00:99"}, want: []string{
			"another machine, with the MAC address 02:42:0a:58:00:99, answers for 10.88.0.14",
			"give one of the two another address; `ip neigh` on a third one, and the switches, say where it is"}},

		{name: "no forwarding after a boot", network: routes, host: fact.Host{Sysctls: sysctls("/etc/sysctl.d/99-sysctl.conf", "net.ipv4.ip_forward", "0")}, want: []string{
			"at boot, /etc/sysctl.d/99-sysctl.conf sets net.ipv4.ip_forward = 0, later than kinstall's own /etc/sysctl.d/99-kinstall.conf sets 1",
			"remove that line; what is to be otherwise belongs into `sysctls` of the preparation block"}},
		{name: "the same once more", network: routes, host: fact.Host{Sysctls: sysctls("/etc/sysctl.d/99-sysctl.conf", "net.ipv4.ip_forward", "1")}},
		{name: "fewer inotify instances after a boot", network: routes, host: fact.Host{Sysctls: sysctls("/etc/sysctl.d/60-kind.conf", "fs.inotify.max_user_instances", "512")}, want: []string{
			"at boot, /etc/sysctl.d/60-kind.conf sets fs.inotify.max_user_instances = 512, later than kinstall's own /etc/sysctl.d/05-kinstall.conf sets at least 8192",
			"remove that line; what is to be otherwise belongs into `sysctls` of the preparation block"}},
		{name: "more of them", network: routes, host: fact.Host{Sysctls: sysctls("/etc/sysctl.d/60-kind.conf", "fs.inotify.max_user_instances", "16384")}},
		{name: "fewer of them, undone by the file read after it", network: routes, host: fact.Host{Sysctls: append(
			sysctls("/etc/sysctl.d/60-kind.conf", "fs.inotify.max_user_instances", "512"), fact.SysctlLine{File: "/etc/sysctl.d/70-more.conf", Key: "fs.inotify.max_user_instances", Value: "9000"})}},
		{name: "what is not kinstall's", network: routes, host: fact.Host{Sysctls: sysctls("/etc/sysctl.d/99-sysctl.conf", "kernel.pid_max", "4")}},
	} {
		inv := load(t, "lab")
		inv.Network = tt.network
		p := compile(t, inv)
		host, _ := inv.Host("huashan")
		o := bare(p, host)
		tt.host.OS, tt.host.Architecture, tt.host.Hostname = "debian", "amd64", "huashan"
		tt.host.Addresses = []string{host.Address.String()}
		for address, path := range tt.paths {
			o.Facts.Put(fact.Key{Kind: fact.KindPath, Name: address}, path)
		}
		o.Facts.Host = tt.host
		var got []string
		for _, problem := range preflight(p, Observed{Hosts: map[string]Observation{"huashan": o}}, map[string]error{"shaolin": fact.ErrNotObserved, "wudang": fact.ErrNotObserved, "emei": fact.ErrNotObserved}) {
			got = append(got, problem.Summary, problem.Hint)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// The kernel's parts that something in the inventory is made of.
func TestPreflightOfTheKernel(t *testing.T) {
	for _, tt := range []struct {
		name    string
		network inventory.Network
		mode    string
		runtime string
		modules map[string]fact.Value // others are there
		want    []string
	}{
		{name: "VXLAN", network: vxlan, modules: map[string]fact.Value{"vxlan": {}}, want: []string{
			`the kernel 6.1.0 has no module vxlan, which network "flannel" with backend = "vxlan" needs`}},
		{name: "VXLAN, not wanted", network: routes, modules: map[string]fact.Value{"vxlan": {}}},
		{name: "VXLAN, no list", network: vxlan, modules: map[string]fact.Value{"vxlan": {Value: fact.Unlisted}, "veth": {Value: fact.Unlisted}}},
		{name: "bridges", network: routes, modules: map[string]fact.Value{"bridge": {}, "veth": {}, "br_netfilter": {}}, want: []string{
			"the kernel 6.1.0 has no module bridge, which the pods' bridge needs",
			"the kernel 6.1.0 has no module veth, which the pods' bridge needs",
			"the kernel 6.1.0 has no module br_netfilter, which the pods' bridge needs"}},
		{name: "bridges are not kinstall's", network: inventory.Network{Kind: inventory.NetworkExternal}, modules: map[string]fact.Value{"bridge": {}, "veth": {}}},
		{name: "nftables", network: routes, mode: proxyNFTables, modules: map[string]fact.Value{"nf_tables": {}}, want: []string{
			`the kernel 6.1.0 has no module nf_tables, which kube_proxy.mode = "nftables" needs`}},
		{name: "overlay", network: routes, modules: map[string]fact.Value{"overlay": {}}, want: []string{
			"the kernel 6.1.0 has no module overlay, which the container runtime needs"}},
	} {
		inv := load(t, "lab")
		inv.Network = tt.network
		if tt.mode != "" {
			inv.KubeProxy.Mode = tt.mode
		}
		host, _ := inv.Host("huashan")
		facts := fact.NewSet(fact.Host{Kernel: "6.1.0"})
		for _, q := range networkQueries(&Plan{Inventory: inv}, host) {
			if q.Kind == fact.KindModule {
				found, said := tt.modules[q.Name]
				if !said {
					found = fact.Value{Exists: true, Value: "loaded"}
				}
				facts.Put(q.Key(), found)
			}
		}
		if diff := cmp.Diff(tt.want, summaries(checkKernel(inv, host, Observation{Facts: facts}))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// Each host asks two others at most, and each is asked by one at least.
func TestPathPeers(t *testing.T) {
	inv := load(t, "lab")
	inv.Network = routes
	got := map[string][]string{}
	for _, h := range inv.Hosts {
		for _, peer := range pathPeers(&Plan{Inventory: inv}, h) {
			got[h.Name] = append(got[h.Name], peer.Name)
		}
	}
	want := map[string][]string{
		"emei": {"huashan", "shaolin"}, "huashan": {"shaolin"}, "shaolin": {"wudang"}, "wudang": {"emei", "shaolin"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	inv.Network.Kind = inventory.NetworkExternal
	if peers := pathPeers(&Plan{Inventory: inv}, inv.Hosts[0]); len(peers) > 0 {
		t.Errorf("packets of a network that is not kinstall's: %v", peers)
	}
}

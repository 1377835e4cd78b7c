package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
)

// What a pod network needs of the hosts' own.
func TestPreflightOfNetworks(t *testing.T) {
	for _, tt := range []struct {
		name     string
		network  inventory.Network
		networks []string // of huashan, 10.88.0.14
		mtu      int
		want     []string
	}{
		{"routes on one link", inventory.Network{Kind: inventory.NetworkRoutes}, []string{"10.88.0.0/24"}, 1500, nil},
		{"routes, larger frames", inventory.Network{Kind: inventory.NetworkRoutes}, []string{"10.88.0.0/24"}, 9000, nil},
		{"routes, nothing learnt", inventory.Network{Kind: inventory.NetworkRoutes}, nil, 0, nil},
		{"routes through a router", inventory.Network{Kind: inventory.NetworkRoutes}, []string{"192.168.7.0/24", "10.88.0.14/31"}, 1500, []string{
			"reaches shaolin (10.88.0.11), wudang (10.88.0.12), emei (10.88.0.13) through a router only; its own networks are 192.168.7.0/24, 10.88.0.14/31"}},
		{"VXLAN through a router", inventory.Network{Kind: inventory.NetworkFlannel, Backend: inventory.FlannelVXLAN, MTU: 1450}, []string{"10.88.0.14/31"}, 1500, nil},
		{"host-gw through a router", inventory.Network{Kind: inventory.NetworkFlannel, Backend: inventory.FlannelHostGW}, []string{"10.88.0.12/30"}, 1500, []string{
			"reaches shaolin (10.88.0.11) through a router only; its own networks are 10.88.0.12/30"}},
		{"OSPF through routers that speak it, too", inventory.Network{Kind: inventory.NetworkBird, Mode: inventory.BirdOSPF}, []string{"10.88.0.14/31"}, 1500, nil},
		{"VXLAN in a smaller network", inventory.Network{Kind: inventory.NetworkFlannel, Backend: inventory.FlannelVXLAN, MTU: 1450}, []string{"10.88.0.0/24"}, 1460, []string{
			"ens4 has an MTU of 1460, pods have 1450 and the network adds 50 bytes"}},
		{"routes in a smaller network", inventory.Network{Kind: inventory.NetworkRoutes}, []string{"10.88.0.0/24"}, 1460, []string{
			"ens4 has an MTU of 1460, pods have 1500"}},
		{"GRE in a smaller network", inventory.Network{Kind: inventory.NetworkOpenVSwitch, Tunnel: inventory.TunnelGRE, Datapath: inventory.DatapathKernel, MTU: 1462}, []string{"10.88.0.14/31"}, 1460, []string{
			"ens4 has an MTU of 1460, pods have 1462 and the network adds 38 bytes"}},
		{"tunnels of an interface of their own", inventory.Network{Kind: inventory.NetworkOpenVSwitch, Tunnel: inventory.TunnelVXLAN, Datapath: inventory.DatapathUserspace, Interface: "ens5", MTU: 1450}, []string{"10.88.0.14/31"}, 1400, nil},
		{"larger frames than an interface of their own has", inventory.Network{Kind: inventory.NetworkOpenVSwitch, Tunnel: inventory.TunnelVXLAN, Datapath: inventory.DatapathUserspace, Interface: "ens5", MTU: 8950}, []string{"10.88.0.14/31"}, 9000, []string{
			"ens5 has an MTU of 1500, pods have 8950 and the network adds 50 bytes"}},
		{"somebody else's network", inventory.Network{Kind: inventory.NetworkExternal}, []string{"10.88.0.14/31"}, 1280, nil},
	} {
		inv := load(t, "lab")
		inv.Network = tt.network
		host, _ := inv.Host("huashan")
		o := Observation{Facts: fact.NewSet(fact.Host{Interface: "ens4", MTU: tt.mtu, Links: map[string]fact.Link{"ens5": {MTU: 1500}}, Networks: tt.networks})}
		var got []string
		for _, p := range append(checkLink(&Plan{Inventory: inv}, host, o), checkMTU(inv, host, o)...) {
			got = append(got, p.Summary)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// What a kernel and a host must have for a switch.
func TestPreflightOfOpenVSwitch(t *testing.T) {
	kernel := inventory.Network{Kind: inventory.NetworkOpenVSwitch, Tunnel: inventory.TunnelGRE, Datapath: inventory.DatapathKernel, Interface: "eth1"}
	userspace := kernel
	userspace.Datapath = inventory.DatapathUserspace
	there, loadable := fact.Value{Exists: true}, fact.Value{Value: fact.Loadable}
	for _, tt := range []struct {
		name    string
		network inventory.Network
		modules map[string]fact.Value
		tun     bool
		tunnel  string // tunnel_address
		eth1    []string
		without bool // no eth1
		br0     bool
		want    []string
	}{
		{name: "a kernel that can", network: kernel, modules: map[string]fact.Value{"openvswitch": loadable, "ip_gre": there}},
		{name: "a kernel that can't", network: kernel, modules: map[string]fact.Value{"openvswitch": {}, "ip_gre": {}}, want: []string{
			`the kernel 6.1 has no module ip_gre, which network "openvswitch" with datapath = "kernel" and tunnel = "gre" needs: set ` + "`datapath = \"userspace\"`" + ` in the network block and give each host a tunnel_address, or boot a kernel that has the module`,
			`the kernel 6.1 has no module openvswitch, which network "openvswitch" with datapath = "kernel" and tunnel = "gre" needs: set ` + "`datapath = \"userspace\"`" + ` in the network block and give each host a tunnel_address, or boot a kernel that has the module`}},
		{name: "somebody else's bridge", network: kernel, modules: map[string]fact.Value{"openvswitch": there, "ip_gre": there}, br0: true, want: []string{
			`has a bridge br0 already, which network "openvswitch" makes for itself: rename it; kinstall takes over nobody else's`}},
		{name: "somebody else's address", network: kernel, modules: map[string]fact.Value{"openvswitch": there, "ip_gre": there}, tunnel: "10.92.0.14/24", want: []string{
			"does not have the tunnel_address 10.92.0.14: set it on the host, or correct the inventory"}},
		{name: "userspace", network: userspace, modules: map[string]fact.Value{"tun": there}, tun: true, tunnel: "10.92.0.14/24"},
		{name: "the device comes with the module", network: userspace, modules: map[string]fact.Value{"tun": loadable}, tunnel: "10.92.0.14/24"},
		{name: "no tunnels in userspace", network: userspace, modules: map[string]fact.Value{"tun": {}}, tunnel: "10.92.0.14/24", want: []string{
			`the kernel 6.1 has no module tun, which network "openvswitch" with datapath = "userspace" and tunnel = "gre" needs: boot a kernel that has the module`}},
		{name: "nothing there", network: userspace, modules: map[string]fact.Value{"tun": there}, tunnel: "10.92.0.14/24", without: true, want: []string{
			`has no /dev/net/tun, which datapath = "userspace" needs: load the module tun; in a container, bind the device`,
			`has no interface eth1, which datapath = "userspace" needs for its tunnels: set ` + "`interface`" + ` in the network block to one that carries nothing else`}},
		{name: "an interface in use", network: userspace, modules: map[string]fact.Value{"tun": there}, tun: true, tunnel: "10.92.0.14/24", eth1: []string{"10.92.0.14/24"}, want: []string{
			"eth1 has the address 10.92.0.14/24 and would be taken into a switch: choose an interface without an address, or take the address out of the host's own configuration; kinstall gives tunnel_address to the switch"}},
	} {
		inv := load(t, "lab")
		inv.Network = tt.network
		host, _ := inv.Host("huashan")
		if tt.tunnel != "" {
			host.TunnelAddress = netip.MustParsePrefix(tt.tunnel)
		}
		facts := fact.Host{
			Kernel: "6.1", Addresses: []string{host.Address.String()}, Links: map[string]fact.Link{"eth0": {MTU: 1500}, "eth1": {MTU: 1500}},
			Interfaces: map[string][]string{"eth1": tt.eth1},
		}
		if tt.br0 {
			facts.Links["br0"] = fact.Link{MTU: 1500}
		}
		if tt.without {
			delete(facts.Links, "eth1")
		}
		o := Observation{Facts: fact.NewSet(facts)}
		for name, value := range tt.modules {
			o.Facts.Put(fact.Key{Kind: fact.KindModule, Name: name}, value)
		}
		o.Facts.Put(fact.Key{Kind: fact.KindFile, Name: "/dev/net/tun"}, fact.File{Exists: tt.tun})
		var got []string
		for _, p := range checkOpenVSwitch(inv, host, o) {
			got = append(got, p.Summary+": "+p.Hint)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// With dual-stack the same holds for the second address.
func TestPreflightOfDualStack(t *testing.T) {
	for _, tt := range []struct {
		name      string
		network   inventory.Network
		addresses []string // of huashan, fd00:27::14, each with its interface
		networks  []string
		want      []string
	}{
		{"routes on one link", inventory.Network{Kind: inventory.NetworkRoutes}, []string{"10.88.0.14", "fd00:27::14"}, []string{"10.88.0.0/24", "fd00:27::/64"}, nil},
		{"no second address", inventory.Network{Kind: inventory.NetworkRoutes}, []string{"10.88.0.14"}, []string{"10.88.0.0/24"}, []string{
			"does not have the address fd00:27::14 (it has 10.88.0.14)"}},
		{"a router for IPv6", inventory.Network{Kind: inventory.NetworkRoutes}, []string{"10.88.0.14", "fd00:27::14"}, []string{"10.88.0.0/24", "fd00:27::14/127"}, []string{
			"reaches shaolin (fd00:27::11), wudang (fd00:27::12), emei (fd00:27::13) through a router only; its own networks are 10.88.0.0/24, fd00:27::14/127"}},
		{"flannel on two interfaces", inventory.Network{Kind: inventory.NetworkFlannel, Backend: inventory.FlannelHostGW}, []string{"10.88.0.14 ens4", "fd00:27::14 ens5"}, nil, []string{
			"has 10.88.0.14 on ens4 and fd00:27::14 on ens5"}},
		{"routes on two interfaces", inventory.Network{Kind: inventory.NetworkRoutes}, []string{"10.88.0.14 ens4", "fd00:27::14 ens5"}, nil, nil},
		{"a VXLAN over IPv6 adds more", inventory.Network{Kind: inventory.NetworkFlannel, Backend: inventory.FlannelVXLAN, MTU: 1470}, []string{"10.88.0.14", "fd00:27::14"}, nil, []string{
			"ens4 has an MTU of 1500, pods have 1450 and the network adds 70 bytes"}},
	} {
		inv := load(t, "lab")
		inv.Network = tt.network
		dual(inv)
		host, _ := inv.Host("huashan")
		facts := fact.Host{Interface: "ens4", MTU: 1500, Networks: tt.networks, Holders: map[string]string{}}
		for _, text := range tt.addresses {
			address, device, _ := strings.Cut(text, " ")
			facts.Addresses = append(facts.Addresses, address)
			facts.Holders[address] = device
		}
		o := Observation{Facts: fact.NewSet(facts)}
		var got []string
		for _, check := range []check{byInventory(checkAddress), byInventory(checkInterface), checkLink, byInventory(checkMTU)} {
			for _, p := range check(&Plan{Inventory: inv}, host, o) {
				got = append(got, p.Summary)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

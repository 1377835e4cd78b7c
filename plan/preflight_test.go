package plan

import (
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
		{"somebody else's network", inventory.Network{Kind: inventory.NetworkExternal}, []string{"10.88.0.14/31"}, 1280, nil},
	} {
		inv := load(t, "lab")
		inv.Network = tt.network
		host, _ := inv.Host("huashan")
		o := Observation{Facts: fact.NewSet(fact.Host{Interface: "ens4", MTU: tt.mtu, Networks: tt.networks})}
		var got []string
		for _, p := range append(checkLink(inv, host, o), checkMTU(inv, host, o)...) {
			got = append(got, p.Summary)
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
		for _, check := range []check{checkAddress, checkInterface, checkLink, checkMTU} {
			for _, p := range check(inv, host, o) {
				got = append(got, p.Summary)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

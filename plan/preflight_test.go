package plan

import (
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

package plan

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/kinstall/kinstall/plan/resource"
)

// What a second address family adds to each network that can carry it.
func TestDualStackGolden(t *testing.T) {
	for name, network := range dualNetworks() {
		t.Run(name, func(t *testing.T) {
			single, both := load(t, "lab"), load(t, "lab")
			single.Network, both.Network = network, network
			golden(t, filepath.Join("testdata", "dualstack", name+".txt"), difference(compile(t, single), compile(t, dual(both))))
		})
	}
}

// Who sets forwarding of IPv6 by hand is left alone.
func TestDualStackWithOwnForwarding(t *testing.T) {
	inv := dual(load(t, "lab"))
	inv.Preparation.Sysctls = map[string]string{forwardingV6: "1"}
	p := compile(t, inv)
	i := slices.IndexFunc(p.Steps, func(s Step) bool {
		return s.Host == "huashan" && s.Resource == resource.Sysctl{Key: forwardingV6, Value: "1"}
	})
	if i < 0 || slices.Contains(p.Steps[i].After, NewStepID("huashan", resource.Unit{Name: "kinstall-network.service"}.ID())) {
		t.Errorf("it is not what the inventory says: %v", p.Steps)
	}
}

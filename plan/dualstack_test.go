package plan

import (
	"path/filepath"
	"testing"
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

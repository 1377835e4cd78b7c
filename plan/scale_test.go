package plan

import (
	"runtime"
	"testing"

	"github.com/kinstall/kinstall/plan/inventory"
)

// Compiling takes for each host what it takes for each of a quarter of them, in
// bytes: something that is done for each host with what is there of all hosts
// would show.
func TestCompileGrowsWithItsHosts(t *testing.T) {
	for _, network := range largeNetworks {
		t.Run(network.name, func(t *testing.T) {
			bytesPerHost := func(workers int) float64 {
				inv := large(t, workers, network.block)
				lock := ProposeLock(inv, inventory.Lock{}, digests(inv))
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if _, diags := Compile(inv, lock, nil, noAuthorities{}, nil); diags.HasErrors() {
					t.Fatal(diags)
				}
				runtime.ReadMemStats(&after)
				return float64(after.TotalAlloc-before.TotalAlloc) / float64(workers)
			}
			bytesPerHost(10) // what is made once in a process
			few, many := bytesPerHost(200), bytesPerHost(800)
			if many > 1.1*few {
				t.Errorf("%.0f bytes for each of 800 hosts, %.0f for each of 200", many, few)
			}
		})
	}
}

// A plan's steps keep their names, and those are the names they would be given.
func TestStepsKeepTheirNames(t *testing.T) {
	for name, inv := range variants(t) {
		for _, s := range compile(t, inv).Steps {
			if s.id == "" || s.ID() != NewStepID(s.Host, s.Resource.ID()) || s.resourceID() != s.Resource.ID() {
				t.Errorf("%s: %s calls itself %q", name, NewStepID(s.Host, s.Resource.ID()), s.id)
			}
		}
	}
}

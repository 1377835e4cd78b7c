package plan

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// What a new worker changes on the hosts that are there. Whatever the network,
// that is a line of /etc/hosts; beyond it, networks whose hosts name each other
// have more. No program but those of such networks is started anew.
func TestNewWorkerTouchesOthersLittle(t *testing.T) {
	all := networks()
	all["routes"] = inventory.Network{Kind: inventory.NetworkRoutes}
	all["external"] = inventory.Network{Kind: inventory.NetworkExternal}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		with := without(load(t, "lab"))
		with.Network = all[name]
		// The last by its name: others keep their subnets, as the lock file has it.
		with.Hosts[slices.IndexFunc(with.Hosts, func(h inventory.Host) bool { return h.Name == "huashan" })].Name = "yandang"
		before := map[StepID]resource.Resource{}
		for _, s := range compile(t, without(with, "yandang")).Steps {
			before[s.ID()] = s.Resource
		}
		touched := map[resource.ID]bool{}
		for _, s := range compile(t, with).Steps {
			if id := s.Resource.ID(); s.Host != "yandang" && s.Host != Operator && before[s.ID()] != nil && !reflect.DeepEqual(before[s.ID()], s.Resource) {
				touched[id] = true
				if id.Kind() == resource.KindStaticPod || id.Kind() == resource.KindUnit && !carriesPods(id) && id != unitID(networkUnit) {
					t.Errorf("%s: %s is started anew", name, s.ID())
				}
			}
		}
		fmt.Fprintf(&b, "network %s\n", name)
		for _, id := range slices.Sorted(maps.Keys(touched)) {
			fmt.Fprintf(&b, "    %s\n", id)
		}
	}
	golden(t, filepath.Join("testdata", "arrivals.txt"), []byte(b.String()))
}

package render

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Routes that change are lines of one step; of very many, only some.
func TestStaticRoutes(t *testing.T) {
	const begin = "# risks\n  connection: changes on emei may cut kinstall off: what is marked (armed) is undone by the host\n      itself unless kinstall reaches it again over a new connection\n\n# host emei\n"
	const end = "\nPlan: 1 to create, 0 to change, 0 to delete, 0 to restart on 1 of 1 host; 0 hosts unchanged.\n"
	for n, want := range map[int]string{
		2:   "  + staticroutes pods (armed)  10.244.0.0/24 via 10.0.0.0; 10.244.1.0/24 via 10.0.0.1\n",
		200: "  + staticroutes pods (armed)  10.244.0.0/24 via 10.0.0.0; 10.244.1.0/24 via 10.0.0.1; …\n",
	} {
		var routes []resource.Route
		for i := range n {
			routes = append(routes, resource.Route{Destination: fmt.Sprintf("10.244.%d.0/24", i), Via: fmt.Sprintf("10.0.0.%d", i)})
		}
		r := resource.StaticRoutes{Table: resource.NewRouteTable(routes)}
		facts := fact.NewSet(fact.Host{})
		facts.Put(r.Queries()[0].Key(), fact.Routes{})
		change, err := r.Diff(facts)
		if err != nil {
			t.Fatal(err)
		}
		p := &plan.Plan{Inventory: &inventory.Inventory{Hosts: []inventory.Host{{Name: "emei"}}}, Steps: []plan.Step{{Host: "emei", Resource: r}}}
		var b strings.Builder
		if err := Text(&b, &plan.Delta{Plan: p, Items: []plan.Item{{Step: &p.Steps[0], Change: &change}}}, Options{Width: 100}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(begin+want+end, b.String()); diff != "" {
			t.Errorf("%d routes (-want +got):\n%s", n, diff)
		}
	}
}

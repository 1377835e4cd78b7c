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
	const end = "\n(armed): undone by the host itself unless kinstall reaches it again over a new connection\nPlan: 1 to create, 0 to change, 0 to delete, 0 to restart on 1 of 1 host; 0 hosts unchanged.\n"
	for n, want := range map[int]string{
		2: `# host emei
  + staticroutes pods (armed)  10.244.0.0/24 via 10.0.0.0; 10.244.1.0/24 via 10.0.0.1
`,
		200: `# host emei
  + staticroutes pods (armed)
      10.244.0.0/24 via 10.0.0.0
      10.244.1.0/24 via 10.0.0.1
      10.244.10.0/24 via 10.0.0.10
      10.244.100.0/24 via 10.0.0.100
      10.244.101.0/24 via 10.0.0.101
      10.244.102.0/24 via 10.0.0.102
      10.244.103.0/24 via 10.0.0.103
      10.244.104.0/24 via 10.0.0.104
      10.244.105.0/24 via 10.0.0.105
      10.244.106.0/24 via 10.0.0.106
      10.244.107.0/24 via 10.0.0.107
      10.244.108.0/24 via 10.0.0.108
      … and 188 more
`,
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
		if err := Text(&b, &plan.Delta{Plan: p, Items: []plan.Item{{Step: p.Steps[0], Change: change}}}, Options{Width: 100}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want+end, b.String()); diff != "" {
			t.Errorf("%d routes (-want +got):\n%s", n, diff)
		}
	}
}

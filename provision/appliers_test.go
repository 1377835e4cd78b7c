package provision

import (
	"testing"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// Every kind is applied by something, and removed by something exactly when its
// descriptor says that it is removed.
func TestEveryKindIsCarriedOut(t *testing.T) {
	known := map[resource.Kind]bool{}
	for _, d := range resource.Kinds() {
		known[d.Kind] = true
		if appliers[d.Kind] == nil {
			t.Errorf("nothing applies a %s", d.Kind)
		}
		if removes := removers[d.Kind] != nil; removes != d.Removable {
			t.Errorf("%s: a remover is there: %v, the descriptor says %v", d.Kind, removes, d.Removable)
		}
	}
	for kind := range appliers {
		if !known[kind] {
			t.Errorf("%q has an applier and no descriptor", kind)
		}
	}
	for kind := range removers {
		if !known[kind] {
			t.Errorf("%q has a remover and no descriptor", kind)
		}
	}
}

// impostor is a resource with another one's kind.
type impostor struct{}

func (impostor) ID() resource.ID                              { return resource.NewID(resource.KindFile, "/x") }
func (impostor) Queries() []fact.Query                        { return nil }
func (impostor) Diff(fact.Set) (c resource.Change, err error) { return }

// A step that holds something else than its kind says is an error, not a panic:
// in the middle of an apply the other hosts go on.
func TestApplierRefusesAnotherType(t *testing.T) {
	for name, do := range map[string]applier{"apply": appliers[resource.KindFile], "remove": removers[resource.KindFile]} {
		item := plan.Item{Step: &plan.Step{Host: "shaolin", Resource: impostor{}}, Change: &resource.Change{Action: resource.Create}}
		_, err := do(t.Context(), &task{item: item})
		if want := "create file:/x: the step holds a provision.impostor"; err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

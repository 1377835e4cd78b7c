package plan

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan/resource"
)

// Items share their steps with the plan and their changes with each other: a
// field that is set through an item would be set for other hosts, too.
func TestItemsAreNotWrittenThrough(t *testing.T) {
	for _, folder := range []string{".", "../provision", "../cmd", "../e2e"} {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				assignment, ok := n.(*ast.AssignStmt)
				if !ok {
					return true
				}
				for _, left := range assignment.Lhs {
					if field, ok := left.(*ast.SelectorExpr); ok {
						if of, ok := field.X.(*ast.SelectorExpr); ok && (of.Sel.Name == "Step" || of.Sel.Name == "Change") {
							t.Errorf("%s: use OwnStep or OwnChange: others may share it", files.Position(left.Pos()))
						}
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What is the same on two hosts is there once, and an item that is to have
// another change leaves that of the others alone.
func TestItemsShareWhatDoesNotChange(t *testing.T) {
	a := newAuthority(t)
	p := compileWith(t, large(t, 3, largeNetworks[0].block), a)
	delta := p.Diff(installed(t, p, a))
	shared := map[*resource.Change]int{}
	var last *Item
	for i := range delta.Items {
		if item := &delta.Items[i]; item.Step.Resource.ID() == resource.NewID(resource.KindPackage, "socat") {
			shared[item.Change]++
			last = item
		}
	}
	if len(shared) > 2 { // one for each of two that judge at a time
		t.Errorf("%d changes for one package", len(shared))
	}
	before := *last
	last.OwnChange().Action = resource.Delete
	last.OwnStep().Host = "elsewhere"
	if before.Change.Action != resource.NoOp || before.Step.Host == "elsewhere" || last.Change.Action != resource.Delete || last.Step.Host != "elsewhere" {
		t.Error("what other items share was changed")
	}
}

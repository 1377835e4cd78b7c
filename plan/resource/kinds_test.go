package resource_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan/resource"
)

// Every type of this package that is a Resource has a kind of its own, and
// every kind its descriptor: the source says which there are, so that a new one
// can't be forgotten.
func TestEveryResourceIsDescribed(t *testing.T) {
	kinds := kindsOfTypes(t)
	if len(kinds) < 20 {
		t.Fatalf("only %d resources found in the source: %v", len(kinds), kinds)
	}
	described := map[resource.Kind]bool{}
	for _, d := range resource.Kinds() {
		described[d.Kind] = true
		if found, ok := resource.Describe(d.Kind); !ok || found != d {
			t.Errorf("Describe(%q) is %+v, %v", d.Kind, found, ok)
		}
	}
	types := map[resource.Kind]string{}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		kind := kinds[name]
		if other, taken := types[kind]; taken {
			t.Errorf("%s and %s are both of the kind %q", other, name, kind)
		}
		types[kind] = name
		if !described[kind] {
			t.Errorf("%s has the kind %q, which no line of the table describes", name, kind)
		}
		delete(described, kind)
	}
	for kind := range described {
		t.Errorf("kind %q is described, and no resource has it", kind)
	}
	if d, ok := resource.Describe("of another version"); ok || d != (resource.Descriptor{}) {
		t.Errorf("a kind that nobody knows is described as %+v", d)
	}
}

// kindsOfTypes returns the kind of each type that has the methods of a Resource,
// as its method ID has it. An Orphan has the kind of what it was.
func kindsOfTypes(t *testing.T) map[string]resource.Kind {
	t.Helper()
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]resource.Kind{}
	methods := map[string]map[string]*ast.FuncDecl{}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					spec, ok := spec.(*ast.ValueSpec)
					if !ok || decl.Tok != token.CONST || len(spec.Values) != 1 {
						continue
					}
					if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Kind" {
						value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
						if err != nil {
							t.Fatal(err)
						}
						constants[spec.Names[0].Name] = resource.Kind(value)
					}
				}
			case *ast.FuncDecl:
				if decl.Recv == nil {
					continue
				}
				of := decl.Recv.List[0].Type
				if pointer, ok := of.(*ast.StarExpr); ok {
					of = pointer.X
				}
				name := of.(*ast.Ident).Name
				if methods[name] == nil {
					methods[name] = map[string]*ast.FuncDecl{}
				}
				methods[name][decl.Name.Name] = decl
			}
		}
	}
	kinds := map[string]resource.Kind{}
	for name, of := range methods {
		if of["ID"] == nil || of["Queries"] == nil || of["Diff"] == nil || name == "Orphan" {
			continue
		}
		var used []string
		ast.Inspect(of["ID"], func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "NewID" {
					if kind, ok := call.Args[0].(*ast.Ident); ok && constants[kind.Name] != "" {
						used = append(used, kind.Name)
					} else {
						used = append(used, "what is no constant")
					}
				}
			}
			return true
		})
		if used = slices.Compact(used); len(used) != 1 || constants[used[0]] == "" {
			t.Errorf("%s.ID makes its ID of %q; want one of the constants of the type Kind", name, strings.Join(used, ", "))
			continue
		}
		kinds[name] = constants[used[0]]
	}
	return kinds
}

// What a descriptor says fits together.
func TestDescriptors(t *testing.T) {
	for _, d := range resource.Kinds() {
		if (d.CarriesPods || d.Program()) && !d.Removable {
			t.Errorf("%s would be left behind", d.Kind)
		}
		if (d.Remade || d.Outlasts) && !d.CarriesPods {
			t.Errorf("%s is taken for a part of a network, and carries no pods", d.Kind)
		}
		if d.Scope == resource.ScopeOperator && d.Removable {
			t.Errorf("%s is removed by nobody: the operator's machine has no state", d.Kind)
		}
		orphan := resource.Orphan{Was: resource.NewID(d.Kind, "x")}
		if change, err := orphan.Diff(host(nil, nil)); err != nil || orphan.Removable() != d.Removable || change.Changes() != d.Removable {
			t.Errorf("an orphan of the kind %s: %+v, %v", d.Kind, change, err)
		}
	}
}

package plan

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What is planned depends on nothing but what is passed in: no clock, no
// network, no files, no randomness. Only the inventory reads files, its own.
func TestPlanIsPure(t *testing.T) {
	forbidden := []string{"os", "os/exec", "os/signal", "os/user", "syscall", "net/http", "net/rpc", "net/smtp", "crypto/rand", "math/rand", "math/rand/v2", "io/ioutil", "plugin", "unsafe", "log", "log/slog"}
	allowed := map[string][]string{filepath.Join("inventory", "load.go"): {"os"}}
	forbiddenCalls := map[string][]string{
		"time":     {"Now", "Since", "Until", "Sleep", "After", "Tick", "NewTimer", "NewTicker", "AfterFunc"},
		"net":      {"Dial", "DialTimeout", "DialTCP", "DialUDP", "Dialer", "Listen", "LookupHost", "LookupIP", "LookupAddr", "ResolveTCPAddr", "ResolveIPAddr", "Interfaces", "InterfaceAddrs"},
		"filepath": {"Walk", "WalkDir", "Glob", "EvalSymlinks"},
	}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if slices.Contains(forbidden, name) && !slices.Contains(allowed[path], name) {
				t.Errorf("%s imports %s", path, name)
			}
			if rest, own := strings.CutPrefix(name, "github.com/kinstall/kinstall/"); own && rest != "templates" && rest != "plan" && !strings.HasPrefix(rest, "plan/") {
				t.Errorf("%s imports %s", path, name)
			}
			if name == "golang.org/x/crypto/ssh" || strings.HasPrefix(name, "k8s.io/client-go") || strings.HasPrefix(name, "go.etcd.io/") {
				t.Errorf("%s imports %s", path, name)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if selector, ok := n.(*ast.SelectorExpr); ok {
				if of, ok := selector.X.(*ast.Ident); ok && slices.Contains(forbiddenCalls[of.Name], selector.Sel.Name) {
					t.Errorf("%s uses %s.%s", path, of.Name, selector.Sel.Name)
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

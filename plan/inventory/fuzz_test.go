package inventory

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
)

// The targets hold for any input: no panic, errors or a result, diagnostics that
// can be printed and stay short, and a result that can be written and read again.
// `make test-fuzz` runs each for a minute; what they found lies in testdata/fuzz.

// mostPrinted bounds what is printed of one Load, in bytes.
const mostPrinted = 256 << 10

func checkPrinted(t *testing.T, files map[string]*hcl.File, diags hcl.Diagnostics) {
	t.Helper()
	if got := render(t, files, diags); len(got) > mostPrinted {
		t.Fatalf("%d bytes are printed", len(got))
	}
	var out bytes.Buffer
	if err := WriteDiagnosticsJSON(&out, diags); err != nil {
		t.Fatal(err)
	}
}

func FuzzInventory(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*/inventory.hcl", "../../inventories/*.hcl", "starter.hcl"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content, "x")
		}
	}
	f.Add([]byte("host \"a\" {\n count = 2\n name = \"${count.index}\"\n}"), `["a", {b = 1}]`)
	f.Fuzz(func(t *testing.T, content []byte, value string) {
		files := make(map[string]*hcl.File)
		read := virtual{testPath: string(content), LockPath(testPath): value, "/more.json": value}.read
		inv, lock, diags := Load(testPath, Options{
			HomeDir: "/home/operator", ReadFile: read, Files: files,
			Vars: map[string]string{"x": value}, VarFiles: []string{"/more.json"},
		})
		if (inv == nil || lock == nil) != diags.HasErrors() {
			t.Fatalf("inventory %v, lock %v beside %v", inv, lock, diags)
		}
		checkPrinted(t, files, diags)
		if inv == nil {
			return
		}
		resolved := Resolved(inv)
		again, _, diags := Load(testPath, Options{HomeDir: "/elsewhere", ReadFile: virtual{testPath: string(resolved)}.read})
		if diags.HasErrors() {
			t.Fatalf("the canonical form does not load: %v\n%s", diags, resolved)
		}
		if diff := cmp.Diff(inv, again, comparers()); diff != "" {
			t.Fatalf("the canonical form gives another inventory\n%s", diff)
		}
	})
}

// FuzzVariables reads a variables file in HCL and in JSON, and the same text as
// from the command line and the environment.
func FuzzVariables(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*/more.*", "testdata/*/*/vars"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	f.Add([]byte(`{"x": {"a": [1, "${2}", null]}, "y": "z"}`))
	f.Add([]byte("x = [for i in [1, 2] : {a = i}]\ny = \"${1}\"\n"))
	inventory := string(Starter()) + "\nvariable \"x\" {\n type = any\n default = null\n}\nvariable \"y\" {\n type = list(object({ a = optional(number, 1) }))\n default = []\n}\nlocals {\n z = [var.x, var.y]\n}\n"
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, name := range []string{"/more.hclvars", "/more.json"} {
			files := make(map[string]*hcl.File)
			inv, lock, diags := Load(testPath, Options{
				HomeDir: "/home/operator", Files: files, VarFiles: []string{name},
				ReadFile: virtual{testPath: inventory, name: string(content)}.read,
			})
			if (inv == nil || lock == nil) != diags.HasErrors() {
				t.Fatalf("inventory %v, lock %v beside %v", inv, lock, diags)
			}
			checkPrinted(t, files, diags)
		}
		files := make(map[string]*hcl.File)
		_, _, diags := loadText(inventory, Options{Files: files, Vars: map[string]string{"y": string(content)}, Env: []string{"KINSTALL_VAR_x=" + string(content)}})
		checkPrinted(t, files, diags)
	})
}

// FuzzLock reads a lock file; one that is accepted is written and read again.
func FuzzLock(f *testing.F) {
	for _, pattern := range []string{"testdata/lock.hcl", "testdata/*/*/inventory.lock.hcl", "../../inventories/*.lock.hcl"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		load := func(lock []byte) (*Lock, hcl.Diagnostics) {
			files := make(map[string]*hcl.File)
			_, l, diags := Load(testPath, Options{
				HomeDir: "/home/operator", Files: files,
				ReadFile: virtual{testPath: string(Starter()), LockPath(testPath): string(lock)}.read,
			})
			checkPrinted(t, files, diags)
			return l, diags
		}
		lock, diags := load(content)
		if diags.HasErrors() {
			return
		}
		again, diags := load(FormatLock(*lock))
		if diags.HasErrors() {
			t.Fatalf("what was written does not load: %v\n%s", diags, FormatLock(*lock))
		}
		if diff := cmp.Diff(lock, again, comparers()); diff != "" {
			t.Fatalf("another lock comes back (-first +again)\n%s", diff)
		}
	})
}

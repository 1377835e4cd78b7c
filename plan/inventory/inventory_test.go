package inventory

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

var update = flag.Bool("update", false, "rewrite golden files and docs/inventory.md")

// virtual serves files from memory, under paths that are the same everywhere.
type virtual map[string]string

func (v virtual) read(path string) ([]byte, error) {
	if content, ok := v[path]; ok {
		return []byte(content), nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

const testPath = "/inventories/inventory.hcl"

func loadText(text string, opts Options) (*Inventory, *Lock, hcl.Diagnostics) {
	opts.ReadFile = virtual{testPath: text}.read
	if opts.HomeDir == "" {
		opts.HomeDir = "/home/operator"
	}
	return Load(testPath, opts)
}

// mustLoad wants an inventory without any complaint.
func mustLoad(t *testing.T, text string) *Inventory {
	t.Helper()
	inv, _, diags := loadText(text, Options{})
	if len(diags) > 0 {
		t.Fatalf("unexpected diagnostics:\n%s", render(t, nil, diags))
	}
	return inv
}

func render(t *testing.T, files map[string]*hcl.File, diags hcl.Diagnostics) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteDiagnostics(&out, files, diags, 100, false); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// golden compares with a file, or rewrites it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); -update rewrites it\n%s", path, diff)
	}
}

// comparable values of the standard library that go-cmp must not look into.
func comparers() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(Signer{}, "Place"), cmpopts.IgnoreFields(Encryption{}, "Place"), // the canonical form has other lines
	}
}

// loadDisk loads a file of the tree as if it lay in /inventories, so that the
// absolute paths in what comes out are the same on every machine.
func loadDisk(t *testing.T, file string, opts Options) (*Inventory, *Lock, hcl.Diagnostics) {
	t.Helper()
	dir := filepath.Dir(file)
	opts.HomeDir = "/home/operator"
	opts.ReadFile = func(path string) ([]byte, error) {
		rel, err := filepath.Rel("/inventories", path)
		if err != nil || strings.HasPrefix(rel, "..") {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		content, err := os.ReadFile(filepath.Join(dir, rel))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return content, err
	}
	return Load("/inventories/"+filepath.Base(file), opts)
}

// checkResolved compares the canonical form with a golden file and loads it back.
func checkResolved(t *testing.T, inv *Inventory, goldenFile string) {
	t.Helper()
	resolved := Resolved(inv)
	golden(t, goldenFile, resolved)
	files := make(map[string]*hcl.File)
	again, _, diags := Load(inv.Path, Options{
		HomeDir:  "/home/somebody-else",
		Files:    files,
		ReadFile: virtual{inv.Path: string(resolved)}.read,
	})
	if diags.HasErrors() {
		t.Fatalf("the canonical form does not load:\n%s", render(t, files, diags))
	}
	if diff := cmp.Diff(inv, again, comparers()); diff != "" {
		t.Errorf("the canonical form gives another inventory (-first +again)\n%s", diff)
	}
	if second := Resolved(again); !bytes.Equal(resolved, second) {
		t.Errorf("the canonical form is not stable\n%s", cmp.Diff(string(resolved), string(second)))
	}
}

func TestExamples(t *testing.T) {
	examples, err := filepath.Glob("../../inventories/*.hcl")
	if err != nil {
		t.Fatal(err)
	}
	nested, err := filepath.Glob("../../inventories/*/*.hcl")
	if err != nil {
		t.Fatal(err)
	}
	examples = append(examples, nested...)
	if len(examples) < 5 {
		t.Fatalf("only %d examples: %s", len(examples), examples)
	}
	for _, file := range examples {
		if strings.HasSuffix(file, ".lock.hcl") {
			continue
		}
		name := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(file, "../../inventories/"), ".hcl"), "/", "-")
		t.Run(name, func(t *testing.T) {
			files := make(map[string]*hcl.File)
			inv, _, diags := loadDisk(t, file, Options{Files: files})
			if len(diags) > 0 {
				t.Fatalf("diagnostics:\n%s", render(t, files, diags))
			}
			checkResolved(t, inv, filepath.Join("testdata", "examples", name+".hcl"))
		})
	}
}

func TestValid(t *testing.T) {
	cases, err := filepath.Glob("testdata/valid/*/inventory.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			files := make(map[string]*hcl.File)
			inv, lock, diags := loadDisk(t, file, caseOptions(t, dir, files))
			if diags.HasErrors() {
				t.Fatalf("diagnostics:\n%s", render(t, files, diags))
			}
			golden(t, filepath.Join(dir, "want.txt"), []byte(render(t, files, diags)))
			checkResolved(t, inv, filepath.Join(dir, "resolved.hcl"))
			if _, err := os.Stat(filepath.Join(dir, "inventory.lock.hcl")); err == nil {
				want, err := os.ReadFile(filepath.Join(dir, "inventory.lock.hcl"))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), string(FormatLock(*lock))); diff != "" {
					t.Errorf("lock file is not canonical (-want +got)\n%s", diff)
				}
			}
		})
	}
}

// caseOptions reads a case's optional files: vars (NAME=VALUE lines, as from
// -var), env (KEY=VALUE lines) and files of variables.
func caseOptions(t *testing.T, dir string, files map[string]*hcl.File) Options {
	t.Helper()
	opts := Options{Files: files}
	lines := func(name string) []string {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(content)), "\n")
	}
	for _, line := range lines("vars") {
		name, value, _ := strings.Cut(line, "=")
		if opts.Vars == nil {
			opts.Vars = make(map[string]string)
		}
		opts.Vars[name] = value
	}
	opts.Env = lines("env")
	for _, name := range []string{"more.hclvars", "more.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			opts.VarFiles = append(opts.VarFiles, "/inventories/"+name)
		}
	}
	return opts
}

// TestInvalid: one folder for each class of mistake, and what is printed.
func TestInvalid(t *testing.T) {
	cases, err := filepath.Glob("testdata/invalid/*/inventory.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	seen := make(map[string]bool)
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			files := make(map[string]*hcl.File)
			inv, lock, diags := loadDisk(t, file, caseOptions(t, dir, files))
			if len(diags) == 0 {
				t.Fatal("no diagnostics")
			}
			if diags.HasErrors() && (inv != nil || lock != nil) {
				t.Error("an inventory came back beside errors")
			}
			for _, diag := range diags {
				seen[diag.Summary] = true
			}
			golden(t, filepath.Join(dir, "want.txt"), []byte(render(t, files, diags)))
		})
	}
	if t.Failed() || *update {
		return
	}
	// These need what a folder can't hold; tests of their own cover them.
	elsewhere := map[mistake]bool{fileUnreadable: true, fileTooLarge: true, nestedTooDeep: true, tooMuch: true}
	for m := range mistakeCount {
		if e := m.explain(); !seen[e.summary] && !elsewhere[m] {
			t.Errorf("no case for %q", e.summary)
		}
	}
}

func TestMistakeTable(t *testing.T) {
	seen := make(map[string]bool)
	for m := range mistakeCount {
		e := m.explain()
		if e.summary == "" || e.meaning == "" || e.hint == "" || e.severity == hcl.DiagInvalid {
			t.Errorf("mistake %d is not explained: %+v", m, e)
		}
		if seen[e.summary] {
			t.Errorf("the summary %q stands twice", e.summary)
		}
		seen[e.summary] = true
	}
}

// TestSchema: every attribute of the schema is documented, its example works,
// and its default decodes.
func TestSchema(t *testing.T) {
	var walk func(where string, b *block)
	walk = func(where string, b *block) {
		where += "/" + b.name
		if b.doc == "" {
			t.Errorf("%s has no doc", where)
		}
		seen := make(map[string]bool)
		for _, a := range b.attrs {
			if a.doc == "" || a.example == "" || a.kind.name == "" {
				t.Errorf("%s.%s: doc, example and type are needed", where, a.name)
			}
			labels := a.labels
			if len(labels) == 0 {
				labels = []string{""}
			}
			for _, label := range labels {
				if seen[a.name+" "+label] || seen[a.name+" "] {
					t.Errorf("%s.%s stands twice", where, a.name)
				}
				seen[a.name+" "+label] = true
			}
		}
		for _, n := range b.blocks {
			walk(where, n)
		}
	}
	for _, b := range schema().blocks {
		walk("", b)
	}
}

// TestSchemaExamples loads the examples of attributes, and those of blocks.
func TestSchemaExamples(t *testing.T) {
	base := func(extra string) string {
		return fmt.Sprintf("cluster \"c\" {\n version = \"1.36.3\"\n}\nhost \"a\" {\n address = \"10.1.0.1\"\n roles = [\"etcd\", \"master\"]\n}\n%s\n", extra)
	}
	for _, b := range schema().blocks {
		if b.target == nil || b.many || b.name == "cluster" || b.name == "load_balancer" {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			mustLoad(t, base(b.example))
			for _, a := range b.attrs {
				if a.refusal != nil {
					continue
				}
				label := ""
				if b.label != nil {
					label = map[string]string{"network": `"routes"`, "runtime": `"containerd"`}[b.name]
				}
				if len(a.labels) > 0 {
					label = quoted(a.labels[0])
				}
				mustLoad(t, base(fmt.Sprintf("%s %s {\n %s = %s\n}", b.name, label, a.name, a.example)))
			}
		})
	}
}

func TestStarter(t *testing.T) {
	inv := mustLoad(t, string(Starter()))
	if got := len(inv.Hosts); got != 4 {
		t.Errorf("the starter has %d hosts, want 4", got)
	}
}

func TestReferenceIsUpToDate(t *testing.T) {
	golden(t, "../../docs/inventory.md", Reference())
}

func TestDeterminism(t *testing.T) {
	content, err := os.ReadFile("testdata/invalid/ten-mistakes/inventory.hcl")
	if err != nil {
		t.Fatal(err)
	}
	var first string
	for i := range 20 {
		files := make(map[string]*hcl.File)
		_, _, diags := loadText(string(content), Options{Files: files, Vars: map[string]string{"b": "1", "a": "2", "c": "3"}})
		got := render(t, files, diags)
		if i == 0 {
			first = got
		} else if got != first {
			t.Fatalf("run %d differs\n%s", i, cmp.Diff(first, got))
		}
	}
}

func TestFiles(t *testing.T) {
	deny := func(path string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}
	for name, tc := range map[string]struct {
		read func(string) ([]byte, error)
		want string
	}{
		"missing":    {virtual{}.read, "File not readable"},
		"unreadable": {deny, "permission denied"},
		"large":      {virtual{testPath: strings.Repeat("#", maxSource+1)}.read, "File too large"},
		"deep":       {virtual{testPath: "x = " + strings.Repeat("[", 1<<20)}.read, "Nested too deep"},
		"long":       {virtual{testPath: "locals {\n x = 1" + strings.Repeat("+1", 1<<20) + "\n}"}.read, "Nested too deep"},
		"templates":  {virtual{testPath: "x = " + strings.Repeat(`"${`, 1<<18)}.read, "Nested too deep"},
	} {
		t.Run(name, func(t *testing.T) {
			inv, _, diags := Load(testPath, Options{ReadFile: tc.read, HomeDir: "/home/operator"})
			if inv != nil || !strings.Contains(render(t, nil, diags), tc.want) {
				t.Errorf("got %v, want %q", diags, tc.want)
			}
		})
	}
}

// What is printed stays short, whatever was written.
func TestDiagnosticsAreBounded(t *testing.T) {
	utf16 := []byte("\xff\xfe")
	for _, r := range string(Starter()) {
		utf16 = append(utf16, byte(r), byte(r>>8))
	}
	var hosts strings.Builder
	for i := range 30000 {
		fmt.Fprintf(&hosts, "host \"H_%d\" {\n address = \"10.%d.%d.300\"\n roles = [\"wrker\"]\n}\n", i, i/250, i%250)
	}
	long := strings.Repeat("x", 10<<20)
	for name, tc := range map[string]struct {
		source, want string
		most         int // bytes
	}{
		"UTF-16":                   {string(utf16), "text in UTF-16", 500},
		"UTF-16 without a mark":    {string(utf16[2:]), "text in UTF-16", 500},
		"a long line":              {"x = " + long, "Unknown attribute", 2000},
		"a long text":              {string(Starter()) + "\netcd {\n data_dir = \"" + long + "\"\n}\n", "Invalid path", 2000},
		"a long label":             {"host \"" + long + "\" {\n address = 1\n}\n" + string(Starter()), "Invalid name", 8000},
		"a long block":             {long + " {\n}\n" + string(Starter()), "Unknown block", 4000},
		"a long reference":         {string(Starter()) + "\netcd {\n data_dir = var." + long + "\n}\n", "variable", 6000},
		"30,000 hosts":             {string(Starter()) + hosts.String(), "89950 more errors", 40000},
		"a thousand syntax errors": {strings.Repeat("x = = 1\n", 1000), "Invalid expression", 40000},
	} {
		t.Run(name, func(t *testing.T) {
			files := make(map[string]*hcl.File)
			_, _, diags := loadText(tc.source, Options{Files: files})
			got := render(t, files, diags)
			if !strings.Contains(got, tc.want) || len(got) > tc.most {
				t.Errorf("%d bytes, want %q and at most %d:\n%.3000s", len(got), tc.want, tc.most, got)
			}
			var encoded bytes.Buffer
			if err := WriteDiagnosticsJSON(&encoded, diags); err != nil || encoded.Len() > 3*tc.most {
				t.Errorf("%d bytes as JSON (%v)", encoded.Len(), err)
			}
		})
	}
}

// A variables file that is not there is the one thing to say: not that its
// variables have no values, and not how to begin an inventory.
func TestMissingVariablesFile(t *testing.T) {
	_, _, diags := loadText(string(Starter())+"\nvariable \"zone\" {}\nlocals {\n x = var.zone\n}\n", Options{VarFiles: []string{"/nobody.hclvars"}})
	if got := render(t, nil, diags); len(diags) != 1 || !strings.Contains(got, "/nobody.hclvars does not exist") || strings.Contains(got, "init") {
		t.Errorf("got %s", got)
	}
}

func TestHomeUnknown(t *testing.T) {
	t.Setenv("HOME", "")
	_, _, diags := Load(testPath, Options{ReadFile: virtual{testPath: string(Starter())}.read})
	got := render(t, nil, diags)
	if !strings.Contains(got, "the home directory is not known") || len(diags) > 2 {
		t.Errorf("got %d diagnostics:\n%s", len(diags), got)
	}
}

func TestLock(t *testing.T) {
	lock := Lock{
		Subnets: map[string]netip.Prefix{
			"wudang": netip.MustParsePrefix("10.244.1.0/24"),
			"for":    netip.MustParsePrefix("10.244.0.0/24"),
			"emei.x": netip.MustParsePrefix("10.244.2.0/24"),
		},
		Artifacts: map[string]string{
			"dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet": strings.Repeat("0a", 32),
		},
	}
	formatted := FormatLock(lock)
	golden(t, "testdata/lock.hcl", formatted)
	_, got, diags := Load(testPath, Options{HomeDir: "/home/operator", ReadFile: virtual{
		testPath:           string(Starter()),
		LockPath(testPath): string(formatted),
	}.read})
	if len(diags) > 0 {
		t.Fatal(render(t, nil, diags))
	}
	if diff := cmp.Diff(&lock, got, comparers()); diff != "" {
		t.Errorf("lock does not come back (-want +got)\n%s", diff)
	}
	_, empty, _ := loadText(string(Starter()), Options{})
	if diff := cmp.Diff(&Lock{}, empty); diff != "" {
		t.Errorf("lock of an inventory without one (-want +got)\n%s", diff)
	}
	_, got, diags = Load(testPath, Options{HomeDir: "/home/operator", ReadFile: virtual{
		testPath:           string(Starter()),
		LockPath(testPath): string(FormatLock(Lock{})),
	}.read})
	if diff := cmp.Diff(&Lock{}, got); diff != "" || len(diags) > 0 {
		t.Errorf("empty lock does not come back (-want +got)\n%s\n%v", diff, diags)
	}
}

func TestLockPath(t *testing.T) {
	for in, want := range map[string]string{
		"inventory.hcl": "inventory.lock.hcl",
		"x/lab.hcl":     "x/lab.lock.hcl",
		"odd":           "odd.lock.hcl",
	} {
		if got := LockPath(in); got != want {
			t.Errorf("LockPath(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAPIServerSANs(t *testing.T) {
	inv := mustLoad(t, string(Starter()))
	names, addresses := inv.APIServerSANs(inv.Hosts[0])
	wantNames := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "master-1", "master-3"}
	if diff := cmp.Diff(wantNames, names); diff != "" {
		t.Errorf("names (-want +got)\n%s", diff)
	}
	wantAddresses := []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.13")}
	if diff := cmp.Diff(wantAddresses, addresses, comparers()); diff != "" {
		t.Errorf("addresses (-want +got)\n%s", diff)
	}
}

func TestEndpointDefaults(t *testing.T) {
	const one = "cluster \"c\" {\n version = \"1.36.3\"\n %s\n}\nhost \"a\" {\n address = \"10.1.0.1\"\n roles = [\"etcd\", \"master\"]\n}\nhost \"b\" {\n address = \"10.1.0.2\"\n roles = [\"worker\"]\n}\n%s"
	for name, tc := range map[string]struct {
		endpoint, extra string
		want            Endpoint
	}{
		"only master":     {"", "", Endpoint{"10.1.0.1", 6443, netip.MustParseAddr("10.1.0.1")}},
		"balancer":        {"", "load_balancer \"nginx\" {\n hosts = [\"b\"]\n}", Endpoint{"10.1.0.2", 8443, netip.MustParseAddr("10.1.0.2")}},
		"name":            {`endpoint = "api.example.com:6443"`, "", Endpoint{"api.example.com", 6443, netip.MustParseAddr("10.1.0.1")}},
		"host's name":     {`endpoint = "a:6443"`, "", Endpoint{"a", 6443, netip.MustParseAddr("10.1.0.1")}},
		"outside":         {"endpoint = \"10.9.9.9:443\"\n cert_sans = [\"10.9.9.9\"]", "", Endpoint{"10.9.9.9", 443, netip.MustParseAddr("10.9.9.9")}},
		"name balanced":   {`endpoint = "api.example.com:8443"`, "load_balancer \"nginx\" {\n hosts = [\"b\"]\n}", Endpoint{"api.example.com", 8443, netip.MustParseAddr("10.1.0.2")}},
		"virtual address": {"", "load_balancer \"nginx\" {\n hosts = [\"a\", \"b\"]\n vip = \"10.1.0.40\"\n}", Endpoint{"10.1.0.40", 8443, netip.MustParseAddr("10.1.0.40")}},
		"its name":        {`endpoint = "api.example.com:8443"`, "load_balancer \"nginx\" {\n hosts = [\"a\", \"b\"]\n vip = \"10.1.0.40\"\n}", Endpoint{"api.example.com", 8443, netip.MustParseAddr("10.1.0.40")}},
	} {
		t.Run(name, func(t *testing.T) {
			inv := mustLoad(t, fmt.Sprintf(one, tc.endpoint, tc.extra))
			if diff := cmp.Diff(tc.want, inv.Cluster.Endpoint, comparers()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestDataDirectory(t *testing.T) {
	grammar := dataDirectory("etcd")
	for _, good := range []string{"/var/lib/etcd", "/var/lib/etcd/data", "/var/lib/etcd2", "/srv/etcd", "/data/etcd", "/mnt/disk/etcd", "/home/etcd/data", "/opt/etcd", "/var/etcd"} {
		if f := grammar(good); f != nil {
			t.Errorf("%s is refused: %s", good, f.detail)
		}
	}
	for _, bad := range []string{
		"/", "/srv", "/usr/bin", "/usr/local/etcd", "/var/lib", "/var/lib/kubelet", "/var/lib/kinstall/x", "/var/lib/dpkg", "/etc/systemd", "/proc/1", "/boot/efi", "/home/user",
		"/root/etcd", "/run/etcd", "/tmp/etcd", "/opt/cni/bin", "/var/log/etcd", "/srv/../usr", "/srv//x", "/srv/x/", "srv/x", "/srv/a b", "/srv/$x", "/srv/a\n",
	} {
		if grammar(bad) == nil {
			t.Errorf("%q is valid", bad)
		}
	}
}

// What is not shown counts as well.
func TestCount(t *testing.T) {
	var text strings.Builder
	text.WriteString("cluster \"c\" {\n version = \"1.36.3\"\n}\n")
	for i := range 200 {
		fmt.Fprintf(&text, "nonsense%d \"x\" {}\n", i)
	}
	_, _, diags := loadText(text.String(), Options{})
	errors, warnings := Count(diags)
	if errors < 200 || errors > 205 || warnings != 0 || len(diags) > maxDiagnostics+1 {
		t.Errorf("%d errors and %d warnings in %d diagnostics", errors, warnings, len(diags))
	}
}

func TestJSONDiagnostics(t *testing.T) {
	_, _, diags := loadText("cluster \"c\" {\n vresion = \"1.36.3\"\n}\n", Options{})
	var out bytes.Buffer
	if err := WriteDiagnosticsJSON(&out, diags); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/diagnostics.json", out.Bytes())
	out.Reset()
	if err := WriteDiagnosticsJSON(&out, nil); err != nil || !strings.Contains(out.String(), "[]") {
		t.Errorf("no diagnostics: %s, %v", out.String(), err)
	}
}

func TestColour(t *testing.T) {
	_, _, diags := loadText("x = 1", Options{})
	var out bytes.Buffer
	if err := WriteDiagnostics(&out, nil, diags, 0, true); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "\x1b[31mError:\x1b[0m") {
		t.Errorf("no colour: %q", out.String())
	}
}

func TestSourceCannotSteerTheTerminal(t *testing.T) {
	files := make(map[string]*hcl.File)
	_, _, diags := loadText("cluster \"c\x1b[2J\" {\n version = \"1.36.3\" # \x1b[31m\n x\x1b = 1 # \u202e\n}\n", Options{Files: files})
	if got := render(t, files, diags); strings.ContainsAny(got, "\x1b\u202e") {
		t.Errorf("escape sequences get through: %q", got)
	}
}

// TestLarge: an inventory of 5,000 hosts loads at once, in reasonable time.
func TestLarge(t *testing.T) {
	inv := mustLoad(t, `
cluster "big" {
  version         = "1.36.3"
  pod_cidr        = "10.128.0.0/11"
  pod_subnet_size = 26
  service_cidr    = "10.64.0.0/12"
}
host "m" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}
host "w" {
  count   = 4999
  address = cidrhost("10.2.0.0/16", count.index + 1)
  roles   = ["worker"]
}
`)
	if len(inv.Hosts) != 5000 || inv.Hosts[4999].Name != "w-4998" {
		t.Errorf("%d hosts, the last %q", len(inv.Hosts), inv.Hosts[len(inv.Hosts)-1].Name)
	}
}

// A lock file is written as hclwrite would, and says what it was told.
func TestFormatLockIsCanonical(t *testing.T) {
	lock := Lock{
		Subnets:   map[string]netip.Prefix{"a": netip.MustParsePrefix("10.0.0.0/24"), "longer.example.com": netip.MustParsePrefix("10.0.1.0/24")},
		SubnetsV6: map[string]netip.Prefix{"a": netip.MustParsePrefix("fd00::/64")},
		Artifacts: map[string]string{"${b}\"é\n%{x": strings.Repeat("0", 64), `back\slash`: strings.Repeat("1", 64), "/on/the/operators/disk": strings.Repeat("2", 64)},
	}
	text := FormatLock(lock)
	if diff := cmp.Diff(string(hclwrite.Format(text)), string(text)); diff != "" {
		t.Errorf("not canonical (-want +got):\n%s", diff)
	}
	file, diags := hclsyntax.ParseConfig(text, "lock", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	attributes, _ := file.Body.JustAttributes()
	for name, want := range map[string]map[string]string{
		"subnets": {"a": "10.0.0.0/24", "longer.example.com": "10.0.1.0/24"}, "subnets_v6": {"a": "fd00::/64"},
		"artifacts": {"${b}\"é\n%{x": strings.Repeat("0", 64), `back\slash`: strings.Repeat("1", 64)},
	} {
		value, _ := attributes[name].Expr.Value(nil)
		got := map[string]string{}
		for key, v := range value.AsValueMap() {
			got[key] = v.AsString()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

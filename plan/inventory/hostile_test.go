package inventory_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// hostile values: what ends a line, a string or a document somewhere, what
// shells, systemd, Kubernetes and templates expand, what leaves a directory,
// looks like a flag, or is read otherwise than it is written.
func hostile() map[string]string {
	return map[string]string{
		"double quote":   `a"b`,
		"single quote":   `a'b`,
		"backslash":      `a\b`,
		"newline":        "a\nb",
		"document":       "a\n---\nkind: ClusterRoleBinding\n",
		"carriage":       "a\rb",
		"tab":            "a\tb",
		"NUL":            "a\x00b",
		"escape":         "a\x1b[2Jb",
		"next line":      "a\u0085b",
		"line separator": "a\u2028b",
		"noncharacter":   "a\ufffeb",
		"command":        "$(touch /tmp/x)",
		"variable":       "$HOME ${HOME}",
		"pod variable":   "$(KUBERNETES_SERVICE_HOST)",
		"backticks":      "`touch /tmp/x`",
		"template":       "{{.Domain}}",
		"parent":         "../../etc/passwd",
		"specifier":      "100%n%%",
		"dash":           "-rf",
		"flag":           "--config=/x",
		"bidi":           "a\u202eb\u2066c",
		"comment":        "a # b",
		"YAML":           "{a: [b, *c, &d, !!e]}",
		"colon":          "a: b",
		"semicolon":      "a; b { c }",
		"blanks":         " a  b ",
		"empty":          "",
		"zone":           "fe80::1%a\nb",
		"long":           strings.Repeat("a", 64<<10),
	}
}

// neutral values are what a place takes that takes hostile ones; the first that
// is valid is compared with.
func neutral() []string { return []string{"plain", "10", "/srv/plain", "https://plain.example"} }

func literal(s string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes())
}

// needed is what the blocks of the test's inventory cannot do without.
func needed() map[string][]string {
	return map[string][]string{
		"cluster":                  {`version = "1.36.3"`},
		"host":                     {`address = "10.1.0.2"`, `roles = ["worker"]`},
		"load_balancer":            {`hosts = ["b"]`},
		"ssh.bastion":              {`address = "10.1.0.9"`},
		"host.ssh.bastion":         {`address = "10.1.0.9"`},
		"runtime.proxy":            {`http = "http://proxy.example.com:3128"`},
		"runtime.registry":         {`mirrors = ["https://mirror.example.com"]`},
		"encryption.recipients":    {`identity_file = "key"`, `passphrase = false`},
		"encryption.identity_file": {`recipients = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]`},
		"signer.authorities":       {`url = "https://ca.example.com"`, `auth_key_file = "key"`},
		"signer.timeout":           {`url = "https://ca.example.com"`, `auth_key_file = "key"`},
		"signer.url":               {`auth_key_file = "key"`},
		"signer.profile":           {`url = "https://ca.example.com"`, `auth_key_file = "key"`},
		"signer.auth_key_file":     {`url = "https://ca.example.com"`},
		"signer.ca_file":           {`url = "https://ca.example.com"`, `auth_key_file = "key"`},
		"registry.username":        {`password_file = "password"`},
		"registry.password_file":   {`username = "user"`},
	}
}

// labels are those of blocks that have one, unless the attribute asks for others.
func labels() map[string]string {
	return map[string]string{"cluster": "c", "host": "b", "network": "routes", "runtime": "containerd", "load_balancer": "nginx", "registry": "registry.example.com", "signer": "cfssl"}
}

// settingOf is a setting with text in it.
func settingOf(a inventory.TextAttribute, value string) string {
	switch a.Path[0] {
	case "kubelet":
		return fmt.Sprintf("{ systemReserved = { cpu = %s } }", value)
	case "kube_proxy":
		return fmt.Sprintf("{ bindAddress = %s }", value)
	case "runtime":
		return fmt.Sprintf("{ debug = { level = %s } }", value)
	}
	return ""
}

// keyOf is a key that a map takes besides.
func keyOf(a inventory.TextAttribute) string {
	for name, key := range map[string]string{"args": "profiling", "sysctls": "kernel.domainname", "labels": "zone", "sha256": "kubelet", "images": "registry.example.com/app:1"} {
		if a.Name == name {
			return key
		}
	}
	return "plain"
}

// inventoryWith is an inventory with a value at a place of the schema.
func inventoryWith(t *testing.T, a inventory.TextAttribute, value string) string {
	t.Helper()
	written := literal(value)
	switch a.Shape {
	case "list":
		written = "[" + written + "]"
	case "map":
		written = fmt.Sprintf("{ %s = %s }", literal(keyOf(a)), written)
	case "keys":
		written = fmt.Sprintf("{ %s = %q }", written, "1")
	case "settings":
		if written = settingOf(a, written); written == "" {
			t.Fatalf("%v.%s: say in settingOf which setting holds text", a.Path, a.Name)
		}
	}
	var text strings.Builder
	for _, name := range []string{"cluster", "host"} {
		if a.Path[0] != name {
			fmt.Fprintf(&text, "%s %q {\n  %s\n}\n", name, labels()[name], strings.Join(needed()[name], "\n  "))
		}
	}
	text.WriteString("host \"a\" {\n  address = \"10.1.0.1\"\n  roles   = [\"etcd\", \"master\"]\n}\n")
	for i, name := range a.Path {
		label := labels()[name]
		last := i == len(a.Path)-1
		if last && len(a.Labels) > 0 {
			label = a.Labels[0]
		}
		switch {
		case last && a.Name == "":
			fmt.Fprintf(&text, "%s %s {\n", name, literal(value))
		case label != "":
			fmt.Fprintf(&text, "%s %q {\n", name, label)
		default:
			fmt.Fprintf(&text, "%s {\n", name)
		}
		for _, line := range append(needed()[strings.Join(a.Path[:i+1], ".")], needed()[a.Path[i]+"."+a.Name]...) {
			if attribute, _, _ := strings.Cut(line, " "); !last || attribute != a.Name {
				text.WriteString("  " + line + "\n")
			}
		}
	}
	if a.Name != "" {
		fmt.Fprintf(&text, "  %s = %s\n", a.Name, written)
	}
	text.WriteString(strings.Repeat("}\n", len(a.Path)))
	return text.String()
}

type noAuthorities struct{}

func (noAuthorities) Certificate(string) []byte           { return nil }
func (noAuthorities) SHA256(string, resource.Part) string { return "" }
func (noAuthorities) Chain(string) []byte                 { return nil }
func (noAuthorities) Encrypted(string) bool               { return false }
func (noAuthorities) Exists(string) bool                  { return false }

// rendered loads and compiles; nil values when the inventory is refused.
func rendered(t *testing.T, text string) (map[string]string, hcl.Diagnostics) {
	t.Helper()
	inv, lock, diags := inventory.Load("/inventories/inventory.hcl", inventory.Options{HomeDir: "/home/operator", ReadFile: func(path string) ([]byte, error) {
		if path == "/inventories/inventory.hcl" {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}})
	if diags.HasErrors() {
		return nil, diags
	}
	digests := map[string]string{}
	for _, r := range plan.Releases(inv) {
		digest := sha256.Sum256([]byte(r.Name))
		digests[r.Location] = hex.EncodeToString(digest[:])
	}
	files := map[string][]byte{}
	for _, path := range plan.OperatorFiles(inv) {
		files[path] = []byte("content\n")
	}
	// These are read, too.
	if a := inv.Audit; a != nil {
		files[a.PolicyFile] = []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")
		files[a.WebhookFile] = []byte("clusters: [{name: a, cluster: {server: https://a}}]\ncurrent-context: a\n")
	}
	files[inv.Admission.ConfigFile] = []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n")
	p, diags := plan.Compile(inv, plan.ProposeLock(inv, *lock, digests), nil, noAuthorities{}, files)
	if diags.HasErrors() {
		t.Errorf("valid, and not to be compiled: %s", diags)
		return nil, diags
	}
	values, err := p.ReadBack()
	if err != nil {
		t.Errorf("valid, and not to be read back: %s", err)
	}
	return values, nil
}

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Every place of the schema where text is written, and every hostile value: it is
// refused with a diagnostic, or everything that is rendered reads back and
// differs from what a harmless value gives in that one value alone. The places
// are those of the schema itself, so that a new attribute is not forgotten.
func TestHostileValues(t *testing.T) {
	places := inventory.TextAttributes()
	if len(places) < 60 {
		t.Fatalf("only %d places", len(places))
	}
	accepted := map[string]int{}
	for _, a := range places {
		name := strings.Join(append(slices.Clone(a.Path), a.Name), ".") + " " + strings.Join(a.Labels, ",") + " " + a.Shape
		t.Run(name, func(t *testing.T) {
			var base map[string]string
			var harmless string
			for _, what := range slices.Sorted(func(yield func(string) bool) {
				for what := range hostile() {
					if !yield(what) {
						return
					}
				}
			}) {
				value := hostile()[what]
				got, diags := rendered(t, inventoryWith(t, a, value))
				if diags.HasErrors() {
					checkRefusal(t, what, diags)
					continue
				}
				accepted[name]++
				for _, candidate := range neutral() {
					if base == nil {
						base, diags = rendered(t, inventoryWith(t, a, candidate))
						harmless = candidate
					}
				}
				if base == nil {
					t.Errorf("%s is valid, and no harmless value: %v", what, diags)
					return
				}
				if value == "" {
					continue // for many attributes it says that there is no value
				}
				compareValues(t, what, value, harmless, got, base)
			}
		})
	}
	// The comparison must have had something to compare.
	for _, must := range []string{"api_server.args  map", "etcd.args  map", "kubelet.args  map", "kube_proxy.settings  settings", "runtime.settings  settings", "preparation.sysctls  map"} {
		if accepted[must] < 5 {
			t.Errorf("%s took only %d hostile values", must, accepted[must])
		}
	}
}

// checkRefusal holds what is said to what a terminal and its reader can bear.
func checkRefusal(t *testing.T, what string, diags hcl.Diagnostics) {
	t.Helper()
	var out bytes.Buffer
	if err := inventory.WriteDiagnostics(&out, nil, diags, 0, false); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 4000 || strings.ContainsFunc(out.String(), func(r rune) bool { return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
		t.Errorf("%s: the refusal is not fit to be printed: %.500q", what, out.String())
	}
}

func compareValues(t *testing.T, what, value, harmless string, got, base map[string]string) {
	t.Helper()
	back := strings.NewReplacer(value, harmless)
	for place, v := range got {
		want, ok := base[back.Replace(place)]
		if strings.HasSuffix(place, ` "auth"`) { // NAME:PASSWORD
			v, want = decoded(t, v), decoded(t, want)
		}
		switch {
		case !ok:
			t.Errorf("%s: %q has no counterpart", what, place)
		case v == want || digestForm.MatchString(v) && digestForm.MatchString(want):
		case back.Replace(v) != want:
			t.Errorf("%s: %q is %.300q, want %.300q with the value in it", what, place, v, want)
		}
	}
	if len(got) != len(base) {
		t.Errorf("%s: %d values, %d with a harmless one", what, len(got), len(base))
	}
}

func decoded(t *testing.T, s string) string {
	t.Helper()
	content, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

package templates

import (
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"sigs.k8s.io/yaml"
)

// hostile values must come back unchanged from the grammar they were written in.
func hostile() []string {
	return []string{
		"", "plain", `with "quotes" and \backslash\`, "tab\tand space ", "${HOME} $PATH %n %%", "'single' `back`",
		": # - [ ] { } & * ! | > @", "üñí ☃", "yes", "0123", "<a>&</a>",
	}
}

func TestQuoteIsYAMLAndTOML(t *testing.T) {
	for _, want := range append(hostile(), "line\nbreak") {
		quoted, err := Quote(want)
		if err != nil {
			t.Fatal(err)
		}
		var fromYAML, fromTOML struct{ V string }
		if err := yaml.UnmarshalStrict([]byte("v: "+quoted), &fromYAML); err != nil || fromYAML.V != want {
			t.Errorf("YAML reads %s as %q (%v), want %q", quoted, fromYAML.V, err, want)
		}
		if err := toml.Unmarshal([]byte("V = "+quoted), &fromTOML); err != nil || fromTOML.V != want {
			t.Errorf("TOML reads %s as %q (%v), want %q", quoted, fromTOML.V, err, want)
		}
	}
}

func TestWords(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(string) (string, error)
		in    string
		want  string // "" means refused
	}{
		{"unit", UnitWord, `--v=a "b" \ 100% $X`, `"--v=a \"b\" \\ 100%% $$X"`},
		{"unit, second line", UnitWord, "a\nExecStart=/bin/evil", ""},
		{"env", environmentValue, "a \"b\" \\ 100% $X `c`", "\"a \\\"b\\\" \\\\ 100% \\$X \\`c\\`\""},
		{"env, second line", environmentValue, "a\rb", ""},
		{"sh, plain", shellWord, "10.244.1.0/24", "10.244.1.0/24"},
		{"sh, sign", shellWord, "!", "'!'"},
		{"sh, empty", shellWord, "", "''"},
		{"sh, quoted", shellWord, "a'; rm -rf /; '", `'a'\''; rm -rf /; '\'''`},
		{"sh, second line", shellWord, "a\nb", ""},
		{"pod", PodWord, "--v=$(HOME) $$ $x", `"--v=$$(HOME) $$$$ $$x"`},
		{"line, second line", line, "1\nkernel.panic = 1", ""},
		{"nginx", nginxWord, "[fd00::1]:6443", "[fd00::1]:6443"},
		{"nginx, directive", nginxWord, "10.0.0.1; evil", ""},
		{"nginx, variable", nginxWord, "$host", ""},
	} {
		got, err := test.write(test.in)
		if (err != nil) != (test.want == "") || got != test.want {
			t.Errorf("%s: %q gives %q (%v), want %q", test.name, test.in, got, err, test.want)
		}
	}
	if got := environmentName("initial-cluster-token"); got != "INITIAL_CLUSTER_TOKEN" {
		t.Errorf("environment name is %q", got)
	}
}

func TestRenderRefusesWhatDoesNotFit(t *testing.T) {
	for name, data := range map[string]any{
		"etc/no/such.conf":              nil,
		"etc/sysctl.d/99-kinstall.conf": map[string]any{"Misspelt": nil},
		"etc/systemd/system/kubelet.service": map[string]any{"Args": []struct{ Name, Value string }{
			{"v", "2\nExecStart=/bin/evil"}}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was rendered from %v", name, data)
				}
			}()
			New().Render(name, data)
		}()
	}
}

// What a template writes bare is held to plain words, so that one which forgets
// its grammar refuses what it can't write.
func TestBareValuesAreGuarded(t *testing.T) {
	set := New()
	if got := string(set.Render("etc/modules-load.d/kinstall.conf", map[string]any{"Modules": []string{"br_netfilter"}})); !strings.Contains(got, "\nbr_netfilter\n") {
		t.Errorf("got %q", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("a module's name brought a second line")
		}
	}()
	set.Render("etc/modules-load.d/kinstall.conf", map[string]any{"Modules": []string{"br_netfilter\nevil"}})
}

// Documents of API objects are data: nothing is filled in as text.
func TestObjectsAreNoTemplates(t *testing.T) {
	for _, name := range Names() {
		if !strings.HasPrefix(name, "objects/") || strings.HasSuffix(name, ".Corefile") {
			continue
		}
		text, err := files.ReadFile(name)
		if err != nil || strings.Contains(string(text), "{{") {
			t.Errorf("%s has a template's action (%v)", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range Names() {
		if strings.HasPrefix(name, "/") {
			t.Errorf("%s begins with a slash", name)
		}
		if text, err := files.ReadFile(name); err != nil || len(text) == 0 || text[len(text)-1] != '\n' {
			t.Errorf("%s does not end with a newline (%v)", name, err)
		}
	}
}

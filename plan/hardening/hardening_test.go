package hardening

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan/inventory"
)

var update = flag.Bool("update", false, "rewrite the table in docs/security.md")

// The table in the documentation is this one.
func TestDocumentation(t *testing.T) {
	const page, begin, end = "../../docs/security.md", "<!-- table of package hardening -->\n", "<!-- end of table -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, there := strings.Cut(rest, end)
	if !ok || !there {
		t.Fatalf("%s has no lines %q and %q", page, begin, end)
	}
	want := before + begin + Markdown() + end + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(text) {
		t.Errorf("%s has another table: go test ./plan/hardening -update", page)
	}
}

func TestTableIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules() {
		name := r.ID + r.Demand
		if seen[name] || r.Demand == "" || len(r.Tests) == 0 {
			t.Errorf("rule %q %q", r.ID, r.Demand)
		}
		if r.ID != "" && seen[r.ID] {
			t.Errorf("two rules %s", r.ID)
		}
		seen[name], seen[r.ID] = true, true
		if r.Level != inventory.HardeningBaseline && r.Level != inventory.HardeningCIS {
			t.Errorf("rule %s: level %q", r.ID, r.Level)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, file string
		want          bool
	}{
		{"/a/b", "/a/b", true},
		{"/a/b", "/a/bc", false},
		{"/a/", "/a", true},
		{"/a/", "/a/b/c", true},
		{"/a/", "/ab", false},
		{"/a/**/*.key", "/a/x.key", true},
		{"/a/**/*.key", "/a/b/x.key", true},
		{"/a/**/*.key", "/a/b/x.crt", false},
		{"/a/**/*.key", "/x.key", false},
	} {
		if got := matches(tt.pattern, tt.file); got != tt.want {
			t.Errorf("%s, %s: %v", tt.pattern, tt.file, got)
		}
	}
}

func TestFlagsOf(t *testing.T) {
	flags := FlagsOf([]string{"/usr/local/bin/etcd", "--data-dir=/d", "-v", "2", "--x", "--y=a=b"}, []string{"ETCD_KEY_FILE=/k", "PATH=/bin"})
	for name, want := range map[string]string{"data-dir": "/d", "v": "2", "x": "true", "y": "a=b", "key-file": "/k", "path": ""} {
		if flags[name] != want {
			t.Errorf("%s is %q, want %q", name, flags[name], want)
		}
	}
}

package shell_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/provision/shell"
)

// sh runs a script given on standard input, as the remote side does, and
// returns what it prints.
func sh(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command("/bin/sh")
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sh: %v\nscript: %q", err, script)
	}
	return string(out)
}

func TestQuote(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "''"},
		{"plain", "'plain'"},
		{"it's", `'it'\''s'`},
		{"$(reboot)", "'$(reboot)'"},
		{"a\nb", "'a\nb'"},
		{"nul\x00byte", "'nulbyte'"},
	} {
		if got := shell.Quote(tt.in); got != tt.want {
			t.Errorf("Quote(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestJoin(t *testing.T) {
	words := []string{"a b", "", "~root", "x=1", "`id`", "\\", "--", "*", "é"}
	got := sh(t, "set -- "+shell.Join(words...)+`; for w in "$@"; do printf '%s\n' "$w"; done`)
	if diff := cmp.Diff(strings.Join(words, "\n")+"\n", got); diff != "" {
		t.Errorf("words read back by sh (-want +got):\n%s", diff)
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{
		"", "'", "''", `\`, `\'`, `"`, "$HOME", "${x}", "$(id)", "`id`", "a b", "\n", "\r\n", "\t",
		"~", "!", "!!", "#", "*", "?[a]", "-n", "\xff\xfe", "é世界", "; rm -rf /", "\x01\x7f", "EOF\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := strings.ReplaceAll(s, "\x00", "")
		// The word stands alone, joined to other text, and after a newline.
		q := shell.Quote(s)
		got := sh(t, "printf '%s|' "+q+" a"+q+"b\nprintf %s "+q+"\n")
		if w := want + "|a" + want + "b|" + want; got != w {
			t.Errorf("sh read %q back as %q, want %q", q, got, w)
		}
	})
}

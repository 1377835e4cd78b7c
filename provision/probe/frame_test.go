package probe

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
)

// sample returns queries and what the script really prints about them.
func sample(t testing.TB) ([]fact.Query, string) {
	t.Helper()
	m := newMachine(t, shells(t)["sh"])
	path := filepath.Join(m.root, "file")
	write(t, path, "END 3\n0 ok 5\nBEGIN kinstall probe 1\n", 0o644)
	queries := []fact.Query{
		{Kind: fact.KindFile, Name: path, Content: true},
		{Kind: fact.KindFile, Name: path + ".none"},
		{Kind: fact.KindRoute, Name: "10.244.1.0/24"},
		{Kind: fact.KindUnit, Name: "etcd.service"},
	}
	return queries, string(m.run(t, m.script(t, queries)))
}

func TestCorruption(t *testing.T) {
	queries, good := sample(t)
	if _, err := Parse([]byte(good), queries); err != nil {
		t.Fatalf("sound output: %v\n%s", err, good)
	}
	if _, err := Parse([]byte("Welcome to emei!\n"+good), queries); err != nil {
		t.Errorf("a talkative login shell: %v", err)
	}
	for n := range len(good) {
		if _, err := Parse([]byte(good[:n]), queries); !errors.Is(err, ErrIncomplete) {
			t.Fatalf("cut off after %d of %d bytes: error %v", n, len(good), err)
		}
	}

	replace := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("the sample does not hold %q:\n%s", old, s)
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	for _, tt := range []struct {
		name    string
		corrupt func(string) string
		want    string
	}{
		{"wrong count", replace("\nEND 17\n", "\nEND 16\n"), `17 answers, the sentinel says "16"`},
		{"padded count", replace("\nEND 17\n", "\nEND 017\n"), `the sentinel says "017"`},
		{"trailing garbage", func(s string) string { return s + "x" }, "something follows the sentinel"},
		{"trailing newline", func(s string) string { return s + "\n" }, "something follows the sentinel"},
		{"twice", func(s string) string { return s + s }, "something follows the sentinel"},
		{"answer missing", func(s string) string {
			return replace("\nEND 17\n", "\nEND 16\n")(replace("1 ok 6\nabsent\n", "")(s))
		}, "file " + queries[1].Name + " was not answered"},
		{"answer twice", replace("1 ok 6\nabsent\n", "1 ok 6\nabsent\n1 ok 6\nabsent\n"), "answer 1 came twice"},
		{"answer too many", replace("END 17\n", "7 ok 6\nabsent\nEND 18\n"), "answer 7: nobody asked"},
		{"bytes lost", replace("absent", "absnt"), "answer 1 does not have the length"},
		{"bytes inserted", replace("absent", "abbsent"), "answer 1 does not have the length"},
		{"noise between", replace("1 ok 6", "noise\n1 ok 6"), "has no label"},
		{"unknown verdict", replace("1 ok 6", "1 perhaps 6"), "has no label"},
		{"negative length", replace("1 ok 6", "1 ok -6"), "does not have the length"},
		{"huge length", replace("1 ok 6", "1 ok 999999999999"), "does not have the length"},
		{"failed", replace("1 ok 6\nabsent", "1 failed 17\nPermission denied"), "file " + queries[1].Name + ": Permission denied"},
		{"other words", replace("1 ok 6\nabsent", "1 ok 6\nabsenT"), "file " + queries[1].Name + ": unreadable answer"},
		{"fewer units", replace("LoadState=", "LOadState="), "unit etcd.service: unexpected answer"},
		{"route", replace("10.244.1.0/24 via", "10.244.x.0/24 via"), "route 10.244.1.0/24: unreadable route"},
		{"empty", func(string) string { return "" }, "they do not begin (nothing there)"},
		{"another program", func(string) string { return "This account is not available.\n" }, "This account is not available"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := Parse([]byte(tt.corrupt(good)), queries)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			if set.Len() != 0 {
				t.Errorf("%d answers beside an error", set.Len())
			}
		})
	}
	if _, err := Parse([]byte(good), append(queries, fact.Query{Kind: fact.KindPackage, Name: "nginx"})); !errors.Is(err, ErrIncomplete) {
		t.Errorf("a question that was not put: error %v", err)
	}
}

// TestFileAnswers covers what no honest script prints about a file.
func TestFileAnswers(t *testing.T) {
	d := digest("x")
	const times = " 2026-11-21 15:04:45.5 +0000 2026-11-21 15:04:46 +0000"
	for _, tt := range []struct{ text, want string }{
		{"plain " + d + " 1 81a4 0 root 0", "unreadable answer"},
		{"plain " + d + " 1 81a4 0 root 0 root" + strings.Replace(times, "45.5", "x", 1), "unreadable time"},
		{"plain " + d + " 1 81a4 0 root 0 root" + strings.Replace(times, "46", "x", 1), "unreadable time"},
		{"plain " + d + " -1 81a4 0 root 0 root" + times, "unreadable size"},
		{"plain " + d + " 1 zz 0 root 0 root" + times, "unreadable mode"},
		{"plain - 1 81a4 0 root 0 root" + times, "unreadable digest"},
		{"plain " + d + " 1 81a4 0 root 0 root" + times, "the content was asked for"},
		{"content " + d + " 1 81a4 0 root 0 root" + times + "\n!!", "unreadable content"},
		{"content - 1 41ed 0 root 0 root" + times + "\neA==", "unexpected answer"},
		{"target " + d + " 1 81a4 0 root 0 root" + times + "\n/x", "unexpected answer"},
		{"plain - 1 a1ff 0 root 0 root" + times, "unexpected answer"},
	} {
		_, err := parseFile([]byte(tt.text), fact.Query{Kind: fact.KindFile, Name: "/x", Content: true})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got error %v, want %q", tt.text, err, tt.want)
		}
	}
	// A file that changed between being hashed and being read is as it was read.
	got, err := parseFile([]byte("content "+digest("old")+" 3 81a4 0 root 0 root"+times+"\neA=="), fact.Query{Content: true})
	if f, ok := got.(fact.File); err != nil || !ok || f.SHA256 != d || f.Size != 1 || string(f.Content) != "x" || f.CTime.Sub(f.MTime) != time.Second/2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	queries := []fact.Query{
		{Kind: fact.KindFile, Name: "/a", Content: true},
		{Kind: fact.KindFirewall, Name: "f", Args: []string{"filter", "FORWARD", "-j"}},
		{Kind: fact.KindImage, Name: "i"},
		{Kind: fact.KindModule, Name: "m"},
		{Kind: fact.KindPackage, Name: "p"},
		{Kind: fact.KindRoute, Name: "10.244.1.0/24"},
		{Kind: fact.KindRoute, Name: "fd00::/64"},
		{Kind: fact.KindSysctl, Name: "s"},
		{Kind: fact.KindUnit, Name: "u.service"},
	}
	m := newMachine(f, shells(f)["sh"])
	asked := append([]fact.Query{}, queries...)
	asked[1].Name, asked[7].Name = "filter/FORWARD -j", "kernel.pid_max"
	f.Add(m.run(f, m.script(f, asked)))
	f.Add([]byte("BEGIN kinstall probe 1\nEND 0\n"))
	f.Add([]byte("BEGIN kinstall probe 1\n0 ok 6\nabsent\nEND 1\n"))
	f.Fuzz(func(t *testing.T, output []byte) {
		set, err := Parse(output, queries)
		if err == nil && set.Len() != len(queries) {
			t.Errorf("%d answers to %d questions without an error", set.Len(), len(queries))
		}
		if err != nil && set.Len() != 0 {
			t.Errorf("%d answers beside %v", set.Len(), err)
		}
	})
}

// BenchmarkProbe compares 120 unchanged files with an exec that does nothing.
// Over SSH each costs the round trips of one exec on top.
func BenchmarkProbe(b *testing.B) {
	m := newMachine(b, shells(b)["sh"])
	var queries []fact.Query
	for i := range 120 {
		path := filepath.Join(m.root, "etc", strings.Repeat("x", i%7), strings.Repeat("f", i+1))
		content := strings.Repeat("configuration\n", 100)
		write(b, path, content, 0o644)
		queries = append(queries, fact.Query{Kind: fact.KindFile, Name: path, Content: true, WantSHA256: digest(content)})
	}
	for _, bench := range []struct{ name, script string }{
		{"true", "true\n"},
		{"host", m.script(b, nil)},
		{"120 files", m.script(b, queries)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				cmd := exec.Command(m.shell[0])
				cmd.Stdin = strings.NewReader(bench.script)
				if _, err := cmd.Output(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

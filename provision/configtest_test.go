package provision

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/ssh"
)

// nginxTest is a program that reads all of a directory, notes what it saw, and
// refuses what has a line "bad".
const nginxTest = `cat >"$HOST/input"
echo "$*" >>"$HOST/asked"
cat "$HOST"/etc/conf.d/*.conf >"$HOST/seen"
if grep -q '^bad$' "$HOST/seen"; then echo 'nginx: [emerg] unknown directive "bad"' >&2; exit 3; fi
`

func TestConfigurationIsTestedBeforeItReplacesTheOldOne(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name, there, content string
		missing, refused     bool
		seen                 string
	}{
		{name: "another one, good", there: "old\n", content: "new\n", seen: "new\nother\n"},
		{name: "another one, bad", there: "old\n", content: "bad\n", refused: true, seen: "bad\nother\n"},
		{name: "the first, good", content: "new\n", seen: "new\nother\n"},
		{name: "the first, bad", content: "bad\n", refused: true, seen: "bad\nother\n"},
		{name: "the program is not there yet", content: "bad\n", missing: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, h := machineOf(t)
			if !c.missing {
				h.program(t, "nginx", nginxTest)
			}
			dir := h.path("/etc/conf.d")
			file := filepath.Join(dir, "it's \"kinstall\" $HOME.conf")
			write := func(name, content string) {
				t.Helper()
				if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			write(filepath.Join(dir, "other.conf"), "other\n")
			before := ""
			if c.there != "" {
				write(file, c.there)
				before = resource.SHA256([]byte(c.there))
			}
			err := m.writeFile(t.Context(), fileWrite{
				label: "create it", path: file, content: []byte(c.content), own: self(t, 0o640), before: before, test: resource.NginxTest,
			})
			var refused *RefusedError
			if got := errors.As(err, &refused); got != c.refused || !got && err != nil {
				t.Fatalf("writeFile: %v", err)
			}
			want := c.content
			if c.refused {
				want = c.there
				var exit *ssh.ExitError
				if !errors.As(err, &exit) || exit.Host != "shaolin" || exit.Command != "nginx -t -q" || exit.ExitCode != 3 || !strings.Contains(string(exit.Stderr), "unknown directive") {
					t.Errorf("what the program said: %+v", exit)
				}
				if refused.Path != file || !strings.Contains(refused.Hint(), "nginx -t -q") {
					t.Errorf("the error: %v; %s", refused, refused.Hint())
				}
			}
			got, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if string(got) != want {
				t.Errorf("the file holds %q, not %q", got, want)
			}
			if !c.missing {
				for name, want := range map[string]string{"/seen": c.seen, "/asked": "-t -q\n", "/input": ""} {
					if diff := cmp.Diff(want, h.read(t, h.path(name))); diff != "" {
						t.Errorf("%s (-want +got):\n%s", name, diff)
					}
				}
			}
			if left := h.leftovers(t); len(left) > 0 {
				t.Errorf("left behind %v", left)
			}
		})
	}
}

// Where a file can't be tried out, it is not written: nobody knows whether the
// program would take it.
func TestConfigurationThatCannotBeTested(t *testing.T) {
	needRoot(t)
	m, h := machineOf(t)
	h.program(t, "nginx", nginxTest)
	h.program(t, "unshare", "echo 'unshare failed: Operation not permitted' >&2; exit 1\n")
	file := h.path("/etc/file.conf")
	err := m.writeFile(t.Context(), fileWrite{label: "create it", path: file, content: []byte("new\n"), own: self(t, 0o640), test: resource.NginxTest})
	var refused *RefusedError
	if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "can't be tried out") || !strings.Contains(err.Error(), "not permitted") {
		t.Errorf("writeFile: %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file was written: %v", err)
	}
}

// In a turn, a refusal of the member's only file is no change to be taken back:
// the member is not started anew, and the others of its group are not touched.
func TestTurnLeavesARefusedFileAlone(t *testing.T) {
	needRoot(t)
	hosts := []string{"shaolin", "wudang"}
	f := newFleet(t, Options{}, hosts...)
	var units []plan.StepID
	for _, host := range hosts {
		h := f.hosts[host]
		h.program(t, "systemctl", systemctl)
		h.program(t, "nginx", `echo 'nginx: [emerg] no' >&2; exit 1`)
		config, unit := f.member(t, host, "new\n")
		units = append(units, unit)
		for i, step := range f.steps {
			if step.Host == host && step.Resource.ID() == config.ID() {
				config.Test = resource.NginxTest
				f.steps[i].Resource = config
			}
		}
		if err := os.WriteFile(config.Path, []byte("old\n"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	delta := f.everything(t)
	for i := range delta.Items {
		item := &delta.Items[i]
		if item.Step.Rollout == nil {
			change := item.OwnChange()
			change.Action, change.Evidence = resource.Update, resource.SHA256([]byte("old\n"))
			continue
		}
		item.OwnChange().Action = resource.Reload
		turn := turnOf(delta, i)
		turn.Parts = append(turn.Parts, item.Step.After...)
	}
	e := f.executor()
	checks := &fakeChecks{}
	e.checks = checks
	report, err := e.Apply(t.Context(), delta)
	var back *RolledBackError
	if !errors.As(err, new(*RefusedError)) || errors.As(err, &back) {
		t.Errorf("Apply: %v", err)
	}
	if diff := cmp.Diff([]string{"before etcd"}, checks.asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	kinds := map[EventKind]int{}
	for _, id := range units {
		kinds[outcomes(report)[id]]++
	}
	if kinds[Failed] != 1 || kinds[Skipped] != 1 {
		t.Errorf("outcomes: %v", kinds)
	}
	for _, host := range hosts {
		h := f.hosts[host]
		if got := h.read(t, h.path("/etc/member.env")); got != "old\n" {
			t.Errorf("%s holds %q", host, got)
		}
		if got := h.journal(t); len(got) != 1 || got[0] != "" {
			t.Errorf("%s: %v", host, got)
		}
	}
}

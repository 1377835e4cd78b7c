package render_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/render"
	"github.com/kinstall/kinstall/plan/resource"
)

func text(t *testing.T, d *plan.Delta, o render.Options) []string {
	t.Helper()
	var out bytes.Buffer
	if err := render.Text(&out, d, o); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func countPrefix(lines []string, prefix string) int {
	n := 0
	for _, line := range lines {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

func manyLines(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s %d\n", name, i)
	}
	return b.String()
}

// TestNewFilesAreOneLine: the first plan of hosts is a list that can be read,
// whatever is in the files.
func TestNewFilesAreOneLine(t *testing.T) {
	s := newScene()
	const files = 40
	for _, host := range []string{"shaolin", "wudang"} {
		for i := range files {
			path := fmt.Sprintf("/etc/kinstall/%02d.conf", i)
			s.want(host, resource.File{Path: path, Content: []byte(manyLines(path, 300))})
			s.found(host, fact.KindFile, path, fact.File{})
		}
		own := "/etc/own.conf"
		s.want(host, resource.File{Path: own, Content: []byte("name = " + host + "\n")})
		s.found(host, fact.KindFile, own, fact.File{})
	}
	d := s.delta()
	lines := text(t, d, render.Options{Width: 80})
	if len(lines) > files+16 {
		t.Errorf("%d lines for %d files on two hosts:\n%s", len(lines), files, strings.Join(lines, "\n"))
	}
	all := strings.Join(lines, "\n")
	for _, want := range []string{"mode 0644; 300 lines", "(40 more to create, the same as on shaolin)"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not said:\n%s", want, all)
		}
	}
	if n := countPrefix(lines, "  + file /etc/own.conf"); n != 2 {
		t.Errorf("what is not the same is shown %d times", n)
	}
	if n := len(text(t, d, render.Options{Verbose: true})); n < 2*files*300 {
		t.Errorf("with -verbose, %d lines", n)
	}
}

// TestDriftIsNeverFolded: what is lost on each host is told of each.
func TestDriftIsNeverFolded(t *testing.T) {
	s := newScene()
	for _, host := range []string{"shaolin", "wudang", "emei"} {
		for i := range 5 {
			path := fmt.Sprintf("/etc/kinstall/%02d.conf", i)
			s.want(host, resource.File{Path: path, Content: []byte("a\n")})
			s.found(host, fact.KindFile, path, fact.File{})
			s.wrote(host, path, "a\n")
		}
	}
	all := strings.Join(text(t, s.delta(), render.Options{Width: 80}), "\n")
	if n := strings.Count(all, "drift: deleted on the host"); n != 15 {
		t.Errorf("drift is told %d times, not 15:\n%s", n, all)
	}
}

// TestLongDiffsAreCut, with the number of lines that are left out.
func TestLongDiffsAreCut(t *testing.T) {
	s := newScene()
	const path = "/etc/long.conf"
	s.want("shaolin", resource.File{Path: path, Content: []byte(manyLines("new", 500))})
	s.foundFile("shaolin", path, manyLines("old", 500), 0o644)
	s.wrote("shaolin", path, manyLines("old", 500))
	d := s.delta()
	lines := text(t, d, render.Options{Width: 80})
	if len(lines) > 32 || !strings.Contains(strings.Join(lines, "\n"), "      (976 more lines; -verbose shows them)\n") {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	if n := len(text(t, d, render.Options{Verbose: true})); n < 1000 {
		t.Errorf("with -verbose, %d lines", n)
	}
}

// TestManyHosts: the table names some of them, and says how many it leaves out.
func TestManyHosts(t *testing.T) {
	inv := &inventory.Inventory{}
	p := &plan.Plan{Inventory: inv}
	d := &plan.Delta{Plan: p}
	for i := range 100 {
		name := fmt.Sprintf("host%03d", i)
		inv.Hosts = append(inv.Hosts, inventory.Host{Name: name, Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})})
		step := plan.Step{Host: name, Resource: resource.Unit{Name: "kubelet.service"}}
		p.Steps = append(p.Steps, step)
		d.Items = append(d.Items, plan.Item{Step: &step, Change: &resource.Change{Action: resource.Restart}})
	}
	lines := text(t, d, render.Options{Width: 80})
	all := strings.Join(lines, "\n")
	for _, want := range []string{
		"  restarts: kubelet.service on host000, host001, host002, host003, host004,\n      host005, host006, host007 and 92 more\n",
		"  (84 more; -verbose lists them)\n  host host099",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not said:\n%s", want, strings.Join(lines[:30], "\n"))
		}
	}
	if n := countPrefix(lines, "  host host"); n != 16 {
		t.Errorf("the table names %d hosts", n)
	}
	if n := countPrefix(text(t, d, render.Options{Verbose: true}), "  host host"); n != 100 {
		t.Errorf("with -verbose, the table names %d hosts", n)
	}
}

// TestProblemsComeFirst: before anything that would be done.
func TestProblemsComeFirst(t *testing.T) {
	inv := &inventory.Inventory{Hosts: []inventory.Host{{Name: "emei"}}}
	step := plan.Step{Host: "emei", Resource: resource.Unit{Name: "kubelet.service"}}
	d := &plan.Delta{Plan: &plan.Plan{Inventory: inv, Steps: []plan.Step{step}},
		Items:    []plan.Item{{Step: &step, Change: &resource.Change{Action: resource.Restart}}},
		Problems: []plan.Problem{{Host: "emei", Summary: "no space"}}}
	lines := text(t, d, render.Options{})
	if lines[0] != "# problems" {
		t.Errorf("the plan begins with %s", lines[0])
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, "1 problem must be solved") {
		t.Errorf("the plan ends with %s", last)
	}
}

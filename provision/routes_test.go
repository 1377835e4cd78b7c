package provision

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/probe"
	"github.com/kinstall/kinstall/templates"
)

// namespace is a network of its own with an interface on 10.88.0.0/24 and
// fd00:27::/64.
type namespace struct {
	t    *testing.T
	name string
}

func newNamespace(t *testing.T) namespace {
	t.Helper()
	needRoot(t)
	n := namespace{t, fmt.Sprintf("kinstall-routes-%d", os.Getpid())}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n.name).Run() })
	n.run("ip link add kin0 type veth peer name kin1\nip link set kin1 up\nip addr add 10.88.0.11/24 dev kin0\nip addr add fd00:27::11/64 dev kin0 nodad\nip link set kin0 up\n", nil)
	return n
}

// run runs a script with that standard input and returns what it prints.
func (n namespace) run(script string, stdin []byte) string {
	n.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", n.name, "sh", "-c", script)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		n.t.Fatalf("%v: %s\n%s", err, stderr.String(), script)
	}
	return string(out)
}

// routes are those with a metric or a next hop, sorted.
func (n namespace) routes() []string {
	var routes []string
	for _, line := range strings.Split(n.run("ip -o -4 route show table main; ip -o -6 route show table main", nil), "\n") {
		words := strings.Fields(line)
		if slices.Contains(words, "via") {
			metric := "0"
			if i := slices.Index(words, "metric"); i > 0 {
				metric = words[i+1]
			}
			routes = append(routes, words[0]+" "+words[2]+" "+metric)
		}
	}
	slices.Sort(routes)
	return routes
}

// judge asks for the routes as a plan does, and judges them.
func (n namespace) judge(r resource.StaticRoutes, record fact.Record) resource.Change {
	n.t.Helper()
	script, err := probe.Script(r.Queries(), "10.88.0.11")
	if err != nil {
		n.t.Fatal(err)
	}
	facts, err := probe.Parse([]byte(n.run(script, nil)), r.Queries())
	if err != nil {
		n.t.Fatal(err)
	}
	facts.Host.State.Resources = map[string]fact.Record{string(r.ID()): record}
	change, err := r.Diff(facts)
	if err != nil {
		n.t.Fatal(err)
	}
	return change
}

// In a network of the kernel's own: all routes come at once and are found as
// wanted by their digest, hosts that come and go change theirs only, what is
// somebody else's stays, and the script of the boot sets the very same.
func TestStaticRoutesInTheKernel(t *testing.T) {
	n := newNamespace(t)
	table := func(hosts ...int) resource.StaticRoutes {
		var routes []resource.Route
		for _, i := range hosts {
			routes = append(routes,
				resource.Route{Destination: fmt.Sprintf("10.244.%d.0/24", i), Via: fmt.Sprintf("10.88.0.%d", i)},
				resource.Route{Destination: fmt.Sprintf("fd00:10:244:%d::/64", i), Via: fmt.Sprintf("fd00:27::%d", i)})
		}
		return resource.StaticRoutes{Table: resource.NewRouteTable(routes), Own: []string{"10.88.0.11", "fd00:27::11"}}
	}
	apply := func(r resource.StaticRoutes, record fact.Record) fact.Record {
		t.Helper()
		change := n.judge(r, record)
		if !change.Changes() {
			t.Fatal("nothing to do")
		}
		n.run(staticRoutesScript(change.Removes), routeBatch(r, " metric "+routeMetric))
		if change := n.judge(r, change.Record); change.Changes() {
			t.Fatalf("after it was applied: %+v", change)
		}
		return change.Record
	}
	theirs := []string{"10.244.1.0/24 10.88.0.99 32", "10.250.0.0/24 10.88.0.99 64"}
	n.run("ip route add 10.250.0.0/24 via 10.88.0.99 metric 64\nip route add 10.244.1.0/24 via 10.88.0.99 metric 32\n", nil)

	three := table(1, 2, 11)
	record := apply(three, fact.Record{})
	want := append([]string{"10.244.1.0/24 10.88.0.1 64", "10.244.2.0/24 10.88.0.2 64", "fd00:10:244:1::/64 fd00:27::1 64", "fd00:10:244:2::/64 fd00:27::2 64"}, theirs...)
	slices.Sort(want)
	if diff := cmp.Diff(want, n.routes()); diff != "" {
		t.Errorf("three hosts (-want +got):\n%s", diff)
	}

	// The boot sets the same, whatever is there already.
	set := templates.New()
	dir := t.TempDir()
	file := filepath.Join(dir, "routes")
	if err := os.WriteFile(file, set.Render("etc/kinstall/routes", map[string]any{"Routes": three.Table.Routes}), 0o600); err != nil {
		t.Fatal(err)
	}
	boot := string(set.Render("usr/local/lib/kinstall/network.sh", map[string]any{
		"AddressV6": "", "Metric": resource.RouteMetric, "Rules": nil, "Routes": file, "Own": three.Own,
	}))
	n.run("ip route del 10.244.1.0/24 metric 64", nil)
	for range 2 {
		n.run(boot, nil)
		if diff := cmp.Diff(want, n.routes()); diff != "" {
			t.Errorf("after a boot (-want +got):\n%s", diff)
		}
	}

	// Host 2 left, 3 came, and 1 has another address.
	next := table(1, 3, 11)
	for i := range next.Table.Routes {
		if next.Table.Routes[i].Via == "10.88.0.1" {
			next.Table.Routes[i].Via = "10.88.0.101"
		}
	}
	next.Table = resource.NewRouteTable(next.Table.Routes)
	record = apply(next, record)
	want = append([]string{"10.244.1.0/24 10.88.0.101 64", "10.244.3.0/24 10.88.0.3 64", "fd00:10:244:1::/64 fd00:27::1 64", "fd00:10:244:3::/64 fd00:27::3 64"}, theirs...)
	slices.Sort(want)
	if diff := cmp.Diff(want, n.routes()); diff != "" {
		t.Errorf("other hosts (-want +got):\n%s", diff)
	}

	// Another network follows; once more finds nothing to do.
	for range 2 {
		n.run(scriptHeader+removeRoutesScript(record.Ranges), nil)
		if diff := cmp.Diff(theirs, n.routes()); diff != "" {
			t.Errorf("without routes of kinstall's (-want +got):\n%s", diff)
		}
	}
}

// A route that can't be set is an error with the kernel's words.
func TestStaticRouteRefused(t *testing.T) {
	n := newNamespace(t)
	cmd := exec.Command("ip", "netns", "exec", n.name, "sh", "-c", staticRoutesScript(nil))
	cmd.Stdin = strings.NewReader("route replace 10.244.1.0/24 via 192.0.2.1 metric 64\n")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "invalid gateway") {
		t.Errorf("%v: %s", err, out)
	}
}

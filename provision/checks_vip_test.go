package provision

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

func TestHolder(t *testing.T) {
	vip := netip.MustParseAddr("10.88.0.40")
	down := errors.New("down")
	for _, c := range []struct {
		name    string
		sharers []sharer
		want    string
		err     bool
	}{
		{"one", []sharer{{host: "wudang"}, {host: "emei", has: true}}, "emei", false},
		{"none", []sharer{{host: "wudang"}, {host: "emei"}}, "", true},
		{"two", []sharer{{host: "wudang", has: true}, {host: "emei", has: true}}, "", true},
		{"one, and who knows of the other", []sharer{{host: "wudang", err: down}, {host: "emei", has: true}}, "emei", true},
		{"nobody can be asked", []sharer{{host: "wudang", err: down}}, "", true},
	} {
		got, err := holder(c.sharers, vip)
		if got != c.want || (err != nil) != c.err {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

// The host that has the address may be changed while keepalived runs on another;
// one that has it not, always.
func TestVirtualAddressWithout(t *testing.T) {
	f := newFleet(t, Options{}, "wudang", "emei")
	f.inventory.LoadBalancer = &inventory.LoadBalancer{Hosts: []string{"wudang", "emei"}, VirtualAddress: netip.MustParseAddr("10.88.0.40")}
	e := f.executor()
	e.delta = &plan.Delta{}
	for _, h := range f.hosts {
		h.program(t, "ip", `case "$*" in "-o addr show to 10.88.0.40") cat "$HOST/address" 2>/dev/null ;; esac; true`)
		h.program(t, "systemctl", `[ "$*" = "is-active --quiet -- keepalived.service" ] && [ -e "$HOST/keepalived" ]`)
	}
	set := func(host, file string, there bool) {
		t.Helper()
		path := f.hosts[host].path("/" + file)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if there {
			if err := os.WriteFile(path, []byte("2: eth0    inet 10.88.0.40/32 scope global eth0\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	without := resource.Check{Kind: resource.CheckVirtualAddressWithout, Host: "wudang"}
	for _, c := range []struct {
		name              string
		has, other, fails bool
		unreachable       bool
	}{
		{name: "the other one can take it", has: true, other: true},
		{name: "nobody can take it", has: true, fails: true},
		{name: "there is nothing to take"},
		{name: "the other one can't be asked", has: true, other: true, unreachable: true, fails: true},
	} {
		set("wudang", "address", c.has)
		set("emei", "keepalived", c.other)
		e.delta.Unreachable = map[string]error{}
		if c.unreachable {
			e.delta.Unreachable["emei"] = errors.New("down")
		}
		err := clusterChecks{e}.try(t.Context(), without, anyProcesses, nil)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// Two hosts that have it are one too many.
	set("wudang", "address", true)
	set("emei", "address", true)
	e.delta.Unreachable = nil
	err := clusterChecks{e}.try(t.Context(), resource.Check{Kind: resource.CheckVirtualAddress}, anyProcesses, nil)
	if err == nil || !strings.Contains(err.Error(), "wudang and emei have 10.88.0.40") {
		t.Errorf("%v", err)
	}
}

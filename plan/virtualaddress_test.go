package plan

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

const vip = "192.168.10.40"

// keepalivedConfigs are the configurations by host.
func keepalivedConfigs(t *testing.T, p *Plan) map[string]string {
	t.Helper()
	configs := map[string]string{}
	for _, s := range p.Steps {
		if f, ok := s.Resource.(resource.File); ok && f.Path == keepalivedConfig {
			configs[s.Host] = string(f.Content)
		}
	}
	return configs
}

// The hosts of a load balancer name each other, agree on what they share, and
// have each another priority, the first one the highest.
func TestVirtualAddressIsShared(t *testing.T) {
	inv := load(t, "virtual-address")
	inv.LoadBalancer.Hosts = []string{"balancer-2", "balancer-1", "master-1"}
	p := compile(t, inv)
	configs := keepalivedConfigs(t, p)
	if len(configs) != 3 {
		t.Fatalf("%d hosts have keepalived", len(configs))
	}
	priority := regexp.MustCompile(`(?m)^    priority ([0-9]+)$`)
	found := map[string]string{}
	for host, config := range configs {
		found[host] = priority.FindStringSubmatch(config)[1]
		h, _ := inv.Host(host)
		if !strings.Contains(config, "unicast_src_ip "+h.Address.String()+"\n") {
			t.Errorf("%s does not send from its own address:\n%s", host, config)
		}
		for other := range configs {
			o, _ := inv.Host(other)
			if got := strings.Contains(config, "        "+o.Address.String()+"\n"); got != (other != host) {
				t.Errorf("%s sends adverts to %s: %v", host, other, got)
			}
		}
		for _, line := range []string{"    nopreempt\n", "    state BACKUP\n", "virtual_router_id 40\n", "vrrp_version 2\n", "        192.168.10.40\n"} {
			if !strings.Contains(config, line) {
				t.Errorf("%s has no line %q", host, line)
			}
		}
	}
	if diff := cmp.Diff(map[string]string{"balancer-2": "250", "balancer-1": "240", "master-1": "230"}, found); diff != "" {
		t.Errorf("priorities (-want +got):\n%s", diff)
	}
	for _, s := range p.Steps {
		f, ok := s.Resource.(resource.AuthorityFile)
		if ok && f.Path == keepalivedAuth && (f.Own().Mode != 0o600 || f.Part != resource.PartVRRPPassword) {
			t.Errorf("the password: %+v", f)
		}
	}
}

// Hosts of IPv6 share an address by version 3 of VRRP, which knows no password.
func TestVirtualAddressOfIPv6(t *testing.T) {
	inv := load(t, "virtual-address")
	text := strings.NewReplacer("192.168.10.", "fd00:10::").Replace
	for i := range inv.Hosts {
		inv.Hosts[i].Address = netip.MustParseAddr(text(inv.Hosts[i].Address.String()))
	}
	inv.LoadBalancer.VirtualAddress = netip.MustParseAddr("fd00:10::40")
	inv.Cluster.PodCIDR, inv.Cluster.ServiceCIDR = prefix("fd00:244::/48"), prefix("fd00:96::/112")
	inv.Cluster.PodSubnetSize = 64
	inv.Network.Kind = "external"
	for host, config := range keepalivedConfigs(t, compile(t, inv)) {
		if !strings.Contains(config, "vrrp_version 3\n") || strings.Contains(config, "auth") {
			t.Errorf("%s:\n%s", host, config)
		}
		if err := parseKeepalived([]byte(config)); err != nil {
			t.Error(err)
		}
	}
}

func TestPreflightOfTheVirtualAddress(t *testing.T) {
	inv := load(t, "virtual-address")
	const mac = "02:42:0a:58:00:40"
	for _, c := range []struct {
		name        string
		networks    []string
		mac         string
		holder      string
		unreachable string
		want        string
	}{
		{name: "free", networks: []string{"192.168.10.0/24"}},
		{name: "a stranger has it", networks: []string{"192.168.10.0/24"}, mac: mac, want: mac},
		{name: "the other host has it", networks: []string{"192.168.10.0/24"}, mac: mac, holder: "balancer-2"},
		{name: "it has it itself", networks: []string{"192.168.10.0/24", vip + "/32"}, holder: "balancer-1"},
		{name: "the other host may have it", networks: []string{"192.168.10.0/24"}, mac: mac, unreachable: "balancer-2"},
		{name: "of another network", networks: []string{"192.168.11.0/24"}, want: "none of its networks (192.168.11.0/24)"},
		{name: "of another network, and there", networks: []string{"192.168.11.0/24", vip + "/32"}, holder: "balancer-1", want: "none of its networks"},
		{name: "networks not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			observed := Observed{Hosts: map[string]Observation{}}
			for _, name := range inv.LoadBalancer.Hosts {
				facts := fact.NewSet(fact.Host{Networks: c.networks})
				if name == c.holder {
					facts.Host.Addresses = []string{vip}
				}
				facts.Put(fact.Key{Kind: fact.KindNeighbor, Name: vip}, fact.Neighbor{MAC: c.mac})
				observed.Hosts[name] = Observation{Facts: facts}
			}
			unreachable := map[string]error{}
			if c.unreachable != "" {
				unreachable[c.unreachable] = errors.New("down")
			}
			h, _ := inv.Host("balancer-1")
			problems := checkVirtualAddress(inv, h, observed, unreachable)
			switch {
			case c.want == "" && len(problems) > 0:
				t.Errorf("%v", problems)
			case c.want != "" && (len(problems) != 1 || !strings.Contains(problems[0].Summary, c.want)):
				t.Errorf("%v", problems)
			}
			master, _ := inv.Host("master-1")
			if more := checkVirtualAddress(inv, master, observed, unreachable); len(more) > 0 {
				t.Errorf("a host that is not to have it: %v", more)
			}
		})
	}
}

// Who has the address is changed after all that have it not.
func TestHolderOfTheVirtualAddressIsLast(t *testing.T) {
	inv := load(t, "virtual-address")
	p := compile(t, inv)
	for _, holder := range inv.LoadBalancer.Hosts {
		observed := Observed{Hosts: map[string]Observation{holder: {Facts: fact.NewSet(fact.Host{Addresses: []string{vip}})}}}
		d := &Delta{Plan: p, Observed: observed}
		var holders, others []StepID
		for _, s := range p.Steps {
			if s.Resource.ID() != unitID(KeepalivedUnit) {
				continue
			}
			d.Items = append(d.Items, Item{&s, &resource.Change{Action: resource.Reload}})
			if s.Host == holder {
				holders = append(holders, s.ID())
			} else {
				others = append(others, s.ID())
			}
		}
		o := order{}
		d.holdersLast(o)
		if len(holders) != 1 || len(others) != 1 || !slices.Equal(o[holders[0]], others) || len(o[others[0]]) > 0 {
			t.Errorf("%s has it: %v", holder, o)
		}
		for i := range d.Items {
			d.Items[i].OwnChange().Action = resource.NoOp
		}
		o = order{}
		if d.holdersLast(o); len(o) > 0 {
			t.Errorf("nothing changes: %v", o)
		}
	}
}

package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func machinesAt(addresses ...string) []Machine {
	var machines []Machine
	for i, a := range addresses {
		machines = append(machines, Machine{Name: fmt.Sprintf("m%d", i), Address: netip.MustParseAddr(a)})
	}
	return machines
}

func subnetsAt(pairs ...string) []subnet {
	var subnets []subnet
	for i := 0; i < len(pairs); i += 2 {
		subnets = append(subnets, subnet{netip.MustParsePrefix(pairs[i]), netip.MustParseAddr(pairs[i+1])})
	}
	return subnets
}

func TestPlanSubnets(t *testing.T) {
	var full []string
	for i := 1; i < 255; i++ {
		full = append(full, fmt.Sprintf("10.0.0.%d", i))
	}
	for _, tc := range []struct {
		name     string
		machines []Machine
		before   []subnet
		want     []subnet
		wantErr  string
	}{
		{
			name:     "one network",
			machines: machinesAt("10.88.0.11", "10.88.0.12"),
			want:     subnetsAt("10.88.0.0/24", "10.88.0.254"),
		}, {
			name:     "several networks, in order whatever the machines' order",
			machines: machinesAt("10.27.53.32", "10.24.138.208", "10.27.52.72", "10.27.52.80"),
			want:     subnetsAt("10.24.138.0/24", "10.24.138.254", "10.27.52.0/24", "10.27.52.254", "10.27.53.0/24", "10.27.53.254"),
		}, {
			name:     "a machine holds .254",
			machines: machinesAt("10.88.0.254", "10.88.0.253"),
			want:     subnetsAt("10.88.0.0/24", "10.88.0.252"),
		}, {
			name:     "running machines keep their gateway",
			machines: machinesAt("10.88.0.11"),
			before:   subnetsAt("10.88.0.0/24", "10.88.0.252", "10.99.0.0/24", "10.99.0.254"),
			want:     subnetsAt("10.88.0.0/24", "10.88.0.252"),
		}, {
			name:     "a new machine takes the gateway's address",
			machines: machinesAt("10.88.0.11", "10.88.0.254"),
			before:   subnetsAt("10.88.0.0/24", "10.88.0.254"),
			wantErr:  "machine m1: address 10.88.0.254 is the gateway of the running lab",
		}, {
			name:     "both families",
			machines: []Machine{{Name: "m1", Address: netip.MustParseAddr("10.88.0.1"), AddressV6: netip.MustParseAddr("fd00:88::fffe")}},
			want:     append(subnetsAt("10.88.0.0/24", "10.88.0.254"), subnetsAt("fd00:88::/64", "fd00:88::fffd")...),
		}, {
			name:     "no address is left",
			machines: machinesAt(full...),
			wantErr:  "network 10.0.0.0/24: no address is left for its gateway",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := planSubnets(tc.machines, tc.before)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b subnet) bool { return a == b })); diff != "" {
				t.Errorf("subnets (-want +got):\n%s", diff)
			}
			for _, m := range tc.machines {
				if _, err := gatewayOf(m.Address, got); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestCheckMachines(t *testing.T) {
	at := netip.MustParseAddr
	for _, tc := range []struct {
		name     string
		machines []Machine
		want     string // empty: fine
	}{
		{"fine", machinesAt("10.27.53.32", "10.24.138.208"), ""},
		{"bad name", []Machine{{Name: "a/b", Address: at("10.0.0.1")}}, `machine name "a/b"`},
		{"name twice", []Machine{{Name: "a", Address: at("10.0.0.1")}, {Name: "a", Address: at("10.0.0.2")}}, "machine a: listed twice"},
		{"address twice", []Machine{{Name: "a", Address: at("10.0.0.1")}, {Name: "b", Address: at("10.0.0.1")}}, "machine b: address 10.0.0.1 is already that of a"},
		{"IPv6", []Machine{{Name: "a", Address: at("fd00::1")}}, "is not an IPv4 address"},
		{"no address", []Machine{{Name: "a"}}, "is not an IPv4 address"},
		{"network address", []Machine{{Name: "a", Address: at("10.0.0.0")}}, "can't be held by a host"},
		{"broadcast address", []Machine{{Name: "a", Address: at("10.0.0.255")}}, "can't be held by a host"},
		{"both families", []Machine{{Name: "a", Address: at("10.0.0.1"), AddressV6: at("fd00::1")}}, ""},
		{"IPv4 twice", []Machine{{Name: "a", Address: at("10.0.0.1"), AddressV6: at("10.0.0.2")}}, "can't be held by a host of an IPv6 network"},
		{"link-local", []Machine{{Name: "a", Address: at("10.0.0.1"), AddressV6: at("fe80::1")}}, "can't be held by a host of an IPv6 network"},
		{"IPv6 twice", []Machine{{Name: "a", Address: at("10.0.0.1"), AddressV6: at("fd00::1")}, {Name: "b", Address: at("10.0.0.2"), AddressV6: at("fd00::1")}},
			"machine b: address fd00::1 is already that of a"},
		{"loopback", []Machine{{Name: "a", Address: at("127.0.0.2")}}, "can't be held by a host"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := checkMachines(tc.machines)
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
)

func TestPreflightOfIdentities(t *testing.T) {
	const one, two = "11111111111111111111111111111111", "22222222222222222222222222222222"
	type machine struct {
		id, key string
		address string // "": the host's own
	}
	for _, tt := range []struct {
		name     string
		machines map[string]machine // of shaolin, wudang, emei, huashan
		pinned   map[string]string
		limit    []string
		// elsewhere has those that were asked though they are left out.
		elsewhere []string
		want      []string
	}{
		{name: "four machines", machines: map[string]machine{"shaolin": {id: one, key: "SHA256:a"}, "wudang": {id: two, key: "SHA256:b"}}},
		{name: "nothing known", machines: map[string]machine{"shaolin": {}, "wudang": {}}},
		{name: "images that were never booted", machines: map[string]machine{"shaolin": {id: "uninitialized"}, "wudang": {id: "uninitialized"}}},
		{name: "one address, forwarded ports", machines: map[string]machine{"shaolin": {id: one, key: "SHA256:a", address: "10.0.0.1"}, "wudang": {id: two, key: "SHA256:b", address: "10.0.0.1"}}},
		{name: "one machine", machines: map[string]machine{"wudang": {id: one, key: "SHA256:a", address: "10.88.0.12"}, "huashan": {id: one, key: "SHA256:a", address: "10.88.0.12"}}, want: []string{
			"wudang: is the same machine as huashan: the machine-id 11111111111111111111111111111111 and the addresses 10.88.0.12 are the same"}},
		{name: "one machine, by keys of two types", machines: map[string]machine{"wudang": {id: one, key: "SHA256:a", address: "10.88.0.12"}, "huashan": {id: one, key: "SHA256:b", address: "10.88.0.12"}}, want: []string{
			"wudang: is the same machine as huashan: the machine-id 11111111111111111111111111111111 and the addresses 10.88.0.12 are the same"}},
		{name: "clones", machines: map[string]machine{"shaolin": {id: one, key: "SHA256:a"}, "wudang": {id: one, key: "SHA256:b"}, "emei": {id: one, key: "SHA256:c"}}, want: []string{
			"shaolin: has the same machine-id as wudang and emei: 11111111111111111111111111111111"}},
		{name: "clones, keys and all", machines: map[string]machine{"shaolin": {id: one, key: "SHA256:a"}, "wudang": {id: one, key: "SHA256:a"}}, want: []string{
			"shaolin: has the same machine-id as wudang: 11111111111111111111111111111111", "shaolin: shows the same SSH host key as wudang: SHA256:a"}},
		{name: "keys that came with an image", machines: map[string]machine{"shaolin": {id: one, key: "SHA256:a"}, "wudang": {id: two, key: "SHA256:a"}}, want: []string{
			"shaolin: shows the same SSH host key as wudang: SHA256:a"}},
		{name: "limited to one of them", machines: map[string]machine{"shaolin": {id: one}, "wudang": {id: one}}, limit: []string{"wudang"}, elsewhere: []string{"shaolin"}, want: []string{
			"shaolin: has the same machine-id as wudang: 11111111111111111111111111111111"}},
		{name: "limited, and not known", machines: map[string]machine{"shaolin": {id: one}, "wudang": {id: one}}, limit: []string{"wudang"}},
		{name: "limited, pinned", machines: map[string]machine{"wudang": {id: one, key: "SHA256:a"}}, pinned: map[string]string{"emei": "SHA256:a="}, limit: []string{"wudang"}, want: []string{
			"wudang: shows the same SSH host key as emei: SHA256:a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inv := load(t, "lab")
			for i, h := range inv.Hosts {
				inv.Hosts[i].SSH.Fingerprint = tt.pinned[h.Name]
			}
			p := compile(t, inv).Limit(tt.limit)
			observed := Observed{Hosts: map[string]Observation{}, Elsewhere: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
			look := func(name string) Observation {
				h, _ := inv.Host(name)
				o := bare(p, h)
				m := tt.machines[name]
				o.HostKey, o.Facts.Host.MachineID = m.key, m.id
				if m.address != "" {
					o.Facts.Host.Addresses = []string{m.address}
				}
				return o
			}
			for _, name := range p.Hosts() {
				observed.Hosts[name] = look(name)
			}
			for _, name := range tt.elsewhere {
				observed.Elsewhere[name] = look(name)
			}
			var got []string
			for _, problem := range p.Diff(observed).Problems {
				if strings.HasPrefix(problem.Summary, "does not have the address") {
					continue // the inventory's address is another matter
				}
				if problem.Hint == "" {
					t.Errorf("%s: no way out", problem.Summary)
				}
				got = append(got, fmt.Sprintf("%s: %s", problem.Host, problem.Summary))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

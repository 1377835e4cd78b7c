package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
)

// etcdStory is what is found of etcd, told in a few words.
type etcdStory struct {
	name string
	// roles has the hosts with the role etcd, of shaolin, wudang, emei, huashan.
	roles string
	// list has etcd's own members where it answers: NAME, NAME! for one that
	// has served, NAME@ADDRESS for another address, "?NAME" for one added by
	// hand at NAME's address.
	list string
	// data has the hosts with a member's data; state those that remember its
	// unit; lived those that remember objects of the API.
	data, state, lived string
	// begun has the members in the bootstrap files of the hosts with data;
	// "": as planned.
	begun string
	limit string
	// elsewhere has the hosts that were asked though the plan leaves them out.
	elsewhere string
	want      []string // "HOST: beginning of the summary"
}

func (s etcdStory) observe(t *testing.T) (*Plan, Observed) {
	t.Helper()
	inv := load(t, "lab")
	address := map[string]string{}
	for i, h := range inv.Hosts {
		address[h.Name] = h.Address.String()
		inv.Hosts[i].Roles = slices.DeleteFunc(slices.Clone(h.Roles), func(r string) bool { return r == inventory.RoleEtcd })
		if slices.Contains(strings.Fields(s.roles), h.Name) {
			inv.Hosts[i].Roles = append(inv.Hosts[i].Roles, inventory.RoleEtcd)
		}
	}
	address["kunlun"] = "10.88.0.99"
	peer := func(name string) string { return "https://" + address[name] + ":2380" }
	p := compile(t, inv)
	if s.limit != "" {
		p = p.Limit(strings.Fields(s.limit))
	}
	observed := Observed{Hosts: map[string]Observation{}, Elsewhere: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
	for _, h := range inv.Hosts {
		into := observed.Hosts
		if !slices.Contains(p.Hosts(), h.Name) {
			if into = observed.Elsewhere; !slices.Contains(strings.Fields(s.elsewhere), h.Name) {
				continue
			}
		}
		o := bare(p, h)
		o.Facts.Host.State = fact.State{Cluster: inv.Cluster.Name, Resources: map[string]fact.Record{}}
		has := func(list string) bool { return slices.Contains(strings.Fields(list), h.Name) }
		o.Facts.Put(fact.Key{Kind: fact.KindFile, Name: "/var/lib/etcd/member"}, fact.File{Exists: has(s.data)})
		if has(s.state) {
			o.Facts.Host.State.Resources[EtcdUnit] = fact.Record{Digest: "x"}
		}
		if has(s.lived) {
			o.Facts.Host.State.Resources["object:v1/ServiceAccount/kube-system/coredns"] = fact.Record{Digest: "x"}
		}
		if s.begun != "" && has(s.data) {
			var all []string
			for _, name := range strings.Fields(s.begun) {
				all = append(all, name+"="+peer(name))
			}
			o.Facts.Put(fact.Key{Kind: fact.KindFile, Name: bootstrapFile}, fact.File{Exists: true, Type: "file", HasContent: true,
				Content: fmt.Appendf(nil, "ETCD_INITIAL_CLUSTER=\"%s\"\nETCD_INITIAL_CLUSTER_STATE=\"new\"\n", strings.Join(all, ","))})
		}
		into[h.Name] = o
	}
	if s.list != "" {
		found := fact.EtcdMembers{Quorum: true}
		for i, word := range strings.Fields(s.list) {
			m := fact.EtcdMember{ID: uint64(0xa0 + i)}
			name, served := strings.CutSuffix(word, "!")
			name, by := strings.CutPrefix(name, "?")
			name, at, moved := strings.Cut(name, "@")
			m.Name, m.PeerURLs = name, []string{peer(name)}
			if by {
				m.Name = ""
			}
			if moved {
				m.PeerURLs = []string{"https://" + at + ":2380"}
			}
			if served {
				m.ClientURLs = []string{"https://client"}
			}
			found.Members = append(found.Members, m)
		}
		observed.Cluster.Put(fact.EtcdMembersKey, found)
	}
	return p, observed
}

// A change of etcd's list of members is refused; a bring-up that was
// interrupted at any point goes on.
func TestMembers(t *testing.T) {
	const three = "shaolin wudang emei"
	for _, s := range []etcdStory{
		// Nothing is in the way of these.
		{name: "bare machines", roles: three},
		{name: "killed before the first member started", roles: three, state: "shaolin"},
		{name: "killed when one waited for a quorum", roles: three, data: "shaolin", state: "shaolin", begun: three},
		{name: "killed when two of three served", roles: three, data: "shaolin wudang", state: "shaolin", list: "emei shaolin! wudang!"},
		{name: "killed when two of three were about to serve", roles: three, data: "shaolin wudang", list: "emei shaolin wudang"},
		{name: "as planned", roles: three, data: three, state: three, lived: three, list: "emei! shaolin! wudang!"},
		{name: "all stopped", roles: three, data: three, state: three, lived: three},
		{name: "taken off the list by hand before", roles: "shaolin wudang", data: three, state: three, lived: three, list: "shaolin! wudang!"},
		{name: "joined by hand before", roles: three, data: three, state: "shaolin", lived: three, list: "emei! shaolin! wudang!"},
		{name: "an etcd of somebody else's", roles: three, data: "huashan"},
		{name: "one can't be asked", roles: three, limit: "shaolin wudang", data: three, state: three, lived: three, list: "emei! shaolin! wudang!"},
		{name: "without a host whose data is gone", roles: three, limit: "huashan", elsewhere: three, data: "shaolin wudang", state: three, lived: three, list: "emei! shaolin! wudang!"},

		{name: "three to one", roles: "shaolin", data: three, state: three, lived: three, list: "emei! shaolin! wudang!", want: []string{
			"emei: emei is a member of etcd and not one in the inventory", "wudang: wudang is a member of etcd and not one in the inventory"}},
		{name: "three to one, limited", roles: "shaolin", limit: "huashan", data: three, state: three, list: "emei! shaolin! wudang!", want: []string{
			"emei: emei is a member of etcd and not one in the inventory", "wudang: wudang is a member of etcd and not one in the inventory"}},
		{name: "three to one, etcd is down", roles: "shaolin", data: three, state: three, lived: three, begun: three, want: []string{
			"shaolin: its etcd was begun with the members emei=https://10.88.0.13:2380, shaolin=https://10.88.0.11:2380, wudang=https://10.88.0.12:2380, the inventory says shaolin=",
			"wudang: has the data of a member of etcd in /var/lib/etcd and not the role", "emei: has the data of a member of etcd in /var/lib/etcd and not the role"}},
		{name: "one to three", roles: three, data: "shaolin", state: "shaolin", lived: three, list: "shaolin!", want: []string{
			"wudang: would be a new member of an etcd that lives with other members: shaolin", "emei: would be a new member of an etcd that lives with other members: shaolin"}},
		{name: "one to three, etcd is down", roles: three, data: "shaolin", state: "shaolin", lived: three, begun: "shaolin", want: []string{
			"shaolin: its etcd was begun with the members shaolin=https://10.88.0.11:2380, the inventory says emei=", "wudang: has no data of etcd (/var/lib/etcd/member is not there), though the cluster has lived",
			"emei: has no data of etcd (/var/lib/etcd/member is not there), though the cluster has lived"}},
		{name: "one struck from the inventory", roles: "shaolin wudang", data: "shaolin wudang", state: three, list: "kunlun! shaolin! wudang!", want: []string{
			"(cluster): kunlun is a member of etcd and not one in the inventory; its members are kunlun, shaolin, wudang"}},
		{name: "all moved", roles: "huashan", data: "shaolin", state: "shaolin", lived: three, want: []string{
			"shaolin: has the data of a member of etcd in /var/lib/etcd and not the role", "huashan: has no data of etcd"}},
		{name: "all moved, limited", roles: "huashan", limit: "huashan", elsewhere: three, data: "shaolin", state: "shaolin", lived: "shaolin", want: []string{
			"shaolin: has the data of a member of etcd in /var/lib/etcd and not the role", "huashan: has no data of etcd"}},
		{name: "installed anew", roles: three, data: "shaolin wudang", state: "shaolin wudang", lived: "shaolin wudang", list: "emei! shaolin! wudang!", want: []string{
			"emei: is a member of etcd, but its data is gone: /var/lib/etcd/member is not there"}},
		{name: "two of three installed anew", roles: three, data: "shaolin", state: "shaolin", lived: "shaolin", begun: three, want: []string{
			"wudang: has no data of etcd (/var/lib/etcd/member is not there), though the cluster has lived", "emei: has no data of etcd (/var/lib/etcd/member is not there), though the cluster has lived"}},
		{name: "another address", roles: three, data: three, list: "emei! shaolin@10.88.0.77! wudang!", want: []string{
			"shaolin: is known to etcd as https://10.88.0.77:2380, the inventory says https://10.88.0.11:2380"}},
		{name: "added by hand, not started", roles: three, data: "shaolin wudang", list: "?emei shaolin! wudang!", want: []string{
			"emei: was added to etcd's members by hand and has not started"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			p, observed := s.observe(t)
			var got []string
			for i, problem := range p.Diff(observed).Problems {
				text := problem.Host + ": " + problem.Summary
				if i < len(s.want) {
					if strings.HasPrefix(text, s.want[i]) {
						text = s.want[i]
					}
				}
				if problem.Hint == "" {
					t.Errorf("%s: no way out", text)
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(s.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// The probe asks each host of a plan what the list is judged by.
func TestMembersAreAskedFor(t *testing.T) {
	p := compile(t, load(t, "lab"))
	asked := func(queries []fact.Query) (names []string) {
		for _, q := range queries {
			if q.Name == "/var/lib/etcd/member" || q.Name == "etcd.service" || q.Name == bootstrapFile && q.Content {
				names = append(names, q.Name)
			}
		}
		return names
	}
	all := []string{bootstrapFile, "/var/lib/etcd/member", "etcd.service"}
	if diff := cmp.Diff(all, asked(p.Queries("emei"))); diff != "" {
		t.Errorf("of a member (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all, asked(p.ElsewhereQueries("emei"))); diff != "" {
		t.Errorf("of a member that is left out (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[1:], asked(p.Queries("huashan"))); diff != "" {
		t.Errorf("of a worker (-want +got):\n%s", diff)
	}
	if got := p.Elsewhere(""); got != nil {
		t.Errorf("a plan of all hosts leaves out %v", got)
	}
	limited := p.Limit([]string{"huashan", "emei"})
	if diff := cmp.Diff([]string{"shaolin", "wudang"}, limited.Elsewhere(inventory.RoleEtcd)); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
}

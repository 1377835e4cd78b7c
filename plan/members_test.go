package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// etcdStory is what is found of etcd, told in a few words.
type etcdStory struct {
	name string
	// roles has the hosts with the role etcd, of shaolin, wudang, emei, huashan.
	roles string
	// list has etcd's own members where it answers: NAME, NAME! for one that
	// has served, NAME@ADDRESS for another address, "?NAME" for one that was added
	// at NAME's address and has not started, "*NAME" for a learner. The first that
	// serves leads.
	list string
	// ill has the members that do not answer, stray the hosts with the data of a
	// member that is not listed, foreign those with the data of another etcd, and
	// runs those whose etcd.service runs.
	ill, stray, foreign, runs string
	// data has the hosts with a member's data; state those that remember its
	// unit; lived those that remember objects of the API.
	data, state, lived string
	// begun has the members in the bootstrap files of the hosts with data;
	// "": as planned.
	begun string
	limit string
	// elsewhere has the hosts that were asked though the plan leaves them out.
	elsewhere string
	want      []string // problems: "HOST: beginning of the summary"
	steps     []string // changes of the list
}

const storyCluster = 0xc1

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
		unit := fact.Unit{LoadState: "not-found"}
		if has(s.runs) {
			unit = fact.Unit{LoadState: "loaded", ActiveState: "active"}
		}
		o.Facts.Put(fact.Key{Kind: fact.KindUnit, Name: etcdUnit}, unit)
		whose := fact.EtcdData{}
		switch i := slices.IndexFunc(strings.Fields(s.list), func(word string) bool { return strings.Contains(word, h.Name) }); {
		case has(s.foreign):
			whose = fact.EtcdData{MemberID: 0xf, ClusterID: 0xf}
		case has(s.stray):
			whose = fact.EtcdData{MemberID: 0xe, ClusterID: storyCluster}
		case i >= 0 && has(s.data):
			whose = fact.EtcdData{MemberID: uint64(0xa0 + i), ClusterID: storyCluster}
		}
		o.Facts.Put(fact.Key{Kind: fact.KindEtcdData, Name: "/var/lib/etcd/member/wal"}, whose)
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
		found := fact.EtcdMembers{Quorum: true, ClusterID: storyCluster}
		for i, word := range strings.Fields(s.list) {
			m := fact.EtcdMember{ID: uint64(0xa0 + i)}
			name, served := strings.CutSuffix(word, "!")
			name, m.Learner = strings.CutPrefix(name, "*")
			name, by := strings.CutPrefix(name, "?")
			name, at, moved := strings.Cut(name, "@")
			m.Name, m.PeerURLs = name, []string{peer(name)}
			m.Healthy = served && !slices.Contains(strings.Fields(s.ill), name)
			if m.Healthy && found.Leader == 0 && !m.Learner {
				found.Leader = m.ID
			}
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

// tellSteps writes changes of etcd's list in a few words.
func tellSteps(changes []memberChange) (told []string) {
	names := func(list resource.EtcdList) string {
		var all []string
		for _, e := range list {
			name := e.String()
			if e.Learner {
				name = "*" + name
			}
			all = append(all, name)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	for _, c := range changes {
		text := map[memberAction]string{clearData: "clear " + c.host, removeMember: "remove " + c.entry.String(), addLearner: "add " + c.host, startMember: "start " + c.host, promoteMember: "promote " + c.host}[c.action]
		if c.late {
			text += " in the end"
		}
		told = append(told, text+" ("+names(c.list)+")")
	}
	return told
}

// etcd's list of members becomes that of the inventory in an order that keeps a
// quorum at each moment, or not at all; what was interrupted at any point goes
// on.
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

		// Members join one after the other.
		{name: "one to three", roles: three, data: "shaolin", state: "shaolin", lived: three, list: "shaolin!", steps: []string{
			"add wudang (shaolin)", "start wudang (*wudang shaolin)", "promote wudang (*wudang shaolin)",
			"add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "killed when the first was listed", roles: three, data: "shaolin", state: "shaolin", list: "*?wudang shaolin!", steps: []string{
			"start wudang (*wudang shaolin)", "promote wudang (*wudang shaolin)",
			"add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "killed when the first was started", roles: three, data: "shaolin wudang", state: "shaolin wudang", list: "shaolin! *wudang!", steps: []string{
			"promote wudang (*wudang shaolin)",
			"add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "killed while the first started", roles: three, data: "shaolin wudang", state: "shaolin", list: "*?wudang shaolin!", steps: []string{
			"promote wudang (*wudang shaolin)",
			"add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "killed when the first had its vote", roles: three, data: "shaolin wudang", state: "shaolin wudang", list: "shaolin! wudang!", steps: []string{
			"add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "added by hand with a vote, not started", roles: three, data: "shaolin wudang", list: "?emei shaolin! wudang!", steps: []string{"start emei (emei shaolin wudang)"}},
		{name: "one to three, one of which can't be reached", roles: three, limit: "shaolin wudang huashan", data: "shaolin", list: "shaolin!", want: []string{
			"emei: is to become a member of etcd, and -limit leaves the host out"}},
		{name: "one to three, limited to those", roles: three, limit: three, data: "shaolin", list: "shaolin!", steps: []string{
			"add wudang (shaolin)", "start wudang (*wudang shaolin)", "promote wudang (*wudang shaolin)",
			"add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "one to three while one is down that has its data", roles: three, data: "shaolin wudang", list: "shaolin! wudang!", ill: "wudang", steps: []string{
			"add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}, want: nil},

		// Members leave, the leader last.
		{name: "three to one", roles: "shaolin", data: three, state: three, lived: three, list: "emei! shaolin! wudang!", steps: []string{
			"remove wudang in the end (emei shaolin wudang)", "remove emei in the end (emei shaolin)"}},
		{name: "three to one, killed between", roles: "shaolin", data: three, state: three, lived: three, list: "emei! shaolin!", steps: []string{"remove emei in the end (emei shaolin)"}},
		{name: "three to one, killed before the services were stopped", roles: "shaolin", data: three, state: three, lived: three, list: "shaolin!"},
		{name: "one that does not answer leaves", roles: "shaolin wudang huashan", data: "shaolin wudang", state: three, list: "emei! shaolin! wudang!", ill: "emei", steps: []string{
			"remove emei (emei shaolin wudang)", "add huashan (shaolin wudang)", "start huashan (*huashan shaolin wudang)", "promote huashan (*huashan shaolin wudang)"}},
		{name: "a learner leaves before it has joined", roles: "shaolin", data: "shaolin", list: "*?emei shaolin!", steps: []string{"remove https://10.88.0.13:2380 (*https://10.88.0.13:2380 shaolin)"}},

		// A member moves: the new one is there before the old one goes.
		{name: "moved", roles: "huashan wudang emei", data: three, state: three, list: "emei! shaolin! wudang!", steps: []string{
			"add huashan (emei shaolin wudang)", "start huashan (*huashan emei shaolin wudang)", "promote huashan (*huashan emei shaolin wudang)",
			"remove shaolin in the end (emei huashan shaolin wudang)"}},
		{name: "the only one moved", roles: "huashan", data: "shaolin", state: "shaolin", list: "shaolin!", steps: []string{
			"add huashan (shaolin)", "start huashan (*huashan shaolin)", "promote huashan (*huashan shaolin)", "remove shaolin in the end (huashan shaolin)"}},

		// A member without its data is replaced.
		{name: "installed anew", roles: three, data: "shaolin wudang", state: "shaolin wudang", lived: "shaolin wudang", list: "emei! shaolin! wudang!", ill: "emei", steps: []string{
			"remove emei (emei shaolin wudang)", "add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "its disk was wiped while it ran", roles: three, data: "shaolin wudang", state: three, list: "emei! shaolin! wudang!", runs: three, steps: []string{
			"clear emei (emei shaolin wudang)", "remove emei (emei shaolin wudang)", "add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "installed anew at another address", roles: three, data: "shaolin wudang", list: "emei@10.88.0.77! shaolin! wudang!", ill: "emei", steps: []string{
			"remove emei (emei shaolin wudang)", "add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "with the data of a member that was removed", roles: three, data: three, stray: "emei", list: "shaolin! wudang!", steps: []string{
			"clear emei (shaolin wudang)", "add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "listed, with the data of a member that was removed", roles: three, data: three, stray: "emei", list: "*?emei shaolin! wudang!", steps: []string{
			"clear emei (*https://10.88.0.13:2380 shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},
		{name: "restored from an old disk", roles: three, data: three, stray: "emei", list: "emei! shaolin! wudang!", ill: "emei", steps: []string{
			"clear emei (emei shaolin wudang)", "remove emei (emei shaolin wudang)", "add emei (shaolin wudang)", "start emei (*emei shaolin wudang)", "promote emei (*emei shaolin wudang)"}},

		// What would lose the quorum, or is somebody else's, is refused.
		{name: "three to one, limited", roles: "shaolin", limit: "huashan", data: three, state: three, list: "emei! shaolin! wudang!", want: []string{
			"emei: leaves etcd, and -limit leaves the host out", "wudang: leaves etcd, and -limit leaves the host out"}},
		{name: "three to one, etcd is down", roles: "shaolin", data: three, state: three, lived: three, begun: three, want: []string{
			"shaolin: its etcd was begun with the members emei=https://10.88.0.13:2380, shaolin=https://10.88.0.11:2380, wudang=https://10.88.0.12:2380, the inventory says shaolin=",
			"wudang: has the data of a member of etcd in /var/lib/etcd and not the role", "emei: has the data of a member of etcd in /var/lib/etcd and not the role"}},
		{name: "one to three, etcd is down", roles: three, data: "shaolin", state: "shaolin", lived: three, begun: "shaolin", want: []string{
			"shaolin: its etcd was begun with the members shaolin=https://10.88.0.11:2380, the inventory says emei=", "wudang: has no data of etcd (/var/lib/etcd/member is not there), though the cluster has lived",
			"emei: has no data of etcd (/var/lib/etcd/member is not there), though the cluster has lived"}},
		{name: "one struck from the inventory", roles: "shaolin wudang", data: "shaolin wudang", state: three, list: "kunlun! shaolin! wudang!", want: []string{
			"(cluster): kunlun is a member of etcd and not one in the inventory; its members are kunlun, shaolin, wudang"}},
		{name: "somebody else adds a member", roles: "shaolin wudang", data: "shaolin wudang", list: "*?kunlun shaolin! wudang!", want: []string{
			"(cluster): https://10.88.0.99:2380 is being added to etcd by somebody else"}},
		{name: "all moved", roles: "huashan", data: "shaolin", state: "shaolin", lived: three, want: []string{
			"shaolin: has the data of a member of etcd in /var/lib/etcd and not the role", "huashan: has no data of etcd"}},
		{name: "all moved, limited", roles: "huashan", limit: "huashan", elsewhere: three, data: "shaolin", state: "shaolin", lived: "shaolin", want: []string{
			"shaolin: has the data of a member of etcd in /var/lib/etcd and not the role", "huashan: has no data of etcd"}},
		{name: "two of three installed anew", roles: three, data: "shaolin", state: "shaolin", lived: "shaolin", begun: three, want: []string{
			"wudang: has no data of etcd (/var/lib/etcd/member is not there), though the cluster has lived", "emei: has no data of etcd (/var/lib/etcd/member is not there), though the cluster has lived"}},
		{name: "two of three lack their data, and etcd answers still", roles: three, data: "shaolin", list: "emei! shaolin! wudang!", runs: three, want: []string{
			"(cluster): 1 of 3 members of etcd serve; 2 are needed to change its list of members; emei: its data is gone"}},
		{name: "one that is ill stays, and the two others leave", roles: "emei", data: three, list: "emei! shaolin! wudang!", ill: "emei", runs: three, want: []string{
			"(cluster): wudang can't leave etcd: of the 2 members that stay 1 would serve, and 2 are needed"}},
		{name: "one joins while one does not answer", roles: three + " huashan", data: three, list: "emei! shaolin! wudang!", ill: "emei", runs: three, want: []string{
			"(cluster): emei does not serve; etcd adds members only while all others do"}},
		{name: "another address", roles: three, data: three, list: "emei! shaolin@10.88.0.77! wudang!", want: []string{
			"shaolin: is known to etcd as https://10.88.0.77:2380, the inventory says https://10.88.0.11:2380"}},
		{name: "the data of another etcd", roles: three, data: three, foreign: "emei", list: "shaolin! wudang!", want: []string{
			"emei: has the data of another etcd in /var/lib/etcd/member: that of cluster f, and this one is c1"}},
		{name: "a member with the data of another etcd", roles: three, data: three, foreign: "emei", list: "emei! shaolin! wudang!", ill: "emei", want: []string{
			"emei: has the data of another etcd in /var/lib/etcd/member: that of cluster f, and this one is c1"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			p, observed := s.observe(t)
			var got []string
			delta := p.Diff(observed)
			if diff := cmp.Diff(s.steps, tellSteps(delta.members)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			for i, problem := range delta.Problems {
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
			if q.Name == "/var/lib/etcd/member" || q.Kind == fact.KindEtcdData || q.Name == "etcd.service" || q.Name == bootstrapFile && q.Content {
				names = append(names, q.Name)
			}
		}
		slices.Sort(names)
		return names
	}
	all := []string{bootstrapFile, "/var/lib/etcd/member", "/var/lib/etcd/member/wal", "etcd.service"}
	if diff := cmp.Diff(all, asked(p.Queries("emei"))); diff != "" {
		t.Errorf("of a member (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all, asked(p.ElsewhereQueries("emei"))); diff != "" {
		t.Errorf("of a member that is left out (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{all[1], all[3]}, asked(p.Queries("huashan"))); diff != "" {
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

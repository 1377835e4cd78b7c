package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// withMembers is a plan of the lab with the role `etcd` on some hosts.
func withMembers(t *testing.T, a authority, names ...string) *Plan {
	t.Helper()
	inv := load(t, "lab")
	for i, h := range inv.Hosts {
		inv.Hosts[i].Roles = slices.DeleteFunc(slices.Clone(h.Roles), func(r string) bool { return r == inventory.RoleEtcd })
		if slices.Contains(names, h.Name) {
			inv.Hosts[i].Roles = append(inv.Hosts[i].Roles, inventory.RoleEtcd)
		}
	}
	return compileWith(t, inv, a)
}

// becomes is what is observed of a cluster that is as one plan wants it and is
// to become as another wants it. All of it serves.
func becomes(t *testing.T, a authority, old, next *Plan) Observed {
	t.Helper()
	observed := installed(t, old, a)
	found := fact.EtcdMembers{Quorum: true, ClusterID: storyCluster}
	for _, h := range old.Inventory.Hosts {
		facts := observed.Hosts[h.Name].Facts
		for _, q := range slices.Concat(old.Queries(h.Name), next.Queries(h.Name)) {
			answer := bareAnswer(q)
			switch {
			case q.Kind == fact.KindStaticPod && h.Has(inventory.RoleMaster):
				answer = fact.Pod{UID: "x", Started: "x", Running: true}
			case q.Kind == fact.KindFile && q.Name == memberDirectory(old.Inventory):
				answer = fact.File{Exists: h.Has(inventory.RoleEtcd), Type: "directory"}
			}
			if !facts.Has(q.Key()) {
				facts.Put(q.Key(), answer)
			}
		}
		if h.Has(inventory.RoleEtcd) {
			m := fact.EtcdMember{ID: uint64(h.Name[0]), Name: h.Name, PeerURLs: []string{peerURL(h)}, ClientURLs: []string{"https://client"}, Healthy: true}
			facts.Put(fact.Key{Kind: fact.KindEtcdData, Name: logDirectory(old.Inventory)}, fact.EtcdData{MemberID: m.ID, ClusterID: storyCluster})
			found.Members = append(found.Members, m)
		}
	}
	for _, s := range old.Steps {
		if file, ok := s.Resource.(resource.File); ok && file.Path == bootstrapFile { // as it was begun
			observed.Hosts[s.Host].Facts.Put(fact.Key{Kind: fact.KindFile, Name: bootstrapFile}, fact.File{
				Exists: true, Type: "file", Mode: file.Own().Mode, Owner: "root", Group: "root", SHA256: file.Digest(), Content: file.Content, HasContent: true})
		}
	}
	found.Leader = found.Members[0].ID
	observed.Cluster.Put(fact.EtcdMembersKey, found)
	return observed
}

// ordered returns the delta's changing items in an order in which they may be
// carried out, turns as wholes; it fails where they wait for each other.
func ordered(t *testing.T, d *Delta) []StepID {
	t.Helper()
	nodes := d.Graph()
	done := make([]bool, len(nodes))
	var order []StepID
	for progress := true; progress; {
		progress = false
		for i, node := range nodes {
			if done[i] || slices.ContainsFunc(node.After, func(j int) bool { return !done[j] }) {
				continue
			}
			done[i], progress = true, true
			for _, item := range node.Items {
				if item.Change.Changes() {
					order = append(order, item.Step.ID())
				}
			}
		}
	}
	for i, node := range nodes {
		if !done[i] {
			t.Errorf("%s is never reached", node.Items[0].Step.ID())
		}
	}
	return order
}

// Steps of a change of members stand in an order that keeps a quorum, and has
// whoever asks etcd know whom to ask.
func TestMembersInOrder(t *testing.T) {
	a := newAuthority(t)
	const (
		shaolin = "shaolin/unit:etcd.service"
		wudang  = "wudang/unit:etcd.service"
		emei    = "emei/unit:etcd.service"
		gate    = "(cluster)/gate:etcd"
		server  = "emei/staticpod:/etc/kubernetes/manifests/kube-apiserver.yaml"
	)
	one, three := []string{"shaolin"}, []string{"shaolin", "wudang", "emei"}
	for _, tt := range []struct {
		name     string
		old, new []string
		chains   [][]StepID // each step is done after the one before it
	}{
		{"join", one, three, [][]StepID{
			{"wudang/artifact:etcd", "(cluster)/etcd-learner:wudang"},
			{"wudang/file:/etc/etcd/bootstrap.env", "(cluster)/etcd-learner:wudang", wudang, "(cluster)/etcd-voter:wudang",
				"(cluster)/etcd-learner:emei", emei, "(cluster)/etcd-voter:emei", gate, server},
		}},
		{"leave", three, one, [][]StepID{
			{server, "(cluster)/gate:apiserver/emei", "(cluster)/etcd-member:wudang/77", wudang, "wudang/file:/etc/etcd/etcd.env"},
			{"(cluster)/etcd-member:wudang/77", "(cluster)/etcd-member:emei/65", emei},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, next := withMembers(t, a, tt.old...), withMembers(t, a, tt.new...)
			observed := becomes(t, a, old, next)
			delta := next.Diff(observed)
			for _, p := range delta.Problems {
				t.Errorf("problem: %s: %s", p.Host, p.Summary)
			}
			steps := map[StepID]Step{}
			for _, item := range delta.Items {
				steps[item.Step.ID()] = *item.Step
			}
			order := ordered(t, delta)
			for _, chain := range tt.chains {
				for i := 1; i < len(chain); i++ {
					if _, ok := steps[chain[i]]; !ok {
						t.Errorf("%s is not in the plan", chain[i])
					} else if !waitsFor(steps, chain[i], chain[i-1], map[StepID]bool{}) {
						t.Errorf("%s does not wait for %s", chain[i], chain[i-1])
					}
				}
			}
			if t.Failed() {
				t.Logf("in order:\n%s", order)
			}
		})
	}
}

// Nobody is restarted for a member that joins or leaves, and no file of a
// member that has its data is written.
func TestMembersAreLeftAlone(t *testing.T) {
	a := newAuthority(t)
	three := []string{"shaolin", "wudang", "emei"}
	for _, tt := range []struct{ old, new []string }{{[]string{"shaolin"}, three}, {three, []string{"shaolin"}}} {
		old, next := withMembers(t, a, tt.old...), withMembers(t, a, tt.new...)
		observed := becomes(t, a, old, next)
		for _, item := range next.Diff(observed).Items {
			if id := item.Step.ID(); item.Change.Changes() && strings.HasPrefix(string(id), "shaolin/") && strings.Contains(string(id), "etcd") {
				t.Errorf("%v to %v: %s %s", tt.old, tt.new, item.Change.Action, id)
			}
		}
	}
}

// A member that joins is started with etcd's list as it is then.
func TestBootstrapOfAJoiner(t *testing.T) {
	a := newAuthority(t)
	old, next := withMembers(t, a, "shaolin"), withMembers(t, a, "shaolin", "wudang", "emei")
	got := map[string]string{}
	for _, item := range next.Diff(becomes(t, a, old, next)).Items {
		file, ok := item.Step.Resource.(resource.File)
		if !ok || file.Path != bootstrapFile || !item.Change.Changes() {
			continue
		}
		for line := range strings.Lines(string(file.Content)) {
			if strings.HasPrefix(line, "ETCD_INITIAL_CLUSTER") && !strings.Contains(line, "TOKEN") {
				got[item.Step.Host] += line
			}
		}
		if item.Change.Text == nil || item.Change.Text.After != string(file.Content) {
			t.Errorf("%s: the plan shows something else than what is written", item.Step.Host)
		}
	}
	want := map[string]string{
		"wudang": `ETCD_INITIAL_CLUSTER="shaolin=https://10.88.0.11:2380,wudang=https://10.88.0.12:2380"` + "\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
		"emei":   `ETCD_INITIAL_CLUSTER="emei=https://10.88.0.13:2380,shaolin=https://10.88.0.11:2380,wudang=https://10.88.0.12:2380"` + "\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// While a worker is down a member joins all the same; the one that leaves, and
// its service, stay until everybody can learn of it.
func TestMembersMoveWithoutAWorker(t *testing.T) {
	story(t, func(rt *rapid.T) {
		w, d := simulatedCluster(t, rt)
		w.powerCut("worker-0")
		d.members = []string{"master-0", "master-1", "worker-1"}
		p := compileWith(t, loadDraft(t, d), modelAuthority())
		skipping := p.SkipUnreachable()
		delta := w.diff(rt, skipping)
		if r := newSimRun(rt, w, delta); r.execute() || len(r.failed) > 0 {
			rt.Fatalf("without worker-0: %v", r.failed)
		}
		if !w.lists("worker-1") || !w.lists("master-2") || !w.runs("master-2", etcdUnit) {
			rt.Fatalf("members: %+v", w.etcd.members)
		}
		if up, all := w.voters(0); up != 4 || all != 4 {
			rt.Fatalf("%d of %d members have a vote and run", up, all)
		}
		w.restorePower()
		w.converge(rt, p, "")
		if w.lists("master-2") || w.runs("master-2", etcdUnit) {
			rt.Fatalf("members in the end: %+v", w.etcd.members)
		}
	})
}

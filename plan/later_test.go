package plan

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// simulatedCluster is one of three masters and two workers, as installed.
func simulatedCluster(t *testing.T, rt *rapid.T) (*world, draft) {
	d := draft{masters: 3, workers: 2, runtime: "containerd", network: "\"routes\" {}", kubernetes: 2, etcd: 7, balancers: 1, args: map[string]string{}, labels: map[int]string{}}
	w := newWorld(t, modelAuthority())
	p := compileWith(t, loadDraft(t, d), modelAuthority())
	r := newSimRun(rt, w, w.diff(rt, p))
	r.sorted = true
	r.execute()
	if left := changes(w.diff(rt, p)); len(r.failed) > 0 || len(left) > 0 {
		rt.Fatalf("installation: %v; left: %v", r.failed, left)
	}
	return w, d
}

// story runs one in which steps are carried out in any order they may be.
func story(t *testing.T, tell func(*rapid.T)) {
	t.Helper()
	seeded(t)
	checks := flag.Lookup("rapid.checks")
	if checks.Value.String() == checks.DefValue { // else somebody has time for more
		if err := checks.Value.Set("3"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = checks.Value.Set(checks.DefValue) })
	}
	rapid.Check(t, tell)
}

// changedHosts are those that a delta changes something on.
func changedHosts(d *Delta) []string {
	hosts := map[string]bool{}
	for _, item := range d.Items {
		if item.Step.Host != Operator && item.Change.Changes() {
			hosts[item.Step.Host] = true
		}
	}
	return slices.Sorted(maps.Keys(hosts))
}

// A worker that is down keeps nobody from anything: all others come to be as
// planned, and the worker follows when it is back.
func TestSkipAWorker(t *testing.T) {
	story(t, func(rt *rapid.T) {
		w, d := simulatedCluster(t, rt)
		w.powerCut("worker-0")
		d.args, d.labels = map[string]string{"etcd": "2", "api_server": "3", "kubelet": "2"}, map[int]string{0: "north", 1: "south"}
		d.kubernetes++
		p := compileWith(t, loadDraft(t, d), modelAuthority())

		if plain := p.Diff(w.observe(p)); !plain.Blocked() {
			rt.Fatal("without being asked to, the plan goes on without a host that can't be reached")
		} else if !slices.ContainsFunc(plain.Graph(), func(n Node) bool { return n.Blocked }) {
			rt.Fatal("nothing waits for worker-0: the story shows nothing")
		}

		delta := p.SkipUnreachable().Diff(w.observe(p))
		if len(delta.Problems) > 0 || delta.Blocked() {
			rt.Fatalf("problems: %v", delta.Problems)
		}
		if diff := cmp.Diff([]string{"worker-0"}, delta.Skipped()); diff != "" {
			rt.Fatalf("left for later (-want +got):\n%s", diff)
		}
		for _, n := range delta.Graph() {
			if n.Blocked {
				rt.Errorf("%s is not begun", n.Items[0].Step.ID())
			}
		}
		var later []string
		for _, l := range delta.Later {
			later = append(later, fmt.Sprintf("%s: %s", l.Item.Step.ID(), l.Reason))
		}
		if diff := cmp.Diff([]string{"(cluster)/node:worker-0: worker-0 can't be reached"}, later); diff != "" {
			rt.Errorf("left for later (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{Cluster, "master-0", "master-1", "master-2", "worker-1"}, changedHosts(delta)); diff != "" {
			rt.Errorf("changed (-want +got):\n%s", diff)
		}
		r := newSimRun(rt, w, delta)
		r.execute()
		r.finished()
		if len(r.failed) > 0 {
			rt.Fatalf("failed: %v", r.failed)
		}
		if left := changes(p.SkipUnreachable().Diff(w.observe(p))); len(left) > 0 {
			rt.Fatalf("left on hosts that can be reached: %v", left)
		}

		w.restorePower()
		back := w.diff(rt, p)
		if diff := cmp.Diff([]string{Cluster, "worker-0"}, changedHosts(back)); diff != "" {
			rt.Errorf("changed when it is back (-want +got):\n%s\n%v", diff, changes(back))
		}
		w.converge(rt, p, "")
	})
}

// While a master is down, nothing is done that the others could not do without
// it, and what waits for that waits, too. What has nothing to do with it is done.
func TestSkipAMaster(t *testing.T) {
	story(t, func(rt *rapid.T) {
		w, d := simulatedCluster(t, rt)
		w.powerCut("master-1")
		d.args, d.labels = map[string]string{"etcd": "2", "api_server": "3"}, map[int]string{1: "south"}
		p := compileWith(t, loadDraft(t, d), modelAuthority())
		delta := p.SkipUnreachable().Diff(w.observe(p))
		if len(delta.Problems) > 0 {
			rt.Fatalf("problems: %v", delta.Problems)
		}
		later := map[StepID]string{}
		for _, l := range delta.Later {
			later[l.Item.Step.ID()] = l.Reason
		}
		for _, host := range []string{"master-0", "master-2"} {
			for _, id := range []string{"/unit:etcd.service", "/staticpod:/etc/kubernetes/manifests/kube-apiserver.yaml"} {
				if reason := later[StepID(host+id)]; reason != "the others might not do without it: master-1 can't be asked" {
					rt.Errorf("%s%s: left for later because of %q", host, id, reason)
				}
			}
			if _, waits := later[StepID(host+"/file:/etc/etcd/etcd.env")]; !waits {
				rt.Errorf("what etcd on %s reads is changed, though etcd is not restarted", host)
			}
		}
		if diff := cmp.Diff([]string{"(cluster)"}, changedHosts(delta)); diff != "" {
			rt.Errorf("changed (-want +got):\n%s", diff)
		}
		for _, turn := range delta.Turns {
			rt.Errorf("%s is to be changed", turn.Step)
		}
		before := w.host("master-0").processes[apiServerPod].starts
		r := newSimRun(rt, w, delta)
		r.execute()
		r.finished()
		if len(r.failed) > 0 || w.host("master-0").processes[apiServerPod].starts != before {
			rt.Errorf("failed: %v; API server started %d times, %d before", r.failed, w.host("master-0").processes[apiServerPod].starts, before)
		}
		w.restorePower()
		w.converge(rt, p, "")
	})
}

// What a member is started with counts as done when the member was seen to work
// with it, and a member that is left for later was not.
func TestSkipRecordsNothingUnseen(t *testing.T) {
	story(t, func(rt *rapid.T) {
		w, d := simulatedCluster(t, rt)
		d.args = map[string]string{"etcd": "2"}
		p := compileWith(t, loadDraft(t, d), modelAuthority())
		for _, s := range p.Steps {
			// As after a run that was killed between writing the file and starting etcd.
			if f, ok := s.Resource.(resource.File); ok && s.ID() == "master-0/file:/etc/etcd/etcd.env" {
				w.write("master-0", f.Path, f.Content, f.Own())
			}
		}
		if turns := p.Diff(w.observe(p)).Turns; !slices.ContainsFunc(turns, func(turn Turn) bool {
			return turn.Step == "master-0/unit:etcd.service" && slices.Contains(turn.Parts, "master-0/file:/etc/etcd/etcd.env")
		}) {
			rt.Fatal("the file is no part of a turn: the story shows nothing")
		}
		w.powerCut("master-1")
		delta := p.SkipUnreachable().Diff(w.observe(p))
		for _, l := range delta.Later {
			if l.Item.Change.Action == resource.NoOp {
				rt.Errorf("%s is left for later, where nothing is to be done", l.Item.Step.ID())
			}
		}
		for _, item := range delta.Items {
			if id := item.Step.ID(); id == "master-0/file:/etc/etcd/etcd.env" || id == "master-0/unit:etcd.service" {
				rt.Errorf("%s is recorded as done", id)
			}
		}
	})
}

// A new version waits for all API servers: a kubelet must not be newer than one.
func TestSkipAMasterOfAnotherVersion(t *testing.T) {
	story(t, func(rt *rapid.T) {
		w, d := simulatedCluster(t, rt)
		d.kubernetes++
		p := compileWith(t, loadDraft(t, d), modelAuthority())
		// Only workers and a master are left to be upgraded.
		limited := p.Limit([]string{"master-0", "master-2"})
		for range 3 {
			r := newSimRun(rt, w, limited.Diff(w.observe(limited)))
			r.execute()
		}
		w.powerCut("master-1")
		delta := p.SkipUnreachable().Diff(w.observe(p))
		found := ""
		for _, l := range delta.Later {
			if l.Item.Step.ID() == "worker-0/unit:kubelet.service" {
				found = l.Reason
			}
		}
		if found != "must not be newer than the API server of master-1" {
			rt.Errorf("the kubelet of worker-0: %q", found)
		}
	})
}

// What leaves may still be of use to a host that can't be asked.
func TestSkipKeepsWhatLeaves(t *testing.T) {
	story(t, func(rt *rapid.T) {
		w, d := simulatedCluster(t, rt)
		d.balancers = 0
		w.powerCut("worker-0")
		p := compileWith(t, loadDraft(t, d), modelAuthority())
		delta := p.SkipUnreachable().Diff(w.observe(p))
		for _, item := range delta.Items {
			if item.Change.Action == resource.Delete {
				rt.Errorf("%s is deleted", item.Step.ID())
			}
		}
		if !slices.ContainsFunc(delta.Later, func(l Postponed) bool {
			return l.Item.Step.ID() == "master-0/unit:nginx.service" && l.Reason == "worker-0 may still use it"
		}) {
			rt.Errorf("the load balancer is not among what is left for later: %v", delta.Later)
		}
	})
}

// With other authorities on some hosts only, the one that is left behind would
// trust nobody any more. What a host alone lost comes back all the same.
func TestSkipKeepsAuthorities(t *testing.T) {
	story(t, func(rt *rapid.T) {
		w, d := simulatedCluster(t, rt)
		w.powerCut("worker-0")
		p := compileWith(t, loadDraft(t, d), newAuthority(t))
		delta := p.SkipUnreachable().Diff(w.observe(p))
		for _, item := range delta.Items {
			switch item.Step.Resource.(type) {
			case resource.AuthorityFile, resource.Certificate, resource.StaticPod:
				if item.Change.Changes() {
					rt.Errorf("%s is to be changed", item.Step.ID())
				}
			}
		}
		if !slices.ContainsFunc(delta.Later, func(l Postponed) bool {
			return l.Item.Step.ID() == "worker-1/authorityfile:"+caFile && l.Reason == "another authority would cut off worker-0"
		}) {
			rt.Errorf("the authority's certificate is not among what is left for later: %v", delta.Later)
		}

		same := compileWith(t, loadDraft(t, d), modelAuthority())
		delete(w.host("worker-1").files, caFile)
		if got := changedHosts(same.SkipUnreachable().Diff(w.observe(same))); !slices.Equal(got, []string{"worker-1"}) {
			rt.Errorf("changed where a host lost its copy: %v", got)
		}
	})
}

// Whichever host is down, and whatever is changed: the others take what they are
// given, nothing is left to be done on them, and all is as planned when the host
// is back.
func TestSkipSimulation(t *testing.T) {
	story(t, func(rt *rapid.T) {
		first := drawDraft(rt)
		w := newWorld(t, modelAuthority())
		p := compileWith(t, loadDraft(t, first), modelAuthority())
		r := newSimRun(rt, w, w.diff(rt, p))
		r.sorted = true
		r.execute()
		second := first.mutate(rt)
		p = compileWith(t, loadDraft(t, second), modelAuthority())
		down := rapid.SampledFrom(p.Hosts()).Draw(rt, "down")
		w.host(down) // one that joins may be down, too
		w.powerCut(down)
		delta := p.SkipUnreachable().Diff(w.observe(p))
		if len(delta.Problems) > 0 {
			if strings.HasPrefix(down, "worker") || first.masters == 3 && first.minor == second.minor {
				rt.Fatalf("problems without %s: %v", down, delta.Problems)
			}
			return
		}
		r = newSimRun(rt, w, delta)
		r.execute()
		r.finished()
		if len(r.failed) > 0 {
			rt.Fatalf("without %s: %v", down, r.failed)
		}
		if left := changes(p.SkipUnreachable().Diff(w.observe(p))); len(left) > 0 {
			rt.Fatalf("left without %s: %v", down, left)
		}
		w.restorePower()
		w.converge(rt, p, "")
	})
}

// Members that come while the only one has no power found no etcd of their own.
func TestSkipFoundsNoSecondEtcd(t *testing.T) {
	story(t, func(rt *rapid.T) {
		d := draft{masters: 1, workers: 2, runtime: "containerd", network: "\"routes\" {}", minor: 36, kubernetes: 2, etcd: 7}
		w := newWorld(t, modelAuthority())
		w.converge(rt, compileWith(t, loadDraft(t, d), modelAuthority()), "")
		w.powerCut("master-0")
		d.members = []string{"worker-0", "master-0", "worker-1"}
		p := compileWith(t, loadDraft(t, d), modelAuthority())
		const want = "etcd does not answer, and master-0 can't be asked: if its data is there, worker-0 and worker-1 would found another etcd beside it"
		delta := p.SkipUnreachable().Diff(w.observe(p))
		if !slices.ContainsFunc(delta.Problems, func(p Problem) bool { return p.Summary == want }) {
			rt.Errorf("problems: %v", delta.Problems)
		}
	})
}

// A first installation goes on without a master that is down, as far as the
// others are a quorum.
func TestSkipInAFirstInstallation(t *testing.T) {
	story(t, func(rt *rapid.T) {
		d := draft{masters: 3, workers: 1, runtime: "containerd", network: "\"routes\" {}", kubernetes: 2, etcd: 7, balancers: 1}
		p := compileWith(t, loadDraft(t, d), modelAuthority())
		w := newWorld(t, modelAuthority())
		w.powerCut("master-2")
		delta := p.SkipUnreachable().Diff(w.observe(p))
		if len(delta.Problems) > 0 {
			rt.Fatalf("problems: %v", delta.Problems)
		}
		for _, item := range delta.Items {
			if gate, ok := item.Step.Resource.(resource.Gate); ok && gate.Kind == resource.CheckEtcd && gate.Text != "2 of 3 members healthy, one leader" {
				rt.Errorf("waits for %q", gate.Text)
			}
		}
		r := newSimRun(rt, w, delta)
		r.sorted = true
		r.execute()
		if left := changes(p.SkipUnreachable().Diff(w.observe(p))); len(r.failed) > 0 || len(left) > 0 {
			rt.Fatalf("failed: %v; left: %v", r.failed, left)
		}

		w.restorePower()
		observed := w.observe(p)
		var members fact.EtcdMembers // as an etcd lists them that was begun with all three
		for i, h := range p.Inventory.With(inventory.RoleEtcd) {
			members.Members = append(members.Members, fact.EtcdMember{ID: uint64(i + 1), Name: h.Name, PeerURLs: []string{peerURL(h)}})
		}
		observed.Cluster.Put(fact.EtcdMembersKey, members)
		back := p.Diff(observed)
		if len(back.Problems) > 0 {
			rt.Fatalf("problems when it is back: %v", back.Problems)
		}
		r = newSimRun(rt, w, back)
		r.sorted = true
		r.execute()
		if left := changes(w.diff(rt, p)); len(r.failed) > 0 || len(left) > 0 {
			rt.Fatalf("failed when it is back: %v; left: %v", r.failed, left)
		}
	})
}

// With the only load balancer away, what needs the API's endpoint waits.
func TestSkipTheBalancer(t *testing.T) {
	story(t, func(rt *rapid.T) {
		d := draft{masters: 3, workers: 1, runtime: "containerd", network: "\"routes\" {}", kubernetes: 2, etcd: 7, balancers: 1}
		p := compileWith(t, loadDraft(t, d), modelAuthority())
		w := newWorld(t, modelAuthority())
		w.powerCut("master-0")
		delta := p.SkipUnreachable().Diff(w.observe(p))
		later := map[StepID]string{}
		for _, l := range delta.Later {
			later[l.Item.Step.ID()] = l.Reason
		}
		if got := later["worker-0/unit:kubelet.service"]; got != "waits for the load balancer on master-0" {
			rt.Errorf("the kubelet of worker-0: %q", got)
		}
		if got, waits := later["master-1/unit:etcd.service"]; waits {
			rt.Errorf("etcd on master-1: %q", got)
		}
	})
}

// Without a quorum, or a majority whose locks keep others out, nothing is begun.
func TestSkipTooMany(t *testing.T) {
	for _, c := range []struct{ down, want string }{
		{"", ""},
		{"wudang", ""},
		{"huashan", ""},
		{"wudang emei", "1 of 3 members of etcd can be reached, 2 are needed for a quorum; bring back wudang or emei first; -skip-unreachable does not go on without them"},
	} {
		p := compile(t, load(t, "lab"))
		observed := Observed{Hosts: map[string]Observation{}}
		for _, h := range p.Inventory.Hosts {
			observed.Hosts[h.Name] = bare(p, h)
		}
		for _, host := range strings.Fields(c.down) {
			observed.Hosts[host] = Observation{Err: errLost}
		}
		var got []string
		for _, problem := range p.SkipUnreachable().Diff(observed).Problems {
			got = append(got, problem.Summary+"; "+problem.Hint)
		}
		if diff := cmp.Diff(c.want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("without %s (-want +got):\n%s", c.down, diff)
		}
	}
}

// Members of etcd on hosts of their own, and masters on theirs.
func TestSkipTooManyOfTwoKinds(t *testing.T) {
	inv := load(t, "split")
	p := compile(t, inv)
	observed := Observed{Hosts: map[string]Observation{}}
	for _, h := range inv.Hosts {
		observed.Hosts[h.Name] = bare(p, h)
		if h.Has(inventory.RoleMaster) {
			observed.Hosts[h.Name] = Observation{Err: errLost}
		}
	}
	problems := p.SkipUnreachable().Diff(observed).Problems
	if len(problems) != 1 || !strings.HasPrefix(problems[0].Summary, "0 of 2 masters can be reached, 1 are needed") {
		t.Errorf("problems: %v", problems)
	}
}

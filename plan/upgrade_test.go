package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// install applies a plan to simulated hosts, everything in the order of the plan.
func (w *world) install(p *Plan) {
	w.tb.Helper()
	delta := p.Diff(w.observe(p))
	for _, problem := range delta.Problems {
		w.tb.Fatalf("%s: %s", problem.Host, problem.Summary)
	}
	r := newSimRun(nil, w, delta)
	r.sorted = true
	r.execute()
	for _, err := range r.failed {
		w.tb.Fatal(err)
	}
	w.comeUp()
}

// living is a cluster of simulated hosts that a plan was applied to.
func living(t *testing.T, inv *inventory.Inventory) *world {
	t.Helper()
	w := newWorld(t, modelAuthority())
	w.install(compileWith(t, inv, modelAuthority()))
	return w
}

// upgradable is a cluster of three masters and two workers.
func upgradable(minor, patch int) draft {
	return draft{
		minor: minor, kubernetes: patch, etcd: 8, masters: 3, workers: 2, runtime: "containerd", network: `"routes" {}`, balancers: 1, batch: "2",
	}
}

// The order in which processes get their new version, one run of many: which of
// them wait for which is seen in TestUpgradeKeepsTheSkewPolicy.
func TestUpgradeOrder(t *testing.T) {
	w := living(t, loadDraft(t, upgradable(35, 4)))
	var got strings.Builder
	before := map[string]string{}
	for host, h := range w.hosts {
		for name, p := range h.processes {
			before[host+" "+name] = p.version
		}
	}
	w.started = func(host, name string, p *simProcess) {
		if was := before[host+" "+name]; was != p.version {
			fmt.Fprintf(&got, "%s %s %s → %s\n", host, name, was, p.version)
		} else {
			fmt.Fprintf(&got, "%s %s begun anew\n", host, name)
		}
		before[host+" "+name] = p.version
	}
	next := compileWith(t, loadDraft(t, upgradable(36, 3)), modelAuthority())
	w.install(next)
	golden(t, "testdata/upgrade/order.txt", []byte(got.String()))
	if left := changes(next.Diff(w.observe(next))); len(left) > 0 {
		t.Errorf("left after the upgrade:\n%s", strings.Join(left, "\n"))
	}
}

// What waits for what while Kubernetes changes its minor version, for every
// inventory with Kubernetes: no new process may ever be newer than an API
// server it may talk to, and all images are there before the first turn.
func TestUpgradeEdges(t *testing.T) {
	for name, inv := range variants(t) {
		if !inv.Kubernetes() || inv.Network.Kind == inventory.NetworkExternal {
			continue
		}
		t.Run(name, func(t *testing.T) {
			target := inv.Cluster.Version
			inv.Cluster.Version = "1.35.4"
			w := living(t, inv)
			inv.Cluster.Version = target
			p := compileWith(t, inv, modelAuthority())
			delta := p.Diff(w.observe(p))
			for _, problem := range delta.Problems {
				t.Errorf("problem on %s: %s", problem.Host, problem.Summary)
			}
			nodes := delta.Graph()
			at := map[StepID]int{}
			for i, n := range nodes {
				if n.Blocked {
					t.Errorf("%s waits for what is not in the plan", n.Items[0].Step.ID())
				}
				for _, item := range n.Items {
					at[item.Step.ID()] = i
				}
			}
			if left := cycle(nodes); len(left) > 0 {
				t.Fatalf("these wait for each other: %v", left)
			}
			before := func(first, then StepID) {
				t.Helper()
				i, ok := at[first]
				j, also := at[then]
				if !ok || !also {
					t.Fatalf("%s or %s is not in the plan", first, then)
				}
				if !reaches(nodes, j, i) {
					t.Errorf("%s does not wait for %s", then, first)
				}
			}
			pod := func(h inventory.Host, name string) StepID {
				return NewStepID(h.Name, resource.StaticPod{Path: manifestPath(name)}.ID())
			}
			kubelet := func(h inventory.Host) StepID { return NewStepID(h.Name, unitID(KubeletUnit)) }
			masters := inv.With(inventory.RoleMaster)
			for _, server := range masters {
				for _, item := range delta.Items {
					if _, image := item.Step.Resource.(resource.Image); image && item.Change.Changes() {
						before(item.Step.ID(), pod(server, apiServerPod))
					}
				}
				for _, h := range masters {
					before(pod(server, apiServerPod), pod(h, controllerPod))
					before(pod(server, apiServerPod), pod(h, schedulerPod))
					before(pod(server, apiServerPod), kubelet(h))
					before(pod(server, controllerPod), kubelet(h))
					before(pod(server, schedulerPod), kubelet(h))
				}
				for _, h := range inv.Nodes() {
					if !h.Has(inventory.RoleMaster) {
						before(kubelet(server), kubelet(h))
					}
					if onProxied(inv, h) {
						before(pod(server, apiServerPod), NewStepID(h.Name, unitID(kubeProxyUnit)))
						before(kubelet(h), NewStepID(h.Name, unitID(kubeProxyUnit)))
					}
				}
			}
		})
	}
}

// cycle returns steps of nodes that could never begin.
func cycle(nodes []Node) []StepID {
	waiting := make([]int, len(nodes))
	next := make([][]int, len(nodes))
	var ready []int
	for i, n := range nodes {
		waiting[i] = len(n.After)
		for _, before := range n.After {
			next[before] = append(next[before], i)
		}
		if waiting[i] == 0 {
			ready = append(ready, i)
		}
	}
	done := 0
	for ; len(ready) > 0; done++ {
		i := ready[0]
		ready = ready[1:]
		for _, j := range next[i] {
			if waiting[j]--; waiting[j] == 0 {
				ready = append(ready, j)
			}
		}
	}
	var left []StepID
	for i, n := range nodes {
		if waiting[i] > 0 {
			left = append(left, n.Items[len(n.Items)-1].Step.ID())
		}
	}
	return left
}

// reaches reports whether a node waits for another, however far.
func reaches(nodes []Node, from, to int) bool {
	seen := map[int]bool{}
	var visit func(i int) bool
	visit = func(i int) bool {
		if i == to {
			return true
		}
		if seen[i] {
			return false
		}
		seen[i] = true
		return slices.ContainsFunc(nodes[i].After, visit)
	}
	return visit(from)
}

// Which changes of versions are refused, with what advice, and what is said of
// those that are not.
func TestUpgradeProblems(t *testing.T) {
	kubelet := func(host, version string) func(*world) {
		return func(w *world) { w.host(host).processes[KubeletUnit].version = version }
	}
	etcd := func(version string) func(*world) {
		return func(w *world) {
			for _, h := range w.hosts {
				if record, ok := h.state.Resources[string(resource.NewID(resource.KindArtifact, releaseEtcd))]; ok {
					record.Version = version
					h.state.Resources[string(resource.NewID(resource.KindArtifact, releaseEtcd))] = record
				}
			}
		}
	}
	manifest := func(host, pod, version string) func(*world) {
		return func(w *world) {
			file := w.host(host).files[manifestPath(pod)]
			file.Content = imageVersion.ReplaceAll(file.Content, []byte(`image: "registry.k8s.io/x:v`+version+`"`))
			file.SHA256 = resource.SHA256(file.Content)
			w.host(host).files[manifestPath(pod)] = file
		}
	}
	manifests := func(version string, hosts ...string) func(*world) {
		return func(w *world) {
			for _, host := range hosts {
				for _, pod := range []string{apiServerPod, controllerPod, schedulerPod} {
					manifest(host, pod, version)(w)
				}
			}
		}
	}
	var got strings.Builder
	for _, c := range []struct {
		name     string
		from, to draft
		found    func(*world) // what is otherwise than a whole cluster of from
		limit    []string
	}{
		{name: "one minor", from: upgradable(35, 4), to: upgradable(36, 3)},
		{name: "a patch", from: upgradable(36, 1), to: upgradable(36, 3)},
		{name: "a patch back", from: upgradable(36, 3), to: upgradable(36, 1)},
		{name: "a minor skipped", from: upgradable(34, 2), to: upgradable(36, 3)},
		{name: "two minors skipped", from: upgradable(33, 6), to: upgradable(36, 3)},
		{name: "a minor skipped that is not known", from: upgradable(33, 6), to: upgradable(34, 4), found: manifests("1.31.9", "master-0", "master-1", "master-2")},
		{name: "a minor back", from: upgradable(36, 3), to: upgradable(35, 4)},
		{name: "a minor back, where one API server came further", from: upgradable(35, 4), to: upgradable(35, 5), found: manifest("master-0", apiServerPod, "1.36.3")},
		{name: "an upgrade that was interrupted", from: upgradable(35, 4), to: upgradable(36, 3), found: manifest("master-0", apiServerPod, "1.36.3")},
		{name: "API servers too far apart", from: upgradable(36, 3), to: upgradable(36, 3), found: manifest("master-2", apiServerPod, "1.34.2")},
		{name: "a controller manager left behind", from: upgradable(35, 4), to: upgradable(36, 3), found: manifest("master-2", controllerPod, "1.34.2")},
		{name: "a kubelet that is newer than the API servers", from: upgradable(35, 4), to: upgradable(36, 3), found: kubelet("worker-1", "1.36.3")},
		{name: "a kubelet that is newer than the API servers will be", from: upgradable(35, 4), to: upgradable(35, 5), found: kubelet("worker-1", "1.36.3")},
		{name: "a kubelet that is too old", from: upgradable(35, 4), to: upgradable(36, 3), found: kubelet("worker-1", "1.32.1")},
		{name: "a kubelet that is old", from: upgradable(35, 4), to: upgradable(36, 3), found: kubelet("worker-1", "1.33.1")},
		{name: "some masters only", from: upgradable(35, 4), to: upgradable(36, 3), limit: []string{"master-0", "worker-0"}},
		{name: "a worker before the masters", from: upgradable(35, 4), to: upgradable(36, 3), limit: []string{"worker-0"}},
		{name: "the masters only", from: upgradable(35, 4), to: upgradable(36, 3), limit: []string{"master-0", "master-1", "master-2"}},
		{name: "a patch of a worker only", from: upgradable(36, 1), to: upgradable(36, 3), limit: []string{"worker-0"}},
		{name: "a master that can't be reached", from: upgradable(35, 4), to: upgradable(36, 3), found: func(w *world) { w.powerCut("master-1") }},
		{name: "a worker that can't be reached", from: upgradable(35, 4), to: upgradable(36, 3), found: func(w *world) { w.powerCut("worker-1") }},
		{name: "a kubelet that does not run", from: upgradable(35, 4), to: upgradable(36, 3), found: func(w *world) {
			w.host("master-1").processes[KubeletUnit].running = false
		}},
		{name: "a disk that is full", from: upgradable(35, 4), to: upgradable(36, 3), found: func(w *world) { w.host("worker-1").free = 300 << 20 }},
		{name: "deprecated APIs", from: upgradable(35, 4), to: upgradable(36, 3), found: func(w *world) {
			old := fact.DeprecatedAPI{Group: "flowcontrol.apiserver.k8s.io", Version: "v1beta3", Resource: "flowschemas", Removed: "1.36"}
			w.deprecated = map[string]fact.Deprecated{
				"master-0": {APIs: []fact.DeprecatedAPI{{Version: "v1", Resource: "endpoints", Removed: "1.40"}, old}},
				"master-1": {Err: "connection refused"}, "master-2": {APIs: []fact.DeprecatedAPI{old}},
			}
		}},
		{name: "pods that nobody makes again", from: upgradable(35, 4), to: upgradable(36, 3), found: func(w *world) {
			w.pods = map[string][]fact.NodePod{"worker-1": {{Namespace: "default", Name: "web-1"}, {Namespace: "default", Name: "debug", Bare: true}}}
		}},
		{name: "pods that nobody makes again, and a patch", from: upgradable(36, 1), to: upgradable(36, 3), found: func(w *world) {
			w.pods = map[string][]fact.NodePod{"worker-1": {{Namespace: "default", Name: "debug", Bare: true}}}
		}},
		{name: "etcd, one minor", from: upgradable(36, 3), to: upgradable(36, 3), found: etcd("3.5.26")},
		{name: "etcd, one minor from an early patch", from: upgradable(36, 3), to: upgradable(36, 3), found: etcd("3.5.24")},
		{name: "etcd, a minor skipped", from: upgradable(36, 3), to: upgradable(36, 3), found: etcd("3.4.30")},
		{name: "etcd, a minor back", from: upgradable(36, 3), to: upgradable(36, 3), found: etcd("3.7.0")},
		{name: "etcd, a patch back", from: upgradable(36, 3), to: upgradable(36, 3), found: etcd("3.6.9")},
		{name: "etcd without a majority", from: upgradable(35, 4), to: upgradable(36, 3), found: func(w *world) { w.noQuorum = true }},
	} {
		w := living(t, loadDraft(t, c.from))
		if c.found != nil {
			c.found(w)
		}
		p := compileWith(t, loadDraft(t, c.to), modelAuthority()).Limit(c.limit)
		delta := p.Diff(w.observe(p))
		fmt.Fprintf(&got, "# %s\n", c.name)
		if delta.Upgrade == nil {
			fmt.Fprintln(&got, "  versions stay")
		} else {
			fmt.Fprintf(&got, "  %s\n", delta.Upgrade.Title())
			for _, risk := range delta.Upgrade.Risks {
				fmt.Fprintf(&got, "  risk: %s\n", risk)
			}
		}
		for _, problem := range delta.Problems {
			fmt.Fprintf(&got, "  problem, %s: %s\n    hint: %s\n", problem.Host, problem.Summary, strings.ReplaceAll(problem.Hint, "\n", "\n          "))
		}
	}
	golden(t, "testdata/upgrade/problems.txt", []byte(got.String()))
}

// versions are those that run, "HOST PROCESS" to version.
func (w *world) versions() map[string]string {
	found := map[string]string{}
	for host, h := range w.hosts {
		for name, p := range h.processes {
			if p.running && p.version != "" {
				found[host+" "+name] = p.version
			}
		}
	}
	return found
}

// A new version that does not start on the first host is taken back there, its
// binary or manifest with it, and goes to no other.
func TestUpgradeTakenBack(t *testing.T) {
	for _, c := range []struct {
		process string
		file    string
		is      []string // what has the new version all the same
	}{
		{apiServerPod, manifestPath(apiServerPod), nil},
		{controllerPod, manifestPath(controllerPod), []string{apiServerPod}},
		{KubeletUnit, "/usr/local/bin/kubelet", []string{apiServerPod, controllerPod, schedulerPod}},
	} {
		t.Run(c.process, func(t *testing.T) {
			w := living(t, loadDraft(t, upgradable(35, 4)))
			before := w.versions()
			first := w.host("master-0")
			file := first.files[c.file].SHA256
			first.processes[c.process].only = first.processes[c.process].loaded
			p := compileWith(t, loadDraft(t, upgradable(36, 3)), modelAuthority())
			r := newSimRun(nil, w, p.Diff(w.observe(p)))
			r.sorted = true
			r.execute()
			if len(r.failed) != 1 {
				t.Errorf("failed: %v", r.failed)
			}
			if first.files[c.file].SHA256 != file {
				t.Errorf("%s is not as before", c.file)
			}
			now := w.versions()
			for at, was := range before {
				_, process, _ := strings.Cut(at, " ")
				want := was
				if slices.Contains(c.is, process) {
					want = "1.36.3"
				}
				// Of one group: which of them comes first is nothing to hold on to.
				if c.process == controllerPod && process == schedulerPod {
					continue
				}
				if now[at] != want {
					t.Errorf("%s is %s, not %s", at, now[at], want)
				}
			}
		})
	}
}

// An upgrade that is killed, wherever that is and however often, is brought to
// its end by the runs after, and keeps the skew policy at each moment.
func TestUpgradeInterrupted(t *testing.T) {
	seeded(t)
	from, to := upgradable(35, 4), upgradable(36, 3)
	p := compileWith(t, loadDraft(t, to), modelAuthority())
	first := compileWith(t, loadDraft(t, from), modelAuthority())
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, modelAuthority())
		w.install(first)
		for range rapid.IntRange(1, 3).Draw(rt, "kills") {
			r := newSimRun(rt, w, w.diff(rt, p))
			r.faults = map[int]string{rapid.IntRange(1, 150).Draw(rt, "moment"): crash}
			r.execute()
			w.comeUp()
		}
		w.converge(rt, p, "")
		for at, version := range w.versions() {
			if version != "1.36.3" {
				rt.Fatalf("%s is %s", at, version)
			}
		}
	})
}

// Between minors that may run side by side, nothing differs but the versions,
// that of AuthenticationConfiguration among them: API servers of both are given
// the same arguments, and so are kubelets.
func TestMinorsSideBySide(t *testing.T) {
	minors := inventory.SupportedMinors()
	for i := range minors[1:] {
		newer, older := load(t, "three-masters"), load(t, "three-masters")
		newer.Cluster.Version, older.Cluster.Version = minors[i]+".0", minors[i+1]+".0"
		contents := func(inv *inventory.Inventory) map[StepID]string {
			found := map[StepID]string{}
			for _, s := range compile(t, inv).Steps {
				var text string
				switch r := s.Resource.(type) {
				case resource.File:
					text = string(r.Content)
				case resource.StaticPod:
					text = r.Manifest
				default:
					continue
				}
				if s.Host != Operator { // the lock file names what is fetched
					text = strings.ReplaceAll(text, "apiVersion: "+authenticationVersion(inv.Cluster.Version)+"\nkind: Auth", "apiVersion: VERSION\nkind: Auth")
					found[s.ID()] = strings.ReplaceAll(text, inv.Cluster.Version, "VERSION")
				}
			}
			return found
		}
		if diff := cmp.Diff(contents(older), contents(newer)); diff != "" {
			t.Errorf("%s and %s (-older +newer):\n%s", older.Cluster.Version, newer.Cluster.Version, diff)
		}
	}
}

// How kubelets are changed that get another version: a golden, for one cluster
// and a minor version, and a patch.
func TestUpgradeOfKubelets(t *testing.T) {
	var got strings.Builder
	for _, from := range []draft{upgradable(35, 4), upgradable(36, 1)} {
		w := living(t, loadDraft(t, from))
		p := compileWith(t, loadDraft(t, upgradable(36, 3)), modelAuthority())
		delta := p.Diff(w.observe(p))
		fmt.Fprintf(&got, "# %s\n", delta.Upgrade.Title())
		for _, item := range delta.Items {
			if item.Step.Resource.ID() != unitID(KubeletUnit) || item.Step.Host != "master-0" && item.Step.Host != "worker-0" {
				continue
			}
			r := item.Step.Rollout
			fmt.Fprintf(&got, "%s\n  before: %s\n  after: %s\n  drained: %q\n", item.Step.Host, describeChecks(r.Before), describeChecks(r.After), r.Evacuate)
			for _, d := range r.Drains {
				fmt.Fprintf(&got, "  left out by: %s on %s\n", d.Unit, d.Host)
			}
		}
		for _, phase := range delta.Upgrade.Phases {
			fmt.Fprintf(&got, "phase: %s: %s\n", phase.Title, strings.Join(phase.Hosts, ", "))
		}
	}
	golden(t, "testdata/upgrade/kubelets.txt", []byte(got.String()))
}

// An apply that died in an API server's turn left that out of its balancers. It
// is seen to serve before it gets clients again, and only then the next one's turn
// comes, of which balancers can be told.
func TestUpgradeMendsBalancers(t *testing.T) {
	w := living(t, loadDraft(t, upgradable(35, 4)))
	p := compileWith(t, loadDraft(t, upgradable(36, 3)), modelAuthority())
	unit, pod := NewStepID("master-0", unitID(nginxUnit)), resource.StaticPod{Path: manifestPath(apiServerPod)}.ID()
	var upstream resource.File
	for _, s := range p.Steps {
		if s.Rollout != nil && s.Resource.ID() == pod && s.Host == "master-1" {
			upstream = s.Rollout.Drains[0].File
			w.write("master-0", upstream.Path, s.Rollout.Drains[0].Without, upstream.Own())
		}
	}
	for _, s := range p.Steps {
		if manifest, ok := s.Resource.(resource.StaticPod); ok && s.Host == "master-1" && s.Resource.ID() == pod { // written, and not seen
			h, _ := p.Inventory.Host(s.Host)
			text, _ := manifest.Render(w.facts(h, p.Queries(s.Host)))
			w.write(s.Host, manifest.Path, []byte(text), manifest.Own())
			w.start(s.Host, manifest.Name, true, read(manifest.Inputs, manifest.Path))
		}
	}
	delta := p.Diff(w.observe(p))
	nodes := delta.Graph()
	if left := cycle(nodes); len(left) > 0 {
		t.Fatalf("these wait for each other: %v", left)
	}
	at := map[StepID]int{}
	for i, n := range nodes {
		for _, item := range n.Items {
			at[item.Step.ID()] = i
		}
	}
	for _, c := range []struct{ then, first StepID }{
		{unit, NewStepID("master-1", pod)},
		{NewStepID("master-0", pod), unit},
		{NewStepID("master-2", pod), unit},
	} {
		if !reaches(nodes, at[c.then], at[c.first]) {
			t.Errorf("%s does not wait for %s", c.then, c.first)
		}
	}
}

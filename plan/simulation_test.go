package plan

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/plan/rollout"
)

// draft is an inventory in the making.
type draft struct {
	masters, workers int
	runtime, network string
	minor            int // of Kubernetes; 0 stands for the newest, 36
	kubernetes, etcd int // patch levels
	balancers        int
	balancer         string // kind; "" is nginx where there are hosts for it
	batch            string
	args             map[string]string // of a component, one
	proxy, san       string
	labels           map[int]string // of workers
	containerd       string
	certificates     string   // of kubelets
	bad              string   // the component with a flag that it does not take
	members          []string // of etcd; nil: the masters
}

// components are those that take flags.
var flagged = []string{"etcd", "api_server", "controller_manager", "scheduler", "kubelet"}

func (d draft) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster \"model\" {\n  version = \"1.%d.%d\"\n  pod_cidr = \"10.244.0.0/16\"\n  service_cidr = \"10.96.0.0/12\"\n", cmp.Or(d.minor, 36), d.kubernetes)
	if d.balancers > 0 {
		b.WriteString("  endpoint = \"kubernetes.default.svc:8443\"\n")
	} else {
		b.WriteString("  endpoint = \"10.88.0.10:6443\"\n")
	}
	if d.san != "" {
		fmt.Fprintf(&b, "  cert_sans = [%q]\n", d.san)
	}
	b.WriteString("}\nssh {\n  user = \"root\"\n  key_file = \"key\"\n}\n")
	fmt.Fprintf(&b, "network %s\nruntime %q {\n", d.network, d.runtime)
	if d.containerd != "" && d.runtime == "containerd" {
		fmt.Fprintf(&b, "  version = %q\n", d.containerd)
	}
	if d.proxy != "" {
		fmt.Fprintf(&b, "  proxy {\n    https = %q\n  }\n", d.proxy)
	}
	b.WriteString("}\n")
	for _, component := range flagged {
		args := map[string]string{}
		if d.args[component] != "" {
			args["v"] = d.args[component]
			if component == "etcd" {
				args = map[string]string{"snapshot-count": d.args[component] + "000"}
			}
		}
		if d.bad == component {
			args[badFlag] = "1"
		}
		fmt.Fprintf(&b, "%s {\n", component)
		if component == "kubelet" && d.certificates != "" {
			fmt.Fprintf(&b, "  certificates = %q\n  serving_certificates = %q\n", d.certificates, inventory.CertificatesRequested)
		}
		if component == "etcd" {
			fmt.Fprintf(&b, "  version = \"3.6.%d\"\n", d.etcd)
		}
		b.WriteString("  args = {\n")
		for _, name := range slices.Sorted(maps.Keys(args)) {
			fmt.Fprintf(&b, "    %q = %q\n", name, args[name])
		}
		b.WriteString("  }\n}\n")
	}
	if d.batch != "" {
		fmt.Fprintf(&b, "rollout {\n  workers = %q\n}\n", d.batch)
	}
	if d.balancers > 0 {
		var names []string
		for i := range d.balancers {
			names = append(names, fmt.Sprintf("%q", fmt.Sprint("master-", i)))
		}
		fmt.Fprintf(&b, "load_balancer %q {\n  hosts = [%s]\n  port = 8443\n}\n", cmp.Or(d.balancer, inventory.BalancerNginx), strings.Join(names, ", "))
	}
	for i, name := range d.candidates() {
		role, address := "worker", 20+i-d.masters
		if i < d.masters {
			role, address = "master", 10+i
		}
		roles := fmt.Sprintf("%q", role)
		if d.isMember(name) {
			roles += `, "etcd"`
		}
		fmt.Fprintf(&b, "host %q {\n  address = \"10.88.0.%d\"\n  roles = [%s]\n", name, address, roles)
		i -= d.masters
		if d.labels[i] != "" {
			fmt.Fprintf(&b, "  labels = { zone = %q }\n", d.labels[i])
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// drawDraft makes a small cluster.
func drawDraft(t *rapid.T) draft {
	d := draft{
		masters: rapid.SampledFrom([]int{1, 3, 3}).Draw(t, "masters"),
		workers: rapid.IntRange(0, 4).Draw(t, "workers"),
		runtime: rapid.SampledFrom([]string{"containerd", "docker"}).Draw(t, "runtime"),
		network: rapid.SampledFrom([]string{`"routes" {}`, "\"flannel\" {\n  store = \"etcd\"\n}", "\"flannel\" {\n  store = \"kubernetes\"\n}", "\"bird\" {\n  mode = \"bgp\"\n}"}).Draw(t, "network"),
		minor:   rapid.SampledFrom([]int{35, 36}).Draw(t, "minor"), kubernetes: 2, etcd: 7,
		args: map[string]string{}, labels: map[int]string{},
		certificates: rapid.SampledFrom([]string{"", inventory.CertificatesRotated}).Draw(t, "certificates"),
		batch:        rapid.SampledFrom([]string{"", "2", "100%"}).Draw(t, "batch"),
	}
	d.drawBalancer(t)
	return d
}

// drawBalancer draws a load balancer: on some masters, or, as three masters without
// any have it, on each node.
func (d *draft) drawBalancer(t *rapid.T) {
	d.balancers = rapid.IntRange(0, min(2, d.masters)).Draw(t, "balancers")
	if d.balancers > 0 {
		d.balancer = rapid.SampledFrom([]string{inventory.BalancerHAProxy, inventory.BalancerNginx}).Draw(t, "kind of balancer")
	}
}

// mutate makes another inventory of one, for the same hosts or one worker more
// or less.
func (d draft) mutate(t *rapid.T) draft {
	d.args, d.labels = maps.Clone(d.args), maps.Clone(d.labels)
	if d.minor == 35 && rapid.Bool().Draw(t, "an upgrade") {
		d.minor = 36
	}
	for range rapid.IntRange(1, 3).Draw(t, "mutations") {
		switch what := rapid.IntRange(0, 13).Draw(t, "mutation"); what {
		case 0:
			d.kubernetes++
		case 1:
			d.etcd++
		case 2:
			d.containerd = "2.4.1"
		case 3:
			d.proxy = "http://proxy.example.com:3128"
		case 4:
			d.san = "api.example.com"
		case 5:
			if d.workers > 0 {
				d.labels[rapid.IntRange(0, d.workers-1).Draw(t, "worker")] = "north"
			}
		case 6:
			if d.members == nil {
				d.workers = max(0, d.workers+rapid.SampledFrom([]int{-1, 1}).Draw(t, "workers more"))
			}
		case 7, 8:
			candidates := rapid.Permutation(d.candidates()).Draw(t, "members")
			most := 1
			if len(candidates) > 2 {
				most = rapid.SampledFrom([]int{1, 3, 3}).Draw(t, "how many")
			}
			d.members = candidates[:most]
		case 9:
			d.drawBalancer(t)
		case 10:
			d.certificates = map[string]string{"": inventory.CertificatesRotated}[d.certificates]
		default:
			d.args[rapid.SampledFrom(flagged).Draw(t, "component")] = fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "value"))
		}
	}
	return d
}

func loadDraft(tb testing.TB, d draft) *inventory.Inventory {
	text := d.text()
	inv, _, diags := inventory.Load("/inventories/model.hcl", inventory.Options{HomeDir: "/home/user", ReadFile: func(p string) ([]byte, error) {
		if strings.HasSuffix(p, ".lock.hcl") {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	}})
	if diags.HasErrors() {
		tb.Fatalf("%v\n%s", diags, text)
	}
	return inv
}

var modelAuthority = sync.OnceValue(func() authority { return newAuthority(&testing.T{}) })

// changes names what a delta would change, the operator's own files left out.
func changes(d *Delta) []string {
	var all []string
	for _, item := range d.Items {
		if item.Step.Host != Operator && item.Change.Changes() {
			all = append(all, fmt.Sprintf("%s %s %v", item.Change.Action, item.Step.ID(), item.Change.Reasons))
		}
	}
	sort.Strings(all)
	return all
}

func (w *world) diff(t *rapid.T, p *Plan) *Delta {
	delta := p.Diff(w.observe(p))
	for _, problem := range delta.Problems {
		if !strings.HasPrefix(problem.Summary, "left the inventory, and") || w.whole(p.Inventory) {
			t.Fatalf("problems: %v", delta.Problems)
		}
	}
	return delta
}

// refused reports whether there are problems while hosts are away: members of
// etcd can't be changed then.
func (w *world) refused(p *Plan) bool {
	down := 0
	for _, h := range w.hosts {
		if h.down {
			down++
		}
	}
	return down > 0 && len(p.Diff(w.observe(p)).Problems) > 0
}

// whole reports whether all hosts have power and the API answers: then a host may
// leave.
func (w *world) whole(inv *inventory.Inventory) bool {
	for _, h := range w.hosts {
		if h.down {
			return false
		}
	}
	return w.api(inv)
}

// seeded has chance be the same from run to run, unless -rapid.seed says
// otherwise, as in "make test-changes", which goes on from there.
func seeded(t *testing.T) {
	t.Helper()
	seed := flag.Lookup("rapid.seed")
	if seed.Value.String() != seed.DefValue {
		return
	}
	if err := seed.Value.Set("1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = seed.Value.Set(seed.DefValue) })
}

// TestSimulation applies pairs of inventories to simulated hosts, has things go
// wrong at random, and holds what comes of it to what users are promised:
// quorum is never lost by kinstall's hand, groups keep their batch, nothing is
// recorded that was not seen, and every run ends converged or rolled back.
func TestSimulation(t *testing.T) {
	seeded(t)
	rapid.Check(t, func(rt *rapid.T) {
		a := modelAuthority()
		first := drawDraft(rt)
		w := newWorld(t, a)
		p := compileWith(t, loadDraft(t, first), a)
		if rapid.IntRange(0, 3).Draw(rt, "the installation is interrupted") == 0 {
			r := newSimRun(rt, w, w.diff(rt, p))
			r.sorted = true
			r.faults = map[int]string{rapid.IntRange(1, 600).Draw(rt, "moment"): rapid.SampledFrom([]string{crash, lostBefore, lostAfter, powerCut}).Draw(rt, "fault")}
			r.execute()
			rt.Logf("interrupted: %v", r.failed)
			w.restorePower()
		}
		r := newSimRun(rt, w, w.diff(rt, p))
		r.sorted = true
		r.execute()
		if len(r.failed) > 0 {
			rt.Fatalf("installation: %v", r.failed)
		}
		if again := changes(w.diff(rt, p)); len(again) > 0 {
			rt.Fatalf("after the installation: %s", strings.Join(again, "\n"))
		}

		second := first.mutate(rt)
		if rapid.IntRange(0, 2).Draw(rt, "a bad flag") == 0 {
			second.bad = rapid.SampledFrom(flagged).Draw(rt, "of")
		}
		next := compileWith(t, loadDraft(t, second), a)
		moved := second.members != nil
		if moved && second.bad == "etcd" {
			second.bad = "" // a host that joins with it has nothing to be put back
			next = compileWith(t, loadDraft(t, second), a)
		}
		w.upset(rt, !moved, second.bad != "etcd")
		for range rapid.IntRange(0, 2).Draw(rt, "runs with faults") {
			if !w.refused(next) {
				w.apply(rt, next, true)
			}
			w.restorePower()
		}
		w.calm()
		w.converge(rt, next, second.bad)
		if second.bad != "" {
			second.bad = ""
			w.converge(rt, compileWith(t, loadDraft(t, second), a), "")
		}
	})
}

// An installation that was interrupted, wherever that was, is finished by the
// next run.
func TestSimulatedInterruptions(t *testing.T) {
	seeded(t)
	a := modelAuthority()
	for _, engine := range []string{"containerd", "docker"} {
		d := draft{masters: 1, workers: 1, runtime: engine, network: "\"routes\" {}", balancers: 1}
		p := compileWith(t, loadDraft(t, d), a)
		rapid.Check(t, func(rt *rapid.T) {
			w := newWorld(t, a)
			r := newSimRun(rt, w, w.diff(rt, p))
			r.sorted = true
			r.faults = map[int]string{rapid.IntRange(1, 350).Draw(rt, "moment"): crash}
			r.execute()
			r = newSimRun(rt, w, w.diff(rt, p))
			r.sorted = true
			r.execute()
			if left := changes(w.diff(rt, p)); len(r.failed) > 0 || len(left) > 0 {
				rt.Fatalf("the next run: %v; left: %v", r.failed, left)
			}
		})
	}
}

// upset has a process work with nothing but what it runs with now, a host stay
// without power, or a member of three lose its data. Who is to move in etcd, or
// is to be given a bad flag there, must have something to go back to.
func (w *world) upset(t *rapid.T, etcd, wipe bool) {
	hosts := slices.Sorted(maps.Keys(w.hosts))
	if rapid.IntRange(0, 3).Draw(t, "one that does not take it") == 0 {
		h := w.hosts[rapid.SampledFrom(hosts).Draw(t, "host")]
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(h.processes))).Draw(t, "process")
		if p := h.processes[name]; name != etcdUnit || etcd {
			p.only = p.loaded
			wipe = wipe && name != etcdUnit
		}
	}
	if _, all := w.voters(0); all > 2 && wipe && rapid.IntRange(0, 4).Draw(t, "one without data") == 0 {
		w.wipe(w.etcd.members[rapid.IntRange(0, all-1).Draw(t, "member")].host)
	}
	if rapid.IntRange(0, 5).Draw(t, "one without power") == 0 {
		w.powerCut(rapid.SampledFrom(hosts).Draw(t, "host"))
	}
}

func (w *world) restorePower() {
	for _, host := range slices.Sorted(maps.Keys(w.hosts)) {
		if w.hosts[host].down {
			w.powerOn(host)
		}
	}
}

// calm lets everything work that reads nothing bad.
func (w *world) calm() {
	w.restorePower()
	for _, h := range w.hosts {
		for _, p := range h.processes {
			p.only = nil
		}
	}
}

// dark reports whether a host is without power.
func (w *world) dark() bool {
	for _, h := range w.hosts {
		if h.down {
			return true
		}
	}
	return false
}

// skew holds what was started last to Kubernetes' version skew policy
// (https://kubernetes.io/releases/version-skew-policy/).
func (r *simRun) skew() {
	oldest, newest, oldestAt := "", "", ""
	for _, h := range r.inv.With(inventory.RoleMaster) {
		p := r.w.host(h.Name).processes[apiServerPod]
		if p == nil {
			continue
		}
		if oldest == "" || inventory.CompareVersions(p.version, oldest) < 0 {
			oldest, oldestAt = p.version, h.Name
		}
		if newest == "" || inventory.CompareVersions(p.version, newest) > 0 {
			newest = p.version
		}
	}
	if oldest == "" {
		return // the first comes with all others
	}
	if inventory.MinorsBetween(oldest, newest) > 1 {
		r.fatalf("there are API servers of %s and of %s", oldest, newest)
	}
	for _, host := range slices.Sorted(maps.Keys(r.w.hosts)) {
		for _, of := range []struct {
			process string
			behind  int
		}{{controllerPod, 1}, {schedulerPod, 1}, {KubeletUnit, 3}, {kubeProxyUnit, 3}} {
			p := r.w.host(host).processes[of.process]
			if p == nil {
				continue
			}
			switch ahead := inventory.MinorsBetween(oldest, p.version); {
			case ahead > 0:
				r.fatalf("%s on %s is %s, and the API server on %s %s", of.process, host, p.version, oldestAt, oldest)
			case inventory.MinorsBetween(p.version, newest) > of.behind:
				r.fatalf("%s on %s is %s, and there is an API server of %s", of.process, host, p.version, newest)
			}
		}
	}
}

// apply is one run, with or without faults; nil where a plan refuses it.
func (w *world) apply(t *rapid.T, p *Plan, faults bool) *simRun {
	if w.dark() {
		if problems := p.Diff(w.observe(p)).Problems; len(problems) > 0 {
			t.Logf("apply refuses: %v", problems) // no upgrade without all API servers
			return nil
		}
	}
	delta := w.diff(t, p)
	r := newSimRun(t, w, delta)
	r.faults = map[int]string{}
	if faults {
		for range rapid.IntRange(0, 3).Draw(t, "faults") {
			r.faults[rapid.IntRange(1, 60).Draw(t, "moment")] = rapid.SampledFrom([]string{crash, lostBefore, lostAfter, powerCut}).Draw(t, "fault")
		}
	}
	t.Logf("apply: %d changes, %d turns, %d leave, faults %v", len(changes(delta)), len(delta.Turns), len(delta.Leaving), r.faults)
	if len(delta.Problems) > 0 {
		return r // nothing is done
	}
	died := r.execute()
	t.Logf("    died: %t; %v", died, r.failed)
	w.comeUp()
	if !died {
		r.finished()
	}
	return r
}

// converge applies until nothing is left to do; with a flag that a component
// does not take, until its members run with what they had before.
func (w *world) converge(t *rapid.T, p *Plan, bad string) {
	const most = 4
	for range most {
		r := w.apply(t, p, false)
		left := changes(w.diff(t, p))
		switch {
		case bad == "" && len(left) == 0 && len(r.failed) == 0:
			return
		case bad != "" && len(left) == 0:
			t.Fatalf("nothing is left to do, though %s was given a bad flag", bad)
		case bad != "" && len(r.failed) == 0:
			t.Fatalf("the run went well, though %s was given a bad flag", bad)
		}
		if bad != "" {
			w.wellAsBefore(t)
			continue
		}
	}
	if bad == "" {
		t.Fatalf("after %d runs without faults: %s", most, strings.Join(changes(w.diff(t, p)), "\n"))
	}
}

// wellAsBefore: everything runs that ran before, but a member that lost its data
// and leaves etcd: it is deleted when all else is well.
func (w *world) wellAsBefore(t *rapid.T) {
	for _, name := range slices.Sorted(maps.Keys(w.hosts)) {
		for _, process := range slices.Sorted(maps.Keys(w.hosts[name].processes)) {
			gone := process == etcdUnit && w.etcd.find(func(m simMember) bool { return m.host == name }) < 0
			if !gone && !w.runs(name, process) {
				t.Fatalf("%s on %s does not run", process, name)
			}
		}
	}
}

// mayTake is called when a member is about to be started anew: the others must
// do without it.
func (r *simRun) mayTake(n *simNode) {
	host := n.host()
	for _, of := range []struct{ step, process, role, group string }{
		{"unit:" + etcdUnit, etcdUnit, inventory.RoleEtcd, groupEtcd},
		{"staticpod:" + ManifestDirectory + "/" + apiServerPod + ".yaml", apiServerPod, inventory.RoleMaster, groupAPIServers},
	} {
		id := string(n.item().Step.Resource.ID())
		if kubelet := r.w.host(host).processes[KubeletUnit]; of.process == apiServerPod && id == string(unitID(KubeletUnit)) &&
			kubelet != nil && inventory.MinorsBetween(kubelet.version, r.inv.Cluster.Version) != 0 {
			id = of.step // it begins the pods anew
		}
		if id != of.step || !r.w.runs(host, of.process) {
			continue
		}
		up, all := r.w.up(r.inv, of.role, of.process)
		if of.process == etcdUnit {
			up, all = r.w.voters(0)
		}
		if all > 1 && up < all {
			r.fatalf("%s on %s is taken down while %d of %d run", of.process, host, up, all)
		}
	}
}

// promises are held to at each moment.
func (r *simRun) promises() {
	r.skew()
	away := map[string]int{}
	for _, n := range r.byName {
		for _, item := range n.Items {
			id := item.Step.Resource.ID()
			now := r.w.host(n.host()).state.Resources[string(id)]
			if !now.Equal(r.begin[item.Step.ID()]) && !r.seen[n.item().Step.ID()] {
				r.fatalf("%s is recorded, and %s was not seen to work with it", item.Step.ID(), n.name())
			}
		}
		name := processName(n.item())
		if p := r.w.host(n.host()).processes[name]; p != nil && p.withKubelet {
			continue // mayTake has seen to that
		}
		if _, served := r.serving[n.host()+"/"+name]; served && name != "" && !r.w.host(n.host()).down && !r.w.runs(n.host(), name) {
			away[n.Turn.Group]++
		}
	}
	unproven := map[string]int{} // away, of programs of which no member was seen yet
	for _, g := range Groups(r.inv) {
		most := max(1, g.AtOnce)
		if program := programOf(g); !r.proven[program] {
			most = 1
			if unproven[program] += away[g.Name]; unproven[program] > 1 && len(r.broken) == 0 {
				r.fatalf("%d members of %s are away, and none was seen to work", unproven[program], program)
			}
		}
		if away[g.Name] > most && len(r.broken) == 0 {
			r.fatalf("%d members of %s are away, %d may be", away[g.Name], g.Name, most)
		}
	}
}

// programOf is what the members of a group have a canary for: those of several
// groups may run the same.
func programOf(g rollout.Group) string {
	if g.Program != "" {
		return g.Program
	}
	return g.Name
}

func processName(item Item) string {
	switch r := item.Step.Resource.(type) {
	case resource.Unit:
		return r.Name
	case resource.StaticPod:
		return r.Name
	}
	return ""
}

// witness holds what was seen to what is there: the process runs with what lies
// on the disk.
func (r *simRun) witness(n *simNode) {
	h := r.w.host(n.host())
	name := processName(n.item())
	if p := h.processes[name]; p != nil {
		for path, digest := range p.loaded {
			if h.files[path].SHA256 != digest {
				return // not with what lies there now
			}
		}
	}
	r.seen[n.item().Step.ID()] = true
}

// ended is told what became of a member.
func (r *simRun) ended(c rollout.Command) {
	if c.Kind == rollout.Failed && c.Stands == rollout.Unrestored && len(r.broken) == 0 {
		r.fatalf("%s could not be rolled back: %v", c.Member, c.Err)
	}
}

// finished holds a run that came to its end to its promises: what served
// serves, with what was seen to work or what it had before.
func (r *simRun) finished() {
	for at := range r.serving {
		host, name, _ := strings.Cut(at, "/")
		h := r.w.host(host)
		if p := h.processes[name]; p != nil && !p.running && !h.down && !r.broken[host] {
			r.fatalf("%s on %s served before the run, and does not", name, host)
		}
	}
}

package plan

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// badFlag is what no program takes: one that reads it as it starts does not work.
const badFlag = "no-such-flag"

// world is hosts and a cluster as far as plans ask about them: files, processes
// with what they read when they were started, and what the hosts remember.
// What it does not know of an invariant, it can't break.
type world struct {
	tb        testing.TB
	authority authority
	clock     time.Time
	hosts     map[string]*simHost
	nodes     map[string]fact.Node
	// registered are the nodes that the API knows.
	registered map[string]bool
	objects    map[string]string // manifests by key
	keys       map[string]string // etcd's
	noQuorum   bool              // etcd says of itself that it has none
	// deprecated is what API servers say of deprecated APIs, by host; pods are those
	// of nodes.
	deprecated map[string]fact.Deprecated
	pods       map[string][]fact.NodePod
	// started, if not nil, is told of each process that is started anew.
	started func(host, name string, p *simProcess)
	etcd    simEtcd
}

type simHost struct {
	files     map[string]fact.File
	answers   map[fact.Key]any // to questions that are not about files and processes
	routes    resource.StaticRoutes
	swap      bool
	docker0   string
	processes map[string]*simProcess // by unit or pod
	state     fact.State             // as it is on the host's disk
	kept      map[string]fact.File
	down      bool   // without power
	free      int64  // bytes on its disk; 0 stands for plenty
	member    uint64 // whose data of etcd it has, 0 for none
}

// simProcess is that of a unit or a static pod.
type simProcess struct {
	pod   bool
	reads []string
	// loaded are the digests of the files it read when it was started last.
	loaded    map[string]string
	starts    int
	began     time.Time
	running   bool
	starting  bool // will run in a moment
	unhealthy bool // has failed
	// withKubelet: a pod that its kubelet began anew as it was itself.
	withKubelet bool
	// version is that of Kubernetes which it read of its binary or manifest; "" for
	// other programs.
	version string
	// only, if not nil, is what it works with, whatever others think of its files.
	only map[string]string
}

func (p *simProcess) identity() string {
	if p == nil || !p.running {
		return ""
	}
	return fmt.Sprint("start ", p.starts)
}

func newWorld(tb testing.TB, a authority) *world {
	return &world{
		tb: tb, authority: a, clock: benchTime, hosts: map[string]*simHost{}, nodes: map[string]fact.Node{}, registered: map[string]bool{}, objects: map[string]string{}, keys: map[string]string{},
	}
}

// host returns a host, bare if it is new.
func (w *world) host(name string) *simHost {
	if w.hosts[name] == nil {
		w.hosts[name] = &simHost{
			files: map[string]fact.File{}, answers: map[fact.Key]any{}, swap: true, processes: map[string]*simProcess{}, kept: map[string]fact.File{},
			state: fact.State{Version: fact.StateVersion, Resources: map[string]fact.Record{}},
		}
		w.write(name, "/etc/hosts", []byte("127.0.0.1 localhost\n"), resource.Ownership{Mode: 0o644})
		w.write(name, "/etc/fstab", []byte("/dev/sda1 / ext4 defaults 0 1\n"), resource.Ownership{Mode: 0o644})
	}
	return w.hosts[name]
}

// pass lets a second go by.
func (w *world) pass() { w.clock = w.clock.Add(time.Second) }

func (w *world) put(host, path string, file fact.File) {
	w.pass()
	file.Owner, file.Group, file.CTime = cmp.Or(file.Owner, "root"), cmp.Or(file.Group, "root"), w.clock
	w.host(host).files[path] = file
}

func (w *world) write(host, path string, content []byte, own resource.Ownership) string {
	sum := resource.SHA256(content)
	w.pass()
	w.put(host, path, fact.File{Exists: true, Type: "file", Mode: own.Mode, SHA256: sum, Content: content, HasContent: true, MTime: w.clock})
	return sum
}

// start starts a process anew: whether it works is decided by what it reads.
func (w *world) start(host, name string, pod bool, reads []string) {
	w.pass()
	h := w.host(host)
	p := h.processes[name]
	if p == nil {
		p = &simProcess{pod: pod}
		h.processes[name] = p
	}
	p.reads = reads
	was := p.version
	p.loaded = map[string]string{}
	p.starts++
	p.began, p.running, p.withKubelet = w.clock, false, false
	p.starting = true
	for path, file := range h.files {
		if slices.Contains(reads, path) || strings.HasPrefix(path, "/etc/systemd/system/"+name+".d/") {
			p.loaded[path] = file.SHA256
			if v := versionIn(name, path, file.Content); v != "" {
				p.version = v
			}
			if bytes.Contains(file.Content, []byte(badFlag)) || bytes.Contains(file.Content, []byte("ETCD_NO_SUCH_FLAG")) {
				p.starting = false
			}
		}
	}
	if p.only != nil && !maps.Equal(p.only, p.loaded) {
		p.starting = false
	}
	if name == etcdUnit && p.starting {
		p.starting = w.joins(host)
	}
	p.unhealthy = !p.starting
	if w.started != nil {
		w.started(host, name, p)
	}
	if name == KubeletUnit && was != "" && p.starting && inventory.MinorsBetween(was, p.version) != 0 {
		// It takes static pods for others than those that its predecessor began.
		for _, pod := range slices.Sorted(maps.Keys(h.processes)) {
			if h.processes[pod].pod {
				w.start(host, pod, true, h.processes[pod].reads)
				h.processes[pod].withKubelet = true
			}
		}
	}
}

// versionMark stands before the version in a binary of this world.
const versionMark = "version v"

// versionIn is the version of Kubernetes that a process learns of a file it is
// started with: its own binary, or its manifest.
func versionIn(process, path string, content []byte) string {
	switch {
	case process == KubeletUnit && path == "/usr/local/bin/kubelet", process == kubeProxyUnit && path == "/usr/local/bin/kube-proxy":
		_, version, _ := bytes.Cut(content, []byte(versionMark))
		return string(version)
	case path == manifestPath(process):
		if found := imageVersion.FindSubmatch(content); found != nil {
			return string(found[1])
		}
	}
	return ""
}

var imageVersion = regexp.MustCompile(`image: "[^"]*:v([0-9.]+)"`)

// comeUp lets what was started and works run.
func (w *world) comeUp() {
	for _, h := range w.hosts {
		for _, p := range h.processes {
			if p.starting && !h.down {
				p.starting, p.running = false, true
			}
		}
	}
	w.serveMembers()
}

func (w *world) powerCut(host string) {
	h := w.host(host)
	h.down = true
	for _, p := range h.processes {
		p.running, p.starting = false, false
	}
}

// powerOn starts a host's processes with what lies on its disk.
func (w *world) powerOn(host string) {
	h := w.host(host)
	h.down = false
	for _, name := range slices.Sorted(maps.Keys(h.processes)) {
		w.start(host, name, h.processes[name].pod, h.processes[name].reads)
	}
	w.comeUp()
}

func (w *world) runs(host, process string) bool {
	p := w.host(host).processes[process]
	return p != nil && p.running
}

// up are the hosts of a role on which a process runs.
func (w *world) up(inv *inventory.Inventory, role, process string) (up, all int) {
	for _, h := range inv.With(role) {
		all++
		if w.runs(h.Name, process) {
			up++
		}
	}
	return up, all
}

func (w *world) api(inv *inventory.Inventory) bool {
	up, _ := w.up(inv, inventory.RoleMaster, apiServerPod)
	return up > 0 && w.quorum()
}

func (w *world) ready(host string) bool {
	return w.runs(host, KubeletUnit) && (w.runs(host, "containerd.service") || w.runs(host, "docker.service"))
}

var errNot = errors.New("does not hold")

// passes looks once whether a gate's condition holds.
func (w *world) passes(inv *inventory.Inventory, g resource.Gate) bool {
	if len(g.Without) == 0 {
		return w.holds(inv, g.Check)
	}
	return w.quorum() && !slices.ContainsFunc(inv.With(inventory.RoleEtcd), func(h inventory.Host) bool {
		return !slices.Contains(g.Without, h.Name) && !w.runs(h.Name, etcdUnit)
	})
}

// holds looks once whether a check holds, as provision's checks do.
func (w *world) holds(inv *inventory.Inventory, c resource.Check) bool {
	switch c.Kind {
	case resource.CheckEtcd:
		return w.holdsEtcd(inv, c)
	case resource.CheckEtcdWithout:
		for _, m := range w.etcd.members {
			if m.host != c.Host && !m.learner && !w.memberRuns(m) {
				return false
			}
		}
		return true
	case resource.CheckAPIServer:
		return w.runs(c.Host, apiServerPod) && w.quorum()
	case resource.CheckHealthz:
		u, err := url.Parse(c.URL)
		if err != nil {
			w.tb.Fatal(err)
		}
		process := map[string]string{"10257": controllerPod, "10259": schedulerPod, "10256": "kube-proxy.service"}[u.Port()]
		if process == "" {
			w.tb.Fatalf("nobody is known to answer at %s", c.URL)
		}
		return w.runs(c.Host, process)
	case resource.CheckDocker:
		return w.runs(c.Host, "docker.service")
	case resource.CheckContainerd:
		return w.runs(c.Host, "containerd.service")
	case resource.CheckEndpoint:
		if !w.api(inv) {
			return false
		}
		balancer, ok := balancerOf(inv)
		if !ok {
			return true
		}
		if c.Host != "" {
			return w.runs(c.Host, balancer.unit)
		}
		return slices.ContainsFunc(inv.LoadBalancer.Hosts, func(host string) bool { return w.runs(host, balancer.unit) })
	case resource.CheckNode:
		return w.api(inv) && w.ready(c.Host)
	}
	return true // processes are looked at by who asks; packets always arrive
}

// observe answers a plan's questions.
func (w *world) observe(p *Plan) Observed {
	w.pass()
	w.comeUp()
	observed := Observed{Hosts: map[string]Observation{}, Elsewhere: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
	planned := p.Hosts()
	for _, h := range p.Inventory.Hosts {
		into, queries := observed.Hosts, p.Queries
		switch {
		case slices.Contains(planned, h.Name):
		case slices.Contains(p.ElsewhereAsked(), h.Name):
			into, queries = observed.Elsewhere, p.ElsewhereQueries
		default:
			continue
		}
		if w.host(h.Name).down {
			into[h.Name] = Observation{Err: errors.New("no route to host")}
			continue
		}
		into[h.Name] = Observation{Facts: w.facts(h, queries(h.Name))}
	}
	leaving := p.Departures(observed)
	observed.Leaving = map[string]Observation{}
	for _, l := range leaving {
		if w.host(l.Name).down {
			observed.Leaving[l.Name] = Observation{Err: errors.New("no route to host")}
			continue
		}
		state := w.host(l.Name).state
		state.Resources = maps.Clone(state.Resources)
		observed.Leaving[l.Name] = Observation{Facts: fact.NewSet(fact.Host{State: state})}
	}
	inv := p.Inventory
	w.observeMembers(observed)
	for _, q := range append(p.Queries(Cluster), p.DepartureQueries(leaving)...) {
		switch {
		case q.Kind == fact.KindEtcd && w.quorum():
			found := fact.Etcd{Keys: map[string]string{}}
			for key, value := range w.keys {
				if strings.HasPrefix(key, q.Name) {
					found.Keys[key] = value
				}
			}
			observed.Cluster.Put(q.Key(), found)
		case !w.api(inv):
		case q.Kind == fact.KindNode:
			node := w.nodes[q.Name]
			if p := w.host(q.Name).processes[KubeletUnit]; p != nil {
				w.registered[q.Name] = true
				node.Kubelet = p.version
			}
			node.Exists = w.registered[q.Name]
			node.Ready = w.ready(q.Name)
			observed.Cluster.Put(q.Key(), node)
		case q.Kind == fact.KindObject:
			live, ok := w.objects[q.Name]
			observed.Cluster.Put(q.Key(), fact.Object{Exists: ok, Live: live, Planned: string(q.Manifest), Managed: ok, Applied: resource.SHA256([]byte(live))})
		}
	}
	for _, q := range p.LaterQueries(observed) {
		switch node, err := observed.Cluster.Node(q.Name); {
		case q.Kind == fact.KindDeprecated:
			observed.Cluster.Put(q.Key(), w.deprecated[q.Name])
		case err == nil:
			node.Pods = w.pods[q.Name]
			observed.Cluster.Put(q.Key(), node)
		}
	}
	return observed
}

// members is etcd's list of an inventory's members.
func (w *world) facts(h inventory.Host, queries []fact.Query) fact.Set {
	host := w.host(h.Name)
	state := host.state
	state.Resources = maps.Clone(state.Resources)
	facts := fact.NewSet(fact.Host{
		Hostname: h.Name, OS: "debian", Architecture: "amd64", Time: w.clock, MachineID: "machine of " + h.Name,
		Addresses: []string{h.Address.String()}, DiskFree: map[string]int64{"/": cmp.Or(host.free, 100<<30)}, State: state,
		Interfaces: map[string][]string{},
	})
	if h.AddressV6.IsValid() {
		facts.Host.Addresses = append(facts.Host.Addresses, h.AddressV6.String())
	}
	if host.swap {
		facts.Host.SwapActive = []string{"/dev/sda2"}
	}
	if host.docker0 != "" {
		facts.Host.Interfaces[resource.DockerBridge] = []string{host.docker0}
	}
	for _, q := range queries {
		facts.Put(q.Key(), w.answer(host, q))
	}
	return facts
}

func (w *world) answer(host *simHost, q fact.Query) any {
	switch q.Kind {
	case fact.KindFile:
		file := host.files[q.Name]
		if q.Block {
			content := string(file.Content)
			if i, j := strings.Index(content, "# BEGIN kinstall"), strings.Index(content, "# END kinstall"); i >= 0 && j > i {
				end := j + strings.IndexByte(content[j:], '\n') + 1
				file.BlockAsWanted = resource.SHA256([]byte(content[i:end])) == q.WantSHA256
			}
		}
		if !q.Content || file.SHA256 == q.WantSHA256 || file.BlockAsWanted {
			file.Content, file.HasContent = nil, false
		}
		return file
	case fact.KindUnit:
		process := host.processes[q.Name]
		switch {
		case process == nil:
			return fact.Unit{LoadState: "not-found", ActiveState: "inactive"}
		case process.running:
			return fact.Unit{LoadState: "loaded", ActiveState: "active", SubState: "running", UnitFileState: "enabled",
				Started: process.identity(), StartedTime: process.began, Age: w.clock.Sub(process.began)}
		case process.unhealthy:
			return fact.Unit{LoadState: "loaded", ActiveState: "activating", SubState: "auto-restart", UnitFileState: "enabled",
				NRestarts: 3, Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 1}
		}
		return fact.Unit{LoadState: "loaded", ActiveState: "inactive", UnitFileState: "enabled"}
	case fact.KindStaticPod:
		process := host.processes[q.Name]
		if process == nil {
			return fact.Pod{}
		}
		pod := fact.Pod{UID: "manifest", Started: process.identity(), StartedTime: process.began, Age: w.clock.Sub(process.began), Running: process.running}
		if process.unhealthy {
			pod.Attempt = 3
		}
		return pod
	case fact.KindRoutes:
		routes := fact.Routes{}
		if host.routes.Table == nil {
			return routes
		}
		if host.routes.Table.SHA256 == q.WantSHA256 {
			return fact.Routes{AsWanted: true}
		}
		for _, r := range host.routes.Routes() {
			routes.Routes = append(routes.Routes, fact.HostRoute{Destination: r.Destination, Route: fact.Route{Exists: true, Via: r.Via}})
		}
		return routes
	case fact.KindPath:
		return fact.Path{Answers: true, Fits: true}
	case fact.KindNeighbor:
		return fact.Neighbor{}
	case fact.KindEtcdData:
		if host.member == 0 {
			return fact.EtcdData{}
		}
		return fact.EtcdData{MemberID: host.member, ClusterID: simClusterID}
	}
	if value, ok := host.answers[q.Key()]; ok {
		return value
	}
	switch q.Kind {
	case fact.KindCertificates:
		return fact.Certificates{}
	case fact.KindPackage:
		return fact.Package{}
	case fact.KindRoute:
		return fact.Route{}
	case fact.KindSwitch:
		return fact.Switch{}
	case fact.KindModule:
		return fact.Value{Value: fact.Loadable}
	case fact.KindImage:
		return fact.Image{Observable: host.processes["containerd.service"] != nil && host.processes["containerd.service"].running}
	case fact.KindDockerImage:
		return fact.Image{Observable: host.processes["docker.service"] != nil && host.processes["docker.service"].running}
	}
	return fact.Value{}
}

// read are the files that a process is started with.
func read(inputs []resource.Input, more ...string) []string {
	paths := more
	for _, input := range inputs {
		for _, q := range input.Queries() {
			if q.Kind == fact.KindFile {
				paths = append(paths, q.Name)
			}
		}
	}
	return paths
}

// carryOut makes a resource as it should be, as the appliers of provision do.
// digests are those of its inputs.
func (w *world) carryOut(host string, item Item, digests map[string]string) fact.Record {
	change := item.Change
	if host == Operator {
		return change.Record
	}
	if host == Cluster {
		return w.carryOutOnCluster(item)
	}
	h := w.host(host)
	w.pass()
	know := func(kind fact.Kind, name string, value any) fact.Record {
		h.answers[fact.Key{Kind: kind, Name: name}] = value
		return change.Record
	}
	switch r := item.Step.Resource.(type) {
	case resource.File:
		w.write(host, r.Path, r.Content, r.Own())
	case resource.Directory:
		own := r.Own()
		w.put(host, r.Path, fact.File{Exists: true, Type: "directory", Mode: own.Mode, Owner: own.Owner, Group: own.Group})
	case resource.Block:
		w.write(host, r.Path, []byte(change.Text.After), resource.Ownership{Mode: 0o644})
	case resource.AuthorityFile:
		return fact.Record{Digest: fmt.Sprintf("%04o root:root", r.Own().Mode), Files: map[string]string{r.Path: w.write(host, r.Path, w.authority.text, r.Own())}}
	case resource.Certificate:
		content := w.authority.issue(w.tb, r)
		key := w.write(host, r.KeyPath, append([]byte("key of "), content...), r.KeyOwn())
		return fact.Record{Digest: fmt.Sprintf("%04o root:root", r.KeyOwn().Mode), Files: map[string]string{r.Path: w.write(host, r.Path, content, r.Own()), r.KeyPath: key}}
	case resource.ServingCertificate:
		c := r.Certificate.Wanted
		return know(fact.KindCertificates, c.Path, fact.Certificates{Exists: true, Link: true, PEM: w.authority.issue(w.tb, c)})
	case resource.RotatedCertificate:
		if r.Requested && change.Evidence == "" {
			return change.Record
		}
		content := h.files[r.Takes.Path].Content
		if change.Evidence == "" { // of the kubelet, while it starts
			content = w.authority.issue(w.tb, r.Wanted)
		}
		return know(fact.KindCertificates, r.Wanted.Path, fact.Certificates{Exists: true, Link: true, PEM: content})
	case resource.Artifact:
		record := fact.Record{Digest: r.SHA256, Version: r.Version, Files: map[string]string{}}
		for _, m := range r.Members {
			record.Files[m.To] = w.write(host, m.To, []byte(r.SHA256+m.To+" "+versionMark+r.Version), m.Own())
		}
		return record
	case resource.StaticPod:
		content := []byte(r.RenderWith(digests))
		record := fact.Record{Digest: fmt.Sprintf("%04o root:root", r.Own().Mode), Files: map[string]string{r.Path: w.write(host, r.Path, content, r.Own())}}
		w.start(host, r.Name, true, read(r.Inputs, r.Path))
		return record
	case resource.Unit:
		if r.Docker != nil {
			h.docker0 = r.Docker.Bridge
		}
		switch {
		case r.Stopped:
			delete(h.processes, r.Name)
			return fact.Record{}
		case change.Action != resource.Update:
			w.start(host, r.Name, false, read(r.Inputs))
		}
		return fact.Record{Inputs: r.Recorded(digests)}
	case resource.EtcdData:
		if w.lists(host) {
			panic(host + " loses the data of a member that is listed")
		}
		w.wipe(host)
	case resource.SwapOff:
		h.swap = false
	case resource.Package:
		return know(fact.KindPackage, r.Name, fact.Package{Installed: true})
	case resource.Sysctl:
		return know(fact.KindSysctl, r.Key, fact.Value{Exists: true, Value: r.Value})
	case resource.Module:
		return know(fact.KindModule, r.Name, fact.Value{Exists: true})
	case resource.FirewallRule:
		return know(fact.KindFirewall, r.ID().Name(), fact.Value{Exists: true})
	case resource.Route:
		return know(fact.KindRoute, fact.RouteOfMetric(r.Destination, resource.RouteMetric), fact.Route{Exists: true, Via: r.Via, Device: r.Device})
	case resource.StaticRoutes:
		h.routes = r
	case resource.Image:
		kind := fact.KindImage
		if r.Docker {
			kind = fact.KindDockerImage
		}
		return know(kind, r.Reference, fact.Image{Observable: true, Exists: true})
	case resource.Orphan:
		w.remove(host, r)
	}
	return change.Record
}

func (w *world) remove(host string, o resource.Orphan) {
	h := w.host(host)
	switch o.Was.Kind() {
	case resource.KindUnit:
		if o.Was == EtcdUnit && w.lists(host) {
			panic("etcd on " + host + " is stopped while it is listed")
		}
		if o.Was == unitID(KubeletUnit) && w.registered[host] && !w.nodes[host].Unschedulable {
			w.tb.Errorf("the kubelet on %s stops, and its node was not drained", host)
		}
		delete(h.processes, o.Was.Name())
	case resource.KindStaticPod:
		delete(h.files, o.Was.Name())
		name := o.Was.Name()
		delete(h.processes, strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ".yaml"))
	case resource.KindRotatedCertificate:
		delete(h.answers, fact.Key{Kind: fact.KindCertificates, Name: o.Was.Name()})
	case resource.KindFile, resource.KindCertificate, resource.KindAuthorityFile, resource.KindArtifact:
		paths := slices.Sorted(maps.Keys(o.Record.Files))
		if len(paths) == 0 {
			paths = []string{o.Was.Name()}
		}
		for _, path := range paths {
			delete(h.files, path)
		}
	}
}

func (w *world) carryOutOnCluster(item Item) fact.Record {
	switch r := item.Step.Resource.(type) {
	case resource.Node:
		w.nodes[r.Name] = fact.Node{Labels: maps.Clone(r.Labels), Annotations: r.Managed(), Taints: r.Taints, PodCIDRs: r.PodCIDRs}
		maps.Copy(w.nodes[r.Name].Annotations, r.Annotations)
	case resource.Object:
		w.objects[r.ID().Name()] = string(r.Manifest)
	case resource.EtcdKeys:
		for _, write := range r.Writes(w.keys) {
			if write.After == "" {
				delete(w.keys, write.Key)
			} else {
				w.keys[write.Key] = write.After
			}
		}
		return fact.Record{Digest: "written"}
	case resource.Orphan:
		switch name := r.Was.Name(); r.Was.Kind() {
		case resource.KindObject:
			delete(w.objects, name)
		case resource.KindNode:
			delete(w.nodes, name)
			delete(w.registered, name)
		}
	case resource.Drain:
		node := w.nodes[r.Node]
		node.Unschedulable, node.Cordon = true, resource.CordonForDeparture
		w.nodes[r.Node] = node
	}
	return item.Change.Record
}

// keep copies what a turn replaces, as provision's script does.
func (w *world) keep(host string, files []KeptFile) error {
	h := w.host(host)
	for _, kept := range files {
		if h.files[kept.Path].SHA256 != kept.Found && kept.Step.Kind() != resource.KindArtifact {
			return fmt.Errorf("%s was changed since", kept.Path)
		}
	}
	for _, kept := range files {
		copied := h.kept[kept.Path].SHA256
		if h.files[kept.Path].Exists && (copied == "" || copied != kept.Served) {
			h.kept[kept.Path] = h.files[kept.Path]
		}
	}
	return nil
}

// restore puts one file back, as provision's script does.
func (w *world) restore(host string, kept KeptFile) error {
	h := w.host(host)
	copied, ok := h.kept[kept.Path]
	switch {
	case ok && (copied.SHA256 == kept.Served || copied.SHA256 == kept.Found):
		w.put(host, kept.Path, copied)
	case kept.Found == "":
		delete(h.files, kept.Path)
	default:
		return fmt.Errorf("the copy of %s is not what was replaced", kept.Path)
	}
	return nil
}

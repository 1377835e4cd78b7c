package plan

import (
	"container/heap"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kinstall/kinstall/plan/hardening"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Compile says what should be on every host.
//
// The lock must hold a digest for each of Releases(inv) that the inventory
// does not pin itself (ProposeLock makes it so) and is shown as a change of the
// lock file, whose present bytes are before (nil if there is none). What
// can't be compiled is reported as diagnostics, all at once, and there is then
// no plan.
//
// files holds the content of every one of OperatorFiles(inv).
//
// The order of host blocks decides the order of steps and nothing else: the
// content of every file is the same for any order.
func Compile(inv *inventory.Inventory, lock inventory.Lock, before []byte, authorities Authorities, files map[string][]byte) (*Plan, hcl.Diagnostics) {
	c := &compiler{
		builder: builder{
			inventory: inv, lock: lock, authorities: authorities,
			steps: make([]Step, 0, stepsPerHost*len(inv.Hosts)), index: make(map[StepID]int, stepsPerHost*len(inv.Hosts)),
		},
		templates: newTexts(),
		releases:  map[string]Release{},
		drained:   map[string][]Drain{},
		issuers:   map[string]*x509.Certificate{},
		modes:     map[string]uint32{},
		files:     files,
	}
	c.check()
	c.locate()
	if c.diags.HasErrors() {
		return nil, c.diags
	}
	c.names, c.own = c.hostsBlock(), ownImages(inv)
	c.sorted = inv.ContainerHosts()
	slices.SortFunc(c.sorted, func(a, b inventory.Host) int { return strings.Compare(a.Name, b.Name) })
	if inv.Network.Kind == inventory.NetworkRoutes {
		c.routes = c.routeTable()
		c.routesText = c.templates.Render(routesFile[1:], map[string]any{"Routes": c.routes.Routes})
	}
	c.operator(before)
	for _, component := range []func(inventory.Host){
		c.prepare, c.certificates, c.runtime, c.network, c.etcd, c.loadBalancer, c.controlPlane, c.kubelet, c.kubeProxy,
	} {
		for _, h := range inv.Hosts {
			component(h)
		}
	}
	c.gates()
	c.hosts()
	if inv.Kubernetes() {
		c.rbac()
	}
	c.flannelStore()
	if inv.Kubernetes() {
		c.dns()
	}
	c.readBack()
	if c.diags.HasErrors() {
		return nil, c.diags
	}
	return &Plan{Inventory: inv, Steps: inOrder(c.steps, c.index), Addresses: c.addresses()}, c.diags
}

// stepsPerHost is about what a worker has, so that what holds the steps of
// thousands of hosts is not moved again and again while it grows.
const stepsPerHost = 72

// compiler is a builder with what all components share.
type compiler struct {
	builder
	templates *texts
	releases  map[string]Release      // by name
	subnets   map[string]netip.Prefix // by host
	subnetsV6 map[string]netip.Prefix // by host; none but with dual-stack
	files     map[string][]byte       // of the operator's machine, by path
	issuers   map[string]*x509.Certificate
	modes     map[string]uint32  // of files, by path
	held      []authorityRow     // see authorityTable
	names     resource.Block     // of /etc/hosts, the same on every host
	own       []Release          // images that the user names
	drained   map[string][]Drain // by the host of the API server that is sent nothing new
	sorted    []inventory.Host   // with containers, by name
	// With static routes between hosts only, the same on every host.
	routes     *resource.RouteTable
	routesText []byte
	diags      hcl.Diagnostics
}

func (c *compiler) fail(summary, detail string, args ...any) {
	c.diags = append(c.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(detail, args...)})
}

func (c *compiler) warn(summary, detail string, args ...any) {
	c.diags = append(c.diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: summary, Detail: fmt.Sprintf(detail, args...)})
}

// check reports what an inventory may say and this compiler can't do.
func (c *compiler) check() {
	inv := c.inventory
	for _, path := range OperatorFiles(inv) {
		if _, ok := c.files[path]; !ok {
			c.fail("File not readable", "%s, which the inventory names, was not read.", path)
		}
	}
	c.checkPolicies()
	if _, ok := nthAddress(inv.Cluster.ServiceCIDR, dnsIndex); !ok {
		c.fail("Service network too small", "cluster.service_cidr is %s; the name service needs its address number %d.", inv.Cluster.ServiceCIDR, dnsIndex)
	}
	if _, ok := nthAddress(inv.Cluster.ServiceCIDRv6, dnsIndex); !ok && inv.DualStack() {
		c.fail("Service network too small", "cluster.service_cidr_v6 is %s; the name service needs its address number %d.", inv.Cluster.ServiceCIDRv6, dnsIndex)
	}
}

// locate finds a digest for every release and a subnet for every node.
func (c *compiler) locate() {
	images := map[string]Release{}
	for _, r := range Releases(c.inventory) {
		own, twice := images[r.Image]
		if !twice {
			own, twice = c.releases[r.Name]
		}
		if twice && r.IsImage() {
			c.fail("Image named twice", "artifacts.images has an archive for %q, which kinstall imports itself; put that archive into a mirror (artifacts.source) at %s.", r.Image, own.Location)
			continue
		}
		images[r.Image] = r
		c.releases[r.Name] = r
		if c.digest(r) == "" {
			what := r.Name + " " + r.Version
			if r.Version == "" {
				what = r.Image
			}
			c.fail("Unknown digest", "Nothing says what SHA-256 %s (%s) must have; pin it in artifacts.sha256 as %q.", what, r.Location, r.Name)
		}
	}
	var err error
	if c.subnets, err = AllocateSubnets(c.inventory, c.lock); err == nil {
		c.subnetsV6, err = AllocateSubnetsV6(c.inventory, c.lock)
	}
	if err != nil {
		c.fail("Pod subnets can't be allocated", "%s.", err)
	}
	if flannelIn(c.inventory, inventory.StoreEtcd) {
		c.checkFlannelSubnets("pod_subnet_size", c.inventory.Cluster.PodSubnetSize, c.subnets)
		c.checkFlannelSubnets("pod_subnet_size_v6", c.inventory.Cluster.PodSubnetSizeV6, c.subnetsV6)
	}
}

// checkFlannelSubnets finds subnets that the lock file remembers from before
// the size was changed.
func (c *compiler) checkFlannelSubnets(attribute string, size int, subnets map[string]netip.Prefix) {
	for _, h := range c.inventory.ContainerHosts() {
		if subnet, ok := subnets[h.Name]; ok && subnet.Bits() != size {
			c.fail("Pod subnets of different sizes", "Host %q has the pod subnet %s; flannel in etcd wants them all of %d bits (cluster.%s).", h.Name, subnet, size, attribute)
		}
	}
}

// digest of a release: the inventory's word, else the lock file's.
func (c *compiler) digest(r Release) string {
	if sum := c.inventory.Artifacts.SHA256[r.Name]; sum != "" {
		return sum
	}
	return c.lock.Artifacts[r.Location]
}

// addresses is the address plan in inventory order.
func (c *compiler) addresses() []AddressRow {
	var rows []AddressRow
	for _, h := range c.inventory.Hosts {
		row := AddressRow{Host: h.Name, Address: h.Address.String()}
		if subnet, ok := c.subnets[h.Name]; ok {
			row.PodSubnet = subnet.String()
			if c.inventory.Network.Bridged() {
				row.Bridge = bridgeAddress(subnet).Addr().String()
				row.Routes = len(c.subnets) - 1 + max(len(c.subnetsV6)-1, 0)
			}
		}
		if h.AddressV6.IsValid() {
			row.AddressV6 = h.AddressV6.String()
		}
		if subnet, ok := c.subnetsV6[h.Name]; ok {
			row.PodSubnetV6 = subnet.String()
			if c.inventory.Network.Bridged() {
				row.BridgeV6 = bridgeAddress(subnet).Addr().String()
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// file adds the file at a path, rendered from the template of the same name.
func (c *compiler) file(host, path string, data any, after ...[]StepID) resource.File {
	return c.content(host, path, c.templates.Render(path[1:], data), after...)
}

// content adds a file with the given bytes.
func (c *compiler) content(host, path string, content []byte, after ...[]StepID) resource.File {
	f := c.templates.file(path, content)
	f.Mode = c.mode(path)
	c.add(host, f, append(after, c.parents(host, path))...)
	return f
}

// tested adds a file as file does, which the program that reads it is asked about
// before it is written.
func (c *compiler) tested(host, path string, test resource.ConfigTest, data any, after ...[]StepID) resource.File {
	f := c.templates.file(path, c.templates.Render(path[1:], data))
	f.Test = test
	c.add(host, f, append(after, c.parents(host, path))...)
	return f
}

// mode is what the table of hardening says of a file; 0 for the kind's default.
func (c *compiler) mode(path string) uint32 {
	mode, known := c.modes[path]
	if !known {
		mode = hardening.Mode(path, c.inventory.Cluster.Hardening, c.inventory.Cluster.Version)
		c.modes[path] = mode
	}
	return mode
}

// hardeningFlags are what the table of hardening sets of a program.
func (c *compiler) hardeningFlags(program string) map[string]string {
	return hardening.Flags(program, c.inventory.Cluster.Hardening, c.inventory.Cluster.Version)
}

// directory adds a directory; it may be added by several components.
func (c *compiler) directory(host, path string, mode uint32, after ...[]StepID) {
	c.add(host, resource.Directory{Path: path, Ownership: resource.Ownership{Mode: mode}}, append(after, c.parents(host, path))...)
}

// parents returns the step that makes the nearest managed directory above a path.
func (c *compiler) parents(host, of string) []StepID {
	for dir := path.Dir(of); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if i, ok := c.index[NewStepID(host, resource.Directory{Path: dir}.ID())]; ok {
			return []StepID{c.steps[i].id}
		}
	}
	return nil
}

// artifact adds the software of that name.
func (c *compiler) artifact(host, name string, after ...[]StepID) resource.Artifact {
	r := c.releases[name]
	a := resource.Artifact{Name: r.Name, Version: r.Version, Location: r.Location, SHA256: c.digest(r), Members: r.Members}
	for _, m := range r.Members {
		after = append(after, c.parents(host, m.To))
	}
	c.add(host, a, after...)
	return a
}

// packages adds packages of the distribution.
func (c *compiler) packages(host string, names ...string) []StepID {
	var ids []StepID
	for _, name := range names {
		ids = append(ids, c.add(host, resource.Package{Name: name}))
	}
	return ids
}

// unitFile adds a unit's file. Its template is the whole file unless data say more.
func (c *compiler) unitFile(host, name string, data any) resource.File {
	return c.file(host, "/etc/systemd/system/"+name, data)
}

// inputSteps are the steps that bring about what a unit or pod is started
// with: it is never started before them.
func inputSteps(host string, inputs []resource.Input) []StepID {
	var ids []StepID
	for _, input := range inputs {
		ids = append(ids, NewStepID(host, input.ID()))
	}
	return ids
}

// step names a step that another component adds, before or after.
func step(host string, r resource.Resource) []StepID {
	return []StepID{NewStepID(host, r.ID())}
}

// hostPort joins an address and a port as in a URL.
func hostPort(address netip.Addr, port int) string {
	return net.JoinHostPort(address.String(), strconv.Itoa(port))
}

// inOrder sorts steps so that each stands after those it depends on, and
// otherwise as they were added. A cycle, or an edge to a step that does not
// exist, is a programmer's mistake. index has the places of steps by name.
func inOrder(steps []Step, index map[StepID]int) []Step {
	// The edges in the order of steps, as the places of what each waits for; and
	// turned round, those that wait for a step from its place in starts on.
	var edges []int
	starts := make([]int, len(steps)+1)
	waiting := make([]int, len(steps))
	var ready indexHeap
	for i := range steps {
		s := &steps[i]
		for _, id := range s.After {
			j, ok := index[id]
			if !ok {
				panic(fmt.Sprintf("plan: %s waits for %s, which does not exist", s.ID(), id))
			}
			edges = append(edges, j)
			starts[j+1]++
		}
		waiting[i] = len(s.After)
		if waiting[i] == 0 {
			ready = append(ready, i)
		}
	}
	for i := range steps {
		starts[i+1] += starts[i]
	}
	followers, next, edge := make([]int, len(edges)), slices.Clone(starts), 0
	for i := range steps {
		for range steps[i].After {
			j := edges[edge]
			edge++
			followers[next[j]] = i
			next[j]++
		}
	}
	heap.Init(&ready)
	sorted := make([]Step, 0, len(steps))
	for len(ready) > 0 {
		i := heap.Pop(&ready).(int)
		sorted = append(sorted, steps[i])
		for _, j := range followers[starts[i]:starts[i+1]] {
			if waiting[j]--; waiting[j] == 0 {
				heap.Push(&ready, j)
			}
		}
	}
	if len(sorted) < len(steps) {
		for i, s := range steps {
			if waiting[i] > 0 {
				panic(fmt.Sprintf("plan: %s waits for itself", s.ID()))
			}
		}
	}
	return sorted
}

// indexHeap is a heap of indices, smallest first.
type indexHeap []int

func (h indexHeap) Len() int           { return len(h) }
func (h indexHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h indexHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *indexHeap) Push(x any) { *h = append(*h, x.(int)) }

// Pop implements heap.Interface.
func (h *indexHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

package plan

import (
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// balancerKind describes one kind of load balancer: what a host gets that carries
// it, and what others count on.
type balancerKind struct {
	kind     string
	packages []string
	unit     string // that serves; every file, and each package, is one of its inputs
	files    []balancerFile
	// credentials are files of the PKI that it reads when it reads its configuration.
	credentials []string
	// local: every node carries one, for itself alone; else the hosts that the
	// inventory names.
	local bool
	// quit is the signal on which it listens no longer and keeps its clients.
	quit string
	// idle are units that its packages start beside it and that nobody asked for.
	idle []string
	// asks says that it asks each API server again and again whether it is ready.
	// One that is about to end says that it isn't, and is sent nothing new (see
	// shutdownDelay): nothing has to be said to balancers, of which there may be
	// thousands. Where it can't ask, its configuration says who is left out.
	asks func(*inventory.Inventory) bool
}

// balancerFile is a file of a load balancer, rendered from the template at its path.
type balancerFile struct {
	path string
	// upstream: it names the API servers and where clients are listened to, as an
	// upstream says.
	upstream bool
	// restart: it is read when the unit starts; others when it is reloaded.
	restart bool
	// folder: its directory is kinstall's to make.
	folder bool
	test   resource.ConfigTest // how its program is asked about it beforehand
}

// balancerKinds has one line for each of inventory.BalancerKinds.
func balancerKinds() []balancerKind {
	return []balancerKind{nginxBalancer(), haproxyBalancer(), localBalancer(), externalBalancer()}
}

// externalBalancer is the user's own, which no host carries, and which nothing can
// be said to.
func externalBalancer() balancerKind {
	return balancerKind{kind: inventory.BalancerExternal, asks: func(*inventory.Inventory) bool { return true }}
}

// balancerOf describes the load balancer of an inventory; false without one.
func balancerOf(inv *inventory.Inventory) (balancerKind, bool) {
	if inv.LoadBalancer == nil {
		return balancerKind{}, false
	}
	for _, b := range balancerKinds() {
		if b.kind == inv.LoadBalancer.Kind {
			return b, true
		}
	}
	panic("plan: load balancer " + inv.LoadBalancer.Kind + " is not described")
}

// on reports whether a host carries it.
func (b balancerKind) on(inv *inventory.Inventory, h inventory.Host) bool {
	if b.local {
		return h.IsNode()
	}
	return inv.Balances(h.Name)
}

// onBalanced are hosts with a load balancer that reads the file of the PKI.
func onBalanced(credential string) condition {
	return func(inv *inventory.Inventory, h inventory.Host) bool {
		b, ok := balancerOf(inv)
		return ok && b.on(inv, h) && slices.Contains(b.credentials, credential)
	}
}

// upstream is what the files of balancers are rendered from.
type upstream struct {
	Servers []upstreamServer
	Listen  []upstreamListen
	Timeout string // of silent connections, like "1h"
	// Of balancers that ask: the authority of the API servers, how often, and
	// which answer says that one is ready.
	Authority string
	Interval  string
	Ready     string
	// Services are the user's own.
	Services []service
}

// upstreamServer is one API server.
type upstreamServer struct {
	Name, Address string
	Weight        int  // 0: as all others
	Down          bool // it is sent nothing new
}

// service is a TCP service of the user's, whose servers are sorted by name.
type service struct {
	Name    string
	Listen  []upstreamListen
	Servers []upstreamServer
}

// upstreamListen is where clients come; without an address, at all of IPv4's.
type upstreamListen struct {
	Address string
	Port    int
}

// loadBalancer adds the load balancer to a host that carries it: a layer-4 proxy
// over all API servers. Files of Debian's packages stay as they are; what belongs
// to kinstall stands in files of its own.
func (c *compiler) loadBalancer(h inventory.Host) {
	b, ok := balancerOf(c.inventory)
	if !ok || !b.on(c.inventory, h) {
		return
	}
	packages := c.packages(h.Name, b.packages...)
	unit := resource.Unit{Name: b.unit, Idle: b.idle}
	for _, name := range b.packages {
		unit.Inputs = append(unit.Inputs, resource.Package{Name: name})
	}
	data := c.upstream(b, h)
	// A configuration is tried out with all that it names.
	read := c.credentials(h, b.credentials...)
	credentials := inputSteps(h.Name, read)
	var earlier []StepID
	for _, f := range b.files {
		if f.folder {
			c.directory(h.Name, path.Dir(f.path), 0o755, packages)
		}
		var file resource.File
		if f.upstream {
			file = c.tested(h.Name, f.path, f.test, data, packages, credentials)
			c.drains(b, h.Name, file, data)
		} else {
			file = c.tested(h.Name, f.path, f.test, nil, packages, earlier)
		}
		earlier = append(earlier, step(h.Name, file)...)
		unit.Inputs = append(unit.Inputs, file)
		if !f.restart {
			unit.ReloadOn = append(unit.ReloadOn, file.ID())
		}
	}
	for _, input := range read {
		unit.Inputs = append(unit.Inputs, input)
		unit.ReloadOn = append(unit.ReloadOn, input.ID())
	}
	c.serving(h.Name, unit, c.balancerRollout(h, b), inputSteps(h.Name, unit.Inputs))
	c.virtualAddress(h, b)
}

// upstream is what a host's balancer is told.
func (c *compiler) upstream(b balancerKind, h inventory.Host) upstream {
	inv := c.inventory
	lb := inv.LoadBalancer
	data := upstream{
		Timeout: duration(lb.Timeout), Authority: caFile, Interval: duration(checkInterval(inv)), Ready: "200",
	}
	if !anonymousAsk(inv) {
		data.Ready = "401" // it answers, and that is all that can be learnt
	}
	for _, m := range inv.With(inventory.RoleMaster) {
		data.Servers = append(data.Servers, upstreamServer{Name: m.Name, Address: hostPort(m.Address, APIServerPort), Weight: lb.Weights[m.Name]})
	}
	slices.SortFunc(data.Servers, func(a, b upstreamServer) int { return strings.Compare(a.Name, b.Name) })
	if b.local {
		data.Listen = []upstreamListen{{inventory.LocalAddress, lb.Port}}
		return data
	}
	endpoint := inv.Cluster.Endpoint.Address
	ipv6 := h.Address.Is6() && !h.Address.Is4In6() || endpoint.IsValid() && endpoint.Is6() && !endpoint.Is4In6()
	listen := func(port int) []upstreamListen {
		if !ipv6 { // with IPv6 turned off balancers would not start
			return []upstreamListen{{"", port}}
		}
		return []upstreamListen{{"", port}, {"::", port}}
	}
	data.Listen = listen(lb.Port)
	for _, l := range lb.Listeners {
		data.Services = append(data.Services, service{l.Name, listen(l.Port), c.targets(l)})
	}
	return data
}

// targets are the servers of a service of the user's.
func (c *compiler) targets(l *inventory.Listener) []upstreamServer {
	var servers []upstreamServer
	for _, h := range c.inventory.Hosts {
		if l.Takes(h) {
			servers = append(servers, upstreamServer{Name: h.Name, Address: hostPort(h.Address, l.TargetPort)})
		}
	}
	slices.SortFunc(servers, func(a, b upstreamServer) int { return strings.Compare(a.Name, b.Name) })
	return servers
}

// drains remembers, for each API server, the configuration of a balancer that
// sends it nothing new, for balancers that have to be told. With a single one
// there is nobody else to send it to.
func (c *compiler) drains(b balancerKind, host string, file resource.File, data upstream) {
	if len(data.Servers) < 2 || b.asks(c.inventory) {
		return
	}
	for i, s := range data.Servers {
		without := data
		without.Servers = slices.Clone(data.Servers)
		without.Servers[i].Down = true
		content := c.templates.Render(file.Path[1:], without)
		c.drained[s.Name] = append(c.drained[s.Name], Drain{Host: host, Unit: b.unit, File: file, Without: content})
	}
}

// succession says what becomes of one load balancer when another one takes its
// place: on its host it listens until the other one does; and it is deleted when
// nothing dials it any more, which is when everything that serves was changed, on
// whichever host. (A host's own balancer is dialled by that host alone, whose
// changes it waits for as all that leaves does.)
func (o order) succession(d *Delta, gone []Item) {
	next, balanced := balancerOf(d.Plan.Inventory)
	leaving := map[StepID]balancerKind{}
	for _, b := range balancerKinds() {
		for _, item := range gone {
			if !b.local && item.Step.Resource.ID() == unitID(b.unit) {
				leaving[item.Step.ID()] = b
			}
		}
	}
	created := map[StepID]bool{}
	for i := range d.Items {
		id, change := d.Items[i].Step.ID(), d.Items[i].Change
		if change.Changes() && d.Items[i].Step.Rollout != nil {
			for old := range leaving {
				o.wait(old, id)
			}
		}
		created[id] = change.Action == resource.Create
	}
	if !balanced {
		return
	}
	for i := range d.Items {
		unit, ok := d.Items[i].Step.Resource.(resource.Unit)
		if !ok || unit.Name != next.unit {
			continue
		}
		step := d.Items[i].OwnStep()
		// Who had HAProxy on the host before has it for something.
		if !slices.ContainsFunc(next.packages, func(name string) bool {
			return created[NewStepID(step.Host, resource.Package{Name: name}.ID())]
		}) {
			unit.Idle = nil
		}
		for _, b := range balancerKinds() {
			if _, leaves := leaving[NewStepID(step.Host, unitID(b.unit))]; leaves && !next.local {
				unit.Relieves = append(unit.Relieves, resource.Relieved{Unit: b.unit, Quit: b.quit})
			}
		}
		step.Resource = unit
	}
}

// server is where the programs of a host find the API: on a master at the API
// server beside them, which depends on nobody else.
func (c *compiler) server(h inventory.Host) string {
	switch {
	case h.Has(inventory.RoleMaster):
		return hostPort(h.Address, APIServerPort)
	case c.inventory.BalancesLocally():
		return net.JoinHostPort(inventory.LocalAddress, strconv.Itoa(c.inventory.LoadBalancer.Port))
	}
	return c.inventory.Cluster.Endpoint.String()
}

// anonymousAsk reports whether somebody without credentials may ask API servers
// whether they are ready.
func anonymousAsk(inv *inventory.Inventory) bool {
	return inv.APIServer.Args["anonymous-auth"] != "false"
}

// checkInterval is how often a balancer asks each API server whether it is ready.
// With one on each node, a server is asked 500 to 1000 times a second at most,
// each time over a connection of its own.
func checkInterval(inv *inventory.Inventory) time.Duration {
	nodes := 0
	if b, ok := balancerOf(inv); ok && b.local {
		nodes = len(inv.Nodes())
	}
	switch {
	case nodes <= 500:
		return time.Second
	case nodes <= 2000:
		return 2 * time.Second
	default:
		return 5 * time.Second
	}
}

// shutdownDelay is how long an API server that was told to end says that it isn't
// ready, and serves on all the same: until the slowest balancer has asked it twice
// (after the first such answer in half a second), with a second to spare.
func shutdownDelay(inv *inventory.Inventory) time.Duration {
	return checkInterval(inv) + 2*time.Second
}

// duration writes a duration as nginx and HAProxy read it.
func duration(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d%unit.of == 0 {
			return strconv.FormatInt(int64(d/unit.of), 10) + unit.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

package plan

import (
	"slices"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const nginxUnit = "nginx.service"

// balancerKind is what one kind of load balancer is told from the others by.
type balancerKind struct {
	kind string
	add  func(*compiler, inventory.Host) // to a host that carries it
}

// balancerKinds has one line for each of inventory.BalancerKinds.
func balancerKinds() []balancerKind {
	return []balancerKind{
		{inventory.BalancerNginx, (*compiler).nginx},
	}
}

// loadBalancer adds a layer-4 load balancer over all API servers to the hosts
// that carry it.
func (c *compiler) loadBalancer(h inventory.Host) {
	if !c.inventory.Balances(h.Name) {
		return
	}
	for _, b := range balancerKinds() {
		if b.kind == c.inventory.LoadBalancer.Kind {
			b.add(c, h)
		}
	}
}

// upstreamServer is one API server as a balancer's configuration has it.
type upstreamServer struct {
	Name, Address string
	Down          bool // it is sent nothing new
}

// drains remembers, for each API server, the configuration of a balancer that
// sends it nothing new. With a single one there is nobody else to send it to.
func (c *compiler) drains(host, unit string, upstream resource.File, servers []upstreamServer, listen []string) {
	for i := range servers {
		if len(servers) < 2 {
			return
		}
		without := slices.Clone(servers)
		without[i].Down = true
		content := c.templates.Render(upstream.Path[1:], map[string]any{"Servers": without, "Listen": listen})
		c.drained[servers[i].Name] = append(c.drained[servers[i].Name], Drain{Host: host, Unit: unit, File: upstream, Without: content})
	}
}

// nginx adds nginx with a stream upstream over all API servers. Files of
// Debian's package stay as they are; what belongs to kinstall stands in files
// of its own.
func (c *compiler) nginx(h inventory.Host) {
	inv := c.inventory
	packages := c.packages(h.Name, "nginx", "libnginx-mod-stream")

	var servers []upstreamServer
	ipv6 := h.Address.Is6() && !h.Address.Is4In6()
	if endpoint := inv.Cluster.Endpoint.Address; endpoint.IsValid() && endpoint.Is6() && !endpoint.Is4In6() {
		ipv6 = true
	}
	for _, m := range inv.With(inventory.RoleMaster) {
		servers = append(servers, upstreamServer{Name: m.Name, Address: hostPort(m.Address, APIServerPort)})
	}
	slices.SortFunc(servers, func(a, b upstreamServer) int { return strings.Compare(a.Name, b.Name) })
	port := strconv.Itoa(inv.LoadBalancer.Port)
	listen := []string{port}
	if ipv6 {
		// Only where it is used: with IPv6 turned off nginx would not start.
		listen = append(listen, "[::]:"+port)
	}

	c.directory(h.Name, "/etc/nginx/stream.d", 0o755, packages)
	upstream := c.tested(h.Name, "/etc/nginx/stream.d/kinstall.conf", resource.NginxTest, map[string]any{"Servers": servers, "Listen": listen})
	c.drains(h.Name, nginxUnit, upstream, servers, listen)
	stream := c.tested(h.Name, "/etc/nginx/modules-enabled/99-kinstall-stream.conf", resource.NginxTest, nil, packages, step(h.Name, upstream))
	inputs := []resource.Input{resource.Package{Name: "nginx"}, resource.Package{Name: "libnginx-mod-stream"}, upstream, stream}
	c.serving(h.Name, resource.Unit{
		Name:     nginxUnit,
		Inputs:   inputs,
		ReloadOn: []resource.ID{upstream.ID(), stream.ID()},
	}, c.balancerRollout(h, nginxUnit), inputSteps(h.Name, inputs))
}

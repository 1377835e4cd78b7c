package inventory

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kinstall/kinstall/plan/spelling"
)

// takenPort is one that something else on a host uses.
type takenPort struct {
	port int
	by   string
}

// takenPorts lists what the inventory itself puts on a host.
func takenPorts(h *hostDecl) []takenPort {
	ports := []takenPort{{h.SSH.Port, "sshd"}}
	if h.has(RoleMaster) {
		ports = append(ports,
			takenPort{APIPort, "the API server"},
			takenPort{10257, "the controller manager"},
			takenPort{10259, "the scheduler"})
	}
	if h.has(RoleEtcd) {
		ports = append(ports, takenPort{2379, "etcd's clients"}, takenPort{2380, "etcd's peers"}, takenPort{2381, "etcd's metrics"})
	}
	if h.isNode() {
		ports = append(ports,
			takenPort{10250, "the kubelet"},
			takenPort{10248, "the kubelet's health check"},
			takenPort{10249, "kube-proxy's metrics"},
			takenPort{10256, "kube-proxy's health check"})
	}
	return ports
}

// sshPorts refuses an sshd where something else listens on the same host.
func (r *rules) sshPorts() {
	reported := make(map[hcl.Range]bool) // one line for all hosts is one mistake
	for _, h := range r.hosts {
		if !r.good(&h.SSH.Port, &h.Roles) {
			continue
		}
		for _, taken := range takenPorts(h)[1:] { // the first is sshd
			if at := r.of(h, &h.SSH.Port); taken.port == h.SSH.Port && !reported[*at] {
				reported[*at] = true
				r.report(r.about(advise(portConflict.at(at, "Port %d of %s is used by %s; sshd can't listen there.", h.SSH.Port, h.called(), taken.by),
					"Have sshd listen on another port."), &h.SSH.Port))
			}
		}
	}
}

func (r *rules) named(name string) *hostDecl {
	i := slices.IndexFunc(r.hosts, func(h *hostDecl) bool { return h.Name == name && r.good(&h.Name) })
	if i < 0 {
		return nil
	}
	return r.hosts[i]
}

func (r *rules) loadBalancer() {
	lb := r.inv.LoadBalancer
	if lb == nil {
		return
	}
	if r.isSet(&lb.Hosts) && r.good(&lb.Hosts) && len(lb.Hosts) == 0 {
		r.bad[&lb.Hosts] = true
		r.report(advise(unknownHost.at(r.subject(&lb.Hosts, lb), "The list of the load balancer's hosts is empty."), "Name one host or more, or remove the block."))
	}
	for i, name := range lb.Hosts {
		if h := r.lookUp(name, &lb.Hosts, i); h != nil {
			r.balancerPort(h)
		}
	}
	if r.good(&lb.Kind) && lb.Kind == BalancerLocal {
		for _, h := range r.hosts {
			if r.good(&h.Roles) && h.isNode() && !r.balancerPort(h) {
				break // one line for all of them
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lb.Weights)) {
		if h := r.lookUp(name, &lb.Weights, name); h != nil && r.good(&h.Roles) && !h.has(RoleMaster) {
			r.report(unknownHost.at(r.subject(&lb.Weights, lb, name), "%s is no master: it has no API server that could have a weight.", h.called()))
		}
	}
}

// lookUp finds a host that an element of one of the load balancer's attributes
// names.
func (r *rules) lookUp(name string, ptr any, element any) *hostDecl {
	h := r.named(name)
	if h != nil || r.hostsUnknown || slices.ContainsFunc(r.hosts, func(h *hostDecl) bool { return !r.good(&h.Name) }) {
		return h
	}
	names := make([]string, 0, len(r.hosts))
	for _, h := range r.hosts {
		names = append(names, h.Name)
	}
	diag := unknownHost.at(r.subject(ptr, r.inv.LoadBalancer, element), "There is no host %q.", name)
	if near := spelling.Nearest(name, names); near != "" {
		diag = advise(diag, "Did you mean %q?", near)
	}
	r.report(diag)
	r.bad[ptr] = true
	return nil
}

// balancerPort says whether the load balancer's port is free on a host, as far as
// that is known.
func (r *rules) balancerPort(h *hostDecl) bool {
	lb := r.inv.LoadBalancer
	if !r.good(&lb.Port, &h.Roles, &h.SSH.Port) {
		return true
	}
	for _, taken := range takenPorts(h) {
		if taken.port == lb.Port {
			r.report(portConflict.at(r.subject(&lb.Port, lb), "Port %d of %s is used by %s.", lb.Port, h.called(), taken.by))
			return false
		}
	}
	return true
}

// maxBalancers is how many hosts may share an address: each has a priority of its
// own, far enough from the next one's.
const maxBalancers = 16

// virtualAddress holds the address that the load balancer's hosts share to what
// can be known of it here. Which network the hosts are on, they say themselves
// before anything is changed.
func (r *rules) virtualAddress() {
	lb := r.inv.LoadBalancer
	if lb == nil || !r.good(&lb.VirtualAddress, &lb.Hosts, &lb.RouterID) {
		return
	}
	vip, at := lb.VirtualAddress, r.subject(&lb.VirtualAddress, lb)
	if !vip.IsValid() {
		if r.isSet(&lb.RouterID) {
			r.report(advise(invalidVirtualAddress.at(r.subject(&lb.RouterID, lb), "There is a router_id, and no vip."), "Add a vip, or remove router_id."))
		}
		return
	}
	refuse := func(hint, format string, args ...any) {
		r.bad[&lb.VirtualAddress] = true
		r.report(advise(invalidVirtualAddress.at(at, format, args...), "%s", hint))
	}
	switch {
	case len(lb.Hosts) < 2:
		refuse("Name two hosts or more in load_balancer.hosts, or remove vip.", "%s is to be shared, and only %s carries the load balancer.", vip, strings.Join(lb.Hosts, ""))
		return
	case len(lb.Hosts) > maxBalancers:
		refuse(fmt.Sprintf("Name at most %d hosts.", maxBalancers), "%d hosts would share %s.", len(lb.Hosts), vip)
		return
	}
	for _, h := range r.hosts {
		if !r.good(&h.Name, &h.Address, &h.AddressV6) {
			continue
		}
		if vip == h.Address || vip == h.AddressV6 {
			refuse("Choose an address that no machine has.", "%s is the address of %s (%s).", vip, h.called(), r.place(holding(h, vip)))
			return
		}
		if slices.Contains(lb.Hosts, h.Name) && h.Address.IsValid() && h.Address.Is4() != vip.Is4() {
			refuse(fmt.Sprintf("Choose an %s address of the hosts' network.", family(h.Address)), "%s is %s; %s, which is to have it, has the %s address %s.", vip, family(vip), h.called(), family(h.Address), h.Address)
			return
		}
	}
	for _, s := range r.stacks() {
		if r.hasPods(s) && s.pods.Contains(vip) {
			refuse("Choose a free address of the hosts' network.", "%s lies inside %s %s%s.", vip, s.podCIDR, s.pods, r.elsewhere(s.pods))
			return
		}
		if r.hasServices(s) && s.services.Contains(vip) {
			refuse("Choose a free address of the hosts' network.", "%s lies inside %s %s%s.", vip, s.serviceCIDR, s.services, r.elsewhere(s.services))
			return
		}
	}
}

// holding is the field of a host that has an address.
func holding(h *hostDecl, address netip.Addr) *netip.Addr {
	if h.AddressV6 == address {
		return &h.AddressV6
	}
	return &h.Address
}

// balanced is the address by which clients reach the load balancer: the one that
// its hosts share, or the first host's.
func (r *rules) balanced(balancers []*hostDecl) netip.Addr {
	if vip := r.inv.VirtualAddress(); vip.IsValid() {
		return vip
	}
	return balancers[0].Address
}

// balancers are the load balancer's hosts, ok when all are known.
func (r *rules) balancers() (hosts []*hostDecl, ok bool) {
	lb := r.inv.LoadBalancer
	if lb == nil || r.good(&lb.Kind) && (lb.Kind == BalancerLocal || lb.Kind == BalancerExternal) {
		return nil, true
	}
	if !r.good(&lb.Kind, &lb.Hosts, &lb.Port, &lb.VirtualAddress) || len(lb.Hosts) == 0 {
		return nil, false
	}
	for _, name := range lb.Hosts {
		h := r.named(name)
		if h == nil || !r.good(&h.Address) {
			return nil, false
		}
		hosts = append(hosts, h)
	}
	return hosts, true
}

// endpoint decides where the endpoint leads, or what it is when it was left
// out, and holds it to certificates and listeners.
func (r *rules) endpoint() {
	c := &r.inv.Cluster
	balancers, known := r.balancers()
	if !r.good(&c.Endpoint) || !known || !r.rolesKnown() {
		return
	}
	masters := r.with(RoleMaster)
	if len(masters) == 0 || slices.ContainsFunc(r.hosts, func(h *hostDecl) bool { return !r.good(&h.Name, &h.Address) }) {
		return
	}
	if !r.isSet(&c.Endpoint) {
		switch {
		case len(balancers) > 0:
			c.Endpoint = endpointAt(r.balanced(balancers), r.inv.LoadBalancer.Port)
		case len(masters) == 1 && r.inv.LoadBalancer == nil, r.inv.BalancesLocally():
			c.Endpoint = endpointAt(masters[0].Address, APIPort)
		default:
			if r.inv.LoadBalancer != nil {
				r.report(advise(missingEndpoint.at(r.subject(nil, r.inv.LoadBalancer), "Where the external load balancer is, only cluster.endpoint says."), "Add it to the block cluster, like: endpoint = \"api.example.com:6443\"."))
				return
			}
			r.report(missingEndpoint.at(r.subject(&c.Endpoint, c), "%d hosts are masters (%s), and there is no load balancer.", len(masters), listHosts(masters)))
		}
		return
	}
	if !c.Endpoint.Address.IsValid() { // a name
		switch h := r.named(c.Endpoint.Host); {
		case h != nil:
			c.Endpoint.Address = h.Address
		case len(balancers) > 0:
			c.Endpoint.Address = r.balanced(balancers)
		case len(masters) == 1 && r.inv.LoadBalancer == nil:
			c.Endpoint.Address = masters[0].Address
		}
	}
	if !r.endpointListens(balancers, masters) || !r.endpointFree() || !r.endpointResolves(masters) {
		return
	}
	r.endpointCovered(masters)
}

func endpointAt(addr netip.Addr, port int) Endpoint {
	return Endpoint{Host: addr.String(), Port: port, Address: addr}
}

// endpointListens judges endpoints that lead to a host of the inventory.
func (r *rules) endpointListens(balancers, masters []*hostDecl) bool {
	e := &r.inv.Cluster.Endpoint
	at := r.subject(e, &r.inv.Cluster)
	if vip := r.inv.VirtualAddress(); vip.IsValid() && e.Address == vip {
		if e.Port == r.inv.LoadBalancer.Port {
			return true
		}
		r.report(advise(endpointMismatch.at(at, "The endpoint's port is %d, but the load balancer behind %s listens on %d%s.",
			e.Port, vip, r.inv.LoadBalancer.Port, r.elsewhere(&r.inv.LoadBalancer.Port)),
			"Write %q, or set load_balancer.port = %d.", Endpoint{Host: e.Host, Port: r.inv.LoadBalancer.Port}, e.Port))
		return false
	}
	leads := func(h *hostDecl) bool { return h.Address == e.Address }
	i := slices.IndexFunc(r.hosts, leads)
	if i < 0 {
		return true // somewhere outside
	}
	h := r.hosts[i]
	balanced, master := slices.ContainsFunc(balancers, leads), slices.ContainsFunc(masters, leads)
	switch {
	case balanced && e.Port == r.inv.LoadBalancer.Port:
		return true
	case master && e.Port == APIPort:
		if len(masters) > 1 && !r.inv.BalancesLocally() {
			r.report(r.bypass(at, e, h))
		}
		return true
	case balanced:
		r.report(advise(endpointMismatch.at(at, "The endpoint's port is %d, but the load balancer on %s listens on %d%s.",
			e.Port, h.called(), r.inv.LoadBalancer.Port, r.elsewhere(&r.inv.LoadBalancer.Port)),
			"Write %q, or set load_balancer.port = %d.", Endpoint{Host: e.Host, Port: r.inv.LoadBalancer.Port}, e.Port))
	case master:
		diag := endpointMismatch.at(at, "The endpoint's port is %d, but the API server on %s listens on %d.", e.Port, h.called(), APIPort)
		r.report(advise(diag, "Write %q, or add a load_balancer block with port = %d.", Endpoint{Host: e.Host, Port: APIPort}, e.Port))
	default:
		r.report(advise(endpointMismatch.at(at, "The endpoint leads to %s, which is neither load balancer nor master.", h.called()),
			"Use the address of a load balancer's host or of a master."))
	}
	return false
}

func (r *rules) bypass(at *hcl.Range, e *Endpoint, h *hostDecl) *hcl.Diagnostic {
	diag := endpointBypass.at(at, "The endpoint %q leads to %s alone.", e, h.called())
	if r.inv.LoadBalancer == nil {
		return advise(diag, "Add a load_balancer block.")
	}
	return diag
}

// endpointFree says that the endpoint's name is not one that hosts find
// something else by: it gets a line in their /etc/hosts.
func (r *rules) endpointFree() bool {
	e, rt := &r.inv.Cluster.Endpoint, &r.inv.Runtime
	taken := map[string]string{}
	urlHost := func(s, what string) {
		if u, err := url.Parse(s); err == nil {
			taken[u.Hostname()] = what
		}
	}
	imageHost := func(reference, what string) {
		registry, _, _ := strings.Cut(reference, "/")
		host, _, _ := strings.Cut(registry, ":")
		taken[host] = what
	}
	for _, registry := range []string{"registry.k8s.io/", "ghcr.io/", "registry-1.docker.io/"} {
		imageHost(registry, "a registry of the cluster's own images")
	}
	imageHost(rt.SandboxImage, "the registry of runtime.sandbox_image")
	if rt.Proxy != nil {
		urlHost(rt.Proxy.HTTP, "the runtime's proxy")
		urlHost(rt.Proxy.HTTPS, "the runtime's proxy")
	}
	for _, registry := range rt.Registries {
		imageHost(registry.Name+"/", "a registry of the runtime")
		for _, mirror := range registry.Mirrors {
			urlHost(mirror, "a mirror of a registry")
		}
	}
	if what := taken[e.Host]; what != "" && e.Address.IsValid() && e.Host != e.Address.String() {
		r.report(advise(invalidEndpoint.at(r.subject(e, &r.inv.Cluster), "%q is %s; as the endpoint it would lead to %s on every host.", e.Host, what, e.Address),
			"Use a name of its own, like \"kubernetes.default.svc:%d\".", e.Port))
		return false
	}
	return true
}

// endpointResolves refuses names that nothing makes resolve on hosts: those by
// which pods know the API, where neither a load balancer nor a single master
// gives them an address. Of other names it is their user who says so, by
// putting them into cert_sans.
func (r *rules) endpointResolves(masters []*hostDecl) bool {
	c := &r.inv.Cluster
	if c.Endpoint.Address.IsValid() || !r.good(&c.Domain) {
		return true
	}
	names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.Domain}
	if !slices.Contains(names, c.Endpoint.Host) && !strings.HasSuffix(c.Endpoint.Host, "."+c.Domain) {
		return true
	}
	r.report(advise(unresolvedEndpoint.at(r.subject(&c.Endpoint, c), "Nothing makes %q resolve on hosts: only the cluster's own name service knows it, and there are %d masters and no load balancer for it to lead to.", c.Endpoint.Host, len(masters)),
		"Add a load_balancer block with hosts, or write an address: a master's, or that of a load balancer of your own, which you add to cert_sans."))
	return false
}

// endpointCovered asks the certificates, by the very list they are issued by.
func (r *rules) endpointCovered(masters []*hostDecl) {
	c := &r.inv.Cluster
	if !r.good(&c.Domain, &c.ServiceCIDR, &c.CertSANs, &c.PodCIDRv6, &c.ServiceCIDRv6) {
		return
	}
	// The Inventory has no hosts yet; APIServerSANs looks balancers up in it.
	view := *r.inv
	for _, h := range r.hosts {
		view.Hosts = append(view.Hosts, Host{Name: h.Name, Address: h.Address, AddressV6: h.AddressV6})
	}
	for _, h := range masters {
		names, addresses := view.APIServerSANs(Host{Name: h.Name, Address: h.Address, AddressV6: h.AddressV6})
		// An endpoint that is one master needs only that one's certificate.
		direct := c.Endpoint.Address.IsValid() && c.Endpoint.Address != h.Address &&
			slices.ContainsFunc(masters, func(m *hostDecl) bool { return m.Address == c.Endpoint.Address })
		if covers(names, addresses, c.Endpoint.Host) || direct {
			continue
		}
		diag := uncoveredEndpoint.at(r.subject(&c.Endpoint, c), "%q is in no API server's certificate, and no host of the inventory has it.", c.Endpoint.Host)
		r.report(advise(diag, "If it leads to a load balancer of your own, add cert_sans = [%q] to the cluster block.", c.Endpoint.Host))
		return
	}
}

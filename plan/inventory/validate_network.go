package inventory

import (
	"fmt"
	"net/netip"

	"github.com/hashicorp/hcl/v2"
)

// families holds everything to one address family: a Kubernetes API server
// advertises its host's address beside the service network, and routes to pods
// go through hosts.
func (r *rules) families() {
	c := &r.inv.Cluster
	if !r.good(&c.ServiceCIDR) {
		return
	}
	services := c.ServiceCIDR.Addr()
	if r.good(&c.PodCIDR) && c.PodCIDR.Addr().Is4() != services.Is4() {
		r.report(mixedFamilies.at(r.eitherOf(&c.PodCIDR, &c.ServiceCIDR), "pod_cidr %s is %s, service_cidr %s is %s.",
			c.PodCIDR, family(c.PodCIDR.Addr()), c.ServiceCIDR, family(services)))
	}
	for _, h := range r.hosts {
		if r.good(&h.Address) && h.Address.Is4() != services.Is4() {
			r.report(r.about(mixedFamilies.at(r.of(h, &h.Address), "%s has the %s address %s; service_cidr %s is %s.",
				h.called(), family(h.Address), h.Address, c.ServiceCIDR, family(services)), &h.Address))
		}
	}
}

// stack is what the inventory says of one address family, and what it calls it.
type stack struct {
	podCIDR, podSubnetSize, serviceCIDR, podSubnet string
	pods, services                                 *netip.Prefix
	size                                           *int
	address                                        func(*hostDecl) *netip.Addr
	subnet                                         func(*hostDecl) *netip.Prefix
}

// stacks are the families of this inventory: one, or with dual-stack two.
func (r *rules) stacks() []stack {
	c := &r.inv.Cluster
	stacks := []stack{{
		"pod_cidr", "pod_subnet_size", "service_cidr", "pod_subnet", &c.PodCIDR, &c.ServiceCIDR, &c.PodSubnetSize,
		func(h *hostDecl) *netip.Addr { return &h.Address },
		func(h *hostDecl) *netip.Prefix { return &h.PodSubnet },
	}}
	if !r.isSet(&c.PodCIDRv6) && !r.isSet(&c.ServiceCIDRv6) {
		return stacks
	}
	return append(stacks, stack{
		"pod_cidr_v6", "pod_subnet_size_v6", "service_cidr_v6", "pod_subnet_v6", &c.PodCIDRv6, &c.ServiceCIDRv6, &c.PodSubnetSizeV6,
		func(h *hostDecl) *netip.Addr { return &h.AddressV6 },
		func(h *hostDecl) *netip.Prefix { return &h.PodSubnetV6 },
	})
}

// hasPods and hasServices say that the network is known.
func (r *rules) hasPods(s stack) bool     { return s.pods.IsValid() && r.good(s.pods) }
func (r *rules) hasServices(s stack) bool { return s.services.IsValid() && r.good(s.services) }

// networkSizes holds networks to what Kubernetes can handle: service networks
// have 4 to 20 bits for addresses (the name service takes the tenth address;
// kube-apiserver refuses larger ones), and node subnets have at most 16 bits
// more than the pod network (kube-controller-manager's limit).
func (r *rules) networkSizes() {
	c := &r.inv.Cluster
	for _, s := range r.stacks() {
		if r.hasServices(s) {
			width := s.services.Addr().BitLen()
			if free := width - s.services.Bits(); free < 4 || free > 20 {
				r.report(advise(networkSize.at(r.subject(s.services, c), "%s %s has a prefix of %d bits; expected %d to %d.",
					s.serviceCIDR, s.services, s.services.Bits(), width-20, width-4), "Choose a prefix length from /%d to /%d.", width-20, width-4))
			}
		}
		if r.hasPods(s) && r.good(s.size) {
			r.subnetSizes(s)
		}
	}
}

func (r *rules) subnetSizes(s stack) {
	width, bits, size := s.pods.Addr().BitLen(), s.pods.Bits(), *s.size
	at := r.eitherOf(s.size, s.pods)
	switch {
	case size > width-2:
		r.report(networkSize.at(at, "Subnets of %d bits have no room for pods; expected at most %d.", size, width-2))
	case size < bits:
		r.report(networkSize.at(at, "A node's subnet (%d bits) would be larger than %s %s.", size, s.podCIDR, s.pods))
	case size > bits+16:
		r.report(advise(networkSize.at(at, "%s is %d, %d more than the prefix of %s %s; at most 16 more are allowed.", s.podSubnetSize, size, size-bits, s.podCIDR, s.pods),
			"Choose %s from %d to %d, or a smaller %s.", s.podSubnetSize, bits, min(bits+16, width-2), s.podCIDR))
	default:
		r.roomForNodes(s)
		return
	}
	r.bad[s.size] = true
}

func (r *rules) roomForNodes(s stack) {
	if !r.rolesKnown() {
		return
	}
	nodes, room := 0, 1<<(*s.size-s.pods.Bits())
	for _, h := range r.hosts {
		if h.runsContainers() {
			nodes++
		}
	}
	if nodes > room {
		r.report(advise(podCIDRTooSmall.at(r.eitherOf(s.pods, s.size), "%s %s has %d subnets of %d bits, and the inventory %d nodes.",
			s.podCIDR, s.pods, room, *s.size, nodes), "Enlarge %s or raise %s.", s.podCIDR, s.podSubnetSize))
	}
}

// eitherOf points at the first of two cluster attributes that was written.
func (r *rules) eitherOf(first, second any) *hcl.Range {
	if r.isSet(first) {
		return r.subject(first, &r.inv.Cluster)
	}
	return r.subject(second, &r.inv.Cluster)
}

func (r *rules) overlaps() {
	c := &r.inv.Cluster
	for _, s := range r.stacks() {
		pods, services := r.hasPods(s), r.hasServices(s)
		if pods && services && s.pods.Overlaps(*s.services) {
			at, other := s.services, s.pods
			if !r.isSet(at) {
				at, other = other, at
			}
			r.report(networkOverlap.at(r.subject(at, c), "%s %s and %s %s overlap; the other one is %s.", s.podCIDR, s.pods, s.serviceCIDR, s.services, r.origin(other)))
		}
		for _, h := range r.hosts {
			address := s.address(h)
			if !r.good(address) {
				continue
			}
			if pods && s.pods.Contains(*address) {
				r.report(r.about(networkOverlap.at(r.of(h, address), "The address %s of %s lies inside %s %s%s.", address, h.called(), s.podCIDR, s.pods, r.elsewhere(s.pods)), address))
			}
			if services && s.services.Contains(*address) {
				r.report(r.about(networkOverlap.at(r.of(h, address), "The address %s of %s lies inside %s %s%s.", address, h.called(), s.serviceCIDR, s.services, r.elsewhere(s.services)), address))
			}
		}
	}
}

// upstreams refuses the cluster's own name service as the one it asks: it would
// ask itself for ever.
func (r *rules) upstreams() {
	dns := &r.inv.DNS
	if !r.isSet(&dns.Upstreams) || !r.good(&dns.Upstreams) {
		return
	}
	for i, upstream := range dns.Upstreams {
		addr, err := netip.ParseAddr(upstream)
		if ap, portErr := netip.ParseAddrPort(upstream); portErr == nil {
			addr, err = ap.Addr(), nil
		}
		if err != nil {
			continue // "none"
		}
		for _, s := range r.stacks() {
			if r.hasServices(s) && s.services.Contains(addr) {
				r.report(networkOverlap.at(r.subject(&dns.Upstreams, dns, i), "The name server %s lies inside %s %s%s: it would be the cluster's own, or one that needs it.",
					upstream, s.serviceCIDR, s.services, r.elsewhere(s.services)))
			}
		}
	}
}

// origin says where the other party stands.
func (r *rules) origin(ptr any) string {
	if at := r.place(ptr); at != "" {
		return "at " + at
	}
	return "the default"
}

// elsewhere names the place of the other party, or says that it is a default.
func (r *rules) elsewhere(ptr any) string {
	if at := r.place(ptr); at != "" {
		return fmt.Sprintf(" (%s)", at)
	}
	return " (the default)"
}

func (r *rules) podSubnets() {
	for _, s := range r.stacks() {
		r.podSubnetsOf(s)
	}
}

func (r *rules) podSubnetsOf(s stack) {
	var fixed []*hostDecl
	for _, h := range r.hosts {
		subnet := s.subnet(h)
		if !r.isSet(subnet) || !r.good(subnet) {
			continue
		}
		at := r.of(h, subnet)
		if r.good(&h.Roles) && !h.runsContainers() {
			r.report(r.about(advise(invalidPodSubnet.at(at, "%s runs no pods: it is neither master nor worker.", h.called()), "Leave %s out.", s.podSubnet), subnet))
			continue
		}
		if r.hasPods(s) && r.good(s.size) {
			detail := ""
			if !inside(*subnet, *s.pods) {
				detail = fmt.Sprintf("%s is not inside %s %s%s.", subnet, s.podCIDR, s.pods, r.elsewhere(s.pods))
			} else if subnet.Bits() != *s.size {
				detail = fmt.Sprintf("%s has a prefix of %d bits; %s is %d%s.", subnet, subnet.Bits(), s.podSubnetSize, *s.size, r.elsewhere(s.size))
			}
			if detail != "" {
				r.report(r.about(advise(invalidPodSubnet.at(at, "%s", detail), "Choose a subnet of %s with %s bits, or leave it out and let kinstall allocate.", s.podCIDR, s.podSubnetSize), subnet))
			}
		}
		for _, other := range fixed {
			if taken := s.subnet(other); taken.Overlaps(*subnet) {
				r.report(r.about(networkOverlap.at(at, "%s overlaps with %s of %s (%s).", subnet, taken, other.called(), r.place(taken)), subnet))
				break
			}
		}
		fixed = append(fixed, h)
	}
}

// inside reports whether every address of p is in outer.
func inside(p, outer netip.Prefix) bool {
	return p.Bits() >= outer.Bits() && outer.Contains(p.Addr())
}

// network holds the pod network to what its kind can do.
func (r *rules) network() {
	n, c := &r.inv.Network, &r.inv.Cluster
	if !r.good(&n.Kind) || !n.Bridged() {
		return
	}
	if r.good(&c.PodCIDR, &c.ServiceCIDR) && !c.PodCIDR.Addr().Is4() && !c.ServiceCIDR.Addr().Is4() {
		r.report(advise(networkFamily.at(r.subject(&c.PodCIDR, c), "pod_cidr is %s; the network %q needs an IPv4 one.", c.PodCIDR, n.Kind),
			"Use network \"external\" with manifests of a network that does IPv6."))
	}
	if n.Kind == NetworkFlannel && r.good(&n.Store) && n.Store == StoreEtcd {
		for _, s := range r.stacks() {
			r.flannelSizes(s)
		}
	}
}

// flannelSizes is flannel's own check of what it finds in etcd.
func (r *rules) flannelSizes(s stack) {
	if !r.hasPods(s) || !r.good(s.size) {
		return
	}
	if lo, hi := s.pods.Bits()+2, s.pods.Addr().BitLen()-2; *s.size < lo || *s.size > hi {
		r.report(advise(networkSize.at(r.eitherOf(s.size, s.pods), "flannel in etcd needs subnets of %d to %d bits in %s %s; %s is %d.", lo, hi, s.podCIDR, s.pods, s.podSubnetSize, *s.size),
			"Choose another %s or a larger %s, or store = %q.", s.podSubnetSize, s.podCIDR, StoreKubernetes))
	}
}

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

// networkSizes holds networks to what Kubernetes can handle: service networks
// have 4 to 20 bits for addresses (the name service takes the tenth address;
// kube-apiserver refuses larger ones), and node subnets have at most 16 bits
// more than the pod network (kube-controller-manager's limit).
func (r *rules) networkSizes() {
	c := &r.inv.Cluster
	if r.good(&c.ServiceCIDR) {
		width := c.ServiceCIDR.Addr().BitLen()
		if free := width - c.ServiceCIDR.Bits(); free < 4 || free > 20 {
			r.report(advise(networkSize.at(r.subject(&c.ServiceCIDR, c), "service_cidr %s has a prefix of %d bits; expected %d to %d.",
				c.ServiceCIDR, c.ServiceCIDR.Bits(), width-20, width-4), "Choose a prefix length from /%d to /%d.", width-20, width-4))
		}
	}
	if !r.good(&c.PodCIDR, &c.PodSubnetSize) {
		return
	}
	width, bits, size := c.PodCIDR.Addr().BitLen(), c.PodCIDR.Bits(), c.PodSubnetSize
	at := r.eitherOf(&c.PodSubnetSize, &c.PodCIDR)
	switch {
	case size > width-2:
		r.report(networkSize.at(at, "Subnets of %d bits have no room for pods; expected at most %d.", size, width-2))
	case size < bits:
		r.report(networkSize.at(at, "A node's subnet (%d bits) would be larger than pod_cidr %s.", size, c.PodCIDR))
	case size > bits+16:
		r.report(advise(networkSize.at(at, "pod_subnet_size is %d, %d more than the prefix of pod_cidr %s; at most 16 more are allowed.", size, size-bits, c.PodCIDR),
			"Choose pod_subnet_size from %d to %d, or a smaller pod_cidr.", bits, min(bits+16, width-2)))
	default:
		r.roomForNodes(bits, size)
		return
	}
	r.bad[&c.PodSubnetSize] = true
}

func (r *rules) roomForNodes(bits, size int) {
	if !r.rolesKnown() {
		return
	}
	nodes, room := 0, 1<<(size-bits)
	for _, h := range r.hosts {
		if h.isNode() {
			nodes++
		}
	}
	c := &r.inv.Cluster
	if nodes > room {
		r.report(podCIDRTooSmall.at(r.eitherOf(&c.PodCIDR, &c.PodSubnetSize), "pod_cidr %s has %d subnets of %d bits, and the inventory %d nodes.",
			c.PodCIDR, room, size, nodes))
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
	pods, services := r.good(&c.PodCIDR), r.good(&c.ServiceCIDR)
	if pods && services && c.PodCIDR.Overlaps(c.ServiceCIDR) {
		at, other := &c.ServiceCIDR, &c.PodCIDR
		if !r.isSet(at) {
			at, other = other, at
		}
		r.report(networkOverlap.at(r.subject(at, c), "pod_cidr %s and service_cidr %s overlap; the other one is %s.", c.PodCIDR, c.ServiceCIDR, r.origin(other)))
	}
	for _, h := range r.hosts {
		if !r.good(&h.Address) {
			continue
		}
		if pods && c.PodCIDR.Contains(h.Address) {
			r.report(r.about(networkOverlap.at(r.of(h, &h.Address), "The address %s of %s lies inside pod_cidr %s%s.", h.Address, h.called(), c.PodCIDR, r.elsewhere(&c.PodCIDR)), &h.Address))
		}
		if services && c.ServiceCIDR.Contains(h.Address) {
			r.report(r.about(networkOverlap.at(r.of(h, &h.Address), "The address %s of %s lies inside service_cidr %s%s.", h.Address, h.called(), c.ServiceCIDR, r.elsewhere(&c.ServiceCIDR)), &h.Address))
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
	c := &r.inv.Cluster
	var fixed []*hostDecl
	for _, h := range r.hosts {
		if !r.isSet(&h.PodSubnet) || !r.good(&h.PodSubnet) {
			continue
		}
		at := r.of(h, &h.PodSubnet)
		if r.good(&h.Roles) && !h.isNode() {
			r.report(r.about(advise(invalidPodSubnet.at(at, "%s runs no pods: it is neither master nor worker.", h.called()), "Leave pod_subnet out."), &h.PodSubnet))
			continue
		}
		if r.good(&c.PodCIDR, &c.PodSubnetSize) {
			if !inside(h.PodSubnet, c.PodCIDR) {
				r.report(r.about(invalidPodSubnet.at(at, "%s is not inside pod_cidr %s%s.", h.PodSubnet, c.PodCIDR, r.elsewhere(&c.PodCIDR)), &h.PodSubnet))
			} else if h.PodSubnet.Bits() != c.PodSubnetSize {
				r.report(r.about(invalidPodSubnet.at(at, "%s has a prefix of %d bits; pod_subnet_size is %d%s.", h.PodSubnet, h.PodSubnet.Bits(), c.PodSubnetSize, r.elsewhere(&c.PodSubnetSize)), &h.PodSubnet))
			}
		}
		for _, other := range fixed {
			if other.PodSubnet.Overlaps(h.PodSubnet) {
				r.report(r.about(networkOverlap.at(at, "%s overlaps with %s of %s (%s).", h.PodSubnet, other.PodSubnet, other.called(), r.place(&other.PodSubnet)), &h.PodSubnet))
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
	// flannel's own check of what it finds in etcd.
	if n.Kind == NetworkFlannel && r.good(&n.Store) && n.Store == StoreEtcd && r.good(&c.PodCIDR, &c.PodSubnetSize) {
		if lo, hi := c.PodCIDR.Bits()+2, 30; c.PodSubnetSize < lo || c.PodSubnetSize > hi {
			r.report(advise(networkSize.at(r.eitherOf(&c.PodSubnetSize, &c.PodCIDR), "flannel in etcd needs subnets of %d to %d bits in pod_cidr %s; pod_subnet_size is %d.", lo, hi, c.PodCIDR, c.PodSubnetSize),
				"Choose another pod_subnet_size or a larger pod_cidr, or store = %q.", StoreKubernetes))
		}
	}
}

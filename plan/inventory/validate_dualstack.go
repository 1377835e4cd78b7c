package inventory

import "github.com/hashicorp/hcl/v2"

// dualStack holds the second address family to be there as a whole or not at
// all, beside an IPv4 one, and where network and runtime can carry it.
func (r *rules) dualStack() {
	c := &r.inv.Cluster
	if !r.good(&c.PodCIDRv6, &c.ServiceCIDRv6) {
		return
	}
	first := r.firstOfDualStack()
	if first == nil {
		return
	}
	const hint = "Dual-stack takes pod_cidr_v6, service_cidr_v6 and the address_v6 of every host that runs containers; without it, leave out all of them."
	for _, a := range []struct {
		name string
		ptr  any
	}{{"pod_cidr_v6", &c.PodCIDRv6}, {"service_cidr_v6", &c.ServiceCIDRv6}} {
		if !r.isSet(a.ptr) {
			r.report(advise(partialDualStack.at(first, "There is no %s in the cluster block.", a.name), hint))
		}
	}
	for _, h := range r.hosts {
		if r.good(&h.Roles, &h.AddressV6) && h.runsContainers() && !r.isSet(&h.AddressV6) {
			r.report(advise(partialDualStack.at(h.header.Ptr(), "%s has no address_v6.", h.called()), hint))
		}
	}
	if !r.isSet(&c.PodCIDRv6) {
		return
	}
	at := r.subject(&c.PodCIDRv6, c)
	if r.good(&c.ServiceCIDR) && c.ServiceCIDR.Addr().Is6() {
		r.report(advise(mixedFamilies.at(at, "pod_cidr_v6 is the second family, beside IPv4; service_cidr %s is IPv6.", c.ServiceCIDR),
			"Give the cluster IPv4 networks beside it, or leave pod_cidr_v6 out."))
	}
	if n := &r.inv.Network; r.good(&n.Kind) && (n.Kind == NetworkBird || n.Kind == NetworkOpenVSwitch) {
		r.report(advise(networkFamily.at(at, "The network %q carries IPv4 only%s.", n.Kind, r.elsewhere(&n.Kind)),
			"Use network %q, %q or %q.", NetworkRoutes, NetworkFlannel, NetworkExternal))
	}
	if rt := &r.inv.Runtime; r.good(&rt.Kind) && rt.Kind == RuntimeDocker {
		r.report(advise(networkFamily.at(at, "With the runtime %q, kinstall gives containers IPv4 addresses only%s.", rt.Kind, r.elsewhere(&rt.Kind)),
			"Use runtime %q.", RuntimeContainerd))
	}
}

// firstOfDualStack points at the first thing that asks for it, nil if nothing does.
func (r *rules) firstOfDualStack() *hcl.Range {
	c := &r.inv.Cluster
	for _, ptr := range []any{&c.PodCIDRv6, &c.ServiceCIDRv6, &c.PodSubnetSizeV6} {
		if r.isSet(ptr) {
			return r.subject(ptr, c)
		}
	}
	for _, h := range r.hosts {
		for _, ptr := range []any{&h.AddressV6, &h.PodSubnetV6} {
			if r.isSet(ptr) {
				return r.of(h, ptr)
			}
		}
	}
	return nil
}

package inventory

import "net/netip"

// tunnels holds the ends of tunnels to being addresses of their own. With a
// datapath in userspace they are kinstall's to set: every host needs one, all in
// one network that leads nowhere else.
func (r *rules) tunnels() {
	c, n := &r.inv.Cluster, &r.inv.Network
	ends := map[netip.Addr]*hostDecl{}
	for _, h := range r.hosts {
		if !r.isSet(&h.TunnelAddress) || !r.good(&h.TunnelAddress) {
			continue
		}
		at, end := r.of(h, &h.TunnelAddress), h.TunnelAddress.Addr()
		if !end.Is4() {
			r.report(r.about(advise(mixedFamilies.at(at, "%s is an %s address; tunnels between pods carry IPv4 in IPv4.", end, family(end)), "Write an IPv4 address."), &h.TunnelAddress))
			continue
		}
		if other := ends[end]; other != nil {
			r.report(r.about(duplicateAddress.at(at, "%s is already the tunnel_address of %s (%s).", end, other.called(), r.place(&other.TunnelAddress)), &h.TunnelAddress))
		}
		ends[end] = h
		for _, other := range r.hosts {
			if other != h && r.good(&other.Address) && other.Address == end {
				r.report(r.about(duplicateAddress.at(at, "%s is the address of %s (%s).", end, other.called(), r.place(&other.Address)), &h.TunnelAddress))
			}
		}
		network := h.TunnelAddress.Masked()
		for _, taken := range []struct {
			name   string
			prefix *netip.Prefix
		}{{"pod_cidr", &c.PodCIDR}, {"service_cidr", &c.ServiceCIDR}} {
			if r.good(taken.prefix) && taken.prefix.Overlaps(network) {
				r.report(r.about(networkOverlap.at(at, "The tunnel_address %s of %s lies in %s, which overlaps with %s %s%s.", end, h.called(), network, taken.name, *taken.prefix, r.elsewhere(taken.prefix)), &h.TunnelAddress))
			}
		}
	}
	if r.good(&n.Kind, &n.Datapath) && n.Kind == NetworkOpenVSwitch && n.Datapath == DatapathUserspace {
		r.tunnelNetwork()
	}
}

// tunnelNetwork is the one that all ends of a userspace datapath are in.
func (r *rules) tunnelNetwork() {
	var first *hostDecl
	for _, h := range r.hosts {
		if !r.good(&h.Roles) || !h.runsContainers() {
			continue
		}
		if !r.isSet(&h.TunnelAddress) {
			r.report(advise(missingAttribute.at(r.of(h, &h.TunnelAddress), "%s has no tunnel_address, which datapath = %q needs.", h.called(), DatapathUserspace),
				"Add it to the host block, like tunnel_address = \"10.92.0.11/24\"."))
			continue
		}
		if !r.good(&h.TunnelAddress) || !h.TunnelAddress.Addr().Is4() {
			continue
		}
		at, network := r.of(h, &h.TunnelAddress), h.TunnelAddress.Masked()
		if first == nil {
			first = h
		}
		if other := first.TunnelAddress.Masked(); other != network {
			r.report(r.about(tunnelNetwork.at(at, "%s is in the network %s, the tunnel_address of %s in %s.", h.TunnelAddress.Addr(), network, first.called(), other), &h.TunnelAddress))
			continue
		}
		for _, other := range r.hosts {
			if r.good(&other.Address) && network.Contains(other.Address) {
				r.report(r.about(tunnelNetwork.at(at, "The network %s of the tunnels holds the address %s of %s.", network, other.Address, other.called()), &h.TunnelAddress))
				break
			}
		}
	}
}

package inventory

import "slices"

// listeners holds the user's own services to ports that are free on the load
// balancer's hosts, and to targets that are there.
func (r *rules) listeners() {
	lb := r.inv.LoadBalancer
	if lb == nil || !r.good(&lb.Kind) {
		return
	}
	seen := map[string]*Listener{}
	ports := map[int]*Listener{}
	for _, l := range lb.Listeners {
		switch lb.Kind {
		case BalancerExternal:
			r.report(advise(foreignAttribute.at(r.subject(l, l), "What a load balancer of yours listens on is not kinstall's to say."), "Remove the block listen."))
			continue
		case BalancerLocal:
			r.report(advise(foreignAttribute.at(r.subject(l, l), "The load balancers of the kind local take connections from their own node alone."), "Remove the block listen, or choose the kind haproxy or nginx, on hosts that you name."))
			continue
		}
		if r.good(&l.Name) {
			if other := seen[l.Name]; other != nil {
				r.report(duplicateBlock.at(r.subject(&l.Name, l), "The listener %q is described at %s already.", l.Name, r.place(&other.Name)))
				continue
			}
			seen[l.Name] = l
		}
		if r.good(&l.Port) {
			r.listenerPort(l, ports)
		}
		r.listenerTargets(l)
	}
}

// listenerPort finds who else listens on a listener's port.
func (r *rules) listenerPort(l *Listener, ports map[int]*Listener) {
	lb, at := r.inv.LoadBalancer, r.subject(&l.Port, l)
	if other := ports[l.Port]; other != nil {
		r.report(portConflict.at(at, "Port %d is that of the listener %q (%s).", l.Port, other.Name, r.place(&other.Port)))
		return
	}
	ports[l.Port] = l
	if r.good(&lb.Port) && l.Port == lb.Port {
		r.report(portConflict.at(at, "Port %d is where the load balancer takes clients of the API%s.", l.Port, r.elsewhere(&lb.Port)))
		return
	}
	for _, name := range lb.Hosts {
		h := r.named(name)
		if h == nil || !r.good(&h.Roles, &h.SSH.Port) {
			continue
		}
		for _, taken := range takenPorts(h) {
			if taken.port == l.Port {
				r.report(portConflict.at(at, "Port %d of %s is used by %s.", l.Port, h.called(), taken.by))
				return
			}
		}
	}
}

// listenerTargets looks for the hosts that a listener leads to.
func (r *rules) listenerTargets(l *Listener) {
	if !r.good(&l.Roles, &l.Labels, &l.Port, &l.TargetPort) || !r.rolesKnown() {
		return
	}
	found := false
	for _, h := range r.hosts {
		if !r.good(&h.Labels, &h.Name) {
			return
		}
		if !l.Takes(Host{Roles: h.Roles, Labels: h.labels()}) {
			continue
		}
		found = true
		if l.Port == l.TargetPort && slices.Contains(r.inv.LoadBalancer.Hosts, h.Name) {
			r.report(advise(invalidListener.at(r.subject(&l.Port, l), "%s is a target of %q and carries the load balancer: both would listen on its port %d.", h.called(), l.Name, l.Port),
				"Set another target_port, or leave that host out by roles or labels."))
			return
		}
	}
	if !found {
		r.report(advise(invalidListener.at(r.subject(l, l), "No host has what %q asks of its targets.", l.Name), "Give hosts these roles and labels, or correct them here."))
	}
}

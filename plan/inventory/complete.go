package inventory

import (
	"slices"
	"time"
)

// ethernetMTU is what interfaces have where nobody chose another.
const ethernetMTU = 1500

// complete fills every default that does not depend on a rule being met; the
// endpoint's is decided in validateEndpoint.
func (d *decoder) complete(root *block, inv *Inventory, hosts []*hostDecl) {
	// First the kind: which other defaults there are depends on it.
	if inv.Runtime.Kind == "" && d.good(&inv.Runtime.Kind) {
		inv.Runtime.Kind = RuntimeContainerd
	}
	d.completeBalancer(inv, hosts)
	for _, b := range root.blocks {
		if b.target == nil || b.many || b.name == "ssh" {
			continue
		}
		if target := b.target(inv, false); target != nil {
			d.defaults(b, target)
		}
	}
	if inv.Audit == nil && inv.Cluster.Hardening == HardeningCIS && slices.ContainsFunc(hosts, func(h *hostDecl) bool { return h.has(RoleMaster) }) {
		inv.Audit = &Audit{}
		d.defaults(auditBlock(), inv.Audit)
	}
	d.completeSSH(&inv.SSH, hosts)
	if inv.Network.Kind == "" && d.good(&inv.Network.Kind) {
		inv.Network.Kind = NetworkRoutes
	}
	if n := &inv.Network; !d.isSet(&n.MTU) && d.good(&n.Kind, &n.Backend, &n.Tunnel, &inv.Cluster.PodCIDRv6) && inv.Overhead() > 0 {
		n.MTU = ethernetMTU - inv.Overhead()
	}
	d.completeCgroupDriver(inv)
	if rt := &inv.Runtime; rt.Kind == RuntimeDocker && !d.isSet(&rt.Version) && !d.isSet(&rt.Package) {
		rt.Package = "docker.io"
	}
	for _, s := range inv.PKI.Signers {
		d.completeSigner(s)
	}
	if lb := inv.LoadBalancer; lb != nil && !d.isSet(&lb.RouterID) && lb.VirtualAddress.IsValid() {
		bytes := lb.VirtualAddress.AsSlice()
		lb.RouterID = max(int(bytes[len(bytes)-1]), 1)
	}
	if lb := inv.LoadBalancer; lb != nil {
		for _, l := range lb.Listeners {
			switch {
			case d.isSet(&l.TargetPort):
			case d.good(&l.Port):
				l.TargetPort = l.Port
			default:
				d.bad[&l.TargetPort] = true
			}
		}
	}
	if e := inv.PKI.Encryption; e != nil {
		if header, ok := d.headers[e]; ok {
			e.Place = place(header)
		}
		if !d.isSet(&e.Passphrase) {
			e.Passphrase = !d.isSet(&e.Recipients)
		}
	}
	c := &inv.Cluster
	if !d.isSet(&c.PodSubnetSize) {
		c.PodSubnetSize = 24
		if !d.good(&c.PodCIDR) {
			d.bad[&c.PodSubnetSize] = true
		} else if c.PodCIDR.Addr().Is6() {
			c.PodSubnetSize = 64
		}
	}
	if !d.isSet(&c.PodSubnetSizeV6) {
		if !d.good(&c.PodCIDRv6) {
			d.bad[&c.PodSubnetSizeV6] = true
		} else if inv.DualStack() {
			c.PodSubnetSizeV6 = 64
		}
	}
	if !d.isSet(&inv.Etcd.Version) {
		switch r, ok := releaseOf(c.Version); {
		case ok && d.good(&c.Version):
			inv.Etcd.Version = r.etcd
		case !d.isSet(&c.Version) && slices.ContainsFunc(hosts, func(h *hostDecl) bool { return h.has(RoleEtcd) }):
			inv.Etcd.Version = releases()[0].etcd // without Kubernetes, or else there is an error
		default:
			d.bad[&inv.Etcd.Version] = true
		}
	}
}

// localFrom is how many masters a cluster has at least that gets a balancer on
// each node unless it says otherwise.
const localFrom = 3

// completeBalancer gives each node a balancer of its own where there are several
// API servers and nobody says what is between them and the nodes. An endpoint of
// the user's own stays what people dial.
func (d *decoder) completeBalancer(inv *Inventory, hosts []*hostDecl) {
	if inv.LoadBalancer != nil || d.hostsUnknown {
		return
	}
	masters := 0
	for _, h := range hosts {
		if h.has(RoleMaster) {
			masters++
		}
	}
	if masters >= localFrom {
		inv.LoadBalancer = &LoadBalancer{Kind: BalancerLocal}
	}
}

// completeCgroupDriver takes the driver from where it was said: the kubelet has
// a setting of its own for it.
func (d *decoder) completeCgroupDriver(inv *Inventory) {
	driver := &inv.Runtime.CgroupDriver
	if d.isSet(driver) || !d.good(driver, &inv.Kubelet.Settings) {
		return
	}
	*driver = CgroupSystemd
	if said, ok := inv.Kubelet.Settings["cgroupDriver"].(string); ok {
		*driver = said
	}
}

func (d *decoder) completeSigner(s *Signer) {
	s.Dir = d.env.dir
	if header, ok := d.headers[s]; ok {
		s.Place = place(header)
	}
	if !d.isSet(&s.Authorities) {
		s.Authorities = signedAuthorities()
	}
	if !d.isSet(&s.Timeout) {
		s.Timeout = 30 * time.Second
	}
}

package inventory

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/kinstall/kinstall/plan/spelling"
)

// rules are those over more than one field. Each looks only at fields that
// are good, so that one mistake is reported once.
type rules struct {
	*decoder
	inv   *Inventory
	hosts []*hostDecl
}

func (d *decoder) validate(inv *Inventory, hosts []*hostDecl, body *hclsyntax.Body) {
	r := &rules{decoder: d, inv: inv, hosts: hosts}
	if len(hosts) == 0 && !d.hostsUnknown {
		r.report(noHosts.at(startOf(body.SrcRange.Filename).Ptr(), "No host block gives a host."))
		d.hostsUnknown = true
	}
	r.uniqueHosts()
	r.roles()
	r.kubernetes()
	r.etcd()
	r.families()
	r.dualStack()
	r.networkSizes()
	r.network()
	r.overlaps()
	r.upstreams()
	r.podSubnets()
	r.tunnels()
	r.sshPorts()
	r.loadBalancer()
	r.virtualAddress()
	r.listeners()
	r.endpoint()
	r.certificates()
	r.signers()
	r.encryption()
	r.runtime()
	r.sysctls()
	r.artifacts()
}

// subject points at a field's value, or an element of it; when the field was
// not written, at the header of the block it would stand in.
func (r *rules) subject(ptr, target any, path ...any) *hcl.Range {
	if o, ok := r.src[ptr]; ok {
		return o.at(path...)
	}
	if header, ok := r.headers[target]; ok {
		return &header
	}
	return nil
}

// of points at a host's field, at its block when the field was not written.
func (r *rules) of(h *hostDecl, ptr any, path ...any) *hcl.Range {
	if o, ok := r.src[ptr]; ok {
		return o.at(path...)
	}
	return h.header.Ptr()
}

// about attaches the expression, so that the message shows which host of a
// group it is.
func (r *rules) about(diag *hcl.Diagnostic, ptr any) *hcl.Diagnostic {
	if o, ok := r.src[ptr]; ok && o.expr != nil {
		diag.Expression, diag.EvalContext = o.expr, o.ctx
	}
	return diag
}

func (r *rules) uniqueHosts() {
	names := make(map[string]*hostDecl)
	addresses := make(map[netip.Addr]addressHolder)
	for _, h := range r.hosts {
		if r.good(&h.Name) {
			if other := names[h.Name]; other != nil {
				r.report(r.about(duplicateName.at(r.of(h, &h.Name), "%q is already the name of the host at %s.", h.Name, place(*r.of(other, &other.Name))), &h.Name))
			} else {
				names[h.Name] = h
			}
		}
		for _, address := range []*netip.Addr{&h.Address, &h.AddressV6} {
			if !r.good(address) || !address.IsValid() {
				continue
			}
			if holder := addresses[*address]; holder.host != nil {
				r.report(r.about(duplicateAddress.at(r.of(h, address), "%s is already the address of %s (%s).", address, holder.host.called(), r.place(holder.field)), address))
			} else {
				addresses[*address] = addressHolder{h, address}
			}
		}
	}
}

// addressHolder is a host that has an address, and the field that says so.
type addressHolder struct {
	host  *hostDecl
	field *netip.Addr
}

// rolesKnown says that hosts and their roles may be counted.
func (r *rules) rolesKnown() bool {
	return !r.hostsUnknown && !slices.ContainsFunc(r.hosts, func(h *hostDecl) bool { return !r.good(&h.Roles) })
}

func (r *rules) with(role string) []*hostDecl {
	var hosts []*hostDecl
	for _, h := range r.hosts {
		if h.has(role) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

func (r *rules) roles() {
	for _, h := range r.hosts {
		if !r.good(&h.Roles) {
			continue
		}
		if h.has(RoleMaster) && h.has(RoleWorker) {
			r.report(r.about(roleConflict.at(r.of(h, &h.Roles), "%s is both master and worker.", h.called()), &h.Roles))
		}
		if h.has(RoleContainer) && h.isNode() {
			r.report(r.about(advise(roleConflict.at(r.of(h, &h.Roles), "%s is a node and has the role \"container\".", h.called()),
				"Remove \"container\"; nodes run containers anyway."), &h.Roles))
		}
		if len(h.Roles) == 0 && !r.carriesBalancer(h) {
			r.report(idleHost.at(r.of(h, &h.Roles), "%s has no role.", h.called()))
		}
	}
	for _, h := range r.hosts {
		if r.good(&h.Roles, &h.State) && r.isSet(&h.State) && h.State != StateActive && !h.isNode() {
			r.report(r.about(stateOfNoNode.at(r.of(h, &h.State), "%s is %s, and no node: it has neither the role \"worker\" nor \"master\".", h.called(), h.State), &h.State))
		}
	}
	if r.rolesKnown() && !r.standalone() && len(r.with(RoleMaster)) == 0 {
		r.report(noMaster.at(r.subject(nil, &r.inv.Cluster), "No host has the role \"master\"."))
	}
}

// carriesBalancer also says yes when it can't be told.
func (r *rules) carriesBalancer(h *hostDecl) bool {
	lb := r.inv.LoadBalancer
	return lb != nil && (!r.good(&lb.Kind, &lb.Hosts, &h.Name) || slices.Contains(lb.Hosts, h.Name))
}

func (r *rules) etcd() {
	e := &r.inv.Etcd
	if r.good(&e.Version, &r.inv.Cluster.Version) {
		if f := etcdFits(e.Version, r.inv.Cluster.Version); f != nil {
			r.report(advise(f.mistake.at(r.subject(&e.Version, e), "%s", f.detail), "%s", f.hint))
		}
	}
	if !r.rolesKnown() || r.standalone() && !r.flannelInEtcd() {
		return
	}
	members := r.with(RoleEtcd)
	switch n := len(members); {
	case n == 0:
		r.report(noEtcd.at(r.subject(nil, &r.inv.Cluster), "No host has the role \"etcd\"."))
		return
	case n > 7:
		r.report(manyEtcd.at(r.of(members[n-1], &members[n-1].Roles), "%s is the %dth etcd member.", members[n-1].called(), n))
	case n%2 == 0:
		r.report(evenEtcd.at(r.of(members[n-1], &members[n-1].Roles), "%d hosts have the role \"etcd\": %s; %d members tolerate no more failures than %d.", n, listHosts(members), n, n-1))
	}
	for _, h := range r.with(RoleMaster) {
		reachable := slices.ContainsFunc(members, func(m *hostDecl) bool {
			return !r.good(&h.Address, &m.Address) || m.Address.Is4() == h.Address.Is4()
		})
		if !reachable {
			r.report(r.about(etcdUnreachable.at(r.of(h, &h.Address), "%s has the %s address %s; no etcd member has one of that family.", h.called(), family(h.Address), h.Address), &h.Address))
		}
	}
}

func listHosts(hosts []*hostDecl) string {
	const limit = 8
	text := ""
	for i, h := range hosts {
		if i == limit {
			return text + fmt.Sprintf(" and %d more", len(hosts)-limit)
		}
		if i > 0 {
			text += ", "
		}
		text += h.Name
	}
	return text
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func (r *rules) certificates() {
	c := &r.inv.Cluster
	if r.good(&c.CertValidity, &c.CertRenewBefore) && c.CertRenewBefore >= c.CertValidity {
		at := r.subject(&c.CertRenewBefore, c)
		if !r.isSet(&c.CertRenewBefore) {
			at = r.subject(&c.CertValidity, c)
		}
		r.report(renewWindow.at(at, "Certificates are valid for %s and due for renewal %s before that ends.",
			durationText(c.CertValidity), durationText(c.CertRenewBefore)))
	}
	if r.good(&c.CertValidity, &c.CAValidity) && c.CertValidity > c.CAValidity {
		at := r.subject(&c.CertValidity, c)
		if !r.isSet(&c.CertValidity) {
			at = r.subject(&c.CAValidity, c)
		}
		r.report(renewWindow.at(at, "Certificates would be valid for %s, their authorities only for %s.",
			durationText(c.CertValidity), durationText(c.CAValidity)))
	}
}

// Sysctl is a kernel setting.
type Sysctl struct{ Name, Value string }

// ContainerSysctls are what hosts that run containers need of the kernel, as
// Kubernetes asks of a node
// (https://kubernetes.io/docs/setup/production-environment/container-runtimes/).
func (inv *Inventory) ContainerSysctls() []Sysctl {
	needed := []Sysctl{
		{"net.bridge.bridge-nf-call-ip6tables", "1"},
		{"net.bridge.bridge-nf-call-iptables", "1"},
		{"net.ipv4.ip_forward", "1"},
	}
	if inv.Network.Kind == NetworkOpenVSwitch {
		// Packets leave by the bridge they came from: no pod is to be told that
		// there is a shorter way, which would lead past the firewall. The kernel
		// does so unless both this and the bridge's own setting say no.
		needed = append(needed, Sysctl{"net.ipv4.conf.all.send_redirects", "0"})
	}
	return needed
}

// KubeletSysctls are the kernel settings that a kubelet which protects them wants
// to find, and would set itself otherwise; none where the user has it so.
func (inv *Inventory) KubeletSysctls() []Sysctl {
	if inv.Cluster.Hardening != HardeningCIS || inv.Kubelet.Settings["protectKernelDefaults"] == false || inv.Kubelet.Args["protect-kernel-defaults"] == "false" {
		return nil
	}
	return []Sysctl{
		{"kernel.keys.root_maxbytes", "25000000"},
		{"kernel.keys.root_maxkeys", "1000000"},
		{"kernel.panic", "10"},
		{"kernel.panic_on_oops", "1"},
		{"vm.overcommit_memory", "1"},
		{"vm.panic_on_oom", "0"},
	}
}

// sysctls refuses values that would stop pods' packets, or kubelets.
func (r *rules) sysctls() {
	p := &r.inv.Preparation
	if !r.good(&p.Sysctls, &r.inv.Network.Kind, &r.inv.Cluster.PodCIDRv6) || !slices.ContainsFunc(r.hosts, (*hostDecl).runsContainers) {
		return
	}
	needed := append(r.inv.ContainerSysctls(), Sysctl{"net.ipv4.conf.all.forwarding", "1"}) // ip_forward by another name
	if r.inv.DualStack() && r.inv.Network.Bridged() {
		needed = append(needed, Sysctl{"net.ipv6.conf.all.forwarding", "1"})
	}
	var kubelets []Sysctl
	if r.good(&r.inv.Cluster.Hardening, &r.inv.Kubelet.Settings, &r.inv.Kubelet.Args) && slices.ContainsFunc(r.hosts, func(h *hostDecl) bool { return h.has(RoleMaster) }) {
		kubelets = r.inv.KubeletSysctls()
	}
	for _, key := range slices.Sorted(maps.Keys(p.Sysctls)) {
		for _, s := range kubelets {
			if strings.ReplaceAll(key, "/", ".") == s.Name && p.Sysctls[key] != s.Value {
				r.report(advise(invalidSysctl.at(r.subject(&p.Sysctls, p, key), "%s must be %s: kubelets refuse to start with anything else.", s.Name, s.Value),
					"Leave it out; or have kubelets not look (kubelet.settings = { protectKernelDefaults = false }), and set it themselves."))
			}
		}
		for _, s := range needed {
			if strings.ReplaceAll(key, "/", ".") == s.Name && p.Sysctls[key] != s.Value {
				r.report(advise(invalidSysctl.at(r.subject(&p.Sysctls, p, key), "%s must be %s where containers run: pods' packets pass by it.", s.Name, s.Value),
					"Leave it out."))
			}
		}
	}
}

// artifacts refuses digests of what does not exist: a misspelt name would pin
// nothing.
func (r *rules) artifacts() {
	a := &r.inv.Artifacts
	if !r.good(&a.SHA256, &a.Images) {
		return
	}
	names := releaseNames()
	for reference := range a.Images {
		names = append(names, "image/"+reference)
	}
	slices.Sort(names)
	for _, name := range slices.Sorted(maps.Keys(a.SHA256)) {
		if slices.Contains(names, name) {
			continue
		}
		diag := unknownChoice.at(r.subject(&a.SHA256, a, name), "There is no artifact %q.", name)
		if near := spelling.Nearest(name, names); near != "" {
			diag = advise(diag, "Did you mean %q?", near)
		} else {
			diag = advise(diag, "The artifacts are: %s.", strings.Join(names, ", "))
		}
		r.report(diag)
	}
}

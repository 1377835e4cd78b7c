package inventory

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxGroup bounds one host group.
const maxGroup = 10000

// The default label and taint of masters, as kubeadm has them.
const controlPlane = "node-role.kubernetes.io/control-plane"

func controlPlaneTaint() Taint { return Taint{Key: controlPlane, Effect: "NoSchedule"} }

// hostDecl is a host as it is written: labels may be null, and what it says
// of ssh is only what differs.
type hostDecl struct {
	Name        string
	Address     netip.Addr
	AddressV6   netip.Addr
	Roles       []string
	Labels      map[string]*string
	Taints      []Taint
	State       string
	PodSubnet   netip.Prefix
	PodSubnetV6 netip.Prefix
	SSH         SSH

	TunnelAddress netip.Prefix

	header hcl.Range
}

func (h *hostDecl) has(role string) bool { return slices.Contains(h.Roles, role) }
func (h *hostDecl) isNode() bool         { return h.has(RoleMaster) || h.has(RoleWorker) }
func (h *hostDecl) runsContainers() bool { return h.isNode() || h.has(RoleContainer) }

// member is one element of a host group.
type member struct {
	suffix string // "" for a host that is no group
	scope  scope
	origin origin // what decides about the name
}

// hosts decodes all host blocks, groups expanded in place.
func (d *decoder) hosts(body *hclsyntax.Body, sc scope) []*hostDecl {
	var hosts []*hostDecl
	b := hostBlock()
	for _, blk := range body.Blocks {
		if blk.Type != b.name {
			continue
		}
		if len(blk.Labels) != 1 {
			d.hostsUnknown = true // reported with the labels
			continue
		}
		members, ok := d.members(blk, sc)
		if !ok {
			d.hostsUnknown = true
		}
		for _, m := range members {
			hosts = append(hosts, d.host(b, blk, m))
		}
	}
	return hosts
}

// members evaluates count or for_each; not ok means that it was reported why
// they are not known.
func (d *decoder) members(blk *hclsyntax.Block, sc scope) (members []member, ok bool) {
	count, forEach := blk.Body.Attributes["count"], blk.Body.Attributes["for_each"]
	single := []member{{scope: sc, origin: origin{rng: blk.LabelRanges[0]}}}
	switch {
	case count != nil && forEach != nil:
		d.report(conflictingAttributes.at(forEach.Range().Ptr(), "for_each and count exclude each other; count is set at %s.", place(count.Range())))
		return nil, false
	case count != nil:
		v, ok := d.eval(count.Expr, sc)
		if !ok || !v.IsKnown() {
			return nil, false
		}
		if v.IsNull() {
			return single, true
		}
		n, f := groupSize(v)
		if f != nil {
			d.report(f.mistake.at(count.Expr.Range().Ptr(), "%s", f.detail))
			return nil, false
		}
		for i := range n {
			index := cty.ObjectVal(map[string]cty.Value{"index": cty.NumberIntVal(i)})
			inner := sc.instance("count", index)
			members = append(members, member{strconv.FormatInt(i, 10), inner, origin{count.Expr.Range(), count.Expr, inner.ctx}})
		}
		return members, true
	case forEach != nil:
		v, ok := d.eval(forEach.Expr, sc)
		if !ok || !v.IsKnown() {
			return nil, false
		}
		if v.IsNull() {
			return single, true
		}
		return d.eachMember(forEach, v, sc)
	}
	return single, true
}

func groupSize(v cty.Value) (int64, *fault) {
	if v.Type() != cty.Number {
		return 0, faultf(invalidGroup, "count is %s, not a number.", typeName(v.Type()))
	}
	n, f := wholeNumber(v, 0, maxGroup)
	if f != nil {
		return 0, faultf(invalidGroup, "count is %s, not a whole number from 0 to %d.", v.AsBigFloat().Text('g', 10), maxGroup)
	}
	return n, nil
}

func (d *decoder) eachMember(forEach *hclsyntax.Attribute, v cty.Value, sc scope) ([]member, bool) {
	t := v.Type()
	keyed := t.IsMapType() || t.IsObjectType()
	if !keyed && !t.IsSetType() && !t.IsListType() && !t.IsTupleType() {
		d.report(invalidGroup.at(forEach.Expr.Range().Ptr(), "for_each is %s, not a map, set or list.", typeName(t)))
		return nil, false
	}
	if v.LengthInt() > maxGroup {
		d.report(invalidGroup.at(forEach.Expr.Range().Ptr(), "for_each has %d elements; at most %d are allowed.", v.LengthInt(), maxGroup))
		return nil, false
	}
	var members []member
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		if !keyed {
			key = value
		}
		if !key.IsKnown() {
			return nil, false
		}
		if key.IsNull() || key.Type() != cty.String {
			d.report(invalidGroup.at(forEach.Expr.Range().Ptr(), "for_each has an element that is %s, not text.", typeName(key.Type())))
			return nil, false
		}
		inner := sc.instance("each", cty.ObjectVal(map[string]cty.Value{"key": key, "value": value}))
		members = append(members, member{key.AsString(), inner, origin{forEach.Expr.Range(), forEach.Expr, inner.ctx}})
	}
	return members, true
}

// host decodes one host, or one of a group.
func (d *decoder) host(b *block, blk *hclsyntax.Block, m member) *hostDecl {
	h := &hostDecl{header: blk.DefRange()}
	name := cty.StringVal(blk.Labels[0])
	if m.suffix != "" {
		name = cty.StringVal(blk.Labels[0] + "-" + m.suffix)
	}
	d.src[&h.Name] = m.origin
	if a := blk.Body.Attributes["name"]; a != nil {
		v, ok := d.eval(a.Expr, m.scope)
		switch {
		case !ok || !v.IsWhollyKnown():
			d.bad[&h.Name] = true
		case !v.IsNull():
			d.src[&h.Name] = origin{a.Expr.Range(), a.Expr, m.scope.ctx}
			name = v
		}
	}
	if d.good(&h.Name) {
		nameAttr, _ := b.attr("name")
		d.store(nameAttr.kind, name, &h.Name)
	}
	d.body(b, blk.Body, blk.DefRange(), h, m.scope)
	return h
}

// completeSSH fills the common ssh block and then each host's, from what the
// host says, what the common block says and the defaults, in this order. What
// depends on other fields (agent, become, the bastion) is decided last.
func (d *decoder) completeSSH(common *SSH, hosts []*hostDecl) {
	b := sshBlock(false)
	for _, h := range hosts {
		for _, a := range b.attrs {
			mine, theirs := a.field(&h.SSH), a.field(common)
			if !d.isSet(mine) && d.isSet(theirs) {
				copyField(mine, theirs)
				d.src[mine] = d.src[theirs]
				d.bad[mine] = d.bad[theirs]
			}
		}
	}
	d.finishSSH(b, common)
	for _, h := range hosts {
		written := h.SSH.Bastion != nil
		d.finishSSH(b, &h.SSH)
		if !written {
			h.SSH.Bastion = common.Bastion
		}
	}
}

func (d *decoder) finishSSH(b *block, ssh *SSH) {
	d.defaults(b, ssh)
	if !d.isSet(&ssh.Agent) {
		ssh.Agent = len(ssh.KeyFiles) == 0
	}
	if !d.isSet(&ssh.Become) {
		ssh.Become = ssh.User != "root"
	}
	jump := ssh.Bastion
	if jump == nil {
		return
	}
	if !d.isSet(&jump.User) {
		jump.User = ssh.User
	}
	if !d.isSet(&jump.KeyFiles) {
		jump.KeyFiles = ssh.KeyFiles
	}
	if !d.isSet(&jump.KnownHosts) {
		jump.KnownHosts = ssh.KnownHosts
	}
	if jump.Address == "" && d.good(&jump.Address) {
		ssh.Bastion = nil
	}
}

// resolve turns a declaration into the host that others see.
func (h *hostDecl) resolve(d *decoder) Host {
	host := Host{
		Name:        h.Name,
		Address:     h.Address,
		AddressV6:   h.AddressV6,
		Roles:       h.Roles,
		Taints:      h.Taints,
		State:       h.State,
		PodSubnet:   h.PodSubnet,
		PodSubnetV6: h.PodSubnetV6,
		SSH:         h.SSH,

		TunnelAddress: h.TunnelAddress,
	}
	if h.isNode() && host.State == "" {
		host.State = StateActive
	}
	if h.has(RoleMaster) && !d.isSet(&h.Taints) {
		host.Taints = []Taint{controlPlaneTaint()}
	}
	host.Labels = h.labels()
	return host
}

// labels are all of the host's, those that it has by default among them; nil for none.
func (h *hostDecl) labels() map[string]string {
	labels := make(map[string]string)
	if h.has(RoleMaster) {
		labels[controlPlane] = ""
	}
	for key, value := range h.Labels {
		if value != nil {
			labels[key] = *value
		} else {
			delete(labels, key)
		}
	}
	if len(labels) == 0 {
		return nil
	}
	return labels
}

// declare is resolve's inverse: what has to be written to get this host.
func declare(host Host) *hostDecl {
	h := &hostDecl{
		Name:        host.Name,
		Address:     host.Address,
		AddressV6:   host.AddressV6,
		Roles:       host.Roles,
		Labels:      make(map[string]*string),
		Taints:      host.Taints,
		State:       host.State,
		PodSubnet:   host.PodSubnet,
		PodSubnetV6: host.PodSubnetV6,
		SSH:         host.SSH,

		TunnelAddress: host.TunnelAddress,
	}
	for key, value := range host.Labels {
		h.Labels[key] = &value
	}
	if _, ok := h.Labels[controlPlane]; !ok && host.Has(RoleMaster) {
		h.Labels[controlPlane] = nil
	}
	return h
}

// called names a host in a message, also when its name is wrong.
func (h *hostDecl) called() string {
	if h.Name == "" {
		return fmt.Sprintf("the host at %s", place(h.header))
	}
	return fmt.Sprintf("host %q", h.Name)
}

package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	// KeepalivedUnit moves the virtual address between the load balancer's hosts.
	KeepalivedUnit = "keepalived.service"

	keepalivedConfig = "/etc/keepalived/keepalived.conf"
	// keepalivedAuth is a line of the configuration that nobody but root may read.
	keepalivedAuth   = "/etc/keepalived/kinstall-password.conf"
	keepalivedScript = "/usr/local/lib/kinstall/keepalived.sh"
	// keepalivedInterface is written on the host when keepalived is started, so that
	// an interface may get another name.
	keepalivedInterface = runDirectory + "/keepalived-interface.conf"
	runDirectory        = "/run/kinstall"
)

// onVirtualAddress are hosts that may get the virtual address.
func onVirtualAddress(inv *inventory.Inventory, h inventory.Host) bool {
	return inv.VirtualAddress().IsValid() && inv.Balances(h.Name)
}

// virtualAddress adds keepalived, which gives the virtual address to another host
// of the load balancer when the one that has it fails.
//
// Adverts go to the other hosts by name, not to everybody on the link, and are
// believed from them alone. VRRP's password, which only its version 2 has, keeps
// two clusters from each other that were given one router ID by mistake; it is
// no protection from somebody who listens. Version 3 is for IPv6, where there is
// no version 2.
func (c *compiler) virtualAddress(h inventory.Host, b balancerKind) {
	if !onVirtualAddress(c.inventory, h) {
		return
	}
	lb := c.inventory.LoadBalancer
	packages := c.packages(h.Name, "keepalived", "iproute2")
	var peers []string
	for _, other := range c.balancers() {
		if other.Name != h.Name {
			peers = append(peers, other.Address.String())
		}
	}
	slices.Sort(peers)

	script := c.templates.file(keepalivedScript, c.templates.Render(keepalivedScript[1:], map[string]any{
		"Own": h.Address.String(), "RunDirectory": runDirectory, "InterfaceFile": keepalivedInterface,
		"Connect": fmt.Sprintf(": </dev/tcp/127.0.0.1/%d", lb.Port),
	}))
	script.Mode = 0o755
	c.directory(h.Name, "/usr/local/lib/kinstall", 0o755)
	c.add(h.Name, script, c.parents(h.Name, script.Path))
	dropIn := c.content(h.Name, "/etc/systemd/system/"+KeepalivedUnit+".d/kinstall.conf",
		c.templates.Render("etc/systemd/system/keepalived.conf", map[string]any{"Script": keepalivedScript}))

	c.directory(h.Name, "/etc/keepalived", 0o755, packages)
	data := map[string]any{
		"Host": h.Name, "Version": 3, "Script": keepalivedScript, "InterfaceFile": keepalivedInterface, "PasswordFile": "",
		"RouterID": lb.RouterID, "Priority": priority(lb, h.Name), "Own": h.Address.String(), "Peers": peers, "Address": lb.VirtualAddress.String(),
	}
	inputs := []resource.Input{resource.Package{Name: "keepalived"}, script, dropIn}
	before := [][]StepID{packages, step(h.Name, script)}
	reload := []resource.ID{script.ID()}
	if lb.VirtualAddress.Is4() {
		data["Version"], data["PasswordFile"] = 2, keepalivedAuth
		password := resource.AuthorityFile{
			Authority: AuthorityServiceAccount, Part: resource.PartVRRPPassword, Path: keepalivedAuth,
			SHA256: c.authorities.SHA256(AuthorityServiceAccount, resource.PartVRRPPassword),
		}
		c.add(h.Name, password, step(Operator, resource.Authority{Name: AuthorityServiceAccount}), c.parents(h.Name, password.Path))
		before = append(before, step(h.Name, password))
		inputs, reload = append(inputs, password), append(reload, password.ID())
	}
	config := c.tested(h.Name, keepalivedConfig, resource.KeepalivedTest, data, before...)
	inputs, reload = append(inputs, config), append(reload, config.ID())
	c.serving(h.Name, resource.Unit{Name: KeepalivedUnit, Inputs: inputs, ReloadOn: reload},
		c.virtualAddressRollout(h), inputSteps(h.Name, inputs), step(h.Name, resource.Unit{Name: b.unit}))
}

// balancers are the hosts that carry the load balancer, in the order of its block.
func (c *compiler) balancers() []inventory.Host {
	var hosts []inventory.Host
	if c.inventory.LoadBalancer == nil {
		return nil
	}
	for _, name := range c.inventory.LoadBalancer.Hosts {
		if h, ok := c.inventory.Host(name); ok {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// priority is the higher the earlier a host stands in the block: who has the
// address first, and who gets it next, is said there.
func priority(lb *inventory.LoadBalancer, host string) int {
	const highest, step = 250, 10
	return highest - step*slices.Index(lb.Hosts, host)
}

// virtualAddressRollout changes a host while another one could take the address.
func (c *compiler) virtualAddressRollout(h inventory.Host) Rollout {
	vip := c.inventory.VirtualAddress()
	return Rollout{
		Group:  groupVirtualAddress,
		Before: []resource.Check{{Kind: resource.CheckVirtualAddressWithout, Host: h.Name, Text: fmt.Sprintf("another host can have %s", vip)}},
		After:  []resource.Check{unitRuns(h.Name, KeepalivedUnit), {Kind: resource.CheckVirtualAddress, Host: h.Name, Text: fmt.Sprintf("/readyz at %s", vip)}},
	}
}

// virtualAddressGate sees in the end that no two hosts have the address: until all
// of them have taken up another router ID, say, two do.
func (c *compiler) virtualAddressGate() {
	vip := c.inventory.VirtualAddress()
	if !vip.IsValid() {
		return
	}
	gate := resource.Gate{Check: resource.Check{Kind: resource.CheckVirtualAddress, Text: fmt.Sprintf("one host has %s", vip)}}
	var after [][]StepID
	for _, h := range c.balancers() {
		gate.Watches = append(gate.Watches, resource.Process{Host: h.Name, Unit: KeepalivedUnit})
		after = append(after, step(h.Name, resource.Unit{Name: KeepalivedUnit}))
	}
	sortWatches(gate.Watches)
	c.add(Cluster, gate, after...)
}

// checkVirtualAddress finds a virtual address that is not of the host's networks,
// and one that a machine has which is none of the load balancer's. As long as one
// of those may have it, nobody else is suspected.
//
// Whether somebody on the link has the same router ID can't be seen from here, and
// does no harm: adverts are sent to the other hosts alone, and believed from them
// alone.
func checkVirtualAddress(inv *inventory.Inventory, host inventory.Host, observed Observed, unreachable map[string]error) []Problem {
	if !onVirtualAddress(inv, host) {
		return nil
	}
	vip, facts := inv.VirtualAddress(), observed.facts(host.Name)
	var networks []string
	inside := false
	for _, text := range facts.Host.Networks {
		// An address alone, as the virtual one itself, is no network.
		if network, err := netip.ParsePrefix(text); err == nil && !network.IsSingleIP() {
			networks = append(networks, text)
			inside = inside || network.Contains(vip)
		}
	}
	if len(networks) > 0 && !inside {
		return []Problem{{host.Name, fmt.Sprintf("load_balancer.vip is %s, which is of none of its networks (%s)", vip, strings.Join(networks, ", ")),
			"choose a free address of the network that the load balancer's hosts are on"}}
	}
	for _, name := range inv.LoadBalancer.Hosts {
		if unreachable[name] != nil || slices.Contains(observed.facts(name).Host.Addresses, vip.String()) {
			return nil
		}
	}
	found, err := facts.Neighbor(vip.String())
	if err != nil || found.MAC == "" {
		return nil
	}
	return []Problem{{host.Name, fmt.Sprintf("another machine, with the MAC address %s, has load_balancer.vip %s", found.MAC, vip),
		"choose a free address, or take it from that machine; `ip neigh` and the switches say where it is"}}
}

// addressFirst has a living cluster's hosts go on dialling what they dialled before
// until the virtual address is there, and every API server's certificate names it.
func (d *Delta) addressFirst(o order) {
	inv := d.Plan.Inventory
	vip := inv.VirtualAddress()
	if !vip.IsValid() || !d.living() {
		return
	}
	for _, name := range inv.LoadBalancer.Hosts {
		if slices.Contains(d.Observed.facts(name).Host.Addresses, vip.String()) {
			return
		}
	}
	gate := NewStepID(Cluster, resource.Gate{Check: resource.Check{Kind: resource.CheckVirtualAddress}}.ID())
	certificate := resource.Certificate{Path: APIServerCertificate}.ID()
	before := []StepID{}
	for _, item := range d.Items {
		if id := item.Step.ID(); id == gate || item.Step.Resource.ID() == certificate && item.Change.Changes() {
			before = append(before, id)
		}
	}
	if !slices.Contains(before, gate) {
		return // its hosts can't be reached
	}
	dial := []string{groupControllers, groupMasterKubelets, groupWorkerKubelets, groupProxies}
	for _, item := range d.Items {
		if !item.Change.Changes() || item.Change.Action == resource.Create {
			continue
		}
		_, block := item.Step.Resource.(resource.Block)
		if r := item.Step.Rollout; block || r != nil && slices.Contains(dial, r.Group) {
			o.wait(item.Step.ID(), before...)
		}
	}
}

// living reports whether an API server runs that was seen to work.
func (d *Delta) living() bool {
	server := resource.StaticPod{Name: apiServerPod, Path: ManifestDirectory + "/" + apiServerPod + ".yaml"}
	return slices.ContainsFunc(d.Plan.Inventory.With(inventory.RoleMaster), func(h inventory.Host) bool {
		facts := d.Observed.facts(h.Name)
		return serves(server, facts) && proven(server, facts)
	})
}

// holdersLast has the host that has the virtual address wait until the others
// have been changed: it moves once at most.
func (d *Delta) holdersLast(o order) {
	inv := d.Plan.Inventory
	vip := inv.VirtualAddress()
	if !vip.IsValid() {
		return
	}
	unit := resource.Unit{Name: KeepalivedUnit}.ID()
	var holders, others []StepID
	for _, item := range d.Items {
		if item.Step.Resource.ID() != unit || !item.Change.Changes() {
			continue
		}
		if slices.Contains(d.Observed.facts(item.Step.Host).Host.Addresses, vip.String()) {
			holders = append(holders, item.Step.ID())
		} else {
			others = append(others, item.Step.ID())
		}
	}
	slices.SortFunc(others, func(a, b StepID) int { return strings.Compare(string(a), string(b)) })
	for _, holder := range holders {
		o.wait(holder, others...)
	}
}

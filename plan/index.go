package plan

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/kinstall/kinstall/plan/inventory"
)

// index is what is looked up in a plan for one host after the other, found out
// once: going through all steps or hosts for each host takes their square.
type index struct {
	hosts  []string         // that have steps, in inventory order
	steps  map[string][]int // places in Plan.Steps, by host
	places map[string]int   // of hosts in the inventory, by name
	etcd   bool             // a host has the role
	ring   ring
	// Places in Plan.Addresses, by pod subnet and by host.
	rows     map[string][]int
	hostRows map[string]int

	mu      sync.Mutex
	outside map[netip.Prefix][]int // hosts with containers outside of a network, see outsideOf
}

// look returns the plan's index. The steps must not change any more.
func (p *Plan) look() *index {
	p.indexed.Do(func() {
		x := &index{
			steps: map[string][]int{}, places: make(map[string]int, len(p.Inventory.Hosts)), ring: newRing(p.Inventory),
			rows: make(map[string][]int, len(p.Addresses)), hostRows: make(map[string]int, len(p.Addresses)), outside: map[netip.Prefix][]int{},
		}
		for i := range p.Steps {
			x.steps[p.Steps[i].Host] = append(x.steps[p.Steps[i].Host], i)
		}
		for i := range p.Inventory.Hosts {
			name := p.Inventory.Hosts[i].Name
			x.places[name] = i
			x.etcd = x.etcd || p.Inventory.Hosts[i].Has(inventory.RoleEtcd)
			if len(x.steps[name]) > 0 {
				x.hosts = append(x.hosts, name)
			}
		}
		for i := range p.Addresses {
			x.rows[p.Addresses[i].PodSubnet] = append(x.rows[p.Addresses[i].PodSubnet], i)
			x.hostRows[p.Addresses[i].Host] = i
		}
		p.index = x
	})
	return p.index
}

// host returns the inventory's host of that name.
func (p *Plan) host(name string) (inventory.Host, bool) {
	i, ok := p.look().places[name]
	if !ok {
		return inventory.Host{}, false
	}
	return p.Inventory.Hosts[i], true
}

// addressRow returns a host's line of the address plan.
func (p *Plan) addressRow(host string) (AddressRow, bool) {
	i, ok := p.look().hostRows[host]
	if !ok {
		return AddressRow{}, false
	}
	return p.Addresses[i], true
}

// outsideOf returns the hosts with containers whose address of the network's
// family is not in the network, as places in the inventory. Hosts of one link
// have one network, so that few are looked at.
func (p *Plan) outsideOf(network netip.Prefix) []int {
	x := p.look()
	x.mu.Lock()
	defer x.mu.Unlock()
	found, known := x.outside[network]
	if !known {
		for i := range p.Inventory.Hosts {
			h := &p.Inventory.Hosts[i]
			if h.RunsContainers() && !network.Contains(addressLike(h, network.Addr())) {
				found = append(found, i)
			}
		}
		x.outside[network] = found
	}
	return found
}

// addressLike is the host's address of another one's family.
func addressLike(h *inventory.Host, other netip.Addr) netip.Addr {
	if h.Address.IsValid() && h.Address.Is4() == other.Is4() {
		return h.Address
	}
	return h.AddressV6
}

// ring is the order in which hosts look whether large packets pass: each sends
// them to the next by name, and to a master.
type ring struct {
	inventory *inventory.Inventory
	sorted    []int          // hosts with containers, by name
	at        map[string]int // places in sorted
	masters   []int          // the first two
}

func newRing(inv *inventory.Inventory) ring {
	r := ring{inventory: inv, at: map[string]int{}}
	for i := range inv.Hosts {
		h := &inv.Hosts[i]
		if h.RunsContainers() {
			r.sorted = append(r.sorted, i)
		}
		if h.Has(inventory.RoleMaster) && len(r.masters) < 2 {
			r.masters = append(r.masters, i)
		}
	}
	slices.SortFunc(r.sorted, func(a, b int) int { return strings.Compare(inv.Hosts[a].Name, inv.Hosts[b].Name) })
	for place, i := range r.sorted {
		r.at[inv.Hosts[i].Name] = place
	}
	return r
}

// peers are the next host of a ring and the first other master; none for a
// host that stands alone.
func (r ring) peers(host inventory.Host) []inventory.Host {
	var peers []inventory.Host
	add := func(i int) {
		h := &r.inventory.Hosts[i]
		if h.Name != host.Name && h.Address.Is4() == host.Address.Is4() && (len(peers) == 0 || peers[0].Name != h.Name) {
			peers = append(peers, *h)
		}
	}
	place, ok := r.at[host.Name]
	if !ok {
		return nil
	}
	add(r.sorted[(place+1)%len(r.sorted)])
	for _, i := range r.masters {
		if r.inventory.Hosts[i].Name != host.Name {
			add(i)
			break
		}
	}
	return peers
}

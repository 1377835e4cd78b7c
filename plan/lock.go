package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"

	"github.com/kinstall/kinstall/plan/inventory"
)

// ProposeLock returns the lock an inventory should have: what the present one
// pins stays, as far as it is still about something in the inventory, and what
// is new is added. digests maps a release's location to its hex SHA-256, as
// learnt from checksum files; the inventory's own pins win over both.
//
// When subnets can't be allocated the present ones stay; Compile says why.
func ProposeLock(inv *inventory.Inventory, lock inventory.Lock, digests map[string]string) inventory.Lock {
	proposed := inventory.Lock{Subnets: map[string]netip.Prefix{}, Artifacts: map[string]string{}}
	if subnets, err := AllocateSubnets(inv, lock); err == nil {
		proposed.Subnets = subnets
	} else {
		maps.Copy(proposed.Subnets, lock.Subnets)
	}
	if subnets, err := AllocateSubnetsV6(inv, lock); err == nil {
		proposed.SubnetsV6 = subnets
	} else {
		proposed.SubnetsV6 = maps.Clone(lock.SubnetsV6)
	}
	for _, r := range Releases(inv) {
		remembered := ""
		if r.Pinned() {
			remembered = lock.Artifacts[r.Location]
		}
		for _, sum := range []string{inv.Artifacts.SHA256[r.Name], remembered, digests[r.Location]} {
			if sum != "" {
				proposed.Artifacts[r.Location] = sum
				break
			}
		}
	}
	return proposed
}

// holder is a subnet and the host it belongs to.
type holder struct {
	subnet netip.Prefix
	host   string
	fixed  bool
}

func (h holder) String() string {
	if h.fixed {
		return fmt.Sprintf("%s, fixed for host %q", h.subnet, h.host)
	}
	return fmt.Sprintf("%s, which the lock file gives to host %q", h.subnet, h.host)
}

// AllocateSubnets gives every host that runs containers its part of the pod network: the one the
// inventory fixes, else the one the lock file remembers, else the lowest one
// that is free, in order of the hosts' names. The order of host blocks does
// not matter, and no host's subnet ever changes because another came or went.
//
// A subnet the lock file remembers of another pod network is forgotten. It is
// an error if two subnets overlap, if a fixed one lies outside the pod network,
// or if there are not enough.
func AllocateSubnets(inv *inventory.Inventory, lock inventory.Lock) (map[string]netip.Prefix, error) {
	return allocate(inv.ContainerHosts(), lock.Subnets, family{
		"pod_cidr", "pod_subnet_size", "pod_subnet", inv.Cluster.PodCIDR, inv.Cluster.PodSubnetSize,
		func(h inventory.Host) netip.Prefix { return h.PodSubnet },
	})
}

// AllocateSubnetsV6 is AllocateSubnets for the second address family; there is
// none but with dual-stack.
func AllocateSubnetsV6(inv *inventory.Inventory, lock inventory.Lock) (map[string]netip.Prefix, error) {
	if !inv.DualStack() {
		return nil, nil
	}
	return allocate(inv.ContainerHosts(), lock.SubnetsV6, family{
		"pod_cidr_v6", "pod_subnet_size_v6", "pod_subnet_v6", inv.Cluster.PodCIDRv6, inv.Cluster.PodSubnetSizeV6,
		func(h inventory.Host) netip.Prefix { return h.PodSubnetV6 },
	})
}

// family is what the inventory says of the pod network of one address family,
// and what it calls it.
type family struct {
	podCIDR, podSubnetSize, podSubnet string
	pods                              netip.Prefix
	size                              int
	fixed                             func(inventory.Host) netip.Prefix
}

func allocate(nodes []inventory.Host, lock map[string]netip.Prefix, f family) (map[string]netip.Prefix, error) {
	pods := f.pods.Masked()
	sort.Slice(nodes, func(i, j int) bool { return nodes[i].Name < nodes[j].Name })

	subnets := make(map[string]netip.Prefix, len(nodes))
	var taken []holder
	var without []string
	for _, n := range nodes {
		switch remembered, ok := lock[n.Name]; {
		case f.fixed(n).IsValid():
			subnet := f.fixed(n).Masked()
			if !within(subnet, pods) {
				return nil, fmt.Errorf("%s %s of host %q is not part of cluster.%s %s", f.podSubnet, subnet, n.Name, f.podCIDR, pods)
			}
			taken = append(taken, holder{subnet, n.Name, true})
		case ok && within(remembered.Masked(), pods):
			taken = append(taken, holder{remembered.Masked(), n.Name, false})
		default:
			without = append(without, n.Name)
		}
	}
	slices.SortFunc(taken, func(a, b holder) int {
		if byAddress := a.subnet.Addr().Compare(b.subnet.Addr()); byAddress != 0 {
			return byAddress
		}
		return a.subnet.Bits() - b.subnet.Bits()
	})
	for i, h := range taken {
		if i > 0 && taken[i-1].subnet.Overlaps(h.subnet) {
			return nil, fmt.Errorf("%s overlaps %s", taken[i-1], h)
		}
		subnets[h.host] = h.subnet
	}

	size := f.size
	if size < pods.Bits() || size > pods.Addr().BitLen() {
		return nil, fmt.Errorf("cluster.%s %d does not fit cluster.%s %s", f.podSubnetSize, size, f.podCIDR, pods)
	}
	candidate := netip.PrefixFrom(pods.Addr(), size)
	for _, name := range without {
		for len(taken) > 0 && candidate.IsValid() {
			if next := taken[0].subnet; candidate.Overlaps(next) {
				candidate = following(last(candidate, next), size)
			} else if next.Addr().Less(candidate.Addr()) {
				taken = taken[1:] // behind us
			} else {
				break
			}
		}
		if !candidate.IsValid() || !within(candidate, pods) {
			return nil, fmt.Errorf("cluster.%s %s has no /%d left for host %q (%d nodes)", f.podCIDR, pods, size, name, len(nodes))
		}
		subnets[name] = candidate
		candidate = following(candidate, size)
	}
	return subnets, nil
}

// within reports whether all of inner lies in outer.
func within(inner, outer netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Overlaps(inner)
}

// last returns the one of two overlapping prefixes that ends last: the larger.
func last(a, b netip.Prefix) netip.Prefix {
	if a.Bits() < b.Bits() {
		return a
	}
	return b
}

// following returns the prefix of the given size behind another; invalid when
// the address space ends there.
func following(p netip.Prefix, size int) netip.Prefix {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	end, _ := netip.AddrFromSlice(bytes) // as long as it was
	next := end.Next()
	if !next.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(next, size).Masked()
}

// nthAddress is the address that many places after a network's own; ok is
// false when the network ends before. As HCL's cidrhost, for small n.
func nthAddress(network netip.Prefix, n int) (address netip.Addr, ok bool) {
	address = network.Masked().Addr()
	for range n {
		address = address.Next()
	}
	return address, network.Contains(address)
}

package lab

import (
	"fmt"
	"net/netip"
	"slices"
)

// prefixBits and prefixBitsV6 are the prefix lengths of every machine's addresses.
const (
	prefixBits   = 24
	prefixBitsV6 = 64
)

// subnet is one network of the lab. The operator's side of the lab holds
// Gateway on its bridge and forwards between the subnets.
type subnet struct {
	Prefix  netip.Prefix `json:"prefix"`
	Gateway netip.Addr   `json:"gateway"`
}

// held is an address with its prefix length, as an interface has it.
func held(a netip.Addr) netip.Prefix {
	if a.Is6() {
		return netip.PrefixFrom(a, prefixBitsV6)
	}
	return netip.PrefixFrom(a, prefixBits)
}

func subnetOf(a netip.Addr) netip.Prefix { return held(a).Masked() }

// checkMachines reports the first machine that can't be booted as described, or
// that takes the name or address of another.
func checkMachines(machines []Machine) error {
	names := map[string]bool{}
	holder := map[netip.Addr]string{}
	for _, m := range machines {
		if err := checkHostName(m.Name); err != nil {
			return err
		}
		if names[m.Name] {
			return fmt.Errorf("machine %s: listed twice", m.Name)
		}
		names[m.Name] = true
		if !m.Address.Is4() {
			return fmt.Errorf("machine %s: address %q is not an IPv4 address", m.Name, m.Address)
		}
		if b := m.Address.As4(); b[3] == 0 || b[3] == 255 || m.Address.IsLoopback() || m.Address.IsMulticast() {
			return fmt.Errorf("machine %s: address %s can't be held by a host of a /%d network", m.Name, m.Address, prefixBits)
		}
		if m.AddressV6.IsValid() && (!m.AddressV6.Is6() || m.AddressV6.Is4In6() || m.AddressV6.Zone() != "" || m.AddressV6.IsLoopback() ||
			m.AddressV6.IsMulticast() || m.AddressV6.IsLinkLocalUnicast() || m.AddressV6 == subnetOf(m.AddressV6).Addr()) {
			return fmt.Errorf("machine %s: address %s can't be held by a host of an IPv6 network", m.Name, m.AddressV6)
		}
		for _, address := range m.addresses() {
			if other, taken := holder[address]; taken {
				return fmt.Errorf("machine %s: address %s is already that of %s", m.Name, address, other)
			}
			holder[address] = m.Name
		}
	}
	return nil
}

// planSubnets lists the subnets that machines live in, in order, each with a
// gateway address no machine holds: the one it had before (running machines
// route through it), else the highest free one from .254 (::fffe) downwards.
func planSubnets(machines []Machine, before []subnet) ([]subnet, error) {
	taken := map[netip.Addr]string{}
	var addresses []netip.Addr
	for _, m := range machines {
		for _, address := range m.addresses() {
			addresses = append(addresses, address)
			taken[address] = m.Name
		}
	}
	known := map[netip.Prefix]netip.Addr{}
	for _, s := range before {
		known[s.Prefix] = s.Gateway
	}
	planned := map[netip.Prefix]bool{}
	var subnets []subnet
	for _, address := range addresses {
		prefix := subnetOf(address)
		if planned[prefix] {
			continue
		}
		planned[prefix] = true
		gateway, ok := known[prefix]
		if !ok {
			if gateway, ok = freeGateway(prefix, taken); !ok {
				return nil, fmt.Errorf("network %s: no address is left for its gateway", prefix)
			}
		}
		if host, clash := taken[gateway]; clash {
			return nil, fmt.Errorf("machine %s: address %s is the gateway of the running lab; take the lab down first", host, gateway)
		}
		subnets = append(subnets, subnet{prefix, gateway})
	}
	slices.SortFunc(subnets, func(a, b subnet) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	return subnets, nil
}

func freeGateway(prefix netip.Prefix, taken map[netip.Addr]string) (netip.Addr, bool) {
	first := 0xfe
	if prefix.Addr().Is6() {
		first = 0xfffe
	}
	bytes := prefix.Addr().AsSlice()
	for last := first; last > 0; last-- {
		bytes[len(bytes)-1] = byte(last)
		if prefix.Addr().Is6() {
			bytes[len(bytes)-2] = byte(last >> 8)
		}
		if a, ok := netip.AddrFromSlice(bytes); ok && taken[a] == "" {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// gatewayOf returns the gateway of the subnet a lies in.
func gatewayOf(a netip.Addr, subnets []subnet) (netip.Addr, error) {
	for _, s := range subnets {
		if s.Prefix.Contains(a) {
			return s.Gateway, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("address %s lies in no network of the lab", a)
}

package inventory

import (
	"net/netip"
	"slices"
	"strings"
)

// APIPort is where every API server listens.
const APIPort = 6443

// APIServerSANs returns what the certificate of the API server on h is valid
// for: h's own name and address, those of the load balancer's hosts, the address
// that they share, the endpoint's name where kinstall makes it resolve, the names by which pods
// know the API, the service network's first address and cert_sans; with
// dual-stack h's IPv6 address and that network's first one, too; and where each
// node has a balancer of its own, the address that it has there. Both slices
// are sorted and without repetitions.
//
// Validation judges the endpoint by this very list.
func (inv *Inventory) APIServerSANs(h Host) (names []string, addresses []netip.Addr) {
	add := func(san string) {
		if addr, err := netip.ParseAddr(san); err == nil {
			addresses = append(addresses, addr)
			return
		}
		names = append(names, san)
	}
	c := inv.Cluster
	names = append(names, h.Name,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc."+c.Domain)
	addresses = append(addresses, h.Address, c.ServiceCIDR.Addr().Next())
	for _, second := range []netip.Addr{h.AddressV6, c.ServiceCIDRv6.Addr().Next()} {
		if second.IsValid() {
			addresses = append(addresses, second)
		}
	}
	if inv.LoadBalancer != nil {
		for _, name := range inv.LoadBalancer.Hosts {
			if lb, ok := inv.Host(name); ok {
				names = append(names, lb.Name)
				addresses = append(addresses, lb.Address)
			}
		}
		if vip := inv.VirtualAddress(); vip.IsValid() {
			addresses = append(addresses, vip)
		}
	}
	if inv.BalancesLocally() {
		add(LocalAddress)
	}
	if c.Endpoint.Host != "" && c.Endpoint.Address.IsValid() && c.Endpoint.Address.String() != c.Endpoint.Host {
		add(c.Endpoint.Host)
	}
	for _, san := range c.CertSANs {
		add(san)
	}
	slices.Sort(names)
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(names), slices.Compact(addresses)
}

// covers reports whether a certificate with these SANs is valid for host, as
// crypto/x509 judges it: a wildcard stands for exactly one label.
func covers(names []string, addresses []netip.Addr, host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return slices.Contains(addresses, addr)
	}
	_, parent, _ := strings.Cut(host, ".")
	return slices.Contains(names, host) || (parent != "" && slices.Contains(names, "*."+parent))
}

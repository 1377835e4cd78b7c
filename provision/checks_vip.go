package provision

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/provision/shell"
)

// sharer is a host of the load balancer, and what it says of the virtual address.
type sharer struct {
	host  string
	has   bool  // the address
	could bool  // have it: keepalived runs
	err   error // it can't be asked
}

// sharers asks all hosts of the load balancer that can be reached, in the order of
// its block.
func (e clusterChecks) sharers(ctx context.Context, vip netip.Addr) []sharer {
	script := fmt.Sprintf("if [ -n \"$(ip -o addr show to %s)\" ]; then echo has; fi\nif systemctl is-active --quiet -- %s; then echo could; fi\n",
		shell.Quote(vip.String()), shell.Quote(plan.KeepalivedUnit))
	var found []sharer
	for _, host := range e.Fleet.inventory.LoadBalancer.Hosts {
		if e.delta.Unreachable[host] != nil {
			continue
		}
		s := sharer{host: host}
		m, err := e.Fleet.connect(ctx, host)
		var said string
		if err == nil {
			said, err = m.look(ctx, "ask for the virtual address", script)
		}
		words := strings.Fields(said)
		s.has, s.could, s.err = slices.Contains(words, "has"), slices.Contains(words, "could"), err
		found = append(found, s)
	}
	return found
}

// holder returns the one host that has the virtual address.
func holder(sharers []sharer, vip netip.Addr) (string, error) {
	var holders []string
	var unknown []error
	for _, s := range sharers {
		if s.has {
			holders = append(holders, s.host)
		}
		unknown = append(unknown, s.err)
	}
	switch {
	case len(holders) > 1:
		return "", fmt.Errorf("%s have %s, all of them", strings.Join(holders, " and "), vip)
	case len(holders) == 1:
		return holders[0], errors.Join(unknown...) // who can't be asked may have it, too
	}
	if err := errors.Join(unknown...); err != nil {
		return "", err
	}
	return "", fmt.Errorf("no host has %s", vip)
}

// tryVirtualAddress looks whether a host has the virtual address, and no other one
// where it is to have it alone, and asks the API there, from a host that has it not.
func (e clusterChecks) tryVirtualAddress(ctx context.Context, alone bool) error {
	inv := e.Fleet.inventory
	vip := inv.VirtualAddress()
	sharers := e.sharers(ctx, vip)
	_, err := holder(sharers, vip)
	i := slices.IndexFunc(sharers, func(s sharer) bool { return s.has })
	if err != nil && (alone || i < 0) {
		return err
	}
	has := sharers[i].host
	from := has
	for _, better := range []func(inventory.Host) bool{
		func(h inventory.Host) bool { return h.Has(inventory.RoleMaster) && !inv.Balances(h.Name) },
		func(h inventory.Host) bool { return h.Name != has },
	} {
		i := slices.IndexFunc(inv.Hosts, func(h inventory.Host) bool { return e.delta.Unreachable[h.Name] == nil && better(h) })
		if i >= 0 {
			from = inv.Hosts[i].Name
			break
		}
	}
	server := e.endpoint()
	server.Name = fmt.Sprintf("%s from %s", vip, from)
	server.Address = net.JoinHostPort(vip.String(), strconv.Itoa(inv.LoadBalancer.Port))
	server.Dial = e.Fleet.dialFrom(from)
	instance, err := e.instance(server)
	if err != nil {
		return err
	}
	// A name that every API server's certificate has: that all have the address, too,
	// may be still to come.
	instance.TLS = instance.TLS.Clone()
	instance.TLS.ServerName = "kubernetes"
	return instance.Ready(ctx, nil)
}

// tryVirtualAddressWithout looks whether another host could take the virtual
// address from one that has it.
func (e clusterChecks) tryVirtualAddressWithout(ctx context.Context, host string) error {
	vip := e.Fleet.inventory.VirtualAddress()
	var others []string
	for _, s := range e.sharers(ctx, vip) {
		switch {
		case s.host == host && s.err == nil && !s.has:
			return nil // nothing is taken from anybody
		case s.host != host && s.could:
			return nil
		case s.host != host:
			others = append(others, s.host)
		}
	}
	if len(others) == 0 {
		return fmt.Errorf("no other host that can be reached may have %s", vip)
	}
	return fmt.Errorf("keepalived does not run on %s", strings.Join(others, ", "))
}

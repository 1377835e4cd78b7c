package plan

import (
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	haproxyUnit = "haproxy.service"
	localUnit   = "kinstall-balancer.service"
)

// haproxyBalancer is HAProxy in TCP mode, as Debian's own service: that reads
// kinstall's file after Debian's, which stays its user's.
func haproxyBalancer() balancerKind {
	return balancerKind{
		kind:     inventory.BalancerHAProxy,
		packages: []string{"haproxy"},
		unit:     haproxyUnit,
		quit:     "USR1",
		files: []balancerFile{
			{path: "/etc/haproxy/kinstall.cfg", upstream: true, test: resource.HAProxyTest},
			{path: "/etc/systemd/system/haproxy.service.d/kinstall.conf", restart: true},
		},
		credentials: []string{caFile},
		asks:        anonymousAsk,
	}
}

// localBalancer is a HAProxy for the programs of its own host, as a service
// beside whatever its user has HAProxy do. Debian's service would only idle.
func localBalancer() balancerKind {
	return balancerKind{
		kind:     inventory.BalancerLocal,
		packages: []string{"haproxy"},
		unit:     localUnit,
		quit:     "USR1",
		files: []balancerFile{
			{path: "/etc/haproxy/kinstall-local.cfg", upstream: true, test: resource.LocalHAProxyTest},
			{path: "/etc/systemd/system/" + localUnit, restart: true},
		},
		credentials: []string{caFile},
		local:       true,
		idle:        []string{haproxyUnit},
		// There are too many to tell each: with anonymous-auth=false, who dials a
		// server that has just ended is led to another one.
		asks: func(*inventory.Inventory) bool { return true },
	}
}

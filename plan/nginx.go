package plan

import (
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const nginxUnit = "nginx.service"

// nginxBalancer is nginx with a stream upstream. It asks nobody how they are: who
// does not answer is left out for a while.
func nginxBalancer() balancerKind {
	return balancerKind{
		kind:     inventory.BalancerNginx,
		packages: []string{"nginx", "libnginx-mod-stream"},
		unit:     nginxUnit,
		quit:     "QUIT",
		files: []balancerFile{
			{path: "/etc/nginx/stream.d/kinstall.conf", upstream: true, folder: true, test: resource.NginxTest},
			{path: "/etc/nginx/modules-enabled/99-kinstall-stream.conf", test: resource.NginxTest},
		},
		asks: func(*inventory.Inventory) bool { return false },
	}
}

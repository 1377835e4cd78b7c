//go:build ignore

// CoreDNS with the plugins a cluster's Corefile names and no others: the
// official main also brings the cloud providers' SDKs, which take most of its
// build time.
//
// The order in which plugins see a query is not the order of these imports but
// that of dnsserver.Directives, the official one, so a Corefile means here what
// it means to the official binary.
//
// The build constraint keeps this file out of kinstall's own module, which does
// not depend on CoreDNS. The lab builds it in a module of its own.
package main

import (
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	coremain.Run()
}

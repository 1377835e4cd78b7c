// Package images holds the sources of the small programs that the lab puts into
// container images. It only carries them: e2e/components builds each one in a
// module of its own.
package images

import (
	_ "embed"
	"strings"
)

//go:embed pause/main.go
var pause string

//go:embed fetch/main.go
var fetch string

//go:embed stream/main.go
var stream string

//go:embed coredns/main.go
var coreDNS string

// Pause returns the source of the pod sandbox's program; it needs nothing but
// the standard library.
func Pause() string { return pause }

// Fetch returns the source of the HTTP client of test workloads; it needs
// nothing but the standard library.
func Fetch() string { return fetch }

// Stream returns the source of the program that measures throughput and latency;
// it needs nothing but the standard library.
func Stream() string { return stream }

// CoreDNS returns the source of a CoreDNS with a cluster's plugins, without the
// build constraint that keeps it out of this module.
func CoreDNS() string {
	return strings.TrimPrefix(coreDNS, "//go:build ignore\n")
}

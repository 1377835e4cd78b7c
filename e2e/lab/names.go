package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
)

// The kernel limits interface names to 15 bytes; network namespaces keep to the
// same limit so that both can be read off one listing.
const maxKernelName = 15

var (
	labNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	// RFC 1123 subdomain; Linux limits a host name to 64 bytes.
	hostNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
)

func checkLabName(name string) error {
	if !labNamePattern.MatchString(name) {
		return fmt.Errorf("lab name %q: want 1 to 32 lower-case letters, digits and inner hyphens", name)
	}
	return nil
}

// NameFor makes the name of a lab that a folder (of tests, say) has for itself,
// so that the same tests of two checkouts don't take down each other's machines.
// It stays the same from run to run. name has 25 bytes at most.
func NameFor(name, dir string) string {
	// A folder that has no absolute path any more has no lab to share either.
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return name + "-" + hex.EncodeToString(identity(dir, ""))[:6]
}

func checkHostName(name string) error {
	if len(name) > 63 || !hostNamePattern.MatchString(name) {
		return fmt.Errorf("machine name %q: not an RFC 1123 host name of at most 63 bytes", name)
	}
	return nil
}

// kernelName derives a name for an object of the kernel (namespace, interface)
// that belongs to machine of lab, or to the lab itself if machine is empty: the
// beginning of the readable name and a digest of the whole, at most 15 bytes.
func kernelName(lab, machine string) string {
	readable := machine
	if machine == "" {
		readable = lab
	}
	// A dot in an interface name reads like a VLAN.
	plain := regexp.MustCompile(`[^a-z0-9-]`).ReplaceAllString(readable, "-")
	digest := hex.EncodeToString(identity(lab, machine))[:6]
	return plain[:min(len(plain), maxKernelName-1-len(digest))] + "-" + digest
}

// macAddress derives the hardware address of a machine's cable end, or of the
// bridge if machine is empty. It stays the same over power cuts, as a real one
// does; a new one would leave the neighbours' ARP entries pointing nowhere.
func macAddress(lab, machine string) net.HardwareAddr {
	mac := append(net.HardwareAddr{}, identity(lab, machine)[:6]...)
	mac[0] = mac[0]&^1 | 2 // unicast, locally administered
	return mac
}

// containerName is unique on the host, unlike the machine's host name, which
// other labs may use too.
func containerName(lab, machine string) string {
	return kernelName(lab, machine)
}

func identity(lab, machine string) []byte {
	sum := sha256.Sum256([]byte(lab + "\x00" + machine))
	return sum[:]
}

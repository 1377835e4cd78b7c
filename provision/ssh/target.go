package ssh

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	defaultPort    = 22
	defaultTimeout = 15 * time.Second
)

// Target says how one host is reached and how it proves its identity. It is
// plain data; the zero value of a field means its default.
type Target struct {
	// Name is the host's name in the inventory. Errors begin with it.
	Name string
	// Address is an IP address or a DNS name, resolved on the machine that
	// opens the TCP connection (the bastion, where there is one).
	Address string
	// Port is sshd's TCP port, 22 by default.
	Port int
	// User is the login user. Required.
	User string

	// KeyFiles are private keys in any format ssh-keygen writes, tried in
	// order. A leading "~/" is the operator's home directory.
	KeyFiles []string
	// Agent also offers the keys of the SSH agent, after KeyFiles. A key file
	// with a passphrase is usable only through the agent.
	Agent bool

	// Exactly one of the next two says how the host key is verified.

	// KnownHosts is the path of an OpenSSH known_hosts file, "~/" allowed. A host
	// certificate signed by one of its authorities counts.
	KnownHosts string
	// Fingerprint is a pinned host key, as printed by ssh-keygen -l: "SHA256:…".
	Fingerprint string

	// Become runs privileged commands through "sudo -n". It has no effect when
	// User is root.
	Become bool
	// Bastion is the host through which this one is reached, or nil. All hosts
	// with an equal Bastion share one connection to it.
	Bastion *Target
	// Timeout bounds one attempt to connect and authenticate, 15 s by default.
	Timeout time.Duration
}

// maxBastions bounds a chain of bastions; a longer one is a cycle.
const maxBastions = 8

func (t *Target) name() string {
	if t.Name != "" {
		return t.Name
	}
	return t.Address
}

// hostPort returns "address:port" with IPv6 addresses in brackets.
func (t *Target) hostPort() string {
	port := t.Port
	if port == 0 {
		port = defaultPort
	}
	return net.JoinHostPort(t.Address, strconv.Itoa(port))
}

func (t *Target) timeout() time.Duration {
	if t.Timeout > 0 {
		return t.Timeout
	}
	return defaultTimeout
}

// validate reports what is missing or contradictory in a target. The inventory
// has checked its own grammar; this guards against callers that fill a Target
// by other means, above all against one without any way to verify the host.
func (t *Target) validate() error {
	depth := 0
	for b := t; b != nil; b = b.Bastion {
		if depth++; depth > maxBastions+1 {
			return fmt.Errorf("%s: bastions: more than %d in a row, or a cycle", t.name(), maxBastions)
		}
	}
	var errs []error
	bad := func(format string, a ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{t.name()}, a...)...))
	}
	if t.Address == "" {
		bad("no address")
	}
	if t.Port < 0 || t.Port > 65535 {
		bad("port %d is out of range", t.Port)
	}
	if t.User == "" {
		bad("no login user")
	}
	if (t.KnownHosts == "") == (t.Fingerprint == "") {
		bad("the host key needs exactly one of known_hosts and fingerprint")
	}
	if t.Fingerprint != "" && !strings.HasPrefix(t.Fingerprint, "SHA256:") {
		bad("fingerprint %q: want the form SHA256:… that ssh-keygen -l prints", t.Fingerprint)
	}
	return errors.Join(errs...)
}

// key identifies everything about a target that matters for sharing its
// connection.
func (t *Target) key() string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%q %q %q %q %t %q %q %s via(%s)", t.name(), t.hostPort(), t.User, t.KeyFiles,
		t.Agent, t.KnownHosts, t.Fingerprint, t.timeout(), t.Bastion.key())
}

// expandHome replaces a leading "~/" by the operator's home directory.
func expandHome(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("expand %s: %w", path, err)
	}
	return filepath.Join(home, rest), nil
}

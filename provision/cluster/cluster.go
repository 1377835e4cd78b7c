// Package cluster asks and changes what is not a host's own: the members of
// etcd and the objects of the Kubernetes API.
//
// Contract. Every connection is opened by a DialFunc of the caller, an SSH
// tunnel as a rule, so that the operator's machine needs no route to the
// cluster. TLS is always verified end to end; the tunnel is not trusted.
// Whatever waits does so until its context ends, with short tries of its own,
// and then says what it was still waiting for. Nothing is written to standard
// error, no environment variable, kubeconfig file or proxy setting is looked at.
//
// What callers owe: a DialFunc that fails when nothing listens should give an
// error that matches syscall.ECONNREFUSED or is an *ssh.OpenChannelError, or
// has the system's words "connection refused" in it: that is how a cluster that
// does not exist yet is told from one that is broken (see ErrNoAPI). One that
// fails on its way to the host gives a *PathError.
package cluster

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// DialFunc opens a connection to addr ("HOST:PORT"), as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// PathError says that the host itself could not be reached, so that nothing is
// known of what listens there.
type PathError struct{ Err error }

func (e *PathError) Error() string { return e.Err.Error() }
func (e *PathError) Unwrap() error { return e.Err }

const (
	// interval lies between two tries of whatever is waited for.
	interval = 300 * time.Millisecond
	// tryTimeout bounds one try, so that a host that is silent is asked again.
	tryTimeout = 5 * time.Second
)

// refused reports whether a dial failed because nothing listens at the other
// end. sshd passes the system's reason on in words only.
func refused(err error) bool {
	var channel *gossh.OpenChannelError
	var path *PathError
	if errors.As(err, &path) {
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) ||
		errors.As(err, &channel) && channel.Reason == gossh.ConnectionFailed ||
		err != nil && strings.Contains(strings.ToLower(err.Error()), "connection refused")
}

// pause waits for the next try; it returns false when ctx ends first.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	gossh "golang.org/x/crypto/ssh"
)

// DialContext opens a connection from the host to addr ("host:port", seen from
// the host) through the SSH connection. network is "tcp", or "unix" for a socket
// on the host. The result supports deadlines and may be given to HTTP/2 and gRPC
// clients; it lives no longer than c.
//
// Tunnels don't count against the limit of sessions. Errors are *ConnError or
// wrap ctx's error.
func (c *Client) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	op := "open tunnel to " + addr
	channel, err := c.conn.DialContext(ctx, network, addr)
	var refused *gossh.OpenChannelError
	switch {
	case err == nil:
		c.counters.add(tunnels, 1)
		return c.newTunnel(channel, network, addr), nil
	case ctx.Err() != nil:
		return nil, contextError(ctx, c.Host(), op)
	case errors.As(err, &refused):
		e := &ConnError{Host: c.Host(), Op: op, Err: errors.New(refused.Reason.String() + ": " + printable(refused.Message))}
		if e.temporary = refused.Reason != gossh.Prohibited; !e.temporary {
			e.hint = "sshd forbids TCP forwarding: set \"AllowTcpForwarding yes\" (or \"local\") in the host's sshd_config"
		}
		return nil, e
	case c.ended():
		return nil, c.lost(op)
	}
	return nil, fmt.Errorf("%s: %s: %w", c.Host(), op, err)
}

// tunnel makes a net.Conn of an SSH channel. Channels know no deadlines, and
// closing one doesn't wake a blocked Read before the peer has answered; the pipe
// in front of it does both at once.
type tunnel struct {
	net.Conn // the near end of the pipe
	remote   tunnelAddr
}

func (c *Client) newTunnel(channel net.Conn, network, addr string) net.Conn {
	near, far := net.Pipe()
	// Each direction ends with its source; the end of one ends both, as there is
	// no half-close through a pipe.
	c.faults.Go(func() {
		_, _ = io.Copy(far, channel)
		far.Close()
	})
	c.faults.Go(func() {
		_, _ = io.Copy(channel, far)
		far.Close()
		channel.Close()
	})
	return &tunnel{near, tunnelAddr{network, addr}}
}

func (t *tunnel) RemoteAddr() net.Addr { return t.remote }

// tunnelAddr is an address as seen from the host; it is not resolved here.
type tunnelAddr struct{ network, addr string }

func (a tunnelAddr) Network() string { return a.network }
func (a tunnelAddr) String() string  { return a.addr }

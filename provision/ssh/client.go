package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pkg/sftp"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/sync/semaphore"

	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/provision/shell"
)

const (
	// keepAliveMisses is how many keepalive requests in a row may stay without
	// any sign of life before the connection counts as lost.
	keepAliveMisses = 3
	// closeTimeout bounds the removal of the staging directory in Close.
	closeTimeout = 5 * time.Second
)

// A Client is one authenticated connection to one host. It is safe for
// concurrent use.
type Client struct {
	target    Target
	keepAlive time.Duration
	counters  counters
	faults    fault.Handler

	conn    *gossh.Client
	net     net.Conn
	hostKey string // fingerprint; set before the client is handed out

	// sessions caps commands, locks and SFTP together: sshd counts them all.
	sessions *semaphore.Weighted
	// lazy guards what is made on first use. It is a semaphore so that waiting
	// ends with a context.
	lazy    *semaphore.Weighted
	sftp    *sftp.Client
	staging string

	closing   sync.Once
	closeErr  error
	failOnce  sync.Once
	done      chan struct{}
	doneCause error // set before done is closed
}

func newClient(d *Dialer, t *Target) *Client {
	return &Client{
		target:    *t,
		keepAlive: d.opts.KeepAlive,
		counters:  counters{parent: &d.counters},
		faults:    d.opts.Fault,
		sessions:  semaphore.NewWeighted(maxSessions),
		lazy:      semaphore.NewWeighted(1),
		done:      make(chan struct{}),
	}
}

// start takes over an authenticated connection.
func (c *Client) start(conn *gossh.Client, transport net.Conn) {
	c.conn, c.net = conn, transport
	c.counters.add(connections, 1)
	c.faults.Go(func() {
		err := conn.Wait()
		if err == nil {
			err = io.EOF
		}
		c.fail(err)
	})
	c.faults.Go(c.keepAlives)
}

// Host returns the host's name.
func (c *Client) Host() string { return c.target.name() }

// HostKey returns the fingerprint ("SHA256:…") of the verified key that the host
// showed when the connection was made; of a host certificate, that of its key.
func (c *Client) HostKey() string { return c.hostKey }

// Counts returns what this connection cost so far.
func (c *Client) Counts() Counts { return c.counters.counts() }

// Done is closed when the connection is lost or closed.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil as long as the connection lives, then a *ConnError with the
// reason for its end.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.lost("connection")
	default:
		return nil
	}
}

// fail records why the connection ended, and ends it. The first reason counts.
func (c *Client) fail(cause error) {
	c.failOnce.Do(func() {
		c.doneCause = cause
		close(c.done)
		// The transport, not the SSH connection: a farewell message would block
		// on a network that swallows everything.
		c.net.Close()
	})
}

// lost describes an operation that the end of the connection interrupted.
func (c *Client) lost(op string) *ConnError {
	cause := io.ErrUnexpectedEOF
	// The operation may have noticed a moment before the reason is recorded.
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-c.done:
		cause = c.doneCause
	case <-timer.C:
	}
	return &ConnError{
		Host: c.Host(), Op: op,
		Err:       fmt.Errorf("connection lost: %w", cause),
		temporary: !errors.Is(cause, net.ErrClosed),
		lost:      true,
	}
}

// keepAlives asks for a sign of life until the connection ends. Any received
// byte counts as one, so that a slow upload is not mistaken for silence.
func (c *Client) keepAlives() {
	ticker := time.NewTicker(c.keepAlive)
	defer ticker.Stop()
	answered := make(chan struct{}, 1)
	answered <- struct{}{}
	received, misses := int64(-1), 0
	for {
		select {
		case <-c.done:
			return
		case <-ticker.C:
		}
		if now := c.counters.recv.Load(); now != received {
			received, misses = now, 0
		} else if misses++; misses >= keepAliveMisses {
			c.fail(fmt.Errorf("no sign of life for %s", time.Duration(misses)*c.keepAlive))
			return
		}
		select {
		case <-answered:
			c.faults.Go(func() {
				// The answer is a refusal; that there is one is what matters.
				_, _, _ = c.conn.SendRequest("keepalive@openssh.com", true, nil)
				answered <- struct{}{}
			})
		default: // the last one is still under way
		}
	}
}

// Close removes the staging directory, if there is one, and closes the
// connection. Whatever is under way fails.
func (c *Client) Close() error {
	c.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if c.Err() == nil && c.lazy.Acquire(ctx, 1) == nil {
			staging := c.staging
			c.staging = ""
			c.lazy.Release(1)
			if staging != "" {
				// Privileged steps may have left files of root in it.
				_, c.closeErr = c.Run(ctx, Command{
					Label:  "remove staging directory",
					Script: "rm -rf -- " + shell.Quote(staging) + "\n",
					Root:   c.target.Become,
				})
			}
		}
		c.fail(net.ErrClosed)
	})
	return c.closeErr
}

package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/sync/semaphore"

	"github.com/kinstall/kinstall/plan/fault"
)

const (
	defaultKeepAlive = 15 * time.Second

	// sshd drops a share of new connections once 10 are not yet authenticated
	// (MaxStartups 10:30:100) and allows 10 sessions on one connection
	// (MaxSessions 10), see sshd_config(5). Both limits stay below that, to leave
	// room for others and for sessions that sshd has not yet seen end.
	maxDials    = 8
	maxSessions = 8

	// Retries of a dial that sshd dropped: at most this many attempts, with
	// pauses from backoffBase doubling up to backoffMax, about 20 s in all.
	dialAttempts = 10
	backoffBase  = 100 * time.Millisecond
	backoffMax   = 5 * time.Second

	// connectTimeout bounds all attempts to connect to a host together. The wait
	// for other dials of this program to the same sshd does not count.
	connectTimeout = time.Minute

	// How long hosts behind a bastion that can't be reached are told so without
	// another attempt.
	bastionFailureKept = 30 * time.Second
)

// Options configure a Dialer. The zero value is ready for use.
type Options struct {
	// TrustOnFirstUse adds the key of a host that known_hosts has no line for to
	// that file, and accepts it. A changed key is refused all the same.
	TrustOnFirstUse bool
	// OnTrust, if set, is called for each key that TrustOnFirstUse added. It may
	// be called from several goroutines at once.
	OnTrust func(Trusted)
	// Fault is told of panics of goroutines that nobody waits for.
	Fault fault.Handler
	// KeepAlive is the pause between keepalive requests, 15 s by default. After
	// three without any sign of life the connection counts as lost.
	KeepAlive time.Duration
	// AgentSocket is the SSH agent's socket; the environment's SSH_AUTH_SOCK by
	// default.
	AgentSocket string
}

// A Dialer makes connections. It is safe for concurrent use and meant to be
// shared by everything that dials in one run, because it paces dials for each
// sshd and shares the connections to bastions.
type Dialer struct {
	opts     Options
	known    knownHosts
	counters counters

	ctx    context.Context // ends with Close; bounds the dials of bastions
	cancel context.CancelFunc

	mu       sync.Mutex
	closed   bool
	gates    map[string]*semaphore.Weighted
	bastions map[string]*bastion
}

// NewDialer returns a Dialer. Close it after the clients it made.
func NewDialer(opts Options) *Dialer {
	if opts.KeepAlive <= 0 {
		opts.KeepAlive = defaultKeepAlive
	}
	if opts.AgentSocket == "" {
		opts.AgentSocket = os.Getenv("SSH_AUTH_SOCK")
	}
	d := &Dialer{
		opts:     opts,
		known:    knownHosts{firstUse: opts.TrustOnFirstUse, onTrust: opts.OnTrust},
		gates:    map[string]*semaphore.Weighted{},
		bastions: map[string]*bastion{},
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// Counts returns the sum over all connections made so far.
func (d *Dialer) Counts() Counts { return d.counters.counts() }

// Close closes the connections to bastions, and with them all connections that
// lead through one.
func (d *Dialer) Close() error {
	d.cancel()
	d.mu.Lock()
	d.closed = true
	bastions := d.bastions
	d.bastions = nil
	d.mu.Unlock()
	var errs []error
	for _, b := range bastions {
		<-b.ready
		if b.client != nil {
			errs = append(errs, b.client.Close())
		}
	}
	return errors.Join(errs...)
}

// Dial connects to a host, verifies its key and logs in.
//
// At most eight dials to one sshd, and eight through one bastion, are under way
// at a time; others wait. A dial that sshd drops before it shows its key is
// tried again. Errors: *HostKeyError, *AuthError, *ConnError, *PassphraseError
// or one about the target's own settings.
func (d *Dialer) Dial(ctx context.Context, t Target) (*Client, error) {
	if err := t.validate(); err != nil {
		return nil, err
	}
	var via *Client
	if t.Bastion != nil {
		var err error
		if via, err = d.bastion(ctx, *t.Bastion); err != nil {
			return nil, fmt.Errorf("%s: bastion: %w", t.name(), err)
		}
	}
	return d.dial(ctx, &t, via)
}

// Check reports whether this machine has what it takes to dial a target: its
// keys or the agent, and known_hosts, the bastions' included. Nothing is dialled
// but the agent. The error is one that Dial would return.
func (d *Dialer) Check(ctx context.Context, t Target) error {
	if err := t.validate(); err != nil {
		return err
	}
	for at := &t; at != nil; at = at.Bastion {
		_, agent, err := identities(ctx, at, d.opts.AgentSocket)
		if err != nil {
			return err
		}
		agent.Close()
		if _, err := d.verifier(at); err != nil {
			return err
		}
	}
	return nil
}

// A bastion is a shared connection, dialled once for all that wait for it.
type bastion struct {
	ready    chan struct{} // closed when the dial has ended
	client   *Client
	err      error
	failedAt time.Time
}

// stale reports whether b must be dialled anew.
func (b *bastion) stale() bool {
	select {
	case <-b.ready:
	default:
		return false
	}
	if b.err != nil {
		return time.Since(b.failedAt) > bastionFailureKept
	}
	select {
	case <-b.client.Done():
		return true
	default:
		return false
	}
}

func (d *Dialer) bastion(ctx context.Context, t Target) (*Client, error) {
	key := t.key()
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", t.name(), net.ErrClosed)
	}
	b := d.bastions[key]
	if b == nil || b.stale() {
		b = &bastion{ready: make(chan struct{})}
		d.bastions[key] = b
		// The dial belongs to all who wait, so the end of one of them must not
		// end it. Timeout and the number of attempts bound it.
		go func() {
			defer close(b.ready)
			b.err = fault.Recover(func() (err error) {
				b.client, err = d.Dial(d.ctx, t)
				return err
			})
			if b.err != nil {
				b.failedAt = time.Now()
			}
		}()
	}
	d.mu.Unlock()
	select {
	case <-b.ready:
		return b.client, b.err
	case <-ctx.Done():
		return nil, contextError(ctx, t.name(), "connect to "+t.hostPort())
	}
}

// gate returns the semaphore of a name. Gates are few and live as long as d.
func (d *Dialer) gate(name string) *semaphore.Weighted {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.gates[name]
	if g == nil {
		g = semaphore.NewWeighted(maxDials)
		d.gates[name] = g
	}
	return g
}

// dial connects through via, or directly if via is nil, and tries again while
// sshd drops the connection unseen.
func (d *Dialer) dial(ctx context.Context, t *Target, via *Client) (*Client, error) {
	verifier, err := d.verifier(t)
	if err != nil {
		return nil, err
	}
	pause, left := backoffBase, max(connectTimeout, t.timeout())
	for attempt := 1; ; attempt++ {
		client, used, err := d.attempt(ctx, t, via, verifier, left)
		left -= used + pause
		var refused *ConnError
		if err == nil || !errors.As(err, &refused) || !refused.refused || attempt == dialAttempts || left <= 0 {
			return client, err
		}
		// Half to one and a half times the pause, so that those dropped together
		// don't come back together.
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w, last: %w", contextError(ctx, t.name(), "connect to "+t.hostPort()), err)
		}
		pause = min(2*pause, backoffMax)
	}
}

// attempt makes one connection. With a pinned fingerprint it takes one more for
// each further type of key that the server might have. It takes as long as is
// left, and tells how much of that it used.
func (d *Dialer) attempt(ctx context.Context, t *Target, via *Client, v *verifier, left time.Duration) (_ *Client, used time.Duration, _ error) {
	op := "connect to " + t.hostPort()
	// The bastion's gate comes before the host's: always in this order, and
	// nobody who holds a host's gate waits for a bastion's.
	var gates []*semaphore.Weighted
	if via != nil {
		gates = append(gates, d.gate("bastion "+t.Bastion.key()))
	}
	gates = append(gates, d.gate("sshd "+t.Bastion.key()+" "+t.hostPort()))
	for _, g := range gates {
		if err := g.Acquire(ctx, 1); err != nil {
			return nil, 0, contextError(ctx, t.name(), op)
		}
		defer g.Release(1)
	}
	began := time.Now()
	ctx, cancel := WithTimeout(ctx, t.name(), op, left)
	defer cancel()
	client, err := d.tryKeys(ctx, t, via, v)
	return client, time.Since(began), err
}

// tryKeys makes connections until the host has shown a key that is accepted, or
// each that it has.
func (d *Dialer) tryKeys(ctx context.Context, t *Target, via *Client, v *verifier) (*Client, error) {

	algorithms := v.algorithms
	var mismatch *HostKeyError
	for {
		client, err := d.handshake(ctx, t, via, v.check, algorithms)
		var negotiation *gossh.AlgorithmNegotiationError
		if mismatch != nil && errors.As(err, &negotiation) {
			return nil, mismatch // the server has no key of another type
		}
		var e *HostKeyError
		if !v.retry || !errors.As(err, &e) {
			return client, err
		}
		if mismatch != nil {
			e.Others = append(mismatch.Others, mismatch.Type+" "+mismatch.Fingerprint)
		}
		mismatch = e
		seen := familyOf(e.Type)
		algorithms = slices.DeleteFunc(slices.Clone(algorithms), func(a string) bool { return slices.Contains(seen, a) })
		if len(algorithms) == 0 {
			return nil, mismatch
		}
	}
}

// handshake makes one TCP connection and brings it to the authenticated state.
func (d *Dialer) handshake(ctx context.Context, t *Target, via *Client, check func(gossh.PublicKey) error, algorithms []string) (*Client, error) {
	op := "connect to " + t.hostPort()
	ids, agent, err := identities(ctx, t, d.opts.AgentSocket)
	if err != nil {
		return nil, err
	}
	defer agent.Close()

	attempt, cancel := context.WithTimeout(ctx, t.timeout())
	defer cancel()
	// fail tells the end of the caller's context from that of this attempt.
	fail := func(err error, doing string) error {
		switch {
		case ctx.Err() != nil:
			return contextError(ctx, t.name(), op)
		case attempt.Err() != nil:
			return &ConnError{Host: t.name(), Op: op, temporary: true, Err: fmt.Errorf("%s: no answer within %s", doing, t.timeout())}
		}
		return err
	}

	var raw net.Conn
	if via == nil {
		raw, err = new(net.Dialer).DialContext(attempt, "tcp", t.hostPort())
	} else {
		raw, err = via.DialContext(attempt, "tcp", t.hostPort())
	}
	if err != nil {
		return nil, fail(dialError(t, op, err), "TCP")
	}

	client := newClient(d, t)
	conn := &meteredConn{raw, &client.counters}
	stop := context.AfterFunc(attempt, func() { conn.Close() })

	var keyErr error
	verified := false
	var once sync.Once // keys are exchanged again later on
	var shown string
	config := &gossh.ClientConfig{
		User:              t.User,
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key gossh.PublicKey) error {
			keyErr = check(key)
			verified = keyErr == nil
			once.Do(func() { shown = fingerprint(key) })
			return keyErr
		},
		Auth: []gossh.AuthMethod{gossh.PublicKeysCallback(func() ([]gossh.Signer, error) {
			signers := make([]gossh.Signer, len(ids))
			for i, id := range ids {
				signers[i] = id.Signer
			}
			return signers, nil
		})},
	}
	c, chans, reqs, err := gossh.NewClientConn(conn, t.hostPort(), config)
	if !stop() && err == nil {
		c.Close()
		err = attempt.Err()
	}
	if err != nil {
		conn.Close()
		switch {
		case keyErr != nil:
			return nil, keyErr
		case verified && !isDisconnect(err) && attempt.Err() == nil:
			e := &AuthError{Host: t.name(), User: t.User, Address: t.hostPort(), Err: err}
			for _, id := range ids {
				e.Offered = append(e.Offered, id.String())
			}
			return nil, e
		}
		return nil, fail(&ConnError{
			Host: t.name(), Op: op, Err: err,
			temporary: isDisconnect(err),
			refused:   isDisconnect(err) && !verified,
		}, "SSH handshake")
	}
	client.hostKey = shown
	client.start(gossh.NewClient(c, chans, reqs), conn)
	return client, nil
}

// fingerprint is that of a host's key, or of the key in its certificate.
func fingerprint(key gossh.PublicKey) string {
	if certificate, ok := key.(*gossh.Certificate); ok {
		key = certificate.Key
	}
	return gossh.FingerprintSHA256(key)
}

// dialError describes a TCP connection that could not be made.
func dialError(t *Target, op string, err error) error {
	var lost *ConnError
	if errors.As(err, &lost) { // through a bastion, which named itself
		return &ConnError{Host: t.name(), Op: op, Err: err, temporary: lost.temporary, hint: lost.hint}
	}
	var dns *net.DNSError
	return &ConnError{Host: t.name(), Op: op, Err: err, temporary: !errors.As(err, &dns) || dns.IsTemporary || dns.IsTimeout, hint: dialHint(t, err)}
}

// isDisconnect reports whether err is the sudden end of a transport.
func isDisconnect(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

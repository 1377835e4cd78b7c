// Package provision gets a plan carried out: it observes hosts, executes a
// delta's graph, holds the lock and keeps each host's state. It is the only
// package that changes anything.
//
// Contract: Fleet owns the SSH connections, one a host, and closes them.
// Observe changes nothing on a host. Nothing is written to a host whose lock is
// not held, see Fleet.Lock. Executor.Apply carries out a Delta and
// nothing else; before it overwrites a file it checks that the file is still
// what the delta was computed from. How a kind of resource is carried out
// stands in one table, in appliers.go.
package provision

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
	"github.com/kinstall/kinstall/provision/probe"
	"github.com/kinstall/kinstall/provision/ssh"
)

// DefaultParallelism is how many hosts are worked on at a time.
const DefaultParallelism = 32

// mostParsed is how many hosts' answers are read at a time.
const mostParsed = 2

// failureKept is how long a host that could not be reached is not dialled
// again: what needs it meanwhile gets the same error without waiting.
const failureKept = 5 * time.Second

// lockPath is held with flock(2) while kinstall changes a host. It lies in
// memory: a reboot frees it.
const lockPath = "/run/kinstall.lock"

// Authorities is what provisioning needs of the operator's pki directory.
type Authorities interface {
	plan.Authorities
	// Create makes an authority that does not exist; it never overwrites one.
	Create(resource.Authority) error
	// Encrypt encrypts an authority's private key that lies in the clear.
	Encrypt(name string) error
	// Issue mints a new key and a certificate for it, both in PEM, the
	// certificate with its chain.
	Issue(context.Context, resource.Certificate) (certificate, key []byte, err error)
	// Bytes returns the material a host holds of an authority.
	Bytes(name string, part resource.Part) ([]byte, error)
	// ClientTLS returns a configuration with a short-lived client certificate
	// in memory, trusting servers of the same authority.
	ClientTLS(authority, commonName string, organization []string, lifetime time.Duration) (*tls.Config, error)
}

// Releases is where binaries and image archives come from.
type Releases interface {
	// Fetch returns a local file with the given digest, verified.
	Fetch(ctx context.Context, location, sha256 string, progress func(done, total int64)) (path string, err error)
}

// Options configure a Fleet.
type Options struct {
	Parallelism int // DefaultParallelism if 0
	// ConfirmTimeout is how long a host waits to be reached over a new connection
	// after a step that may cut it off; DefaultConfirmTimeout if 0.
	ConfirmTimeout  time.Duration
	TrustOnFirstUse bool
	// LockTimeout is how long Lock waits for locks that somebody else holds; 0:
	// not at all.
	LockTimeout time.Duration
	// RetakeTimeout bounds the attempts to take a lock back that was lost with its
	// connection; DefaultRetakeTimeout if 0.
	RetakeTimeout time.Duration
	// Deadlines bound what is done on a host.
	Deadlines Deadlines
	// Fault is told of a panic that no error can tell of.
	Fault fault.Handler
	// Log is told what a user should read: a key trusted on first use, who holds a
	// lock that is waited for, which host is slow.
	Log func(string)
}

// Fleet is the hosts of an inventory and the connections to them.
type Fleet struct {
	inventory   *inventory.Inventory
	authorities Authorities
	options     Options
	dialer      *ssh.Dialer

	machines map[string]*machine // by host; only Observe adds to the map, before anything uses what it adds

	locks atomic.Pointer[lockSet] // nil while none are held

	waiting waiting
	parsing *semaphore.Weighted // answers take several times their size meanwhile
	answers atomic.Int64        // bytes taken of commonAnswers
	states  fact.States         // of all hosts, which share what they have in common

	mu      sync.Mutex
	release func() // of the locks; nil if there were none
}

// machine is one host: its connection and what is remembered there.
type machine struct {
	fleet   *Fleet
	host    inventory.Host
	cluster string

	lock hostLock

	dialling *semaphore.Weighted // of 1, held while dialling
	failure  error               // of the last dial
	failedAt time.Time
	client   atomic.Pointer[ssh.Client]

	answersMu sync.Mutex
	answers   int64 // bytes taken of commonAnswers

	state    stateKeeper
	packages sync.Mutex // the distribution's package manager does one thing at a time
}

// NewFleet returns the fleet of an inventory; nothing is dialled yet.
func NewFleet(inv *inventory.Inventory, authorities Authorities, options Options) *Fleet {
	if options.Parallelism <= 0 {
		options.Parallelism = DefaultParallelism
	}
	if options.RetakeTimeout <= 0 {
		options.RetakeTimeout = DefaultRetakeTimeout
	}
	options.Deadlines = options.Deadlines.withDefaults()
	if options.Log == nil {
		options.Log = func(string) {}
	}
	f := &Fleet{inventory: inv, authorities: authorities, options: options, machines: map[string]*machine{}, parsing: semaphore.NewWeighted(mostParsed)}
	f.dialer = ssh.NewDialer(ssh.Options{
		TrustOnFirstUse: options.TrustOnFirstUse,
		Fault:           options.Fault,
		OnTrust:         func(t ssh.Trusted) { options.Log(t.String()) },
	})
	for _, host := range inv.Hosts {
		f.machines[host.Name] = &machine{fleet: f, host: host, cluster: inv.Cluster.Name, dialling: semaphore.NewWeighted(1)}
	}
	return f
}

// Close gives back the locks that are still held, and ends all connections.
func (f *Fleet) Close() error {
	f.mu.Lock()
	release := f.release
	f.mu.Unlock()
	if release != nil {
		release()
	}
	var group fault.Group
	for _, m := range f.machines {
		group.Go(func() error {
			if err := m.dialling.Acquire(context.Background(), 1); err != nil {
				return err
			}
			defer m.dialling.Release(1)
			if client := m.ssh(); client != nil {
				return client.Close()
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), f.dialer.Close())
}

// Counts returns how many connections were made and scripts run so far.
func (f *Fleet) Counts() (connections, execs int) {
	counts := f.dialer.Counts()
	return int(counts.Connections), int(counts.Execs)
}

// target translates what the inventory says of reaching a host.
func target(host inventory.Host) ssh.Target {
	t := ssh.Target{
		Name:        host.Name,
		Address:     host.Address.String(),
		Port:        host.SSH.Port,
		User:        host.SSH.User,
		KeyFiles:    host.SSH.KeyFiles,
		Agent:       host.SSH.Agent,
		KnownHosts:  host.SSH.KnownHosts,
		Fingerprint: host.SSH.Fingerprint,
		Become:      host.SSH.Become,
		Timeout:     host.SSH.Timeout,
	}
	if t.Fingerprint != "" {
		t.KnownHosts = "" // the nearer statement wins
	}
	if b := host.SSH.Bastion; b != nil {
		t.Bastion = &ssh.Target{
			Name:        "bastion " + b.Address,
			Address:     b.Address,
			Port:        b.Port,
			User:        b.User,
			KeyFiles:    b.KeyFiles,
			Agent:       host.SSH.Agent,
			KnownHosts:  b.KnownHosts,
			Fingerprint: b.Fingerprint,
			Timeout:     host.SSH.Timeout,
		}
		if t.Bastion.Fingerprint != "" {
			t.Bastion.KnownHosts = ""
		}
	}
	return t
}

// connect returns the machine with a connection that lives: dialled on first use
// and again after it was lost. While the fleet holds locks (see Lock), the host's
// own is held, too: one that went with its connection is waited for until it is
// taken back. The error is a *LockLostError if that failed, and says why where
// the host could not be locked in the first place.
//
// The connection may break at any later time. What writes goes through
// machine.change, what only reads through machine.read, which tries again; who
// keeps the machine for longer, as gates do, calls connect anew for each use.
func (f *Fleet) connect(ctx context.Context, name string) (*machine, error) {
	m, ok := f.machines[name]
	if !ok {
		return nil, fmt.Errorf("%s: no such host in the inventory", name)
	}
	if f.locks.Load() == nil {
		if err := f.dial(ctx, m, false); err != nil {
			return nil, err
		}
		return m, nil
	}
	for {
		lock, err := m.lock.wait(ctx)
		if err != nil {
			if !errors.As(err, new(*LockLostError)) && !strings.HasPrefix(err.Error(), name+": ") {
				err = fmt.Errorf("%s: %w", name, err)
			}
			return nil, err
		}
		if m.ssh().Err() == nil {
			return m, nil
		}
		select {
		case <-lock.Lost(): // as it will be in a moment
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", name, ctx.Err())
		}
	}
}

// dial makes sure that a machine has a connection that lives, whatever its lock.
// A failure is remembered for a moment, unless a fresh attempt is asked for.
func (f *Fleet) dial(ctx context.Context, m *machine, fresh bool) error {
	if err := m.dialling.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("%s: connect: %w", m.host.Name, err)
	}
	defer m.dialling.Release(1)
	if client := m.ssh(); client != nil && client.Err() == nil {
		return nil
	}
	if !fresh && m.failure != nil && time.Since(m.failedAt) < failureKept {
		return m.failure
	}
	defer f.waiting.begin(m.host.Name, "connecting")()
	client, err := f.dialer.Dial(ctx, target(m.host))
	if err != nil {
		if ctx.Err() == nil {
			m.failure, m.failedAt = err, time.Now()
		}
		return err
	}
	m.failure = nil
	m.client.Store(client)
	return nil
}

// tunnel opens TCP connections from the host, over the connection that lives at
// that time: the caller may keep it. It needs no lock.
func (m *machine) tunnel(ctx context.Context, network, address string) (net.Conn, error) {
	if err := m.fleet.dial(ctx, m, false); err != nil {
		return nil, &cluster.PathError{Err: err}
	}
	return m.ssh().DialContext(ctx, network, address)
}

// ssh returns the machine's connection, which may have ended; nil before the
// first.
func (m *machine) ssh() *ssh.Client { return m.client.Load() }

// Observe asks every host of the plan what the plan must know of it: one
// connection and one exec a host. A host that can't be asked is in the result
// with its error, as is one that takes longer than Deadlines.Observe; the returned
// error is only ever that of ctx.
func (f *Fleet) Observe(ctx context.Context, p *plan.Plan) (plan.Observed, error) {
	defer f.nameSlow()()
	observed := plan.Observed{Hosts: map[string]plan.Observation{}, Elsewhere: map[string]plan.Observation{}}
	f.observeHosts(ctx, p, observed, p.ElsewhereAsked())
	if err := ctx.Err(); err != nil {
		return observed, err
	}
	leaving := p.Departures(observed)
	if err := f.observeLeaving(ctx, p, &observed, leaving); err != nil {
		return observed, err
	}
	observed.Cluster, observed.ClusterErr = f.observeCluster(ctx, p, observed, p.DepartureQueries(leaving))
	f.observeLater(ctx, observed.Cluster, p.LaterQueries(observed))
	if _, err := observed.Cluster.EtcdMembers(); err != nil && f.lacksMembers(observed) {
		// Perhaps etcd lives on hosts that had its role before.
		if more := p.Elsewhere(""); len(more) > 0 {
			f.observeHosts(ctx, p, observed, more)
			f.observeMembers(ctx, observed.Cluster, f.members(observed))
		}
	}
	return observed, ctx.Err()
}

// observeHosts asks the hosts of the plan, and of those that it leaves out the
// ones named, as far as they were not asked yet.
func (f *Fleet) observeHosts(ctx context.Context, p *plan.Plan, observed plan.Observed, elsewhere []string) {
	asked := asking{fleet: f}
	asked.group.SetLimit(f.options.Parallelism)
	asked.ask(ctx, observed.Hosts, p.Hosts(), p.Queries)
	asked.ask(ctx, observed.Elsewhere, elsewhere, p.ElsewhereQueries)
	_ = asked.group.Wait()
}

// asking is the observation of many hosts side by side.
type asking struct {
	fleet *Fleet
	mu    sync.Mutex
	group fault.Group
}

// ask begins to ask hosts, as far as they were not asked yet.
func (a *asking) ask(ctx context.Context, into map[string]plan.Observation, names []string, queries func(string) []fact.Query) {
	for _, name := range names {
		a.mu.Lock()
		_, asked := into[name]
		a.mu.Unlock()
		if asked {
			continue
		}
		a.group.Go(func() error {
			observation := plan.Observation{}
			if err := Recover(func() error {
				observation = a.fleet.observeHost(ctx, name, queries(name))
				return nil
			}); err != nil {
				observation = plan.Observation{Err: fmt.Errorf("%s: observe: %w", name, err)}
			}
			a.mu.Lock()
			into[name] = observation
			a.mu.Unlock()
			return nil
		})
	}
}

// lacksMembers reports whether a host that should be a member of etcd has no
// data of it.
func (f *Fleet) lacksMembers(observed plan.Observed) bool {
	for _, host := range f.inventory.With(inventory.RoleEtcd) {
		if facts, ok := observed.Learnt(host.Name); ok && plan.LacksData(f.inventory, facts) {
			return true
		}
	}
	return false
}

func (f *Fleet) observeHost(ctx context.Context, name string, queries []fact.Query) plan.Observation {
	m, err := f.connect(ctx, name)
	if err != nil {
		return plan.Observation{Err: err}
	}
	facts, skew, err := m.ask(ctx, queries)
	if err != nil {
		return plan.Observation{Err: err}
	}
	m.state.load(facts.Host.State)
	return plan.Observation{Facts: facts, Skew: skew, HostKey: m.ssh().HostKey()}
}

// ask runs the probe.
func (m *machine) ask(ctx context.Context, queries []fact.Query) (fact.Set, time.Duration, error) {
	script, err := probe.Script(queries, m.host.Address.String())
	if err != nil {
		return fact.Set{}, 0, fmt.Errorf("%s: %w", m.host.Name, err)
	}
	defer m.fleet.waiting.begin(m.host.Name, "observing")()
	before := time.Now()
	result, err := m.read(ctx, ssh.Command{Label: "observe", Script: script, Root: true, MaxOutput: probe.MaxOutput})
	if err != nil {
		return fact.Set{}, 0, err
	}
	after := time.Now()
	if err := m.keepAnswers(len(result.Stdout)); err != nil {
		return fact.Set{}, 0, err
	}
	if err := m.fleet.parsing.Acquire(ctx, 1); err != nil {
		return fact.Set{}, 0, fmt.Errorf("%s: observe: %w", m.host.Name, err)
	}
	defer m.fleet.parsing.Release(1)
	facts, err := probe.ParseShared(&m.fleet.states, result.Stdout, queries)
	if err != nil {
		return fact.Set{}, 0, fmt.Errorf("%s: observe: %w", m.host.Name, err)
	}
	// The host read its clock somewhere between sending and receiving: only
	// what lies outside that window is known to be skew.
	var skew time.Duration
	switch now := facts.Host.Time; {
	case now.After(after):
		skew = now.Sub(after)
	case now.Before(before):
		skew = now.Sub(before)
	}
	return facts, skew, nil
}

// observeCluster asks the API and etcd. Where there is none yet there is
// nothing to ask: what is about the cluster is deferred.
func (f *Fleet) observeCluster(ctx context.Context, p *plan.Plan, observed plan.Observed, more []fact.Query) (fact.Set, error) {
	objects, keys := more, []fact.Query(nil)
	for _, q := range p.Queries(plan.Cluster) {
		if q.Kind == fact.KindEtcd {
			keys = append(keys, q)
		} else {
			objects = append(objects, q)
		}
	}
	facts, apiErr := f.observeAPI(ctx, objects, f.installed(inventory.RoleMaster, observed))
	f.observeMembers(ctx, facts, f.members(observed))
	return facts, errors.Join(apiErr, f.observeEtcd(ctx, facts, keys, f.installed(inventory.RoleEtcd, observed)))
}

// members are the hosts on which a member of etcd may run: by the inventory, or
// because kinstall made them members once.
func (f *Fleet) members(observed plan.Observed) []string {
	var names []string
	for _, host := range f.inventory.Hosts {
		facts, ok := observed.Learnt(host.Name)
		if ok && (plan.WasMember(f.inventory, facts) || host.Has(inventory.RoleEtcd) && len(facts.Host.State.Resources) > 0) {
			names = append(names, host.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(observed.Leaving)) {
		if facts, ok := observed.Learnt(name); ok && plan.WasMember(f.inventory, facts) {
			names = append(names, name)
		}
	}
	return names
}

// observeMembers adds etcd's list of its members. Where etcd does not answer,
// the plan judges by what the hosts have.
func (f *Fleet) observeMembers(ctx context.Context, facts fact.Set, hosts []string) {
	if len(f.inventory.With(inventory.RoleEtcd)) == 0 || len(hosts) == 0 || !f.authorities.Exists(plan.AuthorityEtcd) {
		return
	}
	members, config, err := f.etcd(ctx, hosts)
	if err != nil {
		return
	}
	if found, err := cluster.EtcdMembers(ctx, members, config); err == nil {
		facts.Put(fact.EtcdMembersKey, found)
	}
}

// observeLater adds the answers to what is asked only where a minor version
// changes. What can't be learnt is in the answers, or left as it was.
func (f *Fleet) observeLater(ctx context.Context, facts fact.Set, queries []fact.Query) {
	if len(queries) == 0 || !f.authorities.Exists(plan.AuthorityKubernetes) {
		return
	}
	config, err := f.authorities.ClientTLS(plan.AuthorityKubernetes, "kinstall", []string{"system:masters"}, adminLifetime)
	if err != nil {
		return // as it was before, for the same reason
	}
	var group fault.Group
	var mu sync.Mutex
	var nodes []fact.Query
	var masters []string
	for _, q := range queries {
		if q.Kind == fact.KindNode {
			nodes = append(nodes, q)
			continue
		}
		masters = append(masters, q.Name)
		group.Go(func() error {
			found := fact.Deprecated{}
			apis, err := cluster.Instance{Server: f.apiServer(q.Name), TLS: config}.Deprecated(ctx)
			if err != nil {
				found.Err = err.Error()
			}
			found.APIs = apis
			mu.Lock()
			defer mu.Unlock()
			facts.Put(q.Key(), found)
			return nil
		})
	}
	_ = group.Wait()
	if len(nodes) == 0 || len(masters) == 0 {
		return
	}
	client, err := f.kubernetes(ctx, masters)
	if err != nil {
		return
	}
	defer client.Close()
	found, err := client.Observe(ctx, nodes)
	if err != nil {
		return // a drain finds out
	}
	for _, q := range nodes {
		if node, err := found.Node(q.Name); err == nil {
			facts.Put(q.Key(), node)
		}
	}
}

// installed are the hosts of a role on which kinstall has been at work.
func (f *Fleet) installed(role string, observed plan.Observed) []string {
	var names []string
	for _, host := range f.inventory.With(role) {
		o, ok := observed.Hosts[host.Name]
		if ok && o.Err == nil && len(o.Facts.Host.State.Resources) > 0 {
			names = append(names, host.Name)
		}
	}
	return names
}

// observeEtcd adds the answers to queries of keys.
func (f *Fleet) observeEtcd(ctx context.Context, facts fact.Set, queries []fact.Query, hosts []string) error {
	if len(queries) == 0 || len(hosts) == 0 || !f.authorities.Exists(plan.AuthorityEtcd) {
		return nil
	}
	members, config, err := f.etcd(ctx, hosts)
	if err != nil {
		return err
	}
	for _, q := range queries {
		found, err := cluster.EtcdKeys(ctx, members, config, q.Name)
		if errors.Is(err, cluster.ErrNoEtcd) {
			return nil
		}
		if err != nil {
			return err
		}
		facts.Put(q.Key(), found)
	}
	return nil
}

// observeAPI asks the first API server that answers.
func (f *Fleet) observeAPI(ctx context.Context, queries []fact.Query, masters []string) (fact.Set, error) {
	none := fact.NewSet(fact.Host{})
	if len(queries) == 0 || len(masters) == 0 || !f.authorities.Exists(plan.AuthorityKubernetes) {
		return none, nil
	}
	client, err := f.kubernetes(ctx, masters)
	if errors.Is(err, cluster.ErrNoAPI) { // no master can be reached
		return none, nil
	}
	if err != nil {
		return none, err
	}
	defer client.Close()
	facts, err := client.Observe(ctx, queries)
	if errors.Is(err, cluster.ErrNoAPI) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	return facts, nil
}

// adminLifetime is how long a certificate made for kinstall itself lasts.
const adminLifetime = time.Hour

// kubernetes returns a client of the API servers on the given masters, dialled
// through their SSH connections.
func (f *Fleet) kubernetes(ctx context.Context, masters []string) (*cluster.Client, error) {
	config, err := f.authorities.ClientTLS(plan.AuthorityKubernetes, "kinstall", []string{"system:masters"}, adminLifetime)
	if err != nil {
		return nil, err
	}
	var servers []cluster.Server
	for _, name := range masters {
		if _, err := f.connect(ctx, name); err != nil {
			continue // another master will do
		}
		servers = append(servers, f.apiServer(name))
	}
	if len(servers) == 0 {
		return nil, cluster.ErrNoAPI
	}
	return cluster.New(cluster.Config{Servers: servers, TLS: config})
}

// dialFrom dials from a host, through whichever connection to it lives.
func (f *Fleet) dialFrom(host string) cluster.DialFunc {
	m, ok := f.machines[host]
	if !ok {
		return func(context.Context, string, string) (net.Conn, error) {
			return nil, fmt.Errorf("%s: no such host in the inventory", host)
		}
	}
	return m.tunnel
}

// apiServer is one master's own API server, reached through its host.
func (f *Fleet) apiServer(name string) cluster.Server {
	h, _ := f.inventory.Host(name)
	return cluster.Server{Name: name, Address: net.JoinHostPort(h.Address.String(), strconv.Itoa(inventory.APIPort)), Dial: f.dialFrom(name)}
}

// etcd lists the members of etcd on the given hosts, as far as the hosts can
// be reached, and how to show oneself to them.
func (f *Fleet) etcd(ctx context.Context, hosts []string) ([]cluster.Member, *tls.Config, error) {
	config, err := f.authorities.ClientTLS(plan.AuthorityEtcd, "kinstall", nil, adminLifetime)
	if err != nil {
		return nil, nil, err
	}
	var members []cluster.Member
	var failure error
	for _, name := range hosts {
		if _, err := f.connect(ctx, name); err != nil {
			failure = err
			continue // another member will do
		}
		members = append(members, f.etcdMember(name))
	}
	if len(members) == 0 {
		return nil, nil, failure
	}
	return members, config, nil
}

// etcdMember is the member on a host, reached through that host.
func (f *Fleet) etcdMember(name string) cluster.Member {
	var address netip.Addr
	if m, ok := f.machines[name]; ok { // of a host that leaves, too
		address = m.host.Address
	}
	return cluster.Member{
		Name:      name,
		ClientURL: "https://" + net.JoinHostPort(address.String(), strconv.Itoa(plan.EtcdClientPort)),
		Dial:      f.dialFrom(name),
	}
}

// masterNames lists the masters, sorted.
func (f *Fleet) masterNames() []string {
	var names []string
	for _, host := range f.inventory.With(inventory.RoleMaster) {
		names = append(names, host.Name)
	}
	sort.Strings(names)
	return names
}

var _ io.Closer = (*Fleet)(nil)

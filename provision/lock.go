package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/provision/ssh"
)

const (
	// DefaultRetakeTimeout is how long a host is dialled again whose connection
	// was lost, before its lock counts as lost.
	DefaultRetakeTimeout = 30 * time.Second
	// retakePause lies between two attempts.
	retakePause = 300 * time.Millisecond
	// lockPause and as much again at most, at random, lie between two attempts to
	// take locks that somebody else holds.
	lockPause = 500 * time.Millisecond
	// waitingInterval lies between two notices of who is waited for.
	waitingInterval = 5 * time.Second
)

// LockLostError says that the lock of a host was lost while it was relied on:
// somebody else took it, or it could not be taken back after its connection
// broke. Another kinstall may be at work there. Nothing more is written to the
// host, and no further step begins anywhere.
type LockLostError struct {
	Host string
	Err  error // what became of the lock
}

func (e *LockLostError) Error() string {
	return fmt.Sprintf("%s: the lock on the host was lost, so that nothing more is written to it: %s", e.Host, strings.TrimPrefix(e.Err.Error(), e.Host+": "))
}

func (e *LockLostError) Unwrap() error { return e.Err }

// NoMajorityError says that too few of the masters and members of etcd could be
// locked to be sure that no other kinstall changes the cluster.
type NoMajorityError struct {
	Locked int
	Failed map[string]error // by host: why it could not be locked
	Of     int
}

func (e *NoMajorityError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d masters and members of etcd could be locked; %d are needed to be sure that no other kinstall is at work", e.Locked, e.Of, e.Of/2+1)
	for _, host := range slices.Sorted(maps.Keys(e.Failed)) {
		fmt.Fprintf(&b, "\n%s: %s", host, strings.TrimPrefix(e.Failed[host].Error(), host+": "))
	}
	return b.String()
}

// Hint is advice for the user: what there is for each host, else what holds for
// all.
func (e *NoMajorityError) Hint() string {
	var hints []string
	for _, host := range slices.Sorted(maps.Keys(e.Failed)) {
		if hint := ssh.Hint(e.Failed[host]); hint != "" {
			hints = append(hints, host+": "+hint)
		}
	}
	if len(hints) == 0 {
		return "bring these hosts back first: with fewer of them, another apply could change the cluster at the same time"
	}
	return strings.Join(hints, "\n")
}

// errNotLocked keeps a host from being written to whose lock nobody took.
var errNotLocked = errors.New("its lock is not held; nothing is written to it")

// lockSet is what Fleet.Lock took.
type lockSet struct {
	claim  ssh.Claim
	guards []string // the masters and members of etcd

	keeping context.Context // ends when the locks are given back
	keepers sync.WaitGroup
	names   []string // of the hosts whose locks were taken, or could not be

	mu     sync.Mutex
	lost   map[string]*LockLostError
	first  *LockLostError
	ends   []context.CancelCauseFunc // of the contexts that end when first is set
	ending chan struct{}             // closed when first is set, after ends were called
}

// lose remembers a lock that was lost for good, or was never had.
func (l *lockSet) lose(err *LockLostError) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost[err.Host] == nil {
		l.lost[err.Host] = err
	}
	if l.first == nil {
		l.first = err
		for _, end := range l.ends {
			end(err)
		}
		close(l.ending)
	}
}

// alone reports an error unless enough locks are still held for nobody else to
// be able to change the cluster.
func (l *lockSet) alone() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := 0
	for _, host := range l.guards {
		if l.lost[host] == nil {
			held++
		}
	}
	if len(l.guards) > 0 && 2*held <= len(l.guards) {
		return fmt.Errorf("too few locks of masters and members of etcd are left: %w", l.first)
	}
	return nil
}

// hostLock is the lock of one host.
type hostLock struct {
	mu      sync.Mutex
	held    *ssh.Lock
	err     error         // why it is not held, and won't be
	changed chan struct{} // closed when held or err is set; another one follows
}

func (l *hostLock) set(held *ssh.Lock, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.err = held, err
	if l.changed != nil {
		close(l.changed)
	}
	l.changed = make(chan struct{})
}

// wait returns the lock, if need be after it was taken back.
func (l *hostLock) wait(ctx context.Context) (*ssh.Lock, error) {
	for {
		l.mu.Lock()
		held, err, changed := l.held, l.err, l.changed
		l.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case held == nil:
			return nil, errNotLocked
		}
		select {
		case <-held.Lost():
		default:
			return held, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// end calls cancel, with the cause, when a lock is lost, before anybody can know
// of it: what looks at the context then begins nothing more.
func (l *lockSet) end(cancel context.CancelCauseFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first != nil {
		cancel(l.first)
		return
	}
	l.ends = append(l.ends, cancel)
}

// whileLocked returns a context that ends with a *LockLostError as its cause
// when a lock that the fleet holds is lost.
func (f *Fleet) whileLocked(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if locks := f.locks.Load(); locks != nil {
		locks.end(cancel)
	}
	return ctx, func() { cancel(nil) }
}

// Lock takes the locks of hosts, so that one kinstall at a time changes them, and
// beside them, whatever the hosts are, those of every master and every member of
// etcd: two runs that change different hosts change one cluster.
//
// If a lock is held by somebody else, none is kept and the error is a
// *ssh.LockedError; with Options.LockTimeout it is tried again until that is
// over. A host that can't be reached can't be locked. Then
//
//   - a majority of the masters and members of etcd must be locked all the same:
//     two runs then have one of them in common at least. If it is not, none is
//     kept and the error is a *NoMajorityError;
//   - the host itself is not written to: Observe has it as one that can't be
//     asked, even if it can be reached by then.
//
// The kernel frees a lock when its connection ends, however that comes about. The
// fleet then connects again, for Options.RetakeTimeout, and takes the lock back
// if nobody had it meanwhile. If that fails, an Executor begins no further step
// and nothing more is written to the host.
func (f *Fleet) Lock(ctx context.Context, hosts []string, description string) (release func(), err error) {
	defer f.nameSlow()()
	none := func() {}
	guards := f.guards()
	names := slices.Clone(guards)
	for _, host := range hosts {
		if !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	claim := ssh.Claim{Holder: description, Token: ssh.NewToken()}
	if name, err := os.Hostname(); err == nil {
		claim.Holder = fmt.Sprintf("%s by %s on %s, pid %d", description, currentUser(), name, os.Getpid())
	}
	taken, failed, err := f.takeLocksInTime(ctx, names, claim)
	if err != nil {
		return none, err
	}
	set := &lockSet{claim: claim, guards: guards, lost: map[string]*LockLostError{}, ending: make(chan struct{})}
	missing := map[string]error{}
	for _, host := range guards {
		if err := failed[host]; err != nil {
			missing[host] = err
			set.lost[host] = &LockLostError{Host: host, Err: err}
		}
	}
	if len(guards) > 0 && 2*(len(guards)-len(missing)) <= len(guards) {
		releaseAll(taken)
		return none, &NoMajorityError{Locked: len(guards) - len(missing), Of: len(guards), Failed: missing}
	}
	for _, host := range guards {
		if err := failed[host]; err != nil && !slices.Contains(hosts, host) {
			f.options.Log(fmt.Sprintf("%s can't be locked, and is left alone; enough of the others are: %s", host, strings.TrimPrefix(err.Error(), host+": ")))
		}
	}

	// The locks outlive ctx: what is under way when it ends is finished.
	var stop context.CancelFunc
	set.keeping, stop = context.WithCancel(context.WithoutCancel(ctx))
	set.hold(f, names, taken, failed)
	f.locks.Store(set)
	release = sync.OnceFunc(func() {
		f.locks.Store(nil)
		stop()
		set.keepers.Wait()
		held := map[string]*ssh.Lock{}
		for _, name := range set.names {
			l := &f.machines[name].lock
			l.mu.Lock()
			if l.held != nil {
				held[name] = l.held
			}
			l.mu.Unlock()
			l.set(nil, nil)
		}
		releaseAll(held)
	})
	f.mu.Lock()
	f.release = release
	f.mu.Unlock()
	return release, nil
}

// hold keeps the locks of hosts from now on, by host, and why others could not be
// taken.
func (l *lockSet) hold(f *Fleet, names []string, taken map[string]*ssh.Lock, failed map[string]error) {
	l.names = append(l.names, names...)
	for _, name := range names {
		m := f.machines[name]
		m.lock.set(taken[name], failed[name])
		if lock := taken[name]; lock != nil {
			l.keepers.Go(func() { f.options.Fault.Guard(func() { f.keepLock(l.keeping, l, m, lock) }) })
		}
	}
}

// guards are the masters and the members of etcd, in the inventory's order.
func (f *Fleet) guards() []string {
	var names []string
	for _, host := range f.inventory.Hosts {
		if host.Has(inventory.RoleMaster) || host.Has(inventory.RoleEtcd) {
			names = append(names, host.Name)
		}
	}
	return names
}

// takeLocksInTime takes locks, again and again for as long as the user wants to
// wait for somebody who holds one of them.
func (f *Fleet) takeLocksInTime(ctx context.Context, names []string, claim ssh.Claim) (map[string]*ssh.Lock, map[string]error, error) {
	deadline := time.Now().Add(f.options.LockTimeout)
	var said time.Time
	for {
		taken, failed, err := f.takeLocks(ctx, names, claim)
		var locked *ssh.LockedError
		left := time.Until(deadline)
		if !errors.As(err, &locked) || left <= 0 {
			return taken, failed, err
		}
		if time.Since(said) >= waitingInterval {
			said = time.Now()
			f.options.Log(fmt.Sprintf("Waiting up to %s: %v", left.Round(time.Second), locked))
		}
		select {
		case <-time.After(min(left, lockPause+rand.N(lockPause))):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// takeLocks takes each lock once; those that can't be taken are in failed. If
// one is held by somebody else, none is kept.
func (f *Fleet) takeLocks(ctx context.Context, names []string, claim ssh.Claim) (taken map[string]*ssh.Lock, failed map[string]error, err error) {
	var mu sync.Mutex
	taken, failed = map[string]*ssh.Lock{}, map[string]error{}
	each := func(names []string, do func(ctx context.Context, m *machine) (*ssh.Lock, error)) error {
		group, ctx := fault.WithContext(ctx)
		group.SetLimit(f.options.Parallelism)
		for _, name := range names {
			group.Go(func() error {
				lock, err := do(ctx, f.machines[name])
				mu.Lock()
				defer mu.Unlock()
				var locked *ssh.LockedError
				switch {
				case errors.As(err, &locked), errors.As(err, new(*PanicError)):
					return err
				case err != nil:
					failed[name] = err
				case lock != nil:
					taken[name] = lock
				}
				return nil
			})
		}
		return group.Wait()
	}
	dial := func(ctx context.Context, m *machine) (*ssh.Lock, error) { return nil, f.dial(ctx, m, false) }
	hold := func(ctx context.Context, m *machine) (*ssh.Lock, error) {
		mu.Lock()
		unreachable := failed[m.host.Name]
		mu.Unlock()
		if unreachable != nil {
			return nil, unreachable
		}
		defer f.waiting.begin(m.host.Name, "locking")()
		ctx, cancel := ssh.WithTimeout(ctx, m.host.Name, "lock", f.options.Deadlines.Lock)
		defer cancel()
		return m.ssh().Hold(ctx, lockPath, claim)
	}
	err = each(names, dial)
	// One by one until the first is had, so that of two runs that begin at the
	// same time one gets all of them.
	left := names
	for err == nil && len(left) > 0 && len(taken) == 0 {
		err = each(left[:1], hold)
		left = left[1:]
	}
	if err == nil {
		err = each(left, hold)
	}
	if err = cmp.Or(ctx.Err(), err); err != nil {
		releaseAll(taken)
		return nil, nil, err
	}
	return taken, failed, nil
}

func releaseAll(locks map[string]*ssh.Lock) {
	var group fault.Group
	for _, lock := range locks {
		group.Go(func() error { lock.Release(); return nil })
	}
	_ = group.Wait()
}

// keepLock takes a host's lock back whenever it is lost, until ctx ends.
func (f *Fleet) keepLock(ctx context.Context, set *lockSet, m *machine, lock *ssh.Lock) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-lock.Lost():
		}
		if ctx.Err() != nil {
			return
		}
		var err error
		if lock, err = f.retake(ctx, set.claim, m); ctx.Err() != nil && lock == nil {
			return
		}
		if err != nil {
			lost := &LockLostError{Host: m.host.Name, Err: err}
			m.lock.set(nil, lost)
			set.lose(lost)
			return
		}
		m.lock.set(lock, nil)
	}
}

// retake connects to a host again, if need be, and takes its lock back.
func (f *Fleet) retake(ctx context.Context, claim ssh.Claim, m *machine) (*ssh.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, f.options.RetakeTimeout)
	defer cancel()
	var last error
	for {
		err := f.dial(ctx, m, true)
		if err == nil {
			var lock *ssh.Lock
			if lock, err = m.ssh().Retake(ctx, lockPath, claim); err == nil {
				return lock, nil
			}
		}
		var token *ssh.TokenError
		if errors.As(err, &token) {
			return nil, err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-time.After(retakePause):
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: its connection was lost, and within %s the lock could not be taken back: %w", m.host.Name, f.options.RetakeTimeout, last)
		}
	}
}

// change runs a script that changes the host: under the host's lock, which the
// script itself looks at before it begins (see ssh.Fence), and only while no
// other kinstall can be at work on the cluster. Errors: *LockLostError, with
// nothing done; what ssh.Client.Run returns. When the connection breaks while
// the script runs, what it did is unknown and it is not run again.
func (m *machine) change(ctx context.Context, command ssh.Command) (ssh.Result, error) {
	name := m.host.Name
	locks := m.fleet.locks.Load()
	if locks == nil {
		return ssh.Result{}, fmt.Errorf("%s: %s: %w", name, command.Label, errNotLocked)
	}
	if _, err := m.fleet.connect(ctx, name); err != nil {
		return ssh.Result{}, err
	}
	if err := locks.alone(); err != nil {
		return ssh.Result{}, fmt.Errorf("%s: %s: not begun: %w", name, command.Label, err)
	}
	command.Script = ssh.Fence(lockPath, locks.claim.Token, command.Script)
	command.Timeout = m.fleet.options.Deadlines.step("")
	result, err := m.ssh().Run(ctx, command)
	if holder, fenced := ssh.Fenced(err); fenced {
		lost := &LockLostError{Host: name, Err: &ssh.TokenError{Host: name, Path: lockPath, Holder: holder}}
		m.lock.set(nil, lost)
		locks.lose(lost)
		return ssh.Result{}, lost
	}
	if ssh.IsConnectionLost(err) || errors.As(err, new(*ssh.TimeoutError)) || errors.As(err, new(*ssh.OutputError)) {
		err = fmt.Errorf("%w; whether it took effect is not known: apply again to find out", err)
	}
	return result, err
}

// readAttempts is how often a script that changes nothing is begun.
const readAttempts = 3

// read runs a script that changes nothing, again when the connection breaks
// meanwhile, within Deadlines.Observe in all.
func (m *machine) read(ctx context.Context, command ssh.Command) (ssh.Result, error) {
	ctx, cancel := ssh.WithTimeout(ctx, m.host.Name, command.Label, m.fleet.options.Deadlines.Observe)
	defer cancel()
	for attempt := 1; ; attempt++ {
		result, err := m.ssh().Run(ctx, command)
		if !ssh.IsConnectionLost(err) || attempt == readAttempts || ctx.Err() != nil {
			return result, err
		}
		if _, again := m.fleet.connect(ctx, m.host.Name); again != nil {
			return result, fmt.Errorf("%w; again: %w", err, again)
		}
	}
}

// mayChangeCluster reports an error where nothing may be written to what belongs
// to no single host.
func (f *Fleet) mayChangeCluster() error {
	locks := f.locks.Load()
	if locks == nil {
		return errNotLocked
	}
	return locks.alone()
}

func currentUser() string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if user := os.Getenv(name); user != "" {
			return user
		}
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

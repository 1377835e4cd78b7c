package provision

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

const (
	// gateTimeout bounds how long a gate is waited for. A first start pulls
	// nothing and takes seconds; slow disks and a busy machine take minutes.
	gateTimeout = 5 * time.Minute
	// reloadTimeout bounds how long a program that goes on running is given to
	// take up what it was told to: it has nothing to start.
	reloadTimeout = 30 * time.Second
	// beforeTimeout bounds how long is waited for others to be well. What is
	// not well by then needs somebody's attention first.
	beforeTimeout = time.Minute
	// settling is how long a process must have run before it counts as working:
	// programs that refuse their configuration end within two seconds, and systemd
	// starts them again after as many.
	settling = 3 * time.Second
	// askInterval lies between two looks at what is waited for.
	askInterval = 300 * time.Millisecond
	// tryTimeout bounds one look.
	tryTimeout = 10 * time.Second
)

// checker asks hosts and the cluster how what serves is.
type checker interface {
	// processes returns those that a rollout's checks are about, as they run now,
	// and which checks hold now.
	processes(ctx context.Context, r plan.Rollout) (processes, error)
	// before waits until what must hold before a member is touched does.
	before(ctx context.Context, r plan.Rollout, report func(string)) error
	// after waits until a member is seen to work with processes that are others
	// than those from before, and goes on working. It ends early when that can't
	// come about any more, with what the host says.
	after(ctx context.Context, r plan.Rollout, before processes, report func(string)) (processes, error)
	// gate waits until a gate's condition holds.
	gate(ctx context.Context, g resource.Gate, report func(string)) error
}

// processes are the identities of processes, "" for one that does not run.
type processes struct {
	identity map[resource.Process]string
	// pod is which pod a static pod's process is of, whether it runs or not:
	// each manifest has another.
	pod map[resource.Process]string
	// held are the other checks of the rollout that held, nil for not having
	// looked.
	held     map[resource.Check]bool
	any      bool // whichever run will do
	reloaded bool // they go on running
}

// anyProcesses stands for not having looked.
var anyProcesses = processes{any: true}

// started is what the state of a host remembers of a unit's process.
func (p processes) started(step plan.Step) string {
	if unit, ok := step.Resource.(resource.Unit); ok {
		return p.identity[resource.Process{Host: step.Host, Unit: unit.Name}]
	}
	return ""
}

// isNew reports whether a process may be taken for the one that is waited for.
func (p processes) isNew(process resource.Process, identity string) bool {
	return p.any || p.reloaded || p.identity[process] == "" || p.identity[process] != identity
}

func applyGate(ctx context.Context, t *task, g resource.Gate) (fact.Record, error) {
	return fact.Record{}, t.executor.checks.gate(ctx, g, t.report)
}

// ProcessError says why a process can't be waited for any longer, in the words
// of its host.
type ProcessError struct {
	Process resource.Process
	Trouble string // "crashes: exit code 1, restarted 3 times"
	Log     string // its last lines
}

func (e *ProcessError) Error() string {
	text := fmt.Sprintf("%s %s", e.Process.Name(), e.Trouble)
	lines := strings.Split(strings.TrimRight(e.Log, "\n"), "\n")
	if last := lines[len(lines)-1]; last != "" {
		text += ": " + last
	}
	return text
}

// Hint is what is known of such failures.
func (e *ProcessError) Hint() string { return fact.Hint(e.Trouble + "\n" + e.Log) }

// clusterChecks asks the real hosts and the real cluster.
type clusterChecks struct{ *Executor }

// rollback is the rollout of a member that gets its previous bytes back: what
// held with them must hold again. Its checks may ask for what only the new
// version has, as at another port; and what was broken before stays so.
func (p processes) rollback(r plan.Rollout) plan.Rollout {
	if p.held == nil {
		return r
	}
	r.After = slices.DeleteFunc(slices.Clone(r.After), func(c resource.Check) bool {
		return c.Kind != resource.CheckProcess && !p.held[c]
	})
	return r
}

// previous reports whether what a host says of a static pod is about the one
// that was there before. The kubelet takes up another manifest in its own time.
func (p processes) previous(process resource.Process, s status) bool {
	return !p.any && s.pod != "" && s.pod == p.pod[process]
}

// status is what a host says of one process.
type status struct {
	identity string        // "" while it does not run
	pod      string        // of a static pod, see processes
	since    time.Time     // by the clock of the host
	age      time.Duration // of the process, when it was looked at
	crashes  int           // since somebody started it
	trouble  string
	failed   bool // it won't be tried again
	log      string
}

// look asks a host how processes on it are.
func (e clusterChecks) look(ctx context.Context, host string, wanted []resource.Process) (map[resource.Process]status, error) {
	found := map[resource.Process]status{}
	if len(wanted) == 0 {
		return found, nil
	}
	var queries []fact.Query
	for _, p := range wanted {
		queries = append(queries, p.Query())
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	m, err := e.Fleet.connect(ctx, host)
	if err != nil {
		return nil, err
	}
	facts, _, err := m.ask(ctx, queries)
	if err != nil {
		return nil, err
	}
	for _, p := range wanted {
		if p.Unit != "" {
			u, err := facts.Unit(p.Unit)
			if err != nil {
				return nil, err
			}
			s := status{crashes: u.NRestarts, trouble: u.Trouble(), failed: u.ActiveState == "failed", log: u.Log, since: u.StartedTime, age: u.Age}
			if u.Running() {
				s.identity = u.Started
			} else if s.trouble == "" {
				s.trouble = "is " + u.ActiveState
			}
			found[p] = s
			continue
		}
		pod, err := facts.Pod(p.Pod)
		if err != nil {
			return nil, err
		}
		s := status{pod: pod.UID, crashes: pod.Attempt, trouble: pod.Trouble(), log: pod.Log, since: pod.StartedTime, age: pod.Age}
		if pod.Running {
			s.identity = pod.UID + " " + pod.Started
		}
		found[p] = s
	}
	return found, nil
}

// hopeless returns why processes can't come up any more, nil while they may:
// one that has failed for good, or crashed as often as that. How the pods from
// before ended says nothing of their successors.
func hopeless(found map[resource.Process]status, before processes, crashes func(resource.Process) int) error {
	for _, p := range sortedProcesses(found) {
		s := found[p]
		if before.previous(p, s) {
			continue
		}
		if s.failed || s.trouble != "" && s.crashes >= crashes(p) {
			return &ProcessError{Process: p, Trouble: s.trouble, Log: s.log}
		}
	}
	return nil
}

func sortedProcesses(found map[resource.Process]status) []resource.Process {
	return slices.SortedFunc(maps.Keys(found), func(a, b resource.Process) int {
		return strings.Compare(a.Host+"/"+a.Name(), b.Host+"/"+b.Name())
	})
}

// processesOf lists those that checks look at, by host.
func processesOf(checks []resource.Check) map[string][]resource.Process {
	byHost := map[string][]resource.Process{}
	for _, c := range checks {
		if c.Kind == resource.CheckProcess {
			byHost[c.Process.Host] = append(byHost[c.Process.Host], c.Process)
		}
	}
	return byHost
}

// processes implements checker.
func (e clusterChecks) processes(ctx context.Context, r plan.Rollout) (processes, error) {
	p := processes{identity: map[resource.Process]string{}, pod: map[resource.Process]string{}}
	for host, wanted := range processesOf(r.After) {
		found, err := e.look(ctx, host, wanted)
		if err != nil {
			return p, err
		}
		for process, s := range found {
			p.identity[process], p.pod[process] = s.identity, s.pod
		}
	}
	p.held = map[resource.Check]bool{}
	for _, c := range r.After {
		attempt, cancel := context.WithTimeout(ctx, tryTimeout)
		p.held[c] = e.try(attempt, c, anyProcesses, nil) == nil
		cancel()
	}
	return p, nil
}

// before implements checker.
func (e clusterChecks) before(ctx context.Context, r plan.Rollout, report func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, beforeTimeout)
	defer cancel()
	for _, c := range r.Before {
		if err := e.until(ctx, report, func(ctx context.Context) error { return e.try(ctx, c, processes{}, nil) }); err != nil {
			return err
		}
	}
	return nil
}

// until tries again and again until an attempt succeeds, it fails for good, or
// the context ends.
func (e clusterChecks) until(ctx context.Context, report func(string), try func(context.Context) error) error {
	last := ""
	for {
		attempt, cancel := context.WithTimeout(ctx, tryTimeout)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		var hopeless *ProcessError
		var lost *LockLostError
		if errors.As(err, &hopeless) || errors.As(err, &lost) {
			return err
		}
		if ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			report(last)
		}
		timer := time.NewTimer(askInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if cause := context.Cause(ctx); errors.Is(cause, context.DeadlineExceeded) {
				return fmt.Errorf("not seen in time: %w", err)
			}
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// turnCrashes is how often a member may crash in its turn before that is taken
// for its answer: once, since a neighbour that starts at the same moment may
// be the cause. (Of a unit that is two restarts by systemd: the second comes at
// once after the second crash. A kubelet lets a crashed container wait for ever
// longer, see backOff.)
func turnCrashes(resource.Process) int { return 2 }

// seenCrashes is the same for members that are only looked at: how one that runs
// when it is first looked at has crashed before is no word about it, one more crash
// is.
func seenCrashes(first map[resource.Process]status) func(resource.Process) int {
	return func(p resource.Process) int {
		if s := first[p]; s.identity != "" {
			return max(turnCrashes(p), s.crashes+1)
		}
		return turnCrashes(p)
	}
}

// backOff tells which static pods wait to be started again after two crashes.
// The kubelet starts a container that crashed again at once, and from the second
// crash on after 10, 20, 40 … seconds, also if the same manifest crashed a while
// ago; meanwhile the member is away. One that was started again and is
// seen not to run for as long as a start may take has crashed twice.
type backOff map[resource.Process]struct {
	since    time.Time
	pod      string
	restarts int
}

// counts returns the statuses with the crash that is not in the number of
// restarts yet.
func (b backOff) counts(found map[resource.Process]status, now time.Time) map[resource.Process]status {
	counted := map[resource.Process]status{}
	for p, s := range found {
		last, known := b[p]
		switch {
		case p.Pod == "" || s.identity != "" || s.crashes == 0:
			delete(b, p)
		case !known || last.pod != s.pod || last.restarts != s.crashes:
			last.since, last.pod, last.restarts = now, s.pod, s.crashes
			b[p] = last
		case now.Sub(last.since) >= settling:
			s.crashes++
		}
		counted[p] = s
	}
	return counted
}

// after implements checker.
func (e clusterChecks) after(ctx context.Context, r plan.Rollout, before processes, report func(string)) (processes, error) {
	limit := gateTimeout
	if before.reloaded {
		limit = reloadTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	byHost := processesOf(r.After)
	var now processes
	waiting, crashes := backOff{}, turnCrashes
	first := before.any
	err := e.until(ctx, report, func(ctx context.Context) error {
		seen := processes{identity: map[resource.Process]string{}}
		statuses := map[resource.Process]status{}
		for host, wanted := range byHost {
			found, err := e.look(ctx, host, wanted)
			if err != nil {
				return err
			}
			maps.Copy(statuses, found)
		}
		if first {
			first, crashes = false, seenCrashes(statuses)
		}
		if err := hopeless(waiting.counts(statuses, time.Now()), before, crashes); err != nil {
			return err
		}
		for _, p := range sortedProcesses(statuses) {
			s := statuses[p]
			seen.identity[p] = s.identity
			switch {
			case before.previous(p, s):
				return fmt.Errorf("%s: the kubelet has not begun to replace the previous pod", p.Name())
			case s.identity == "":
				return fmt.Errorf("%s %s", p.Name(), s.trouble)
			case !before.isNew(p, s.identity):
				return fmt.Errorf("%s: the previous process still runs", p.Name())
			}
		}
		for _, c := range r.After {
			if err := e.try(ctx, c, before, statuses); err != nil {
				return fmt.Errorf("%s: %w", c.Text, err)
			}
		}
		for _, s := range statuses {
			if s.age < settling || s.trouble != "" { // it crashed a moment ago
				return errSettling
			}
		}
		now = seen
		return nil
	})
	return now, err
}

var errSettling = errors.New("it works; watching whether it stays up")

// try looks once whether a check holds.
func (e clusterChecks) try(ctx context.Context, c resource.Check, before processes, statuses map[resource.Process]status) error {
	switch c.Kind {
	case resource.CheckProcess:
		return nil // seen to by after, for all processes of a host at a time
	case resource.CheckEtcd, resource.CheckEtcdWithout:
		return e.tryEtcd(ctx, c)
	case resource.CheckAPIServer:
		instance, err := e.instance(e.Fleet.apiServer(c.Host))
		if err != nil {
			return err
		}
		return instance.Ready(ctx, e.servesCertificate(c.Host))
	case resource.CheckTakenUp:
		kubelet := resource.Process{Host: c.Host, Unit: plan.KubeletUnit}
		found, err := e.look(ctx, c.Host, []resource.Process{kubelet, c.Process})
		if err != nil {
			return err
		}
		return takenUp(found[kubelet], found[c.Process])
	case resource.CheckHealthz:
		return cluster.Healthz(ctx, e.Fleet.dialFrom(c.Host), c.URL)
	case resource.CheckDocker:
		return e.hostScript(ctx, c.Host, "ask Docker", "timeout 10 docker version --format '{{.Server.Version}}' >/dev/null\n")
	case resource.CheckContainerd:
		return e.hostScript(ctx, c.Host, "ask containerd", containerdCheck)
	case resource.CheckEndpoint:
		instance, err := e.instance(e.endpoint())
		if err == nil && c.Host != "" {
			instance, err = e.throughBalancer(instance, c.Host)
		}
		if err != nil {
			return err
		}
		if err := instance.Ready(ctx, nil); err != nil || c.Host != "" || !external(e.Fleet.inventory) {
			return err
		}
		return e.tryExternal(ctx)
	case resource.CheckVirtualAddress:
		return e.tryVirtualAddress(ctx, c.Host == "")
	case resource.CheckVirtualAddressWithout:
		return e.tryVirtualAddressWithout(ctx, c.Host)
	case resource.CheckNode:
		client, err := e.kubernetes(ctx)
		if err != nil {
			return err
		}
		var since time.Time
		for p, s := range statuses {
			if p.Host == c.Host && p.Unit == plan.KubeletUnit && !before.any {
				since = s.since
			}
		}
		return client.NodeReadySince(ctx, c.Host, since)
	}
	return fmt.Errorf("check %q: no such check", c.Kind)
}

// takingUp is how long a kubelet has after its start to end static pods which it
// takes for others than those that its predecessor began. It does so in the first
// seconds.
const takingUp = 15 * time.Second

// takenUp returns nil once a kubelet has decided on a static pod.
func takenUp(kubelet, pod status) error {
	switch {
	case kubelet.identity == "":
		return errors.New("the kubelet does not run")
	case kubelet.age >= takingUp, pod.identity != "" && !pod.since.Before(kubelet.since):
		return nil
	}
	return errors.New("the kubelet may yet end the static pods of the one before")
}

// containerdCheck asks containerd itself, and whether the part of it that
// kubelets talk to has come up.
const containerdCheck = `timeout 10 ctr version >/dev/null
state=$(timeout 10 ctr plugins ls | awk '$2 == "cri" || ($1 == "io.containerd.grpc.v1" && $2 == "cri") { print $NF }')
case "$state" in
*error*) echo "containerd's CRI plugin has not come up: $state" >&2; exit 1 ;;
esac
`

// hostScript runs a script that changes nothing.
func (e clusterChecks) hostScript(ctx context.Context, host, label, script string) error {
	m, err := e.Fleet.connect(ctx, host)
	if err != nil {
		return err
	}
	_, err = m.look(ctx, label, script)
	return err
}

// tryEtcd asks the members for their health.
func (e clusterChecks) tryEtcd(ctx context.Context, c resource.Check) error {
	health, err := e.etcdHealth(ctx)
	switch {
	case err != nil:
		return err
	case c.Kind == resource.CheckEtcdWithout:
		if !canDoWithout(health, c.Host) {
			return etcdUnwell(health)
		}
	case c.Host == "" && !health.Healthy():
		return etcdUnwell(health)
	case c.Host != "" && !worksAgain(health, c.Host):
		return etcdUnwell(health)
	}
	return nil
}

func etcdUnwell(health cluster.Health) error {
	return fmt.Errorf("%s: %s", health, strings.Join(health.Problems(), "; "))
}

// etcdHealth asks all members that can be reached; one that can't counts as ill.
func (e clusterChecks) etcdHealth(ctx context.Context) (cluster.Health, error) {
	config, err := e.Authorities.ClientTLS(plan.AuthorityEtcd, "kinstall", nil, adminLifetime)
	if err != nil {
		return cluster.Health{}, err
	}
	var members []cluster.Member
	for _, name := range e.etcdSeats() {
		m := e.Fleet.etcdMember(name)
		m.Moves = e.delta.MovesInEtcd(name)
		members = append(members, m)
	}
	return cluster.EtcdHealth(ctx, members, config)
}

// canDoWithout reports whether a member may be taken down: all others are
// healthy under one leader. It may be ill itself; to change it may be what
// heals it. The only member there is can always be taken down, since nothing
// is gained by leaving it.
func canDoWithout(health cluster.Health, host string) bool {
	others := 0
	for _, m := range health.Members {
		if m.Name == host {
			continue
		}
		if others++; m.Problem != "" {
			return false
		}
	}
	return others == 0 || health.Leader != "" && len(health.Alarms) == 0
}

// serves reports whether all members but those on the given hosts are healthy
// under one leader, and are a quorum.
func serves(health cluster.Health, without []string) bool {
	healthy := 0
	for _, m := range health.Members {
		switch {
		case m.Problem == "":
			healthy++
		case !slices.Contains(without, m.Name):
			return false
		}
	}
	return 2*healthy > len(health.Members) && health.Leader != "" && len(health.Alarms) == 0
}

// worksAgain reports whether a member is healthy under a leader, however the
// others are: they may be waiting for their turn, or for somebody.
func worksAgain(health cluster.Health, host string) bool {
	for _, m := range health.Members {
		if m.Name == host {
			return m.Problem == "" && m.Leader != ""
		}
	}
	return false
}

// endpoint is the cluster's endpoint, dialled as any client would from a host
// that is not the load balancer's own, as far as one can be reached.
func (e clusterChecks) endpoint() cluster.Server {
	inv := e.Fleet.inventory
	hosts := slices.DeleteFunc(slices.Clone(inv.Hosts), func(h inventory.Host) bool { return e.delta.Unreachable[h.Name] != nil })
	if len(hosts) == 0 {
		hosts = inv.Hosts
	}
	from := hosts[0]
	if i := slices.IndexFunc(hosts, func(h inventory.Host) bool {
		return h.Has(inventory.RoleMaster) && !inv.Balances(h.Name)
	}); i >= 0 {
		from = hosts[i]
	}
	return cluster.Server{
		Name:    fmt.Sprintf("%s from %s", inv.Cluster.Endpoint, from.Name),
		Address: inv.Cluster.Endpoint.String(),
		Dial:    e.Fleet.dialFrom(from.Name),
	}
}

// throughBalancer has the endpoint dialled at one of its balancers.
func (e clusterChecks) throughBalancer(endpoint cluster.Instance, host string) (cluster.Instance, error) {
	inv := e.Fleet.inventory
	h, ok := inv.Host(host)
	if !ok {
		return endpoint, fmt.Errorf("%s: no such host in the inventory", host)
	}
	endpoint.Name = "the load balancer on " + host
	address, dialled := h.Address.String(), inv.Cluster.Endpoint.Host
	if inv.BalancesLocally() {
		address, dialled = inventory.LocalAddress, inventory.LocalAddress
	}
	endpoint.Address = net.JoinHostPort(address, strconv.Itoa(inv.LoadBalancer.Port))
	endpoint.Dial = e.Fleet.dialFrom(host)
	endpoint.TLS = endpoint.TLS.Clone()
	endpoint.TLS.ServerName = dialled
	return endpoint, nil
}

// instance adds an administrator's short-lived certificate to a server.
func (e clusterChecks) instance(server cluster.Server) (cluster.Instance, error) {
	config, err := e.Authorities.ClientTLS(plan.AuthorityKubernetes, "kinstall", []string{"system:masters"}, adminLifetime)
	return cluster.Instance{Server: server, TLS: config}, err
}

// servesCertificate checks that an API server serves the certificate that was
// written to its host last, not one it still has in memory.
func (e clusterChecks) servesCertificate(host string) func(context.Context, *x509.Certificate) error {
	wanted := e.latest(host, resource.NewID("cert", plan.APIServerCertificate)).Files[plan.APIServerCertificate]
	return func(_ context.Context, served *x509.Certificate) error {
		if wanted != "" && e.digestOf(served) != wanted {
			return errors.New("still serves its previous certificate")
		}
		return nil
	}
}

// gate implements checker.
func (e clusterChecks) gate(ctx context.Context, g resource.Gate, report func(string)) error {
	limit := gateTimeout
	if g.Kind == resource.CheckEndpoint && external(e.Fleet.inventory) {
		limit = externalTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	switch g.Kind {
	case resource.CheckReachable, resource.CheckStillReachable:
		return e.waitReachable(ctx, g, report)
	case resource.CheckLearnt:
		return e.waitLearnt(ctx, report)
	}
	watch := e.watch(g.Watches)
	return e.until(ctx, report, func(ctx context.Context) error {
		err := e.tryGate(ctx, g)
		if err != nil {
			if hopeless := watch(ctx); hopeless != nil {
				return fmt.Errorf("%w: %w", err, hopeless)
			}
		}
		return err
	})
}

// tryGate looks once whether a gate's condition holds.
func (e clusterChecks) tryGate(ctx context.Context, g resource.Gate) error {
	if len(g.Without) == 0 {
		return e.try(ctx, g.Check, anyProcesses, nil)
	}
	health, err := e.etcdHealth(ctx)
	if err == nil && !serves(health, g.Without) {
		err = etcdUnwell(health)
	}
	return err
}

const (
	// gateCrashes is how often a program may crash while a gate is waited for:
	// what comes up at the same time, and it needs, may be the cause.
	gateCrashes = 5
	// watchInterval lies between two looks at the programs a gate watches.
	watchInterval = 3 * time.Second
)

// watch returns a function that looks now and then whether what a gate waits
// for can still come about.
func (e clusterChecks) watch(watched []resource.Process) func(context.Context) error {
	byHost := map[string][]resource.Process{}
	for _, p := range watched {
		byHost[p.Host] = append(byHost[p.Host], p)
	}
	first := map[resource.Process]int{} // crashes when first looked at
	next := time.Now().Add(watchInterval)
	return func(ctx context.Context) error {
		if time.Now().Before(next) {
			return nil
		}
		next = time.Now().Add(watchInterval)
		for _, host := range slices.Sorted(maps.Keys(byHost)) {
			found, err := e.look(ctx, host, byHost[host])
			if err != nil {
				continue // a host that can't be asked says nothing of its programs
			}
			for p, s := range found {
				if _, known := first[p]; !known {
					// A pod counts since its manifest was written, a unit since it
					// was started: both by this very run, as a rule.
					first[p] = 0
					if s.crashes > gateCrashes {
						first[p] = s.crashes - 1
					}
				}
			}
			if err := hopeless(found, anyProcesses, func(p resource.Process) int { return first[p] + gateCrashes }); err != nil {
				return err
			}
		}
		return nil
	}
}

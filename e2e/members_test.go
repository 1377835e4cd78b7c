package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// TestMembers tells of members of etcd that come and go while a client writes
// ten times a second and another reads: no answer may be lost, or contradict
// another. kinstall is killed on the way, disks are wiped, members move.
func TestMembers(t *testing.T) {
	if os.Getenv("KINSTALL_CHANGES") == "" {
		t.Skip("part of make test-changes")
	}
	m := newMembers(t, "e2e-members", kubernetes("members")...)
	m.become(t, "shaolin")
	m.apply(t)
	end := m.write(t)
	defer func() { t.Log(end()) }()
	tell(t, []chapter{
		{"an even number is refused", m.even},
		{"one to three", func(t *testing.T) { m.change(t, "shaolin", "wudang", "emei") }},
		{"three to five, killed three times", m.killedWhileTheyJoin},
		{"five to three, killed between", m.killedWhileTheyLeave},
		{"a disk is wiped", m.wiped},
		{"a member moves to another host", func(t *testing.T) { m.change(t, "shaolin", "wudang", "kunlun") }},
		{"a member comes back to its old data", m.returns},
		{"what would lose the quorum is refused", m.quorum},
		{"three to one, which is not the first", func(t *testing.T) { m.change(t, "huashan") }},
	})
}

// members is a cluster whose members of etcd change.
type members struct {
	*world
	mu    sync.Mutex
	hosts []string // that clients are told of
}

var memberAddresses = map[string]string{"shaolin": "10.88.0.11", "wudang": "10.88.0.12", "emei": "10.88.0.13", "huashan": "10.88.0.14", "kunlun": "10.88.0.15"}

func newMembers(t *testing.T, name string, parts ...string) *members {
	return &members{world: newWorld(t, name, parts...)}
}

var rolesOf = regexp.MustCompile(`(?s)host "(\w+)" \{.*?roles   = \[([^]]*)\]`)

// become gives the role `etcd` to some hosts, and takes it from the others.
func (m *members) become(t *testing.T, names ...string) {
	t.Helper()
	content, err := os.ReadFile(m.inventory)
	if err != nil {
		t.Fatal(err)
	}
	m.world.write(t, rolesOf.ReplaceAllStringFunc(string(content), func(block string) string {
		found := rolesOf.FindStringSubmatch(block)
		var roles []string
		for _, role := range strings.Split(found[2], ", ") {
			if role != `"etcd"` && role != "" {
				roles = append(roles, role)
			}
		}
		if slices.Contains(names, found[1]) {
			roles = append(roles, `"etcd"`)
		}
		at := strings.LastIndex(block, "[")
		return block[:at] + "[" + strings.Join(roles, ", ") + "]"
	}))
	m.tell(names)
}

// tell has clients ask these members, too; those they knew may leave only later.
func (m *members) tell(names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		if !slices.Contains(m.hosts, name) {
			m.hosts = append(m.hosts, name)
		}
	}
}

const etcdctlOnHost = "etcdctl --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key /etc/kubernetes/pki/etcd/healthcheck-client.key --endpoints https://127.0.0.1:2379 "

// listed are the members by name as etcd has them, from one of them.
func (m *members) listed(t *testing.T, on string) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(m.ssh(t, on, etcdctlOnHost+"member list")) {
		fields := strings.Split(strings.TrimSpace(line), ", ")
		if fields[1] != "started" || fields[5] != "false" {
			t.Errorf("listed: %s", line)
		}
		names = append(names, fields[2])
	}
	slices.Sort(names)
	return names
}

// settled expects that exactly these hosts are members, that API servers know
// them, and that nothing is left to do.
func (m *members) settled(t *testing.T, names ...string) {
	t.Helper()
	want := slices.Sorted(slices.Values(names))
	if diff := cmp.Diff(want, m.listed(t, names[0])); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	for host := range memberAddresses {
		state := m.ssh(t, host, "systemctl is-active etcd.service || true")
		if member := slices.Contains(names, host); (state == "active") != member {
			t.Errorf("%s: etcd.service is %s", host, state)
		}
	}
	eventually(t, time.Minute, "nothing to do", func() string {
		if r := m.run(t, "plan", "-detailed-exitcode", m.inventory); r.code != 0 || !strings.Contains(r.stdout, "No changes") {
			return r.String()
		}
		return ""
	})
	for _, master := range []string{"shaolin", "wudang"} {
		if r := m.kubectl(t, "--server", "https://"+memberAddresses[master]+":6443", "get", "--raw", "/readyz"); r.stdout != "ok" {
			t.Errorf("the API server on %s: %s", master, r)
		}
	}
	m.mu.Lock()
	m.hosts = slices.Clone(names)
	m.mu.Unlock()
}

// change makes exactly these hosts the members. Those that stay are not
// restarted.
func (m *members) change(t *testing.T, names ...string) {
	t.Helper()
	before := m.pids(t)
	m.become(t, names...)
	t.Logf("the plan:\n%s", m.run(t, "plan", m.inventory).stdout)
	r := m.apply(t)
	t.Logf("%s: %s", strings.Join(names, " "), r.elapsed.Round(100*time.Millisecond))
	m.settled(t, names...)
	now := m.pids(t)
	for _, host := range names {
		if before[host] != "" && before[host] != now[host] {
			t.Errorf("etcd on %s was restarted", host)
		}
	}
}

// pids are the processes of etcd by host.
func (m *members) pids(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for host := range memberAddresses {
		all[host] = m.ssh(t, host, "pidof etcd || true")
	}
	return all
}

func (m *members) even(t *testing.T) {
	good, err := os.ReadFile(m.inventory)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		m.world.write(t, string(good))
		m.mu.Lock()
		m.hosts = []string{"shaolin"}
		m.mu.Unlock()
	}()
	m.become(t, "shaolin", "wudang")
	r := m.run(t, "plan", m.inventory)
	if said := strings.Join(strings.Fields(r.stderr), " "); r.code != 1 || !strings.Contains(said, "2 members tolerate no more failures than 1") || !strings.Contains(r.stderr, "inventory.hcl:") {
		t.Errorf("two members: %s", r)
	}
}

// killed applies, and kills kinstall when a command on a machine succeeds; then
// it applies until the end.
func (m *members) killed(t *testing.T, on string, moments ...string) {
	t.Helper()
	for _, moment := range moments {
		b := m.begin(t, "apply", "-yes", "-lock-timeout", "2m", m.inventory)
		holds(t, m.world, b, 5*time.Minute, []string{on}, etcdctlOnHost+moment)
		b.kill(t)
		t.Logf("killed after %s: %s", time.Since(b.begin).Round(100*time.Millisecond), strings.ReplaceAll(m.ssh(t, on, etcdctlOnHost+"member list"), "\n", "; "))
	}
	r := m.apply(t, "-lock-timeout", "2m")
	t.Logf("resumed: %s", r.elapsed.Round(100*time.Millisecond))
}

func (m *members) killedWhileTheyJoin(t *testing.T) {
	five := []string{"shaolin", "wudang", "emei", "huashan", "kunlun"}
	m.become(t, five...)
	m.killed(t, "shaolin",
		"member list | grep -q unstarted",
		"member list | grep -q 'true$'",
		"member list | grep -c -v 'true$' | grep -q 4")
	m.settled(t, five...)
}

func (m *members) killedWhileTheyLeave(t *testing.T) {
	m.become(t, "shaolin", "wudang", "emei")
	// Clients learn the new list before anybody leaves; then it takes a moment.
	m.killed(t, "shaolin", "member list >/dev/null && ! grep -q 10.88.0.15:2379 /etc/kubernetes/manifests/kube-apiserver.yaml",
		"member list | wc -l | grep -q '[34]'")
	m.settled(t, "shaolin", "wudang", "emei")
}

// wiped takes a member's disk away, as a machine that was installed anew.
func (m *members) wiped(t *testing.T) {
	m.ssh(t, "emei", "systemctl stop etcd.service; rm -rf /var/lib/etcd/member")
	plan := m.run(t, "plan", m.inventory).stdout
	for _, want := range []string{"- etcd-member emei/", "its data is gone", "+ etcd-learner emei"} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan lacks %q:\n%s", want, plan)
		}
	}
	r := m.apply(t)
	t.Logf("replaced in %s", r.elapsed.Round(100*time.Millisecond))
	m.settled(t, "shaolin", "wudang", "emei")
}

// returns has a host be a member again that has the data of the one it was.
func (m *members) returns(t *testing.T) {
	if m.ssh(t, "huashan", "ls -d /var/lib/etcd/member") == "" {
		t.Fatal("huashan has no data any more")
	}
	m.become(t, "shaolin", "wudang", "huashan")
	plan := m.run(t, "plan", m.inventory).stdout
	if said := strings.Join(strings.Fields(plan), " "); !strings.Contains(said, "~ etcd-data /var/lib/etcd/member") || !strings.Contains(said, "which is not on etcd's list") {
		t.Errorf("the plan does not say that data is moved aside:\n%s", plan)
	}
	m.apply(t)
	m.settled(t, "shaolin", "wudang", "huashan")
	m.ssh(t, "huashan", "test -d /var/lib/etcd/member.removed/wal")
}

// quorum takes the data of two members away: no list can be changed.
func (m *members) quorum(t *testing.T) {
	for _, host := range []string{"wudang", "huashan"} {
		m.ssh(t, host, "mv /var/lib/etcd/member /var/lib/etcd/kept")
	}
	r := m.run(t, "apply", "-yes", m.inventory)
	if r.code != 1 || !strings.Contains(r.stdout+r.stderr, "1 of 3 members of etcd serve; 2 are needed") {
		t.Errorf("two of three without data: %s", r)
	}
	for _, host := range []string{"wudang", "huashan"} {
		m.ssh(t, host, "mv /var/lib/etcd/kept /var/lib/etcd/member")
	}
	m.settled(t, "shaolin", "wudang", "huashan")
}

// replacedMember takes the disk of one of three members away, and has it join
// anew. Nobody else is touched.
func replacedMember(t *testing.T, w *world) {
	before := processes(t, w)
	w.ssh(t, "emei", "systemctl stop etcd.service; rm -rf /var/lib/etcd/member")
	m := members{world: w}
	r := w.apply(t)
	for _, want := range []string{"- etcd-member emei/", "+ etcd-learner emei", "~ etcd-voter emei"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("apply does not tell %q: %s", want, r)
		}
	}
	t.Logf("replaced in %s", r.elapsed.Round(100*time.Millisecond))
	if diff := cmp.Diff([]string{"emei", "shaolin", "wudang"}, m.listed(t, "shaolin")); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"emei etcd"}, restarted(before, processes(t, w))); diff != "" {
		t.Errorf("restarted (-want +got):\n%s", diff)
	}
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("a plan afterwards: %s", r)
	}
}

// traffic is what clients of etcd saw.
type traffic struct {
	written, read       atomic.Int64
	mu                  sync.Mutex
	failed, contradicts []string
	longest             time.Duration // from a question to its answer, all attempts included
}

func (s *traffic) note(list *[]string, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// write has a client write, ten times a second, and another read what a quorum
// stands behind, until the returned function is called. Clients ask the members
// that they know one after the other, as those of Kubernetes do.
func (m *members) write(t *testing.T) (end func() string) {
	t.Helper()
	const dir = "/etc/kubernetes/pki/etcd/"
	pair, err := tls.X509KeyPair([]byte(m.ssh(t, "shaolin", "cat "+dir+"healthcheck-client.crt")), []byte(m.ssh(t, "shaolin", "cat "+dir+"healthcheck-client.key")))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(m.ssh(t, "shaolin", "cat "+dir+"ca.crt")))
	clients := map[string]*clientv3.Client{}
	for host, address := range memberAddresses {
		client, err := clientv3.New(clientv3.Config{
			Endpoints: []string{"https://" + address + ":2379"}, Logger: zap.NewNop(),
			TLS: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool},
			DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) {
				return m.lab.DialContext(ctx, "tcp", strings.TrimPrefix(to, "https://"))
			})},
		})
		if err != nil {
			t.Fatal(err)
		}
		clients[host] = client
	}
	s := &traffic{}
	// ask puts a question to one member after the other, until one answers.
	ask := func(ctx context.Context, do func(context.Context, *clientv3.Client) error) {
		begin := time.Now()
		for ctx.Err() == nil {
			m.mu.Lock()
			hosts := slices.Clone(m.hosts)
			m.mu.Unlock()
			for _, host := range hosts {
				attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
				err := do(attempt, clients[host])
				cancel()
				if err == nil {
					s.mu.Lock()
					s.longest = max(s.longest, time.Since(begin))
					s.mu.Unlock()
					return
				}
				if ctx.Err() == nil {
					s.note(&s.failed, "%s: %v", host, err)
				}
			}
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	every := func(do func()) {
		group.Go(func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				do()
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	var sent atomic.Int64
	every(func() {
		n := sent.Add(1)
		ask(ctx, func(ctx context.Context, client *clientv3.Client) error {
			_, err := client.Txn(ctx).Then(clientv3.OpPut("/e2e/last", fmt.Sprint(n)), clientv3.OpPut(fmt.Sprintf("/e2e/all/%08d", n), "x")).Commit()
			if err == nil {
				s.written.Store(n)
			}
			return err
		})
	})
	every(func() {
		ask(ctx, func(ctx context.Context, client *clientv3.Client) error {
			known := s.written.Load()
			r, err := client.Get(ctx, "/e2e/last")
			if err != nil {
				return err
			}
			found := 0
			if len(r.Kvs) > 0 {
				found, err = strconv.Atoi(string(r.Kvs[0].Value))
			}
			if int64(found) < known || int64(found) > sent.Load() {
				s.note(&s.contradicts, "read %d after %d had been written", found, known)
			}
			s.read.Add(1)
			return err
		})
	})
	return func() string {
		stop()
		group.Wait()
		defer func() {
			for _, client := range clients {
				client.Close()
			}
		}()
		lost := 0
		for _, host := range m.hosts {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			r, err := clients[host].Get(ctx, "/e2e/all/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
			cancel()
			if err != nil {
				t.Errorf("%s: %v", host, err)
				continue
			}
			there := map[string]bool{}
			for _, kv := range r.Kvs {
				there[string(kv.Key)] = true
			}
			for n := int64(1); n <= s.written.Load(); n++ {
				if !there[fmt.Sprintf("/e2e/all/%08d", n)] {
					lost++
				}
			}
		}
		if lost > 0 || len(s.contradicts) > 0 {
			t.Errorf("%d answers lost, and these contradict others:\n%s", lost, strings.Join(s.contradicts, "\n"))
		}
		return fmt.Sprintf("%d writes and %d reads answered, %d lost, %d contradicting; %d attempts were refused by one member and answered by another or later, the longest answer took %s\n%s",
			s.written.Load(), s.read.Load(), lost, len(s.contradicts), len(s.failed), s.longest.Round(time.Millisecond), strings.Join(s.failed[:min(20, len(s.failed))], "\n"))
	}
}

package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/kinstall/kinstall/plan/resource"
)

func TestJudge(t *testing.T) {
	members := []Member{{Name: "shaolin"}, {Name: "wudang"}, {Name: "emei"}}
	list := func(names ...string) *pb.MemberListResponse {
		response := &pb.MemberListResponse{}
		for i, name := range names {
			response.Members = append(response.Members, &pb.Member{ID: uint64(i + 1), Name: name, PeerURLs: []string{fmt.Sprintf("https://10.0.0.%d:2380", i+1)}})
		}
		return response
	}
	all := list("shaolin", "wudang", "emei")
	says := func(id, leader uint64, known *pb.MemberListResponse, change func(*pb.StatusResponse)) view {
		status := &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: id, Revision: 5000}, Leader: leader, RaftIndex: 9000, Version: "3.6.8"}
		if change != nil {
			change(status)
		}
		if leader == 0 {
			known = nil
		}
		return view{status: status, members: known}
	}
	down := view{err: errors.New("connection refused")}
	for _, tt := range []struct {
		name     string
		views    []view
		want     string
		problems []string
		healthy  bool
	}{
		{"healthy", []view{says(1, 1, all, nil), says(2, 1, all, nil), says(3, 1, all, nil)},
			"3 of 3 members healthy, leader shaolin", nil, true},
		{"a little behind", []view{says(1, 1, all, nil), says(2, 1, all, nil), says(3, 1, all, func(s *pb.StatusResponse) { s.RaftIndex, s.Header.Revision = 8000, 4000 })},
			"3 of 3 members healthy, leader shaolin", nil, true},
		{"one down", []view{says(1, 1, all, nil), down, says(3, 1, all, nil)},
			"2 of 3 members healthy, leader shaolin", []string{"wudang: connection refused"}, false},
		{"all down", []view{down, down, down},
			"0 of 3 members healthy, no leader", []string{"shaolin: connection refused", "wudang: connection refused", "emei: connection refused"}, false},
		{"no leader", []view{says(1, 0, nil, nil), down, down},
			"0 of 3 members healthy, no leader", []string{"shaolin: knows no leader", "wudang: connection refused", "emei: connection refused"}, false},
		{"leader unnamed", []view{says(1, 1, all, nil), down, down},
			"1 of 3 members healthy, leader shaolin", []string{"wudang: connection refused", "emei: connection refused"}, false},
		{"two leaders", []view{says(1, 1, all, nil), says(2, 2, all, nil), says(3, 2, all, nil)},
			"2 of 3 members healthy, no leader", []string{"shaolin: follows shaolin, not wudang"}, false},
		{"far behind", []view{says(1, 1, all, nil), says(2, 1, all, func(s *pb.StatusResponse) { s.RaftIndex = 100 }), says(3, 1, all, func(s *pb.StatusResponse) { s.Header.Revision = 1 })},
			"1 of 3 members healthy, leader shaolin", []string{"wudang: is 8900 raft entries behind", "emei: is 4999 revisions behind"}, false},
		{"learner", []view{says(1, 1, all, nil), says(2, 1, all, nil), says(3, 1, all, func(s *pb.StatusResponse) { s.IsLearner = true })},
			"2 of 3 members healthy, leader shaolin", []string{"emei: is a learner still"}, false},
		{"member never started", []view{says(1, 1, list("shaolin", "wudang", ""), nil), says(2, 1, all, nil), says(3, 1, all, nil)},
			"2 of 3 members healthy, leader shaolin", []string{"shaolin: knows a member that never started (https://10.0.0.3:2380)"}, false},
		{"stranger", []view{says(1, 1, all, nil), says(2, 1, list("shaolin", "wudang", "emei", "kunlun"), nil), says(3, 1, all, nil)},
			"2 of 3 members healthy, leader shaolin", []string{"wudang: knows a member that is not in the plan: kunlun"}, false},
		{"a cluster of its own", []view{says(1, 1, all, nil), says(2, 1, all, nil), says(3, 1, list("emei"), nil)},
			"2 of 3 members healthy, leader shaolin", []string{"emei: does not know shaolin, wudang"}, false},
		{"alarm", []view{says(1, 1, all, nil), says(2, 1, all, nil), {
			status: says(3, 1, all, nil).status, members: all,
			alarms: &pb.AlarmResponse{Alarms: []*pb.AlarmMember{{MemberID: 2, Alarm: pb.AlarmType_NOSPACE}}},
		}},
			"3 of 3 members healthy, leader shaolin, alarm NOSPACE on wudang", []string{"alarm NOSPACE on wudang"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			health := judge(members, tt.views)
			if diff := cmp.Diff(tt.want, health.String()); diff != "" {
				t.Errorf("String (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, health.Problems()); diff != "" {
				t.Errorf("Problems (-want +got):\n%s", diff)
			}
			if health.Healthy() != tt.healthy {
				t.Errorf("Healthy is %v", health.Healthy())
			}
		})
	}
}

// While members join and leave, those count on whom others rely: who has a vote,
// and a learner that has started.
func TestJudgeMembersThatMove(t *testing.T) {
	const leader = 1
	entry := func(id uint64, name string, learner bool) *pb.Member {
		return &pb.Member{ID: id, Name: name, IsLearner: learner, PeerURLs: []string{fmt.Sprintf("https://10.0.0.%d:2380", id)}}
	}
	says := func(id uint64, learner bool, list ...*pb.Member) view {
		v := view{status: &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: id}, Leader: leader, IsLearner: learner}}
		if !learner {
			v.members = &pb.MemberListResponse{Members: list}
		}
		return v
	}
	down := view{err: errors.New("connection refused")}
	shaolin, wudang := entry(1, "shaolin", false), entry(2, "wudang", false)
	two := []Member{{Name: "shaolin"}, {Name: "wudang", Moves: true}}
	for _, tt := range []struct {
		name    string
		views   []view
		want    string
		healthy bool
	}{
		{"not listed yet", []view{says(1, false, shaolin), down}, "1 of 1 members healthy, leader shaolin", true},
		{"listed, not started", []view{says(1, false, shaolin, entry(2, "", true)), down}, "1 of 1 members healthy, leader shaolin", true},
		{"a learner that has started", []view{says(1, false, shaolin, entry(2, "wudang", true)), says(2, true)}, "2 of 2 members healthy, leader shaolin", true},
		{"with a vote", []view{says(1, false, shaolin, wudang), says(2, false, shaolin, wudang)}, "2 of 2 members healthy, leader shaolin", true},
		{"with a vote, and away", []view{says(1, false, shaolin, wudang), down}, "1 of 2 members healthy, leader shaolin", false},
		{"removed, and still there", []view{says(1, false, shaolin), says(2, false, shaolin, wudang)}, "1 of 1 members healthy, leader shaolin", true},
		{"a stranger beside it", []view{says(1, false, shaolin, wudang, entry(3, "kunlun", false)), says(2, false, shaolin, wudang, entry(3, "kunlun", false))}, "0 of 2 members healthy, leader shaolin", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			health := judge(two, tt.views)
			if health.String() != tt.want || health.Healthy() != tt.healthy {
				t.Errorf("%s, healthy %v: %v; want %s", health, health.Healthy(), health.Problems(), tt.want)
			}
		})
	}
}

func TestEtcdUnreachable(t *testing.T) {
	dials := 0
	refuse := func(context.Context, string, string) (net.Conn, error) {
		dials++
		return nil, fmt.Errorf("tunnel: %w", syscall.ECONNREFUSED)
	}
	members := []Member{{Name: "shaolin", ClientURL: "http://10.0.0.1:2379", Dial: refuse}}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	health, err := EtcdHealth(ctx, members, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"shaolin: tunnel: connection refused"}, health.Problems()); diff != "" {
		t.Errorf("Problems (-want +got):\n%s", diff)
	}
	if dials == 0 {
		t.Error("the dialer was not used")
	}
	if _, err := EtcdHealth(context.Background(), nil, nil); err == nil {
		t.Error("no members are no error")
	}
}

// binary returns a real program named by the environment, or skips the test.
func binary(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Skipf("%s names no binary to test with; end-to-end tests cover this", variable)
	}
	return path
}

// start runs a program until the test ends. The result ends it earlier.
func start(t *testing.T, name string, args ...string) (stop func()) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%.4000s", name, text[max(0, len(text)-4000):])
		}
	}
	t.Cleanup(stop)
	return stop
}

// freePorts returns TCP ports of the loopback that nothing uses.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close() // all stay open until all are known
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func direct(ctx context.Context, network, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// TestRealEtcd runs three members with TLS on the loopback.
func TestRealEtcd(t *testing.T) {
	etcd := binary(t, "KINSTALL_ETCD")
	ca := newAuthority(t)
	ca.issueFiles(t, "etcd", "127.0.0.1")
	names := []string{"shaolin", "wudang", "emei"}
	ports := freePorts(t, 6)
	var initial []string
	for i, name := range names {
		initial = append(initial, fmt.Sprintf("%s=https://127.0.0.1:%d", name, ports[3+i]))
	}
	var members []Member
	var stops []func()
	run := func(i int) func() {
		client, peer := fmt.Sprintf("https://127.0.0.1:%d", ports[i]), fmt.Sprintf("https://127.0.0.1:%d", ports[3+i])
		return start(t, etcd, "--name", names[i], "--data-dir", filepath.Join(ca.dir, names[i]),
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(initial, ","),
			"--cert-file", ca.path("etcd.crt"), "--key-file", ca.path("etcd.key"), "--trusted-ca-file", ca.path("ca.crt"), "--client-cert-auth",
			"--peer-cert-file", ca.path("etcd.crt"), "--peer-key-file", ca.path("etcd.key"), "--peer-trusted-ca-file", ca.path("ca.crt"), "--peer-client-cert-auth",
			"--log-level", "warn")
	}
	for i, name := range names {
		members = append(members, Member{Name: name, ClientURL: fmt.Sprintf("https://127.0.0.1:%d", ports[i]), Dial: direct})
		stops = append(stops, run(i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tlsConfig := ca.clientTLS(t)
	var health Health
	healthy := func() (err error) {
		if health, err = EtcdHealth(ctx, members, tlsConfig); err == nil && !health.Healthy() {
			err = fmt.Errorf("%s: %v", health, health.Problems())
		}
		return err
	}
	eventually(ctx, t, healthy)
	t.Log(health)

	anonymous := tlsConfig.Clone()
	anonymous.Certificates = nil
	health, err := EtcdHealth(ctx, members[:1], anonymous)
	if err != nil {
		t.Fatal(err)
	}
	if health.Healthy() || !strings.Contains(strings.Join(health.Problems(), ";"), "certificate required") {
		t.Errorf("a client without a certificate: %v", health.Problems())
	}

	health, err = EtcdHealth(ctx, members[:2], tlsConfig)
	if err != nil || health.Healthy() || !strings.Contains(strings.Join(health.Problems(), ";"), "not in the plan: emei") {
		t.Errorf("two members of three: %v, %v", health.Problems(), err)
	}

	// A member that raised an alarm.
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{members[0].ClientURL}, TLS: tlsConfig, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	status, err := client.Status(ctx, members[0].ClientURL)
	if err != nil {
		t.Fatal(err)
	}
	before := status.RaftIndex
	if _, err := EtcdHealth(ctx, members, tlsConfig); err != nil {
		t.Fatal(err)
	}
	if status, err = client.Status(ctx, members[0].ClientURL); err != nil || status.RaftIndex != before {
		t.Errorf("asking moved the raft index from %d to %d (%v)", before, status.RaftIndex, err)
	}

	stops[1]()
	// Keys go through the members that are left.
	keysOfNetwork(ctx, t, []Member{members[1], members[0], members[2]}, tlsConfig)
	health, err = EtcdHealth(ctx, members, tlsConfig)
	if err != nil || health.Healthy() || health.count() == 3 || !strings.Contains(health.Problems()[0], "refused") {
		t.Errorf("one member down: %v, %v, %v", health, health.Problems(), err)
	}
	t.Log(health, health.Problems())
	stops[1] = run(1)
	eventually(ctx, t, healthy)
	stops[0]()
	stops[1]()
	health, err = EtcdHealth(ctx, members, tlsConfig)
	if err != nil || health.Healthy() {
		t.Errorf("two members down: %v, %v", health, err)
	}
	t.Log(health, health.Problems())
}

// keysOfNetwork writes, changes and deletes keys, more than fit on one page.
func keysOfNetwork(ctx context.Context, t *testing.T, members []Member, tlsConfig *tls.Config) {
	t.Helper()
	const prefix = "/coreos.com/network/"
	read := func() map[string]string {
		t.Helper()
		found, err := EtcdKeys(ctx, members, tlsConfig, prefix)
		if err != nil {
			t.Fatal(err)
		}
		return found.Keys
	}
	if keys := read(); len(keys) != 0 {
		t.Errorf("keys of an empty etcd: %v", keys)
	}
	want := map[string]string{}
	writes := []resource.EtcdWrite{{Key: "/coreos.com/networks", After: "a neighbour"}}
	for i := range pageSize + 5 {
		key := fmt.Sprintf("%ssubnets/%04d", prefix, i)
		want[key] = fmt.Sprint("host ", i)
		writes = append(writes, resource.EtcdWrite{Key: key, After: want[key]})
	}
	if err := WriteEtcdKeys(ctx, members, tlsConfig, writes); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	first, second := prefix+"subnets/0000", prefix+"subnets/0001"
	if err := WriteEtcdKeys(ctx, members, tlsConfig, []resource.EtcdWrite{
		{Key: first, Before: want[first], After: "another"}, {Key: second, Before: want[second]},
	}); err != nil {
		t.Fatal(err)
	}
	want[first] = "another"
	delete(want, second)
	for _, stale := range []resource.EtcdWrite{{Key: first, Before: "host 0", After: "x"}, {Key: first, After: "x"}, {Key: second, Before: "host 1"}} {
		if err := WriteEtcdKeys(ctx, members, tlsConfig, []resource.EtcdWrite{stale}); err == nil {
			t.Errorf("%+v was written over what somebody else wrote", stale)
		}
	}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if err := DeleteEtcdKeys(ctx, members, tlsConfig, prefix); err != nil {
		t.Fatal(err)
	}
	if keys := read(); len(keys) != 0 {
		t.Errorf("%d keys are left", len(keys))
	}
	if err := WriteEtcdKeys(ctx, members, tlsConfig, []resource.EtcdWrite{{Key: "/coreos.com/networks", Before: "a neighbour"}}); err != nil {
		t.Errorf("the neighbour is gone: %v", err)
	}
}

func TestEtcdKeysWithoutEtcd(t *testing.T) {
	refuse := func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("ssh: rejected: connect failed (Connection refused)")
	}
	broken := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route to host") }
	for name, tt := range map[string]struct {
		dials  []DialFunc
		absent bool
	}{
		"nobody listens": {[]DialFunc{refuse, refuse}, true},
		"one is silent":  {[]DialFunc{refuse, broken}, false},
		"another order":  {[]DialFunc{broken, refuse}, false},
	} {
		var members []Member
		for _, dial := range tt.dials {
			members = append(members, Member{Name: "m", ClientURL: "http://10.0.0.1:2379", Dial: dial})
		}
		if _, err := EtcdKeys(t.Context(), members, nil, "/x/"); err == nil || errors.Is(err, ErrNoEtcd) != tt.absent {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/kinstall/kinstall/plan/resource"
)

// fakeEtcd is an etcd of members that agree at once; each listens by itself.
type fakeEtcd struct {
	mu      sync.Mutex
	members []*pb.Member
	leader  uint64
	index   map[uint64]uint64 // raft entries that each has; no entry: it does not run
	refuse  []error           // the answers to the next changes
	lose    bool              // make the next change, and lose the answer
	calls   []string
}

func peerOf(id uint64) string { return fmt.Sprintf("https://10.0.0.%d:2380", id) }

// newFakeEtcd has members 1, 2 … that run, and the first leads.
func newFakeEtcd(names ...string) *fakeEtcd {
	f := &fakeEtcd{leader: 1, index: map[uint64]uint64{}}
	for i, name := range names {
		id := uint64(i + 1)
		f.members = append(f.members, &pb.Member{ID: id, Name: name, PeerURLs: []string{peerOf(id)}, ClientURLs: []string{"x"}})
		f.index[id] = 9000
	}
	return f
}

// serve starts a server for each of the members and returns how to reach them.
func (f *fakeEtcd) serve(t *testing.T, names ...string) []Member {
	t.Helper()
	var members []Member
	for i, name := range names {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		one := &fakeMember{f: f, id: uint64(i + 1)}
		pb.RegisterClusterServer(server, one)
		pb.RegisterMaintenanceServer(server, one)
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(server.Stop)
		members = append(members, Member{Name: name, ClientURL: "http://" + listener.Addr().String(), Dial: direct})
	}
	return members
}

func (f *fakeEtcd) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, m := range f.members {
		name := m.Name
		if name == "" {
			name = m.PeerURLs[0]
		}
		if m.IsLearner {
			name = "*" + name
		}
		all = append(all, name)
	}
	return all
}

type fakeMember struct {
	pb.UnimplementedClusterServer
	pb.UnimplementedMaintenanceServer
	f  *fakeEtcd
	id uint64
}

func (m *fakeMember) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	index, runs := m.f.index[m.id]
	if !runs {
		return nil, rpctypes.ErrGRPCStopped
	}
	i := slices.IndexFunc(m.f.members, func(e *pb.Member) bool { return e.ID == m.id })
	return &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: m.id}, Leader: m.f.leader, RaftIndex: index, IsLearner: i >= 0 && m.f.members[i].IsLearner}, nil
}

func (m *fakeMember) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	return &pb.MemberListResponse{Members: slices.Clone(m.f.members)}, nil
}

// change makes one change, as the leader only may.
func (m *fakeMember) change(call string, do func()) error {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	m.f.calls = append(m.f.calls, call)
	if m.id != m.f.leader {
		return rpctypes.ErrGRPCNotLeader
	}
	if len(m.f.refuse) > 0 {
		err := m.f.refuse[0]
		m.f.refuse = m.f.refuse[1:]
		return err
	}
	do()
	if m.f.lose {
		m.f.lose = false
		return rpctypes.ErrGRPCTimeout
	}
	return nil
}

func (m *fakeMember) MemberAdd(_ context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return &pb.MemberAddResponse{}, m.change("add "+strings.Join(r.PeerURLs, ","), func() {
		m.f.members = append(slices.Clone(m.f.members), &pb.Member{ID: uint64(len(m.f.members) + 1), PeerURLs: r.PeerURLs, IsLearner: r.IsLearner})
	})
}

func (m *fakeMember) MemberPromote(_ context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return &pb.MemberPromoteResponse{}, m.change(fmt.Sprint("promote ", r.ID), func() {
		for _, e := range m.f.members {
			e.IsLearner = e.IsLearner && e.ID != r.ID
		}
	})
}

func (m *fakeMember) MemberRemove(_ context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return &pb.MemberRemoveResponse{}, m.change(fmt.Sprint("remove ", r.ID), func() {
		m.f.members = slices.DeleteFunc(slices.Clone(m.f.members), func(e *pb.Member) bool { return e.ID == r.ID })
	})
}

func (m *fakeMember) MoveLeader(_ context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	return &pb.MoveLeaderResponse{}, m.change(fmt.Sprint("lead ", r.TargetID), func() { m.f.leader = r.TargetID })
}

// entries are those of members 1, 2 … by name; "*" marks a learner.
func entries(names ...string) resource.EtcdList {
	var list resource.EtcdList
	for i, name := range names {
		name, learner := strings.CutPrefix(name, "*")
		id := uint64(i + 1)
		list = append(list, resource.EtcdEntry{ID: id, Name: name, PeerURLs: []string{peerOf(id)}, Learner: learner})
	}
	return list
}

// A change is made once, as long as the list is the one that the plan saw; what
// an interrupted run left is taken for done.
func TestMembershipChanges(t *testing.T) {
	names := []string{"shaolin", "wudang", "emei"}
	entry := func(id uint64, name string) resource.EtcdEntry {
		return resource.EtcdEntry{ID: id, Name: name, PeerURLs: []string{peerOf(id)}}
	}
	fresh := resource.EtcdEntry{Name: "emei", PeerURLs: []string{peerOf(3)}}
	add := resource.EtcdLearner{Entry: fresh, List: entries("shaolin", "wudang")}
	withLearner := entries("shaolin", "wudang", "*emei")
	withLearner[2].ID = 0 // as planned
	promote := resource.EtcdVoter{Entry: resource.EtcdEntry{Name: "emei", PeerURLs: fresh.PeerURLs, Learner: true}, List: withLearner}
	remove := resource.EtcdRemoval{Entry: entry(1, "shaolin"), List: entries(names...)}
	for _, tt := range []struct {
		name    string
		begin   []string // the members listed
		prepare func(*fakeEtcd)
		do      resource.Resource
		calls   []string
		list    []string
		fails   string
		told    string
	}{
		{"add", names[:2], nil, add, []string{"add " + peerOf(3)}, []string{"shaolin", "wudang", "*" + peerOf(3)}, "", ""},
		{"add what is added", []string{"shaolin", "wudang", "*emei"}, nil, add, nil, []string{"shaolin", "wudang", "*emei"}, "", ""},
		{"add, the answer is lost", names[:2], func(f *fakeEtcd) { f.lose = true }, add, []string{"add " + peerOf(3)}, []string{"shaolin", "wudang", "*" + peerOf(3)}, "", "request timed out"},
		{"add, etcd is not ready", names[:2], func(f *fakeEtcd) { f.refuse = []error{rpctypes.ErrGRPCUnhealthy} }, add,
			[]string{"add " + peerOf(3), "add " + peerOf(3)}, []string{"shaolin", "wudang", "*" + peerOf(3)}, "", "waiting to add emei to etcd as a learner: shaolin: etcdserver: unhealthy cluster"},
		{"add, etcd refuses", names[:2], func(f *fakeEtcd) { f.refuse = []error{rpctypes.ErrGRPCTooManyLearners} }, add,
			[]string{"add " + peerOf(3)}, names[:2], "add emei to etcd as a learner: through shaolin: etcdserver: too many learner members in cluster", ""},
		{"add to another list", names[:1], nil, add, nil, names[:1], "add emei to etcd as a learner: etcd's list of members is another one, wudang is gone: changed on the cluster since it was planned", ""},
		{"add beside somebody else's", []string{"shaolin", "wudang", "*kunlun"}, func(f *fakeEtcd) { f.members[2].PeerURLs = []string{peerOf(9)} }, add, nil,
			[]string{"shaolin", "wudang", "*kunlun"}, "kunlun was added: changed on the cluster", ""},

		{"promote", []string{"shaolin", "wudang", "*emei"}, nil, promote, []string{"promote 3"}, names, "", ""},
		{"promote what has its vote", names, nil, promote, nil, names, "", ""},
		{"promote one that is behind", []string{"shaolin", "wudang", "*emei"}, func(f *fakeEtcd) { f.index[3] = 4000 }, promote, nil,
			[]string{"shaolin", "wudang", "*emei"}, "promote etcd's learner emei: context deadline exceeded; the last answer: through shaolin: it is 5000 raft entries behind the leader", "it is 5000 raft entries behind"},
		{"promote one that has not started", []string{"shaolin", "wudang", "*emei"}, func(f *fakeEtcd) { delete(f.index, 3) }, promote, nil,
			[]string{"shaolin", "wudang", "*emei"}, "the last answer: through shaolin: it does not answer yet", "it does not answer yet"},
		{"promote, etcd is not ready", []string{"shaolin", "wudang", "*emei"}, func(f *fakeEtcd) { f.refuse = []error{rpctypes.ErrGRPCLearnerNotReady} }, promote,
			[]string{"promote 3", "promote 3"}, names, "", "can only promote a learner member which is in sync with leader"},

		{"remove the leader", names, nil, remove, []string{"lead 2", "remove 1"}, names[1:], "", ""},
		{"remove one that follows", names, func(f *fakeEtcd) { f.leader = 3 }, remove, []string{"remove 1"}, names[1:], "", ""},
		{"remove what is removed", names[1:], func(f *fakeEtcd) {
			f.members[0].ID, f.members[0].PeerURLs, f.members[1].ID, f.members[1].PeerURLs, f.leader = 2, []string{peerOf(2)}, 3, []string{peerOf(3)}, 2
			f.index = map[uint64]uint64{2: 9000, 3: 9000}
		}, remove, nil, names[1:], "", ""},
		{"remove while another is away", names, func(f *fakeEtcd) { delete(f.index, 2) }, remove, nil, names, "of the 2 members that stay 1 are healthy; 2 are needed", "of the 2 members"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeEtcd(tt.begin...)
			for _, m := range f.members {
				m.Name, m.IsLearner = strings.TrimPrefix(m.Name, "*"), strings.HasPrefix(m.Name, "*")
			}
			if tt.prepare != nil {
				tt.prepare(f)
			}
			members := f.serve(t, names...)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			told := ""
			waits := strings.Contains(tt.fails, "last answer") || strings.Contains(tt.fails, "needed")
			report := func(text string) {
				told += text + "\n"
				if waits { // in vain: the time is up now
					cancel(context.DeadlineExceeded)
				}
			}
			var err error
			switch r := tt.do.(type) {
			case resource.EtcdLearner:
				err = AddLearner(ctx, members, nil, r, report)
			case resource.EtcdVoter:
				err = Promote(ctx, members, nil, r, report)
			case resource.EtcdRemoval:
				err = Remove(ctx, members, nil, r, report)
			}
			if (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("error %v, want %s", err, tt.fails)
			}
			if moved := strings.Contains(tt.fails, "changed on the cluster"); errors.Is(err, ErrMoved) != moved {
				t.Errorf("the error matches ErrMoved: %v", !moved)
			}
			if !strings.Contains(told, tt.told) {
				t.Errorf("told %q, want %q", told, tt.told)
			}
			if diff := cmp.Diff(tt.calls, f.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.list, f.list()); diff != "" {
				t.Errorf("the list in the end (-want +got):\n%s", diff)
			}
		})
	}
}

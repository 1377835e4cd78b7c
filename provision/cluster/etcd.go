package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sort"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/kinstall/kinstall/plan/fault"
)

// reach is how many raft entries, or revisions, a member may be behind the
// others and still count as one that has caught up.
const reach = 1000

// Member is an etcd member as the plan has it.
type Member struct {
	Name      string // as in --name
	ClientURL string // "https://10.27.53.32:2379"
	Dial      DialFunc
	// Moves says that it joins or leaves meanwhile: it may be listed or not, and
	// have a vote or none. Where it is not listed, or is a learner that has not
	// started, nobody relies on it, and it is left out of a Health.
	Moves bool
}

// MemberHealth is what one member says.
type MemberHealth struct {
	Name string
	// Problem is what is wrong, "" if nothing is.
	Problem   string
	Leader    string // the leader it follows, by name if known; "" if none
	Learner   bool
	RaftIndex uint64
	Revision  int64
	Version   string // of the server: "3.6.8"
}

// Health is what all members say. Only a cluster that is healthy throughout may
// lose one: one member is never taken down while another is.
type Health struct {
	Members []MemberHealth // in the order asked
	Leader  string         // the one all healthy members follow; "" if they don't agree
	Alarms  []string       // "NOSPACE on wudang"; sorted
}

// Healthy reports whether every member is, under one leader, without an alarm.
func (h Health) Healthy() bool {
	return h.count() == len(h.Members) && len(h.Members) > 0 && h.Leader != "" && len(h.Alarms) == 0
}

func (h Health) count() int {
	n := 0
	for _, m := range h.Members {
		if m.Problem == "" {
			n++
		}
	}
	return n
}

// String is one line for people: "2 of 3 members healthy, leader shaolin".
func (h Health) String() string {
	s := fmt.Sprintf("%d of %d members healthy", h.count(), len(h.Members))
	if h.Leader != "" {
		s += ", leader " + h.Leader
	} else {
		s += ", no leader"
	}
	if len(h.Alarms) > 0 {
		s += ", alarm " + strings.Join(h.Alarms, ", ")
	}
	return s
}

// Problems lists what is wrong: "wudang: connection refused".
func (h Health) Problems() []string {
	var problems []string
	for _, m := range h.Members {
		if m.Problem != "" {
			problems = append(problems, m.Name+": "+m.Problem)
		}
	}
	for _, a := range h.Alarms {
		problems = append(problems, "alarm "+a)
	}
	return problems
}

// view is what one member answered.
type view struct {
	err     error
	status  *pb.StatusResponse
	members *pb.MemberListResponse // nil without a leader
	alarms  *pb.AlarmResponse
}

// EtcdHealth asks every member, each through its own connection, for its own
// state and for what only a quorum can answer. A member that can't be asked is
// part of the answer; the error is for a question that can't be put at all.
// tlsConfig may be nil for URLs with the scheme http.
func EtcdHealth(ctx context.Context, members []Member, tlsConfig *tls.Config) (Health, error) {
	if len(members) == 0 {
		return Health{}, errors.New("etcd health: no members")
	}
	views := make([]view, len(members))
	fault.Each(len(members), func(i int) { views[i] = ask(ctx, members[i], tlsConfig) })
	if ctx.Err() != nil {
		return Health{}, fmt.Errorf("etcd health: %w", context.Cause(ctx))
	}
	return judge(members, views), nil
}

// connect returns a connection to a member, which is dialled on first use. It
// is for the plain gRPC interface, not etcd's client: that one tries again by
// itself until the time is up, and then does not say why.
func connect(m Member, tlsConfig *tls.Config) (*grpc.ClientConn, error) {
	address, err := url.Parse(m.ClientURL)
	if err != nil {
		return nil, err
	}
	secure := insecure.NewCredentials()
	if address.Scheme == "https" {
		config := cloneTLS(tlsConfig)
		if config.ServerName == "" {
			config.ServerName = address.Hostname()
		}
		secure = credentials.NewTLS(config)
	}
	return grpc.NewClient("passthrough:///"+address.Host,
		grpc.WithTransportCredentials(secure),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return m.Dial(ctx, "tcp", addr) }))
}

// ask puts the questions to one member, once: whoever waits asks again.
func ask(ctx context.Context, m Member, tlsConfig *tls.Config) view {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	conn, err := connect(m, tlsConfig)
	if err != nil {
		return view{err: err}
	}
	defer conn.Close()
	fail := func(what string, err error) view {
		if status.Code(err) == codes.Unavailable {
			return view{err: errors.New(reason(err))}
		}
		return view{err: fmt.Errorf("%s: %s", what, reason(err))}
	}
	var v view
	maintenance := pb.NewMaintenanceClient(conn)
	if v.status, err = maintenance.Status(ctx, &pb.StatusRequest{}); err != nil {
		return fail("status", err)
	}
	if v.status.Leader == 0 || v.status.IsLearner {
		return v // what follows needs a quorum, and a voter
	}
	if v.members, err = pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true}); err != nil {
		return fail("list of members", err)
	}
	// Asking for alarms goes through the raft log: only when the status, which
	// lists them as well, says that there is something to ask.
	if len(v.status.Errors) > 0 {
		if v.alarms, err = maintenance.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET, Alarm: pb.AlarmType_NONE}); err != nil {
			return fail("alarms", err)
		}
	}
	return v
}

// reason takes the wrapping off an error of gRPC.
func reason(err error) string {
	message := status.Convert(err).Message()
	if inner, ok := strings.CutPrefix(message, `connection error: desc = "`); ok {
		message = strings.TrimSuffix(inner, `"`)
	}
	message = strings.TrimPrefix(message, "transport: ")
	return strings.TrimPrefix(message, "Error while dialing: ")
}

// judge compares what the members say.
func judge(members []Member, views []view) Health {
	names := map[uint64]string{} // by member ID
	var index uint64
	var revision int64
	followers := map[uint64]int{}
	for i, v := range views {
		if v.members != nil {
			for _, m := range v.members.Members {
				if names[m.ID] == "" {
					names[m.ID] = m.Name
				}
			}
		}
		if v.status != nil {
			names[v.status.Header.MemberId] = members[i].Name
			index = max(index, v.status.RaftIndex)
			revision = max(revision, v.status.Header.Revision)
			if v.status.Leader != 0 {
				followers[v.status.Leader]++
			}
		}
	}
	leader := uint64(0) // the one with most followers
	for id, n := range followers {
		if n > followers[leader] || n == followers[leader] && id > leader {
			leader = id
		}
	}
	health := Health{}
	if len(followers) == 1 {
		health.Leader = nameOf(names, leader)
	}
	alarms := map[string]bool{}
	list := listOf(views, leader)
	for i, v := range views {
		if members[i].Moves && list != nil && !reliedOn(list, members[i], v) {
			continue
		}
		m := MemberHealth{Name: members[i].Name}
		if v.status != nil {
			m.Learner, m.RaftIndex, m.Revision, m.Version = v.status.IsLearner, v.status.RaftIndex, v.status.Header.Revision, v.status.Version
			if v.status.Leader != 0 {
				m.Leader = nameOf(names, v.status.Leader)
			}
		}
		m.Problem = problem(v, members, leader, names, index, revision)
		health.Members = append(health.Members, m)
		if v.alarms != nil {
			for _, a := range v.alarms.Alarms {
				alarms[a.Alarm.String()+" on "+nameOf(names, a.MemberID)] = true
			}
		}
	}
	for a := range alarms {
		health.Alarms = append(health.Alarms, a)
	}
	sort.Strings(health.Alarms)
	return health
}

// listOf is the list of members as the leader has it, or else somebody who
// follows it; nil if nobody told.
func listOf(views []view, leader uint64) (list []*pb.Member) {
	for _, v := range views {
		if v.members != nil && v.status.Leader == leader && (list == nil || v.status.Header.MemberId == leader) {
			list = v.members.Members
		}
	}
	return list
}

// reliedOn reports whether a member that joins or leaves is listed, and either
// has a vote or has started.
func reliedOn(list []*pb.Member, m Member, v view) bool {
	return slices.ContainsFunc(list, func(e *pb.Member) bool {
		if v.status != nil {
			return e.ID == v.status.Header.MemberId
		}
		return e.Name == m.Name && !e.IsLearner
	})
}

// problem says what is wrong with one member, "" if nothing is.
func problem(v view, members []Member, leader uint64, names map[uint64]string, index uint64, revision int64) string {
	switch {
	case v.err != nil:
		return v.err.Error()
	case v.status.Leader == 0:
		return "knows no leader"
	case v.status.Leader != leader:
		return "follows " + nameOf(names, v.status.Leader) + ", not " + nameOf(names, leader)
	case v.status.IsLearner && !moves(members, names[v.status.Header.MemberId]):
		return "is a learner still"
	case index-v.status.RaftIndex > reach:
		return fmt.Sprintf("is %d raft entries behind", index-v.status.RaftIndex)
	case revision-v.status.Header.Revision > reach:
		return fmt.Sprintf("is %d revisions behind", revision-v.status.Header.Revision)
	}
	if v.status.IsLearner {
		return "" // it is not asked for the list
	}
	want := map[string]bool{}
	for _, m := range members {
		want[m.Name] = true
	}
	for _, m := range v.members.Members {
		switch {
		case m.Name == "" && slices.ContainsFunc(members, func(m Member) bool { return m.Moves }):
		case m.Name == "":
			return fmt.Sprintf("knows a member that never started (%s)", strings.Join(m.PeerURLs, ", "))
		case !want[m.Name]:
			return "knows a member that is not in the plan: " + m.Name
		}
		delete(want, m.Name)
	}
	var unknown []string
	for name := range want {
		if !moves(members, name) {
			unknown = append(unknown, name)
		}
	}
	if sort.Strings(unknown); len(unknown) > 0 {
		return "does not know " + strings.Join(unknown, ", ")
	}
	return ""
}

// moves reports whether a member joins or leaves.
func moves(members []Member, name string) bool {
	return slices.ContainsFunc(members, func(m Member) bool { return m.Name == name && m.Moves })
}

func nameOf(names map[uint64]string, id uint64) string {
	if name := names[id]; name != "" {
		return name
	}
	return fmt.Sprintf("%x", id)
}

package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/plan/resource"
)

// A change of etcd's list of members is made through the member that leads, and
// only while the list is the one that the plan saw: else the error matches
// ErrMoved, and nothing was changed. One that is made already, by a run that was
// interrupted or in an attempt whose answer was lost, is done. What etcd refuses
// for the moment is tried again until the context ends; report is told of it.

// AddLearner adds a member to etcd's list, without a vote.
func AddLearner(ctx context.Context, members []Member, tlsConfig *tls.Config, l resource.EtcdLearner, report func(string)) error {
	return changeList(ctx, members, tlsConfig, listChange{
		what: fmt.Sprintf("add %s to etcd as a learner", l.Entry), list: l.List, done: l.Done,
		make: func(ctx context.Context, s survey) error {
			_, err := s.cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: l.Entry.PeerURLs, IsLearner: true})
			return err
		},
	}, report)
}

// Promote gives a learner its vote when it has caught up with the leader.
func Promote(ctx context.Context, members []Member, tlsConfig *tls.Config, v resource.EtcdVoter, report func(string)) error {
	return changeList(ctx, members, tlsConfig, listChange{
		what: fmt.Sprintf("promote etcd's learner %s", v.Entry), list: v.List, done: v.Done,
		make: func(ctx context.Context, s survey) error {
			i := slices.IndexFunc(s.list, v.Entry.IsOf)
			if i < 0 {
				return errors.New("it is not listed") // no list that is as expected lacks it
			}
			id := s.list[i].ID
			if behind, err := s.behind(id); err != nil || behind > reach {
				return notYetError{cmp.Or(err, fmt.Errorf("it is %d raft entries behind the leader", behind))}
			}
			_, err := s.cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
			return err
		},
	}, report)
}

// Remove takes a member off etcd's list. One that leads hands the lead over
// first, so that the others need no election.
func Remove(ctx context.Context, members []Member, tlsConfig *tls.Config, r resource.EtcdRemoval, report func(string)) error {
	return changeList(ctx, members, tlsConfig, listChange{
		what: fmt.Sprintf("remove %s from etcd's members", r.Entry), list: r.List, done: r.Done,
		make: func(ctx context.Context, s survey) error {
			healthy, of := s.without(r.Entry.ID)
			if 2*len(healthy) <= of && !r.Entry.Learner {
				return notYetError{fmt.Errorf("of the %d members that stay %d are healthy; %d are needed", of, len(healthy), of/2+1)}
			}
			if s.leader == r.Entry.ID {
				if _, err := s.maintenance.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: healthy[0]}); err != nil {
					return fmt.Errorf("hand its lead over: %w", err)
				}
				return notYetError{errors.New("it has handed its lead over")}
			}
			_, err := s.cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: r.Entry.ID})
			return err
		},
	}, report)
}

// listChange is one change of the list.
type listChange struct {
	what string
	list resource.EtcdList // as the plan expects it
	done func([]fact.EtcdMember) bool
	make func(context.Context, survey) error
}

// notYetError is a reason to try again.
type notYetError struct{ error }

func (e notYetError) Unwrap() error { return e.error }

func changeList(ctx context.Context, members []Member, tlsConfig *tls.Config, c listChange, report func(string)) error {
	last := ""
	for {
		through, err := c.attempt(ctx, members, tlsConfig)
		if err == nil {
			return nil
		}
		text := reason(err)
		if through != "" {
			text = through + ": " + text
		}
		switch {
		case errors.Is(err, ErrMoved):
			return fmt.Errorf("%s: %w", c.what, err)
		case !passes(err):
			return fmt.Errorf("%s: through %s", c.what, text)
		}
		if text != last && ctx.Err() == nil {
			last = text
			report("waiting to " + c.what + ": " + text)
		}
		if !pause(ctx) {
			return fmt.Errorf("%s: %w; the last answer: through %s", c.what, context.Cause(ctx), text)
		}
	}
}

// passes reports whether what etcd refuses now may go well in a moment.
func passes(err error) bool {
	var later notYetError
	switch {
	case errors.As(err, &later):
		return true
	case status.Code(err) == codes.Unavailable, status.Code(err) == codes.DeadlineExceeded, status.Code(err) == codes.Canceled:
		return true
	}
	return slices.ContainsFunc([]error{rpctypes.ErrGRPCLearnerNotReady, rpctypes.ErrGRPCMemberNotEnoughStarted, rpctypes.ErrGRPCNotLeader}, func(known error) bool {
		return strings.Contains(err.Error(), status.Convert(known).Message())
	})
}

// attempt looks at the list and makes the change, once. It names the member that
// it went through, "" for none.
func (c listChange) attempt(ctx context.Context, members []Member, tlsConfig *tls.Config) (through string, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	s, err := surveyOf(ctx, members, tlsConfig)
	if err != nil {
		return "", notYetError{err}
	}
	defer s.conn.Close()
	if c.done(s.list) {
		return s.through, nil
	}
	if differs := c.list.Differs(s.list); differs != "" {
		return s.through, fmt.Errorf("etcd's list of members is another one, %s: %w", differs, ErrMoved)
	}
	return s.through, c.make(ctx, s)
}

// survey is etcd as it is just before a change, asked of all members.
type survey struct {
	through     string // the name of the one that leads
	leader      uint64
	list        []fact.EtcdMember
	status      map[uint64]*pb.StatusResponse // of those that answer
	conn        *grpc.ClientConn              // to the one that leads
	cluster     pb.ClusterClient
	maintenance pb.MaintenanceClient
}

func surveyOf(ctx context.Context, members []Member, tlsConfig *tls.Config) (survey, error) {
	views := make([]view, len(members))
	fault.Each(len(members), func(i int) { views[i] = ask(ctx, members[i], tlsConfig) })
	s := survey{status: map[uint64]*pb.StatusResponse{}}
	leads, term := -1, uint64(0)
	var failures []string
	for i, v := range views {
		if v.status != nil {
			s.status[v.status.Header.MemberId] = v.status
		}
		switch {
		case v.err != nil:
			failures = append(failures, members[i].Name+": "+v.err.Error())
		case v.status.Leader == v.status.Header.MemberId && v.members != nil && v.status.RaftTerm >= term:
			leads, term = i, v.status.RaftTerm
		}
	}
	if leads < 0 {
		return s, errors.New(strings.Join(append([]string{"no member that leads answers"}, failures...), "; "))
	}
	s.through, s.leader = members[leads].Name, views[leads].status.Header.MemberId
	for _, e := range views[leads].members.Members {
		s.list = append(s.list, memberFact(e))
	}
	conn, err := connect(members[leads], tlsConfig)
	if err != nil {
		return s, err
	}
	s.conn, s.cluster, s.maintenance = conn, pb.NewClusterClient(conn), pb.NewMaintenanceClient(conn)
	return s, nil
}

// behind is how many raft entries a member lacks.
func (s survey) behind(id uint64) (uint64, error) {
	own, answers := s.status[id]
	if !answers {
		return 0, errors.New("it does not answer yet")
	}
	if own.Leader != s.leader {
		return 0, errors.New("it does not follow the leader yet")
	}
	return s.status[s.leader].RaftIndex - min(own.RaftIndex, s.status[s.leader].RaftIndex), nil
}

// without returns who of the members with a vote is healthy but for one, those
// furthest on first, and how many there are of them.
func (s survey) without(id uint64) (healthy []uint64, of int) {
	for _, m := range s.list {
		if m.ID == id || m.Learner {
			continue
		}
		of++
		if behind, err := s.behind(m.ID); err == nil && behind <= reach {
			healthy = append(healthy, m.ID)
		}
	}
	slices.SortStableFunc(healthy, func(a, b uint64) int { return cmp.Compare(s.status[b].RaftIndex, s.status[a].RaftIndex) })
	return healthy, of
}

func memberFact(e *pb.Member) fact.EtcdMember {
	return fact.EtcdMember{ID: e.ID, Name: e.Name, PeerURLs: e.PeerURLs, ClientURLs: e.ClientURLs, Learner: e.IsLearner}
}

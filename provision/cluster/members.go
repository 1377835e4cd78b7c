package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/fault"
)

// EtcdMembers reads etcd's own list of members. All are asked at once, for any
// of them may hang that waits for a quorum to start with. A list that a quorum
// stands behind is preferred to what one member knew last. The error matches
// ErrNoEtcd when none listens.
func EtcdMembers(ctx context.Context, members []Member, tlsConfig *tls.Config) (fact.EtcdMembers, error) {
	answers := make([]fact.EtcdMembers, len(members))
	errs := make([]error, len(members))
	own := make([]uint64, len(members)) // IDs of those that know a leader
	fault.Each(len(members), func(i int) { answers[i], own[i], errs[i] = membersKnownTo(ctx, members[i], tlsConfig) })
	best, absent := -1, true
	for i, err := range errs {
		if err == nil && (best < 0 || answers[i].Quorum && !answers[best].Quorum) {
			best = i
		}
		absent = absent && err != nil && refused(err)
	}
	switch {
	case best >= 0:
		found := answers[best]
		for i := range found.Members {
			found.Members[i].Healthy = slices.Contains(own, found.Members[i].ID)
		}
		return found, nil
	case ctx.Err() != nil:
		return fact.EtcdMembers{}, fmt.Errorf("list of etcd's members: %w", context.Cause(ctx))
	case absent:
		return fact.EtcdMembers{}, ErrNoEtcd
	}
	return fact.EtcdMembers{}, fmt.Errorf("list of etcd's members: %w", errors.Join(errs...))
}

// membersKnownTo asks one member, which answers by itself where it has no leader.
// Its own ID is 0 then.
func membersKnownTo(ctx context.Context, m Member, tlsConfig *tls.Config) (found fact.EtcdMembers, own uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	fail := func(err error) (fact.EtcdMembers, uint64, error) {
		return fact.EtcdMembers{}, 0, fmt.Errorf("%s: %s", m.Name, reason(err))
	}
	conn, err := connect(m, tlsConfig)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	status, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return fail(err)
	}
	found = fact.EtcdMembers{Quorum: status.Leader != 0 && !status.IsLearner, Leader: status.Leader, ClusterID: status.Header.ClusterId}
	if status.Leader != 0 {
		own = status.Header.MemberId
	}
	list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: found.Quorum})
	if err != nil {
		return fail(err)
	}
	for _, e := range list.Members {
		found.Members = append(found.Members, memberFact(e))
	}
	slices.SortFunc(found.Members, func(a, b fact.EtcdMember) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return found, own, nil
}

package resource

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
)

// EtcdEntry is an entry of etcd's list of members as a change of it expects it.
type EtcdEntry struct {
	// ID is 0 of a member that is added earlier in the same plan: etcd makes it up.
	ID       uint64
	Name     string
	PeerURLs []string
	Learner  bool
	// Replaces is the ID of the member that is reached where this one will be, and
	// removed earlier in the same plan; 0 for none.
	Replaces uint64
}

// IsOf reports whether the entry is that of a member.
func (e EtcdEntry) IsOf(m fact.EtcdMember) bool {
	return (e.ID == m.ID || e.ID == 0 && m.ID != e.Replaces) && samePeers(e.PeerURLs, m.PeerURLs)
}

func samePeers(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// String is "wudang", or "https://10.27.53.32:2380" of one that has no name yet.
func (e EtcdEntry) String() string {
	if e.Name == "" {
		return strings.Join(e.PeerURLs, ", ")
	}
	return e.Name
}

// EtcdList is etcd's list of members just before a change of it.
type EtcdList []EtcdEntry

// Differs says how a list that was found is not the one that the plan saw, ""
// if it is. Names don't count: a member tells its own when it starts.
func (l EtcdList) Differs(found []fact.EtcdMember) string {
	var extra, missing []string
	left := slices.Clone(found)
	for _, e := range l {
		i := slices.IndexFunc(left, e.IsOf)
		switch {
		case i < 0:
			missing = append(missing, e.String())
			continue
		case e.Learner && !left[i].Learner:
			return e.String() + " is a voting member already"
		case !e.Learner && left[i].Learner:
			return e.String() + " is a learner"
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, m := range left {
		extra = append(extra, EtcdEntry{Name: m.Name, PeerURLs: m.PeerURLs}.String())
	}
	var parts []string
	if len(extra) > 0 {
		parts = append(parts, strings.Join(extra, ", ")+" was added")
	}
	if len(missing) > 0 {
		parts = append(parts, strings.Join(missing, ", ")+" is gone")
	}
	return strings.Join(parts, "; ")
}

// EtcdLearner is a member that is added to etcd's list: without a vote, until
// it has caught up (see EtcdVoter).
type EtcdLearner struct {
	Entry EtcdEntry // without an ID
	List  EtcdList
}

// ID implements Resource.
func (l EtcdLearner) ID() ID { return NewID(KindEtcdLearner, l.Entry.Name) }

// Queries implements Resource.
func (l EtcdLearner) Queries() []fact.Query { return []fact.Query{{Kind: fact.KindEtcdMembers}} }

// Done reports whether the member is listed, as a learner or with a vote.
func (l EtcdLearner) Done(found []fact.EtcdMember) bool {
	return slices.ContainsFunc(found, l.Entry.IsOf)
}

// Diff implements Resource.
func (l EtcdLearner) Diff(facts fact.Set) (Change, error) {
	change := Change{Action: Create, Fields: []Field{{Name: "peer", After: strings.Join(l.Entry.PeerURLs, ", ")}}}
	change.because(Intent, "joins etcd without a vote until it has caught up")
	return judgeMember(facts, change, l.Done)
}

// EtcdVoter is a learner that gets its vote when it has caught up with the
// leader.
type EtcdVoter struct {
	Entry EtcdEntry // its ID is 0 if it is added in the same plan
	List  EtcdList
}

// ID implements Resource.
func (v EtcdVoter) ID() ID { return NewID(KindEtcdVoter, v.Entry.Name) }

// Queries implements Resource.
func (v EtcdVoter) Queries() []fact.Query { return []fact.Query{{Kind: fact.KindEtcdMembers}} }

// Done reports whether the member is listed with a vote.
func (v EtcdVoter) Done(found []fact.EtcdMember) bool {
	i := slices.IndexFunc(found, v.Entry.IsOf)
	return i >= 0 && !found[i].Learner
}

// Diff implements Resource.
func (v EtcdVoter) Diff(facts fact.Set) (Change, error) {
	change := Change{Action: Update}
	change.because(Intent, "gets its vote when it has caught up")
	return judgeMember(facts, change, v.Done)
}

// EtcdRemoval is a member that is taken off etcd's list.
type EtcdRemoval struct {
	Entry  EtcdEntry
	Reason Reason
	List   EtcdList
}

// ID implements Resource: "etcd-member:wudang/8e9e05c52164694d", as etcdctl
// shows it: one of the same name may join anew.
func (r EtcdRemoval) ID() ID {
	return NewID(KindEtcdMember, fmt.Sprintf("%s/%x", r.Entry, r.Entry.ID))
}

// Queries implements Resource.
func (r EtcdRemoval) Queries() []fact.Query { return []fact.Query{{Kind: fact.KindEtcdMembers}} }

// Done reports whether the member is not listed any more.
func (r EtcdRemoval) Done(found []fact.EtcdMember) bool {
	return !slices.ContainsFunc(found, func(m fact.EtcdMember) bool { return m.ID == r.Entry.ID })
}

// Diff implements Resource.
func (r EtcdRemoval) Diff(facts fact.Set) (Change, error) {
	return judgeMember(facts, Change{Action: Delete, Reasons: []Reason{r.Reason}}, r.Done)
}

// judgeMember returns a change of etcd's list unless it is made already. Where
// etcd does not answer, it is judged later.
func judgeMember(facts fact.Set, change Change, done func([]fact.EtcdMember) bool) (Change, error) {
	found, err := facts.EtcdMembers()
	switch {
	case errors.Is(err, fact.ErrNotObserved):
		change.Action = Deferred
		change.because(Unknown, "etcd does not answer yet")
	case err != nil:
		return Change{}, err
	case done(found.Members):
		return Change{Action: NoOp}, nil
	}
	return change, nil
}

// EtcdData is data of etcd on a host that is to join without it: that of a
// member which is not on etcd's list any more. It is moved aside, and what lay
// there before is deleted.
type EtcdData struct {
	Directory string // "/var/lib/etcd/member"
	Unit      string // is stopped before: it may be trying to serve this data
	Reason    Reason
}

// Aside is where the data is moved to.
func (d EtcdData) Aside() string { return d.Directory + ".removed" }

// ID implements Resource.
func (d EtcdData) ID() ID { return NewID(KindEtcdData, d.Directory) }

// Queries implements Resource.
func (d EtcdData) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindFile, Name: d.Directory}, {Kind: fact.KindUnit, Name: d.Unit}}
}

// Diff implements Resource.
func (d EtcdData) Diff(facts fact.Set) (Change, error) {
	found, err := facts.File(d.Directory)
	if err != nil {
		return Change{}, err
	}
	unit, err := facts.Unit(d.Unit)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: Update, Reasons: []Reason{d.Reason}}
	switch {
	case found.Exists:
		change.Fields = append(change.Fields, Field{Name: "moved", Before: d.Directory, After: d.Aside()})
	case unit.LoadState == "not-found" || unit.ActiveState == "inactive" || unit.ActiveState == "":
		return Change{Action: NoOp}, nil
	}
	if unit.LoadState != "not-found" && unit.ActiveState != "inactive" && unit.ActiveState != "" {
		change.Fields = append(change.Fields, Field{Name: d.Unit, Before: unit.ActiveState, After: "inactive"})
	}
	return change, nil
}

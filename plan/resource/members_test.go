package resource_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// A list is the one that the plan saw or it is said how it is not.
func TestEtcdListDiffers(t *testing.T) {
	url := func(s string) []string { return []string{"https://" + s + ":2380"} }
	list := resource.EtcdList{
		{ID: 1, Name: "shaolin", PeerURLs: url("a")},
		{Name: "wudang", PeerURLs: url("b"), Learner: true, Replaces: 7}, // it is added in the same plan
	}
	shaolin := fact.EtcdMember{ID: 1, Name: "shaolin", PeerURLs: url("a")}
	wudang := fact.EtcdMember{ID: 2, PeerURLs: url("b"), Learner: true}
	for name, tt := range map[string]struct {
		found []fact.EtcdMember
		want  string
	}{
		"as it was":                    {[]fact.EtcdMember{wudang, shaolin}, ""},
		"a name has become known":      {[]fact.EtcdMember{{ID: 2, Name: "wudang", PeerURLs: url("b"), Learner: true}, shaolin}, ""},
		"one is gone":                  {[]fact.EtcdMember{shaolin}, "wudang is gone"},
		"one was added":                {[]fact.EtcdMember{shaolin, wudang, {ID: 3, Name: "emei", PeerURLs: url("c")}}, "emei was added"},
		"one was replaced":             {[]fact.EtcdMember{{ID: 9, PeerURLs: url("a")}, wudang}, "https://a:2380 was added; shaolin is gone"},
		"one has moved":                {[]fact.EtcdMember{{ID: 1, Name: "shaolin", PeerURLs: url("z")}, wudang}, "shaolin was added; shaolin is gone"},
		"one has its vote":             {[]fact.EtcdMember{shaolin, {ID: 2, PeerURLs: url("b")}}, "wudang is a voting member already"},
		"one lost its vote":            {[]fact.EtcdMember{{ID: 1, Name: "shaolin", PeerURLs: url("a"), Learner: true}, wudang}, "shaolin is a learner"},
		"the one it replaces is there": {[]fact.EtcdMember{shaolin, {ID: 7, Name: "wudang", PeerURLs: url("b"), Learner: true}}, "wudang was added; wudang is gone"},
	} {
		if got := list.Differs(tt.found); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// What is to be done about a member follows from the list, and nothing is when
// a run before has done it.
func TestEtcdMemberChanges(t *testing.T) {
	peer := []string{"https://10.0.0.1:2380"}
	entry := resource.EtcdEntry{Name: "emei", PeerURLs: peer, Replaces: 7}
	old := resource.EtcdEntry{ID: 7, Name: "emei", PeerURLs: peer}
	learner, voter, remove := resource.EtcdLearner{Entry: entry}, resource.EtcdVoter{Entry: entry}, resource.EtcdRemoval{Entry: old}
	if got := remove.ID(); got != "etcd-member:emei/7" {
		t.Errorf("ID %s", got)
	}
	for name, tt := range map[string]struct {
		list []fact.EtcdMember
		want [3]resource.Action // learner, voter, removal
	}{
		"nobody":      {nil, [3]resource.Action{resource.Create, resource.Update, resource.NoOp}},
		"the old one": {[]fact.EtcdMember{{ID: 7, PeerURLs: peer}}, [3]resource.Action{resource.Create, resource.Update, resource.Delete}},
		"a learner":   {[]fact.EtcdMember{{ID: 8, PeerURLs: peer, Learner: true}}, [3]resource.Action{resource.NoOp, resource.Update, resource.NoOp}},
		"a voter":     {[]fact.EtcdMember{{ID: 8, PeerURLs: peer}}, [3]resource.Action{resource.NoOp, resource.NoOp, resource.NoOp}},
	} {
		facts := fact.NewSet(fact.Host{})
		facts.Put(fact.EtcdMembersKey, fact.EtcdMembers{Members: tt.list})
		var got [3]resource.Action
		for i, r := range []resource.Resource{learner, voter, remove} {
			change, err := r.Diff(facts)
			if err != nil {
				t.Fatal(err)
			}
			got[i] = change.Action
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if change, err := learner.Diff(fact.NewSet(fact.Host{})); err != nil || change.Action != resource.Deferred {
		t.Errorf("etcd does not answer: %+v, %v", change, err)
	}
}

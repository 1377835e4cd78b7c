package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/kinstall/kinstall/plan/fact"
)

func TestEtcdMembersWithoutEtcd(t *testing.T) {
	_, err := EtcdMembers(testContext(t), []Member{{Name: "shaolin", ClientURL: "http://10.0.0.1:2379", Dial: gone("shaolin").Dial}}, nil)
	if !errors.Is(err, ErrNoEtcd) {
		t.Errorf("got error %v", err)
	}
}

// What etcd says of its members at each stage of a bring-up, and later: the
// plan tells members that never started from members that lost their data by it.
func TestRealEtcdMembers(t *testing.T) {
	etcd := binary(t, "KINSTALL_ETCD")
	dir := t.TempDir()
	names := []string{"shaolin", "wudang", "emei"}
	ports := freePorts(t, 6)
	var initial []string
	var members []Member
	for i, name := range names {
		initial = append(initial, fmt.Sprintf("%s=http://127.0.0.1:%d", name, ports[3+i]))
		members = append(members, Member{Name: name, ClientURL: fmt.Sprintf("http://127.0.0.1:%d", ports[i]), Dial: direct})
	}
	run := func(i int) func() {
		client, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[i]), fmt.Sprintf("http://127.0.0.1:%d", ports[3+i])
		return start(t, etcd, "--name", names[i], "--data-dir", filepath.Join(dir, names[i]),
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(initial, ","), "--log-level", "error")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// seen waits for a list that is as wanted.
	seen := func(what string, ok func(fact.EtcdMembers) bool) fact.EtcdMembers {
		t.Helper()
		for {
			found, err := EtcdMembers(ctx, members, nil)
			if err == nil && ok(found) {
				return found
			}
			if !pause(ctx) {
				t.Fatalf("%s: got %+v, %v", what, found, err)
			}
		}
	}
	named := func(found fact.EtcdMembers) (all []string) {
		for _, m := range found.Members {
			all = append(all, fmt.Sprintf("%s served=%t", m.Name, len(m.ClientURLs) > 0))
		}
		return all
	}

	stop := run(0)
	// A member that waits for a quorum to begin with listens and says nothing.
	if _, err := EtcdMembers(ctx, members, nil); err == nil {
		t.Error("one member of three that never had a quorum answered")
	}
	stopSecond := run(1)
	found := seen("two of three", func(f fact.EtcdMembers) bool {
		return f.Quorum && slices.Contains(named(f), "shaolin served=true") && slices.Contains(named(f), "wudang served=true")
	})
	if diff := cmp.Diff([]string{"emei served=false", "shaolin served=true", "wudang served=true"}, named(found)); diff != "" {
		t.Errorf("two members of three have started (-want +got):\n%s", diff)
	}
	if want := fmt.Sprintf("http://127.0.0.1:%d", ports[5]); !slices.Equal(found.Members[0].PeerURLs, []string{want}) {
		t.Errorf("emei's peers know it as %v, want %s", found.Members[0].PeerURLs, want)
	}
	run(2)
	seen("all", func(f fact.EtcdMembers) bool { return slices.Contains(named(f), "emei served=true") })

	// Added by hand.
	conn, err := connect(members[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for { // members must have been connected for some seconds
		_, err := pb.NewClusterClient(conn).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:9"}, IsLearner: true})
		if err == nil {
			break
		}
		if !pause(ctx) {
			t.Fatal(err)
		}
	}
	found = seen("a learner", func(f fact.EtcdMembers) bool { return len(f.Members) == 4 })
	if m := found.Members[0]; m.Name != "" || !m.Learner || len(m.ClientURLs) > 0 {
		t.Errorf("a member that was added: %+v", m)
	}

	// Without a quorum, what is left says what it knew.
	stop()
	stopSecond()
	found = seen("no quorum", func(f fact.EtcdMembers) bool { return !f.Quorum })
	if len(found.Members) != 4 {
		t.Errorf("without a quorum: %v", named(found))
	}
}

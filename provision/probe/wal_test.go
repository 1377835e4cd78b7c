package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
)

// beginning.wal is the beginning of a log that etcd 3.6.8 wrote.
const (
	walMember  = 443629905751424238
	walCluster = 13455796455940752355
)

// Whose data a host has is told by its newest log; that there is none is told
// from one that can't be read.
func TestEtcdData(t *testing.T) {
	beginning, err := os.ReadFile(filepath.Join("testdata", "beginning.wal"))
	if err != nil {
		t.Fatal(err)
	}
	own := fact.EtcdData{MemberID: walMember, ClusterID: walCluster}
	const older, newer = "0000000000000000-0000000000000000.wal", "0000000000000001-0000000000000a00.wal"
	for name, tt := range map[string]struct {
		files map[string]string
		want  fact.EtcdData
		fails string
	}{
		"no directory":           {nil, fact.EtcdData{}, ""},
		"an interrupted start":   {map[string]string{"0.tmp": "x"}, fact.EtcdData{}, ""},
		"one part":               {map[string]string{older: string(beginning), "0.tmp": "x"}, own, ""},
		"several parts":          {map[string]string{older: strings.Repeat("\x00", 512), newer: string(beginning)}, own, ""},
		"nothing but zeros":      {map[string]string{older: strings.Repeat("\x00", 512)}, fact.EtcdData{}, "does not begin with whose it is"},
		"cut off":                {map[string]string{older: string(beginning[:20])}, fact.EtcdData{}, "does not begin with whose it is"},
		"something else":         {map[string]string{older: strings.Repeat("x", 512)}, fact.EtcdData{}, "does not begin with whose it is"},
		"an empty part":          {map[string]string{older: ""}, fact.EtcdData{}, "can't be read, or is empty"},
		"a record without sense": {map[string]string{older: "\x08\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("\xff", 8)}, fact.EtcdData{}, "unreadable record"},
	} {
		for shellName, shell := range shells(t) {
			t.Run(name+"/"+shellName, func(t *testing.T) {
				m := newMachine(t, shell)
				dir := filepath.Join(m.root, "member of etcd", "wal")
				for file, content := range tt.files {
					write(t, filepath.Join(dir, file), content, 0o600)
				}
				set, err := m.probe(t, []fact.Query{{Kind: fact.KindEtcdData, Name: dir}})
				if tt.fails != "" {
					if err == nil || !strings.Contains(err.Error(), tt.fails) {
						t.Errorf("%v, want %s", err, tt.fails)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				got, err := set.EtcdData(dir)
				if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
			})
		}
	}
}

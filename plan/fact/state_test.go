package fact

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzState reads a host's record of any content; one that is accepted is written
// and read again.
func FuzzState(f *testing.F) {
	full := State{Version: StateVersion, Cluster: "wuxia", Resources: map[string]Record{
		"unit:etcd.service": {Digest: "d", Inputs: map[string]string{"file:/etc/x": "d"}, Started: "boot 1", Unproven: true},
		"file:/etc/x":       {Files: map[string]string{"/etc/x": "d"}, Ranges: []string{"10.244.0.0/16"}},
	}}
	for _, seed := range [][]byte{
		full.Format(), nil, []byte("{}"), []byte("null"), []byte(`{"version":2}`), []byte(`{"resources":null}`), []byte(`{"version":-1}`),
		[]byte(`{"resources":{"a":null}}`), bytes.Repeat([]byte(`{"resources":`), 100), []byte("\xff"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		state, err := ParseState(data)
		if err != nil {
			return
		}
		if state.Resources == nil {
			t.Fatal("no map of resources")
		}
		written := state.Format()
		again, err := ParseState(written)
		if err != nil {
			t.Fatalf("what was written can't be read: %v\n%s", err, written)
		}
		if again.Cluster != state.Cluster || len(again.Resources) != len(state.Resources) {
			t.Fatalf("another state comes back: %s", cmp.Diff(state, again))
		}
		for id, record := range state.Resources {
			if !again.Resources[id].Equal(record) {
				t.Fatalf("another record of %q comes back: %s", id, cmp.Diff(record, again.Resources[id]))
			}
		}
		if !bytes.Equal(again.Format(), written) {
			t.Fatal("equal states give other bytes")
		}
	})
}

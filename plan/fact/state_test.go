package fact

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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
	var shared States
	f.Fuzz(func(t *testing.T, data []byte) {
		state, err := ParseState(data)
		for range 2 { // what was read first is read again
			same, sameErr := shared.Parse(data)
			if (err == nil) != (sameErr == nil) {
				t.Fatalf("alone: %v, among others: %v", err, sameErr)
			}
			if diff := cmp.Diff(state, same, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("another state among others: %s", diff)
			}
		}
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

// What two hosts remember alike is there once, and what they do not is each one's own.
func TestStatesShareRecords(t *testing.T) {
	var states States
	read := func(own string) State {
		state, err := states.Parse(State{Cluster: own, Resources: map[string]Record{
			"file:/etc/common": {Digest: "0644", Files: map[string]string{"/etc/common": "c"}},
			"file:/etc/own":    {Digest: "0644", Files: map[string]string{"/etc/own": own}},
		}}.Format())
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	one, other := read("one"), read("other")
	at := func(s State, id string) uintptr { return reflect.ValueOf(s.Resources[id].Files).Pointer() }
	if at(one, "file:/etc/common") != at(other, "file:/etc/common") {
		t.Error("the common record is there twice")
	}
	if one.Cluster != "one" || other.Cluster != "other" || one.Resources["file:/etc/own"].Files["/etc/own"] != "one" || other.Resources["file:/etc/own"].Files["/etc/own"] != "other" {
		t.Errorf("mixed up: %v and %v", one, other)
	}
	if _, err := states.Parse([]byte(`{"resources":{"a":{"digest":1}}}`)); err == nil || !strings.Contains(err.Error(), StatePath) {
		t.Errorf("a record that can't be read: %v", err)
	}
	if _, err := states.Parse([]byte(`{"version":9}`)); err == nil || !strings.Contains(err.Error(), "newer kinstall") {
		t.Errorf("a newer version: %v", err)
	}
}

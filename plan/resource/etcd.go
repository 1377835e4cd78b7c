package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
)

// EtcdKey is one key that must be in etcd. Its value is a JSON object.
type EtcdKey struct {
	Key   string // the whole key: "/coreos.com/network/config"
	Value string // written when the key is missing or not as wanted
	// Fields names the fields of the object that must be as in Value; the
	// others belong to the program that uses the key. Empty: all fields.
	Fields []string
}

// satisfied reports whether a value found is as wanted. Objects are compared,
// not bytes: whoever else writes the key may order its fields differently.
func (k EtcdKey) satisfied(found string) bool {
	var want, have map[string]any
	if json.Unmarshal([]byte(k.Value), &want) != nil || json.Unmarshal([]byte(found), &have) != nil {
		return k.Value == found
	}
	if len(k.Fields) == 0 {
		return reflect.DeepEqual(want, have)
	}
	for _, field := range k.Fields {
		if !reflect.DeepEqual(want[field], have[field]) {
			return false
		}
	}
	return true
}

// EtcdKeys is everything below a prefix of the cluster's etcd. kinstall owns
// the prefix: a key that is not wanted is deleted.
type EtcdKeys struct {
	Prefix string // "/coreos.com/network/", ends with a slash
	Keys   []EtcdKey
}

// ID implements Resource: "etcd:/coreos.com/network/".
func (e EtcdKeys) ID() ID { return NewID(KindEtcdKeys, e.Prefix) }

// Queries implements Resource.
func (e EtcdKeys) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindEtcd, Name: e.Prefix}}
}

// EtcdWrite is a key to be written or, with After empty, deleted.
type EtcdWrite struct{ Key, Before, After string }

// Writes returns what turns the keys found below the prefix into those wanted,
// sorted by key.
func (e EtcdKeys) Writes(found map[string]string) []EtcdWrite {
	var writes []EtcdWrite
	wanted := map[string]bool{}
	for _, k := range e.Keys {
		wanted[k.Key] = true
		if before, ok := found[k.Key]; !ok || !k.satisfied(before) {
			writes = append(writes, EtcdWrite{k.Key, before, k.Value})
		}
	}
	for key, before := range found {
		if !wanted[key] {
			writes = append(writes, EtcdWrite{Key: key, Before: before})
		}
	}
	sort.Slice(writes, func(i, j int) bool { return writes[i].Key < writes[j].Key })
	return writes
}

// Diff implements Resource.
func (e EtcdKeys) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Etcd(e.Prefix)
	change := Change{Action: NoOp, Record: fact.Record{Digest: "written"}}
	switch {
	case errors.Is(err, fact.ErrNotObserved):
		change.Action = Deferred
		change.because(Unknown, "etcd does not answer yet")
	case err != nil:
		return Change{}, err
	}
	missing, differ, extra := 0, 0, 0
	for _, w := range e.Writes(found.Keys) {
		change.Fields = append(change.Fields, Field{Name: strings.TrimPrefix(w.Key, e.Prefix), Before: w.Before, After: w.After})
		switch {
		case w.After == "":
			extra++
		case w.Before == "":
			missing++
		default:
			differ++
		}
	}
	if change.Action == Deferred || len(change.Fields) == 0 {
		return change, nil
	}
	change.Action = Update
	if len(found.Keys) == 0 {
		change.Action = Create
		return change, nil
	}
	for _, part := range []struct {
		n    int
		text string
	}{{missing, "missing"}, {differ, "not as planned"}, {extra, "not in the plan"}} {
		if part.n == 1 {
			change.because(Drift, "1 key is "+part.text)
		} else if part.n > 1 {
			change.because(Drift, fmt.Sprintf("%d keys are %s", part.n, part.text))
		}
	}
	return change, nil
}

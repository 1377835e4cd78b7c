package provision

import (
	"context"
	"maps"
	"sync"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// stateKeeper is the state of one host while it is worked on. What steps
// record is kept here and written in one go when flush is called; a flush that
// finds another under way waits for it and then writes what has come since.
type stateKeeper struct {
	mu    sync.Mutex
	state fact.State
	dirty bool
	// borrowed: the records are those that were observed, which stay as they are.
	borrowed bool

	writing sync.Mutex
}

func (k *stateKeeper) load(state fact.State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.borrowed = state, true
	k.dirty = false
}

// own makes the records the keeper's, for them to be changed.
func (k *stateKeeper) own() {
	if k.borrowed {
		k.state.Resources, k.borrowed = maps.Clone(k.state.Resources), false
	}
	if k.state.Resources == nil {
		k.state.Resources = map[string]fact.Record{}
	}
}

// claim says which cluster the host belongs to. One on which nothing is
// managed belongs to none.
func (k *stateKeeper) claim(cluster string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state.Cluster != cluster && len(k.state.Resources) > 0 {
		k.state.Cluster, k.dirty = cluster, true
	}
}

func (k *stateKeeper) put(id resource.ID, record fact.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.state.Resources[string(id)]; ok && old.Equal(record) {
		return
	}
	k.own()
	k.state.Resources[string(id)] = record
	k.dirty = true
}

func (k *stateKeeper) remove(id resource.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.state.Resources[string(id)]; ok {
		k.own()
		delete(k.state.Resources, string(id))
		k.dirty = true
	}
}

func (k *stateKeeper) record(id resource.ID) (fact.Record, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	record, ok := k.state.Resources[string(id)]
	return record, ok
}

// snapshot returns the state as it is now.
func (k *stateKeeper) snapshot() fact.State {
	k.mu.Lock()
	defer k.mu.Unlock()
	state := k.state
	state.Resources = maps.Clone(state.Resources)
	return state
}

// take returns the bytes to write, or nil when nothing has changed.
func (k *stateKeeper) take() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.dirty {
		return nil
	}
	k.dirty = false
	return k.state.Format()
}

func (k *stateKeeper) touch() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dirty = true
}

// flush claims the host for its cluster, and writes its state if it has changed.
func (m *machine) flush(ctx context.Context) error {
	m.state.writing.Lock()
	defer m.state.writing.Unlock()
	m.state.claim(m.cluster)
	data := m.state.take()
	if data == nil {
		return nil
	}
	err := m.writeFile(ctx, fileWrite{
		label:   "write " + fact.StatePath,
		path:    fact.StatePath,
		content: data,
		own:     resource.Ownership{Mode: 0o600, Owner: "root", Group: "root"},
		// The lock is held: what is there was read by this very process, or
		// is lost.
		anyBefore: true,
	})
	if err != nil {
		m.state.touch()
	}
	return err
}

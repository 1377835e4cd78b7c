package provision

import (
	"context"
	"maps"
	"path"
	"reflect"
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

	writing sync.Mutex
}

func (k *stateKeeper) load(state fact.State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = state
	k.state.Resources = maps.Clone(state.Resources)
	if k.state.Resources == nil {
		k.state.Resources = map[string]fact.Record{}
	}
	k.dirty = false
}

// claim says which cluster the host belongs to.
func (k *stateKeeper) claim(cluster string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state.Cluster != cluster {
		k.state.Cluster, k.dirty = cluster, true
	}
}

func (k *stateKeeper) put(id resource.ID, record fact.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.state.Resources[string(id)]; ok && reflect.DeepEqual(old, record) {
		return
	}
	k.state.Resources[string(id)] = record
	k.dirty = true
}

func (k *stateKeeper) remove(id resource.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.state.Resources[string(id)]; ok {
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

func (k *stateKeeper) spoil() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dirty = true
}

// flush writes the host's state if it has changed.
func (m *machine) flush(ctx context.Context) error {
	m.state.writing.Lock()
	defer m.state.writing.Unlock()
	data := m.state.take()
	if data == nil {
		return nil
	}
	err := m.writeFile(ctx, fileWrite{
		label:   "write " + fact.StatePath,
		path:    fact.StatePath,
		content: data,
		own:     resource.Ownership{Mode: 0o600, Owner: "root", Group: "root"},
		// The state's directory tells who looks at it nothing.
		parentMode: "0755",
		anyBefore:  true,
	})
	if err != nil {
		m.state.spoil()
	}
	return err
}

// stagingDirectory is where the temporary file for a path is made: beside it,
// so that the rename is atomic, but never in a directory that a daemon reads
// as a whole.
func stagingDirectory(file string) string {
	dir := path.Dir(file)
	if dir == "/etc/kubernetes/manifests" {
		return path.Dir(dir)
	}
	return dir
}

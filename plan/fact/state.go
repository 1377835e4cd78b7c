package fact

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// StatePath is where a host keeps what kinstall manages there.
const StatePath = "/var/lib/kinstall/state.json"

// StateVersion is the version of the state's format that is written.
const StateVersion = 1

// State is the host's own record of what kinstall wrote there last. It tells
// drift from intent, finds orphans, and makes restarts survive a crash. It
// holds digests only, never content. Losing it loses no truth: what is on the
// host is compared with the plan all the same.
type State struct {
	Version   int               `json:"version"`
	Cluster   string            `json:"cluster"`
	Resources map[string]Record `json:"resources"`
}

// Record is what is remembered of one resource.
type Record struct {
	// Digest identifies the desired state that was last written, in the
	// resource kind's own terms.
	Digest string `json:"digest,omitempty"`
	// Version (artifacts) is that of what was installed, without v.
	Version string `json:"version,omitempty"`
	// Files maps each path that belongs to the resource to the hex SHA-256 of
	// what was written there.
	Files map[string]string `json:"files,omitempty"`
	// Content (images) identifies what the runtime made of the archive: Image.Digest
	// right after it was imported; "" if that is not known.
	Content string `json:"content,omitempty"`
	// Inputs (units, static pods) maps resource IDs to the digests that were in
	// force at the last successful start.
	Inputs map[string]string `json:"inputs,omitempty"`
	// Started (units) identifies the main process of the last successful start,
	// as Unit.Started does: the one that is known to run with Inputs.
	Started string `json:"started,omitempty"`
	// Unproven says that it was started so, and not seen to work yet: a run that
	// ended before leaves it behind, and the next one looks.
	Unproven bool `json:"unproven,omitempty"`
	// Ranges (static routes) are the prefixes that hold the destinations of the
	// routes that were set, and nothing else.
	Ranges []string `json:"ranges,omitempty"`
	// Host (hosts) is how a host is reached, for when it has left the inventory.
	Host *HostRecord `json:"host,omitempty"`
}

// HostRecord is what the keepers remember of a host: enough to find it again.
// Credentials are not remembered.
type HostRecord struct {
	Address string   `json:"address"`
	Port    int      `json:"port"`
	User    string   `json:"user"`
	Become  bool     `json:"become,omitempty"`
	HostKey string   `json:"host_key,omitempty"` // its fingerprint, "SHA256:…"
	Roles   []string `json:"roles,omitempty"`    // sorted
}

// equal compares what is remembered of a host; nil is nothing.
func (h *HostRecord) equal(other *HostRecord) bool {
	if h == nil || other == nil {
		return h == other
	}
	return h.Address == other.Address && h.Port == other.Port && h.User == other.User && h.Become == other.Become &&
		h.HostKey == other.HostKey && slices.Equal(h.Roles, other.Roles)
}

// Empty reports whether there is nothing to remember.
func (r Record) Empty() bool {
	return r.Digest == "" && r.Started == "" && r.Host == nil && len(r.Files)+len(r.Inputs)+len(r.Ranges) == 0
}

// Equal compares as the state's file does: no entries are no map.
func (r Record) Equal(other Record) bool {
	return r.Digest == other.Digest && r.Content == other.Content && r.Version == other.Version && r.Started == other.Started && r.Unproven == other.Unproven &&
		slices.Equal(r.Ranges, other.Ranges) && r.Host.equal(other.Host) &&
		maps.Equal(r.Files, other.Files) && maps.Equal(r.Inputs, other.Inputs)
}

// ParseState decodes a state file; no bytes are the state of a bare host.
func ParseState(data []byte) (State, error) {
	state := State{Version: StateVersion, Resources: map[string]Record{}}
	if len(data) == 0 {
		return state, nil
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return State{}, fmt.Errorf("%s: %w", StatePath, err)
	}
	if state.Version > StateVersion {
		return State{}, fmt.Errorf("%s: version %d was written by a newer kinstall (this one knows version %d)", StatePath, state.Version, StateVersion)
	}
	if state.Resources == nil {
		state.Resources = map[string]Record{}
	}
	return state, nil
}

// States decodes the states of many hosts, as ParseState does each. What several
// hosts remember alike, which is nearly all of it in a large cluster, is decoded
// once and shared by them: a Record's maps are never changed. It may be used by
// several goroutines at a time; the zero value is ready for use.
type States struct {
	mu      sync.Mutex
	names   map[string]string
	records map[string]Record // by their JSON
}

// Parse decodes a state file.
func (s *States) Parse(data []byte) (State, error) {
	var file struct {
		Version   int                        `json:"version"`
		Cluster   string                     `json:"cluster"`
		Resources map[string]json.RawMessage `json:"resources"`
	}
	file.Version = StateVersion
	if len(data) == 0 || json.Unmarshal(data, &file) != nil || file.Version > StateVersion {
		return ParseState(data) // says what is wrong
	}
	state := State{Version: file.Version, Cluster: file.Cluster, Resources: make(map[string]Record, len(file.Resources))}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names, s.records = map[string]string{}, map[string]Record{}
	}
	for name, text := range file.Resources {
		record, known := s.records[string(text)]
		if !known {
			if json.Unmarshal(text, &record) != nil {
				return ParseState(data)
			}
			s.records[string(text)] = record
		}
		if _, known := s.names[name]; !known {
			s.names[name] = name
		}
		state.Resources[s.names[name]] = record
	}
	return state, nil
}

// Format encodes the state; equal states give equal bytes.
func (s State) Format() []byte {
	s.Version = StateVersion
	data, err := json.MarshalIndent(s, "", "  ") // maps are sorted by encoding/json
	if err != nil {
		panic(err) // plain strings and maps of strings always encode
	}
	return append(data, '\n')
}

// Package resource holds the kinds of things kinstall manages on a host: each
// kind is plain data for the desired state and a pure Diff against what was
// observed. How a kind is carried out lives in package provision.
//
// A kind promises: ID is stable from run to run and readable; Queries names
// everything Diff will look at; Diff never guesses: a fact it needs and does
// not have is an error (fact.ErrNotObserved), and what cannot be known before
// earlier steps have run is Deferred. A sensitive value never enters a Change.
package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"sort"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
)

// ID names one resource on one host: KIND:NAME, as in "file:/etc/etcd/etcd.env".
type ID string

// NewID makes an ID of a kind and a name.
func NewID(kind Kind, name string) ID { return ID(string(kind) + ":" + name) }

// Kind is the part before the first colon.
func (id ID) Kind() Kind {
	kind, _, _ := strings.Cut(string(id), ":")
	return Kind(kind)
}

// Name is the part after the first colon.
func (id ID) Name() string {
	_, name, _ := strings.Cut(string(id), ":")
	return name
}

// Resource is the desired state of one thing on one host.
type Resource interface {
	ID() ID
	Queries() []fact.Query
	Diff(fact.Set) (Change, error)
}

// Action is what a change does to its resource.
type Action string

// The actions, with the sign each has in a printed plan.
const (
	NoOp     Action = "no-op"    // nothing
	Create   Action = "create"   // +
	Update   Action = "update"   // ~
	Replace  Action = "replace"  // ± made anew: a certificate, an image
	Delete   Action = "delete"   // -
	Restart  Action = "restart"  // ↻
	Reload   Action = "reload"   // ↻
	Verify   Action = "check"    // ◎ as wanted on the disk, and to be seen to work: nothing is written
	Wait     Action = "wait"     // ◷ a gate, because something before it changes
	Deferred Action = "deferred" // ? judged again just before it runs
)

// Cause tells why reality and desire differ.
type Cause string

// The causes.
const (
	Missing Cause = "missing" // not there, and kinstall never wrote it
	Intent  Cause = "intent"  // the inventory (or kinstall) changed since the last apply
	Drift   Cause = "drift"   // the host changed since the last apply
	Follows Cause = "follows" // a consequence of another change
	Expiry  Cause = "expiry"  // a certificate's time runs out
	Unknown Cause = "unknown" // cannot be told yet
)

// Reason is one ground for a change, with the evidence read.
type Reason struct {
	Cause Cause  `json:"cause"`
	Text  string `json:"text"` // "SAN 10.27.52.72 missing"
}

// Field is one attribute before and after; a sensitive one never holds its value.
type Field struct {
	Name      string `json:"name"`
	Before    string `json:"before,omitempty"`
	After     string `json:"after,omitempty"`
	Sensitive bool   `json:"sensitive,omitempty"`
}

// Text is a multi-line value before and after, shown as a unified diff.
type Text struct {
	Name   string `json:"name"` // what the lines are: "content", "certificate"
	Before string `json:"before"`
	After  string `json:"after"`
}

// Change is the outcome of a Diff.
type Change struct {
	Action  Action   `json:"action"`
	Reasons []Reason `json:"reasons,omitempty"`
	Fields  []Field  `json:"fields,omitempty"`
	Text    *Text    `json:"text,omitempty"`
	// Log holds the last words, a line each, of what should run and is in trouble,
	// and Hint the likely cause, if it is a known one.
	Log  []string `json:"log,omitempty"`
	Hint string   `json:"hint,omitempty"`
	// Sensitive marks content that differs but is not shown.
	Sensitive bool `json:"sensitive,omitempty"`
	// Evidence is what the judgement rests on, for a check just before
	// applying that nothing moved in between: the SHA-256 of the file found,
	// "" for none there.
	Evidence string `json:"-"`
	// Removes names what is to be taken away of a resource that is many things in
	// one (destinations of routes), all of it: Fields may name a few only.
	Removes []string `json:"-"`
	// Record is what the host's state should say of the resource once it is
	// as desired, as far as it is known before applying.
	Record fact.Record `json:"-"`
}

// Changes reports whether there is anything to carry out: also a check, which
// writes nothing and may fail.
func (c Change) Changes() bool { return c.Action != NoOp && c.Action != Wait }

// Plain reports whether nothing is said of a resource but that it is as desired.
func (c Change) Plain() bool {
	return c.Action == NoOp && len(c.Reasons)+len(c.Fields)+len(c.Log)+len(c.Removes) == 0 && c.Text == nil && c.Hint == ""
}

// Because appends a reason.
func (c *Change) because(cause Cause, text string) {
	c.Reasons = append(c.Reasons, Reason{cause, text})
}

// troubled adds what a program in trouble said last, and why that may be.
func (c *Change) troubled(trouble, log string) {
	if log != "" {
		c.Log = strings.Split(log, "\n")
	}
	c.Hint = fact.Hint(trouble + "\n" + log)
}

// Input is a resource whose content decides whether a unit or static pod must
// be restarted.
type Input interface {
	Resource
	// InputDigest is the digest the resource will have once it is as desired;
	// known is false when it can't be told before it is applied.
	InputDigest(fact.Set) (digest string, known bool)
}

// inputDigests returns the digest of each input by ID and the IDs whose digest
// can't be known yet, sorted.
func inputDigests(inputs []Input, facts fact.Set) (digests map[string]string, unknown []string) {
	digests = map[string]string{}
	for _, input := range inputs {
		id := string(input.ID())
		if digest, known := input.InputDigest(facts); known {
			digests[id] = digest
		} else {
			unknown = append(unknown, id)
		}
	}
	sort.Strings(unknown)
	return digests, unknown
}

// combineDigests is one digest over many, independent of order.
func combineDigests(digests map[string]string) string {
	ids := make([]string, 0, len(digests))
	for id := range digests {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(id + "\x00" + digests[id] + "\x00")
	}
	return SHA256([]byte(b.String()))
}

// SHA256 is the lower-case hex digest of data.
func SHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// recorded returns what the host remembers of a resource.
func recorded(facts fact.Set, id ID) (fact.Record, bool) {
	record, ok := facts.Host.State.Resources[string(id)]
	return record, ok
}

// cause tells drift from intent: wanted and found are digests of the same
// thing, and the record says what was written last.
func cause(facts fact.Set, id ID, path, wanted, found string) Reason {
	record, ok := recorded(facts, id)
	written := record.Files[path]
	switch {
	case !ok || written == "":
		return Reason{Missing, "exists, but was not written by kinstall"}
	case written == wanted:
		return Reason{Drift, "changed on the host"}
	case written == found:
		return Reason{Intent, "changed in the inventory"}
	default:
		return Reason{Drift, "changed in the inventory and on the host"}
	}
}

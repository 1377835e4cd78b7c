package provision

import (
	"time"

	"github.com/kinstall/kinstall/plan"
)

// EventKind says what happened to a step.
type EventKind string

// The kinds of events, in the order in which a step may have them.
const (
	Started  EventKind = "started"
	Progress EventKind = "progress" // of a transfer or a wait; Text says more
	Finished EventKind = "finished"
	Failed   EventKind = "failed"
	// RolledBack: it was carried out, its member did not work with it, and it was
	// taken back.
	RolledBack EventKind = "rolled-back"
	Skipped    EventKind = "skipped" // because something before it failed, or the run was interrupted
)

// Event is one line of what apply tells while it works. Events of one step
// come in order; events of different steps interleave.
type Event struct {
	Kind    EventKind
	Item    plan.Item
	Text    string // "uploading 12.1 of 35.0 MB", "2 of 3 members healthy"
	Err     error  // of Failed; of Skipped where a member before it failed
	Elapsed time.Duration
	// Done and Total count the host's steps that change something; those that are
	// skipped are never done.
	Done, Total int
}

// Result is what became of one step that changed something.
type Result struct {
	Item    plan.Item
	Kind    EventKind // Finished, Failed, RolledBack or Skipped
	Err     error     // of Failed; of Skipped where a member before it failed
	Elapsed time.Duration
	Turn    plan.StepID // the member in whose turn it was carried out; "" for none
}

// Report is what apply did.
type Report struct {
	Results     []Result // in the order of completion
	Elapsed     time.Duration
	Interrupted bool
	// Connections and Execs made over SSH, observation included.
	Connections, Execs int
}

// Count returns how many steps ended in the given way.
func (r *Report) Count(kind EventKind) int {
	n := 0
	for _, result := range r.Results {
		if result.Kind == kind {
			n++
		}
	}
	return n
}

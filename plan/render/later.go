package render

import (
	"fmt"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// Later is a change that waits for hosts which can't be reached.
type Later struct {
	Host   string          `json:"host"` // as that of a Change
	ID     resource.ID     `json:"id"`
	Action resource.Action `json:"action"`
	Reason string          `json:"reason"`
}

// laterOf lists what a delta leaves for later, in the order of the plan.
func laterOf(d *plan.Delta) []Later {
	all := []Later{}
	for _, l := range d.Later {
		all = append(all, Later{Host: l.Item.Step.Host, ID: l.Item.Step.Resource.ID(), Action: l.Item.Change.Action, Reason: l.Reason})
	}
	return all
}

// shownLater is how many changes that wait for the same are named, if not all are
// asked for.
const shownLater = 4

// later names the changes of other hosts that wait for those which can't be
// reached, by reason.
func (t *text) later() {
	if len(t.delta.Later) == 0 {
		return
	}
	var reasons []string
	names := map[string][]string{}
	for _, l := range laterOf(t.delta) {
		if names[l.Reason] == nil {
			reasons = append(reasons, l.Reason)
		}
		names[l.Reason] = append(names[l.Reason], fmt.Sprintf("%s %s %s %s", l.Action, l.ID.Kind(), l.ID.Name(), on(l.Host)))
	}
	t.line(span{bold, "# left for later, too"})
	for _, reason := range reasons {
		t.message(reason)
		waiting, rest := names[reason], ""
		if n := len(waiting); !t.options.Verbose && n > shownLater {
			waiting, rest = waiting[:shownLater], fmt.Sprintf("and %d more", n-shownLater)
		}
		for _, name := range waiting {
			t.indented(name)
		}
		if rest != "" {
			t.indented(rest)
		}
	}
	t.line()
}

// on is a place as it is named behind a change.
func on(host string) string {
	switch host {
	case plan.Cluster:
		return "in the cluster"
	case plan.Operator:
		return "on the operator's machine"
	}
	return "on " + host
}

// away is how hosts that can't be reached are called in the summary.
func away(d *plan.Delta) string {
	if d.Blocked() {
		return "unreachable"
	}
	return "left for later"
}

// waiting is the end of the summary, "" where nothing is left for later.
func waiting(s plan.Summary) string {
	switch s.Later {
	case 0:
		return ""
	case 1:
		return " 1 change of others waits for that."
	}
	return fmt.Sprintf(" %d changes of others wait for that.", s.Later)
}

package render

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// Rollout is how the members of a group that serve are changed.
type Rollout struct {
	Group   string   `json:"group"`   // "etcd", "kubelet-workers" …
	Title   string   `json:"title"`   // as people call it
	AtOnce  int      `json:"at_once"` // once the first has been seen to work
	Checks  []string `json:"checks"`  // what is seen before the next one's turn
	Members []Member `json:"members"` // in the order of their turns
}

// Member is one turn of a rollout.
type Member struct {
	Host string      `json:"host"`
	ID   resource.ID `json:"id"`
	// Down: it does not serve now, and comes first.
	Down bool `json:"down"`
	// Parts are the steps carried out in the same turn.
	Parts []plan.StepID `json:"parts"`
}

// rolloutsOf lists the rollouts of a delta, groups in the order of the plan.
func rolloutsOf(d *plan.Delta) []Rollout {
	if len(d.Turns) == 0 {
		return nil
	}
	steps := map[plan.StepID]*plan.Step{}
	for _, item := range d.Items {
		if item.Step.Rollout != nil {
			steps[item.Step.ID()] = item.Step
		}
	}
	var rollouts []Rollout
	for _, group := range plan.Groups(d.Plan.Inventory) {
		r := Rollout{Group: group.Name, Title: plan.GroupTitle(group.Name), AtOnce: max(group.AtOnce, 1)}
		for _, turn := range d.Turns {
			if turn.Group != group.Name {
				continue
			}
			step := steps[turn.Step]
			r.Members = append(r.Members, Member{Host: step.Host, ID: step.Resource.ID(), Down: turn.Down, Parts: append([]plan.StepID{}, turn.Parts...)})
			for _, check := range step.Rollout.After {
				if seen := check.Kind.Seen(); !slices.Contains(r.Checks, seen) {
					r.Checks = append(r.Checks, seen)
				}
			}
		}
		slices.SortStableFunc(r.Members, func(a, b Member) int {
			switch {
			case a.Down == b.Down:
				return 0
			case a.Down:
				return -1
			}
			return 1
		})
		if len(r.Members) > 0 {
			rollouts = append(rollouts, r)
		}
	}
	return rollouts
}

// shownMembers is how many members of a rollout are named, if not all are
// asked for.
const shownMembers = 8

// rollouts says in which order members of what serves are changed.
func (t *text) rollouts() {
	rollouts := rolloutsOf(t.delta)
	if len(rollouts) == 0 {
		return
	}
	t.line(span{bold, "# rollout: each is seen to work before the next is touched, or put back"})
	t.phases()
	for _, r := range rollouts {
		t.line(span{plain, "  " + Clean(r.Title)})
		t.indented(t.order(r))
		t.indented("seen: " + strings.Join(r.Checks, "; "))
	}
	t.line()
}

// order is "shaolin, then wudang, then emei", or "huashan, then 3 at a time: …".
func (t *text) order(r Rollout) string {
	var names []string
	for _, m := range r.Members {
		name := m.Host
		if m.Down {
			name += " (down)"
		}
		if !slices.Contains(names, name) { // a host may have several members
			names = append(names, name)
		}
	}
	rest := ""
	if n := len(names); !t.options.Verbose && n > shownMembers {
		names, rest = names[:shownMembers], fmt.Sprintf(" and %d more", n-shownMembers)
	}
	if r.AtOnce > 1 && len(names) > 2 {
		return fmt.Sprintf("%s first, then %d at a time: %s%s", names[0], r.AtOnce, strings.Join(names[1:], ", "), rest)
	}
	return strings.Join(names, ", then ") + rest
}

// indented prints a text below a head, wrapped.
func (t *text) indented(s string) {
	for _, line := range wrap(Clean(s), t.options.Width-bodyIndent) {
		t.line(span{dim, spaces(bodyIndent) + line})
	}
}

// Upgrade is a change of versions on a cluster that lives.
type Upgrade struct {
	Title    string          `json:"title"` // "Upgrade of Kubernetes 1.35.4 → 1.36.3"
	Software []plan.Upgraded `json:"software"`
	Phases   []plan.Phase    `json:"phases"` // in the order in which they come
	Risks    []string        `json:"risks"`
}

func upgradeOf(d *plan.Delta) *Upgrade {
	u := d.Upgrade
	if u == nil {
		return nil
	}
	return &Upgrade{Title: u.Title(), Software: u.Software, Phases: append([]plan.Phase{}, u.Phases...), Risks: append([]string{}, u.Risks...)}
}

// upgrade says at the top that a plan is one.
func (t *text) upgrade() {
	if u := t.delta.Upgrade; u != nil {
		t.line(span{bold, "# " + Clean(u.Title())})
		t.line()
	}
}

// phases says in which order the groups of an upgrade come.
func (t *text) phases() {
	u := t.delta.Upgrade
	if u == nil || len(u.Phases) == 0 {
		return
	}
	t.line(span{plain, "  phases of the upgrade, each when the one before it has ended"})
	all := len(t.delta.Plan.Hosts())
	for i, phase := range u.Phases {
		where := t.some(phase.Hosts)
		if len(phase.Hosts) == all && all > 1 {
			where = "all hosts"
		}
		t.indented(fmt.Sprintf("%d. %s: %s", i+1, phase.Title, where))
	}
}

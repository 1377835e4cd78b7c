package rollout

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// world is what a Machine's commands do to members, as far as its promises
// are about it.
type world struct {
	t       *rapid.T
	m       *Machine
	members map[string]*modelled
	groups  map[string]Group

	outstanding []Command
	failed      map[string]bool // programs of which a member has failed or is being rolled back
	proven      map[string]bool
	stopped     bool
}

type modelled struct {
	Member
	ready, ended               bool
	asked, touched, seen, back bool
	recorded                   bool
}

// TestPromises lets things go wrong at random and holds the machine to what
// the package comment says.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, members: map[string]*modelled{}, groups: map[string]Group{}, failed: map[string]bool{}, proven: map[string]bool{}}
		var members []Member
		var groups []Group
		for g := range rapid.IntRange(1, 3).Draw(t, "groups") {
			group := Group{
				Name:    fmt.Sprint("g", g),
				Program: rapid.SampledFrom([]string{"", "p"}).Draw(t, "program"),
				AtOnce:  rapid.IntRange(0, 4).Draw(t, "at once"),
			}
			groups = append(groups, group)
			w.groups[group.Name] = group
			for i := range rapid.IntRange(1, 6).Draw(t, "members") {
				one := Member{
					Name: fmt.Sprintf("%s.%d", group.Name, i), Group: group.Name,
					Down: rapid.Bool().Draw(t, "down"), Unchanged: rapid.IntRange(0, 4).Draw(t, "unchanged") == 0,
				}
				members = append(members, one)
				w.members[one.Name] = &modelled{Member: one}
			}
		}
		w.m = New(groups, members)
		pending := rapid.Permutation(members).Draw(t, "order")
		for len(pending) > 0 || len(w.outstanding) > 0 {
			switch what := rapid.IntRange(0, 40).Draw(t, "what"); {
			case what == 0 && !w.stopped:
				w.stopped = true
				w.take(w.m.Step(Event{Kind: Stop}))
			case len(pending) > 0 && (len(w.outstanding) == 0 || what%2 == 0):
				one := w.members[pending[0].Name]
				pending = pending[1:]
				kind := Ready
				if rapid.IntRange(0, 9).Draw(t, "blocked") == 0 {
					kind = Blocked
				}
				one.ready = kind == Ready
				w.take(w.m.Step(Event{Kind: kind, Member: one.Name}))
			default:
				w.answer()
			}
		}
		if left := w.m.Left(); len(left) > 0 {
			t.Fatalf("nothing is under way, and %v have not ended", left)
		}
		for name, one := range w.members {
			switch {
			case !one.ended:
				t.Fatalf("%s was told to have no end", name)
			case one.touched && !one.recorded && !one.back:
				// A failure to record leaves what was seen to work.
				if !one.seen {
					t.Fatalf("%s was touched, and neither seen nor rolled back", name)
				}
			}
		}
	})
}

// program is what a member shares a canary with.
func (w *world) program(one *modelled) string {
	if p := w.groups[one.Group].Program; p != "" {
		return p
	}
	return one.Group
}

// answer carries out one of the commands, well or not.
func (w *world) answer() {
	i := rapid.IntRange(0, len(w.outstanding)-1).Draw(w.t, "command")
	c := w.outstanding[i]
	w.outstanding = append(w.outstanding[:i:i], w.outstanding[i+1:]...)
	one := w.members[c.Member]
	e := Event{Member: c.Member}
	if rapid.IntRange(0, 5).Draw(w.t, "fails") == 0 {
		e.Err = errors.New("failure")
	}
	switch c.Kind {
	case Ask:
		e.Kind, one.asked = Asked, e.Err == nil
	case Change:
		e.Kind = Changed
		e.Untouched = e.Err != nil && rapid.Bool().Draw(w.t, "untouched")
		one.touched = !e.Untouched
	case See:
		e.Kind, one.seen = Seen, e.Err == nil
	case RollBack:
		e.Kind, one.back = RolledBack, true
	case Record:
		e.Kind = Recorded
		one.recorded = e.Err == nil
		w.proven[w.program(one)] = w.proven[w.program(one)] || one.recorded
	}
	if e.Err != nil {
		w.failed[w.program(one)] = true
	}
	w.take(w.m.Step(e))
}

// take checks commands against what they promise and keeps those to answer.
func (w *world) take(commands []Command) {
	for _, c := range commands {
		one := w.members[c.Member]
		if one.ended {
			w.t.Fatalf("%s %s after its end", c.Kind, c.Member)
		}
		switch c.Kind {
		case Finished, Failed, Skipped:
			one.ended = true
			if c.Kind == Finished && !one.recorded {
				w.t.Fatalf("%s finished and is not recorded", c.Member)
			}
			if c.Kind == Skipped && one.touched {
				w.t.Fatalf("%s was skipped after it was touched", c.Member)
			}
			continue
		case Ask:
			w.begins(one)
		case Change:
			if one.Down {
				w.begins(one)
			} else if !one.asked {
				w.t.Fatalf("%s serves and is changed without having been asked about", c.Member)
			}
			if w.stopped {
				w.t.Fatalf("%s is changed after the stop", c.Member)
			}
			if w.failed[w.program(one)] {
				w.t.Fatalf("%s is changed after a failure of its program", c.Member)
			}
		case See:
			if one.Unchanged {
				w.begins(one)
			}
		case Record:
			if !one.seen {
				w.t.Fatalf("%s is recorded and was not seen", c.Member)
			}
		case RollBack:
			if !one.touched && !one.Unchanged {
				w.t.Fatalf("%s is rolled back and was not touched", c.Member)
			}
		}
		w.outstanding = append(w.outstanding, c)
	}
	w.batches()
}

// begins checks that a member's turn may begin.
func (w *world) begins(one *modelled) {
	switch {
	case !one.ready:
		w.t.Fatalf("%s begins before it is ready", one.Name)
	case w.failed[w.program(one)]:
		w.t.Fatalf("%s begins after a failure of its program", one.Name)
	case w.stopped:
		w.t.Fatalf("%s begins after the stop", one.Name)
	}
	if one.Down {
		return
	}
	for _, other := range w.members {
		if other.Group == one.Group && other.Down && !other.ended {
			w.t.Fatalf("%s serves and begins before %s, which does not", one.Name, other.Name)
		}
	}
}

// batches checks how many members that serve are under way.
func (w *world) batches() {
	under, canaries := map[string]int{}, map[string]int{}
	for _, c := range w.outstanding {
		one := w.members[c.Member]
		if one.Down {
			continue
		}
		under[one.Group]++
		if !w.proven[w.program(one)] {
			canaries[w.program(one)]++
		}
	}
	for name, n := range under {
		if most := max(1, w.groups[name].AtOnce); n > most {
			w.t.Fatalf("%d members of %s are under way, %d may be", n, name, most)
		}
	}
	for name, n := range canaries {
		if n > 1 {
			w.t.Fatalf("%d members of %s are under way, and none has been seen to work", n, name)
		}
	}
}

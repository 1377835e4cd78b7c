package rollout

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestStories drives a Machine as told in testdata/stories. A story begins with
//
//	members
//	GROUP [at-once=N] [program=NAME]: MEMBER[=down|=unchanged] …
//
// and goes on with one event a block: KIND MEMBER… or KIND MEMBER: ERROR
// ("untouched" behind a member says Event.Untouched). What the machine wants
// done is what is expected.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		var m *Machine
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "members":
				m = parseMembers(t, d.Input)
				return "ok"
			case "left":
				return strings.Join(m.Left(), " ") + "\n"
			default:
				return tell(m, d)
			}
		})
	})
}

func parseMembers(t *testing.T, input string) *Machine {
	var groups []Group
	var members []Member
	for _, line := range strings.Split(input, "\n") {
		head, names, _ := strings.Cut(line, ":")
		g := Group{AtOnce: 1}
		words := strings.Fields(head)
		g.Name = words[0]
		for _, word := range words[1:] {
			if program, ok := strings.CutPrefix(word, "program="); ok {
				g.Program = program
			} else if _, err := fmt.Sscanf(word, "at-once=%d", &g.AtOnce); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		groups = append(groups, g)
		for _, word := range strings.Fields(names) {
			name, how, _ := strings.Cut(word, "=")
			members = append(members, Member{Name: name, Group: g.Name, Down: how == "down", Unchanged: how == "unchanged"})
		}
	}
	return New(groups, members)
}

func tell(m *Machine, d *datadriven.TestData) string {
	var lines []string
	events := []Event{{Kind: EventKind(d.Cmd)}}
	if d.Cmd != string(Stop) {
		events = nil
		for _, arg := range d.CmdArgs {
			events = append(events, Event{Kind: EventKind(d.Cmd), Member: arg.Key})
			last := &events[len(events)-1]
			for _, value := range arg.Vals {
				last.Err = errors.New(strings.ReplaceAll(value, "_", " "))
				if text, ok := strings.CutPrefix(last.Err.Error(), "untouched: "); ok {
					last.Err, last.Untouched = errors.New(text), true
				}
			}
		}
	}
	for _, e := range events {
		for _, c := range m.Step(e) {
			line := string(c.Kind) + " " + c.Member
			if c.Stands != "" {
				line += " (" + string(c.Stands) + ")"
			}
			if c.Err != nil {
				line += ": " + c.Err.Error()
			}
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return "nothing to do\n"
	}
	return strings.Join(lines, "\n") + "\n"
}

// Package render turns a plan.Delta into what people and programs read: the
// printed plan (Text), the versioned JSON document (JSON) and the table of
// addresses (Addresses).
//
// It is pure like the rest of plan: the same Delta and Options give the same
// bytes, and nothing here asks what the output is connected to. Callers decide
// on color and width. What comes from a host or from an error is never trusted:
// control characters are shown escaped, so that a file found on a host can't
// rewrite the reader's terminal. A value marked sensitive is never written,
// even if a resource kind put it into a Change by mistake.
package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// Options for people's output.
type Options struct {
	// Color wraps parts of lines into ANSI escape sequences.
	Color bool
	// Width in columns that reasons and lists are laid out for; 0 means no
	// limit. Lines of files are never broken, whatever the width.
	Width int
	// Verbose shows everything: new files, long diffs, what is the same on
	// several hosts, whole digests.
	Verbose bool
}

// Text prints what a delta would change. First what matters: what stands in the
// way, what is risked, in which order what serves is changed, and a table of
// places with their numbers of changes. Then the details: a section for the
// operator's machine, for each host in inventory order and for the cluster's
// API, as far as something changes there. The summary is the last line.
//
// Unless Verbose is set, what is new is told in one line, what is new just so on
// several hosts by its number, and long diffs are cut.
func Text(w io.Writer, d *plan.Delta, o Options) error {
	t := &text{options: o, delta: d, first: map[string]string{}}
	sections := sectionsOf(d)
	t.column = t.reasonColumn(sections)
	t.upgrade()
	t.problems()
	t.unreachable()
	t.risks()
	t.rollouts()
	t.overview(sections)
	for _, s := range sections {
		t.section(s)
	}
	t.line(span{bold, SummaryLine(d)})
	if n := len(d.Problems); n > 0 {
		t.line(span{red, fmt.Sprintf("%s must be solved before anything can be applied.", count(n, "problem"))})
	}
	_, err := w.Write(t.out.Bytes())
	return err
}

// SummaryLine is the last line of a printed plan, without a newline.
func SummaryLine(d *plan.Delta) string {
	s := d.Summary()
	if s.Changes() == 0 && len(d.Problems) == 0 {
		verb := "are"
		if s.HostsUnchanged == 1 {
			verb = "is"
		}
		line := fmt.Sprintf("No changes. %d of %s %s as planned", s.HostsUnchanged, count(s.Hosts, "host"), verb)
		if s.Unreachable > 0 {
			line += fmt.Sprintf("; %s %s", count(s.Unreachable, "host"), away(d))
		}
		return line + "." + waiting(s)
	}
	line := fmt.Sprintf("Plan: %d to create, %d to change, %d to delete, %d to restart", s.Create, s.Change, s.Delete, s.Restart)
	if s.Check > 0 {
		line += fmt.Sprintf(", %d to check", s.Check)
	}
	if s.Deferred > 0 {
		line += fmt.Sprintf(", %d judged later", s.Deferred)
	}
	line += fmt.Sprintf(" %s; %s unchanged", places(s), count(s.HostsUnchanged, "host"))
	if s.Unreachable > 0 {
		line += fmt.Sprintf(", %d %s", s.Unreachable, away(d))
	}
	return line + "." + waiting(s)
}

// places says where something changes: "on 2 of 4 hosts and in the cluster".
func places(s plan.Summary) string {
	var all []string
	if s.HostsChanged > 0 || s.Cluster+s.Operator == 0 {
		all = append(all, fmt.Sprintf("on %d of %s", s.HostsChanged, count(s.Hosts, "host")))
	}
	if s.Cluster > 0 {
		all = append(all, "in the cluster")
	}
	if s.Operator > 0 {
		all = append(all, "on the operator's machine")
	}
	last := len(all) - 1
	if last == 0 {
		return all[0]
	}
	return strings.Join(all[:last], ", ") + " and " + all[last]
}

// count is "1 host", "2 hosts".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// text is one rendering in progress.
type text struct {
	options Options
	delta   *plan.Delta
	column  int               // where reasons start, counted from 0
	first   map[string]string // the host by what was shown for it
	out     bytes.Buffer
}

// section is what changes in one place.
type section struct {
	host  string // as in plan.Step
	items []plan.Item
}

// sectionsOf sorts what changes by place; within a place the order of the
// plan stays.
func sectionsOf(d *plan.Delta) []section {
	byHost := map[string][]plan.Item{}
	for _, item := range d.Items {
		if item.Change.Action != resource.NoOp {
			byHost[item.Step.Host] = append(byHost[item.Step.Host], item)
		}
	}
	if d.Observed.ClusterErr != nil && len(byHost[plan.Cluster]) == 0 {
		byHost[plan.Cluster] = []plan.Item{} // the error is shown all the same
	}
	var sections []section
	for _, host := range placesOf(d, byHost) {
		sections = append(sections, section{host, byHost[host]})
	}
	return sections
}

// placesOf returns the keys of a map in the order of a printed plan: hosts that
// leave come after those that stay.
func placesOf[T any](d *plan.Delta, places map[string]T) []string {
	order := map[string]int{plan.Operator: -1}
	for _, h := range d.Plan.Inventory.Hosts {
		order[h.Name] = len(order)
	}
	for _, l := range d.Leaving {
		order[l.Name] = len(order)
	}
	order[plan.Cluster] = len(order)
	names := make([]string, 0, len(places))
	for name := range places {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := order[names[i]], order[names[j]]
		if a != b {
			return a < b
		}
		return names[i] < names[j]
	})
	return names
}

// title is how a place is called in a section's first line.
func title(d *plan.Delta, host string) string {
	switch host {
	case plan.Operator:
		return "operator"
	case plan.Cluster:
		return "cluster api"
	case "":
		return "inventory"
	}
	if h, ok := d.Plan.Inventory.Host(host); ok && h.Address.IsValid() {
		return fmt.Sprintf("host %s (%s)", host, h.Address)
	}
	for _, l := range d.Leaving {
		if l.Name == host {
			return fmt.Sprintf("host %s (%s, leaves)", host, l.Address)
		}
	}
	return "host " + host
}

func (t *text) section(s section) {
	t.line(span{bold, "# " + title(t.delta, s.host)})
	if s.host == plan.Cluster && t.delta.Observed.ClusterErr != nil {
		t.message("the API was not observed: " + t.delta.Observed.ClusterErr.Error())
		t.hint(advice(t.delta.Observed.ClusterErr))
	}
	items, more, host := t.repeated(s)
	for _, item := range items {
		t.item(item)
	}
	if more > 0 {
		t.line(span{dim, fmt.Sprintf("%s(%d more to create, the same as on %s)", spaces(bodyIndent), more, host)})
	}
	t.line()
}

// unreachable names the hosts of which nothing is known, with the cause.
func (t *text) unreachable() {
	if len(t.delta.Unreachable) == 0 {
		return
	}
	head := "# unreachable"
	if !t.delta.Blocked() {
		head = "# left for later: what differs on hosts that can't be reached is not known"
	}
	t.line(span{bold, head})
	for _, host := range placesOf(t.delta, t.delta.Unreachable) {
		err := t.delta.Unreachable[host]
		t.message(title(t.delta, host) + ": " + strings.TrimPrefix(err.Error(), host+": "))
		t.hint(advice(err))
	}
	t.line()
	t.later()
}

// advice is what an error says should be done; "" if nothing.
func advice(err error) string {
	var adviser interface{ Hint() string }
	if errors.As(err, &adviser) {
		return adviser.Hint()
	}
	return ""
}

func (t *text) problems() {
	if len(t.delta.Problems) == 0 {
		return
	}
	t.line(span{bold, "# problems"})
	for _, p := range t.delta.Problems {
		t.message(title(t.delta, p.Host) + ": " + p.Summary)
		t.hint(p.Hint)
	}
	t.line()
}

// message prints something that is wrong: first line with a mark, wrapped,
// further lines below it.
func (t *text) message(s string) {
	for i, line := range strings.Split(strings.TrimRight(s, "\n"), "\n") {
		for j, part := range wrap(Clean(line), t.options.Width-4) {
			mark := "    "
			if i == 0 && j == 0 {
				mark = "  ! "
			}
			t.line(span{red, mark}, span{plain, part})
		}
	}
}

// hint prints advice below what is wrong. Its first line is wrapped; those
// behind it are there to be copied and stay whole.
func (t *text) hint(s string) {
	if s == "" {
		return
	}
	advice, verbatim, _ := strings.Cut(s, "\n")
	for _, line := range wrap("hint: "+Clean(advice), t.options.Width-bodyIndent) {
		t.line(span{plain, spaces(bodyIndent) + line})
	}
	for _, line := range strings.Split(verbatim, "\n") {
		if line != "" {
			t.line(span{plain, spaces(bodyIndent) + Clean(line)})
		}
	}
}

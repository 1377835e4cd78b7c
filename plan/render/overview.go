package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// shownPlaces is how many hosts a list or the table names, if not all are asked
// for.
const shownPlaces = 16

const armedRisk = "may cut kinstall off: what is marked (armed) is undone by the host itself unless kinstall reaches it again over a new connection"

// risks says what a reader should know before anything else: what could be lost
// by the change.
func (t *text) risks() {
	var lines []string
	if u := t.delta.Upgrade; u != nil {
		lines = append(lines, u.Risks...)
	}
	for _, members := range []string{t.quorum(), t.members()} {
		if members != "" {
			lines = append(lines, members)
		}
	}
	restarts, deleted, armed := map[string]map[string]bool{}, map[string]bool{}, map[string]bool{}
	deletions := 0
	for _, item := range t.delta.Items {
		host := item.Step.Host
		switch item.Change.Action {
		case resource.Restart, resource.Reload:
			name := item.Step.Resource.ID().Name()
			if restarts[name] == nil {
				restarts[name] = map[string]bool{}
			}
			restarts[name][host] = true
		case resource.Delete:
			deletions++
			deleted[host] = true
		}
		if item.Armed() {
			armed[host] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(restarts)) {
		lines = append(lines, "restarts: "+name+" on "+t.some(placesOf(t.delta, restarts[name])))
	}
	if deletions > 0 {
		lines = append(lines, fmt.Sprintf("deletes: %d on %s", deletions, t.some(placesOf(t.delta, deleted))))
	}
	if len(armed) > 0 {
		lines = append(lines, "connection: changes on "+t.some(placesOf(t.delta, armed))+" "+armedRisk)
	}
	if len(lines) == 0 {
		return
	}
	t.line(span{bold, "# risks"})
	for _, line := range lines {
		indent := "  "
		for _, part := range wrap(Clean(line), t.options.Width-bodyIndent) {
			t.line(span{yellow, indent + part})
			indent = spaces(bodyIndent)
		}
	}
	t.line()
}

// quorum is "quorum: 2 of 3 members of etcd are changed", "" if none is that
// serves now.
func (t *text) quorum() string {
	touched := map[string]bool{}
	for _, r := range rolloutsOf(t.delta) {
		if r.Group == "etcd" {
			for _, m := range r.Members {
				touched[m.Host] = true
			}
		}
	}
	members := len(t.delta.Plan.Inventory.With(inventory.RoleEtcd))
	if len(touched) == 0 || members == 0 {
		return ""
	}
	return fmt.Sprintf("quorum: %d of %s of etcd changed, one at a time", len(touched), count(members, "member"))
}

// members is "quorum: of etcd's members wudang joins and emei leaves, one at a
// time", "" if none does.
func (t *text) members() string {
	var joins, leaves []string
	for _, item := range t.delta.Items {
		if !item.Change.Changes() {
			continue
		}
		switch r := item.Step.Resource.(type) {
		case resource.EtcdVoter:
			joins = append(joins, r.Entry.String())
		case resource.EtcdRemoval:
			leaves = append(leaves, r.Entry.String())
		}
	}
	var parts []string
	for _, part := range []struct {
		names     []string
		one, more string
	}{{leaves, "leaves", "leave"}, {joins, "joins", "join"}} {
		verb := part.more
		switch {
		case len(part.names) == 0:
			continue
		case len(part.names) == 1:
			verb = part.one
		}
		parts = append(parts, strings.Join(part.names, ", ")+" "+verb)
	}
	if len(parts) == 0 {
		return ""
	}
	return "quorum: of etcd's members " + strings.Join(parts, " and ") + ", one at a time"
}

// some names places, the first ones of many.
func (t *text) some(hosts []string) string {
	names := make([]string, len(hosts))
	for i, host := range hosts {
		names[i] = strings.Trim(host, "()")
	}
	if n := len(names) - shownPlaces/2; n > 0 && !t.options.Verbose {
		return strings.Join(names[:shownPlaces/2], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(names, ", ")
}

// overview is a table of places and what is done there. One place has none: its
// numbers are those of the summary.
func (t *text) overview(sections []section) {
	type row struct {
		name   string
		counts [6]int
	}
	heads := [6]string{"create", "change", "delete", "restart", "check", "later"}
	var total [6]int
	var rows []row
	width := 0
	for _, s := range sections {
		r := row{name: title(t.delta, s.host)}
		for _, item := range s.items {
			if column := overviewColumn(item.Change.Action); column >= 0 {
				r.counts[column]++
				total[column]++
			}
		}
		if r.counts == [6]int{} {
			continue // it is only waited for
		}
		rows = append(rows, r)
		width = max(width, columns(r.name))
	}
	if len(rows) < 2 {
		return
	}
	rest := 0
	if n := len(rows) - shownPlaces; n > 1 && !t.options.Verbose {
		// The operator and the cluster stand first and last.
		rest = n
		rows = append(slices.Clone(rows[:shownPlaces-1]), rows[len(rows)-1])
	}
	line := func(style style, name string, cell func(i int) string) {
		var b strings.Builder
		fmt.Fprintf(&b, "%-*s", width+2, name)
		for i, head := range heads {
			if i < 4 || total[i] > 0 {
				fmt.Fprintf(&b, "%*s", len(head)+2, cell(i))
			}
		}
		t.line(span{style, b.String()})
	}
	line(bold, "# changes", func(i int) string { return heads[i] })
	for i, r := range rows {
		if rest > 0 && i == len(rows)-1 {
			t.line(span{dim, fmt.Sprintf("  (%d more; -verbose lists them)", rest)})
		}
		line(plain, "  "+r.name, func(i int) string { return fmt.Sprint(r.counts[i]) })
	}
	t.line()
}

// overviewColumn is the column in which an action counts, -1 for none.
func overviewColumn(a resource.Action) int {
	switch a {
	case resource.Create:
		return 0
	case resource.Update, resource.Replace:
		return 1
	case resource.Delete:
		return 2
	case resource.Restart, resource.Reload:
		return 3
	case resource.Verify:
		return 4
	case resource.Deferred:
		return 5
	}
	return -1
}

package render

import (
	"fmt"
	"strings"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	// shownDiff is how many lines of one diff are shown, if not all are asked for.
	shownDiff = 24
	// worthFolding is how many equal lines of two hosts are told by their number.
	worthFolding = 3
	// more stands for what is new and not told.
	more = "; …"
)

// folds reports whether a change is told in one line: what is new has nothing it
// could be compared with. What is in trouble is told in full.
func (t *text) folds(item plan.Item) bool {
	change := item.Change
	if t.options.Verbose || change.Action != resource.Create && change.Action != resource.Deferred || len(change.Log) > 0 || change.Hint != "" {
		return false
	}
	for _, f := range change.Fields {
		if f.Before != "" {
			return false
		}
	}
	return change.Text == nil || change.Text.Before == "" || change.Text.Before == change.Text.After
}

// folded is what a new resource is, as far as it fits on its line: beside its
// reason if it has one.
func (t *text) folded(item plan.Item, notes []note) []note {
	change := item.Change
	var parts []string
	if c, ok := item.Step.Resource.(resource.Certificate); ok {
		parts = append(parts, Clean("CN="+c.CommonName))
		if n := len(c.DNSNames) + len(c.Addresses); n > 0 {
			parts = append(parts, count(n, "SAN"))
		}
	} else {
		for _, f := range change.Fields {
			parts = append(parts, Clean(t.formatField(f)))
		}
		switch text := change.Text; {
		case change.Sensitive:
			parts = append(parts, notShown)
		case text == nil || text.After == "":
		case isBinary(text.After):
			parts = append(parts, fmt.Sprintf("binary, %d bytes", len(text.After)))
		default:
			parts = append(parts, count(strings.Count(strings.TrimSuffix(text.After, "\n"), "\n")+1, "line"))
		}
	}
	if len(notes) > 1 {
		return notes // several reasons are enough
	}
	// The first of them may leave the column to fit.
	wide := t.width() - columns(head(item)) - 2
	room := min(wide, t.width()-t.column)
	reason := ""
	if len(notes) == 1 {
		reason = notes[0].text
	}
	text, left := reason, false
	for _, part := range parts {
		joined := part
		if text != "" {
			joined = text + "; " + part
		}
		if columns(joined) > wide || text != "" && columns(joined)+columns(more) > room {
			left = true
			break
		}
		text = joined
	}
	if left && text != "" && columns(text)+columns(more) <= room {
		text += more
	}
	switch {
	case text == "":
		return notes
	case len(notes) == 1:
		return []note{{notes[0].style, text}}
	default:
		return []note{{dim, text}}
	}
}

// cut shortens a diff that few would read to its end on a screen.
func (t *text) cut(lines []span) []span {
	if t.options.Verbose || len(lines) <= shownDiff+2 {
		return lines
	}
	rest := len(lines) - shownDiff
	return append(lines[:shownDiff:shownDiff], span{dim, fmt.Sprintf("%s(%d more lines; -verbose shows them)", spaces(bodyIndent), rest)})
}

// repeated takes from a host's items those that are created just so on a host
// before, if they are many, and returns the rest, the number taken and that host.
func (t *text) repeated(s section) (rest []plan.Item, taken int, host string) {
	if t.options.Verbose || s.host == plan.Operator || s.host == plan.Cluster {
		return s.items, 0, ""
	}
	key := func(item plan.Item) string {
		_, isGate := item.Step.Resource.(resource.Gate)
		if item.Change.Action != resource.Create || item.Change.Sensitive || item.Armed() || isGate || !t.folds(item) || t.drifted(item) {
			return ""
		}
		text := ""
		if item.Change.Text != nil {
			text = item.Change.Text.After
		}
		return fmt.Sprintf("%s\x00%v\x00%v\x00%s", item.Step.Resource.ID(), item.Change.Fields, item.Change.Reasons, text)
	}
	keys := make([]string, len(s.items))
	like := map[string]int{} // how many items are as on a host before
	for i, item := range s.items {
		if keys[i] = key(item); keys[i] != "" && t.first[keys[i]] != "" {
			like[t.first[keys[i]]]++
		}
	}
	for name, n := range like {
		if n > taken || n == taken && name < host {
			taken, host = n, name
		}
	}
	if taken < worthFolding {
		taken, host = 0, ""
	}
	for i, item := range s.items {
		if host != "" && keys[i] != "" && t.first[keys[i]] == host {
			continue
		}
		rest = append(rest, item)
	}
	for _, k := range keys {
		if k != "" && t.first[k] == "" {
			t.first[k] = s.host
		}
	}
	return rest, taken, host
}

// drifted reports whether something is lost on a host: that is always told.
func (t *text) drifted(item plan.Item) bool {
	for _, r := range item.Change.Reasons {
		if r.Cause == resource.Drift && t.managed(item.Step.Host) {
			return true
		}
	}
	return false
}

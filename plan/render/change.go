package render

import (
	"fmt"
	"strings"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// sign is how an action is shown: one character, and the color of its line.
type sign struct {
	mark  string
	style style
}

// signOf is the table of signs.
func signOf(a resource.Action) sign {
	switch a {
	case resource.Create:
		return sign{"+", green}
	case resource.Update:
		return sign{"~", yellow}
	case resource.Replace:
		return sign{"±", magenta}
	case resource.Delete:
		return sign{"-", red}
	case resource.Restart, resource.Reload:
		return sign{"↻", cyan}
	case resource.Verify:
		return sign{"◎", yellow}
	case resource.Wait:
		return sign{"◷", dim}
	case resource.Deferred:
		return sign{"?", cyan}
	}
	return sign{" ", plain}
}

// Sign is the character that stands for an action in a printed plan.
func Sign(a resource.Action) string { return signOf(a).mark }

// bodyIndent is where fields and the lines of a diff's context start; the
// diff's own signs stand two columns before.
const bodyIndent = 6

// notShown stands where a sensitive value would.
const notShown = "(sensitive, not shown)"

// head is "  ~ file /etc/hosts" without style.
func head(item plan.Item) string {
	id := item.Step.Resource.ID()
	mark := ""
	if item.Armed() {
		mark = " (armed)"
	}
	return "  " + Sign(item.Change.Action) + " " + Clean(string(id.Kind())+" "+id.Name()) + mark
}

// reasonColumn finds one column for the reasons of all sections: right of most
// heads, and left enough for the most frequent reasons to fit.
func (t *text) reasonColumn(sections []section) int {
	limit := 56
	if width := t.options.Width; width > 0 {
		limit = min(limit, width-26)
	}
	column := 30
	for _, s := range sections {
		for _, item := range s.items {
			if n := columns(head(item)) + 2; n > column && n <= limit {
				column = n
			}
		}
	}
	return column
}

// note is a text right of the head, or below it where it does not fit.
type note struct {
	style style
	text  string
}

// item prints one change.
func (t *text) item(item plan.Item) {
	change := item.Change
	sign := signOf(change.Action)
	if gate, ok := item.Step.Resource.(resource.Gate); ok {
		t.head(head(item), sign, []note{{dim, gate.Text}})
		return
	}
	notes := t.reasons(item)
	if t.folds(item) {
		t.head(head(item), sign, t.folded(item, notes))
		return
	}
	body := t.fieldLines(*change)
	inline := ""
	if len(notes) == 0 && len(body) == 1 && columns(head(item))+2+columns(body[0].text)-bodyIndent <= t.width() {
		inline, body = body[0].text[bodyIndent:], nil
	}
	switch {
	case change.Sensitive && len(notes) == 0 && len(body) == 0 && inline == "":
		inline = notShown
	case change.Sensitive:
		body = append(body, span{dim, spaces(bodyIndent) + notShown})
	default:
		body = append(body, t.cut(diffLines(change.Text))...)
		body = append(body, t.logLines(*change)...)
	}
	// What was shown for another host is not repeated, as far as that saves lines.
	if (len(body) > 1 || len(body) > 0 && len(notes) == 0) && !t.options.Verbose {
		key := fmt.Sprintf("%s\x00%s\x00%s\x00%v", item.Step.Resource.ID(), change.Action, inline, body)
		if host, repeated := t.first[key]; repeated {
			notes, inline, body = append(notes, note{dim, "(the same as on " + host + ")"}), "", nil
		} else {
			t.first[key] = item.Step.Host
		}
	}
	if inline != "" {
		notes = append(notes, note{dim, inline})
	}
	t.head(head(item), sign, notes)
	for _, l := range body {
		t.line(l)
	}
}

// shownLog is how many lines of a log are shown, if not all are asked for.
const shownLog = 6

// logLines are the last words of what is in trouble, and the likely cause.
func (t *text) logLines(change resource.Change) []span {
	var lines []span
	log := change.Log
	if !t.options.Verbose {
		log = log[max(len(log)-shownLog, 0):]
	}
	for _, l := range log {
		margin := "| "
		for _, part := range wrap(Clean(l), t.options.Width-bodyIndent-4) {
			lines = append(lines, span{dim, spaces(bodyIndent) + margin + part})
			margin = "|   " // the same line goes on
		}
	}
	if change.Hint != "" {
		for _, part := range wrap("hint: "+Clean(change.Hint), t.options.Width-bodyIndent) {
			lines = append(lines, span{plain, spaces(bodyIndent) + part})
		}
	}
	return lines
}

// width is the width to lay out for, with a large one for "no limit".
func (t *text) width() int {
	if t.options.Width <= 0 {
		return 1 << 20
	}
	return t.options.Width
}

// head prints the first line of a change with its notes: in the column of
// reasons where they fit, else ending at the right margin, else below.
func (t *text) head(head string, sign sign, notes []note) {
	first := []span{{sign.style, head}}
	if len(notes) == 0 {
		t.line(first...)
		return
	}
	longest := 0
	for i := range notes {
		notes[i].text = Clean(notes[i].text)
		longest = max(longest, columns(notes[i].text))
	}
	start := max(columns(head)+2, min(t.column, t.width()-longest))
	if start+longest <= t.width() {
		for i, n := range notes {
			if i == 0 {
				t.line(span{sign.style, head}, span{plain, spaces(start - columns(head))}, span(n))
				continue
			}
			t.line(span{plain, spaces(start)}, span(n))
		}
		return
	}
	t.line(first...)
	const because = "because: "
	for _, n := range notes {
		first := because
		if n.style == dim { // no reason, but something said aside
			first = ""
		}
		for i, part := range wrap(n.text, t.options.Width-bodyIndent-len(because)) {
			label := first
			if i > 0 {
				label = spaces(len(first))
			}
			t.line(span{dim, spaces(bodyIndent) + label}, span{n.style, part})
		}
	}
}

// reasons says why; what drifted on the host is marked, so that it can be
// told from a change of mind and found by searching for "drift:".
func (t *text) reasons(item plan.Item) []note {
	var notes []note
	for _, r := range item.Change.Reasons {
		switch {
		case r.Cause == resource.Drift && t.managed(item.Step.Host):
			notes = append(notes, note{yellow, "drift: " + r.Text})
		case r.Cause == resource.Expiry:
			notes = append(notes, note{yellow, r.Text})
		default:
			notes = append(notes, note{plain, r.Text})
		}
	}
	return notes
}

// managed reports whether kinstall has been at work in a place before: where
// it has not, nothing can have drifted.
func (t *text) managed(host string) bool {
	observation, isHost := t.delta.Observed.Hosts[host]
	return !isHost || len(observation.Facts.Host.State.Resources) > 0
}

// fieldLines returns the attributes that change, one a line; several new
// values of one name share a line, and all of them do where there is room.
func (t *text) fieldLines(change resource.Change) []span {
	var lines []span
	fields := change.Fields
	for len(fields) > 0 {
		f := fields[0]
		fields = fields[1:]
		line := Clean(t.formatField(f))
		if f.Before == "" && !f.Sensitive {
			for len(fields) > 0 && fields[0].Name == f.Name && fields[0].Before == "" && !fields[0].Sensitive {
				line += ", " + Clean(fields[0].After)
				fields = fields[1:]
			}
		}
		indent := bodyIndent
		for _, part := range wrap(line, t.options.Width-bodyIndent) {
			lines = append(lines, span{plain, spaces(indent) + part})
			indent = bodyIndent + 2
		}
	}
	return joinFields(lines, t.width())
}

// joinFields puts short fields on one line.
func joinFields(lines []span, width int) []span {
	if len(lines) == 0 {
		return nil
	}
	total := spaces(bodyIndent)
	for i, l := range lines {
		if i > 0 {
			total += "; "
		}
		total += strings.TrimSpace(l.text)
	}
	if columns(total) > width {
		return lines
	}
	return []span{{plain, total}}
}

// formatField is "mode 0644 → 0600". Where the name says the same as a value,
// as in "active" becoming "active", it is left out.
func (t *text) formatField(f resource.Field) string {
	if f.Sensitive {
		return f.Name + " " + notShown
	}
	before, after := f.Before, f.After
	if (f.Name == "sha256" || strings.HasPrefix(f.After, digestPrefix)) && !t.options.Verbose {
		before, after = shortDigest(before), shortDigest(after)
	}
	name := f.Name + " "
	if f.Name == f.After && f.Before == "" {
		name = ""
	}
	switch {
	case before == "":
		return name + after
	case after == "":
		return name + before + " → (none)"
	default:
		return name + before + " → " + after
	}
}

// digestPrefix begins the digest of an image.
const digestPrefix = "sha256:"

// shortDigest is enough of a digest to tell two apart by eye.
func shortDigest(s string) string {
	const enough = 12
	s = strings.TrimPrefix(s, digestPrefix)
	if len(s) <= enough {
		return s
	}
	return s[:enough] + "…"
}

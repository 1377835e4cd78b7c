package hardening

import (
	"fmt"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
)

// Markdown is the table as documentation has it: a row for each rule, in order,
// with what it demands, where that is seen, and at which level kinstall sees to it.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| CIS | demand | looked at | level |\n|---|---|---|---|\n")
	notes := []string{}
	for _, r := range Rules() {
		id := r.ID
		if id == "" {
			id = "–"
		}
		if r.Manual {
			id += " (manual)"
		}
		var where []string
		for _, t := range r.Tests {
			where = append(where, t.Where()+expected(t))
		}
		level := "both"
		if r.Level == inventory.HardeningCIS {
			level = "`cis`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", id, r.Demand, strings.Join(where, "; "), level)
		if r.Note != "" {
			name := r.ID
			if name == "" {
				name = r.Demand
			}
			notes = append(notes, fmt.Sprintf("- **%s**: %s\n", name, r.Note))
		}
	}
	b.WriteString("\nTo some of them:\n\n" + strings.Join(notes, ""))
	return b.String()
}

// expected is what a value must be, where there is more to it than being there.
func expected(t Test) string {
	is := Is{}
	switch t := t.(type) {
	case Flag:
		is = t.Is
	case Setting:
		is = t.Is
	}
	if is.String() == (Is{}).String() {
		return ""
	}
	return ": " + is.String()
}

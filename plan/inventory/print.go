package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// WriteDiagnostics writes diagnostics for people: what is wrong, where, the
// source line underlined, what was expected, what to do. files are the
// sources by name, as Options.Files gathers them; without one, only the
// line's number is shown. Text is wrapped at width columns, 0 means never.
func WriteDiagnostics(w io.Writer, files map[string]*hcl.File, diags hcl.Diagnostics, width int, color bool) error {
	var out bytes.Buffer
	for _, diag := range diags {
		p := printer{out: &out, width: width, color: color}
		p.diagnostic(files, diag)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write diagnostics: %w", err)
	}
	return nil
}

// printer does what hcl.NewDiagnosticTextWriter can't: it sets the hint apart,
// keeps sensitive source lines and values off the screen (the library shows the
// value of every variable of an expression), escapes what could rewrite a
// terminal, and cuts lines of any length to what is around the mistake.
type printer struct {
	out   *bytes.Buffer
	width int
	color bool
}

const (
	red    = "31"
	yellow = "33"
	bold   = "1"
	cyan   = "36"
)

func (p printer) paint(code, s string) string {
	if !p.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p printer) diagnostic(files map[string]*hcl.File, diag *hcl.Diagnostic) {
	word, code := "Error", red
	if diag.Severity == hcl.DiagWarning {
		word, code = "Warning", yellow
	}
	fmt.Fprintf(p.out, "%s %s\n", p.paint(code, word+":"), p.paint(bold, printable(diag.Summary)))
	if diag.Subject != nil {
		file := files[diag.Subject.Filename]
		if hidesSource(diag) {
			file = nil
		}
		p.snippet(file, *diag.Subject, code)
	}
	for _, value := range valuesIn(diag) {
		fmt.Fprintf(p.out, "     with %s\n", value)
	}
	p.paragraph("  ", 0, diag.Detail)
	if hint := Hint(diag); hint != "" {
		p.paragraph("  "+p.paint(cyan, "Hint:")+" ", len("Hint: "), hint)
	}
	p.out.WriteByte('\n')
}

// snippet shows the first line of the subject, with what is meant underlined.
func (p printer) snippet(file *hcl.File, subject hcl.Range, code string) {
	where := fmt.Sprintf("%s:%d,%d", subject.Filename, subject.Start.Line, subject.Start.Column)
	if file != nil && file.Bytes != nil {
		if c, ok := file.Nav.(interface{ ContextString(offset int) string }); ok {
			if context := c.ContextString(subject.Start.Byte); context != "" {
				where += ", in " + shortened(context, 100)
			}
		}
	}
	fmt.Fprintf(p.out, "  on %s:\n", printable(where))
	line, start, end, ok := lineOf(file, subject)
	if !ok {
		return
	}
	line, start, end = window(line, start, end)
	gutter := fmt.Sprintf("%4d: ", subject.Start.Line)
	fmt.Fprintf(p.out, "%s%s\n", gutter, printable(line))
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return '\t'
		}
		return ' '
	}, printable(line[:start]))
	marks := max(1, utf8.RuneCountInString(printable(line[start:end])))
	fmt.Fprintf(p.out, "%s%s%s\n", strings.Repeat(" ", len(gutter)), indent, p.paint(code, strings.Repeat("^", marks)))
}

// longestLine is how much of a source line is shown, in bytes.
const longestLine = 200

// window cuts a long line to what is around the subject.
func window(line string, start, end int) (string, int, int) {
	if len(line) <= longestLine {
		return line, start, end
	}
	from := max(0, start-longestLine/4)
	for from > 0 && !utf8.RuneStart(line[from]) {
		from--
	}
	to := min(len(line), from+longestLine)
	for to < len(line) && !utf8.RuneStart(line[to]) {
		to--
	}
	before, after := "", ""
	if from > 0 {
		before = "…"
	}
	if to < len(line) {
		after = "…"
	}
	shift := len(before) - from
	return before + line[from:to] + after, start + shift, max(start, min(end, to)) + shift
}

// lineOf returns the source line in which the subject begins, and the part of
// it that belongs to the subject, as byte offsets.
func lineOf(file *hcl.File, subject hcl.Range) (line string, start, end int, ok bool) {
	if file == nil || subject.Start.Byte > len(file.Bytes) || subject.Start.Byte < 0 {
		return "", 0, 0, false
	}
	from := bytes.LastIndexByte(file.Bytes[:subject.Start.Byte], '\n') + 1
	to := len(file.Bytes)
	if i := bytes.IndexByte(file.Bytes[subject.Start.Byte:], '\n'); i >= 0 {
		to = subject.Start.Byte + i
	}
	line = strings.TrimSuffix(string(file.Bytes[from:to]), "\r")
	start = min(subject.Start.Byte-from, len(line))
	end = min(max(subject.End.Byte-from, start), len(line))
	return line, start, end, true
}

// printable keeps a terminal safe from control characters in the source, and its
// reader from marks that turn a line's direction.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (unseen(r) != "" || r == utf8.RuneError) {
			return '�'
		}
		return r
	}, s)
}

// paragraph writes text, each of its lines wrapped. lead begins the first one;
// taken is the width of what it holds beside the indentation.
func (p printer) paragraph(lead string, taken int, text string) {
	if text == "" {
		return
	}
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if i > 0 {
			lead = "    "
		}
		for j, part := range wrap(printable(line), p.width-4, taken) {
			if j > 0 {
				lead = "  "
			}
			fmt.Fprintf(p.out, "%s%s\n", lead, part)
		}
	}
}

// wrap cuts a line at spaces; words longer than width stay whole. The first
// part is shorter by taken.
func wrap(line string, width, taken int) []string {
	if width <= 10 || utf8.RuneCountInString(line)+taken <= width {
		return []string{line}
	}
	var lines []string
	var current string
	for _, word := range strings.Fields(line) {
		switch {
		case current == "":
			current = word
		case taken+utf8.RuneCountInString(current)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, current)
			current, taken = word, 0
		default:
			current += " " + word
		}
	}
	return append(lines, current)
}

// valuesIn shows what the expression refers to, as "count.index = 3".
func valuesIn(diag *hcl.Diagnostic) []string {
	if diag.Expression == nil || diag.EvalContext == nil {
		return nil
	}
	var values []string
	for _, t := range diag.Expression.Variables() {
		v, diags := t.TraverseAbs(diag.EvalContext)
		if diags.HasErrors() {
			continue
		}
		if s := fmt.Sprintf("%s = %s", traversalText(t), shortValue(v)); !slices.Contains(values, s) {
			values = append(values, s)
		}
	}
	slices.Sort(values)
	const most = 8
	if len(values) > most {
		values = append(values[:most:most], fmt.Sprintf("%d more", len(values)-most))
	}
	return values
}

func traversalText(t hcl.Traversal) string {
	var s strings.Builder
	for _, step := range t {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			s.WriteString(step.Name)
		case hcl.TraverseAttr:
			s.WriteString("." + step.Name)
		case hcl.TraverseIndex:
			s.WriteString("[" + shortValue(step.Key) + "]")
		}
	}
	return s.String()
}

func shortValue(v cty.Value) string {
	v, _ = v.Unmark()
	switch t := v.Type(); {
	case !v.IsKnown():
		return "(unknown)"
	case v.IsNull():
		return "null"
	case t == cty.String:
		return quote(v.AsString())
	case t == cty.Number:
		return numberText(v.AsBigFloat())
	case t == cty.Bool:
		return strconv.FormatBool(v.True())
	case t.IsCollectionType() || t.IsTupleType() || t.IsObjectType():
		return fmt.Sprintf("%s of %d elements", strings.TrimPrefix(typeName(t), "a"), v.LengthInt())
	default:
		return typeName(t)
	}
}

func numberText(f *big.Float) string {
	if f.IsInt() && f.MantExp(nil) < 64 {
		return f.Text('f', 0)
	}
	return f.Text('g', 10)
}

// JSONDiagnostic is one diagnostic for machines. Its fields are stable.
type JSONDiagnostic struct {
	Severity string     `json:"severity"` // "error" or "warning"
	Summary  string     `json:"summary"`  // the class; see docs/inventory.md
	Detail   string     `json:"detail,omitempty"`
	Hint     string     `json:"hint,omitempty"`
	Range    *JSONRange `json:"range,omitempty"`
}

// JSONRange is a part of a source: from start up to, not including, end.
type JSONRange struct {
	File  string  `json:"file"`
	Start JSONPos `json:"start"`
	End   JSONPos `json:"end"`
}

// JSONPos counts lines and columns from 1, bytes from 0.
type JSONPos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

// JSONDiagnostics converts diagnostics for machines; never nil, so that it
// encodes as a list.
func JSONDiagnostics(diags hcl.Diagnostics) []JSONDiagnostic {
	list := make([]JSONDiagnostic, 0, len(diags))
	for _, diag := range diags {
		j := JSONDiagnostic{Severity: "error", Summary: diag.Summary, Detail: diag.Detail, Hint: Hint(diag)}
		if diag.Severity == hcl.DiagWarning {
			j.Severity = "warning"
		}
		if s := diag.Subject; s != nil {
			j.Range = &JSONRange{s.Filename, JSONPos(s.Start), JSONPos(s.End)}
		}
		list = append(list, j)
	}
	return list
}

// WriteDiagnosticsJSON writes {"format": 1, "diagnostics": […]}.
func WriteDiagnosticsJSON(w io.Writer, diags hcl.Diagnostics) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	document := struct {
		Format      int              `json:"format"`
		Diagnostics []JSONDiagnostic `json:"diagnostics"`
	}{1, JSONDiagnostics(diags)}
	if err := encoder.Encode(document); err != nil {
		return fmt.Errorf("write diagnostics: %w", err)
	}
	return nil
}

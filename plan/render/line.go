package render

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// style is an ANSI "select graphic rendition" parameter list (ECMA-48), "" for none.
type style string

const (
	plain   style = ""
	bold    style = "1"
	dim     style = "2"
	red     style = "31"
	green   style = "32"
	yellow  style = "33"
	magenta style = "35"
	cyan    style = "36"
)

// span is a piece of a line in one style.
type span struct {
	style style
	text  string
}

// line writes one line, without trailing blanks.
func (t *text) line(spans ...span) {
	for len(spans) > 0 {
		last := &spans[len(spans)-1]
		last.text = strings.TrimRight(last.text, " \t")
		if last.text != "" {
			break
		}
		spans = spans[:len(spans)-1]
	}
	for _, s := range spans {
		if !t.options.Color || s.style == plain || strings.TrimSpace(s.text) == "" {
			t.out.WriteString(s.text)
			continue
		}
		fmt.Fprintf(&t.out, "\x1b[%sm%s\x1b[0m", s.style, s.text)
	}
	t.out.WriteByte('\n')
}

// Clean escapes what would not show as itself: control characters, bytes that
// are not UTF-8, and invisible or direction-changing characters. Tabs stay.
func Clean(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\t' || strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

// wrap breaks s at blanks into lines of at most width columns; a word that is
// longer stands alone. A width below 20 means no limit.
func wrap(s string, width int) []string {
	if width < 20 || columns(s) <= width {
		return []string{s}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case columns(line)+1+columns(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// columns is the width of s on a terminal, every character taken as one column wide.
func columns(s string) int { return utf8.RuneCountInString(s) }

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }

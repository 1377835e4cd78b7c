package render

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"

	"github.com/kinstall/kinstall/plan/resource"
)

// contextLines around each hunk, as `diff -u` has them.
const contextLines = 3

// diffLines is a text before and after as the lines of a unified diff, with
// the signs two columns left of the text's own margin.
func diffLines(text *resource.Text) []span {
	if text == nil || text.Before == text.After {
		return nil
	}
	var lines []span
	if strings.HasPrefix(text.Name, "/") { // a file other than the resource itself
		lines = append(lines, span{dim, spaces(bodyIndent) + Clean(text.Name) + ":"})
	}
	if isBinary(text.Before) || isBinary(text.After) {
		return append(lines, span{dim, fmt.Sprintf("%s(binary, %d bytes → %d bytes)", spaces(bodyIndent), len(text.Before), len(text.After))})
	}
	diff, err := udiff.ToUnifiedDiff("before", "after", text.Before, udiff.Lines(text.Before, text.After), contextLines)
	if err != nil { // edits computed from the very same text always fit it
		return append(lines, span{red, spaces(bodyIndent) + "(no diff: " + Clean(err.Error()) + ")"})
	}
	for i, hunk := range diff.Hunks {
		if i > 0 || hunk.FromLine > 1 {
			lines = append(lines, span{cyan, fmt.Sprintf("%s@@ line %d @@", spaces(bodyIndent-2), max(hunk.ToLine, 1))})
		}
		for _, l := range hunk.Lines {
			content, complete := strings.CutSuffix(l.Content, "\n")
			switch l.Kind {
			case udiff.Delete:
				lines = append(lines, span{red, diffLine("-", showBlanks(content))})
			case udiff.Insert:
				lines = append(lines, span{green, diffLine("+", showBlanks(content))})
			case udiff.Equal:
				lines = append(lines, span{plain, diffLine(" ", content)})
			}
			if !complete {
				lines = append(lines, span{dim, diffLine(`\`, "no newline at the end of the file")})
			}
		}
	}
	return lines
}

func diffLine(mark, content string) string {
	return spaces(bodyIndent-2) + mark + " " + Clean(content)
}

// showBlanks makes blanks at the end of a line visible: they may be all that
// changes, and would be cut off.
func showBlanks(line string) string {
	text := strings.TrimRight(line, " \t")
	blanks := strings.NewReplacer(" ", "·", "\t", "⇥").Replace(line[len(text):])
	return text + blanks
}

func isBinary(s string) bool { return strings.ContainsRune(s, 0) || !utf8.ValidString(s) }

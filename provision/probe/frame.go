package probe

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// ErrIncomplete is the cause of Parse's error when the output is not the whole
// of what the script says: the session was cut off, or something else wrote
// into it. Asking again may help.
var ErrIncomplete = errors.New("the host's answers are incomplete")

// maxLabel bounds the line that precedes an answer, in bytes.
const maxLabel = 128

// answer is one framed answer; text of a failed one says why there is none.
type answer struct {
	failed bool
	text   []byte
}

// readFrames takes the output apart: everything between the line BEGIN, before
// which a login shell may have talked, and the sentinel, after which nothing
// may follow.
func readFrames(output []byte) (map[string]answer, error) {
	incomplete := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrIncomplete, fmt.Sprintf(format, args...))
	}
	const begin = "BEGIN kinstall probe 1\n"
	rest := output
	if !bytes.HasPrefix(rest, []byte(begin)) {
		i := bytes.Index(rest, []byte("\n"+begin))
		if i < 0 {
			return nil, incomplete("they do not begin (%s)", excerpt(output))
		}
		rest = rest[i+1:]
	}
	rest = rest[len(begin):]
	answers := map[string]answer{}
	for {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 || end > maxLabel {
			return nil, incomplete("no sentinel after %d answers (%s)", len(answers), excerpt(rest))
		}
		words := bytes.Split(rest[:end], []byte(" "))
		rest = rest[end+1:]
		if len(words) == 2 && string(words[0]) == "END" {
			if n, err := number(words[1]); err != nil || n != len(answers) {
				return nil, incomplete("%d answers, the sentinel says %q", len(answers), words[1])
			}
			if len(rest) > 0 {
				return nil, incomplete("something follows the sentinel (%s)", excerpt(rest))
			}
			return answers, nil
		}
		if len(words) != 3 || (string(words[1]) != "ok" && string(words[1]) != "failed") {
			return nil, incomplete("answer %d has no label (%s)", len(answers), excerpt(bytes.Join(words, []byte(" "))))
		}
		label := string(words[0])
		length, err := number(words[2])
		if err != nil || length >= len(rest) || rest[length] != '\n' {
			return nil, incomplete("answer %s does not have the length it states, %q", label, words[2])
		}
		if _, twice := answers[label]; twice {
			return nil, incomplete("answer %s came twice", label)
		}
		answers[label] = answer{failed: string(words[1]) == "failed", text: rest[:length:length]}
		rest = rest[length+1:]
	}
}

// number reads a count or length as printf %d writes it.
func number(word []byte) (int, error) {
	if len(word) == 0 || len(word) > 12 || (len(word) > 1 && word[0] == '0') {
		return 0, strconv.ErrSyntax
	}
	for _, c := range word {
		if c < '0' || c > '9' {
			return 0, strconv.ErrSyntax
		}
	}
	return strconv.Atoi(string(word))
}

// excerpt shows the beginning of unexpected output.
func excerpt(text []byte) string {
	const most = 60
	if len(text) == 0 {
		return "nothing there"
	}
	if len(text) > most {
		return fmt.Sprintf("%q…", text[:most])
	}
	return fmt.Sprintf("%q", text)
}

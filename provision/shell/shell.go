// Package shell quotes values for the POSIX shell (IEEE Std 1003.1, Shell
// Command Language, section 2.2.2).
//
// Every value that enters a script passes through Quote; nothing else in the
// project may build shell text from data. Secrets don't belong in scripts at
// all: they travel as a command's standard input.
package shell

import "strings"

// Quote returns s as exactly one shell word: whatever bytes s holds, sh reads
// back the same bytes, with nothing expanded. The result is always in single
// quotes, so that it is also safe at the start of a word, where a tilde, an
// equals sign or a keyword would have a meaning.
//
// A NUL byte can't be part of any shell word or argument; Quote leaves it out,
// as sh itself would. Callers that accept paths or names from outside reject
// NUL before they get here.
func Quote(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Join quotes each word and joins them with spaces into one simple command.
func Join(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}

// Package spelling finds what a misspelt word was meant to be.
package spelling

import (
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// longest is the length of a word, in bytes, from which on a typo is no typo.
const longest = 64

// Nearest returns the candidate most like word, or the first that it begins, ""
// when none is near enough to be what was meant. Case does not count. Ties go to
// the earlier candidate.
func Nearest(word string, candidates []string) string {
	if len(word) > longest {
		return ""
	}
	lower := strings.ToLower(word)
	best, limit := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		if len(c) > longest {
			continue
		}
		if n := distance(lower, strings.ToLower(c)); n < limit && n < len(c) {
			best, limit = c, n
		}
	}
	if i := slices.IndexFunc(candidates, func(c string) bool { return strings.HasPrefix(strings.ToLower(c), lower) }); best == "" && i >= 0 && len(word) >= 3 {
		return candidates[i]
	}
	return best
}

// distance counts the characters to change, insert or delete. Two neighbours that
// were swapped, the commonest typo, count twice for the library, which makes a
// word of four letters another one: with the same letters, words are one nearer.
func distance(a, b string) int {
	n := levenshtein.Distance(a, b, nil)
	if n > 1 && len(a) == len(b) && sorted(a) == sorted(b) {
		n--
	}
	return n
}

func sorted(s string) string {
	letters := []rune(s)
	slices.Sort(letters)
	return string(letters)
}

package resource

import (
	"fmt"
	"strings"
)

// cutBlock splits content around the lines between begin and end. The marker
// lines belong to neither part. An unfinished block is an error: guessing
// where it ends could eat lines of others.
func cutBlock(content, begin, end string) (before, inside, after string, found bool, err error) {
	const (
		outside = iota
		within
		beyond
	)
	state := outside
	var parts [3]strings.Builder
	for _, line := range strings.SplitAfter(content, "\n") {
		bare := strings.TrimRight(line, "\r\n")
		switch {
		case bare == begin && state == outside:
			state = within
		case bare == begin:
			return "", "", "", false, fmt.Errorf("the line %q stands there twice; remove one block by hand", begin)
		case bare == end && state == within:
			state = beyond
		case bare == end:
			return "", "", "", false, fmt.Errorf("the line %q has no beginning; remove it by hand", end)
		default:
			parts[state].WriteString(line)
		}
	}
	if state == within {
		return "", "", "", false, fmt.Errorf("the line %q is missing after %q; add it by hand", end, begin)
	}
	return parts[outside].String(), parts[within].String(), parts[beyond].String(), state == beyond, nil
}

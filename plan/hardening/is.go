package hardening

import (
	"slices"
	"strconv"
	"strings"
)

// Is is a demand on a value. Its zero value is any value at all.
type Is struct {
	// Unset accepts that there is no value; alone, with Nothing, only that.
	Unset, Nothing bool
	// Value, when not "", is what it must be.
	Value string
	// Not, when not "", is what it must not be.
	Not string
	// Has and Lacks are elements of a list that must, and must not, be in it.
	Has, Lacks string
	// AtLeast, when not 0, is the least number.
	AtLeast int
	// Within, when not empty, are the elements that may be in a list.
	Within []string
}

func (is Is) holds(value string, set bool) bool {
	if !set {
		return is.Unset || is.Nothing
	}
	elements := strings.Split(value, ",")
	number, err := strconv.Atoi(value)
	switch {
	case is.Nothing,
		is.Value != "" && value != is.Value,
		is.Not != "" && value == is.Not,
		is.Has != "" && !slices.Contains(elements, is.Has),
		is.Lacks != "" && slices.Contains(elements, is.Lacks),
		is.AtLeast != 0 && (err != nil || number < is.AtLeast),
		len(is.Within) > 0 && slices.ContainsFunc(elements, func(e string) bool { return !slices.Contains(is.Within, e) }):
		return false
	}
	return true
}

// String is the demand in words.
func (is Is) String() string {
	var text string
	switch {
	case is.Nothing:
		return "none"
	case is.Value != "":
		text = "`" + is.Value + "`"
	case is.Not != "":
		text = "not `" + is.Not + "`"
	case is.Has != "":
		text = "with " + is.Has
	case is.Lacks != "":
		text = "without " + is.Lacks
	case is.AtLeast != 0:
		text = strconv.Itoa(is.AtLeast) + " or more"
	case len(is.Within) > 0:
		text = "nothing but " + strings.Join(is.Within, ", ")
	default:
		text = "a value"
	}
	if is.Unset {
		text += ", or none"
	}
	return text
}

func shown(value string, set bool) string {
	if !set {
		return "none"
	}
	return "`" + value + "`"
}

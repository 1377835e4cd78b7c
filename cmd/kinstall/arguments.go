package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/plan/spelling"
)

// commandOf finds the command's name, "" when there is none or only help is
// asked for, and the arguments after it.
func commandOf(args []string) (name string, rest []string, err error) {
	if len(args) == 0 {
		return "", nil, nil
	}
	switch first := args[0]; {
	case first == "-h" || first == "-help" || first == "--help":
		return "", nil, nil
	case first == "-v" || first == "-version" || first == "--version":
		return "version", nil, nil
	case strings.HasPrefix(first, "-"):
		return "", nil, usageError("`kinstall -h` shows the commands", "%s stands before the command; flags come after it, as in: kinstall plan inventory.hcl %s", first, first)
	default:
		return first, args[1:], nil
	}
}

// arrange puts flags before positional arguments, because the flag package
// stops at the first of those, and the library with it: `kinstall plan lab.hcl
// -json` would have two arguments and no flag. Unknown flags are refused here,
// where it is known what they may have meant; the library would print its help in
// front of a suggestion. help reports whether -h is among them.
func arrange(c *cli.Command, args []string) (arranged []string, help bool, err error) {
	var flags, positional []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			positional = append(positional, args[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			positional = append(positional, arg)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		flag := flagNamed(c, name)
		if flag == nil {
			return nil, false, unknownFlag(c, name)
		}
		if flag == flagNamed(c, "help") {
			return nil, true, nil
		}
		flags = append(flags, arg)
		if takesValue(flag) && !hasValue {
			if i++; i == len(args) {
				return nil, false, usageError(seeHelp(c), "kinstall %s: -%s needs a value", c.Name, name)
			}
			flags = append(flags, args[i])
		}
	}
	return append(append(flags, "--"), positional...), false, nil
}

func flagNamed(c *cli.Command, name string) cli.Flag {
	for _, f := range c.Flags {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	documented, ok := f.(cli.DocGenerationFlag)
	return ok && documented.TakesValue()
}

// badValue is what package flag says of a value that it can't read.
var badValue = regexp.MustCompile(`^invalid value (".*") for flag -(\S+): (?:parse error|value out of range)$`)

// misread says what was expected of a value where package flag only says that it
// could not read it.
func misread(c *cli.Command, err error) string {
	match := badValue.FindStringSubmatch(err.Error())
	if match == nil {
		return err.Error()
	}
	var expected string
	switch flagNamed(c, match[2]).(type) {
	case *cli.DurationFlag:
		expected = "a duration like 90s or 10m, of 292 years at most"
	case *cli.IntFlag:
		expected = "a number"
	default:
		return err.Error()
	}
	return fmt.Sprintf("-%s %s is not %s", match[2], match[1], expected)
}

func unknownFlag(c *cli.Command, name string) error {
	var names []string
	for _, f := range c.Flags {
		names = append(names, f.Names()...)
	}
	hint := seeHelp(c)
	if like := spelling.Nearest(name, names); like != "" {
		hint = fmt.Sprintf("did you mean -%s? %s", like, hint)
	}
	return usageError(hint, "kinstall %s: unknown flag -%s", c.Name, name)
}

func unknownCommand(root *cli.App, name string) error {
	names := []string{"help"}
	for _, c := range root.Commands {
		names = append(names, c.Name)
	}
	hint := "`kinstall -h` shows the commands"
	if like := spelling.Nearest(name, names); like != "" {
		hint = fmt.Sprintf("did you mean `kinstall %s`? %s", like, hint)
	}
	return usageError(hint, "unknown command %q", name)
}

// assignments reads NAME=VALUE words.
func assignments(c *cli.Command, words []string) (map[string]string, error) {
	values := map[string]string{}
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return nil, usageError("write it as in: -var version=1.36.3", "kinstall %s: -var %s is not NAME=VALUE", c.Name, word)
		}
		values[name] = value
	}
	return values, nil
}

// list splits words at commas; empty parts are left out.
func list(words []string) []string {
	var parts []string
	for _, word := range words {
		for _, part := range strings.Split(word, ",") {
			if part = strings.TrimSpace(part); part != "" {
				parts = append(parts, part)
			}
		}
	}
	return parts
}

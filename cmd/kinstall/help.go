package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

const overviewHead = `kinstall turns one inventory into a highly available Kubernetes cluster, over
SSH. It shows what it will change before it changes anything, and a second run
changes nothing.

Usage: kinstall COMMAND [flags] [FILE]

Commands:
`

const overviewTail = `
Examples:
  kinstall init lab.hcl               write an inventory to start from
  kinstall validate lab.hcl           find its mistakes, without any connection
  kinstall plan lab.hcl               see what would change, where and why
  kinstall apply lab.hcl              see it again, say yes, and have it done
  kinstall kubeconfig lab.hcl -out kubeconfig
  kubectl --kubeconfig kubeconfig get nodes

` + "`kinstall COMMAND -h` shows a command's flags and examples. Flags may stand\nbefore or after FILE, with one dash or two.\n\n" + exitCodes + "\n"

func overviewText(root *cli.App) string {
	var b strings.Builder
	b.WriteString(overviewHead)
	for _, c := range root.Commands {
		fmt.Fprintf(&b, "  %-11s %s\n", c.Name, c.Usage)
	}
	b.WriteString(overviewTail)
	return b.String()
}

// helpText is a command's help: what it does, its flags, examples. The text
// of a flag that takes a value begins with the value's name in backquotes.
//
// The library's own writes flags with two dashes, those with several values
// twice, and does not wrap their texts in their column.
func helpText(c *cli.Command) string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(fmt.Sprintf("Usage: kinstall %s [flags] %s", c.Name, c.ArgsUsage)) + "\n\n")
	b.WriteString(strings.TrimSpace(c.Description) + "\n\nFlags:\n")
	const column = 26
	for _, f := range c.Flags {
		documented, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		names := f.Names()
		head := "  -" + names[0]
		if len(names) > 1 {
			head = "  -" + names[1] + ", -" + names[0]
		}
		usage := documented.GetUsage()
		if rest, ok := strings.CutPrefix(usage, "`"); ok {
			value, text, _ := strings.Cut(rest, "`")
			head += " " + value
			usage = strings.TrimSpace(text)
		}
		lines := wrapText(usage, 80-column)
		if len(head)+2 > column {
			b.WriteString(head + "\n")
			head = ""
		}
		for _, line := range lines {
			fmt.Fprintf(&b, "%-*s%s\n", column, head, line)
			head = ""
		}
	}
	if c.UsageText != "" {
		b.WriteString("\nExamples:\n" + strings.Trim(c.UsageText, "\n") + "\n")
	}
	return b.String()
}

func wrapText(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

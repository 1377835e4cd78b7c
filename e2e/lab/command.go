package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// run executes a command of the host and returns its standard output. The error
// carries the end of what the command wrote to standard error.
func run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); ctx.Err() != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), ctx.Err())
	} else if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, lastLines(stderr.String(), 5))
	}
	return stdout.String(), nil
}

var terminalControl = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[78=>]|\r")

// lastLines returns the last n non-empty lines of s without terminal control
// sequences.
func lastLines(s string, n int) string {
	var lines []string
	for _, line := range strings.Split(terminalControl.ReplaceAllString(s, ""), "\n") {
		if line = strings.TrimRight(line, " \t"); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

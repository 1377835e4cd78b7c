package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// console is what a command is connected to.
type console struct {
	in       io.Reader
	out, err io.Writer
	// Whether they are terminals.
	inTerminal, outTerminal, errTerminal bool
	size                                 func() (width, height int, err error) // of the terminal out is connected to
	// password asks on the terminal without showing what is typed; nil without one.
	password func(prompt string) (string, error)
	environ  []string // KEY=VALUE
	now      func() time.Time
}

// defaultWidth is laid out for where the width is not known.
const defaultWidth = 80

// dimensions of the terminal, or a guess.
func (c console) dimensions() (width, height int) {
	if c.outTerminal {
		if width, height, err := c.size(); err == nil && width > 0 && height > 0 {
			return width, height
		}
	}
	return defaultWidth, 24
}

func (c console) getenv(key string) string {
	for i := len(c.environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(c.environ[i], key+"="); ok {
			return value
		}
	}
	return ""
}

// color reports whether a stream may be colored: a terminal that understands
// it, and nobody objects (https://no-color.org).
func (c console) color(terminal, noColor bool) bool {
	return terminal && !noColor && c.getenv("NO_COLOR") == "" && c.getenv("TERM") != "dumb"
}

// status shows what is under way on a terminal; done removes it.
func (c console) status(text string) (done func()) {
	if !c.errTerminal || !c.outTerminal || c.getenv("TERM") == "dumb" {
		return func() {}
	}
	fmt.Fprint(c.err, text)
	return func() { fmt.Fprint(c.err, "\r\x1b[K") }
}

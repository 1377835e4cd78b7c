// Command kinstall turns an inventory into a highly available Kubernetes
// cluster on machines it reaches over SSH.
//
// The package is wiring only: it reads flags, hands an inventory through
// load, compile, observe, diff and apply, and prints. The printed plan comes
// from plan/render, live progress from the package progress beside this one.
// The plan, reports and whatever else was asked for go to standard output;
// diagnostics, errors and notices to standard error. Exit codes are in exit.go.
package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

// version is set by the linker: -X main.version=1.2.3.
var version string

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	terminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	c := console{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inTerminal: terminal(os.Stdin), outTerminal: terminal(os.Stdout), errTerminal: terminal(os.Stderr),
		size:    func() (width, height int, err error) { return term.GetSize(int(os.Stdout.Fd())) },
		environ: os.Environ(),
		now:     time.Now,
	}
	if c.inTerminal && c.errTerminal {
		c.password = readPassword
	}
	os.Exit(run(c, realBackend(), signals, os.Args[1:]))
}

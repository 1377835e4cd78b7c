package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/plan/render"
	"github.com/kinstall/kinstall/provision"
)

// app is one run of the program.
type app struct {
	console
	backend backend
	cancel  context.CancelFunc
	faults  chan *provision.PanicError // of goroutines that nobody waits for; the first ends the program

	mu     sync.Mutex
	notice func(string) // takes what is to be said while something else is drawn
	phase  phase
}

// phase is what a signal meets.
type phase int

const (
	local    phase = iota // nothing but this machine is concerned
	remote                // hosts are locked or asked, and not changed
	applying              // steps run
	paging                // the plan is being read
	over                  // a signal has ended the program
)

// run carries out a command line and returns the exit code. A signal ends the
// program at once while nothing remote is under way, whatever it is busy with;
// else the first asks the command to stop cleanly, and the second ends the
// program as it is.
func run(c console, b backend, signals <-chan os.Signal, args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a := &app{console: c, backend: b, cancel: cancel, faults: make(chan *provision.PanicError, 1)}
	done := make(chan int, 1)
	go func() { done <- a.execute(ctx, args) }()
	interrupted := false
	for {
		select {
		case code := <-done:
			return code
		case fault := <-a.faults:
			a.crash(fault)
			return exitPanic
		case sig := <-signals:
			switch a.interrupt(sig, interrupted) {
			case endNow:
				return exitInterrupted
			case stopping:
				interrupted = true
			}
		}
	}
}

// reaction is what a signal led to.
type reaction int

const (
	nothing reaction = iota
	stopping
	endNow
)

// interrupt answers a signal; again says that the command was asked to stop
// before.
func (a *app) interrupt(sig os.Signal, again bool) (r reaction) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() {
		if r == endNow {
			a.phase = over
		}
	}()
	switch {
	case a.phase == paging && sig == os.Interrupt:
		return nothing // the pager has got it, too, and knows what to do
	case again && a.phase == applying:
		fmt.Fprintln(a.err, "\nAborted. Steps under way may be half done; the next apply finds out and mends them.")
		return endNow
	case again:
		fmt.Fprintln(a.err, "\nAborted; no step was under way.")
		return endNow
	case a.phase == local || a.phase == paging:
		a.sayLocked("Interrupted; nothing was changed.")
		return endNow
	case a.phase == applying:
		a.sayLocked("Interrupted: finishing the steps under way. Press Ctrl-C again to abort at once.")
	}
	a.cancel()
	return stopping
}

// enter marks what a signal meets from now on, until the function returned is
// called.
func (a *app) enter(p phase) (leave func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.phase
	a.phase = p
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.phase = before
	}
}

// say tells the user something on standard error, or where notices go meanwhile.
func (a *app) say(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sayLocked(text)
}

func (a *app) sayLocked(text string) {
	if a.notice != nil {
		a.notice(text)
		return
	}
	if a.errTerminal {
		text = "\r\x1b[K" + text // over a status line that may be there
	}
	fmt.Fprintln(a.err, text)
}

// working marks the time in which steps run: notices go elsewhere, and an
// interrupt waits. It ends with the function returned.
func (a *app) working(notice func(string)) (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.phase
	a.notice, a.phase = notice, applying
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.notice, a.phase = nil, before
	}
}

// execute runs the command named in args and says what went wrong.
func (a *app) execute(ctx context.Context, args []string) int {
	err := provision.Recover(func() error { return a.dispatch(ctx, args) })
	code := codeOf(err)
	var exit *exitError
	var fault *provision.PanicError
	switch {
	case errors.As(err, &fault):
		a.sayPanic(fault)
	case err == nil, errors.As(err, &exit) && exit.err == nil:
	case code == exitInterrupted && !errors.As(err, &exit):
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.phase != over { // else it has been said
			a.sayLocked("Interrupted; nothing was changed.")
		}
	default:
		a.sayError(err)
	}
	return code
}

// sayError prints an error and the advice that goes with it. Text from hosts
// may be in it, so it is printed escaped.
func (a *app) sayError(err error) {
	for i, line := range strings.Split(strings.TrimSpace(err.Error()), "\n") {
		lead := "Error: "
		if i > 0 {
			lead = "       "
		}
		fmt.Fprintln(a.err, lead+render.Clean(line))
	}
	if hint := hintOf(err); hint != "" {
		for i, line := range strings.Split(hint, "\n") {
			lead := "Hint:  "
			if i > 0 {
				lead = "       "
			}
			fmt.Fprintln(a.err, lead+render.Clean(line))
		}
	}
}

func (a *app) dispatch(ctx context.Context, args []string) error {
	root := &cli.App{
		Name: "kinstall", HelpName: "kinstall",
		Writer: a.out, ErrWriter: a.err, Reader: a.in,
		HideHelp: true, HideVersion: true,
		DisableSliceFlagSeparator: true, // values of variables hold commas
		ExitErrHandler:            func(*cli.Context, error) {},
		Commands: []*cli.Command{
			a.initCommand(), a.validateCommand(), a.planCommand(), a.applyCommand(), a.approveCommand(), a.kubeconfigCommand(), a.versionCommand(),
		},
	}
	for _, c := range root.Commands {
		finish(c)
	}
	name, rest, err := commandOf(args)
	if err != nil {
		return err
	}
	switch name {
	case "":
		return a.overview(root, len(args) > 0)
	case "help":
		if len(rest) == 0 {
			return a.overview(root, true)
		}
		c := root.Command(rest[0])
		if c == nil {
			return unknownCommand(root, rest[0])
		}
		return a.print(helpText(c))
	}
	c := root.Command(name)
	if c == nil {
		return unknownCommand(root, name)
	}
	arranged, help, err := arrange(c, rest)
	switch {
	case err != nil:
		return err
	case help:
		return a.print(helpText(c))
	}
	return root.RunContext(ctx, append([]string{root.Name, name}, arranged...))
}

// overview prints what commands there are: as asked, or because none was named.
func (a *app) overview(root *cli.App, asked bool) error {
	if asked {
		return a.print(overviewText(root))
	}
	fmt.Fprint(a.err, overviewText(root))
	return silently(exitFailure)
}

func (a *app) print(text string) error {
	_, err := fmt.Fprint(a.out, text)
	return err
}

// finish gives a command what all have: -h, and errors that name it.
func finish(c *cli.Command) {
	c.HideHelp = true
	c.Flags = append(c.Flags, &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show this help"})
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
		return usageError(seeHelp(c), "kinstall %s: %s", c.Name, misread(c, err))
	}
}

func seeHelp(c *cli.Command) string { return fmt.Sprintf("`kinstall %s -h` shows its flags", c.Name) }

// inventoryFile returns the command's one argument.
func inventoryFile(ctx *cli.Context) (string, error) {
	switch args := ctx.Args().Slice(); {
	case len(args) == 1 && args[0] != "":
		return args[0], nil
	case len(args) == 0 || args[0] == "":
		return "", usageError(fmt.Sprintf("name it, as in: kinstall %s inventory.hcl", ctx.Command.Name), "kinstall %s: which inventory?", ctx.Command.Name)
	default:
		return "", usageError("flags with several values take them separated by commas: -limit emei,shaolin",
			"kinstall %s: one inventory at a time, not %s", ctx.Command.Name, strings.Join(args, " "))
	}
}

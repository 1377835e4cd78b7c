package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/render"
	"github.com/kinstall/kinstall/plan/spelling"
	"github.com/kinstall/kinstall/provision"
)

// load reads the inventory that a command names. Mistakes and warnings have
// been printed when it returns; the error then says nothing more.
func (a *app) load(c *cli.Context) (*inventory.Inventory, *inventory.Lock, error) {
	inv, lock, files, diags, err := a.read(c)
	if err != nil {
		return nil, nil, err
	}
	return inv, lock, a.diagnoseFor(c, files, diags)
}

// read reads the inventory and leaves its diagnostics to the caller.
func (a *app) read(c *cli.Context) (*inventory.Inventory, *inventory.Lock, map[string]*hcl.File, hcl.Diagnostics, error) {
	file, err := inventoryFile(c)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	vars, err := assignments(c.Command, c.StringSlice("var"))
	if err != nil {
		return nil, nil, nil, nil, err
	}
	files := map[string]*hcl.File{}
	inv, lock, diags := a.backend.load(file, inventory.Options{
		Vars: vars, VarFiles: c.StringSlice("var-file"), Env: a.environ, Files: files,
	})
	return inv, lock, files, diags, nil
}

// diagnose prints diagnostics; errors among them end the command.
func (a *app) diagnose(c *cli.Context, files map[string]*hcl.File, diags hcl.Diagnostics) error {
	width, _ := a.dimensions()
	if err := inventory.WriteDiagnostics(a.err, files, diags, width, a.color(a.errTerminal, c.Bool("no-color"))); err != nil {
		return err
	}
	if !diags.HasErrors() {
		return nil
	}
	fmt.Fprintf(a.err, "%s. Nothing was done.\n", countErrors(diags))
	return silently(exitFailure)
}

// diagnoseFor prints diagnostics for people, or with -json errors as the JSON
// that `kinstall validate -json` prints, in the place of a plan.
func (a *app) diagnoseFor(c *cli.Context, files map[string]*hcl.File, diags hcl.Diagnostics) error {
	if !c.Bool("json") || !diags.HasErrors() {
		return a.diagnose(c, files, diags)
	}
	var err error
	if c.Command.Name == "apply" { // one object a line
		err = a.event(diagnosticsEvent{Type: "diagnostics", Diagnostics: inventory.JSONDiagnostics(diags)})
	} else {
		err = inventory.WriteDiagnosticsJSON(a.out, diags)
	}
	if err != nil {
		return err
	}
	return silently(exitFailure)
}

// diagnosticsEvent is the only line of apply -json where the inventory has
// mistakes.
type diagnosticsEvent struct {
	Type        string                     `json:"type"` // "diagnostics"
	Diagnostics []inventory.JSONDiagnostic `json:"diagnostics"`
}

func countErrors(diags hcl.Diagnostics) string {
	errs, warnings := inventory.Count(diags)
	text := plural(errs, "error")
	if warnings > 0 {
		text += " and " + plural(warnings, "warning")
	}
	return text
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// survey is what plan and apply have in common: a delta, and the fleet it was
// learnt from.
type survey struct {
	delta *plan.Delta
	fleet fleet
	close func() // frees locks and connections
}

// survey loads, compiles, connects, observes and compares. With a description
// it takes locks first: see provision.Fleet.Lock.
func (a *app) survey(c *cli.Context, description string) (*survey, error) {
	ctx := c.Context
	inv, lock, err := a.load(c)
	if err != nil {
		return nil, err
	}
	limit := list(c.StringSlice("limit"))
	if err := checkLimit(c, inv, limit); err != nil {
		return nil, err
	}
	forget := list(c.StringSlice("forget"))
	if err := checkForget(c, inv, forget); err != nil {
		return nil, err
	}
	done := a.status("Compiling the plan …")
	prepared, diags, err := a.backend.prepare(ctx, inv, lock, a.passphrase(c))
	done()
	if err != nil {
		return nil, err
	}
	if err := a.diagnoseFor(c, nil, diags); err != nil {
		return nil, err
	}
	p := prepared.plan.Limit(limit).Forget(forget)
	if c.Bool("skip-unreachable") {
		p = p.SkipUnreachable()
	}
	leave := a.enter(remote)
	fleet := prepared.connect(connectOptions{Parallelism: c.Int("parallelism"), ConfirmTimeout: c.Duration("confirm-timeout"), TrustOnFirstUse: c.Bool("trust-on-first-use"), LockTimeout: c.Duration("lock-timeout"), Deadlines: provision.Deadlines{Observe: c.Duration("observe-timeout"), Step: c.Duration("step-timeout")}, Fault: a.fault, Log: a.say})
	release := func() {}
	s := &survey{fleet: fleet, close: func() { release(); _ = fleet.Close(); leave() }}
	fail := func(err error) (*survey, error) {
		s.close()
		return nil, err
	}
	if err := fleet.CheckAccess(ctx, p.Hosts()); err != nil {
		return fail(fmt.Errorf("no host was connected to: %w", err))
	}
	done = a.status(fmt.Sprintf("Observing %s …", plural(len(p.Hosts()), "host")))
	defer done()
	if description != "" {
		free, err := fleet.Lock(ctx, p.Hosts(), description)
		if err != nil {
			return fail(orInterrupted(ctx, notLocked(err)))
		}
		release = free
	}
	observed, err := fleet.Observe(ctx, p)
	if err != nil {
		return fail(err)
	}
	if err := checkForgotten(c, p.Departures(observed), forget); err != nil {
		return fail(err)
	}
	for _, observations := range []map[string]plan.Observation{observed.Hosts, observed.Elsewhere, observed.Leaving} {
		for _, o := range observations {
			if errors.As(o.Err, new(*provision.PanicError)) {
				return fail(o.Err)
			}
		}
	}
	s.delta = p.Diff(observed)
	return s, nil
}

// notLocked gives an error of locking the exit code that it has when hosts can't be
// reached.
func notLocked(err error) error {
	var few *provision.NoMajorityError
	if errors.As(err, &few) {
		return &exitError{code: exitUnreachable, err: fmt.Errorf("nothing was changed: %w", err), hint: few.Hint()}
	}
	return err
}

// orInterrupted prefers the plain reason when the user stopped what failed.
func orInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func checkLimit(c *cli.Context, inv *inventory.Inventory, limit []string) error {
	if len(limit) == 0 && c.IsSet("limit") {
		return usageError("", "kinstall %s: -limit names no host", c.Command.Name)
	}
	var names []string
	for _, h := range inv.Hosts {
		names = append(names, h.Name)
	}
	for _, host := range limit {
		if slices.Contains(names, host) {
			continue
		}
		hint := "the inventory has " + strings.Join(names[:min(len(names), 10)], ", ")
		if len(names) > 10 {
			hint += fmt.Sprintf(" and %d more", len(names)-10)
		}
		if like := spelling.Nearest(host, names); like != "" {
			hint = fmt.Sprintf("did you mean %s?", like)
		}
		return usageError(hint, "kinstall %s: -limit: no host is called %q", c.Command.Name, host)
	}
	return nil
}

// checkForget refuses to forget what is no host that has left.
func checkForget(c *cli.Context, inv *inventory.Inventory, forget []string) error {
	switch {
	case len(forget) == 0 && c.IsSet("forget"):
		return usageError("", "kinstall %s: -forget names no host", c.Command.Name)
	case len(forget) > 0 && c.IsSet("limit"):
		return usageError("leave -limit out", "kinstall %s: -forget is about the cluster as a whole, -limit about some hosts", c.Command.Name)
	}
	for _, host := range forget {
		if _, stays := inv.Host(host); stays {
			return usageError("remove its host block first", "kinstall %s: -forget: %q is in the inventory", c.Command.Name, host)
		}
	}
	return nil
}

// checkForgotten refuses to forget a host that nobody remembers.
func checkForgotten(c *cli.Context, leaving []plan.Departure, forget []string) error {
	var names []string
	for _, l := range leaving {
		names = append(names, l.Name)
	}
	for _, host := range forget {
		if slices.Contains(names, host) {
			continue
		}
		hint := "no host has left the inventory, as far as the cluster remembers"
		if len(names) > 0 {
			hint = "those that left the inventory are " + strings.Join(names, ", ")
		}
		return usageError(hint, "kinstall %s: -forget: the cluster remembers no host that is called %q", c.Command.Name, host)
	}
	return nil
}

// printPlan prints a delta for people, through a pager where somebody reads it.
func (a *app) printPlan(c *cli.Context, d *plan.Delta) error {
	width, _ := a.dimensions()
	w := &bytes.Buffer{}
	if c.Bool("show-addresses") {
		if err := render.Addresses(w, d.Plan); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if err := render.Text(w, d, render.Options{Color: a.color(a.outTerminal, c.Bool("no-color")), Width: width, Verbose: c.Bool("verbose")}); err != nil {
		return err
	}
	// apply -yes is not to wait for anybody.
	return a.page(w.Bytes(), !c.Bool("no-pager") && !c.Bool("yes"))
}

// obstacle is the error that keeps a delta from being applied, nil if nothing does.
func obstacle(file string, d *plan.Delta) error {
	if n := len(d.Problems); n > 0 {
		return &exitError{code: problemCode(d), err: fmt.Errorf("%s in the way, nothing was changed", standIn(n, "problem"))}
	}
	if d.Blocked() {
		err := &exitError{code: exitUnreachable, err: fmt.Errorf("%s unreachable, nothing was changed", isOrAre(len(d.Unreachable), "host"))}
		if len(d.Unreachable) < len(d.Plan.Hosts()) {
			err.hint = fmt.Sprintf("to go on without: kinstall apply %s -skip-unreachable", file)
		}
		return err
	}
	return nil
}

// problemCode is the exit code for a delta with problems.
func problemCode(d *plan.Delta) int {
	if len(d.TooFew()) == len(d.Problems) {
		return exitUnreachable
	}
	return exitFailure
}

func standIn(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " stands"
	}
	return plural(n, noun) + " stand"
}

func isOrAre(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " is"
	}
	return plural(n, noun) + " are"
}

// isStale reports whether an error says that a host is no longer as planned.
func isStale(err error) bool { return errors.Is(err, provision.ErrStale) }

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/cmd/kinstall/progress"
	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/render"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision"
)

func (a *app) applyCommand() *cli.Command {
	return &cli.Command{
		Name: "apply", ArgsUsage: "FILE",
		Usage: "change what differs, after showing it and asking",
		Description: `
Show what differs from the inventory, ask, and change exactly that. A step that
fails stops what depends on it, and nothing else. Ctrl-C stops after the steps
under way; run apply again to go on. While it works no other apply can: it holds
the locks of the hosts it changes and, whatever -limit says, of all masters and
members of etcd, or of a majority of them when some can't be reached.

A change that may cut you off from a host (routes, firewall rules, kernel
parameters, its name, the pod network's programs) is marked "(armed)": the host
undoes it by itself unless kinstall reaches it again over a new connection.`,
		UsageText: `
  kinstall apply lab.hcl
  kinstall apply lab.hcl -yes                   without asking
  kinstall apply lab.hcl -limit huashan         only this host
  kinstall apply lab.hcl -skip-unreachable      all but hosts that are down
  kinstall apply lab.hcl -forget huashan        removed, and gone for good
  kinstall apply lab.hcl -lock-timeout 10m      after another apply has ended
  kinstall apply lab.hcl -yes -json > log.json  one JSON event a line`,
		Flags: joined([]cli.Flag{
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
			&cli.DurationFlag{Name: "confirm-timeout", Value: provision.DefaultConfirmTimeout, Usage: "`DURATION` a host waits so long to be reached again before it undoes what is marked (armed) (default 1m0s)"},
			&cli.DurationFlag{Name: "step-timeout", Usage: "`DURATION` a step has failed that takes longer on its host (default 10m0s, or 30m0s where files are uploaded or packages fetched)", Action: notNegative("step-timeout")},
			&cli.BoolFlag{Name: "json", Usage: "print the plan, then what happens, as one JSON object a line (docs/plan-json.md); needs -yes"},
			&cli.DurationFlag{Name: "lock-timeout", Usage: "`DURATION` wait for another apply to end, as 90s or 10m; without it, refuse at once", Action: notNegative("lock-timeout")},
		}, hostFlags(), secretFlags(), outputFlags(), variableFlags()),
		Action: a.apply,
	}
}

// shortestConfirmTimeout is what a busy host may take to let somebody in.
const shortestConfirmTimeout = 5 * time.Second

func (a *app) apply(c *cli.Context) error {
	if !c.Bool("yes") {
		if c.Bool("json") {
			return usageError("add -yes", "kinstall apply: -json can't ask")
		}
		if !a.inTerminal {
			return usageError("add -yes to apply without being asked, or use `kinstall plan` to look first", "kinstall apply: there is no terminal to ask on")
		}
	}
	if timeout := c.Duration("confirm-timeout"); timeout < shortestConfirmTimeout {
		return usageError(fmt.Sprintf("give it %s or more, as in: -confirm-timeout 1m30s", shortestConfirmTimeout),
			"kinstall apply: -confirm-timeout %s leaves no time to reach a host", timeout)
	}
	file, err := inventoryFile(c)
	if err != nil {
		return err
	}
	s, err := a.survey(c, "kinstall apply")
	if err != nil {
		return err
	}
	defer s.close()
	if c.Bool("json") {
		err = a.event(planEvent{Type: "plan", Plan: render.NewDocument(s.delta)})
	} else {
		err = a.printPlan(c, s.delta)
	}
	if err != nil {
		return err
	}
	if err := obstacle(file, s.delta); err != nil {
		return err
	}
	if s.delta.Summary().Changes() == 0 {
		// Nothing is changed, but what is as planned counts as managed from now on.
		report, err := s.fleet.Apply(c.Context, s.delta, func(provision.Event) {})
		if err == nil && c.Bool("json") {
			err = a.event(newReportEvent(s.delta, report))
		} else if err == nil {
			err = a.print(leftForLater(s.delta))
		}
		return err
	}
	if !c.Bool("yes") {
		if err := a.confirm(c.Context); err != nil {
			return err
		}
	}
	report, err := a.carryOut(c, s)
	return a.conclude(c, file, s.delta, report, err)
}

// confirm asks. Only the whole word counts: a stray key must not change hosts.
func (a *app) confirm(ctx context.Context) error {
	fmt.Fprint(a.out, "\nApply these changes? Only 'yes' is accepted: ")
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(a.in).ReadString('\n')
		if err != nil { // the end of input is no "yes", and leaves the line unfinished
			line = ""
			fmt.Fprintln(a.out)
		}
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.out)
		return ctx.Err()
	case text := <-answer:
		if text != "yes" {
			return &exitError{code: exitFailure, err: errors.New("not confirmed, nothing was changed")}
		}
		return nil
	}
}

// carryOut executes the delta and shows how it goes.
func (a *app) carryOut(c *cli.Context, s *survey) (*provision.Report, error) {
	if ctx := c.Context; ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var display progress.Display
	switch {
	case c.Bool("json"):
		display = progress.NewJSON(a.out, a.now)
	case a.outTerminal && a.getenv("TERM") != "dumb":
		fmt.Fprintln(a.out)
		display = progress.NewLive(a.out, workOf(s.delta), a.dimensions, a.color(true, c.Bool("no-color")), a.now)
	default:
		fmt.Fprintln(a.out)
		defer fmt.Fprintln(a.out)
		display = progress.NewPlain(a.out, workOf(s.delta), a.now)
	}
	runner := progress.Start(display, a.fault)
	defer runner.Stop()
	defer a.working(runner.Notice)()
	return s.fleet.Apply(c.Context, s.delta, runner.Event)
}

// workOf counts the steps of each place, in the order of a printed plan.
func workOf(d *plan.Delta) []progress.Host {
	totals := map[string]int{}
	for _, item := range d.Items {
		if item.Change.Action != resource.NoOp {
			totals[item.Step.Host]++
		}
	}
	var hosts []progress.Host
	for _, name := range append(append([]string{plan.Operator}, d.Hosts()...), plan.Cluster) {
		if totals[name] > 0 {
			hosts = append(hosts, progress.Host{Name: name, Total: totals[name]})
		}
	}
	return hosts
}

// conclude says what was done and what was not.
func (a *app) conclude(c *cli.Context, file string, delta *plan.Delta, report *provision.Report, err error) error {
	if report == nil {
		return err
	}
	var failed *provision.FailedError
	var lost *provision.LockLostError
	expected := err == nil || errors.As(err, &failed) || errors.Is(err, provision.ErrInterrupted) || errors.As(err, &lost)
	if c.Bool("json") {
		if err := a.event(newReportEvent(delta, report)); err != nil {
			return err
		}
	} else if expected {
		a.printReport(c, file, delta, report)
	}
	var fault *provision.PanicError
	switch {
	case !expected, lost != nil: // the report does not name the lock
		return err
	case panicked(report, &fault):
		return fault
	case report.Interrupted:
		return silently(exitInterrupted)
	case err == nil:
		return nil
	case onlyStale(report):
		return silently(exitStale)
	case report.Count(provision.Failed) == 0:
		return err // the steps went well, remembering them did not
	default:
		return silently(exitFailure)
	}
}

// panicked finds the first step that failed by a panic.
func panicked(report *provision.Report, fault **provision.PanicError) bool {
	for _, r := range report.Results {
		if r.Kind == provision.Failed && errors.As(r.Err, fault) {
			return true
		}
	}
	return false
}

// onlyStale reports whether every failure is a host that is no longer as planned.
func onlyStale(report *provision.Report) bool {
	failed := 0
	for _, r := range report.Results {
		if r.Kind == provision.Failed {
			failed++
			if !isStale(r.Err) {
				return false
			}
		}
	}
	return failed > 0
}

// planEvent is the first line of apply -json.
type planEvent struct {
	Type string          `json:"type"` // "plan"
	Plan render.Document `json:"plan"`
}

// event prints one line of JSON.
func (a *app) event(event any) error {
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(event)
}

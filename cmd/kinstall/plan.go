package main

import (
	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/plan/render"
)

func (a *app) planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", ArgsUsage: "FILE",
		Usage: "show what apply would change, and change nothing",
		Description: `
Show what apply would change on which host, and why. Nothing is changed, on any
host or here. docs/reading-a-plan.md explains what is printed.`,
		UsageText: `
  kinstall plan lab.hcl
  kinstall plan lab.hcl -limit emei,shaolin
  kinstall plan lab.hcl -skip-unreachable
  kinstall plan lab.hcl -var version=1.36.3 -show-addresses
  kinstall plan lab.hcl -json | jq -r '.changes[] | .host + " " + .id'

  # in CI: tell "nothing to do" (0), "would change something" (2) and trouble
  kinstall plan lab.hcl -detailed-exitcode`,
		Flags: joined([]cli.Flag{
			&cli.BoolFlag{Name: "detailed-exitcode", Usage: "exit with 2 when something would change"},
			&cli.BoolFlag{Name: "json", Usage: "print the plan as JSON (docs/plan-json.md)"},
		}, hostFlags(), secretFlags(), outputFlags(), variableFlags()),
		Action: a.plan,
	}
}

func (a *app) plan(c *cli.Context) error {
	s, err := a.survey(c, "")
	if err != nil {
		return err
	}
	s.close() // from here on a signal finds nothing remote under way
	if c.Bool("json") {
		err = render.JSON(a.out, s.delta)
	} else {
		err = a.printPlan(c, s.delta)
	}
	switch {
	case err != nil:
		return err
	case len(s.delta.Problems) > 0:
		return silently(problemCode(s.delta))
	case s.delta.Blocked():
		return silently(exitUnreachable)
	case c.Bool("detailed-exitcode") && s.delta.Summary().Changes()+len(s.delta.Later) > 0:
		return silently(exitChanges)
	}
	return nil
}

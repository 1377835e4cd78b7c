package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/plan/inventory"
)

func (a *app) validateCommand() *cli.Command {
	return &cli.Command{
		Name: "validate", ArgsUsage: "FILE",
		Usage: "find an inventory's mistakes, without any connection",
		Description: `
Find all mistakes of an inventory at once, each with its place and a hint. No
host is connected to. docs/inventory.md describes every block and attribute.`,
		UsageText: `
  kinstall validate lab.hcl
  kinstall validate lab.hcl -resolved       with everything filled in
  kinstall validate lab.hcl -json           for editors and CI
  KINSTALL_VAR_version=1.36.3 kinstall validate lab.hcl`,
		Flags: joined([]cli.Flag{
			&cli.BoolFlag{Name: "resolved", Usage: "print the inventory with every default filled in"},
			&cli.BoolFlag{Name: "json", Usage: "print the diagnostics as JSON"},
			&cli.BoolFlag{Name: "no-color", Usage: "no color, as with NO_COLOR set or without a terminal"},
		}, variableFlags()),
		Action: a.validate,
	}
}

func (a *app) validate(c *cli.Context) error {
	if c.Bool("json") && c.Bool("resolved") {
		return usageError("", "kinstall validate: -json and -resolved exclude each other")
	}
	inv, _, files, diags, err := a.read(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if err := inventory.WriteDiagnosticsJSON(a.out, diags); err != nil {
			return err
		}
		if diags.HasErrors() {
			return silently(exitFailure)
		}
		return nil
	}
	if err := a.diagnose(c, files, diags); err != nil {
		return err
	}
	if c.Bool("resolved") {
		return a.print(string(inventory.Resolved(inv)))
	}
	if !inv.Kubernetes() {
		return a.print(fmt.Sprintf("%s is valid: cluster %s without Kubernetes, %s with %s.\n", c.Args().First(), inv.Cluster.Name, plural(len(inv.Hosts), "host"), inv.Runtime.Kind))
	}
	return a.print(fmt.Sprintf("%s is valid: cluster %s, Kubernetes %s, %s (%s, %s, %s).\n", c.Args().First(), inv.Cluster.Name, inv.Cluster.Version,
		plural(len(inv.Hosts), "host"), plural(len(inv.With(inventory.RoleEtcd)), "etcd member"),
		plural(len(inv.With(inventory.RoleMaster)), "master"), plural(len(inv.With(inventory.RoleWorker)), "worker")))
}

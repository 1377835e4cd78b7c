// Command lab boots real Debian machines for an inventory on one Linux host, see
// package github.com/kinstall/kinstall/e2e/lab.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/e2e/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newApp().RunContext(ctx, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(exitCode(err))
	}
}

// exitCode is the one shells use for a command that can't be found or run, else 1.
func exitCode(err error) int {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return 127
	case errors.Is(err, context.Canceled):
		return 130
	}
	return 1
}

func newApp() *cli.App {
	return &cli.App{
		Name:      "lab",
		Usage:     "boot real machines for an inventory on this one",
		UsageText: "lab [-name NAME] COMMAND [ARGUMENTS]",
		Description: `Each host block of an inventory becomes a Debian machine of its own (systemd,
sshd, host name, network namespace) at its address, on a network that reaches
nothing outside. Needs root; installs what it needs on a Debian host.

   lab up inventories/lab.hcl      boot the machines, or bring them up to date
   lab exec -- kinstall apply inventories/lab.hcl
   lab ssh shaolin systemctl --failed
   lab cut wudang                  pull its cable; "lab heal wudang" plugs it in
   lab stop emei                   cut its power; "lab start emei" boots it
   lab down                        remove it all

Several labs can be up at once, each under its own -name.`,
		HideVersion:     true,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Value: "kinstall", EnvVars: []string{"KINSTALL_LAB"}, Usage: "`NAME` of the lab"},
		},
		Commands: []*cli.Command{
			componentsCommand(), upCommand(), downCommand(), statusCommand(),
			execCommand(), sshCommand(), kubectlCommand(),
			machineCommand("cut", "pull a machine's cable", "Its eth0 loses the carrier. The cable stays pulled, also over reboots,\nuntil heal or up.", (*lab.Lab).Cut),
			machineCommand("heal", "plug a machine's cable in again", "", (*lab.Lab).Heal),
			machineCommand("stop", "cut a machine's power", "Every process on it ends at once; nothing is shut down. Its disk stays.", (*lab.Lab).Stop),
			machineCommand("start", "boot a stopped machine", "It has the disk it had. Ends when its sshd answers.", (*lab.Lab).Start),
			machineCommand("reboot", "shut a machine down cleanly and boot it", "Ends when its sshd answers.", (*lab.Lab).Reboot),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("no command %q; lab -h lists them", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		// Errors are printed by main, once.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return err },
	}
}

// open returns the lab that -name says, reporting progress on standard error.
func open(c *cli.Context) (*lab.Lab, error) {
	l, err := lab.Open(c.String("name"))
	if err != nil {
		return nil, err
	}
	l.Progress = c.App.ErrWriter
	return l, nil
}

// machineCommand makes a command that does one thing to one machine.
func machineCommand(name, usage, description string, do func(*lab.Lab, context.Context, string) error) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Description: description, ArgsUsage: "HOST",
		UsageText: fmt.Sprintf("lab %s HOST\n\n   lab %s shaolin", name, name),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return fmt.Errorf("%s: want one HOST, got %d arguments", name, c.NArg())
			}
			l, err := open(c)
			if err != nil {
				return err
			}
			return do(l, c.Context, c.Args().First())
		},
	}
}

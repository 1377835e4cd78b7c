package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/e2e/lab"
)

func upCommand() *cli.Command {
	return &cli.Command{
		Name: "up", Usage: "boot a machine for each host of an inventory", ArgsUsage: "INVENTORY",
		UsageText: "lab up INVENTORY\n\n   lab up inventories/lab.hcl\n   lab -name trial up trial.hcl",
		Description: `Machines that run stay as they are, stopped ones boot, cut cables are plugged
in, missing machines boot with a fresh disk, and ones the inventory no longer
has are removed. Ends when every sshd answers. A lab that is up for another
checkout is left alone: its machines hold that one's cluster.

The first run builds the root file system from Debian packages (one to two
minutes) and keeps it in the user's cache directory.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "debian-mirror", EnvVars: []string{"KINSTALL_DEBIAN_MIRROR"}, Usage: "`URL` to build the root file system from (default: debootstrap's)"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return fmt.Errorf("up: want one INVENTORY, got %d arguments", c.NArg())
			}
			l, err := open(c)
			if err != nil {
				return err
			}
			l.DebianMirror = c.String("debian-mirror")
			machines, err := machines(l, c.Args().First())
			if err != nil {
				return err
			}
			if l.For, err = lab.OwnerOf(c.Args().First()); err != nil {
				return err
			}
			return l.Up(c.Context, machines)
		},
	}
}

func downCommand() *cli.Command {
	return &cli.Command{
		Name: "down", Usage: "remove the lab: machines, disks, network",
		UsageText: "lab down\n\n   lab -name trial down",
		Description: `The root file system and the component mirror stay in the user's cache
directory, so that the next up is quick.`,
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return errors.New("down: takes no arguments")
			}
			l, err := open(c)
			if err != nil {
				return err
			}
			if holder, err := l.Holder(); err == nil && holder.Inventory != "" {
				fmt.Fprintf(c.App.ErrWriter, "removing lab %s, up for %s\n", l.Name(), holder.Inventory)
			}
			return l.Down(c.Context)
		},
	}
}

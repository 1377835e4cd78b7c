package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/plan/inventory"
)

// starterFile is what init writes when it is given no name.
const starterFile = "inventory.hcl"

func (a *app) initCommand() *cli.Command {
	return &cli.Command{
		Name: "init", ArgsUsage: "[FILE]",
		Usage: "write a commented inventory to start from",
		Description: `
Write a commented inventory to start from: to FILE, else to inventory.hcl. A
file that is already there is left alone.`,
		UsageText: `
  kinstall init
  kinstall init lab.hcl`,
		Action: a.init,
	}
}

func (a *app) init(c *cli.Context) error {
	path := starterFile
	if args := c.Args().Slice(); len(args) > 1 {
		return usageError("", "kinstall init: one file at a time")
	} else if len(args) == 1 {
		path = args[0]
	}
	if err := writeNew(path, inventory.Starter(), 0o644); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return usageError("give another name, or remove it first", "%s is already there and was left as it is", path)
		}
		return err
	}
	return a.print(fmt.Sprintf("Wrote %s. Put your hosts' addresses into it, then:\n  kinstall validate %[1]s\n  kinstall plan %[1]s\n", path))
}

// writeNew writes a file that must not be there yet, whole or not at all.
func writeNew(path string, content []byte, mode fs.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(path))
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"github.com/urfave/cli/v2"
)

func execCommand() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "run a command on the operator's side of the network", ArgsUsage: "-- CMD [ARGUMENTS]",
		UsageText: "lab exec -- CMD [ARGUMENTS]\n\n   lab exec -- kinstall plan inventories/lab.hcl\n   lab exec -- bash",
		Description: `The command gets this terminal, and its exit code is lab's. Its environment
names, as variables of an inventory:

   KINSTALL_VAR_lab      folder with id_ed25519, known_hosts and ssh_config
   KINSTALL_VAR_mirror   folder with the component mirror`,
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return errors.New("exec: no command given")
			}
			l, err := open(c)
			if err != nil {
				return err
			}
			return become(l.Exec(c.Context, c.Args().Slice()...))
		},
	}
}

func sshCommand() *cli.Command {
	return &cli.Command{
		Name: "ssh", Usage: "open an SSH session with a machine", ArgsUsage: "[USER@]HOST [CMD]",
		UsageText: "lab ssh [USER@]HOST [CMD]\n\n   lab ssh shaolin\n   lab ssh shaolin journalctl -u kubelet -n 20\n   lab ssh operator@shaolin sudo id",
		Description: `USER is root, or "operator", who may use sudo. The machine's host key is
verified. The exit code is the command's.`,
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return errors.New("ssh: no HOST given")
			}
			l, err := open(c)
			if err != nil {
				return err
			}
			return become(l.SSH(c.Context, c.Args().First(), c.Args().Tail()...))
		},
	}
}

// become replaces this process by the command, so that terminal, signals and
// exit code are the command's own.
func become(cmd *exec.Cmd) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	if err := syscall.Exec(cmd.Path, cmd.Args, cmd.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	return nil
}

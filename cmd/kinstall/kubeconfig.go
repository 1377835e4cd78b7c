package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/plan/inventory"
)

func (a *app) kubeconfigCommand() *cli.Command {
	return &cli.Command{
		Name: "kubeconfig", ArgsUsage: "FILE",
		Usage: "print an administrator's kubeconfig for the cluster",
		Description: `
Print a kubeconfig for an administrator of the cluster, with a new certificate
and key in it: keep it to yourself. It leads to the cluster's endpoint and is
made from the authorities beside the inventory; no host is connected to.`,
		UsageText: `
  kinstall kubeconfig lab.hcl -out kubeconfig
  kubectl --kubeconfig kubeconfig get nodes

  # without leaving a file behind
  kubectl --kubeconfig <(kinstall kubeconfig lab.hcl) get nodes`,
		Flags: joined([]cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "`FILE` write it to a file, readable by you alone; one that is there is left alone"},
			&cli.BoolFlag{Name: "force", Usage: "replace the file"},
		}, secretFlags(), variableFlags()),
		Action: a.kubeconfig,
	}
}

func (a *app) kubeconfig(c *cli.Context) error {
	inv, _, err := a.load(c)
	if err != nil {
		return err
	}
	if !inv.Kubernetes() {
		return usageError("`kinstall apply` installs what its hosts have the roles for", "%s describes no Kubernetes cluster: no host has the role %q", inv.Path, inventory.RoleMaster)
	}
	path := c.String("out")
	if path != "" && !c.Bool("force") {
		if _, err := os.Lstat(path); err == nil {
			return usageError("add -force to replace it", "%s is already there and was left as it is", path)
		}
	}
	config, err := a.backend.kubeconfig(c.Context, inv, a.passphrase(c))
	if err != nil {
		return err
	}
	if path == "" {
		_, err := a.out.Write(config)
		return err
	}
	if !c.Bool("force") {
		return writeNew(path, config, 0o600)
	}
	// The new file takes the old one's place in one go, and is private from
	// its first byte whatever the old one was.
	staged := fmt.Sprintf("%s.%d.new", path, os.Getpid())
	if err := os.Remove(staged); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(staged, config, 0o600); err != nil {
		return err
	}
	if err := os.Rename(staged, path); err != nil {
		return errors.Join(err, os.Remove(staged))
	}
	return nil
}

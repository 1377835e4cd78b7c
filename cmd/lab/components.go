package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/e2e/components"
)

// newBuilder returns a builder of the default components that reports on the
// app's standard error.
func newBuilder(c *cli.Context) *components.Builder {
	return &components.Builder{Versions: components.Default(), Log: func(format string, args ...any) {
		fmt.Fprintf(c.App.ErrWriter, format+"\n", args...)
	}}
}

func componentsCommand() *cli.Command {
	return &cli.Command{
		Name: "components", Usage: "build the real components into a local mirror",
		UsageText: "lab components [-flannel] [-kubernetes VERSION]",
		Description: `Kubernetes, etcd, containerd, the CNI plugins and CoreDNS are built from their
Go modules, runc and the toolbox taken from Debian packages, into a folder with
the layout of the official download locations: what an inventory names as
artifacts { source = … }. The first run takes 10 to 20 minutes; after that only
what has changed is built.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "flannel", Usage: "build flannel, too (needs gcc)"},
			&cli.StringFlag{Name: "kubernetes", Usage: "build this `VERSION` of Kubernetes, too, to upgrade from (" + components.PreviousKubernetes + ")"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return errors.New("components: takes no arguments")
			}
			builder := newBuilder(c)
			_, err := builder.Build(c.Context)
			if err == nil && c.Bool("flannel") {
				_, err = builder.BuildFlannel(c.Context)
			}
			if version := c.String("kubernetes"); err == nil && version != "" {
				_, err = builder.BuildKubernetes(c.Context, version)
			}
			return err
		},
	}
}

func kubectlCommand() *cli.Command {
	return &cli.Command{
		Name: "kubectl", Usage: "run kubectl on the operator's side of the lab", ArgsUsage: "ARGUMENTS…",
		UsageText: "lab kubectl ARGUMENTS…\n\n   lab kubectl get pods -A -o wide",
		Description: `The kubectl of the mirror, with the kubeconfig that make lab left in the
operator's directory (kinstall kubeconfig -out …/admin.conf INVENTORY).`,
		SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			l, err := open(c)
			if err != nil {
				return err
			}
			kubectl := filepath.Join(l.MirrorDir(), "dl.k8s.io/release/v"+components.Default().Kubernetes+"/bin/linux/amd64/kubectl")
			if _, err := os.Stat(kubectl); err != nil {
				return fmt.Errorf("no kubectl in the mirror; run lab components first: %w", err)
			}
			return become(l.Exec(c.Context, append([]string{kubectl, "--kubeconfig", filepath.Join(l.OperatorDir(), "admin.conf")}, c.Args().Slice()...)...))
		},
	}
}

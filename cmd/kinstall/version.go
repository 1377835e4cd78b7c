package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/plan/inventory"
)

func (a *app) versionCommand() *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print the version, and the Kubernetes versions it installs",
		Description: "Print the version of kinstall, and the Kubernetes versions it installs.",
		UsageText:   "  kinstall version",
		Action: func(*cli.Context) error {
			return a.print(fmt.Sprintf("kinstall %s (%s, %s/%s)\nKubernetes %s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH,
				strings.Join(inventory.SupportedMinors(), ", ")))
		},
	}
}

// buildVersion is what the linker was told, else what `go install` knows of
// the module, else the commit.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "development version " + s.Value[:min(len(s.Value), 12)]
		}
	}
	return "development version"
}

package plan

import (
	"fmt"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// checkRuntime refuses to swap the runtime under a host's containers: those of
// the old one would be left to nobody.
func checkRuntime(inv *inventory.Inventory, host inventory.Host, o Observation) []Problem {
	if !host.RunsContainers() {
		return nil
	}
	for _, r := range runtimeKinds() {
		_, installed := o.Facts.Host.State.Resources[string(unitID(r.unit))]
		if installed && r.kind != inv.Runtime.Kind {
			return []Problem{{host.Name, fmt.Sprintf("its containers run in %s, and the inventory says runtime %q", r.kind, inv.Runtime.Kind),
				"set the runtime back; to change it, take the host out of the inventory, install it anew, and add it again"}}
		}
	}
	if inv.Runtime.Kind == inventory.RuntimeDocker {
		return checkDockerSource(inv.Runtime, host, o)
	}
	return nil
}

// checkDockerSource refuses a second Docker beside the one that a host has: two
// daemons would share one socket and one place for their data.
func checkDockerSource(rt inventory.Runtime, host inventory.Host, o Observation) []Problem {
	if rt.Version == "" {
		if problem := checkDockerPackage(rt, host, o); problem != nil {
			return []Problem{*problem}
		}
		if _, released := o.Facts.Host.State.Resources[string(resource.NewID(resource.KindArtifact, releaseDocker))]; released {
			return []Problem{{host.Name, fmt.Sprintf("its Docker comes from a release, and the inventory says package %q", rt.Package),
				"set `version` again; to change it, take the host out of the inventory, install it anew, and add it again"}}
		}
		return nil
	}
	var problems []Problem
	for _, name := range dockerPackages() {
		if found, err := o.Facts.Package(name); err == nil && found.Installed {
			problems = append(problems, Problem{host.Name, fmt.Sprintf("has the package %s, and the inventory says Docker %s from its release", name, rt.Version),
				"remove that package first, or leave `version` out and set `package`"})
		}
	}
	return problems
}

// checkDockerPackage finds a package of the distribution that is too old for the
// cri-dockerd that kubelets reach it by, which would find out when it starts.
func checkDockerPackage(rt inventory.Runtime, host inventory.Host, o Observation) *Problem {
	if !host.IsNode() {
		return nil
	}
	version := ""
	if found, err := o.Facts.Package(rt.Package); err == nil && found.Installed {
		version = found.Version
	} else if rt.Package == "docker.io" && o.Facts.Host.OS == "debian" && (o.Facts.Host.OSVersion == "11" || o.Facts.Host.OSVersion == "12") {
		version = "20.10" // what it would install
	}
	// EPOCH:MAJOR.MINOR…: only the major counts.
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	major, needed := 0, 0
	if _, err := fmt.Sscanf(version, "%d.", &major); err != nil {
		return nil // not installed and not known, or of another form
	}
	if _, err := fmt.Sscanf(rt.DockerNeeded(), "%d.", &needed); err != nil || major >= needed {
		return nil
	}
	return &Problem{host.Name, fmt.Sprintf("its package %s is Docker %s, and cri-dockerd %s needs Docker %s or newer", rt.Package, version, rt.CRIDockerdVersion, rt.DockerNeeded()),
		"set `version` in the runtime block to take Docker's own release, or a newer `package`"}
}

// dockerPackages are those known to have a Docker Engine.
func dockerPackages() []string { return []string{"docker-ce", "docker.io"} }

// runtimeQueries ask what only the preflight of runtimes wants to know.
func runtimeQueries(inv *inventory.Inventory, host inventory.Host) []fact.Query {
	if !onDocker(inv, host) || inv.Runtime.Version == "" {
		return nil
	}
	var queries []fact.Query
	for _, name := range dockerPackages() {
		queries = append(queries, fact.Query{Kind: fact.KindPackage, Name: name})
	}
	return queries
}

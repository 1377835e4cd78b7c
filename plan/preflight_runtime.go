package plan

import (
	"fmt"

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

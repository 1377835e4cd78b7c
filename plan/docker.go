package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	dockerConfig = "/etc/docker/daemon.json"

	criDockerdUnit       = "cri-dockerd.service"
	criDockerdSocketUnit = "cri-dockerd.socket"
	criDockerdSocket     = "/run/cri-dockerd.sock"
)

// Parts of daemon.json by what a change of them takes. What stands in neither
// list takes a restart of the daemon, which leaves containers running.
//
// The daemon rereads the first on SIGHUP
// (https://docs.docker.com/reference/cli/dockerd/#configuration-reload-behavior),
// and makes docker0 by the second.
func dockerReloadable() []string {
	return []string{
		"authorization-plugins", "debug", "default-runtime", "features", "insecure-registries", "labels", "live-restore",
		"max-concurrent-downloads", "max-concurrent-uploads", "registry-mirrors", "runtimes", "shutdown-timeout",
	}
}

func dockerNetworkSettings() []string {
	return []string{
		"bip", "bridge", "default-gateway", "default-gateway-v6", "fixed-cidr-v6", "icc", "ip", "ip-masq", "ip6tables", "iptables",
		"ipv6", "mtu", "userland-proxy",
	}
}

// docker adds Docker Engine from the distribution's package, or from its own
// release.
//
// On hosts without Kubernetes docker0 is the host's part of the pod network:
// its first address is docker0's own. Pods get theirs by CNI, so on nodes there
// is no docker0. Docker is to masquerade nothing: what leaves the pod network
// is masqueraded by the rules beside the routes, which leave traffic between
// hosts alone.
//
// The configuration goes before a package, which starts the daemon as it is
// installed: docker0 never has another address than the planned one.
func (c *compiler) docker(h inventory.Host) StepID {
	inv := c.inventory
	rt := inv.Runtime
	own := map[string]any{
		"exec-opts":    []any{"native.cgroupdriver=" + rt.CgroupDriver},
		"ip-masq":      inv.Network.Kind == inventory.NetworkExternal,
		"live-restore": rt.LiveRestore,
		"mtu":          inv.Network.PodMTU(),
	}
	switch driver, chosen := rt.Settings["log-driver"]; {
	case !chosen:
		own["log-driver"] = "json-file"
		fallthrough
	case driver == "json-file", driver == "local":
		// Other drivers refuse these.
		own["log-opts"] = map[string]any{"max-size": rt.LogMaxSize, "max-file": strconv.Itoa(rt.LogMaxFile)}
	}
	bridge := c.dockerBridge(h)
	switch {
	case h.IsNode():
		own["bridge"] = "none"
	case bridge != "":
		own["bip"] = bridge
	}
	if hub := rt.Registry(inventory.DockerHub); hub != nil && len(hub.Mirrors) > 0 {
		own["registry-mirrors"] = hub.Mirrors
	}
	settings := merge(own, rt.Settings)
	config := c.content(h.Name, dockerConfig, formatJSON(settings))
	for _, registry := range rt.Registries {
		if registry.CAFile != "" {
			// The daemon looks there at every pull.
			c.content(h.Name, "/etc/docker/certs.d/"+registry.Name+"/ca.crt", c.operatorFile(registry.CAFile))
		}
	}
	inputs := append([]resource.Input{config}, c.proxy(h, DockerUnit)...)
	before := [][]StepID{inputSteps(h.Name, inputs)}
	for _, m := range c.modules(h) {
		before = append(before, step(h.Name, resource.Module{Name: m}))
	}
	before = append(before, c.sysctlSteps(h))
	var after [][]StepID
	if rt.Version != "" {
		after = before
		inputs = append(inputs, c.artifact(h.Name, releaseDocker), c.unitFile(h.Name, DockerUnit, nil))
	} else {
		pkg := resource.Package{Name: rt.Package}
		c.add(h.Name, pkg, before...)
		inputs = append(inputs, pkg)
	}

	network := resource.NewID("part", dockerConfig+"#network")
	unit := c.serving(h.Name,
		resource.Unit{
			Name:   DockerUnit,
			Inputs: inputs,
			Parts: map[resource.ID]string{
				network: partDigest(settings, func(key string) bool { return slices.Contains(dockerNetworkSettings(), key) }),
				resource.NewID("part", dockerConfig+"#restart"): partDigest(settings, func(key string) bool {
					return !slices.Contains(dockerReloadable(), key)
				}),
			},
			ReloadOn: []resource.ID{config.ID()},
			Docker:   &resource.Docker{Bridge: bridge, Network: network},
		},
		c.runtimeRollout(h, DockerUnit, resource.Check{Kind: resource.CheckDocker, Host: h.Name, Text: "Docker answers"}), append(after, inputSteps(h.Name, inputs))...)
	if h.IsNode() {
		c.criDockerd(h, unit)
	} else {
		c.registryCredentials(h, "/root/.docker/config.json")
	}
	return unit
}

// dockerBridge is docker0's address with its prefix length, "" where there is
// no docker0 of kinstall's.
func (c *compiler) dockerBridge(h inventory.Host) string {
	subnet, ok := c.subnets[h.Name]
	if h.IsNode() || !ok || !subnet.Addr().Is4() {
		return ""
	}
	return bridgeAddress(subnet).String()
}

// criDockerd adds the translator between kubelets and Docker.
func (c *compiler) criDockerd(h inventory.Host, docker StepID) {
	socketFile := c.unitFile(h.Name, criDockerdSocketUnit, map[string]any{"Socket": criDockerdSocket})
	socketInputs := []resource.Input{socketFile}
	socket := c.serving(h.Name, resource.Unit{Name: criDockerdSocketUnit, Inputs: socketInputs}, c.runtimeRollout(h, criDockerdSocketUnit), inputSteps(h.Name, socketInputs))
	inputs := []resource.Input{
		c.artifact(h.Name, releaseCRIDockerd),
		c.unitFile(h.Name, criDockerdUnit, map[string]any{"SandboxImage": c.inventory.Runtime.SandboxImage}),
	}
	cni := c.artifact(h.Name, releaseCNI)
	after := [][]StepID{inputSteps(h.Name, inputs), {docker, socket}, step(h.Name, cni)}
	if onBridgedCNI(c.inventory, h) {
		after = append(after, step(h.Name, resource.Directory{Path: "/etc/cni/net.d"}))
	}
	c.serving(h.Name, resource.Unit{Name: criDockerdUnit, Inputs: inputs}, c.runtimeRollout(h, criDockerdUnit), after...)
}

// formatJSON writes settings sorted and indented, as people expect daemon.json.
func formatJSON(settings map[string]any) []byte {
	text, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("plan: settings are not JSON: %v", err)) // decoded from HCL, so they are
	}
	return append(text, '\n')
}

// partDigest is one digest over the settings of certain names.
func partDigest(settings map[string]any, has func(key string) bool) string {
	part := map[string]any{}
	for key, value := range settings {
		if has(key) {
			part[key] = value
		}
	}
	return resource.SHA256(formatJSON(part))
}

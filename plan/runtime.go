package plan

import (
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// The units runtimes run as.
const (
	containerdUnit = "containerd.service"
	// DockerUnit is the unit of Docker's daemon.
	DockerUnit = "docker.service"
)

// runtimeKind is what one kind of container runtime is told from the others by,
// besides its attributes in the inventory.
type runtimeKind struct {
	kind string
	// add adds the runtime to a host, and returns the step that has it ready.
	add func(*compiler, inventory.Host) StepID
	// unit is the runtime's own; criUnit and criSocket are those by which kubelets
	// reach it.
	unit, criUnit, criSocket string
	// forward is the chain of the table filter where packets of pods are let
	// through.
	forward string
}

// runtimeKinds has one line for each of inventory.RuntimeKinds.
func runtimeKinds() []runtimeKind {
	return []runtimeKind{
		{
			kind: inventory.RuntimeContainerd, add: (*compiler).containerd, unit: containerdUnit,
			criUnit: containerdUnit, criSocket: "/run/containerd/containerd.sock", forward: "FORWARD",
		},
		{
			kind: inventory.RuntimeDocker, add: (*compiler).docker, unit: DockerUnit,
			criUnit: criDockerdUnit, criSocket: criDockerdSocket, forward: dockerUserChain,
		},
	}
}

// runtimeOf is the kind of an inventory's runtime.
func runtimeOf(inv *inventory.Inventory) runtimeKind {
	for _, r := range runtimeKinds() {
		if r.kind == inv.Runtime.Kind {
			return r
		}
	}
	return runtimeKind{}
}

// runtime adds the container runtime of a host, and the images its own pods
// are made of, imported from archives so that no node needs a registry.
func (c *compiler) runtime(h inventory.Host) {
	if !h.RunsContainers() {
		return
	}
	unit := runtimeOf(c.inventory).add(c, h)
	for _, name := range c.images(h) {
		c.add(h.Name, c.image(name), []StepID{unit})
	}
	if h.IsNode() {
		c.registryCredentials(h, "/var/lib/kubelet/config.json")
	}
}

// containerd adds containerd and runc.
func (c *compiler) containerd(h inventory.Host) StepID {
	rt := c.inventory.Runtime
	config := c.templates.Render("etc/containerd/config.toml", map[string]any{
		"RegistryConfig": len(rt.Registries) > 0,
		"SandboxImage":   rt.SandboxImage,
		"SystemdCgroup":  rt.CgroupDriver != inventory.CgroupFS,
	})
	inputs := []resource.Input{
		c.artifact(h.Name, releaseContainerd),
		c.artifact(h.Name, releaseRunc),
		c.content(h.Name, "/etc/containerd/config.toml", c.templates.merge("containerd", config, rt.Settings, mergedTOML)),
		c.unitFile(h.Name, containerdUnit, nil),
	}
	inputs = append(inputs, c.proxy(h, containerdUnit)...)
	// CNI plugins are started anew for every pod: a change restarts nothing.
	c.artifact(h.Name, releaseCNI)
	for _, registry := range rt.Registries {
		c.containerdRegistry(h, registry)
	}
	// containerd makes /etc/cni/net.d itself, with another mode, if it is not there.
	after := [][]StepID{inputSteps(h.Name, inputs), step(h.Name, resource.Module{Name: "overlay"})}
	if onBridgedCNI(c.inventory, h) {
		after = append(after, step(h.Name, resource.Directory{Path: "/etc/cni/net.d"}))
	}
	return c.serving(h.Name, resource.Unit{Name: containerdUnit, Inputs: inputs},
		c.runtimeRollout(h, containerdUnit, resource.Check{Kind: resource.CheckContainerd, Host: h.Name, Text: "containerd answers"}), after...)
}

// containerdRegistry tells containerd where a registry's images are to be had.
// It reads that anew at every pull.
// https://github.com/containerd/containerd/blob/main/docs/hosts.md
func (c *compiler) containerdRegistry(h inventory.Host, r *inventory.Registry) {
	if len(r.Mirrors) == 0 && r.CAFile == "" {
		return // only credentials, which are the kubelet's business
	}
	dir := "/etc/containerd/certs.d/" + r.Name
	authority := ""
	if r.CAFile != "" {
		authority = dir + "/ca.crt"
		c.content(h.Name, authority, c.operatorFile(r.CAFile))
	}
	type mirror struct {
		URL          string
		OverridePath bool // its path is the API's own, so that /v2 is not to be added
	}
	var mirrors []mirror
	for _, m := range r.Mirrors {
		_, rest, _ := strings.Cut(m, "://")
		mirrors = append(mirrors, mirror{m, strings.Contains(strings.TrimRight(rest, "/"), "/")})
	}
	server := r.Name
	if r.Name == inventory.DockerHub {
		server = "registry-1.docker.io" // where it really is
	}
	c.content(h.Name, dir+"/hosts.toml", c.templates.Render("etc/containerd/certs.d/hosts.toml", map[string]any{
		"Authority": authority, "Mirrors": mirrors, "Server": "https://" + server,
	}))
}

// proxy adds a drop-in that tells a runtime's unit by which proxy it reaches
// registries; nothing where there is none. What lies inside the cluster is
// dialled directly.
func (c *compiler) proxy(h inventory.Host, unit string) []resource.Input {
	inv := c.inventory
	p := inv.Runtime.Proxy
	if p == nil {
		return nil
	}
	direct := append([]string{"localhost", "127.0.0.1"}, c.podNetworks()...)
	if inv.Kubernetes() {
		direct = append(direct, c.serviceNetworks()...)
		direct = append(direct, ".svc", "."+inv.Cluster.Domain, inv.Cluster.Endpoint.Host)
	}
	return []resource.Input{c.content(h.Name, "/etc/systemd/system/"+unit+".d/kinstall-proxy.conf",
		c.templates.Render("etc/systemd/system/proxy.conf", map[string]any{
			"HTTP": p.HTTP, "HTTPS": p.HTTPS, "NoProxy": strings.Join(append(direct, p.NoProxy...), ","),
		}))}
}

// registryCredentials adds what a client of registries logs in with, in
// Docker's own form, which the kubelet reads as well
// (https://kubernetes.io/docs/concepts/containers/images/#config-json).
func (c *compiler) registryCredentials(h inventory.Host, path string) {
	content := c.credentialsOfRegistries()
	if content == nil {
		return
	}
	f := c.templates.file(path, content)
	f.Sensitive = true
	c.add(h.Name, f, c.parents(h.Name, path))
}

// engine is the step that has a host's runtime ready for those who run
// containers: kubelets reach Docker through cri-dockerd.
func (c *compiler) engine(h inventory.Host) []StepID {
	runtime := runtimeOf(c.inventory)
	if h.IsNode() {
		return step(h.Name, resource.Unit{Name: runtime.criUnit})
	}
	return step(h.Name, resource.Unit{Name: runtime.unit})
}

// images are the names of the releases a host has images of.
func (c *compiler) images(h inventory.Host) []string {
	var names []string
	if h.Has(inventory.RoleMaster) {
		names = append(names, releaseAPIServer, releaseControllerManager, releaseScheduler)
	}
	if h.IsNode() {
		names = append(names, releasePause)
		if c.inventory.DNS.Kind == dnsCoreDNS {
			names = append(names, releaseCoreDNS)
		}
		if flannelIn(c.inventory, inventory.StoreKubernetes) {
			names = append(names, releaseFlannelImage)
		}
	}
	for _, r := range c.own {
		names = append(names, r.Name)
	}
	return names
}

func (c *compiler) image(name string) resource.Image {
	r := c.releases[name]
	return resource.Image{
		Reference: r.Image, Location: r.Location, SHA256: c.digest(r),
		Docker: c.inventory.Runtime.Kind == inventory.RuntimeDocker,
	}
}

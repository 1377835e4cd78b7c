package plan

import (
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// cgroupfs is the cgroup driver that is not the default.
const cgroupfs = "cgroupfs"

// runtime adds the container runtime of a node: containerd, runc and the CNI
// plugins, and the images the node's own pods are made of, imported from
// archives so that no node needs a registry.
func (c *compiler) runtime(h inventory.Host) {
	if !h.IsNode() {
		return
	}
	inv := c.inventory
	// Kubelet and runtime must agree on who makes cgroups; the kubelet's
	// settings decide.
	driver, _ := inv.Kubelet.Settings["cgroupDriver"].(string)
	config := c.templates.Render("etc/containerd/config.toml", map[string]any{
		"SandboxImage":  inv.Runtime.SandboxImage,
		"SystemdCgroup": driver != cgroupfs,
	})
	inputs := []resource.Input{
		c.artifact(h.Name, releaseContainerd),
		c.artifact(h.Name, releaseRunc),
		c.content(h.Name, "/etc/containerd/config.toml", mergedTOML(config, inv.Runtime.Settings)),
		c.unitFile(h.Name, "containerd.service", nil),
	}
	// CNI plugins are started anew for every pod: a change restarts nothing.
	c.artifact(h.Name, releaseCNI)
	// containerd makes /etc/cni/net.d itself, with another mode, if it is not there.
	after := [][]StepID{inputSteps(h.Name, inputs), step(h.Name, resource.Module{Name: "overlay"})}
	if onBridgedNodes(inv, h) {
		after = append(after, step(h.Name, resource.Directory{Path: "/etc/cni/net.d"}))
	}
	unit := c.add(h.Name, resource.Unit{Name: "containerd.service", Inputs: inputs}, after...)
	for _, name := range c.images(h) {
		c.add(h.Name, c.image(name), []StepID{unit})
	}
}

// containerd is the step that has it running.
func containerd(h inventory.Host) []StepID {
	return step(h.Name, resource.Unit{Name: "containerd.service"})
}

// images are the names of the releases a node has images of.
func (c *compiler) images(h inventory.Host) []string {
	var names []string
	if h.Has(inventory.RoleMaster) {
		names = append(names, releaseAPIServer, releaseControllerManager, releaseScheduler)
	}
	names = append(names, releasePause)
	if c.inventory.DNS.Kind == dnsCoreDNS {
		names = append(names, releaseCoreDNS)
	}
	if flannelIn(c.inventory, inventory.StoreKubernetes) {
		names = append(names, releaseFlannelImage)
	}
	for _, r := range ownImages(c.inventory) {
		names = append(names, r.Name)
	}
	return names
}

func (c *compiler) image(name string) resource.Image {
	r := c.releases[name]
	return resource.Image{Reference: r.Image, Location: r.Location, SHA256: c.digest(r)}
}

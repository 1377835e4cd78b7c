package plan

import (
	"time"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/hardening"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	// KubeletUnit is the unit of a node's agent.
	KubeletUnit       = "kubelet.service"
	kubeletConfig     = "/var/lib/kubelet/config.yaml"
	kubeletKubeconfig = "/etc/kubernetes/kubelet.conf"
)

// schedules are what the states of hosts say of their nodes.
var schedules = map[string]resource.Schedule{
	inventory.StateActive:   resource.Active,
	inventory.StateCordoned: resource.Cordoned,
	inventory.StateDrained:  resource.Drained,
}

// kubelet adds a node's agent and what the API says of the node.
//
// A master's kubelet talks to the API server of its own host and starts as
// early as it can, since it is what runs that API server. A worker's goes
// through the load balancer and starts when that answers, so that it registers at
// its first attempt.
//
// Taints stand in the kubelet's configuration, too, so that a new node has them
// before the first pod could be placed on it. A kubelet reads them only when it
// registers; what changes later goes through the API.
func (c *compiler) kubelet(h inventory.Host) {
	if !h.IsNode() {
		return
	}
	inv := c.inventory
	master := h.Has(inventory.RoleMaster)
	staticPods := ""
	if master {
		staticPods = ManifestDirectory
	}
	dns, _ := nthAddress(inv.Cluster.ServiceCIDR, dnsIndex) // checked
	rotated := inv.Kubelet.Certificates == inventory.CertificatesRotated
	requested := inv.Kubelet.ServingCertificates == inventory.CertificatesRequested
	config := c.templates.Render(kubeletConfig[1:], map[string]any{
		"CgroupDriver":  inv.Runtime.CgroupDriver,
		"ClientCA":      c.clientCA(),
		"Requested":     requested,
		"Certificate":   kubeletCert,
		"Key":           keyFile(kubeletCert),
		"DNSAddress":    dns.String(),
		"Domain":        inv.Cluster.Domain,
		"FailSwapOn":    inv.Preparation.Swap != "keep",
		"Rotate":        rotated,
		"RuntimeSocket": runtimeOf(inv).criSocket,
		"StaticPodPath": staticPods,
		"Taints":        h.Taints,
	})
	args := map[string]string{
		"config":            kubeletConfig,
		"hostname-override": h.Name,
		"kubeconfig":        kubeletKubeconfig,
		"node-ip":           h.Address.String(),
	}
	if inv.DualStack() {
		args["node-ip"] += "," + h.AddressV6.String()
	}
	copied := ""
	if joins(inv, h) {
		copied = copiedKubeconfig
		args["bootstrap-kubeconfig"], args["kubeconfig"] = bootstrapConfig, copiedKubeconfig
	}
	client := kubeletClientCert
	if rotated {
		client = kubeletClientPair
	}
	inputs := append([]resource.Input{
		c.artifact(h.Name, releaseKubelet),
		c.content(h.Name, kubeletConfig, c.templates.merge("kubelet", config, inv.Kubelet.Settings, c.hardenedKubelet)),
		c.kubeconfig(h, kubeletKubeconfig, c.server(h), "system:node:"+h.Name, client),
		c.unitFile(h.Name, KubeletUnit, map[string]any{
			"Args": settings(args, inv.Kubelet.Args), "Runtime": runtimeOf(inv).criUnit, "Kubeconfig": kubeletKubeconfig, "Copied": copied,
		}),
	}, c.credentials(h, c.apiAuthorityFiles()...)...)
	if !requested {
		inputs = append(inputs, c.credential(h, kubeletCert))
	}
	if !rotated {
		inputs = append(inputs, c.credential(h, kubeletClientCert))
	}

	after := [][]StepID{inputSteps(h.Name, inputs), c.engine(h), step(h.Name, c.names), step(h.Name, c.image(releasePause)),
		step(h.Name, resource.Package{Name: "iptables"})}
	after = append(after, c.sysctlSteps(h))
	if inv.DualStack() && inv.Network.Bridged() {
		after = append(after, step(h.Name, resource.Sysctl{Key: forwardingV6}))
	}
	if inv.Preparation.Swap == "off" {
		after = append(after, step(h.Name, resource.SwapOff{}))
	}
	if inv.Preparation.SetHostname {
		after = append(after, step(h.Name, resource.Hostname{Name: h.Name}))
	}
	if inv.Network.Bridged() {
		after = append(after, step(h.Name, resource.File{Path: cniConfig}), step(h.Name, resource.Artifact{Name: releaseCNI}))
	}
	if onFlannelEtcd(inv, h) {
		after = append(after, step(h.Name, resource.Unit{Name: flannelUnit}))
	}
	if onOpenVSwitch(inv, h) {
		after = append(after, step(h.Name, resource.Unit{Name: switchUnit}))
	}
	if master {
		after = append(after, step(h.Name, resource.Directory{Path: ManifestDirectory}))
	} else {
		after = append(after, c.servedTo(h))
	}
	if requested {
		after = append(after, c.servingCertificate(h))
	}
	if rotated {
		after = append(after, c.firstCertificate(h, c.rotatedCertificate(h, c.server(h)), after))
	}
	c.serving(h.Name, resource.Unit{Name: KubeletUnit, Inputs: inputs}, c.kubeletRollout(h), after...)

	node := resource.Node{Name: h.Name, Labels: h.Labels, PodCIDRs: []string{c.subnets[h.Name].String()}, Schedule: schedules[h.State]}
	if subnet, ok := c.subnetsV6[h.Name]; ok {
		node.PodCIDRs = append(node.PodCIDRs, subnet.String())
		if flannelIn(inv, inventory.StoreKubernetes) {
			node.Annotations = map[string]string{flannelAddressV6: h.AddressV6.String()}
		}
	}
	for _, t := range h.Taints {
		node.Taints = append(node.Taints, fact.Taint{Key: t.Key, Value: t.Value, Effect: t.Effect})
	}
	c.add(Cluster, node, step(h.Name, resource.Unit{Name: KubeletUnit}), c.served())
}

// hardenedKubelet merges what the table of hardening sets, and the user's settings
// over it.
func (c *compiler) hardenedKubelet(document []byte, user map[string]any) []byte {
	cluster := c.inventory.Cluster
	return c.withFeatureGates(mergedYAML(document, hardening.KubeletSettings(cluster.Hardening, cluster.Version)), user)
}

// bootstrapConfig is the kubeconfig with which a kubelet asks for its first
// certificate, in a directory that is no more after a start of the host.
const bootstrapConfig = "/run/kinstall/bootstrap-kubelet.conf"

// copiedKubeconfig is what a kubelet is given that may have to ask for its first
// certificate: it overwrites a kubeconfig whose certificate is not there, and
// kinstall's own stays as it is. The unit copies that before each start.
const copiedKubeconfig = "/run/kinstall/kubelet.conf"

// joins reports whether a kubelet asks the cluster for its first certificate.
// There is no cluster before the first master.
func joins(inv *inventory.Inventory, h inventory.Host) bool {
	return inv.Kubelet.Certificates == inventory.CertificatesRotated && !h.Has(inventory.RoleMaster)
}

// rotatedCertificate is the certificate that a kubelet renews itself.
func (c *compiler) rotatedCertificate(h inventory.Host, server string) resource.RotatedCertificate {
	planned := c.certificate(kubeletClientRow(), h)
	wanted := planned
	wanted.Path, wanted.KeyPath = kubeletClientPair, kubeletClientPair
	planned.RenewBefore = time.Hour // near its end, the kubelet renews it itself
	rotated := resource.RotatedCertificate{Wanted: wanted, Takes: planned, Unit: KubeletUnit}
	if joins(c.inventory, h) {
		rotated.Join = &resource.Join{Server: "https://" + server, Authority: caFile, File: bootstrapConfig}
	}
	return rotated
}

// firstCertificate adds the certificate that a kubelet renews itself, and returns
// what its unit waits for. A token is good for minutes: it is made when the unit
// could be started.
func (c *compiler) firstCertificate(h inventory.Host, rotated resource.RotatedCertificate, ready [][]StepID) []StepID {
	after := [][]StepID{step(Operator, resource.Authority{Name: AuthorityKubernetes}), c.parents(h.Name, kubeletClientPair)}
	if rotated.Join != nil {
		after = append(after, ready...)
		for _, o := range c.certificateRequests() {
			after = append(after, step(Cluster, o.resource()))
		}
		c.add(h.Name, resource.Joined{Certificate: rotated, File: rotated.Join.File}, step(h.Name, resource.Unit{Name: KubeletUnit}))
	}
	return []StepID{c.add(h.Name, rotated, after...)}
}

// servingCertificate adds the certificate that a kubelet asks for to serve with, and
// returns what its unit waits for.
func (c *compiler) servingCertificate(h inventory.Host) []StepID {
	planned := c.certificate(kubeletServingRow(), h)
	planned.RenewBefore = time.Hour
	wanted := planned
	wanted.Path, wanted.KeyPath = kubeletServingPair, kubeletServingPair
	requested := resource.RotatedCertificate{Wanted: wanted, Takes: planned, Unit: KubeletUnit, Requested: true}
	c.add(h.Name, resource.ServingCertificate{Certificate: requested}, step(h.Name, resource.Unit{Name: KubeletUnit}), c.servedTo(h))
	return []StepID{c.add(h.Name, requested, step(Operator, resource.Authority{Name: AuthorityKubernetes}), c.parents(h.Name, kubeletServingPair))}
}

package plan

import (
	"bytes"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/resource"
)

// dnsCoreDNS is the name service kinstall installs.
const dnsCoreDNS = "coredns"

// dnsIndex is the place of the name service in the service network, by
// Kubernetes' own custom.
const dnsIndex = 10

// noUpstreams is the one upstream that means none.
const noUpstreams = "none"

// objects are the API objects of a template, in its order.
func (c *compiler) objects(name string, data any) []resource.Object {
	var objects []resource.Object
	for _, document := range bytes.Split(c.templates.Render(name, data), []byte("\n---\n")) {
		manifest, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			panic(fmt.Sprintf("plan: template %s is not YAML: %v", name, err))
		}
		var header struct {
			APIVersion string
			Kind       string
			Metadata   struct{ Name, Namespace string }
		}
		if err := yaml.Unmarshal(document, &header); err != nil {
			panic(fmt.Sprintf("plan: template %s: %v", name, err))
		}
		text, err := yaml.JSONToYAML(manifest)
		if err != nil {
			panic(fmt.Sprintf("plan: template %s: %v", name, err))
		}
		objects = append(objects, resource.Object{
			APIVersion: header.APIVersion, Kind: header.Kind,
			Namespace: header.Metadata.Namespace, Name: header.Metadata.Name,
			Manifest: manifest, YAML: string(text),
		})
	}
	return objects
}

// rbac adds access rules that Kubernetes does not come with.
func (c *compiler) rbac() {
	for _, o := range c.objects("objects/apiserver-kubelet-client.yaml", map[string]any{"User": userKubeletClient}) {
		c.add(Cluster, o, step(Cluster, c.endpointGate()))
	}
}

// dns adds the cluster's name service.
func (c *compiler) dns() {
	inv := c.inventory
	if inv.DNS.Kind != dnsCoreDNS {
		return
	}
	forward := strings.Join(inv.DNS.Upstreams, " ")
	switch forward {
	case "":
		forward = "/etc/resolv.conf" // the kubelet's resolvConf, in the pod
	case noUpstreams:
		forward = ""
	}
	address, _ := nthAddress(inv.Cluster.ServiceCIDR, dnsIndex) // checked
	addressV6 := ""
	if inv.DualStack() {
		second, _ := nthAddress(inv.Cluster.ServiceCIDRv6, dnsIndex) // checked
		addressV6 = second.String()
	}
	ready := step(Cluster, c.endpointGate())
	var before []StepID
	for _, h := range inv.Nodes() {
		before = append(before, step(h.Name, c.image(releaseCoreDNS))...)
	}
	for _, o := range c.objects("objects/coredns.yaml", map[string]any{
		"Address":   address.String(),
		"AddressV6": addressV6,
		"Domain":    inv.Cluster.Domain,
		"Forward":   forward,
		"Image":     c.releases[releaseCoreDNS].Image,
		"Replicas":  min(2, len(inv.Nodes())),
	}) {
		// A cluster of one family refuses it until its API servers know of two.
		o.Conditional = o.Kind == "Service" && inv.DualStack()
		after := ready
		if o.Kind == "Deployment" {
			// The last: its pods need all the others, and their image where they land.
			after = append(before, ready...)
		}
		id := c.add(Cluster, o, after)
		before = append(before, id)
	}
}

package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// dnsCoreDNS is the name service kinstall installs.
const dnsCoreDNS = "coredns"

// dnsIndex is the place of the name service in the service network, by
// Kubernetes' own custom.
const dnsIndex = 10

// noUpstreams is the one upstream that means none.
const noUpstreams = "none"

// object is one of the Kubernetes API as JSON-like data. Values of the inventory
// enter it as data, never as a part of its text, so that none can become a key
// or an object of its own.
type object map[string]any

// objects are those of a file of YAML documents, in its order.
func (c *compiler) objects(name string) []object {
	var objects []object
	for _, document := range bytes.Split(c.templates.Render(name, nil), []byte("\n---\n")) {
		var o object
		if err := yaml.UnmarshalStrict(document, &o); err != nil {
			panic(fmt.Sprintf("plan: template %s: %v", name, err))
		}
		objects = append(objects, o)
	}
	return objects
}

func (o object) kind() string {
	kind, _ := o["kind"].(string)
	return kind
}

// set puts a value in at a path of keys (string) and indices (int). What lies
// above the last step must be there, but for maps, which are made.
func (o object) set(value any, path ...any) {
	at := any(map[string]any(o))
	for i, step := range path {
		last := i == len(path)-1
		switch step := step.(type) {
		case string:
			m, ok := at.(map[string]any)
			if !ok {
				panic(fmt.Sprintf("plan: %s has no object at %v", o.kind(), path[:i]))
			}
			if last {
				m[step] = value
				return
			}
			if m[step] == nil {
				m[step] = map[string]any{}
			}
			at = m[step]
		case int:
			list, ok := at.([]any)
			if !ok || step >= len(list) {
				panic(fmt.Sprintf("plan: %s has no list with an element %d at %v", o.kind(), step, path[:i]))
			}
			if last {
				list[step] = value
				return
			}
			at = list[step]
		}
	}
}

// at returns what stands at a path of keys and indices, nil if nothing does.
func (o object) at(path ...any) any {
	at := any(map[string]any(o))
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := at.(map[string]any)
			at = m[step]
		case int:
			list, _ := at.([]any)
			if step >= len(list) {
				return nil
			}
			at = list[step]
		}
	}
	return at
}

// text is the string at a path, "" if there is none.
func (o object) text(path ...any) string {
	s, _ := o.at(path...).(string)
	return s
}

// resource marshals the object.
func (o object) resource() resource.Object {
	manifest := must(json.Marshal(o))
	return resource.Object{
		APIVersion: o.text("apiVersion"), Kind: o.kind(),
		Namespace: o.text("metadata", "namespace"), Name: o.text("metadata", "name"),
		Manifest: manifest, YAML: string(must(yaml.JSONToYAML(manifest))),
	}
}

// rbac adds access rules that Kubernetes does not come with.
func (c *compiler) rbac() {
	for _, o := range c.objects("objects/apiserver-kubelet-client.yaml") {
		o.set(userKubeletClient, "subjects", 0, "name")
		c.add(Cluster, o.resource(), c.served())
	}
	for _, o := range c.certificateRequests() {
		c.add(Cluster, o.resource(), c.served())
	}
}

// certificateRequests are objects that let kubelets get certificates from the
// cluster.
func (c *compiler) certificateRequests() []object {
	if c.inventory.Kubelet.Certificates != inventory.CertificatesRotated {
		return nil
	}
	all := c.objects("objects/kubelet-certificates.yaml")
	for _, o := range all {
		group := resource.JoinGroup
		if o.text("metadata", "name") == "kinstall:nodes-renew-certificates" {
			group = groupNodes
		}
		o.set(group, "subjects", 0, "name")
	}
	return all
}

// dns adds the cluster's name service.
func (c *compiler) dns() {
	inv := c.inventory
	if inv.DNS.Kind != dnsCoreDNS {
		return
	}
	forward := inv.DNS.Upstreams
	switch {
	case len(forward) == 0:
		forward = []string{"/etc/resolv.conf"} // the kubelet's resolvConf, in the pod
	case slices.Equal(forward, []string{noUpstreams}):
		forward = nil
	}
	corefile := c.templates.Render("objects/coredns.Corefile", map[string]any{"Domain": inv.Cluster.Domain, "Forward": forward})
	address, _ := nthAddress(inv.Cluster.ServiceCIDR, dnsIndex) // checked
	ready := c.served()
	var before []StepID
	for _, h := range inv.Nodes() {
		before = append(before, step(h.Name, c.image(releaseCoreDNS))...)
	}
	for _, o := range c.objects("objects/coredns.yaml") {
		after := ready
		conditional := false
		switch o.kind() {
		case "ConfigMap":
			o.set(strings.TrimSuffix(string(corefile), "\n"), "data", "Corefile")
		case "Service":
			o.set(address.String(), "spec", "clusterIP")
			if inv.DualStack() {
				second, _ := nthAddress(inv.Cluster.ServiceCIDRv6, dnsIndex) // checked
				o.set([]any{address.String(), second.String()}, "spec", "clusterIPs")
				o.set([]any{"IPv4", "IPv6"}, "spec", "ipFamilies")
				o.set("PreferDualStack", "spec", "ipFamilyPolicy")
				// A cluster of one family refuses it until its API servers know of two.
				conditional = true
			}
		case "Deployment":
			o.set(min(2, len(inv.Nodes())), "spec", "replicas")
			o.set(c.releases[releaseCoreDNS].Image, "spec", "template", "spec", "containers", 0, "image")
			// The last: its pods need all the others, and their image where they land.
			after = append(before, ready...)
		}
		r := o.resource()
		r.Conditional = conditional
		before = append(before, c.add(Cluster, r, after))
	}
}

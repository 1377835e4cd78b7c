package plan

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	// flannelPrefix is flannel's own default place in etcd.
	flannelPrefix = "/coreos.com/network/"

	flannelConfig     = "/etc/flannel/net-conf.json"
	flannelSubnetFile = "/run/flannel/subnet.env"
	flannelEtcdCert   = pkiDir + "/etcd/flannel.crt"
	flannelUnit       = "flanneld.service"
	// flannelLink is the interface of the VXLAN, and flannelLinkV6 that of the one
	// which carries IPv6; they outlive flannel.
	flannelLink   = "flannel.1"
	flannelLinkV6 = "flannel-v6.1"
	// flannelOverhead is what flannel takes off the MTU it is given, whatever the
	// family of the VXLAN.
	flannelOverhead = 50
	// flannelAddressV6 is the annotation of a node by which flannel knows the
	// address other nodes send IPv6 to: a pod's environment has the first of a
	// node's addresses by itself, but not the second.
	flannelAddressV6 = "flannel.alpha.coreos.com/node-public-ipv6"

	flannelDaemonSet resource.ID = "object:apps/v1/DaemonSet/kube-system/flannel"
)

// onFlannelEtcd are the hosts whose flannel keeps its subnets in etcd.
func onFlannelEtcd(inv *inventory.Inventory, h inventory.Host) bool {
	return h.RunsContainers() && flannelIn(inv, inventory.StoreEtcd)
}

func flannelIn(inv *inventory.Inventory, store string) bool {
	return inv.Network.Kind == inventory.NetworkFlannel && inv.Network.Store == store
}

// flannelNetwork is flannel's network configuration. flannel leaves out the
// first subnet unless it is told otherwise; the address plan does not.
func (c *compiler) flannelNetwork() []byte {
	inv := c.inventory
	type backend struct {
		Type string
		MTU  int `json:",omitempty"`
	}
	config := struct {
		Network       string
		SubnetLen     int    `json:",omitempty"`
		SubnetMin     string `json:",omitempty"`
		EnableIPv6    bool   `json:",omitempty"`
		IPv6Network   string `json:",omitempty"`
		IPv6SubnetLen int    `json:",omitempty"`
		IPv6SubnetMin string `json:",omitempty"`
		Backend       backend
	}{Network: inv.Cluster.PodCIDR.String(), Backend: backend{Type: inv.Network.Backend}}
	etcd := inv.Network.Store == inventory.StoreEtcd
	if etcd {
		config.SubnetLen = inv.Cluster.PodSubnetSize
		config.SubnetMin = inv.Cluster.PodCIDR.Masked().Addr().String()
	}
	if inv.DualStack() {
		config.EnableIPv6 = true
		config.IPv6Network = inv.Cluster.PodCIDRv6.String()
		if etcd {
			config.IPv6SubnetLen = inv.Cluster.PodSubnetSizeV6
			config.IPv6SubnetMin = inv.Cluster.PodCIDRv6.Masked().Addr().String()
		}
		if inv.Network.Backend == inventory.FlannelVXLAN && inv.Network.MTU > 0 {
			// Its interfaces then have the pods' MTU: left to itself, flannel forgets
			// that IPv6's own header is larger.
			config.Backend.MTU = inv.Network.MTU + flannelOverhead
		}
	}
	return must(json.Marshal(config))
}

// flannel adds what a host needs of flannel.
//
// flannel is told to leave iptables alone: what it would set there are
// kinstall's own rules.
func (c *compiler) flannel(h inventory.Host) {
	for _, pods := range c.podNetworks() {
		c.add(h.Name, resource.DynamicRoutes{Network: pods})
	}
	if c.inventory.Network.Backend == inventory.FlannelVXLAN {
		c.add(h.Name, resource.Link{Name: flannelLink})
		if c.inventory.DualStack() {
			c.add(h.Name, resource.Link{Name: flannelLinkV6})
		}
	}
	if !onFlannelEtcd(c.inventory, h) {
		return
	}
	config := c.templates.once("flannel's network", func() []byte { return append(c.flannelNetwork(), '\n') })
	servers := string(c.templates.once("etcd's servers", func() []byte { return []byte(c.etcdServers()) }))
	args := map[string]string{
		"etcd-cafile":            etcdCAFile,
		"etcd-certfile":          flannelEtcdCert,
		"etcd-endpoints":         servers,
		"etcd-keyfile":           keyFile(flannelEtcdCert),
		"etcd-prefix":            strings.TrimSuffix(flannelPrefix, "/"),
		"iface":                  h.Address.String(),
		"ip-masq":                "false",
		"iptables-forward-rules": "false",
		"public-ip":              h.Address.String(),
		"subnet-file":            flannelSubnetFile,
	}
	subnetV6 := ""
	if subnet, ok := c.subnetsV6[h.Name]; ok {
		args["public-ipv6"] = h.AddressV6.String()
		subnetV6 = bridgeAddress(subnet).String()
	}
	inputs := append([]resource.Input{
		c.artifact(h.Name, releaseFlannel),
		// A copy of what stands in etcd, which flannel reads when it starts: it is
		// restarted when this changes.
		c.content(h.Name, flannelConfig, config),
		c.unitFile(h.Name, flannelUnit, map[string]any{
			"Args":       settings(args),
			"Subnet":     bridgeAddress(c.subnets[h.Name]).String(),
			"SubnetV6":   subnetV6,
			"SubnetFile": flannelSubnetFile,
		}),
	}, c.credentials(h, etcdCAFile, flannelEtcdCert)...)
	c.addStep(Step{Host: h.Name, Resource: resource.Unit{Name: flannelUnit, Inputs: inputs}, Successor: true, Rollout: networkRollout(h.Name, flannelUnit)},
		inputSteps(h.Name, inputs), step(h.Name, c.names), step(Cluster, resource.EtcdKeys{Prefix: flannelPrefix}),
		step(h.Name, resource.Module{Name: "br_netfilter"})) // flannel refuses to start without
}

// flannelStore adds what flannel finds in its store.
func (c *compiler) flannelStore() {
	switch {
	case flannelIn(c.inventory, inventory.StoreEtcd):
		c.flannelKeys()
	case flannelIn(c.inventory, inventory.StoreKubernetes):
		c.flannelObjects()
	}
}

// flannelKeys adds the network's configuration and a reservation for each
// host, so that flannel gives it exactly the subnet of the address plan. A
// flannel that runs completes its reservation and renews it.
func (c *compiler) flannelKeys() {
	keys := resource.EtcdKeys{Prefix: flannelPrefix, Keys: []resource.EtcdKey{
		{Key: flannelPrefix + "config", Value: string(c.flannelNetwork())},
	}}
	for _, h := range c.inventory.ContainerHosts() {
		reservation := struct {
			PublicIP    string
			PublicIPv6  *string
			BackendType string
		}{PublicIP: h.Address.String(), BackendType: c.inventory.Network.Backend}
		subnets, fields := strings.ReplaceAll(c.subnets[h.Name].String(), "/", "-"), []string{"PublicIP"}
		if subnet, ok := c.subnetsV6[h.Name]; ok {
			address := h.AddressV6.String()
			reservation.PublicIPv6 = &address
			subnets += "&" + strings.ReplaceAll(subnet.String(), "/", "-")
			fields = append(fields, "PublicIPv6")
		}
		keys.Keys = append(keys.Keys, resource.EtcdKey{
			Key:    flannelPrefix + "subnets/" + subnets,
			Value:  string(must(json.Marshal(reservation))),
			Fields: fields,
		})
	}
	slices.SortFunc(keys.Keys, func(a, b resource.EtcdKey) int { return strings.Compare(a.Key, b.Key) })
	c.add(Cluster, keys, step(Cluster, c.etcdGate()))
}

// flannelObjects adds flannel as a DaemonSet. It talks to the load balancer, as all
// programs outside of pods do: the service's address needs kube-proxy, which
// may not be there yet, or not at all.
func (c *compiler) flannelObjects() {
	inv := c.inventory
	after := c.served()
	var nodes []StepID
	for _, h := range inv.Nodes() {
		nodes = append(nodes, step(h.Name, c.image(releaseFlannelImage))...)
		nodes = append(nodes, step(Cluster, resource.Node{Name: h.Name})...) // flannel waits for no pod CIDR: it fails
	}
	for _, o := range c.objects("objects/flannel.yaml") {
		switch o.kind() {
		case "ConfigMap":
			o.set(string(c.flannelNetwork()), "data", "net-conf.json")
		case "DaemonSet":
			container := []any{"spec", "template", "spec", "containers", 0}
			env, _ := o.at(append(container, "env")...).([]any)
			host, port := inv.Cluster.Endpoint.Host, inv.Cluster.Endpoint.Port
			if inv.BalancesLocally() {
				host, port = inventory.LocalAddress, inv.LoadBalancer.Port
			}
			o.set(append(env,
				map[string]any{"name": "KUBERNETES_SERVICE_HOST", "value": host},
				map[string]any{"name": "KUBERNETES_SERVICE_PORT", "value": strconv.Itoa(port)},
			), append(container, "env")...)
			o.set(c.releases[releaseFlannelImage].Image, append(container, "image")...)
			o.set(resource.SHA256(c.flannelNetwork()), "spec", "template", "metadata", "annotations", "kinstall.io/configuration")
			c.addStep(Step{Host: Cluster, Resource: o.resource(), Successor: true}, after, nodes)
			continue
		}
		after = append(after, c.add(Cluster, o.resource(), after))
	}
}

// must unwraps what can't fail: plain data always encodes.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

package plan

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/hardening"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// etcdMetricsPort serves metrics and health, on the host itself only.
const etcdMetricsPort = 2381

// EtcdUnit is what the states of etcd's members call their unit.
const EtcdUnit = "unit:" + etcdUnit

const etcdUnit = "etcd.service"

// etcd adds a member as a systemd service.
//
// Its flags stand in two files. etcd.env holds what matters at every start and
// is an input of the unit. bootstrap.env holds what is read at the very first
// start only (initial-cluster and the like) and is none: of a host that is a
// member it is left as it is whoever joins or leaves (see Delta.bootstrap).
func (c *compiler) etcd(h inventory.Host) {
	if !h.Has(inventory.RoleEtcd) {
		return
	}
	inv := c.inventory
	credentials := c.credentials(h, etcdCAFile, etcdServerCert, etcdPeerCert)
	own := map[string]string{
		"name":                        h.Name,
		"listen-client-urls":          "https://" + hostPort(h.Address, EtcdClientPort) + fmt.Sprintf(",https://127.0.0.1:%d", EtcdClientPort),
		"advertise-client-urls":       "https://" + hostPort(h.Address, EtcdClientPort),
		"listen-peer-urls":            "https://" + hostPort(h.Address, EtcdPeerPort),
		"initial-advertise-peer-urls": "https://" + hostPort(h.Address, EtcdPeerPort),
		"listen-metrics-urls":         fmt.Sprintf("http://127.0.0.1:%d", etcdMetricsPort),
		"client-cert-auth":            "true",
		"trusted-ca-file":             etcdCAFile,
		"cert-file":                   etcdServerCert,
		"key-file":                    etcdCredential(etcdServerCert),
		"peer-client-cert-auth":       "true",
		"peer-trusted-ca-file":        etcdCAFile,
		"peer-cert-file":              etcdPeerCert,
		"peer-key-file":               etcdCredential(etcdPeerCert),
	}
	first := c.file(h.Name, bootstrapFile, bootstrapFlags(inv, c.etcdCluster(), "new"))
	inputs := append([]resource.Input{
		c.artifact(h.Name, releaseEtcd),
		c.file(h.Name, etcdConfig, map[string]any{"Flags": settings(own, etcdVersionFlags(inv.Etcd.Version), inv.Etcd.Args)}),
		c.unitFile(h.Name, etcdUnit, map[string]any{
			"DataDir": inv.Etcd.DataDir, "User": hardening.EtcdUser, "Keys": []string{keyFile(etcdServerCert), keyFile(etcdPeerCert)},
		}),
	}, credentials...)
	// Last: the time between a member's stop and its start is the time that it takes.
	inputs = append(inputs, etcdDirectory(inv))
	c.serving(h.Name, resource.Unit{Name: etcdUnit, Inputs: inputs, NoBlock: true}, c.etcdRollout(h),
		inputSteps(h.Name, inputs), step(h.Name, first), step(h.Name, c.names),
		c.credentialSteps(h, etcdHealthCert))
}

// etcdDirectory is a member's data: of a user of its own, as the member is.
func etcdDirectory(inv *inventory.Inventory) resource.Directory {
	const user = hardening.EtcdUser
	return resource.Directory{
		Path: inv.Etcd.DataDir, Ownership: resource.Ownership{Mode: 0o700, Owner: user, Group: user},
		Unit: etcdUnit, Inner: []string{memberDirectory(inv), logDirectory(inv), memberDirectory(inv) + "/snap"},
	}
}

// etcdCredential is where etcd has a certificate's key: keys belong to root, and
// systemd hands the unit copies that its user can read (systemd.exec(5),
// LoadCredential=).
func etcdCredential(certificate string) string {
	return "/run/credentials/" + etcdUnit + "/" + path.Base(keyFile(certificate))
}

// bootstrapFlags are what a member is started with at the very first time: with
// the state "new" the members found an etcd of their own, with "existing" it
// joins one whose list is exactly this ("NAME=URL,…").
func bootstrapFlags(inv *inventory.Inventory, cluster, state string) map[string]any {
	return map[string]any{"Flags": settings(map[string]string{
		"initial-cluster":       cluster,
		"initial-cluster-state": state,
		"initial-cluster-token": inv.Cluster.Name,
	})}
}

// credentialSteps are files of the PKI that must be there, though no program
// is restarted for them.
func (c *compiler) credentialSteps(h inventory.Host, paths ...string) []StepID {
	return inputSteps(h.Name, c.credentials(h, paths...))
}

// etcdVersionFlags is what differs between etcd's minors: the checks kubeadm
// turns on, too, by the names they have. 3.6 took flags out of the
// experimental and made feature gates of some
// (https://etcd.io/docs/v3.6/upgrades/upgrade_3_6/).
func etcdVersionFlags(version string) map[string]string {
	if strings.HasPrefix(version, "3.5.") {
		return map[string]string{
			"experimental-initial-corrupt-check":          "true",
			"experimental-watch-progress-notify-interval": "5s",
		}
	}
	return map[string]string{
		"feature-gates":                  "InitialCorruptCheck=true",
		"watch-progress-notify-interval": "5s",
	}
}

// etcdCluster is every member by name, sorted: "emei=https://10.0.0.3:2380,…".
func (c *compiler) etcdCluster() string {
	var all []string
	for _, m := range c.inventory.With(inventory.RoleEtcd) {
		all = append(all, m.Name+"=https://"+hostPort(m.Address, EtcdPeerPort))
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// etcdServers is what API servers dial: all members, sorted. Their client
// spreads requests over them.
func (c *compiler) etcdServers() string {
	var all []string
	for _, m := range c.inventory.With(inventory.RoleEtcd) {
		all = append(all, "https://"+hostPort(m.Address, EtcdClientPort))
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// etcdGate waits for the members to serve together.
func (c *compiler) etcdGate() resource.Gate {
	members := len(c.inventory.With(inventory.RoleEtcd))
	text := fmt.Sprintf("%d members healthy, one leader", members)
	if members == 1 {
		text = "the member is healthy"
	}
	gate := resource.Gate{Check: resource.Check{Kind: resource.CheckEtcd, Text: text}}
	for _, h := range c.inventory.With(inventory.RoleEtcd) {
		gate.Watches = append(gate.Watches, resource.Process{Host: h.Name, Unit: etcdUnit})
	}
	sortWatches(gate.Watches)
	return gate
}

// loopback is the host's own address of the same family.
func loopback(h inventory.Host) string {
	if h.Address.Is4() || h.Address.Is4In6() {
		return "127.0.0.1"
	}
	return net.IPv6loopback.String()
}

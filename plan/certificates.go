package plan

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Where certificates lie, as with kubeadm.
const (
	pkiDir = "/etc/kubernetes/pki"

	caFile           = pkiDir + "/ca.crt"
	caKeyFile        = pkiDir + "/ca.key"
	clientCAFile     = pkiDir + "/client-ca.crt" // only below an intermediate, see clientCA
	frontProxyCAFile = pkiDir + "/front-proxy-ca.crt"
	saKeyFile        = pkiDir + "/sa.key"
	saPublicFile     = pkiDir + "/sa.pub"
	etcdCAFile       = pkiDir + "/etcd/ca.crt"

	etcdServerCert    = pkiDir + "/etcd/server.crt"
	etcdPeerCert      = pkiDir + "/etcd/peer.crt"
	etcdHealthCert    = pkiDir + "/etcd/healthcheck-client.crt"
	apiServerEtcdCert = pkiDir + "/apiserver-etcd-client.crt"
	apiServerNodeCert = pkiDir + "/apiserver-kubelet-client.crt"
	frontProxyCert    = pkiDir + "/front-proxy-client.crt"
	controllerCert    = pkiDir + "/controller-manager.crt"
	schedulerCert     = pkiDir + "/scheduler.crt"
	kubeProxyCert     = pkiDir + "/kube-proxy.crt"
	kubeletCert       = "/var/lib/kubelet/pki/kubelet.crt"
	kubeletClientCert = "/var/lib/kubelet/pki/kubelet-client.crt"
	// kubeletClientPair is where a kubelet that renews its own certificate looks
	// for it, with the key.
	kubeletClientPair = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	// kubeletServingPair is the same of the one that it serves with.
	kubeletServingPair = "/var/lib/kubelet/pki/kubelet-server-current.pem"
)

// The names clients of the API are known by.
const (
	userKubeletClient = "kube-apiserver-kubelet-client"
	userController    = "system:kube-controller-manager"
	userScheduler     = "system:kube-scheduler"
	userKubeProxy     = "system:kube-proxy"
	groupNodes        = "system:nodes"
	frontProxyName    = "front-proxy-client"
)

// keyFile is where the key of a certificate lies: beside it, or in the same file.
func keyFile(certificate string) string {
	if name, beside := strings.CutSuffix(certificate, ".crt"); beside {
		return name + ".key"
	}
	return certificate
}

// certificateRow is one leaf certificate of the PKI.
type certificateRow struct {
	path         string
	on           condition
	authority    string
	commonName   string // "%s" is the host's name
	organization string
	server       bool
	client       bool
	names        func(*inventory.Inventory, inventory.Host) []string // SANs: DNS names and addresses
}

// certificateTable is the PKI's leaf certificates: what each says, which
// authority says it, and where it lies.
func certificateTable() []certificateRow {
	const k8s, etcd, proxy = AuthorityKubernetes, AuthorityEtcd, AuthorityFrontProxy
	return []certificateRow{
		// etcd's HTTP gateway dials the member's own server with its server certificate, hence client.
		{etcdServerCert, onEtcd, etcd, "%s", "", true, true, etcdServerNames},
		{etcdPeerCert, onEtcd, etcd, "%s", "", true, true, hostNames},
		{etcdHealthCert, onEtcd, etcd, "kube-etcd-healthcheck-client", "", false, true, nil},
		{flannelEtcdCert, onFlannelEtcd, etcd, "flannel", "", false, true, nil},
		{apiServerEtcdCert, onMasters, etcd, "kube-apiserver-etcd-client", "", false, true, nil},
		{APIServerCertificate, onMasters, k8s, "kube-apiserver", "", true, false, apiServerNames},
		{apiServerNodeCert, onMasters, k8s, userKubeletClient, "", false, true, nil},
		{frontProxyCert, onMasters, proxy, frontProxyName, "", false, true, nil},
		{controllerCert, onMasters, k8s, userController, "", false, true, nil},
		{schedulerCert, onMasters, k8s, userScheduler, "", false, true, nil},
		kubeletServingRow(),
		kubeletClientRow(),
		{kubeProxyCert, onProxied, k8s, userKubeProxy, "", false, true, nil},
	}
}

// kubeletClientRow is what makes a kubelet a node to the API.
func kubeletClientRow() certificateRow {
	return certificateRow{kubeletClientCert, onPlannedNodes, AuthorityKubernetes, "system:node:%s", groupNodes, false, true, nil}
}

// kubeletServingRow is what a kubelet serves with.
func kubeletServingRow() certificateRow {
	return certificateRow{kubeletCert, onPlannedServing, AuthorityKubernetes, "system:node:%s", groupNodes, true, false, kubeletNames}
}

// authorityRow is a part of an authority's material on hosts.
type authorityRow struct {
	path      string
	on        condition
	authority string
	part      resource.Part
}

// authorityTable is what hosts hold of the authorities. The controller manager
// signs certificate requests, so masters hold the key of the Kubernetes
// authority, unless that is with a signer; the other authorities' keys never
// leave the operator's machine.
func (c *compiler) authorityTable() []authorityRow {
	if c.held != nil { // asked for again and again, for each host
		return c.held
	}
	rows := []authorityRow{{caFile, anyOf(onNodes, onBalanced(caFile)), AuthorityKubernetes, resource.PartCertificate}}
	if c.clientCA() != caFile {
		rows[0].part = resource.PartBundle
		rows = append(rows, authorityRow{clientCAFile, onNodes, AuthorityKubernetes, resource.PartCertificate})
	}
	if c.signsRequests() {
		rows = append(rows, authorityRow{caKeyFile, onMasters, AuthorityKubernetes, resource.PartPrivateKey})
	}
	c.held = append(rows, []authorityRow{
		{frontProxyCAFile, onMasters, AuthorityFrontProxy, resource.PartCertificate},
		{saKeyFile, onMasters, AuthorityServiceAccount, resource.PartPrivateKey},
		{saPublicFile, onMasters, AuthorityServiceAccount, resource.PartPublicKey},
		{etcdCAFile, anyOf(onEtcd, onMasters, onFlannelEtcd), AuthorityEtcd, resource.PartCertificate},
	}...)
	return c.held
}

// clientCA is where the certificate lies that vouches for the API's clients: the
// Kubernetes authority's own. Where that is an intermediate, caFile holds its root
// as well, which pods may need to verify the API; whatever else the root's
// owners sign would be good for clients, too, with any name and group.
func (c *compiler) clientCA() string {
	if len(c.authorities.Chain(AuthorityKubernetes)) > 0 {
		return clientCAFile
	}
	return caFile
}

// apiAuthorityFiles are where the certificates of the Kubernetes authority lie.
func (c *compiler) apiAuthorityFiles() []string {
	if file := c.clientCA(); file != caFile {
		return []string{caFile, file}
	}
	return []string{caFile}
}

// signsRequests reports whether the controller manager can sign certificate
// requests: it needs the key of the Kubernetes authority.
func (c *compiler) signsRequests() bool { return c.inventory.PKI.SignerOf(AuthorityKubernetes) == nil }

// hostNames are a host's own name and address.
func hostNames(_ *inventory.Inventory, h inventory.Host) []string {
	return []string{h.Name, h.Address.String()}
}

// kubeletNames are all addresses a node has in the API.
func kubeletNames(inv *inventory.Inventory, h inventory.Host) []string {
	names := hostNames(inv, h)
	if inv.DualStack() {
		names = append(names, h.AddressV6.String())
	}
	return names
}

// etcdServerNames let etcdctl on the host itself dial 127.0.0.1, too.
func etcdServerNames(inv *inventory.Inventory, h inventory.Host) []string {
	return append(hostNames(inv, h), "localhost", "127.0.0.1")
}

// apiServerNames are the names the inventory's own validation counts on.
func apiServerNames(inv *inventory.Inventory, h inventory.Host) []string {
	names, addresses := inv.APIServerSANs(h)
	for _, a := range addresses {
		names = append(names, a.String())
	}
	return names
}

// subjectAlternatives sorts names into DNS names and addresses, without doubles.
func subjectAlternatives(names []string) (dns, addresses []string) {
	for _, name := range names {
		if address, err := netip.ParseAddr(name); err == nil {
			addresses = append(addresses, address.Unmap().String())
		} else {
			dns = append(dns, strings.ToLower(name))
		}
	}
	slices.Sort(dns)
	slices.Sort(addresses)
	return slices.Compact(dns), slices.Compact(addresses)
}

// certificates adds a host's part of the PKI.
func (c *compiler) certificates(h inventory.Host) {
	for _, row := range c.authorityTable() {
		if row.on(c.inventory, h) {
			f := c.authorityFile(row)
			c.add(h.Name, f, step(Operator, resource.Authority{Name: row.authority}), c.parents(h.Name, row.path))
		}
	}
	for _, row := range certificateTable() {
		if row.on(c.inventory, h) {
			cert := c.certificate(row, h)
			s := Step{Host: h.Name, Resource: cert}
			if row.path == APIServerCertificate {
				// A running API server takes it up; see controlPlane.
				r := c.servingCertificateRollout(h)
				s.Rollout = &r
			}
			c.addStep(s, step(Operator, resource.Authority{Name: row.authority}), c.parents(h.Name, row.path))
		}
	}
}

func (c *compiler) authorityFile(row authorityRow) resource.AuthorityFile {
	return resource.AuthorityFile{Authority: row.authority, Part: row.part, Path: row.path, SHA256: c.authorities.SHA256(row.authority, row.part)}
}

func (c *compiler) certificate(row certificateRow, h inventory.Host) resource.Certificate {
	cert := resource.Certificate{
		Path:        row.path,
		KeyPath:     keyFile(row.path),
		Authority:   row.authority,
		Issuer:      c.authorities.Certificate(row.authority),
		Chain:       c.authorities.Chain(row.authority),
		Key:         resource.KeyAlgorithm(c.inventory.PKI.KeyAlgorithm),
		Remote:      c.inventory.PKI.SignerOf(row.authority) != nil,
		CommonName:  strings.ReplaceAll(row.commonName, "%s", h.Name),
		Server:      row.server,
		Client:      row.client,
		Validity:    c.inventory.Cluster.CertValidity,
		RenewBefore: c.inventory.Cluster.CertRenewBefore,
	}
	cert.IssuedBy = c.issuer(row.authority, cert.Issuer)
	if row.organization != "" {
		cert.Organization = []string{row.organization}
	}
	if row.names != nil {
		cert.DNSNames, cert.Addresses = subjectAlternatives(row.names(c.inventory, h))
	}
	return cert
}

// issuer reads an authority's certificate, once for all that it signs; nil for
// one that does not exist yet or can't be read.
func (c *compiler) issuer(authority string, text []byte) *x509.Certificate {
	issuer, known := c.issuers[authority]
	if !known && len(text) > 0 {
		issuer, _ = resource.ParseCertificate(text) // what is wrong with it is said where it is compared
		c.issuers[authority] = issuer
	}
	return issuer
}

// credentials are the files of the PKI a program reads, as inputs of its unit
// or pod: it is restarted when one of them changes, and never started before
// they are there.
func (c *compiler) credentials(h inventory.Host, paths ...string) []resource.Input {
	var inputs []resource.Input
	for _, path := range paths {
		inputs = append(inputs, c.credential(h, path))
	}
	return inputs
}

func (c *compiler) credential(h inventory.Host, path string) resource.Input {
	for _, row := range c.authorityTable() {
		if row.path == path && row.on(c.inventory, h) {
			return c.authorityFile(row)
		}
	}
	for _, row := range certificateTable() {
		if row.path == path && row.on(c.inventory, h) {
			return c.certificate(row, h)
		}
	}
	panic(fmt.Sprintf("plan: host %s has no %s", h.Name, path))
}

// kubeconfig adds a file that tells a program where the API is and which
// certificate to show there. It names files, so it holds no secret itself.
func (c *compiler) kubeconfig(h inventory.Host, path, server, user, certificate string) resource.File {
	content := c.templates.Render("etc/kubernetes/kubeconfig", map[string]any{
		"Cluster":     c.inventory.Cluster.Name,
		"Context":     user + "@" + c.inventory.Cluster.Name,
		"Authority":   caFile,
		"Server":      "https://" + server,
		"User":        user,
		"Certificate": certificate,
		"Key":         keyFile(certificate),
	})
	return c.content(h.Name, path, content)
}

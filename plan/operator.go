package plan

import (
	"maps"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// operator adds what is kept on the operator's machine: the authorities
// everything is signed by, and the lock file.
func (c *compiler) operator(before []byte) {
	authorities := []struct{ name, commonName string }{
		{AuthorityKubernetes, "kubernetes"},
		{AuthorityEtcd, "etcd-ca"},
		{AuthorityFrontProxy, "front-proxy-ca"},
		{AuthorityServiceAccount, ""},
	}
	pki := c.inventory.PKI
	subject := resource.Subject{
		Organization: pki.Organization, OrganizationalUnit: pki.OrganizationalUnit, Country: pki.Country, Province: pki.Province, Locality: pki.Locality,
	}
	for _, a := range authorities {
		if !c.inventory.Kubernetes() && (a.name != AuthorityEtcd || len(c.inventory.With(inventory.RoleEtcd)) == 0) {
			continue
		}
		c.keepsKey(a.name)
		c.add(Operator, resource.Authority{
			Name:       a.name,
			CommonName: a.commonName,
			Subject:    subject,
			Key:        resource.KeyAlgorithm(pki.KeyAlgorithm),
			Validity:   c.inventory.Cluster.CAValidity,
			Exists:     c.authorities.Exists(a.name),
			// Of the pair that signs tokens this is nil.
			Certificate: c.authorities.Certificate(a.name),
			Remote:      pki.SignerOf(a.name) != nil,
			Encrypt:     pki.Encryption != nil,
			Encrypted:   c.authorities.Encrypted(a.name),
		})
	}
	if c.inventory.Kubernetes() && !c.signsRequests() {
		c.warn("Nobody signs requests in the cluster", "The key of the authority %q is with the signer at %s: the controller manager can't sign CertificateSigningRequests. kinstall's own certificates don't need it; what requests certificates of the cluster's API does.", AuthorityKubernetes, pki.SignerOf(AuthorityKubernetes).Place)
	}
	lock := c.lock
	lock.Subnets = c.subnets
	// What the inventory pins is not remembered beside it: a wrong digest would
	// outlive its correction there.
	lock.Artifacts = maps.Clone(lock.Artifacts)
	for _, r := range Releases(c.inventory) {
		if c.inventory.Artifacts.SHA256[r.Name] != "" {
			delete(lock.Artifacts, r.Location)
		}
	}
	c.add(Operator, resource.LockFile{
		Path:   inventory.LockPath(c.inventory.Path),
		Before: before,
		After:  inventory.FormatLock(lock),
	})
}

// keepsKey warns of an authority whose key is not what the inventory asks for:
// another key would be another authority, and cut off everything that the old
// one signed. Who says nothing of keys may bring an authority of any.
func (c *compiler) keepsKey(authority string) {
	wanted := resource.KeyAlgorithm(c.inventory.PKI.KeyAlgorithm)
	cert := c.issuer(authority, c.authorities.Certificate(authority))
	if cert == nil || wanted.Or() == resource.KeyDefault || c.inventory.PKI.SignerOf(authority) != nil {
		return
	}
	if found := resource.AlgorithmOf(cert.PublicKey); found != wanted {
		c.warn("Authority keeps its key", "pki.key_algorithm is %q; the authority %q exists, with a key of %s, and keeps it: another one would cut off everything that it signed. Certificates get keys of the new kind.", wanted, authority, found)
	}
}

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
	for _, a := range authorities {
		if !c.inventory.Kubernetes() && (a.name != AuthorityEtcd || len(c.inventory.With(inventory.RoleEtcd)) == 0) {
			continue
		}
		c.add(Operator, resource.Authority{
			Name:       a.name,
			CommonName: a.commonName,
			Validity:   c.inventory.Cluster.CAValidity,
			Exists:     c.authorities.Exists(a.name),
			// Of the pair that signs tokens this is nil.
			Certificate: c.authorities.Certificate(a.name),
		})
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

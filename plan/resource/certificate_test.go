package resource_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

const day = 24 * time.Hour

// now is the host's clock in these tests.
func now() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) }

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now().Add(-day), NotAfter: now().Add(3650 * day),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// renew gives the authority a certificate with another end, for the same key.
func (a *authority) renew(t *testing.T, end time.Time) {
	t.Helper()
	template := *a.cert
	template.NotBefore, template.NotAfter = now().Add(-10*day), end
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue signs the certificate a specification asks for, edited.
func (a authority) issue(t *testing.T, edit func(*x509.Certificate)) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver", Organization: []string{"b", "a"}},
		DNSNames: []string{"emei", "kubernetes"}, IPAddresses: []net.IP{net.ParseIP("10.0.0.1").To4(), net.ParseIP("fd00::1")},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: now().Add(-day), NotAfter: now().Add(364 * day),
	}
	if edit != nil {
		edit(template)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCertificateDiff(t *testing.T) {
	ca, other := newAuthority(t, "kubernetes"), newAuthority(t, "kubernetes")
	spec := resource.Certificate{
		Path: "/a.crt", KeyPath: "/a.key", Authority: "kubernetes", Issuer: ca.pem,
		CommonName: "kube-apiserver", Organization: []string{"a", "b"}, DNSNames: []string{"kubernetes", "emei"}, Addresses: []string{"fd00::1", "10.0.0.1"},
		Server: true, Validity: 365 * day, RenewBefore: 30 * day,
	}
	noAuthority := spec
	noAuthority.Issuer = nil
	good := ca.issue(t, nil)
	const key = "the private key"
	ending := newAuthority(t, "kubernetes")
	ending.renew(t, now().Add(12*day+time.Hour))
	ends := spec
	ends.Issuer = ending.pem
	ended := newAuthority(t, "kubernetes")
	ended.renew(t, now().Add(-day))
	over := spec
	over.Issuer = ended.pem
	longer := ending
	longer.renew(t, now().Add(3650*day))
	renewed := spec
	renewed.Issuer = longer.pem

	rsaKey := spec
	rsaKey.Key = resource.KeyRSA4096

	for _, test := range []struct {
		name    string
		spec    resource.Certificate
		cert    string                // "": none there
		edit    func(c, k *fact.File) // of what is found
		record  *fact.Record          // nil: of the certificate and key found
		unknown bool                  // never recorded
		want    resource.Action
		reasons []resource.Reason
	}{
		{name: "good", cert: good, want: resource.NoOp},
		{name: "missing", unknown: true, want: resource.Create},
		{name: "deleted", want: resource.Create, reasons: because(resource.Drift, "deleted on the host")},
		{name: "issued by somebody else", cert: good, unknown: true, want: resource.Replace,
			reasons: because(resource.Missing, "exists, but was not issued by kinstall")},
		{name: "name missing and one too many", cert: ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"kubernetes", "old"} }), want: resource.Replace,
			reasons: []resource.Reason{{Cause: resource.Intent, Text: "SAN emei missing"}, {Cause: resource.Intent, Text: "SAN old too many"}}},
		{name: "address missing", cert: ca.issue(t, func(c *x509.Certificate) { c.IPAddresses = c.IPAddresses[1:] }), want: resource.Replace,
			reasons: because(resource.Intent, "SAN 10.0.0.1 missing")},
		{name: "subject", cert: ca.issue(t, func(c *x509.Certificate) { c.Subject.CommonName = "x" }), want: resource.Replace,
			reasons: because(resource.Intent, "subject is CN=x")},
		{name: "organization", cert: ca.issue(t, func(c *x509.Certificate) { c.Subject.Organization = []string{"system:masters"} }), want: resource.Replace,
			reasons: because(resource.Intent, `organization is "system:masters"`)},
		{name: "usages", cert: ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) }), want: resource.Replace,
			reasons: because(resource.Intent, `usages are "server, client"`)},
		{name: "another authority of the same name", cert: other.issue(t, nil), want: resource.Replace,
			reasons: because(resource.Drift, "not issued by authority kubernetes")},
		{name: "authority yet to be created", spec: noAuthority, cert: good, want: resource.Replace,
			reasons: because(resource.Follows, "authority kubernetes will be created")},
		{name: "in the renewal window", cert: ca.issue(t, func(c *x509.Certificate) { c.NotAfter = now().Add(12*day + time.Hour) }), want: resource.Replace,
			reasons: because(resource.Expiry, "expires in 12 days")},
		{name: "just before the renewal window", cert: ca.issue(t, func(c *x509.Certificate) { c.NotAfter = now().Add(30 * day) }), want: resource.NoOp},
		{name: "expired", cert: ca.issue(t, func(c *x509.Certificate) { c.NotAfter = now().Add(-3 * day); c.NotBefore = now().Add(-9 * day) }), want: resource.Replace,
			reasons: because(resource.Expiry, "expired 3 days ago")},
		// A new one would end with its authority, too.
		{name: "ends with its authority", spec: ends, cert: ending.issue(t, func(c *x509.Certificate) { c.NotAfter = ending.cert.NotAfter }), want: resource.NoOp},
		{name: "ends before its authority", spec: ends, cert: ending.issue(t, func(c *x509.Certificate) { c.NotAfter = now().Add(3 * day) }), want: resource.Replace,
			reasons: because(resource.Expiry, "expires in 3 days")},
		{name: "ended with its authority", spec: over, cert: ended.issue(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now().Add(-9*day), ended.cert.NotAfter }), want: resource.NoOp},
		{name: "its authority was renewed with the same key", spec: renewed, cert: ending.issue(t, nil), want: resource.NoOp},
		{name: "ended with what its authority was", spec: renewed, cert: ending.issue(t, func(c *x509.Certificate) { c.NotAfter = ending.cert.NotAfter }), want: resource.Replace,
			reasons: because(resource.Expiry, "expires in 12 days")},
		{name: "not valid yet", cert: ca.issue(t, func(c *x509.Certificate) { c.NotBefore = now().Add(day) }), want: resource.Replace,
			reasons: because(resource.Drift, "not valid yet by the host's clock")},
		{name: "another kind of key", spec: rsaKey, cert: good, want: resource.Replace, reasons: because(resource.Intent, "key is ecdsa-p256 instead of rsa-4096")},
		{name: "garbage", cert: "garbage", want: resource.Replace, reasons: because(resource.Drift, "holds no PEM certificate")},
		{name: "no key", cert: good, edit: func(_, k *fact.File) { *k = fact.File{} }, want: resource.Replace, reasons: because(resource.Drift, "private key missing")},
		{name: "another key", cert: good, edit: func(_, k *fact.File) { k.SHA256 = sha("x") }, want: resource.Replace, reasons: because(resource.Drift, "private key changed on the host")},
		{name: "another certificate as good", cert: good, record: &fact.Record{Files: map[string]string{"/a.crt": "x", "/a.key": sha(key)}}, want: resource.Replace,
			reasons: because(resource.Drift, "certificate changed on the host")},
		{name: "key readable by all", cert: good, edit: func(_, k *fact.File) { k.Mode = 0o644 }, want: resource.Update, reasons: because(resource.Drift, "key mode 0644 instead of 0600")},
		{name: "certificate unreadable", cert: good, edit: func(c, _ *fact.File) { c.Mode = 0 }, want: resource.Update, reasons: because(resource.Drift, "mode 0000 instead of 0644")},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := test.spec
			if c.Path == "" {
				c = spec
			}
			cert, private := fact.File{}, fact.File{}
			if test.cert != "" {
				cert, private = found(test.cert, 0o644), found(key, 0o600)
				private.Content, private.HasContent = nil, false
			}
			records := map[string]fact.Record{"cert:/a.crt": {Files: map[string]string{"/a.crt": cert.SHA256, "/a.key": private.SHA256}}}
			if test.record != nil {
				records["cert:/a.crt"] = *test.record
			}
			if test.unknown {
				records = nil
			}
			if test.edit != nil {
				test.edit(&cert, &private)
			}
			facts := host(records, map[fact.Key]any{file("/a.crt"): cert, file("/a.key"): private})
			facts.Host.Time = now()
			change, err := c.Diff(facts)
			if err != nil {
				t.Fatal(err)
			}
			if change.Action != test.want {
				t.Errorf("action is %s, want %s", change.Action, test.want)
			}
			if diff := cmp.Diff(test.reasons, change.Reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			digest, known := c.InputDigest(facts)
			if stays := test.want == resource.NoOp || test.want == resource.Update; known != stays || (stays && digest != cert.SHA256) {
				t.Errorf("digest is %q (known: %v)", digest, known)
			}
		})
	}
}

func TestCertificateNeverAsksForItsKey(t *testing.T) {
	for _, q := range (resource.Certificate{Path: "/a.crt", KeyPath: "/a.key"}).Queries() {
		if q.Name == "/a.key" && q.Content {
			t.Error("the private key's content is asked for")
		}
	}
}

func TestCertificateText(t *testing.T) {
	text := resource.Certificate{
		CommonName: "cn", Organization: []string{"o"}, Authority: "etcd", DNSNames: []string{"b", "a"}, Addresses: []string{"10.0.0.1"},
		Server: true, Client: true, Validity: 365 * day, RenewBefore: 36 * time.Hour,
	}.Text()
	want := strings.Join([]string{
		"subject       CN=cn, O=o", "issuer        etcd", "usages        server, client", "validity      365 days, renewed 36h0m0s before it ends",
		"SAN           DNS a", "SAN           DNS b", "SAN           IP 10.0.0.1", "",
	}, "\n")
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
}

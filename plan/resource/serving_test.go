package resource_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// A kubelet gets a certificate for itself, its own names and addresses and to serve
// with: for nothing else, and nobody else gets it.
func TestMisfits(t *testing.T) {
	wanted := resource.Certificate{
		CommonName: "system:node:emei", Organization: []string{"system:nodes"}, DNSNames: []string{"emei"}, Addresses: []string{"10.27.52.72", "fd00::1"}, Server: true,
	}
	for _, test := range []struct {
		name    string
		request func(*x509.CertificateRequest)
		edit    func(*resource.CertificateRequest)
		want    []string
	}{
		{name: "its own"},
		{name: "with an RSA key", edit: func(r *resource.CertificateRequest) { r.Usages = append(r.Usages, "key encipherment") }},
		{name: "in more groups", edit: func(r *resource.CertificateRequest) { r.Groups = append(r.Groups, "others") }},
		{name: "made by another node", edit: func(r *resource.CertificateRequest) { r.Username = "system:node:huashan" },
			want: []string{`it was made by "system:node:huashan"`}},
		{name: "made by somebody who calls himself a node", edit: func(r *resource.CertificateRequest) { r.Groups = []string{"system:authenticated"} },
			want: []string{"who made it is not in the group system:nodes"}},
		{name: "another node's name", request: func(r *x509.CertificateRequest) {
			r.Subject.CommonName, r.DNSNames = "system:node:huashan", []string{"huashan"}
		}, want: []string{`it is for the name "system:node:huashan"`, `the name "huashan" is not its own`, "the name emei is missing"}},
		{name: "one name more", request: func(r *x509.CertificateRequest) { r.DNSNames = append(r.DNSNames, "kubernetes.default.svc") },
			want: []string{`the name "kubernetes.default.svc" is not its own`}},
		{name: "what steers a terminal", request: func(r *x509.CertificateRequest) { r.DNSNames = append(r.DNSNames, "\x1b[2J") },
			want: []string{`the name "\x1b[2J" is not its own`}},
		{name: "another node's address", request: func(r *x509.CertificateRequest) { r.IPAddresses[0] = net.ParseIP("10.27.52.71") },
			want: []string{`the address "10.27.52.71" is not its own`, "the address 10.27.52.72 is missing"}},
		{name: "an address less", request: func(r *x509.CertificateRequest) { r.IPAddresses = r.IPAddresses[:1] },
			want: []string{"the address fd00::1 is missing"}},
		{name: "administrators", request: func(r *x509.CertificateRequest) { r.Subject.Organization = []string{"system:masters"} },
			want: []string{`it is for the organizations "system:masters"`}},
		{name: "administrators, too", request: func(r *x509.CertificateRequest) {
			r.Subject.Organization = []string{"system:nodes", "system:masters"}
		}, want: []string{`it is for the organizations "system:masters, system:nodes"`}},
		{name: "a unit", request: func(r *x509.CertificateRequest) { r.Subject.OrganizationalUnit = []string{"x"} },
			want: []string{`its subject says more than a name and organizations: "CN=system:node:emei,OU=x,O=system:nodes"`}},
		{name: "a URI", request: func(r *x509.CertificateRequest) { r.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}} },
			want: []string{"it is for e-mail addresses or URIs"}},
		{name: "to be a client", edit: func(r *resource.CertificateRequest) { r.Usages = append(r.Usages, "client auth") },
			want: []string{"it is to be used for client auth, digital signature, server auth"}},
		{name: "of another signer", edit: func(r *resource.CertificateRequest) { r.Signer = "kubernetes.io/kube-apiserver-client" },
			want: []string{`it is for the signer "kubernetes.io/kube-apiserver-client"`}},
		{name: "garbage", edit: func(r *resource.CertificateRequest) { r.PEM = []byte("x") }, want: []string{"it holds no PEM request, or more than one"}},
		{name: "two", edit: func(r *resource.CertificateRequest) { r.PEM = append(r.PEM, r.PEM...) }, want: []string{"it holds no PEM request, or more than one"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			template := &x509.CertificateRequest{
				Subject: pkix.Name{CommonName: "system:node:emei", Organization: []string{"system:nodes"}}, DNSNames: []string{"emei"},
				IPAddresses: []net.IP{net.ParseIP("10.27.52.72"), net.ParseIP("fd00::1")},
			}
			if test.request != nil {
				test.request(template)
			}
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
			if err != nil {
				t.Fatal(err)
			}
			r := resource.CertificateRequest{
				Name: "csr-1", Username: "system:node:emei", Groups: []string{"system:nodes", "system:authenticated"}, Signer: "kubernetes.io/kubelet-serving",
				Usages: []string{"digital signature", "server auth"}, PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			}
			if test.edit != nil {
				test.edit(&r)
			}
			if diff := cmp.Diff(test.want, wanted.Misfits(r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("signed by another key", func(t *testing.T) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:emei"}}, key)
		if err != nil {
			t.Fatal(err)
		}
		der[len(der)-1] ^= 1
		misfits := wanted.Misfits(resource.CertificateRequest{PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})})
		if len(misfits) == 0 || misfits[len(misfits)-1][:len("it can't be read")] != "it can't be read" {
			t.Errorf("%q", misfits)
		}
	})
}

// A certificate for serving is waited for until it is there and good; until then,
// who has none to take over keeps nothing.
func TestServingCertificateDiff(t *testing.T) {
	ca := newAuthority(t, "kubernetes")
	wanted := resource.Certificate{Path: "/kubelet-server-current.pem", Authority: "kubernetes", Issuer: ca.pem,
		CommonName: "kube-apiserver", Organization: []string{"a", "b"}, DNSNames: []string{"kubernetes", "emei"}, Addresses: []string{"fd00::1", "10.0.0.1"}, Server: true, Validity: 365 * day}
	requested := resource.RotatedCertificate{Wanted: wanted, Takes: resource.Certificate{Path: "/kubelet.crt", KeyPath: "/kubelet.key", Authority: "kubernetes", Issuer: ca.pem}, Unit: "kubelet.service", Requested: true}
	for name, test := range map[string]struct {
		found        fact.Certificates
		rotated, own resource.Action
	}{
		"none":      {fact.Certificates{}, resource.Deferred, resource.Deferred},
		"good":      {fact.Certificates{Exists: true, Link: true, PEM: []byte(ca.issue(t, nil))}, resource.NoOp, resource.NoOp},
		"of before": {fact.Certificates{Exists: true, Link: true, PEM: []byte(ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"kubernetes", "old"} }))}, resource.Replace, resource.Deferred},
	} {
		facts := host(nil, map[fact.Key]any{{Kind: fact.KindCertificates, Name: wanted.Path}: test.found, file("/kubelet.crt"): fact.File{}, file("/kubelet.key"): fact.File{}})
		facts.Host.Time = now()
		for what, c := range map[resource.Action]resource.Resource{test.rotated: requested, test.own: resource.ServingCertificate{Certificate: requested}} {
			if test.rotated == test.own {
				what = test.own
			}
			change, err := c.Diff(facts)
			if err != nil || change.Action != what {
				t.Errorf("%s: %T: %s (%v), want %s", name, c, change.Action, err, what)
			}
		}
	}
}

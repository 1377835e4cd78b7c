package resource_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// What a kubelet has renewed is as good as what kinstall issued; what it has failed
// to renew, or can't, is made anew.
func TestRotatedCertificateDiff(t *testing.T) {
	ca, other := newAuthority(t, "kubernetes"), newAuthority(t, "kubernetes")
	planned := resource.Certificate{
		Path: "/kubelet-client.crt", KeyPath: "/kubelet-client.key", Authority: "kubernetes", Issuer: ca.pem,
		CommonName: "system:node:emei", Organization: []string{"system:nodes"}, Client: true, Validity: 365 * day, RenewBefore: 30 * day,
	}
	wanted := planned
	wanted.Path = "/kubelet-client-current.pem"
	spec := resource.RotatedCertificate{Wanted: wanted, Takes: planned, Unit: "kubelet.service"}
	issue := func(a authority, edit func(*x509.Certificate)) string {
		return a.issue(t, func(c *x509.Certificate) {
			c.Subject.CommonName, c.Subject.Organization = "system:node:emei", []string{"system:nodes"}
			c.DNSNames, c.IPAddresses, c.ExtKeyUsage = nil, nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			if edit != nil {
				edit(c)
			}
		})
	}
	lasting := func(since, left time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now().Add(-since), now().Add(left) }
	}
	restart := resource.Reason{Cause: resource.Follows, Text: "kubelet.service is restarted to read it"}
	for _, test := range []struct {
		name    string
		found   fact.Certificates
		planned string // the certificate issued before; "" for none
		known   bool   // recorded
		want    resource.Action
		takes   bool
		reasons []resource.Reason
	}{
		{name: "a new node", want: resource.Create},
		{name: "a node with a planned one", planned: issue(ca, nil), want: resource.Create, takes: true},
		{name: "a planned one near its end", planned: issue(ca, lasting(350*day, 15*day)), want: resource.Create},
		{name: "a planned one of another node", planned: issue(ca, func(c *x509.Certificate) { c.Subject.CommonName = "system:node:other" }), want: resource.Create},
		{name: "deleted", known: true, want: resource.Create, reasons: []resource.Reason{{Cause: resource.Drift, Text: "missing on the host"}, restart}},
		{name: "what the link leads to is deleted", found: fact.Certificates{Link: true}, want: resource.Create, reasons: []resource.Reason{{Cause: resource.Drift, Text: "missing on the host"}, restart}},
		{name: "good", found: fact.Certificates{Exists: true, Link: true, PEM: []byte(issue(ca, nil))}, known: true, want: resource.NoOp},
		{name: "good, and never recorded", found: fact.Certificates{Exists: true, Link: true, PEM: []byte(issue(ca, nil))}, want: resource.NoOp},
		{name: "short-lived", found: fact.Certificates{Exists: true, Link: true, PEM: []byte(issue(ca, lasting(7*time.Minute, time.Minute)))}, want: resource.NoOp},
		{name: "not renewed in time", found: fact.Certificates{Exists: true, Link: true, PEM: []byte(issue(ca, lasting(362*day, 3*day+time.Hour)))}, want: resource.Replace,
			reasons: []resource.Reason{{Cause: resource.Expiry, Text: "expires in 3 days, and the kubelet has not renewed it"}, restart}},
		{name: "expired", found: fact.Certificates{Exists: true, Link: true, PEM: []byte(issue(ca, lasting(368*day, -3*day)))}, want: resource.Replace,
			reasons: []resource.Reason{{Cause: resource.Expiry, Text: "expired 3 days ago, and the kubelet has not renewed it"}, restart}},
		{name: "another node's", found: fact.Certificates{Exists: true, Link: true, PEM: []byte(issue(ca, func(c *x509.Certificate) { c.Subject.CommonName = "system:node:other" }))}, want: resource.Replace,
			reasons: []resource.Reason{{Cause: resource.Intent, Text: "subject is CN=system:node:other"}, restart}},
		{name: "of another authority", found: fact.Certificates{Exists: true, Link: true, PEM: []byte(issue(other, nil))}, want: resource.Replace,
			reasons: []resource.Reason{{Cause: resource.Drift, Text: "not issued by authority kubernetes"}, restart}},
		{name: "no link", found: fact.Certificates{Exists: true, PEM: []byte(issue(ca, nil))}, want: resource.Replace,
			reasons: []resource.Reason{{Cause: resource.Drift, Text: "a file instead of a link, which the kubelet can't replace"}, restart}},
		{name: "garbage", found: fact.Certificates{Exists: true, Link: true, PEM: []byte("x")}, want: resource.Replace,
			reasons: []resource.Reason{{Cause: resource.Drift, Text: "holds no PEM certificate"}, restart}},
	} {
		t.Run(test.name, func(t *testing.T) {
			records := map[string]fact.Record{}
			if test.known {
				records["rotatedcert:/kubelet-client-current.pem"] = fact.Record{Digest: "x"}
			}
			answers := map[fact.Key]any{
				{Kind: fact.KindCertificates, Name: wanted.Path}: test.found,
				file(planned.Path):    fact.File{},
				file(planned.KeyPath): fact.File{},
			}
			if test.planned != "" {
				key := found("key", 0o600)
				key.Content, key.HasContent = nil, false
				answers[file(planned.Path)], answers[file(planned.KeyPath)] = found(test.planned, 0o644), key
				records["cert:"+planned.Path] = fact.Record{Files: map[string]string{planned.Path: sha(test.planned), planned.KeyPath: sha("key")}}
			}
			facts := host(records, answers)
			facts.Host.Time = now()
			change, err := spec.Diff(facts)
			if err != nil {
				t.Fatal(err)
			}
			if change.Action != test.want {
				t.Errorf("action is %s, want %s", change.Action, test.want)
			}
			if diff := cmp.Diff(test.reasons, change.Reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			if takes := change.Evidence == sha(test.planned) && len(change.Fields) > 0; takes != test.takes {
				t.Errorf("takes over the planned one: %v, want %v", takes, test.takes)
			}
			if change.Record.Empty() {
				t.Error("nothing is remembered")
			}
		})
	}
}

// The file holds a private key: its content must stay where it is.
func TestRotatedCertificateNeverAsksForItsKey(t *testing.T) {
	spec := resource.RotatedCertificate{Wanted: resource.Certificate{Path: "/current.pem", KeyPath: "/current.pem"}, Takes: resource.Certificate{Path: "/a.crt", KeyPath: "/a.key"}}
	for _, q := range spec.Queries() {
		if q.Content && q.Name != "/a.crt" {
			t.Errorf("the content of %s is asked for", q.Name)
		}
	}
}

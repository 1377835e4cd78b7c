package resource

import (
	"fmt"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
)

// RotatedCertificate is a kubelet's certificate that the kubelet renews itself,
// in the places where it keeps such certificates
// (https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/):
// key and certificate lie in one file, to which a link leads that the kubelet
// sets anew. Only the first one comes from kinstall; it looks after the others,
// and steps in when the kubelet has failed to renew one.
type RotatedCertificate struct {
	// Wanted says what it must be. Its Path is that of the link; its KeyPath and
	// RenewBefore mean nothing here.
	Wanted Certificate
	// Takes is the certificate that kinstall issued and renewed until now. While
	// that is good it is the first one, so that a node that runs keeps what the
	// API knows it by.
	Takes Certificate
	// Unit holds the certificate and reads it when it starts.
	Unit string
}

// ID implements Resource.
func (c RotatedCertificate) ID() ID { return NewID(KindRotatedCertificate, c.Wanted.Path) }

// Queries implements Resource.
func (c RotatedCertificate) Queries() []fact.Query {
	return append(c.Takes.Queries(), fact.Query{Kind: fact.KindCertificates, Name: c.Wanted.Path})
}

// late is the part of a certificate's life, one in so many, in which kubelets
// have renewed it long since: they do when 70 to 90 % of it are over
// (client-go's certificate manager).
const late = 20

// rotatedRecord stands in a host's state for as long as the kubelet renews the
// certificate, whichever it has.
func rotatedRecord() fact.Record { return fact.Record{Digest: "renewed by the kubelet"} }

// Diff implements Resource.
func (c RotatedCertificate) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Certificates(c.Wanted.Path)
	if err != nil {
		return Change{}, err
	}
	if !found.Exists {
		return c.first(facts, found)
	}
	change := Change{Action: NoOp, Record: rotatedRecord()}
	describe := func() string { return "not a certificate\n" }
	if cert, err := ParseCertificate(found.PEM); err != nil {
		change.because(Drift, err.Error())
	} else {
		spec := c.Wanted
		spec.RenewBefore = cert.NotAfter.Sub(cert.NotBefore) / late
		spec.Key = AlgorithmOf(cert.PublicKey) // the kubelet chooses, and always the same
		for _, reason := range spec.judge(cert, facts.Host.Time, false) {
			if reason.Cause == Expiry {
				reason.Text += ", and the kubelet has not renewed it"
			}
			change.Reasons = append(change.Reasons, reason)
		}
		describe = func() string {
			return describeCertificate(cert.Subject.CommonName, cert.Subject.Organization, cert.DNSNames, addressStrings(cert.IPAddresses), UsagesOf(cert), AlgorithmOf(cert.PublicKey), c.Wanted.issuerName(cert),
				fmt.Sprintf("valid         %s to %s", cert.NotBefore.UTC().Format(time.DateTime), cert.NotAfter.UTC().Format(time.DateTime)))
		}
	}
	if !found.Link {
		change.because(Drift, "a file instead of a link, which the kubelet can't replace")
	}
	if len(change.Reasons) > 0 {
		change.Action = Replace
		change.Text = &Text{Name: "certificate", Before: describe(), After: c.Text()}
		change.because(Follows, c.Unit+" is restarted to read it")
	}
	return change, nil
}

// first is the change that brings the first certificate.
func (c RotatedCertificate) first(facts fact.Set, found fact.Certificates) (Change, error) {
	change := Change{Action: Create, Record: rotatedRecord()}
	if _, known := recorded(facts, c.ID()); known || found.Link {
		change.because(Drift, "deleted on the host")
	}
	taken, err := c.Takes.Diff(facts)
	if err != nil {
		return Change{}, err
	}
	if taken.Action == NoOp || taken.Action == Update {
		change.Evidence = taken.Evidence
		change.Fields = []Field{{Name: "takes over", After: c.Takes.Path}}
		return change, nil
	}
	change.Text = &Text{Name: "certificate", After: c.Text()}
	return change, nil
}

// Text is the specification in words, one fact a line, as it is shown in a plan.
func (c RotatedCertificate) Text() string {
	w := c.Wanted
	return describeCertificate(w.CommonName, w.Organization, w.DNSNames, w.Addresses, w.Usages(), w.Key.Or(), w.Authority,
		fmt.Sprintf("validity      %s, renewed by the kubelet", days(w.Validity)))
}

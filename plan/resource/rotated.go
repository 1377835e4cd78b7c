package resource

import (
	"crypto/x509"
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
	// Join, if not nil, has the kubelet ask the cluster for its first certificate
	// where Takes gives it none; else kinstall issues it.
	Join *Join
	// Requested says that the kubelet asks for its first certificate by itself, as
	// the node that it is, when Takes gives it none.
	Requested bool
}

// Join is how a kubelet without a certificate may ask for one: by a token that
// enters no plan, is good for minutes and deleted when the apply ends
// (https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/).
type Join struct {
	Server    string // "https://HOST:PORT" of the API
	Authority string // path of the certificate of the API's authority
	// File is the kubeconfig with the token, where the kubelet looks for it: in
	// memory, not on a disk.
	File string
}

// JoinGroup is that of who shows a token which an apply made.
const JoinGroup = "system:bootstrappers:kinstall"

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
	cert, reasons := c.judge(found, facts.Host.Time)
	change.Reasons = reasons
	if len(change.Reasons) == 0 {
		return change, nil
	}
	describe := "not a certificate\n"
	if cert != nil {
		describe = describeCertificate(cert.Subject.CommonName, cert.Subject.Organization, cert.DNSNames, addressStrings(cert.IPAddresses), UsagesOf(cert), AlgorithmOf(cert.PublicKey), c.Wanted.issuerName(cert),
			fmt.Sprintf("valid         %s to %s", cert.NotBefore.UTC().Format(time.DateTime), cert.NotAfter.UTC().Format(time.DateTime)))
	}
	change.Action = Replace
	change.Text = &Text{Name: "certificate", Before: describe, After: c.Text()}
	change.because(Follows, c.Unit+" is restarted to read it")
	return change, nil
}

// judge reads the certificate found, nil if that can't be done, and says what is
// wrong with it.
func (c RotatedCertificate) judge(found fact.Certificates, now time.Time) (cert *x509.Certificate, reasons []Reason) {
	cert, err := ParseCertificate(found.PEM)
	if err != nil {
		reasons = append(reasons, Reason{Drift, err.Error()})
	} else {
		spec := c.Wanted
		spec.RenewBefore = cert.NotAfter.Sub(cert.NotBefore) / late
		spec.Key = AlgorithmOf(cert.PublicKey) // the kubelet chooses, and always the same
		reasons = spec.judge(cert, now, false)
		for i := range reasons {
			if reasons[i].Cause == Expiry {
				reasons[i].Text += ", and the kubelet has not renewed it"
			}
		}
	}
	if !found.Link {
		reasons = append(reasons, Reason{Drift, "a file instead of a link, which the kubelet can't replace"})
	}
	return cert, reasons
}

// first is the change that brings the first certificate.
func (c RotatedCertificate) first(facts fact.Set, found fact.Certificates) (Change, error) {
	change := Change{Action: Create, Record: rotatedRecord()}
	if _, known := recorded(facts, c.ID()); known || found.Link {
		change.because(Drift, "missing on the host")
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
	if c.Requested && len(change.Reasons) == 0 {
		change.Action = Deferred
		change.because(Unknown, "the kubelet asks for it when it runs")
		return change, nil
	}
	if len(change.Reasons) > 0 {
		change.because(Follows, c.Unit+" is restarted to read it")
	}
	change.Text = &Text{Name: "certificate", After: c.Text()}
	return change, nil
}

// Text is the specification in words, one fact a line, as it is shown in a plan.
func (c RotatedCertificate) Text() string {
	w := c.Wanted
	validity := fmt.Sprintf("validity      %s, renewed by the kubelet", days(w.Validity))
	if c.Requested {
		validity = "validity      the controller manager's, asked for and renewed by the kubelet as kinstall approves"
	}
	if c.Join != nil {
		validity = "validity      the controller manager's, asked for with a token and renewed by the kubelet"
	}
	return describeCertificate(w.CommonName, w.Organization, w.DNSNames, w.Addresses, w.Usages(), w.Key.Or(), w.Authority, validity)
}

// Joined waits until a kubelet that was to ask for its certificate has it, and
// takes the token away from its host.
type Joined struct {
	Certificate RotatedCertificate
	File        string // with the token, as the certificate's Join has it
}

// ID implements Resource.
func (j Joined) ID() ID { return NewID(KindJoined, j.File) }

// Queries implements Resource. The token's file is never read.
func (j Joined) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindCertificates, Name: j.Certificate.Wanted.Path}, {Kind: fact.KindFile, Name: j.File}}
}

// Diff implements Resource.
func (j Joined) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Certificates(j.Certificate.Wanted.Path)
	if err != nil {
		return Change{}, err
	}
	token, err := facts.File(j.File)
	if err != nil {
		return Change{}, err
	}
	var change Change
	_, wrong := j.Certificate.judge(found, facts.Host.Time)
	switch {
	case !found.Exists || len(wrong) > 0:
		change = Change{Action: Deferred}
		change.because(Unknown, "the kubelet asks for its certificate when it starts")
	case token.Exists:
		change = Change{Action: Update, Fields: []Field{{Name: "token", Before: "on the host", Sensitive: true}}}
		change.because(Drift, "the kubelet has its certificate")
	default:
		change = Change{Action: NoOp}
	}
	return change, nil
}

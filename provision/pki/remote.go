package pki

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/signer"
)

// Signer has certificates signed by an authority whose key is not here. Nothing
// of what it answers is believed.
type Signer interface {
	Sign(context.Context, signer.Request) ([]byte, error)
	// String names the signer in messages.
	String() string
}

// AnswerError says that a signer gave no certificate, or not the one it was asked for.
type AnswerError struct {
	Signer string
	Path   string // of the certificate on its host; "" for one in memory
	Asked  string
	Came   string // what the certificate says that came, "" if none did
	Err    error
	hint   string
}

func (e *AnswerError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v; asked for", e.Signer, e.Err)
	if e.Path != "" {
		fmt.Fprintf(&b, " %s:", e.Path)
	}
	fmt.Fprintf(&b, " %s", e.Asked)
	if e.Came != "" {
		fmt.Fprintf(&b, "; came %s", e.Came)
	}
	return b.String() + "; nothing of it was used"
}

func (e *AnswerError) Unwrap() error { return e.Err }

// Hint returns advice for the operator, or "".
func (e *AnswerError) Hint() string { return e.hint }

// ask has the authority's signer sign a certificate for a key.
func (s *Store) ask(ctx context.Context, p *pair, spec resource.Certificate, template *x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	request, err := requestFor(template, key)
	if err != nil {
		return nil, err
	}
	fault := &AnswerError{Signer: p.remote.String(), Path: spec.Path, Asked: describe(template, key.Public())}
	answer, err := p.remote.Sign(ctx, signer.Request{Authority: spec.Authority, CSR: request, NotAfter: template.NotAfter})
	if err != nil {
		fault.Err = err
		return nil, fault
	}
	certs, err := parseCertificates(answer)
	if err != nil {
		fault.Err = fmt.Errorf("its answer %w (%d bytes: %.120q)", err, len(answer), answer)
		return nil, fault
	}
	cert := certs[0]
	if fault.hint, fault.Err = s.judge(p, spec, template, key, cert); fault.Err != nil {
		fault.Came = describe(cert, cert.PublicKey)
		return nil, fault
	}
	return cert, nil
}

// judge reports why a certificate is not the one that was asked for, with what to
// do about it.
func (s *Store) judge(p *pair, spec resource.Certificate, asked *x509.Certificate, key crypto.Signer, cert *x509.Certificate) (hint string, fault error) {
	own, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	now := s.now()
	usages := resource.UsagesOf(cert)
	switch {
	case !ok || !own.Equal(cert.PublicKey):
		return "", errors.New("the certificate is for another key")
	case cert.Subject.CommonName != spec.CommonName:
		return "", fmt.Errorf("the certificate is for CN=%.80q", cert.Subject.CommonName)
	case !same(cert.Subject.Organization, spec.Organization):
		return "the signer must take the subject from the request", fmt.Errorf("the certificate's organizations are %.200q, which are groups in Kubernetes", cert.Subject.Organization)
	case !same(cert.DNSNames, spec.DNSNames) || !same(addresses(cert), addresses(asked)) || len(cert.EmailAddresses)+len(cert.URIs) > 0:
		return "the signer must take the names and addresses from the request", errors.New("the certificate has other SANs")
	case cert.IsCA || cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return "", errors.New("the certificate is a certificate authority's")
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return "the signer's profile needs \"digital signature\" (\"signing\")", errors.New("the certificate is not for digital signatures, which TLS needs")
	case slices.ContainsFunc(spec.Usages(), func(u string) bool { return !slices.Contains(usages, u) }):
		return "the signer's profile needs \"server auth\" and \"client auth\"", fmt.Errorf("the certificate is not for %s", strings.Join(spec.Usages(), " and "))
	case len(cert.UnknownExtKeyUsage) > 0 || len(usages) != len(cert.ExtKeyUsage):
		return "the signer's profile must have no other extended usages than \"server auth\" and \"client auth\"", errors.New("the certificate is for more than servers and clients")
	case cert.NotBefore.After(now):
		return "compare the clocks of this machine and the signer's", fmt.Errorf("the certificate is valid from %s, by this machine's clock in %s", moment(cert.NotBefore), cert.NotBefore.Sub(now).Round(time.Second))
	case !cert.NotAfter.After(now):
		return "", fmt.Errorf("the certificate expired on %s", moment(cert.NotAfter))
	case cert.NotAfter.Sub(now) <= spec.RenewBefore && cert.NotAfter.Before(p.cert.NotAfter):
		return "have the signer give more time, or lower cert_renew_before", fmt.Errorf("the certificate ends on %s, within cert_renew_before (%s): it would be renewed again and again", moment(cert.NotAfter), spec.RenewBefore)
	}
	if err := cert.CheckSignatureFrom(p.cert); err != nil {
		return fmt.Sprintf("if that is an authority of yours, put its certificate first in %s, followed by those above it up to the root", p.public), fmt.Errorf("the certificate was signed by %q, not by the authority in %s", cert.Issuer, p.public)
	}
	if err := p.verify(cert, spec.Usages()); err != nil {
		return "", fmt.Errorf("the certificate %w", err)
	}
	return "", nil
}

// requestFor is a certificate's request (PKCS #10) in PEM. Usages are requested
// as extensions.
func requestFor(template *x509.Certificate, key crypto.Signer) ([]byte, error) {
	request := &x509.CertificateRequest{Subject: template.Subject, DNSNames: template.DNSNames, IPAddresses: template.IPAddresses}
	// RFC 5280, 4.2.1.3: bits are counted from the most significant one.
	usage := asn1.BitString{Bytes: []byte{0x80}, BitLength: 1}
	if template.KeyUsage&x509.KeyUsageKeyEncipherment != 0 {
		usage = asn1.BitString{Bytes: []byte{0xa0}, BitLength: 3}
	}
	var extended []asn1.ObjectIdentifier
	for _, u := range template.ExtKeyUsage {
		last := 1 // id-kp-serverAuth
		if u == x509.ExtKeyUsageClientAuth {
			last = 2
		}
		extended = append(extended, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, last})
	}
	for _, e := range []struct {
		id    asn1.ObjectIdentifier
		value any
	}{{asn1.ObjectIdentifier{2, 5, 29, 15}, usage}, {asn1.ObjectIdentifier{2, 5, 29, 37}, extended}} {
		der, err := asn1.Marshal(e.value)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		request.ExtraExtensions = append(request.ExtraExtensions, pkix.Extension{Id: e.id, Critical: e.id[3] == 15, Value: der})
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, request, key)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// describe is what a certificate says, on one line.
func describe(cert *x509.Certificate, public crypto.PublicKey) string {
	sans := append(slices.Clone(cert.DNSNames), addresses(cert)...)
	const limit = 40
	if len(sans) > limit {
		sans = append(sans[:limit], fmt.Sprintf("and %d more", len(sans)-limit))
	}
	text := fmt.Sprintf("%.200q for %s, key %s", cert.Subject.String(), strings.Join(resource.UsagesOf(cert), " and "), resource.AlgorithmOf(public))
	if len(sans) > 0 {
		text += fmt.Sprintf(", SANs %.1000q", strings.Join(sans, " "))
	}
	return text + ", until " + moment(cert.NotAfter)
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func addresses(cert *x509.Certificate) []string {
	var all []string
	for _, a := range cert.IPAddresses {
		all = append(all, a.String())
	}
	return all
}

// same reports whether two lists hold the same, in any order.
func same(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

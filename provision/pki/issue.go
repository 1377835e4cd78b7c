package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan/resource"
)

// Issue mints a leaf certificate with a new key, both in PEM; the certificates
// between it and its root follow it. The certificate says exactly what the
// specification does: subject, SANs, usages. It is valid from five minutes ago for
// the specified time, but not beyond the end of its authority. The caller writes
// the key to its host and keeps it nowhere else.
//
// Where a Signer signs for the authority, it is asked, and what it answers is
// returned only if it is what was asked for: see AnswerError. The time is then
// the signer's to choose, as long as it reaches beyond the renewal window, and
// the certificate may be for servers and clients where one of them was asked for.
//
// A specification compiled against another authority than the one in the
// store is refused: the certificate would not satisfy it.
func (s *Store) Issue(ctx context.Context, spec resource.Certificate) (certPEM, keyPEM []byte, err error) {
	wrap := func(err error) error {
		return fmt.Errorf("issue certificate %q from authority %q: %w", spec.CommonName, spec.Authority, err)
	}
	p, err := s.pair(spec.Authority)
	if err != nil {
		return nil, nil, wrap(err)
	}
	if len(spec.Issuer) > 0 && !bytes.Equal(spec.Issuer, p.bytes(resource.PartCertificate)) || len(spec.Issuer) > 0 && !bytes.Equal(spec.Chain, p.served) {
		return nil, nil, wrap(errors.New("the plan was made with another authority of that name; plan again"))
	}
	cert, key, err := s.sign(ctx, p, spec)
	if err != nil {
		return nil, nil, wrap(err)
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, wrap(err)
	}
	return append(encodeCertificate(cert.Raw), p.served...), keyPEM, nil
}

// sign makes a key and has a certificate for it signed, here or by the
// authority's signer.
func (s *Store) sign(ctx context.Context, p *pair, spec resource.Certificate) (*x509.Certificate, crypto.Signer, error) {
	if p.cert == nil {
		return nil, nil, errors.New("it is no certificate authority")
	}
	now := s.now().UTC()
	switch {
	case spec.CommonName == "":
		return nil, nil, errors.New("no common name")
	case spec.Validity <= 0:
		return nil, nil, fmt.Errorf("validity is %s", spec.Validity)
	case !spec.Server && !spec.Client:
		return nil, nil, errors.New("no usage: neither server nor client")
	case !now.Before(p.cert.NotAfter):
		return nil, nil, fmt.Errorf("the authority expired on %s", p.cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(p.cert.NotBefore):
		return nil, nil, fmt.Errorf("the authority is valid from %s, which is ahead of this machine's clock", p.cert.NotBefore.UTC().Format(time.RFC3339))
	}
	template, err := templateOf(spec)
	if err != nil {
		return nil, nil, err
	}
	template.NotBefore = later(now.Add(-clockSkew), p.cert.NotBefore)
	template.NotAfter = earlier(now.Add(spec.Validity), p.cert.NotAfter)
	key, err := newKey(spec.Key)
	if err != nil {
		return nil, nil, err
	}
	if p.remote != nil {
		cert, err := s.ask(ctx, p, spec, template, key)
		return cert, key, err
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.cert, key.Public(), p.signer)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read back certificate: %w", err)
	}
	if err := p.verify(cert, spec.Usages()); err != nil {
		return nil, nil, err
	}
	return cert, key, nil
}

// templateOf is what a specification asks for, without the time.
func templateOf(spec resource.Certificate) (*x509.Certificate, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: spec.CommonName, Organization: spec.Organization},
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		DNSNames:              spec.DNSNames,
		// AuthorityKeyId is taken from the authority by CreateCertificate.
	}
	if spec.Key.IsRSA() {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // for keys of no other kind
	}
	if spec.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if spec.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, a := range spec.Addresses {
		address, err := netip.ParseAddr(a)
		if err != nil || address.Zone() != "" {
			return nil, fmt.Errorf("SAN %q is not an IP address", a)
		}
		template.IPAddresses = append(template.IPAddresses, net.IP(address.Unmap().AsSlice()))
	}
	return template, nil
}

// ClientTLS returns a configuration for talking to servers whose certificates
// come from the authority, with a client certificate of that authority that
// exists in memory only. The certificate is valid for lifetime; a handshake in
// the second half of it, or later, gets a new one, so that a configuration
// outlives its first certificate. Of an authority that a Signer signs for, all
// configurations for one name share a certificate.
func (s *Store) ClientTLS(authority, commonName string, organization []string, lifetime time.Duration) (*tls.Config, error) {
	p, err := s.pair(authority)
	if err != nil {
		return nil, fmt.Errorf("client certificate %q: %w", commonName, err)
	}
	client := s.client(p, resource.Certificate{
		Authority: authority, CommonName: commonName, Organization: organization, Client: true, Validity: lifetime,
	})
	first, err := client.get()
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.cert)
	return &tls.Config{
		MinVersion:           tls.VersionTLS12,
		RootCAs:              roots,
		Certificates:         []tls.Certificate{*first},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return client.get() },
	}, nil
}

func (s *Store) client(p *pair, spec resource.Certificate) *clientCertificate {
	if p.remote == nil {
		return &clientCertificate{store: s, authority: p, spec: spec}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := strings.Join(append([]string{spec.Authority, spec.CommonName}, spec.Organization...), "\x00")
	if s.clients[id] == nil {
		s.clients[id] = &clientCertificate{store: s, authority: p, spec: spec}
	}
	return s.clients[id]
}

// clientCertificate is a certificate in memory that is renewed as it ages.
type clientCertificate struct {
	store     *Store
	authority *pair
	spec      resource.Certificate

	mu      sync.Mutex
	current *tls.Certificate
	renewAt time.Time
}

func (c *clientCertificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.store.now()
	if c.current != nil && now.Before(c.renewAt) {
		return c.current, nil
	}
	// A signer has a deadline of its own; a handshake has no context to end it by.
	cert, key, err := c.store.sign(context.Background(), c.authority, c.spec)
	if err != nil {
		return nil, fmt.Errorf("client certificate %q from authority %q: %w", c.spec.CommonName, c.spec.Authority, err)
	}
	c.renewAt = earlier(now.Add(c.spec.Validity/2), now.Add(cert.NotAfter.Sub(now)/2))
	c.current = &tls.Certificate{Certificate: append([][]byte{cert.Raw}, c.authority.servedDER()...), PrivateKey: key}
	return c.current, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

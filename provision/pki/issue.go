package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan/resource"
)

// Issue mints a leaf certificate with a new key, both in PEM. The
// certificate says exactly what the specification does: subject, SANs, usages.
// It is valid from five minutes ago for the specified time, but not beyond the
// end of its authority. The caller writes the key to its host and keeps it
// nowhere else.
//
// A specification compiled against another authority than the one in the
// store is refused: the certificate would not satisfy it.
func (s *Store) Issue(spec resource.Certificate) (certPEM, keyPEM []byte, err error) {
	wrap := func(err error) error {
		return fmt.Errorf("issue certificate %q from authority %q: %w", spec.CommonName, spec.Authority, err)
	}
	p, err := s.pair(spec.Authority)
	if err != nil {
		return nil, nil, wrap(err)
	}
	if len(spec.Issuer) > 0 && !bytes.Equal(spec.Issuer, p.bytes(resource.PartCertificate)) {
		return nil, nil, wrap(errors.New("the plan was made with another authority of that name; plan again"))
	}
	der, key, err := s.sign(p, spec)
	if err != nil {
		return nil, nil, wrap(err)
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, wrap(err)
	}
	return encodeCertificate(der), keyPEM, nil
}

func (s *Store) sign(p *pair, spec resource.Certificate) (der []byte, key crypto.Signer, err error) {
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
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: spec.CommonName, Organization: spec.Organization},
		NotBefore:             later(now.Add(-clockSkew), p.cert.NotBefore),
		NotAfter:              earlier(now.Add(spec.Validity), p.cert.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature, // keyEncipherment is for RSA keys only
		BasicConstraintsValid: true,
		DNSNames:              spec.DNSNames,
		// AuthorityKeyId is taken from the authority by CreateCertificate.
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
			return nil, nil, fmt.Errorf("SAN %q is not an IP address", a)
		}
		template.IPAddresses = append(template.IPAddresses, net.IP(address.Unmap().AsSlice()))
	}
	if key, err = newKey(spec.Key); err != nil {
		return nil, nil, err
	}
	if spec.Key.IsRSA() {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	der, err = x509.CreateCertificate(rand.Reader, template, p.cert, key.Public(), p.signer)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate: %w", err)
	}
	return der, key, nil
}

// ClientTLS returns a configuration for talking to servers whose certificates
// come from the authority, with a client certificate of that authority that
// exists in memory only. The certificate is valid for lifetime; a handshake in
// the second half of it, or later, gets a new one, so that a configuration
// outlives its first certificate.
func (s *Store) ClientTLS(authority, commonName string, organization []string, lifetime time.Duration) (*tls.Config, error) {
	p, err := s.pair(authority)
	if err != nil {
		return nil, fmt.Errorf("client certificate %q: %w", commonName, err)
	}
	client := &clientCertificate{store: s, authority: p, spec: resource.Certificate{
		Authority: authority, CommonName: commonName, Organization: organization, Client: true, Validity: lifetime,
	}}
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
	if c.current != nil && c.store.now().Before(c.renewAt) {
		return c.current, nil
	}
	der, key, err := c.store.sign(c.authority, c.spec)
	if err != nil {
		return nil, fmt.Errorf("client certificate %q from authority %q: %w", c.spec.CommonName, c.spec.Authority, err)
	}
	c.renewAt = c.store.now().Add(c.spec.Validity / 2)
	c.current = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
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

package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
)

// read takes a certificate authority's file: its own certificate, of an
// intermediate those above it up to the root, in any order, and what else is
// trusted beside it (the authority that it is about to follow, perhaps).
func (p *pair) read(path string, text []byte) error {
	fail := func(err error, hint string) error { return &FileError{Path: path, Err: err, hint: hint} }
	certs, err := parseCertificates(text)
	if err != nil {
		return fail(err, "restore the file from a backup")
	}
	if err := isAuthority(certs[0]); err != nil {
		return fail(err, "the authority's own certificate stands first in the file")
	}
	others := certs[1:]
	var chain []*x509.Certificate
	for last := certs[0]; !selfSigned(last); last = chain[len(chain)-1] {
		above := -1
		for i, c := range others {
			if bytes.Equal(c.RawSubject, last.RawIssuer) && isAuthority(c) == nil && last.CheckSignatureFrom(c) == nil {
				above = i
			}
		}
		if above < 0 {
			return fail(fmt.Errorf("the authority is an intermediate, and the certificate of %q, which signed %q, is not in the file", last.Issuer, last.Subject),
				"append the certificates above the authority's own, up to and with the root")
		}
		chain = append(chain, others[above])
		others = append(append([]*x509.Certificate{}, others[:above]...), others[above+1:]...)
		// Authorities between this one and the certificates that ours will sign
		// (RFC 5280, 4.2.1.9).
		if top := chain[len(chain)-1]; (top.MaxPathLen > 0 || top.MaxPathLenZero) && top.MaxPathLen < len(chain) {
			return fail(fmt.Errorf("%q allows for %d authorities below itself, and here are %d", top.Subject, top.MaxPathLen, len(chain)),
				"nobody would accept a certificate; the authority must be one that signs certificates of hosts")
		}
	}
	p.cert, p.chain, p.bundlePEM, p.publicPEM = certs[0], chain, text, text
	if len(chain) > 0 {
		p.publicPEM = encodeCertificate(p.cert.Raw)
		for _, c := range others {
			p.publicPEM = append(p.publicPEM, encodeCertificate(c.Raw)...)
		}
		for _, der := range p.servedDER() {
			p.served = append(p.served, encodeCertificate(der)...)
		}
	}
	return nil
}

func (p *pair) servedDER() [][]byte {
	if p.cert == nil || len(p.chain) == 0 {
		return nil
	}
	all := [][]byte{p.cert.Raw}
	for _, c := range p.chain[:len(p.chain)-1] { // the last one is the root
		all = append(all, c.Raw)
	}
	return all
}

// verify reports why the programs of a cluster would not accept a certificate of
// the authority for a usage: constraints of those above it on names and usages.
func (p *pair) verify(cert *x509.Certificate, usages []string) error {
	root := p.cert
	between := x509.NewCertPool()
	if n := len(p.chain); n > 0 {
		root = p.chain[n-1]
		between.AddCert(p.cert)
		for _, c := range p.chain[:n-1] {
			between.AddCert(c)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	for _, usage := range usages {
		extended := x509.ExtKeyUsageClientAuth
		if usage == "server" {
			extended = x509.ExtKeyUsageServerAuth
		}
		// Whether all of them are valid now is judged apart.
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{extended}, CurrentTime: cert.NotBefore.Add(clockSkew)})
		if err != nil {
			return fmt.Errorf("would not be accepted as a %s's: %w", usage, err)
		}
	}
	return nil
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil
}

// maxCertificates bounds how many certificates stand in one file or answer.
const maxCertificates = 32

// parseCertificates reads all certificates of a text in PEM; there is one at least.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a PEM %q beside certificates", printable(block.Type))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds a certificate that can't be parsed: %w", err)
		}
		if certs = append(certs, cert); len(certs) > maxCertificates {
			return nil, fmt.Errorf("holds more than %d certificates", maxCertificates)
		}
	}
	if len(certs) == 0 {
		return nil, errors.New("holds no PEM certificate")
	}
	return certs, nil
}

func isAuthority(cert *x509.Certificate) error {
	if !cert.BasicConstraintsValid || !cert.IsCA || (cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0) {
		return errors.New("holds a certificate that is not a certificate authority's")
	}
	return nil
}

// noCertificate says that the certificate of an authority is missing, for which
// somebody else signs.
func noCertificate(path string, remote Signer) error {
	return &FileError{Path: path, Err: fmt.Errorf("is missing: %s signs for this authority, whose certificate must be here", remote),
		hint: fmt.Sprintf("put the authority's certificate there, of an intermediate with those above it up to the root; no %s", filepath.Base(path[:len(path)-len(".crt")]+".key"))}
}

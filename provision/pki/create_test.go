package pki

import (
	"crypto/x509"
	"testing"

	"github.com/kinstall/kinstall/plan/resource"
)

// Every algorithm that an inventory may name makes an authority and certificates.
func TestKeyAlgorithms(t *testing.T) {
	for _, algorithm := range resource.KeyAlgorithms() {
		t.Run(string(algorithm), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, private(t, dir))
			subject := resource.Subject{Organization: "Wuxia Ltd", OrganizationalUnit: "Platform", Country: "CN", Province: "Henan", Locality: "Dengfeng"}
			if err := s.Create(resource.Authority{Name: "etcd", CommonName: "etcd-ca", Subject: subject, Key: algorithm, Validity: year}); err != nil {
				t.Fatal(err)
			}
			authority := certificate(t, s.Certificate("etcd"))
			if got := resource.AlgorithmOf(authority.PublicKey); got != algorithm {
				t.Errorf("authority's key is %s", got)
			}
			if got, want := authority.Subject.String(), "CN=etcd-ca,OU=Platform,O=Wuxia Ltd,L=Dengfeng,ST=Henan,C=CN"; got != want {
				t.Errorf("subject %q, want %q", got, want)
			}
			certPEM, _, err := open(t, dir).Issue(t.Context(), resource.Certificate{Authority: "etcd", CommonName: "emei", Key: algorithm, Server: true, Validity: year})
			if err != nil {
				t.Fatal(err)
			}
			cert := certificate(t, certPEM)
			if got := resource.AlgorithmOf(cert.PublicKey); got != algorithm {
				t.Errorf("certificate's key is %s", got)
			}
			if err := cert.CheckSignatureFrom(authority); err != nil {
				t.Error(err)
			}
			// RFC 5480 and RFC 3279 on what keys of each kind are used for.
			if enciphers := cert.KeyUsage&x509.KeyUsageKeyEncipherment != 0; enciphers != algorithm.IsRSA() {
				t.Errorf("key usage %b", cert.KeyUsage)
			}
		})
	}
}

// Tokens are verified by those who know RS256 only.
func TestTokensAreSignedWithRSA(t *testing.T) {
	for algorithm, want := range map[resource.KeyAlgorithm]resource.KeyAlgorithm{
		"": resource.KeyRSA2048, resource.KeyECDSAP384: resource.KeyRSA2048, resource.KeyRSA3072: resource.KeyRSA3072,
	} {
		s := open(t, private(t, t.TempDir()))
		if err := s.Create(resource.Authority{Name: "service-account", Key: algorithm}); err != nil {
			t.Fatal(err)
		}
		if got := resource.AlgorithmOf(s.pairs["service-account"].signer.Public()); got != want {
			t.Errorf("%q: %s, want %s", algorithm, got, want)
		}
	}
}

package pki

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/rand"

	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/signer"
)

// signing answers as a function does.
type signing func(context.Context, signer.Request) ([]byte, error)

func (f signing) Sign(ctx context.Context, r signer.Request) ([]byte, error) { return f(ctx, r) }
func (f signing) String() string                                             { return "test signer" }

// honest signs what it is asked to, edited, as the authority n.
func honest(t *testing.T, n *node, edit func(*x509.Certificate)) signing {
	return func(_ context.Context, r signer.Request) ([]byte, error) {
		block, _ := pem.Decode(r.CSR)
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || request.CheckSignature() != nil {
			t.Errorf("bad request: %v", err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses,
			NotBefore: time.Now().Add(-time.Minute), NotAfter: r.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		public := request.PublicKey
		if edit != nil {
			edit(template)
			if template.PublicKey != nil {
				public = template.PublicKey
			}
		}
		der, err := x509.CreateCertificate(rand.Reader, template, n.cert, public, n.key)
		if err != nil {
			t.Error(err)
		}
		return encodeCertificate(der), nil
	}
}

// kept opens a store whose Kubernetes authority is with a signer.
func kept(t *testing.T, n *node, s Signer) *Store {
	t.Helper()
	store, err := Open(placed(t, "kubernetes", nil, n.pem()), Options{Signers: map[string]Signer{"kubernetes": s}})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestSignerSigns(t *testing.T) {
	var none *node
	ca := none.below(t, "kubernetes", nil)
	asked := 0
	s := kept(t, ca, signing(func(ctx context.Context, r signer.Request) ([]byte, error) {
		asked++
		block, _ := pem.Decode(r.CSR)
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		// What is asked for stands in the request: key usage, critical, and the extended one.
		var usages []string
		for _, e := range request.Extensions {
			usages = append(usages, e.Id.String())
		}
		if got := strings.Join(usages, " "); !strings.Contains(got, "2.5.29.15") || !strings.Contains(got, "2.5.29.37") || len(request.DNSNames) > 0 != strings.Contains(got, "2.5.29.17") {
			t.Errorf("the request's extensions are %s", got)
		}
		return honest(t, ca, nil)(ctx, r)
	}))
	if !s.Exists("kubernetes") || s.SHA256("kubernetes", resource.PartPrivateKey) != "" {
		t.Error("the authority must be there, and its key must not")
	}
	if _, err := s.Bytes("kubernetes", resource.PartPrivateKey); err == nil {
		t.Error("a key that is not there")
	}
	certPEM, _, err := s.Issue(t.Context(), apiserver)
	if err != nil {
		t.Fatal(err)
	}
	if err := certificate(t, certPEM).CheckSignatureFrom(ca.cert); err != nil {
		t.Error(err)
	}
	// One client certificate serves all who ask for that name.
	asked = 0
	for range 3 {
		if _, err := s.ClientTLS("kubernetes", "kinstall", []string{"system:masters"}, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times for one client certificate", asked)
	}
}

// Whatever comes that was not asked for is refused, with what was asked and what came.
func TestSignerAnswers(t *testing.T) {
	var none *node
	ca, other := none.below(t, "kubernetes", nil), none.below(t, "kubernetes", nil)
	edited := func(edit func(*x509.Certificate)) signing { return honest(t, ca, edit) }
	text := func(s string) signing {
		return func(context.Context, signer.Request) ([]byte, error) { return []byte(s), nil }
	}
	for _, tt := range []struct {
		name   string
		signer signing
		want   string
	}{
		{"garbage", text("<html>\x1b[2J503"), "holds no PEM certificate"},
		{"nothing", text(""), "holds no PEM certificate (0 bytes"},
		{"broken", text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "can't be parsed"},
		{"a private key", text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), `PEM "PRIVATE KEY"`},
		{"the authority itself", text(string(ca.pem())), "for another key"},
		{"an error", func(context.Context, signer.Request) ([]byte, error) {
			return nil, errors.New("gave no answer within 30s")
		}, "gave no answer within 30s"},
		{"many", text(strings.Repeat(string(ca.pem()), 40)), "more than 32 certificates"},
		{"another key", edited(func(c *x509.Certificate) { c.PublicKey = other.key.Public() }), "for another key"},
		{"another name", edited(func(c *x509.Certificate) { c.Subject.CommonName = "admin" }), `for CN="admin"`},
		{"another group", edited(func(c *x509.Certificate) { c.Subject.Organization = []string{"system:masters"} }), "groups in Kubernetes"},
		{"a group more", edited(func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 10}, Value: "system:masters"}, {Type: []int{2, 5, 4, 10}, Value: "test"}, {Type: []int{2, 5, 4, 10}, Value: "kinstall"}}
		}), "groups in Kubernetes"},
		{"a name less", edited(func(c *x509.Certificate) { c.DNSNames = c.DNSNames[1:] }), "other SANs"},
		{"a name more", edited(func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "evil") }), "other SANs"},
		{"another address", edited(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }), "other SANs"},
		{"a URI", edited(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "evil"}} }), "other SANs"},
		{"an authority", edited(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign }), "certificate authority's"},
		{"for clients only", edited(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }), "not for server"},
		{"for code", edited(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) }), "more than servers and clients"},
		{"for anything", edited(func(c *x509.Certificate) { c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, []int{1, 2, 3, 4}) }), "more than servers and clients"},
		{"no signatures", edited(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), "digital signature"},
		{"expired", edited(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}), "expired on"},
		{"yet to come", edited(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), "valid from"},
		{"short", edited(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(29 * 24 * time.Hour) }), "renewed again and again"},
		{"by another authority of that name", honest(t, other, nil), "not by the authority in kubernetes-ca.crt"},
		{"by one below it", honest(t, ca.below(t, "Below", nil), nil), `signed by "CN=Below"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := kept(t, ca, tt.signer).Issue(t.Context(), apiserver)
			var answer *AnswerError
			if !errors.As(err, &answer) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			for _, part := range []string{"test signer", apiserver.Path, "CN=kube-apiserver", "10.96.0.1", "shaolin", "for server", "nothing of it was used"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 3000 {
				t.Errorf("not fit to be printed: %q", err)
			}
		})
	}
}

// The directory and the inventory must agree on who has which key.
func TestSignerAndDirectory(t *testing.T) {
	var none *node
	ca := none.below(t, "kubernetes", nil)
	signers := Options{Signers: map[string]Signer{"kubernetes": honest(t, ca, nil)}}
	if _, err := Open(placed(t, "kubernetes", ca.key, ca.pem()), signers); err == nil || !strings.Contains(err.Error(), "kubernetes-ca.key: is there, although test signer signs") {
		t.Errorf("key and signer: %v", err)
	}
	for _, dir := range []string{placed(t, "etcd", ca.key, ca.pem()), filepath.Join(t.TempDir(), "pki")} {
		if _, err := Open(dir, signers); err == nil || !strings.Contains(err.Error(), "kubernetes-ca.crt: is missing: test signer signs") {
			t.Errorf("no certificate: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "kubernetes-ca.crt")); !errors.Is(err, fs.ErrNotExist) {
			t.Error("something was written")
		}
	}
	if _, err := Open(placed(t, "kubernetes", nil, ca.pem()), Options{}); err == nil || !strings.Contains(err.Error(), "kubernetes-ca.key: is missing, but kubernetes-ca.crt is there") {
		t.Errorf("neither key nor signer: %v", err)
	}
}

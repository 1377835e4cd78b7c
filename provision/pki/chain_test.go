package pki

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// node is an authority that an organisation of the test's keeps.
type node struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (n node) pem() []byte { return encodeCertificate(n.cert.Raw) }

// below makes an authority that n signs, a root where n is nil.
func (n *node) below(t *testing.T, name string, edit func(*x509.Certificate)) *node {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(3 * year)}
	if edit != nil {
		edit(template)
	}
	parent, signer := template, key
	if n != nil {
		parent, signer = n.cert, n.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &node{cert, key}
}

// placed puts an authority's files into a new directory; without a key where it is nil.
func placed(t *testing.T, name string, key *ecdsa.PrivateKey, certs ...[]byte) string {
	t.Helper()
	dir := private(t, t.TempDir())
	var text []byte
	for _, c := range certs {
		text = append(text, c...)
	}
	if err := os.WriteFile(filepath.Join(dir, name+"-ca.crt"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if key != nil {
		keyPEM, err := encodeKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+"-ca.key"), keyPEM, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// An intermediate's certificates are served with what leads to the root; hosts
// verify clients by the intermediate alone.
func TestIntermediate(t *testing.T) {
	var none *node
	root := none.below(t, "Root", nil)
	policy := root.below(t, "Policy", nil)
	own := policy.below(t, "Kubernetes", func(c *x509.Certificate) { c.MaxPathLenZero = true })
	s := open(t, placed(t, "kubernetes", own.key, own.pem(), root.pem(), policy.pem())) // in any order
	if got, want := string(s.Certificate("kubernetes")), string(own.pem()); got != want {
		t.Errorf("clients are verified by\n%s, want the intermediate alone", got)
	}
	if got, want := string(s.Chain("kubernetes")), string(own.pem())+string(policy.pem()); got != want {
		t.Errorf("served with\n%s, want the intermediate and what is between it and the root", got)
	}
	bundle, err := s.Bytes("kubernetes", resource.PartBundle)
	if err != nil || string(bundle) != string(own.pem())+string(root.pem())+string(policy.pem()) {
		t.Errorf("bundle is\n%s (%v), want the file", bundle, err)
	}
	spec := apiserver
	spec.Issuer, spec.Chain = s.Certificate("kubernetes"), s.Chain("kubernetes")
	certPEM, keyPEM, err := s.Issue(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}

	// Who knows the root alone verifies what is served.
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	if len(pair.Certificate) != 3 {
		t.Errorf("%d certificates are served, want 3", len(pair.Certificate))
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(s.Certificate("kubernetes"))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	defer server.Close()
	get := func(config *tls.Config) error {
		config = config.Clone()
		config.ServerName = "kubernetes"
		response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}).Get(server.URL)
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	config, err := s.ClientTLS("kubernetes", "kinstall", []string{"system:masters"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := get(config); err != nil {
		t.Errorf("with the intermediate as anchor: %v", err)
	}
	config.RootCAs = x509.NewCertPool()
	config.RootCAs.AddCert(root.cert)
	if err := get(config); err != nil {
		t.Errorf("with the root as anchor: %v", err)
	}

	// What another authority below the same root signs is nobody's here.
	sibling := policy.below(t, "Kubernetes of others", nil)
	others, err := open(t, placed(t, "kubernetes", sibling.key, sibling.pem(), policy.pem(), root.pem())).ClientTLS("kubernetes", "evil", []string{"system:masters"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	others.RootCAs = config.RootCAs
	if err := get(others); err == nil {
		t.Error("a client of another authority below the root was accepted")
	}

	// The specification's own judgement of the certificate.
	judge := func(content []byte) resource.Change {
		facts := fact.NewSet(fact.Host{Time: time.Now(), State: fact.State{Resources: map[string]fact.Record{
			string(spec.ID()): {Files: map[string]string{spec.Path: resource.SHA256(content), spec.KeyPath: resource.SHA256(keyPEM)}}}}})
		facts.Put(fact.Key{Kind: fact.KindFile, Name: spec.Path}, fact.File{Exists: true, Type: "file", Mode: 0o644, Owner: "root", Group: "root", SHA256: resource.SHA256(content), Content: content, HasContent: true})
		facts.Put(fact.Key{Kind: fact.KindFile, Name: spec.KeyPath}, fact.File{Exists: true, Type: "file", Mode: 0o600, Owner: "root", Group: "root", SHA256: resource.SHA256(keyPEM)})
		change, err := spec.Diff(facts)
		if err != nil {
			t.Fatal(err)
		}
		return change
	}
	if change := judge(certPEM); change.Action != resource.NoOp {
		t.Errorf("%s: %v", change.Action, change.Reasons)
	}
	alone := encodeCertificate(pair.Certificate[0])
	for what, content := range map[string][]byte{"none": alone, "the root's": append(alone, root.pem()...)} {
		if change := judge(content); change.Action != resource.Replace || len(change.Reasons) != 1 || change.Reasons[0].Text != "its chain is not that of authority kubernetes" {
			t.Errorf("chain %s: %s because of %v", what, change.Action, change.Reasons)
		}
	}
}

// What else stands in the file of a root is trusted beside it, as it stands.
func TestRootWithItsSuccessor(t *testing.T) {
	var none *node
	own, next := none.below(t, "etcd", nil), none.below(t, "etcd next", nil)
	s := open(t, placed(t, "etcd", own.key, own.pem(), next.pem()))
	if got, want := string(s.Certificate("etcd")), string(own.pem())+string(next.pem()); got != want || s.Chain("etcd") != nil {
		t.Errorf("trusted\n%s, served with\n%s", got, s.Chain("etcd"))
	}
}

func TestBadChains(t *testing.T) {
	var none *node
	root := none.below(t, "Root", nil)
	own := root.below(t, "Own", nil)
	narrow := none.below(t, "Narrow", func(c *x509.Certificate) { c.MaxPathLenZero = true })
	deep := narrow.below(t, "Deep", nil)
	named := root.below(t, "Named", func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"example.com"}, true
	})
	leaf := root.below(t, "Leaf", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	for _, tt := range []struct {
		name  string
		key   *ecdsa.PrivateKey
		certs [][]byte
		want  string
	}{
		{"no root", own.key, [][]byte{own.pem()}, `which signed "CN=Own", is not in the file`},
		{"another root", own.key, [][]byte{own.pem(), none.below(t, "Root", nil).pem()}, `which signed "CN=Own", is not in the file`},
		{"root first", own.key, [][]byte{root.pem(), own.pem()}, "does not belong to the private key"},
		{"too deep", deep.key, [][]byte{deep.pem(), narrow.pem()}, `"CN=Narrow" allows for 0 authorities below itself`},
		{"no authority", leaf.key, [][]byte{leaf.pem(), root.pem()}, "not a certificate authority's"},
		{"a key in it", own.key, [][]byte{own.pem(), root.pem(), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}, `PEM "PRIVATE KEY" beside certificates`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(placed(t, "kubernetes", tt.key, tt.certs...), Options{})
			var file *FileError
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &file) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	// Names that an authority above does not allow are found before a host has them.
	s := open(t, placed(t, "kubernetes", named.key, named.pem(), root.pem()))
	if _, _, err := s.Issue(context.Background(), apiserver); err == nil || !strings.Contains(err.Error(), "would not be accepted as a server's") {
		t.Errorf("got %v", err)
	}
}

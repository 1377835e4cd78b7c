package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

func certificate(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(data)
	if block == nil || len(rest) > 0 {
		t.Fatalf("not one PEM block: %q", data)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func rsaAuthority(t *testing.T) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(year),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return encodeCertificate(der), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

var apiserver = resource.Certificate{
	Path: "/etc/kubernetes/pki/apiserver.crt", KeyPath: "/etc/kubernetes/pki/apiserver.key",
	Authority: "kubernetes", CommonName: "kube-apiserver", Organization: []string{"test", "kinstall"}, // in the order of a DER set
	DNSNames:  []string{"shaolin", "kubernetes", "kubernetes.default.svc.cluster.local"},
	Addresses: []string{"10.96.0.1", "fd00::1", "127.0.0.1"},
	Server:    true, Validity: year, RenewBefore: 30 * 24 * time.Hour,
}

func TestIssue(t *testing.T) {
	s := open(t, filled(t, "kubernetes"))
	certPEM, keyPEM, err := s.Issue(t.Context(), apiserver)
	if err != nil {
		t.Fatal(err)
	}
	cert, authority := certificate(t, certPEM), certificate(t, s.Certificate("kubernetes"))
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	for _, name := range append(append([]string{}, apiserver.DNSNames...), "10.96.0.1", "[fd00::1]", "127.0.0.1") {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
			t.Errorf("verify for %s: %v", name, err)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("a server certificate verifies for a client")
	}
	var addresses []string
	for _, a := range cert.IPAddresses {
		addresses = append(addresses, a.String())
	}
	if diff := cmp.Diff([][]string{apiserver.DNSNames, apiserver.Addresses, apiserver.Organization}, [][]string{cert.DNSNames, addresses, cert.Subject.Organization}); diff != "" {
		t.Errorf("SANs and organization (-want +got):\n%s", diff)
	}
	if cert.KeyUsage != x509.KeyUsageDigitalSignature || cert.IsCA || !cert.BasicConstraintsValid {
		t.Errorf("key usage %b, CA %v", cert.KeyUsage, cert.IsCA)
	}
	if string(cert.AuthorityKeyId) != string(authority.SubjectKeyId) || len(cert.AuthorityKeyId) == 0 {
		t.Errorf("authority key id %x, want %x", cert.AuthorityKeyId, authority.SubjectKeyId)
	}
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve.Params().Name != "P-256" {
		t.Errorf("key is a %T, want ECDSA P-256", cert.PublicKey)
	}
	if age := time.Since(cert.NotBefore); age < clockSkew || age > clockSkew+time.Minute {
		t.Errorf("valid since %s, want 5m", age)
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Error(err)
	}
	again, _, err := s.Issue(t.Context(), apiserver)
	if err != nil {
		t.Fatal(err)
	}
	if other := certificate(t, again); other.SerialNumber.Cmp(cert.SerialNumber) == 0 || other.PublicKey.(*ecdsa.PublicKey).Equal(cert.PublicKey) {
		t.Error("two certificates share a serial number or a key")
	}
}

// What was issued satisfies the specification, by the specification's own judgement.
func TestIssueSatisfiesDiff(t *testing.T) {
	s := open(t, filled(t, "kubernetes"))
	spec := apiserver
	spec.Issuer = s.Certificate("kubernetes")
	certPEM, keyPEM, err := s.Issue(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	cert := fact.File{Exists: true, Type: "file", Mode: 0o644, Owner: "root", Group: "root", SHA256: resource.SHA256(certPEM), Content: certPEM, HasContent: true}
	key := fact.File{Exists: true, Type: "file", Mode: 0o600, Owner: "root", Group: "root", SHA256: resource.SHA256(keyPEM)}
	host := fact.Host{Time: time.Now()}
	host.State.Resources = map[string]fact.Record{string(spec.ID()): {Files: map[string]string{spec.Path: cert.SHA256, spec.KeyPath: key.SHA256}}}
	facts := fact.NewSet(host)
	facts.Put(fact.Key{Kind: fact.KindFile, Name: spec.Path}, cert)
	facts.Put(fact.Key{Kind: fact.KindFile, Name: spec.KeyPath}, key)
	change, err := spec.Diff(facts)
	if err != nil || change.Action != resource.NoOp {
		t.Errorf("action %s, reasons %v, error %v", change.Action, change.Reasons, err)
	}
}

func TestIssueEndsWithItsAuthority(t *testing.T) {
	dir := filled(t, "etcd")
	s := open(t, dir)
	end := certificate(t, s.Certificate("etcd")).NotAfter
	spec := resource.Certificate{Authority: "etcd", CommonName: "client", Client: true, Validity: year}

	s.now = func() time.Time { return end.Add(-time.Hour) }
	certPEM, _, err := s.Issue(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if got := certificate(t, certPEM).NotAfter; !got.Equal(end) {
		t.Errorf("ends %s, want the authority's %s", got, end)
	}
	for name, now := range map[string]time.Time{"expired": end, "ahead of": end.Add(-20 * year)} {
		s.now = func() time.Time { return now }
		if _, _, err := s.Issue(t.Context(), spec); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("at %s: got error %v, want one that says %q", now, err, name)
		}
	}
}

// The way out that a plan names for an authority near its end: a certificate
// for the same key. What the authority signed before stays valid.
func TestAuthorityRenewedWithItsKey(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs openssl")
	}
	dir := filled(t, "etcd")
	before := open(t, dir)
	spec := resource.Certificate{Authority: "etcd", Issuer: before.Certificate("etcd"), CommonName: "client", Client: true, Validity: year}
	leaf, _, err := before.Issue(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{openssl, "x509", "-in", "etcd-ca.crt", "-signkey", "etcd-ca.key", "-days", "7300", "-out", "etcd-ca.new"},
		{"mv", "etcd-ca.new", "etcd-ca.crt"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, output)
		}
	}
	after := open(t, dir)
	old, renewed := certificate(t, before.Certificate("etcd")), certificate(t, after.Certificate("etcd"))
	if !renewed.NotAfter.After(old.NotAfter) || !renewed.MaxPathLenZero || renewed.KeyUsage != old.KeyUsage {
		t.Errorf("ends %s after %s, path length 0: %t, usage %v", renewed.NotAfter, old.NotAfter, renewed.MaxPathLenZero, renewed.KeyUsage)
	}
	spec.Issuer = after.Certificate("etcd")
	another, _, err := after.Issue(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	// Hosts trust the old or the new one, as far as they have been changed yet.
	for name, trusted := range map[string]*x509.Certificate{"old": old, "new": renewed} {
		roots := x509.NewCertPool()
		roots.AddCert(trusted)
		for _, c := range [][]byte{leaf, another} {
			if _, err := certificate(t, c).Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Errorf("by the %s authority: %v", name, err)
			}
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	s := open(t, filled(t, "kubernetes", "service-account"))
	for name, change := range map[string]func(*resource.Certificate){
		"authority that is not there": func(c *resource.Certificate) { c.Authority = "etcd" },
		"key pair for an authority":   func(c *resource.Certificate) { c.Authority = "service-account" },
		"another authority":           func(c *resource.Certificate) { c.Issuer, _ = rsaAuthority(t) },
		"no common name":              func(c *resource.Certificate) { c.CommonName = "" },
		"no usage":                    func(c *resource.Certificate) { c.Server = false },
		"no validity":                 func(c *resource.Certificate) { c.Validity = 0 },
		"name for an address":         func(c *resource.Certificate) { c.Addresses = []string{"shaolin"} },
		"address with a zone":         func(c *resource.Certificate) { c.Addresses = []string{"fe80::1%eth0"} },
		"name that is not ASCII":      func(c *resource.Certificate) { c.DNSNames = []string{"少林"} },
	} {
		t.Run(name, func(t *testing.T) {
			spec := apiserver
			change(&spec)
			if cert, key, err := s.Issue(t.Context(), spec); err == nil || cert != nil || key != nil {
				t.Errorf("got error %v, %d and %d bytes", err, len(cert), len(key))
			} else if !strings.Contains(err.Error(), spec.Authority) {
				t.Errorf("error %q does not name the authority", err)
			}
		})
	}
}

func TestClientTLS(t *testing.T) {
	s := open(t, filled(t, "kubernetes", "etcd"))
	certPEM, keyPEM, err := s.Issue(t.Context(), apiserver)
	if err != nil {
		t.Fatal(err)
	}
	serverCert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(certificate(t, s.Certificate("kubernetes")))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.PeerCertificates[0].Subject.String())
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the test
	server.TLS = &tls.Config{Certificates: []tls.Certificate{serverCert}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	defer server.Close()

	get := func(config *tls.Config) (string, error) {
		transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		response, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return string(body), err
	}

	config, err := s.ClientTLS("kubernetes", "kinstall", []string{"system:masters"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(config); err != nil || got != "CN=kinstall,O=system:masters" {
		t.Errorf("server saw %q (%v)", got, err)
	}
	foreign, err := s.ClientTLS("etcd", "kinstall", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(foreign); err == nil {
		t.Error("a server of another authority was accepted")
	}
	foreign.RootCAs = config.RootCAs
	if _, err := get(foreign); err == nil {
		t.Error("a client of another authority was accepted")
	}

	// The same configuration serves on when its first certificate has aged.
	first, err := config.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := config.GetClientCertificate(nil); again != first {
		t.Error("each handshake gets a certificate of its own")
	}
	s.now = func() time.Time { return time.Now().Add(40 * time.Minute) }
	second, err := config.GetClientCertificate(nil)
	if err != nil || second == first {
		t.Errorf("not renewed in the second half of its life (%v)", err)
	}

	if _, err := s.ClientTLS("front-proxy", "kinstall", nil, time.Hour); err == nil {
		t.Error("a certificate of an authority that is not there")
	}
}

func TestKubeconfig(t *testing.T) {
	s := open(t, filled(t, "kubernetes"))
	certPEM, keyPEM, err := s.Issue(t.Context(), resource.Certificate{Authority: "kubernetes", CommonName: "admin", Organization: []string{"system:masters"}, Client: true, Validity: year})
	if err != nil {
		t.Fatal(err)
	}
	data := Kubeconfig("wuxia", "https://kubernetes.default.svc:8443", s.Certificate("kubernetes"), certPEM, keyPEM)
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{config.Host, string(config.CAData), string(config.CertData), string(config.KeyData)}
	want := []string{"https://kubernetes.default.svc:8443", string(s.Certificate("kubernetes")), string(certPEM), string(keyPEM)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kubeconfig as a client reads it (-want +got):\n%s", diff)
	}
	loaded, err := clientcmd.Load(data)
	if err != nil || loaded.CurrentContext != "wuxia" || loaded.Contexts["wuxia"].AuthInfo != "wuxia-admin" {
		t.Errorf("contexts %v, current %q (%v)", loaded.Contexts, loaded.CurrentContext, err)
	}
}

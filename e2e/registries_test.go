package e2e

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/kinstall/kinstall/e2e/components"
	"github.com/kinstall/kinstall/e2e/lab"
)

const registryPassword = "s3cret 'of the registry"

// TestRegistries has a real containerd and kubelet pull from a private
// registry with an authority of its own, by way of a proxy, and from a mirror
// of Docker Hub.
func TestRegistries(t *testing.T) {
	w := newWorld(t, "e2e-pull", kubernetes("single")...)
	operator := operatorAddress(t, w)
	certificate, authority := registryCertificate(t, operator)

	hub := serveRegistry(t, w.lab, operator, "", tls.Certificate{})
	private := serveRegistry(t, w.lab, operator, registryPassword, certificate)
	proxy := serveProxy(t, w.lab, operator)
	hub.push(t, w, "library/toolbox:1", nil)
	pushed := len(hub.calls())
	private.push(t, w, "team/toolbox:1", authority)

	for file, content := range map[string][]byte{"ca.pem": authority, "password": []byte(registryPassword + "\n")} {
		if err := os.WriteFile(filepath.Join(w.dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.edit(t, `runtime "containerd" {
`, fmt.Sprintf(`runtime "containerd" {
  registry "docker.io" {
    mirrors = ["http://%s"]
  }
  registry "%s" {
    ca_file       = "ca.pem"
    username      = "puller"
    password_file = "password"
  }
  proxy {
    https = "http://%s"
  }
`, hub.address, private.address, proxy.address))
	r := w.apply(t)
	if strings.Contains(r.stdout+r.stderr, registryPassword) {
		t.Error("the password is shown")
	}

	eventually(t, time.Minute, "the namespace's service account", func() string {
		if r := w.kubectl(t, "get", "serviceaccount", "default"); r.code != 0 {
			return r.String()
		}
		return ""
	})
	w.create(t, fmt.Sprintf(pulledPod, "hub", "toolbox:1")+"---"+fmt.Sprintf(pulledPod, "private", private.address+"/team/toolbox:1"))
	for _, pod := range []string{"hub", "private"} {
		eventually(t, time.Minute, "the image of pod "+pod+" is pulled and it runs", func() string {
			r := w.kubectl(t, "get", "pod", pod, "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.waiting}")
			if !strings.HasPrefix(r.stdout, "Running") {
				return r.String()
			}
			return ""
		})
	}
	if !slices.Contains(proxy.calls(), "CONNECT "+private.address) {
		t.Errorf("the private registry was not asked through the proxy: %v", proxy.calls())
	}
	// For the manifest at least: the blobs may be there already, both images have the same.
	if !slices.ContainsFunc(hub.calls()[pushed:], func(call string) bool {
		return strings.Contains(call, " /v2/library/toolbox/manifests/")
	}) {
		t.Errorf("the mirror was not asked: %v", hub.calls())
	}
	if r := w.apply(t); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("a second apply: %s", r)
	}
	if mode := w.ssh(t, "taishan", "stat -c %a /var/lib/kubelet/config.json"); mode != "600" {
		t.Errorf("the credentials' file has the mode %s", mode)
	}
}

const pulledPod = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: toolbox
    image: %s
    imagePullPolicy: Always
    command: [sleep, "3600"]
`

// operatorAddress is where the machines find the operator.
func operatorAddress(t *testing.T, w *world) string {
	t.Helper()
	r := w.exec(t, "ip", "-o", "-4", "address", "show", "dev", "br0", "scope", "global")
	for _, word := range strings.Fields(r.stdout) {
		if address, _, err := net.ParseCIDR(word); err == nil {
			return address.String()
		}
	}
	t.Fatal(r)
	return ""
}

// witness is a server on the operator's side, which remembers what it was asked.
type witness struct {
	address string

	mu    sync.Mutex
	asked []string
}

func (s *witness) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// serve answers on a free port of the operator, by TLS if there is a certificate.
func serve(t *testing.T, l *lab.Lab, operator string, certificate tls.Certificate, handler http.Handler) *witness {
	t.Helper()
	listener, err := l.Listen("tcp4", net.JoinHostPort(operator, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &witness{address: listener.Addr().String()}
	if len(certificate.Certificate) > 0 {
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	}
	web := &http.Server{ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+cmp.Or(r.URL.Path, r.Host))
		s.mu.Unlock()
		handler.ServeHTTP(w, r)
	})}
	go func() { _ = web.Serve(listener) }()
	t.Cleanup(func() { _ = web.Close() })
	return s
}

// serveRegistry serves images to who knows the password.
func serveRegistry(t *testing.T, l *lab.Lab, operator, password string, certificate tls.Certificate) *witness {
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	return serve(t, l, operator, certificate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, given, _ := r.BasicAuth()
		if password != "" && (user != "puller" || given != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	}))
}

// push puts the toolbox into a registry.
func (s *witness) push(t *testing.T, w *world, repository string, authority []byte) {
	t.Helper()
	tag, err := name.NewTag(components.Toolbox)
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(filepath.Join(w.dir, "toolbox.tar"), &tag)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: w.lab.DialContext}
	options := []name.Option{name.Insecure}
	if authority != nil {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(authority)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		options = nil
	}
	to, err := name.NewTag(s.address+"/"+repository, options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, image, remote.WithTransport(transport), remote.WithContext(t.Context()),
		remote.WithAuth(&authn.Basic{Username: "puller", Password: registryPassword})); err != nil {
		t.Fatal(err)
	}
}

// serveProxy tunnels what it is asked to (RFC 9110, 9.3.6).
func serveProxy(t *testing.T, l *lab.Lab, operator string) *witness {
	return serve(t, l, operator, tls.Certificate{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "tunnels only", http.StatusMethodNotAllowed)
			return
		}
		far, err := l.DialContext(r.Context(), "tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		near, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = far.Close()
			return
		}
		go func() { _, _ = io.Copy(far, buffered); _ = far.Close() }()
		_, _ = io.Copy(near, far)
		_ = near.Close()
	}))
}

// registryCertificate makes an authority, and a certificate of it for an address.
func registryCertificate(t *testing.T, address string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry of the test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.ParseIP(address)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

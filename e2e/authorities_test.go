package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// office is a certificate authority of an organisation of the test's.
type office struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// appoint makes an authority below o, a root where o is nil; without authority it
// makes a client's certificate.
func (o *office) appoint(t *testing.T, subject pkix.Name, authority bool) *office {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject, BasicConstraintsValid: true, IsCA: authority,
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(5, 0, 0)}
	if authority {
		template.KeyUsage |= x509.KeyUsageCertSign
	} else {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	parent, signer := template, key
	if o != nil {
		parent, signer = o.cert, o.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &office{cert, key}
}

func (o *office) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.cert.Raw})
}

func (o *office) keyPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(o.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// put writes a file below the inventory's directory.
func (w *world) put(t *testing.T, name string, content []byte, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
}

// upload writes a file on a machine, readable by root alone.
func (w *world) upload(t *testing.T, machine, path string, content []byte) {
	t.Helper()
	ssh := w.lab.SSH(t.Context(), machine, "umask 077; mkdir -p $(dirname "+path+") && cat > "+path)
	ssh.Stdin = bytes.NewReader(content)
	if out, err := ssh.CombinedOutput(); err != nil {
		t.Fatalf("%s: %s: %v\n%s", machine, path, err, out)
	}
}

const cfsslConfig = `{
  "auth_keys": {"kinstall": {"type": "standard", "key": "c0ffee00c0ffee00"}},
  "signing": {
    "default": {"auth_key": "kinstall", "expiry": "8760h", "usages": ["signing", "server auth", "client auth"]},
    "profiles": {"kubernetes": {"auth_key": "kinstall", "expiry": "8760h", "usages": ["signing", "key encipherment", "server auth", "client auth"]}}
  }
}`

// TestAuthorities installs a cluster whose authorities are an organisation's:
// that of Kubernetes is an intermediate whose key a real cfssl server has, that of
// etcd an intermediate with its key, and the front proxy's is kinstall's own.
func TestAuthorities(t *testing.T) {
	w := newWorld(t, "e2e-authorities", kubernetes("single")...)
	const host = "taishan"
	var none *office
	root := none.appoint(t, pkix.Name{CommonName: "Wuxia Root"}, true)
	policy := root.appoint(t, pkix.Name{CommonName: "Wuxia Policy"}, true)
	kubernetes, etcd := policy.appoint(t, pkix.Name{CommonName: "Wuxia Kubernetes"}, true), root.appoint(t, pkix.Name{CommonName: "Wuxia etcd"}, true)
	chain := func(offices ...*office) (text []byte) {
		for _, o := range offices {
			text = append(text, o.certPEM()...)
		}
		return text
	}
	w.put(t, "pki/kubernetes-ca.crt", chain(kubernetes, policy, root), 0o644)
	w.put(t, "pki/etcd-ca.crt", chain(etcd, root), 0o644)
	w.put(t, "pki/etcd-ca.key", etcd.keyPEM(t), 0o600)
	w.put(t, "root.crt", root.certPEM(), 0o644)
	w.put(t, "cfssl.key", []byte("0123456789abcdef\n"), 0o600)
	w.edit(t, "host \"taishan\" {\n", `pki {
  key_algorithm = "ecdsa-p256"

  signer "cfssl" {
    authorities   = ["kubernetes"]
    url           = "http://10.89.0.11:8888"
    profile       = "kubernetes"
    auth_key_file = "cfssl.key"
  }
}

host "taishan" {
`)
	unchanged := func(t *testing.T, args ...string) {
		t.Helper()
		if r := w.run(t, append([]string{"plan", "-detailed-exitcode", w.inventory}, args...)...); r.code != 0 {
			t.Errorf("a plan finds something to do: %s", r)
		}
	}
	said := func(r result) string { return strings.Join(strings.Fields(r.stdout+r.stderr), " ") }
	curl := func(t *testing.T, args ...string) string {
		t.Helper()
		return w.ssh(t, host, "curl -sS --cacert /root/root.crt "+strings.Join(args, " "))
	}

	tell(t, []chapter{
		{"a signer that is not there", func(t *testing.T) {
			r := w.run(t, "apply", "-yes", w.inventory)
			if r.code != 1 || !strings.Contains(said(r), "nothing was changed") || !strings.Contains(said(r), "cfssl http://10.89.0.11:8888") {
				t.Errorf("%s", r)
			}
		}},
		{"a cfssl server that refuses", func(t *testing.T) {
			w.ssh(t, host, "apt-get -q -y install golang-cfssl >/dev/null")
			w.upload(t, host, "/root/cfssl/ca.pem", kubernetes.certPEM())
			w.upload(t, host, "/root/cfssl/ca-key.pem", kubernetes.keyPEM(t))
			w.upload(t, host, "/root/cfssl/config.json", []byte(cfsslConfig))
			w.upload(t, host, "/root/root.crt", root.certPEM())
			w.ssh(t, host, "systemd-run -q --unit cfssl cfssl serve -address 10.89.0.11 -port 8888 -ca /root/cfssl/ca.pem -ca-key /root/cfssl/ca-key.pem -config /root/cfssl/config.json")
			eventually(t, time.Minute, "cfssl answers", func() string {
				return w.ssh(t, host, "curl -sS -o /dev/null -X POST -d '{}' http://10.89.0.11:8888/api/v1/cfssl/info 2>&1 || true")
			})
			r := w.run(t, "apply", "-yes", w.inventory)
			if r.code != 1 || !strings.Contains(said(r), "nothing was changed") || !strings.Contains(said(r), "refused") {
				t.Errorf("%s", r)
			}
			if left := w.ssh(t, host, "ls -d /etc/kubernetes /etc/systemd/system/etcd.service 2>/dev/null || true"); left != "" {
				t.Errorf("something was changed: %s", left)
			}
		}},
		{"an installation", func(t *testing.T) {
			w.put(t, "cfssl.key", []byte("c0ffee00c0ffee00\n"), 0o600)
			t.Logf("installed in %s", w.apply(t).elapsed.Round(100*time.Millisecond))
			unchanged(t)
			if node := w.mustKubectl(t, "get", "nodes", "--no-headers"); !strings.Contains(node, " Ready ") {
				t.Errorf("nodes: %s", node)
			}
		}},
		{"who knows the root alone", func(t *testing.T) {
			// curl fails unless what is served leads to the root.
			if got := curl(t, "https://taishan:6443/readyz"); got != "ok" {
				t.Errorf("API server: %s", got)
			}
			curl(t, "-o /dev/null https://taishan:10250/healthz")
			const health = "/etc/kubernetes/pki/etcd/healthcheck-client"
			if got := curl(t, "--cert "+health+".crt --key "+health+".key https://127.0.0.1:2379/health"); !strings.Contains(got, `"health":"true"`) {
				t.Errorf("etcd: %s", got)
			}
			eventually(t, time.Minute, "pods are told of the root", func() string {
				r := w.kubectl(t, "-n", "default", "get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data}")
				if strings.Contains(strings.ReplaceAll(r.stdout, `\n`, "\n"), string(root.certPEM())) {
					return ""
				}
				return r.String()
			})
			if files := w.ssh(t, host, "find /etc/kubernetes /var/lib/kinstall -name 'ca.key'"); files != "" {
				t.Errorf("a key of an authority: %s", files)
			}
			if manifest := w.ssh(t, host, "cat /etc/kubernetes/manifests/kube-controller-manager.yaml"); strings.Contains(manifest, "cluster-signing") {
				t.Errorf("the controller manager is to sign without a key:\n%s", manifest)
			}
		}},
		{"somebody of another authority below the root", func(t *testing.T) {
			evil := policy.appoint(t, pkix.Name{CommonName: "Wuxia Web"}, true).appoint(t, pkix.Name{CommonName: "evil", Organization: []string{"system:masters"}}, false)
			w.upload(t, host, "/root/evil.crt", chain(evil, policy))
			w.upload(t, host, "/root/evil.key", evil.keyPEM(t))
			if code := curl(t, "-o /dev/null -w '%{http_code}' --cert /root/evil.crt --key /root/evil.key https://taishan:6443/api/v1/secrets"); code != "401" && code != "403" {
				t.Errorf("the API answers somebody else's administrator with %s", code)
			}
		}},
		{"other keys, on the living cluster", func(t *testing.T) {
			w.edit(t, `"ecdsa-p256"`, `"rsa-2048"`)
			r := w.apply(t)
			t.Logf("all certificates renewed in %s", r.elapsed.Round(100*time.Millisecond))
			if !strings.Contains(said(r), `authority "etcd" exists, with a key of ecdsa-p256, and keeps it`) {
				t.Errorf("it is not said that authorities keep their keys: %s", r)
			}
			unchanged(t)
			for _, file := range []string{"apiserver.crt", "etcd/server.crt", "scheduler.crt", "front-proxy-client.crt"} {
				block, _ := pem.Decode([]byte(w.ssh(t, host, "cat /etc/kubernetes/pki/"+file)))
				cert, err := x509.ParseCertificate(block.Bytes)
				if err != nil || cert.PublicKeyAlgorithm != x509.RSA {
					t.Errorf("%s has a key of %s (%v)", file, cert.PublicKeyAlgorithm, err)
				}
			}
			if got := curl(t, "https://taishan:6443/readyz"); got != "ok" {
				t.Errorf("API server: %s", got)
			}
		}},
		{"keys encrypted", func(t *testing.T) {
			w.edit(t, "  signer \"cfssl\" {", "  encryption {}\n\n  signer \"cfssl\" {")
			w.put(t, "passphrase", []byte("correct horse\n"), 0o600)
			w.put(t, "wrong", []byte("wrong horse\n"), 0o600)
			if r := w.run(t, "plan", w.inventory); !strings.Contains(said(r), "~ authority etcd its private key lies in the clear") || !strings.Contains(said(r), "~ authority service-account") {
				t.Errorf("the plan: %s", r)
			}
			before := w.ssh(t, host, "sha256sum /etc/kubernetes/pki/sa.key; pidof kube-apiserver kubelet etcd")
			r := w.apply(t, "-passphrase-file", "passphrase")
			if after := w.ssh(t, host, "sha256sum /etc/kubernetes/pki/sa.key; pidof kube-apiserver kubelet etcd"); after != before {
				t.Errorf("the host was changed: %s, then %s\n%s", before, after, r)
			}
			files, err := filepath.Glob(filepath.Join(w.dir, "pki", "*.key"))
			if err != nil || len(files) != 3 {
				t.Fatalf("keys: %v (%v)", files, err)
			}
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil || !bytes.HasPrefix(text, []byte("-----BEGIN AGE ENCRYPTED FILE-----\n")) || bytes.Contains(text, []byte("PRIVATE KEY")) {
					t.Errorf("%s is not encrypted (%v)", file, err)
				}
			}
			unchanged(t, "-passphrase-file", "passphrase")
			for _, args := range [][]string{{"-passphrase-file", "wrong"}, nil} {
				if r := w.run(t, append([]string{"apply", "-yes", w.inventory}, args...)...); r.code != 1 || !strings.Contains(said(r), "passphrase") || strings.Contains(said(r), "horse") {
					t.Errorf("%v: %s", args, r)
				}
			}
		}},
		{"a key that leaves, and a command that signs", func(t *testing.T) {
			if _, err := exec.LookPath("openssl"); err != nil {
				t.Skip(err)
			}
			if err := os.Remove(filepath.Join(w.dir, "pki/etcd-ca.key")); err != nil {
				t.Fatal(err)
			}
			if r := w.run(t, "plan", "-passphrase-file", "passphrase", w.inventory); r.code != 1 || !strings.Contains(said(r), "name a signer in the inventory") {
				t.Errorf("%s", r)
			}
			w.put(t, "office/etcd.crt", etcd.certPEM(), 0o644)
			w.put(t, "office/etcd.key", etcd.keyPEM(t), 0o600)
			w.put(t, "office/sign.sh", []byte("#!/bin/sh\ncd office && exec openssl x509 -req -in /dev/stdin -CA etcd.crt -CAkey etcd.key -copy_extensions copyall -days \"$1\"\n"), 0o700)
			w.edit(t, "  signer \"cfssl\" {", "  signer \"command\" {\n    authorities = [\"etcd\"]\n    command     = [\"office/sign.sh\", \"365\"]\n  }\n\n  signer \"cfssl\" {")
			unchanged(t, "-passphrase-file", "passphrase") // the certificates are as good as before
			w.edit(t, `"rsa-2048"`, `"ecdsa-p384"`)
			r := w.apply(t, "-passphrase-file", "passphrase")
			t.Logf("all certificates renewed in %s", r.elapsed.Round(100*time.Millisecond))
			unchanged(t, "-passphrase-file", "passphrase")
			const health = "/etc/kubernetes/pki/etcd/healthcheck-client"
			if got := curl(t, "--cert "+health+".crt --key "+health+".key https://127.0.0.1:2379/health"); !strings.Contains(got, `"health":"true"`) {
				t.Errorf("etcd: %s", got)
			}
			if text := w.ssh(t, host, "cat /etc/kubernetes/pki/etcd/server.crt"); !strings.HasSuffix(text, strings.TrimSpace(string(etcd.certPEM()))) {
				t.Errorf("etcd's certificate does not end with the intermediate:\n%s", text)
			}
		}},
		{"a signer that is gone", func(t *testing.T) {
			w.ssh(t, host, "systemctl stop cfssl")
			if r := w.run(t, "plan", "-passphrase-file", "passphrase", w.inventory); !strings.Contains(said(r), "the API was not observed") || !strings.Contains(said(r), "cfssl http://10.89.0.11:8888") {
				t.Errorf("%s", r)
			}
			w.edit(t, "kubelet {\n", "kubelet {\n  args = { \"v\" = \"1\" }\n")
			r := w.run(t, "apply", "-yes", "-passphrase-file", "passphrase", w.inventory)
			if r.code != 1 || !strings.Contains(said(r), "nothing was changed") || !strings.Contains(said(r), "cfssl http://10.89.0.11:8888") {
				t.Errorf("%s", r)
			}
		}},
	})
}

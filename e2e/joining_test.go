package e2e

import (
	"os"
	"strings"
	"testing"
	"time"
)

const hengshan = `
host "hengshan" {
  address = "10.89.0.13"
  roles   = ["worker"]
}
`

// renewed is what the kubelet block says when kubelets renew their certificates.
const renewed = "  certificates = \"rotated\"\n  serving_certificates = \"requested\"\n"

// currentCertificate is where a kubelet keeps the certificate that it renews.
const currentCertificate = "/var/lib/kubelet/pki/kubelet-client-current.pem"

// servingCertificate is the same of the one with which it serves.
const servingCertificate = "/var/lib/kubelet/pki/kubelet-server-current.pem"

// TestJoining is the story of nodes' certificates: kubelets that live begin to renew
// theirs without becoming NotReady, a worker joins with a token of which nothing
// stays, requests for another node's name or address are refused, and certificates
// that last for minutes are renewed while pods run.
func TestJoining(t *testing.T) {
	if os.Getenv("KINSTALL_CHANGES") == "" {
		t.Skip("part of make test-changes")
	}
	w := newWorld(t, "e2e-joining", kubernetes("joining")...)
	applied := func(t *testing.T, what string) {
		t.Helper()
		t.Logf("%s: %s", what, w.apply(t).elapsed.Round(100*time.Millisecond))
	}
	unchanged := func(t *testing.T) {
		t.Helper()
		if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
			t.Errorf("a plan finds something to do: %s", r)
		}
	}
	// The moments since which nodes are Ready: they change when one is not.
	ready := func(t *testing.T) string {
		t.Helper()
		return w.mustKubectl(t, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastTransitionTime}{"\n"}{end}`)
	}
	pods := func(t *testing.T) string {
		t.Helper()
		return w.mustKubectl(t, "get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.phase} {.status.containerStatuses[0].restartCount}{"\n"}{end}`)
	}
	running := func(t *testing.T, all int) {
		t.Helper()
		eventually(t, time.Minute, "pods run", func() string {
			if now := pods(t); strings.Count(now, " Running ") != all {
				return "these: " + now
			}
			return ""
		})
	}
	// Through the API server, which verifies the kubelet's certificate.
	answers := func(t *testing.T, host string) {
		t.Helper()
		pod := w.mustKubectl(t, "get", "pods", "--field-selector", "spec.nodeName="+host, "-o", "jsonpath={.items[0].metadata.name}")
		if is := w.mustKubectl(t, "exec", pod, "--", "echo", "well"); is != "well" {
			t.Errorf("a pod on %s: %s", host, is)
		}
	}
	serial := func(t *testing.T, host string) string {
		t.Helper()
		return w.ssh(t, host, "openssl x509 -noout -serial -subject -in "+currentCertificate)
	}
	tell(t, []chapter{
		{"kinstall renews certificates", func(t *testing.T) {
			applied(t, "installed")
			w.create(t, `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: sleep}, spec: {selector: {matchLabels: {app: sleep}}, template: {metadata: {labels: {app: sleep}},
				spec: {containers: [{name: sleep, image: "kinstall.example/toolbox:1", imagePullPolicy: IfNotPresent, command: [sleep, "3600"]}]}}}}`)
			running(t, 2)
		}},
		{"kubelets do", func(t *testing.T) {
			w.edit(t, "\nkubelet {\n", "\nkubelet {\n"+renewed)
			since, were := ready(t), pods(t)
			key := w.ssh(t, "songshan", "sha256sum < /var/lib/kubelet/pki/kubelet-client.key")
			applied(t, "moved")
			if now := ready(t); now != since || strings.Contains(now, "False") {
				t.Errorf("nodes were not Ready for a while: %s, then %s", since, now)
			}
			if now := pods(t); now != were {
				t.Errorf("pods: %s, then %s", were, now)
			}
			for _, host := range []string{"taishan", "songshan"} {
				if is := serial(t, host); !strings.Contains(is, "system:node:"+host) {
					t.Errorf("%s has %s", host, is)
				}
				answers(t, host)
			}
			if left := w.ssh(t, "songshan", "ls /var/lib/kubelet/pki | grep -x 'kubelet-client\\.[a-z]*' || true; openssl pkey -in "+currentCertificate+" | sha256sum >/dev/null"); left != "" {
				t.Errorf("left from before: %s (%s)", left, key)
			}
			unchanged(t)
		}},
		{"a worker joins", func(t *testing.T) {
			w.edit(t, "host \"taishan\"", hengshan+"host \"taishan\"")
			if err := w.lab.Up(t.Context(), w.machines(t)); err != nil {
				t.Fatal(err)
			}
			applied(t, "joined")
			if is := w.ssh(t, "hengshan", "readlink "+currentCertificate); strings.HasSuffix(is, "first.pem") {
				t.Errorf("the first certificate came from kinstall: %s", is)
			}
			if is := serial(t, "hengshan"); !strings.Contains(is, "system:node:hengshan") {
				t.Errorf("it has %s", is)
			}
			if left := w.mustKubectl(t, "get", "secrets", "-n", "kube-system", "--field-selector", "type=bootstrap.kubernetes.io/token", "-o", "name"); left != "" {
				t.Errorf("tokens are left: %s", left)
			}
			if left := w.ssh(t, "hengshan", "ls /run/kinstall; journalctl -o cat | grep -c 'bootstrap-token-[a-z0-9]*\\.' || true"); left != "kubelet.conf\n0" {
				t.Errorf("on the host: %s", left)
			}
			if is := w.ssh(t, "hengshan", "readlink "+servingCertificate); strings.HasSuffix(is, "first.pem") {
				t.Errorf("the first certificate to serve with came from kinstall: %s", is)
			}
			running(t, 3)
			answers(t, "hengshan")
			unchanged(t)
		}},
		{"a node asks for what is not its own", func(t *testing.T) {
			for _, c := range []struct{ name, subject, alternatives, says string }{
				{"subject", "/O=system:nodes/CN=system:node:songshan", "DNS:songshan,IP:10.89.0.12", ""},
				{"name", "/O=system:nodes/CN=system:node:hengshan", "DNS:songshan,IP:10.89.0.13", "songshan"},
				{"address", "/O=system:nodes/CN=system:node:hengshan", "DNS:hengshan,IP:10.89.0.11", "10.89.0.11"},
			} {
				said := w.ssh(t, "hengshan", `set -e
cd /root
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /dev/null -subj "`+c.subject+`" -addext "subjectAltName=`+c.alternatives+`" -out request.pem 2>/dev/null
printf '{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"foreign-`+c.name+`"},"spec":{"signerName":"kubernetes.io/kubelet-serving","usages":["digital signature","server auth"],"request":"%s"}}' "$(base64 -w 0 request.pem)" > request.json
curl -sS --cacert /etc/kubernetes/pki/ca.crt --cert `+currentCertificate+` --key `+currentCertificate+` -H 'Content-Type: application/json' -d @request.json https://10.89.0.11:6443/apis/certificates.k8s.io/v1/certificatesigningrequests`)
				if c.says == "" { // the API server itself (NodeRestriction)
					if !strings.Contains(said, "can only create a node CSR with CN=system:node:hengshan") {
						t.Errorf("a foreign %s: %s", c.name, said)
					}
					continue
				}
				r := w.run(t, "approve", w.inventory)
				t.Log(r.stdout)
				if r.code != 1 || !strings.Contains(r.stdout, "foreign-"+c.name+" of system:node:hengshan is refused") || !strings.Contains(r.stdout, c.says) {
					t.Errorf("a foreign %s: %s", c.name, r)
				}
				if is := w.mustKubectl(t, "get", "csr", "foreign-"+c.name, "-o", "jsonpath={.status.conditions[*].type} {.status.certificate}"); is != "Denied" {
					t.Errorf("a foreign %s: %s", c.name, is)
				}
			}
		}},
		{"certificates are renewed", func(t *testing.T) {
			since, were, first := ready(t), pods(t), serial(t, "hengshan")
			took := eventually(t, 4*time.Minute, "another certificate", func() string {
				if now := serial(t, "hengshan"); now == first {
					return now
				}
				return ""
			})
			t.Logf("the client's is renewed after %s", took.Round(time.Second))
			serving := func() string { return w.ssh(t, "hengshan", "readlink "+servingCertificate) }
			was, approved := serving(), ""
			took = eventually(t, 4*time.Minute, "another certificate to serve with", func() string {
				if r := w.run(t, "approve", w.inventory); r.code != 0 {
					return r.String()
				} else if !strings.HasPrefix(r.stdout, "No request") {
					approved = r.stdout
				}
				if serving() != was {
					return ""
				}
				return "still " + was
			})
			t.Logf("the one to serve with after %s: %s", took.Round(time.Second), approved)
			answers(t, "hengshan")
			if now := ready(t); now != since {
				t.Errorf("nodes were not Ready for a while: %s, then %s", since, now)
			}
			if now := pods(t); now != were {
				t.Errorf("pods: %s, then %s", were, now)
			}
			unchanged(t)
		}},
		{"and back", func(t *testing.T) {
			w.edit(t, renewed, "")
			were := pods(t)
			applied(t, "moved back")
			if now := pods(t); now != were {
				t.Errorf("pods: %s, then %s", were, now)
			}
			if left := w.ssh(t, "hengshan", "ls /var/lib/kubelet/pki | grep -c pem || true"); left != "0" {
				t.Errorf("left: %s", left)
			}
			unchanged(t)
		}},
	})
}

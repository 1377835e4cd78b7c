package e2e

import (
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

// currentCertificate is where a kubelet keeps the certificate that it renews.
const currentCertificate = "/var/lib/kubelet/pki/kubelet-client-current.pem"

// TestJoining is the story of nodes' certificates: kubelets that live begin to renew
// theirs without becoming NotReady, a worker joins with a token of which nothing
// stays, and certificates that last for minutes are renewed while pods run.
func TestJoining(t *testing.T) {
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
	serial := func(t *testing.T, host string) string {
		t.Helper()
		return w.ssh(t, host, "openssl x509 -noout -serial -subject -in "+currentCertificate)
	}
	tell(t, []chapter{
		{"kinstall renews certificates", func(t *testing.T) {
			applied(t, "installed")
			w.create(t, `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: sleep}, spec: {selector: {matchLabels: {app: sleep}}, template: {metadata: {labels: {app: sleep}},
				spec: {containers: [{name: sleep, image: "kinstall.example/toolbox:1", imagePullPolicy: IfNotPresent, command: [sleep, "3600"]}]}}}}`)
			w.mustKubectl(t, "rollout", "status", "daemonset/sleep", "--timeout=1m", "--request-timeout=0")
		}},
		{"kubelets do", func(t *testing.T) {
			w.edit(t, "\nkubelet {\n", "\nkubelet {\n  certificates = \"rotated\"\n")
			since, running := ready(t), pods(t)
			key := w.ssh(t, "songshan", "sha256sum < /var/lib/kubelet/pki/kubelet-client.key")
			applied(t, "moved")
			if now := ready(t); now != since || strings.Contains(now, "False") {
				t.Errorf("nodes were not Ready for a while: %s, then %s", since, now)
			}
			if now := pods(t); now != running {
				t.Errorf("pods: %s, then %s", running, now)
			}
			for _, host := range []string{"taishan", "songshan"} {
				if is := serial(t, host); !strings.Contains(is, "system:node:"+host) {
					t.Errorf("%s has %s", host, is)
				}
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
			w.mustKubectl(t, "rollout", "status", "daemonset/sleep", "--timeout=1m", "--request-timeout=0")
			unchanged(t)
		}},
		{"certificates are renewed", func(t *testing.T) {
			since, running, first := ready(t), pods(t), serial(t, "hengshan")
			took := eventually(t, 4*time.Minute, "another certificate", func() string {
				if now := serial(t, "hengshan"); now == first {
					return now
				}
				return ""
			})
			t.Logf("renewed after %s", took.Round(time.Second))
			if now := ready(t); now != since {
				t.Errorf("nodes were not Ready for a while: %s, then %s", since, now)
			}
			if now := pods(t); now != running {
				t.Errorf("pods: %s, then %s", running, now)
			}
			unchanged(t)
		}},
		{"and back", func(t *testing.T) {
			w.edit(t, "  certificates = \"rotated\"\n", "")
			running := pods(t)
			applied(t, "moved back")
			if now := pods(t); now != running {
				t.Errorf("pods: %s, then %s", running, now)
			}
			if left := w.ssh(t, "hengshan", "ls /var/lib/kubelet/pki | grep -c pem || true"); left != "0" {
				t.Errorf("left: %s", left)
			}
			unchanged(t)
		}},
	})
}

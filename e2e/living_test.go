package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/e2e/components"
)

const songshan = `
host "songshan" {
  address = "10.89.0.12"
  roles   = ["worker"]
}
`

// TestHostsAndVersions is the short form of TestHosts and TestUpgrade: a worker
// comes, Kubernetes goes up by a minor version on both hosts, and the worker
// leaves.
func TestHostsAndVersions(t *testing.T) {
	buildPrevious(t)
	w := newWorld(t, "e2e-living", kubernetes("single")...)
	previous, next := components.PreviousKubernetes, components.Default().Kubernetes
	w.edit(t, fmt.Sprintf("%q", next), fmt.Sprintf("%q", previous))
	nodes := func(t *testing.T, version string, want ...string) {
		t.Helper()
		var found []string
		for line := range strings.SplitSeq(w.mustKubectl(t, "get", "nodes", "--no-headers"), "\n") {
			if f := strings.Fields(line); len(f) == 5 && f[1] == "Ready" && f[4] == "v"+version {
				found = append(found, f[0])
			}
		}
		if strings.Join(found, " ") != strings.Join(want, " ") {
			t.Errorf("nodes that are Ready with %s: %v, not %v", version, found, want)
		}
		if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
			t.Errorf("a plan finds something to do: %s", r)
		}
	}
	applied := func(t *testing.T, what string) {
		t.Helper()
		t.Logf("%s: %s", what, w.apply(t).elapsed.Round(100*time.Millisecond))
	}
	tell(t, []chapter{
		{"a host with everything", func(t *testing.T) {
			applied(t, "installed")
			nodes(t, previous, "taishan")
		}},
		{"a worker comes", func(t *testing.T) {
			w.edit(t, "host \"taishan\"", songshan+"host \"taishan\"")
			if err := w.lab.Up(t.Context(), w.machines(t)); err != nil {
				t.Fatal(err)
			}
			pids := w.ssh(t, "taishan", "pidof etcd kube-apiserver kubelet containerd")
			applied(t, "added")
			if now := w.ssh(t, "taishan", "pidof etcd kube-apiserver kubelet containerd"); now != pids {
				t.Errorf("programs of the other host were started anew: %s, then %s", pids, now)
			}
			nodes(t, previous, "songshan", "taishan")
		}},
		{"a worker has no power, and is left for later", func(t *testing.T) {
			if err := w.lab.Stop(t.Context(), "songshan"); err != nil {
				t.Fatal(err)
			}
			const setting = "    maxPods = 42\n"
			w.edit(t, "    failSwapOn   = false\n", "    failSwapOn   = false\n"+setting)
			r := w.run(t, "apply", "-yes", w.inventory)
			if r.code != 4 || !strings.Contains(r.stderr, "-skip-unreachable") {
				t.Errorf("without a word about it: %s", r)
			}
			capacity := func(node, want string) {
				t.Helper()
				eventually(t, time.Minute, "pods that "+node+" has room for", func() string {
					if pods := w.mustKubectl(t, "get", "node", node, "-o", "jsonpath={.status.capacity.pods}"); pods != want {
						return "room for " + pods
					}
					return ""
				})
			}
			capacity("taishan", "110")
			r = w.run(t, "apply", "-yes", "-skip-unreachable", w.inventory)
			t.Logf("without the worker: %s", r.elapsed.Round(100*time.Millisecond))
			if r.code != 0 || !strings.Contains(r.stdout, "songshan") || !strings.Contains(r.stdout, "later") {
				t.Errorf("%s", r)
			}
			capacity("taishan", "42")
			capacity("songshan", "110")
			if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 4 {
				t.Errorf("a plan forgets who was left for later: %s", r)
			}

			if err := w.lab.Start(t.Context(), "songshan"); err != nil {
				t.Fatal(err)
			}
			applied(t, "with it again")
			capacity("songshan", "42")
			nodes(t, previous, "songshan", "taishan")
		}},
		{"a minor version more", func(t *testing.T) {
			w.edit(t, fmt.Sprintf("%q", previous), fmt.Sprintf("%q", next))
			if r := w.run(t, "plan", w.inventory); !strings.Contains(r.stdout, "# Upgrade of Kubernetes "+previous+" → "+next) {
				t.Errorf("the plan: %s", r)
			}
			applied(t, "upgraded")
			nodes(t, next, "songshan", "taishan")
			if cordoned := w.mustKubectl(t, "get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); cordoned != "" {
				t.Errorf("nodes are still cordoned: %s", cordoned)
			}
		}},
		{"and none less", func(t *testing.T) {
			w.edit(t, fmt.Sprintf("%q", next), fmt.Sprintf("%q", previous))
			r := w.run(t, "apply", "-yes", w.inventory)
			if said := strings.Join(strings.Fields(r.stdout+r.stderr), " "); r.code != 1 || !strings.Contains(said, "does not go back a minor version") {
				t.Errorf("%s", r)
			}
			w.edit(t, fmt.Sprintf("%q", previous), fmt.Sprintf("%q", next))
			nodes(t, next, "songshan", "taishan")
		}},
		{"the worker leaves", func(t *testing.T) {
			w.edit(t, songshan, "")
			applied(t, "removed")
			nodes(t, next, "taishan")
			if left := w.ssh(t, "songshan", "pidof kubelet kube-proxy containerd || true; ls /usr/local/bin/kubelet /etc/kubernetes/kubelet.conf 2>/dev/null || true"); left != "" {
				t.Errorf("left on the worker: %s", left)
			}
		}},
	})
}

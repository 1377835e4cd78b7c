package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/e2e/components"
)

// upgradeWorkload is a service of two pods of which one may go at a time. A pod
// serves on for a while when it is told to end, as its clients learn of that
// later than it does.
const upgradeWorkload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 20
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: kinstall.example/toolbox:1
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www"]
        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 8}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec:
  minAvailable: 1
  selector: {matchLabels: {app: web}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
`

// TestUpgrade takes a cluster from the previous minor version to the newest,
// with clients of its API and of a service on it who ask ten times a second. A
// version that does not start is taken back on the first master before, and
// kinstall is killed three times on the way.
func TestUpgrade(t *testing.T) {
	if os.Getenv("KINSTALL_CHANGES") == "" {
		t.Skip("part of make test-changes")
	}
	shared, err := prepared()
	if err != nil {
		t.Fatal(err)
	}
	buildPrevious(t)
	w := newWorld(t, "e2e-upgrade", kubernetes("upgrade")...)
	before, after := "v"+components.PreviousKubernetes, "v"+components.Default().Kubernetes
	workers := []string{"huashan", "kunlun"}
	all := slices.Concat(masters, workers)
	r := w.apply(t)
	t.Logf("%s on five machines: %s", before, r.elapsed.Round(100*time.Millisecond))
	w.create(t, upgradeWorkload)
	eventually(t, 2*time.Minute, "the service has two pods", func() string {
		if r := w.kubectl(t, "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"); r.stdout != "2" {
			return r.String()
		}
		return ""
	})
	good, err := os.ReadFile(w.inventory)
	if err != nil {
		t.Fatal(err)
	}

	tell(t, []chapter{
		{"a version that the source lacks", func(t *testing.T) {
			defer w.write(t, string(good))
			w.edit(t, fmt.Sprintf("%q", components.PreviousKubernetes), `"1.35.99"`)
			r := w.run(t, "plan", w.inventory)
			t.Log(r)
			if r.code != 1 || !strings.Contains(r.stderr, "1.35.99") {
				t.Errorf("%s", r)
			}
		}},
		{"a version that does not start", func(t *testing.T) { badVersion(t, w, shared.mirror.Dir, string(good)) }},
		{"killed three times", func(t *testing.T) {
			w.edit(t, fmt.Sprintf("%q", components.PreviousKubernetes), fmt.Sprintf("%q", components.Default().Kubernetes))
			r := w.run(t, "plan", w.inventory)
			if want := "# Upgrade of Kubernetes " + strings.TrimPrefix(before, "v") + " → " + strings.TrimPrefix(after, "v"); r.code != 0 || !strings.Contains(r.stdout, want) {
				t.Fatalf("%q is not said: %s", want, r)
			}
			api := w.poll(t, "the API through the balancer", addresses["emei"]+":8443", "/livez")
			service := w.pollURL(t, "the service", "http://"+addresses["emei"]+":30080/")
			begin := time.Now()
			for _, moment := range []struct {
				what     string
				machines []string
				command  string
			}{
				{"an API server's manifest", masters, "grep -q " + after + " /etc/kubernetes/manifests/kube-apiserver.yaml"},
				{"a master's kubelet", masters, "/usr/local/bin/kubelet --version | grep -q " + after},
				{"a worker's kubelet", workers, "/usr/local/bin/kubelet --version | grep -q " + after},
			} {
				b := w.begin(t, "apply", "-yes", "-lock-timeout", "2m", w.inventory)
				on := holds(t, w, b, 8*time.Minute, moment.machines, moment.command)
				b.kill(t)
				t.Logf("killed at %s, after %s: %s on %s is new", time.Now().Format("15:04:05"), time.Since(b.begin).Round(100*time.Millisecond), moment.what, on)
				sound(t, w, all)
			}
			r = w.apply(t, "-lock-timeout", "2m")
			t.Logf("the fourth apply took %s; in all %s", r.elapsed.Round(100*time.Millisecond), time.Since(begin).Round(100*time.Millisecond))
			for _, stop := range []func() *poller{api, service} {
				p := stop()
				t.Log(p)
				if len(p.lost) > 0 {
					t.Errorf("lost: %v", p.lost)
				}
			}
			upgradedTo(t, w, all, after)
			if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
				t.Errorf("a plan finds something to do: %s", r)
			}
		}},
		{"no way back", func(t *testing.T) {
			w.write(t, string(good))
			r := w.run(t, "apply", "-yes", w.inventory)
			if shown := strings.Join(strings.Fields(r.stdout+r.stderr), " "); r.code != 1 || !strings.Contains(shown, "Kubernetes does not go back a minor version") {
				t.Errorf("%s", r)
			}
			upgradedTo(t, w, all, after)
		}},
	})
}

// sound expects that nothing is newer than an API server.
func sound(t *testing.T, w *world, all []string) {
	t.Helper()
	oldest := ""
	for _, host := range masters {
		version := w.ssh(t, host, "sed -n 's/.*image: .*:\\(v[0-9.]*\\).*/\\1/p' /etc/kubernetes/manifests/kube-apiserver.yaml")
		if oldest == "" || version < oldest {
			oldest = version
		}
	}
	for _, host := range all {
		if version := strings.TrimPrefix(w.ssh(t, host, "/usr/local/bin/kubelet --version"), "Kubernetes "); version > oldest {
			t.Errorf("the kubelet of %s is %s, and there is an API server of %s", host, version, oldest)
		}
	}
}

// upgradedTo expects that all nodes have a version, are Ready and take pods.
func upgradedTo(t *testing.T, w *world, all []string, version string) {
	t.Helper()
	lines := strings.Split(w.mustKubectl(t, "get", "nodes", "--no-headers"), "\n")
	for _, line := range lines {
		if f := strings.Fields(line); len(f) < 5 || f[1] != "Ready" || f[4] != version {
			t.Errorf("node: %s", line)
		}
	}
	if len(lines) != len(all) {
		t.Errorf("%d nodes, not %d", len(lines), len(all))
	}
	for _, host := range masters {
		if r := w.kubectl(t, "--server", "https://"+addresses[host]+":6443", "get", "--raw", "/version"); !strings.Contains(r.stdout, version) {
			t.Errorf("the API server of %s: %s", host, r)
		}
		for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
			if image := w.ssh(t, host, "grep image: /etc/kubernetes/manifests/"+name+".yaml"); !strings.Contains(image, version) {
				t.Errorf("%s on %s: %s", name, host, image)
			}
		}
	}
}

// badVersion offers a version of which the API server's image lacks the program.
func badVersion(t *testing.T, w *world, mirror, good string) {
	const bad = "1.36.99"
	version := components.Default().Kubernetes
	other := t.TempDir()
	folder := filepath.Join(other, "dl.k8s.io/release/v"+bad+"/bin/linux/amd64")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	link := func(from, to string) {
		t.Helper()
		if err := os.Symlink(from, to); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(mirror)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "dl.k8s.io" {
			link(filepath.Join(mirror, e.Name()), filepath.Join(other, e.Name()))
		}
	}
	from := filepath.Join(mirror, "dl.k8s.io/release/v"+version+"/bin/linux/amd64")
	for _, name := range []string{"kubelet", "kube-proxy", "kube-controller-manager.tar", "kube-scheduler.tar"} {
		link(filepath.Join(from, name), filepath.Join(folder, name))
	}
	link(filepath.Join(filepath.Dir(w.kinstall), toolboxFile), filepath.Join(folder, "kube-apiserver.tar"))

	defer w.write(t, good)
	w.edit(t, "source = var.mirror", fmt.Sprintf("source = %q", other))
	w.edit(t, fmt.Sprintf("%q", components.PreviousKubernetes), fmt.Sprintf("%q", bad))
	api := w.poll(t, "the API through the balancer", addresses["emei"]+":8443", "/livez")
	r := w.run(t, "apply", "-yes", w.inventory)
	seen := api()
	t.Logf("refused in %s; %s", r.elapsed.Round(100*time.Millisecond), seen)
	if shown := strings.Join(strings.Fields(r.stdout+r.stderr), " "); r.code != 1 || !strings.Contains(shown, "was rolled back") || !strings.Contains(shown, "not begun") {
		t.Errorf("taken back on one host, and not begun on the others: %s", r)
	}
	if len(seen.lost) > 0 {
		t.Errorf("lost: %v", seen.lost)
	}
	upgradedTo(t, w, nodesOf(t, w), "v"+components.PreviousKubernetes)
}

// nodesOf are the names of the cluster's nodes.
func nodesOf(t *testing.T, w *world) []string {
	t.Helper()
	return strings.Fields(w.mustKubectl(t, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"))
}

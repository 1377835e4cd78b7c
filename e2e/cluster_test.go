package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
)

var (
	masters = []string{"shaolin", "wudang", "emei"}
	nodes   = []string{"emei", "huashan", "shaolin", "wudang"}

	addresses = map[string]string{"shaolin": "10.88.0.11", "wudang": "10.88.0.12", "emei": "10.88.0.13", "huashan": "10.88.0.14"}
)

// TestCluster tells the story of one cluster, from bare machines on; each part
// builds on the ones before.
func TestCluster(t *testing.T) {
	w := newWorld(t, "e2e", kubernetes("cluster")...)
	told := func(chapter func(*testing.T, *world)) func(*testing.T) {
		return func(t *testing.T) { chapter(t, w) }
	}
	tell(t, []chapter{
		{"a plan changes nothing", told(planChangesNothing)},
		{"bare machines become a cluster", told(fromBare)},
		{"masters run with leader election", told(controlPlane)},
		{"pods run where they belong and reach each other", told(workload)},
		{"every API server presents its own certificate", told(certificates)},
		{"etcd refuses a client without a certificate", told(etcdRefuses)},
		{"a second apply changes nothing", told(secondApply)},
		{"masters and workers pass the benchmark's checks", told(func(t *testing.T, w *world) { benchmark(t, w, nil) })},
		{"requests without credentials reach health endpoints only", told(anonymousRequests)},
		{"who read a secret is written down, and nothing of it", told(auditLog)},
		{"drift is named and repaired, and only drift", told(drift)},
		{"a flag that a program refuses is taken back", told(func(t *testing.T, w *world) { takenBack(t, w, brokenChanges()[:2]...) })},
		{"what leaves the inventory is removed", told(orphans)},
		{"the load balancer moves on the living cluster", told(moveBalancer)},
		{"a member of etcd that lost its disk is replaced", told(replacedMember)},
		{"a power cut of any one master", told(powerCut)},
	})
}

// listing is every path of a machine that kinstall could have touched, with
// modification times.
const listing = `find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /var/log -o -path /tmp -o -path /var/tmp \) -prune -o -printf '%p %m %u %s %T@\n' 2>/dev/null | sort; ls -A /tmp /var/tmp`

func planChangesNothing(t *testing.T, w *world) {
	before := map[string]string{}
	for _, host := range nodes {
		before[host] = w.ssh(t, host, listing)
	}
	r := w.run(t, "plan", "-detailed-exitcode", w.inventory)
	if r.code != 2 {
		t.Fatalf("a plan with changes: %s", r)
	}
	for _, want := range []string{"# host shaolin", "+ unit etcd.service", "+ cert /etc/kubernetes/pki/apiserver.crt", "Plan: "} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the plan lacks %q", want)
		}
	}
	for _, host := range nodes {
		if diff := cmp.Diff(before[host], w.ssh(t, host, listing)); diff != "" {
			t.Errorf("%s was changed by a plan:\n%s", host, diff)
		}
	}
	if entries, _ := os.ReadDir(w.dir); len(entries) != 2 {
		t.Errorf("beside the inventory and the image archive, a plan left something: %v", entries)
	}
}

func fromBare(t *testing.T, w *world) {
	r := w.apply(t)
	t.Logf("apply from bare machines: %s", r.elapsed.Round(100*time.Millisecond))
	lines := strings.Split(w.mustKubectl(t, "get", "nodes", "--no-headers"), "\n")
	if len(lines) != 4 {
		t.Fatalf("4 nodes expected:\n%s", strings.Join(lines, "\n"))
	}
	for _, line := range lines {
		if fields := strings.Fields(line); fields[1] != "Ready" {
			t.Errorf("not Ready: %s", line)
		}
	}
	for _, host := range nodes {
		if leftovers := w.ssh(t, host, `ls -A /var/tmp | grep kinstall || true; find /etc /usr/local /opt /var/lib/kinstall -name '.kinstall.*'`); leftovers != "" {
			t.Errorf("%s: left behind: %s", host, leftovers)
		}
	}
	if mode := w.ssh(t, "shaolin", "stat -c %a /etc/kubernetes/pki/ca.key /etc/kubernetes/pki/sa.key /etc/kubernetes/pki/apiserver.key "+fact.StatePath); mode != "600\n600\n600\n600" {
		t.Errorf("modes of secrets: %s", mode)
	}
}

func controlPlane(t *testing.T, w *world) {
	for _, component := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		for _, host := range masters {
			eventually(t, time.Minute, component+" on "+host, func() string {
				phase := w.kubectl(t, "-n", "kube-system", "get", "pod", component+"-"+host, "-o", `jsonpath={.status.containerStatuses[0].ready}`)
				if phase.stdout == "true" {
					return ""
				}
				return phase.String()
			})
		}
	}
	for _, lease := range []string{"kube-controller-manager", "kube-scheduler"} {
		holder := w.mustKubectl(t, "-n", "kube-system", "get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}")
		name, _, _ := strings.Cut(holder, "_")
		if !slices.Contains(masters, name) {
			t.Errorf("lease %s is held by %q", lease, holder)
		}
	}
	for _, host := range masters {
		if taint := w.mustKubectl(t, "get", "node", host, "-o", `jsonpath={.spec.taints[?(@.key=="node-role.kubernetes.io/control-plane")].effect}`); taint != "NoSchedule" {
			t.Errorf("%s: taint %q", host, taint)
		}
		if _, labelled := "", w.mustKubectl(t, "get", "node", host, "-o", "jsonpath={.metadata.labels}"); !strings.Contains(labelled, `"node-role.kubernetes.io/control-plane":""`) {
			t.Errorf("%s: labels %s", host, labelled)
		}
	}
	if zone := w.mustKubectl(t, "get", "node", "huashan", "-o", "jsonpath={.metadata.labels.zone}"); zone != "north" {
		t.Errorf("huashan's zone is %q", zone)
	}
}

const workloadManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: kinstall.example/toolbox:1
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www"]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
# One pod on every host, masters included.
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{operator: Exists}]
      containers:
      - name: toolbox
        image: kinstall.example/toolbox:1
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "trap exit TERM; while true; do sleep 3600 & wait; done"]
`

func workload(t *testing.T, w *world) {
	w.create(t, workloadManifest)
	eventually(t, 90*time.Second, "workload", func() string {
		r := w.kubectl(t, "get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.name}={.status.containerStatuses[0].ready} {end}`)
		if strings.Count(r.stdout, "=true") == 7 && !strings.Contains(r.stdout, "=false") {
			return ""
		}
		return r.String()
	})
	where := strings.Fields(w.mustKubectl(t, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"))
	for _, node := range where {
		if node != "huashan" {
			t.Errorf("a replica of the deployment landed on %s", node)
		}
	}
	pods := podsByNode(t, w, "everywhere")
	for _, from := range nodes {
		for _, to := range nodes {
			if from == to {
				continue
			}
			if r := w.kubectl(t, "exec", pods[from].name, "--", "ping", "-c", "1", "-W", "5", pods[to].ip); r.code != 0 {
				t.Errorf("ping from %s to %s: %s", from, to, r)
			}
		}
	}
	ip := w.mustKubectl(t, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	for _, from := range nodes {
		r := w.kubectl(t, "exec", pods[from].name, "--", "fetch", "http://"+ip)
		if r.code != 0 || !strings.HasPrefix(r.stdout, "web-") {
			t.Errorf("ClusterIP from a pod on %s: %s", from, r)
		}
	}
	eventually(t, time.Minute, "service name", func() string {
		r := w.kubectl(t, "exec", pods["huashan"].name, "--", "fetch", "http://web.default.svc.cluster.local")
		if r.code == 0 && strings.HasPrefix(r.stdout, "web-") {
			return ""
		}
		return r.String()
	})
	if out := w.mustKubectl(t, "logs", "-n", "kube-system", "kube-scheduler-shaolin", "--tail=1"); out == "" {
		t.Error("kubectl logs through the API server's kubelet client says nothing")
	}
}

type pod struct{ name, ip string }

func podsByNode(t *testing.T, w *world, app string) map[string]pod {
	t.Helper()
	pods := map[string]pod{}
	for _, line := range strings.Split(w.mustKubectl(t, "get", "pods", "-l", "app="+app, "-o", `jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name} {.status.podIP}{"\n"}{end}`), "\n") {
		if f := strings.Fields(line); len(f) == 3 {
			pods[f[0]] = pod{f[1], f[2]}
		}
	}
	return pods
}

func certificates(t *testing.T, w *world) {
	ca, err := os.ReadFile(filepath.Join(w.dir, "pki", "kubernetes-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	serials := map[string]string{}
	for _, host := range masters {
		raw, err := w.lab.DialContext(t.Context(), "tcp", addresses[host]+":6443")
		if err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: addresses[host]})
		if err := conn.HandshakeContext(t.Context()); err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		leaf := conn.ConnectionState().PeerCertificates[0]
		conn.Close()
		names := slices.Clone(leaf.DNSNames)
		for _, ip := range leaf.IPAddresses {
			names = append(names, ip.String())
		}
		sort.Strings(names)
		want := []string{host, addresses[host], "emei", "10.88.0.13", "10.96.0.1",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
		sort.Strings(want)
		if diff := cmp.Diff(slices.Compact(want), names); diff != "" {
			t.Errorf("%s: SANs (-want +got):\n%s", host, diff)
		}
		serial := leaf.SerialNumber.String()
		if other, taken := serials[serial]; taken {
			t.Errorf("%s presents the certificate of %s", host, other)
		}
		serials[serial] = host
	}
}

func etcdRefuses(t *testing.T, w *world) {
	raw, err := w.lab.DialContext(t.Context(), "tcp", "10.88.0.11:2379")
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	defer conn.Close()
	err = conn.HandshakeContext(t.Context())
	if err == nil {
		// TLS 1.3 reports a missing client certificate with the first read.
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("etcd let a client without a certificate in: %v", err)
	}
}

// processes fingerprints what must not restart: pids and start times.
func processes(t *testing.T, w *world) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, host := range nodes {
		for _, line := range strings.Split(w.ssh(t, host, `for name in etcd containerd kubelet kube-proxy nginx kube-apiserver kube-controller-manager kube-scheduler; do
	for pid in $(pidof $name); do echo $name $pid $(cut -d' ' -f22 /proc/$pid/stat); done
done | sort`), "\n") {
			all[host+" "+line] = "running"
		}
	}
	return all
}

func secondApply(t *testing.T, w *world) {
	before := processes(t, w)
	if len(before) < 3*7+3 {
		t.Fatalf("few processes found: %v", before)
	}
	r := w.apply(t)
	if !strings.Contains(r.stdout, "No changes") {
		t.Fatalf("second apply: %s", r)
	}
	t.Logf("no-op apply: %s", r.elapsed.Round(time.Millisecond))
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("plan -detailed-exitcode without changes: %s", r)
	}
	if diff := cmp.Diff(before, processes(t, w)); diff != "" {
		t.Errorf("processes changed:\n%s", diff)
	}
}

func drift(t *testing.T, w *world) {
	before := processes(t, w)
	w.ssh(t, "shaolin", "echo '# by hand' >> /etc/sysctl.d/99-kinstall.conf")      // a file
	w.ssh(t, "wudang", "chmod 0644 /etc/kubernetes/pki/apiserver-etcd-client.key") // a mode
	w.ssh(t, "huashan", "systemctl disable kubelet.service")                       // a unit
	w.mustKubectl(t, "label", "node", "huashan", "zone=south", "--overwrite")      // a label
	w.ssh(t, "emei", "ip route del $(ip route | grep 'via 10.88.0.14' | head -1 | cut -d' ' -f1)")
	want := []string{
		"cluster api ~ node huashan",
		"emei ~ staticroutes pods",
		"huashan ~ unit kubelet.service",
		"shaolin ~ file /etc/sysctl.d/99-kinstall.conf",
		"wudang ~ cert /etc/kubernetes/pki/apiserver-etcd-client.crt",
	}
	r := w.run(t, "plan", "-detailed-exitcode", w.inventory)
	if r.code != 2 {
		t.Fatalf("plan: %s", r)
	}
	compare := func(printed string) {
		t.Helper()
		got := changed(printed)
		sort.Strings(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("resources planned (-want +got):\n%s\n%s", diff, printed)
		}
	}
	compare(r.stdout)
	if n := strings.Count(r.stdout, "drift: "); n != len(want) {
		t.Errorf("drift is not told apart from intent:\n%s", r.stdout)
	}
	compare(w.apply(t).stdout)
	if again := w.run(t, "plan", "-detailed-exitcode", w.inventory); again.code != 0 {
		t.Errorf("after the repair: %s", again)
	}
	if diff := cmp.Diff(before, processes(t, w)); diff != "" {
		t.Errorf("the repair restarted something:\n%s", diff)
	}
	if zone := w.mustKubectl(t, "get", "node", "huashan", "-o", "jsonpath={.metadata.labels.zone}"); zone != "north" {
		t.Errorf("huashan's zone is %q", zone)
	}
}

func orphans(t *testing.T, w *world) {
	// The setting is the lab's host's own.
	const setting = "/proc/sys/vm/max_map_count"
	own, err := os.ReadFile(setting)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(setting, own, 0); err != nil {
			t.Error(err)
		}
	}()
	w.edit(t, `labels  = { zone = "north" }`, `labels  = { zone = "north", disk = "ssd" }`)
	w.edit(t, `dns {`, "preparation {\n  sysctls = { \"vm.max_map_count\" = \"262144\" }\n}\n\ndns {")
	w.apply(t)
	if disk := w.mustKubectl(t, "get", "node", "huashan", "-o", "jsonpath={.metadata.labels.disk}"); disk != "ssd" {
		t.Errorf("the new label is %q", disk)
	}
	const inFile = "grep -c max_map_count /etc/sysctl.d/99-kinstall.conf || true"
	for _, host := range nodes {
		if value, lines := w.ssh(t, host, "cat "+setting), w.ssh(t, host, inFile); value != "262144" || lines != "1" {
			t.Errorf("%s: vm.max_map_count is %s, in %s lines of the file", host, value, lines)
		}
	}
	w.edit(t, `, disk = "ssd"`, "")
	w.edit(t, "preparation {\n  sysctls = { \"vm.max_map_count\" = \"262144\" }\n}\n\n", "")
	r := w.apply(t)
	if !strings.Contains(r.stdout, "left the inventory") {
		t.Errorf("the plan does not say that the label left the inventory:\n%s", r.stdout)
	}
	if disk := w.mustKubectl(t, "get", "node", "huashan", "-o", "jsonpath={.metadata.labels.disk}"); disk != "" {
		t.Errorf("the label stayed: %q", disk)
	}
	for _, host := range nodes {
		if lines := w.ssh(t, host, inFile); lines != "0" {
			t.Errorf("%s: the sysctl stayed in %s lines of the file", host, lines)
		}
	}
}

// moveBalancer changes a living cluster for good: the load balancer goes to
// another host, every API server gets another certificate, every client
// another address.
func moveBalancer(t *testing.T, w *world) {
	w.edit(t, `hosts = ["emei"]`, `hosts = ["shaolin"]`)
	r := w.apply(t)
	t.Logf("moving the load balancer: %s", r.elapsed.Round(100*time.Millisecond))
	for _, want := range []string{"- unit nginx.service", "- file /etc/nginx/", "SAN 10.88.0.11", "~ block /etc/hosts#hosts"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the plan lacks %q: %s", want, r)
		}
	}
	if left := w.ssh(t, "emei", "ls /etc/nginx/stream.d /etc/nginx/modules-enabled | grep kinstall || true; systemctl is-active nginx || true"); left != "inactive" {
		t.Errorf("the load balancer is still on emei: %s", left)
	}
	w.kubeconfig = "" // the old one leads to emei
	for _, node := range nodes {
		if r := w.kubectl(t, "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`); r.stdout != "True" {
			t.Errorf("%s is not Ready: %s", node, r)
		}
	}
	// Everything that dials the endpoint has found it: a deployment is scaled,
	// which takes a controller manager, a scheduler and huashan's kubelet.
	w.mustKubectl(t, "scale", "deployment", "web", "--replicas=4")
	eventually(t, time.Minute, "a fourth replica", func() string {
		r := w.kubectl(t, "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
		if r.stdout == "4" {
			return ""
		}
		return r.String()
	})
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("a plan after the move: %s", r)
	}
	w.edit(t, `hosts = ["shaolin"]`, `hosts = ["emei"]`)
	w.apply(t)
	w.kubeconfig = ""
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("a plan after moving back: %s", r)
	}
}

// powerCut takes the power of one master after the other. While it is off the
// cluster goes on: etcd takes writes, other members of the control plane lead,
// pods run. When it is on again all of it comes back by itself, with what was
// written before and meanwhile.
func powerCut(t *testing.T, w *world) {
	replicas := 4 // what moveBalancer left
	for _, host := range masters {
		survivor := masters[(slices.Index(masters, host)+1)%len(masters)]
		before, meanwhile := "before-"+host, "without-"+host
		w.mustKubectl(t, "create", "configmap", before)
		if err := w.lab.Stop(t.Context(), host); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		// A write takes a quorum of etcd. With the balancer's own host clients of the
		// endpoint are cut off; the API servers themselves are not.
		server := []string{}
		if host == "emei" {
			server = []string{"--server", "https://" + addresses[survivor] + ":6443"}
		}
		took := eventually(t, 30*time.Second, "a write while "+host+" is off", func() string {
			r := w.kubectl(t, append([]string{"create", "configmap", meanwhile}, server...)...)
			if r.code == 0 || strings.Contains(r.stderr, "AlreadyExists") {
				return ""
			}
			return r.String()
		})
		t.Logf("%s off: the first write took %s", host, took.Round(time.Millisecond))
		if host == "emei" {
			if r := w.kubectl(t, "get", "nodes", "--request-timeout=2s"); r.code == 0 {
				t.Errorf("kubectl answers through the balancer whose host is off: %s", r)
			}
		} else {
			// It takes a controller manager, a scheduler and huashan's kubelet: those
			// that led on this host have successors.
			replicas++
			w.mustKubectl(t, "scale", "deployment", "web", fmt.Sprintf("--replicas=%d", replicas))
			took := eventually(t, 2*time.Minute, "another replica while "+host+" is off", func() string {
				r := w.kubectl(t, "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
				if r.stdout == strconv.Itoa(replicas) {
					return ""
				}
				return r.String()
			})
			t.Logf("%s off: another replica after %s", host, took.Round(time.Millisecond))
		}
		if err := w.lab.Start(t.Context(), host); err != nil {
			t.Fatal(err)
		}
		on := time.Now()
		eventually(t, 3*time.Minute, host+" heals by itself", func() string { return healthy(t, w, host, begin) })
		t.Logf("%s healed %s after it was switched on", host, time.Since(on).Round(time.Second))
		for _, name := range []string{before, meanwhile} {
			if r := w.kubectl(t, "--server", "https://"+addresses[host]+":6443", "get", "configmap", name); r.code != 0 {
				t.Errorf("%s has lost what was written: %s", host, r)
			}
		}
		eventually(t, 2*time.Minute, "nothing to do after the power cut of "+host, func() string {
			if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
				return r.String()
			}
			return ""
		})
	}
}

// healthy says what is not yet well on a master whose power was cut at a time,
// "" if all is: its own API server, its etcd member, its kubelet, its static
// pods, and its pods' way to those of other hosts. What was true before the cut
// does not count.
func healthy(t *testing.T, w *world, host string, since time.Time) string {
	address := addresses[host]
	if r := w.kubectl(t, "--server", "https://"+address+":6443", "get", "--raw", "/readyz"); r.stdout != "ok" {
		return "its API server: " + r.String()
	}
	if r := w.kubectl(t, "-n", "kube-node-lease", "get", "lease", host, "-o", "jsonpath={.spec.renewTime}"); r.code != 0 {
		return r.String()
	} else if !after(r.stdout, since) {
		return "its kubelet's lease was renewed last at " + r.stdout
	}
	r := w.kubectl(t, "get", "node", host, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}`)
	if seen, ok := strings.CutPrefix(r.stdout, "True "); !ok || !after(seen, since) {
		return "its node: " + r.String()
	}
	for _, component := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		r := w.kubectl(t, "-n", "kube-system", "get", "pod", component+"-"+host, "-o", `jsonpath={.status.containerStatuses[0].ready} {.status.containerStatuses[0].state.running.startedAt}`)
		if started, ok := strings.CutPrefix(r.stdout, "true "); !ok || !after(started, since) {
			return component + ": " + r.String()
		}
	}
	const etcdctl = "etcdctl --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key /etc/kubernetes/pki/etcd/healthcheck-client.key"
	ssh := w.lab.SSH(t.Context(), host, etcdctl+" --endpoints https://"+address+":2379 endpoint health")
	if out, err := ssh.CombinedOutput(); err != nil {
		return "its etcd member: " + string(out)
	}
	pods := podsByNode(t, w, "everywhere")
	for _, other := range nodes {
		if other == host {
			continue
		}
		if r := w.kubectl(t, "exec", pods[host].name, "--", "ping", "-c", "1", "-W", "2", pods[other].ip); r.code != 0 {
			return "its pod can't reach the one on " + other + ": " + r.String()
		}
	}
	return ""
}

// after tells whether the API's time, in whole seconds or finer, is later.
func after(written string, than time.Time) bool {
	at, err := time.Parse(time.RFC3339, written)
	return err == nil && at.After(than)
}

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestHosts tells how hosts come and go on a living cluster, with pods that are
// to run all the while.
func TestHosts(t *testing.T) {
	if os.Getenv("KINSTALL_CHANGES") == "" {
		t.Skip("part of make test-changes")
	}
	w := newWorld(t, "e2e-hosts", kubernetes("hosts")...)
	s := &hostsStory{world: w, blocks: map[string]string{}}
	for _, host := range []string{"wudang", "emei", "hengshan"} {
		s.remove(t, host)
	}
	r := w.apply(t)
	t.Logf("a master and a worker: %s", r.elapsed.Round(100*time.Millisecond))
	told := func(chapter func(*testing.T, *hostsStory)) func(*testing.T) {
		return func(t *testing.T) { chapter(t, s) }
	}
	tell(t, []chapter{
		{"a worker comes", told(workerComes)},
		{"two masters come, with members of etcd", told(mastersCome)},
		{"a node is drained for maintenance, and comes back", told(maintenance)},
		{"a drain that a budget forbids is given up", told(forbiddenDrain)},
		{"a worker leaves", told(workerLeaves)},
		{"a worker that left comes again", told(workerComesAgain)},
		{"two masters leave, with their members of etcd", told(mastersLeave)},
		{"a worker is gone for good", told(workerIsGone)},
	})
}

type hostsStory struct {
	*world
	blocks map[string]string // of hosts that are not in the inventory
}

// remove takes a host's block out of the inventory.
func (s *hostsStory) remove(t *testing.T, host string) {
	t.Helper()
	all, rest := s.without(t, host)
	s.blocks[host] = fmt.Sprintf("host %q {%s\n}\n", host, strings.SplitN(strings.SplitN(all, fmt.Sprintf("host %q {", host), 2)[1], "\n}\n", 2)[0])
	s.write(t, rest)
}

// add puts it back.
func (s *hostsStory) add(t *testing.T, host string) {
	t.Helper()
	all, err := os.ReadFile(s.inventory)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, string(all)+"\n"+s.blocks[host])
}

// settled expects these nodes, all of them Ready, and that a plan finds nothing.
func (s *hostsStory) settled(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	eventually(t, time.Minute, "the nodes "+strings.Join(want, ", "), func() string {
		r := s.kubectl(t, "get", "nodes", "--no-headers")
		var ready []string
		for _, line := range strings.Split(strings.TrimSpace(r.stdout), "\n") {
			if f := strings.Fields(line); len(f) > 1 && f[1] == "Ready" {
				ready = append(ready, f[0])
			}
		}
		if diff := cmp.Diff(want, ready); diff != "" {
			return r.String()
		}
		return ""
	})
	eventually(t, time.Minute, "nothing to do", func() string {
		if r := s.run(t, "plan", "-detailed-exitcode", s.inventory); r.code != 0 || !strings.Contains(r.stdout, "No changes") {
			return r.String()
		}
		return ""
	})
}

// starts are the programs of a host with when they were started.
func (s *hostsStory) starts(t *testing.T, host string) string {
	t.Helper()
	return s.ssh(t, host, `for p in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy containerd; do for pid in $(pidof $p); do echo "$p $(cut -d' ' -f22 /proc/$pid/stat)"; done; done`)
}

// pods are the pods of the deployment that run, by node.
func (s *hostsStory) pods(t *testing.T) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, line := range strings.Split(s.mustKubectl(t, "get", "pods", "-l", "app=web", "--no-headers", "-o", "custom-columns=NODE:.spec.nodeName,READY:.status.conditions[?(@.type=='Ready')].status,END:.metadata.deletionTimestamp"), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[1] == "True" && f[2] == "<none>" {
			found[f[0]]++
		}
	}
	return found
}

// spread has the deployment run on both workers.
func (s *hostsStory) spread(t *testing.T) {
	t.Helper()
	s.mustKubectl(t, "rollout", "restart", "deployment/web")
	s.mustKubectl(t, "rollout", "status", "deployment/web", "--timeout=60s", "--request-timeout=0")
	if found := s.pods(t); found["huashan"] == 0 || found["hengshan"] == 0 {
		t.Fatalf("pods: %v", found)
	}
}

const webManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: kinstall.example/toolbox:1
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec:
  minAvailable: 3
  selector: {matchLabels: {app: web}}
`

func workerComes(t *testing.T, s *hostsStory) {
	before := map[string]string{"shaolin": s.starts(t, "shaolin"), "huashan": s.starts(t, "huashan")}
	s.add(t, "hengshan")
	r := s.apply(t)
	t.Logf("a worker added: %s", r.elapsed.Round(100*time.Millisecond))
	if diff := cmp.Diff(before, map[string]string{"shaolin": s.starts(t, "shaolin"), "huashan": s.starts(t, "huashan")}); diff != "" {
		t.Errorf("programs of other hosts were started anew (-before +after):\n%s", diff)
	}
	s.settled(t, "shaolin", "huashan", "hengshan")
	s.create(t, webManifest)
	s.mustKubectl(t, "rollout", "status", "deployment/web", "--timeout=60s", "--request-timeout=0")
}

// members are those of etcd that have a vote, by their names.
func (s *hostsStory) members(t *testing.T) string {
	t.Helper()
	return s.ssh(t, "shaolin", `etcdctl --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key /etc/kubernetes/pki/etcd/healthcheck-client.key member list | awk -F', ' '$2 == "started" && $6 == "false" { print $3 }' | sort | tr '\n' ' '`)
}

func mastersCome(t *testing.T, s *hostsStory) {
	s.add(t, "wudang")
	s.add(t, "emei")
	r := s.apply(t)
	t.Logf("two masters added: %s", r.elapsed.Round(100*time.Millisecond))
	s.settled(t, "shaolin", "wudang", "emei", "huashan", "hengshan")
	for _, address := range []string{"10.88.0.12", "10.88.0.13"} {
		if r := s.kubectl(t, "--server", "https://"+address+":6443", "get", "--raw", "/readyz"); r.stdout != "ok" {
			t.Errorf("the API server at %s: %s", address, r)
		}
		if upstreams := s.ssh(t, "shaolin", "cat /etc/nginx/stream.d/kinstall.conf"); !strings.Contains(upstreams, address+":6443") {
			t.Errorf("the balancer does not know the API server at %s:\n%s", address, upstreams)
		}
	}
	if got := s.members(t); got != "emei shaolin wudang" {
		t.Errorf("members of etcd: %q", got)
	}
}

// cordon is what stands on a node: whether it is cordoned, and kinstall's mark.
func (s *hostsStory) cordon(t *testing.T, node string) string {
	t.Helper()
	return s.mustKubectl(t, "get", "node", node, "-o", `jsonpath={.spec.unschedulable} {.metadata.annotations.kinstall\.io/cordoned}`)
}

func maintenance(t *testing.T, s *hostsStory) {
	s.spread(t)
	s.edit(t, "host \"huashan\" {\n", "host \"huashan\" {\n  state   = \"drained\"\n")
	r := s.run(t, "plan", s.inventory)
	if !strings.Contains(r.stdout, "cordon: drained in the inventory") || strings.Count(r.stdout, "pod default/web-") != s.pods(t)["huashan"] {
		t.Errorf("the plan of a drain: %s", r)
	}
	r = s.apply(t)
	t.Logf("drained: %s", r.elapsed.Round(100*time.Millisecond))
	if diff := cmp.Diff(map[string]int{"hengshan": 4}, s.pods(t)); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if got := s.cordon(t, "huashan"); got != "true state" {
		t.Errorf("the node: %q", got)
	}
	if r := s.run(t, "plan", "-detailed-exitcode", s.inventory); r.code != 0 {
		t.Errorf("drained, and still to be changed: %s", r)
	}
	s.edit(t, "  state   = \"drained\"\n", "")
	s.apply(t)
	if got := s.cordon(t, "huashan"); strings.TrimSpace(got) != "" {
		t.Errorf("the node: %q", got)
	}
	// A cordon of somebody else's stays.
	s.mustKubectl(t, "cordon", "huashan")
	if r := s.run(t, "plan", "-detailed-exitcode", s.inventory); r.code != 0 {
		t.Errorf("somebody else's cordon is taken for a change: %s", r)
	}
	s.apply(t)
	if got := s.cordon(t, "huashan"); strings.TrimSpace(got) != "true" {
		t.Errorf("the node: %q", got)
	}
	s.mustKubectl(t, "uncordon", "huashan")
}

func forbiddenDrain(t *testing.T, s *hostsStory) {
	s.spread(t)
	before := s.pods(t)
	s.mustKubectl(t, "patch", "pdb", "web", "--type=merge", "-p", `{"spec":{"minAvailable":4}}`)
	eventually(t, 20*time.Second, "the budget allows nothing", func() string {
		if got := s.mustKubectl(t, "get", "pdb", "web", "-o", "jsonpath={.status.disruptionsAllowed} {.status.desiredHealthy}"); got != "0 4" {
			return "allowed and needed: " + got
		}
		return ""
	})
	s.edit(t, "host \"huashan\" {\n", "host \"huashan\" {\n  state   = \"drained\"\n")
	const says = "the disruption budget web needs 4 healthy pods and has 4 currently"
	asBefore := func() {
		t.Helper()
		if diff := cmp.Diff(before, s.pods(t)); diff != "" {
			t.Errorf("pods (-before +after):\n%s", diff)
		}
		if got := s.cordon(t, "huashan"); strings.TrimSpace(got) != "" {
			t.Errorf("the node: %q", got)
		}
	}
	r := s.run(t, "apply", "-yes", s.inventory)
	said := strings.Join(strings.Fields(r.stdout+r.stderr), " ")
	if r.code != 1 || !strings.Contains(said, "waiting for default/web-") || !strings.Contains(said, says) || !strings.Contains(said, "20s (drain_timeout)") {
		t.Errorf("a drain that takes too long: %s", r)
	}
	asBefore()

	b := s.begin(t, "apply", "-yes", s.inventory)
	eventually(t, 30*time.Second, "it waits for the budget", func() string {
		if got := b.stdout.String(); !strings.Contains(strings.Join(strings.Fields(got), " "), says) {
			return "it says: " + got
		}
		return ""
	})
	if got := s.cordon(t, "huashan"); !strings.HasPrefix(got, "true") {
		t.Errorf("the node is not cordoned: %q", got)
	}
	if err := b.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r = b.wait(t)
	t.Logf("given up: exit code %d after %s", r.code, r.elapsed.Round(100*time.Millisecond))
	if said := strings.Join(strings.Fields(r.stdout+r.stderr), " "); r.code == 0 || !strings.Contains(said, says) {
		t.Errorf("a drain that was given up: %s", r)
	}
	asBefore()
	s.edit(t, "  state   = \"drained\"\n", "")
	s.mustKubectl(t, "patch", "pdb", "web", "--type=merge", "-p", `{"spec":{"minAvailable":3}}`)
	s.settled(t, "shaolin", "wudang", "emei", "huashan", "hengshan")
}

func workerLeaves(t *testing.T, s *hostsStory) {
	s.spread(t)
	s.remove(t, "huashan")
	b := s.begin(t, "apply", "-yes", s.inventory)
	holds(t, s.world, b, 2*time.Minute, []string{"huashan"}, "! systemctl -q is-active kubelet.service")
	if diff := cmp.Diff(map[string]int{"hengshan": 4}, s.pods(t)); diff != "" {
		t.Errorf("pods when the host stops (-want +got):\n%s", diff)
	}
	r := b.wait(t)
	if r.code != 0 {
		t.Fatalf("a worker leaves: %s", r)
	}
	t.Logf("a worker removed: %s", r.elapsed.Round(100*time.Millisecond))
	s.cleared(t, "huashan")
	if left := s.ssh(t, "shaolin", "ip route show | grep -c 'via 10.88.0.14' || true"); left != "0" {
		t.Errorf("the others still know %s ways to it", left)
	}
	s.settled(t, "shaolin", "wudang", "emei", "hengshan")
}

// cleared expects that nothing of kinstall's runs on a host, and what it wrote is
// gone.
func (s *hostsStory) cleared(t *testing.T, host string) {
	t.Helper()
	if left := s.ssh(t, host, "pidof kubelet kube-proxy containerd kube-apiserver kube-controller-manager kube-scheduler httpd || true"); left != "" {
		t.Errorf("%s: still running: %s", host, left)
	}
	if left := s.ssh(t, host, "ls -d /usr/local/bin/kubelet /etc/kubernetes/kubelet.conf /etc/kubernetes/manifests/* /etc/kubernetes/pki/ca.crt /etc/systemd/system/kubelet.service 2>/dev/null || true"); left != "" {
		t.Errorf("%s: still there: %s", host, left)
	}
	if state := s.ssh(t, host, `tr -d ' \n' </var/lib/kinstall/state.json`); !strings.Contains(state, `"resources":{}`) {
		t.Errorf("%s still remembers: %s", host, state)
	}
	if state := s.ssh(t, "shaolin", "cat /var/lib/kinstall/state.json"); strings.Contains(state, `"host:`+host+`"`) {
		t.Errorf("%s is still remembered", host)
	}
}

func workerComesAgain(t *testing.T, s *hostsStory) {
	s.add(t, "huashan")
	r := s.apply(t)
	t.Logf("added again: %s", r.elapsed.Round(100*time.Millisecond))
	s.settled(t, "shaolin", "wudang", "emei", "huashan", "hengshan")
	s.spread(t)
}

func mastersLeave(t *testing.T, s *hostsStory) {
	s.remove(t, "wudang")
	s.remove(t, "emei")
	r := s.apply(t)
	t.Logf("two masters removed: %s", r.elapsed.Round(100*time.Millisecond))
	for host, address := range map[string]string{"wudang": "10.88.0.12", "emei": "10.88.0.13"} {
		s.cleared(t, host)
		if left := s.ssh(t, host, "pidof etcd || true; ls -d /var/lib/etcd/member"); left != "/var/lib/etcd/member" {
			t.Errorf("%s: etcd, or its data: %s", host, left)
		}
		if upstreams := s.ssh(t, "shaolin", "cat /etc/nginx/stream.d/kinstall.conf"); strings.Contains(upstreams, address+":6443") {
			t.Errorf("the balancer still knows the API server at %s:\n%s", address, upstreams)
		}
	}
	if got := s.members(t); got != "shaolin" {
		t.Errorf("members of etcd: %q", got)
	}
	s.settled(t, "shaolin", "huashan", "hengshan")
}

func workerIsGone(t *testing.T, s *hostsStory) {
	s.spread(t)
	if err := s.lab.Stop(t.Context(), "hengshan"); err != nil {
		t.Fatal(err)
	}
	s.remove(t, "hengshan")
	r := s.run(t, "apply", "-yes", s.inventory)
	if said := strings.Join(strings.Fields(r.stdout+r.stderr), " "); r.code != 1 || !strings.Contains(said, "left the inventory, and can't be reached") || !strings.Contains(said, "-forget hengshan") {
		t.Errorf("a host that can't be reached: %s", r)
	}
	r = s.apply(t, "-forget", "hengshan")
	t.Logf("forgotten: %s", r.elapsed.Round(100*time.Millisecond))
	s.settled(t, "shaolin", "huashan")
	eventually(t, 3*time.Minute, "the pods run elsewhere", func() string {
		if found := s.pods(t); found["huashan"] != 4 {
			return fmt.Sprint(found)
		}
		return ""
	})
	if r := s.run(t, "plan", "-forget", "hengshan", s.inventory); r.code == 0 {
		t.Errorf("a host that nobody remembers is forgotten: %s", r)
	}
}

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/e2e/components"
)

// networkCase is a pod network that is proved on machines of its own.
type networkCase struct {
	name  string
	block string
	mtu   string
	// daily networks are proved by every run of the tests, the others by make
	// test-networks.
	daily bool
	// also is checked beside what every network must do.
	also func(*testing.T, *world)
}

func networkCases() []networkCase {
	return []networkCase{
		{"routes", `network "routes" {}`, "1500", false, nil},
		{"flannel-vxlan-etcd", "network \"flannel\" {\n  backend = \"vxlan\"\n  store   = \"etcd\"\n}", "1450", true, flannelLeases},
		{"flannel-vxlan-kubernetes", "network \"flannel\" {\n  backend = \"vxlan\"\n  store   = \"kubernetes\"\n}", "1450", true, nil},
		{"flannel-host-gw-etcd", "network \"flannel\" {\n  backend = \"host-gw\"\n  store   = \"etcd\"\n}", "1500", false, flannelLeases},
		{"flannel-host-gw-kubernetes", "network \"flannel\" {\n  backend = \"host-gw\"\n}", "1500", false, nil},
		{"bird-ospf", `network "bird" {}`, "1500", true, nil},
		{"bird-bgp", "network \"bird\" {\n  mode = \"bgp\"\n  mtu  = 1400\n}", "1400", false, nil},
	}
}

const routesBlock = `network "routes" {}`

// networkHosts are the machines of networks.hcl, with their addresses.
func networkHosts() map[string]string {
	return map[string]string{"hengshan": "10.91.0.11", "lushan": "10.91.0.12", "yandang": "10.91.0.13"}
}

// TestNetworks builds a cluster with each network on bare machines.
// KINSTALL_NETWORKS says which: "all", or names with commas; the daily ones if
// it is not set.
func TestNetworks(t *testing.T) {
	chosen := os.Getenv("KINSTALL_NETWORKS")
	for _, network := range networkCases() {
		if chosen == "" && !network.daily || chosen != "" && chosen != "all" && !slices.Contains(strings.Split(chosen, ","), network.name) {
			continue
		}
		t.Run(network.name, func(t *testing.T) { proveNetwork(t, network) })
	}
}

// networkWorld boots the machines for a network block.
func networkWorld(t *testing.T, block string) *world {
	t.Helper()
	w := newWorld(t, "e2e-net", "testdata/networks.hcl")
	if strings.Contains(block, "flannel") {
		withFlannel(t)
	}
	if block != routesBlock {
		w.edit(t, routesBlock, block)
	}
	return w
}

// withFlannel has flannel in the mirror.
func withFlannel(t *testing.T) {
	t.Helper()
	cache, err := components.DefaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	builder := components.Builder{CacheDir: cache, Versions: components.Default(), Log: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}}
	if _, err := builder.BuildFlannel(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func proveNetwork(t *testing.T, network networkCase) {
	w := networkWorld(t, network.block)
	r := w.apply(t)
	t.Logf("applied in %s", r.elapsed.Round(100*time.Millisecond))
	for host := range networkHosts() {
		// What dockerd would leave behind: kinstall's own rules must do.
		w.ssh(t, host, "iptables -P FORWARD DROP")
	}
	w.create(t, networkWorkload)
	reach(t, w, network.mtu)
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("a second plan: %s", r)
	}
	if r := w.apply(t); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("a second apply: %s", r)
	}
	if network.also != nil {
		network.also(t, w)
	}

	if err := w.lab.Reboot(t.Context(), "lushan"); err != nil {
		t.Fatal(err)
	}
	w.ssh(t, "lushan", "iptables -P FORWARD DROP")
	reach(t, w, network.mtu)
	if network.also != nil {
		network.also(t, w)
	}
	eventually(t, time.Minute, "nothing to do after the reboot", func() string {
		if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
			return r.String()
		}
		return ""
	})

	// A host leaves: the others forget the way to it, and keep their own subnets.
	before := podCIDRs(t, w)
	content, err := os.ReadFile(w.inventory)
	if err != nil {
		t.Fatal(err)
	}
	kept, _, _ := strings.Cut(string(content), `host "lushan"`)
	_, yandang, _ := strings.Cut(string(content), `host "yandang"`)
	w.write(t, kept+`host "yandang"`+yandang)
	w.mustKubectl(t, "delete", "node", "lushan")
	if err := w.lab.Stop(t.Context(), "lushan"); err != nil {
		t.Fatal(err)
	}
	w.apply(t)
	eventually(t, time.Minute, "the route to lushan's pods is gone", func() string {
		return w.ssh(t, "yandang", "ip -o route show root "+before["lushan"])
	})
	delete(before, "lushan")
	if diff := cmp.Diff(before, podCIDRs(t, w)); diff != "" {
		t.Errorf("the others' subnets (-before +after):\n%s", diff)
	}
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("after a host has left: %s", r)
	}
}

// TestNetworkChange takes a living cluster from one network to the next. Pods
// go on, and reach each other all the while.
func TestNetworkChange(t *testing.T) {
	if chosen := os.Getenv("KINSTALL_NETWORKS"); chosen != "all" && chosen != "change" {
		t.Skip("part of make test-networks")
	}
	w := networkWorld(t, routesBlock)
	withFlannel(t)
	w.apply(t)
	w.create(t, networkWorkload)
	reach(t, w, "1500")
	subnets := podCIDRs(t, w)
	pods := podsByNode(t, w, "noise")
	before := changeGoesWrong(t, w)
	for _, next := range []struct {
		network string
		planned []string // of lushan and of the cluster
		gone    string   // prints what must not be left on lushan
	}{
		{"flannel-vxlan-etcd", []string{"- route 10.244.0.0/24", "+ unit flanneld.service", "+ etcd /coreos.com/network/", "~ podmtu cni0"}, "ip -o route show root 10.244.0.0/16 | grep eth0"},
		{"bird-ospf", []string{"- unit flanneld.service", "- etcd /coreos.com/network/", "- link flannel.1", "+ unit bird.service"}, "ip -o link | grep flannel; ls /usr/local/bin/flanneld /etc/kubernetes/pki/etcd/flannel.key"},
		{"flannel-host-gw-kubernetes", []string{"- unit bird.service", "+ object apps/v1/DaemonSet/kube-system/flannel"}, "ip -o route show proto bird"},
		{"routes", []string{"- object apps/v1/DaemonSet/kube-system/flannel", "+ route 10.244.0.0/24"}, "ip -o route show root 10.244.0.0/16 | grep eth0 | grep -v metric"},
	} {
		i := slices.IndexFunc(networkCases(), func(c networkCase) bool { return c.name == next.network })
		network := networkCases()[i]
		w.edit(t, before, network.block)
		before = network.block
		printed := w.run(t, "plan", w.inventory).stdout
		for _, want := range next.planned {
			if !strings.Contains(printed, want) {
				t.Errorf("to %s: the plan lacks %q:\n%s", next.network, want, printed)
			}
		}
		lost := watchPods(t, w, pods["hengshan"], pods["yandang"])
		r := w.apply(t)
		t.Logf("to %s in %s; %s", next.network, r.elapsed.Round(100*time.Millisecond), lost())
		reach(t, w, network.mtu)
		if diff := cmp.Diff(pods, podsByNode(t, w, "noise"), cmp.AllowUnexported(pod{})); diff != "" {
			t.Errorf("to %s, pods (-before +after):\n%s", next.network, diff)
		}
		if diff := cmp.Diff(subnets, podCIDRs(t, w)); diff != "" {
			t.Errorf("to %s, subnets (-before +after):\n%s", next.network, diff)
		}
		if left := w.ssh(t, "lushan", next.gone+" 2>/dev/null || true"); left != "" {
			t.Errorf("to %s, left behind: %s", next.network, left)
		}
		if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
			t.Errorf("to %s, a second plan: %s", next.network, r)
		}
	}
}

// changeGoesWrong begins a change to a network that one host does not take
// part in: it stops there, and the hosts that were not changed yet lose
// nothing. It returns the network block that is left.
func changeGoesWrong(t *testing.T, w *world) string {
	t.Helper()
	const tunnels = "INPUT -p udp --dport 8472 -j DROP"
	w.ssh(t, "lushan", "iptables -I "+tunnels)
	const block = `network "flannel" { store = "etcd" }`
	w.edit(t, routesBlock, block)
	pods := podsByNode(t, w, "noise")
	r := w.run(t, "apply", "-yes", w.inventory)
	if r.code == 0 || !strings.Contains(r.stderr+r.stdout, "pods on lushan don't reach those on hengshan") {
		t.Fatalf("a network that does not work was taken: %s", r)
	}
	if found := w.ssh(t, "yandang", "ls /etc/systemd/system/flanneld.service; systemctl is-active flanneld.service; true"); strings.Contains(found, "\nactive") {
		t.Errorf("yandang was changed as well: %s", found)
	}
	w.mustKubectl(t, "exec", pods["hengshan"].name, "--", "ping", "-c", "1", "-W", "2", pods["yandang"].ip)

	// Back, as the message says.
	w.edit(t, block, routesBlock)
	w.apply(t)
	reach(t, w, "1500")
	w.ssh(t, "lushan", "iptables -D "+tunnels)
	return routesBlock
}

// watchPods pings one pod from another, five times a second, until the
// returned function is called, which says how many answers are missing.
func watchPods(t *testing.T, w *world, from, to pod) func() string {
	t.Helper()
	// In the pod itself: what runs there is not cut off by an API server that
	// is started anew.
	w.mustKubectl(t, "exec", from.name, "--", "sh", "-c", "ping -i 0.2 "+to.ip+" >/tmp/ping 2>&1 & echo $! >/tmp/pid")
	return func() string {
		w.mustKubectl(t, "exec", from.name, "--", "sh", "-c", "kill -INT $(cat /tmp/pid); sleep 1")
		said := w.mustKubectl(t, "exec", from.name, "--", "tail", "-n", "3", "/tmp/ping")
		var sent, received int
		for _, line := range strings.Split(said, "\n") {
			if _, err := fmt.Sscanf(line, "%d packets transmitted, %d packets received", &sent, &received); err == nil {
				break
			}
		}
		if sent < 5 || sent-received > 5 {
			t.Errorf("from a pod on one host to one on another, %d of %d answers are missing:\n%s", sent-received, sent, said)
		}
		return fmt.Sprintf("%d of %d pings between pods were lost", sent-received, sent)
	}
}

// networkWorkload is a pod on each machine, which serves 50 MB of noise.
const networkWorkload = `
apiVersion: v1
kind: Service
metadata: {name: noise}
spec:
  selector: {app: noise}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: noise}
spec:
  selector: {matchLabels: {app: noise}}
  template:
    metadata: {labels: {app: noise}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{operator: Exists}]
      containers:
      - name: toolbox
        image: kinstall.example/toolbox:1
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "mkdir -p /www && dd if=/dev/urandom of=/www/noise bs=1M count=50 && hostname >/www/index.html && exec httpd -f -p 8080 -h /www"]
        readinessProbe:
          httpGet: {path: /index.html, port: 8080}
          periodSeconds: 1
`

// reach waits for a pod on each machine, and has each ping the others, fetch
// their noise, and call the service.
func reach(t *testing.T, w *world, mtu string) {
	t.Helper()
	hosts := networkHosts()
	subnets := podCIDRs(t, w)
	var pods map[string]pod
	// Not what the API says of them: after a reboot that is old for a while.
	eventually(t, 2*time.Minute, "a pod on each machine", func() string {
		pods = podsByNode(t, w, "noise")
		for host := range hosts {
			r := w.kubectl(t, "exec", pods[host].name, "--", "sh", "-c", "test -s /www/index.html && hostname -i")
			if r.code != 0 {
				return fmt.Sprintf("%s: %s", host, r)
			}
			pods[host] = pod{pods[host].name, strings.TrimSpace(r.stdout)}
		}
		return ""
	})
	noise := map[string]string{}
	for host := range hosts {
		if prefix, _, _ := strings.Cut(subnets[host], ".0/24"); !strings.HasPrefix(pods[host].ip, prefix+".") {
			t.Errorf("the pod on %s has the address %s; the node's subnet is %s", host, pods[host].ip, subnets[host])
		}
		if found := w.mustKubectl(t, "exec", pods[host].name, "--", "cat", "/sys/class/net/eth0/mtu"); found != mtu {
			t.Errorf("the pod on %s has an MTU of %s, want %s", host, found, mtu)
		}
		noise[host] = w.mustKubectl(t, "exec", pods[host].name, "--", "sha256sum", "/www/noise")
	}
	if subnets["yandang"] != "10.244.77.0/24" {
		t.Errorf("yandang's subnet is %s", subnets["yandang"])
	}
	for from := range hosts {
		for to := range hosts {
			if from == to {
				continue
			}
			eventually(t, 30*time.Second, fmt.Sprintf("ping from a pod on %s to one on %s", from, to), func() string {
				if r := w.kubectl(t, "exec", pods[from].name, "--", "ping", "-c", "1", "-W", "2", pods[to].ip); r.code != 0 {
					return r.String()
				}
				return ""
			})
			got := w.kubectl(t, "--request-timeout=60s", "exec", pods[from].name, "--", "sh", "-c", fmt.Sprintf("wget -q -O - http://%s:8080/noise | sha256sum", pods[to].ip))
			if want := strings.Fields(noise[to])[0]; !strings.HasPrefix(got.stdout, want) {
				t.Errorf("50 MB from %s to %s: want %s, got %s", to, from, want, got)
			}
		}
	}
	ip := w.mustKubectl(t, "get", "service", "noise", "-o", "jsonpath={.spec.clusterIP}")
	for host := range hosts {
		eventually(t, 30*time.Second, "the service from a pod on "+host, func() string {
			if r := w.kubectl(t, "exec", pods[host].name, "--", "fetch", "http://"+ip); r.code != 0 || !strings.HasPrefix(r.stdout, "noise-") {
				return r.String()
			}
			return ""
		})
	}
}

// podCIDRs are the nodes' subnets, as the API has them.
func podCIDRs(t *testing.T, w *world) map[string]string {
	t.Helper()
	subnets := map[string]string{}
	for _, pair := range strings.Fields(w.mustKubectl(t, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name}={.spec.podCIDR} {end}`)) {
		name, subnet, _ := strings.Cut(pair, "=")
		subnets[name] = subnet
	}
	return subnets
}

// flannelLeases compares what etcd holds with the address plan.
func flannelLeases(t *testing.T, w *world) {
	want := map[string]string{}
	for host, subnet := range podCIDRs(t, w) {
		want["/coreos.com/network/subnets/"+strings.Replace(subnet, "/", "-", 1)] = networkHosts()[host]
	}
	const etcdctl = "etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt" +
		" --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key /etc/kubernetes/pki/etcd/healthcheck-client.key"
	var found struct {
		Kvs []struct{ Key, Value []byte }
	}
	if err := json.Unmarshal([]byte(w.ssh(t, "hengshan", etcdctl+" get --prefix /coreos.com/network/subnets/ -w json")), &found); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, kv := range found.Kvs {
		var lease struct{ PublicIP string }
		if err := json.Unmarshal(kv.Value, &lease); err != nil {
			t.Fatal(err)
		}
		got[string(kv.Key)] = lease.PublicIP
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("leases (-plan +etcd):\n%s", diff)
	}
	for host, subnet := range podCIDRs(t, w) {
		if env := w.ssh(t, host, "cat /run/flannel/subnet.env"); !strings.Contains(env, "FLANNEL_SUBNET="+strings.Replace(subnet, ".0/24", ".1/24", 1)) {
			t.Errorf("%s: flannel took another subnet than %s:\n%s", host, subnet, env)
		}
	}
}

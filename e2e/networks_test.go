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
		{"openvswitch-vxlan", "network \"openvswitch\" {\n  datapath = \"userspace\"\n}", "1450", false, openVSwitch},
		{"openvswitch-gre", "network \"openvswitch\" {\n  datapath = \"userspace\"\n  tunnel   = \"gre\"\n}", "1462", false, openVSwitch},
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
		return w.ssh(t, "yandang", fmt.Sprintf("ip -o route show root %[1]s; ovs-ofctl dump-flows br0 2>/dev/null | grep %[1]s || true", before["lushan"]))
	})
	delete(before, "lushan")
	if diff := cmp.Diff(before, podCIDRs(t, w)); diff != "" {
		t.Errorf("the others' subnets (-before +after):\n%s", diff)
	}
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("after a host has left: %s", r)
	}
}

// TestNetworkChange takes a living cluster from one network to the next.
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
	before := routesBlock
	for _, next := range []struct {
		network string
		planned []string // of lushan and of the cluster
		gone    string   // prints what must not be left on lushan
	}{
		{"flannel-vxlan-etcd", []string{"- route 10.244.0.0/24", "+ unit flanneld.service", "+ etcd /coreos.com/network/"}, "ip -o route show root 10.244.0.0/16 | grep eth0"},
		{"bird-ospf", []string{"- unit flanneld.service", "- etcd /coreos.com/network/", "- link flannel.1", "+ unit bird.service"}, "ip -o link | grep flannel; ls /usr/local/bin/flanneld /etc/kubernetes/pki/etcd/flannel.key"},
		{"flannel-host-gw-kubernetes", []string{"- unit bird.service", "+ object apps/v1/DaemonSet/kube-system/flannel"}, "ip -o route show proto bird"},
		{"routes", []string{"- object apps/v1/DaemonSet/kube-system/flannel", "+ route 10.244.0.0/24"}, "true"},
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
		w.apply(t)
		w.mustKubectl(t, "rollout", "restart", "daemonset/noise")
		w.mustKubectl(t, "--request-timeout=0", "rollout", "status", "daemonset/noise", "--timeout=120s")
		reach(t, w, network.mtu)
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

// openVSwitch takes something away on one host: a plan sees it and an apply puts
// it back. The switch's own process ends, and its flows come back by themselves.
func openVSwitch(t *testing.T, w *world) {
	const flows = "ovs-ofctl -O OpenFlow14 --names --no-stats dump-flows br0 | sort"
	want := w.ssh(t, "yandang", flows)
	if n := strings.Count(want, "priority=100"); n != 2*(len(networkHosts())-1) {
		t.Errorf("%d flows to other hosts:\n%s", n, want)
	}
	for damage, shown := range map[string]string{
		"ovs-ofctl del-flows br0 ip,nw_dst=10.244.0.0/24": "nw_dst=10.244.0.0/24",
		"ovs-vsctl del-port br0 tunnel0":                  "port tunnel0",
		"ip link del pods0":                               "ovs0 in",
		"ovs-vsctl del-br br-underlay":                    "br-underlay",
		"ip route del 10.244.0.0/16 dev cni0":             "route 10.244.0.0/16",
	} {
		w.ssh(t, "yandang", damage)
		r := w.apply(t)
		if !strings.Contains(r.stdout, shown) || !strings.Contains(r.stdout, "changed on the host") {
			t.Errorf("after %s, the plan lacks %q: %s", damage, shown, r)
		}
		if got := w.ssh(t, "yandang", flows); got != want {
			t.Errorf("after %s and an apply, flows are\n%s\nwant\n%s", damage, got, want)
		}
		if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
			t.Errorf("after %s and an apply: %s", damage, r)
		}
	}
	// Flows that are loaded again lose no packet.
	lost := w.ssh(t, "yandang", "(for i in 1 2 3; do sleep 0.5; systemctl reload kinstall-openvswitch.service; done) & ping -q -i 0.01 -c 250 "+
		podsByNode(t, w, "noise")["hengshan"].ip+"; wait")
	if !strings.Contains(lost, " 0% packet loss") {
		t.Errorf("while flows were loaded: %s", lost)
	}
	for _, end := range []string{"systemctl restart openvswitch-switch.service", "kill -9 $(cat /run/openvswitch/ovs-vswitchd.pid)"} {
		w.ssh(t, "yandang", end)
		eventually(t, 30*time.Second, "the flows after "+end, func() string {
			if out, err := w.lab.SSH(t.Context(), "yandang", flows).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
				return string(out)
			}
			return ""
		})
	}
	eventually(t, time.Minute, "a plan without changes", func() string {
		if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
			return r.String()
		}
		return ""
	})
	reach(t, w, w.ssh(t, "yandang", "ip -o link show dev pods0 | sed 's/.* mtu \\([0-9]*\\) .*/\\1/'"))
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

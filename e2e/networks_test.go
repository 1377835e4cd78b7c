package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
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
	proxy string // kube_proxy.mode, if not the default
	// also is checked beside what every network must do.
	also func(*testing.T, *world)
}

func networkCases() []networkCase {
	return []networkCase{
		{name: "routes", block: routesBlock, mtu: "1500"},
		{name: "flannel-vxlan-etcd", block: "network \"flannel\" {\n  backend = \"vxlan\"\n  store   = \"etcd\"\n}", mtu: "1450", daily: true, also: flannelLeases},
		{name: "flannel-vxlan-kubernetes", block: "network \"flannel\" {\n  backend = \"vxlan\"\n  store   = \"kubernetes\"\n}", mtu: "1450", daily: true},
		{name: "flannel-host-gw-etcd", block: "network \"flannel\" {\n  backend = \"host-gw\"\n  store   = \"etcd\"\n}", mtu: "1500", also: flannelLeases},
		{name: "flannel-host-gw-kubernetes", block: "network \"flannel\" {\n  backend = \"host-gw\"\n}", mtu: "1500"},
		{name: "bird-ospf", block: `network "bird" {}`, mtu: "1500", daily: true, proxy: "nftables", also: servicesByNFTables},
		{name: "bird-bgp", block: "network \"bird\" {\n  mode = \"bgp\"\n  mtu  = 1400\n}", mtu: "1400"},
		{name: "openvswitch-vxlan", block: "network \"openvswitch\" {\n  datapath = \"userspace\"\n}", mtu: "1450", also: openVSwitch},
		{name: "openvswitch-gre", block: "network \"openvswitch\" {\n  datapath = \"userspace\"\n  tunnel   = \"gre\"\n}", mtu: "1462", also: openVSwitch},
	}
}

// servicesByNFTables sees that kube-proxy does as it was told.
func servicesByNFTables(t *testing.T, w *world) {
	for host := range networkHosts() {
		if rules := w.ssh(t, host, "nft list table ip kube-proxy; iptables-save | grep -c KUBE-SERVICES || true"); !strings.Contains(rules, "service-") || !strings.HasSuffix(rules, "\n0") {
			t.Errorf("%s: services are not nftables' alone:\n%s", host, rules)
		}
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
	ran := false
	for _, network := range networkCases() {
		if chosen == "" && !network.daily || chosen != "" && chosen != "all" && !slices.Contains(strings.Split(chosen, ","), network.name) {
			continue
		}
		ran = true
		t.Run(network.name, func(t *testing.T) { proveNetwork(t, network) })
	}
	if !ran {
		t.Skipf("KINSTALL_NETWORKS=%s names none of them", chosen)
	}
}

// networkWorld boots the machines for a network block.
func networkWorld(t *testing.T, lab, block string) *world {
	t.Helper()
	w := newWorld(t, lab, kubernetes("networks")...)
	if strings.Contains(block, "flannel") {
		withFlannel(t)
	}
	if block != routesBlock {
		w.edit(t, routesBlock, block)
	}
	w.serveOutside(t)
	return w
}

// outside is an address beyond the machines' default gateway, of a network
// made for examples (RFC 5737). Nobody there knows the way to a pod.
const outside = "192.0.2.1"

// serveOutside has a server on the operator's side of the lab that says who
// asks it.
func (w *world) serveOutside(t *testing.T) {
	t.Helper()
	if r := w.exec(t, "ip", "address", "replace", outside+"/32", "dev", "lo"); r.code != 0 {
		t.Fatal(r)
	}
	listener, err := w.lab.Listen("tcp4", outside+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		asker, _, _ := net.SplitHostPort(request.RemoteAddr)
		fmt.Fprintln(answer, asker)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	w.outside = "http://" + listener.Addr().String()
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

// proveNetwork builds a cluster of two hosts, adds one, reboots it, and takes it
// away again.
func proveNetwork(t *testing.T, network networkCase) {
	w := networkWorld(t, "e2e-networks", network.block)
	if network.proxy != "" {
		w.edit(t, "kube_proxy {\n", fmt.Sprintf("kube_proxy {\n  mode = %q\n", network.proxy))
	}
	three, two := w.without(t, "lushan")
	w.write(t, two)
	if network.name == "flannel-vxlan-etcd" {
		inTheWay(t, w)
	}
	r := w.apply(t)
	t.Logf("applied in %s", r.elapsed.Round(100*time.Millisecond))
	for _, host := range []string{"hengshan", "yandang"} {
		// What dockerd would leave behind: kinstall's own rules must do.
		w.ssh(t, host, "iptables -P FORWARD DROP")
	}
	w.create(t, networkWorkload)
	reach(t, w, network.mtu)

	// A host comes: of the others, only what the network has to tell them changes.
	subnets, pods := podCIDRs(t, w), podsByNode(t, w, "noise")
	w.write(t, three)
	touched := map[string][]string{}
	for _, line := range changed(w.run(t, "plan", "-verbose", w.inventory).stdout) {
		if host, change, _ := strings.Cut(line, " "); subnets[host] != "" {
			touched[host] = append(touched[host], change)
		}
	}
	if want := newHostChanges(network.name); want == nil {
		t.Logf("of the others, there changes: %v", touched)
	} else if diff := cmp.Diff(map[string][]string{"hengshan": want, "yandang": want}, touched); diff != "" {
		t.Errorf("the others, when a host comes (-want +got):\n%s", diff)
	}
	r = w.apply(t)
	t.Logf("a host more in %s", r.elapsed.Round(100*time.Millisecond))
	w.ssh(t, "lushan", "iptables -P FORWARD DROP")
	reach(t, w, network.mtu)
	subnets["lushan"] = "10.244.1.0/24"
	if diff := cmp.Diff(subnets, podCIDRs(t, w)); diff != "" {
		t.Errorf("subnets, with a host more (-want +got):\n%s", diff)
	}
	for host, pod := range podsByNode(t, w, "noise") {
		if host != "lushan" && pod != pods[host] {
			t.Errorf("%s: the pod was %v and is %v", host, pods[host], pod)
		}
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
	w.write(t, two)
	if err := w.lab.Stop(t.Context(), "lushan"); err != nil {
		t.Fatal(err)
	}
	w.apply(t, "-forget", "lushan")
	eventually(t, time.Minute, "the route to lushan's pods is gone", func() string {
		return w.ssh(t, "yandang", fmt.Sprintf("ip -o route show root %[1]s; ovs-ofctl dump-flows br0 2>/dev/null | grep %[1]s || true", subnets["lushan"]))
	})
	delete(subnets, "lushan")
	if diff := cmp.Diff(subnets, podCIDRs(t, w)); diff != "" {
		t.Errorf("the others' subnets, with a host less (-want +got):\n%s", diff)
	}
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("after a host has left: %s", r)
	}
}

// without returns the inventory as it is, and without a host.
func (w *world) without(t *testing.T, host string) (all, rest string) {
	t.Helper()
	content, err := os.ReadFile(w.inventory)
	if err != nil {
		t.Fatal(err)
	}
	before, block, found := strings.Cut(string(content), fmt.Sprintf("host %q {", host))
	_, after, ends := strings.Cut(block, "\n}\n")
	if !found || !ends {
		t.Fatalf("the inventory has no host %s", host)
	}
	return string(content), before + after
}

// inTheWay puts things into a network's way, one of each kind, and takes them
// away again: a plan names them, and nothing is changed.
func inTheWay(t *testing.T, w *world) {
	t.Helper()
	const cables = `for cable in $(ip -o link show master br0 | cut -d : -f 2 | cut -d @ -f 1); do ip link set $cable mtu %d; done`
	taker := w.lab.SSH(t.Context(), "yandang", "exec socat UDP-LISTEN:8472 STDOUT")
	if err := taker.Start(); err != nil {
		t.Fatal(err)
	}
	w.ssh(t, "yandang", "ip link add virbr7 type bridge && ip address add 10.244.9.1/24 dev virbr7 && ip link set virbr7 up")
	w.ssh(t, "yandang", "ip route add 10.96.128.0/24 via 10.91.0.254")
	w.ssh(t, "yandang", "echo net.ipv4.ip_forward=0 >/etc/sysctl.d/99-zzz.conf")
	// The operator knows hengshan from who takes its address.
	mac := w.ssh(t, "hengshan", "ip -o link show eth0 | grep -o 'link/ether [0-9a-f:]*' | cut -d ' ' -f 2")
	if r := w.exec(t, "ip", "neighbour", "replace", "10.91.0.11", "lladdr", mac, "nud", "permanent", "dev", "br0"); r.code != 0 {
		t.Fatal(r)
	}
	w.ssh(t, "lushan", "ip address add 10.91.0.11/32 dev eth0")
	if r := w.exec(t, "sh", "-c", fmt.Sprintf(cables, 1400)); r.code != 0 {
		t.Fatal(r)
	}
	eventually(t, 10*time.Second, "UDP port 8472 is taken", func() string {
		if w.ssh(t, "yandang", "ss -H -l -u -n sport = :8472") == "" {
			return "it is not"
		}
		return ""
	})
	r := w.run(t, "apply", "-yes", w.inventory)
	said := strings.Join(strings.Fields(r.stdout+r.stderr), " ")
	if r.code != 1 {
		t.Errorf("things are in the way, and the exit code is %d", r.code)
	}
	problems, _, _ := strings.Cut(r.stdout, "\n# risks") // the beginning of the plan
	for _, want := range []string{
		"UDP port 8472, which flannel needs, is taken by socat",
		"virbr7 has the address 10.244.9.1/24, which is of the pod network 10.244.0.0/16",
		"has a route to 10.96.128.0/24 (via 10.91.0.254 dev eth0), which is of the service network 10.96.0.0/12",
		"at boot, /etc/sysctl.d/99-zzz.conf sets net.ipv4.ip_forward = 0",
		"answers for 10.91.0.11",
		"packets of 1500 bytes to hengshan (10.91.0.11) are lost on the way; 1400 pass",
		"set `mtu = 1350` in the network block",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said: %s\n%s", want, problems, r.stderr)
		}
	}
	w.ssh(t, "lushan", "ip address delete 10.91.0.11/32 dev eth0")
	w.ssh(t, "yandang", "ip neighbour flush all; pkill -x socat; rm /etc/sysctl.d/99-zzz.conf; ip route delete 10.96.128.0/24; ip link delete virbr7")
	_ = taker.Wait() // with the error of a program that was ended
	if r := w.exec(t, "sh", "-c", fmt.Sprintf(cables, 1500)); r.code != 0 {
		t.Fatal(r)
	}
	if left := w.ssh(t, "yandang", "ls -d /etc/kinstall* /etc/kubernetes /var/lib/kinstall 2>/dev/null || true"); left != "" {
		t.Errorf("changed in spite of problems: %s", left)
	}
}

// newHostChanges is all that a plan changes on a host when lushan joins, as
// docs/networks.md promises; nil for a network that makes no such promise. Every
// host knows every other one's name.
func newHostChanges(network string) []string {
	const name = "~ block /etc/hosts#hosts"
	switch network {
	case "flannel-vxlan-etcd", "flannel-vxlan-kubernetes", "flannel-host-gw-etcd", "flannel-host-gw-kubernetes", "bird-ospf":
		return []string{name}
	case "routes":
		// The script runs anew, which disturbs nothing.
		return []string{name, "~ file /etc/kinstall/routes", "~ staticroutes pods", "↻ unit kinstall-network.service"}
	case "bird-bgp":
		return []string{name, "~ file /etc/kinstall/bird.conf", "↻ unit bird.service"}
	case "openvswitch-vxlan", "openvswitch-gre":
		return []string{name, "~ file /etc/kinstall/openvswitch.flows", "↻ unit kinstall-openvswitch.service"}
	}
	return nil
}

// networkWorkload is a pod on each machine, which serves 50 MB of noise. The
// first process of a container ignores signals that it does not handle, and a
// machine that shuts down would wait for it.
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
        command: [sh, -c, "trap 'exit 0' TERM; mkdir -p /www && dd if=/dev/urandom of=/www/noise bs=1M count=50 && hostname >/www/index.html && httpd -f -p 8080 -h /www & wait"]
        readinessProbe:
          httpGet: {path: /index.html, port: 8080}
          periodSeconds: 1
`

// reach waits for a pod on each node, and has each ping the others, fetch their
// noise, call the service, and call a server outside of the cluster, which sees
// the node and not the pod.
func reach(t *testing.T, w *world, mtu string) {
	t.Helper()
	subnets := podCIDRs(t, w)
	hosts := slices.Sorted(maps.Keys(subnets))
	var pods map[string]pod
	// Not what the API says of them: after a reboot that is old for a while.
	eventually(t, 2*time.Minute, "a pod on each node", func() string {
		pods = podsByNode(t, w, "noise")
		for _, host := range hosts {
			r := w.kubectl(t, "exec", pods[host].name, "--", "sh", "-c", "test -s /www/index.html && hostname -i")
			if r.code != 0 {
				return fmt.Sprintf("%s: %s", host, r)
			}
			pods[host] = pod{pods[host].name, strings.TrimSpace(r.stdout)}
		}
		return ""
	})
	sums := map[string]string{} // of the noise, by the address of who serves it
	for _, host := range hosts {
		if prefix, _, _ := strings.Cut(subnets[host], ".0/24"); !strings.HasPrefix(pods[host].ip, prefix+".") {
			t.Errorf("the pod on %s has the address %s; the node's subnet is %s", host, pods[host].ip, subnets[host])
		}
		found := strings.Fields(w.mustKubectl(t, "exec", pods[host].name, "--", "sh", "-c", "cat /sys/class/net/eth0/mtu && sha256sum /www/noise"))
		if found[0] != mtu {
			t.Errorf("the pod on %s has an MTU of %s, want %s", host, found[0], mtu)
		}
		sums[pods[host].ip] = found[1]
	}
	if subnets["yandang"] != "10.244.77.0/24" {
		t.Errorf("yandang's subnet is %s", subnets["yandang"])
	}
	service := w.mustKubectl(t, "get", "service", "noise", "-o", "jsonpath={.spec.clusterIP}")
	for _, from := range hosts {
		others := maps.Clone(sums)
		delete(others, pods[from].ip)
		addresses := strings.Join(slices.Sorted(maps.Keys(others)), " ")
		eventually(t, 30*time.Second, "all that a pod on "+from+" calls", func() string {
			r := w.kubectl(t, "--request-timeout=30s", "exec", pods[from].name, "--", "sh", "-c", fmt.Sprintf(
				"for ip in %s; do ping -c 1 -W 2 $ip >&2 || exit 1; done; fetch http://%s && fetch %s", addresses, service, w.outside))
			switch answers := strings.Fields(r.stdout); {
			case r.code != 0, len(answers) != 2, !strings.HasPrefix(answers[0], "noise-"):
				return r.String()
			case answers[1] != networkHosts()[from]:
				return fmt.Sprintf("outside, it is seen as %s, not as %s", answers[1], networkHosts()[from])
			}
			return ""
		})
		printed := strings.Fields(w.mustKubectl(t, "--request-timeout=120s", "exec", pods[from].name, "--", "sh", "-c",
			fmt.Sprintf("for ip in %s; do echo $ip; wget -q -O - http://$ip:8080/noise | sha256sum; done | tr -d -", addresses)))
		got := map[string]string{}
		for pair := range slices.Chunk(printed, 2) {
			got[pair[0]] = pair[len(pair)-1]
		}
		if diff := cmp.Diff(others, got); diff != "" {
			t.Errorf("50 MB of each of the others at %s (-want +got):\n%s", from, diff)
		}
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

// flannelLeases compares what etcd holds with the nodes' objects.
func flannelLeases(t *testing.T, w *world) {
	compareLeases(t, w, "hengshan", podCIDRs(t, w), networkHosts())
}

// compareLeases compares what a member of etcd holds with the address plan:
// subnets and addresses by host.
func compareLeases(t *testing.T, w *world, member string, subnets, addresses map[string]string) {
	t.Helper()
	want := map[string]string{}
	for host, subnet := range subnets {
		want["/coreos.com/network/subnets/"+strings.Replace(subnet, "/", "-", 1)] = addresses[host]
	}
	const etcdctl = "etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt" +
		" --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key /etc/kubernetes/pki/etcd/healthcheck-client.key"
	var found struct {
		Kvs []struct{ Key, Value []byte }
	}
	if err := json.Unmarshal([]byte(w.ssh(t, member, etcdctl+" get --prefix /coreos.com/network/subnets/ -w json")), &found); err != nil {
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
	for host, subnet := range subnets {
		if env := w.ssh(t, host, "cat /run/flannel/subnet.env"); !strings.Contains(env, "FLANNEL_SUBNET="+strings.Replace(subnet, ".0/24", ".1/24", 1)) {
			t.Errorf("%s: flannel took another subnet than %s:\n%s", host, subnet, env)
		}
	}
}

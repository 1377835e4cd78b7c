package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan"
)

// dualStackCase is a network that carries both address families, and the MTU
// it leaves to pods.
type dualStackCase struct{ name, block, mtu string }

func dualStackCases() []dualStackCase {
	flannel := func(backend, store string) string {
		return fmt.Sprintf("network \"flannel\" {\n  backend = %q\n  store   = %q\n}", backend, store)
	}
	return []dualStackCase{
		{"routes", routesBlock, "1500"},
		{"flannel-vxlan-etcd", flannel("vxlan", "etcd"), "1430"},
		{"flannel-vxlan-kubernetes", flannel("vxlan", "kubernetes"), "1430"},
		{"flannel-host-gw-etcd", flannel("host-gw", "etcd"), "1500"},
		{"flannel-host-gw-kubernetes", flannel("host-gw", "kubernetes"), "1500"},
	}
}

// TestNetworkDualStack builds a cluster of two address families with each
// network that can carry them. It is part of make test-networks;
// KINSTALL_NETWORKS=dual-stack runs it alone, and dual-stack-NAME one case.
func TestNetworkDualStack(t *testing.T) {
	chosen := strings.Split(os.Getenv("KINSTALL_NETWORKS"), ",")
	all := slices.Contains(chosen, "all") || slices.Contains(chosen, "dual-stack")
	ran := false
	for _, network := range dualStackCases() {
		if all || slices.Contains(chosen, "dual-stack-"+network.name) {
			ran = true
			t.Run(network.name, func(t *testing.T) { proveDualStack(t, network) })
		}
	}
	if !ran {
		t.Skip("part of make test-networks")
	}
}

func proveDualStack(t *testing.T, network dualStackCase) {
	w := newWorld(t, "e2e-dual", kubernetes("dualstack")...)
	if network.block != routesBlock {
		withFlannel(t)
		w.edit(t, routesBlock, network.block)
	}
	r := w.apply(t)
	t.Logf("applied in %s", r.elapsed.Round(100*time.Millisecond))
	rows := plannedAddresses(t, w)
	dropForwarded(t, w, rows)
	w.create(t, dualStackWorkload())
	reachDualStack(t, w, rows, network.mtu)
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("a second plan: %s", r)
	}
	if r := w.apply(t); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("a second apply: %s", r)
	}

	if err := w.lab.Reboot(t.Context(), "jiuhua"); err != nil {
		t.Fatal(err)
	}
	dropForwarded(t, w, rows)
	reachDualStack(t, w, rows, network.mtu)
	eventually(t, time.Minute, "nothing to do after the reboot", func() string {
		if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
			return r.String()
		}
		return ""
	})
}

// TestNetworkBecomesDualStack tries what can't be done, since nodes keep their
// pod networks: the plan says so before anything is changed. And then it does
// what the documentation says instead.
func TestNetworkBecomesDualStack(t *testing.T) {
	if chosen := os.Getenv("KINSTALL_NETWORKS"); chosen != "all" && chosen != "dual-stack-change" {
		t.Skip("part of make test-networks")
	}
	w := newWorld(t, "e2e-dual", kubernetes("dualstack")...)
	content, err := os.ReadFile(w.inventory)
	if err != nil {
		t.Fatal(err)
	}
	var single []string
	for _, line := range strings.Split(string(content), "\n") {
		if !strings.Contains(line, "_v6") {
			single = append(single, line)
		}
	}
	w.write(t, strings.Join(single, "\n"))
	w.apply(t)
	w.write(t, string(content))
	for _, command := range []string{"plan", "apply"} {
		args := []string{command, w.inventory}
		if command == "apply" {
			args = []string{command, "-yes", w.inventory}
		}
		r := w.run(t, args...)
		// However the lines are broken.
		said := strings.Join(strings.Fields(r.stdout+r.stderr), " ")
		if r.code != 1 || !strings.Contains(said, "a node keeps its pod network for life") {
			t.Errorf("%s: %s", command, r)
		}
	}
	if flags := w.ssh(t, "putuo", "grep service-cluster-ip-range /etc/kubernetes/manifests/kube-apiserver.yaml"); strings.Contains(flags, "fd00") {
		t.Errorf("the API server was changed: %s", flags)
	}
	w.write(t, strings.Join(single, "\n"))
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("back to one family: %s", r)
	}

	// Without its nodes, the cluster takes the second family.
	w.mustKubectl(t, "delete", "node", "--all")
	w.write(t, string(content))
	w.apply(t)
	rows := plannedAddresses(t, w)
	dropForwarded(t, w, rows)
	w.mustKubectl(t, "rollout", "restart", "-n", "kube-system", "deployment/coredns")
	w.create(t, dualStackWorkload())
	reachDualStack(t, w, rows, "1500")
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("a plan after the change: %s", r)
	}
}

// plannedAddresses is the address plan by host.
func plannedAddresses(t *testing.T, w *world) map[string]plan.AddressRow {
	t.Helper()
	var document struct{ Addresses []plan.AddressRow }
	if err := json.Unmarshal([]byte(w.mustRun(t, "plan", "-json", w.inventory).stdout), &document); err != nil {
		t.Fatal(err)
	}
	rows := map[string]plan.AddressRow{}
	for _, row := range document.Addresses {
		rows[row.Host] = row
	}
	if got := rows["jiuhua"].PodSubnetV6; got != "fd00:10:244:77::/64" {
		t.Errorf("jiuhua's subnet is %s", got)
	}
	return rows
}

// dropForwarded does what dockerd would: kinstall's own rules must do.
func dropForwarded(t *testing.T, w *world, rows map[string]plan.AddressRow) {
	t.Helper()
	for host := range rows {
		w.ssh(t, host, "iptables -P FORWARD DROP && ip6tables -P FORWARD DROP")
	}
}

// dualStackWorkload is networkWorkload for both families.
func dualStackWorkload() string {
	return strings.NewReplacer(
		"  ports: [{port: 80", "  ipFamilyPolicy: RequireDualStack\n  ports: [{port: 80",
		"httpd -f -p 8080", "httpd -f -p '[::]:8080'",
	).Replace(networkWorkload)
}

// reachDualStack waits for a pod on each machine with an address of both its
// planned subnets, and has each reach the others, the service and the outside
// by both families.
func reachDualStack(t *testing.T, w *world, rows map[string]plan.AddressRow, mtu string) {
	t.Helper()
	pods := map[string]string{}             // names by host
	addresses := map[string][2]netip.Addr{} // of the pods, by host
	// Not what the API says of them: after a reboot that is old for a while.
	eventually(t, 2*time.Minute, "a pod on each machine", func() string {
		for host, p := range podsByNode(t, w, "noise") {
			pods[host] = p.name
		}
		for host := range rows {
			r := w.kubectl(t, "exec", pods[host], "--", "sh", "-c", "test -s /www/index.html && ip -o addr show dev eth0 scope global")
			if r.code != 0 {
				return fmt.Sprintf("%s: %s", host, r)
			}
			var found [2]netip.Addr
			for _, word := range strings.Fields(r.stdout) {
				if prefix, err := netip.ParsePrefix(word); err == nil && prefix.Addr().Is4() {
					found[0] = prefix.Addr()
				} else if err == nil {
					found[1] = prefix.Addr()
				}
			}
			addresses[host] = found
		}
		return ""
	})
	noise := map[string]string{}
	for host, row := range rows {
		for i, subnet := range []string{row.PodSubnet, row.PodSubnetV6} {
			if !netip.MustParsePrefix(subnet).Contains(addresses[host][i]) {
				t.Errorf("the pod on %s has the address %s; the planned subnet is %s", host, addresses[host][i], subnet)
			}
		}
		if found := w.mustKubectl(t, "exec", pods[host], "--", "cat", "/sys/class/net/eth0/mtu"); found != mtu {
			t.Errorf("the pod on %s has an MTU of %s, want %s", host, found, mtu)
		}
		want := addresses[host][0].String() + "," + addresses[host][1].String()
		if got := w.mustKubectl(t, "get", "pod", pods[host], "-o", "jsonpath={.status.podIPs[0].ip},{.status.podIPs[1].ip}"); got != want {
			t.Errorf("the API says the pod on %s has %s, want %s", host, got, want)
		}
		noise[host] = strings.Fields(w.mustKubectl(t, "exec", pods[host], "--", "sha256sum", "/www/noise"))[0]
	}
	// Full packets pass without fragments: what is smaller says nothing of the MTU.
	for from := range rows {
		for to := range rows {
			if from == to {
				continue
			}
			for _, address := range addresses[to] {
				eventually(t, 30*time.Second, fmt.Sprintf("ping from a pod on %s to %s", from, address), func() string {
					if r := w.kubectl(t, "exec", pods[from], "--", "ping", "-c", "1", "-W", "2", address.String()); r.code != 0 {
						return r.String()
					}
					return ""
				})
				got := w.kubectl(t, "--request-timeout=60s", "exec", pods[from], "--", "sh", "-c",
					fmt.Sprintf("wget -q -O - http://%s/noise | sha256sum", netip.AddrPortFrom(address, 8080)))
				if !strings.HasPrefix(got.stdout, noise[to]) {
					t.Errorf("50 MB from %s to %s: want %s, got %s", address, from, noise[to], got)
				}
			}
		}
	}
	services := strings.Fields(w.mustKubectl(t, "get", "service", "noise", "-o", "jsonpath={.spec.clusterIPs[0]} {.spec.clusterIPs[1]}"))
	if len(services) != 2 {
		t.Fatalf("the service has the addresses %v", services)
	}
	for host, row := range rows {
		for i, service := range services {
			eventually(t, 30*time.Second, fmt.Sprintf("the service at %s from a pod on %s", service, host), func() string {
				url := "http://" + netip.AddrPortFrom(netip.MustParseAddr(service), 80).String()
				if r := w.kubectl(t, "exec", pods[host], "--", "fetch", url); r.code != 0 || !strings.HasPrefix(r.stdout, "noise-") {
					return r.String()
				}
				return ""
			})
			// The lab's gateway knows no way back to pods: it answers the host.
			outside := map[int]string{0: "10.92.0.254", 1: "fd00:92::fffe"}[i]
			if r := w.kubectl(t, "exec", pods[host], "--", "ping", "-c", "1", "-W", "2", outside); r.code != 0 {
				t.Errorf("from a pod on %s (%s) to %s outside of the cluster: %s", host, row.Address, outside, r)
			}
		}
	}
	for _, server := range strings.Fields(w.mustKubectl(t, "get", "service", "-n", "kube-system", "kube-dns", "-o", "jsonpath={.spec.clusterIPs[*]}")) {
		eventually(t, time.Minute, "the name service at "+server, func() string {
			if r := w.kubectl(t, "exec", pods["putuo"], "--", "nslookup", "noise.default.svc.cluster.local", server); r.code != 0 || !strings.Contains(r.stdout, services[1]) {
				return r.String()
			}
			return ""
		})
	}
}

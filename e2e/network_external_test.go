package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestNetworkExternal has the user bring a network, and whatever stands in for
// kube-proxy: kinstall keeps out of both, before and after.
func TestNetworkExternal(t *testing.T) {
	if chosen := os.Getenv("KINSTALL_NETWORKS"); chosen != "all" && chosen != "external" {
		t.Skip("part of make test-networks")
	}
	w := networkWorld(t, "e2e-external", `network "external" {}`)
	w.edit(t, "kube_proxy {\n", "kube_proxy {\n  mode = \"none\"\n")
	w.apply(t)
	subnets := podCIDRs(t, w)
	for host := range networkHosts() {
		if subnets[host] == "" {
			t.Errorf("%s has no subnet", host)
		}
		if found := w.ssh(t, host, "ls -d /etc/cni/net.d/* /etc/systemd/system/kube-proxy.service /etc/systemd/system/kinstall-network.service 2>/dev/null; ip route show root 10.244.0.0/16; iptables-save | grep KUBE-SERVICES || true"); found != "" {
			t.Errorf("%s has what the user's network is to bring: %s", host, found)
		}
	}
	if nodes := w.mustKubectl(t, "get", "nodes"); strings.Count(nodes, "NotReady") != len(subnets) {
		t.Errorf("Ready without a network:\n%s", nodes)
	}

	// The simplest network there is.
	for host := range networkHosts() {
		script := "mkdir -p /etc/cni/net.d && cat >/etc/cni/net.d/10-own.conflist <<'END'\n" +
			fmt.Sprintf(`{"cniVersion":"1.0.0","name":"own","plugins":[{"type":"bridge","bridge":"own0","isGateway":true,"ipam":{"type":"host-local","ranges":[[{"subnet":%q}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`, subnets[host]) +
			"\nEND\n"
		for other, address := range networkHosts() {
			if other != host {
				script += fmt.Sprintf("ip route add %s via %s\n", subnets[other], address)
			}
		}
		w.ssh(t, host, script)
	}
	eventually(t, time.Minute, "every node is Ready", func() string {
		nodes := w.mustKubectl(t, "get", "nodes", "--no-headers")
		if strings.Count(nodes, " Ready ") != len(subnets) {
			return "the nodes: " + nodes
		}
		return ""
	})
	w.create(t, networkWorkload)
	eventually(t, time.Minute, "pods reach each other", func() string {
		pods := podsByNode(t, w, "noise")
		for from := range networkHosts() {
			for to := range networkHosts() {
				if r := w.kubectl(t, "exec", pods[from].name, "--", "ping", "-c", "1", "-W", "2", pods[to].ip); r.code != 0 {
					return fmt.Sprintf("from %s to %s: %s", from, to, r)
				}
			}
		}
		return ""
	})
	if r := w.apply(t); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("a second apply: %s", r)
	}
}

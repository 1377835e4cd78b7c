package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestNetworkChange takes a living cluster from one network to the next. Pods
// go on, and reach each other all the while.
func TestNetworkChange(t *testing.T) {
	if chosen := os.Getenv("KINSTALL_NETWORKS"); chosen != "all" && chosen != "change" {
		t.Skip("part of make test-networks")
	}
	w := networkWorld(t, "e2e-change", routesBlock)
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
		{"flannel-vxlan-etcd", []string{"- staticroutes pods", "+ unit flanneld.service", "+ etcd /coreos.com/network/", "~ podmtu cni0"}, "ip -o route show root 10.244.0.0/16 | grep eth0"},
		{"flannel-vxlan-kubernetes", []string{"- unit flanneld.service", "- etcd /coreos.com/network/", "+ object apps/v1/DaemonSet/kube-system/flannel"}, "ls /usr/local/bin/flanneld /etc/kubernetes/pki/etcd/flannel.key"},
		{"bird-ospf", []string{"- object apps/v1/DaemonSet/kube-system/flannel", "- link flannel.1", "+ unit bird.service"}, "ip -o link | grep flannel"},
		{"flannel-host-gw-kubernetes", []string{"- unit bird.service", "+ object apps/v1/DaemonSet/kube-system/flannel"}, "ip -o route show proto bird"},
		{"flannel-vxlan-kubernetes", []string{"~ object apps/v1/DaemonSet/kube-system/flannel", "~ podmtu cni0"}, "ip -o route show root 10.244.0.0/16 | grep eth0"},
		{"openvswitch-vxlan", []string{"- link flannel.1", "- object apps/v1/DaemonSet/kube-system/flannel", "+ switch br0"}, "ip -o route show root 10.244.0.0/16 | grep eth0"},
		{"routes", []string{"- unit kinstall-openvswitch.service", "- switch br0", "+ staticroutes pods"}, "ovs-vsctl list-br; ip -o link show dev pods0"},
	} {
		i := slices.IndexFunc(networkCases(), func(c networkCase) bool { return c.name == next.network })
		network := networkCases()[i]
		w.edit(t, before, network.block)
		before = network.block
		printed := w.run(t, "plan", "-verbose", w.inventory).stdout
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

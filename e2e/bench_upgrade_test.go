package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/e2e/components"
)

// benchUpgrade keeps kubeadm from what kinstall does not do either: pulling
// images, replacing etcd, and a kube-proxy that was never installed.
const benchUpgrade = `apiVersion: kubeadm.k8s.io/v1beta4
kind: UpgradeConfiguration
apply: {kubernetesVersion: v%[1]s, forceUpgrade: true, etcdUpgrade: false, imagePullPolicy: Never, ignorePreflightErrors: [all], skipPhases: [addon/kube-proxy]}
node: {etcdUpgrade: false, imagePullPolicy: Never, ignorePreflightErrors: [all]}
`

// TestBenchmarkUpgrade reports how long three masters and two workers take from
// the previous minor version of Kubernetes to the newest, with kinstall and with
// kubeadm's own commands, on the same machines in one run. It measures and
// judges nothing.
func TestBenchmarkUpgrade(t *testing.T) {
	if os.Getenv("KINSTALL_BENCH") == "" {
		t.Skip("a benchmark: make bench")
	}
	buildPrevious(t)
	w := newWorld(t, "bench-upgrade", kubernetes("upgrade")...)
	w.apply(t)
	w.edit(t, fmt.Sprintf("%q", components.PreviousKubernetes), fmt.Sprintf("%q", components.Default().Kubernetes))
	client := w.poll(t, "through the balancer", addresses["emei"]+":8443", "/livez")
	ours := w.apply(t).elapsed
	t.Log(client())

	// The same machines, bare again. As for the installation, kubeadm gets what
	// takes long beforehand: binaries and images of both versions.
	if err := w.lab.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.lab.Up(t.Context(), w.machines(t)); err != nil {
		t.Fatal(err)
	}
	workers := []string{"huashan", "kunlun"}
	k := kubeadm{w: w, version: components.PreviousKubernetes}
	for i, host := range append(masters[:len(masters):len(masters)], workers...) {
		k.prepare(t, host, i)
	}
	k.init(t)
	for _, host := range masters[1:] {
		k.join(t, host)
	}
	for _, host := range workers {
		k.joinWorker(t, host)
	}
	ready := func(version string) {
		eventually(t, 5*time.Minute, "kubeadm's nodes are Ready with "+version, func() string {
			out := w.ssh(t, "shaolin", "kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes --no-headers")
			if strings.Count(out, " Ready") == 5 && strings.Count(out, " v"+version) == 5 {
				return ""
			}
			return "the nodes: " + out
		})
	}
	ready(components.PreviousKubernetes)
	k.version = components.Default().Kubernetes
	for _, host := range append(masters[:len(masters):len(masters)], workers...) {
		for _, name := range []string{"kubelet", "kubeadm", "kubectl"} {
			k.send(t, host, k.binary(name), "/root/"+name)
		}
		w.ssh(t, host, "chmod 755 /root/kube*; mv /root/kubeadm /usr/local/bin/kubeadm")
		k.images(t, host)
		k.write(t, host, "/root/upgrade.yaml", fmt.Sprintf(benchUpgrade, k.version))
	}

	// https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-upgrade/
	begin := time.Now()
	var parts []string
	for i, host := range append(masters[:len(masters):len(masters)], workers...) {
		command := "kubeadm upgrade node --config /root/upgrade.yaml"
		if i == 0 {
			command = "kubeadm upgrade apply --yes --config /root/upgrade.yaml"
		}
		_, upgraded := k.timed(t, host, command)
		_, drained := k.timed(t, "shaolin", "kubectl --kubeconfig /etc/kubernetes/admin.conf drain "+host+" --ignore-daemonsets")
		_, restarted := k.timed(t, host, "mv /root/kubelet /root/kubectl /usr/local/bin/ && systemctl daemon-reload && systemctl restart kubelet")
		_, uncordoned := k.timed(t, "shaolin", "kubectl --kubeconfig /etc/kubernetes/admin.conf uncordon "+host)
		parts = append(parts, fmt.Sprintf("%s %.1f + %.1f s", host, upgraded.Seconds(), (drained+restarted+uncordoned).Seconds()))
	}
	ready(k.version)
	theirs := time.Since(begin)
	t.Logf("kinstall: %s to %s on three masters and two workers, binaries and images uploaded on the way, seen to work: %.1f s",
		components.PreviousKubernetes, components.Default().Kubernetes, ours.Seconds())
	t.Logf("kubeadm: the same, with all of that there before, kubeadm + drain, kubelet, uncordon: %.1f s (%s)", theirs.Seconds(), strings.Join(parts, ", "))
	t.Logf("ratio kinstall/kubeadm: %.2f", ours.Seconds()/theirs.Seconds())
}

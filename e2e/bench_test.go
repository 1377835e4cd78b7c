package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/kinstall/kinstall/e2e/components"
)

// TestBenchmarkInstall reports how long bare machines take to become a
// cluster, with kinstall and with kubeadm, on the same machines in one run.
// It measures and judges nothing.
func TestBenchmarkInstall(t *testing.T) {
	if os.Getenv("KINSTALL_BENCH") == "" {
		t.Skip("a benchmark: make bench")
	}
	w := newWorld(t, "bench", kubernetes("cluster")...)

	ours := w.apply(t).elapsed
	noop := w.apply(t)
	report := lastReport(t, w.apply(t, "-json").stdout)

	// The same machines, bare again. kubeadm gets what takes long beforehand:
	// binaries, images, a running containerd, the CNI configuration.
	if err := w.lab.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.lab.Up(t.Context(), w.machines(t)); err != nil {
		t.Fatal(err)
	}
	k := kubeadm{w: w, version: components.Default().Kubernetes}
	for i, host := range masters {
		k.prepare(t, host, i)
	}
	theirs := []time.Duration{k.init(t), k.join(t, "wudang"), k.join(t, "emei")}
	total := theirs[0] + theirs[1] + theirs[2]
	begin := time.Now()
	eventually(t, 5*time.Minute, "kubeadm's nodes are Ready", func() string {
		out := w.ssh(t, "shaolin", "kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes --no-headers")
		if strings.Count(out, " Ready") == 3 {
			return ""
		}
		return "the nodes: " + out
	})
	settling := time.Since(begin)

	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	t.Logf("kinstall: four bare machines to all nodes Ready, binaries and images uploaded on the way: %s", seconds(ours))
	t.Logf("kubeadm: three prepared machines, init + join + join: %s + %s + %s = %s; all Ready %s later",
		seconds(theirs[0]), seconds(theirs[1]), seconds(theirs[2]), seconds(total), seconds(settling))
	t.Logf("ratio kubeadm/kinstall: %.1f", (total+settling).Seconds()/ours.Seconds())
	t.Logf("kinstall, second apply without changes: %s, %d connections, %d execs (the lock's included)",
		seconds(noop.elapsed), report.Connections, report.Execs)
}

// lastReport is the report at the end of what apply -json printed.
func lastReport(t *testing.T, printed string) (report struct{ Connections, Execs int }) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &report); err != nil {
		t.Fatal(err)
	}
	return report
}

// kubeadm drives kubeadm over ssh, one master after the other, as its
// documentation says.
type kubeadm struct {
	w          *world
	version    string // of Kubernetes
	joinScript string // of a worker
}

// versions and paths of the mirror.
func mirrored(w *world, format string, args ...any) string {
	return filepath.Join(w.mirror.Dir, fmt.Sprintf(format, args...))
}

// send copies a file to a machine.
func (k *kubeadm) send(t *testing.T, host, from, to string) {
	t.Helper()
	file, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	command := k.w.lab.SSH(t.Context(), host, "mkdir -p $(dirname "+to+") && cat > "+to)
	command.Stdin = file
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %s: %v\n%s", host, to, err, out)
	}
}

func (k *kubeadm) write(t *testing.T, host, to, content string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	k.send(t, host, file, to)
}

const (
	benchContainerd = `version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "registry.k8s.io/pause:3.10.1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
`
	benchContainerdUnit = `[Service]
Type=notify
ExecStart=/usr/local/bin/containerd
Delegate=yes
KillMode=process
`
	benchKubeletUnit = `[Service]
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/local/bin/kubelet --kubeconfig=/etc/kubernetes/kubelet.conf --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
`
	benchConfig = `apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: abcdef.0123456789abcdef}]
certificateKey: 1fce5d24e8a1ba2f0a1e7ba04b1d5d8d0a6f9f4c6d6b1f6f3a8d6c1e0b9a8f7e
nodeRegistration: {criSocket: "unix:///run/containerd/containerd.sock", imagePullPolicy: Never}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v%s
controlPlaneEndpoint: 10.88.0.11:6443
networking: {podSubnet: 10.244.0.0/16}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
`
)

// prepare does everything on a machine that is not kubeadm's own work.
func (k *kubeadm) prepare(t *testing.T, host string, index int) {
	t.Helper()
	v := components.Default()
	for _, name := range []string{"kubelet", "kubeadm", "kubectl"} {
		k.send(t, host, k.binary(name), "/usr/local/bin/"+name)
	}
	k.send(t, host, mirrored(k.w, "github.com/containerd/containerd/releases/download/v%s/containerd-%s-linux-amd64.tar.gz", v.Containerd, v.Containerd), "/root/containerd.tar.gz")
	k.send(t, host, mirrored(k.w, "github.com/containernetworking/plugins/releases/download/v%s/cni-plugins-linux-amd64-v%s.tgz", v.CNI, v.CNI), "/root/cni.tgz")
	k.send(t, host, mirrored(k.w, "github.com/opencontainers/runc/releases/download/v%s/runc.amd64", v.Runc), "/usr/local/sbin/runc")
	k.write(t, host, "/etc/containerd/config.toml", benchContainerd)
	k.write(t, host, "/etc/systemd/system/containerd.service", benchContainerdUnit)
	k.write(t, host, "/etc/systemd/system/kubelet.service", benchKubeletUnit)
	k.write(t, host, "/etc/cni/net.d/10-bridge.conflist", fmt.Sprintf(`{"cniVersion":"1.0.0","name":"bridge","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.%d.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`, index))
	k.w.ssh(t, host, `set -e
chmod 755 /usr/local/bin/* /usr/local/sbin/runc
mkdir -p /opt/cni/bin /etc/kubernetes/manifests
tar -xzf /root/containerd.tar.gz -C /usr/local; tar -xzf /root/cni.tgz -C /opt/cni/bin
sysctl -qw net.ipv4.ip_forward=1
systemctl daemon-reload; systemctl enable kubelet.service; systemctl start containerd.service`)
	for _, archive := range []string{"registry.k8s.io/pause/" + v.Pause + ".tar", "registry.k8s.io/coredns/coredns/v" + v.CoreDNS + ".tar"} {
		k.load(t, host, mirrored(k.w, "%s", archive))
	}
	k.load(t, host, etcdImage(t, k.w))
	k.images(t, host)
	k.write(t, host, "/root/kubeadm.yaml", fmt.Sprintf(benchConfig, k.version))
}

// binary is where the mirror has a program of Kubernetes.
func (k *kubeadm) binary(name string) string {
	return mirrored(k.w, "dl.k8s.io/release/v%s/bin/linux/amd64/%s", k.version, name)
}

// images brings the control plane's images to a machine, and gives all images the
// names that its kubeadm looks for.
func (k *kubeadm) images(t *testing.T, host string) {
	t.Helper()
	v := components.Default()
	for _, name := range []string{"kube-apiserver.tar", "kube-controller-manager.tar", "kube-scheduler.tar"} {
		k.load(t, host, k.binary(name))
	}
	k.w.ssh(t, host, fmt.Sprintf(`set -e
tag() { ctr -n k8s.io images tag --force "$1" "$2" >/dev/null; }
for image in $(kubeadm config images list --kubernetes-version v%[1]s 2>/dev/null); do
	case $image in
	*/kube-proxy:*) ;;
	*/kube-*) tag "${image%%%%:*}-amd64:v%[1]s" "$image" ;;
	*/etcd:*) tag registry.k8s.io/etcd:bench "$image" ;;
	*/coredns:*) tag registry.k8s.io/coredns/coredns:v%[2]s "$image" || true ;;
	*/pause:*) tag registry.k8s.io/pause:%[3]s "$image" || true ;;
	esac
done`, k.version, v.CoreDNS, v.Pause))
}

func (k *kubeadm) load(t *testing.T, host, archive string) {
	t.Helper()
	k.send(t, host, archive, "/root/image.tar")
	k.w.ssh(t, host, "ctr -n k8s.io images import --local /root/image.tar >/dev/null && rm /root/image.tar")
}

// etcdImage packs the mirror's etcd into an image, since kubeadm runs it as a pod.
func etcdImage(t *testing.T, w *world) string {
	t.Helper()
	version := components.Default().Etcd
	dir := t.TempDir()
	release := mirrored(w, "github.com/etcd-io/etcd/releases/download/v%s/etcd-v%s-linux-amd64.tar.gz", version, version)
	pack := exec.Command("sh", "-c", `set -e; mkdir -p root/usr/local/bin && tar -xzf "$1" -C root/usr/local/bin --strip-components=1 && tar -C root -cf layer.tar usr`, "sh", release)
	pack.Dir = dir
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	layer, err := tarball.LayerFromFile(filepath.Join(dir, "layer.tar"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{Architecture: "amd64", OS: "linux", RootFS: must(image.ConfigFile()).RootFS, Config: v1.Config{Env: []string{"PATH=/usr/local/bin"}}})
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("registry.k8s.io/etcd:bench")
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "etcd.tar")
	if err := tarball.WriteToFile(archive, tag, image); err != nil {
		t.Fatal(err)
	}
	return archive
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

const ignored = "--ignore-preflight-errors=all"

func (k *kubeadm) timed(t *testing.T, host, script string) (string, time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	begin := time.Now()
	out, err := k.w.lab.SSH(ctx, host, script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %s: %v\n%s", host, script, err, out)
	}
	return string(out), time.Since(begin)
}

func (k *kubeadm) init(t *testing.T) time.Duration {
	out, took := k.timed(t, "shaolin", "kubeadm init --config /root/kubeadm.yaml --upload-certs --skip-phases=addon/kube-proxy "+ignored)
	_, after, found := strings.Cut(out, "kubeadm join")
	if !found {
		t.Fatalf("kubeadm init names no join command:\n%s", out)
	}
	_, hash, found := strings.Cut(after, "--discovery-token-ca-cert-hash ")
	if !found {
		t.Fatalf("kubeadm init names no hash:\n%s", out)
	}
	k.joinScript = "kubeadm join 10.88.0.11:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash " + strings.Fields(hash)[0] + " " + ignored
	return took
}

// join joins a master.
func (k *kubeadm) join(t *testing.T, host string) time.Duration {
	_, took := k.timed(t, host, k.joinScript+" --control-plane --certificate-key 1fce5d24e8a1ba2f0a1e7ba04b1d5d8d0a6f9f4c6d6b1f6f3a8d6c1e0b9a8f7e")
	return took
}

func (k *kubeadm) joinWorker(t *testing.T, host string) time.Duration {
	_, took := k.timed(t, host, k.joinScript)
	return took
}

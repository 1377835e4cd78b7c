package provision

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/resource"
)

// The new manifest is taken out and put back after the old pod's end, and not
// before; it is there in the end.
func TestRenewPod(t *testing.T) {
	const uid = "pod38f99970bfda0ef97e052486fdade2d6"
	for _, c := range []struct {
		name    string
		process string // its /proc/PID/cgroup; "" if there is no such program
		cgroup  string // of the pod, below /sys/fs/cgroup
		want    string // what was done to the manifest
	}{
		{"no pod before", "", "", "placed\n"},
		{"cgroups of both versions", "4:memory:/kubepods/burstable/" + uid + "/c0ffee\n0::/init.scope\n", "memory/kubepods/burstable/" + uid, "placed\ngone\ntaken\nput back\n"},
		{"several controllers in one", "4:cpu,cpuacct:/kubepods/burstable/" + uid + "/c0ffee\n", "cpu,cpuacct/kubepods/burstable/" + uid, "placed\ngone\ntaken\nput back\n"},
		{"cgroups of version 2, by systemd", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + uid + ".slice/cri-containerd-c0ffee.scope\n",
			"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + uid + ".slice", "placed\ngone\ntaken\nput back\n"},
		{"a program outside of any pod", "0::/system.slice/kube-apiserver.service\n", "system.slice", "placed\n"},
		{"a pod of another machine's kubelet", "0::/kubepods/burstable/pod0000/c0ffee\n", "kubepods/burstable/pod0000", "placed\n"},
		{"a cgroup that is not to be found", "0::/kubepods/burstable/" + uid + "/c0ffee\n", "", "placed\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, content string, mode os.FileMode) string {
				t.Helper()
				file := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(content), mode); err != nil {
					t.Fatal(err)
				}
				return file
			}
			pod := resource.StaticPod{Name: "kube-apiserver", Path: write("etc/kubernetes/manifests/kube-apiserver.yaml", "old", 0o600)}
			cgroup := filepath.Join(dir, "sys/fs/cgroup", c.cgroup)
			write("bin/pidof", "#!/bin/sh\n[ \"$1\" = kube-apiserver ] && echo 42 4711 || exit 1\n", 0o755)
			write("var/log/pods/kube-system_kube-apiserver-emei_"+strings.TrimPrefix(uid, "pod")+"/kube-apiserver/0.log", "", 0o600)
			write("var/log/pods/kube-system_kube-apiserver-emei_older/kube-apiserver/0.log", "", 0o600)
			if c.process == "" {
				write("bin/pidof", "#!/bin/sh\nexit 1\n", 0o755)
			} else {
				write("proc/4711/cgroup", c.process, 0o600)
			}
			if c.cgroup != "" {
				write("sys/fs/cgroup/"+c.cgroup+"/../other", "", 0o600)
				if err := os.MkdirAll(cgroup, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			journal := filepath.Join(dir, "journal")
			// The old pod ends while the script waits for it.
			write("bin/sleep", "#!/bin/sh\nrmdir "+cgroup+" && echo gone >>"+journal+"\n", 0o755)
			write("bin/mv", `#!/bin/sh
case $3 in */.kinstall.*) echo put back ;; *) echo taken ;; esac >>`+journal+`
exec /bin/mv "$@"
`, 0o755)
			script := scriptHeader + oldPod(pod, dir) + "echo new > " + pod.Path + "; echo placed >>" + journal + "\n" + renewPod(pod)
			command := exec.CommandContext(t.Context(), "/bin/sh")
			command.Stdin = strings.NewReader(script)
			command.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH")}
			begin := time.Now()
			if out, err := command.CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%v after %s: %s", err, time.Since(begin), out)
			}
			done, err := os.ReadFile(journal)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(done)); diff != "" {
				t.Errorf("done (-want +got):\n%s", diff)
			}
			if content, err := os.ReadFile(pod.Path); err != nil || string(content) != "new\n" {
				t.Errorf("the manifest is %q, %v", content, err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "etc/kubernetes/manifests/.kinstall*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

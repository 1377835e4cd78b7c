package lab

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestLab boots two machines for real, in networks of their own.
func TestLab(t *testing.T) {
	if testing.Short() {
		t.Skip("boots machines")
	}
	l, err := Open(NameFor("lab-selftest", "."))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Supported(); err != nil {
		t.Skip(err)
	}
	l.Progress = testWriter{t}
	ctx := t.Context()
	if err := l.Down(ctx); err != nil { // of a run that was killed
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string(nil), leftovers(t, l)); diff != "" {
			t.Errorf("left behind by Down (-want +got):\n%s", diff)
		}
	})

	if cmd := l.Exec(ctx, "true"); cmd.Run() == nil {
		t.Error("a lab that isn't up runs commands")
	}
	emei := Machine{Name: "emei", Address: netip.MustParseAddr("10.27.52.72")}
	huashan := Machine{Name: "huashan", Address: netip.MustParseAddr("10.24.138.208"), SecondCable: true}
	machines := []Machine{emei, huashan}
	must(t, l.Up(ctx, machines))

	// A machine of its own.
	checkSSH(t, l, "emei", "hostname", "emei")
	checkSSH(t, l, "operator@huashan", "sudo -n id -un", "root")
	checkSSH(t, l, "emei", "systemctl is-system-running --wait", "running")
	checkSSH(t, l, "emei", "ip -4 -o addr show eth0 | awk '{print $4}'", "10.27.52.72/24")
	if a, b := remote(t, l, "emei", "cat /etc/machine-id"), remote(t, l, "huashan", "cat /etc/machine-id"); len(a) != 32 || a == b {
		t.Errorf("machine-ids %q and %q", a, b)
	}
	checkSSH(t, l, "emei", "findmnt -no PROPAGATION /", "shared")
	checkSSH(t, l, "emei", "stat -f -c %T /var/lib/ | sed s,/.*,,", diskType(t))
	checkSSH(t, l, "emei", "for c in /sys/fs/cgroup/*/; do mountpoint -q $c || continue; mkdir $c/probe && rmdir $c/probe || echo $c; done", "")
	checkSSH(t, l, "emei", "test -c /dev/net/tun && test -c /dev/kmsg && modprobe -a br_netfilter overlay && echo fine", "fine")
	checkSSH(t, l, "emei", "modprobe -q no_such_module || echo refused", "refused")

	checkSSH(t, l, "huashan", "ip -4 -o addr show eth1; ip -o link show eth1 | grep -c @", "1")
	checkSSH(t, l, "emei", "ip link show eth1 >/dev/null 2>&1 || echo none", "none")

	// Across the networks, and nowhere else.
	const ping = "ping -c1 -W2 10.24.138.208 >/dev/null && echo reached || echo lost"
	checkSSH(t, l, "emei", ping, "reached")
	checkSSH(t, l, "emei", "ping -c1 -W1 192.0.2.1 >/dev/null && echo reached || echo lost", "lost")

	// The cable.
	must(t, l.Cut(ctx, "huashan"))
	checkSSH(t, l, "emei", ping, "lost")
	checkStates(t, l, Running, Cut)
	must(t, l.Heal(ctx, "huashan"))
	checkSSH(t, l, "emei", ping, "reached")

	// Packages without a network.
	checkSSH(t, l, "emei", "apt-get -qq install -y nginx libnginx-mod-stream >/dev/null 2>&1; systemctl is-active nginx", "active")

	// The power: memory of the network goes, the disk stays.
	remote(t, l, "emei", "echo kept >/root/disk; echo kept >/var/lib/disk; ip route add 10.9.0.0/24 via 10.27.52.254; sysctl -qw net.ipv4.ip_forward=1; mkdir -p /sys/fs/cgroup/*/pods; setsid sleep 1000 >/dev/null 2>&1 </dev/null & ")
	id := remote(t, l, "emei", "cat /etc/machine-id")
	must(t, l.Stop(ctx, "emei"))
	checkStates(t, l, Stopped, Running)
	if left := matching(t, leftovers(t, l), "emei"); len(left) > 0 {
		t.Errorf("of a machine without power there is left: %v", left)
	}
	must(t, l.Start(ctx, "emei"))
	const survey = "cat /root/disk /var/lib/disk /etc/machine-id; ip route show 10.9.0.0/24; sysctl -n net.ipv4.ip_forward; systemctl is-active nginx"
	checkSSH(t, l, "emei", survey, "kept\nkept\n"+id+"\n0\nactive")
	must(t, l.Reboot(ctx, "emei"))
	checkSSH(t, l, "emei", survey, "kept\nkept\n"+id+"\n0\nactive")

	// A reboot that the machine asks for itself.
	boot := bootID(t, l, "emei")
	_ = l.SSH(ctx, "emei", "systemctl reboot").Run() // the connection may break
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := poll(wait, 100*time.Millisecond, func() bool {
		out, err := l.SSH(wait, "emei", bootIDCommand).Output()
		return err == nil && strings.TrimSpace(string(out)) != boot
	}); err != nil {
		t.Fatalf("emei doesn't come back from its own reboot: %v", err)
	}

	// Up again: what runs stays, what isn't listed goes.
	boot = bootID(t, l, "emei")
	must(t, l.Up(ctx, machines))
	if again := bootID(t, l, "emei"); again != boot {
		t.Error("Up rebooted a machine that runs")
	}
	must(t, l.Up(ctx, []Machine{emei}))
	checkStates(t, l, Running)
	if left := matching(t, leftovers(t, l), "huashan"); len(left) > 0 {
		t.Errorf("of a machine no longer listed there is left: %v", left)
	}
	if err := l.Stop(ctx, "huashan"); !errors.Is(err, ErrNoSuchMachine) {
		t.Errorf("stop of a machine no longer listed: %v", err)
	}

	// Host keys are verified.
	known := filepath.Join(l.OperatorDir(), "known_hosts")
	must(t, os.WriteFile(known, nil, 0o600))
	if out, err := l.SSH(ctx, "emei", "true").CombinedOutput(); err == nil || !bytes.Contains(out, []byte("Host key verification failed")) {
		t.Errorf("ssh to an unknown host: %v: %s", err, out)
	}
}

const bootIDCommand = "systemctl show -p UserspaceTimestampMonotonic --value"

// bootID is another after each boot; the kernel's own stays, being the host's.
func bootID(t *testing.T, l *Lab, host string) string {
	t.Helper()
	return remote(t, l, host, bootIDCommand)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remote(t *testing.T, l *Lab, host, command string) string {
	t.Helper()
	cmd := l.SSH(t.Context(), host, command)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if len(out) == 0 && err != nil {
		t.Fatalf("ssh %s %s: %v: %s", host, command, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func checkSSH(t *testing.T, l *Lab, host, command, want string) {
	t.Helper()
	if diff := cmp.Diff(want, remote(t, l, host, command)); diff != "" {
		t.Errorf("%s: %s (-want +got):\n%s", host, command, diff)
	}
}

func checkStates(t *testing.T, l *Lab, want ...State) {
	t.Helper()
	all, err := l.Status()
	must(t, err)
	var got []State
	for _, s := range all {
		got = append(got, s.State)
		if (s.Uptime > 0) != (s.State != Stopped) {
			t.Errorf("%s: %s, uptime %s", s.Name, s.State, s.Uptime)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// leftovers lists namespaces, cgroups, mounts, processes and files of the lab
// outside of its operator's and machines' folders.
func leftovers(t *testing.T, l *Lab) []string {
	t.Helper()
	var found []string
	for _, machine := range []string{"", "emei", "huashan"} {
		if _, err := os.Lstat(namespacePath(kernelName(l.name, machine))); err == nil {
			found = append(found, "namespace "+machine)
		}
	}
	must(t, filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/"+cgroupName+"/"+l.name) {
			found = append(found, "cgroup "+path)
		}
		return nil
	}))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, l.dir()) {
			found = append(found, "mount "+line)
		}
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, file := range commands {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(l.dir()+"/machines")) {
			found = append(found, "process "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	if _, err := os.Stat(l.dir()); err == nil && !namespaceExists(l.namespace()) {
		found = append(found, "files in "+l.dir())
	}
	return found
}

func matching(t *testing.T, lines []string, word string) []string {
	t.Helper()
	var found []string
	for _, line := range lines {
		if strings.Contains(line, word) {
			found = append(found, line)
		}
	}
	return found
}

// diskType is the file system type of the folder that machines' disks lie in.
func diskType(t *testing.T) string {
	t.Helper()
	out, err := run(t.Context(), "", "stat", "-f", "-c", "%T", stateRoot)
	must(t, err)
	kind, _, _ := strings.Cut(strings.TrimSpace(out), "/")
	return kind
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

//go:embed root-setup.sh
var rootSetup string

//go:embed lab-machine.service
var machineUnit string

// recipe is everything the shared root file system is made from; its digest
// names the result, so that a changed recipe makes a new root.
type recipe struct {
	Suite, Arch string
	Installed   []string // in every machine from its first boot
	Offline     []string // installable in a machine without a network
	Repository  string   // folder in the root that holds the latter
	Setup, Unit string
}

func defaultRecipe() recipe {
	return recipe{
		Suite: "bookworm",
		Arch:  runtime.GOARCH,
		Installed: []string{
			"apt", "ca-certificates", "conntrack", "curl", "dbus", "ebtables", "ethtool",
			"iproute2", "iptables", "iputils-arping", "iputils-ping", "kmod", "libseccomp2", "nftables",
			"openssh-server", "procps", "socat", "sudo", "systemd-sysv", "util-linux",
		},
		Offline: []string{
			"bird2", "dnsmasq", "docker.io", "golang-cfssl", "haproxy", "keepalived", "libnginx-mod-stream", "nginx", "openvswitch-switch",
		},
		Repository: "/var/cache/kinstall-debs",
		Setup:      rootSetup,
		Unit:       machineUnit,
	}
}

func (r recipe) key() string {
	data, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:12]
}

// buildRoot returns the folder of the shared root file system under cache,
// building it first if it isn't there (one to two minutes, needs the host's
// network). Concurrent callers wait for one build. mirror is the Debian mirror's
// URL, or empty for debootstrap's default.
func buildRoot(ctx context.Context, r recipe, cache, mirror string, progress func(string, ...any)) (string, error) {
	root := filepath.Join(cache, "root-"+r.key())
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, root+".lock", func() { progress("waiting for another build of the root file system") })
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}

	partial, logFile := root+".partial", root+".log"
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	log, err := os.Create(logFile)
	if err != nil {
		return "", err
	}
	defer log.Close()

	progress("building the root file system, once (Debian %s, one to two minutes; log: %s)", r.Suite, logFile)
	// debootstrap mounts /proc in the target and starts many processes. In
	// namespaces of their own, neither outlives this build, come what may.
	private := []string{"--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"}
	bootstrap := append(private, "debootstrap", "--variant=minbase", "--include="+strings.Join(r.Installed, ","), r.Suite, partial)
	if mirror != "" {
		bootstrap = append(bootstrap, mirror)
	}
	if err := runLogged(ctx, log, nil, "unshare", bootstrap...); err != nil {
		return "", fmt.Errorf("build root file system: %w", err)
	}
	progress("adding users and the offline package repository (%s)", strings.Join(r.Offline, ", "))
	if err := os.WriteFile(filepath.Join(partial, "etc/systemd/system/lab-machine.service"), []byte(r.Unit), 0o644); err != nil {
		return "", fmt.Errorf("build root file system: %w", err)
	}
	env := []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive",
		"OFFLINE=" + strings.Join(r.Offline, " "), "REPOSITORY=" + r.Repository,
	}
	if err := runLogged(ctx, log, env, "unshare", append(private, "chroot", partial, "/bin/sh", "-c", r.Setup)...); err != nil {
		return "", fmt.Errorf("build root file system: %w", err)
	}
	if err := os.Rename(partial, root); err != nil {
		return "", fmt.Errorf("build root file system: %w", err)
	}
	_ = os.Remove(logFile)
	return root, nil
}

// runLogged executes a command, which ends with this process at the latest, with
// its output in log; the error carries the end of that output. A nil env is the
// caller's.
func runLogged(ctx context.Context, log *os.File, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	// The kernel sends the signal when the starting thread ends, so that one is kept.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var tail tailBuffer
	cmd.Stdout = &teeWriter{log, &tail}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); ctx.Err() != nil {
		return fmt.Errorf("%s: %w", name, ctx.Err())
	} else if err != nil {
		return fmt.Errorf("%s: %w (log: %s):\n%s", name, err, log.Name(), lastLines(tail.String(), 10))
	}
	return nil
}

type teeWriter struct {
	file *os.File
	tail *tailBuffer
}

func (w *teeWriter) Write(p []byte) (int, error) {
	w.tail.Write(p)
	return w.file.Write(p)
}

// tailBuffer keeps the last few KiB written to it.
type tailBuffer struct{ bytes.Buffer }

func (t *tailBuffer) Write(p []byte) {
	t.Buffer.Write(p)
	if extra := t.Len() - 8<<10; extra > 0 {
		t.Next(extra)
	}
}

// moduleTable names, for a kernel built without loadable modules, the
// configuration symbol behind each module that software on the machines may ask
// modprobe for.
var moduleTable = []struct{ symbol, path string }{
	{"CONFIG_BRIDGE", "kernel/net/bridge/bridge.ko"},
	{"CONFIG_BRIDGE_NETFILTER", "kernel/net/bridge/br_netfilter.ko"},
	{"CONFIG_DUMMY", "kernel/drivers/net/dummy.ko"},
	{"CONFIG_FUSE_FS", "kernel/fs/fuse/fuse.ko"},
	{"CONFIG_GENEVE", "kernel/drivers/net/geneve.ko"},
	{"CONFIG_IP6_NF_IPTABLES", "kernel/net/ipv6/netfilter/ip6_tables.ko"},
	{"CONFIG_IP_NF_IPTABLES", "kernel/net/ipv4/netfilter/ip_tables.ko"},
	{"CONFIG_IP_SET", "kernel/net/netfilter/ipset/ip_set.ko"},
	{"CONFIG_IP_VS", "kernel/net/netfilter/ipvs/ip_vs.ko"},
	{"CONFIG_IP_VS_RR", "kernel/net/netfilter/ipvs/ip_vs_rr.ko"},
	{"CONFIG_IP_VS_SH", "kernel/net/netfilter/ipvs/ip_vs_sh.ko"},
	{"CONFIG_IP_VS_WRR", "kernel/net/netfilter/ipvs/ip_vs_wrr.ko"},
	{"CONFIG_MACVLAN", "kernel/drivers/net/macvlan.ko"},
	{"CONFIG_NET_IPGRE", "kernel/net/ipv4/ip_gre.ko"},
	{"CONFIG_NET_IPIP", "kernel/net/ipv4/ipip.ko"},
	{"CONFIG_NETFILTER_XT_MATCH_CONNTRACK", "kernel/net/netfilter/xt_conntrack.ko"},
	{"CONFIG_NF_CONNTRACK", "kernel/net/netfilter/nf_conntrack.ko"},
	{"CONFIG_NF_NAT", "kernel/net/netfilter/nf_nat.ko"},
	{"CONFIG_NF_TABLES", "kernel/net/netfilter/nf_tables.ko"},
	{"CONFIG_OPENVSWITCH", "kernel/net/openvswitch/openvswitch.ko"},
	{"CONFIG_OVERLAY_FS", "kernel/fs/overlayfs/overlay.ko"},
	{"CONFIG_TUN", "kernel/drivers/net/tun.ko"},
	{"CONFIG_VETH", "kernel/drivers/net/veth.ko"},
	{"CONFIG_VLAN_8021Q", "kernel/net/8021q/8021q.ko"},
	{"CONFIG_VXLAN", "kernel/drivers/net/vxlan/vxlan.ko"},
	{"CONFIG_WIREGUARD", "kernel/drivers/net/wireguard/wireguard.ko"},
}

// builtinModules lists the module files of the table that config, a kernel
// configuration, has built in. Modules the kernel lacks are left out, so that
// modprobe fails for them as it should.
func builtinModules(config string) []string {
	set := map[string]bool{}
	for _, line := range strings.Split(config, "\n") {
		if symbol, ok := strings.CutSuffix(line, "=y"); ok {
			set[symbol] = true
		}
	}
	var paths []string
	for _, m := range moduleTable {
		if set[m.symbol] {
			paths = append(paths, m.path)
		}
	}
	return paths
}

// moduleDir returns the folder to show the machines as /lib/modules/RELEASE: the
// host's own, or, where the kernel has no loadable modules, one made under cache
// that lists what is built in.
func moduleDir(ctx context.Context, cache, release string) (string, error) {
	host := filepath.Join("/lib/modules", release)
	if _, err := os.Stat(host); err == nil {
		return host, nil
	}
	base := filepath.Join(cache, "modules-"+release)
	dir := filepath.Join(base, "lib/modules", release)
	if _, err := os.Stat(filepath.Join(dir, "modules.builtin.bin")); err == nil {
		return dir, nil
	}
	config, err := kernelConfig(release)
	if err != nil {
		return "", fmt.Errorf("list the kernel's built-in modules: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	list := strings.Join(builtinModules(config), "\n") + "\n"
	for name, content := range map[string]string{"modules.builtin": list, "modules.order": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	if _, err := run(ctx, "", "depmod", "--basedir", base, release); err != nil {
		return "", fmt.Errorf("list the kernel's built-in modules: %w", err)
	}
	return dir, nil
}

// kernelConfig returns the running kernel's configuration.
func kernelConfig(release string) (string, error) {
	if data, err := readGzip("/proc/config.gz"); err == nil {
		return string(data), nil
	}
	data, err := os.ReadFile("/boot/config-" + release)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("neither /proc/config.gz nor /boot/config-" + release + " is there")
	}
	return string(data), err
}

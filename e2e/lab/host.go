package lab

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Supported says why this machine can't run a lab, or returns nil. It changes
// nothing. Missing Debian packages are no reason, as Up installs them.
func (l *Lab) Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("a lab needs root (namespaces, mounts, cgroups): run it with sudo")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		for _, p := range hostPackages {
			if _, err := exec.LookPath(p.command); err != nil {
				return fmt.Errorf("a lab needs the command %s, and there is no apt-get to install it with", p.command)
			}
		}
	}
	if err := canUnshare(); err != nil {
		return fmt.Errorf("a lab needs mount and network namespaces of its own: %w", err)
	}
	filesystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	// On a kernel with modules it is loaded when first mounted.
	if _, err := os.Stat("/proc/modules"); err != nil && !slices.Contains(strings.Fields(string(filesystems)), "overlay") {
		return errors.New("a lab needs overlayfs, which this kernel lacks")
	}
	var fsInfo unix.Statfs_t
	if err := unix.Statfs("/var/lib", &fsInfo); err != nil {
		return fmt.Errorf("statfs /var/lib: %w", err)
	}
	if fsInfo.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return errors.New("a lab needs /var/lib on a disk file system, and it is on overlayfs (a container?)")
	}
	hs, err := hierarchies()
	if err != nil {
		return fmt.Errorf("a lab needs cgroups: %w", err)
	}
	if len(hs) == 0 {
		return errors.New("a lab needs cgroups, and none are mounted at /sys/fs/cgroup")
	}
	for _, h := range hs {
		if unix.Access(h.Path, unix.W_OK) != nil {
			return fmt.Errorf("a lab needs to make cgroups, and %s is read-only", h.Path)
		}
	}
	return nil
}

// canUnshare tries what booting needs, in a thread that ends with the attempt.
func canUnshare() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		result <- unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_FS)
	}()
	return <-result
}

// hostPackages maps the commands the lab runs on the host to Debian packages.
var hostPackages = []struct{ command, name string }{
	{"debootstrap", "debootstrap"},
	{"depmod", "kmod"},
	{"ip", "iproute2"},
	{"nsenter", "util-linux"},
	{"ssh", "openssh-client"},
	{"systemd-nspawn", "systemd-container"},
	{"unshare", "util-linux"},
}

// installHostPackages installs what the lab runs on the host and doesn't find.
func installHostPackages(ctx context.Context, progress func(string, ...any)) error {
	var missing []string
	for _, p := range hostPackages {
		if _, err := exec.LookPath(p.command); err != nil && !slices.Contains(missing, p.name) {
			missing = append(missing, p.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	progress("installing on this machine: %s", strings.Join(missing, " "))
	apt := func(args ...string) error {
		args = append([]string{"DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"}, args...)
		_, err := run(ctx, "", "env", args...)
		return err
	}
	if err := apt("update"); err != nil {
		return fmt.Errorf("install host packages: %w", err)
	}
	args := append([]string{"install", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"}, missing...)
	if err := apt(args...); err != nil {
		return fmt.Errorf("install host packages: %w", err)
	}
	return nil
}

// loadHostModules loads what machines may not be able to load themselves. A
// module the kernel lacks is found missing where it is needed, not here.
func loadHostModules(ctx context.Context) {
	if _, err := os.Stat("/proc/modules"); err != nil {
		return // all is built in
	}
	for _, module := range []string{"overlay", "bridge", "veth", "br_netfilter", "nf_conntrack", "nf_tables", "ip_tables", "ip6_tables", "vxlan", "tun"} {
		_, _ = run(ctx, "", "modprobe", module)
	}
}

func kernelRelease() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(data)), err
}

func readGzip(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

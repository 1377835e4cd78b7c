package lab

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"crypto/rand"
)

//go:embed machine.sh
var supervisor string

// machineState is what is kept of a machine beside its disk, in machine.json.
type machineState struct {
	Name      string     `json:"name"`
	Address   netip.Addr `json:"address"`
	AddressV6 netip.Addr `json:"address_v6"` // empty if it has none
	Second    bool       `json:"second_cable,omitempty"`
	ID        string     `json:"machine_id"`
	Root      string     `json:"root"`    // shared root file system its disk lies over
	Cgroups   []string   `json:"cgroups"` // of its latest boot
}

func (s machineState) machine() Machine {
	return Machine{Name: s.Name, Address: s.Address, AddressV6: s.AddressV6, SecondCable: s.Second}
}

func (l *Lab) machineState(machine string) (machineState, error) {
	var s machineState
	err := readJSON(filepath.Join(l.machineDir(machine), "machine.json"), &s)
	return s, err
}

// create makes the disk of a machine that isn't there, at once or not at all.
func (l *Lab) create(ctx context.Context, m Machine, root string, login loginKey) error {
	dir := l.machineDir(m.Name)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	partial := filepath.Join(l.dir(), "machines", "."+m.Name)
	if err := removeTree(partial); err != nil {
		return err
	}
	for _, sub := range []string{"", "upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(partial, sub), 0o755); err != nil {
			return err
		}
	}
	// It becomes the machine's "/", whatever the umask.
	if err := os.Chmod(filepath.Join(partial, "upper"), 0o755); err != nil {
		return err
	}
	// Container runtimes and kubelet can't work on an overlay, so all of /var/lib is
	// a plain folder (and, unlike one bound to each of theirs, leaves them free to
	// rename and remove their own).
	if _, err := run(ctx, "", "cp", "--archive", "--reflink=auto", filepath.Join(root, "var/lib"), filepath.Join(partial, "var-lib")); err != nil {
		return err
	}
	id := make([]byte, 16)
	rand.Read(id)
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a version 4 UUID, as machine-id(5) has it
	state := machineState{Name: m.Name, Address: m.Address, AddressV6: m.AddressV6, Second: m.SecondCable, ID: hex.EncodeToString(id), Root: root}
	files, err := identityFiles(state, login)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := f.write(filepath.Join(partial, "upper"), root); err != nil {
			return err
		}
	}
	if err := writeJSON(filepath.Join(partial, "machine.json"), state); err != nil {
		return err
	}
	return os.Rename(partial, dir)
}

// diskFile is a file to lay over the shared root.
type diskFile struct {
	path    string
	content []byte
	mode    fs.FileMode
	owner   string // folder of the root whose owner the file gets; empty: root
}

// identityFiles lists what makes a machine itself.
func identityFiles(s machineState, login loginKey) ([]diskFile, error) {
	files := []diskFile{
		{path: "etc/hostname", content: []byte(s.Name + "\n"), mode: 0o644},
		{path: "etc/hosts", content: []byte("127.0.0.1\tlocalhost\n127.0.1.1\t" + s.Name + "\n::1\tlocalhost ip6-localhost ip6-loopback\n"), mode: 0o644},
		{path: "etc/machine-id", content: []byte(s.ID + "\n"), mode: 0o444},
		{path: "root/.ssh/authorized_keys", content: login.authorized, mode: 0o600},
		{path: "home/operator/.ssh/authorized_keys", content: login.authorized, mode: 0o600, owner: "home/operator"},
	}
	keys, err := newHostKeys()
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		files = append(files,
			diskFile{path: "etc/ssh/" + k.file, content: k.private, mode: 0o600},
			diskFile{path: "etc/ssh/" + k.file + ".pub", content: k.public, mode: 0o644})
	}
	return files, nil
}

// write lays the file into upper, where folders must look as they do in root: an
// overlay shows the upper one's mode and owner.
func (f diskFile) write(upper, root string) error {
	parent := ""
	for _, part := range strings.Split(filepath.Dir(f.path), "/") {
		parent = filepath.Join(parent, part)
		if err := copyDir(filepath.Join(root, parent), filepath.Join(upper, parent)); err != nil {
			return err
		}
	}
	file := filepath.Join(upper, f.path)
	if err := os.WriteFile(file, f.content, f.mode); err != nil {
		return err
	}
	if err := os.Chmod(file, f.mode); err != nil { // whatever the umask
		return err
	}
	if f.owner == "" {
		return nil
	}
	return copyOwner(filepath.Join(root, f.owner), file)
}

func copyDir(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := copyOwner(from, to); err != nil {
		return err
	}
	return os.Chmod(to, info.Mode())
}

func copyOwner(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: owner unknown", from)
	}
	return os.Chown(to, int(stat.Uid), int(stat.Gid))
}

// nspawnArguments are those of systemd-nspawn(1) for a machine.
func nspawnArguments(s machineState, container, namespace, dir, modules, release string) []string {
	return []string{
		"--quiet", "--boot", "--settings=no",
		"--directory=" + filepath.Join(dir, "root"),
		"--machine=" + container, "--hostname=" + s.Name, "--uuid=" + s.ID,
		// There may be no service manager on the host to ask for a scope, and the
		// supervisor has put it into cgroups already.
		"--keep-unit", "--register=no",
		"--network-namespace-path=" + namespacePath(namespace),
		// kubelet and runc need nearly all of both.
		"--capability=all", "--system-call-filter=@keyring bpf @known",
		"--link-journal=no", "--resolv-conf=off", "--timezone=off",
		"--bind=" + filepath.Join(dir, "var-lib") + ":/var/lib",
		"--bind=/dev/kmsg",
		"--bind-ro=" + modules + ":/usr/lib/modules/" + release,
	}
}

// boot starts a machine that exists and doesn't run, and returns when its sshd
// answers (at once after the start if its cable is cut). An error ends with its
// console's last lines.
func (l *Lab) boot(ctx context.Context, machine string, subnets []subnet, modules string) error {
	began := time.Now()
	dir := l.machineDir(machine)
	state, err := l.machineState(machine)
	if err != nil {
		return err
	}
	if _, err := os.Stat(state.Root); err != nil {
		return fmt.Errorf("machine %s: the root file system its disk lies over is gone (%w); take the lab down", machine, err)
	}
	gateway, err := gatewayOf(state.Address, subnets)
	if err != nil {
		return err
	}
	addressV6, gatewayV6 := "", ""
	if state.AddressV6.IsValid() {
		gateway, err := gatewayOf(state.AddressV6, subnets)
		if err != nil {
			return err
		}
		addressV6, gatewayV6 = held(state.AddressV6).String(), gateway.String()
	}
	// What a boot that ended by itself, or a crash, left behind.
	if err := l.cutPower(ctx, machine); err != nil {
		return fmt.Errorf("machine %s: %w", machine, err)
	}
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	state.Cgroups = machineCgroups(hs, l.name, machine)
	if err := writeJSON(filepath.Join(dir, "machine.json"), state); err != nil {
		return err
	}
	for _, c := range state.Cgroups {
		if err := createCgroup(c, !legacy(hs)); err != nil {
			return fmt.Errorf("machine %s: %w", machine, err)
		}
	}
	// Nobody answers there, but lookups fail at once instead of after a timeout.
	resolver := diskFile{path: "etc/resolv.conf", content: []byte("nameserver " + gateway.String() + "\n"), mode: 0o644}
	if _, err := os.Lstat(filepath.Join(dir, "upper", resolver.path)); errors.Is(err, fs.ErrNotExist) {
		if err := resolver.write(filepath.Join(dir, "upper"), state.Root); err != nil {
			return err
		}
	}

	console, err := os.OpenFile(filepath.Join(dir, "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	release, err := kernelRelease()
	if err != nil {
		return err
	}
	namespace := kernelName(l.name, machine)
	args := append([]string{"-c", supervisor, "lab-machine"},
		nspawnArguments(state, containerName(l.name, machine), namespace, dir, modules, release)...)
	cmd := exec.Command("/bin/sh", args...) // not the context's: it outlives this process
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	unified := "1"
	if legacy(hs) {
		unified = "0"
	}
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
		"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=" + unified,
		"SYSTEMD_NSPAWN_USE_CGNS=1",
		"SYSTEMD_NSPAWN_API_VFS_WRITABLE=1", // sysctls are the machine's own business
		"DIR=" + dir, "LOWER=" + state.Root, "CGROUPS=" + strings.Join(state.Cgroups, "\n"),
		"LAB_NS=" + l.namespace(), "BRIDGE=" + bridge, "NS=" + namespace, "VETH=" + namespace,
		"MAC=" + macAddress(l.name, machine).String(),
		"ADDRESS=" + held(state.Address).String(),
		"GATEWAY=" + gateway.String(),
		"ADDRESS_V6=" + addressV6, "GATEWAY_V6=" + gatewayV6,
	}
	if state.Second {
		second := secondCable(machine)
		cmd.Env = append(cmd.Env, "BRIDGE1="+tunnelBridge, "VETH1="+kernelName(l.name, second), "MAC1="+macAddress(l.name, second).String())
	}
	l.progress("%s: booting at %s", machine, state.Address)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("machine %s: boot: %w", machine, err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // reaps it, should this process live that long
		close(ended)
	}()
	if l.isCut(machine) {
		l.progress("%s: started with its cable cut", machine)
		return nil
	}
	if err := l.awaitSSH(ctx, state.machine(), ended); err != nil {
		return err
	}
	l.progress("%s: up (%.1f s)", machine, time.Since(began).Seconds())
	return nil
}

// awaitSSH returns when the machine's sshd presents itself, or with an error when
// that takes too long or ended is closed.
func (l *Lab) awaitSSH(ctx context.Context, m Machine, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	var lastErr error
	err := poll(ctx, 50*time.Millisecond, func() bool {
		select {
		case <-ended:
			lastErr = errors.New("it ended during its boot")
			return true
		default:
		}
		lastErr = l.readBanner(ctx, m.Address)
		return lastErr == nil
	})
	if err == nil {
		err = lastErr
	} else if lastErr != nil {
		err = fmt.Errorf("sshd doesn't answer: %w (%w)", lastErr, err)
	}
	if err == nil {
		return nil
	}
	file := filepath.Join(l.machineDir(m.Name), "console.log")
	console, _ := os.ReadFile(file)
	return fmt.Errorf("machine %s: %w; its console (%s) ends with:\n%s", m.Name, err, file, lastLines(string(console), 15))
}

func (l *Lab) readBanner(ctx context.Context, host netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := l.DialContext(ctx, "tcp", net.JoinHostPort(host.String(), "22"))
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 255)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read SSH banner: %w", err)
	}
	if !strings.HasPrefix(line, "SSH-2.0-") { // RFC 4253, section 4.2
		return fmt.Errorf("not an SSH banner: %q", line)
	}
	return nil
}

// shutDown asks a machine to shut down and returns when it has, or after
// shutdownTimeout, or when ctx ends.
func (l *Lab) shutDown(ctx context.Context, machine string) {
	p, err := readProcess(filepath.Join(l.machineDir(machine), "pid"))
	if err != nil || p.signal(syscall.SIGTERM) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	if poll(ctx, 20*time.Millisecond, func() bool { return !p.alive() }) != nil {
		l.progress("%s: doesn't shut down in time, cutting its power", machine)
	}
}

// cutPower ends every process of a machine at once and takes its cable, network
// namespace and cgroups away. Its disk stays. It may be repeated.
func (l *Lab) cutPower(ctx context.Context, machine string) error {
	dir := l.machineDir(machine)
	// The supervisor first, so that it boots nothing again.
	p, err := readProcess(filepath.Join(dir, "pid"))
	if err == nil {
		if err := p.signal(syscall.SIGKILL); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, killTimeout)
		defer cancel()
		if err := poll(ctx, 5*time.Millisecond, func() bool { return !p.alive() }); err != nil {
			return fmt.Errorf("process %d survives SIGKILL: %w", p.PID, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	state, err := l.machineState(machine)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := killCgroups(ctx, state.Cgroups); err != nil {
		return err
	}
	if err := l.unplug(ctx, machine); err != nil {
		return err
	}
	if err := removeCgroups(ctx, state.Cgroups); err != nil {
		return err
	}
	for _, file := range []string{"pid", "booted"} {
		if err := os.Remove(filepath.Join(dir, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// remove shuts a machine down and removes all that belongs to it.
func (l *Lab) remove(ctx context.Context, machine string) error {
	l.shutDown(ctx, machine)
	if err := l.cutPower(ctx, machine); err != nil {
		return fmt.Errorf("machine %s: remove: %w", machine, err)
	}
	// The name says "half gone" to whoever comes next, should this be interrupted.
	doomed := filepath.Join(l.dir(), "machines", "."+machine)
	if err := removeTree(doomed); err != nil {
		return fmt.Errorf("machine %s: remove: %w", machine, err)
	}
	if err := os.Rename(l.machineDir(machine), doomed); err != nil {
		return fmt.Errorf("machine %s: remove: %w", machine, err)
	}
	if err := removeTree(doomed); err != nil {
		return fmt.Errorf("machine %s: remove: %w", machine, err)
	}
	return nil
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// stateRoot holds the state of all labs. It must lie on a disk file system, as
// the machines' disks do.
const stateRoot = "/var/lib/kinstall-lab"

const (
	bootTimeout     = 90 * time.Second // until sshd answers; about 2 s when the host is idle
	shutdownTimeout = 20 * time.Second // for a clean shutdown, before the power is cut
	killTimeout     = 15 * time.Second // for the kernel to end what was killed
)

// Machine describes a machine to boot.
type Machine struct {
	Name    string     // RFC 1123 host name, unique in the lab
	Address netip.Addr // IPv4 address of its eth0, in a /24 network; unique in the lab
	// AddressV6 is its IPv6 address beside it, in a /64 network; none if invalid.
	AddressV6 netip.Addr
	// SecondCable gives it an eth1 as well, without an address, on a switch that
	// all eth1 hang on and nothing else.
	SecondCable bool
}

// addresses lists those the machine has, IPv4 first.
func (m Machine) addresses() []netip.Addr {
	if m.AddressV6.IsValid() {
		return []netip.Addr{m.Address, m.AddressV6}
	}
	return []netip.Addr{m.Address}
}

// Lab is a named set of machines on one network. Its methods may be called from
// several goroutines and processes at once; those that change it exclude each
// other.
type Lab struct {
	// Progress receives lines for people about what takes time. Nil discards them.
	Progress io.Writer
	// DebianMirror is the URL that the root file system is built from; empty means
	// debootstrap's default.
	DebianMirror string
	// For is whom Up brings the lab up for. If a checkout is named, Up fails with
	// a TakenError while the lab is another's. Since is ignored.
	For Owner

	name  string
	cache string // UserCacheDir/kinstall/lab

	progressLock sync.Mutex
}

// Open returns the lab called name (1 to 32 lower-case letters, digits and inner
// hyphens), whether or not it is up. It touches nothing.
func Open(name string) (*Lab, error) {
	if err := checkLabName(name); err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return &Lab{name: name, cache: cache}, nil
}

func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	dir = filepath.Join(dir, "kinstall", "lab")
	// It becomes part of mount options and bind arguments.
	if strings.ContainsAny(dir, ",:\\\" \n") {
		return "", fmt.Errorf("cache directory %q: blanks, commas, colons, quotes and backslashes can't be used in an overlay mount", dir)
	}
	return dir, nil
}

// MirrorDir returns the folder that [Lab.Exec] names to commands as the
// component mirror (KINSTALL_VAR_mirror). It is the same for all labs.
func (l *Lab) MirrorDir() string { return filepath.Join(l.cache, "mirror") }

// Name returns the name the lab was opened by.
func (l *Lab) Name() string { return l.name }

func (l *Lab) dir() string       { return filepath.Join(stateRoot, l.name) }
func (l *Lab) namespace() string { return kernelName(l.name, "") }

func (l *Lab) machineDir(machine string) string {
	return filepath.Join(l.dir(), "machines", machine)
}

func (l *Lab) progress(format string, args ...any) {
	if l.Progress == nil {
		return
	}
	l.progressLock.Lock()
	defer l.progressLock.Unlock()
	fmt.Fprintf(l.Progress, format+"\n", args...)
}

// lock excludes other commands that change the lab.
func (l *Lab) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(stateRoot, 0o755); err != nil {
		return nil, err
	}
	return lockFile(ctx, l.lockPath(), func() { l.progress("waiting for another command on lab %s", l.name) })
}

func (l *Lab) statePath() string { return filepath.Join(l.dir(), "lab.json") }

func (l *Lab) lockPath() string { return filepath.Join(stateRoot, l.name+".lock") }

// labState is what all machines share, in lab.json.
type labState struct {
	Owner   Owner    `json:"owner"`
	Subnets []subnet `json:"subnets"`
}

// Up makes the lab hold exactly machines, all running, with their cables plugged
// and their sshd answering. Machines that run stay as they are, stopped ones boot
// with the disk they had, missing ones boot with a fresh disk, ones not listed
// are removed. A machine whose address changed is another machine: the old one
// is removed with its disk.
//
// Missing Debian packages are installed on the host and the root file system is
// built first if need be. On error the machines stay as far as they got; the
// error of one that doesn't answer ends with its console's last lines.
func (l *Lab) Up(ctx context.Context, machines []Machine) error {
	if len(machines) == 0 {
		return errors.New("up: no machines are listed")
	}
	if err := checkMachines(machines); err != nil {
		return err
	}
	if err := l.Supported(); err != nil {
		return err
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.MkdirAll(filepath.Join(l.dir(), "machines"), 0o700); err != nil {
		return err
	}
	if err := l.claim(time.Now()); err != nil {
		return err
	}

	if err := installHostPackages(ctx, l.progress); err != nil {
		return err
	}
	raiseLimits("/proc/sys", hostLimits, l.progress)
	loadHostModules(ctx)
	root, err := buildRoot(ctx, defaultRecipe(), l.cache, l.DebianMirror, l.progress)
	if err != nil {
		return err
	}
	release, err := kernelRelease()
	if err != nil {
		return err
	}
	modules, err := moduleDir(ctx, l.cache, release)
	if err != nil {
		return err
	}
	if err := l.removeUnlisted(ctx, machines); err != nil {
		return err
	}
	subnets, err := l.updateNetwork(ctx, machines)
	if err != nil {
		return err
	}
	login, err := l.ensureOperatorKey()
	if err != nil {
		return err
	}
	for _, m := range machines {
		if err := l.create(ctx, m, root, login); err != nil {
			return fmt.Errorf("machine %s: create: %w", m.Name, err)
		}
	}
	if err := l.writeOperatorFiles(machines); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, m := range machines {
		group.Go(func() error { return l.ensureRunning(ctx, m, subnets, modules) })
	}
	return group.Wait()
}

// removeUnlisted removes the machines that are not, or not so, in machines.
func (l *Lab) removeUnlisted(ctx context.Context, machines []Machine) error {
	names, err := l.machineNames()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range names {
		state, err := l.machineState(name)
		if err == nil && slices.Contains(machines, state.machine()) {
			continue
		}
		group.Go(func() error {
			l.progress("%s: removing", name)
			return l.remove(ctx, name)
		})
	}
	return group.Wait()
}

// updateNetwork brings the operator's side of the network in line with machines.
func (l *Lab) updateNetwork(ctx context.Context, machines []Machine) ([]subnet, error) {
	file := l.statePath()
	var before labState
	if err := readJSON(file, &before); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	subnets, err := planSubnets(machines, before.Subnets)
	if err != nil {
		return nil, err
	}
	if err := l.ensureNetwork(ctx, subnets, before.Subnets); err != nil {
		return nil, fmt.Errorf("set up the lab's network: %w", err)
	}
	return subnets, writeJSON(file, labState{Owner: before.Owner, Subnets: subnets})
}

// ensureRunning brings machine m, which exists, to the state Up promises.
func (l *Lab) ensureRunning(ctx context.Context, m Machine, subnets []subnet, modules string) error {
	if p, err := readProcess(filepath.Join(l.machineDir(m.Name), "pid")); err == nil && p.alive() {
		if l.isCut(m.Name) {
			if err := l.heal(ctx, m.Name); err != nil {
				return err
			}
		}
		return l.awaitSSH(ctx, m, nil)
	}
	if err := os.Remove(l.cutMark(m.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.boot(ctx, m.Name, subnets, modules)
}

// Down removes the lab and all that belongs to it: machines shut down cleanly if
// they do so in time. A lab that isn't there is no error.
func (l *Lab) Down(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return l.Supported()
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	names, err := l.machineNames()
	if err != nil {
		return err
	}
	var group errgroup.Group
	for _, name := range names {
		group.Go(func() error {
			l.progress("%s: shutting down", name)
			return l.remove(ctx, name)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if namespaceExists(l.namespace()) {
		if left, err := run(ctx, "", "ip", "netns", "pids", l.namespace()); err == nil && strings.TrimSpace(left) != "" {
			l.progress("still running on the operator's side, now without a network: process %s", strings.Join(strings.Fields(left), ", "))
		}
		// The bridges would go with the namespace, but only after the last of those.
		for _, name := range []string{bridge, tunnelBridge} {
			if err := l.removeLink(ctx, name); err != nil {
				return err
			}
		}
	}
	if err := removeNamespace(ctx, l.namespace()); err != nil {
		return err
	}
	if err := removeTree(l.dir()); err != nil {
		return fmt.Errorf("remove the lab's files: %w", err)
	}
	// Whoever waits for the lock finds the file gone and makes it anew.
	if err := os.Remove(l.lockPath()); err != nil {
		return err
	}
	_ = os.Remove(stateRoot) // fails while there are other labs
	return nil
}

// machineNames lists the machines the lab has, running or not, sorted.
func (l *Lab) machineNames() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(l.dir(), "machines"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if checkHostName(e.Name()) == nil { // others are half made, or removed by half
			names = append(names, e.Name())
		}
	}
	return names, nil
}

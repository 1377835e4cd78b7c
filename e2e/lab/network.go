package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// bridge is the switch all cables of a lab end in; it is in the lab's namespace.
const bridge = "br0"

// tunnelBridge is the switch between the machines' second interfaces.
const tunnelBridge = "br1"

func namespacePath(name string) string { return "/run/netns/" + name }

func namespaceExists(name string) bool {
	var info unix.Statfs_t
	// A name without its mount is what a crash of ip(8) leaves.
	return unix.Statfs(namespacePath(name), &info) == nil && info.Type == unix.NSFS_MAGIC
}

func removeNamespace(ctx context.Context, name string) error {
	if _, err := os.Lstat(namespacePath(name)); err != nil {
		return nil //nolint:nilerr // it is gone already
	}
	_, err := run(ctx, "", "ip", "netns", "delete", name)
	return err
}

// ensureNetwork makes the lab's namespace with the bridge, holding exactly the
// gateway addresses of subnets and forwarding between them. What exists stays.
func (l *Lab) ensureNetwork(ctx context.Context, subnets, before []subnet) error {
	ns := l.namespace()
	if !namespaceExists(ns) {
		if err := removeNamespace(ctx, ns); err != nil {
			return err
		}
		if _, err := run(ctx, "", "ip", "netns", "add", ns); err != nil {
			return err
		}
	}
	var batch strings.Builder
	batch.WriteString("link set lo up\n")
	for name, mac := range map[string]net.HardwareAddr{bridge: macAddress(l.name, ""), tunnelBridge: macAddress(l.name, secondCable(""))} {
		if _, err := run(ctx, "", "ip", "-n", ns, "link", "show", name); err != nil {
			if _, err := run(ctx, "", "ip", "-n", ns, "link", "add", name, "address", mac.String(), "type", "bridge", "forward_delay", "0"); err != nil {
				return err
			}
		}
		fmt.Fprintf(&batch, "link set %s up\n", name)
	}
	wanted, v6 := map[netip.Prefix]bool{}, false
	for _, s := range subnets {
		own, flags := held(s.Gateway), ""
		if s.Gateway.Is6() {
			// Nobody else has it: no need to wait until that is sure.
			v6, flags = true, " nodad"
		}
		wanted[own] = true
		fmt.Fprintf(&batch, "address replace %s dev %s%s\n", own, bridge, flags)
	}
	addresses, err := run(ctx, "", "ip", "-n", ns, "-oneline", "address", "show", "dev", bridge)
	if err != nil {
		return err
	}
	for _, s := range before {
		own := held(s.Gateway)
		if !wanted[own] && strings.Contains(addresses, " "+own.String()+" ") {
			fmt.Fprintf(&batch, "address delete %s dev %s\n", own, bridge)
		}
	}
	if _, err := run(ctx, batch.String(), "ip", "-n", ns, "-batch", "-"); err != nil {
		return err
	}
	return inNamespace(ns, func() error {
		for _, s := range []struct{ name, value string }{
			{"ipv4/ip_forward", "1"},
			// Routed traffic leaves by the interface it came in on. Nobody shall be
			// told a shorter way, nor shall it be dropped as martian.
			{"ipv4/conf/all/send_redirects", "0"},
			{"ipv4/conf/" + bridge + "/send_redirects", "0"},
			{"ipv4/conf/all/rp_filter", "0"},
			{"ipv4/conf/" + bridge + "/rp_filter", "0"},
		} {
			if err := os.WriteFile(filepath.Join("/proc/sys/net", s.name), []byte(s.value), 0); err != nil {
				return err
			}
		}
		if v6 {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0); err != nil {
				return err
			}
		}
		// A switch looks at no IP header. The files are there with br_netfilter only.
		_ = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("0"), 0)
		_ = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-ip6tables", []byte("0"), 0)
		return nil
	})
}

// setCable sets the state of a machine's cable end in the bridge.
func (l *Lab) setCable(ctx context.Context, machine string, up bool) error {
	state := "down"
	if up {
		state = "up"
	}
	_, err := run(ctx, "", "ip", "-n", l.namespace(), "link", "set", kernelName(l.name, machine), state)
	return err
}

// unplug removes a machine's cable and network namespace.
func (l *Lab) unplug(ctx context.Context, machine string) error {
	if namespaceExists(l.namespace()) {
		for _, cable := range []string{kernelName(l.name, machine), kernelName(l.name, secondCable(machine))} {
			if err := l.removeLink(ctx, cable); err != nil {
				return err
			}
		}
	}
	return removeNamespace(ctx, kernelName(l.name, machine))
}

// secondCable is what the second cable of a machine is named for; no machine is
// called so.
func secondCable(machine string) string { return machine + "+1" }

// removeLink removes an interface of the lab's namespace, if it is there.
func (l *Lab) removeLink(ctx context.Context, name string) error {
	if _, err := run(ctx, "", "ip", "-n", l.namespace(), "link", "show", name); err != nil {
		return nil //nolint:nilerr // it is gone already
	}
	_, err := run(ctx, "", "ip", "-n", l.namespace(), "link", "delete", name)
	return err
}

// DialContext connects to address ("IP:PORT", no names) from the operator's side
// of the lab, for tests that speak to a machine themselves.
func (l *Lab) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	// A name would be looked up by another thread, in another namespace.
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial %s in lab %s: %w", address, l.name, err)
	}
	var conn net.Conn
	err := inNamespace(l.namespace(), func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on address ("IP:PORT") on the operator's side of the lab, which
// to the machines is the world outside.
func (l *Lab) Listen(network, address string) (net.Listener, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("listen at %s in lab %s: %w", address, l.name, err)
	}
	var listener net.Listener
	err := inNamespace(l.namespace(), func() (err error) {
		listener, err = net.Listen(network, address)
		return err
	})
	return listener, err
}

// inNamespace runs f in a thread that is in the named network namespace. What f
// leaves to other goroutines runs outside of it.
func inNamespace(name string, f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		result <- func() error {
			fd, err := unix.Open(namespacePath(name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("network namespace %s: %w", name, err)
			}
			defer func() { _ = unix.Close(fd) }()
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("network namespace %s: %w", name, err)
			}
			return f()
		}()
	}()
	return <-result
}

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
)

// host reads what is learnt of every host.
func (p *parser) host() fact.Host {
	host := fact.Host{
		DiskFree: map[string]int64{}, Listening: map[int]string{}, ListeningUDP: map[int]string{},
		Interfaces: map[string][]string{}, Links: map[string]fact.Link{}, Holders: map[string]string{},
	}
	var address netip.Addr
	for _, part := range []struct {
		label string
		read  func(text string) error
	}{
		{"time", func(text string) (err error) { host.Time, err = parseTime(text); return err }},
		{"clock", func(text string) error { return parseClock(&host, text) }},
		{"address", func(text string) (err error) { address, err = netip.ParseAddr(text); return err }},
		{"uname", func(text string) error { return parseUname(&host, text) }},
		{"files", func(text string) error { return parseHostFiles(&host, text) }},
		{"cgroup", func(text string) error { host.CgroupV2 = text == "v2"; return nil }},
		{"disk", func(text string) error { return parseDisk(host.DiskFree, text) }},
		{"listen", func(text string) error { return parseListening(host.Listening, text) }},
		{"listen_udp", func(text string) error { return parseListening(host.ListeningUDP, text) }},
		{"addresses", func(text string) error { return parseAddresses(&host, address, text) }},
		{"sysctls", func(text string) error { host.Sysctls = parseSysctlFiles(text); return nil }},
		{"state", func(text string) error {
			data, err := decode([]byte(text))
			if err == nil {
				host.State, err = p.states.Parse(data)
			}
			return err
		}},
	} {
		about := "host " + part.label
		if text, ok := p.take(about, "host."+part.label); ok {
			if err := part.read(string(text)); err != nil {
				p.fail(about, err.Error())
			}
		}
	}
	if text, ok := p.take("host routes", "routes4"); ok {
		table, err := parseRoutes(text, false)
		if err != nil {
			table = nil // an error only for those who ask for a route
		}
		for _, r := range table {
			host.Routes = append(host.Routes, fact.HostRoute{Destination: r.destination.String(), Route: r.Route})
		}
	}
	return host
}

// parseTime reads "SECONDS NANOSECONDS"; some versions of date know no nanoseconds.
func parseTime(text string) (time.Time, error) {
	seconds, fraction, _ := strings.Cut(text, " ")
	s, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("unreadable time %q", text)
	}
	ns, err := strconv.ParseInt(fraction, 10, 64)
	if err != nil || ns < 0 || ns >= int64(time.Second) {
		ns = 0
	}
	return time.Unix(s, ns).UTC(), nil
}

// parseClock reads "BOOT-ID TICKS".
func parseClock(host *fact.Host, text string) error {
	boot, ticks, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(ticks, 10, 64)
	if err != nil {
		return fmt.Errorf("unreadable time since the boot %q", text)
	}
	host.BootID, host.Uptime = boot, time.Duration(n)*tick
	return nil
}

// architectures maps uname's words to Go's.
var architectures = map[string]string{
	"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386", "i586": "386", "i386": "386",
}

func parseUname(host *fact.Host, text string) error {
	words := strings.Fields(text)
	if len(words) != 3 {
		return fmt.Errorf("unexpected answer %q", text)
	}
	host.Hostname, host.Kernel, host.Architecture = words[0], words[1], words[2]
	if name, ok := architectures[words[2]]; ok {
		host.Architecture = name
	}
	return nil
}

// parseHostFiles reads grep's lines "PATH:LINE".
func parseHostFiles(host *fact.Host, text string) error {
	for _, line := range lines([]byte(text)) {
		path, line, _ := strings.Cut(line, ":")
		switch path {
		case "/etc/os-release":
			key, value, _ := strings.Cut(line, "=")
			value = unquote(value)
			switch key {
			case "ID":
				host.OS = value
			case "VERSION_ID":
				host.OSVersion = value
			case "PRETTY_NAME":
				host.OSName = value
			}
		case "/etc/machine-id":
			host.MachineID = strings.TrimSpace(line)
		case "/proc/meminfo":
			if words := strings.Fields(line); len(words) == 3 && words[0] == "MemTotal:" && words[2] == "kB" {
				kib, err := strconv.ParseInt(words[1], 10, 64)
				if err != nil {
					return fmt.Errorf("unreadable memory size %q", line)
				}
				host.MemoryBytes = kib << 10
			}
		case "/proc/swaps":
			if device, _, _ := strings.Cut(line, " "); strings.HasPrefix(device, "/") {
				host.SwapActive = append(host.SwapActive, strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(strings.TrimRight(device, "\t")))
			}
		case "/sys/devices/system/cpu/online":
			n, err := countRanges(line)
			if err != nil {
				return err
			}
			host.CPUs = n
		}
	}
	if host.MemoryBytes == 0 || host.CPUs == 0 {
		return errors.New("/proc/meminfo or /sys/devices/system/cpu/online can't be read")
	}
	return nil
}

// unquote reads a value of os-release(5): bare, or in shell quotes.
func unquote(value string) string {
	value = strings.TrimSpace(value)
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1 : n-1]
	}
	return strings.NewReplacer(`\"`, `"`, `\$`, `$`, "\\`", "`", `\\`, `\`).Replace(value)
}

// countRanges counts the CPUs in a list like "0-3,8".
func countRanges(list string) (int, error) {
	n := 0
	for _, r := range strings.Split(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(r, "-")
		a, err := strconv.Atoi(first)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(last)
		}
		if err != nil || b < a {
			return 0, fmt.Errorf("unreadable list of CPUs %q", list)
		}
		n += b - a + 1
	}
	return n, nil
}

// diskLine is a line of `df -P -k`: blocks, used, available, capacity, mount
// point. The device before them may hold spaces.
var diskLine = regexp.MustCompile(`\s[0-9]+\s+[0-9]+\s+(-?[0-9]+)\s+(?:[0-9]+%|-)\s+/`)

// parseDisk reads the paths, one a line, "--" and df's table about them.
func parseDisk(free map[string]int64, text string) error {
	paths, table, ok := strings.Cut(text, "\n--\n")
	rows := lines([]byte(table))
	names := lines([]byte(paths))
	if !ok || len(rows) != len(names)+1 {
		return fmt.Errorf("unexpected answer %q", text)
	}
	for i, path := range names {
		match := diskLine.FindStringSubmatch(rows[i+1])
		if match == nil {
			return fmt.Errorf("unreadable line %q", rows[i+1])
		}
		kib, err := strconv.ParseInt(match[1], 10, 64)
		if err != nil {
			return fmt.Errorf("unreadable line %q", rows[i+1])
		}
		free[path] = max(kib, 0) << 10
	}
	return nil
}

// parseListening reads `ss -Hltnp` or `ss -Hlunp`: state, queues, local address and port,
// peer, and the processes if they can be seen.
func parseListening(ports map[int]string, text string) error {
	for _, line := range lines([]byte(text)) {
		words := strings.Fields(line)
		if len(words) < 4 {
			return fmt.Errorf("unreadable line %q", line)
		}
		local := words[3]
		port, err := strconv.Atoi(local[strings.LastIndexByte(local, ':')+1:])
		if err != nil {
			return fmt.Errorf("unreadable line %q", line)
		}
		process := ""
		if _, users, ok := strings.Cut(line, `users:(("`); ok {
			process, _, _ = strings.Cut(users, `"`)
		}
		if process != "" || ports[port] == "" {
			ports[port] = process
		}
	}
	return nil
}

// parseAddresses reads `ip addr show`: for each interface a line that begins
// with its number, then indented lines. Addresses that only the host itself
// can use (scope host, IPv6 link-local) are left out.
func parseAddresses(host *fact.Host, asked netip.Addr, text string) error {
	name, mtu := "", 0
	for _, line := range lines([]byte(text)) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if line[0] != ' ' {
			if len(words) < 2 {
				return fmt.Errorf("unreadable line %q", line)
			}
			name, _, _ = strings.Cut(strings.TrimSuffix(words[1], ":"), "@")
			mtu = 0
			if value := after(words, "mtu"); value != "" {
				var err error
				if mtu, err = strconv.Atoi(value); err != nil {
					return fmt.Errorf("unreadable line %q", line)
				}
			}
			host.Links[name] = fact.Link{MTU: mtu, Master: after(words, "master")}
			continue
		}
		if words[0] != "inet" && words[0] != "inet6" || len(words) < 2 {
			continue
		}
		bare, length, isPrefix := strings.Cut(words[1], "/")
		address, err := netip.ParseAddr(bare)
		if err != nil {
			return fmt.Errorf("unreadable line %q", line)
		}
		bits := address.BitLen() // of a point-to-point address
		if isPrefix {
			if bits, err = strconv.Atoi(length); err != nil {
				return fmt.Errorf("unreadable line %q", line)
			}
		}
		if address == asked {
			host.Interface, host.MTU = name, mtu
		} else if scope := after(words, "scope"); scope == "host" || scope == "link" && address.Is6() {
			continue
		}
		host.Addresses = append(host.Addresses, address.String())
		host.Holders[address.String()] = name
		if address.Is4() {
			host.Interfaces[name] = append(host.Interfaces[name], words[1])
		}
		if network := netip.PrefixFrom(address.WithZone(""), bits).Masked().String(); !slices.Contains(host.Networks, network) {
			host.Networks = append(host.Networks, network)
		}
	}
	return nil
}

// after returns the word that follows another, "" if there is none.
func after(words []string, name string) string {
	for i := 0; i+1 < len(words); i++ {
		if words[i] == name {
			return words[i+1]
		}
	}
	return ""
}

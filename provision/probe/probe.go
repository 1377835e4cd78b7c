// Package probe asks a host everything a plan must know of it, in one exec: it
// writes the questions as one POSIX sh script and reads the script's answers.
//
// Contract. Script is pure; what it returns runs as root (`sh`, the script on
// standard input or as a file) and only reads: it writes no file, loads no
// module and starts nothing that outlives it. All it sends are pings to other
// hosts and, before a host is installed, the question who else has its address. The answers are framed by length
// and end with a counted sentinel, so that Parse gives a complete fact.Set or
// an error: output that was cut off, a question that went unanswered and a
// file that could not be read are errors, never "absent".
//
// The price is the same for one file and for hundreds: one stat, one sha256sum
// and one process for every other kind of question. Content travels only for
// files whose digest differs from the wanted one, and the end of a log only for
// a unit or a static pod that is in trouble.
//
// What callers owe: the same queries, in the same order, to Script and Parse;
// only standard output to Parse. Queries for the cluster's API (fact.KindNode,
// fact.KindObject) are not a host's to answer.
package probe

import (
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

//go:embed probe.sh
var body string

// MaxOutput is how much a host's answers may take together, in bytes. The script
// keeps below it: most of what it says are files that differ, and of those it
// sends 1 MiB at most.
const MaxOutput = 2 << 20

// tick is the unit of the start times in /proc: Linux shows them so whatever
// its own clock's rate is (USER_HZ).
const tick = time.Second / 100

// Names that reach a command which would take them for patterns or options.
var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	unitName    = regexp.MustCompile(`^[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*\.[a-z]+$`)
	moduleName  = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	sysctlName  = regexp.MustCompile(`^[A-Za-z0-9_:@./-]+$`)
	tableName   = regexp.MustCompile(`^[a-z]+$`)
	chainName   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_:.-]*$`)
	imageName   = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9._:/@-]*$`)
	switchName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	plainPath   = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)
	podName     = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
	routeLine   = regexp.MustCompile(`^[0-9a-f:.]+/[0-9]+ via [0-9a-f:.]+$`)
	sha256Hex   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Script returns the script that asks the queries of the host whose address in
// the inventory is given. A name that can't be asked about is an error.
func Script(queries []fact.Query, address string) (string, error) {
	return script(queries, address, fact.StatePath, DigestsPath)
}

func script(queries []fact.Query, address, statePath, digestsPath string) (string, error) {
	var files, sysctls, modules, units, pods, packages, rules, dockerImages, paths, switches, tables, etcdData, neighbors, certificates []string
	routes4, routes6, images := 0, 0, 0
	if _, err := netip.ParseAddr(address); err != nil {
		return "", fmt.Errorf("probe: address: %w", err)
	}
	for i, q := range queries {
		bad := func(why string) error { return fmt.Errorf("probe: %s %q: %s", q.Kind, q.Name, why) }
		switch q.Kind {
		case fact.KindFile:
			if err := checkPath(q.Name); err != nil {
				return "", bad(err.Error())
			}
			want, flags := "-", ""
			if q.WantSHA256 != "" {
				if !sha256Hex.MatchString(q.WantSHA256) {
					return "", bad("the wanted digest is not a SHA-256 in lower-case hexadecimal")
				}
				want = q.WantSHA256
			}
			if q.Content {
				flags += "c"
			}
			if q.Block {
				flags += "b"
			}
			if q.Trusted {
				flags += "t"
			}
			if flags == "" {
				flags = "-"
			}
			files = append(files, fmt.Sprint(i), want, flags, q.Name)
		case fact.KindEtcdData:
			if err := checkPath(q.Name); err != nil {
				return "", bad(err.Error())
			}
			etcdData = append(etcdData, fmt.Sprintf("%d %s", i, q.Name))
		case fact.KindCertificates:
			if err := checkPath(q.Name); err != nil {
				return "", bad(err.Error())
			}
			certificates = append(certificates, fmt.Sprintf("%d %s", i, q.Name))
		case fact.KindUnit:
			if !unitName.MatchString(q.Name) {
				return "", bad("not the name of a systemd unit")
			}
			units = append(units, q.Name)
		case fact.KindStaticPod:
			if len(q.Args) != 2 || !podName.MatchString(q.Name) || !podName.MatchString(q.Args[0]) || !podName.MatchString(q.Args[1]) {
				return "", bad("not the names of a pod, a namespace and a node")
			}
			pods = append(pods, fmt.Sprintf("%d %s %s %s", i, q.Args[0], q.Name, q.Args[1]))
		case fact.KindPackage:
			if !packageName.MatchString(q.Name) {
				return "", bad("not the name of a package")
			}
			packages = append(packages, q.Name)
		case fact.KindSysctl:
			path, err := SysctlPath(q.Name)
			if err != nil {
				return "", bad(err.Error())
			}
			sysctls = append(sysctls, fmt.Sprintf("%d %s", i, path))
		case fact.KindModule:
			if !moduleName.MatchString(q.Name) {
				return "", bad("not the name of a kernel module")
			}
			modules = append(modules, fmt.Sprintf("%d %s", i, strings.ReplaceAll(q.Name, "-", "_")))
		case fact.KindRoute:
			routes4 = 1
			prefix, _, err := parseRouteName(q.Name)
			if err != nil {
				return "", bad("not a network prefix")
			}
			if prefix.Addr().Is6() {
				routes6 = 1
			}
		case fact.KindRoutes:
			metric, err := strconv.Atoi(strings.TrimPrefix(q.Name, "metric "))
			if err != nil || fact.RoutesOfMetric(metric) != q.Name {
				return "", bad("not a metric")
			}
			if q.WantSHA256 != "" && !sha256Hex.MatchString(q.WantSHA256) {
				return "", bad("the wanted digest is not a SHA-256 in lower-case hexadecimal")
			}
			for _, line := range q.Args {
				if !routeLine.MatchString(line) {
					return "", bad("not a route")
				}
			}
			tables = append(tables, "\t"+shell.Join(append([]string{"route_table", fmt.Sprint(i), fmt.Sprint(metric), q.WantSHA256}, q.Args...)...))
		case fact.KindFirewall:
			if len(q.Args) < 3 || !tableName.MatchString(q.Args[0]) || !chainName.MatchString(q.Args[1]) {
				return "", bad("not a table, a chain and a rule")
			}
			words := append([]string{"firewall", fmt.Sprint(i), resource.FirewallRule{Rule: q.Args[2:]}.Program()}, q.Args...)
			for _, w := range words {
				if strings.ContainsAny(w, "\n\x00") {
					return "", bad("a word of the rule holds a newline or a NUL byte")
				}
			}
			rules = append(rules, "\t"+shell.Join(words...))
		case fact.KindSwitch:
			path := "-"
			if len(q.Args) > 0 {
				path = q.Args[0]
			}
			if !switchName.MatchString(q.Name) || path != "-" && !plainPath.MatchString(path) {
				return "", bad("not a bridge and a plain path")
			}
			switches = append(switches, fmt.Sprintf("%d %s %s", i, q.Name, path))
		case fact.KindImage:
			images = 1
		case fact.KindDockerImage:
			if !imageName.MatchString(q.Name) {
				return "", bad("not the name of an image")
			}
			dockerImages = append(dockerImages, fmt.Sprintf("%d %s", i, q.Name))
		case fact.KindPath:
			if a, err := netip.ParseAddr(q.Name); err != nil || a.Zone() != "" {
				return "", bad("not an IP address")
			}
			if q.Size < 576 || q.Size > 65535 {
				return "", bad("not the size of a packet")
			}
			paths = append(paths, fmt.Sprintf("%d %d %s", i, q.Size, q.Name))
		case fact.KindNeighbor:
			if a, err := netip.ParseAddr(q.Name); err != nil || a.Zone() != "" {
				return "", bad("not an IP address")
			}
			neighbors = append(neighbors, fmt.Sprintf("%d %s", i, q.Name))
		default:
			return "", bad("a host can't answer this kind of question")
		}
	}
	if len(rules) == 0 {
		rules = []string{"\t:"}
	}
	if len(tables) == 0 {
		tables = []string{"\t:"}
	}
	var b strings.Builder
	b.Grow(len(body) + 16<<10) // what is asked of most hosts
	b.WriteString(body)
	b.WriteString("\n# What is asked.\n")
	for _, v := range []struct{ name, value string }{
		{"address", address},
		{"state_path", statePath},
		{"digests_path", digestsPath},
		{"files", strings.Join(files, "\n")},
		{"sysctls", strings.Join(sysctls, "\n")},
		{"modules", strings.Join(modules, "\n")},
		{"units", strings.Join(units, "\n")},
		{"pods", strings.Join(pods, "\n")},
		{"packages", strings.Join(packages, "\n")},
		{"docker_images", strings.Join(dockerImages, "\n")},
		{"paths", strings.Join(paths, "\n")},
		{"neighbors", strings.Join(neighbors, "\n")},
		{"switches", strings.Join(switches, "\n")},
		{"etcd_data", strings.Join(etcdData, "\n")},
		{"certificates", strings.Join(certificates, "\n")},
	} {
		fmt.Fprintf(&b, "%s=%s\n", v.name, shell.Quote(v.value))
	}
	fmt.Fprintf(&b, "young=%d\nroutes4=%d\nroutes6=%d\nimages=%d\n", fact.Settling/tick, routes4, routes6, images)
	fmt.Fprintf(&b, "route_tables() {\n%s\n}\n", strings.Join(tables, "\n"))
	fmt.Fprintf(&b, "firewall_rules() {\n%s\n}\nmain </dev/null\n", strings.Join(rules, "\n"))
	return b.String(), nil
}

// checkPath refuses what the line-based lists of the script can't carry.
func checkPath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return errors.New("not an absolute path")
	case strings.ContainsAny(path, "\n\x00"):
		return errors.New("a newline or a NUL byte in a path")
	}
	return nil
}

// SysctlPath returns the path of a kernel parameter below /proc/sys. As in
// sysctl(8), the first separator decides whether dots separate and slashes
// stand for dots ("net.ipv4.conf.eth0/100.rp_filter"), or the other way round.
func SysctlPath(key string) (string, error) {
	if !sysctlName.MatchString(key) {
		return "", errors.New("not the name of a kernel parameter")
	}
	path := key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		path = dotted.Replace(key)
	}
	for _, element := range strings.Split(path, "/") {
		if element == "" || element == "." || element == ".." {
			return "", errors.New("not the name of a kernel parameter")
		}
	}
	return path, nil
}

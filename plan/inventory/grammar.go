package inventory

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kinstall/kinstall/plan/spelling"
)

// fault is what a grammar has against a value: the class, what was found
// and expected, and, if the case is known, what to do.
type fault struct {
	mistake mistake
	path    []any // string keys and int indices into the value
	detail  string
	hint    string
	// secret: the value must not be shown, not even as a source line.
	secret bool
}

// grammar judges one text; nil means it is fine.
type grammar func(s string) *fault

func faultf(m mistake, format string, args ...any) *fault {
	return &fault{mistake: m, detail: fmt.Sprintf(format, args...)}
}

func (f *fault) advise(format string, args ...any) *fault {
	f.hint = fmt.Sprintf(format, args...)
	return f
}

// quote shows a user's text, however long or strange, on one line.
func quote(s string) string {
	const limit = 80
	if utf8.RuneCountInString(s) > limit {
		s = string([]rune(s)[:limit]) + "…"
	}
	return strconv.Quote(s)
}

// anyText is one line without characters that nobody sees.
func anyText(s string) *fault {
	for _, r := range s {
		if why := unseen(r); why != "" {
			return faultf(invalidText, "%s contains %s (%U).", quote(s), why, r)
		}
	}
	return nil
}

// settingText also takes line ends and tabs.
func settingText(s string) *fault {
	return anyText(strings.NewReplacer("\n", "", "\t", "").Replace(s))
}

// unseen says what a character is that has no place in a configuration: readers
// of YAML refuse controls and noncharacters, or take separators for line ends
// (YAML 1.2, 5.1), and directional marks make a line read otherwise than it is
// meant. "" for all others.
func unseen(r rune) string {
	switch {
	case unicode.IsControl(r):
		return "a control character"
	case unicode.Is(unicode.Bidi_Control, r):
		return "a directional mark"
	case unicode.Is(unicode.Noncharacter_Code_Point, r):
		return "a noncharacter"
	case r == '\u2028', r == '\u2029':
		return "a line separator"
	case r == '\ufeff':
		return "a byte order mark"
	}
	return ""
}

// dnsLabel is RFC 1123's label in lower case.
func dnsLabel(s string) *fault {
	if len(validation.IsDNS1123Label(s)) > 0 {
		return nameFault(s)
	}
	return nil
}

// hostName is a name for machine, node and etcd member alike: RFC 1123
// subdomain, within the 63 bytes Linux leaves a host name.
func hostName(s string) *fault {
	if len(s) > 63 || len(validation.IsDNS1123Subdomain(s)) > 0 {
		return nameFault(s)
	}
	if ownName(s) || strings.HasPrefix(s, "localhost.") {
		return faultf(invalidName, "%s means each machine itself, so it can't be the name of one.", quote(s)).
			advise("Give the host a name of its own.")
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return faultf(invalidName, "%s is an address, not a name.", quote(s)).
			advise("Put the address into the attribute address, and give the host a name.")
	}
	return nil
}

func nameFault(s string) *fault {
	f := faultf(invalidName, "%s is not a valid name: expected lower-case letters, digits and hyphens, beginning and ending with a letter or digit, 63 characters at most.", quote(s))
	fixed := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		case r == '_', r == ' ':
			return '-'
		default:
			return -1
		}
	}, strings.ToLower(s)), "-.")
	if len(fixed) > 63 {
		fixed = strings.Trim(fixed[:63], "-.")
	}
	if fixed != "" && fixed != s && len(validation.IsDNS1123Subdomain(fixed)) == 0 {
		f.advise("Try %s.", quote(fixed))
	}
	return f
}

func domainName(s string) *fault {
	if len(validation.IsDNS1123Subdomain(s)) > 0 {
		return faultf(invalidName, "%s is not a DNS domain: expected lower-case labels joined by dots, like \"cluster.local\".", quote(s))
	}
	return nil
}

// isDNSName tells a DNS name from things that merely look like one: the last
// label of a name is never all digits (it would be an address gone wrong).
func isDNSName(s string) bool {
	if len(validation.IsDNS1123Subdomain(s)) > 0 {
		return false
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	return strings.Trim(last, "0123456789") != ""
}

// ownName says that a name means a machine itself: those of RFC 6761 and of the
// /etc/hosts that distributions install.
func ownName(s string) bool {
	switch s {
	case "localhost", "localhost.localdomain", "localhost4", "localhost6", "localhost4.localdomain4", "localhost6.localdomain6",
		"loopback", "broadcasthost", "ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts":
		return true
	}
	return strings.HasSuffix(s, ".localhost")
}

// addressOrName is what ssh can dial. A zone is refused: what stands behind the
// percent sign is arbitrary text, whatever netip.ParseAddr says of the rest.
func addressOrName(s string) *fault {
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return zoneFault(s)
		}
		if addr.IsUnspecified() || addr.IsMulticast() {
			return faultf(invalidAddress, "%s is not the address of a machine.", quote(s))
		}
		return nil
	}
	if !isDNSName(s) {
		return faultf(invalidAddress, "%s is neither an IP address nor a DNS name.", quote(s))
	}
	return nil
}

// bastionAddress also takes "", which turns an inherited jump host off.
func bastionAddress(s string) *fault {
	if s == "" {
		return nil
	}
	return addressOrName(s)
}

// certName is a name or address that may stand in a certificate.
func certName(s string) *fault {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return nil
	}
	if isDNSName(strings.TrimPrefix(s, "*.")) {
		return nil
	}
	return faultf(invalidAddress, "%s is neither an IP address nor a DNS name (\"*.example.com\" is one too).", quote(s)).
		advise("Write names in lower case, without port and scheme.")
}

func machineAddress(s string) (netip.Addr, *fault) {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		f := faultf(invalidAddress, "%s is not an IP address.", quote(s))
		if prefix, err := netip.ParsePrefix(s); err == nil {
			return addr, f.advise("Leave out the prefix length: %q.", prefix.Addr())
		}
		if ap, err := netip.ParseAddrPort(s); err == nil {
			return addr, f.advise("Leave out the port: %q; SSH's port is set with ssh { port = %d }.", ap.Addr(), ap.Port())
		}
		return addr, f
	case addr.Zone() != "":
		return addr, zoneFault(s)
	case addr.Is4In6():
		return addr, faultf(invalidAddress, "%s is an IPv4 address mapped into IPv6.", quote(s)).advise("Write %q.", addr.Unmap())
	case addr.IsLoopback(), addr.IsUnspecified(), addr.IsMulticast(), addr.IsLinkLocalUnicast(),
		addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return addr, faultf(invalidAddress, "%s is not an address by which other machines can reach this one.", quote(s))
	}
	return addr, nil
}

func zoneFault(s string) *fault {
	return faultf(invalidAddress, "%s has a zone, which means something on one machine only.", quote(s))
}

// nameServer is the address of a name server that pods can reach: an IP
// address, with a port if it is not 53, in its canonical form. It stands in a
// Corefile as it is.
func nameServer(s string) (string, *fault) {
	var addr netip.Addr
	var port uint16
	if a, err := netip.ParseAddr(s); err == nil {
		addr = a
	} else if ap, err := netip.ParseAddrPort(s); err == nil && ap.Port() != 0 {
		addr, port = ap.Addr(), ap.Port()
	} else {
		return s, faultf(invalidAddress, "%s is not the address of a name server: expected an IP address, with a port if it is not 53.", quote(s)).
			advise("Write it like \"192.0.2.53\" or \"[2001:db8::53]:5353\"; [\"none\"] asks nobody.")
	}
	switch {
	case addr.Zone() != "":
		return s, zoneFault(s)
	case addr.Is4In6():
		return s, faultf(invalidAddress, "%s is an IPv4 address mapped into IPv6.", quote(s)).advise("Write %q.", addr.Unmap())
	case addr.IsLoopback():
		return s, faultf(invalidAddress, "%s is a loopback address; the name service runs in a pod, where it is the pod itself.", quote(s)).
			advise("Name the server behind it (`resolvectl status` on a host shows it), or leave upstreams out.")
	case addr.IsUnspecified(), addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}), addr.Is6() && addr.IsLinkLocalUnicast():
		return s, faultf(invalidAddress, "%s is not an address that a pod can reach.", quote(s)).
			advise("Write it like \"192.0.2.53\" or \"[2001:db8::53]:5353\"; [\"none\"] asks nobody.")
	case port != 0:
		return netip.AddrPortFrom(addr, port).String(), nil
	}
	return addr.String(), nil
}

// specialNetworks are those that no pod or service can have an address of
// (RFC 6890; Kubernetes refuses them as endpoints and service addresses).
func specialNetworks() map[string]netip.Prefix {
	return map[string]netip.Prefix{
		"\"this\" network":   netip.MustParsePrefix("0.0.0.0/8"),
		"loopback network":   netip.MustParsePrefix("127.0.0.0/8"),
		"link-local network": netip.MustParsePrefix("169.254.0.0/16"),
		"multicast network":  netip.MustParsePrefix("224.0.0.0/4"),
		"broadcast address":  netip.MustParsePrefix("255.255.255.255/32"),

		"IPv6 loopback address":    netip.MustParsePrefix("::1/128"),
		"unspecified IPv6 address": netip.MustParsePrefix("::/128"),
		"IPv6 link-local network":  netip.MustParsePrefix("fe80::/10"),
		"IPv6 multicast network":   netip.MustParsePrefix("ff00::/8"),
		"network of mapped IPv4":   netip.MustParsePrefix("::ffff:0:0/96"),
	}
}

// addressInNetwork is a machine's address with the length of its network.
func addressInNetwork(s string) (netip.Prefix, *fault) {
	bare, _, _ := strings.Cut(s, "/")
	addr, f := machineAddress(bare)
	if f != nil {
		return netip.Prefix{}, f
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, faultf(invalidAddress, "%s is not ADDRESS/LENGTH.", quote(s)).
			advise("Add the length of its network's prefix, like \"%s/24\".", addr)
	}
	if p.Masked().Addr() == addr && p.Bits() < addr.BitLen()-1 {
		return p, faultf(invalidAddress, "%s is a network, not an address in one.", quote(s)).
			advise("Write the machine's own address, like \"%s/%d\".", addr.Next(), p.Bits())
	}
	return p, nil
}

func network(s string) (netip.Prefix, *fault) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		f := faultf(invalidCIDR, "%s is not a network: expected ADDRESS/LENGTH, like \"10.244.0.0/16\".", quote(s))
		if addr, err := netip.ParseAddr(s); err == nil && addr.Is4() {
			f.advise("Add the prefix length, like \"%s/16\".", addr)
		}
		return p, f
	}
	if p.Addr().Is4In6() {
		return p, faultf(invalidCIDR, "%s is an IPv4 network mapped into IPv6.", quote(s))
	}
	if m := p.Masked(); m != p {
		return p, faultf(invalidCIDR, "%s is an address inside the network %q.", quote(s), m).advise("Write %q.", m)
	}
	special := specialNetworks()
	for _, what := range slices.Sorted(maps.Keys(special)) {
		if special[what].Overlaps(p) {
			return p, faultf(invalidCIDR, "%s overlaps with %s (the %s), of which no pod or service can have an address.", quote(s), special[what], what).
				advise("Choose a private network: one inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or fd00::/8.")
		}
	}
	return p, nil
}

var (
	versionForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})$`)
	loginForm   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)
	flagForm    = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	sysctlForm  = regexp.MustCompile(`^[a-z0-9_-]+(\.[A-Za-z0-9_-]+|/[A-Za-z0-9_.-]+)+$`)
	// sysctlValueForm is what comes back from the kernel as it was written.
	sysctlValueForm = regexp.MustCompile(`^[!-~]([ -~\t]*[!-~])?$`)
	digestForm      = regexp.MustCompile(`^[0-9a-f]{64}$`)
	nameForm        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$`)
	imageForm       = regexp.MustCompile(`^[a-z0-9]+([.-][a-z0-9]+)*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	// hostPathForm keeps paths on hosts to what needs no quoting in units,
	// manifests and scripts.
	hostPathForm = regexp.MustCompile(`^(/[A-Za-z0-9._@+-]+)+$`)
	pluginForm   = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,62}$`)
	// interfaceForm has no colon and no blank, which mean something to ip(8).
	interfaceForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

func versionText(s string) *fault {
	if versionForm.MatchString(s) {
		return nil
	}
	f := faultf(invalidVersion, "%s is not a version: expected three numbers with dots, like \"1.36.3\".", quote(s))
	if rest := strings.TrimPrefix(s, "v"); rest != s && versionForm.MatchString(rest) {
		f.advise("Leave out the v: %q.", rest)
	}
	return f
}

func login(s string) *fault {
	if !loginForm.MatchString(s) {
		return faultf(invalidUser, "%s is not a login name.", quote(s))
	}
	return nil
}

func fingerprint(s string) *fault {
	rest, ok := strings.CutPrefix(s, "SHA256:")
	if ok {
		if sum, err := base64.RawStdEncoding.Strict().DecodeString(rest); err == nil && len(sum) == 32 {
			return nil
		}
	}
	f := faultf(invalidFingerprint, "%s is not a fingerprint: expected \"SHA256:\" and 43 characters of base64.", quote(s))
	if strings.HasPrefix(s, "MD5:") {
		f.advise("MD5 is no longer accepted; `ssh-keygen -lf KEY.pub` prints the SHA256 form.")
	}
	return f
}

func digest(s string) *fault {
	if !digestForm.MatchString(s) {
		return faultf(invalidDigest, "%s is not a SHA-256: expected 64 lower-case hexadecimal digits.", quote(s))
	}
	return nil
}

// artifactLocation is HOST/PATH, as in a mirror. Apply writes them and apply
// reads them; nothing is refused but what can't be a path below a directory.
func artifactLocation(s string) *fault {
	clean := path.Clean(s)
	if s == "" || len(s) > 1024 || clean != s || path.IsAbs(s) || s == "." || s == ".." || strings.HasPrefix(s, "../") ||
		strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return faultf(invalidText, "%s is not an artifact's location HOST/PATH.", quote(s))
	}
	return nil
}

func artifactName(s string) *fault {
	if reference, ok := strings.CutPrefix(s, "image/"); ok && imageReference(reference) == nil {
		return nil
	}
	if !nameForm.MatchString(s) || strings.Contains(s, "..") {
		return faultf(invalidText, "%s is not the name of an artifact, like \"kubelet\" or \"image/pause\".", quote(s))
	}
	return nil
}

func imageReference(s string) *fault {
	if !imageForm.MatchString(s) {
		return faultf(invalidText, "%s is not an image reference with a registry, like \"registry.k8s.io/pause:3.10.1\".", quote(s))
	}
	return nil
}

// hostPath is the path of a directory on the hosts, of characters that need no
// quoting.
func hostPath(s string) *fault {
	switch {
	case !strings.HasPrefix(s, "/"):
		return faultf(invalidPath, "%s is not an absolute path.", quote(s))
	case len(s) > 255 || !hostPathForm.MatchString(s) || path.Clean(s) != s:
		return faultf(invalidPath, "%s is not a clean path of letters, digits and any of . _ @ + - between single slashes.", quote(s))
	}
	return nil
}

// dataDirectory is a directory on the hosts for the data of one program alone,
// which becomes its own: owner and mode included. own is the program's usual
// place in /var/lib.
func dataDirectory(own string) grammar {
	return func(s string) *fault {
		if f := hostPath(s); f != nil {
			return f
		}
		taken := func(format string, args ...any) *fault {
			return faultf(invalidPath, format, args...).advise("Use a directory of its own, like \"/var/lib/%s\" or \"/srv/%s\".", own, own)
		}
		if inTree(s, "/var/lib/"+own) {
			return nil
		}
		for _, tree := range append(systemTrees(), stateTrees()...) {
			if inTree(s, tree) {
				return taken("%s belongs to the system or to a program: it lies in %s.", quote(s), tree)
			}
		}
		if strings.Count(s, "/") < 2 || slices.Contains(sharedDirectories(), s) || path.Dir(s) == "/home" {
			return taken("%s is a directory of the system itself.", quote(s))
		}
		return nil
	}
}

// logFile is the path of a log on the hosts, in a directory for nothing else,
// which becomes private.
func logFile(s string) *fault {
	if f := hostPath(s); f != nil {
		return f
	}
	dir := path.Dir(s)
	if strings.HasPrefix(dir, "/var/log/") {
		return nil
	}
	if f := dataDirectory("kubernetes-audit")(dir); f != nil {
		return faultf(invalidPath, "%s is in no directory of its own: that becomes open to root alone.", quote(s)).
			advise("Use one below /var/log, like \"/var/log/kubernetes/audit/audit.log\".")
	}
	return nil
}

// admissionPlugin is the name of one.
func admissionPlugin(s string) *fault {
	if !pluginForm.MatchString(s) {
		return faultf(invalidText, "%s is not the name of an admission plugin.", quote(s)).advise("Write it like \"AlwaysPullImages\".")
	}
	if s == "AlwaysAdmit" {
		return faultf(unknownChoice, "AlwaysAdmit would let everything through that no other plugin refuses, and does nothing.").advise("Leave it out.")
	}
	return nil
}

// featureGate is the name of one.
func featureGate(s string) *fault {
	if !pluginForm.MatchString(s) {
		return faultf(invalidText, "%s is not the name of a feature gate.", quote(s)).advise("Write it like \"InPlacePodVerticalScaling\".")
	}
	return nil
}

// dispensablePlugin is one that a cluster can do without.
func dispensablePlugin(s string) *fault {
	if f := admissionPlugin(s); f != nil {
		return f
	}
	if slices.Contains([]string{"NodeRestriction", "ServiceAccount", "NamespaceLifecycle"}, s) {
		return faultf(unknownChoice, "Without %s nodes and pods are not confined to what is theirs.", s).advise("Leave it out.")
	}
	return nil
}

// inTree says that a clean path is that directory or lies below it.
func inTree(s, tree string) bool {
	return s == tree || strings.HasPrefix(s, tree+"/")
}

// systemTrees are the directories of the Filesystem Hierarchy Standard that are
// the distribution's with all that is in them, or don't outlive a reboot.
func systemTrees() []string {
	return []string{
		"/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found", "/proc", "/root", "/run",
		"/sbin", "/snap", "/sys", "/tmp", "/usr",
		"/var/backups", "/var/cache", "/var/crash", "/var/lock", "/var/log", "/var/mail", "/var/run", "/var/spool", "/var/tmp",
	}
}

// stateTrees are directories of programs that kinstall installs, and of those
// that are found on machines of its kind.
func stateTrees() []string {
	trees := []string{"/opt/cni", "/opt/containerd"}
	for _, program := range []string{
		"containerd", "docker", "etcd", "kinstall", "kube-proxy", "kubelet", // kinstall's
		"bird", "calico", "cni", "cri-dockerd", "flannel", "nginx", "openvswitch", // of networks and load balancers
		"AccountsService", "NetworkManager", "PackageKit", "apparmor", "apt", "aspell", "chrony", "cloud", "dbus", "dhcp", "dhcpcd",
		"dpkg", "emacsen-common", "fwupd", "git", "grub", "haproxy", "initramfs-tools", "ispell", "keepalived", "libuuid", "libvirt",
		"logrotate", "lxc", "lxd", "machines", "man-db", "misc", "mysql", "nfs", "ntp", "ntpsec", "os-prober", "pam", "plymouth",
		"polkit-1", "portables", "postgresql", "private", "python", "python3", "resolvconf", "rpm", "selinux", "sgml-base",
		"snapd", "sudo", "systemd", "tpm", "ubuntu-advantage", "ucf", "udisks2", "unattended-upgrades", "update-manager",
		"update-notifier", "upower", "usb_modeswitch", "usbutils", "vim", "vmware", "waagent", "xml-core",
	} {
		trees = append(trees, "/var/lib/"+program)
	}
	return trees
}

// sharedDirectories are those in which programs have directories of their own.
func sharedDirectories() []string { return []string{"/var/lib", "/var/local", "/var/opt"} }

// interfaceName is that of a network interface: at most 15 characters
// (IFNAMSIZ), and of those the kernel allows only what nobody has to quote.
func interfaceName(s string) *fault {
	if len(s) > 15 || !interfaceForm.MatchString(s) {
		return faultf(invalidText, "%s is not the name of a network interface.", quote(s)).
			advise("Write it like \"eth1\"; `ip link` on the host lists them.")
	}
	return nil
}

// localPath is a path on the operator's machine.
func localPath(s string) *fault {
	if s == "" {
		return faultf(invalidPath, "The path is empty.")
	}
	if f := anyText(s); f != nil {
		f.mistake = invalidPath
		return f
	}
	return nil
}

// maxFlag bounds a flag's value, in bytes: all flags of a program together, and
// each with its name, must fit what the kernel passes on (128 KiB for one).
const maxFlag = 16 << 10

func flagName(s string) *fault {
	if len(s) <= 100 && flagForm.MatchString(s) {
		return nil
	}
	f := faultf(invalidArgument, "%s is not the name of a flag.", quote(s))
	fixed := strings.ToLower(strings.ReplaceAll(strings.TrimLeft(s, "-"), "_", "-"))
	if name, _, ok := strings.Cut(fixed, "="); ok && flagForm.MatchString(name) {
		return f.advise("Write the value after the key: %s = \"…\".", quote(name))
	}
	if flagForm.MatchString(fixed) && fixed != s {
		f.advise("Write %s.", quote(fixed))
	}
	return f
}

func flagValue(s string) *fault {
	if len(s) > maxFlag {
		return faultf(invalidArgument, "The value %s has %d bytes; at most %d are allowed.", quote(s), len(s), maxFlag).advise("Put it into a file, if the program takes one.")
	}
	if f := anyText(s); f != nil {
		f.mistake = invalidArgument
		return f.advise("Remove it; a flag is one line.")
	}
	return nil
}

// releaseNames are what artifacts.sha256 may pin beside the images of
// artifacts.images; plan.Releases gives them these names.
func releaseNames() []string {
	return []string{
		"cni-plugins", "containerd", "cri-dockerd", "docker", "etcd", "flannel", "kube-proxy", "kubelet", "runc",
		"image/coredns", "image/flannel", "image/kube-apiserver", "image/kube-controller-manager", "image/kube-scheduler", "image/pause",
	}
}

func sysctlName(s string) *fault {
	if !sysctlForm.MatchString(s) || strings.Contains(s, "..") {
		return faultf(invalidSysctl, "%s is not the name of a kernel setting.", quote(s))
	}
	return nil
}

func sysctlValue(s string) *fault {
	if len(s) > 1024 || !sysctlValueForm.MatchString(s) {
		return faultf(invalidSysctl, "%s is not the value of a kernel setting: expected printable ASCII on one line, without blanks at its ends.", quote(s))
	}
	return nil
}

func labelKey(s string) *fault {
	if problems := validation.IsQualifiedName(s); len(problems) > 0 {
		return faultf(invalidLabel, "%s is not a label key: expected [PREFIX/]NAME.", quote(s))
	}
	switch s {
	case "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch":
		return faultf(reservedLabel, "The label %s is set by the kubelet.", quote(s))
	}
	return nil
}

func labelValue(s string) *fault {
	if problems := validation.IsValidLabelValue(s); len(problems) > 0 {
		return faultf(invalidLabel, "%s is not a label value.", quote(s))
	}
	return nil
}

func parseTaint(s string) (Taint, *fault) {
	bad := func(why string) (Taint, *fault) {
		return Taint{}, faultf(invalidTaint, "%s is not a taint: %s.", quote(s), why)
	}
	head, effect, ok := strings.Cut(s, ":")
	if !ok {
		return bad("expected KEY[=VALUE]:EFFECT")
	}
	key, value, _ := strings.Cut(head, "=")
	if len(validation.IsQualifiedName(key)) > 0 {
		return bad("its key is not [PREFIX/]NAME")
	}
	if len(validation.IsValidLabelValue(value)) > 0 {
		return bad("its value is not a label value")
	}
	switch effect {
	case "NoSchedule", "PreferNoSchedule", "NoExecute":
		return Taint{Key: key, Value: value, Effect: effect}, nil
	}
	taint, f := bad(fmt.Sprintf("the effect %s is none of NoSchedule, PreferNoSchedule, NoExecute", quote(effect)))
	if near := spelling.Nearest(effect, []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}); near != "" {
		f.advise("Did you mean %q?", near)
	}
	return taint, f
}

// String writes a taint as kubectl does: KEY[=VALUE]:EFFECT.
func (t Taint) String() string {
	if t.Value == "" {
		return t.Key + ":" + t.Effect
	}
	return t.Key + "=" + t.Value + ":" + t.Effect
}

var (
	packageForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	logSizeForm  = regexp.MustCompile(`^[1-9][0-9]{0,5}[kmg]$`)
	noProxyForm  = regexp.MustCompile(`^[A-Za-z0-9.*:/_-]{1,253}$`)
	urlPathForm  = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*/?$`)
	registryForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)
	accountForm  = regexp.MustCompile(`^[A-Za-z0-9$+_.@|-]{1,128}$`)
)

func packageName(s string) *fault {
	if packageForm.MatchString(s) {
		return nil
	}
	return faultf(invalidName, "%s is not the name of a Debian package.", quote(s)).
		advise("Write it like \"docker.io\": lower-case letters, digits, '+', '-' and '.'.")
}

func logSize(s string) *fault {
	if logSizeForm.MatchString(s) {
		return nil
	}
	return faultf(invalidText, "%s is not a size: expected a whole number with k, m or g.", quote(s)).advise("Write it like \"10m\".")
}

// plainURL is scheme, host, port and a plain path: nothing in it needs quoting
// anywhere, and there is no room for credentials.
func plainURL(schemes ...string) grammar {
	return func(s string) *fault {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			f := faultf(invalidText, "The value is not a URL.") // url.Error repeats it, with a password perhaps
			f.secret = true
			return f
		case u.User != nil:
			f := faultf(invalidText, "The URL contains a user name or password.")
			f.secret = true
			return f.advise("Keep credentials out of the inventory, which is meant for version control.")
		case u.String() != s: // percent signs, upper-case schemes: it is written as it stands
			return faultf(invalidText, "%s is not %s://HOST[:PORT][/PATH] in plain characters.", quote(s), schemes[0]).
				advise("Write it like \"%s://mirror.example.com:5000\".", schemes[0])
		case u.Port() != "" && !isPort(u.Port()):
			return faultf(invalidText, "%s is not a port in %s: expected 1 to 65535.", quote(u.Port()), quote(s))
		case strings.Contains(s, "%") || !slices.Contains(schemes, u.Scheme) || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || !urlPathForm.MatchString(u.Path) ||
			(machineOrName(u.Hostname()) != nil) || strings.HasSuffix(u.Host, ":"):
			return faultf(invalidText, "%s is not %s://HOST[:PORT][/PATH].", quote(s), schemes[0]).
				advise("Write it like \"%s://mirror.example.com:5000\".", schemes[0])
		}
		return nil
	}
}

// isPort takes 1 to 65535 in decimal digits.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && !strings.HasPrefix(s, "0")
}

// machineOrName is the host part of a URL.
func machineOrName(s string) *fault {
	if s == "" {
		return faultf(invalidAddress, "There is no host.")
	}
	return addressOrName(s)
}

func noProxyEntry(s string) *fault {
	if noProxyForm.MatchString(s) {
		return nil
	}
	return faultf(invalidText, "%s is neither a name, a domain, an address nor a network.", quote(s)).
		advise("Write it like \".example.com\" or \"10.0.0.0/8\".")
}

// registryName is a registry as an image reference begins.
func registryName(s string) *fault {
	host, port, ported := strings.Cut(s, ":")
	if registryForm.MatchString(s) && machineOrName(host) == nil && (!ported || isPort(port)) {
		return nil
	}
	f := faultf(invalidText, "%s is not a registry: expected HOST or HOST:PORT, as image references begin.", quote(s))
	if _, rest, ok := strings.Cut(s, "://"); ok && registryForm.MatchString(strings.TrimRight(rest, "/")) {
		f.advise("Write %q.", strings.TrimRight(rest, "/"))
	}
	return f
}

func registryUser(s string) *fault {
	if accountForm.MatchString(s) {
		return nil
	}
	return faultf(invalidUser, "%s is not a user name of a registry.", quote(s))
}

// subjectText is a value of a certificate's subject: at most 64 characters
// (RFC 5280, appendix A.1: ub-organization-name and its like).
func subjectText(s string) *fault {
	const limit = 64
	switch f := anyText(s); {
	case f != nil:
		return f
	case strings.TrimSpace(s) != s || s == "":
		return faultf(invalidText, "%s is empty, or begins or ends with a blank.", quote(s))
	case utf8.RuneCountInString(s) > limit:
		return faultf(invalidText, "%s has more than %d characters, which certificates have no room for.", quote(s), limit)
	case !utf8.ValidString(s):
		return faultf(invalidText, "%s is not text in UTF-8.", quote(s))
	}
	return nil
}

var countryForm = regexp.MustCompile(`^[A-Z]{2}$`)

func country(s string) *fault {
	if countryForm.MatchString(s) {
		return nil
	}
	return faultf(invalidText, "%s is not a country: expected two capital letters (ISO 3166).", quote(s)).advise("Write it like \"CN\".")
}

var profileForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func profileName(s string) *fault {
	if profileForm.MatchString(s) {
		return nil
	}
	return faultf(invalidText, "%s is not the name of a profile: letters, digits, '-', '_' and '.'.", quote(s))
}

// recipientForm is Bech32 (BIP 173) under the prefixes of age's native recipients;
// its checksum is looked at where keys are encrypted.
var recipientForm = regexp.MustCompile(`^age1(pq1)?[02-9ac-hj-np-z]{40,}$`)

// maxRecipient bounds a recipient, in bytes: one with a post-quantum key has some 2000.
const maxRecipient = 4000

func ageRecipient(s string) *fault {
	if len(s) <= maxRecipient && recipientForm.MatchString(s) {
		return nil
	}
	f := faultf(invalidText, "%s is not a recipient of age.", quote(s)).advise("Write it like \"age1…\"; `age-keygen -y FILE` prints that of an identity.")
	if strings.HasPrefix(strings.ToUpper(s), "AGE-SECRET-KEY-") {
		f = faultf(invalidText, "The value is a secret key of age, not a recipient.").advise("Keep secrets out of the inventory; `age-keygen -y FILE` prints the recipient.")
		f.secret = true
	}
	return f
}

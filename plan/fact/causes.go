package fact

import (
	"regexp"
	"strings"
)

// cause is a known reason for a program not to run. The hint's "$1" stands for
// what the pattern's first group matched.
type cause struct {
	pattern *regexp.Regexp
	hint    string
}

const badValue = "the value of $1 is not one that it takes: look for it in args in the inventory"

// causes are looked for in this order: what says more comes before what is found
// in logs for many reasons.
var causes = []cause{
	// inotify(7) says ENOSPC for watches and EMFILE for instances, which reads
	// like a full disk and like too many files.
	{regexp.MustCompile(`(?i)inotify[^\n]*no space left on device|failed to (?:add|allocate)[^\n]* watch[^\n]*no space left on device|inotify watch limit|max_user_watches`),
		"the kernel's limit of inotify watches is used up: raise fs.inotify.max_user_watches"},
	{regexp.MustCompile(`(?i)(?:inotify|fsnotify|allocate directory watch|create [a-z ]*watcher)[^\n]*too many open files|max_user_instances`),
		"the kernel's limit of inotify instances is used up: raise fs.inotify.max_user_instances (each kubelet and container runtime on a kernel takes some)"},
	{regexp.MustCompile(`(?i)database space exceeded|alarm:NOSPACE`),
		"etcd's database has reached its quota: compact and defragment it (etcdctl), then disarm the alarm"},
	{regexp.MustCompile(`(?i)no space left on device|disk quota exceeded`),
		"a disk is full: df -h and df -i say which one"},
	{regexp.MustCompile(`(?i)(?:listen|bind)\b[^\n]*?:(\d{1,5})\b[^\n]*address already in use`),
		"port $1 is taken by another program: ss -lntup 'sport = :$1' says which"},
	{regexp.MustCompile(`(?i)cannot bind socket \(address already in use\) for \[[^\n\]]*:(\d{1,5})\]`),
		"port $1 is taken by another program: ss -lntup 'sport = :$1' says which"},
	{regexp.MustCompile(`(?i)address already in use`),
		"a port is taken by another program: ss -lntup says by which"},
	{regexp.MustCompile(`(?i)bind\b[^\n]*cannot assign requested address`),
		"the host does not have the address that the program is to listen at: compare `ip addr` with the inventory"},
	{regexp.MustCompile(`bind\(\) to \S+?:(\d{1,5}) failed \(13: Permission denied\)`),
		"port $1 may not be used: look at `port` in the inventory's load_balancer block, and at AppArmor or SELinux"},
	{regexp.MustCompile(`cannot bind socket \(Permission denied\) for \[[^\n\]]*:(\d{1,5})\]`),
		"port $1 may not be used: look at `port` in the inventory's load_balancer block, and at AppArmor or SELinux"},
	{regexp.MustCompile(`invalid port in "([^"]*)"`),
		"$1 has no port between 1 and 65535: look at `port` in the inventory's load_balancer block"},
	{regexp.MustCompile(`(?i)certificate has expired or is not yet valid: current time \S+ is before`),
		"a certificate is not valid yet: a clock is wrong, compare those of the hosts (timedatectl)"},
	{regexp.MustCompile(`(?i)certificate has expired or is not yet valid|certificate is not yet valid|certificate has expired`),
		"a certificate has expired, or a clock is wrong: compare the hosts' clocks (timedatectl); apply renews what kinstall issued"},
	{regexp.MustCompile(`(?i)oom-kill|oomkilled|out of memory|cannot allocate memory|exit code 137\b|status=137\b|exit status 137\b`),
		"the host has not enough memory, or the program's limit is too low: free -m, and journalctl -k for the kernel's words"},
	{regexp.MustCompile(`ErrImageNeverPull|is not present with pull policy of Never`),
		"the container's image is not on the host: another apply imports it anew"},
	{regexp.MustCompile(`ImagePullBackOff|ErrImagePull|failed to pull (?:and unpack )?image`),
		"the container's image can't be fetched: look at its name, at the registry and at the mirrors in the inventory"},
	{regexp.MustCompile(`(?:unknown (?:shorthand )?flag:|flag provided but not defined:|unrecognized option) ["']?(-[\w-]*)`),
		"this version does not know $1: look for it in args in the inventory"},
	{regexp.MustCompile(`unrecognized feature gate: (\w+)`),
		"this version does not know the feature gate $1: look for it in the inventory"},
	{regexp.MustCompile(`invalid (?:value|argument) \\?"[^\n]*?\\?" for (?:flag )?(?:\\?"-\w, |\\?")?(-[\w-]+|ETCD_\w+)`), badValue},
	{regexp.MustCompile(`--election-timeout\[\d+ms\] (?:should be|is too long)`),
		"etcd wants election-timeout at least five times as long as heartbeat-interval, and 50 s at most: look for both in args in the inventory"},
	{regexp.MustCompile(`(?:unknown |error parsing )(auto-compaction-mode|CompactionRetention)\b`), badValue},
	{regexp.MustCompile(`cannot (?:unmarshal|decode) [^\n]*? into (?:Go )?struct field ([\w.]+) of type`),
		"$1 has a value of another type than it takes: look for it in the inventory"},
	{regexp.MustCompile(`([A-Za-z][\w.]*(?:\[\d+\])?): (?:Invalid|Unsupported) value: `),
		"the value of $1 is not one that it takes: look for it in the inventory"},
	{regexp.MustCompile(`time: (?:invalid|missing unit in|unknown unit [^\n]*? in) duration [\\"]*([^\\"\s]+)`),
		"$1 is not a duration like 10s or 5m: look for it in the inventory"},
	{regexp.MustCompile(`not a valid logrus Level: [\\"]*([^\\"\s]+)`),
		"containerd's log has no level $1: look for it in the inventory"},
	{regexp.MustCompile(`failed to (?:unmarshal|load) TOML`),
		"containerd does not take its configuration: look at its settings in the inventory"},
	{regexp.MustCompile(`(?:unknown directive|unknown field|unknown keys? in [^\n]*?:?) "?([\w.-]+)`),
		"this version does not know the setting $1: look for it in the inventory"},
	{regexp.MustCompile(`running with swap on is not supported`),
		"the kubelet does not run beside swap: set swap to \"off\" in the inventory's preparation, or allow it in the kubelet's settings"},
	{regexp.MustCompile(`(?i)exec format error`),
		"the program was built for another architecture"},
	{regexp.MustCompile(`(?i)failed to (?:locate|execute|exec) (?:executable|command|binary)? ?(\S+): no such file`),
		"the program $1 is missing: another apply installs it anew"},
	{regexp.MustCompile(`203/EXEC`),
		"the program can't be executed: is it there, executable, and built for this architecture?"},
	{regexp.MustCompile(`(?i)(?:open|stat|mkdir|unlink|read|write|lstat|chmod|access) (/[^\s:"']+): (?:permission denied|operation not permitted)`),
		"$1 may not be used by the program: look at its owner and mode, and at AppArmor or SELinux"},
	{regexp.MustCompile(`(?i)permission denied`),
		"something may not be used by the program: look at owners and modes, and at AppArmor or SELinux"},
	{regexp.MustCompile(`(?i)(?:open|stat|lstat|load|read|access)[^\n]*?[ "'](/[^\s:"']+)["']?:? (?:failed \(2: )?no such file or directory`),
		"$1 is missing"},
	{regexp.MustCompile(`(?i)no such file or directory`),
		"a file is missing"},
}

// Hint names the likely cause of what a log, a unit's trouble or an error says,
// and what to do about it; "" where no known cause is in it. Of a cause that is
// found more than once, the last counts.
func Hint(text string) string {
	for _, c := range causes {
		all := c.pattern.FindAllStringSubmatch(text, -1)
		if len(all) == 0 {
			continue
		}
		found := ""
		if last := all[len(all)-1]; len(last) > 1 {
			found = last[1]
		}
		return strings.ReplaceAll(c.hint, "$1", found)
	}
	return ""
}

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// limit is a setting of the host's kernel that the machines of all labs use up
// together, and what they need of it.
type limit struct {
	key    string // as sysctl(8) prints it
	needed uint64
}

// hostLimits are those that labs were seen to reach. The values are what kinstall
// gives its nodes: a machine that applies them at boot changes nothing here.
//
// Four Kubernetes machines hold about 110 inotify instances, which the kernel
// counts per user over all machines; Debian allows 128, and a kubelet that gets
// none starts no static pod. Other shared limits are far away (one such lab has
// 35 of 1,024 neighbours, 107 of 1,000,000 keys, 4 of 4,096 terminals, 620 of
// 32,768 process ids).
var hostLimits = []limit{
	{"fs.inotify.max_user_instances", 8192},
	{"fs.inotify.max_user_watches", 1048576},
}

// raiseLimits raises the limits of the host below sysctls (/proc/sys) that are
// too low for labs, until its next boot, and tells which. None is lowered. One
// that can't be raised is told as well: the first lab may still have enough.
func raiseLimits(sysctls string, limits []limit, progress func(string, ...any)) {
	var raised []string
	for _, l := range limits {
		file := filepath.Join(sysctls, strings.ReplaceAll(l.key, ".", "/"))
		data, err := os.ReadFile(file)
		if err != nil {
			continue // not a setting of this kernel
		}
		found, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
		if err != nil || found >= l.needed {
			continue
		}
		if err := os.WriteFile(file, []byte(strconv.FormatUint(l.needed, 10)+"\n"), 0); err != nil {
			progress("can't raise this machine's %s from %d to %d: %v; several labs at once may run out of it (\"too many open files\")", l.key, found, l.needed, err)
			continue
		}
		raised = append(raised, fmt.Sprintf("%s %d → %d", l.key, found, l.needed))
	}
	if len(raised) > 0 {
		progress("raising limits of this machine that all machines of labs share, until it is booted again: %s", strings.Join(raised, ", "))
	}
}

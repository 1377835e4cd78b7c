package provision

import (
	"fmt"
	"path"

	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

// A kubelet starts a static pod's successor once the pod before it is gone. It
// looks when the new manifest appears, when the old pod still ends, and then
// again 10 to 15 s later (backOffPeriod and its jitter, in the kubelet's
// pod_workers.go); no setting changes that. The API server would be away all that
// time for a stop and a start that take 2 and 4 s.
//
// A manifest that goes and comes is looked at once more. So the script that
// replaces one waits until the old pod's cgroup, the last of it, is gone, and
// then takes the new manifest out of the directory and puts it back.
//
// If any of this fails (another layout of cgroups, a pod that takes longer than
// oldPodTimeout), the kubelet's own second look remains.

// oldPodTimeout bounds the wait for the old pod, in seconds: its grace period is
// 30 s.
const oldPodTimeout = 40

// oldPod and renewPod go before and after what replaces the manifest of a static
// pod whose program is called as the pod is. system is the root directory.
//
// The program is looked for among those of the pods of this host's own kubelet,
// which keeps their logs in directories named for them: a machine may carry
// others that have kubelets of their own.
func oldPod(p resource.StaticPod, system string) string {
	return fmt.Sprintf(`# The cgroup of the pod that runs now: the parent of its container's.
pod=
for old in $(pidof %[1]s 2>/dev/null || true); do
	if [ -n "$pod" ] || ! [ -r %[2]s/proc/"$old"/cgroup ]; then continue; fi
	while IFS=: read -r id controllers cgroup; do
		case $cgroup in *kubepods*/*) ;; *) continue ;; esac
		for logs in %[2]s/var/log/pods/*_%[1]s-*_*; do
			# cgroupfs ends the pod's own with its UID, systemd with .slice behind it.
			case ${cgroup%%/*}/ in *pod"${logs##*_}"/ | *pod"${logs##*_}".slice/) ;; *) continue ;; esac
			for at in "$controllers" "${controllers#name=}" ''; do
				if [ -z "$pod" ] && [ -d %[2]s/sys/fs/cgroup/"$at${cgroup%%/*}" ]; then pod=%[2]s/sys/fs/cgroup/$at${cgroup%%/*}; fi
			done
		done
	done < %[2]s/proc/"$old"/cgroup
done
`, shell.Quote(p.Name), system)
}

func renewPod(p resource.StaticPod) string {
	aside := stagingDirectory(p.Path) + "/.kinstall." + path.Base(p.Path)
	return fmt.Sprintf(`if [ -n "$pod" ]; then
	waited=0
	while [ -d "$pod" ] && [ "$waited" -lt %[1]d ]; do sleep 0.1; waited=$((waited+1)); done
	if [ ! -d "$pod" ]; then
		trap '' HUP INT TERM # the manifest is not to stay away
		mv -fT -- %[2]s %[3]s
		mv -fT -- %[3]s %[2]s
	fi
fi
`, oldPodTimeout*10, shell.Quote(p.Path), shell.Quote(aside))
}

package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/resource"
)

// What the inventory sets replaces a limit's minimum, also by the same or a
// lower value: then it is exact, and stands in the file that is read last.
func TestSysctlsOfTheInventoryReplaceMinimums(t *testing.T) {
	inv := load(t, "single")
	inv.Preparation.Sysctls = map[string]string{"fs.inotify.max_user_watches": "1048576", "vm.max_map_count": "262144"}
	got, files := map[string]resource.Sysctl{}, map[string]string{}
	for _, s := range compile(t, inv).Steps {
		switch r := s.Resource.(type) {
		case resource.Sysctl:
			got[r.Key] = r
		case resource.File:
			files[r.Path] = string(r.Content)
		}
	}
	for key, want := range map[string]resource.Sysctl{
		"fs.inotify.max_user_instances": {Key: "fs.inotify.max_user_instances", Value: "8192", AtLeast: true},
		"fs.inotify.max_user_watches":   {Key: "fs.inotify.max_user_watches", Value: "1048576"},
		"vm.max_map_count":              {Key: "vm.max_map_count", Value: "262144"},
	} {
		if diff := cmp.Diff(want, got[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	const early = "# Written by kinstall. What asks for more in a file read later wins.\nfs.inotify.max_user_instances = 8192\n"
	if diff := cmp.Diff(early, files[sysctlMinimumFile]); diff != "" {
		t.Errorf("%s (-want +got):\n%s", sysctlMinimumFile, diff)
	}
	const late = `# Written by kinstall.
fs.inotify.max_user_watches = 1048576
kernel.keys.root_maxbytes = 25000000
kernel.keys.root_maxkeys = 1000000
kernel.panic = 10
kernel.panic_on_oops = 1
net.bridge.bridge-nf-call-ip6tables = 1
net.bridge.bridge-nf-call-iptables = 1
net.ipv4.ip_forward = 1
vm.max_map_count = 262144
vm.overcommit_memory = 1
vm.panic_on_oom = 0
`
	if diff := cmp.Diff(late, files[sysctlFile]); diff != "" {
		t.Errorf("%s (-want +got):\n%s", sysctlFile, diff)
	}
}

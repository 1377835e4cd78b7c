package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMachineCgroups(t *testing.T) {
	for _, tc := range []struct {
		name, mountinfo, own string
		legacy               bool
		want                 []string
	}{
		{
			name: "hybrid: below the caller's own cgroup",
			mountinfo: `30 23 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
`,
			own:    "4:memory:/user.slice/s1\n3:cpu,cpuacct:/\n1:name=systemd:/user.slice\n0::/user.slice\n",
			legacy: true,
			want: []string{
				"/sys/fs/cgroup/cpu,cpuacct/kinstall-lab/trial/emei",
				"/sys/fs/cgroup/memory/user.slice/s1/kinstall-lab/trial/emei",
				"/sys/fs/cgroup/systemd/user.slice/kinstall-lab/trial/emei",
				"/sys/fs/cgroup/unified/user.slice/kinstall-lab/trial/emei",
			},
		}, {
			name:      "v2 alone: below the root, as the caller's holds processes",
			mountinfo: "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
			own:       "0::/user.slice/user-0.slice/session-1.scope\n",
			want:      []string{"/sys/fs/cgroup/kinstall-lab/trial/emei"},
		}, {
			name: "mounted twice counts once",
			mountinfo: `32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 30 0:28 / /mnt/memory rw - cgroup cgroup rw,memory
`,
			own:    "4:memory:/\n",
			legacy: true,
			want:   []string{"/sys/fs/cgroup/memory/kinstall-lab/trial/emei"},
		}, {
			name:      "the mount shows a part of the tree",
			mountinfo: "32 30 0:28 /docker/c1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			own:       "4:memory:/docker/c1/init\n",
			legacy:    true,
			want:      []string{"/sys/fs/cgroup/memory/init/kinstall-lab/trial/emei"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hs, err := parseHierarchies(tc.mountinfo, tc.own)
			if err != nil {
				t.Fatal(err)
			}
			if legacy(hs) != tc.legacy {
				t.Errorf("legacy = %t", legacy(hs))
			}
			if diff := cmp.Diff(tc.want, machineCgroups(hs, "trial", "emei")); diff != "" {
				t.Errorf("cgroups (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseHierarchiesOutside(t *testing.T) {
	_, err := parseHierarchies("32 30 0:28 /docker/c1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "4:memory:/elsewhere\n")
	if err == nil {
		t.Error("a caller outside of what is mounted must be refused")
	}
}

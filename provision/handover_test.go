package provision

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/resource"
)

// A program's data changes hands with all that is in it and nothing else, while
// nobody else's process works on it.
func TestDirectoryChangesHands(t *testing.T) {
	needRoot(t)
	const daemon = 1 // of every Debian, as its group is
	other := exec.Command("sleep", "600")
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: daemon, Gid: daemon}}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Process.Kill(); other.Wait() })

	for _, tt := range []struct {
		name, state string
		pid         int
		stopped     bool
	}{
		{"root's process runs", "active", os.Getpid(), true},
		{"the user's own process runs", "active", other.Process.Pid, false},
		{"it starts again and again", "activating", 0, true},
		{"nothing runs", "inactive", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, Options{}, "shaolin")
			h := f.hosts["shaolin"]
			h.program(t, "systemctl", fmt.Sprintf(`case "$*" in
*ActiveState*) echo %s ;;
*MainPID*) echo %d ;;
stop*) echo "$*" >>"$HOST/journal" ;;
esac
`, tt.state, tt.pid))
			data := h.path("/data")
			for _, dir := range []string{data + "/member/wal", h.path("/outside")} {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for _, file := range []string{data + "/member/wal/0.wal", data + "/a name\nwith a newline", h.path("/outside/file")} {
				if err := os.WriteFile(file, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(h.path("/outside/file"), data+"/link"); err != nil {
				t.Fatal(err)
			}
			directory := resource.Directory{
				Path: data, Ownership: resource.Ownership{Mode: 0o700, Owner: "daemon", Group: "daemon"},
				Unit: "etcd.service", Inner: []string{data + "/member"},
			}
			f.step("shaolin", directory)
			f.mustApply(t, f.survey(t))

			err := filepath.Walk(data, func(path string, info os.FileInfo, err error) error {
				if err != nil {
					return err
				}
				if owner := info.Sys().(*syscall.Stat_t); owner.Uid != daemon || owner.Gid != daemon {
					t.Errorf("%q belongs to %d:%d", path, owner.Uid, owner.Gid)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(h.path("/outside/file")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
				t.Errorf("a file that a link leads to changed hands: %v", err)
			}
			want := ""
			if tt.stopped {
				want = "stop -- etcd.service"
			}
			if diff := cmp.Diff(want, strings.Join(h.journal(t), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			f.connectAnew(t, Options{})
			if found := changes(f.survey(t)); len(found) > 0 {
				t.Errorf("the second plan changes %v", found)
			}
			// A single directory of root's in it is seen.
			if err := os.Chown(data+"/member", 0, 0); err != nil {
				t.Fatal(err)
			}
			f.connectAnew(t, Options{})
			if found := changes(f.survey(t)); len(found) != 1 {
				t.Errorf("a directory of root's in it is not seen: %v", found)
			}
		})
	}
}

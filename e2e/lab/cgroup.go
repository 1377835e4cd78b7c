package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroupName is the cgroup all labs live in.
const cgroupName = "kinstall-lab"

// hierarchy is one mounted cgroup hierarchy and the caller's place in it.
type hierarchy struct {
	Mount       string // mount point
	Path        string // directory of the caller's own cgroup
	Controllers string // v1: as in /proc/PID/cgroup, e.g. "cpu,cpuacct" or "name=systemd"; v2: empty
	V2          bool
}

// hierarchies lists the mounted hierarchies, v1 and v2.
func hierarchies() ([]hierarchy, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	return parseHierarchies(string(mounts), string(own))
}

// parseHierarchies joins /proc/self/mountinfo (proc_pid_mountinfo(5)) with
// /proc/self/cgroup (cgroups(7)).
func parseHierarchies(mountinfo, own string) ([]hierarchy, error) {
	paths := map[string]string{} // controllers → caller's cgroup
	for _, line := range strings.Split(strings.TrimSpace(own), "\n") {
		if parts := strings.SplitN(line, ":", 3); len(parts) == 3 {
			paths[parts[1]] = parts[2]
		}
	}
	var found []hierarchy
	seen := map[string]bool{}
	for _, line := range strings.Split(mountinfo, "\n") {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		h := hierarchy{Mount: left[4]}
		switch right[0] {
		case "cgroup2":
			h.V2 = true
		case "cgroup":
			// The super options name the controllers among other things.
			for controllers := range paths {
				if controllers != "" && containsAll(strings.Split(right[2], ","), strings.Split(controllers, ",")) {
					h.Controllers = controllers
				}
			}
			if h.Controllers == "" {
				continue
			}
		default:
			continue
		}
		if seen[h.Controllers] {
			continue // mounted twice
		}
		seen[h.Controllers] = true
		rel, err := filepath.Rel(left[3], paths[h.Controllers])
		if err != nil || strings.HasPrefix(rel, "..") {
			return nil, fmt.Errorf("cgroup hierarchy %s: the caller's cgroup %s lies outside of what is mounted (%s)", h.Mount, paths[h.Controllers], left[3])
		}
		h.Path = path.Join(h.Mount, rel)
		found = append(found, h)
	}
	slices.SortFunc(found, func(a, b hierarchy) int { return strings.Compare(a.Mount, b.Mount) })
	return found, nil
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// legacy reports whether the resource controllers are on v1 hierarchies (also
// true for the hybrid layout, where v2 serves for naming only).
func legacy(hs []hierarchy) bool {
	return slices.ContainsFunc(hs, func(h hierarchy) bool { return !h.V2 })
}

// machineCgroups names the cgroup of a machine in each hierarchy. On v1 it lies
// below the caller's own, so that the caller's limits hold for the lab. On v2
// alone it lies below the root, as a cgroup that holds processes (the caller's)
// may not hand controllers down.
func machineCgroups(hs []hierarchy, lab, machine string) []string {
	var dirs []string
	for _, h := range hs {
		parent := h.Path
		if h.V2 && !legacy(hs) {
			parent = h.Mount
		}
		dirs = append(dirs, path.Join(parent, cgroupName, lab, machine))
	}
	return dirs
}

// createCgroup makes dir and the lab's levels above it ready for processes. On v2,
// handDown passes the parents' controllers on; beside v1 hierarchies, v2 only
// serves to find and end the processes, and the host's settings stay as they are.
func createCgroup(dir string, handDown bool) error {
	parent := path.Dir(dir)
	if strings.Contains(parent, "/"+cgroupName) { // one of the lab's, perhaps half made
		if err := createCgroup(parent, handDown); err != nil {
			return err
		}
	}
	// One that can't be handed down (real-time processes hold cpu, say) is done
	// without.
	if controllers, err := os.ReadFile(path.Join(parent, "cgroup.controllers")); err == nil && handDown {
		for _, c := range strings.Fields(string(controllers)) {
			_ = os.WriteFile(path.Join(parent, "cgroup.subtree_control"), []byte("+"+c), 0)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create cgroup: %w", err)
	}
	// v1: a cpuset starts empty and takes no process before it has both.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(path.Join(dir, file))
		if err != nil || strings.TrimSpace(string(own)) != "" {
			continue
		}
		value, err := os.ReadFile(path.Join(parent, file))
		if err != nil {
			return fmt.Errorf("create cgroup: %w", err)
		}
		if len(strings.TrimSpace(string(value))) == 0 {
			continue // v2: empty means inherited
		}
		if err := os.WriteFile(path.Join(dir, file), value, 0); err != nil {
			return fmt.Errorf("create cgroup: %w", err)
		}
	}
	return nil
}

// cgroupPIDs lists the processes in dirs and below, each once, in order.
func cgroupPIDs(dirs []string) []int {
	found := map[int]bool{}
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return nil //nolint:nilerr // the tree may shrink while it is read
			}
			data, _ := os.ReadFile(file) //nolint:gosec // the kernel's own tree, it has no links
			for _, field := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
					found[pid] = true
				}
			}
			return nil
		})
	}
	pids := make([]int, 0, len(found))
	for pid := range found {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

// killCgroups ends every process in dirs and below at once and returns when all
// are gone, or with an error that names those that would not go.
func killCgroups(ctx context.Context, dirs []string) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	var victims []process
	err := poll(ctx, 10*time.Millisecond, func() bool {
		for _, dir := range dirs {
			_ = os.WriteFile(path.Join(dir, "cgroup.kill"), []byte("1"), 0) // v2 only
		}
		for _, pid := range cgroupPIDs(dirs) {
			if _, start, err := procStat(pid); err == nil {
				p := process{pid, start}
				if !slices.Contains(victims, p) {
					victims = append(victims, p)
				}
				_ = p.signal(syscall.SIGKILL)
			}
		}
		// A process leaves its cgroup's listing before it has let go of its mounts;
		// it has once it is a zombie.
		victims = slices.DeleteFunc(victims, func(p process) bool { return !p.alive() })
		return len(victims) == 0 && len(cgroupPIDs(dirs)) == 0
	})
	if err != nil {
		return fmt.Errorf("processes %v survive SIGKILL: %w", cgroupPIDs(dirs), err)
	}
	return nil
}

// removeCgroups removes dirs with everything below them, and the levels the lab
// made above them once those are empty. No process may be left in them.
func removeCgroups(ctx context.Context, dirs []string) error {
	for _, dir := range dirs {
		var lastErr error
		// The kernel takes a moment to forget the last process of a cgroup.
		ctx, cancel := context.WithTimeout(ctx, killTimeout)
		err := poll(ctx, 10*time.Millisecond, func() bool {
			lastErr = removeCgroupTree(dir)
			return lastErr == nil
		})
		cancel()
		if err != nil {
			return fmt.Errorf("remove cgroup: %w", lastErr)
		}
		for parent := path.Dir(dir); strings.Contains(parent, "/"+cgroupName); parent = path.Dir(parent) {
			if os.Remove(parent) != nil {
				break // other machines or labs live there
			}
		}
	}
	return nil
}

func removeCgroupTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroupTree(path.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

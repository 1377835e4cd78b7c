package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Limits go up, never down, and it is said once.
func TestRaiseLimits(t *testing.T) {
	sysctls := t.TempDir()
	file := func(name string) string { return filepath.Join(sysctls, "fs/inotify", name) }
	must(t, os.MkdirAll(filepath.Join(sysctls, "fs/inotify"), 0o755))
	must(t, os.WriteFile(file("low"), []byte("128\n"), 0o600))
	must(t, os.WriteFile(file("high"), []byte("16384\n"), 0o600))
	must(t, os.WriteFile(file("enough"), []byte("8192\n"), 0o600))
	limits := []limit{{"fs.inotify.low", 8192}, {"fs.inotify.high", 8192}, {"fs.inotify.enough", 8192}, {"fs.inotify.unknown", 8192}}
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	for range 2 {
		raiseLimits(sysctls, limits, say)
	}
	if diff := cmp.Diff([]string{"raising limits of this machine that all machines of labs share, until it is booted again: fs.inotify.low 128 → 8192"}, said); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	got := map[string]string{}
	for _, name := range []string{"low", "high", "enough", "unknown"} {
		data, _ := os.ReadFile(file(name))
		got[name] = string(data)
	}
	if diff := cmp.Diff(map[string]string{"low": "8192\n", "high": "16384\n", "enough": "8192\n", "unknown": ""}, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

// A limit that can't be raised is told with its value, and is no failure.
func TestRaiseLimitsRefused(t *testing.T) {
	sysctls := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(sysctls, "fs"), 0o755))
	// What every write to fails, also root's.
	must(t, os.Symlink("/proc/sys/kernel/random/entropy_avail", filepath.Join(sysctls, "fs/low")))
	var said []string
	raiseLimits(sysctls, []limit{{"fs.low", 1 << 62}}, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
	if len(said) != 1 || !contains(said[0], "can't raise this machine's fs.low from ", " to 4611686018427387904", "too many open files") {
		t.Errorf("said: %q", said)
	}
}

func contains(text string, all ...string) bool {
	for _, part := range all {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

package lab

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestNspawnArguments(t *testing.T) {
	s := machineState{Name: "emei", Address: netip.MustParseAddr("10.88.0.13"), ID: "0123456789abcdef0123456789abcdef", Root: "/cache/root-1"}
	args := nspawnArguments(s, "emei-5b4db6", "emei-5b4db6", "/var/lib/kinstall-lab/kinstall/machines/emei", "/cache/modules", "6.1.0")
	checkGolden(t, "nspawn.golden", strings.Join(args, "\n")+"\n")
}

func TestSSHConfig(t *testing.T) {
	checkGolden(t, "ssh_config.golden", sshConfig(machinesAt("10.88.0.11", "10.88.0.12"), "/lab/operator"))
}

func TestRecipeKey(t *testing.T) {
	r := defaultRecipe()
	key := r.key()
	if len(key) != 12 || defaultRecipe().key() != key {
		t.Errorf("key %q is not stable", key)
	}
	r.Offline = append(r.Offline, "haproxy")
	if r.key() == key {
		t.Error("another package, the same key")
	}
}

func TestBuiltinModules(t *testing.T) {
	config := `# CONFIG_MODULES is not set
CONFIG_OVERLAY_FS=y
CONFIG_BRIDGE_NETFILTER=y
CONFIG_VXLAN=m
# CONFIG_IP_VS is not set
`
	want := []string{"kernel/net/bridge/br_netfilter.ko", "kernel/fs/overlayfs/overlay.ko"}
	if diff := cmp.Diff(want, builtinModules(config)); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}

func TestLastLines(t *testing.T) {
	console := "one\r\n\x1b[0;32m[  OK  ]\x1b[0m two  \r\n\r\n\x1b[?25hthree\n"
	if diff := cmp.Diff("[  OK  ] two\nthree", lastLines(console, 2)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := lastLines("", 3); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

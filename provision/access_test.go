package provision

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What this machine lacks is said once for all hosts, and none is dialled.
func TestCheckAccess(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "shaolin", "wudang", "emei")
	names := []string{"shaolin", "wudang", "emei"}
	if err := f.CheckAccess(t.Context(), names); err != nil {
		t.Fatalf("with keys and known_hosts: %v", err)
	}
	dir := t.TempDir()
	public := filepath.Join(dir, "id.pub")
	if err := os.WriteFile(public, []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4QVW1HvNpKVBqVXOO2TIKiRUF4ZYBz4E4p4Hy0nBsE ann@desk\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.inventory.Hosts[0].SSH.KeyFiles = []string{filepath.Join(dir, "gone")}
	f.inventory.Hosts[1].SSH.KeyFiles = []string{filepath.Join(dir, "gone")}
	f.inventory.Hosts[2].SSH.KeyFiles = []string{public}
	f.inventory.Hosts[2].SSH.KnownHosts = filepath.Join(dir, "no_known_hosts")
	other := f.other(t, Options{})
	err := other.CheckAccess(t.Context(), names)
	var access *AccessError
	if !errors.As(err, &access) {
		t.Fatalf("CheckAccess: %v", err)
	}
	for _, want := range []string{"gone: no such file or directory (for shaolin, wudang)", "id.pub holds a public key, where the private one is needed (for emei)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if hint := access.Hint(); strings.Count(hint, "ssh-keygen") != 1 || !strings.Contains(hint, "without .pub") {
		t.Errorf("hint: %q", hint)
	}
	f.inventory.Hosts[2].SSH.KeyFiles = []string{f.hosts["emei"].ClientKey}
	if err := f.other(t, Options{}).CheckAccess(t.Context(), []string{"emei"}); err == nil || !strings.Contains(err.Error(), "known_hosts: ") {
		t.Errorf("without known_hosts: %v", err)
	}
	if err := f.other(t, Options{TrustOnFirstUse: true}).CheckAccess(t.Context(), []string{"emei"}); err != nil {
		t.Errorf("the first host that is trusted writes known_hosts: %v", err)
	}
	for name, h := range f.hosts {
		if n := h.Counts().Connections; n > 0 {
			t.Errorf("%s was dialled %d times", name, n)
		}
	}
}

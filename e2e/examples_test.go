package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
)

// TestExamples plans examples on machines at the very addresses they name,
// with the operator's key where OpenSSH has it.
func TestExamples(t *testing.T) {
	for _, example := range []string{"single", "three-masters"} {
		t.Run(example, func(t *testing.T) {
			w := newWorld(t, "e2e-examples", "../inventories/"+example+".hcl")
			home := t.TempDir()
			if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"id_ed25519", "known_hosts"} {
				content, err := os.ReadFile(filepath.Join(w.lab.OperatorDir(), file))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(home, ".ssh", file), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("HOME", home)
			w.mustRun(t, "validate", w.inventory)
			// The official locations can't be reached from the lab: their
			// digests stand in the lock file, as after a first apply.
			pin(t, w.inventory)
			r := w.run(t, "plan", "-detailed-exitcode", w.inventory)
			if r.code != 2 || !strings.Contains(r.stdout, "+ unit etcd.service") {
				t.Errorf("plan: %s", r)
			}
		})
	}
}

// pin writes a lock file with a digest for every artifact of an inventory.
func pin(t *testing.T, file string) {
	t.Helper()
	inv, _, diags := inventory.Load(file, inventory.Options{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	digests := map[string]string{}
	for _, release := range plan.Releases(inv) {
		digests[release.Location] = strings.Repeat("0", 64)
	}
	lock := inventory.FormatLock(plan.ProposeLock(inv, inventory.Lock{}, digests))
	if err := os.WriteFile(inventory.LockPath(file), lock, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestVagrantfile has Vagrant itself look at the Vagrantfile.
func TestVagrantfile(t *testing.T) {
	required := os.Getenv("KINSTALL_E2E") == "required"
	if testing.Short() {
		t.Skip("left out with -short")
	}
	if _, err := exec.LookPath("vagrant"); err != nil {
		if !required || os.Geteuid() != 0 {
			t.Skip("vagrant is not installed (Debian's package will do)")
		}
		install := exec.Command("apt-get", "-qq", "-y", "install", "--no-install-recommends", "vagrant")
		install.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("apt-get install vagrant: %v\n%s", err, out)
		}
	}
	command := exec.Command("vagrant", "validate", "--ignore-provider")
	command.Dir = "../inventories/vagrant"
	// Vagrant keeps its own state in the home directory and beside the file.
	command.Env = append(os.Environ(), "VAGRANT_HOME="+t.TempDir(), "VAGRANT_DOTFILE_PATH="+t.TempDir(), "VAGRANT_CHECKPOINT_DISABLE=1")
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("vagrant validate: %v\n%s", err, out)
	}
}

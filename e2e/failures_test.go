package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/e2e/components"
	"github.com/kinstall/kinstall/plan/fact"
)

// TestFailures tells what a user sees when something is wrong, and that
// nothing is half-written then.
func TestFailures(t *testing.T) {
	w := newWorld(t, "e2e-fail", kubernetes("single")...)
	good, err := os.ReadFile(w.inventory)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"broken HCL", brokenHCL},
		{"wrong host key", wrongHostKey},
		{"unknown host key", unknownHostKey},
		{"unreachable host", unreachableHost},
		{"another machine's name", wrongHostname},
		{"a kernel without IPVS", withoutIPVS},
		{"wrong checksum", wrongChecksum},
		{"truncated artifact", truncatedArtifact},
		{"full disk", fullDisk},
		{"locked by somebody else", locked},
		{"a failed run is taken up where it stopped", afterwards},
	} {
		t.Run(part.name, func(t *testing.T) {
			w.write(t, string(good))
			part.test(t, w)
		})
	}
}

// fails runs kinstall, expects an exit code and texts in what it says on
// standard error or output.
func fails(t *testing.T, r result, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d expected: %s", code, r)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr+r.stdout, text) {
			t.Errorf("%q is not said: %s", text, r)
		}
	}
}

// untouched runs f and expects that it changes no file of the machine.
func untouched(t *testing.T, w *world, f func()) {
	t.Helper()
	before := w.ssh(t, "taishan", listing)
	f()
	if diff := cmp.Diff(before, w.ssh(t, "taishan", listing)); diff != "" {
		t.Errorf("the machine was changed:\n%s", diff)
	}
}

func brokenHCL(t *testing.T, w *world) {
	w.edit(t, `roles   = ["etcd", "master"]`, "roles   = [\"etcd\", \"mater\"]\n  adddress  = 1")
	untouched(t, w, func() {
		r := w.run(t, "apply", "-yes", w.inventory)
		fails(t, r, 1, `"mater" is none of`, `Did you mean "master"?`, `no attribute "adddress"`, `Did you mean "address"?`)
	})
}

func wrongHostKey(t *testing.T, w *world) {
	// The key of another machine: what an impostor would present.
	key := strings.Fields(w.ssh(t, "taishan", "ssh-keygen -q -t ed25519 -N '' -f /tmp/k <<< y >/dev/null; cat /tmp/k.pub; rm /tmp/k /tmp/k.pub"))
	known := filepath.Join(w.dir, "wrong_hosts")
	if err := os.WriteFile(known, []byte("10.89.0.11 "+key[0]+" "+key[1]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.edit(t, `"${var.lab}/known_hosts"`, `"`+known+`"`)
	untouched(t, w, func() {
		fails(t, w.run(t, "apply", "-yes", w.inventory), 4, "taishan", "THE HOST KEY", "HAS CHANGED", "SHA256:", "10.89.0.11 ssh-ed25519 AAAA")
	})
}

func unknownHostKey(t *testing.T, w *world) {
	known := filepath.Join(w.dir, "empty_hosts")
	if err := os.WriteFile(known, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.edit(t, `"${var.lab}/known_hosts"`, `"`+known+`"`)
	untouched(t, w, func() {
		fails(t, w.run(t, "plan", w.inventory), 4, "taishan", "host key", "SHA256:")
	})
	if content, _ := os.ReadFile(known); len(content) > 0 {
		t.Error("the unknown key was written down without being asked to")
	}
}

func unreachableHost(t *testing.T, w *world) {
	if err := w.lab.Cut(t.Context(), "taishan"); err != nil {
		t.Fatal(err)
	}
	w.edit(t, `known_hosts = "${var.lab}/known_hosts"`, "known_hosts = \"${var.lab}/known_hosts\"\n  timeout     = \"3s\"")
	r := w.run(t, "plan", w.inventory)
	if err := w.lab.Heal(t.Context(), "taishan"); err != nil {
		t.Fatal(err)
	}
	fails(t, r, 4, "taishan", "10.89.0.11")
	eventually(t, 30*time.Second, "the cable is plugged in again", func() string {
		conn, err := w.lab.DialContext(t.Context(), "tcp", "10.89.0.11:22")
		if err != nil {
			return err.Error()
		}
		conn.Close()
		return ""
	})
}

func wrongHostname(t *testing.T, w *world) {
	w.edit(t, `host "taishan"`, `host "songshan"`)
	untouched(t, w, func() {
		fails(t, w.run(t, "apply", "-yes", w.inventory), 1, "songshan", `"taishan"`, "set_hostname")
	})
}

func wrongChecksum(t *testing.T, w *world) {
	archive, pinned := etcdArchive(t, w.mirror.Dir), strings.Repeat("0", 64)
	w.edit(t, "source = var.mirror", `source = var.mirror
  sha256 = { etcd = "`+pinned+`" }`)
	// The inventory is a good one: what is refused is the file.
	w.mustRun(t, "validate", w.inventory)
	fails(t, w.run(t, "apply", "-yes", w.inventory), 1, "etcd",
		"SHA-256 is "+digest(t, archive), "expected "+pinned+"; refused", "artifacts.sha256")
	if found := w.ssh(t, "taishan", "ls /usr/local/bin/etcd* 2>/dev/null || true"); found != "" {
		t.Errorf("installed all the same: %s", found)
	}
	if left := w.ssh(t, "taishan", "find /var/tmp -mindepth 1 -name 'kinstall*'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func truncatedArtifact(t *testing.T, w *world) {
	mirror := filepath.Join(w.dir, "mirror")
	if err := os.CopyFS(mirror, os.DirFS(w.mirror.Dir)); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(mirror)
	archive := etcdArchive(t, mirror)
	whole := digest(t, archive)
	if err := os.Truncate(archive, 1<<20); err != nil {
		t.Fatal(err)
	}
	w.edit(t, "source = var.mirror", `source = "`+mirror+`"`)
	fails(t, w.run(t, "apply", "-yes", w.inventory), 1, "etcd",
		"SHA-256 is "+digest(t, archive)+" (1048576 bytes), expected "+whole+"; refused")
	if found := w.ssh(t, "taishan", "ls /usr/local/bin/etcd* 2>/dev/null || true"); found != "" {
		t.Errorf("installed all the same: %s", found)
	}
	if left := w.ssh(t, "taishan", "find /var/tmp -mindepth 1 -name 'kinstall*'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// etcdArchive is etcd's release in a mirror.
func etcdArchive(t *testing.T, mirror string) string {
	t.Helper()
	matches, err := filepath.Glob(filepath.Join(mirror, "github.com/etcd-io/etcd/releases/download/v"+components.Default().Etcd+"/etcd-*.tar.gz"))
	if err != nil || len(matches) != 1 {
		t.Fatalf("etcd in the mirror: %v, %v", matches, err)
	}
	return matches[0]
}

// digest is a file's SHA-256 in hex.
func digest(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}

func fullDisk(t *testing.T, w *world) {
	w.ssh(t, "taishan", "mkdir -p /opt/cni/bin && mount -t tmpfs -o size=1M tmpfs /opt/cni/bin")
	defer w.ssh(t, "taishan", "umount /opt/cni/bin")
	// The artifact may be there since a run before: then it is asked for again.
	r := w.run(t, "apply", "-yes", w.inventory)
	fails(t, r, 1, "taishan", "cni", "No space left on device")
	if left := w.ssh(t, "taishan", "ls -A /opt/cni/bin"); strings.Contains(left, ".kinstall") {
		t.Errorf("half-written: %s", left)
	}
}

func locked(t *testing.T, w *world) {
	holder := w.lab.SSH(t.Context(), "taishan", "exec 9>>/run/kinstall.lock; flock -n 9 || exit 1; echo 'somebody else' > /run/kinstall.lock; echo locked; cat")
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	untouched(t, w, func() {
		fails(t, w.run(t, "apply", "-yes", w.inventory), 1, "taishan", "somebody else")
	})
	stdin.Close()
	if err := holder.Wait(); err != nil {
		t.Errorf("the lock was not held all the while: %v", err)
	}
}

// afterwards applies the good inventory after all these failures.
func afterwards(t *testing.T, w *world) {
	var state fact.State
	if err := json.Unmarshal([]byte(w.ssh(t, "taishan", "cat "+fact.StatePath)), &state); err != nil {
		t.Fatal(err)
	}
	// What a run before got done is not done again.
	if len(state.Resources) < 10 {
		t.Errorf("the run that met a full disk recorded only %d resources", len(state.Resources))
	}
	r := w.apply(t)
	for _, change := range changed(r.stdout) {
		fields := strings.Fields(change) // HOST SIGN KIND NAME
		if _, done := state.Resources[fields[2]+":"+fields[3]]; done && fields[0] == "taishan" {
			t.Errorf("done before, and done again: %s", change)
		}
	}
	if ready := w.mustKubectl(t, "get", "node", "taishan", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`); ready != "True" {
		t.Errorf("taishan is not Ready: %q", ready)
	}
	if r := w.apply(t); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("second apply: %s", r)
	}
	if state := w.ssh(t, "taishan", "cat "+fact.StatePath); strings.Contains(state, "PRIVATE KEY") {
		t.Error("the state holds a key")
	}
}

func withoutIPVS(t *testing.T, w *world) {
	if has := w.ssh(t, "taishan", `ls -d /sys/module/ip_vs 2>/dev/null; grep -o ip_vs.ko "/lib/modules/$(uname -r)/modules.dep" "/lib/modules/$(uname -r)/modules.builtin" 2>/dev/null || true`); has != "" {
		t.Skipf("this kernel has IPVS: %s", has)
	}
	w.edit(t, "kube_proxy {", "kube_proxy {\n  mode = \"ipvs\"")
	untouched(t, w, func() {
		fails(t, w.run(t, "apply", "-yes", w.inventory), 1, "has no module ip_vs", `set kube_proxy.mode = "nftables"`)
	})
}

package provision

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/ssh"
)

// machineOf returns a connected host.
func machineOf(t *testing.T) (*machine, *testHost) {
	t.Helper()
	f := newFleet(t, Options{}, "shaolin")
	m, err := f.connect(t.Context(), "shaolin")
	if err != nil {
		t.Fatal(err)
	}
	return m, f.hosts["shaolin"]
}

func TestWriteFile(t *testing.T) {
	m, h := machineOf(t)
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	for _, c := range []struct {
		name, path string
		content    []byte
		mode       uint32
	}{
		{"plain", "/etc/plain", []byte("text\n"), 0o644},
		{"empty", "/etc/empty", nil, 0o600},
		{"no newline at the end", "/etc/unfinished", []byte("x"), 0o640},
		{"every byte", "/etc/binary", binary, 0o644},
		{"large", "/etc/large", bytes.Repeat([]byte("0123456789abcdef"), 1<<16), 0o644},
		{"looks like a script", "/etc/script", []byte("$(touch /tmp/pwned)\n`id`\n'\"\\\nEOF\n"), 0o755},
		{"missing directories", "/etc/a/b/c/file", []byte("x"), 0o600},
		{"odd name", "/etc/it's \"quoted\" $HOME `x` *?[a] \\n ü -n", []byte("x"), 0o644},
		{"name like an option", "/etc/-rf", []byte("x"), 0o644},
		{"setuid", "/etc/setuid", []byte("x"), 0o4755},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := h.path(c.path)
			err := m.writeFile(t.Context(), fileWrite{label: "write", path: file, content: c.content, own: self(t, c.mode)})
			if err != nil {
				t.Fatal(err)
			}
			if got := h.read(t, file); got != string(c.content) {
				t.Errorf("content %.40q", got)
			}
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			mode := uint32(info.Mode().Perm())
			if info.Mode()&os.ModeSetuid != 0 {
				mode |= 0o4000
			}
			if mode != c.mode {
				t.Errorf("mode %04o", mode)
			}
			if parent, err := os.Stat(filepath.Dir(file)); err != nil || parent.Mode().Perm() != 0o755 {
				t.Errorf("parent: %v, %v", parent.Mode(), err)
			}
		})
	}
	if left := h.leftovers(t); len(left) > 0 {
		t.Errorf("left behind %v", left)
	}
}

// A reader that opened the file before keeps the old bytes, one that opens it
// later gets the new ones, and a hard link shows that it is another file.
func TestWriteFileIsAtomic(t *testing.T) {
	m, h := machineOf(t)
	file := h.path("/etc/file")
	if err := os.WriteFile(file, []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := m.writeFile(t.Context(), fileWrite{label: "write", path: file, content: []byte("new\n"), own: self(t, 0o644), before: resource.SHA256([]byte("old\n"))}); err != nil {
		t.Fatal(err)
	}
	if old, _ := io.ReadAll(open); string(old) != "old\n" {
		t.Errorf("who reads the file sees %q", old)
	}
	if got := h.read(t, file); got != "new\n" {
		t.Errorf("content %q", got)
	}
}

// From its first byte on a new file is for its owner's eyes alone: looked at
// by a sha256sum that stands in for the host's, which runs before owner and
// mode are set.
func TestWriteFileIsPrivateFromTheFirstByte(t *testing.T) {
	m, h := machineOf(t)
	h.program(t, "sha256sum", `for f in "$HOST"/etc/.kinstall.*; do stat -c '%a %s' "$f" >>"$HOST/seen"; done
exec /usr/bin/sha256sum "$@"
`)
	if err := m.writeFile(t.Context(), fileWrite{label: "write", path: h.path("/etc/file"), content: []byte("secret\n"), own: self(t, 0o644)}); err != nil {
		t.Fatal(err)
	}
	if got := h.read(t, h.path("/seen")); got != "600 7\n" {
		t.Errorf("the temporary file was seen as %q", got)
	}
}

func TestWriteFileGuard(t *testing.T) {
	m, h := machineOf(t)
	old := resource.SHA256([]byte("old\n"))
	for _, c := range []struct {
		name, there, before string
		any, stale          bool
	}{
		{name: "as planned", there: "old\n", before: old},
		{name: "changed", there: "other\n", before: old, stale: true},
		{name: "gone", before: old, stale: true},
		{name: "appeared", there: "other\n", stale: true},
		{name: "still absent"},
		{name: "whatever it is", there: "other\n", any: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := h.path("/etc/" + c.name)
			if c.there != "" {
				if err := os.WriteFile(file, []byte(c.there), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := m.writeFile(t.Context(), fileWrite{label: "update file", path: file, content: []byte("new\n"), own: self(t, 0o644), before: c.before, anyBefore: c.any})
			if got := errors.Is(err, ErrStale); got != c.stale {
				t.Fatalf("writeFile: %v", err)
			}
			if !c.stale {
				if err != nil || h.read(t, file) != "new\n" {
					t.Errorf("%v; %q", err, h.read(t, file))
				}
				return
			}
			found := c.there
			if data, _ := os.ReadFile(file); string(data) != found {
				t.Errorf("the file holds %q", data)
			}
			if !strings.HasPrefix(err.Error(), "shaolin: update file: "+file) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

// What arrives is not what was sent: refused, and nothing is left.
func TestWriteFileRefusesDamage(t *testing.T) {
	m, h := machineOf(t)
	file := h.path("/etc/file")
	w := fileWrite{label: "write", path: file, content: []byte("whole\n"), own: self(t, 0o644)}
	_, err := m.ssh().Run(t.Context(), ssh.Command{Label: "write", Script: scriptHeader + guards(w) + placeScript(w, "cat"), Stdin: []byte("who")})
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), "arrived damaged") {
		t.Errorf("error: %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
	if left := h.leftovers(t); len(left) > 0 {
		t.Errorf("left behind %v", left)
	}
}

func TestWriteFileFailsCleanly(t *testing.T) {
	m, h := machineOf(t)
	old := resource.SHA256([]byte("old\n"))
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, file string)
		own     resource.Ownership
		before  string
	}{
		{"no such owner", func(*testing.T, string) {}, resource.Ownership{Mode: 0o644, Owner: "nobody-like-this", Group: "root"}, ""},
		{"disk full", func(t *testing.T, _ string) {
			h.program(t, "sync", "echo 'sync: No space left on device' >&2\nexit 1\n")
		}, self(t, 0o644), ""},
		{"old file kept when the disk is full", func(t *testing.T, file string) {
			if err := os.WriteFile(file, []byte("old\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, self(t, 0o644), old},
		{"a directory is in the way", func(t *testing.T, file string) {
			os.Remove(filepath.Join(h.bin, "sync"))
			if err := os.MkdirAll(filepath.Join(file, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, self(t, 0o644), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := h.path("/etc/" + c.name)
			c.prepare(t, file)
			err := m.writeFile(t.Context(), fileWrite{label: "write", path: file, content: []byte("new\n"), own: c.own, before: c.before})
			var exit *ssh.ExitError
			if !errors.As(err, &exit) || errors.Is(err, ErrStale) {
				t.Errorf("writeFile: %v", err)
			}
			if data, err := os.ReadFile(file); err == nil && string(data) == "new\n" {
				t.Error("the file was written")
			}
			if c.before != "" && h.read(t, file) != "old\n" {
				t.Error("the old file is damaged")
			}
			if left := h.leftovers(t); len(left) > 0 {
				t.Errorf("left behind %v", left)
			}
		})
	}
}

// Scripts of another kind may end with any code.
func TestExitCodeOfOtherScriptsIsNotStale(t *testing.T) {
	m, _ := machineOf(t)
	err := m.script(t.Context(), "other", fmt.Sprintf("exit %d\n", exitStale))
	if err == nil || errors.Is(err, ErrStale) {
		t.Errorf("error: %v", err)
	}
}

func TestWriteFileLikeBefore(t *testing.T) {
	m, h := machineOf(t)
	file := h.path("/etc/hosts")
	write := func(before string) {
		t.Helper()
		if err := m.writeFile(t.Context(), fileWrite{label: "write", path: file, content: []byte("new\n"), before: before, likeBefore: true}); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o644 {
		t.Errorf("a new file has mode %v", info.Mode())
	}
	if err := os.WriteFile(file, []byte("old\n"), 0o604); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o604); err != nil {
		t.Fatal(err)
	}
	write(resource.SHA256([]byte("old\n")))
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o604 {
		t.Errorf("mode %v", info.Mode())
	}
}

// The kubelet reads every file in its manifest directory, hidden or not.
func TestManifestsAreStagedElsewhere(t *testing.T) {
	m, h := machineOf(t)
	h.program(t, "sha256sum", `ls -A "$HOST/etc/kubernetes/manifests" >>"$HOST/seen"
exec /usr/bin/sha256sum "$@"
`)
	manifest := plan.ManifestDirectory + "/etcd.yaml"
	if err := m.writeFile(t.Context(), fileWrite{label: "write", path: manifest, content: []byte("x"), own: self(t, 0o600)}); err != nil {
		t.Fatal(err)
	}
	if seen := h.read(t, h.path("/seen")); seen != "" {
		t.Errorf("the manifest directory held %q", seen)
	}
	if got := h.read(t, h.path(manifest)); got != "x" {
		t.Errorf("content %q", got)
	}
}

// Several files in one exec: either all are as planned, or none is written.
func TestWriteFilesChecksAllBeforeItWritesAny(t *testing.T) {
	m, h := machineOf(t)
	key, cert := h.path("/etc/x.key"), h.path("/etc/x.crt")
	for file, content := range map[string]string{key: "old key\n", cert: "of somebody else\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writes := []fileWrite{
		{path: key, content: []byte("new key\n"), own: self(t, 0o600), anyBefore: true},
		{path: cert, content: []byte("new certificate\n"), own: self(t, 0o644), before: resource.SHA256([]byte("old certificate\n"))},
	}
	if err := m.writeFiles(t.Context(), "replace", writes...); !errors.Is(err, ErrStale) {
		t.Errorf("writeFiles: %v", err)
	}
	if got := h.read(t, key); got != "old key\n" {
		t.Errorf("the key was replaced though its certificate was not: %q", got)
	}
	writes[1].before = resource.SHA256([]byte("of somebody else\n"))
	before := len(h.ran())
	if err := m.writeFiles(t.Context(), "replace", writes...); err != nil {
		t.Fatal(err)
	}
	if h.read(t, key) != "new key\n" || h.read(t, cert) != "new certificate\n" || len(h.ran())-before != 1 {
		t.Errorf("%q, %q, %d execs", h.read(t, key), h.read(t, cert), len(h.ran())-before)
	}
}

// Files of every kind, from nothing to as they should be, and the second time
// nothing; then away again.
func TestFilesEndToEnd(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	authority := resource.Authority{Name: plan.AuthorityEtcd, CommonName: "etcd-ca", Validity: 24 * time.Hour}
	hosts := h.path("/etc/hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost"), 0o644); err != nil {
		t.Fatal(err)
	}
	describe := func() plan.StepID {
		f.steps = nil
		authority.Exists = f.authorities.Exists(authority.Name)
		created := f.step(plan.Operator, authority)
		dir := f.step("shaolin", resource.Directory{Path: h.path("/etc/pki"), Ownership: resource.Ownership{Mode: 0o700}})
		f.step("shaolin", resource.File{Path: h.path("/etc/pki/token"), Content: []byte("hush"), Sensitive: true}, dir)
		f.step("shaolin", resource.AuthorityFile{Authority: authority.Name, Part: resource.PartCertificate, Path: h.path("/etc/pki/ca.crt"), SHA256: f.authorities.SHA256(authority.Name, resource.PartCertificate)}, dir, created)
		f.step("shaolin", resource.AuthorityFile{Authority: authority.Name, Part: resource.PartPrivateKey, Path: h.path("/etc/pki/ca.key"), SHA256: f.authorities.SHA256(authority.Name, resource.PartPrivateKey)}, dir, created)
		f.step("shaolin", resource.Block{Path: hosts, Name: "hosts", Content: "10.0.0.1 shaolin\n"})
		return f.step("shaolin", resource.Certificate{
			Path: h.path("/etc/pki/server.crt"), KeyPath: h.path("/etc/pki/server.key"),
			Authority: authority.Name, Issuer: f.authorities.Certificate(authority.Name),
			CommonName: "shaolin", DNSNames: []string{"shaolin"}, Addresses: []string{"10.0.0.1"}, Server: true,
			Validity: 12 * time.Hour, RenewBefore: time.Hour,
		}, dir, created)
	}
	cert := describe()
	report := f.mustApply(t, f.survey(t))
	if n := report.Count(Finished); n != 7 {
		t.Errorf("%d steps", n)
	}
	modes := map[string]os.FileMode{}
	for _, name := range []string{"token", "ca.crt", "ca.key", "server.crt", "server.key"} {
		info, err := os.Stat(h.path("/etc/pki/" + name))
		if err != nil {
			t.Fatal(err)
		}
		modes[name] = info.Mode().Perm()
	}
	if diff := cmp.Diff(map[string]os.FileMode{"token": 0o600, "ca.crt": 0o644, "ca.key": 0o600, "server.crt": 0o644, "server.key": 0o600}, modes); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
	if got := h.read(t, hosts); !strings.HasPrefix(got, "127.0.0.1 localhost\n# BEGIN kinstall hosts\n10.0.0.1 shaolin\n# END") {
		t.Errorf("hosts: %q", got)
	}
	pair, err := os.ReadFile(h.path("/etc/pki/server.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := fits(pair, []byte(h.read(t, h.path("/etc/pki/server.key")))); err != nil {
		t.Errorf("certificate and key: %v", err)
	}

	f.connectAnew(t, Options{})
	describe()
	if found := changes(f.survey(t)); len(found) > 0 {
		t.Errorf("the second plan changes %v", found)
	}

	// A mode changed by hand: repaired without a new key.
	if err := os.Chmod(h.path("/etc/pki/server.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	delta := f.survey(t)
	if diff := cmp.Diff(map[plan.StepID]resource.Action{cert: resource.Update}, changes(delta)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.mustApply(t, delta)
	if info, _ := os.Stat(h.path("/etc/pki/server.key")); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if again := h.read(t, h.path("/etc/pki/server.crt")); again != string(pair) {
		t.Error("the certificate was made anew for a mode")
	}

	// Everything leaves the inventory.
	f.connectAnew(t, Options{})
	f.steps = nil
	f.step("shaolin", resource.Directory{Path: h.path("/run")})
	f.mustApply(t, f.survey(t))
	for _, name := range []string{"token", "ca.crt", "ca.key", "server.crt", "server.key"} {
		if _, err := os.Stat(h.path("/etc/pki/" + name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if got := h.read(t, hosts); got != "127.0.0.1 localhost\n" {
		t.Errorf("hosts: %q", got)
	}
	if resources := h.stateFile(t).Resources; len(resources) != 1 {
		t.Errorf("state: %v", resources)
	}
	if left := h.leftovers(t); len(left) > 0 {
		t.Errorf("left behind %v", left)
	}
}

func fits(cert, key []byte) error {
	block, _ := pem.Decode(cert)
	if block == nil {
		return errors.New("no certificate")
	}
	_, err := tls.X509KeyPair(cert, key)
	return err
}

// Secrets travel as payload and nowhere else: no command line, no script, no
// output, no error holds a line of them.
func TestSecretsStayInThePayload(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	if err := f.authorities.Create(resource.Authority{Name: plan.AuthorityKubernetes, CommonName: "ca", Validity: 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	authorityKey, err := f.authorities.Bytes(plan.AuthorityKubernetes, resource.PartPrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyFile, token := h.path("/etc/pki/apiserver.key"), "a-token-that-nobody-must-see"
	f.step("shaolin", resource.AuthorityFile{Authority: plan.AuthorityKubernetes, Part: resource.PartPrivateKey, Path: h.path("/etc/pki/ca.key"), SHA256: resource.SHA256(authorityKey)})
	f.step("shaolin", resource.File{Path: h.path("/etc/token"), Content: []byte(token), Sensitive: true})
	f.step("shaolin", resource.Certificate{
		Path: h.path("/etc/pki/apiserver.crt"), KeyPath: keyFile, Authority: plan.AuthorityKubernetes,
		Issuer: f.authorities.Certificate(plan.AuthorityKubernetes), CommonName: "kube-apiserver", Server: true, Validity: 12 * time.Hour, RenewBefore: time.Hour,
	})
	var said strings.Builder
	note := func(event Event) { fmt.Fprintln(&said, event.Text, event.Err) }
	e := f.executor()
	e.Notify = note
	if _, err := e.Apply(t.Context(), f.survey(t)); err != nil {
		t.Fatal(err)
	}
	secrets := append(strings.Fields(string(authorityKey)), token)
	secrets = append(secrets, strings.Fields(h.read(t, keyFile))...)

	// And once more, observed with all of it there, and with every write failing.
	f.connectAnew(t, Options{})
	for _, name := range []string{"/etc/pki/ca.key", "/etc/token"} {
		if err := os.WriteFile(h.path(name), []byte("tampered"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(h.path("/etc/pki/apiserver.crt")); err != nil {
		t.Fatal(err)
	}
	h.program(t, "sync", "exit 1\n")
	e = f.executor()
	e.Notify = note
	delta := f.survey(t)
	report, err := e.Apply(t.Context(), delta)
	if err == nil || report.Count(Failed) != 3 {
		t.Errorf("Apply: %v", err)
	}
	for _, r := range report.Results {
		fmt.Fprintln(&said, r.Err)
	}
	fmt.Fprintf(&said, "%v\n%+v\n", err, delta.Items)

	places := map[string]string{
		"the scripts":             strings.Join(h.ran(), "\n"),
		"the command lines":       strings.Join(h.Commands(), "\n"),
		"what the host printed":   h.printed(),
		"events, errors, changes": said.String(),
		"the state":               fmt.Sprint(h.stateFile(t)),
	}
	for place, text := range places {
		if text == "" {
			t.Errorf("nothing is known of %s", place)
		}
		for _, secret := range secrets {
			if len(secret) >= 16 && !strings.HasPrefix(secret, "-----") && strings.Contains(text, secret) {
				t.Errorf("%s hold a line of a secret", place)
				break
			}
		}
	}
}

// The state stands for root alone, beside what others may look at.
func TestStateFile(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	f.step("shaolin", resource.File{Path: h.path("/etc/x"), Content: []byte("x")})
	f.mustApply(t, f.survey(t))
	info, err := os.Stat(h.path(fact.StatePath))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// A state that can't be written is an error, though every step went well.
	f.connectAnew(t, Options{})
	f.step("shaolin", resource.File{Path: h.path("/etc/y"), Content: []byte("y")})
	delta := f.survey(t)
	h.answer = func(script string, _, stderr io.Writer) (int, bool) {
		if strings.Contains(script, fact.StatePath) {
			fmt.Fprintln(stderr, "No space left on device")
			return 1, true
		}
		return 0, false
	}
	report, err := f.executor().Apply(t.Context(), delta)
	if err == nil || !strings.Contains(err.Error(), "No space left") || report.Count(Failed) != 0 {
		t.Errorf("Apply: %v", err)
	}
}

package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan/fact"
)

// secretWatch is the program of e2e/secretwatch at work, on a machine or on the
// operator's side.
type secretWatch struct {
	where  string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// secretReport is what it says in the end; see e2e/secretwatch.
type secretReport struct {
	Readable, Processes, Errors []string
	Files, Samples              int
}

// watchSecrets starts it, and waits until it looks.
func watchSecrets(t *testing.T, where string, cmd *exec.Cmd, directories, except, secrets []string) *secretWatch {
	t.Helper()
	w := &secretWatch{where: where, cmd: cmd}
	cmd.Stderr = &w.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.stdin, w.stdout = stdin, bufio.NewReader(stdout)
	if err := json.NewEncoder(stdin).Encode(map[string]any{"directories": directories, "except": except, "secrets": secrets}); err != nil {
		t.Fatal(err)
	}
	if line, err := w.stdout.ReadString('\n'); err != nil || line != "watching\n" {
		t.Fatalf("%s: %q %v\n%s", where, line, err, w.stderr.String())
	}
	return w
}

// end has it end and say what it saw.
func (w *secretWatch) end(t *testing.T) secretReport {
	t.Helper()
	var report secretReport
	err := w.stdin.Close()
	if err == nil {
		err = json.NewDecoder(w.stdout).Decode(&report)
	}
	if err == nil {
		err = w.cmd.Wait()
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", w.where, err, w.stderr.String())
	}
	return report
}

// decoded adds to words what those of them say that are base64.
func decoded(words []string) []string {
	all := slices.Clone(words)
	for _, word := range words {
		if text, err := base64.StdEncoding.DecodeString(word); err == nil {
			all = append(all, string(text))
		}
	}
	return all
}

const (
	canary      = "canary-Yellow-4711-password"
	otherCanary = "canary-Orange-0815-password"
	privateKey  = "PRIVATE KEY-----"
)

// TestSecrets follows secrets through real runs: the password of a registry, two
// of them, and every private key that is there in the end. None may be read by
// others at any moment, stand among the arguments or in the environment of a
// process, in what kinstall prints, in a log, or in what it leaves behind.
func TestSecrets(t *testing.T) {
	w := newWorld(t, "e2e-secrets", kubernetes("single")...)
	const host = "taishan"
	program := filepath.Join(t.TempDir(), "secretwatch")
	build := exec.Command("go", "build", "-o", program, "./secretwatch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	binary, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	upload := w.lab.SSH(t.Context(), host, "cat >/root/secretwatch && chmod 0700 /root/secretwatch")
	upload.Stdin = binary
	if out, err := upload.CombinedOutput(); err != nil {
		t.Fatalf("upload: %v\n%s", err, out)
	}

	password := filepath.Join(w.dir, "password")
	setPassword := func(text string) {
		if err := os.WriteFile(password, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	setPassword(canary)
	w.edit(t, "runtime \"containerd\" {\n", `runtime "containerd" {
  registry "registry.example:5000" {
    username      = "puller"
    password_file = "password"
  }
`)
	encoded := func(password string) string { return base64.StdEncoding.EncodeToString([]byte("puller:" + password)) }
	known := []string{canary, encoded(canary), otherCanary, encoded(otherCanary)}
	watches := []*secretWatch{
		watchSecrets(t, host, w.lab.SSH(t.Context(), host, "/root/secretwatch"),
			[]string{"/etc", "/root", "/run", "/tmp", "/var/tmp", "/var/lib/kinstall", "/var/lib/kubelet", "/usr/local"},
			// Of containers, systemd and udev; and what the cluster gives its pods.
			[]string{"/run/containerd", "/run/systemd", "/run/udev", "/run/netns", "/var/lib/kubelet/pods"}, append([]string{privateKey}, known...)),
		watchSecrets(t, "operator", exec.Command(program), []string{w.dir}, nil, append([]string{privateKey}, known...)),
	}

	var printed bytes.Buffer
	run := func(code int, args ...string) result {
		r := w.run(t, args...)
		if r.code != code {
			t.Fatalf("kinstall %s: %s", strings.Join(args, " "), r)
		}
		printed.WriteString(r.stdout + r.stderr)
		return r
	}
	run(0, "validate", "-resolved", w.inventory)
	run(0, "plan", "-verbose", w.inventory)
	run(0, "apply", "-yes", w.inventory)
	setPassword(otherCanary)
	run(0, "plan", "-verbose", w.inventory)
	run(0, "plan", "-json", w.inventory)
	if r := run(0, "apply", "-yes", "-json", w.inventory); !strings.Contains(r.stdout, "/var/lib/kubelet/config.json") {
		t.Errorf("the other password is no change: %s", r)
	}
	w.edit(t, "kubelet {\n", "kubelet {\n  args = { \"no-such-flag\" = \"1\" }\n")
	run(1, "apply", "-yes", w.inventory) // files are kept, put back and told of
	w.edit(t, "kubelet {\n  args = { \"no-such-flag\" = \"1\" }\n", "kubelet {\n")
	w.edit(t, "cluster \"solo\" {\n", "cluster \"solo\" {\n  cert_validity     = \"17520h\"\n  cert_renew_before = \"9000h\"\n")
	run(0, "apply", "-yes", w.inventory) // all keys are replaced

	// All private keys that are there now, line by line.
	var secrets []string
	keys := regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)-----END`)
	collect := func(content []byte) {
		for _, match := range keys.FindAllSubmatch(content, -1) {
			secrets = append(secrets, strings.Fields(string(match[1]))...)
		}
	}
	files, err := filepath.Glob(filepath.Join(w.dir, "pki", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		collect(content)
	}
	ofAuthorities := len(secrets)
	collect([]byte(w.ssh(t, host, `find /etc/kubernetes /etc/etcd /var/lib/kubelet -xdev -type f -name '*.key' -exec cat {} +`)))
	if ofAuthorities == 0 || len(secrets) == ofAuthorities {
		t.Fatalf("%d lines of keys on the operator's side, %d on the host", ofAuthorities, len(secrets)-ofAuthorities)
	}
	// The last line of a key may be a few characters that stand anywhere.
	secrets = slices.DeleteFunc(secrets, func(line string) bool { return len(line) < 16 })
	secrets = append(secrets, known...)

	clean := func(where, text string) {
		t.Helper()
		if len(text) == 0 {
			t.Errorf("%s: there is nothing to be searched", where)
		}
		for i, secret := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s has secret %d of %d: …%s…", where, i, len(secrets), strings.ReplaceAll(text[max(0, at-80):at], "\n", " "))
				return
			}
		}
	}
	for _, watch := range watches {
		report := watch.end(t)
		t.Logf("%s: looked at files %d times, at all processes %d times; %d arguments and variables", watch.where, report.Files, report.Samples, len(report.Processes))
		for _, readable := range report.Readable {
			t.Errorf("%s: others could read a secret in %s", watch.where, readable)
		}
		for _, problem := range report.Errors {
			t.Errorf("%s: %s", watch.where, problem)
		}
		if report.Files < 10 || report.Samples < 100 {
			t.Errorf("%s: hardly anything was looked at", watch.where)
		}
		clean(watch.where+"'s processes", strings.Join(decoded(report.Processes), "\n"))
	}
	clean("what kinstall printed", printed.String())
	clean("the state", w.ssh(t, host, "cat "+fact.StatePath))
	clean("the journal", w.ssh(t, host, "journalctl --no-pager --output=cat"))
	clean("the containers' logs", w.ssh(t, host, "cat /var/log/pods/*/*/*.log"))
	lock, err := os.ReadFile(filepath.Join(w.dir, "inventory.lock.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	clean("the lock file", string(lock))
	if left := w.ssh(t, host, `ls -A /tmp /var/tmp | grep -i kinstall || true; ls -A /run | grep kinstall || true; find / -xdev -name '.kinstall.*' -not -path '/proc/*'`); left != "" {
		clean("what is left behind", w.ssh(t, host, `find /tmp /var/tmp /run/kinstall* -type f -exec cat {} + ; echo `+"end"))
		t.Logf("left behind:\n%s", left)
	}
	// What was put aside to go back is kept no longer than it may be needed.
	if aside := w.ssh(t, host, `grep -rlE -e '`+privateKey+`' /var/lib/kinstall || true`); aside != "" {
		t.Errorf("private keys below /var/lib/kinstall:\n%s", aside)
	}
}

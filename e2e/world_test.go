// Package e2e proves kinstall on real machines: real sshd, systemd, etcd,
// containerd, kubelets and API servers, booted by package lab from components
// built by package components.
//
// Where the lab can't run, the tests are skipped and say why; with
// KINSTALL_E2E=required (as in CI) they fail instead.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kinstall/kinstall/e2e/components"
	"github.com/kinstall/kinstall/e2e/lab"
	"github.com/kinstall/kinstall/plan/inventory"
)

// world is a lab with machines, and an operator's directory with an inventory.
type world struct {
	lab        *lab.Lab
	dir        string // of the inventory, pki/ and the lock file
	inventory  string // path
	kinstall   string // binary
	mirror     components.Mirror
	kubeconfig string
	outside    string // URL of a server outside of the cluster, if there is one
}

// preparedDir holds what was prepared; "" if nothing was.
var preparedDir string

// prepared is what all worlds share and what takes long: built once a process.
var prepared = sync.OnceValues(func() (world, error) {
	cache, err := components.DefaultCacheDir()
	if err != nil {
		return world{}, err
	}
	builder := components.Builder{CacheDir: cache, Versions: components.Default(), Log: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}}
	mirror, err := builder.Build(context.Background())
	if err != nil {
		return world{}, err
	}
	dir, err := os.MkdirTemp("", "kinstall-e2e-*")
	if err != nil {
		return world{}, err
	}
	preparedDir = dir
	// A copy: another checkout may be filling the same mirror with its own.
	toolbox, err := os.ReadFile(filepath.Join(mirror.Dir, strings.Replace(components.Toolbox, ":", "/", 1)+".tar"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, toolboxFile), toolbox, 0o644)
	}
	if err != nil {
		return world{}, err
	}
	binary := filepath.Join(dir, "kinstall")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "github.com/kinstall/kinstall/cmd/kinstall")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return world{}, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return world{kinstall: binary, mirror: mirror}, nil
})

// buildPrevious brings the previous minor version of Kubernetes into the mirror
// that all worlds share.
func buildPrevious(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("end-to-end tests are left out with -short")
	}
	cache, err := components.DefaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	builder := components.Builder{CacheDir: cache, Versions: components.Default(), Log: t.Logf}
	if _, err := builder.BuildKubernetes(t.Context(), components.PreviousKubernetes); err != nil {
		t.Fatal(err)
	}
}

// toolboxFile is the toolbox's archive beside each inventory.
const toolboxFile = "toolbox.tar"

func TestMain(m *testing.M) {
	code := m.Run()
	// Not by asking for what was prepared: where no test did, that would build it.
	if preparedDir != "" {
		os.RemoveAll(preparedDir)
	}
	os.Exit(code)
}

// Parts that the inventories of stories have in common.
const (
	operatorPart   = "testdata/operator.hcl"
	containersPart = "testdata/sandbox-containers.hcl"
	nodesPart      = "testdata/sandbox-nodes.hcl"
)

// kubernetes names the parts of an inventory of nodes with containerd.
func kubernetes(story string) []string {
	return []string{"testdata/" + story + ".hcl", operatorPart, containersPart, nodesPart}
}

// newWorld boots the machines of an inventory, all of them bare, and removes
// them when the test ends (KINSTALL_E2E_KEEP leaves them for a look). The
// inventory is made of parts, one after the other.
func newWorld(t *testing.T, name string, parts ...string) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("end-to-end tests are left out with -short")
	}
	// A lab of its own for each test and checkout: neither make lab's machines
	// nor those of a test run elsewhere are taken down.
	l, err := lab.Open(lab.NameFor(name, "."))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Supported(); err != nil {
		if os.Getenv("KINSTALL_E2E") == "required" {
			t.Fatalf("the lab can't run here: %v", err)
		}
		t.Skipf("the lab can't run here: %v", err)
	}
	shared, err := prepared()
	if err != nil {
		t.Fatal(err)
	}
	w := shared
	w.lab = l
	w.lab.Progress = os.Stderr
	w.dir = t.TempDir()
	w.inventory = filepath.Join(w.dir, "inventory.hcl")
	var content [][]byte
	for _, part := range parts {
		text, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, text)
	}
	w.write(t, string(bytes.Join(content, []byte("\n"))))

	if err := os.Link(filepath.Join(filepath.Dir(w.kinstall), toolboxFile), filepath.Join(w.dir, toolboxFile)); err != nil {
		t.Fatal(err)
	}

	ctx := t.Context()
	if err := l.Down(ctx); err != nil { // what an aborted run left
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if os.Getenv("KINSTALL_E2E_KEEP") != "" && t.Failed() {
			t.Logf("machines of lab %s kept (bin/lab -name %s status); the inventory was copied to %s", l.Name(), l.Name(), w.keep())
			return
		}
		// Nobody will look at their disks: their power is cut.
		ctx := context.Background()
		machines, err := l.Status()
		for _, m := range machines {
			err = errors.Join(err, l.Stop(ctx, m.Name))
		}
		if err := errors.Join(err, l.Down(ctx)); err != nil {
			t.Errorf("lab down: %v", err)
		}
	})
	if err := l.Up(ctx, w.machines(t)); err != nil {
		t.Fatal(err)
	}
	return &w
}

func (w *world) keep() string {
	dir, err := os.MkdirTemp("", "kinstall-kept-*")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(w.dir))
	}
	if err != nil {
		return err.Error()
	}
	return dir
}

// write replaces the inventory.
func (w *world) write(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(w.inventory, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// edit replaces text in the inventory; the old text must be there.
func (w *world) edit(t *testing.T, old, replacement string) {
	t.Helper()
	content, err := os.ReadFile(w.inventory)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), old) {
		t.Fatalf("the inventory does not contain %q", old)
	}
	w.write(t, strings.Replace(string(content), old, replacement, 1))
}

// machines lists the hosts of the inventory as the lab wants them.
func (w *world) machines(t *testing.T) []lab.Machine {
	t.Helper()
	inv, _, diags := inventory.Load(w.inventory, inventory.Options{Env: []string{"KINSTALL_VAR_lab=" + w.lab.OperatorDir(), "KINSTALL_VAR_mirror=" + w.mirror.Dir}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var machines []lab.Machine
	for _, host := range inv.Hosts {
		machines = append(machines, lab.Machine{Name: host.Name, Address: host.Address, AddressV6: host.AddressV6, SecondCable: host.TunnelAddress.IsValid()})
	}
	return machines
}

// result is what a program run on the operator's side said.
type result struct {
	stdout, stderr string
	code           int
	elapsed        time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d after %s\n--- stdout\n%s\n--- stderr\n%s", r.code, r.elapsed.Round(time.Millisecond), r.stdout, r.stderr)
}

// exec runs a program on the operator's side of the lab.
func (w *world) exec(t *testing.T, argv ...string) result {
	t.Helper()
	return w.execContext(t.Context(), t, argv...)
}

func (w *world) execContext(ctx context.Context, t *testing.T, argv ...string) result {
	t.Helper()
	command := w.lab.Exec(ctx, argv...)
	command.Dir = w.dir
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	begin := time.Now()
	err := command.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String(), elapsed: time.Since(begin)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return r
}

// run runs kinstall and returns what it said, whatever its exit code.
func (w *world) run(t *testing.T, args ...string) result {
	t.Helper()
	return w.exec(t, append([]string{w.kinstall}, args...)...)
}

// mustRun runs kinstall and expects exit code 0.
func (w *world) mustRun(t *testing.T, args ...string) result {
	t.Helper()
	r := w.run(t, args...)
	if r.code != 0 {
		t.Fatalf("kinstall %s: %s", strings.Join(args, " "), r)
	}
	return r
}

// apply applies the inventory.
func (w *world) apply(t *testing.T, args ...string) result {
	t.Helper()
	return w.mustRun(t, append([]string{"apply", "-yes", w.inventory}, args...)...)
}

// ssh runs a command on a machine and expects success.
func (w *world) ssh(t *testing.T, machine, command string) string {
	t.Helper()
	ssh := w.lab.SSH(t.Context(), machine, command)
	var stdout, stderr bytes.Buffer
	ssh.Stdout, ssh.Stderr = &stdout, &stderr
	if err := ssh.Run(); err != nil {
		t.Fatalf("%s: %s: %v\n%s%s", machine, command, err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// kubectl runs kubectl with the admin kubeconfig, through the load balancer.
func (w *world) kubectl(t *testing.T, args ...string) result {
	t.Helper()
	return w.kubectlContext(t.Context(), t, args...)
}

func (w *world) kubectlContext(ctx context.Context, t *testing.T, args ...string) result {
	t.Helper()
	if w.kubeconfig == "" {
		w.kubeconfig = filepath.Join(w.dir, "admin.conf")
		w.mustRun(t, "kubeconfig", "-force", "-out", w.kubeconfig, w.inventory)
	}
	kubectl := filepath.Join(w.mirror.Dir, "dl.k8s.io/release/v"+components.Default().Kubernetes+"/bin/linux/amd64/kubectl")
	return w.execContext(ctx, t, append([]string{kubectl, "--kubeconfig", w.kubeconfig, "--request-timeout=5s"}, args...)...)
}

func (w *world) mustKubectl(t *testing.T, args ...string) string {
	t.Helper()
	r := w.kubectl(t, args...)
	if r.code != 0 {
		t.Fatalf("kubectl %s: %s", strings.Join(args, " "), r)
	}
	return strings.TrimSpace(r.stdout)
}

// create applies a manifest.
func (w *world) create(t *testing.T, manifest string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	w.mustKubectl(t, "apply", "-f", file)
}

// eventually waits until a condition holds; the condition returns "" when it
// does and else what is wrong, in words of its own: what a program printed may be
// empty.
func eventually(t *testing.T, limit time.Duration, what string, condition func() string) time.Duration {
	t.Helper()
	begin := time.Now()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		seen := condition()
		if seen == "" {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			t.Fatalf("%s: not within %s: %s", what, limit, seen)
		}
		<-tick.C
	}
}

var signs = regexp.MustCompile(`(?m)^  ([+~±↻?-]) (\S+) (\S+)`)

// changed lists the resources that a printed plan changes, "HOST SIGN KIND NAME".
func changed(printed string) []string {
	var all []string
	host := ""
	for _, line := range strings.Split(printed, "\n") {
		if rest, ok := strings.CutPrefix(line, "# host "); ok {
			host = strings.Fields(rest)[0]
		} else if strings.HasPrefix(line, "# ") {
			host = strings.TrimPrefix(line, "# ")
		}
		if m := signs.FindStringSubmatch(line); m != nil {
			all = append(all, fmt.Sprintf("%s %s %s %s", host, m[1], m[2], m[3]))
		}
	}
	return all
}

// chapter is a part of a story, which needs the ones before it.
type chapter struct {
	name string
	test func(*testing.T)
}

func tell(t *testing.T, story []chapter) {
	for _, c := range story {
		if !t.Run(c.name, c.test) {
			return
		}
	}
}

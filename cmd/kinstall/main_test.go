package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision"
	"github.com/kinstall/kinstall/provision/ssh"
)

var update = flag.Bool("update", false, "rewrite golden files")

const labInventory = `cluster "wuxia" {
  version  = var.version
  endpoint = "kubernetes.default.svc:8443"
}

variable "version" {
  default = "1.36.3"
}

ssh {
  key_file = "~/.ssh/id_ed25519"
}

load_balancer "nginx" {
  hosts = ["emei"]
}

host "shaolin" {
  address = "10.27.53.32"
  roles   = ["etcd", "master"]
}

host "wudang" {
  address = "10.24.138.208"
  roles   = ["etcd", "master"]
}

host "emei" {
  address = "10.27.52.72"
  roles   = ["etcd", "master"]
}

host "huashan" {
  address = "10.27.52.80"
  roles   = ["worker"]
}
`

// theater is a run of the program with a fake fleet.
type theater struct {
	t        *testing.T
	console  console
	out, err lockedBuffer
	signals  chan os.Signal
	fleet    *fakeFleet
	options  connectOptions
	inv      *inventory.Inventory
	changes  bool // whether emei lacks a file
	load     func(string, inventory.Options) (*inventory.Inventory, *inventory.Lock, hcl.Diagnostics)
}

func newTheater(t *testing.T) *theater {
	t.Helper()
	t.Chdir(t.TempDir())
	write(t, "lab.hcl", labInventory)
	th := &theater{t: t, signals: make(chan os.Signal, 2), changes: true}
	th.fleet = &fakeFleet{}
	clock := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	th.console = console{
		in: strings.NewReader(""), out: &th.out, err: &th.err,
		size:    func() (int, int, error) { return 0, 0, errors.New("not a terminal") },
		environ: []string{"TERM=xterm", "HOME=" + t.TempDir()},
		now:     func() time.Time { return clock },
	}
	return th
}

// run returns the exit code.
func (th *theater) run(args ...string) int {
	th.t.Helper()
	th.out.Reset()
	th.err.Reset()
	if th.load == nil {
		th.load = inventory.Load
	}
	b := backend{load: th.load, kubeconfig: func(_ context.Context, inv *inventory.Inventory, _ passphrase) ([]byte, error) {
		return []byte("kubeconfig of " + inv.Cluster.Name + "\n"), nil
	}}
	b.prepare = func(_ context.Context, inv *inventory.Inventory, _ *inventory.Lock, _ passphrase) (*prepared, hcl.Diagnostics, error) {
		th.inv = inv
		p := th.plan(inv)
		return &prepared{plan: p, connect: func(o connectOptions) fleet {
			th.options = o
			return th.fleet
		}}, nil, nil
	}
	return run(th.console, b, th.signals, args)
}

// plan wants one file and one unit that follows it on each host; the file on
// emei is missing if there are to be changes.
func (th *theater) plan(inv *inventory.Inventory) *plan.Plan {
	p := &plan.Plan{Inventory: inv}
	th.fleet.observed = plan.Observed{Hosts: map[string]plan.Observation{}}
	for i, h := range inv.Hosts {
		file := resource.File{Path: "/etc/kinstall.conf", Content: []byte("version = " + inv.Cluster.Version + "\n")}
		unit := resource.Unit{Name: "kinstall.service", Inputs: []resource.Input{file}}
		p.Steps = append(p.Steps, plan.Step{Host: h.Name, Resource: file},
			plan.Step{Host: h.Name, Resource: unit, After: []plan.StepID{plan.NewStepID(h.Name, file.ID())}})
		p.Addresses = append(p.Addresses, plan.AddressRow{Host: h.Name, Address: h.Address.String(), PodSubnet: fmt.Sprintf("10.244.%d.0/24", i)})
		digest, _ := file.InputDigest(fact.Set{})
		facts := fact.NewSet(fact.Host{Hostname: h.Name, OS: "debian", Architecture: "amd64", Addresses: []string{h.Address.String()},
			State: fact.State{Cluster: inv.Cluster.Name, Resources: map[string]fact.Record{
				string(file.ID()): {Digest: "0644 root:root", Files: map[string]string{file.Path: digest}},
				string(unit.ID()): {Inputs: map[string]string{string(file.ID()): digest}},
			}}})
		found := fact.File{Exists: true, Type: "file", Mode: 0o644, Owner: "root", Group: "root", SHA256: digest}
		if th.changes && h.Name == "emei" {
			found = fact.File{}
			facts.Host.State.Resources[string(unit.ID())] = fact.Record{Inputs: map[string]string{string(file.ID()): "another"}}
		}
		facts.Put(fact.Key{Kind: fact.KindFile, Name: file.Path}, found)
		facts.Put(fact.Key{Kind: fact.KindUnit, Name: unit.Name}, fact.Unit{LoadState: "loaded", ActiveState: "active", UnitFileState: "enabled"})
		observation := plan.Observation{Facts: facts}
		if err := th.fleet.unreachable[h.Name]; err != nil {
			observation = plan.Observation{Err: err}
		}
		th.fleet.observed.Hosts[h.Name] = observation
	}
	return p
}

// fakeFleet records what was asked of it.
type fakeFleet struct {
	decisions   []provision.Decision
	decisionErr error
	observed    plan.Observed
	unreachable map[string]error
	lockErr     error
	access      error
	observe     func(context.Context) error
	apply       func(context.Context, *plan.Delta, func(provision.Event)) (*provision.Report, error)

	calls []string
}

func (f *fakeFleet) Lock(_ context.Context, hosts []string, description string) (func(), error) {
	f.calls = append(f.calls, "lock "+strings.Join(hosts, ",")+" for "+description)
	if f.lockErr != nil {
		return func() {}, f.lockErr
	}
	return func() { f.calls = append(f.calls, "release") }, nil
}

func (f *fakeFleet) CheckAccess(context.Context, []string) error { return f.access }

func (f *fakeFleet) Observe(ctx context.Context, p *plan.Plan) (plan.Observed, error) {
	f.calls = append(f.calls, "observe "+strings.Join(p.Hosts(), ","))
	if f.observe != nil {
		if err := f.observe(ctx); err != nil {
			return plan.Observed{}, err
		}
	}
	return f.observed, nil
}

func (f *fakeFleet) Apply(ctx context.Context, d *plan.Delta, notify func(provision.Event)) (*provision.Report, error) {
	f.calls = append(f.calls, "apply")
	return f.apply(ctx, d, notify)
}

func (f *fakeFleet) ApproveRequests(context.Context, *plan.Plan) ([]provision.Decision, error) {
	f.calls = append(f.calls, "approve")
	return f.decisions, f.decisionErr
}

func (f *fakeFleet) Close() error {
	f.calls = append(f.calls, "close")
	return nil
}

// succeed finishes every step that changes something.
func succeed(_ context.Context, d *plan.Delta, notify func(provision.Event)) (*provision.Report, error) {
	report := &provision.Report{Elapsed: 58300 * time.Millisecond, Connections: 4, Execs: 9}
	work := changing(d)
	for i, item := range work {
		notify(provision.Event{Kind: provision.Started, Item: item, Done: i, Total: len(work)})
		notify(provision.Event{Kind: provision.Finished, Item: item, Done: i + 1, Total: len(work), Elapsed: time.Second})
		report.Results = append(report.Results, provision.Result{Item: item, Kind: provision.Finished, Elapsed: time.Second})
	}
	return report, nil
}

// failFirst fails the first step with an error and skips the others.
func failFirst(cause error) func(context.Context, *plan.Delta, func(provision.Event)) (*provision.Report, error) {
	return func(_ context.Context, d *plan.Delta, notify func(provision.Event)) (*provision.Report, error) {
		report := &provision.Report{Elapsed: 1200 * time.Millisecond}
		work := changing(d)
		for i, item := range work {
			kind, err := provision.Failed, cause
			if i > 0 {
				kind, err = provision.Skipped, nil
			}
			notify(provision.Event{Kind: kind, Item: item, Err: err, Done: i + 1, Total: len(work)})
			report.Results = append(report.Results, provision.Result{Item: item, Kind: kind, Err: err})
		}
		return report, &provision.FailedError{Failed: 1, Skipped: len(work) - 1, First: cause}
	}
}

func changing(d *plan.Delta) []plan.Item {
	var items []plan.Item
	for _, item := range d.Items {
		if item.Change.Action != resource.NoOp {
			items = append(items, item)
		}
	}
	return items
}

func exitFailed(command string) error {
	return fmt.Errorf("emei: create file:/etc/kinstall.conf: %w", &ssh.ExitError{Host: "emei", Command: command, ExitCode: 1,
		Stderr: []byte("mktemp: failed to create file via template: No space left on device\n\x1b[2Jtwice\n")})
}

// requested has kubelets ask for certificates, of which it is decided like this.
func requested(decisions ...provision.Decision) func(*theater) {
	return func(th *theater) {
		write(th.t, "lab.hcl", labInventory+"\nkubelet {\n  serving_certificates = \"requested\"\n}\n")
		th.fleet.decisions = decisions
	}
}

// TestSessions runs command lines and compares all that a user sees.
func TestSessions(t *testing.T) {
	for _, s := range []struct {
		name  string
		setup func(*theater)
		args  []string
		code  int
		calls []string
	}{
		{name: "plan", args: []string{"plan", "lab.hcl"}, calls: []string{"observe shaolin,wudang,emei,huashan", "close"}},
		{name: "plan-detailed", args: []string{"plan", "-detailed-exitcode", "lab.hcl"}, code: exitChanges},
		{name: "plan-json", args: []string{"plan", "lab.hcl", "--json", "-limit", "emei"}, calls: []string{"observe emei", "close"}},
		{name: "approve-planned", args: []string{"approve", "lab.hcl"}, code: exitFailure},
		{name: "approve-none", setup: requested(), args: []string{"approve", "lab.hcl"}, calls: []string{"approve", "close"}},
		{name: "approve-refused", setup: requested(
			provision.Decision{Request: "csr-a", User: "system:node:emei"},
			provision.Decision{Request: "csr-b", User: "system:node:huashan", Misfits: []string{"the address 10.27.52.71 is not its own", "the address 10.27.52.80 is missing"}},
			provision.Decision{Request: "csr-c", User: "system:node:\x1b[2Jmallory", Unknown: true},
		), args: []string{"approve", "lab.hcl"}, code: exitFailure, calls: []string{"approve", "close"}},
		{name: "approve-no-api", setup: func(th *theater) { requested()(th); th.fleet.decisionErr = errors.New("no API server answers yet") },
			args: []string{"approve", "lab.hcl"}, code: exitFailure, calls: []string{"approve", "close"}},
		{name: "plan-none", setup: noChanges, args: []string{"plan", "lab.hcl", "-detailed-exitcode"}},
		{name: "plan-limit", args: []string{"plan", "lab.hcl", "-limit", "huashan,wudang", "-detailed-exitcode"}, calls: []string{"observe wudang,huashan", "close"}},
		{name: "plan-forget-in-inventory", args: []string{"plan", "lab.hcl", "-forget", "huashan"}, code: exitFailure},
		{name: "plan-forget-unknown", args: []string{"plan", "lab.hcl", "-forget", "songshan"}, code: exitFailure, calls: []string{"observe shaolin,wudang,emei,huashan", "close"}},
		{name: "plan-forget-limit", args: []string{"plan", "lab.hcl", "-forget", "songshan", "-limit", "emei"}, code: exitFailure},
		{name: "plan-limit-unknown", args: []string{"plan", "lab.hcl", "-limit", "huoshan"}, code: exitFailure},
		{name: "plan-addresses", args: []string{"plan", "lab.hcl", "-show-addresses"}},
		{name: "plan-unreachable", setup: emeiIsDown, args: []string{"plan", "lab.hcl", "-detailed-exitcode"}, code: exitUnreachable},
		{name: "plan-problem", setup: problem, args: []string{"plan", "lab.hcl"}, code: exitFailure},
		{name: "plan-var", args: []string{"plan", "-var", "version=1.35.1", "lab.hcl"}},
		{name: "plan-broken", setup: broken, args: []string{"plan", "lab.hcl"}, code: exitFailure, calls: []string{}},
		{name: "plan-broken-json", setup: broken, args: []string{"plan", "lab.hcl", "-json"}, code: exitFailure, calls: []string{}},
		{name: "apply-broken-json", setup: broken, args: []string{"apply", "lab.hcl", "-json", "-yes"}, code: exitFailure, calls: []string{}},
		{name: "apply-not-begun", setup: func(th *theater) {
			th.fleet.apply = func(context.Context, *plan.Delta, func(provision.Event)) (*provision.Report, error) {
				return nil, &provision.LocalError{Err: errors.New("the lock file can't be written to /srv/lab: open /srv/lab/.kinstall.1: read-only file system")}
			}
		}, args: []string{"apply", "lab.hcl", "-yes"}, code: exitFailure},
		{name: "apply", args: []string{"apply", "lab.hcl", "-yes"},
			calls: []string{"lock shaolin,wudang,emei,huashan for kinstall apply", "observe shaolin,wudang,emei,huashan", "apply", "release", "close"}},
		{name: "apply-json", args: []string{"apply", "lab.hcl", "-yes", "-json", "-limit", "emei"}},
		{name: "apply-json-asks", args: []string{"apply", "lab.hcl", "-json"}, code: exitFailure, calls: []string{}},
		{name: "apply-no-terminal", args: []string{"apply", "lab.hcl"}, code: exitFailure, calls: []string{}},
		{name: "apply-confirmed", setup: answer("yes\n"), args: []string{"apply", "lab.hcl"}},
		{name: "apply-refused", setup: answer("y\n"), args: []string{"apply", "lab.hcl"}, code: exitFailure,
			calls: []string{"lock shaolin,wudang,emei,huashan for kinstall apply", "observe shaolin,wudang,emei,huashan", "release", "close"}},
		{name: "apply-end-of-input", setup: answer(""), args: []string{"apply", "lab.hcl"}, code: exitFailure},
		{name: "apply-none", setup: noChanges, args: []string{"apply", "lab.hcl", "-y"},
			calls: []string{"lock shaolin,wudang,emei,huashan for kinstall apply", "observe shaolin,wudang,emei,huashan", "apply", "release", "close"}},
		{name: "apply-unreachable", setup: emeiIsDown, args: []string{"apply", "lab.hcl", "-yes"}, code: exitUnreachable},
		{name: "plan-no-key", setup: func(th *theater) {
			th.fleet.access = &ssh.SettingError{Err: errors.New("key file: open /home/ann/.ssh/id_ed25519: no such file or directory (for shaolin, wudang, emei, huashan)"), Advice: "make a key"}
		}, args: []string{"plan", "lab.hcl"}, code: exitFailure, calls: []string{"close"}},
		{name: "plan-skip-unreachable", setup: emeiIsDown, args: []string{"plan", "lab.hcl", "-skip-unreachable", "-detailed-exitcode"}},
		{name: "plan-skip-unreachable-json", setup: emeiIsDown, args: []string{"plan", "lab.hcl", "-skip-unreachable", "-json"}},
		{name: "apply-skip-unreachable", setup: shaolinIsDown, args: []string{"apply", "lab.hcl", "-yes", "-skip-unreachable"}},
		{name: "apply-skip-unreachable-json", setup: shaolinIsDown, args: []string{"apply", "lab.hcl", "-yes", "-skip-unreachable", "-json"}},
		{name: "apply-skip-unreachable-none", setup: emeiIsDown, args: []string{"apply", "lab.hcl", "-yes", "-skip-unreachable"}},
		{name: "apply-skip-unreachable-quorum", setup: func(th *theater) {
			emeiIsDown(th)
			th.fleet.unreachable["wudang"] = errors.New("wudang: connect to 10.24.138.208:22: no route to host")
		}, args: []string{"apply", "lab.hcl", "-yes", "-skip-unreachable"}, code: exitUnreachable,
			calls: []string{"lock shaolin,wudang,emei,huashan for kinstall apply", "observe shaolin,wudang,emei,huashan", "release", "close"}},
		{name: "apply-skip-unreachable-all", setup: emeiIsDown, args: []string{"apply", "lab.hcl", "-yes", "-skip-unreachable", "-limit", "emei"}, code: exitUnreachable},
		{name: "apply-unreachable-limited", setup: emeiIsDown, args: []string{"apply", "lab.hcl", "-yes", "-limit", "shaolin"}},
		{name: "apply-problem", setup: problem, args: []string{"apply", "lab.hcl", "-yes"}, code: exitFailure},
		{name: "apply-locked", setup: func(th *theater) {
			th.fleet.lockErr = &ssh.LockedError{Host: "emei", Path: "/run/kinstall.lock", Holder: "kinstall apply by ann on desk"}
		}, args: []string{"apply", "lab.hcl", "-yes"}, code: exitFailure, calls: []string{"lock shaolin,wudang,emei,huashan for kinstall apply", "close"}},
		{name: "apply-no-majority", setup: func(th *theater) {
			th.fleet.lockErr = &provision.NoMajorityError{Locked: 1, Of: 3, Failed: map[string]error{
				"wudang": errors.New("wudang: connect to 10.24.138.208:22: no route to host"),
				"emei":   errors.New("emei: lock /run/kinstall.lock: exit code 70: flock: 9: No locks available"),
			}}
		}, args: []string{"apply", "lab.hcl", "-yes", "-limit", "huashan"}, code: exitUnreachable, calls: []string{"lock huashan for kinstall apply", "close"}},
		{name: "apply-lock-timeout-negative", args: []string{"apply", "lab.hcl", "-yes", "-lock-timeout=-1s"}, code: exitFailure, calls: []string{}},
		{name: "apply-failed", setup: func(th *theater) { th.fleet.apply = failFirst(exitFailed("write file")) }, args: []string{"apply", "lab.hcl", "-yes"}, code: exitFailure},
		{name: "apply-failed-json", setup: func(th *theater) { th.fleet.apply = failFirst(exitFailed("write file")) },
			args: []string{"apply", "lab.hcl", "-yes", "-json", "-limit", "emei"}, code: exitFailure},
		{name: "apply-stale", setup: func(th *theater) {
			th.fleet.apply = failFirst(fmt.Errorf("emei: create file:/etc/kinstall.conf: %w", provision.ErrStale))
		}, args: []string{"apply", "lab.hcl", "-yes"}, code: exitStale},
		{name: "apply-color", setup: func(th *theater) { th.console.outTerminal = true }, args: []string{"apply", "lab.hcl", "-yes"}},
		{name: "apply-no-color-variable", setup: func(th *theater) {
			th.console.outTerminal = true
			th.console.environ = append(th.console.environ, "NO_COLOR=1", "TERM=dumb")
		}, args: []string{"apply", "lab.hcl", "-yes"}},
		{name: "validate", args: []string{"validate", "lab.hcl"}},
		{name: "validate-docker", setup: dockerAlone, args: []string{"validate", "lab.hcl"}},
		{name: "kubeconfig-docker", setup: dockerAlone, args: []string{"kubeconfig", "lab.hcl"}, code: exitFailure},
		{name: "validate-broken", setup: broken, args: []string{"validate", "lab.hcl"}, code: exitFailure},
		{name: "validate-json", setup: broken, args: []string{"validate", "-json", "lab.hcl"}, code: exitFailure},
		{name: "validate-absent", args: []string{"validate", "no.hcl"}, code: exitFailure},
		{name: "kubeconfig", args: []string{"kubeconfig", "lab.hcl"}},
		{name: "init", args: []string{"init", "new.hcl"}},
		{name: "init-exists", args: []string{"init", "lab.hcl"}, code: exitFailure},
		{name: "unknown-command", args: []string{"aply", "lab.hcl"}, code: exitFailure},
		{name: "unknown-flag", args: []string{"plan", "lab.hcl", "-detail-exitcode"}, code: exitFailure},
		{name: "flag-without-value", args: []string{"plan", "lab.hcl", "-limit"}, code: exitFailure},
		{name: "flag-before-command", args: []string{"-limit", "emei", "plan", "lab.hcl"}, code: exitFailure},
		{name: "bad-number", args: []string{"plan", "lab.hcl", "-parallelism=many"}, code: exitFailure},
		{name: "bad-duration", args: []string{"plan", "lab.hcl", "-observe-timeout", "9999999999h"}, code: exitFailure},
		{name: "bad-parallelism", args: []string{"plan", "lab.hcl", "-parallelism", "0"}, code: exitFailure},
		{name: "bad-var", args: []string{"plan", "lab.hcl", "-var", "version"}, code: exitFailure},
		{name: "no-file", args: []string{"plan"}, code: exitFailure},
		{name: "two-files", args: []string{"plan", "lab.hcl", "emei"}, code: exitFailure},
		{name: "no-command", code: exitFailure},
	} {
		t.Run(s.name, func(t *testing.T) {
			th := newTheater(t)
			th.fleet.apply = succeed
			if s.setup != nil {
				s.setup(th)
			}
			code := th.run(s.args...)
			if code != s.code {
				t.Errorf("exit code %d, want %d", code, s.code)
			}
			if s.calls != nil {
				if diff := cmp.Diff(s.calls, append([]string{}, th.fleet.calls...)); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			}
			golden(t, s.name+".txt", fmt.Sprintf("$ kinstall %s\n%s--- stderr\n%s--- exit code %d\n", strings.Join(s.args, " "), th.out.String(), th.err.String(), code))
		})
	}
}

func noChanges(th *theater) { th.changes = false }

func emeiIsDown(th *theater) {
	th.fleet.unreachable = map[string]error{"emei": errors.New("emei: connect to 10.27.52.72:22: no route to host")}
}

func shaolinIsDown(th *theater) {
	th.fleet.unreachable = map[string]error{"shaolin": errors.New("shaolin: connect to 10.27.53.32:22: no route to host")}
}

func problem(th *theater) {
	write(th.t, "lab.hcl", strings.Replace(labInventory, "wuxia", "jianghu", 1))
	th.fleet.observe = otherOwner(th)
}

// otherOwner makes emei belong to another cluster.
func otherOwner(th *theater) func(context.Context) error {
	return func(context.Context) error {
		o := th.fleet.observed.Hosts["emei"]
		o.Facts.Host.State.Cluster = "wuxia"
		th.fleet.observed.Hosts["emei"] = o
		return nil
	}
}

func broken(th *theater) {
	write(th.t, "lab.hcl", strings.Replace(labInventory, `"10.27.52.80"`, `"10.27.52.800"`, 1))
}

// dockerAlone is an inventory without Kubernetes.
func dockerAlone(th *theater) {
	write(th.t, "lab.hcl", "cluster \"redis\" {}\n\nruntime \"docker\" {}\n\nhost \"one\" {\n  address = \"10.27.52.80\"\n  roles   = [\"container\"]\n}\n")
}

func answer(text string) func(*theater) {
	return func(th *theater) {
		th.console.inTerminal = true
		th.console.in = strings.NewReader(text)
	}
}

// TestHelp keeps what -h prints in sight.
func TestHelp(t *testing.T) {
	th := newTheater(t)
	for name, args := range map[string][]string{
		"overview": {"-h"}, "init": {"init", "-h"}, "validate": {"validate", "lab.hcl", "--help"}, "plan": {"plan", "-h"},
		"apply": {"help", "apply"}, "approve": {"approve", "-h"}, "kubeconfig": {"kubeconfig", "-help"}, "version": {"version", "-h"},
	} {
		if code := th.run(args...); code != exitOK {
			t.Errorf("%v: exit code %d: %s", args, code, th.err.String())
		}
		text := th.out.String()
		for i, line := range strings.Split(text, "\n") {
			if len([]rune(line)) > 80 {
				t.Errorf("%v: line %d has more than 80 columns: %s", args, i+1, line)
			}
		}
		golden(t, "help-"+name+".txt", text)
	}
}

func TestOptionsReachTheFleet(t *testing.T) {
	th := newTheater(t)
	if code := th.run("plan", "-parallelism=7", "lab.hcl", "-trust-on-first-use"); code != exitOK {
		t.Fatal(th.err.String())
	}
	if th.options.Parallelism != 7 || !th.options.TrustOnFirstUse {
		t.Errorf("got %+v", th.options)
	}
	th.fleet.apply = succeed
	if code := th.run("apply", "lab.hcl", "-yes", "-lock-timeout", "10m"); code != exitOK {
		t.Fatal(th.err.String())
	}
	if th.options.LockTimeout != 10*time.Minute {
		t.Errorf("got %+v", th.options)
	}
	th.run("plan", "lab.hcl")
	if th.options.LockTimeout != 0 || th.options.Parallelism != 0 || th.options.TrustOnFirstUse {
		t.Errorf("without flags: got %+v", th.options)
	}
}

// TestVariablesKeepCommas: a value is one value, whatever is in it.
func TestVariablesKeepCommas(t *testing.T) {
	th := newTheater(t)
	var got inventory.Options
	b := backend{load: func(_ string, o inventory.Options) (*inventory.Inventory, *inventory.Lock, hcl.Diagnostics) {
		got = o
		return nil, nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "enough"}}
	}}
	run(th.console, b, th.signals, []string{"plan", "lab.hcl", "-var", "a=1,2", "-var", "b= x=y ", "-var-file", "a,b.hcl"})
	if diff := cmp.Diff(map[string]string{"a": "1,2", "b": " x=y "}, got.Vars); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a,b.hcl"}, got.VarFiles); diff != "" {
		t.Error(diff)
	}
}

// TestInterruptWhileObserving: nothing was changed, and the program says so.
func TestInterruptWhileObserving(t *testing.T) {
	th := newTheater(t)
	th.fleet.observe = func(ctx context.Context) error {
		th.signals <- os.Interrupt
		<-ctx.Done()
		return ctx.Err()
	}
	if code := th.run("plan", "lab.hcl"); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if got := th.err.String(); got != "Interrupted; nothing was changed.\n" {
		t.Errorf("stderr: %q", got)
	}
}

// TestInterruptWhileAsking: a prompt does not hold the program up.
func TestInterruptWhileAsking(t *testing.T) {
	th := newTheater(t)
	r, w := io.Pipe()
	defer w.Close()
	th.console.inTerminal, th.console.in = true, r
	th.fleet.observe = func(context.Context) error {
		th.signals <- os.Interrupt
		return nil
	}
	if code := th.run("apply", "lab.hcl"); code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, th.err.String())
	}
}

// TestInterruptWhileApplying: the steps under way finish, the rest is not begun.
func TestInterruptWhileApplying(t *testing.T) {
	th := newTheater(t)
	th.fleet.apply = func(ctx context.Context, d *plan.Delta, notify func(provision.Event)) (*provision.Report, error) {
		work := changing(d)
		notify(provision.Event{Kind: provision.Started, Item: work[0], Total: len(work)})
		th.signals <- os.Interrupt
		<-ctx.Done()
		report := &provision.Report{Elapsed: time.Second, Interrupted: true}
		for i, item := range work {
			kind := provision.Finished
			if i > 0 {
				kind = provision.Skipped
			}
			notify(provision.Event{Kind: kind, Item: item, Done: i + 1, Total: len(work)})
			report.Results = append(report.Results, provision.Result{Item: item, Kind: kind})
		}
		return report, provision.ErrInterrupted
	}
	code := th.run("apply", "lab.hcl", "-yes")
	if code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	golden(t, "apply-interrupted.txt", fmt.Sprintf("%s--- stderr\n%s--- exit code %d\n", th.out.String(), th.err.String(), code))
}

// TestSecondInterruptAborts: whatever hangs, the second Ctrl-C ends it.
func TestSecondInterruptAborts(t *testing.T) {
	th := newTheater(t)
	hang := make(chan struct{})
	defer close(hang)
	th.fleet.apply = func(ctx context.Context, _ *plan.Delta, _ func(provision.Event)) (*provision.Report, error) {
		th.signals <- os.Interrupt
		<-ctx.Done()
		th.signals <- os.Interrupt
		<-hang
		return &provision.Report{}, nil
	}
	if code := th.run("apply", "lab.hcl", "-yes"); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(th.err.String(), "Aborted.") {
		t.Errorf("stderr: %s", th.err.String())
	}
}

func TestInitWritesTheStarterOnce(t *testing.T) {
	th := newTheater(t)
	if code := th.run("init"); code != exitOK {
		t.Fatal(th.err.String())
	}
	written, err := os.ReadFile(starterFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(inventory.Starter()), string(written)); diff != "" {
		t.Error(diff)
	}
	write(t, starterFile, "mine")
	if code := th.run("init"); code != exitFailure {
		t.Errorf("a second init: exit code %d", code)
	}
	if left, _ := os.ReadFile(starterFile); string(left) != "mine" {
		t.Errorf("the file was overwritten: %q", left)
	}
}

func TestKubeconfigFileIsPrivate(t *testing.T) {
	th := newTheater(t)
	check := func() {
		t.Helper()
		info, err := os.Stat("kubeconfig")
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("mode %04o", info.Mode().Perm())
		}
		if content, _ := os.ReadFile("kubeconfig"); string(content) != "kubeconfig of wuxia\n" {
			t.Errorf("content %q", content)
		}
		if left, _ := filepath.Glob("*.new"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	if code := th.run("kubeconfig", "lab.hcl", "-out", "kubeconfig"); code != exitOK || th.out.String() != "" {
		t.Fatalf("exit code %d: %s%s", code, th.out.String(), th.err.String())
	}
	check()
	if code := th.run("kubeconfig", "lab.hcl", "-out", "kubeconfig"); code != exitFailure {
		t.Errorf("over an existing file: exit code %d", code)
	}
	if err := os.Chmod("kubeconfig", 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, "kubeconfig", "other")
	if code := th.run("kubeconfig", "-force", "lab.hcl", "-out", "kubeconfig"); code != exitOK {
		t.Fatal(th.err.String())
	}
	check()
}

func TestVersion(t *testing.T) {
	th := newTheater(t)
	for _, args := range [][]string{{"version"}, {"-version"}, {"--version"}, {"-v"}} {
		if code := th.run(args...); code != exitOK || !strings.HasPrefix(th.out.String(), "kinstall ") || !strings.Contains(th.out.String(), "1.36") {
			t.Errorf("%v: exit code %d: %s", args, code, th.out.String())
		}
	}
}

func TestArrange(t *testing.T) {
	a := &app{}
	c := a.planCommand()
	finish(c)
	for _, s := range []struct{ args, want string }{
		{"lab.hcl -limit emei", "-limit emei -- lab.hcl"},
		{"-limit emei lab.hcl", "-limit emei -- lab.hcl"},
		{"lab.hcl --limit=emei -json", "--limit=emei -json -- lab.hcl"},
		{"-json lab.hcl", "-json -- lab.hcl"},
		{"-var -odd lab.hcl", "-var -odd -- lab.hcl"},
		{"-json -- -odd.hcl", "-json -- -odd.hcl"},
		{"- x", "-- - x"},
		{"", "--"},
	} {
		got, help, err := arrange(c, strings.Fields(s.args))
		if err != nil || help || strings.Join(got, " ") != s.want {
			t.Errorf("%q: got %q, help %v, %v", s.args, strings.Join(got, " "), help, err)
		}
	}
}

// lockedBuffer is a buffer several goroutines write to.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func (b *lockedBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buffer.Reset()
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// goldens is where golden files lie, found before any test changes directory.
var goldens, goldensErr = filepath.Abs("testdata")

func golden(t *testing.T, name, got string) {
	t.Helper()
	if goldensErr != nil {
		t.Fatal(goldensErr)
	}
	path := filepath.Join(goldens, name)
	if *update {
		if err := os.MkdirAll(goldens, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, got)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

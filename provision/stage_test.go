package provision

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// failingReleases fetches each location once, before an apply, and then no more
// what is missing.
type failingReleases struct {
	localReleases
	missing string

	once sync.Map
}

func (r *failingReleases) Fetch(ctx context.Context, location, sha256 string, progress func(done, total int64)) (string, error) {
	if _, again := r.once.LoadOrStore(location, true); again && location == r.missing {
		return "", errors.New(location + ": the disk fell over")
	}
	return r.localReleases.Fetch(ctx, location, sha256, progress)
}

// With new versions, large files are on all hosts before any member is touched,
// and none is where some can't be brought there.
func TestUpgradesAreStagedFirst(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name    string
		missing string // location
		upgrade *plan.Upgrade
		want    []string
	}{
		{"an upgrade", "", &plan.Upgrade{}, []string{"before kubelet-masters", "after kubelet-masters", "before kubelet-workers", "after kubelet-workers"}},
		{"an upgrade that can't be staged", "example.org/wudang", &plan.Upgrade{}, nil},
		{"another change", "example.org/wudang", nil, []string{"before kubelet-masters", "after kubelet-masters"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, Options{}, "shaolin", "wudang")
			for _, h := range f.hosts { // all but the members themselves is real
				h.answer = func(script string, _, _ io.Writer) (int, bool) { return 0, strings.Contains(script, "'/test/") }
			}
			releases := &failingReleases{localReleases: localReleases{files: map[string]string{}}, missing: c.missing}
			var last plan.StepID
			for host, group := range map[string]string{"shaolin": "kubelet-masters", "wudang": "kubelet-workers"} {
				location := "example.org/" + host
				sum := releases.release(t, location, []byte(host))
				f.step(host, resource.Artifact{Name: "kubelet", Version: "2", Location: location, SHA256: sum, Members: []resource.Member{{To: f.hosts[host].path("/usr/bin/kubelet")}}})
				id := f.add(plan.Step{Host: host, Resource: named(host), Rollout: &plan.Rollout{Group: group}})
				if host == "wudang" {
					last = id
				}
			}
			delta := f.everything(t)
			for i := range delta.Items {
				item := &delta.Items[i]
				item.OwnChange().Action = resource.Update
				if item.Step.Rollout != nil {
					turn := turnOf(delta, i)
					turn.Parts = []plan.StepID{plan.NewStepID(item.Step.Host, "artifact:kubelet")}
				}
				if item.Step.ID() == last {
					item.OwnStep().After = []plan.StepID{plan.NewStepID("shaolin", named("shaolin").ID())}
				}
			}
			delta.Upgrade = c.upgrade
			e := f.executor()
			e.Releases = releases
			checks := &fakeChecks{}
			e.checks = checks
			early := map[string]bool{}
			e.Notify = func(event Event) {
				if _, artifact := event.Item.Step.Resource.(resource.Artifact); artifact && event.Kind == Started && event.Item.Step.Host != plan.Operator {
					checks.mu.Lock()
					defer checks.mu.Unlock()
					if len(checks.asked) == 0 {
						early[event.Item.Step.Host] = true
					}
				}
			}
			_, err := e.Apply(t.Context(), delta)
			if failed := err != nil; failed != (c.missing != "") {
				t.Fatalf("Apply: %v", err)
			}
			if c.missing != "" && !strings.Contains(err.Error(), "the disk fell over") {
				t.Errorf("the error does not say why: %v", err)
			}
			if diff := cmp.Diff(c.want, checks.asked); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
			if both := len(early) == 2; both != (c.upgrade != nil) {
				t.Errorf("brought before the first turn: to %v", early)
			}
		})
	}
}

// A balancer that a run before left without a member is mended, and then told of
// the member's turn as ever.
func TestTurnDrainsABalancerThatWasMended(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin", "emei")
	balancer, h := f.hosts["emei"], f.hosts["shaolin"]
	balancer.program(t, "systemctl", systemctl)
	with := resource.File{Path: balancer.path("/etc/upstreams"), Content: []byte("shaolin\nwudang\n"), Ownership: self(t, 0o640)}
	manifest := plan.ManifestDirectory + "/kube-apiserver.yaml"
	if err := errors.Join(os.WriteFile(with.Path, []byte("wudang\n"), 0o640), os.WriteFile(h.path(manifest), []byte("good\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	mended := f.step("emei", with)
	f.add(plan.Step{Host: "shaolin", Resource: resource.StaticPod{Name: "kube-apiserver", Path: manifest, Manifest: "new\n"}, After: []plan.StepID{mended}, Rollout: &plan.Rollout{
		Group: "apiserver", Drains: []plan.Drain{{Host: "emei", Unit: "balancer.service", File: with, Without: []byte("wudang\n")}},
	}})
	delta := f.everything(t)
	found := resource.SHA256([]byte("good\n"))
	delta.Items[0].Change = &resource.Change{Action: resource.Update, Evidence: resource.SHA256([]byte("wudang\n"))}
	delta.Items[1].Change = &resource.Change{Action: resource.Update, Evidence: found}
	turnOf(delta, 1).Kept = []plan.KeptFile{{Step: delta.Items[1].Step.ID(), Path: manifest, Found: found}}
	var during []string
	e := f.executor()
	e.checks = &fakeChecks{works: func(plan.Rollout, processes) error {
		during = append(during, balancer.read(t, with.Path))
		return nil
	}}
	if _, err := e.Apply(t.Context(), delta); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"wudang\n"}, during); diff != "" {
		t.Errorf("the balancer while the member is looked at (-want +got):\n%s", diff)
	}
	if got := balancer.read(t, with.Path); got != string(with.Content) {
		t.Errorf("the balancer afterwards: %q", got)
	}
}

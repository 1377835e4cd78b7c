package provision

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

// Data of a member that was removed is moved aside, in place of what was moved
// there before, when nobody works with it any more.
func TestEtcdDataIsMovedAside(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.program(t, "systemctl", systemctl)
	member := "/var/lib/it's etcd/member"
	for path, content := range map[string]string{
		"/run/units/etcd.service": "", member + "/wal": "of today", member + ".removed/wal": "of yesterday", member + ".removed/snap": "x",
	} {
		if err := os.MkdirAll(filepath.Dir(h.path(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.path(path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data := resource.EtcdData{Directory: h.path(member), Unit: "etcd.service", Reason: resource.Reason{Cause: resource.Drift, Text: "x"}}
	step := f.step("shaolin", data)
	delta := f.survey(t)
	if diff := cmp.Diff(map[plan.StepID]resource.Action{step: resource.Update}, changes(delta)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	f.mustApply(t, delta)
	if got := h.read(t, h.path(member+".removed/wal")); got != "of today" {
		t.Errorf("moved aside: %q", got)
	}
	for _, gone := range []string{member, member + ".removed/snap"} {
		if _, err := os.Stat(h.path(gone)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", gone, err)
		}
	}
	if diff := cmp.Diff([]string{"stop etcd.service"}, h.journal(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.connectAnew(t, Options{})
	if found := changes(f.survey(t)); len(found) > 0 {
		t.Errorf("a second plan changes %v", found)
	}
}

// A list that is another one makes the plan stale, not wrong.
func TestAnotherListIsStale(t *testing.T) {
	err := stale(fmt.Errorf("add wudang: %w", cluster.ErrMoved))
	if !errors.Is(err, ErrStale) || !errors.Is(err, cluster.ErrMoved) {
		t.Errorf("%v", err)
	}
	if err := stale(errors.New("no")); errors.Is(err, ErrStale) {
		t.Errorf("%v is stale", err)
	}
	if stale(nil) != nil {
		t.Error("nothing is stale")
	}
}

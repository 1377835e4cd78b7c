package resource_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

func TestUnitDiff(t *testing.T) {
	config := resource.File{Path: "/etc/a.conf", Content: []byte("config")}
	unitFile := resource.File{Path: "/etc/systemd/system/a.service", Content: []byte("unit")}
	binary := resource.Artifact{Name: "a", SHA256: "sum"}
	u := resource.Unit{Name: "a.service", Inputs: []resource.Input{config, unitFile, binary}, ReloadOn: []resource.ID{config.ID()}}
	stopped := resource.Unit{Name: "a.service", Stopped: true}
	started := func(edit map[string]string) map[string]fact.Record {
		inputs := map[string]string{string(config.ID()): sha("config"), string(unitFile.ID()): sha("unit"), string(binary.ID()): "sum"}
		for id, digest := range edit {
			if digest == "" {
				delete(inputs, id)
			} else {
				inputs[id] = digest
			}
		}
		return map[string]fact.Record{"unit:a.service": {Inputs: inputs}}
	}
	at := func(load, active, enabled string) map[fact.Key]any {
		return map[fact.Key]any{unit("a.service"): fact.Unit{LoadState: load, ActiveState: active, UnitFileState: enabled}}
	}
	running := at("loaded", "active", "enabled")
	run(t, []diffCase{
		{name: "as wanted", r: u, records: started(nil), answers: running, want: resource.NoOp},
		{name: "still starting", r: u, records: started(nil), answers: at("loaded", "activating", "enabled"), want: resource.NoOp},
		{name: "not there", r: u, answers: at("not-found", "inactive", ""), want: resource.Create, reasons: because(resource.Missing, "to be started")},
		{name: "stopped by hand", r: u, records: started(nil), answers: at("loaded", "inactive", "enabled"), want: resource.Create,
			reasons: because(resource.Drift, "inactive on the host")},
		{name: "failed", r: u, records: started(nil), answers: at("loaded", "failed", "enabled"), want: resource.Create,
			reasons: because(resource.Drift, "failed on the host")},
		{name: "written, but the start was cut off", r: u, answers: at("loaded", "inactive", "disabled"), want: resource.Create,
			reasons: because(resource.Missing, "to be started")},
		{name: "disabled by hand", r: u, records: started(nil), answers: at("loaded", "active", "disabled"), want: resource.Update,
			reasons: because(resource.Drift, "not enabled at boot"), fields: []resource.Field{{Name: "enabled", Before: "disabled", After: "enabled"}}},
		{name: "binary changes", r: u, records: started(map[string]string{"artifact:a": "old"}), answers: running, want: resource.Restart,
			reasons: because(resource.Follows, "restart: a changes")},
		{name: "crash between writing and restarting", r: u, records: started(map[string]string{string(unitFile.ID()): "old"}), answers: running, want: resource.Restart,
			reasons: because(resource.Follows, "restart: /etc/systemd/system/a.service changes")},
		{name: "configuration that is reread", r: u, records: started(map[string]string{string(config.ID()): "old"}), answers: running, want: resource.Reload,
			reasons: because(resource.Follows, "reload: /etc/a.conf changes")},
		{name: "reread and more", r: u, records: started(map[string]string{string(config.ID()): "old", "artifact:a": "old"}), answers: running, want: resource.Restart,
			reasons: because(resource.Follows, "restart: a and /etc/a.conf change")},
		{name: "everything", r: u, records: started(map[string]string{string(config.ID()): "old", "artifact:a": "old", string(unitFile.ID()): ""}), answers: running, want: resource.Restart,
			reasons: because(resource.Follows, "restart: a, /etc/a.conf and 1 more change")},
		{name: "an input left", r: u, records: started(map[string]string{"file:/etc/gone": "x"}), answers: running, want: resource.Restart,
			reasons: because(resource.Follows, "restart: /etc/gone changes")},
		{name: "somebody else started it", r: u, answers: running, want: resource.Restart,
			reasons: because(resource.Follows, "restart: was not started by kinstall")},
		{name: "static unit", r: u, records: started(nil), answers: at("loaded", "active", "static"), want: resource.NoOp},
		{name: "must not run, does not", r: stopped, answers: at("not-found", "inactive", ""), want: resource.NoOp},
		{name: "must not run, runs", r: stopped, answers: running, want: resource.Update, reasons: because(resource.Intent, "must not run")},
	})
}

// A certificate that will be issued anew restarts what reads it.
func TestUnitWaitsForUnknownInputs(t *testing.T) {
	cert := resource.Certificate{Path: "/c.crt", KeyPath: "/c.key", CommonName: "c"}
	u := resource.Unit{Name: "a.service", Inputs: []resource.Input{cert}}
	facts := host(map[string]fact.Record{"unit:a.service": {Inputs: map[string]string{"cert:/c.crt": "old"}}}, map[fact.Key]any{
		unit("a.service"): fact.Unit{LoadState: "loaded", ActiveState: "active", UnitFileState: "enabled"},
		file("/c.crt"):    fact.File{}, file("/c.key"): fact.File{},
	})
	change, err := u.Diff(facts)
	if err != nil {
		t.Fatal(err)
	}
	if change.Action != resource.Restart || change.Reasons[0].Text != "restart: /c.crt changes" {
		t.Errorf("change is %+v", change)
	}
}

func TestUnitAsksForItsInputs(t *testing.T) {
	u := resource.Unit{Name: "a.service", Inputs: []resource.Input{resource.Certificate{Path: "/c.crt", KeyPath: "/c.key"}}}
	var names []string
	for _, q := range u.Queries() {
		names = append(names, q.Name)
	}
	if diff := cmp.Diff([]string{"a.service", "/c.crt", "/c.key"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestStaticPodDiff(t *testing.T) {
	input := resource.File{Path: "/etc/a.conf", Content: []byte("config")}
	p := resource.StaticPod{Name: "a", Path: "/m/a.yaml", Manifest: "inputs: \"@INPUTS@\"\n", Inputs: []resource.Input{input}}
	want, known := p.Render(fact.NewSet(fact.Host{}))
	if !known || strings.Contains(want, resource.Placeholder) {
		t.Fatalf("rendered as %q, known: %v", want, known)
	}
	wrote := func(content string) map[string]fact.Record {
		return map[string]fact.Record{"staticpod:/m/a.yaml": {Digest: "0600 root:root", Files: map[string]string{"/m/a.yaml": sha(content)}}}
	}
	at := func(answer fact.File) map[fact.Key]any { return map[fact.Key]any{file("/m/a.yaml"): answer} }
	unknown := p
	unknown.Inputs = []resource.Input{resource.AuthorityFile{Path: "/ca.key"}}
	run(t, []diffCase{
		{name: "as wanted", r: p, records: wrote(want), answers: at(found(want, 0o600)), want: resource.NoOp},
		{name: "missing", r: p, answers: at(fact.File{}), want: resource.Create},
		{name: "another input", r: p, records: wrote("old"), answers: at(found("old", 0o600)), want: resource.Update, reasons: because(resource.Intent, "changed in the inventory")},
		{name: "edited by hand", r: p, records: wrote(want), answers: at(found("edited", 0o600)), want: resource.Update, reasons: because(resource.Drift, "changed on the host")},
		{name: "readable by all", r: p, records: wrote(want), answers: at(found(want, 0o644)), want: resource.Update,
			reasons: because(resource.Drift, "mode 0644 instead of 0600, changed on the host")},
		{name: "input not known yet", r: unknown, records: wrote(want), answers: at(found(want, 0o600)), want: resource.Update, reasons: because(resource.Follows, "restart: /ca.key changes")},
	})

	// The digest in the manifest follows the input.
	other := p
	other.Inputs = []resource.Input{resource.File{Path: "/etc/a.conf", Content: []byte("changed")}}
	if changed, _ := other.Render(fact.NewSet(fact.Host{})); changed == want {
		t.Error("another input gives the same manifest")
	}
}

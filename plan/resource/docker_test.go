package resource_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// A restart of Docker takes the containers along when, and only when, docker0
// or what it is made by changes; and the plan says so.
func TestDockerUnitDiff(t *testing.T) {
	config := resource.File{Path: "/etc/docker/daemon.json", Content: []byte("{}")}
	const network, restart = "part:/etc/docker/daemon.json#network", "part:/etc/docker/daemon.json#restart"
	u := resource.Unit{
		Name: "docker.service", Inputs: []resource.Input{config}, ReloadOn: []resource.ID{config.ID()},
		Parts:  map[resource.ID]string{network: "n", restart: "r"},
		Docker: &resource.Docker{Bridge: "10.1.10.1/24", Network: network},
	}
	nodes := u
	nodes.Docker = &resource.Docker{Network: network}
	const file, reload, again = "/etc/docker/daemon.json changes", "reload: ", "restart: "
	for _, test := range []struct {
		name     string
		unit     resource.Unit
		active   string
		recorded map[string]string // digests that differ from those wanted
		bridge   []string
		want     resource.Action
		reasons  []string
		stops    bool
	}{
		{name: "as wanted", unit: u, bridge: []string{"10.1.10.1/24"}, want: resource.NoOp},
		{name: "not running", unit: u, active: "inactive", want: resource.Create, reasons: []string{"inactive on the host"}},
		{name: "what is reread", unit: u, bridge: []string{"10.1.10.1/24"}, recorded: map[string]string{string(config.ID()): "old"},
			want: resource.Reload, reasons: []string{reload + file}},
		{name: "what takes a restart", unit: u, bridge: []string{"10.1.10.1/24"}, recorded: map[string]string{string(config.ID()): "old", restart: "old"},
			want: resource.Restart, reasons: []string{again + file}},
		{name: "another subnet", unit: u, bridge: []string{"10.1.20.1/24"},
			recorded: map[string]string{string(config.ID()): "old", restart: "old", network: "old"}, want: resource.Restart, stops: true,
			reasons: []string{again + file, "docker0 changes from 10.1.20.1/24 to 10.1.10.1/24: all containers of this host are restarted"}},
		{name: "another MTU", unit: u, bridge: []string{"10.1.10.1/24"},
			recorded: map[string]string{string(config.ID()): "old", restart: "old", network: "old"}, want: resource.Restart, stops: true,
			reasons: []string{again + file, "its network changes: all containers of this host are restarted"}},
		{name: "crash before the bridge was made anew", unit: u, bridge: []string{"172.17.0.1/16"}, want: resource.Restart, stops: true,
			reasons: []string{"docker0 changes from 172.17.0.1/16 to 10.1.10.1/24: all containers of this host are restarted"}},
		{name: "no bridge", unit: u, want: resource.Restart, stops: true,
			reasons: []string{"docker0 changes from nothing to 10.1.10.1/24: all containers of this host are restarted"}},
		{name: "none wanted", unit: nodes, want: resource.NoOp},
	} {
		t.Run(test.name, func(t *testing.T) {
			inputs := map[string]string{string(config.ID()): sha("{}"), network: "n", restart: "r"}
			for id, digest := range test.recorded {
				inputs[id] = digest
			}
			active := test.active
			if active == "" {
				active = "active"
			}
			facts := host(map[string]fact.Record{"unit:docker.service": {Inputs: inputs}}, map[fact.Key]any{
				unit("docker.service"): fact.Unit{LoadState: "loaded", ActiveState: active, UnitFileState: "enabled"},
			})
			facts.Host.Interfaces = map[string][]string{"docker0": test.bridge}
			change, err := test.unit.Diff(facts)
			if err != nil {
				t.Fatal(err)
			}
			var reasons []string
			for _, r := range change.Reasons {
				reasons = append(reasons, r.Text)
			}
			if change.Action != test.want || change.RestartsContainers() != test.stops {
				t.Errorf("action %s, containers restarted: %v", change.Action, change.RestartsContainers())
			}
			if diff := cmp.Diff(test.reasons, reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDockerImageDiff(t *testing.T) {
	i := resource.Image{Reference: "registry.example/app:1", SHA256: "archive", Docker: true}
	key := fact.Key{Kind: fact.KindDockerImage, Name: i.Reference}
	loaded := map[string]fact.Record{"image:registry.example/app:1": {Digest: "archive"}}
	run(t, []diffCase{
		{name: "there", r: i, records: loaded, answers: map[fact.Key]any{key: fact.Image{Observable: true, Exists: true}}, want: resource.NoOp},
		{name: "tagged anew", r: i, records: map[string]fact.Record{"image:registry.example/app:1": {Digest: "archive", Content: "sha256:aa"}},
			answers: map[fact.Key]any{key: fact.Image{Observable: true, Exists: true, Digest: "sha256:bb"}}, want: resource.Replace,
			reasons: because(resource.Drift, "names another image than the one imported"), fields: []resource.Field{{Name: "image", Before: "sha256:bb", After: "sha256:aa"}}},
		{name: "absent", r: i, answers: map[fact.Key]any{key: fact.Image{Observable: true}}, want: resource.Create},
		{name: "deleted", r: i, records: loaded, answers: map[fact.Key]any{key: fact.Image{Observable: true}}, want: resource.Create,
			reasons: because(resource.Drift, "deleted on the host")},
		{name: "silent", r: i, records: loaded, answers: map[fact.Key]any{key: fact.Image{}}, want: resource.Deferred,
			reasons: because(resource.Unknown, "Docker does not answer yet")},
	})
}

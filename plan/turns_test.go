package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// After a first installation that was not finished, what runs is no member
// that others could do without: there would be a wait for nodes and an API
// server which are still to come. One that was seen to work makes a group of
// the others.
func TestTurnsOfWhatWasSeenToWork(t *testing.T) {
	for _, c := range []struct {
		name   string
		record *fact.Record // of shaolin's runtime; those of the others are unproven
		want   int          // runtimes of masters that are changed in turns
	}{
		{"none is known", nil, 0},
		{"none was seen", &fact.Record{Inputs: map[string]string{"file:/x": "1"}, Unproven: true}, 0},
		{"one was seen", &fact.Record{Inputs: map[string]string{"file:/x": "1"}}, 3},
	} {
		p := compile(t, load(t, "lab"))
		observed := Observed{Hosts: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
		unit := resource.Unit{Name: "containerd.service"}
		for _, h := range p.Inventory.Hosts {
			o := bare(p, h)
			o.Facts.Put(unit.Queries()[0].Key(), fact.Unit{LoadState: "loaded", ActiveState: "active", SubState: "running", UnitFileState: "enabled", Started: "1"})
			o.Facts.Host.State.Resources = map[string]fact.Record{}
			if c.record != nil {
				record := *c.record
				record.Unproven = record.Unproven || h.Name != "shaolin"
				o.Facts.Host.State.Resources[string(unit.ID())] = record
			}
			observed.Hosts[h.Name] = o
		}
		n := 0
		for _, turn := range p.Diff(observed).Turns {
			if turn.Group == groupMasterRuntimes {
				n++
			}
		}
		if n != c.want {
			t.Errorf("%s: %d runtimes take turns, not %d", c.name, n, c.want)
		}
	}
}

// A certificate that is due on a host without an API server is a file for it
// to start with: nobody serves it, and the one that does waits for it.
func TestTurnsOfAServingCertificate(t *testing.T) {
	p := compile(t, load(t, "lab"))
	observed := Observed{Hosts: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
	pod := resource.StaticPod{Name: apiServerPod, Node: "shaolin", Path: ManifestDirectory + "/kube-apiserver.yaml"}
	certificate := resource.Certificate{Path: APIServerCertificate}
	for _, h := range p.Inventory.Hosts {
		o := bare(p, h)
		o.Facts.Put(fact.Key{Kind: fact.KindFile, Name: APIServerCertificate}, fact.File{Exists: true, Type: "file", HasContent: true, Mode: 0o644, Owner: "root", Group: "root", SHA256: "1", Content: []byte("no certificate")})
		o.Facts.Host.State.Resources = map[string]fact.Record{string(certificate.ID()): {Files: map[string]string{APIServerCertificate: "1"}}}
		if h.Name == "shaolin" {
			o.Facts.Put(fact.Key{Kind: fact.KindStaticPod, Name: apiServerPod}, fact.Pod{UID: "1", Running: true})
			o.Facts.Host.State.Resources[string(pod.ID())] = fact.Record{Inputs: map[string]string{"image:x": "1"}}
		}
		observed.Hosts[h.Name] = o
	}
	var got []StepID
	for _, turn := range p.Diff(observed).Turns {
		if turn.Group == groupAPIServers {
			got = append(got, turn.Step)
		}
	}
	want := []StepID{NewStepID("shaolin", certificate.ID()), NewStepID("shaolin", pod.ID())}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
}

// What a run wrote that ended before the member was seen to work with it belongs
// to the member's turn, though there is nothing left to write: it is recorded
// when the member was seen, and taken back when it does not work.
func TestTurnsTakeInWhatADeadRunWrote(t *testing.T) {
	inv, a := load(t, "lab"), newAuthority(t)
	p := compileWith(t, inv, a)
	observed := installed(t, p, a)
	config := resource.File{Path: kubeletConfig}
	state := observed.Hosts["shaolin"].Facts.Host.State
	record := state.Resources[string(config.ID())]
	record.Files = map[string]string{kubeletConfig: "the one before"}
	state.Resources[string(config.ID())] = record
	unit := resource.Unit{Name: KubeletUnit}
	started := state.Resources[string(unit.ID())]
	started.Inputs[string(config.ID())] = "the one before"

	for _, turn := range p.Diff(observed).Turns {
		if turn.Step != NewStepID("shaolin", unit.ID()) {
			continue
		}
		part := NewStepID("shaolin", config.ID())
		if diff := cmp.Diff([]StepID{part}, turn.Parts); diff != "" {
			t.Errorf("parts (-want +got):\n%s", diff)
		}
		found, err := observed.Hosts["shaolin"].Facts.File(kubeletConfig)
		if err != nil {
			t.Fatal(err)
		}
		want := []KeptFile{{Step: part, Path: kubeletConfig, Found: found.SHA256, Served: "the one before"}}
		if diff := cmp.Diff(want, turn.Kept); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		return
	}
	t.Error("the kubelet has no turn")
}

package resource

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
)

// Unit is the state of a systemd unit; its unit file is a File of its own and
// one of its inputs. A unit is restarted when the digest of an input differs
// from the one recorded at its last successful start, so a crash between
// writing a file and restarting loses nothing.
type Unit struct {
	Name   string
	Inputs []Input
	// Parts are digests of parts of the inputs, by an ID like
	// "part:/etc/docker/daemon.json#network": for where it matters what changes
	// in a file. They are recorded beside the inputs' own.
	Parts map[ID]string
	// Reload the unit instead of restarting it when only inputs named here
	// change (its daemon rereads them).
	ReloadOn []ID
	// Oneshot units (RemainAfterExit) are run again, not restarted, when an
	// input changes.
	Oneshot bool
	// Stopped units are disabled and stopped instead.
	Stopped bool
	// NoBlock starts the unit without waiting for it to be ready: a member of a
	// quorum is ready only when its peers are; a gate waits for them all.
	NoBlock bool
	// Docker is set for dockerd's own unit.
	Docker *Docker
	// Relieves are units that listen at the same port until this one does.
	Relieves []Relieved
	// Idle are units that came with its packages and were started by them, and
	// that nobody asked for: they are stopped when this one is started.
	Idle []string
}

// Relieved is a unit that gives its place to another one of the same host. It is
// deleted by a step of its own, when nobody needs it any more.
type Relieved struct {
	Unit string
	// Quit is the signal (like "QUIT") on which its main process listens no longer,
	// and goes on with the clients that it has.
	Quit string
}

// Docker is what a restart of Docker's daemon has to see to besides. While
// containers run, the daemon leaves docker0 as it is whatever its
// configuration says: for a change of it they are stopped and started again.
type Docker struct {
	// Bridge is the address docker0 must have, with its prefix length
	// ("10.1.10.1/24"); "" where there is no docker0.
	Bridge string
	// Network is the part of the configuration that docker0 is made by.
	Network ID
}

// DockerBridge is the interface of Docker's default network.
const DockerBridge = "docker0"

// fieldContainers is the field of a change that stops and starts containers.
const fieldContainers = "containers"

// RestartsContainers reports whether carrying the change out stops every
// container that runs on the host and starts it again.
func (c Change) RestartsContainers() bool {
	return slices.ContainsFunc(c.Fields, func(f Field) bool { return f.Name == fieldContainers })
}

// Recorded adds the digests of the unit's parts to those of its inputs.
func (u Unit) Recorded(digests map[string]string) map[string]string {
	for id, digest := range u.Parts {
		digests[string(id)] = digest
	}
	return digests
}

// ID implements Resource.
func (u Unit) ID() ID { return NewID(KindUnit, u.Name) }

// Queries implements Resource: the unit and everything it is restarted for.
func (u Unit) Queries() []fact.Query {
	queries := []fact.Query{{Kind: fact.KindUnit, Name: u.Name}}
	for _, input := range u.Inputs {
		queries = append(queries, input.Queries()...)
	}
	return queries
}

// Digests returns the digest of each input that is known.
func (u Unit) Digests(facts fact.Set) map[string]string {
	digests, _ := inputDigests(u.Inputs, facts)
	return digests
}

// Diff implements Resource.
func (u Unit) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Unit(u.Name)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp}
	record, known := recorded(facts, u.ID())
	if u.Stopped {
		if found.LoadState != "not-found" && (found.ActiveState == "active" || found.UnitFileState == "enabled") {
			change.Action = Update
			change.Fields = append(change.Fields,
				Field{Name: "active", Before: found.ActiveState, After: "inactive"},
				Field{Name: "enabled", Before: found.UnitFileState, After: "disabled"})
			change.because(Intent, "must not run")
		}
		return change, nil
	}
	digests, unknown := inputDigests(u.Inputs, facts)
	digests = u.Recorded(digests)
	change.Record = fact.Record{Inputs: digests}

	trouble := found.Trouble()
	if trouble != "" {
		change.troubled(trouble, found.Log)
	}
	if !found.Running() && (!found.Starting() || found.LoadState != "loaded") {
		change.Action = Create
		before := found.ActiveState
		switch {
		case found.LoadState == "not-found":
			before = ""
		case before == "activating":
			before = found.SubState // auto-restart
		}
		change.Fields = append(change.Fields, Field{Name: "active", Before: before, After: "active"})
		switch {
		case !known || len(record.Inputs) == 0:
			change.because(Missing, "to be started")
			if trouble != "" {
				change.because(Missing, trouble)
			}
		case trouble == "" || trouble == found.ActiveState:
			change.because(Drift, found.ActiveState+" on the host")
		default:
			change.because(Drift, trouble)
		}
	} else {
		changed := append([]string{}, unknown...)
		for id, digest := range digests {
			if record.Inputs[id] != digest {
				changed = append(changed, id)
			}
		}
		for id := range record.Inputs {
			if _, still := digests[id]; !still && !slices.Contains(unknown, id) {
				changed = append(changed, id)
			}
		}
		if len(changed) > 0 {
			change.Action = Restart
			if u.reloadable(changed) {
				change.Action = Reload
			}
			if !known || record.Inputs == nil {
				change.because(Follows, fmt.Sprintf("%s: was not started by kinstall", change.Action))
			} else {
				change.because(Follows, fmt.Sprintf("%s: %s", change.Action, describeInputs(changed)))
			}
		} else if err := u.compareProcess(&change, facts, found, record); err != nil {
			return Change{}, err
		}
		if trouble != "" {
			change.because(Drift, trouble)
			if change.Action == NoOp {
				change.Action = Verify
			}
		}
		if u.Docker != nil {
			u.Docker.diff(&change, facts, changed)
		}
	}
	if change.Action == NoOp && record.Unproven {
		change.unproven()
	}
	if found.UnitFileState != "enabled" && found.UnitFileState != "static" && found.UnitFileState != "generated" {
		change.Fields = append(change.Fields, Field{Name: "enabled", Before: found.UnitFileState, After: "enabled"})
		if change.Action == NoOp || change.Action == Verify {
			change.Action = Update
			change.because(Drift, "not enabled at boot")
		}
	}
	return change, nil
}

// startMargin is how exactly the start of a process and the times of files can
// be compared.
const startMargin = 100 * time.Millisecond

// compareProcess says whether a unit that runs, and was last started by kinstall
// with the inputs it should have, runs with them still. It does if its process is
// the one that was recorded. Another one (after a crash, a reboot, a restart by
// hand) read its files as they were when it began: if one of them was written
// later, or is not now as kinstall wrote it, the process is started anew.
func (u Unit) compareProcess(change *Change, facts fact.Set, found fact.Unit, record fact.Record) error {
	if record.Started != "" && found.Started != "" && record.Started != found.Started {
		var stale []string
		because := ""
		for _, input := range u.Inputs {
			why, err := notAsStarted(input, facts, found.StartedTime)
			if err != nil {
				return err
			}
			if why != "" {
				stale, because = append(stale, string(input.ID())), cmp.Or(because, why)
			}
		}
		if len(stale) > 0 {
			change.Action = Restart
			if u.reloadable(stale) {
				change.Action = Reload
			}
			change.because(Drift, fmt.Sprintf("%s: %s", change.Action, because))
			return nil
		}
	}
	change.Record.Started = found.Started
	if found.NeedDaemonReload {
		change.Action = Update
		change.because(Drift, "systemd has not read its unit file again since that changed")
	}
	return nil
}

// notAsStarted says why a process that began at a time may not have read an
// input as it should be, "" if it has.
func notAsStarted(input Input, facts fact.Set, began time.Time) (string, error) {
	record, _ := recorded(facts, input.ID())
	for _, q := range input.Queries() {
		if q.Kind != fact.KindFile {
			continue
		}
		file, err := facts.File(q.Name)
		if err != nil {
			return "", err
		}
		written := record.Files[q.Name]
		switch {
		case !file.Exists || file.Type == "directory":
		case file.SHA256 != "" && written != "" && file.SHA256 != written:
			return fmt.Sprintf("was started with %s as changed on the host", q.Name), nil
		case file.MTime.After(began.Add(-startMargin)) || file.CTime.After(began.Add(-startMargin)):
			return fmt.Sprintf("runs since before %s was written", q.Name), nil
		}
	}
	return "", nil
}

// diff says when containers have to be restarted.
func (d Docker) diff(change *Change, facts fact.Set, changed []string) {
	found := facts.Host.Interfaces[DockerBridge]
	wrong := d.Bridge != "" && !slices.Contains(found, d.Bridge)
	if !wrong && !slices.Contains(changed, string(d.Network)) {
		return
	}
	change.Action = Restart
	reason := "its network changes"
	if wrong {
		before := strings.Join(found, ", ")
		reason = fmt.Sprintf("%s changes from %s to %s", DockerBridge, cmp.Or(before, "nothing"), d.Bridge)
		change.Fields = append(change.Fields, Field{Name: DockerBridge, Before: before, After: d.Bridge})
	}
	change.because(Follows, reason+": all containers of this host are restarted")
	change.Fields = append(change.Fields, Field{Name: fieldContainers, Before: "running", After: "restarted"})
}

// reloadable reports whether every changed input is one the daemon rereads.
func (u Unit) reloadable(changed []string) bool {
	for _, id := range changed {
		ok := false
		for _, reload := range u.ReloadOn {
			ok = ok || string(reload) == id
		}
		if !ok {
			return false
		}
	}
	return true
}

// describeInputs says what changed in a few words: "etcd.env and 2 more change".
func describeInputs(ids []string) string {
	sorted := append([]string{}, ids...)
	// The file of a part is named already.
	sorted = slices.DeleteFunc(sorted, func(id string) bool { return ID(id).Kind() == "part" && len(sorted) > 1 })
	sort.Strings(sorted)
	names := make([]string, len(sorted))
	for i, id := range sorted {
		names[i] = ID(id).Name()
	}
	switch len(names) {
	case 1:
		return names[0] + " changes"
	case 2:
		return names[0] + " and " + names[1] + " change"
	default:
		return fmt.Sprintf("%s, %s and %d more change", names[0], names[1], len(names)-2)
	}
}

// StaticPod is a manifest the kubelet runs from its manifest directory. The
// pod is restarted by a changed manifest, so the digests of its inputs stand
// in it as an annotation; while one of them can't be known (a certificate
// still to be issued) the plan says so.
type StaticPod struct {
	Name string
	// Node is the name of the node the kubelet runs it on; "" where the manifest
	// alone is looked at.
	Node string
	Path string
	// Manifest is the pod as YAML, with the line Placeholder where the
	// annotation belongs.
	Manifest string
	Inputs   []Input
}

// staticPodNamespace is that of all manifests.
const staticPodNamespace = "kube-system"

// Placeholder stands in a static pod's manifest for the digest of its inputs.
const Placeholder = "@INPUTS@"

// unknownDigest is shown while the digest of the inputs can't be known.
const unknownDigest = "(known after apply)"

// ID implements Resource.
func (p StaticPod) ID() ID { return NewID(KindStaticPod, p.Path) }

// Own is the manifest's ownership: readable by root only, as kubeadm has it.
func (p StaticPod) Own() Ownership { return Ownership{Mode: 0o600, Owner: "root", Group: "root"} }

// Queries implements Resource.
func (p StaticPod) Queries() []fact.Query {
	queries := []fact.Query{{Kind: fact.KindFile, Name: p.Path, Content: true}}
	if p.Node != "" {
		queries = append(queries, fact.Query{Kind: fact.KindStaticPod, Name: p.Name, Args: []string{staticPodNamespace, p.Node}})
	}
	for _, input := range p.Inputs {
		queries = append(queries, input.Queries()...)
	}
	return queries
}

// Render returns the manifest with its inputs' digest, as far as it is known.
func (p StaticPod) Render(facts fact.Set) (manifest string, known bool) {
	digests, unknown := inputDigests(p.Inputs, facts)
	if len(unknown) > 0 {
		return strings.ReplaceAll(p.Manifest, Placeholder, unknownDigest), false
	}
	return strings.ReplaceAll(p.Manifest, Placeholder, combineDigests(digests)), true
}

// Diff implements Resource.
func (p StaticPod) Diff(facts fact.Set) (Change, error) {
	want, known := p.Render(facts)
	change, err := diffContent(facts, p.ID(), p.Path, []byte(want), SHA256([]byte(want)), p.Own(), false)
	if err != nil {
		return Change{}, err
	}
	if !known {
		_, unknown := inputDigests(p.Inputs, facts)
		change.Record = fact.Record{}
		if change.Action == Update && len(change.Reasons) > 0 {
			change.Reasons = []Reason{{Follows, "restart: " + describeInputs(unknown)}}
		}
	}
	if change.Action != NoOp || p.Node == "" {
		return change, nil
	}
	pod, err := facts.Pod(p.Name)
	if err != nil {
		return Change{}, err
	}
	record, recorded := recorded(facts, p.ID())
	switch trouble := pod.Trouble(); {
	case trouble != "":
		change.Action = Verify
		change.because(Drift, trouble)
		change.troubled(trouble, pod.Log)
	case recorded && (record.Unproven || record.Files[p.Path] != SHA256([]byte(want))):
		change.unproven()
	}
	return change, nil
}

// unproven says that what is there as wanted was put there by a run that ended
// before it was seen to work.
func (c *Change) unproven() {
	c.Action = Verify
	c.because(Unknown, "started by an apply that ended before it was seen to work")
}

// RenderWith returns the manifest for digests known after all: those in force
// when it is written.
func (p StaticPod) RenderWith(digests map[string]string) string {
	return strings.ReplaceAll(p.Manifest, Placeholder, combineDigests(digests))
}

package provision

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

// backupPath is where a host keeps what a step of a lane overwrote last, each
// file below it at its own path. One generation: it is there to be put back
// within the same run.
const backupPath = "/var/lib/kinstall/backup"

// keptFiles are the file steps of a host that change what a step of a lane is
// about: a static pod's manifest, or a unit's configuration. They keep the
// previous bytes on the host, so that a gate that fails can put them back.
//
// Certificates and keys are not among them: new ones are valid beside the old,
// and programs read them without being restarted. Nor are binaries: going back
// to an older version is not safe for those that write data.
type keptFiles []plan.Item

// keepFor finds what to keep for each step that keeps to a lane and has a gate.
func keepFor(delta *plan.Delta) map[plan.StepID]keptFiles {
	byID := map[plan.StepID]plan.Item{}
	for _, item := range delta.Items {
		byID[item.Step.ID()] = item
	}
	kept := map[plan.StepID]keptFiles{}
	for _, item := range delta.Items {
		if !inLane(delta, item) || item.Step.Gate == nil {
			continue
		}
		id := item.Step.ID()
		switch r := item.Step.Resource.(type) {
		case resource.StaticPod:
			kept[id] = keptFiles{item}
		case resource.Unit:
			for _, input := range r.Inputs {
				file, ok := byID[plan.NewStepID(item.Step.Host, input.ID())]
				if _, isFile := input.(resource.File); ok && isFile && file.Change.Changes() {
					kept[id] = append(kept[id], file)
				}
			}
		}
	}
	return kept
}

// keeps reports whether a file step is to keep the previous bytes.
func (e *Executor) keeps(id plan.StepID) bool {
	for _, files := range e.kept {
		for _, file := range files {
			if file.Step.ID() == id {
				return true
			}
		}
	}
	return false
}

// laneStoppedError says why a step of a lane was not begun.
type laneStoppedError struct {
	lane     string
	cause    error
	givenUp  []string // files that were put back, though nothing read them yet
	restored error
}

func (e *laneStoppedError) Error() string {
	text := fmt.Sprintf("not begun, because lane %s has stopped", e.lane)
	switch {
	case e.restored != nil:
		text += fmt.Sprintf("; putting back %s failed: %v", strings.Join(e.givenUp, ", "), e.restored)
	case len(e.givenUp) > 0:
		text += "; put back " + strings.Join(e.givenUp, ", ")
	}
	return text
}

func (e *laneStoppedError) Unwrap() error { return e.cause }

// carryOutInLane changes one member of what already serves: when the others
// can do without it, behind its gate, and back again if the gate stays shut.
func (r *run) carryOutInLane(n *graphNode) error {
	e, item := r.executor, n.item
	e.tell(Event{Kind: Started, Item: item})
	report := func(text string) { e.tell(Event{Kind: Progress, Item: item, Text: text}) }
	since := ""
	if gate := item.Step.Gate; gate != nil {
		var err error
		since, err = e.gates.before(r.ctx, *gate, item.Step.Host, report)
		switch {
		case r.ctx.Err() != nil:
			return errNotBegun
		case err != nil:
			return failedStep(item, fmt.Errorf("not touched, because the cluster is not healthy as it is: %w", err))
		}
		if _, certificate := item.Step.Resource.(resource.Certificate); certificate {
			since = "" // it is taken up by the process that runs
		}
	}
	changed, err := r.change(n)
	if err == nil && item.Step.Gate != nil {
		if err = e.gates.wait(r.work, *item.Step.Gate, since, report); err != nil {
			err = fmt.Errorf("%s: %w", item.Step.Gate.Text, err)
		}
	}
	if err != nil && changed {
		// Only a start that went well counts: the next plan restarts again.
		e.recordAsBefore(item)
		err = e.rollBack(r.work, item, err, report)
	}
	return failedStep(item, err)
}

// giveBack ends a step whose lane has stopped before its turn came: what was
// written for it is put back, so that the next start of its program does not
// do what has just failed elsewhere.
func (r *run) giveBack(n *graphNode) error {
	e := r.executor
	stopped := &laneStoppedError{lane: n.lane.name, cause: n.lane.stopped}
	files := e.kept[n.item.Step.ID()]
	if _, unit := n.item.Step.Resource.(resource.Unit); unit && len(files) > 0 {
		stopped.givenUp = files.paths()
		stopped.restored = e.restore(r.work, n.item, files, "")
	}
	return stopped
}

// rollBack puts back what a lane's step overwrote, restarts and waits for the
// gate once more. The error it returns is the cause, and what became of that.
func (e *Executor) rollBack(ctx context.Context, item plan.Item, cause error, report func(string)) error {
	files := e.kept[item.Step.ID()]
	if len(files) == 0 {
		return cause
	}
	report("putting the previous files back")
	restart := ""
	if u, ok := item.Step.Resource.(resource.Unit); ok {
		restart = restartScript(u.Name, "restart", u.Docker == nil)
		if u.Docker != nil {
			restart += startContainers
		}
	}
	paths := strings.Join(files.paths(), ", ")
	if err := e.restore(ctx, item, files, restart); err != nil {
		return fmt.Errorf("%w; putting back %s failed: %w", cause, paths, err)
	}
	if err := e.gates.wait(ctx, *item.Step.Gate, "", report); err != nil {
		return fmt.Errorf("%w; %s was put back, but still not: %w", cause, paths, err)
	}
	return fmt.Errorf("%w; %s was put back, and the cluster is healthy again", cause, paths)
}

func (k keptFiles) paths() []string {
	var paths []string
	for _, item := range k {
		paths = append(paths, pathOf(item.Step.Resource))
	}
	slices.Sort(paths)
	return paths
}

func pathOf(r resource.Resource) string {
	switch r := r.(type) {
	case resource.File:
		return r.Path
	case resource.StaticPod:
		return r.Path
	}
	return r.ID().Name()
}

// restore puts kept files back, their records too, and runs a script.
func (e *Executor) restore(ctx context.Context, item plan.Item, files keptFiles, then string) error {
	m, err := e.Fleet.connect(ctx, item.Step.Host)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, file := range files {
		b.WriteString(restoreScript(pathOf(file.Step.Resource), file.Change.Evidence))
	}
	b.WriteString(then)
	if err := m.script(ctx, "put back "+strings.Join(files.paths(), ", "), b.String()); err != nil {
		return err
	}
	for _, file := range files {
		e.recordAsBefore(file)
	}
	return nil
}

// recordAsBefore makes the host's state say of a resource what it said when
// the delta was computed.
func (e *Executor) recordAsBefore(item plan.Item) {
	id, m := item.Step.Resource.ID(), e.Fleet.machines[item.Step.Host]
	if record, known := e.facts(item.Step.Host).Host.State.Resources[string(id)]; known {
		m.state.put(id, record)
	} else {
		m.state.remove(id)
	}
}

// keepScript copies a file that is about to be replaced to its place below
// backupPath, with owner, mode and times.
func keepScript(file string) string {
	copied := shell.Quote(backupPath + file)
	return fmt.Sprintf(`if [ -e %[1]s ]; then
	mkdir -p -m 0700 -- %[2]s
	mkdir -p -- "$(dirname -- %[3]s)"
	cp -fp -- %[1]s %[3]s.new
	sync -- %[3]s.new
	mv -fT -- %[3]s.new %[3]s
else
	rm -f -- %[3]s
fi
`, shell.Quote(file), shell.Quote(backupPath), copied)
}

// restoreScript puts a file back as it was when before was its digest, ""
// for absent.
func restoreScript(file, before string) string {
	if before == "" {
		return "rm -f -- " + shell.Quote(file) + "\n"
	}
	return fmt.Sprintf(`copied=%[1]s
got=$(sha256sum < "$copied"); got=${got%%%% *}
if [ "$got" != %[2]s ]; then echo "$copied is not what was replaced (SHA-256 $got)" >&2; exit 1; fi
tmp=$(mktemp %[3]s)
cp -fp -- "$copied" "$tmp"
sync -- "$tmp"; mv -fT -- "$tmp" %[4]s; sync -- %[5]s
tmp=
`, shell.Quote(backupPath+file), shell.Quote(before), shell.Quote(temporaryFor(file)), shell.Quote(file), shell.Quote(path.Dir(file)))
}

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

// backupPath is where a host keeps what a step of a lane overwrote, each file
// below it at its own path: one generation, the last that is known to have
// served.
const backupPath = "/var/lib/kinstall/backup"

// keptFile is a file that a step of a lane is about: a static pod's manifest,
// or a part of a unit's configuration. Its previous bytes are kept on the host,
// so that a gate that fails can put them back.
//
// Certificates and keys are not kept: new ones are valid beside the old, and
// programs read them without being restarted. Nor are binaries: going back to
// an older version is not safe for programs that write data.
type keptFile struct {
	item plan.Item // the step that writes it
	path string
	// served is the digest it had at the last start that went well, "" if none
	// is known. It differs from what the step found where a run before this
	// one ended between writing the file and restarting its program.
	served string
}

type keptFiles []keptFile

func (k keptFiles) String() string {
	var paths []string
	for _, file := range k {
		paths = append(paths, file.path)
	}
	slices.Sort(paths)
	return strings.Join(paths, ", ")
}

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
		record := delta.Observed.Hosts[item.Step.Host].Facts.Host.State.Resources[string(item.Step.Resource.ID())]
		switch r := item.Step.Resource.(type) {
		case resource.StaticPod:
			kept[id] = keptFiles{{item, r.Path, record.Files[r.Path]}}
		case resource.Unit:
			for _, input := range r.Inputs {
				file, isFile := input.(resource.File)
				written, there := byID[plan.NewStepID(item.Step.Host, input.ID())]
				if !isFile || !there {
					continue
				}
				served := record.Inputs[string(input.ID())]
				if written.Change.Changes() || served != "" && served != resource.SHA256(file.Content) {
					kept[id] = append(kept[id], keptFile{written, file.Path, served})
				}
			}
		}
	}
	return kept
}

// keeps returns the script that keeps what a file step is about to overwrite,
// "" for a step that keeps nothing.
func (e *Executor) keeps(id plan.StepID) string {
	for _, files := range e.kept {
		for _, file := range files {
			if file.item.Step.ID() == id {
				return keepScript(file)
			}
		}
	}
	return ""
}

// laneStoppedError says why a step of a lane was not begun.
type laneStoppedError struct {
	lane  string
	cause error  // the failure that stopped it
	done  string // what was done about files that were written already; see giveBack
}

func (e *laneStoppedError) Error() string {
	return fmt.Sprintf("not begun, because lane %s has stopped%s", e.lane, e.done)
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
			return failedStep(item, fmt.Errorf("not touched, because the cluster is not healthy as it is: %w%s", err, e.giveBack(r.work, item)))
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

// passOver ends a step whose lane has stopped before its turn came.
func (r *run) passOver(n *graphNode) error {
	return &laneStoppedError{lane: n.lane.name, cause: n.lane.stopped, done: r.executor.giveBack(r.work, n.item)}
}

// giveBack puts back what was written for a lane's step that is not begun, so
// that the next start of its program, be it at boot, does not read what was
// not tried or has just failed elsewhere. It returns what there is to add to
// the error that says why.
func (e *Executor) giveBack(ctx context.Context, item plan.Item) string {
	files := e.kept[item.Step.ID()]
	if _, unit := item.Step.Resource.(resource.Unit); !unit || len(files) == 0 {
		return "" // a static pod's manifest is written by the step itself
	}
	if err := e.restore(ctx, item, files, ""); err != nil {
		return fmt.Sprintf("; putting back %s failed: %v", files, err)
	}
	return "; put back " + files.String()
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
	if err := e.restore(ctx, item, files, restart); err != nil {
		return fmt.Errorf("%w; putting back %s failed: %w", cause, files, err)
	}
	if err := e.gates.wait(ctx, *item.Step.Gate, "", report); err != nil {
		return fmt.Errorf("%w; %s was put back, but still not: %w", cause, files, err)
	}
	return fmt.Errorf("%w; %s was put back, and the cluster is healthy again", cause, files)
}

// restore puts kept files back, records that, and runs a script.
func (e *Executor) restore(ctx context.Context, item plan.Item, files keptFiles, then string) error {
	m, err := e.Fleet.connect(ctx, item.Step.Host)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, file := range files {
		b.WriteString(restoreScript(file))
	}
	b.WriteString(then)
	told, err := m.output(ctx, "put back "+files.String(), b.String())
	if err != nil {
		return err
	}
	digests := strings.Fields(told)
	for i, file := range files {
		e.recordAsBefore(file.item)
		id := file.item.Step.Resource.ID()
		if record, known := m.state.record(id); known && i < len(digests) {
			record.Files = map[string]string{file.path: digests[i]}
			m.state.put(id, record)
		}
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
// backupPath, with owner, mode and times; unless there is one that served, and
// this one has not.
func keepScript(file keptFile) string {
	copied := backupPath + file.path
	return fmt.Sprintf(`copied=%[1]s kept=
if [ -e "$copied" ]; then kept=$(sha256sum < "$copied"); kept=${kept%%%% *}; fi
if [ -e %[2]s ] && { [ -z "$kept" ] || [ "$kept" != %[3]s ]; }; then
	mkdir -p -m 0700 -- %[4]s
	mkdir -p -- %[5]s
	cp -fp -- %[2]s "$copied.new"
	sync -- "$copied.new"
	mv -fT -- "$copied.new" "$copied"
fi
`, shell.Quote(copied), shell.Quote(file.path), shell.Quote(file.served), shell.Quote(backupPath), shell.Quote(path.Dir(copied)))
}

// restoreScript puts a file back as it served last, or else as the step found
// it, and prints its digest; "absent" if it was not there and goes again.
func restoreScript(file keptFile) string {
	found := file.item.Change.Evidence
	return fmt.Sprintf(`copied=%[1]s kept=
if [ -e "$copied" ]; then kept=$(sha256sum < "$copied"); kept=${kept%%%% *}; fi
if [ -n "$kept" ] && { [ "$kept" = %[2]s ] || [ "$kept" = %[3]s ]; }; then
	tmp=$(mktemp %[4]s)
	cp -fp -- "$copied" "$tmp"
	sync -- "$tmp"; mv -fT -- "$tmp" %[5]s; sync -- %[6]s
	tmp=
	echo "$kept"
elif [ -z %[3]s ]; then
	rm -f -- %[5]s
	echo absent
else
	echo "$copied is not what was replaced (SHA-256 ${kept:-none: it is not there})" >&2
	exit 1
fi
`, shell.Quote(backupPath+file.path), shell.Quote(file.served), shell.Quote(found),
		shell.Quote(temporaryFor(file.path)), shell.Quote(file.path), shell.Quote(path.Dir(file.path)))
}

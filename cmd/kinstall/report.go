package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/cmd/kinstall/progress"
	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/render"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision"
	"github.com/kinstall/kinstall/provision/ssh"
)

// How much of a failed command's output and of a list is printed; the JSON
// report has all of it.
const (
	shownStderr  = 20 // lines
	shownLog     = 8  // lines of a process that does not work
	shownSkipped = 5
)

// printReport prints a report: what went well to standard output, what did
// not to standard error.
func (a *app) printReport(c *cli.Context, file string, delta *plan.Delta, report *provision.Report) {
	paint := painter(a.color(a.outTerminal, c.Bool("no-color")))
	if report.Count(provision.Failed) == 0 && !report.Interrupted {
		fmt.Fprintln(a.out, paint("1", "Apply complete: "+achievements(report)+"."))
		fmt.Fprint(a.out, leftForLater(delta))
		if delta.Plan.Inventory.Kubernetes() {
			fmt.Fprintf(a.out, "To use the cluster: kinstall kubeconfig %s -out kubeconfig\n", file)
		}
		return
	}
	if a.outTerminal {
		fmt.Fprintln(a.out) // below what was shown live
	}
	printFailures(a.err, painter(a.color(a.errTerminal, c.Bool("no-color"))), report)
}

// leftForLater names the hosts that were gone on without; "" for none.
func leftForLater(d *plan.Delta) string {
	hosts := d.Skipped()
	if len(hosts) == 0 {
		return ""
	}
	text := "Left for later: " + strings.Join(hosts, ", ")
	if n := len(d.Later); n > 0 {
		text += ", and " + plural(n, "change") + " of others"
	}
	return text + ". Apply again when " + itOrThey(len(hosts)) + " can be reached.\n"
}

func itOrThey(n int) string {
	if n == 1 {
		return "it"
	}
	return "they"
}

func painter(color bool) func(style, text string) string {
	return func(style, text string) string {
		if !color {
			return text
		}
		return "\x1b[" + style + "m" + text + "\x1b[0m"
	}
}

// achievements is "212 created, 3 changed, 0 deleted, 1 restarted on 4 hosts in 58.3 s".
func achievements(report *provision.Report) string {
	counts := map[resource.Action]int{}
	hosts, elsewhere := map[string]bool{}, map[string]bool{}
	for _, r := range report.Results {
		if r.Kind != provision.Finished || r.Item.Change.Action == resource.Wait {
			continue
		}
		counts[r.Item.Change.Action]++
		if host := r.Item.Step.Host; host != plan.Operator && host != plan.Cluster {
			hosts[host] = true
		} else {
			elsewhere[host] = true
		}
	}
	text := fmt.Sprintf("%d created, %d changed, %d deleted, %d restarted", counts[resource.Create],
		counts[resource.Update]+counts[resource.Replace], counts[resource.Delete], counts[resource.Restart]+counts[resource.Reload])
	if n := counts[resource.Verify]; n > 0 {
		text += fmt.Sprintf(", %d checked", n)
	}
	if n := counts[resource.Deferred]; n > 0 {
		text += fmt.Sprintf(", %d settled that were judged later", n)
	}
	where := "on " + plural(len(hosts), "host")
	switch {
	case len(hosts) > 0:
	case elsewhere[plan.Cluster]:
		where = "in the cluster"
	case elsewhere[plan.Operator]:
		where = "on the operator's machine"
	}
	return text + fmt.Sprintf(" %s in %.1f s", where, report.Elapsed.Seconds())
}

// printFailures says what failed and why, what was not begun for it, and how
// to go on.
func printFailures(w io.Writer, paint func(style, text string) string, report *provision.Report) {
	blocked, stopped := consequences(report)
	for _, r := range report.Results {
		if r.Kind == provision.Failed {
			printFailure(w, paint, r, putBackWith(report, r), blocked[r.Item.Step.ID()])
		}
	}
	title := "Apply failed"
	if report.Interrupted {
		title = "Apply interrupted"
	}
	back := ""
	if n := report.Count(provision.RolledBack); n > 0 {
		back = fmt.Sprintf(" %d rolled back,", n)
	}
	fmt.Fprintln(w, paint("1", fmt.Sprintf("%s after %.1f s: %d of %s done, %d failed,%s %d not begun.", title, report.Elapsed.Seconds(),
		report.Count(provision.Finished), plural(len(report.Results), "step"), report.Count(provision.Failed), back, report.Count(provision.Skipped))))
	if n := len(stopped); n > 0 && report.Interrupted {
		fmt.Fprintf(w, "%s not begun because of the interrupt.\n", wasOrWere(n, "step"))
	}
	switch {
	case onlyStale(report):
		fmt.Fprintln(w, "Somebody else changed these hosts meanwhile. Run the same command again to\nsee what would be done now.")
	case allRolledBack(report):
		fmt.Fprintln(w, "What did not work was rolled back, and what was there before works again; what\nis done stays done. Mend the cause and run the same command again.")
	case report.Count(provision.Failed) > 0:
		fmt.Fprintln(w, "What is done stays done. Mend the cause and run the same command again: it\ngoes on from here.")
	default:
		fmt.Fprintln(w, "What is done stays done. Run the same command again to go on from here.")
	}
}

// allRolledBack reports whether every failure left its member as it was before.
func allRolledBack(report *provision.Report) bool {
	for _, r := range report.Results {
		var back *provision.RolledBackError
		if r.Kind == provision.Failed && !errors.As(r.Err, &back) {
			return false
		}
	}
	return report.Count(provision.Failed) > 0
}

// putBackWith are the steps that were rolled back with a failed one.
func putBackWith(report *provision.Report, failed provision.Result) []plan.Item {
	var items []plan.Item
	for _, r := range report.Results {
		if r.Kind == provision.RolledBack && r.Turn == failed.Turn {
			items = append(items, r.Item)
		}
	}
	return items
}

func printFailure(w io.Writer, paint func(style, text string) string, r provision.Result, putBack, blocked []plan.Item) {
	id := r.Item.Step.Resource.ID()
	how, err := "failed", r.Err
	var back *provision.RolledBackError
	if errors.As(err, &back) {
		how, err = "failed and was rolled back", back.Cause
	}
	fmt.Fprintln(w, paint("31", "! "+render.Clean(fmt.Sprintf("%s: %s %s %s %s", where(r.Item.Step.Host), r.Item.Change.Action, id.Kind(), id.Name(), how))))
	field := func(name, value string) {
		for i, line := range strings.Split(strings.TrimRight(value, "\n"), "\n") {
			if i > 0 {
				name = ""
			}
			fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("    %-12s%s", name, render.Clean(line)), " "))
		}
	}
	var exit *ssh.ExitError
	var process *provision.ProcessError
	switch {
	case errors.As(err, &exit) && !isStale(err):
		field("command", exit.Command)
		field("exit code", fmt.Sprint(exit.ExitCode))
		field("stderr", lastLines(string(exit.Stderr), shownStderr))
	case errors.As(err, &process):
		field("cause", process.Process.Name()+" "+process.Trouble)
		if process.Log != "" {
			field("log", lastLines(process.Log, shownLog))
		}
	case err != nil:
		field("cause", progress.Cause(r.Item, err))
	}
	if hint := hintOf(r.Err); hint != "" {
		field("hint", hint)
	}
	if len(putBack) > 0 {
		field("put back", someSteps(putBack))
	}
	if len(blocked) > 0 {
		field("not begun", someSteps(blocked))
	}
	fmt.Fprintln(w)
}

// where is a place as people call it.
func where(host string) string {
	switch host {
	case plan.Operator:
		return "operator"
	case plan.Cluster:
		return "cluster api"
	}
	return "host " + host
}

func lastLines(s string, most int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if n := len(lines); n > most {
		lines = append([]string{fmt.Sprintf("(%d lines before)", n-most)}, lines[n-most:]...)
	}
	if len(lines) == 1 && lines[0] == "" {
		return "(nothing)"
	}
	return strings.Join(lines, "\n")
}

// someSteps names steps, one a line, the first few of them.
func someSteps(items []plan.Item) string {
	lines := []string{plural(len(items), "step") + ":"}
	for i, item := range items {
		if i == shownSkipped {
			lines = append(lines, fmt.Sprintf("and %d more", len(items)-i))
			break
		}
		id := item.Step.Resource.ID()
		lines = append(lines, fmt.Sprintf("%s %s %s", strings.Trim(item.Step.Host, "()"), id.Kind(), id.Name()))
	}
	return strings.Join(lines, "\n")
}

func wasOrWere(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " was"
	}
	return plural(n, noun) + " were"
}

// consequences tells for each failed step which steps were not begun because
// of it, and which were not begun for no failure.
func consequences(report *provision.Report) (blocked map[plan.StepID][]plan.Item, stopped []plan.Item) {
	results := map[plan.StepID]provision.Result{}
	for _, r := range report.Results {
		results[r.Item.Step.ID()] = r
	}
	culprits := map[plan.StepID]map[plan.StepID]bool{}
	var find func(id plan.StepID) map[plan.StepID]bool
	find = func(id plan.StepID) map[plan.StepID]bool {
		if found, ok := culprits[id]; ok {
			return found
		}
		found := map[plan.StepID]bool{}
		culprits[id] = found
		for _, before := range results[id].Item.Step.After {
			switch r, ok := results[before]; {
			case !ok:
			case r.Kind == provision.Failed:
				found[before] = true
			case r.Kind == provision.RolledBack:
				found[r.Turn] = true
			case r.Kind == provision.Skipped:
				for culprit := range find(before) {
					found[culprit] = true
				}
			}
		}
		var stopped *provision.GroupStoppedError
		if errors.As(results[id].Err, &stopped) {
			found[stopped.By] = true
		}
		return found
	}
	blocked = map[plan.StepID][]plan.Item{}
	for _, r := range report.Results {
		if r.Kind != provision.Skipped {
			continue
		}
		found := find(r.Item.Step.ID())
		for culprit := range found {
			blocked[culprit] = append(blocked[culprit], r.Item)
		}
		if len(found) == 0 {
			stopped = append(stopped, r.Item)
		}
	}
	return blocked, stopped
}

// reportEvent is the last line of apply -json.
type reportEvent struct {
	Type        string         `json:"type"` // "report"
	Elapsed     float64        `json:"elapsed"`
	Finished    int            `json:"finished"`
	Failed      int            `json:"failed"`
	RolledBack  int            `json:"rolled_back"`
	Skipped     int            `json:"skipped"`
	Interrupted bool           `json:"interrupted"`
	Connections int            `json:"connections"`
	Execs       int            `json:"execs"`
	Failures    []failureEvent `json:"failures"`
	// LeftForLater are the hosts that were gone on without.
	LeftForLater []string `json:"left_for_later"`
}

// failureEvent is one failed step of a report.
type failureEvent struct {
	Host     string          `json:"host"`
	ID       resource.ID     `json:"id"`
	Action   resource.Action `json:"action"`
	Error    string          `json:"error"`
	Hint     string          `json:"hint,omitempty"`
	Command  string          `json:"command,omitempty"`
	ExitCode int             `json:"exit_code,omitempty"`
	Stderr   string          `json:"stderr,omitempty"`
	// RolledBack: what was there before was put back, and works again.
	RolledBack bool          `json:"rolled_back"`
	Log        string        `json:"log,omitempty"` // of a process that does not work
	Skipped    []plan.StepID `json:"skipped"`
}

func newReportEvent(delta *plan.Delta, report *provision.Report) reportEvent {
	event := reportEvent{
		Type: "report", Elapsed: progress.Seconds(report.Elapsed),
		Finished: report.Count(provision.Finished), Failed: report.Count(provision.Failed), RolledBack: report.Count(provision.RolledBack), Skipped: report.Count(provision.Skipped),
		Interrupted: report.Interrupted, Connections: report.Connections, Execs: report.Execs, Failures: []failureEvent{},
		LeftForLater: append([]string{}, delta.Skipped()...),
	}
	blocked, _ := consequences(report)
	for _, r := range report.Results {
		if r.Kind != provision.Failed {
			continue
		}
		id := r.Item.Step.ID()
		failure := failureEvent{Host: r.Item.Step.Host, ID: r.Item.Step.Resource.ID(), Action: r.Item.Change.Action, Hint: hintOf(r.Err), Skipped: []plan.StepID{}}
		if r.Err != nil {
			failure.Error = r.Err.Error()
		}
		var exit *ssh.ExitError
		if errors.As(r.Err, &exit) {
			failure.Command, failure.ExitCode, failure.Stderr = exit.Command, exit.ExitCode, string(exit.Stderr)
		}
		var back *provision.RolledBackError
		failure.RolledBack = errors.As(r.Err, &back)
		var process *provision.ProcessError
		if errors.As(r.Err, &process) {
			failure.Log = process.Log
		}
		for _, item := range blocked[id] {
			failure.Skipped = append(failure.Skipped, item.Step.ID())
		}
		event.Failures = append(event.Failures, failure)
	}
	return event
}

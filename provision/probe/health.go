package probe

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/kinstall/kinstall/plan/fact"
)

// units reads systemctl show: a block of properties for each unit, in the order
// asked, and the log of each that is in trouble.
func (p *parser) units(set fact.Set, queries []fact.Query) {
	const about = "units"
	for i := range queries {
		p.used[logLabel(i)] = true
	}
	text, ok := p.take(about, "units")
	if !ok {
		return
	}
	if string(text) == "absent" { // a host without systemd
		for _, q := range queries {
			set.Put(q.Key(), fact.Unit{LoadState: "not-found", ActiveState: "inactive", SubState: "dead"})
		}
		return
	}
	blocks := strings.Split(string(text), "\n\n")
	if len(blocks) != len(queries) {
		p.fail(about, fmt.Sprintf("systemctl described %d of %d units", len(blocks), len(queries)))
		return
	}
	for i, q := range queries {
		unit, err := parseUnit(blocks[i], set.Host)
		if err != nil {
			p.fail("unit "+q.Name, err.Error())
			continue
		}
		if log := p.answers[logLabel(i)]; !log.failed {
			unit.Log = logEnd(withoutSystemd(q.Name, string(log.text)))
		}
		set.Put(q.Key(), unit)
	}
}

func logLabel(unit int) string { return "log." + strconv.Itoa(unit) }

// parseUnit reads the properties of one unit. Those that only services have, or
// only newer versions of systemd, may be missing.
func parseUnit(block string, host fact.Host) (fact.Unit, error) {
	properties := map[string]string{}
	for _, line := range strings.Split(block, "\n") {
		if name, value, ok := strings.Cut(line, "="); ok {
			properties[name] = value
		}
	}
	unit := fact.Unit{
		LoadState:        properties["LoadState"],
		ActiveState:      properties["ActiveState"],
		SubState:         properties["SubState"],
		UnitFileState:    properties["UnitFileState"],
		NeedDaemonReload: properties["NeedDaemonReload"] == "yes",
		Result:           properties["Result"],
	}
	if unit.LoadState == "" || unit.ActiveState == "" {
		return fact.Unit{}, fmt.Errorf("unexpected answer %s", excerpt([]byte(block)))
	}
	var began int
	for _, number := range []struct {
		name string
		into *int
	}{
		{"MainPID", &unit.MainPID}, {"NRestarts", &unit.NRestarts}, {"ExecMainCode", &unit.ExecMainCode},
		{"ExecMainStatus", &unit.ExecMainStatus}, {"ExecMainStartTimestampMonotonic", &began},
	} {
		text := properties[number.name]
		if text == "" || text == "[not set]" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return fact.Unit{}, fmt.Errorf("unreadable %s %q", number.name, text)
		}
		*number.into = n
	}
	if began > 0 { // µs
		unit.Started, unit.StartedTime, unit.Age = started(host, time.Duration(began)*time.Microsecond, strconv.Itoa(began))
	}
	return unit, nil
}

// started identifies a process by the boot and the time since it at which it
// began, and says when that was by the host's clock as it goes now: a clock that
// was set meanwhile would date it otherwise.
func started(host fact.Host, began time.Duration, word string) (id string, at time.Time, age time.Duration) {
	age = max(host.Uptime-began, 0)
	return host.BootID + "/" + word, host.Time.Add(-age), age
}

// parsePod reads "pod UID RESTARTS PID TICKS", with - for what there is not, the
// first line of the log of the container before, and the end of a log.
func parsePod(text []byte, host fact.Host) (any, error) {
	head, log, _ := strings.Cut(string(text), "\n")
	first, log, _ := strings.Cut(log, "\n")
	words := strings.Split(head, " ")
	if len(words) != 5 || words[0] != "pod" {
		return nil, fmt.Errorf("unexpected answer %s", excerpt(text))
	}
	var pod fact.Pod
	if words[1] != "-" {
		pod.UID = words[1]
	}
	var ticks int
	for i, into := range []*int{&pod.Attempt, &pod.PID, &ticks} {
		word := words[2+i]
		if word == "-" {
			continue
		}
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("unreadable number %q", word)
		}
		*into = n
	}
	if pod.PID != 0 {
		pod.Running = true
		pod.Started, pod.StartedTime, pod.Age = started(host, time.Duration(ticks)*tick, words[3]+"/"+words[4])
	}
	var lines []string
	var last time.Time
	for _, line := range strings.Split(log, "\n") {
		if at, ok := loggedAt(line); ok {
			last = at
		}
		lines = append(lines, withoutRuntime(line))
	}
	if begin, ok := loggedAt(first); ok && !last.IsZero() {
		pod.Before = max(last.Sub(begin), time.Millisecond)
	}
	pod.Log = logEnd(lines)
	return pod, nil
}

// criPrefix is what a runtime puts before each line of a container
// (https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md).
var criPrefix = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) [FP](?::\S*)? `)

// dockerLine is a line of Docker's json-file logs, of which the beginning may
// have been cut off.
var dockerLine = regexp.MustCompile(`^\{"log":"((?:[^"\\]|\\.)*)"`)

// dockerTime is when a line of Docker's log was written.
var dockerTime = regexp.MustCompile(`"time":"([^"]+)"\}$`)

// loggedAt is when the runtime took a line from a container.
func loggedAt(line string) (time.Time, bool) {
	word, _, _ := strings.Cut(line, " ")
	if match := dockerTime.FindStringSubmatch(line); match != nil {
		word = match[1]
	}
	at, err := time.Parse(time.RFC3339Nano, word)
	return at, err == nil
}

// withoutRuntime is what a container wrote itself.
func withoutRuntime(line string) string {
	if prefix := criPrefix.FindString(line); prefix != "" {
		return line[len(prefix):]
	}
	if match := dockerLine.FindStringSubmatch(line); match != nil {
		if text, err := strconv.Unquote(`"` + match[1] + `"`); err == nil {
			return strings.TrimRight(text, "\n")
		}
	}
	return line
}

// withoutSystemd are the lines of a unit's log without what systemd itself says
// at each restart: the unit's properties say it once.
func withoutSystemd(unit, log string) []string {
	var own, all []string
	for _, line := range strings.Split(log, "\n") {
		all = append(all, line)
		says, bySystemd := strings.CutPrefix(line, unit+": ")
		first, _, _ := strings.Cut(line, " ")
		switch {
		case bySystemd && systemdSays.MatchString(says):
		case (first == "Started" || first == "Starting" || first == "Stopped" || first == "Stopping") && strings.HasPrefix(strings.TrimPrefix(line, first+" "), unit+" - "):
		default:
			own = append(own, line)
		}
	}
	if strings.TrimSpace(strings.Join(own, "")) == "" {
		return all
	}
	return own
}

var systemdSays = regexp.MustCompile(`^(Main process exited|Failed with result|Scheduled restart job|Consumed |Deactivated|Start request repeated too quickly|Control process exited|Service RestartSec)`)

// What is kept of a log: lines, and bytes of each.
const (
	logLines = 15
	logWidth = 500
)

// escapes of terminals (ECMA-48).
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]")

// logEnd is the end of a log, a line each, with nothing in it that is not
// printable.
func logEnd(lines []string) string {
	var kept []string
	for _, line := range lines {
		line = escapes.ReplaceAllString(line, "")
		line = strings.Map(func(r rune) rune {
			switch {
			case r == '\t':
				return ' '
			case r == unicode.ReplacementChar || !unicode.IsPrint(r):
				return -1
			}
			return r
		}, strings.ToValidUTF8(line, ""))
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if runes := []rune(line); len(runes) > logWidth {
			line = string(runes[:logWidth]) + "…"
		}
		kept = append(kept, line)
	}
	return strings.Join(kept[max(len(kept)-logLines, 0):], "\n")
}

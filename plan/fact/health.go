package fact

import (
	"fmt"
	"strings"
	"time"
)

// Settling is how long a process that was started again by itself has to run
// before it is trusted to stay.
const Settling = time.Minute

// Unit is the answer to a unit query: systemctl show's words.
type Unit struct {
	LoadState        string // loaded, not-found, masked …
	ActiveState      string // active, inactive, failed, activating …
	SubState         string // running, exited, auto-restart …
	UnitFileState    string // enabled, disabled, static …
	NeedDaemonReload bool
	MainPID          int // 0 for none
	// Started identifies the main process that runs or ran last (of a unit that
	// ran once: its run), by the boot and the time since; "" if there was none. It
	// is good for comparing only.
	Started string
	// StartedTime is when that was, by the host's clock as it goes now, to a
	// hundredth of a second; Age is how long it was before the probe.
	StartedTime time.Time
	Age         time.Duration
	NRestarts   int    // by systemd itself, since the last start by somebody
	Result      string // success, exit-code, signal, oom-kill, timeout …
	// ExecMainCode says how the main process ended: 0 if it did not, 1 by exit, 2
	// by a signal, 3 by one with a core dump. ExecMainStatus is its exit code or
	// the signal's number.
	ExecMainCode, ExecMainStatus int
	// Log holds the last lines of a unit that is in trouble, without newline at
	// the end; of others nothing.
	Log string
}

// Running reports whether the unit is up: for one that runs once, that it did.
// One that is being started, or waits for being started again, is not.
func (u Unit) Running() bool {
	return u.ActiveState == "active" || u.ActiveState == "reloading" || u.ActiveState == "refreshing"
}

// Starting reports whether the unit is on its way up and has not failed on it
// yet: a member of a quorum waits so for its peers.
func (u Unit) Starting() bool {
	return u.ActiveState == "activating" && !u.waitsForRestart() && !u.flapping()
}

// waitsForRestart: the substates are auto-restart and auto-restart-queued.
func (u Unit) waitsForRestart() bool {
	return u.ActiveState == "activating" && strings.HasPrefix(u.SubState, "auto-restart")
}

// flapping reports whether a unit that is up may be down soon: it was started
// again more than once, the last time a moment ago.
func (u Unit) flapping() bool {
	return u.NRestarts > 1 && u.Started != "" && u.Age <= Settling
}

// Trouble says what is wrong with a unit that should run: "failed: exit code
// 203/EXEC, restarted 7 times". It is "" for one that runs, is on its way up, or
// was stopped in good order.
func (u Unit) Trouble() string {
	var state string
	switch {
	case u.ActiveState == "failed":
		state = "failed"
	case u.waitsForRestart(), u.ActiveState == "activating" && u.flapping():
		state = "crashes"
	case u.Running() && u.flapping():
		state = "runs, but not for long"
	default:
		return ""
	}
	var details []string
	if end := u.end(); end != "" {
		details = append(details, end)
	}
	if u.NRestarts > 0 {
		details = append(details, "restarted "+times(u.NRestarts))
	}
	if len(details) == 0 {
		return state
	}
	return state + ": " + strings.Join(details, ", ")
}

// end says how the main process ended, and systemd's verdict where that says more.
func (u Unit) end() string {
	switch u.Result {
	case "oom-kill":
		return "killed for lack of memory (oom-kill)"
	case "timeout", "watchdog", "protocol", "resources", "start-limit-hit", "exec-condition":
		if u.ExecMainCode == 0 || u.Result != "start-limit-hit" {
			return u.Result
		}
	}
	switch u.ExecMainCode {
	case 1:
		if u.ExecMainStatus == 0 && u.Result == "success" {
			return "" // ended in good order
		}
		return "exit code " + number(u.ExecMainStatus, exitCodes)
	case 2, 3:
		return "killed by signal " + number(u.ExecMainStatus, signals)
	}
	if u.Result == "success" {
		return ""
	}
	return u.Result
}

func number(n int, names map[int]string) string {
	if name, ok := names[n]; ok {
		return fmt.Sprintf("%d/%s", n, name)
	}
	return fmt.Sprint(n)
}

// exitCodes are those of systemd for what fails before a program runs
// (systemd.exec(5), "Process exit codes").
var exitCodes = map[int]string{
	200: "CHDIR", 201: "NICE", 202: "FDS", 203: "EXEC", 204: "MEMORY", 205: "LIMITS", 206: "OOM_ADJUST",
	208: "STDIN", 209: "STDOUT", 210: "CHROOT", 214: "SETSCHEDULER", 216: "GROUP", 217: "USER", 218: "CAPABILITIES",
	219: "CGROUP", 220: "SETSID", 222: "STDERR", 224: "PAM", 225: "NETWORK", 226: "NAMESPACE", 227: "NO_NEW_PRIVILEGES",
	228: "SECCOMP", 233: "RUNTIME_DIRECTORY", 235: "CHOWN", 238: "STATE_DIRECTORY", 240: "LOGS_DIRECTORY", 241: "CONFIGURATION_DIRECTORY",
}

// signals are those that end programs (signal(7), on amd64 and arm64).
var signals = map[int]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 11: "SEGV", 13: "PIPE", 15: "TERM", 31: "SYS",
}

// Pod is the answer to a static pod query: what is seen of the pod on its host,
// without the API and without the container runtime. A pod of which nothing is
// seen is the zero Pod.
type Pod struct {
	// UID identifies the manifest the kubelet made the pod of: another manifest
	// has another.
	UID     string
	Attempt int // how often its container was started again
	// PID is that of the container's own process, 0 for none. Started identifies
	// it, for comparing only; it began at StartedTime, Age before the probe.
	PID         int
	Started     string
	StartedTime time.Time
	Age         time.Duration
	Running     bool
	// Before is how long the container before this one ran, as far as its log
	// tells, if this one began less than Settling ago; 0 if that is not known.
	Before time.Duration
	// Log holds the last lines of a container that does not run, of the one before
	// it if it was started again a moment ago, or of the kubelet if there is none.
	Log string
}

// Trouble says what is wrong with a pod that should run, "" for nothing.
func (p Pod) Trouble() string {
	switch {
	case !p.Running && p.UID == "":
		return "does not run: the kubelet has not started it"
	case !p.Running && p.Attempt == 0:
		return "does not run"
	case !p.Running:
		return "does not run: restarted " + times(p.Attempt)
	case p.Attempt > 1 && p.Age <= Settling && p.Before > 0 && p.Before <= Settling:
		return "runs, but not for long: restarted " + times(p.Attempt)
	}
	return ""
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

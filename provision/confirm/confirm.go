// Package confirm writes the scripts by which a host undoes a change by itself
// unless the change is confirmed, as Juniper's "commit confirmed", netplan's
// "try" and deploy-rs do: for changes that may cut the operator off.
//
// A change is armed before it begins: one exec takes down what is there
// (routes, routing rules, addresses, switches; the firewall rules, kernel
// parameters, files, units and the name that the change is about) in a private
// directory of the host, and starts a transient timer. When the time is up, the
// timer's script puts all of that back. Apply confirms over a new connection,
// since one that was there before may go on where no new one comes through.
//
// One arming is a session. It covers everything that the plan may change on the
// host and that is to be armed, so that any number of such steps share it: the
// first one arms, the last one that runs confirms, and none is called done
// before. That costs an exec, a connection and an exec for all of them.
//
// Who decides: confirmation and revert both rename the file "armed" of the
// session, and the one that succeeds goes on. So nothing is reverted that was
// confirmed, and the other way round, whatever the timing. No lock is taken: a
// host that nobody reaches has to act all the same. Another run that finds a
// session which is neither confirmed nor reverted does not arm, nor change
// anything.
//
// The clock is that of /proc/uptime: setting the time ends no session.
//
// What is put back, and what is not:
//   - Firewall rules are put back one by one, not the whole table, in which
//     Docker, kube-proxy and CNI plugins go on working meanwhile.
//   - Routes, routing rules and addresses are compared with those of before:
//     others go, missing ones come back. Routes of the protocol "kernel" stay,
//     since pods that start meanwhile have them. Routes that another program
//     sets in that minute may go; routing programs set theirs again.
//   - A kernel parameter below net/*/conf is put back for every interface, since
//     "all" changes each.
//   - An interface that was made goes again if the plan knows its name
//     (docker0, flannel's). One that was deleted is made again by its program or not at all.
//   - A unit that was started or restarted is stopped or restarted, with its
//     previous files. Binaries are not kept.
//   - Steps that write a unit's files come before the unit's own: Keep puts the
//     files' previous bytes aside first, and they count as the ones of before
//     until the unit has been confirmed.
//   - After a reboot the timer is gone, with all that was not on the disk. For
//     the files an enabled unit stands in until the confirmation: it puts them
//     back before systemd-sysctl and the units that read them.
package confirm

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kinstall/kinstall/provision/shell"
)

const (
	// Directory holds sessions and kept files on a host.
	Directory = "/var/lib/kinstall/revert"
	bootUnit  = "/etc/systemd/system/kinstall-revert.service"
	bootWants = "/etc/systemd/system/sysinit.target.wants/kinstall-revert.service"

	// ExitUnconfirmed is the exit code of Arm where an earlier session is neither
	// confirmed nor reverted.
	ExitUnconfirmed = 97
)

var (
	//go:embed network.sh
	networkScript string
	//go:embed arm.sh
	armScript string
	//go:embed start.sh
	startScript string
	//go:embed revert.sh
	revertScript string
)

// Touched is what steps may change on a host, beside its routes, addresses and
// switches, which are always taken down.
type Touched struct {
	Files    []string // absolute paths
	Sysctls  []string // paths below /proc/sys: "net/ipv4/ip_forward"
	Rules    []Rule
	Units    []Unit
	Links    []string // interfaces that may be made
	Hostname bool
}

// Rule is a firewall rule.
type Rule struct {
	Program      string // "iptables" or "ip6tables"
	Table, Chain string
	Words        []string // as after the chain
}

// Unit is a systemd unit.
type Unit struct {
	Name string
	// Before and After are scripts around a restart, "" for none.
	Before, After string
}

// Session is one arming of a host.
type Session struct {
	// Token tells sessions apart: a few letters and digits.
	Token string
	// Run is what the tokens of all sessions of a run begin with: one of another
	// run is of a run that is dead, since the lock is held, and counts as confirmed
	// when this run has reached the host. "" if that is not to be.
	Run string
	// Timeout is how long the host waits for the confirmation, from the arming
	// or from the last Postpone; whole seconds.
	Timeout time.Duration
}

func (s Session) directory() string { return Directory + "/session-" + s.Token }

// Unit is the name of the timer, and of the service that it starts.
func (s Session) Unit() string { return "kinstall-revert-" + s.Token }

func (s Session) seconds() int { return int((s.Timeout + time.Second - 1) / time.Second) }

// Arm is a script that takes down what is there and starts the timer. It
// changes nothing else, and fails where the host could not undo a change: with
// ExitUnconfirmed when an earlier change of this run waits for its confirmation,
// or one is being put back.
func (s Session) Arm(t Touched) string {
	var b strings.Builder
	assign := func(name, value string) { fmt.Fprintf(&b, "%s=%s\n", name, shell.Quote(value)) }
	assign("base", Directory)
	assign("session", s.directory())
	assign("run", s.Run)
	assign("boot", bootUnit)
	assign("wants", bootWants)
	assign("name", s.Unit())
	fmt.Fprintf(&b, "timeout=%d\n", s.seconds())
	assign("revert", fmt.Sprintf("#!/bin/sh\nboot=%s wants=%s\n", shell.Quote(bootUnit), shell.Quote(bootWants))+networkScript+revertScript)
	b.WriteString(networkScript + armScript)
	b.WriteString(calls("file", t.Files) + calls("sysctl", t.Sysctls))
	for _, parameter := range t.Sysctls {
		b.WriteString(calls("sysctl", alike(parameter)))
	}
	for _, r := range t.Rules {
		b.WriteString("rule " + shell.Join(append([]string{r.Program, r.Table, r.Chain}, r.Words...)...) + "\n")
	}
	for _, u := range t.Units {
		b.WriteString("unit " + shell.Join(u.Name, u.Before, u.After) + "\n")
	}
	b.WriteString(calls("link", t.Links))
	if t.Hostname {
		b.WriteString("its_name\n")
	}
	return b.String() + startScript
}

// alike are patterns of the kernel parameters that one changes besides itself
// (https://docs.kernel.org/networking/ip-sysctl.html): "all" those of each
// interface, and ip_forward the forwarding of each.
func alike(parameter string) []string {
	words := strings.Split(parameter, "/")
	switch {
	case parameter == "net/ipv4/ip_forward":
		return []string{"net/ipv4/conf/*/forwarding"}
	case len(words) == 5 && words[0] == "net" && words[2] == "conf" && (words[3] == "all" || words[3] == "default"):
		return []string{path.Join("net", words[1], "conf", "*", words[4])}
	}
	return nil
}

// Postpone is a script that makes the host wait for another Timeout from now
// on: for a step that takes longer.
func (s Session) Postpone() string {
	return fmt.Sprintf(`cd %s || exit 0
[ -e armed ] || exit 0
read -r up rest </proc/uptime
echo "$((${up%%%%.*} + %d))" >until.new
mv -T until.new until
`, shell.Quote(s.directory()), s.seconds())
}

// Confirm is a script that ends the session with everything as it is now, and
// prints what ParseAnswer reads. The settled files count as good from now on:
// what was put aside of them is deleted.
func (s Session) Confirm(settled []string) string {
	return fmt.Sprintf(`umask 077
forget() { rm -f -- "../kept/files$1" "../kept/absent$1"; }
if ! cd %[1]s 2>/dev/null; then echo gone; exit 0; fi
if mv -T armed confirmed 2>/dev/null; then
	systemctl stop %[2]s.timer %[2]s.service 2>/dev/null || true
	rm -f -- %[3]s
%[4]s	rm -rf -- files sysctls rules units network hostname revert.sh until
fi
for answer in confirmed reverting reverted; do
	if [ -e "$answer" ]; then
		echo "$answer"
		cat log 2>/dev/null || true
		exit 0
	fi
done
echo gone
`, shell.Quote(s.directory()), s.Unit(), shell.Join(bootWants, bootUnit), calls("forget", settled))
}

// Answer is how a session stands.
type Answer struct {
	State State
	// PutBack is what the host did, a line each.
	PutBack []string
}

// State of a session.
type State string

// The states. Confirmed and Reverted are for good.
const (
	Confirmed State = "confirmed"
	Reverting State = "reverting" // the host is at it
	Reverted  State = "reverted"
	Gone      State = "gone" // there is no such session
)

// ParseAnswer reads what Confirm printed.
func ParseAnswer(printed string) (Answer, error) {
	lines := strings.Split(strings.TrimRight(printed, "\n"), "\n")
	answer := Answer{State: State(lines[0])}
	for _, line := range lines[1:] {
		// The network is put back twice.
		if !slices.Contains(answer.PutBack, line) {
			answer.PutBack = append(answer.PutBack, line)
		}
	}
	switch answer.State {
	case Confirmed, Reverting, Reverted, Gone:
		return answer, nil
	}
	return answer, fmt.Errorf("unexpected answer %q", lines[0])
}

// Keep is a script that puts the present bytes of files aside, for Arm to take
// as those of before. What was put aside earlier and never confirmed stays.
func Keep(files []string) string {
	return fmt.Sprintf(`umask 077
base=%s
keep() {
	content=$base/kept/files$1 absent=$base/kept/absent$1
	if [ -e "$content" ] || [ -e "$absent" ]; then
		return
	elif [ -e "$1" ]; then
		mkdir -p -- "${content%%/*}"
		cp -fp -- "$1" "$content.new"
		mv -fT -- "$content.new" "$content"
	else
		mkdir -p -- "${absent%%/*}"
		: >"$absent"
	fi
}
`, shell.Quote(Directory)) + calls("keep", files)
}

// calls is a line for each word, with a command in front.
func calls(command string, words []string) string {
	var b strings.Builder
	for _, word := range words {
		b.WriteString(command + " " + shell.Quote(word) + "\n")
	}
	return b.String()
}

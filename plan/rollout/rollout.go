// Package rollout decides how members of what serves are changed: who is next,
// what is taken back, what is recorded.
//
// It is a pure core: no goroutines, no clock, no I/O. A Machine is told what
// happened (Event) and answers with what to do (Command); whoever drives it
// carries the commands out, in any order and beside each other, and reports each
// with the event that answers it. The same events give the same commands.
//
// What it promises, whatever the driver reports:
//
//   - Of a group, no more members that serve are under way than its batch
//     allows. Of all groups of one program, only one until the first (the canary)
//     has been seen to work.
//   - A member that serves is not touched before it was asked whether the others
//     can do without it.
//   - Members that do not serve come first and all together: there is nothing to
//     take down, and they may need each other. No member that serves is
//     touched before all of them have ended.
//   - Nothing is recorded that was not seen to work.
//   - What was touched and is not seen to work is rolled back.
//   - After a failure, or once stopped, no further member of the group, nor of
//     another group of its program, is touched.
package rollout

import (
	"fmt"
	"sort"
)

// Group is members that take turns.
type Group struct {
	Name string
	// Program is what the members of several groups run, as the kubelets of
	// masters and those of workers: one canary is enough for all of them. ""
	// stands for a program of the group's own.
	Program string
	// AtOnce is how many members that serve may be under way at a time, once
	// the first has been seen to work; less than 1 counts as 1.
	AtOnce int
}

// Member is one process, on one host, to be changed.
type Member struct {
	Name  string // unique over all groups
	Group string
	// Down says that it does not serve now.
	Down bool
	// Unchanged says that nothing is to be written or restarted: it is only to
	// be seen to work, and rolled back when it does not.
	Unchanged bool
}

// EventKind is what happened to a member.
type EventKind string

// The events. Each but Ready, Blocked and Stop answers a command.
const (
	Ready      EventKind = "ready"       // what it depends on is done
	Blocked    EventKind = "blocked"     // what it depends on won't be done
	Asked      EventKind = "asked"       // Err: the others can't do without it
	Changed    EventKind = "changed"     // Err: the change failed
	Seen       EventKind = "seen"        // Err: it does not work
	RolledBack EventKind = "rolled-back" // Err: it could not be put back, or does not work as before
	Recorded   EventKind = "recorded"    // Err: it works, but that could not be written down
	Stop       EventKind = "stop"        // of no member: nothing further is to be begun
)

// Event is told to a Machine.
type Event struct {
	Kind   EventKind
	Member string
	Err    error
	// Untouched says of Changed with an error that the member is as it was.
	Untouched bool
}

// CommandKind is what is to be done with a member.
type CommandKind string

// The commands. Finished, Failed and Skipped end a member; each member has
// exactly one of them, as its last command.
const (
	Ask      CommandKind = "ask"       // whether the others can do without it
	Change   CommandKind = "change"    // put the new bytes in place and start it
	See      CommandKind = "see"       // that the new process works, and goes on working
	RollBack CommandKind = "roll-back" // put the previous bytes in place, start it, see it work
	Record   CommandKind = "record"    // what was changed as done
	Finished CommandKind = "finished"
	Failed   CommandKind = "failed"
	Skipped  CommandKind = "skipped"
)

// Command is what a Machine wants done.
type Command struct {
	Kind   CommandKind
	Member string
	// Err is why a member failed, or what stopped its group before its turn.
	Err error
	// Stands says of Failed what became of the member.
	Stands Standing
}

// Standing is how a failed member was left.
type Standing string

// How a failed member may be left.
const (
	Untouched  Standing = "untouched"   // as it was
	PutBack    Standing = "put back"    // as it was, and seen to work
	Unrestored Standing = "unrestored"  // it could not be put back, or does not work as before
	Unrecorded Standing = "not on file" // changed and seen to work, but that is not recorded
)

// phase is how far a member is.
type phase int

const (
	pending phase = iota // waits for what it depends on
	waiting              // waits for its turn
	asking
	changing
	seeing
	rollingBack
	recording
	ended
)

type member struct {
	Member
	position int
	phase    phase
	cause    error // why it is rolled back
}

type group struct {
	Group
	program *program
}

// program is what groups share.
type program struct {
	proven  bool  // a member that was changed has been seen to work
	stopped error // why no further member is touched
}

// Machine is the state of all groups. The zero value is not ready for use.
type Machine struct {
	groups  map[string]*group
	members map[string]*member
	order   []*member // as given
	stopped bool      // told to stop
}

// New returns a machine for the given members; those that are ready at the
// same time have their turns in the order given. A group that is not listed
// takes one member at a time. A name given twice is a programmer's mistake.
func New(groups []Group, members []Member) *Machine {
	m := &Machine{groups: map[string]*group{}, members: map[string]*member{}}
	programs := map[string]*program{}
	add := func(g Group) {
		name := "program " + g.Program
		if g.Program == "" {
			name = "group " + g.Name
		}
		if programs[name] == nil {
			programs[name] = &program{}
		}
		m.groups[g.Name] = &group{Group: g, program: programs[name]}
	}
	for _, g := range groups {
		add(g)
	}
	for i, one := range members {
		if m.members[one.Name] != nil {
			panic("rollout: member " + one.Name + " is given twice")
		}
		if m.groups[one.Group] == nil {
			add(Group{Name: one.Group, AtOnce: 1})
		}
		added := &member{Member: one, position: i}
		m.members[one.Name] = added
		m.order = append(m.order, added)
	}
	return m
}

// Step takes in an event and returns what is to be done now. An event that
// can't happen in the state the member is in is a programmer's mistake.
func (m *Machine) Step(e Event) []Command {
	if e.Kind == Stop {
		m.stopped = true
		return m.skipWaiting()
	}
	one := m.members[e.Member]
	if one == nil {
		panic("rollout: no member " + e.Member)
	}
	var commands []Command
	do := func(kind CommandKind, next phase) {
		one.phase = next
		commands = append(commands, Command{Kind: kind, Member: one.Name})
	}
	end := func(c Command) {
		one.phase = ended
		c.Member = one.Name
		commands = append(commands, c)
	}
	fail := func(err error, stands Standing) {
		m.groups[one.Group].program.stop(err)
		end(Command{Kind: Failed, Err: err, Stands: stands})
	}
	switch expected := expects(one.phase); {
	case e.Kind == Ready && one.phase == pending:
		one.phase = waiting
	case e.Kind == Blocked && one.phase == pending:
		end(Command{Kind: Skipped})
	case e.Kind != expected:
		panic(fmt.Sprintf("rollout: member %s: %s in phase %d", one.Name, e.Kind, one.phase))
	case e.Kind == Asked && e.Err != nil:
		fail(e.Err, Untouched)
	case e.Kind == Asked && (m.stopped || m.groups[one.Group].program.stopped != nil):
		end(Command{Kind: Skipped, Err: m.groups[one.Group].program.stopped})
	case e.Kind == Asked:
		do(Change, changing)
	case e.Kind == Changed && e.Err != nil && e.Untouched:
		fail(e.Err, Untouched)
	case (e.Kind == Changed || e.Kind == Seen) && e.Err != nil:
		one.cause = e.Err
		// At once, not after the rollback: in a batch others wait.
		m.groups[one.Group].program.stop(e.Err)
		do(RollBack, rollingBack)
	case e.Kind == Changed:
		do(See, seeing)
	case e.Kind == Seen:
		do(Record, recording)
	case e.Kind == RolledBack && e.Err != nil:
		fail(fmt.Errorf("%w; %w", one.cause, e.Err), Unrestored)
	case e.Kind == RolledBack:
		fail(one.cause, PutBack)
	case e.Kind == Recorded && e.Err != nil:
		fail(e.Err, Unrecorded)
	case e.Kind == Recorded:
		m.groups[one.Group].program.proven = true
		end(Command{Kind: Finished})
	}
	return append(commands, m.next()...)
}

// expects is the event that ends a phase.
func expects(p phase) EventKind {
	return map[phase]EventKind{asking: Asked, changing: Changed, seeing: Seen, rollingBack: RolledBack, recording: Recorded}[p]
}

func (p *program) stop(err error) {
	if p.stopped == nil {
		p.stopped = err
	}
}

// next begins what may begin.
func (m *Machine) next() []Command {
	commands := m.skipWaiting()
	names := make([]string, 0, len(m.groups))
	for name := range m.groups {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		commands = append(commands, m.begin(m.groups[name])...)
	}
	return commands
}

// skipWaiting ends the members that wait for a turn that won't come.
func (m *Machine) skipWaiting() []Command {
	var commands []Command
	for _, one := range m.order {
		cause := m.groups[one.Group].program.stopped
		if one.phase == waiting && (m.stopped || cause != nil) {
			one.phase = ended
			commands = append(commands, Command{Kind: Skipped, Member: one.Name, Err: cause})
		}
	}
	return commands
}

// begin gives turns to members of a group that wait for one.
func (m *Machine) begin(g *group) []Command {
	var commands []Command
	down := 0             // that are still to come or under way
	serving, same := 0, 0 // that are under way, of the group and of its program
	for _, one := range m.order {
		own := one.Group == g.Name
		switch {
		case one.phase == ended:
		case one.Down && own:
			down++
			if one.phase == waiting {
				commands = append(commands, m.first(one))
			}
		case one.Down || one.phase < asking:
		case own:
			serving++
			same++
		case m.groups[one.Group].program == g.program:
			same++
		}
	}
	for _, one := range m.order {
		if one.Group != g.Name || one.phase != waiting || down > 0 {
			continue
		}
		if serving < max(g.AtOnce, 1) && (g.program.proven || same == 0) {
			commands = append(commands, m.first(one))
			serving++
			same++
		}
	}
	return commands
}

// first is the first command of a member's turn.
func (m *Machine) first(one *member) Command {
	kind := Ask
	one.phase = asking
	switch {
	case one.Unchanged:
		kind, one.phase = See, seeing
	case one.Down:
		kind, one.phase = Change, changing
	}
	return Command{Kind: kind, Member: one.Name}
}

// Left names the members that have not ended, in the order given.
func (m *Machine) Left() []string {
	var names []string
	for _, one := range m.order {
		if one.phase != ended {
			names = append(names, one.Name)
		}
	}
	return names
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrNoSuchMachine is wrapped by errors about a machine the lab doesn't have.
var ErrNoSuchMachine = errors.New("no such machine")

// find returns the state of a machine, or an error that lists those there are.
func (l *Lab) find(machine string) (machineState, error) {
	if checkHostName(machine) == nil {
		state, err := l.machineState(machine)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return state, err
		}
	}
	names, err := l.machineNames()
	if err != nil {
		return machineState{}, err
	}
	have := "it has none: bring it up first"
	if len(names) > 0 {
		have = "it has " + strings.Join(names, ", ")
	}
	return machineState{}, fmt.Errorf("%w %q in lab %s (%s)", ErrNoSuchMachine, machine, l.name, have)
}

// change finds a machine and calls f for it while it holds the lab's lock.
func (l *Lab) change(ctx context.Context, verb, machine string, f func(machineState) error) error {
	if os.Geteuid() != 0 {
		return l.Supported()
	}
	if _, err := l.find(machine); err != nil {
		return err
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	state, err := l.find(machine)
	if err != nil {
		return err
	}
	if err := f(state); err != nil {
		return fmt.Errorf("%s %s: %w", verb, machine, err)
	}
	return nil
}

func (l *Lab) running(machine string) bool {
	p, err := readProcess(filepath.Join(l.machineDir(machine), "pid"))
	return err == nil && p.alive()
}

func (l *Lab) cutMark(machine string) string { return filepath.Join(l.machineDir(machine), "cut") }

func (l *Lab) isCut(machine string) bool {
	_, err := os.Stat(l.cutMark(machine))
	return err == nil
}

// Cut pulls the machine's cable: its eth0 loses the carrier. It stays pulled,
// also over reboots, until Heal or Up.
func (l *Lab) Cut(ctx context.Context, machine string) error {
	return l.change(ctx, "cut", machine, func(machineState) error {
		if err := os.WriteFile(l.cutMark(machine), nil, 0o600); err != nil {
			return err
		}
		if !l.running(machine) {
			return nil
		}
		return l.setCable(ctx, machine, false)
	})
}

// Heal plugs the machine's cable in again.
func (l *Lab) Heal(ctx context.Context, machine string) error {
	return l.change(ctx, "heal", machine, func(machineState) error { return l.heal(ctx, machine) })
}

func (l *Lab) heal(ctx context.Context, machine string) error {
	if err := os.Remove(l.cutMark(machine)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !l.running(machine) {
		return nil
	}
	return l.setCable(ctx, machine, true)
}

// Stop cuts the machine's power: all its processes end at once, without a chance
// to write or say anything. Its disk stays.
func (l *Lab) Stop(ctx context.Context, machine string) error {
	return l.change(ctx, "stop", machine, func(machineState) error { return l.cutPower(ctx, machine) })
}

// Start boots a stopped machine with the disk it had and returns when its sshd
// answers (if its cable is plugged). One that runs stays as it is.
func (l *Lab) Start(ctx context.Context, machine string) error {
	return l.change(ctx, "start", machine, func(machineState) error { return l.start(ctx, machine) })
}

// Reboot shuts the machine down cleanly and boots it with the disk it had.
func (l *Lab) Reboot(ctx context.Context, machine string) error {
	return l.change(ctx, "reboot", machine, func(machineState) error {
		l.shutDown(ctx, machine)
		if err := l.cutPower(ctx, machine); err != nil {
			return err
		}
		return l.start(ctx, machine)
	})
}

func (l *Lab) start(ctx context.Context, machine string) error {
	if l.running(machine) {
		return nil
	}
	var lab labState
	if err := readJSON(filepath.Join(l.dir(), "lab.json"), &lab); err != nil {
		return err
	}
	// The host itself may have been rebooted since Up.
	if err := l.ensureNetwork(ctx, lab.Subnets, nil); err != nil {
		return err
	}
	release, err := kernelRelease()
	if err != nil {
		return err
	}
	modules, err := moduleDir(ctx, l.cache, release)
	if err != nil {
		return err
	}
	return l.boot(ctx, machine, lab.Subnets, modules)
}

// State is what a machine is doing.
type State string

// The states of a machine.
const (
	Running State = "running"
	Cut     State = "cut" // running, its cable pulled
	Stopped State = "stopped"
)

// Status is what [Lab.Status] tells of a machine.
type Status struct {
	Machine
	State   State
	Uptime  time.Duration // since its latest boot, also one it asked for itself; 0 when stopped
	Console string        // file with all that its console has shown
}

// Status lists the machines the lab has, by name. It needs no lock, so that it
// answers also while another command works.
func (l *Lab) Status() ([]Status, error) {
	names, err := l.machineNames()
	if errors.Is(err, fs.ErrPermission) {
		return nil, l.Supported()
	}
	if err != nil {
		return nil, err
	}
	var all []Status
	for _, name := range names {
		state, err := l.machineState(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		s := Status{Machine: state.machine(), State: Stopped, Console: filepath.Join(l.machineDir(name), "console.log")}
		if l.running(name) {
			s.State = Running
			if l.isCut(name) {
				s.State = Cut
			}
			if booted, err := os.Stat(filepath.Join(l.machineDir(name), "booted")); err == nil {
				s.Uptime = time.Since(booted.ModTime())
			}
		}
		all = append(all, s)
	}
	return all, nil
}

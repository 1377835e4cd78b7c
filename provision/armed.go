package provision

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/confirm"
	"github.com/kinstall/kinstall/provision/probe"
	"github.com/kinstall/kinstall/provision/ssh"
)

const (
	// DefaultConfirmTimeout is how long a host waits to be reached again after an
	// armed step.
	DefaultConfirmTimeout = time.Minute
	// revertTimeout bounds how long a host is waited for that puts a change back:
	// it may have to restart units.
	revertTimeout = 3 * time.Minute
	confirmAgain  = 500 * time.Millisecond
	// putBackShown is how many of the things a host put back an error names.
	putBackShown = 8
)

// UndoneError says that a host put back what armed steps had changed, because it
// was not reached over a new connection in time.
type UndoneError struct {
	Host string
	// Within is the time it had.
	Within time.Duration
	// Last is why the last new connection failed; nil if none did, as when the
	// step itself hung until the host was there again.
	Last error
	// PutBack is what the host says that it did, a line each.
	PutBack []string
	// Unseen is set when the host could not be reached even after it should have
	// put the change back; PutBack is then empty.
	Unseen bool
}

func (e *UndoneError) Error() string {
	text := fmt.Sprintf("%s: could not be reached over a new connection within %s of the change", e.Host, e.Within)
	if e.Last != nil {
		text += fmt.Sprintf(" (%s)", strings.TrimPrefix(e.Last.Error(), e.Host+": "))
	}
	if e.Unseen {
		return text + ", and still can't be: the host was to undo it by itself, and whether it has is not known"
	}
	done := e.PutBack
	if len(done) > putBackShown {
		done = append(slices.Clone(done[:putBackShown]), fmt.Sprintf("and %d more", len(done)-putBackShown))
	}
	if len(done) == 0 {
		done = []string{"there was nothing left to put back"}
	}
	return text + "; the host undid it by itself: " + strings.Join(done, "; ")
}

// Hint is the advice that goes with the error.
func (e *UndoneError) Hint() string {
	if e.Unseen {
		return fmt.Sprintf("look at it from its console: %s has what is put back; a reboot puts back the files", confirm.Directory)
	}
	return "correct the inventory and apply again; if the host is only slow to answer, give it longer with -confirm-timeout"
}

func (e *UndoneError) Unwrap() error { return e.Last }

// arming is the armed sessions of one execution, one at a time on each host.
type arming struct {
	timeout time.Duration
	touched map[string]*confirm.Touched // by host: all that its armed steps may change
	// inputs are the items that write files of armed units, by the unit's step;
	// writes has the steps of all of them, and aside their files by host.
	inputs map[plan.StepID][]plan.Item
	writes map[plan.StepID]bool
	aside  map[string][]string

	run string // what the tokens of its sessions begin with

	mu    sync.Mutex
	hosts map[string]*armedHost
}

// armedHost is one host's part of it.
type armedHost struct {
	mu      sync.Mutex
	session *armedSession // under way, nil for none
	kept    bool          // the files of units that are to be armed are put aside
}

// armedSession is shared by the armed steps that run at the same time.
type armedSession struct {
	confirm.Session
	steps   int           // that run
	items   []plan.Item   // all that took part
	ready   chan struct{} // closed when it is armed, or is not to be
	refused error         // why it could not be armed
	ending  bool
	working context.CancelFunc // ends the postponing
	ended   chan struct{}      // closed when result is there
	result  error
}

// newArming finds out what the armed steps of a delta may change.
func newArming(delta *plan.Delta, timeout time.Duration) *arming {
	if timeout <= 0 {
		timeout = DefaultConfirmTimeout
	}
	a := &arming{
		timeout: timeout, run: newToken(), touched: map[string]*confirm.Touched{}, hosts: map[string]*armedHost{},
		inputs: map[plan.StepID][]plan.Item{}, writes: map[plan.StepID]bool{}, aside: map[string][]string{},
	}
	byID := map[plan.StepID]plan.Item{}
	for _, item := range delta.Items {
		byID[item.Step.ID()] = item
	}
	for _, item := range delta.Items {
		if !item.Armed() {
			continue
		}
		host := item.Step.Host
		if a.touched[host] == nil {
			a.touched[host] = &confirm.Touched{}
		}
		touch(a.touched[host], item)
		if unit, ok := item.Step.Resource.(resource.Unit); ok {
			for _, input := range unit.Inputs {
				file, ok := input.(resource.File)
				if !ok {
					continue
				}
				a.touched[host].Files = append(a.touched[host].Files, file.Path)
				if written, ok := byID[plan.NewStepID(host, file.ID())]; ok && written.Change.Changes() {
					a.inputs[item.Step.ID()] = append(a.inputs[item.Step.ID()], written)
					a.writes[written.Step.ID()] = true
					a.aside[host] = append(a.aside[host], file.Path)
				}
			}
		}
	}
	for _, item := range delta.Items {
		if link, ok := item.Step.Resource.(resource.Link); ok && a.touched[item.Step.Host] != nil {
			a.touched[item.Step.Host].Links = append(a.touched[item.Step.Host].Links, link.Name)
		}
	}
	for _, t := range a.touched {
		slices.Sort(t.Files)
		t.Files = slices.Compact(t.Files)
	}
	return a
}

// touch adds what one step may change.
func touch(t *confirm.Touched, item plan.Item) {
	id := item.Step.Resource.ID()
	switch r := item.Step.Resource.(type) {
	case resource.Hostname:
		t.Hostname = true
		t.Files = append(t.Files, "/etc/hostname")
	case resource.Sysctl:
		if path, err := probe.SysctlPath(r.Key); err == nil { // else the step says so
			t.Sysctls = append(t.Sysctls, path)
		}
	case resource.FirewallRule:
		t.Rules = append(t.Rules, confirm.Rule{Program: r.Program(), Table: r.Table, Chain: r.Chain, Words: r.Rule})
	case resource.Unit:
		unit := confirm.Unit{Name: r.Name}
		if r.Docker != nil {
			unit.Before, unit.After = stopContainers, startContainers
			t.Links = append(t.Links, resource.DockerBridge)
		}
		t.Units = append(t.Units, unit)
	case resource.Orphan:
		switch id.Kind() {
		case resource.KindUnit:
			t.Units = append(t.Units, confirm.Unit{Name: id.Name()})
		case resource.KindFirewallRule:
			if rule, err := resource.ParseFirewallRule(id); err == nil { // else the step says so
				t.Rules = append(t.Rules, confirm.Rule{Program: rule.Program(), Table: rule.Table, Chain: rule.Chain, Words: rule.Rule})
			}
		}
	}
}

// host returns a host's part.
func (a *arming) host(name string) *armedHost {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hosts[name] == nil {
		a.hosts[name] = &armedHost{}
	}
	return a.hosts[name]
}

// armed carries out a step. If that may cut the operator off, the host undoes it
// by itself unless it is reached again over a new connection, and the step is not
// done before: the error is then an *UndoneError.
//
// Steps that run at the same time on a host share a session: the first one arms,
// the last one to end confirms. A step that fails by itself fails with its own
// error, and what it has done until then is confirmed if the host can be reached:
// that it is not as desired is for the next plan to see.
func (t *task) armed(ctx context.Context, do func() error) error {
	a := t.executor.arming
	switch {
	case t.machine == nil || a == nil:
		return do()
	case a.writes[t.item.Step.ID()]:
		if err := t.keepInputs(ctx, a); err != nil {
			return err
		}
		return do()
	case !t.item.Armed():
		return do()
	}
	h := a.host(t.item.Step.Host)
	s, err := h.join(ctx, t, a)
	if err != nil {
		return err
	}
	err = do()
	return h.leave(ctx, t, a, s, err)
}

// keepInputs puts the files of a host's armed units aside before the first of
// them is written.
func (t *task) keepInputs(ctx context.Context, a *arming) error {
	h := a.host(t.item.Step.Host)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept {
		return nil
	}
	if err := t.machine.script(ctx, "put files aside", confirm.Keep(a.aside[t.item.Step.Host])); err != nil {
		return err
	}
	h.kept = true
	return nil
}

// join takes part in the session under way, or arms a new one.
func (h *armedHost) join(ctx context.Context, t *task, a *arming) (*armedSession, error) {
	for {
		h.mu.Lock()
		s := h.session
		if s != nil && s.ending {
			h.mu.Unlock()
			<-s.ended
			continue
		}
		first := s == nil
		if first {
			s = &armedSession{Session: confirm.Session{Token: a.run + newToken(), Run: a.run, Timeout: a.timeout}, ready: make(chan struct{}), ended: make(chan struct{})}
			h.session = s
		}
		s.steps++
		s.items = append(s.items, t.item)
		h.mu.Unlock()
		if first {
			s.refused = arm(ctx, t.machine, s.Session, *a.touched[t.item.Step.Host])
			if s.refused == nil {
				working, stop := context.WithCancel(ctx)
				s.working = stop
				t.executor.Fleet.options.Fault.Go(func() { t.machine.postpone(working, s.Session) })
			} else {
				h.mu.Lock()
				s.ending, h.session = true, nil
				close(s.ended)
				h.mu.Unlock()
			}
			close(s.ready)
		}
		<-s.ready
		return s, s.refused
	}
}

// newToken tells sessions apart.
func newToken() string {
	token := make([]byte, 6)
	_, _ = rand.Read(token) // never fails
	return hex.EncodeToString(token)
}

// arm has a host take down how it is and start its timer.
func arm(ctx context.Context, m *machine, s confirm.Session, touched confirm.Touched) error {
	err := m.script(ctx, "arm", s.Arm(touched))
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode == confirm.ExitUnconfirmed:
		return fmt.Errorf("%s: %s: %w", m.host.Name, strings.TrimSpace(string(exit.Stderr)), ErrStale)
	}
	return fmt.Errorf("not begun, because it may cut the host off and could not be armed: %w", err)
}

// postpone puts a session off while its steps run, which may take longer than
// its time. That needs the connection there is: a host that is cut off from it
// does not wait.
func (m *machine) postpone(ctx context.Context, s confirm.Session) {
	ticker := time.NewTicker(s.Timeout / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// The host's own clock ends the session; a failure makes no difference.
			ctx, cancel := context.WithTimeout(ctx, s.Timeout/3)
			_ = m.script(ctx, "put off", s.Postpone())
			cancel()
		}
	}
}

// leave ends a step's part. The last one to leave confirms; the others wait for
// it. It returns what became of the step.
func (h *armedHost) leave(ctx context.Context, t *task, a *arming, s *armedSession, err error) error {
	h.mu.Lock()
	s.steps--
	last := s.steps == 0
	s.ending = s.ending || last
	h.mu.Unlock()
	if last {
		// From now on only a new connection counts.
		s.working()
		t.report("reaching the host over a new connection")
		s.result = t.confirm(ctx, a, s)
		h.mu.Lock()
		h.session = nil
		close(s.ended)
		h.mu.Unlock()
	}
	<-s.ended
	switch {
	case s.result == nil:
		return err
	case err == nil:
		return s.result
	}
	return fmt.Errorf("%w; the step itself: %w", s.result, err)
}

// confirm tells the host over a new connection that it was reached. If there is
// none in time it waits until the host has undone the change.
func (t *task) confirm(ctx context.Context, a *arming, s *armedSession) error {
	begin := time.Now()
	var settled []string
	for _, item := range s.items {
		for _, input := range a.inputs[item.Step.ID()] {
			settled = append(settled, input.Step.Resource.ID().Name())
		}
	}
	undone := &UndoneError{Host: t.item.Step.Host, Within: s.Timeout}
	for {
		answer, err := t.executor.Fleet.askAnew(ctx, t.machine, s.Timeout/2, s.Confirm(settled))
		switch {
		case err != nil:
			undone.Last = err
		case answer.State == confirm.Confirmed:
			return nil
		case answer.State == confirm.Reverted:
			undone.PutBack = answer.PutBack
			t.recordUndone(ctx, a, s)
			return undone
		case answer.State == confirm.Gone:
			return fmt.Errorf("%s: what undoes the change is not there any more, so that it can't be confirmed", undone.Host)
		}
		if time.Since(begin) > s.Timeout+revertTimeout {
			undone.Unseen = true
			return undone
		}
		select {
		case <-time.After(confirmAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// askAnew confirms over a connection of its own.
func (f *Fleet) askAnew(ctx context.Context, m *machine, limit time.Duration, script string) (confirm.Answer, error) {
	to := target(m.host)
	if limit > 0 && (to.Timeout <= 0 || to.Timeout > limit) {
		to.Timeout = limit
	}
	ctx, cancel := context.WithTimeout(ctx, 2*to.Timeout)
	defer cancel()
	client, err := f.dialer.Dial(ctx, to)
	if err != nil {
		return confirm.Answer{}, err
	}
	defer client.Close()
	result, err := client.Run(ctx, ssh.Command{Label: "confirm", Script: script, Root: true})
	if err != nil {
		return confirm.Answer{}, err
	}
	return confirm.ParseAnswer(string(result.Stdout))
}

// recordUndone makes the state say of the files of units that were put back what
// it said before.
func (t *task) recordUndone(ctx context.Context, a *arming, s *armedSession) {
	for _, item := range s.items {
		for _, input := range a.inputs[item.Step.ID()] {
			id := input.Step.Resource.ID()
			if record, known := t.executor.facts(input.Step.Host).Host.State.Resources[string(id)]; known {
				t.machine.state.put(id, record)
			} else {
				t.machine.state.remove(id)
			}
		}
	}
	// The connection may not have survived; the run's end writes what is left.
	_, _ = t.executor.Fleet.connect(ctx, t.item.Step.Host)
}

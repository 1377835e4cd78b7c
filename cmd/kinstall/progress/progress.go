// Package progress shows what apply is doing while it does it: in place on a
// terminal (Live), one line for each finished step elsewhere (Plain), or as
// JSON events for programs (JSON).
//
// A Display has no goroutine and no clock of its own: it is told of events and
// of the passing of time, and asks the clock it was given. Start adds both for
// real use. The methods of a Display must not be called concurrently; those
// of a Runner may.
package progress

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/plan/render"
	"github.com/kinstall/kinstall/provision"
)

// Display shows events.
type Display interface {
	// Event shows, or remembers to show, what happened to a step.
	Event(provision.Event)
	// Notice shows a line to the user at once.
	Notice(string)
	// Tick is called about ten times a second.
	Tick()
	// Close removes what is only of interest while apply runs.
	Close()
}

// Host is a place where work is to be done: a host, plan.Operator or plan.Cluster.
type Host struct {
	Name  string
	Total int // steps that change something or wait
}

// Interval is how often Tick is to be called.
const Interval = 100 * time.Millisecond

// Runner feeds a Display from several goroutines and lets time pass for it.
type Runner struct {
	mu      sync.Mutex
	display Display
	stop    chan struct{}
	ended   chan struct{}
}

// Start returns a running Runner; it must be stopped. faults is told of a panic of
// the display between events.
func Start(d Display, faults fault.Handler) *Runner {
	r := &Runner{display: d, stop: make(chan struct{}), ended: make(chan struct{})}
	faults.Go(func() {
		defer close(r.ended)
		ticker := time.NewTicker(Interval)
		defer ticker.Stop()
		for {
			select {
			case <-r.stop:
				return
			case <-ticker.C:
				r.mu.Lock()
				r.display.Tick()
				r.mu.Unlock()
			}
		}
	})
	return r
}

// Event passes an event on.
func (r *Runner) Event(e provision.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.display.Event(e)
}

// Notice passes a line for the user on.
func (r *Runner) Notice(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.display.Notice(s)
}

// Stop ends the ticking and closes the Display.
func (r *Runner) Stop() {
	close(r.stop)
	<-r.ended
	r.mu.Lock()
	defer r.mu.Unlock()
	r.display.Close()
}

// step is one that runs.
type step struct {
	id    plan.StepID
	label string // "file /etc/hosts"
	text  string // how far it is
	begin time.Time
	told  time.Time // when a line last spoke of it
}

// place is what is known of a host.
type place struct {
	name        string
	done, total int
	failed      int
	skipped     int
	running     []*step // in the order in which they started
}

// places are all hosts, in the order in which they are shown.
type places struct {
	order  []*place
	byName map[string]*place
}

func newPlaces(hosts []Host) *places {
	p := &places{byName: map[string]*place{}}
	for _, h := range hosts {
		p.get(h.Name).total = h.Total
	}
	return p
}

func (p *places) get(name string) *place {
	if found, ok := p.byName[name]; ok {
		return found
	}
	added := &place{name: name}
	p.byName[name] = added
	p.order = append(p.order, added)
	return added
}

// apply brings the places up to date with an event.
func (p *places) apply(e provision.Event, now time.Time) {
	at := p.get(e.Item.Step.Host)
	if e.Total > 0 {
		at.done, at.total = e.Done, e.Total
	}
	id := e.Item.Step.ID()
	i := 0
	for i < len(at.running) && at.running[i].id != id {
		i++
	}
	switch e.Kind {
	case provision.Started, provision.Progress:
		if i == len(at.running) {
			at.running = append(at.running, &step{id: id, label: label(e.Item), begin: now, told: now})
		}
		at.running[i].text = oneLine(e.Text)
	case provision.Failed:
		at.failed++
	case provision.Skipped:
		at.skipped++
	}
	switch e.Kind {
	case provision.Finished, provision.Failed, provision.RolledBack, provision.Skipped:
		if i < len(at.running) {
			at.running = append(at.running[:i], at.running[i+1:]...)
		}
	}
}

// nameWidth is the width of the longest name.
func (p *places) nameWidth() int {
	width := 0
	for _, at := range p.order {
		width = max(width, len(shortName(at.name)))
	}
	return width
}

// shortName is a place without the parentheses of "(operator)", "(cluster)".
func shortName(name string) string { return strings.Trim(name, "()") }

func label(item plan.Item) string {
	id := item.Step.Resource.ID()
	return oneLine(string(id.Kind()) + " " + id.Name())
}

func sign(item plan.Item) string { return render.Sign(item.Change.Action) }

// Cause is why a step failed, without what is said beside it anyway: the host
// and the step, which errors begin with.
func Cause(item plan.Item, err error) string {
	if err == nil {
		return "no reason given"
	}
	host, id := item.Step.Host+": ", item.Step.Resource.ID()
	text := strings.TrimPrefix(err.Error(), host)
	text = strings.TrimPrefix(text, fmt.Sprintf("%s %s: ", item.Change.Action, id))
	return strings.TrimPrefix(text, host)
}

// oneLine makes text from hosts fit to be shown on one line.
func oneLine(s string) string { return render.Clean(strings.Join(strings.Fields(s), " ")) }

// seconds is "3s" or "1m05s".
func seconds(d time.Duration) string {
	s := int(d / time.Second)
	if s < 60 {
		return fmt.Sprintf("%ds", s)
	}
	return fmt.Sprintf("%dm%02ds", s/60, s%60)
}

package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/ssh"
)

// Deadlines bound what is done on a host, from beginning to end: progress on the
// way puts none of them off. What is late is ended, and the error is a
// *ssh.TimeoutError. The zero value has the defaults. How long connecting may
// take is package ssh's to bound.
type Deadlines struct {
	// Lock is for taking the lock of one host; 30 s by default.
	Lock time.Duration
	// Observe is for everything that one host is asked at a time; 2 m by default.
	Observe time.Duration
	// Step is for one step. By default it is 10 m, and 30 m where files are
	// brought to the host or packages fetched.
	Step time.Duration
	// Notice is after which time it is said who is waited for, and how often;
	// 10 s by default.
	Notice time.Duration
}

const (
	defaultLockTime    = 30 * time.Second
	defaultObserveTime = 2 * time.Minute
	defaultStepTime    = 10 * time.Minute
	longStepTime       = 30 * time.Minute
	defaultNotice      = 10 * time.Second
)

func (d Deadlines) withDefaults() Deadlines {
	for _, v := range []struct {
		to *time.Duration
		is time.Duration
	}{{&d.Lock, defaultLockTime}, {&d.Observe, defaultObserveTime}, {&d.Notice, defaultNotice}} {
		if *v.to <= 0 {
			*v.to = v.is
		}
	}
	return d
}

// step is how long a step may take by its resource's kind; "" for any script that
// changes a host.
func (d Deadlines) step(kind resource.Kind) time.Duration {
	switch {
	case d.Step > 0:
		return d.Step
	case kind == "" || kind == resource.KindArtifact || kind == resource.KindImage || kind == resource.KindPackage:
		return longStepTime
	}
	return defaultStepTime
}

// limited bounds a task on its host.
func (t *task) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.machine == nil {
		return context.WithCancel(ctx) // the cluster's API and the operator's machine have times of their own
	}
	limit := t.executor.Fleet.options.Deadlines.step(t.item.Step.Resource.ID().Kind())
	return ssh.WithTimeout(ctx, t.machine.host.Name, t.label(), limit)
}

// waiting is what is under way on which host while a user waits.
type waiting struct {
	mu   sync.Mutex
	next int
	on   map[int]waitingFor
}

type waitingFor struct {
	host, doing string
	since       time.Time
}

// begin notes that something is begun on a host, until done is called.
func (w *waiting) begin(host, doing string) (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on == nil {
		w.on = map[int]waitingFor{}
	}
	w.next++
	id := w.next
	w.on[id] = waitingFor{host, doing, time.Now()}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.on, id)
	}
}

// mostNamed is how many hosts a notice names.
const mostNamed = 5

// slow describes the hosts that take longer than a time, "" if none does.
func (w *waiting) slow(now time.Time, than time.Duration) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var late []waitingFor
	for _, on := range w.on {
		if now.Sub(on.since) >= than {
			late = append(late, on)
		}
	}
	slices.SortFunc(late, func(a, b waitingFor) int {
		if c := a.since.Compare(b.since); c != 0 {
			return c
		}
		return strings.Compare(a.host, b.host)
	})
	var text []string
	for _, on := range late[:min(len(late), mostNamed)] {
		text = append(text, fmt.Sprintf("%s: %s for %s", on.host, on.doing, now.Sub(on.since).Round(time.Second)))
	}
	if more := len(late) - len(text); more > 0 {
		text = append(text, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(text, "; ")
}

// nameSlow says now and then who is waited for, until stop is called.
func (f *Fleet) nameSlow() (stop func()) {
	end := make(chan struct{})
	f.options.Fault.Go(func() {
		every := f.options.Deadlines.Notice
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-end:
				return
			case now := <-ticker.C:
				if text := f.waiting.slow(now, every); text != "" {
					f.options.Log("waiting for " + text)
				}
			}
		}
	})
	return sync.OnceFunc(func() { close(end) })
}

const (
	// shareOfAnswers is how many bytes of answers every host may keep in memory,
	// and commonAnswers what all of them have together for more.
	shareOfAnswers = 128 << 10
	commonAnswers  = 8 << 20
)

// keepAnswers makes sure that there is room for the answers of a host, which are
// kept in memory in a form several times as large.
func (m *machine) keepAnswers(size int) error {
	more := int64(max(0, size-shareOfAnswers))
	m.answersMu.Lock()
	defer m.answersMu.Unlock()
	if more <= m.answers {
		return nil
	}
	if taken := m.fleet.answers.Add(more - m.answers); taken > commonAnswers {
		m.fleet.answers.Add(m.answers - more)
		return fmt.Errorf("%s: observe: it answers with %d bytes, and the answers of other hosts take the memory there is for more than %d: leave some hosts out with -limit", m.host.Name, size, shareOfAnswers)
	}
	m.answers = more
	return nil
}

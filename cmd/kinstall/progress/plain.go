package progress

import (
	"fmt"
	"io"
	"time"

	"github.com/kinstall/kinstall/provision"
)

// patience is after how long a step that still runs is mentioned, and how long
// after that again.
const patience = 10 * time.Second

// Plain writes a line for each step that ends, and one every ten seconds for
// each that goes on: for logs and pipes.
type Plain struct {
	w      io.Writer
	now    func() time.Time
	begin  time.Time
	places *places
}

// NewPlain starts the clock.
func NewPlain(w io.Writer, hosts []Host, now func() time.Time) *Plain {
	return &Plain{w: w, now: now, begin: now(), places: newPlaces(hosts)}
}

// Event implements Display. Skipped steps are the report's business.
func (p *Plain) Event(e provision.Event) {
	p.places.apply(e, p.now())
	switch e.Kind {
	case provision.Finished:
		p.line(e.Item.Step.Host, sign(e.Item)+" "+label(e.Item))
	case provision.Failed:
		p.line(e.Item.Step.Host, "! "+label(e.Item)+" failed: "+oneLine(Cause(e.Item, e.Err)))
	}
}

// Notice implements Display.
func (p *Plain) Notice(s string) { fmt.Fprintf(p.w, "[%6.1fs] %s\n", p.elapsed(), s) }

// Tick implements Display.
func (p *Plain) Tick() {
	now := p.now()
	for _, at := range p.places.order {
		for _, s := range at.running {
			if now.Sub(s.told) < patience {
				continue
			}
			s.told = now
			text := "… " + s.label
			if s.text != "" {
				text += ": " + s.text
			}
			p.line(at.name, fmt.Sprintf("%s (for %s)", text, seconds(now.Sub(s.begin))))
		}
	}
}

// Close implements Display.
func (p *Plain) Close() {}

func (p *Plain) elapsed() float64 { return p.now().Sub(p.begin).Seconds() }

func (p *Plain) line(host, text string) {
	fmt.Fprintf(p.w, "[%6.1fs] %-*s  %s\n", p.elapsed(), p.places.nameWidth(), shortName(host), text)
}

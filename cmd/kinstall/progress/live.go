package progress

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kinstall/kinstall/provision"
)

// Live redraws one line for each host in place, on a terminal that understands
// the usual control sequences (ECMA-48: cursor up, erase line, erase below).
// Whatever else is to be seen meanwhile must go through Notice.
type Live struct {
	w      io.Writer
	size   func() (width, height int)
	color  bool
	now    func() time.Time
	begin  time.Time
	places *places
	drawn  int    // lines on the screen that belong to it
	last   string // what they say
}

// NewLive starts the clock; size is asked at each redraw.
func NewLive(w io.Writer, hosts []Host, size func() (width, height int), color bool, now func() time.Time) *Live {
	return &Live{w: w, size: size, color: color, now: now, begin: now(), places: newPlaces(hosts)}
}

// Event implements Display: failures are shown at once, the rest at the next Tick.
func (l *Live) Event(e provision.Event) {
	l.places.apply(e, l.now())
	if e.Kind == provision.Failed {
		l.Notice(l.paint("31", fmt.Sprintf("! %s: %s failed", shortName(e.Item.Step.Host), label(e.Item))) + ": " + oneLine(Cause(e.Item, e.Err)))
	}
}

// Notice implements Display: the line is written above the hosts' lines.
func (l *Live) Notice(s string) {
	l.erase()
	fmt.Fprintln(l.w, s)
	l.Tick()
}

// Tick implements Display.
func (l *Live) Tick() {
	lines := l.lines()
	text := strings.Join(lines, "\n") + "\n"
	if l.drawn > 0 && text == l.last {
		return
	}
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.drawn)
	}
	for _, line := range lines {
		b.WriteString("\r\x1b[2K" + line + "\n")
	}
	b.WriteString("\x1b[J") // what is left of a longer drawing
	_, _ = io.WriteString(l.w, b.String())
	l.drawn, l.last = len(lines), text
}

// Close implements Display.
func (l *Live) Close() { l.erase() }

func (l *Live) erase() {
	if l.drawn > 0 {
		fmt.Fprintf(l.w, "\x1b[%dA\r\x1b[J", l.drawn)
	}
	l.drawn, l.last = 0, ""
}

// lines is the picture: a line for each host, those at work first to be shown
// where there is no room for all, and a line for the whole.
func (l *Live) lines() []string {
	width, height := l.size()
	width = max(width, 40) - 1 // a full last column makes some terminals wrap
	room := max(height, 4) - 2

	now := l.now()
	shown := l.places.order
	hidden := 0
	if len(shown) > room {
		var busy, idle []*place
		for _, at := range shown {
			if len(at.running) > 0 {
				busy = append(busy, at)
			} else {
				idle = append(idle, at)
			}
		}
		shown = append(busy, idle...)
		hidden = len(shown) - room
		shown = shown[:room]
	}
	nameWidth, done, total, failed := l.places.nameWidth(), 0, 0, 0
	for _, at := range l.places.order {
		done, total, failed = done+at.done, total+at.total, failed+at.failed
	}
	countWidth := len(fmt.Sprintf("%d/%d", total, total))
	var lines []string
	for _, at := range shown {
		lines = append(lines, l.hostLine(at, nameWidth, countWidth, width, now))
	}
	name := "all"
	if hidden > 0 {
		name = fmt.Sprintf("all (%d more not shown)", hidden)
	}
	summary := ""
	if failed > 0 {
		summary = fmt.Sprintf("%d failed", failed)
	}
	return append(lines, l.layout(name, done, total, summary, seconds(now.Sub(l.begin)), nameWidth, countWidth, width, "1"))
}

func (l *Live) hostLine(at *place, nameWidth, countWidth, width int, now time.Time) string {
	name := shortName(at.name)
	switch {
	case len(at.running) > 0:
		s := at.running[0]
		text := s.label
		if s.text != "" {
			text += ": " + s.text
		}
		if n := len(at.running) - 1; n > 0 {
			text = fmt.Sprintf("%s (+%d)", text, n)
		}
		return l.layout(name, at.done, at.total, text, seconds(now.Sub(s.begin)), nameWidth, countWidth, width, "")
	case at.failed > 0:
		return l.layout(name, at.done, at.total, "failed", "", nameWidth, countWidth, width, "31")
	case at.skipped > 0 && at.done+at.skipped >= at.total:
		return l.layout(name, at.done, at.total, fmt.Sprintf("%d not begun", at.skipped), "", nameWidth, countWidth, width, "33")
	case at.done >= at.total:
		return l.layout(name, at.done, at.total, "done", "", nameWidth, countWidth, width, "32")
	default:
		return l.layout(name, at.done, at.total, "waiting", "", nameWidth, countWidth, width, "2")
	}
}

// layout is "shaolin   37/112  file /etc/hosts          3s": text cut to fit,
// time at the right margin.
func (l *Live) layout(name string, done, total int, text, elapsed string, nameWidth, countWidth, width int, style string) string {
	left := fmt.Sprintf("  %-*s  %*s  ", nameWidth, name, countWidth, fmt.Sprintf("%d/%d", done, total))
	const timeWidth = 7
	room := width - utf8.RuneCountInString(left) - timeWidth
	if utf8.RuneCountInString(text) > room {
		text = string([]rune(text)[:max(room-1, 0)]) + "…"
	}
	line := left + text
	if elapsed != "" {
		line += strings.Repeat(" ", max(width-utf8.RuneCountInString(line)-len(elapsed), 1)) + elapsed
	}
	return l.paint(style, strings.TrimRight(line, " "))
}

func (l *Live) paint(style, s string) string {
	if !l.color || style == "" {
		return s
	}
	return "\x1b[" + style + "m" + s + "\x1b[0m"
}

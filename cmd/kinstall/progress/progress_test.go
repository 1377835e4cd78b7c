package progress_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/cmd/kinstall/progress"
	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision"
)

var update = flag.Bool("update", false, "rewrite golden files")

// clock stands still until it is moved.
type clock struct{ time time.Time }

func newClock() *clock { return &clock{time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.time }

func item(host string, action resource.Action, r resource.Resource) plan.Item {
	return plan.Item{Step: &plan.Step{Host: host, Resource: r}, Change: &resource.Change{Action: action}}
}

var hosts = []progress.Host{{Name: plan.Operator, Total: 1}, {Name: "shaolin", Total: 3}, {Name: "emei", Total: 2}, {Name: plan.Cluster, Total: 1}}

// story plays a short apply to a display, with looks at it in between.
func story(d progress.Display, c *clock, look func(when string)) {
	hostsFile := item("shaolin", resource.Update, resource.File{Path: "/etc/hosts"})
	etcd := item("shaolin", resource.Create, resource.Artifact{Name: "etcd"})
	unit := item("shaolin", resource.Restart, resource.Unit{Name: "etcd.service"})
	lock := item(plan.Operator, resource.Create, resource.LockFile{Path: "lab.lock.hcl"})
	pkg := item("emei", resource.Create, resource.Package{Name: "conntrack"})
	old := item("emei", resource.Delete, resource.Orphan{Was: "file:/etc/old.conf"})
	gate := item(plan.Cluster, resource.Wait, resource.Gate{Check: resource.Check{Kind: resource.CheckEtcd}})

	pass := func(d time.Duration) { c.time = c.time.Add(d) }
	d.Tick()
	look("at the beginning")
	d.Event(provision.Event{Kind: provision.Started, Item: lock, Total: 1})
	d.Event(provision.Event{Kind: provision.Finished, Item: lock, Done: 1, Total: 1, Elapsed: 20 * time.Millisecond})
	d.Event(provision.Event{Kind: provision.Started, Item: hostsFile, Total: 3})
	d.Event(provision.Event{Kind: provision.Started, Item: etcd, Total: 3})
	d.Event(provision.Event{Kind: provision.Started, Item: pkg, Total: 2})
	pass(1200 * time.Millisecond)
	d.Event(provision.Event{Kind: provision.Progress, Item: etcd, Text: "uploading 12.1 of 35.0 MB", Total: 3})
	d.Event(provision.Event{Kind: provision.Finished, Item: hostsFile, Done: 1, Total: 3, Elapsed: 1200 * time.Millisecond})
	d.Tick()
	look("while etcd is uploaded")
	pass(9 * time.Second)
	d.Tick()
	d.Event(provision.Event{Kind: provision.Failed, Item: pkg, Done: 1, Total: 2, Elapsed: 10200 * time.Millisecond,
		Err: errors.New("emei: create package:conntrack: exit code 100: E: Unable to\nlocate \x1b[1mconntrack")})
	d.Event(provision.Event{Kind: provision.Skipped, Item: old, Done: 1, Total: 2})
	d.Tick()
	look("after a failure")
	d.Event(provision.Event{Kind: provision.Finished, Item: etcd, Done: 2, Total: 3, Elapsed: 10 * time.Second})
	d.Event(provision.Event{Kind: provision.Started, Item: unit, Done: 2, Total: 3})
	d.Event(provision.Event{Kind: provision.Finished, Item: unit, Done: 3, Total: 3, Elapsed: time.Second})
	d.Event(provision.Event{Kind: provision.Started, Item: gate, Total: 1})
	d.Event(provision.Event{Kind: provision.Progress, Item: gate, Text: "1 of 3 members healthy", Total: 1})
	d.Notice("Stopping: the steps under way are finished first.")
	for range 70 {
		pass(time.Second)
		d.Tick()
	}
	look("after a long wait")
	d.Event(provision.Event{Kind: provision.Finished, Item: gate, Done: 1, Total: 1, Elapsed: 70 * time.Second})
	d.Tick()
	d.Close()
	look("at the end")
}

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	story(progress.NewPlain(&out, hosts, c.now), c, func(string) {})
	golden(t, "plain.txt", out.String())
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	story(progress.NewJSON(&out, c.now), c, func(string) {})
	golden(t, "json.txt", out.String())
}

func TestLive(t *testing.T) {
	for _, s := range []struct {
		name          string
		width, height int
		color         bool
	}{{"live", 80, 24, false}, {"live-narrow", 50, 5, false}, {"live-color", 80, 24, true}} {
		t.Run(s.name, func(t *testing.T) {
			screen := &screen{}
			c := newClock()
			var looks strings.Builder
			d := progress.NewLive(screen, hosts, func() (int, int) { return s.width, s.height }, s.color, c.now)
			story(d, c, func(when string) {
				looks.WriteString("--- " + when + "\n" + screen.String())
			})
			golden(t, s.name+".txt", looks.String())
			for _, line := range strings.Split(screen.widest, "\n") {
				if n := len([]rune(line)); !s.color && strings.HasPrefix(line, "  ") && n >= s.width {
					t.Errorf("a line has %d columns of %d: %q", n, s.width, line)
				}
			}
		})
	}
}

func TestLiveWritesOnlyWhatChanged(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	d := progress.NewLive(&out, hosts, func() (int, int) { return 80, 24 }, false, c.now)
	d.Tick()
	first := out.Len()
	d.Tick()
	if out.Len() != first {
		t.Errorf("a second tick without news wrote %q", out.Bytes()[first:])
	}
}

func TestRunnerStopsAndCloses(t *testing.T) {
	ticked := make(chan struct{}, 1)
	d := &recorder{ticked: ticked}
	r := progress.Start(d, nil)
	r.Notice("hello")
	<-ticked
	r.Stop()
	if !d.closed || d.notices != 1 {
		t.Errorf("closed %v, notices %d", d.closed, d.notices)
	}
}

type recorder struct {
	ticked  chan struct{}
	notices int
	closed  bool
}

func (r *recorder) Event(provision.Event) {}
func (r *recorder) Notice(string)         { r.notices++ }
func (r *recorder) Close()                { r.closed = true }
func (r *recorder) Tick() {
	select {
	case r.ticked <- struct{}{}:
	default:
	}
}

// screen is as much of a terminal as Live uses.
type screen struct {
	lines  []string
	row    int
	widest string
}

func (s *screen) Write(p []byte) (int, error) {
	text := string(p)
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\x1b["):
			end := strings.IndexAny(text, "AJKm")
			argument, command := text[2:end], text[end]
			n, _ := strconv.Atoi(argument)
			switch command {
			case 'A':
				s.row -= n
			case 'J':
				s.lines = s.lines[:s.row]
			case 'K':
				s.line("")
			case 'm':
				s.line(s.current() + "<" + argument + ">")
			}
			text = text[end+1:]
		case text[0] == '\r':
			text = text[1:]
		case text[0] == '\n':
			s.line(s.current())
			s.row++
			text = text[1:]
		default:
			end := strings.IndexAny(text, "\x1b\r\n")
			if end < 0 {
				end = len(text)
			}
			s.line(s.current() + text[:end])
			text = text[end:]
		}
	}
	s.widest += s.String()
	return len(p), nil
}

func (s *screen) current() string {
	if s.row < len(s.lines) {
		return s.lines[s.row]
	}
	return ""
}

func (s *screen) line(text string) {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, "")
	}
	s.lines[s.row] = text
}

func (s *screen) String() string {
	if len(s.lines) == 0 {
		return ""
	}
	return strings.Join(s.lines, "\n") + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

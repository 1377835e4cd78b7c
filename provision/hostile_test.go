package provision

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/probe"
	"github.com/kinstall/kinstall/provision/ssh"
	"github.com/kinstall/kinstall/provision/sshtest"
)

// missing is a step that every host of these tests has.
var missing = resource.File{Path: "/nonexistent/kinstall", Content: []byte("x")}

// honestAnswer is what a real host answers when it is asked for missing.
func honestAnswer(t *testing.T) string {
	t.Helper()
	f := newUnlockedFleet(t, Options{}, "template")
	f.step("template", missing)
	f.survey(t)
	_, text, found := strings.Cut(f.hosts["template"].printed(), "BEGIN kinstall probe")
	end := strings.LastIndex(text, "\nEND ")
	if !found || end < 0 {
		t.Fatalf("the probe printed %q", f.hosts["template"].printed())
	}
	last, _, _ := strings.Cut(text[end+1:], "\n")
	return "BEGIN kinstall probe" + text[:end+1] + last + "\n"
}

// retold is an answer with another text for one label.
func retold(t *testing.T, answer, label, text string) string {
	t.Helper()
	before, rest, found := strings.Cut(answer, "\n"+label+" ok ")
	var size int
	if _, err := fmt.Sscanf(rest, "%d\n", &size); err != nil || !found {
		t.Fatalf("no answer %s: %v", label, err)
	}
	_, rest, _ = strings.Cut(rest, "\n")
	return fmt.Sprintf("%s\n%s ok %d\n%s%s", before, label, len(text), text, rest[size:])
}

// peak samples what the process takes from the system until stop is called,
// which returns how much it grew at most, in bytes.
func peak() (stop func() uint64) {
	runtime.GC()
	var stats runtime.MemStats
	read := func() uint64 {
		runtime.ReadMemStats(&stats)
		return stats.HeapInuse + stats.StackInuse
	}
	before := read()
	highest := before
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		for {
			highest = max(highest, read())
			select {
			case <-ticker.C:
			case <-end:
				return
			}
		}
	}()
	return func() uint64 {
		close(end)
		<-ended
		return highest - before
	}
}

// newMixedFleet has a server for each host, each with a step.
func newMixedFleet(t *testing.T, options Options, servers map[string]*sshtest.Server) *testFleet {
	t.Helper()
	f := newUnlockedFleet(t, options)
	for name, s := range servers {
		f.inventory.Hosts = append(f.inventory.Hosts, inventory.Host{
			Name: name, Address: netip.MustParseAddr(s.Host),
			SSH: inventory.SSH{User: "root", Port: s.Port, KeyFiles: []string{s.ClientKey}, KnownHosts: s.KnownHosts, Timeout: 10 * time.Second},
		})
		f.step(name, missing)
	}
	f.Fleet = NewFleet(f.inventory, f.authorities, options)
	t.Cleanup(func() { f.Close() })
	return f
}

func misbehaving(t *testing.T, how sshtest.Misbehaviour) *sshtest.Server {
	return sshtest.New(t, sshtest.Options{Misbehave: how})
}

const escapes = "\x1b[2J\x1b]0;owned\x07\r\u202eevil\x00\x9b"

// A host is unreachable with a reason, in time, whatever it does; it costs little
// memory, what is said of it is short and harmless, and others are not affected.
func TestHostileHosts(t *testing.T) {
	honest := honestAnswer(t)
	garbage := make([]byte, 100<<10)
	for i, seed := 0, rand.New(rand.NewPCG(1, 2)); i < len(garbage); i++ {
		garbage[i] = byte(seed.Uint32())
	}
	half := honest[:len(honest)/2]
	for _, tt := range []struct {
		name string
		how  sshtest.Options
		want string
	}{
		{"silent", sshtest.Options{Misbehave: sshtest.Silent}, "observe: not done within 1s"},
		{"silent after the mark", sshtest.Options{Misbehave: sshtest.SilentAfterMark}, "observe: not done within 1s"},
		{"drip", sshtest.Options{Misbehave: sshtest.Drip(20 * time.Millisecond)}, "observe: not done within 1s"},
		{"flood before the mark", sshtest.Options{Misbehave: sshtest.Flood(false, false)}, "more than 65536 bytes before the script began"},
		{"flood", sshtest.Options{Misbehave: sshtest.Flood(false, true)}, fmt.Sprintf("more than %d bytes of standard output", probe.MaxOutput)},
		{"flood of errors before the mark", sshtest.Options{Misbehave: sshtest.Flood(true, false)}, "standard error"},
		{"flood of errors", sshtest.Options{Misbehave: sshtest.Flood(true, true)}, "standard error"},
		{"garbage", sshtest.Options{Misbehave: sshtest.Say(string(garbage), string(garbage), 0)}, "incomplete"},
		{"garbage and an error", sshtest.Options{Misbehave: sshtest.Say(string(garbage), string(garbage), 3)}, "observe: exit code 3"},
		{"wrong length", sshtest.Options{Misbehave: sshtest.Say(strings.Replace(honest, "host.uname ok ", "host.uname ok 9", 1), "", 0)}, "incomplete"},
		{"half an answer", sshtest.Options{Misbehave: sshtest.Say(half, "", 0)}, "incomplete"},
		{"no exit status", sshtest.Options{Misbehave: sshtest.Say(honest, "", sshtest.NoStatus)}, "without an exit status"},
		{"early close", sshtest.Options{Misbehave: sshtest.DropAfter(half)}, "connection lost"},
		{"sessions refused", sshtest.Options{RefuseSessions: true}, "refuses to open a session"},
		{"escapes", sshtest.Options{Misbehave: sshtest.Say(escapes, escapes, 0)}, "incomplete"},
		{"escapes in an answer", sshtest.Options{Misbehave: sshtest.Say(retold(t, honest, "host.uname", escapes), "", 0)}, "host uname"},
		{"escapes in an error", sshtest.Options{Misbehave: sshtest.Say(honest, strings.Repeat(escapes+"\n", 9), 1)}, "exit code 1"},
		{"a long failure", sshtest.Options{Misbehave: sshtest.Say(strings.Replace(retold(t, honest, "host.uname", strings.Repeat(escapes, 50000)), "host.uname ok", "host.uname failed", 1), "", 0)}, "host uname"},
		{"many answers", sshtest.Options{Misbehave: sshtest.Say(strings.Replace(honest, "host.time ok", strings.Join(labels(20000), "")+"host.time ok", 1), "", 0)}, "incomplete"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, well := range []int{0, 9} {
				servers := map[string]*sshtest.Server{"emei": sshtest.New(t, tt.how)}
				for i := range well {
					servers[fmt.Sprintf("well-%d", i)] = misbehaving(t, sshtest.Say(honest, "", 0))
				}
				limit := time.Second
				if strings.Contains(tt.want, "standard error") {
					limit = 30 * time.Second // so much takes a moment to come
				}
				f := newMixedFleet(t, Options{Deadlines: Deadlines{Observe: limit}}, servers)
				stop, began := peak(), time.Now()
				observed, err := f.Observe(t.Context(), f.plan())
				elapsed, memory := time.Since(began), stop()
				if err != nil {
					t.Fatal(err)
				}
				if elapsed > limit+5*time.Second {
					t.Errorf("one of %d: it took %s", well+1, elapsed)
				}
				if memory > 60<<20 {
					t.Errorf("one of %d: it took %d MB", well+1, memory>>20)
				}
				checkRefused(t, observed.Hosts["emei"], tt.want)
				for name, o := range observed.Hosts {
					if name != "emei" && o.Err != nil {
						t.Errorf("%s, which is well: %v", name, o.Err)
					}
				}
				delta := f.plan().Diff(observed)
				if len(delta.Unreachable) != 1 || len(changes(delta)) != well {
					t.Errorf("%d of %d hosts unreachable, %d changes planned", len(delta.Unreachable), well+1, len(changes(delta)))
				}
			}
		})
	}
}

func labels(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("x%d ok 0\n\n", i))
	}
	return all
}

// checkRefused holds an error to what may be said of a host.
func checkRefused(t *testing.T, o plan.Observation, want string) {
	t.Helper()
	if o.Err == nil || !strings.HasPrefix(o.Err.Error(), "emei: ") || !strings.Contains(o.Err.Error(), want) {
		t.Errorf("got error %.300v, want %q", o.Err, want)
		return
	}
	text := o.Err.Error()
	if len(text) > 4000 {
		t.Errorf("the error has %d bytes", len(text))
	}
	for _, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			t.Errorf("the error holds %q: %.300q", r, text)
			break
		}
	}
}

// Hosts that all answer with as much as they may, or flood, don't take the
// operator's memory, the servers of this test included.
func TestHundredHostileHostsInMemory(t *testing.T) {
	honest := honestAnswer(t)
	var sysctls strings.Builder
	for i := 0; sysctls.Len() < probe.MaxOutput*9/10; i++ {
		fmt.Fprintf(&sysctls, "/etc/sysctl.d/a.conf:a.b%d = 1\n", i)
	}
	lie := retold(t, honest, "host.sysctls", strings.TrimSuffix(sysctls.String(), "\n"))
	most := []byte(lie)
	modes := []sshtest.Misbehaviour{
		sshtest.Flood(false, false), sshtest.Flood(false, true), sshtest.Flood(true, true),
		sshtest.Say(lie, "", 0), sshtest.DropAfter(lie), sshtest.SilentAfterMark,
		func(s *sshtest.Session) int { // as much as it may, and then nothing
			s.Begin()
			_, _ = s.Stdout.Write(most)
			<-s.Done
			return 0
		},
	}
	servers := map[string]*sshtest.Server{}
	for i := range 100 {
		servers[fmt.Sprintf("host-%03d", i)] = misbehaving(t, modes[i%len(modes)])
	}
	f := newMixedFleet(t, Options{Deadlines: Deadlines{Observe: 3 * time.Second}}, servers)
	stop, began := peak(), time.Now()
	observed, err := f.Observe(t.Context(), f.plan())
	memory := stop()
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, o := range observed.Hosts {
		if o.Err != nil {
			failed++
		}
	}
	t.Logf("%d of %d hosts failed, %s, %d MB", failed, len(observed.Hosts), time.Since(began).Round(time.Millisecond), memory>>20)
	if memory > 300<<20 {
		t.Errorf("%d MB are too much", memory>>20)
	}
}

// Large files in place of small ones are compared by their digests.
func TestObserveLargeFiles(t *testing.T) {
	f := newUnlockedFleet(t, Options{}, "emei")
	h := f.hosts["emei"]
	large := bytes.Repeat([]byte("0123456789abcde\n"), 15<<16)
	for i := range 4 {
		p := h.path(fmt.Sprintf("/etc/large-%d", i))
		if err := os.WriteFile(p, large, 0o644); err != nil {
			t.Fatal(err)
		}
		f.step("emei", resource.File{Path: p, Content: []byte("small"), Ownership: self(t, 0o644)})
	}
	stop := peak()
	delta := f.survey(t)
	if memory := stop(); memory > 60<<20 {
		t.Errorf("it took %d MB", memory>>20)
	}
	for _, item := range delta.Items {
		if item.Change.Action != resource.Update || item.Change.Text != nil || item.Change.Evidence != resource.SHA256(large) {
			t.Errorf("%s: %s, text %v", item.Step.ID(), item.Change.Action, item.Change.Text != nil)
		}
	}
	if len(delta.Items) != 4 {
		t.Errorf("%d items", len(delta.Items))
	}
}

// Who is waited for is said, with the time.
func TestObserveNamesSlowHosts(t *testing.T) {
	var mu sync.Mutex
	var said []string
	heard := make(chan struct{})
	servers := map[string]*sshtest.Server{"emei": misbehaving(t, func(*sshtest.Session) int {
		<-heard
		return sshtest.NoStatus
	})}
	log := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(text, "observing") && len(said) == 0 {
			said = append(said, text)
			close(heard)
		}
	}
	f := newMixedFleet(t, Options{Log: log, Deadlines: Deadlines{Notice: 20 * time.Millisecond}}, servers)
	if _, err := f.Observe(t.Context(), f.plan()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(said) != 1 || !strings.HasPrefix(said[0], "waiting for emei: observing for ") {
		t.Errorf("said %q", said)
	}
	w := waiting{}
	began := time.Now()
	for i := range 8 {
		w.begin(fmt.Sprintf("host-%d", i), "connecting")
	}
	if got := w.slow(began.Add(20*time.Second), 10*time.Second); !strings.HasPrefix(got, "host-0: connecting for 20s; ") || !strings.HasSuffix(got, "; and 3 more") {
		t.Errorf("said %q", got)
	}
	if got := w.slow(began.Add(9*time.Second), 10*time.Second); got != "" {
		t.Errorf("said %q", got)
	}
}

// A host that says nothing when its lock is taken is left out.
func TestLockHasADeadline(t *testing.T) {
	for name, how := range map[string]sshtest.Misbehaviour{
		"silent": sshtest.Silent, "drip": sshtest.Drip(5 * time.Millisecond), "flood": sshtest.Flood(false, true),
	} {
		t.Run(name, func(t *testing.T) {
			f := newMixedFleet(t, Options{Deadlines: Deadlines{Lock: 300 * time.Millisecond}}, map[string]*sshtest.Server{"emei": misbehaving(t, how)})
			began := time.Now()
			release, err := f.Lock(t.Context(), []string{"emei"}, "test")
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			if elapsed := time.Since(began); elapsed > 5*time.Second {
				t.Errorf("it took %s", elapsed)
			}
			observed, err := f.Observe(t.Context(), f.plan())
			if err != nil {
				t.Fatal(err)
			}
			checkRefused(t, observed.Hosts["emei"], "lock")
		})
	}
}

// A step that hangs on its host fails in time, and says that its outcome is not
// known; other hosts go on.
func TestStepHasADeadline(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{Deadlines: Deadlines{Step: 500 * time.Millisecond}}, "emei", "wudang")
	hangs := f.step("emei", resource.File{Path: f.hosts["emei"].path("/etc/x"), Content: []byte("x")})
	works := f.step("wudang", resource.File{Path: f.hosts["wudang"].path("/etc/x"), Content: []byte("x")})
	delta := f.everything(t)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	f.hosts["emei"].answer = func(script string, stdout, _ io.Writer) (int, bool) {
		if !strings.Contains(script, "/etc/x") {
			return 0, false
		}
		_, _ = io.WriteString(stdout, "still at it\n")
		<-over
		return 0, true
	}
	report, err := f.executor().Apply(t.Context(), delta)
	var late *ssh.TimeoutError
	if !errors.As(err, &late) || late.After != 500*time.Millisecond || !strings.Contains(err.Error(), "emei: create file:") || !strings.Contains(err.Error(), "whether it took effect is not known") {
		t.Errorf("got error %v", err)
	}
	got := outcomes(report)
	if got[hangs] != Failed || got[works] != Finished {
		t.Errorf("outcomes %v", got)
	}
}

// What a script asks of daemons has a deadline on the host, too.
func TestScriptsBoundDaemons(t *testing.T) {
	f := newFleet(t, Options{}, "emei")
	h := f.hosts["emei"]
	h.program(t, "timeout", `echo "$*" >>"$HOST/timeouts"; [ "$1" = --foreground ] || exec /usr/bin/timeout "$@"; exit 124`)
	for _, script := range []string{restartScript("x.service", "restart", false), "docker stop x\n", "ctr images ls\n"} {
		if err := f.machines["emei"].script(t.Context(), "try", script); err == nil || !strings.Contains(err.Error(), "exit code 124") {
			t.Errorf("%.20q: got error %v", script, err)
		}
	}
	calls := h.read(t, h.path("/timeouts"))
	for _, want := range []string{"--foreground -k 10 300 systemctl daemon-reload\n", "--foreground -k 10 1500 docker stop x\n", "--foreground -k 10 1500 ctr images ls\n"} {
		if !strings.Contains(calls, want) {
			t.Errorf("no call %q among\n%s", want, calls)
		}
	}
}

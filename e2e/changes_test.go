package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
)

// TestChanges tells what becomes of changes on a living cluster: each goes to
// one member first, is seen to work before it goes to the next, and is taken
// back where it is not. The stories stand for themselves, on one cluster.
func TestChanges(t *testing.T) {
	if os.Getenv("KINSTALL_CHANGES") == "" {
		t.Skip("part of make test-changes")
	}
	w := newWorld(t, "e2e-changes", kubernetes("cluster")...)
	killedInstallation(t, w)
	good, err := os.ReadFile(w.inventory)
	if err != nil {
		t.Fatal(err)
	}
	for _, story := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"what does not work is taken back", func(t *testing.T, w *world) { takenBack(t, w, brokenChanges()...) }},
		{"a balancer that can't be reloaded", brokenBalancer},
		{"kubelets are changed one after the other", goodKubelets},
		{"API servers are changed one after the other", goodAPIServers},
		{"killed before it has seen what it wrote", killedChange},
		{"a cable is pulled while a change is watched", pulledCable},
		{"two applies with other hosts", twoApplies},
		{"certificates are renewed in place", renewal},
		{"what was broken by hand is seen and mended", brokenByHand},
	} {
		t.Run(story.name, func(t *testing.T) {
			w.write(t, string(good))
			story.test(t, w)
			w.write(t, string(good))
			r := w.apply(t)
			t.Logf("back to the first inventory: %d changes in %s", len(changed(r.stdout)), r.elapsed.Round(100*time.Millisecond))
			soundCluster(t, w)
		})
	}
}

// background is kinstall, or another program on the operator's side, that runs
// beside the test.
type background struct {
	*exec.Cmd
	stdout, stderr output
	begin          time.Time
	ended          chan error
}

// output is what a program has printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (w *world) begin(t *testing.T, args ...string) *background {
	t.Helper()
	b := &background{Cmd: w.lab.Exec(t.Context(), append([]string{w.kinstall}, args...)...), begin: time.Now(), ended: make(chan error, 1)}
	b.Dir = w.dir
	b.Stdout, b.Stderr = &b.stdout, &b.stderr
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { b.ended <- b.Wait() }()
	return b
}

// kill ends the program without a chance to do anything.
func (b *background) kill(t *testing.T) {
	t.Helper()
	if err := b.Process.Kill(); err != nil {
		t.Fatalf("it had ended by itself: %v\n%s%s", err, b.stdout.String(), b.stderr.String())
	}
	if err := <-b.ended; b.ProcessState.ExitCode() != -1 {
		t.Fatalf("it had ended by itself: %v\n%s%s", err, b.stdout.String(), b.stderr.String())
	}
}

// wait waits for the program's own end.
func (b *background) wait(t *testing.T) result {
	t.Helper()
	err := <-b.ended
	r := result{stdout: b.stdout.String(), stderr: b.stderr.String(), elapsed: time.Since(b.begin)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return r
}

// holds waits until a command on one of the machines prints something, and
// returns which machine that is. The program that brings it about must not
// have ended.
func holds(t *testing.T, w *world, b *background, limit time.Duration, machines []string, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	found := make(chan string, len(machines))
	for _, machine := range machines {
		go func() {
			ssh := w.lab.SSH(ctx, machine, "until "+command+"; do sleep 0.05; done")
			if ssh.Run() == nil {
				found <- machine
			}
		}()
	}
	select {
	case machine := <-found:
		return machine
	case err := <-b.ended:
		b.ended <- err
		t.Fatalf("it ended before %s: %v\n%s%s", command, err, b.stdout.String(), b.stderr.String())
	case <-ctx.Done():
		t.Fatalf("not within %s: %s", limit, command)
	}
	return ""
}

// killedInstallation makes a cluster of bare machines with a kinstall that is
// killed twice.
func killedInstallation(t *testing.T, w *world) {
	t.Helper()
	begin := time.Now()
	for _, moment := range []string{"systemctl -q is-active etcd.service", "test -e /etc/kubernetes/manifests/kube-apiserver.yaml"} {
		// A script of the one before that was killed may still be at work.
		b := w.begin(t, "apply", "-yes", "-lock-timeout", "2m", w.inventory)
		on := holds(t, w, b, 3*time.Minute, masters, moment)
		b.kill(t)
		t.Logf("first installation: killed after %s: %s on %s", time.Since(b.begin).Round(100*time.Millisecond), moment, on)
	}
	r := w.apply(t, "-lock-timeout", "2m")
	t.Logf("first installation: the third apply took %s; in all %s", r.elapsed.Round(100*time.Millisecond), time.Since(begin).Round(100*time.Millisecond))
	for _, host := range nodes {
		// What a killed run was bringing is removed by an upload after a day, when
		// it can't be another's that is under way.
		w.ssh(t, host, "rm -rf /var/tmp/kinstall.*")
	}
	soundCluster(t, w)
}

// soundCluster expects that all serves, that a plan finds nothing to do, and
// that nothing lies about on the machines.
func soundCluster(t *testing.T, w *world) {
	t.Helper()
	serves(t, w)
	took := eventually(t, time.Minute, "nothing to do", func() string {
		if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 || !strings.Contains(r.stdout, "No changes") {
			return r.String()
		}
		return ""
	})
	if took > 5*time.Second {
		t.Logf("a plan says \"No changes\" %s later only", took.Round(100*time.Millisecond))
	}
	for _, host := range nodes {
		if left := w.ssh(t, host, leftovers); left != "" {
			t.Errorf("%s: left behind: %s", host, left)
		}
	}
}

// leftovers lists what was staged on a machine and not brought to its place.
const leftovers = `ls -d /var/tmp/*kinstall* 2>/dev/null || true; find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /var/lib/containerd -o -path /var/lib/kubelet/pods \) -prune -o -name '.kinstall.*' -print; find /var/lib/kinstall/backup -name '*.new' -print 2>/dev/null || true`

// serves expects that every member does.
func serves(t *testing.T, w *world) {
	t.Helper()
	eventually(t, 30*time.Second, "all serves", func() string {
		r := w.kubectl(t, "get", "nodes", "--no-headers") // through the balancer
		if r.code != 0 {
			return r.String()
		}
		if ready := strings.Count(r.stdout, " Ready "); ready != len(nodes) {
			return r.stdout
		}
		for _, host := range masters {
			if r := w.kubectl(t, "--server", "https://"+addresses[host]+":6443", "get", "--raw", "/readyz"); r.stdout != "ok" {
				return host + ": " + r.String()
			}
			const etcdctl = "etcdctl --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key /etc/kubernetes/pki/etcd/healthcheck-client.key"
			ssh := w.lab.SSH(t.Context(), host, etcdctl+" --endpoints https://"+addresses[host]+":2379 endpoint health")
			if out, err := ssh.CombinedOutput(); err != nil {
				return host + ": " + string(out)
			}
		}
		return ""
	})
}

// whichProcess is how a host's state names the process that was seen last.
var whichProcess = regexp.MustCompile(`"started": "[^"]*"`)

// states are what the hosts remember, but for which processes ran when.
func states(t *testing.T, w *world) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, host := range nodes {
		all[host] = whichProcess.ReplaceAllString(w.ssh(t, host, "cat "+fact.StatePath), `"started": ""`)
	}
	return all
}

// restarted lists the programs that run anew, "HOST NAME".
func restarted(before, now map[string]string) []string {
	var all []string
	for _, pair := range [][2]map[string]string{{before, now}, {now, before}} {
		for process := range pair[0] {
			if _, same := pair[1][process]; !same {
				f := strings.Fields(process) // HOST NAME PID START
				all = append(all, f[0]+" "+f[1])
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// brokenChange is a change that its program refuses.
type brokenChange struct {
	name     string // of the program
	old, new string // in the inventory
	says     string // the cause
	hint     string
}

func brokenChanges() []brokenChange {
	const unknown, hint = `"no-such-flag" = "1"`, "this version does not know --no-such-flag: look for it in args in the inventory"
	block := func(name string) string { return name + " {\n  args = { " + unknown + " }\n}\n\ndns {" }
	return []brokenChange{
		{"kubelet", "\nkubelet {", "\nkubelet {\n  args = { " + unknown + " }", "unknown flag: --no-such-flag", hint},
		// An unknown variable of its environment is none of etcd's business.
		{"etcd", "\netcd {", "\netcd {\n  args = { \"heartbeat-interval\" = \"never\" }", `invalid value \"never\" for ETCD_HEARTBEAT_INTERVAL`, ""},
		{"kube-apiserver", "dns {", block("api_server"), "unknown flag: --no-such-flag", hint},
		{"kube-controller-manager", "dns {", block("controller_manager"), "unknown flag: --no-such-flag", hint},
		{"kube-scheduler", "dns {", block("scheduler"), "unknown flag: --no-such-flag", hint},
		{"containerd", "restrict_oom_score_adj = true", `restrict_oom_score_adj = "maybe"`, "cannot decode TOML string", ""},
		{"kube-proxy", "    conntrack = {", "    bindAddress = \"nowhere\"\n    conntrack = {", "not a valid textual representation of an IP address", ""},
	}
}

// takenBack makes changes that do not work, one after the other, each
// after the last was taken back: of all machines one is touched, and is as
// before in the end.
func takenBack(t *testing.T, w *world, changes ...brokenChange) {
	good, err := os.ReadFile(w.inventory)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			defer w.write(t, string(good))
			w.edit(t, c.old, c.new)
			before, remembered := processes(t, w), states(t, w)
			r := w.run(t, "apply", "-yes", w.inventory)
			w.write(t, string(good))
			refusal(t, w, r, before, remembered, c.name, c.says, c.hint)
		})
	}
}

// refusal expects that a change failed as it should: of all machines one was
// touched, and it is as before.
func refusal(t *testing.T, w *world, r result, before, remembered map[string]string, program, says, hint string) {
	t.Helper()
	shown := strings.Join(strings.Fields(r.stderr+r.stdout), " ")
	for _, want := range []string{says, hint, "not begun"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not said", want)
		}
	}
	if r.code != 1 || t.Failed() {
		t.Errorf("exit code 1 and its cause expected: %s", r)
	}
	touched := restarted(before, processes(t, w))
	if program == "kube-apiserver" {
		// The balancer was told to send it nothing new: its workers are others. And who
		// leads on its host was without it for longer than a lease lasts, and starts anew.
		host := ""
		if i := slices.IndexFunc(touched, func(process string) bool { return strings.HasSuffix(process, " "+program) }); i >= 0 {
			host = strings.TrimSuffix(touched[i], " "+program)
		}
		touched = slices.DeleteFunc(touched, func(process string) bool {
			return strings.HasSuffix(process, " nginx") || process == host+" kube-controller-manager" || process == host+" kube-scheduler"
		})
	}
	if len(touched) != 1 || !strings.HasSuffix(touched[0], " "+program) {
		t.Errorf("one %s should have been touched: %v", program, touched)
	}
	took := eventually(t, time.Minute, "a plan of the inventory before", func() string {
		if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 || !strings.Contains(r.stdout, "No changes") {
			return r.String()
		}
		return ""
	})
	if diff := cmp.Diff(remembered, states(t, w)); diff != "" {
		t.Errorf("what the hosts remember (-before +after):\n%s", diff)
	}
	soundCluster(t, w)
	t.Logf("%s: refused and taken back in %s, touched %v; a plan says so after %s", program, r.elapsed.Round(100*time.Millisecond), touched, took.Round(100*time.Millisecond))
}

// brokenBalancer has a balancer change its port: once with a file of the
// user's that keeps nginx from reading its configuration anew, once to a port
// that somebody else has, which nginx tells nobody.
func brokenBalancer(t *testing.T, w *world) {
	const broken = "/etc/nginx/modules-enabled/99-of-the-user.conf"
	good, err := os.ReadFile(w.inventory)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, before, after, says string }{
		{"a file that can't be read", "echo 'no_such_directive on;' > " + broken, "rm " + broken, `unknown directive "no_such_directive"`},
		{"a port that is taken", "systemd-run --quiet --unit=taken socat TCP-LISTEN:8444,reuseaddr,fork /dev/null", "systemctl stop taken.service",
			"rolled back, and what was there before works again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer w.write(t, string(good))
			w.ssh(t, "emei", c.before)
			w.edit(t, "kubernetes.default.svc:8443", "kubernetes.default.svc:8444")
			w.edit(t, "port  = 8443", "port  = 8444")
			before, remembered := processes(t, w), states(t, w)
			client := w.poll(t, "through the balancer", addresses["emei"]+":8443", "/livez")
			r := w.run(t, "apply", "-yes", w.inventory)
			seen := client()
			t.Logf("nginx: refused in %s; %s", r.elapsed.Round(100*time.Millisecond), seen)
			if shown := strings.Join(strings.Fields(r.stderr+r.stdout), " "); r.code != 1 || !strings.Contains(shown, c.says) {
				t.Errorf("exit code 1 and %q expected: %s", c.says, r)
			}
			if len(seen.lost) > 0 {
				t.Errorf("lost: %v", seen.lost)
			}
			w.ssh(t, "emei", c.after)
			w.write(t, string(good))
			// nginx' workers are new, as after each reload; its master is not.
			for _, one := range restarted(before, processes(t, w)) {
				if one != "emei nginx" {
					t.Errorf("started anew: %s", one)
				}
			}
			if diff := cmp.Diff(remembered, states(t, w)); diff != "" {
				t.Errorf("what the hosts remember (-before +after):\n%s", diff)
			}
			soundCluster(t, w)
		})
	}
}

// poller asks a URL ten times a second as nobody in particular, each time over a
// connection of its own, without trying again.
type poller struct {
	name    string
	asked   int
	lost    []string
	away    time.Duration // the longest time between two answers around a lost one
	absence []span
}

// span is when something did not answer.
type span struct{ from, until time.Time }

// poll asks until the returned function is called, which waits for the last answer.
func (w *world) poll(t *testing.T, name, address, path string) func() *poller {
	t.Helper()
	return w.pollURL(t, name, "https://"+address+path)
}

// pollURL is poll for any URL.
func (w *world) pollURL(t *testing.T, name, url string) func() *poller {
	t.Helper()
	p := &poller{name: name}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return w.lab.DialContext(ctx, network, address)
		},
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	ask := func() error {
		response, err := client.Get(url)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		switch {
		case err != nil:
			return err
		case response.StatusCode != http.StatusOK:
			return fmt.Errorf("%s: %s", response.Status, body)
		}
		return nil
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var group sync.WaitGroup
	answered := time.Now() // the last that was
	lost := false          // since then
	go func() {
		defer close(stopped)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				group.Wait()
				return
			case <-tick.C:
			}
			group.Add(1)
			go func() {
				defer group.Done()
				begin := time.Now()
				err := ask()
				mu.Lock()
				defer mu.Unlock()
				p.asked++
				switch {
				case err != nil:
					p.lost = append(p.lost, fmt.Sprintf("%s: %v", begin.Format("15:04:05.000"), err))
					lost = lost || begin.After(answered)
				case begin.After(answered):
					if lost {
						p.absence = append(p.absence, span{answered, begin})
						p.away = max(p.away, begin.Sub(answered))
					}
					answered, lost = begin, false
				}
			}()
		}
	}()
	return func() *poller {
		close(stop)
		<-stopped
		return p
	}
}

func (p *poller) String() string {
	return fmt.Sprintf("%s: %d of %d requests lost, away for %.1f s", p.name, len(p.lost), p.asked, p.away.Seconds())
}

// starts are when a program was started on the machines, by its process.
func starts(t *testing.T, w *world, machines []string, program string) map[string]time.Time {
	t.Helper()
	all := map[string]time.Time{}
	for _, host := range machines {
		said := w.ssh(t, host, "pid=$(pidof -s "+program+`); echo $(($(date +%s%N) / 1000000)) $(cut -d' ' -f1 /proc/uptime) $(cut -d' ' -f22 /proc/$pid/stat)`)
		var now, ticks int64
		var up float64
		if _, err := fmt.Sscan(said, &now, &up, &ticks); err != nil {
			t.Fatalf("%s: %q: %v", host, said, err)
		}
		all[host] = time.UnixMilli(now).Add(-time.Duration((up - float64(ticks)/100) * float64(time.Second)))
	}
	return all
}

// inTurns expects that programs were started one after the other, each after
// the one before had run long enough to be trusted, and says when.
func inTurns(t *testing.T, program string, began map[string]time.Time, since time.Time) string {
	t.Helper()
	var order []string
	for host := range began {
		order = append(order, host)
	}
	slices.SortFunc(order, func(a, b string) int { return began[a].Compare(began[b]) })
	var said []string
	for i, host := range order {
		said = append(said, fmt.Sprintf("%s %.1f s", host, began[host].Sub(since).Seconds()))
		if began[host].Before(since.Add(-time.Second)) {
			t.Errorf("%s on %s was not started anew", program, host)
		}
		if i > 0 && began[host].Sub(began[order[i-1]]) < 3*time.Second {
			t.Errorf("%s on %s was started %s after that on %s", program, host, began[host].Sub(began[order[i-1]]), order[i-1])
		}
	}
	return program + " started at: " + strings.Join(said, ", ")
}

func goodKubelets(t *testing.T, w *world) {
	w.edit(t, "\nkubelet {", "\nkubelet {\n  args = { v = \"1\" }")
	client := w.poll(t, "through the balancer", addresses["emei"]+":8443", "/livez")
	begin := time.Now()
	r := w.apply(t)
	seen := client()
	t.Log(inTurns(t, "kubelet", starts(t, w, masters, "kubelet"), begin))
	first := starts(t, w, nodes, "kubelet")
	for _, host := range nodes {
		if args := w.ssh(t, host, "tr '\\0' ' ' </proc/$(pidof kubelet)/cmdline"); !strings.Contains(args, "--v=1") {
			t.Errorf("%s: %s", host, args)
		}
	}
	// The canary, then one after the other of the masters and beside them of the workers.
	var order []time.Time
	for _, at := range first {
		order = append(order, at)
	}
	slices.SortFunc(order, time.Time.Compare)
	if gap := order[1].Sub(order[0]); gap < 3*time.Second {
		t.Errorf("a second kubelet was started %s after the first", gap)
	}
	t.Logf("kubelets: apply took %s; %s", r.elapsed.Round(100*time.Millisecond), seen)
	if len(seen.lost) > 0 {
		t.Errorf("lost: %v", seen.lost)
	}
	soundCluster(t, w)
}

func goodAPIServers(t *testing.T, w *world) {
	w.edit(t, "dns {", "api_server {\n  args = { v = \"1\" }\n}\n\ndns {")
	client := w.poll(t, "through the balancer", addresses["emei"]+":8443", "/livez")
	var servers []func() *poller
	for _, host := range masters {
		servers = append(servers, w.poll(t, host, addresses[host]+":6443", "/livez")) // one that is about to end is not ready, and serves
	}
	begin := time.Now()
	r := w.apply(t)
	seen := client()
	t.Log(inTurns(t, "kube-apiserver", starts(t, w, masters, "kube-apiserver"), begin))
	var away []span
	for _, stop := range servers {
		p := stop()
		t.Log(p)
		if p.away == 0 || p.away > 15*time.Second {
			t.Errorf("%s was away for %s", p.name, p.away)
		}
		away = append(away, p.absence...)
	}
	slices.SortFunc(away, func(a, b span) int { return a.from.Compare(b.from) })
	for i := 1; i < len(away); i++ {
		if away[i].from.Before(away[i-1].until) {
			t.Errorf("two were away at a time, from %s", away[i].from.Format("15:04:05.000"))
		}
	}
	for _, host := range masters {
		if args := w.ssh(t, host, "tr '\\0' ' ' </proc/$(pidof kube-apiserver)/cmdline"); !strings.Contains(args, "--v=1") {
			t.Errorf("%s: %s", host, args)
		}
	}
	t.Logf("API servers: apply took %s; %s", r.elapsed.Round(100*time.Millisecond), seen)
	if len(seen.lost) > 0 {
		t.Errorf("lost: %v", seen.lost)
	}
	soundCluster(t, w)
}

// killedChange kills kinstall when it has written a member's new version and
// has not seen it work. The next run does, or takes it back.
func killedChange(t *testing.T, w *world) {
	good, err := os.ReadFile(w.inventory)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a good change", func(t *testing.T) {
		remembered := states(t, w)
		w.edit(t, "\nkubelet {", "\nkubelet {\n  args = { v = \"3\" }")
		b := w.begin(t, "apply", "-yes", w.inventory)
		on := holds(t, w, b, time.Minute, nodes, "grep -q -e --v=3 /etc/systemd/system/kubelet.service")
		b.kill(t)
		if diff := cmp.Diff(remembered[on], states(t, w)[on]); diff != "" {
			t.Errorf("%s remembers what was not seen:\n%s", on, diff)
		}
		r := w.apply(t, "-lock-timeout", "2m")
		t.Logf("killed with --v=3 on %s; the next apply took %s", on, r.elapsed.Round(100*time.Millisecond))
		for _, host := range nodes {
			if args := w.ssh(t, host, "tr '\\0' ' ' </proc/$(pidof kubelet)/cmdline"); !strings.Contains(args, "--v=3") {
				t.Errorf("%s: %s", host, args)
			}
		}
		soundCluster(t, w)
	})
	w.write(t, string(good))
	w.apply(t)
	for _, c := range brokenChanges()[:3] {
		t.Run("a bad change of "+c.name, func(t *testing.T) {
			defer w.write(t, string(good))
			w.edit(t, c.old, c.new)
			before, remembered := processes(t, w), states(t, w)
			written := map[string]string{
				"kubelet":        "grep -q no-such-flag /etc/systemd/system/kubelet.service",
				"etcd":           "grep -q never /etc/etcd/etcd.env",
				"kube-apiserver": "grep -q no-such-flag /etc/kubernetes/manifests/kube-apiserver.yaml",
			}[c.name]
			b := w.begin(t, "apply", "-yes", w.inventory)
			on := holds(t, w, b, time.Minute, nodes, written)
			b.kill(t)
			r := w.run(t, "apply", "-yes", "-lock-timeout", "2m", w.inventory)
			w.write(t, string(good))
			t.Logf("killed with the bad %s on %s", c.name, on)
			refusal(t, w, r, before, remembered, c.name, c.says, c.hint)
		})
	}
}

// pulledCable takes a member's host off the network while it is watched.
func pulledCable(t *testing.T, w *world) {
	w.edit(t, "\nkubelet {", "\nkubelet {\n  args = { v = \"4\" }")
	before := processes(t, w)
	b := w.begin(t, "apply", "-yes", w.inventory)
	holds(t, w, b, 2*time.Minute, []string{"wudang"}, "grep -q -e --v=4 /etc/systemd/system/kubelet.service")
	if err := w.lab.Cut(t.Context(), "wudang"); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	<-time.After(10 * time.Second)
	if err := w.lab.Heal(t.Context(), "wudang"); err != nil {
		t.Fatal(err)
	}
	unplugged := time.Since(cut)
	r := b.wait(t)
	t.Logf("apply took %s, with wudang unplugged for %s", r.elapsed.Round(100*time.Millisecond), unplugged.Round(100*time.Millisecond))
	if r.code != 0 {
		t.Fatalf("the change does not stand: %s", r)
	}
	for _, host := range nodes {
		if args := w.ssh(t, host, "tr '\\0' ' ' </proc/$(pidof kubelet)/cmdline"); !strings.Contains(args, "--v=4") {
			t.Errorf("%s: %s", host, args)
		}
	}
	for _, one := range restarted(before, processes(t, w)) {
		if !strings.HasSuffix(one, " kubelet") {
			t.Logf("started anew meanwhile: %s", one)
		}
	}
	soundCluster(t, w)
}

// twoApplies has two people change hosts of their own at the same time.
func twoApplies(t *testing.T, w *world) {
	w.edit(t, "\nkubelet {", "\nkubelet {\n  args = { v = \"5\" }")
	first := w.begin(t, "apply", "-yes", "-limit", "shaolin", w.inventory)
	holds(t, w, first, time.Minute, []string{"shaolin"}, "grep -q . /run/kinstall.lock && ! flock -n /run/kinstall.lock true")
	second := w.run(t, "apply", "-yes", "-limit", "huashan", w.inventory)
	holder := "pid " + strconv.Itoa(first.Process.Pid)
	fails(t, second, 1, "shaolin: lock /run/kinstall.lock is held by", holder)
	third := w.begin(t, "apply", "-yes", "-limit", "huashan", "-lock-timeout", "2m", w.inventory)
	one := first.wait(t)
	ended := time.Now()
	three := third.wait(t)
	if one.code != 0 || three.code != 0 {
		t.Fatalf("%s\n%s", one, three)
	}
	if !strings.Contains(three.stderr+three.stdout, "Waiting up to 2m0s") || !strings.Contains(three.stderr+three.stdout, holder) {
		t.Errorf("it is not said what is waited for: %s", three)
	}
	began := starts(t, w, []string{"shaolin", "huashan"}, "kubelet")
	if !began["huashan"].After(began["shaolin"].Add(3 * time.Second)) {
		t.Errorf("kubelets were started at %v", began)
	}
	t.Logf("the second is refused after %s; with -lock-timeout it begins when the first has ended, after %s, and ends %s later",
		second.elapsed.Round(10*time.Millisecond), one.elapsed.Round(100*time.Millisecond), time.Since(ended).Round(100*time.Millisecond))
}

// servedSerial is the serial number of the certificate served at an address.
func (w *world) servedSerial(t *testing.T, address string) string {
	t.Helper()
	raw, err := w.lab.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var serial string
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		serial = s.PeerCertificates[0].SerialNumber.String()
		return nil
	}})
	defer conn.Close()
	if err := conn.HandshakeContext(t.Context()); err != nil && serial == "" {
		t.Fatalf("%s: %v", address, err)
	}
	return serial
}

func served(t *testing.T, w *world) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, host := range nodes {
		ports := []string{"10250"}
		if slices.Contains(masters, host) {
			ports = append(ports, "2379", "2380", "6443")
		}
		for _, port := range ports {
			all[host+":"+port] = w.servedSerial(t, addresses[host]+":"+port)
		}
	}
	return all
}

// renewal makes all leaves due at once.
func renewal(t *testing.T, w *world) {
	w.edit(t, "endpoint = ", "cert_validity     = \"17520h\"\n  cert_renew_before = \"9000h\"\n  endpoint = ")
	before := served(t, w)
	client := w.poll(t, "through the balancer", addresses["emei"]+":8443", "/livez")
	begin := time.Now()
	r := w.apply(t)
	seen := client()
	now := served(t, w)
	for _, address := range sortedKeys(before) {
		if before[address] == now[address] {
			t.Errorf("%s still serves the certificate it did", address)
		}
	}
	t.Log(inTurns(t, "etcd", starts(t, w, masters, "etcd"), begin))
	t.Log(inTurns(t, "kubelet", starts(t, w, masters, "kubelet"), begin))
	t.Logf("renewing %d certificates took %s; %s", strings.Count(r.stdout, "± cert "), r.elapsed.Round(100*time.Millisecond), seen)
	if len(seen.lost) > 0 {
		t.Errorf("lost: %v", seen.lost)
	}
	soundCluster(t, w)
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// brokenByHand does to programs what people do, and has that seen and mended.
func brokenByHand(t *testing.T, w *world) {
	w.ssh(t, "huashan", "systemctl stop kubelet.service")
	w.ssh(t, "wudang", "echo 'ETCD_HEARTBEAT_INTERVAL=never' >> /etc/etcd/etcd.env; systemctl restart --no-block etcd.service")
	w.ssh(t, "emei", "sed -i 's/^clusterDNS:/noSuchField: true\\nclusterDNS:/; s/^kind: .*/kind: NoSuchKind/' /var/lib/kubelet/config.yaml; systemctl restart kubelet.service")
	w.ssh(t, "shaolin", "echo '# by hand' >> /var/lib/kube-proxy/config.yaml; systemctl restart kube-proxy.service")
	var r result
	eventually(t, 30*time.Second, "all is in the plan", func() string {
		r = w.run(t, "plan", "-detailed-exitcode", w.inventory)
		words := slices.DeleteFunc(strings.Fields(r.stdout), func(word string) bool { return word == "|" }) // before lines of logs
		shown := strings.Join(words, " ")
		for _, want := range []string{`invalid value \"never\" for ETCD_HEARTBEAT_INTERVAL`, "NoSuchKind"} {
			if !strings.Contains(shown, want) {
				return want + " is not said: " + r.String()
			}
		}
		return ""
	})
	if r.code != 2 {
		t.Errorf("a plan with changes: %s", r)
	}
	all := changed(r.stdout)
	for _, want := range []string{
		"huashan + unit kubelet.service",
		"wudang + unit etcd.service", "wudang ~ file /etc/etcd/etcd.env",
		"emei + unit kubelet.service", "emei ~ file /var/lib/kubelet/config.yaml",
		"shaolin ↻ unit kube-proxy.service", "shaolin ~ file /var/lib/kube-proxy/config.yaml",
	} {
		if !slices.Contains(all, want) {
			t.Errorf("the plan lacks %q: %s", want, r.stdout)
		}
	}
	if !strings.Contains(r.stdout, "drift: ") {
		t.Errorf("drift is not told apart from intent: %s", r.stdout)
	}
	r = w.apply(t)
	t.Logf("mended in %s", r.elapsed.Round(100*time.Millisecond))
	soundCluster(t, w)
}

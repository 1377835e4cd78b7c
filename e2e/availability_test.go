package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// localBalancer is where nodes dial the API with the load balancer local.
const localBalancer = "127.0.0.1:7443"

// pulse is the program that asks servers ten times a second, each time over a new
// connection, built once for a test.
type pulse struct {
	w      *world
	binary string
}

func newPulse(t *testing.T, w *world) pulse {
	t.Helper()
	p := pulse{w, filepath.Join(t.TempDir(), "pulse")}
	build := exec.Command("go", "build", "-o", p.binary, "./images/pulse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return p
}

// place brings the program to a machine.
func (p pulse) place(t *testing.T, machine string) {
	t.Helper()
	binary, err := os.Open(p.binary)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	ssh := p.w.lab.SSH(t.Context(), machine, "cat >/run/pulse && chmod 755 /run/pulse")
	ssh.Stdin = binary
	if out, err := ssh.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", machine, err, out)
	}
}

// asked is what became of the requests at one server.
type asked struct {
	what          string
	count, failed int
	away          float64 // the longest time without an answer, in seconds
	lost          []lostRequest
}

// lostRequest is one without an answer.
type lostRequest struct {
	begun time.Time
	cause string
}

func (a asked) String() string {
	return fmt.Sprintf("%s: %d of %d requests lost, at 10 a second; the longest time without an answer %.1f s", a.what, a.failed, a.count, a.away)
}

// from asks at an address, from a machine or, with "", from the operator's, until
// the returned function is called.
func (p pulse) from(t *testing.T, what, machine, name, address string) func() asked {
	t.Helper()
	var client *exec.Cmd
	if machine == "" {
		client = p.w.lab.Exec(t.Context(), p.binary, filepath.Join(p.w.dir, "pki", "kubernetes-ca.crt"), name, address)
	} else {
		client = p.w.lab.SSH(t.Context(), machine, fmt.Sprintf("/run/pulse /etc/kubernetes/pki/ca.crt %s %s", name, address))
	}
	var stdout, stderr bytes.Buffer
	client.Stdout, client.Stderr = &stdout, &stderr
	until, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	return func() asked {
		t.Helper()
		if err := until.Close(); err != nil {
			t.Error(err)
		}
		if err := client.Wait(); err != nil {
			t.Fatalf("pulse: %v\n%s", err, stderr.String())
		}
		a := asked{what: what}
		a.count, a.failed, a.away = readPulse(t, strings.TrimSpace(stdout.String()))
		t.Log(a)
		for line := range strings.Lines(stderr.String()) {
			at, cause, _ := strings.Cut(strings.TrimSpace(line), " ")
			if begun, err := strconv.ParseInt(at, 10, 64); err == nil {
				a.lost = append(a.lost, lostRequest{time.Unix(0, begun), cause})
			}
		}
		return a
	}
}

// lossless fails the test for requests that were lost.
func (a asked) lossless(t *testing.T) {
	t.Helper()
	for _, l := range a.lost {
		t.Errorf("%s: begun at %s: %s", a.what, l.begun.Format("15:04:05.000"), l.cause)
	}
	if a.failed != len(a.lost) {
		t.Errorf("%s: %d requests lost, %d told of", a.what, a.failed, len(a.lost))
	}
}

// losesNoneAfter is lossless for requests that were begun after a machine had lost
// its power. What it was asked before, and had not answered, is lost with it: no
// balancer knows what was said in a connection, to say it again to another server.
func (a asked) losesNoneAfter(t *testing.T, cut time.Time) {
	t.Helper()
	inFlight := 0
	for _, l := range a.lost {
		if l.begun.After(cut) {
			t.Errorf("%s: begun %.3f s after the power was gone: %s", a.what, l.begun.Sub(cut).Seconds(), l.cause)
		} else {
			inFlight++
			t.Logf("%s: in flight, begun %.3f s before: %s", a.what, cut.Sub(l.begun).Seconds(), l.cause)
		}
	}
	if inFlight > 3 { // one server's share of what is asked in a second
		t.Errorf("%s: %d requests were in flight", a.what, inFlight)
	}
}

func availability(t *testing.T) {
	t.Helper()
	if os.Getenv("KINSTALL_AVAILABILITY") == "" {
		t.Skip("part of make test-availability")
	}
}

// refused counts what the programs of a node were told in vain since a time.
func (w *world) refused(t *testing.T, node, since string) int {
	t.Helper()
	n, err := strconv.Atoi(w.ssh(t, node, fmt.Sprintf(
		"journalctl --no-pager -o cat --since %q -u kubelet -u kube-proxy | grep -c -e 'connection refused' -e 'no route to host' -e 'i/o timeout' -e 'connection reset' || true", since)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *world) now(t *testing.T, machine string) string {
	t.Helper()
	return w.ssh(t, machine, "date '+%Y-%m-%d %H:%M:%S'")
}

// back says what is missing until a master serves again, and is a node that is Ready.
func (w *world) back(t *testing.T, host string, since time.Time) string {
	t.Helper()
	server := "https://" + net.JoinHostPort(addresses[host], "6443")
	if r := w.kubectl(t, "--server", server, "get", "--raw", "/readyz"); r.stdout != "ok" {
		return r.String()
	}
	r := w.kubectl(t, "--server", server, "get", "node", host, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}`)
	if seen, ok := strings.CutPrefix(r.stdout, "True "); !ok || !after(seen, since) {
		return r.String()
	}
	return ""
}

// planned holds a plan to have nothing to change.
func (w *world) planned(t *testing.T) {
	t.Helper()
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("a plan afterwards: %s", r)
	}
}

// TestAvailabilityKinds has a living cluster go from nginx to HAProxy at the same
// port of the same host, and on to a balancer on each node. Nobody notices.
func TestAvailabilityKinds(t *testing.T) {
	availability(t)
	w := newWorld(t, "availability-kinds", kubernetes("cluster")...)
	w.apply(t)
	p := newPulse(t, w)
	people := net.JoinHostPort(addresses["emei"], "8443")
	tell(t, []chapter{
		{"from nginx to HAProxy", func(t *testing.T) {
			w.edit(t, `load_balancer "nginx"`, `load_balancer "haproxy"`)
			done := p.from(t, "through the balancer", "", "kubernetes.default.svc", people)
			r := w.apply(t)
			t.Logf("%d changes in %s", len(changed(r.stdout)), r.elapsed.Round(100*time.Millisecond))
			done().lossless(t)
			w.planned(t)
			if active := w.ssh(t, "emei", "systemctl is-active nginx haproxy || true"); active != "inactive\nactive" {
				t.Errorf("nginx and haproxy are %q", active)
			}
		}},
		{"a flag of all API servers", func(t *testing.T) {
			w.edit(t, "dns {", "api_server {\n  args = { v = \"1\" }\n}\n\ndns {")
			done := p.from(t, "through HAProxy", "", "kubernetes.default.svc", people)
			var servers []func() asked
			for _, host := range masters {
				servers = append(servers, p.from(t, "the API server on "+host, "", "kubernetes.default.svc", net.JoinHostPort(addresses[host], "6443")))
			}
			r := w.apply(t)
			t.Logf("%d changes in %s", len(changed(r.stdout)), r.elapsed.Round(100*time.Millisecond))
			done().lossless(t)
			for _, server := range servers {
				if a := server(); a.away > 15 {
					t.Errorf("%s", a)
				}
			}
		}},
		{"to a balancer on each node", func(t *testing.T) {
			w.edit(t, "load_balancer \"haproxy\" {\n  hosts = [\"emei\"]\n  port  = 8443\n}", "")
			w.edit(t, `"kubernetes.default.svc:8443"`, `"shaolin:6443"`)
			since := w.now(t, "huashan")
			done := p.from(t, "people, at a master", "", "kubernetes.default.svc", net.JoinHostPort(addresses["shaolin"], "6443"))
			r := w.apply(t)
			t.Logf("%d changes in %s", len(changed(r.stdout)), r.elapsed.Round(100*time.Millisecond))
			done().lossless(t)
			if n := w.refused(t, "huashan", since); n > 0 {
				t.Errorf("programs of huashan were refused %d times", n)
			}
			w.planned(t)
			if active := w.ssh(t, "emei", "systemctl is-active haproxy || true"); active != "inactive" {
				t.Errorf("haproxy on emei is %s", active)
			}
			for _, file := range []string{"/etc/kubernetes/kubelet.conf", "/var/lib/kube-proxy/kubeconfig.conf"} {
				if w.ssh(t, "huashan", "grep -c https://"+localBalancer+" "+file) != "1" {
					t.Errorf("%s on huashan dials something else", file)
				}
			}
		}},
	})
}

// TestAvailabilityLocal takes the power of one master after the other, and changes
// all API servers, while a node asks through its own balancer.
func TestAvailabilityLocal(t *testing.T) {
	availability(t)
	w := newWorld(t, "availability-local", kubernetes("cluster")...)
	w.edit(t, "load_balancer \"nginx\" {\n  hosts = [\"emei\"]\n  port  = 8443\n}", "")
	w.edit(t, `"kubernetes.default.svc:8443"`, `"shaolin:6443"`)
	r := w.apply(t)
	t.Logf("from nothing: %s", r.elapsed.Round(100*time.Millisecond))
	w.planned(t)
	for host, want := range map[string]string{"huashan": "inactive\nactive", "emei": "inactive\nactive"} {
		if active := w.ssh(t, host, "systemctl is-active haproxy kinstall-balancer || true"); active != want {
			t.Errorf("%s: haproxy and kinstall-balancer are %q", host, active)
		}
	}
	p := newPulse(t, w)
	p.place(t, "huashan")
	node := func(t *testing.T) func() asked {
		return p.from(t, "a node", "huashan", "127.0.0.1", localBalancer)
	}
	story := []chapter{{"a flag of all API servers", func(t *testing.T) {
		w.edit(t, "dns {", "api_server {\n  args = { v = \"1\" }\n}\n\ndns {")
		done := node(t)
		r := w.apply(t)
		t.Logf("%d changes in %s", len(changed(r.stdout)), r.elapsed.Round(100*time.Millisecond))
		done().lossless(t)
	}}}
	for _, host := range masters {
		story = append(story, chapter{"power of " + host, func(t *testing.T) {
			begin := time.Now()
			done := node(t)
			if err := w.lab.Stop(t.Context(), host); err != nil {
				t.Fatal(err)
			}
			cut := time.Now()
			time.Sleep(20 * time.Second) // so long it is off
			if err := w.lab.Start(t.Context(), host); err != nil {
				t.Fatal(err)
			}
			eventually(t, 3*time.Minute, host+" heals by itself", func() string { return w.back(t, host, begin) })
			done().losesNoneAfter(t, cut)
			if ready := w.mustKubectl(t, "--server", "https://"+addresses[host]+":6443", "get", "node", "huashan", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`); ready != "True" {
				t.Errorf("huashan's Ready is %s", ready)
			}
		}})
	}
	tell(t, story)
}

package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	sharedAddress = "10.88.0.40"
	// awayAtMost is how long the API may be away when the host loses its power that
	// has the virtual address.
	awayAtMost = 3 * time.Second
)

// sharers are the hosts of the load balancer in testdata/vip.hcl.
var sharers = []string{"wudang", "emei"}

// TestAvailabilityVirtualAddress tells of two hosts that share an address, of
// which each loses its power in turn.
func TestAvailabilityVirtualAddress(t *testing.T) {
	if os.Getenv("KINSTALL_AVAILABILITY") == "" {
		t.Skip("part of make test-availability")
	}
	w := newWorld(t, "e2e-vip", kubernetes("vip")...)
	tell(t, []chapter{
		{"installed", func(t *testing.T) {
			t.Logf("installed: %.1f s", w.apply(t).elapsed.Seconds())
			w.holds(t, "wudang")
			if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
				t.Errorf("a second plan finds something to do: %s", r)
			}
			for _, host := range append([]string{"shaolin"}, sharers...) {
				if said := w.ssh(t, host, "getent ahosts kubernetes.default.svc"); !strings.HasPrefix(said, sharedAddress) {
					t.Errorf("%s finds the endpoint at %s", host, said)
				}
			}
			if r := w.kubectl(t, "--server", "https://"+sharedAddress+":8443", "get", "nodes"); r.code != 0 {
				t.Errorf("through the address itself: %s", r)
			}
			if said := w.ssh(t, "emei", "stat -c '%a %U' /etc/keepalived/kinstall-password.conf"); said != "600 root" {
				t.Errorf("the password's file: %s", said)
			}
		}},
		{"a service of the user's own", func(t *testing.T) {
			w.ssh(t, "shaolin", "systemd-run --quiet --unit greeting socat TCP-LISTEN:8081,fork,reuseaddr SYSTEM:'echo hello'")
			eventually(t, 20*time.Second, "the listener leads to it", func() string {
				connection, err := w.lab.DialContext(t.Context(), "tcp", sharedAddress+":8080")
				if err != nil {
					return err.Error()
				}
				defer connection.Close()
				if err := connection.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
					return err.Error()
				}
				if said, err := io.ReadAll(connection); string(said) != "hello\n" {
					return fmt.Sprintf("%q, %v", said, err)
				}
				return ""
			})
		}},
		{"the host that has it loses its power", func(t *testing.T) { w.losesPower(t, "wudang", "emei") }},
		{"and the other", func(t *testing.T) { w.losesPower(t, "emei", "wudang") }},
		{"the load balancer's process dies", func(t *testing.T) {
			ended := w.poll(t, "nginx is killed", sharedAddress+":8443", "/readyz")
			w.ssh(t, "wudang", "systemctl kill -s KILL nginx.service; systemctl stop nginx.service")
			eventually(t, time.Minute, "the address moves", func() string { return w.holder(t, "emei") })
			time.Sleep(2 * time.Second)
			t.Log(ended())
			w.ssh(t, "wudang", "systemctl start nginx.service")
			w.stays(t, "emei")
		}},
		{"a change goes to the host that has it last", func(t *testing.T) {
			ended := w.poll(t, "another router ID", sharedAddress+":8443", "/readyz")
			w.edit(t, "  vip   = ", "  router_id = 41\n  vip   = ")
			r := w.apply(t)
			t.Log(ended())
			first, last := strings.Index(r.stdout, "wudang   ↻ unit keepalived.service"), strings.Index(r.stdout, "emei     ↻ unit keepalived.service")
			if said := r.stdout + r.stderr; first >= 0 && last >= 0 && last < first {
				t.Errorf("the order: %s", said)
			}
			w.stays(t, w.whoHolds(t))
		}},
		{"nginx refuses its configuration", w.refuses},
		{"somebody else has the address", func(t *testing.T) {
			w.ssh(t, "shaolin", "ip address add 10.88.0.41/32 dev eth0")
			w.edit(t, sharedAddress, "10.88.0.41")
			r := w.run(t, "apply", "-yes", w.inventory)
			said := strings.Join(strings.Fields(r.stdout+r.stderr), " ")
			if r.code == 0 || !strings.Contains(said, "has load_balancer.vip 10.88.0.41") {
				t.Errorf("%s", r)
			}
			w.edit(t, "10.88.0.41", "10.89.0.41")
			r = w.run(t, "apply", "-yes", w.inventory)
			if said := strings.Join(strings.Fields(r.stdout+r.stderr), " "); r.code == 0 || !strings.Contains(said, "which is of none of its networks") {
				t.Errorf("%s", r)
			}
			w.edit(t, "10.89.0.41", sharedAddress)
			w.ssh(t, "shaolin", "ip address del 10.88.0.41/32 dev eth0")
		}},
		{"nothing is left to do", func(t *testing.T) {
			w.apply(t)
			if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
				t.Errorf("%s", r)
			}
		}},
	})
}

// TestAvailabilityVirtualAddressComes tells of a living cluster with one load
// balancer, which gets a second one and an address that both share: nobody is sent
// there too early.
func TestAvailabilityVirtualAddressComes(t *testing.T) {
	if os.Getenv("KINSTALL_AVAILABILITY") == "" {
		t.Skip("part of make test-availability")
	}
	w := newWorld(t, "e2e-vip", kubernetes("vip")...)
	const shared, alone = "hosts = [\"wudang\", \"emei\"]\n  vip   = \"" + sharedAddress + "\"", "hosts = [\"wudang\"]"
	w.edit(t, shared, alone)
	w.edit(t, "host \"emei\" {", "host \"emei\" {\n  roles   = [\"worker\"]")
	w.apply(t)
	ready := func() string {
		return w.mustKubectl(t, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].lastTransitionTime} {end}`)
	}
	before := ready()
	w.edit(t, alone, shared)
	ended := w.poll(t, "the address comes", "10.88.0.12:8443", "/readyz")
	r := w.apply(t)
	p := ended()
	t.Logf("%s; %.1f s", p, r.elapsed.Seconds())
	if len(p.lost) > 0 {
		t.Errorf("lost: %v", p.lost)
	}
	if after := ready(); after != before {
		t.Errorf("nodes were not Ready for a while: since %s, then %s", before, after)
	}
	w.stays(t, w.whoHolds(t))
	if r := w.run(t, "plan", "-detailed-exitcode", w.inventory); r.code != 0 {
		t.Errorf("%s", r)
	}
}

// whoHolds are the hosts that have the shared address.
func (w *world) whoHolds(t *testing.T) string {
	t.Helper()
	var holders []string
	for _, host := range sharers {
		if w.ssh(t, host, "ip -o address show to "+sharedAddress) != "" {
			holders = append(holders, host)
		}
	}
	return strings.Join(holders, " ")
}

// holder is a condition of eventually: exactly that host has the address.
func (w *world) holder(t *testing.T, host string) string {
	t.Helper()
	if holders := w.whoHolds(t); holders != host {
		return fmt.Sprintf("%q have it", holders)
	}
	return ""
}

func (w *world) holds(t *testing.T, host string) {
	t.Helper()
	if wrong := w.holder(t, host); wrong != "" {
		t.Fatalf("%s, not %s", wrong, host)
	}
}

// stays expects that a host goes on having the address, and that no request is lost.
func (w *world) stays(t *testing.T, host string) {
	t.Helper()
	w.holds(t, host)
	ended := w.poll(t, "it stays on "+host, sharedAddress+":8443", "/readyz")
	time.Sleep(10 * time.Second)
	p := ended()
	w.holds(t, host)
	t.Log(p)
	if len(p.lost) > 0 {
		t.Errorf("lost: %v", p.lost)
	}
}

// losesPower cuts the power of the host that has the address, while others ask
// through it and watch, and lets it come back.
func (w *world) losesPower(t *testing.T, host, other string) {
	w.holds(t, host)
	ended, watched := w.poll(t, "without "+host, sharedAddress+":8443", "/readyz"), w.watchThrough(t, sharedAddress+":8443")
	time.Sleep(3 * time.Second)
	if err := w.lab.Stop(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	p := ended()
	t.Log(p)
	if p.away > awayAtMost {
		t.Errorf("the API was away for %.1f s", p.away.Seconds())
	}
	t.Logf("a watch had no event for %.1f s", watched().Seconds())
	if err := w.lab.Start(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "keepalived runs again", func() string {
		if state := w.ssh(t, host, "systemctl is-active keepalived.service || true"); state != "active" {
			return state
		}
		return ""
	})
	w.stays(t, other)
}

// watchResumes bounds how long a watch may say nothing: a client that waits for
// events sends its next packet after 30 s, and learns by it that the connection is
// gone.
const watchResumes = 50 * time.Second

// watchThrough watches an object at an address that is written five times a
// second on the master itself, and begins anew when the watch ends. The returned
// function waits until events come again, and returns the longest time without one.
func (w *world) watchThrough(t *testing.T, address string) func() time.Duration {
	t.Helper()
	w.mustKubectl(t, "get", "nodes") // for the kubeconfig
	client := func(server string) corev1.ConfigMapInterface {
		content, err := os.ReadFile(w.kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		config, err := clientcmd.RESTConfigFromKubeConfig(content)
		if err != nil {
			t.Fatal(err)
		}
		config.Host, config.Dial = "https://"+server, w.lab.DialContext
		c, err := corev1.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		return c.ConfigMaps("default")
	}
	ctx, cancel := context.WithCancel(t.Context())
	writer, watcher := client("10.88.0.11:6443"), client(address)
	var mu sync.Mutex
	last, longest := time.Now(), time.Duration(0)
	var all sync.WaitGroup
	all.Go(func() {
		object := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "beat"}}
		for n := 0; ctx.Err() == nil; n++ {
			object.Data = map[string]string{"n": fmt.Sprint(n)}
			if _, err := writer.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
				_, _ = writer.Create(ctx, object, metav1.CreateOptions{})
			}
			time.Sleep(200 * time.Millisecond)
		}
	})
	all.Go(func() {
		for ctx.Err() == nil {
			watch, err := watcher.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=beat"})
			if err != nil {
				time.Sleep(100 * time.Millisecond)
				continue
			}
			for range watch.ResultChan() {
				mu.Lock()
				longest, last = max(longest, time.Since(last)), time.Now()
				mu.Unlock()
			}
		}
	})
	return func() time.Duration {
		eventually(t, watchResumes, "the watch goes on", func() string {
			mu.Lock()
			defer mu.Unlock()
			if silent := time.Since(last); silent > time.Second {
				return fmt.Sprintf("no event for %.1f s", silent.Seconds())
			}
			return ""
		})
		cancel()
		all.Wait()
		return longest
	}
}

// refuses has nginx find a mistake in a file of somebody else's, so that no change
// of its configuration can be taken up.
func (w *world) refuses(t *testing.T) {
	const config = "/etc/nginx/stream.d/kinstall.conf"
	on := "emei"
	state := "sha256sum " + config + "; pidof nginx"
	w.ssh(t, on, "echo 'no_such_directive on;' >/etc/nginx/stream.d/zz-user.conf; echo '# by hand' >>"+config)
	before := w.ssh(t, on, state)
	ended := w.poll(t, "a configuration is refused", sharedAddress+":8443", "/readyz")
	r := w.run(t, "apply", "-yes", w.inventory)
	if p := ended(); len(p.lost) > 0 {
		t.Errorf("%s: %v", p, p.lost)
	}
	if said := r.stdout + r.stderr; r.code != 1 || !strings.Contains(said, "nginx -t -q") || !strings.Contains(said, "no_such_directive") || !strings.Contains(said, config+" is as it was") {
		t.Errorf("%s", r)
	}
	if after := w.ssh(t, on, state); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	w.ssh(t, on, "rm /etc/nginx/stream.d/zz-user.conf")
	w.apply(t)
	if now := w.ssh(t, on, "tail -n 1 "+config); now != "}" {
		t.Errorf("the file still ends with %q", now)
	}
}

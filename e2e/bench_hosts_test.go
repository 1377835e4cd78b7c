package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestBenchmarkWorker reports what one worker more costs a cluster of ten hosts:
// how long apply takes, how much it sends, on how many hosts it changes something,
// and how many requests a client loses meanwhile; with static routes, where every
// host learns of the new one, and beside what the ten took. It measures and
// judges nothing.
func TestBenchmarkWorker(t *testing.T) {
	if os.Getenv("KINSTALL_BENCH") == "" {
		t.Skip("a benchmark: make bench")
	}
	w := newWorld(t, "bench-worker", append(kubernetes("cluster"), "testdata/six-workers.hcl")...)
	sent := w.sent(t)
	ten := w.apply(t)
	tenSent := w.sent(t) - sent

	w.edit(t, "count   = 6\n", "count   = 7\n")
	if err := w.lab.Up(t.Context(), w.machines(t)); err != nil {
		t.Fatal(err)
	}
	client := w.poll(t, "through the balancer", addresses["emei"]+":8443", "/livez")
	sent = w.sent(t)
	one := w.apply(t)
	oneSent := w.sent(t) - sent
	seen := client()
	node := w.mustKubectl(t, "get", "node", "worker-6", "--no-headers")
	if !strings.Contains(node, " Ready ") {
		t.Errorf("the new node: %s", node)
	}
	t.Logf("ten hosts from bare machines: %.1f s, %d MB sent", ten.elapsed.Seconds(), tenSent/1e6)
	t.Logf("one worker more: %.1f s (%.2f of it), %d MB sent (%.2f of it)", one.elapsed.Seconds(), one.elapsed.Seconds()/ten.elapsed.Seconds(),
		oneSent/1e6, float64(oneSent)/float64(tenSent))
	for line := range strings.SplitSeq(one.stdout, "\n") {
		if strings.HasPrefix(line, "Plan: ") {
			t.Log(line)
		}
	}
	t.Log(seen)
}

// switchPort is by which the operator's side is plugged into the lab's switch.
const switchPort = "br0"

// sent is how many bytes the operator's side has sent to the machines so far.
func (w *world) sent(t *testing.T) int64 {
	t.Helper()
	var links []struct {
		Stats64 struct {
			TX struct{ Bytes int64 }
		}
	}
	r := w.exec(t, "ip", "-json", "-stats", "link", "show", "dev", switchPort)
	if err := json.Unmarshal([]byte(r.stdout), &links); err != nil || len(links) != 1 {
		t.Fatalf("%v: %s", err, r)
	}
	return links[0].Stats64.TX.Bytes
}

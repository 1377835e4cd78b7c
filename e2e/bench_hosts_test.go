package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// moreWorkers makes ten hosts of the end-to-end cluster's four.
const moreWorkers = `
host "worker" {
  count   = 6
  name    = "worker-${count.index}"
  address = cidrhost("10.88.0.0/24", 31 + count.index)
  roles   = ["worker"]
}
`

// TestBenchmarkWorker reports what one worker more costs a cluster of ten hosts:
// how long apply takes, how much it sends, on how many hosts it changes something,
// and how many requests a client loses meanwhile; with static routes, where every
// host learns of the new one, and beside what the ten took. It measures and
// judges nothing.
func TestBenchmarkWorker(t *testing.T) {
	if os.Getenv("KINSTALL_BENCH") == "" {
		t.Skip("a benchmark: make bench")
	}
	content, err := os.ReadFile("testdata/cluster.hcl")
	if err != nil {
		t.Fatal(err)
	}
	inventory := t.TempDir() + "/ten.hcl"
	if err := os.WriteFile(inventory, append(content, moreWorkers...), 0o644); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "bench-worker", inventory)
	sent := w.sent(t)
	ten := w.apply(t)
	tenSent := w.sent(t) - sent

	w.edit(t, "count   = 6\n", "count   = 7\n")
	if err := w.lab.Up(t.Context(), w.machines(t)); err != nil {
		t.Fatal(err)
	}
	client := w.poll(t, "through the balancer", addresses["emei"]+":8443", "/version")
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

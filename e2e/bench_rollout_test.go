package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What the same change took on a lab of the same machines when API servers were
// not told to end their watches: each was killed after its grace period.
const (
	rollingBefore = 128 * time.Second
	awayBefore    = 43 * time.Second
)

// TestBenchmarkRollout reports how long a change of a flag takes to go through
// the API servers of three masters, how long each of them is away meanwhile,
// and how many requests a client loses that comes through the load balancer. It
// measures and judges nothing.
func TestBenchmarkRollout(t *testing.T) {
	if os.Getenv("KINSTALL_BENCH") == "" {
		t.Skip("a benchmark: make bench")
	}
	pulse := filepath.Join(t.TempDir(), "pulse")
	build := exec.Command("go", "build", "-o", pulse, "./images/pulse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	w := newWorld(t, "bench-rollout", kubernetes("cluster")...)
	w.apply(t)

	addresses := map[string]string{}
	for _, m := range w.machines(t) {
		addresses[m.Name] = m.Address.String()
	}
	argv := []string{pulse, filepath.Join(w.dir, "pki", "kubernetes-ca.crt"), "kubernetes.default.svc", net.JoinHostPort(addresses["emei"], "8443")}
	for _, host := range masters {
		argv = append(argv, net.JoinHostPort(addresses[host], "6443"))
	}
	client := w.lab.Exec(t.Context(), argv...)
	client.Dir = w.dir
	var stdout, stderr bytes.Buffer
	client.Stdout, client.Stderr = &stdout, &stderr
	until, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	w.edit(t, "network \"routes\" {}\n", "network \"routes\" {}\n\napi_server {\n  args = { \"max-requests-inflight\" = \"401\" }\n}\n")
	changed := w.run(t, "apply", "-yes", w.inventory)
	if err := until.Close(); err != nil {
		t.Error(err)
	}
	if err := client.Wait(); err != nil {
		t.Fatalf("pulse: %v\n%s", err, stderr.String())
	}
	if changed.code != 0 {
		t.Fatal(changed)
	}

	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if len(lines) != 1+len(masters) {
		t.Fatalf("pulse printed %q", stdout.String())
	}
	t.Logf("a flag of three API servers: %.1f s (%.0f s before: %.2f of it)",
		changed.elapsed.Seconds(), rollingBefore.Seconds(), changed.elapsed.Seconds()/rollingBefore.Seconds())
	for i, line := range lines {
		asked, failed, away := readPulse(t, line)
		if i == 0 {
			t.Logf("through the load balancer: %d of %d requests lost, at 10 a second; the longest time without an answer %.1f s", failed, asked, away)
			continue
		}
		t.Logf("the API server on %s: away for %.1f s (%.0f s before)", masters[i-1], away, awayBefore.Seconds())
	}
}

// readPulse reads a line that pulse prints.
func readPulse(t *testing.T, line string) (asked, failed int, away float64) {
	t.Helper()
	var address string
	if n, err := fmt.Sscan(line, &address, &asked, &failed, &away); n != 4 || asked == 0 {
		t.Fatalf("pulse printed %q: %v", line, err)
	}
	return asked, failed, away
}

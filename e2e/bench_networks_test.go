package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// way is what was measured between two hosts, or two pods on them.
type way struct {
	megabytes   float64 // a second, by one TCP connection
	median, p99 float64 // microseconds of one byte there and back
}

// TestBenchmarkNetworks reports what each network carries between pods on two
// hosts, beside what the hosts themselves do: in turns, so that both have the
// same neighbours. It measures and judges nothing.
func TestBenchmarkNetworks(t *testing.T) {
	if os.Getenv("KINSTALL_BENCH") == "" {
		t.Skip("a benchmark: make bench")
	}
	stream := filepath.Join(t.TempDir(), "stream")
	build := exec.Command("go", "build", "-o", stream, "./images/stream")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var table strings.Builder
	columns := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(columns, "\tMB/s pods\thosts\tratio\tmedian µs pods\thosts\tratio\tp99 µs pods\thosts\tratio\t")
	chosen := os.Getenv("KINSTALL_NETWORKS")
	for _, network := range networkCases() {
		if chosen != "" && chosen != "all" && !slices.Contains(strings.Split(chosen, ","), network.name) {
			continue
		}
		t.Run(network.name, func(t *testing.T) {
			pods, hosts := measureNetwork(t, network, stream)
			fmt.Fprintf(columns, "%s\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.2f\t\n", network.name,
				pods.megabytes, hosts.megabytes, pods.megabytes/hosts.megabytes,
				pods.median, hosts.median, pods.median/hosts.median,
				pods.p99, hosts.p99, pods.p99/hosts.p99)
		})
	}
	if err := columns.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("between two hosts, medians of %d rounds:\n%s", streamRounds, table.String())
}

const (
	streamRounds = 5
	streamPort   = "7777"
)

const streamWorkload = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: stream}
spec:
  selector: {matchLabels: {app: stream}}
  template:
    metadata: {labels: {app: stream}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{operator: Exists}]
      containers:
      - name: toolbox
        image: kinstall.example/toolbox:1
        imagePullPolicy: IfNotPresent
        command: [stream, serve, ":7777"]
`

// measureNetwork builds a cluster of two hosts, and measures from the first.
func measureNetwork(t *testing.T, network networkCase, stream string) (pods, hosts way) {
	w := networkWorld(t, "e2e-bench", network.block)
	_, two := w.without(t, "lushan")
	w.write(t, two)
	w.apply(t)
	w.create(t, streamWorkload)
	k := kubeadm{w: w}
	for _, host := range []string{"hengshan", "yandang"} {
		k.send(t, host, stream, "/root/stream")
		w.ssh(t, host, "chmod 755 /root/stream")
	}
	w.ssh(t, "yandang", "systemd-run --quiet --unit=stream /root/stream serve 0.0.0.0:"+streamPort)

	var client, server pod
	eventually(t, 2*time.Minute, "a pod on each node", func() string {
		found := podsByNode(t, w, "stream")
		client, server = found["hengshan"], found["yandang"]
		if client.ip == "" || server.ip == "" {
			return fmt.Sprint(found)
		}
		if r := w.kubectl(t, "exec", client.name, "--", "stream", server.ip+":"+streamPort, "10ms"); r.code != 0 {
			return r.String()
		}
		return ""
	})
	betweenPods := func() string {
		return w.mustKubectl(t, "--request-timeout=60s", "exec", client.name, "--", "stream", server.ip+":"+streamPort, "1s")
	}
	betweenHosts := func() string {
		return w.ssh(t, "hengshan", "/root/stream "+networkHosts()["yandang"]+":"+streamPort+" 1s")
	}
	var ofPods, ofHosts []way
	for round := range streamRounds {
		if round%2 == 0 {
			ofPods = append(ofPods, readWay(t, betweenPods()))
			ofHosts = append(ofHosts, readWay(t, betweenHosts()))
		} else {
			ofHosts = append(ofHosts, readWay(t, betweenHosts()))
			ofPods = append(ofPods, readWay(t, betweenPods()))
		}
	}
	t.Logf("pods %v, hosts %v", ofPods, ofHosts)
	return medianWay(ofPods), medianWay(ofHosts)
}

// readWay reads what stream prints.
func readWay(t *testing.T, printed string) way {
	t.Helper()
	words := strings.Fields(printed)
	if len(words) != 3 {
		t.Fatalf("stream printed %q", printed)
	}
	var numbers [3]float64
	for i, word := range words {
		var err error
		if numbers[i], err = strconv.ParseFloat(word, 64); err != nil {
			t.Fatalf("stream printed %q", printed)
		}
	}
	return way{numbers[0], numbers[1], numbers[2]}
}

// medianWay is the median of each figure.
func medianWay(rounds []way) way {
	median := func(figure func(way) float64) float64 {
		var all []float64
		for _, r := range rounds {
			all = append(all, figure(r))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return way{
		median(func(w way) float64 { return w.megabytes }),
		median(func(w way) float64 { return w.median }),
		median(func(w way) float64 { return w.p99 }),
	}
}

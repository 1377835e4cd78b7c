package plan

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/probe"
)

// largeText is an inventory of three masters and many workers.
func largeText(workers int, network string) string {
	return fmt.Sprintf(`
cluster "large" {
  version      = "1.36.3"
  endpoint     = "kubernetes.default.svc:8443"
  pod_cidr     = "10.0.0.0/8"
  service_cidr = "192.168.0.0/16"
}
ssh {
  user     = "root"
  key_file = "~/.ssh/id_ed25519"
}
etcd {
  version = "3.6.8"
}
%s
load_balancer "nginx" {
  hosts = ["master-0"]
  port  = 8443
}
host "master" {
  count   = 3
  name    = "master-${count.index}"
  address = cidrhost("172.16.0.0/12", count.index + 10)
  roles   = ["etcd", "master"]
}
host "worker" {
  count   = %d
  name    = format("worker%%04d", count.index)
  address = cidrhost("172.16.0.0/12", count.index + 256)
  roles   = ["worker"]
}
`, network, workers)
}

// largeNetworks are the networks that large clusters are measured with.
var largeNetworks = []struct{ name, block string }{
	{"flannel-etcd", "network \"flannel\" {\n  store = \"etcd\"\n}"},
	{"flannel-kubernetes", "network \"flannel\" {\n  store = \"kubernetes\"\n}"},
	{"routes", "network \"routes\" {}"},
}

func large(t testing.TB, workers int, network string) *inventory.Inventory {
	t.Helper()
	text := strings.Replace(largeText(workers, network), ":8443", ":8443", 1)
	inv, _, diags := inventory.Load("/inventories/large.hcl", inventory.Options{HomeDir: "/home/user", ReadFile: func(p string) ([]byte, error) {
		if strings.HasSuffix(p, ".lock.hcl") {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return inv
}

// authority is one that has signed all certificates of a cluster.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	text        []byte
}

func (a authority) Certificate(string) []byte           { return a.text }
func (a authority) SHA256(string, resource.Part) string { return resource.SHA256(a.text) }
func (a authority) Chain(string) []byte                 { return nil }
func (a authority) Encrypted(string) bool               { return false }
func (a authority) Exists(string) bool                  { return true }

func newAuthority(t testing.TB) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: benchTime.Add(-time.Hour), NotAfter: benchTime.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

var benchTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// issue makes the certificate that is asked for.
func (a authority) issue(t testing.TB, c resource.Certificate) []byte {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: c.CommonName, Organization: c.Organization},
		NotBefore: benchTime.Add(-time.Hour), NotAfter: benchTime.Add(c.Validity),
		KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: c.DNSNames,
	}
	if c.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if c.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, address := range c.Addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// installed is what is observed of a cluster that is as the plan wants it, and
// of one that is bare: everything that the plan does not ask about is left out.
func installed(t testing.TB, p *Plan, a authority) Observed {
	var states fact.States // as they are read when hosts are asked
	observed := Observed{Hosts: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
	steps := map[string][]Step{}
	for _, s := range p.Steps {
		steps[s.Host] = append(steps[s.Host], s)
	}
	for _, h := range p.Inventory.Hosts {
		facts := fact.NewSet(fact.Host{
			Hostname: h.Name, OS: "debian", Architecture: "amd64", Time: benchTime,
			Addresses: []string{h.Address.String()}, DiskFree: map[string]int64{"/": 100 << 30},
			State: fact.State{Version: fact.StateVersion, Cluster: p.Inventory.Cluster.Name, Resources: map[string]fact.Record{}},
		})
		for _, s := range steps[h.Name] {
			settle(t, facts, s.Resource, a)
		}
		for _, q := range p.Queries(h.Name) {
			if q.Kind == fact.KindPath {
				facts.Put(q.Key(), fact.Path{Answers: true, Fits: true})
			}
		}
		var err error
		if facts.Host.State, err = states.Parse(facts.Host.State.Format()); err != nil {
			t.Fatal(err)
		}
		observed.Hosts[h.Name] = Observation{Facts: facts}
	}
	return observed
}

// settle puts into facts what is found where a resource is as desired.
func settle(t testing.TB, facts fact.Set, r resource.Resource, a authority) {
	t.Helper()
	put := func(kind fact.Kind, name string, value any) { facts.Put(fact.Key{Kind: kind, Name: name}, value) }
	file := func(path string, own resource.Ownership, sum string) fact.File {
		found := fact.File{Exists: true, Type: "file", Mode: own.Mode, Owner: "root", Group: "root", SHA256: sum}
		put(fact.KindFile, path, found)
		return found
	}
	switch r := r.(type) {
	case resource.File:
		file(r.Path, r.Own(), resource.SHA256(r.Content))
	case resource.Directory:
		own := r.Own()
		for _, path := range append([]string{r.Path}, r.Inner...) {
			put(fact.KindFile, path, fact.File{Exists: true, Type: "directory", Mode: own.Mode, Owner: own.Owner, Group: own.Group})
		}
	case resource.Block:
		put(fact.KindFile, r.Path, fact.File{Exists: true, Type: "file", Mode: 0o644, SHA256: r.SHA256, BlockAsWanted: true})
	case resource.Artifact:
		record := fact.Record{Digest: r.SHA256, Files: map[string]string{}}
		for _, m := range r.Members {
			record.Files[m.To] = file(m.To, m.Own(), r.SHA256).SHA256
		}
		facts.Host.State.Resources[string(r.ID())] = record
		return
	case resource.AuthorityFile:
		file(r.Path, r.Own(), r.SHA256)
	case resource.Certificate:
		content := a.issue(t, r)
		put(fact.KindFile, r.Path, fact.File{Exists: true, Type: "file", Mode: r.Own().Mode, Owner: "root", Group: "root", SHA256: resource.SHA256(content), Content: content, HasContent: true})
		file(r.KeyPath, r.KeyOwn(), "")
		facts.Host.State.Resources[string(r.ID())] = fact.Record{Files: map[string]string{r.Path: resource.SHA256(content)}}
	case resource.StaticPod:
		file(r.Path, r.Own(), "")
	case resource.Unit:
		put(fact.KindUnit, r.Name, fact.Unit{LoadState: "loaded", ActiveState: "active", UnitFileState: "enabled"})
		facts.Host.State.Resources[string(r.ID())] = fact.Record{Inputs: r.Recorded(r.Digests(facts))}
		return
	case resource.Package:
		put(fact.KindPackage, r.Name, fact.Package{Installed: true})
	case resource.Sysctl:
		put(fact.KindSysctl, r.Key, fact.Value{Exists: true, Value: r.Value})
	case resource.Module:
		put(fact.KindModule, r.Name, fact.Value{Exists: true})
	case resource.FirewallRule:
		put(fact.KindFirewall, r.ID().Name(), fact.Value{Exists: true})
	case resource.Route:
		put(fact.KindRoute, fact.RouteOfMetric(r.Destination, resource.RouteMetric), fact.Route{Exists: true, Via: r.Via, Device: r.Device})
	case resource.StaticRoutes:
		put(fact.KindRoutes, fact.RoutesOfMetric(resource.RouteMetric), fact.Routes{AsWanted: true})
	case resource.SwapOff:
		file("/etc/fstab", resource.Ownership{Mode: 0o644}, "")
	case resource.Image:
		put(fact.KindImage, r.Reference, fact.Image{Observable: true, Exists: true})
		facts.Host.State.Resources[string(r.ID())] = fact.Record{Digest: r.SHA256}
		return
	}
	change, err := r.Diff(facts)
	if err != nil {
		t.Fatalf("%s: %v", r.ID(), err)
	}
	if !change.Record.Empty() {
		facts.Host.State.Resources[string(r.ID())] = change.Record
	}
}

// sizes are numbers of workers: the time for each host must be much the same.
var sizes = []int{1000, 5000}

// onLarge runs a benchmark for each network and size, and reports what a host
// costs.
func onLarge(b *testing.B, run func(b *testing.B, inv *inventory.Inventory)) {
	for _, network := range largeNetworks {
		for _, workers := range sizes {
			b.Run(fmt.Sprintf("%s/%d", network.name, workers), func(b *testing.B) {
				inv := large(b, workers, network.block)
				b.ReportAllocs()
				run(b, inv)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(inv.Hosts)), "ns/host")
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, workers := range sizes {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				large(b, workers, "")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(workers+3), "ns/host")
		})
	}
}

func compileWith(b testing.TB, inv *inventory.Inventory, a Authorities) *Plan {
	p, diags := Compile(inv, ProposeLock(inv, inventory.Lock{}, digests(inv)), nil, a, operatorFiles(inv))
	if diags.HasErrors() {
		b.Fatal(diags)
	}
	return p
}

func BenchmarkCompile(b *testing.B) {
	onLarge(b, func(b *testing.B, inv *inventory.Inventory) {
		for b.Loop() {
			compileWith(b, inv, noAuthorities{})
		}
	})
}

// The questions put to each host, with and without the script they are put in.
func BenchmarkQueries(b *testing.B) {
	onLarge(b, func(b *testing.B, inv *inventory.Inventory) {
		p := compileWith(b, inv, noAuthorities{})
		b.ResetTimer()
		for b.Loop() {
			for _, h := range inv.Hosts {
				p.Queries(h.Name)
			}
		}
	})
}

func BenchmarkScripts(b *testing.B) {
	onLarge(b, func(b *testing.B, inv *inventory.Inventory) {
		p := compileWith(b, inv, noAuthorities{})
		b.ResetTimer()
		for b.Loop() {
			scripts(b, p, 0, 1)
		}
	})
}

// scripts makes those of every nth host, from one on.
func scripts(b testing.TB, p *Plan, from, nth int) (size int) {
	for i := from; i < len(p.Inventory.Hosts); i += nth {
		h := &p.Inventory.Hosts[i]
		text, err := probe.Script(p.Queries(h.Name), h.Address.String())
		if err != nil {
			b.Fatal(err)
		}
		size += len(text)
	}
	return size
}

func BenchmarkDiff(b *testing.B) {
	onLarge(b, func(b *testing.B, inv *inventory.Inventory) {
		a := newAuthority(b)
		p := compileWith(b, inv, a)
		observed := installed(b, p, a)
		b.ResetTimer()
		for b.Loop() {
			p.Diff(observed)
		}
	})
}

// All that is done between loading an inventory and showing the plan, but for
// talking to hosts: seconds of all processors beside those that pass; the largest
// heap meanwhile, what was observed included; and what stays of what was observed,
// of the plan and of the delta. Scripts are made for several hosts at a time, as
// when they are asked.
func BenchmarkPlan(b *testing.B) {
	onLarge(b, func(b *testing.B, inv *inventory.Inventory) {
		a := newAuthority(b)
		before := liveHeap()
		observed := installed(b, compileWith(b, inv, a), a)
		facts := liveHeap() - before
		b.ResetTimer()
		peak, began := 0.0, processorTime()
		for b.Loop() {
			peak = max(peak, heapOf(func() {
				p := compileWith(b, inv, a)
				workers := runtime.GOMAXPROCS(0)
				fault.Each(workers, func(worker int) { scripts(b, p, worker, workers) })
				delta := p.Diff(observed)
				runtime.KeepAlive(delta)
			}))
		}
		b.ReportMetric((processorTime()-began).Seconds()/float64(b.N), "cpu-s/op")
		b.ReportMetric(peak/1e6, "peak-MB")
		b.ReportMetric(facts/1e6, "facts-MB")
		before = liveHeap()
		p := compileWith(b, inv, a)
		after := liveHeap()
		b.ReportMetric((after-before)/1e6, "plan-MB")
		delta := p.Diff(observed)
		b.ReportMetric((liveHeap()-after)/1e6, "delta-MB")
		runtime.KeepAlive(p)
		runtime.KeepAlive(delta)
	})
}

// liveHeap is the size of what is in use, in bytes.
func liveHeap() float64 {
	runtime.GC()
	runtime.GC() // what the first one swept
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// processorTime is that of the whole process, of all processors together.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// heapOf runs a function and returns the largest size of the heap meanwhile, in
// bytes, garbage that was not collected yet included.
func heapOf(run func()) float64 {
	runtime.GC()
	var largest uint64
	done, over := make(chan struct{}), sync.WaitGroup{}
	over.Go(func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for tick := time.NewTicker(time.Millisecond); ; {
			metrics.Read(sample)
			largest = max(largest, sample[0].Value.Uint64())
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	})
	run()
	close(done)
	over.Wait()
	return float64(largest)
}

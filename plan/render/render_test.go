package render_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/render"
	"github.com/kinstall/kinstall/plan/resource"
)

var update = flag.Bool("update", false, "rewrite golden files")

// now is the observed hosts' clock.
var now = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

// scene builds a Delta the way kinstall does: a plan, what was observed, Diff.
type scene struct {
	plan     *plan.Plan
	observed plan.Observed
}

// newScene has four hosts that pass every preflight check.
func newScene() *scene {
	inv := &inventory.Inventory{Cluster: inventory.Cluster{Name: "wuxia", Version: "1.36.3",
		Endpoint: inventory.Endpoint{Host: "kubernetes.default.svc", Port: 8443}},
		Network: inventory.Network{Kind: inventory.NetworkRoutes}}
	s := &scene{plan: &plan.Plan{Inventory: inv}, observed: plan.Observed{Hosts: map[string]plan.Observation{}}}
	for _, h := range []struct{ name, address, subnet, bridge string }{
		{"shaolin", "10.27.53.32", "10.244.0.0/24", "10.244.0.1"},
		{"wudang", "10.24.138.208", "10.244.1.0/24", "10.244.1.1"},
		{"emei", "10.27.52.72", "10.244.2.0/24", "10.244.2.1"},
		{"huashan", "10.27.52.80", "10.244.3.0/24", "10.244.3.1"},
	} {
		inv.Hosts = append(inv.Hosts, inventory.Host{Name: h.name, Address: netip.MustParseAddr(h.address)})
		s.observed.Hosts[h.name] = plan.Observation{Facts: fact.NewSet(fact.Host{
			Hostname: h.name, Time: now, OS: "debian", OSName: "Debian GNU/Linux 12 (bookworm)", Architecture: "amd64",
			Addresses: []string{h.address}, State: fact.State{Cluster: "wuxia", Resources: map[string]fact.Record{}},
		})}
		s.plan.Addresses = append(s.plan.Addresses, plan.AddressRow{Host: h.name, Address: h.address, PodSubnet: h.subnet, Bridge: h.bridge, Routes: 3})
		s.want(h.name, resource.Module{Name: "overlay"}) // there on every host, so that every host has a step
		s.found(h.name, fact.KindModule, "overlay", fact.Value{Exists: true})
	}
	return s
}

func (s *scene) want(host string, r resource.Resource, after ...plan.StepID) {
	s.plan.Steps = append(s.plan.Steps, plan.Step{Host: host, Resource: r, After: after})
}

func (s *scene) found(host string, kind fact.Kind, name string, answer any) {
	s.observed.Hosts[host].Facts.Put(fact.Key{Kind: kind, Name: name}, answer)
}

func (s *scene) foundFile(host, path, content string, mode uint32) {
	s.found(host, fact.KindFile, path, fact.File{Exists: true, Type: "file", Mode: mode, Owner: "root", Group: "root",
		SHA256: resource.SHA256([]byte(content)), Content: []byte(content), HasContent: true})
}

func (s *scene) recorded(host string, id resource.ID, r fact.Record) {
	s.observed.Hosts[host].Facts.Host.State.Resources[string(id)] = r
}

// wrote records that kinstall wrote a file of mode 0644.
func (s *scene) wrote(host, path, content string) {
	s.recorded(host, resource.NewID("file", path), fact.Record{Digest: "0644 root:root", Files: map[string]string{path: resource.SHA256([]byte(content))}})
}

func (s *scene) delta() *plan.Delta { return s.plan.Diff(s.observed) }

func upstream(server string) string {
	return fmt.Sprintf("upstream apiserver {\n    server %s:6443 max_fails=3 fail_timeout=30s;\n}\n", server)
}

// authority is a new certificate authority; a plan shows neither keys nor
// signatures, so goldens do not depend on them.
func authority(t *testing.T) (certificate *x509.Certificate, key *ecdsa.PrivateKey, pemBytes []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes-ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(9, 0, 0), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// apiServerCertificate is wanted on emei; the one found lacks a SAN and ends soon.
func (s *scene) apiServerCertificate(t *testing.T, notAfter time.Time) {
	t.Helper()
	ca, caKey, caPEM := authority(t)
	spec := resource.Certificate{
		Path: "/etc/kubernetes/pki/apiserver.crt", KeyPath: "/etc/kubernetes/pki/apiserver.key",
		Authority: "kubernetes", Issuer: caPEM, CommonName: "kube-apiserver", Server: true,
		DNSNames: []string{"emei", "kubernetes"}, Addresses: []string{"10.27.52.72", "10.96.0.1"},
		Validity: 365 * 24 * time.Hour, RenewBefore: 30 * 24 * time.Hour,
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"},
		NotBefore: now.AddDate(0, -11, 0), NotAfter: notAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"emei", "kubernetes"}, IPAddresses: []net.IP{net.ParseIP("10.27.52.71"), net.ParseIP("10.96.0.1")}}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	content := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	s.want("emei", spec)
	s.foundFile("emei", spec.Path, content, 0o644)
	s.foundFile("emei", spec.KeyPath, "THE KEY", 0o600)
	s.recorded("emei", spec.ID(), fact.Record{Files: map[string]string{spec.Path: resource.SHA256([]byte(content)), spec.KeyPath: resource.SHA256([]byte("THE KEY"))}})
}

// designExample is the plan printed in the project's design.
func designExample(t *testing.T) *plan.Delta {
	s := newScene()
	const path = "/etc/nginx/stream.d/kinstall.conf"
	config := resource.File{Path: path, Content: []byte(upstream("10.27.52.72"))}
	s.want("emei", config)
	s.foundFile("emei", path, upstream("10.27.52.71"), 0o644)
	s.wrote("emei", path, upstream("10.27.52.71"))
	s.apiServerCertificate(t, now.AddDate(0, 1, 3))
	s.want("emei", resource.Unit{Name: "nginx.service", Inputs: []resource.Input{config}, ReloadOn: []resource.ID{config.ID()}})
	s.found("emei", fact.KindUnit, "nginx.service", fact.Unit{LoadState: "loaded", ActiveState: "active", UnitFileState: "enabled"})
	s.recorded("emei", "unit:nginx.service", fact.Record{Inputs: map[string]string{string(config.ID()): resource.SHA256([]byte(upstream("10.27.52.71")))}})
	return s.delta()
}

func firstInstall(*testing.T) *plan.Delta {
	s := newScene()
	s.want(plan.Operator, resource.Authority{Name: "kubernetes", CommonName: "kubernetes-ca", Validity: 87600 * time.Hour})
	s.want(plan.Operator, resource.Authority{Name: "service-account"})
	s.want(plan.Operator, resource.LockFile{Path: "inventory.lock.hcl", After: []byte("subnets = {\n  shaolin = \"10.244.0.0/24\"\n  wudang  = \"10.244.1.0/24\"\n}\n")})
	for _, host := range []string{"shaolin", "wudang"} {
		absent := func(kind fact.Kind, names ...string) {
			for _, name := range names {
				var answer any = fact.File{}
				switch kind {
				case fact.KindPackage:
					answer = fact.Package{}
				case fact.KindRoute:
					answer = fact.Route{}
				case fact.KindFirewall:
					answer = fact.Value{}
				case fact.KindImage:
					answer = fact.Image{}
				}
				s.found(host, kind, name, answer)
			}
		}
		s.want(host, resource.Package{Name: "conntrack"})
		absent(fact.KindPackage, "conntrack")
		s.want(host, resource.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"})
		s.found(host, fact.KindSysctl, "net.ipv4.ip_forward", fact.Value{Exists: true, Value: "0"})
		s.want(host, resource.Directory{Path: "/etc/kubernetes/pki", Ownership: resource.Ownership{Mode: 0o700}})
		absent(fact.KindFile, "/etc/kubernetes/pki")
		s.want(host, resource.File{Path: "/etc/sysctl.d/90-kinstall.conf", Content: []byte("# written by kinstall\n\nnet.ipv4.ip_forward = 1\n")})
		absent(fact.KindFile, "/etc/sysctl.d/90-kinstall.conf")
		extra := ""
		if host == "shaolin" {
			extra = "registerWithTaints: []\n"
		}
		s.want(host, resource.File{Path: "/etc/kubernetes/kubelet.yaml", Content: []byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n" +
			"address: " + host + "\nauthentication:\n  anonymous:\n    enabled: false\ncgroupDriver: systemd\n" + extra + "rotateCertificates: false\n")})
		absent(fact.KindFile, "/etc/kubernetes/kubelet.yaml")
		s.want(host, resource.Artifact{Name: "etcd", Version: "3.6.8", SHA256: strings.Repeat("0123456789abcdef", 4),
			Members: []resource.Member{{To: "/usr/local/bin/etcd"}, {To: "/usr/local/bin/etcdctl"}, {To: "/usr/local/bin/etcdutl"}}})
		absent(fact.KindFile, "/usr/local/bin/etcd", "/usr/local/bin/etcdctl", "/usr/local/bin/etcdutl")
		s.want(host, resource.Image{Reference: "registry.k8s.io/pause:3.10.1", SHA256: strings.Repeat("fedcba9876543210", 4)})
		absent(fact.KindImage, "registry.k8s.io/pause:3.10.1")
		s.want(host, resource.AuthorityFile{Authority: "kubernetes", Part: resource.PartPrivateKey, Path: "/etc/kubernetes/pki/ca.key"})
		absent(fact.KindFile, "/etc/kubernetes/pki/ca.key")
		s.want(host, resource.Certificate{Path: "/etc/kubernetes/pki/apiserver.crt", KeyPath: "/etc/kubernetes/pki/apiserver.key",
			Authority: "kubernetes", CommonName: "kube-apiserver", Server: true, DNSNames: []string{host}, Validity: 8760 * time.Hour, RenewBefore: 720 * time.Hour})
		absent(fact.KindFile, "/etc/kubernetes/pki/apiserver.crt", "/etc/kubernetes/pki/apiserver.key")
		s.want(host, resource.Route{Destination: "10.244.2.0/24", Via: "10.27.52.72"})
		absent(fact.KindRoute, fact.RouteOfMetric("10.244.2.0/24", resource.RouteMetric))
		rule := resource.FirewallRule{Table: "filter", Chain: "FORWARD", Rule: []string{"-s", "10.244.0.0/16", "-d", "10.244.0.0/16", "-j", "ACCEPT"}}
		s.want(host, rule)
		absent(fact.KindFirewall, rule.ID().Name())
		s.want(host, resource.Unit{Name: "etcd.service", NoBlock: true})
		s.found(host, fact.KindUnit, "etcd.service", fact.Unit{LoadState: "not-found", ActiveState: "inactive"})
	}
	s.want(plan.Cluster, resource.Gate{Check: resource.Check{Kind: resource.CheckEtcd, Text: "2 members healthy, one leader"}},
		plan.NewStepID("shaolin", "unit:etcd.service"), plan.NewStepID("wudang", "unit:etcd.service"))
	s.want(plan.Cluster, resource.Node{Name: "shaolin", Labels: map[string]string{"zone": "north", "node-role.kubernetes.io/control-plane": ""},
		Taints: []fact.Taint{{Key: "node-role.kubernetes.io/control-plane", Effect: "NoSchedule"}}, PodCIDRs: []string{"10.244.0.0/24"}})
	s.want(plan.Cluster, resource.Object{APIVersion: "v1", Kind: "Service", Namespace: "kube-system", Name: "kube-dns", YAML: "apiVersion: v1\nkind: Service\n"})
	return s.delta()
}

// driftAndIntent has a file changed in the inventory, one on the host, one on
// both, one deleted, a mode, a label, a stopped unit and a hand-edited block.
func driftAndIntent(*testing.T) *plan.Delta {
	s := newScene()
	file := func(host, path, was, is, want string, mode uint32) {
		s.want(host, resource.File{Path: path, Content: []byte(want)})
		s.foundFile(host, path, is, mode)
		s.wrote(host, path, was)
	}
	long := "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\neleven\ntwelve\n"
	file("shaolin", "/etc/intent.conf", "a = 1\n", "a = 1\n", "a = 2\n", 0o644)
	file("shaolin", "/etc/drift.conf", long, strings.Replace(strings.Replace(long, "two", "TWO", 1), "eleven", "eleven \t", 1), long, 0o644)
	file("wudang", "/etc/drift.conf", long, strings.Replace(strings.Replace(long, "two", "TWO", 1), "eleven", "eleven \t", 1), long, 0o644)
	file("wudang", "/etc/both.conf", "a = 1\n", "a = 3", "a = 2\n", 0o644)
	file("wudang", "/etc/mode.conf", "same\n", "same\n", "same\n", 0o600)
	file("wudang", "/etc/a/path/that/is/rather/long/and/then/some/more/etcd.conf.yaml", "a\n", "a\n", "b\n", 0o644)
	s.want("wudang", resource.File{Path: "/etc/deleted.conf", Content: []byte("back\n")})
	s.found("wudang", fact.KindFile, "/etc/deleted.conf", fact.File{})
	s.wrote("wudang", "/etc/deleted.conf", "back\n")
	s.want("wudang", resource.Unit{Name: "kubelet.service"})
	s.found("wudang", fact.KindUnit, "kubelet.service", fact.Unit{LoadState: "loaded", ActiveState: "failed", UnitFileState: "disabled"})
	s.recorded("wudang", "unit:kubelet.service", fact.Record{Inputs: map[string]string{"file:/x": "1"}})
	s.want("emei", resource.Block{Path: "/etc/hosts", Name: "hosts", Content: "10.27.52.72 emei\n"})
	s.foundFile("emei", "/etc/hosts", "127.0.0.1 localhost\n# BEGIN kinstall hosts\n10.27.52.7 emei\n# END kinstall hosts\n", 0o644)
	s.recorded("emei", "block:/etc/hosts#hosts", fact.Record{Files: map[string]string{"/etc/hosts#hosts": resource.SHA256([]byte("10.27.52.72 emei\n"))}})
	s.want(plan.Cluster, resource.Node{Name: "huashan", Labels: map[string]string{"zone": "north"}})
	s.observed.Cluster = fact.NewSet(fact.Host{})
	s.observed.Cluster.Put(fact.Key{Kind: fact.KindNode, Name: "huashan"}, fact.Node{Exists: true, Ready: true,
		Labels:      map[string]string{"zone": "south", "rack": "7"},
		Annotations: map[string]string{resource.ManagedLabelsAnnotation: "rack=7,zone=north"}})
	return s.delta()
}

// imageDrift is an image to whose name somebody gave another content.
func imageDrift(*testing.T) *plan.Delta {
	s := newScene()
	image := resource.Image{Reference: "registry.k8s.io/pause:3.10.1", Location: "registry.k8s.io/pause/3.10.1.tar", SHA256: strings.Repeat("a", 64)}
	s.want("emei", image)
	s.recorded("emei", image.ID(), fact.Record{Digest: image.SHA256, Content: "sha256:" + strings.Repeat("5f70bf18", 8)})
	s.found("emei", fact.KindImage, image.Reference, fact.Image{Observable: true, Exists: true, Digest: "sha256:" + strings.Repeat("ee6521f2", 8)})
	return s.delta()
}

// labels has nothing to do but in the cluster.
func labels(*testing.T) *plan.Delta {
	s := newScene()
	s.observed.Cluster = fact.NewSet(fact.Host{})
	for name, set := range map[string]string{"emei": "zone=south", "huashan": "zone=north"} {
		s.observed.Cluster.Put(fact.Key{Kind: fact.KindNode, Name: name}, fact.Node{Exists: true, Labels: map[string]string{"zone": "south"},
			Annotations: map[string]string{resource.ManagedLabelsAnnotation: set, resource.ManagedTaintsAnnotation: ""}})
	}
	s.want(plan.Cluster, resource.Node{Name: "emei", Labels: map[string]string{"zone": "north"}})
	s.want(plan.Cluster, resource.Node{Name: "huashan", Labels: map[string]string{"zone": "north"}})
	return s.delta()
}

// states has a node to be cordoned, one to be drained, and two cordons that are
// lifted: one that the inventory asked for, and one that a run left behind.
func states(*testing.T) *plan.Delta {
	s := newScene()
	s.observed.Cluster = fact.NewSet(fact.Host{})
	cordon := map[string]string{"shaolin": resource.CordonForTurn, "wudang": resource.CordonForState}
	schedule := map[string]resource.Schedule{"emei": resource.Cordoned, "huashan": resource.Drained}
	for _, name := range []string{"shaolin", "wudang", "emei", "huashan"} {
		node := fact.Node{Exists: true, Ready: true, Annotations: map[string]string{resource.ManagedLabelsAnnotation: "", resource.ManagedTaintsAnnotation: ""}}
		if why := cordon[name]; why != "" {
			node.Unschedulable, node.Cordon, node.Annotations[resource.CordonAnnotation] = true, why, why
		}
		if name == "huashan" {
			node.Pods = []fact.NodePod{{Namespace: "default", Name: "web-7c9-x2x"}, {Namespace: "shop", Name: "cart-0", EmptyDir: true}}
		}
		s.observed.Cluster.Put(fact.Key{Kind: fact.KindNode, Name: name}, node)
		s.want(plan.Cluster, resource.Node{Name: name, Schedule: schedule[name]})
	}
	return s.delta()
}

// departure has a worker that left the inventory, one that is gone for good, and
// one that can't be reached.
func departure(*testing.T) *plan.Delta {
	s := newScene()
	s.plan.Inventory.Hosts[0].Roles = []string{inventory.RoleMaster}
	s.observed.Cluster = fact.NewSet(fact.Host{})
	for i, name := range []string{"hengshan", "songshan", "taishan"} {
		s.recorded("shaolin", resource.Host{Name: name}.ID(), fact.Record{Host: &fact.HostRecord{
			Address: fmt.Sprintf("10.27.52.9%d", i), Port: 22, User: "root", HostKey: "SHA256:x", Roles: []string{inventory.RoleWorker}}})
		s.observed.Cluster.Put(fact.Key{Kind: fact.KindNode, Name: name}, fact.Node{Exists: true, Pods: []fact.NodePod{{Namespace: "default", Name: "web-" + name}}})
	}
	resources := map[string]fact.Record{"unit:kubelet.service": {}, "unit:containerd.service": {}, "file:/etc/kubernetes/kubelet.conf": {}, "package:conntrack": {}, "image:pause": {}}
	s.observed.Leaving = map[string]plan.Observation{
		"hengshan": {Facts: fact.NewSet(fact.Host{State: fact.State{Cluster: "wuxia", Resources: resources}})},
		"taishan":  {Err: adviceError{errors.New("taishan: connect to 10.27.52.92:22: no route to host"), "is the machine switched on?"}},
	}
	s.plan = s.plan.Forget([]string{"songshan"})
	return s.delta()
}

func certificateExpiry(t *testing.T) *plan.Delta {
	s := newScene()
	s.apiServerCertificate(t, now.AddDate(0, 0, 12))
	return s.delta()
}

// sensitive material: changed content, changed mode only, and a resource kind
// that by mistake left a secret in its change.
func sensitive(*testing.T) *plan.Delta {
	s := newScene()
	s.want("shaolin", resource.File{Path: "/etc/kinstall/token", Content: []byte(secret), Sensitive: true})
	s.found("shaolin", fact.KindFile, "/etc/kinstall/token", fact.File{})
	s.want("wudang", resource.AuthorityFile{Authority: "etcd", Part: resource.PartPrivateKey, Path: "/etc/etcd/ca.key", SHA256: resource.SHA256([]byte(secret))})
	s.foundFile("wudang", "/etc/etcd/ca.key", "another", 0o600)
	d := s.delta()
	d.Items = append(d.Items, plan.Item{Step: &plan.Step{Host: "emei", Resource: resource.File{Path: "/etc/leaky"}}, Change: &resource.Change{
		Action: resource.Update, Sensitive: true,
		Fields: []resource.Field{{Name: "token", Before: "old " + secret, After: secret, Sensitive: true}},
		Text:   &resource.Text{Name: "content", Before: "old " + secret, After: secret},
	}})
	return d
}

const secret = "correct horse battery staple"

// rollOut changes kubelets of workers, one of which is down, and etcd's members.
func rollOut(*testing.T) *plan.Delta {
	s := newScene()
	s.plan.Inventory.Rollout.Workers = inventory.Batch{Hosts: 3}
	file := resource.File{Path: "/etc/systemd/system/kubelet.service", Content: []byte("new\n")}
	for host, group := range map[string]string{"shaolin": "kubelet-masters", "wudang": "kubelet-workers", "emei": "kubelet-workers", "huashan": "kubelet-workers"} {
		active := "active"
		if host == "emei" {
			active = "failed"
		}
		s.foundFile(host, file.Path, "old\n", 0o644)
		s.wrote(host, file.Path, "old\n")
		s.found(host, fact.KindUnit, "kubelet.service", fact.Unit{LoadState: "loaded", ActiveState: active, UnitFileState: "enabled"})
		s.recorded(host, "unit:kubelet.service", fact.Record{Inputs: map[string]string{string(file.ID()): "older"}})
		s.plan.Steps = append(s.plan.Steps, plan.Step{Host: host, Resource: file}, plan.Step{
			Host: host, Resource: resource.Unit{Name: "kubelet.service", Inputs: []resource.Input{file}}, After: []plan.StepID{plan.NewStepID(host, file.ID())},
			Rollout: &plan.Rollout{Group: group, After: []resource.Check{
				{Kind: resource.CheckProcess, Host: host, Process: resource.Process{Host: host, Unit: "kubelet.service"}},
				{Kind: resource.CheckNode, Host: host},
			}},
		})
	}
	slices.SortStableFunc(s.plan.Steps, func(a, b plan.Step) int { return strings.Compare(a.Host, b.Host) })
	return s.delta()
}

// upgrade: three masters and a worker go to another minor version.
func upgrade(*testing.T) *plan.Delta {
	s := newScene()
	process := func(host, unit, pod string) resource.Check {
		return resource.Check{Kind: resource.CheckProcess, Host: host, Process: resource.Process{Host: host, Unit: unit, Pod: pod}}
	}
	manifest := func(pod, version string) string {
		return fmt.Sprintf("kind: Pod\nspec:\n  containers:\n  - image: \"registry.k8s.io/%s:v%s\"\n", pod, version)
	}
	for i, host := range []string{"shaolin", "wudang", "emei", "huashan"} {
		kubelets := "kubelet-workers"
		if host != "huashan" {
			kubelets = "kubelet-masters"
			s.plan.Inventory.Hosts[i].Roles = []string{inventory.RoleMaster}
			for _, pod := range []struct{ name, group string }{{"kube-apiserver", "apiserver"}, {"kube-controller-manager", "controllers"}, {"kube-scheduler", "controllers"}} {
				image := resource.Image{Reference: "registry.k8s.io/" + pod.name + ":v1.36.3", SHA256: resource.SHA256([]byte(pod.name))}
				r := resource.StaticPod{Name: pod.name, Node: host, Path: "/etc/kubernetes/manifests/" + pod.name + ".yaml", Manifest: manifest(pod.name, "1.36.3"), Inputs: []resource.Input{image}}
				s.want(host, image)
				s.found(host, fact.KindImage, image.Reference, fact.Image{Observable: true})
				s.foundFile(host, r.Path, manifest(pod.name, "1.35.4"), 0o600)
				s.found(host, fact.KindStaticPod, pod.name, fact.Pod{UID: "1", Running: true})
				s.recorded(host, r.ID(), fact.Record{Digest: "0600 root:root", Files: map[string]string{r.Path: resource.SHA256([]byte(manifest(pod.name, "1.35.4")))}})
				s.plan.Steps = append(s.plan.Steps, plan.Step{Host: host, Resource: r, After: []plan.StepID{plan.NewStepID(host, image.ID())},
					Rollout: &plan.Rollout{Group: pod.group, After: []resource.Check{process(host, "", pod.name)}}})
			}
		} else {
			s.plan.Inventory.Hosts[i].Roles = []string{inventory.RoleWorker}
		}
		kubelet := resource.Artifact{Name: "kubelet", Version: "1.36.3", SHA256: resource.SHA256([]byte("1.36.3")), Members: []resource.Member{{To: "/usr/local/bin/kubelet"}}}
		s.found(host, fact.KindFile, "/usr/local/bin/kubelet", fact.File{Exists: true, Type: "file", Mode: 0o755, Owner: "root", Group: "root", SHA256: "1"})
		s.recorded(host, kubelet.ID(), fact.Record{Digest: resource.SHA256([]byte("1.35.4")), Version: "1.35.4", Files: map[string]string{"/usr/local/bin/kubelet": "1"}})
		unit := resource.Unit{Name: "kubelet.service", Inputs: []resource.Input{kubelet}}
		s.found(host, fact.KindUnit, unit.Name, fact.Unit{LoadState: "loaded", ActiveState: "active", UnitFileState: "enabled"})
		s.recorded(host, unit.ID(), fact.Record{Inputs: map[string]string{string(kubelet.ID()): resource.SHA256([]byte("1.35.4"))}})
		s.plan.Steps = append(s.plan.Steps, plan.Step{Host: host, Resource: kubelet}, plan.Step{Host: host, Resource: unit, After: []plan.StepID{plan.NewStepID(host, kubelet.ID())},
			Rollout: &plan.Rollout{Group: kubelets, After: []resource.Check{process(host, unit.Name, ""), {Kind: resource.CheckNode, Host: host}}}})
	}
	return s.delta()
}

func unitRestart(*testing.T) *plan.Delta {
	s := newScene()
	var inputs []resource.Input
	recorded := map[string]string{}
	for _, path := range []string{"/etc/etcd/etcd.conf.yaml", "/etc/etcd/pki/ca.crt", "/etc/systemd/system/etcd.service"} {
		file := resource.File{Path: path, Content: []byte("new\n")}
		inputs = append(inputs, file)
		recorded[string(file.ID())] = "older"
		for _, host := range []string{"shaolin", "wudang"} {
			s.want(host, file)
			s.foundFile(host, path, "old\n", 0o644)
			s.wrote(host, path, "old\n")
		}
	}
	for _, host := range []string{"shaolin", "wudang"} {
		s.want(host, resource.Unit{Name: "etcd.service", Inputs: inputs}, plan.NewStepID(host, inputs[0].ID()))
		s.found(host, fact.KindUnit, "etcd.service", fact.Unit{LoadState: "loaded", ActiveState: "active", UnitFileState: "enabled"})
		s.recorded(host, "unit:etcd.service", fact.Record{Inputs: recorded})
		s.want(plan.Cluster, resource.Gate{Check: resource.Check{Kind: resource.CheckEtcd, Host: host, Text: "3 members healthy, no alarm, one leader"}}, plan.NewStepID(host, "unit:etcd.service"))
	}
	return s.delta()
}

func orphans(*testing.T) *plan.Delta {
	s := newScene()
	for _, id := range []resource.ID{"file:/etc/old.conf", "unit:old.service", "route:10.244.9.0/24", "package:conntrack"} {
		s.recorded("huashan", id, fact.Record{})
	}
	return s.delta()
}

func unreachable(*testing.T) *plan.Delta {
	s := newScene()
	s.observed.Hosts["wudang"] = plan.Observation{Err: adviceError{errors.New("wudang: connect to 10.24.138.208:22: no route to host"), "is the machine switched on, and does a firewall let port 22 through?"}}
	s.observed.Hosts["huashan"] = plan.Observation{Err: errors.New("huashan: probe: exit code 1: line one\nline two \x1b[2J")}
	s.want("shaolin", resource.Package{Name: "conntrack"})
	s.found("shaolin", fact.KindPackage, "conntrack", fact.Package{})
	s.observed.ClusterErr = fmt.Errorf("observe nodes: %w", adviceError{errors.New("open tunnel to 10.24.138.207:6443: administratively prohibited"), "let sshd forward connections"})
	return s.delta()
}

// skipped hosts hold up what they may still use.
func skipped(*testing.T) *plan.Delta {
	s := newScene()
	s.observed.Hosts["wudang"] = plan.Observation{Err: adviceError{errors.New("wudang: connect to 10.24.138.208:22: no route to host"), "is the machine switched on, and does a firewall let port 22 through?"}}
	s.want("shaolin", resource.Package{Name: "conntrack"})
	s.found("shaolin", fact.KindPackage, "conntrack", fact.Package{})
	for _, id := range []resource.ID{"file:/etc/a.conf", "file:/etc/b.conf", "file:/etc/c.conf", "unit:old.service", "unit:older.service"} {
		s.recorded("huashan", id, fact.Record{})
	}
	return s.plan.SkipUnreachable().Diff(s.observed)
}

type adviceError struct {
	error
	hint string
}

func (e adviceError) Hint() string { return e.hint }

func problems(*testing.T) *plan.Delta {
	s := newScene()
	o := s.observed.Hosts["wudang"]
	o.Skew = -4512 * time.Millisecond
	s.observed.Hosts["wudang"] = o
	s.plan.Inventory.Preparation.MaxClockSkew = 2 * time.Second
	s.plan.Inventory.Hosts[2].Roles = []string{inventory.RoleEtcd}
	o = s.observed.Hosts["emei"]
	o.Facts.Host.Listening = map[int]string{2379: "consul"}
	s.observed.Hosts["emei"] = o
	s.want("huashan", resource.File{Path: "/etc/hosts.d", Content: []byte("x")})
	s.found("huashan", fact.KindFile, "/etc/hosts.d", fact.File{Exists: true, Type: "directory"})
	return s.delta()
}

// hostile content on a host: escape sequences, bytes that are no text, a file
// that is not text at all.
func hostile(*testing.T) *plan.Delta {
	s := newScene()
	s.want("shaolin", resource.File{Path: "/etc/motd", Content: []byte("hello\n")})
	s.foundFile("shaolin", "/etc/motd", "\x1b]0;owned\x07\x1b[1A\r\u202egnp\n", 0o644)
	s.want("shaolin", resource.File{Path: "/etc/blob", Content: []byte("text\n")})
	s.foundFile("shaolin", "/etc/blob", "a\x00b\xff", 0o644)
	s.want("shaolin", resource.SwapOff{})
	s.foundFile("shaolin", "/etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n", 0o644)
	return s.delta()
}

// health: everything is on the disk as wanted, and does not work.
func health(*testing.T) *plan.Delta {
	s := newScene()
	record := fact.Record{Inputs: map[string]string{"file:/var/lib/kubelet/config.yaml": resource.SHA256([]byte("config\n"))}, Started: "boot/1"}
	kubelet := resource.Unit{Name: "kubelet.service", Inputs: []resource.Input{resource.File{Path: "/var/lib/kubelet/config.yaml", Content: []byte("config\n")}}}
	unit := func(host string, found fact.Unit) {
		found.LoadState, found.UnitFileState, found.Started, found.StartedTime = "loaded", "enabled", "boot/2", now
		s.want(host, kubelet)
		s.found(host, fact.KindUnit, "kubelet.service", found)
		s.found(host, fact.KindFile, "/var/lib/kubelet/config.yaml", fact.File{Exists: true, Type: "file", SHA256: resource.SHA256([]byte("config\n")), MTime: now.Add(time.Hour)})
		s.recorded(host, kubelet.ID(), record)
	}
	var log []string
	for i := range 8 {
		log = append(log, fmt.Sprintf("I0314 09:26:5%d.000000    1234 server.go:487] \"Kubelet version\" kubeletVersion=\"v1.36.3\"", i))
	}
	log = append(log, `E0314 09:26:58.000000    1234 run.go:72] "command failed" err="failed to parse kubelet flag: unknown flag: --no-such-flag"`)
	unit("shaolin", fact.Unit{ActiveState: "activating", SubState: "auto-restart", Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 1, NRestarts: 7, Log: strings.Join(log, "\n")})
	unit("wudang", fact.Unit{ActiveState: "active", SubState: "running", Result: "success"})
	pod := resource.StaticPod{Name: "kube-apiserver", Node: "emei", Path: "/etc/kubernetes/manifests/kube-apiserver.yaml", Manifest: "kind: Pod\n"}
	s.want("emei", pod)
	s.found("emei", fact.KindStaticPod, pod.Name, fact.Pod{UID: "0123", Attempt: 12,
		Log: `E0314 09:26:53.000000       1 run.go:72] "command failed" err="failed to create listener: failed to listen on 0.0.0.0:6443: listen tcp 0.0.0.0:6443: bind: address already in use"`})
	s.found("emei", fact.KindFile, pod.Path, fact.File{Exists: true, Type: "file", Mode: 0o600, Owner: "root", Group: "root", SHA256: resource.SHA256([]byte("kind: Pod\n"))})
	s.recorded("emei", pod.ID(), fact.Record{Digest: "0600 root:root", Files: map[string]string{pod.Path: resource.SHA256([]byte("kind: Pod\n"))}})
	s.want(plan.Cluster, resource.Node{Name: "huashan"})
	s.observed.Cluster = fact.NewSet(fact.Host{})
	s.observed.Cluster.Put(fact.Key{Kind: fact.KindNode, Name: "huashan"}, fact.Node{Exists: true, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status.",
		Annotations: map[string]string{resource.ManagedLabelsAnnotation: "", resource.ManagedTaintsAnnotation: ""}})
	return s.delta()
}

func noChange(*testing.T) *plan.Delta { return newScene().delta() }

// cases are all deltas there is a golden for.
var cases = []struct {
	name  string
	delta func(*testing.T) *plan.Delta
}{
	{"design-example", designExample},
	{"first-install", firstInstall},
	{"drift-and-intent", driftAndIntent},
	{"image-drift", imageDrift},
	{"labels", labels},
	{"states", states},
	{"departure", departure},
	{"certificate-expiry", certificateExpiry},
	{"sensitive", sensitive},
	{"unit-restart", unitRestart},
	{"rollout", rollOut},
	{"upgrade", upgrade},
	{"orphans", orphans},
	{"unreachable", unreachable},
	{"skipped", skipped},
	{"problems", problems},
	{"hostile", hostile},
	{"health", health},
	{"no-change", noChange},
}

func TestText(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := c.delta(t)
			printed := rendered(t, func(w io.Writer) error { return render.Text(w, d, render.Options{Width: 80}) })
			golden(t, c.name+".txt", printed)
			again := rendered(t, func(w io.Writer) error { return render.Text(w, c.delta(t), render.Options{Width: 80}) })
			if diff := cmp.Diff(printed, again); diff != "" {
				t.Errorf("a second rendering differs (-first +second):\n%s", diff)
			}
			promises(t, printed)
			colored := rendered(t, func(w io.Writer) error { return render.Text(w, d, render.Options{Width: 80, Color: true}) })
			if diff := cmp.Diff(printed, withoutColor(colored)); diff != "" {
				t.Errorf("color changes the text (-plain +colored):\n%s", diff)
			}
		})
	}
}

// promises every printed plan keeps.
func promises(t *testing.T, printed string) {
	t.Helper()
	if strings.Contains(printed, secret) {
		t.Error("a secret is shown")
	}
	for i, line := range strings.Split(printed, "\n") {
		if strings.TrimRight(line, " \t") != line {
			t.Errorf("line %d ends with blanks: %q", i+1, line)
		}
		if strings.ContainsAny(line, "\x1b\r\x07") {
			t.Errorf("line %d holds control characters: %q", i+1, line)
		}
	}
}

func withoutColor(s string) string {
	for _, style := range []string{"0", "1", "2", "31", "32", "33", "35", "36"} {
		s = strings.ReplaceAll(s, "\x1b["+style+"m", "")
	}
	return s
}

func TestTextColor(t *testing.T) {
	d := designExample(t)
	golden(t, "design-example.color.txt", rendered(t, func(w io.Writer) error { return render.Text(w, d, render.Options{Width: 80, Color: true}) }))
}

func TestTextVerbose(t *testing.T) {
	d := firstInstall(t)
	golden(t, "first-install.verbose.txt", rendered(t, func(w io.Writer) error { return render.Text(w, d, render.Options{Verbose: true}) }))
}

func TestJSON(t *testing.T) {
	for _, name := range []string{"design-example", "sensitive", "unreachable", "skipped", "problems", "unit-restart", "rollout", "upgrade", "health", "no-change"} {
		t.Run(name, func(t *testing.T) {
			for _, c := range cases {
				if c.name != name {
					continue
				}
				d := c.delta(t)
				document := rendered(t, func(w io.Writer) error { return render.JSON(w, d) })
				golden(t, name+".json", document)
				if strings.Contains(document, secret) {
					t.Error("a secret is in the document")
				}
				if !json.Valid([]byte(document)) {
					t.Error("not JSON")
				}
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	s := newScene()
	s.plan.Addresses = append(s.plan.Addresses, plan.AddressRow{Host: "store-1", Address: "10.27.52.90"})
	golden(t, "addresses.txt", rendered(t, func(w io.Writer) error { return render.Addresses(w, s.plan) }))
}

// With dual-stack there is more to show, and nothing of it without.
func TestAddressesOfDualStack(t *testing.T) {
	s := newScene()
	s.plan.Inventory.Cluster.PodCIDRv6 = netip.MustParsePrefix("fd00:10:244::/56")
	for i := range s.plan.Addresses {
		row := &s.plan.Addresses[i]
		row.AddressV6 = fmt.Sprintf("fd00:27::%x", i+1)
		row.PodSubnetV6, row.BridgeV6 = fmt.Sprintf("fd00:10:244:%x::/64", i), fmt.Sprintf("fd00:10:244:%x::1", i)
	}
	s.plan.Addresses = append(s.plan.Addresses, plan.AddressRow{Host: "store-1", Address: "10.27.52.90"})
	golden(t, "addresses-dual-stack.txt", rendered(t, func(w io.Writer) error { return render.Addresses(w, s.plan) }))
}

func TestWriteErrorIsReturned(t *testing.T) {
	broken := errors.New("pipe closed")
	for name, write := range map[string]func(io.Writer) error{
		"text":      func(w io.Writer) error { return render.Text(w, noChange(t), render.Options{}) },
		"json":      func(w io.Writer) error { return render.JSON(w, noChange(t)) },
		"addresses": func(w io.Writer) error { return render.Addresses(w, newScene().plan) },
	} {
		if err := write(brokenWriter{broken}); !errors.Is(err, broken) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func rendered(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
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

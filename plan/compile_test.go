package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

var update = flag.Bool("update", false, "rewrite golden files")

// noAuthorities is a pki directory before the first apply.
type noAuthorities struct{}

func (noAuthorities) Certificate(string) []byte           { return nil }
func (noAuthorities) SHA256(string, resource.Part) string { return "" }
func (noAuthorities) Chain(string) []byte                 { return nil }
func (noAuthorities) Encrypted(string) bool               { return false }
func (noAuthorities) Exists(string) bool                  { return false }

// load reads the inventory of a golden case: its own, or the example of that name.
func load(t testing.TB, name string) *inventory.Inventory {
	t.Helper()
	path := filepath.Join("testdata", "compile", name, "inventory.hcl")
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join("..", "inventories", name+".hcl")
	}
	inv, _, diags := inventory.Load(path, inventory.Options{HomeDir: "/home/user", ReadFile: func(p string) ([]byte, error) {
		if strings.HasSuffix(p, ".lock.hcl") {
			return nil, fs.ErrNotExist
		}
		return os.ReadFile(p)
	}})
	if diags.HasErrors() {
		t.Fatalf("%s: %v", path, diags)
	}
	inv.Path = "/inventories/" + name + ".hcl"
	for reference := range inv.Artifacts.Images {
		inv.Artifacts.Images[reference] = "/inventories/images/" + filepath.Base(inv.Artifacts.Images[reference])
	}
	return inv
}

// networks are those that pods of the golden cases don't have.
func networks() map[string]inventory.Network {
	const version = "0.28.4"
	return map[string]inventory.Network{
		"flannel-etcd":       {Kind: inventory.NetworkFlannel, Backend: inventory.FlannelVXLAN, Store: inventory.StoreEtcd, Version: version, MTU: 1450},
		"flannel-kubernetes": {Kind: inventory.NetworkFlannel, Backend: inventory.FlannelHostGW, Store: inventory.StoreKubernetes, Version: version},
		"bird-ospf":          {Kind: inventory.NetworkBird, Mode: inventory.BirdOSPF, ASN: 64512, MTU: 1400},
		"openvswitch":        {Kind: inventory.NetworkOpenVSwitch, Tunnel: inventory.TunnelGRE, Datapath: inventory.DatapathKernel, Interface: "eth1", MTU: 1462},
		"bird-bgp":           {Kind: inventory.NetworkBird, Mode: inventory.BirdBGP, ASN: 64512},
	}
}

// dual gives an inventory a second address family.
func dual(inv *inventory.Inventory) *inventory.Inventory {
	inv.Cluster.PodCIDRv6, inv.Cluster.PodSubnetSizeV6 = prefix("fd00:10:244::/56"), 64
	inv.Cluster.ServiceCIDRv6 = prefix("fd00:10:96::/112")
	address := netip.MustParseAddr("fd00:27::10")
	for i := range inv.Hosts {
		address = address.Next()
		inv.Hosts[i].AddressV6 = address
	}
	if inv.Network.MTU > 0 {
		inv.Network.MTU -= 20
	}
	return inv
}

// dualNetworks are the networks of the golden cases with two families.
func dualNetworks() map[string]inventory.Network {
	all := map[string]inventory.Network{
		"routes":   {Kind: inventory.NetworkRoutes},
		"external": {Kind: inventory.NetworkExternal},
	}
	for name, network := range networks() {
		if network.Kind == inventory.NetworkFlannel {
			all[name] = network
		}
	}
	return all
}

// variants are the golden cases and the lab with each of the networks, by name.
func variants(t testing.TB) map[string]*inventory.Inventory {
	t.Helper()
	all := map[string]*inventory.Inventory{}
	for _, name := range cases(t) {
		all[name] = load(t, name)
	}
	for name, network := range networks() {
		inv := load(t, "lab")
		inv.Network = network
		all[name] = inv
	}
	for name, network := range dualNetworks() {
		inv := load(t, "lab")
		inv.Network = network
		all["dual-"+name] = dual(inv)
	}
	return all
}

func digests(inv *inventory.Inventory) map[string]string {
	found := map[string]string{}
	for _, r := range Releases(inv) {
		sum := sha256.Sum256([]byte(r.Location))
		found[r.Location] = hex.EncodeToString(sum[:])
	}
	return found
}

// operatorFiles has something in every file of the operator's machine.
func operatorFiles(inv *inventory.Inventory) map[string][]byte {
	files := map[string][]byte{}
	for _, path := range OperatorFiles(inv) {
		files[path] = []byte("content of " + filepath.Base(path) + "\n")
	}
	return files
}

func compile(t testing.TB, inv *inventory.Inventory) *Plan {
	t.Helper()
	p, diags := Compile(inv, ProposeLock(inv, inventory.Lock{}, digests(inv)), nil, noAuthorities{}, operatorFiles(inv))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return p
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func cases(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("testdata", "compile"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestCompileGolden(t *testing.T) {
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			p := compile(t, load(t, name))
			dir := filepath.Join("testdata", "compile", name)
			golden(t, filepath.Join(dir, "steps.txt"), describeSteps(p))
			golden(t, filepath.Join(dir, "certificates.txt"), describeCertificates(p))
			golden(t, filepath.Join(dir, "objects.txt"), describeFiles(p, Cluster))
			want := map[string]bool{}
			for _, host := range p.Hosts() {
				golden(t, filepath.Join(dir, "host-"+host+".txt"), describeFiles(p, host))
				want["host-"+host+".txt"] = true
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), "host-") && !want[e.Name()] {
					t.Errorf("%s is about a host that does not exist", e.Name())
				}
			}
		})
	}
}

// describeSteps lists every step and what it directly waits for; edges that
// follow from others are left out.
func describeSteps(p *Plan) []byte {
	after := map[StepID][]StepID{}
	for _, s := range p.Steps {
		after[s.ID()] = s.After
	}
	before := map[StepID]map[StepID]bool{}
	var b bytes.Buffer
	for _, s := range p.Steps {
		all := map[StepID]bool{}
		for _, id := range s.After {
			all[id] = true
			for further := range before[id] {
				all[further] = true
			}
		}
		before[s.ID()] = all
		fmt.Fprintf(&b, "%s %s", s.Host, s.Resource.ID())
		if r := s.Rollout; r != nil {
			fmt.Fprintf(&b, "  [%s: %s", r.Group, describeChecks(r.After))
			if len(r.Before) > 0 {
				fmt.Fprintf(&b, "; if %s", describeChecks(r.Before))
			}
			fmt.Fprint(&b, "]")
		}
		fmt.Fprintln(&b)
		for _, id := range s.After {
			implied := false
			for _, other := range s.After {
				implied = implied || before[other][id]
			}
			if !implied {
				fmt.Fprintf(&b, "    after %s\n", id)
			}
		}
	}
	return b.Bytes()
}

// describeChecks is what checks look at, in short.
func describeChecks(checks []resource.Check) string {
	var words []string
	for _, c := range checks {
		what := c.URL
		if what == "" {
			what = c.Process.Name()
		}
		words = append(words, strings.Join(strings.Fields(strings.Join([]string{string(c.Kind), what, c.Host}, " ")), " "))
	}
	return strings.Join(words, ", ")
}

func describeCertificates(p *Plan) []byte {
	var b bytes.Buffer
	for _, s := range p.Steps {
		switch r := s.Resource.(type) {
		case resource.Certificate:
			fmt.Fprintf(&b, "%s %s (key %s, %04o)\n%s\n", s.Host, r.Path, r.KeyPath, r.KeyOwn().Mode, indent(r.Text()))
		case resource.RotatedCertificate:
			fmt.Fprintf(&b, "%s %s (0600, instead of %s; %s)\n%s\n", s.Host, r.Wanted.Path, r.Takes.Path, r.Unit, indent(r.Text()))
		case resource.AuthorityFile:
			fmt.Fprintf(&b, "%s %s: %s of %s, %04o\n\n", s.Host, r.Path, r.Part, r.Authority, r.Own().Mode)
		}
	}
	return b.Bytes()
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n    ") + "\n"
}

// describeFiles concatenates everything a host gets, in order of the names.
func describeFiles(p *Plan, host string) []byte {
	var parts []string
	for _, s := range p.Steps {
		if s.Host != host {
			continue
		}
		switch r := s.Resource.(type) {
		case resource.File:
			if r.Sensitive {
				r.Content = []byte("(sensitive)\n")
			}
			parts = append(parts, fmt.Sprintf("=== %s (%04o)\n%s\n", r.Path, r.Own().Mode, r.Content))
		case resource.StaticPod:
			parts = append(parts, fmt.Sprintf("=== %s (%04o)\n%s\n", r.Path, r.Own().Mode, r.Manifest))
		case resource.Block:
			parts = append(parts, fmt.Sprintf("=== %s, block %s\n%s\n", r.Path, r.Name, r.Content))
		case resource.Object:
			parts = append(parts, fmt.Sprintf("=== %s\n%s\n", r.ID(), r.YAML))
		case resource.Node:
			text := fmt.Sprintf("=== %s\nlabels %v\ntaints %v\npodCIDR %s\n", r.ID(), r.Labels, r.Taints, strings.Join(r.PodCIDRs, ","))
			for _, key := range slices.Sorted(maps.Keys(r.Annotations)) {
				text += fmt.Sprintf("annotation %s=%s\n", key, r.Annotations[key])
			}
			parts = append(parts, text+"\n")
		case resource.Artifact:
			text := fmt.Sprintf("=== %s %s\n%s\n", r.ID(), r.Version, r.Location)
			for _, m := range r.Members {
				text += fmt.Sprintf("  %q to %s (%04o)\n", m.From, m.To, m.Own().Mode)
			}
			parts = append(parts, text+"\n")
		case resource.EtcdKeys:
			text := fmt.Sprintf("=== %s\n", r.ID())
			for _, k := range r.Keys {
				text += fmt.Sprintf("%s = %s %v\n", k.Key, k.Value, k.Fields)
			}
			parts = append(parts, text+"\n")
		case resource.Image:
			parts = append(parts, fmt.Sprintf("=== %s\n%s\n\n", r.ID(), r.Location))
		}
	}
	sort.Strings(parts)
	return []byte(strings.Join(parts, ""))
}

func TestCompileOrder(t *testing.T) {
	for name, inv := range variants(t) {
		p := compile(t, inv)
		seen := map[StepID]bool{}
		for _, s := range p.Steps {
			for _, id := range s.After {
				if !seen[id] {
					t.Errorf("%s: %s stands before %s, which it waits for", name, s.ID(), id)
				}
			}
			if seen[s.ID()] {
				t.Errorf("%s: %s stands there twice", name, s.ID())
			}
			seen[s.ID()] = true
		}
	}
}

// A unit or pod is never started before what it is started with is there, and
// everything whose content it is restarted for is the very resource of the plan.
func TestInputsArePartOfThePlan(t *testing.T) {
	for name, inv := range variants(t) {
		p := compile(t, inv)
		steps := map[StepID]Step{}
		for _, s := range p.Steps {
			steps[s.ID()] = s
		}
		for _, s := range p.Steps {
			var inputs []resource.Input
			switch r := s.Resource.(type) {
			case resource.Unit:
				inputs = r.Inputs
			case resource.StaticPod:
				inputs = r.Inputs
			}
			for _, input := range inputs {
				id := NewStepID(s.Host, input.ID())
				if diff := cmp.Diff(steps[id].Resource, resource.Resource(input)); diff != "" {
					t.Errorf("%s: %s has an input that is not that of the plan:\n%s", name, s.ID(), diff)
				}
				if !slices.Contains(s.After, id) {
					t.Errorf("%s: %s does not wait for its input %s", name, s.ID(), id)
				}
			}
		}
	}
}

// The order of host blocks changes the order of steps, and nothing in them.
func TestCompileIsDeterministic(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, inv := range variants(t) {
		want := compile(t, inv)
		if diff := cmp.Diff(want.Steps, compile(t, inv).Steps, cmp.AllowUnexported(Step{})); diff != "" {
			t.Errorf("%s: compiled twice, two plans:\n%s", name, diff)
		}
		byID := func(steps []Step) []Step {
			sorted := slices.Clone(steps)
			slices.SortFunc(sorted, func(a, b Step) int { return strings.Compare(string(a.ID()), string(b.ID())) })
			return sorted
		}
		for range 3 {
			shuffled := *inv
			shuffled.Hosts = slices.Clone(inv.Hosts)
			random.Shuffle(len(shuffled.Hosts), func(i, j int) {
				shuffled.Hosts[i], shuffled.Hosts[j] = shuffled.Hosts[j], shuffled.Hosts[i]
			})
			if diff := cmp.Diff(byID(want.Steps), byID(compile(t, &shuffled).Steps), cmp.AllowUnexported(Step{})); diff != "" {
				t.Errorf("%s: the order of hosts changes the plan:\n%s", name, diff)
			}
		}
	}
}

// Nobody restarts because a host was added, but for what must know of it.
func TestAddedHostRestartsNothingElse(t *testing.T) {
	inv := load(t, "lab")
	before := compile(t, inv)
	grown := *inv
	added := inv.Hosts[len(inv.Hosts)-1]
	added.Name, added.Address = "kunlun", added.Address.Next()
	grown.Hosts = append(slices.Clone(inv.Hosts), added)
	lock := ProposeLock(inv, inventory.Lock{}, digests(inv))
	after, diags := Compile(&grown, ProposeLock(&grown, lock, digests(inv)), nil, noAuthorities{}, operatorFiles(inv))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	old := map[StepID]resource.Resource{}
	for _, s := range before.Steps {
		old[s.ID()] = s.Resource
	}
	for _, s := range after.Steps {
		switch r := s.Resource.(type) {
		case resource.Unit, resource.StaticPod:
			if was, ok := old[s.ID()]; ok && r.ID().Name() != "kinstall-network.service" {
				if diff := cmp.Diff(was, s.Resource); diff != "" {
					t.Errorf("%s is restarted:\n%s", s.ID(), diff)
				}
			}
		}
	}

	// An etcd member more: the others' units stay as they are.
	added.Roles = []string{inventory.RoleEtcd}
	grown.Hosts[len(grown.Hosts)-1] = added
	after = compile(t, &grown)
	for _, s := range after.Steps {
		if was, ok := old[s.ID()]; ok && s.Resource.ID() == "unit:etcd.service" {
			if diff := cmp.Diff(was, s.Resource); diff != "" {
				t.Errorf("%s is restarted for a new member:\n%s", s.ID(), diff)
			}
		}
	}
}

func TestPrivateKeysStayWhereTheyBelong(t *testing.T) {
	for name, inv := range variants(t) {
		p := compile(t, inv)
		for _, s := range p.Steps {
			f, ok := s.Resource.(resource.AuthorityFile)
			if !ok || f.Part != resource.PartPrivateKey {
				continue
			}
			host, _ := p.Inventory.Host(s.Host)
			if !host.Has(inventory.RoleMaster) || (f.Authority != AuthorityKubernetes && f.Authority != AuthorityServiceAccount) {
				t.Errorf("%s: %s gets the private key of %s", name, s.Host, f.Authority)
			}
			if f.Own().Mode != 0o600 {
				t.Errorf("%s: %s has mode %04o", name, s.ID(), f.Own().Mode)
			}
		}
	}
}

func TestCompileReportsEverything(t *testing.T) {
	inv := load(t, "lab")
	inv.Artifacts.Images = map[string]string{"registry.example/app:1": "/images/app.tar", inv.Runtime.SandboxImage: "/images/mine.tar"}
	inv.Hosts[0].PodSubnet = inv.Cluster.ServiceCIDR
	found := digests(inv)
	delete(found, "dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet")
	delete(found, "/images/app.tar")
	p, diags := Compile(inv, ProposeLock(inv, inventory.Lock{}, found), nil, noAuthorities{}, operatorFiles(inv))
	if p != nil {
		t.Error("there is a plan in spite of errors")
	}
	var summaries []string
	for _, d := range diags {
		summaries = append(summaries, d.Summary+": "+d.Detail)
	}
	want := []string{
		`Unknown digest: Nothing says what SHA-256 kubelet 1.36.3 (dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet) must have; pin it in artifacts.sha256 as "kubelet".`,
		`Unknown digest: Nothing says what SHA-256 registry.example/app:1 (/images/app.tar) must have; pin it in artifacts.sha256 as "image/registry.example/app:1".`,
		`Image named twice: artifacts.images has an archive for "registry.k8s.io/pause:3.10.1", which kinstall imports itself; put that archive into a mirror (artifacts.source) at registry.k8s.io/pause/3.10.1.tar.`,
		`Pod subnets can't be allocated: pod_subnet 10.96.0.0/12 of host "shaolin" is not part of cluster.pod_cidr 10.244.0.0/16.`,
	}
	if diff := cmp.Diff(want, summaries); diff != "" {
		t.Error(diff)
	}
}

func placesOf(steps []Step) map[StepID]int {
	places := map[StepID]int{}
	for i, s := range steps {
		places[s.ID()] = i
	}
	return places
}

func TestInOrderRefusesMistakes(t *testing.T) {
	a, b := resource.Module{Name: "a"}, resource.Module{Name: "b"}
	for name, steps := range map[string][]Step{
		"cycle":        {{Host: "h", Resource: a, After: step("h", b)}, {Host: "h", Resource: b, After: step("h", a)}},
		"unknown step": {{Host: "h", Resource: a, After: step("h", b)}},
	} {
		err := func() (err error) {
			defer func() {
				if r := recover(); r != nil {
					err = errors.New(fmt.Sprint(r))
				}
			}()
			inOrder(steps, placesOf(steps))
			return nil
		}()
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

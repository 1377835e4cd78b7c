package plan

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func nodes(pods string, size int, hosts ...inventory.Host) *inventory.Inventory {
	inv := &inventory.Inventory{Cluster: inventory.Cluster{PodCIDR: prefix(pods), PodSubnetSize: size}}
	for _, h := range hosts {
		if h.Roles == nil {
			h.Roles = []string{inventory.RoleWorker}
		}
		inv.Hosts = append(inv.Hosts, h)
	}
	return inv
}

func named(names ...string) []inventory.Host {
	var hosts []inventory.Host
	for _, n := range names {
		hosts = append(hosts, inventory.Host{Name: n})
	}
	return hosts
}

func fixed(name, subnet string) inventory.Host {
	return inventory.Host{Name: name, PodSubnet: prefix(subnet)}
}

func TestAllocateSubnets(t *testing.T) {
	for _, test := range []struct {
		name string
		inv  *inventory.Inventory
		lock map[string]string
		want map[string]string
		err  string
	}{
		{
			name: "in order of names",
			inv:  nodes("10.244.0.0/16", 24, named("c", "a", "b")...),
			want: map[string]string{"a": "10.244.0.0/24", "b": "10.244.1.0/24", "c": "10.244.2.0/24"},
		},
		{
			name: "hosts without a kubelet get none",
			inv:  nodes("10.244.0.0/16", 24, inventory.Host{Name: "a", Roles: []string{inventory.RoleEtcd}}, inventory.Host{Name: "b"}),
			want: map[string]string{"b": "10.244.0.0/24"},
		},
		{
			name: "fixed and remembered ones are left out",
			inv:  nodes("10.244.0.0/16", 24, append(named("a", "b", "c"), fixed("d", "10.244.0.0/24"))...),
			lock: map[string]string{"c": "10.244.1.0/24"},
			want: map[string]string{"a": "10.244.2.0/24", "b": "10.244.3.0/24", "c": "10.244.1.0/24", "d": "10.244.0.0/24"},
		},
		{
			name: "another size in the way",
			inv:  nodes("10.244.0.0/16", 24, append(named("a", "b"), fixed("c", "10.244.0.64/26"), fixed("d", "10.244.2.0/23"))...),
			want: map[string]string{"a": "10.244.1.0/24", "b": "10.244.4.0/24", "c": "10.244.0.64/26", "d": "10.244.2.0/23"},
		},
		{
			name: "the subnet of a host that went is free again",
			inv:  nodes("10.244.0.0/16", 24, named("b", "new")...),
			lock: map[string]string{"a": "10.244.0.0/24", "b": "10.244.1.0/24"},
			want: map[string]string{"b": "10.244.1.0/24", "new": "10.244.0.0/24"},
		},
		{
			name: "another pod network than the lock file's",
			inv:  nodes("10.9.0.0/16", 24, named("a")...),
			lock: map[string]string{"a": "10.244.7.0/24"},
			want: map[string]string{"a": "10.9.0.0/24"},
		},
		{
			name: "another size than the lock file's is kept",
			inv:  nodes("10.244.0.0/16", 25, named("a", "b")...),
			lock: map[string]string{"a": "10.244.0.0/24"},
			want: map[string]string{"a": "10.244.0.0/24", "b": "10.244.1.0/25"},
		},
		{
			name: "IPv6",
			inv:  nodes("fd00:10:244::/48", 64, named("a", "b")...),
			lock: map[string]string{"b": "fd00:10:244::/64"},
			want: map[string]string{"a": "fd00:10:244:1::/64", "b": "fd00:10:244::/64"},
		},
		{
			name: "the end of the address space",
			inv:  nodes("255.255.255.0/24", 25, named("a", "b", "c")...),
			err:  `cluster.pod_cidr 255.255.255.0/24 has no /25 left for host "c" (3 nodes)`,
		},
		{
			name: "full",
			inv:  nodes("10.244.0.0/23", 24, named("a", "b", "c")...),
			err:  `cluster.pod_cidr 10.244.0.0/23 has no /24 left for host "c" (3 nodes)`,
		},
		{
			name: "two fixed ones overlap",
			inv:  nodes("10.244.0.0/16", 24, fixed("a", "10.244.8.0/22"), fixed("b", "10.244.9.0/24")),
			err:  `10.244.8.0/22, fixed for host "a" overlaps 10.244.9.0/24, fixed for host "b"`,
		},
		{
			name: "a fixed one overlaps a remembered one",
			inv:  nodes("10.244.0.0/16", 24, append(named("a"), fixed("b", "10.244.9.0/24"))...),
			lock: map[string]string{"a": "10.244.9.0/24"},
			err:  `overlaps 10.244.9.0/24`,
		},
		{
			name: "a fixed one outside",
			inv:  nodes("10.244.0.0/16", 24, fixed("a", "10.245.0.0/24")),
			err:  `pod_subnet 10.245.0.0/24 of host "a" is not part of cluster.pod_cidr 10.244.0.0/16`,
		},
		{
			name: "a size that does not fit",
			inv:  nodes("10.244.0.0/24", 16, named("a")...),
			err:  "cluster.pod_subnet_size 16 does not fit cluster.pod_cidr 10.244.0.0/24",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			lock := inventory.Lock{Subnets: map[string]netip.Prefix{}}
			for host, subnet := range test.lock {
				lock.Subnets[host] = prefix(subnet)
			}
			got, err := AllocateSubnets(test.inv, lock)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error is %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			texts := map[string]string{}
			for host, subnet := range got {
				texts[host] = subnet.String()
			}
			if diff := cmp.Diff(test.want, texts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever comes and goes: no two subnets overlap, all lie in the pod network,
// and who stays keeps what it had.
func TestAllocatedSubnetsAreStable(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pods := prefix("10.244.0.0/16")
	var lock inventory.Lock
	present := map[string]inventory.Host{}
	for round := range 60 {
		for range random.IntN(12) {
			name := fmt.Sprintf("h%d", random.IntN(80))
			if _, ok := present[name]; ok {
				delete(present, name)
			} else {
				present[name] = inventory.Host{Name: name, Roles: []string{inventory.RoleWorker}}
			}
		}
		inv := nodes(pods.String(), 23+random.IntN(3))
		for _, h := range present { // in any order
			inv.Hosts = append(inv.Hosts, h)
		}
		subnets, err := AllocateSubnets(inv, lock)
		if err != nil {
			t.Fatal(err)
		}
		if len(subnets) != len(present) {
			t.Fatalf("round %d: %d subnets for %d hosts", round, len(subnets), len(present))
		}
		for host, subnet := range subnets {
			if !within(subnet, pods) {
				t.Errorf("round %d: %s of %s lies outside", round, subnet, host)
			}
			if had, ok := lock.Subnets[host]; ok && had != subnet {
				t.Errorf("round %d: %s had %s and now has %s", round, host, had, subnet)
			}
			for other, its := range subnets {
				if other != host && its.Overlaps(subnet) {
					t.Errorf("round %d: %s of %s overlaps %s of %s", round, subnet, host, its, other)
				}
			}
		}
		lock.Subnets = subnets
	}
}

func TestProposeLock(t *testing.T) {
	inv := load(t, "lab")
	kubelet := "dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet"
	runc := "github.com/opencontainers/runc/releases/download/v1.1.5/runc.amd64"
	found := digests(inv)
	pin, kept := strings.Repeat("a", 64), strings.Repeat("b", 64)
	inv.Artifacts.SHA256 = map[string]string{"runc": pin}
	// The operator's own archive: learnt anew, whatever was remembered.
	inv.Artifacts.Images = map[string]string{"registry.example/app:1": "/images/app.tar"}
	found["/images/app.tar"] = kept
	lock := ProposeLock(inv, inventory.Lock{Artifacts: map[string]string{kubelet: kept, runc: kept, "dl.k8s.io/old": kept, "/images/app.tar": pin}}, found)

	want := maps.Clone(found)
	want[kubelet], want[runc] = kept, pin
	if diff := cmp.Diff(want, lock.Artifacts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"emei": "10.244.0.0/24", "huashan": "10.244.1.0/24", "shaolin": "10.244.2.0/24", "wudang": "10.244.3.0/24"},
		map[string]string{"emei": lock.Subnets["emei"].String(), "huashan": lock.Subnets["huashan"].String(), "shaolin": lock.Subnets["shaolin"].String(), "wudang": lock.Subnets["wudang"].String()}); diff != "" {
		t.Error(diff)
	}
}

// A digest that the inventory pins does not come back from the lock file once
// the inventory pins it no more: it may have been wrong.
func TestLockFileLeavesOutPins(t *testing.T) {
	inv := load(t, "lab")
	wrong := strings.Repeat("0", 64)
	inv.Artifacts.SHA256 = map[string]string{"etcd": wrong}
	var written string
	for _, s := range compile(t, inv).Steps {
		if file, ok := s.Resource.(resource.LockFile); ok {
			written = string(file.After)
		}
	}
	if strings.Contains(written, wrong) || !strings.Contains(written, "/kubelet\"") {
		t.Errorf("the lock file:\n%s", written)
	}
}

// What is proposed can be written, read, and proposed again unchanged.
func TestLockSurvivesItsFile(t *testing.T) {
	for _, name := range cases(t) {
		inv := load(t, name)
		lock := ProposeLock(inv, inventory.Lock{}, digests(inv))
		unpinned := map[string]string{}
		for _, r := range Releases(inv) {
			if !r.Pinned() {
				unpinned[r.Location] = lock.Artifacts[r.Location]
			}
		}
		path := filepath.Join("..", "inventories", name+".hcl")
		if _, err := os.Stat(path); err != nil {
			path = filepath.Join("testdata", "compile", name, "inventory.hcl")
		}
		_, read, diags := inventory.Load(path, inventory.Options{HomeDir: "/home/user", ReadFile: func(p string) ([]byte, error) {
			if p == inventory.LockPath(path) {
				return inventory.FormatLock(lock), nil
			}
			if strings.HasSuffix(p, ".lock.hcl") {
				return nil, fs.ErrNotExist
			}
			return os.ReadFile(p)
		}})
		if diags.HasErrors() {
			t.Fatalf("%s: %v", name, diags)
		}
		if diff := cmp.Diff(lock, ProposeLock(inv, *read, unpinned), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The address plan of 5,000 hosts, half of them in the lock file: every subnet,
// and the rows that are shown.
func BenchmarkAddressPlan(b *testing.B) {
	inv := nodes("10.0.0.0/8", 24)
	lock := inventory.Lock{Subnets: map[string]netip.Prefix{}}
	for i := range 5000 {
		h := inventory.Host{
			Name: fmt.Sprintf("host%04d", i), Roles: []string{inventory.RoleWorker},
			Address: netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}),
		}
		inv.Hosts = append(inv.Hosts, h)
		if i%2 == 0 {
			lock.Subnets[h.Name] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		}
	}
	for b.Loop() {
		subnets, err := AllocateSubnets(inv, lock)
		if err != nil {
			b.Fatal(err)
		}
		c := compiler{builder: builder{inventory: inv}, subnets: subnets}
		if rows := c.addresses(); len(rows) != 5000 || rows[4999].PodSubnet == "" {
			b.Fatalf("%d rows", len(rows))
		}
	}
}

// Two families, one allocator: what one pins does not move the other, and
// without a second family its subnets leave the lock file.
func TestAllocateSubnetsV6(t *testing.T) {
	inv := nodes("10.244.0.0/16", 24, named("a", "b", "c")...)
	if subnets, err := AllocateSubnetsV6(inv, inventory.Lock{}); err != nil || len(subnets) > 0 {
		t.Errorf("without a second family: %v, %v", subnets, err)
	}
	inv.Cluster.PodCIDRv6, inv.Cluster.PodSubnetSizeV6 = prefix("fd00:10:244::/56"), 64
	inv.Hosts[2].PodSubnetV6 = prefix("fd00:10:244::/64")
	lock := ProposeLock(inv, inventory.Lock{SubnetsV6: map[string]netip.Prefix{"b": prefix("fd00:10:244:7::/64"), "gone": prefix("fd00:10:244:1::/64")}}, nil)
	want := inventory.Lock{
		Subnets:   map[string]netip.Prefix{"a": prefix("10.244.0.0/24"), "b": prefix("10.244.1.0/24"), "c": prefix("10.244.2.0/24")},
		SubnetsV6: map[string]netip.Prefix{"a": prefix("fd00:10:244:1::/64"), "b": prefix("fd00:10:244:7::/64"), "c": prefix("fd00:10:244::/64")},
		Artifacts: lock.Artifacts,
	}
	if diff := cmp.Diff(want, lock, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	inv.Cluster.PodCIDRv6 = prefix("fd00:10:244::/63")
	if _, err := AllocateSubnetsV6(inv, inventory.Lock{}); err == nil || err.Error() != `cluster.pod_cidr_v6 fd00:10:244::/63 has no /64 left for host "b" (3 nodes)` {
		t.Errorf("too small: %v", err)
	}
	inv.Cluster.PodCIDRv6 = netip.Prefix{}
	if without := ProposeLock(inv, lock, nil); len(without.SubnetsV6) > 0 {
		t.Errorf("without a second family: %v", without.SubnetsV6)
	}
}

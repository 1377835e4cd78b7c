package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/e2e/components"
	"github.com/kinstall/kinstall/plan/inventory"
)

// TestDocker tells the story of hosts that have Docker and nothing else of
// Kubernetes: containers reach each other by their addresses, whatever happens
// to the hosts; each part builds on the ones before.
func TestDocker(t *testing.T) {
	w := newWorld(t, "e2e-docker", "testdata/docker.hcl", operatorPart)
	s := newDockerStory(w)
	tell(t, []chapter{
		{"bare machines get Docker on the planned subnets", s.fromBare},
		{"containers reach each other by address", s.reachEachOther},
		{"a second apply changes nothing", s.secondApply},
		{"what is reread restarts nothing", s.reload},
		{"a host comes back from a reboot", s.reboot},
		{"another subnet restarts that host's containers and says so", s.otherSubnet},
		{"a host more leaves the others' subnets alone", s.hostAdded},
		{"a host less takes its routes away", s.hostRemoved},
	})
}

// TestDockerRelease has Docker from its own release in place of a package.
func TestDockerRelease(t *testing.T) {
	if chosen := os.Getenv("KINSTALL_NETWORKS"); chosen != "all" && chosen != "docker" {
		t.Skip("part of make test-networks")
	}
	w := newWorld(t, "e2e-docker", "testdata/docker.hcl", operatorPart)
	cache, err := components.DefaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	builder := components.Builder{CacheDir: cache, Versions: components.Default(), Log: t.Logf}
	if _, err := builder.BuildDocker(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.edit(t, "runtime \"docker\" {", fmt.Sprintf("runtime \"docker\" {\n  version = %q", components.Default().Docker))
	s := newDockerStory(w)
	for _, host := range s.hosts() {
		w.ssh(t, host, "apt-get -q -y install libdevmapper1.02.1") // the official programs are static
	}
	s.fromBare(t)
	for _, host := range s.hosts() {
		if found := w.ssh(t, host, `readlink /proc/$(pidof dockerd)/exe /proc/$(pidof containerd)/exe; dpkg-query -W -f '${Package} ' docker.io containerd 2>/dev/null || true`); found != "/usr/local/bin/dockerd\n/usr/local/bin/containerd" {
			t.Errorf("%s runs %s", host, found)
		}
	}
	s.reachEachOther(t)
	s.secondApply(t)
	s.reload(t)
	s.reboot(t)
}

// TestDockerOpenVSwitch tells it with tunnels in place of routes.
func TestDockerOpenVSwitch(t *testing.T) {
	if chosen := os.Getenv("KINSTALL_NETWORKS"); chosen != "all" && chosen != "docker-openvswitch" {
		t.Skip("part of make test-networks")
	}
	w := newWorld(t, "e2e-dockertun", "testdata/docker.hcl", operatorPart)
	w.edit(t, routesBlock, tunnelsBlock)
	s := newDockerStory(w)
	s.tunnels, s.unit = true, "kinstall-openvswitch.service"
	tell(t, []chapter{
		{"bare machines get Docker on the planned subnets", s.fromBare},
		{"containers reach each other by address", s.reachEachOther},
		{"a second apply changes nothing", s.secondApply},
		{"docker0 is made anew", s.bridgeAnew},
		{"a host comes back from a reboot", s.reboot},
		{"a host less takes its flows away", s.hostRemoved},
		{"routes take over and leave nothing of the switches", s.backToRoutes},
	})
}

// TestDockerFlannel tells it with a flannel that has an etcd, and no Kubernetes.
func TestDockerFlannel(t *testing.T) {
	if chosen := os.Getenv("KINSTALL_NETWORKS"); chosen != "all" && chosen != "docker-flannel" {
		t.Skip("part of make test-networks")
	}
	w := newWorld(t, "e2e-dockflan", "testdata/docker.hcl", operatorPart)
	withFlannel(t)
	w.edit(t, routesBlock, flannelBlock)
	w.edit(t, aloneRole, memberRole)
	s := newDockerStory(w)
	s.tunnels, s.unit, s.learning = true, "flanneld.service", 15*time.Second
	tell(t, []chapter{
		{"bare machines get Docker on the planned subnets", s.fromBare},
		{"containers reach each other by address", s.reachEachOther},
		{"leases in etcd are the plan's", s.leases},
		{"a second apply changes nothing", s.secondApply},
		{"a host comes back from a reboot", s.reboot},
		{"the member of etcd comes back from a reboot", func(t *testing.T) { s.comesBack(t, "taishan") }},
		{"a host more leaves the others' subnets alone", s.hostAdded},
		{"a host less takes its routes away", s.hostRemoved},
		{"leases in etcd are still the plan's", s.leases},
		{"routes take over and leave nothing of flannel and etcd", s.withoutEtcd},
		{"flannel and its etcd follow routes on living hosts", s.withEtcdAgain},
	})
}

const (
	flannelBlock = "network \"flannel\" {\n  store = \"etcd\"\n}"
	aloneRole    = "roles          = [\"container\"]\n  pod_subnet     = \"10.1.10.0/24\"" // taishan's
	memberRole   = "roles          = [\"container\", \"etcd\"]\n  pod_subnet     = \"10.1.10.0/24\""
)

// leases compares etcd with the plan, and the MTU with what a VXLAN leaves.
func (s *dockerStory) leases(t *testing.T) {
	compareLeases(t, s.world, "taishan", s.subnets, map[string]string{
		"taishan": "10.90.0.11", "songshan": "10.90.0.12", "heng": "10.90.0.13", "alpha": "10.90.0.14",
	})
	for _, host := range s.hosts() {
		if mtu := s.ssh(t, host, "(ip link show dev docker0; docker exec server ip link show eth0) | grep -o 'mtu [0-9]*'"); mtu != "mtu 1450\nmtu 1450" {
			t.Errorf("%s: docker0 and a container have an\n%s", host, mtu)
		}
	}
}

// withoutEtcd keeps the MTU, so that containers have no reason to notice.
func (s *dockerStory) withoutEtcd(t *testing.T) {
	s.edit(t, flannelBlock, "network \"routes\" {\n  mtu = 1450\n}")
	s.edit(t, memberRole, aloneRole)
	before := s.daemons(t)
	r := s.apply(t)
	for _, gone := range []string{"- etcd /coreos.com/network/", "- unit flanneld.service", "- unit etcd.service", "- link flannel.1"} {
		if !strings.Contains(r.stdout, gone) {
			t.Errorf("the plan lacks %q: %s", gone, r)
		}
	}
	if diff := cmp.Diff(before, s.daemons(t)); diff != "" {
		t.Errorf("something was restarted:\n%s", diff)
	}
	for _, host := range s.hosts() {
		if left := s.ssh(t, host, `ip -br link | grep flannel; pidof flanneld etcd; find /usr/local/bin /etc/kubernetes /etc/etcd /etc/flannel -type f 2>/dev/null || true`); left != "" {
			t.Errorf("%s: left behind: %s", host, left)
		}
	}
	s.tunnels, s.unit = false, ""
	s.reach(t, true)
	s.nothingToDo(t)
}

// withEtcdAgain is the way there, past gates between the hosts.
func (s *dockerStory) withEtcdAgain(t *testing.T) {
	s.edit(t, "network \"routes\" {\n  mtu = 1450\n}", flannelBlock)
	s.edit(t, aloneRole, memberRole)
	before := s.daemons(t)
	s.apply(t)
	if diff := cmp.Diff(before, s.daemons(t)); diff != "" {
		t.Errorf("something was restarted:\n%s", diff)
	}
	s.tunnels, s.unit = true, "flanneld.service"
	s.leases(t)
	s.reach(t, true)
	s.nothingToDo(t)
}

// TestDockerBird tells it with routes that hosts learn from each other.
func TestDockerBird(t *testing.T) {
	if chosen := os.Getenv("KINSTALL_NETWORKS"); chosen != "all" && chosen != "docker-bird" {
		t.Skip("part of make test-networks")
	}
	w := newWorld(t, "e2e-dockbird", "testdata/docker.hcl", operatorPart)
	w.edit(t, routesBlock, `network "bird" {}`)
	s := newDockerStory(w)
	s.unit, s.learning = "bird.service", 15*time.Second
	tell(t, []chapter{
		{"bare machines get Docker on the planned subnets", s.fromBare},
		{"containers reach each other by address", s.reachEachOther},
		{"a second apply changes nothing", s.secondApply},
		{"a host comes back from a reboot", s.reboot},
		{"a host more leaves the others' subnets alone", s.hostAdded},
		{"a host less takes its routes away", s.hostRemoved},
	})
}

const tunnelsBlock = "network \"openvswitch\" {\n  tunnel   = \"gre\"\n  datapath = \"userspace\"\n}"

// backToRoutes keeps the MTU, so that containers have no reason to notice.
func (s *dockerStory) backToRoutes(t *testing.T) {
	s.edit(t, tunnelsBlock, "network \"routes\" {\n  mtu = 1462\n}")
	before := s.daemons(t)
	r := s.apply(t)
	for _, gone := range []string{"- switch br0", "- switch br-underlay", "- link pods0", "- unit kinstall-openvswitch.service", "- route 10.1.0.0/16"} {
		if !strings.Contains(r.stdout, gone) {
			t.Errorf("the plan lacks %q: %s", gone, r)
		}
	}
	if diff := cmp.Diff(before, s.daemons(t)); diff != "" {
		t.Errorf("something was restarted:\n%s", diff)
	}
	for _, host := range s.hosts() {
		left := s.ssh(t, host, `ovs-vsctl list-br; ip -br link | grep -E '^(pods0|ovs0|br0|br-underlay)'; ip route show 10.1.0.0/16; iptables -w -t raw -S | grep eth1
ls /etc/kinstall/openvswitch.flows /usr/local/lib/kinstall/openvswitch.sh /etc/modprobe.d/kinstall-openvswitch.conf 2>/dev/null || true`)
		if left != "" {
			t.Errorf("%s: left behind: %s", host, left)
		}
	}
	s.tunnels, s.unit = false, ""
	s.reach(t, true)
	s.nothingToDo(t)
}

func newDockerStory(w *world) *dockerStory {
	return &dockerStory{world: w, subnets: map[string]string{"taishan": "10.1.10.0/24", "heng": "10.1.0.0/24", "songshan": "10.1.1.0/24"}}
}

type dockerStory struct {
	*world
	subnets map[string]string // by host, as planned
	tunnels bool              // in place of routes between the hosts' own addresses
	unit    string            // the network's own, if there is one
	// learning is how long hosts may take to learn the way to one that comes up.
	learning time.Duration
}

func (s *dockerStory) hosts() []string { return slices.Sorted(maps.Keys(s.subnets)) }

// gateway is the first address of a subnet, docker0's.
func gateway(subnet string) string { return strings.TrimSuffix(subnet, "0/24") + "1" }

// server is what every host runs: it serves 50 MB, their digest, and who asks.
const server = `docker run --detach --name server kinstall.example/toolbox:1 sh -c '
mkdir -p /www/cgi-bin
dd if=/dev/urandom of=/www/data bs=1M count=50 2>/dev/null
sha256sum < /www/data > /www/sum
printf "#!/bin/sh\necho; echo \$REMOTE_ADDR | tr -d [] | sed s/::ffff://\n" > /www/cgi-bin/who
chmod +x /www/cgi-bin/who
exec httpd -f -p 8080 -h /www'`

func (s *dockerStory) fromBare(t *testing.T) {
	r := s.run(t, "plan", "-show-addresses", "-verbose", s.inventory)
	for _, subnet := range s.subnets {
		if !strings.Contains(r.stdout, subnet) || !strings.Contains(r.stdout, `"bip": "`+gateway(subnet)+`/24"`) {
			t.Errorf("the plan does not give %s: %s", subnet, r)
		}
	}
	r = s.apply(t)
	t.Logf("apply from bare machines: %s", r.elapsed.Round(100*time.Millisecond))
	s.bridges(t)
	for _, host := range s.hosts() {
		if ran := s.ssh(t, host, "ip -o link show type bridge | grep -c . ; ls /etc/kubernetes/manifests /var/lib/kubelet 2>/dev/null | wc -l"); ran != "1\n0" {
			t.Errorf("%s: bridges and files of Kubernetes: %s", host, ran)
		}
		s.ssh(t, host, server)
	}
}

// bridges compares what Docker says of its network with the plan.
func (s *dockerStory) bridges(t *testing.T) {
	t.Helper()
	for host, subnet := range s.subnets {
		got := s.ssh(t, host, `docker network inspect bridge --format '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}'; ip -o -4 addr show dev docker0 | tr -s ' ' | cut -d ' ' -f 4`)
		if want := fmt.Sprintf("%s %s\n%s/24", subnet, gateway(subnet), gateway(subnet)); got != want {
			t.Errorf("%s: docker0 is\n%s\nwant\n%s", host, got, want)
		}
	}
}

// addresses of the servers, by host, once all of them serve.
func (s *dockerStory) addresses(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for host, subnet := range s.subnets {
		eventually(t, time.Minute, "the server on "+host, func() string {
			ssh := s.lab.SSH(t.Context(), host, `docker exec server wget -q -O - http://127.0.0.1:8080/sum`)
			out, err := ssh.CombinedOutput()
			if err != nil {
				return string(out)
			}
			return ""
		})
		found[host] = s.ssh(t, host, `docker inspect --format '{{.NetworkSettings.IPAddress}}' server`)
		if !strings.HasPrefix(found[host], strings.TrimSuffix(subnet, "0/24")) {
			t.Errorf("%s: a container has %s, which is not of %s", host, found[host], subnet)
		}
	}
	return found
}

// reachEachOther takes every pair both ways. The policy of FORWARD is what a
// Docker leaves behind that had to turn on forwarding itself.
func (s *dockerStory) reachEachOther(t *testing.T) { s.reach(t, true) }

// reach leaves the 50 MB out where the way has been tried with them.
func (s *dockerStory) reach(t *testing.T, transfer bool) {
	t.Helper()
	addresses := s.addresses(t)
	for _, host := range s.hosts() {
		s.ssh(t, host, "iptables -w -P FORWARD DROP")
	}
	for from := range addresses {
		for to, address := range addresses {
			if from == to {
				continue
			}
			eventually(t, s.learning, "a way from "+from+" to "+to, func() string {
				if out, err := s.lab.SSH(t.Context(), from, "docker exec server ping -c 1 -W 5 "+address).CombinedOutput(); err != nil {
					return string(out)
				}
				return ""
			})
			if who := s.ssh(t, from, "docker exec server wget -q -O - http://"+address+":8080/cgi-bin/who"); who != addresses[from] {
				t.Errorf("%s sees a container of %s as %q, not as %s", to, from, who, addresses[from])
			}
			if !transfer {
				continue
			}
			got := s.ssh(t, from, fmt.Sprintf(`docker exec server sh -c 'wget -q -O - http://%[1]s:8080/data | sha256sum; wget -q -O - http://%[1]s:8080/sum'`, address))
			if sums := strings.Split(got, "\n"); len(sums) != 2 || sums[0] != sums[1] {
				t.Errorf("50 MB from %s arrive damaged at %s: %s", to, from, got)
			}
		}
	}
	if s.tunnels {
		return // a host's own packets to containers come from its address of the pod network
	}
	// What is outside sees the host, and nothing but published ports.
	if who := s.ssh(t, "heng", "docker exec server ping -c 1 -W 5 10.90.0.11"); !strings.Contains(who, "1 packets received") {
		t.Errorf("a container does not reach a host: %s", who)
	}
	if out, err := s.lab.SSH(t.Context(), "heng", "ping -c 1 -W 1 "+addresses["taishan"]).CombinedOutput(); err == nil {
		t.Errorf("who is no container reaches one past the published ports: %s", out)
	}
}

// daemons fingerprints dockerd and the containers.
func (s *dockerStory) daemons(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, host := range s.hosts() {
		all[host] = s.ssh(t, host, `pidof dockerd; docker ps --no-trunc --format '{{.ID}}' | xargs docker inspect --format '{{.Name}} {{.State.Pid}}' | sort`)
	}
	return all
}

func (s *dockerStory) nothingToDo(t *testing.T) {
	t.Helper()
	if r := s.run(t, "plan", "-detailed-exitcode", s.inventory); r.code != 0 {
		t.Errorf("there is something to do: %s", r)
	}
}

func (s *dockerStory) secondApply(t *testing.T) {
	before := s.daemons(t)
	r := s.apply(t)
	if !strings.Contains(r.stdout, "No changes") {
		t.Fatalf("second apply: %s", r)
	}
	if diff := cmp.Diff(before, s.daemons(t)); diff != "" {
		t.Errorf("something was restarted:\n%s", diff)
	}
	// A rule that somebody took away is missed and put back.
	s.ssh(t, "heng", "iptables -w -F DOCKER-USER")
	if diff := cmp.Diff([]string{"heng + firewall filter/DOCKER-USER"}, changed(s.apply(t).stdout)); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
	s.nothingToDo(t)
}

func (s *dockerStory) reload(t *testing.T) {
	before := s.daemons(t)
	s.edit(t, "runtime \"docker\" {", "runtime \"docker\" {\n  registry \"docker.io\" {\n    mirrors = [\"https://mirror.example.com\"]\n  }\n")
	r := s.apply(t)
	if !strings.Contains(r.stdout, "reload: /etc/docker/daemon.json changes") || strings.Contains(r.stdout, "containers of this host") {
		t.Errorf("a mirror is no more than a reload: %s", r)
	}
	if diff := cmp.Diff(before, s.daemons(t)); diff != "" {
		t.Errorf("something was restarted:\n%s", diff)
	}
	for _, host := range s.hosts() {
		if mirrors := s.ssh(t, host, `docker info --format '{{.RegistryConfig.Mirrors}}'`); mirrors != "[https://mirror.example.com/]" {
			t.Errorf("%s: mirrors %s", host, mirrors)
		}
	}
	// Logs take a restart of the daemon, and containers live on.
	s.edit(t, "cgroup_driver", "log_max_size  = \"1m\"\n  cgroup_driver")
	r = s.apply(t)
	if !strings.Contains(r.stdout, "restart: /etc/docker/daemon.json changes") || strings.Contains(r.stdout, "containers of this host") {
		t.Errorf("the size of logs is no more than a restart: %s", r)
	}
	for host, now := range s.daemons(t) {
		was := strings.SplitN(before[host], "\n", 2)
		is := strings.SplitN(now, "\n", 2)
		if was[0] == is[0] || was[1] != is[1] {
			t.Errorf("%s: daemon and containers were\n%s\nand are\n%s", host, before[host], now)
		}
	}
	s.nothingToDo(t)
}

// bridgeAnew restarts Docker, once as it is and once without its bridge, which
// it makes again: the cable to the switch is plugged in again as well.
func (s *dockerStory) bridgeAnew(t *testing.T) {
	for _, restart := range []string{
		"systemctl restart docker.service",
		"docker stop server && systemctl stop docker.service docker.socket && ip link del docker0 && systemctl start docker.service && docker start server",
	} {
		s.ssh(t, "heng", restart)
		s.reach(t, false)
		s.nothingToDo(t)
	}
}

func (s *dockerStory) reboot(t *testing.T) { s.comesBack(t, "songshan") }

func (s *dockerStory) comesBack(t *testing.T, host string) {
	s.ssh(t, host, "docker update --restart=always server")
	if err := s.lab.Reboot(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	units := "docker.service kinstall-network.service " + s.unit
	eventually(t, time.Minute, "the units of "+host, func() string {
		out, err := s.lab.SSH(t.Context(), host, "for unit in "+units+"; do systemctl is-active $unit || exit 1; done").CombinedOutput()
		if err != nil {
			return string(out)
		}
		return ""
	})
	s.nothingToDo(t)
	s.reachEachOther(t)
}

func (s *dockerStory) otherSubnet(t *testing.T) {
	content, err := os.ReadFile(s.inventory)
	if err != nil {
		t.Fatal(err)
	}
	// A setting that Docker refuses is put back on the first host and reaches no
	// other; containers don't notice.
	before := s.daemons(t)
	s.edit(t, "cgroup_driver", "settings = { \"no-such-setting\" = true }\n  cgroup_driver")
	r := s.run(t, "apply", "-yes", s.inventory)
	intact := 0
	for host, now := range s.daemons(t) {
		_, was, _ := strings.Cut(before[host], "\n")
		_, is, _ := strings.Cut(now, "\n")
		if was != is {
			t.Errorf("%s: containers were\n%s\nand are\n%s", host, was, is)
		}
		if now == before[host] {
			intact++
		}
	}
	if r.code != 1 || intact != 2 {
		t.Errorf("a setting Docker refuses: %d hosts intact, %s", intact, r)
	}
	said := strings.Join(strings.Fields(r.stdout+r.stderr), " ")
	for _, want := range []string{"no-such-setting", "failed and was rolled back", "put back 1 step: taishan file /etc/docker/daemon.json", "4 not begun"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said: %s", want, r)
		}
	}
	s.write(t, string(content))
	s.nothingToDo(t)

	s.edit(t, "10.1.10.0/24", "10.1.20.0/24")
	s.subnets["taishan"] = "10.1.20.0/24"
	before = s.daemons(t)
	r = s.apply(t)
	if want := "docker0 changes from 10.1.10.1/24 to 10.1.20.1/24: all containers of this host are restarted"; !strings.Contains(strings.Join(strings.Fields(r.stdout), " "), want) {
		t.Errorf("the plan does not say %q: %s", want, r)
	}
	after := s.daemons(t)
	if before["taishan"] == after["taishan"] || strings.Count(before["taishan"], "\n") != strings.Count(after["taishan"], "\n") {
		t.Errorf("taishan's containers were\n%s\nand are\n%s", before["taishan"], after["taishan"])
	}
	delete(before, "taishan")
	delete(after, "taishan")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("other hosts were touched:\n%s", diff)
	}
	s.bridges(t)
	s.reach(t, false)
	s.nothingToDo(t)
}

// planned are the subnets of the lock file.
func (s *dockerStory) planned(t *testing.T) map[string]string {
	t.Helper()
	_, lock, diags := inventory.Load(s.inventory, inventory.Options{Vars: map[string]string{"lab": s.lab.OperatorDir(), "mirror": s.mirror.Dir}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	subnets := map[string]string{}
	for host, subnet := range lock.Subnets {
		subnets[host] = subnet.String()
	}
	return subnets
}

const fourth = `
host "alpha" { # the first by its name
  address = "10.90.0.14"
  roles   = ["container"]
}
`

func (s *dockerStory) hostAdded(t *testing.T) {
	s.edit(t, "host \"heng\"", fourth+"\nhost \"heng\"")
	if err := s.lab.Up(t.Context(), s.machines(t)); err != nil {
		t.Fatal(err)
	}
	before := s.daemons(t)
	s.apply(t)
	if diff := cmp.Diff(before, s.daemons(t)); diff != "" {
		t.Errorf("containers of other hosts were touched:\n%s", diff)
	}
	s.subnets["alpha"] = "10.1.2.0/24"
	if diff := cmp.Diff(s.subnets, s.planned(t)); diff != "" {
		t.Errorf("subnets (-want +got):\n%s", diff)
	}
	s.bridges(t)
	s.ssh(t, "alpha", server)
	s.reach(t, false)
}

func (s *dockerStory) hostRemoved(t *testing.T) {
	content, err := os.ReadFile(s.inventory)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(content), `host "songshan" {`)
	_, after, _ := strings.Cut(rest, "\n}\n")
	s.write(t, before+after)
	gone := s.subnets["songshan"]
	delete(s.subnets, "songshan")
	// As long as it runs, it says where it is. Where there is an etcd, the host is
	// remembered and stopped by kinstall.
	if s.learning > 0 && s.unit != "flanneld.service" {
		if err := s.lab.Stop(t.Context(), "songshan"); err != nil {
			t.Fatal(err)
		}
	}
	s.apply(t)
	for _, host := range s.hosts() {
		eventually(t, time.Minute, host+" knows no way to songshan", func() string {
			if left := s.ssh(t, host, "ip route show "+gone+"; cat /usr/local/lib/kinstall/network.sh /etc/kinstall/routes 2>/dev/null | grep -c "+gone+" || true"); left != "0" {
				return "left: " + left
			}
			return ""
		})
	}
	s.nothingToDo(t)
	s.bridges(t)
	s.reach(t, false)
	authorities := "pki"
	if s.unit == "flanneld.service" {
		authorities = "pki/[^e]*" // all but etcd's
	}
	if entries, err := filepath.Glob(filepath.Join(s.dir, authorities)); err != nil || len(entries) > 0 {
		t.Errorf("authorities without Kubernetes: %v %v", entries, err)
	}
}

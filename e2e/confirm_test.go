package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision"
	"github.com/kinstall/kinstall/provision/confirm"
	"github.com/kinstall/kinstall/provision/pki"
)

// TestChangesConfirm tells the story of changes that cut the operator off from a
// host: the host undoes them by itself.
func TestChangesConfirm(t *testing.T) {
	w := newWorld(t, "e2e-confirm", "testdata/confirm.hcl", operatorPart, containersPart)
	s := confirmStory{w}
	s.moveOperator(t)
	tell(t, []chapter{
		{"a bare install is confirmed and leaves nothing behind", s.fromBare},
		{"a route that leads packets to the operator elsewhere", s.route},
		{"the operator's machine dies before it can confirm", s.crash},
		{"a rule that drops port 22", s.rule},
		{"a reboot before the confirmation", s.reboot},
		{"nothing of it is left", s.clean},
	})
}

type confirmStory struct{ *world }

const (
	// operatorElsewhere is where the machines see the operator: behind their
	// router, in what may become the pods' subnet of a host.
	operatorElsewhere = "10.77.5.1"

	goodSubnet = `pod_subnet = "10.77.20.0/24"`
	badSubnet  = `pod_subnet = "10.77.5.0/24"` // songshan's, so that taishan sends the operator's packets there

	// undoing is what taishan is looked at for.
	undoing = `ls /var/lib/kinstall/revert/*/armed /var/lib/kinstall/revert/*/reverting /etc/systemd/system/kinstall-revert.service /etc/systemd/system/sysinit.target.wants/kinstall-revert.service 2>/dev/null; systemctl list-units --no-legend --state=active,activating,failed 'kinstall-revert*'`
)

// moveOperator gives the operator's side an address in another network.
func (s confirmStory) moveOperator(t *testing.T) {
	t.Helper()
	for _, command := range [][]string{
		{"ip", "address", "add", operatorElsewhere + "/32", "dev", "lo"},
		{"ip", "route", "replace", "10.95.0.0/24", "dev", "br0", "proto", "kernel", "scope", "link", "src", operatorElsewhere},
	} {
		if r := s.exec(t, command...); r.code != 0 {
			t.Fatal(r)
		}
	}
	if from := s.ssh(t, "taishan", "echo $SSH_CLIENT"); !strings.HasPrefix(from, operatorElsewhere+" ") {
		t.Fatalf("taishan sees the operator as %s", from)
	}
	// What others send to its pods ends at songshan, as it does with pods; its own
	// answers to the operator do not.
	s.ssh(t, "songshan", "ip rule add iif eth0 lookup 9 && ip route add blackhole 10.77.5.0/24 table 9")
}

func (s confirmStory) fromBare(t *testing.T) {
	r := s.apply(t)
	printed := strings.Join(strings.Fields(r.stdout), " ")
	for _, want := range []string{"~ sysctl net.ipv4.ip_forward (armed)", "+ staticroutes pods (armed)", "(armed) is undone by the host itself unless"} {
		if !strings.Contains(printed, want) {
			t.Errorf("the plan lacks %q: %s", want, r)
		}
	}
	for _, host := range []string{"taishan", "songshan"} {
		if found := s.ssh(t, host, undoing+"; true"); found != "" {
			t.Errorf("%s: left behind: %s", host, found)
		}
	}
	if r := s.run(t, "plan", "-detailed-exitcode", s.inventory); r.code != 0 {
		t.Errorf("a plan after the first apply: %s", r)
	}
	sessions := s.ssh(t, "taishan", "journalctl --output=cat --unit='kinstall-revert-*.timer' | grep -c Started")
	t.Logf("from bare in %s, with %s sessions on taishan: %s", r.elapsed, sessions, r.stdout[strings.LastIndex(strings.TrimSpace(r.stdout), "\n")+1:])
}

// undone expects that an apply failed as it should.
func (s confirmStory) undone(t *testing.T, r result, want ...string) {
	t.Helper()
	said := strings.Join(strings.Fields(r.stdout+r.stderr), " ")
	for _, want := range append(want, "could not be reached over a new connection within 10s of the change", "the host undid it by itself") {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said: %s", want, r)
		}
	}
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
}

func (s confirmStory) route(t *testing.T) {
	script := s.ssh(t, "taishan", "cat /usr/local/lib/kinstall/network.sh /etc/kinstall/routes")
	s.edit(t, goodSubnet, badSubnet)
	r := s.run(t, "apply", "-yes", "-confirm-timeout", "10s", s.inventory)
	s.undone(t, r, "deleted the route 10.77.5.0/24 via 10.95.0.12", "give it longer with -confirm-timeout")
	t.Logf("undone and reported after %s", r.elapsed)
	if found := s.ssh(t, "taishan", "ip route show 10.77.5.0/24; ip route show 10.77.20.0/24"); found != "10.77.20.0/24 via 10.95.0.12 dev eth0 metric 64" {
		t.Errorf("taishan's routes: %s", found)
	}
	if found := s.ssh(t, "taishan", "cat /usr/local/lib/kinstall/network.sh /etc/kinstall/routes"); found != script {
		t.Errorf("at boot, taishan would cut itself off:\n%s", found)
	}
	if r := s.run(t, "plan", s.inventory); !strings.Contains(r.stdout, "~ staticroutes pods (armed)") || !strings.Contains(r.stdout, "10.77.5.0/24 via") {
		t.Errorf("a plan takes the route for set: %s", r)
	}
	s.edit(t, badSubnet, goodSubnet)
	s.apply(t)
	if r := s.run(t, "plan", "-detailed-exitcode", s.inventory); r.code != 0 {
		t.Errorf("with the mistake corrected: %s", r)
	}
}

// reachable tells whether taishan can be dialled within a second.
func (s confirmStory) reachable(t *testing.T) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	conn, err := s.lab.DialContext(ctx, "tcp", "10.95.0.11:22")
	if err == nil {
		conn.Close()
	}
	return err
}

func (s confirmStory) crash(t *testing.T) {
	s.edit(t, goodSubnet, badSubnet)
	kinstall := s.lab.Exec(t.Context(), s.kinstall, "apply", "-yes", "-confirm-timeout", "15s", s.inventory)
	kinstall.Dir = s.dir
	if err := kinstall.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "taishan is cut off", func() string {
		if s.reachable(t) == nil {
			return "it is reachable"
		}
		return ""
	})
	if err := kinstall.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = kinstall.Wait() // with the error of a process that was killed
	back := eventually(t, time.Minute, "taishan is reachable again", func() string {
		if err := s.reachable(t); err != nil {
			return err.Error()
		}
		return ""
	})
	t.Logf("reachable again %s after the crash", back)
	if found := s.ssh(t, "taishan", "ip route show 10.77.5.0/24"); found != "" {
		t.Errorf("taishan's route: %s", found)
	}
	s.edit(t, badSubnet, goodSubnet)
	eventually(t, time.Minute, "an apply of the corrected inventory", func() string {
		// The dead run's locks are freed when the hosts have missed it for long enough.
		if r := s.run(t, "apply", "-yes", s.inventory); r.code != 0 {
			return r.String()
		}
		return ""
	})
}

// rule has no inventory to express it: the step is put into a delta by hand, and
// carried out by the executor on the operator's side.
func (s confirmStory) rule(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KINSTALL_CONFIRM_INVENTORY", s.inventory)
	s.undone(t, s.exec(t, self, "-test.run=^TestDropPort22$", "-test.count=1"),
		"create firewall:filter/INPUT -p tcp --dport 22 -j DROP", "deleted the rule filter/INPUT -p tcp --dport 22 -j DROP")
	if found := s.ssh(t, "taishan", "iptables -S INPUT"); strings.Contains(found, "DROP") {
		t.Errorf("taishan's rules: %s", found)
	}
}

// TestDropPort22 is a part of TestChangesConfirm, run on the operator's side of
// the lab.
func TestDropPort22(t *testing.T) {
	path := os.Getenv("KINSTALL_CONFIRM_INVENTORY")
	if path == "" {
		t.Skip("run by TestChangesConfirm")
	}
	inv, _, diags := inventory.Load(path, inventory.Options{Env: os.Environ()})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	authorities, err := pki.Open(inv.PKI.Dir, pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fleet := provision.NewFleet(inv, authorities, provision.Options{ConfirmTimeout: 10 * time.Second})
	defer fleet.Close()
	rule := resource.FirewallRule{Table: "filter", Chain: "INPUT", Rule: []string{"-p", "tcp", "--dport", "22", "-j", "DROP"}}
	p := &plan.Plan{Inventory: inv, Steps: []plan.Step{{Host: "taishan", Resource: rule}}}
	release, err := fleet.Lock(t.Context(), p.Hosts(), "TestDropPort22")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	observed, err := fleet.Observe(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	// Not Plan.Diff, to which everything else on the host is an orphan.
	delta := &plan.Delta{Plan: p, Observed: observed, Items: []plan.Item{
		{Step: &p.Steps[0], Change: &resource.Change{Action: resource.Create}},
	}}
	if _, err := (&provision.Executor{Fleet: fleet, Authorities: authorities}).Apply(t.Context(), delta); err != nil {
		t.Fatal(err)
	}
}

func (s confirmStory) reboot(t *testing.T) {
	const file, added = "/etc/sysctl.d/99-kinstall.conf", "/etc/sysctl.d/zz-confirm.conf"
	before := s.ssh(t, "taishan", "cat "+file)
	session := confirm.Session{Token: "reboot", Timeout: time.Hour}
	arm := s.lab.SSH(t.Context(), "taishan", "sh")
	arm.Stdin = strings.NewReader(session.Arm(confirm.Touched{Files: []string{file, added}}))
	if out, err := arm.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.ssh(t, "taishan", "echo net.ipv4.ip_forward=0 >"+file+"; echo net.ipv4.ip_forward=0 >"+added)
	if err := s.lab.Reboot(t.Context(), "taishan"); err != nil {
		t.Fatal(err)
	}
	if found := s.ssh(t, "taishan", "cat "+file+"; ls "+added+" 2>/dev/null; true"); found != before {
		t.Errorf("after the reboot:\n%s", found)
	}
	if found := s.ssh(t, "taishan", "cat /proc/sys/net/ipv4/ip_forward"); found != "1" {
		t.Errorf("systemd-sysctl came too early: ip_forward is %s", found)
	}
	if found := s.ssh(t, "taishan", "systemctl list-units --no-legend --failed"); found != "" {
		t.Errorf("failed units: %s", found)
	}
}

func (s confirmStory) clean(t *testing.T) {
	if found := s.ssh(t, "taishan", undoing+"; true"); found != "" {
		t.Errorf("left behind: %s", found)
	}
	s.apply(t)
	if r := s.run(t, "plan", "-detailed-exitcode", s.inventory); r.code != 0 {
		t.Error(r)
	}
	if found := s.ssh(t, "taishan", "find /var/lib/kinstall/revert/kept -type f"); found != "" {
		t.Errorf("put aside and never settled: %s", found)
	}
}

package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// withBalancer is the lab with another load balancer.
func withBalancer(t *testing.T, lb inventory.LoadBalancer) *Plan {
	t.Helper()
	inv := load(t, "lab")
	lb.Timeout = time.Hour
	if inv.LoadBalancer = &lb; lb.Kind == inventory.BalancerLocal {
		inv.Cluster.Endpoint = inventory.Endpoint{Host: inv.Hosts[0].Address.String(), Port: APIServerPort, Address: inv.Hosts[0].Address}
	}
	return compile(t, inv)
}

var (
	nginxOnEmei   = inventory.LoadBalancer{Kind: inventory.BalancerNginx, Hosts: []string{"emei"}, Port: 8443}
	haproxyOnEmei = inventory.LoadBalancer{Kind: inventory.BalancerHAProxy, Hosts: []string{"emei"}, Port: 8443}
	onEachNode    = inventory.LoadBalancer{Kind: inventory.BalancerLocal, Port: 7443}
)

// From nginx to balancers of the nodes' own: those are seen to work first, then
// what dials them is changed, and the old one goes in the end.
func TestBalancersFollowEachOther(t *testing.T) {
	for _, old := range []inventory.LoadBalancer{nginxOnEmei, haproxyOnEmei} {
		before, next := withBalancer(t, old), withBalancer(t, onEachNode)
		delta := next.Diff(follows(before, next))
		after := map[StepID][]StepID{}
		for _, item := range delta.Items {
			after[item.Step.ID()] = item.Step.After
		}
		kind, _ := balancerOf(before.Inventory)
		gone := awaited(after, NewStepID("emei", unitID(kind.unit)))
		if len(gone) == 0 {
			t.Fatalf("%s is not deleted", kind.unit)
		}
		for _, h := range next.Inventory.Nodes() {
			for _, unit := range []string{KubeletUnit, kubeProxyUnit, localUnit} {
				id := NewStepID(h.Name, unitID(unit))
				if !gone[id] {
					t.Errorf("%s is deleted before %s was changed", kind.unit, id)
				}
				if unit == localUnit || h.Has(inventory.RoleMaster) {
					continue
				}
				if waits := awaited(after, id); !waits[NewStepID(Cluster, resource.ID("gate:endpoint/"+h.Name))] {
					t.Errorf("%s does not wait until the node's balancer was seen to work", id)
				}
			}
			if waits := awaited(after, NewStepID(Cluster, resource.ID("gate:endpoint/"+h.Name))); !waits[NewStepID(h.Name, unitID(localUnit))] {
				t.Errorf("the balancer of %s is not started before it is looked at", h.Name)
			}
		}
	}
}

// At the same port of one host, the new balancer takes the place of the old one
// while that still listens. Elsewhere nobody is in its way.
func TestBalancersRelieveEachOther(t *testing.T) {
	for _, c := range []struct {
		old, next inventory.LoadBalancer
		want      string
	}{
		{nginxOnEmei, haproxyOnEmei, "emei nginx.service QUIT"},
		{haproxyOnEmei, nginxOnEmei, "emei haproxy.service USR1"},
		{nginxOnEmei, nginxOnEmei, ""},
		{nginxOnEmei, inventory.LoadBalancer{Kind: inventory.BalancerHAProxy, Hosts: []string{"wudang"}, Port: 8443}, ""},
		{nginxOnEmei, onEachNode, ""},
	} {
		before, next := withBalancer(t, c.old), withBalancer(t, c.next)
		var got []string
		for _, item := range next.Diff(follows(before, next)).Items {
			unit, ok := item.Step.Resource.(resource.Unit)
			if !ok {
				continue
			}
			for _, r := range unit.Relieves {
				got = append(got, fmt.Sprintf("%s %s %s", item.Step.Host, r.Unit, r.Quit))
			}
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("from %s on %v to %s on %v: %q, want %q", c.old.Kind, c.old.Hosts, c.next.Kind, c.next.Hosts, got, c.want)
		}
	}
}

// Debian's HAProxy is stopped where it came for the node's own balancer only.
func TestIdleBalancerIsStopped(t *testing.T) {
	next := withBalancer(t, onEachNode)
	for _, c := range []struct {
		old  *Plan
		want []string
	}{{withBalancer(t, nginxOnEmei), []string{haproxyUnit}}, {next, nil}} {
		observed := follows(c.old, next)
		if c.want == nil {
			for host, o := range observed.Hosts {
				for _, s := range next.Steps {
					if p, ok := s.Resource.(resource.Package); ok && s.Host == host {
						for _, q := range p.Queries() {
							o.Facts.Put(q.Key(), fact.Package{Installed: true})
						}
					}
				}
			}
		}
		for _, item := range next.Diff(observed).Items {
			if unit, ok := item.Step.Resource.(resource.Unit); ok && unit.Name == localUnit && !slices.Equal(unit.Idle, c.want) {
				t.Errorf("%s stops %v, want %v", item.Step.ID(), unit.Idle, c.want)
			}
		}
	}
}

// A balancer has asked a server twice before that listens no longer; in a cluster
// of thousands, servers are not asked more often than they can answer.
func TestServersAreAskedInTime(t *testing.T) {
	for _, nodes := range []int{4, 500, 501, 2000, 5000} {
		inv := &inventory.Inventory{LoadBalancer: &inventory.LoadBalancer{Kind: inventory.BalancerLocal}, Hosts: make([]inventory.Host, nodes)}
		for i := range inv.Hosts {
			inv.Hosts[i].Roles = []string{inventory.RoleWorker}
		}
		every := checkInterval(inv)
		if rate := float64(nodes) / every.Seconds(); rate > 1000 {
			t.Errorf("%d nodes: %.0f questions a second", nodes, rate)
		}
		// Up to an interval to the first, 500 ms to the second, and as long again.
		if delay := shutdownDelay(inv); delay < every+time.Second || delay > 10*time.Second {
			t.Errorf("%d nodes: a server that is to end serves on for %s, asked every %s", nodes, delay, every)
		}
	}
}

// Who can't be asked without credentials is left out by its configuration.
func TestBalancersThatCanNotAskAreTold(t *testing.T) {
	inv := load(t, "lab")
	lb := haproxyOnEmei
	inv.LoadBalancer = &lb
	lb.Timeout = time.Hour
	for _, want := range []int{0, 1} {
		for _, s := range compile(t, inv).Steps {
			pod, ok := s.Resource.(resource.StaticPod)
			if !ok || pod.Name != apiServerPod {
				continue
			}
			if len(s.Rollout.Drains) != want {
				t.Errorf("%s: %d balancers are told, want %d", s.ID(), len(s.Rollout.Drains), want)
			}
			for _, d := range s.Rollout.Drains {
				if !strings.Contains(string(d.Without), " check-sni "+s.Host+" disabled\n") || !strings.Contains(string(d.Without), "expect status 401 ") {
					t.Errorf("%s: it is told\n%s", s.ID(), d.Without)
				}
			}
		}
		inv.APIServer.Args = map[string]string{"anonymous-auth": "false"}
	}
}

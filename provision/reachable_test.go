package provision

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// fakePing answers as the file "reach" of its host says: a line for each
// address, and what comes through from there.
const fakePing = `for target; do :; done
found=$(sed -n "s/^$target //p" "$HOST/reach")
case "$*" in
*"-M do"*) [ "$found" = full ] ;;
*) [ "$found" = full ] || [ "$found" = small ] ;;
esac
`

// podNetwork is a fleet whose hosts have a bridge each.
func podNetwork(t *testing.T, names ...string) (*testFleet, clusterChecks) {
	f := newFleet(t, Options{}, names...)
	p := f.plan()
	delta := f.everything(t)
	delta.Plan = p
	for i, name := range names {
		f.hosts[name].program(t, "ping", fakePing)
		subnet := netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i))
		p.Addresses = append(p.Addresses, plan.AddressRow{Host: name, PodSubnet: subnet.String(), Bridge: subnet.Addr().Next().String()})
		p.Steps = append(p.Steps, plan.Step{Host: name, Resource: resource.Hostname{Name: name}})
	}
	e := f.executor()
	e.delta = delta
	e.patience = 100 * time.Millisecond
	return f, clusterChecks{e}
}

func (h *testHost) reaches(t *testing.T, lines string) {
	t.Helper()
	if err := os.WriteFile(h.path("/reach"), []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReachable(t *testing.T) {
	f, gates := podNetwork(t, "emei", "huashan", "wudang")
	silent := func(string) {}
	wait := func(kind resource.CheckKind, host string) error {
		return gates.gate(t.Context(), resource.Gate{Check: resource.Check{Kind: kind, Host: host}}, silent)
	}
	// emei and huashan see each other, wudang takes small packets only, and
	// nobody has heard of it on huashan.
	f.hosts["emei"].reaches(t, "10.244.1.1 full\n10.244.2.1 small\n")
	f.hosts["huashan"].reaches(t, "10.244.0.1 full\n")
	f.hosts["wudang"].reaches(t, "10.244.0.1 small\n")
	if err := wait(resource.CheckReachable, ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]map[string]reach{
		"emei": {"huashan": reachFull, "wudang": reachSmall}, "huashan": {"emei": reachFull}, "wudang": {"emei": reachSmall},
	}, gates.paths.before); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	for _, host := range []string{"emei", "huashan", "wudang"} {
		if err := wait(resource.CheckReachable, host); err != nil {
			t.Errorf("nothing has changed: %v", err)
		}
	}
	// What is asked is asked from the bridge's own address, with a whole packet.
	asked := strings.Join(f.hosts["emei"].ran(), "\n")
	for _, want := range []string{"-I '10.244.0.1' -M do -s 1472 \"$2\"", "ask 'wudang' '10.244.2.1' &"} {
		if !strings.Contains(asked, want) {
			t.Errorf("no %q in\n%s", want, asked)
		}
	}

	f.hosts["huashan"].reaches(t, "10.244.0.1 small\n")
	if err := wait(resource.CheckReachable, "huashan"); err == nil || !strings.Contains(err.Error(), "pods on huashan don't reach those on emei with packets of 1500 bytes") {
		t.Errorf("large packets are lost: %v", err)
	}
	f.hosts["huashan"].reaches(t, "")
	if err := wait(resource.CheckReachable, "huashan"); err == nil || !strings.Contains(err.Error(), "don't reach those on emei; no further host was changed") {
		t.Errorf("all packets are lost: %v", err)
	}
	// Without the previous network, whole packets come through to wudang, too.
	if err := wait(resource.CheckStillReachable, "emei"); err == nil || !strings.Contains(err.Error(), "don't reach those on wudang with packets of 1500 bytes") {
		t.Errorf("only small packets come through: %v", err)
	}
	f.hosts["emei"].reaches(t, "10.244.1.1 full\n10.244.2.1 full\n")
	if err := wait(resource.CheckStillReachable, "emei"); err != nil {
		t.Error(err)
	}
}

// Routes that another network set don't count.
func TestLearnt(t *testing.T) {
	f, gates := podNetwork(t, "emei", "huashan")
	gates.delta.Plan.Inventory.Network = inventory.Network{Kind: inventory.NetworkBird}
	routes := func(host, lines string) {
		f.hosts[host].program(t, "ip", `case "$*" in *" route show "*) cat <<EOF
`+lines+`EOF
;; *) exec /sbin/ip "$@" ;; esac
`)
	}
	wait := func() error {
		return gates.gate(t.Context(), resource.Gate{Check: resource.Check{Kind: resource.CheckLearnt}}, func(string) {})
	}
	routes("emei", "10.244.1.0/24 via 10.88.0.12 dev eth0 proto bird metric 32\n")
	routes("huashan", "10.244.0.0/24 via 10.88.0.11 dev eth0 metric 64\n")
	if err := wait(); err == nil || !strings.Contains(err.Error(), "huashan has learnt no way to the pods on emei") {
		t.Errorf("a static route passes for a learnt one: %v", err)
	}
	routes("huashan", "10.244.0.0/24 via 10.88.0.11 dev eth0 metric 64\n10.244.0.0/24 via 10.88.0.11 dev eth0 proto bird metric 32\n")
	if err := wait(); err != nil {
		t.Error(err)
	}
}

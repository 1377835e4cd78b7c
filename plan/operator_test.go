package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// warnings compiles and returns the details of all warnings.
func warnings(t *testing.T, inv *inventory.Inventory, authorities Authorities) []string {
	t.Helper()
	_, diags := Compile(inv, ProposeLock(inv, inventory.Lock{}, digests(inv)), nil, authorities, operatorFiles(inv))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var details []string
	for _, d := range diags {
		if d.Severity == hcl.DiagWarning {
			details = append(details, d.Detail)
		}
	}
	return details
}

// An authority that exists keeps its key, and that is said; certificates don't.
func TestAuthorityKeepsItsKey(t *testing.T) {
	inv := load(t, "lab")
	authorities := endingAt(t, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	if got := warnings(t, inv, authorities); len(got) > 0 {
		t.Errorf("warned without reason: %q", got)
	}
	inv.PKI.KeyAlgorithm = string(resource.KeyRSA4096)
	got := warnings(t, inv, authorities)
	if len(got) != 3 || !strings.Contains(got[0], `authority "kubernetes" exists, with a key of ecdsa-p256, and keeps it`) {
		t.Errorf("got %q", got)
	}
	p := compileWith(t, inv, authorities)
	for _, s := range p.Steps {
		if c, ok := s.Resource.(resource.Certificate); ok && c.Key != resource.KeyRSA4096 {
			t.Errorf("%s has a key of %q", s.ID(), c.Key)
		}
	}
	if got := warnings(t, inv, noAuthorities{}); len(got) > 0 {
		t.Errorf("warned of authorities that are yet to be created: %q", got)
	}
}

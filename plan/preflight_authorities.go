package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/resource"
)

// checkAuthorities finds authorities that have ended or are about to. Leaf
// certificates can't be renewed beyond the end of their authority, so that
// renewing them is no way out.
func checkAuthorities(p *Plan, observed Observed) []Problem {
	now, ok := observed.now(p)
	if !ok {
		return nil
	}
	var problems []Problem
	for _, s := range p.Steps {
		a, isAuthority := s.Resource.(resource.Authority)
		if !isAuthority {
			continue
		}
		end, ends := a.Ends()
		left := end.Sub(now)
		if !ends || left >= p.Inventory.Cluster.CertRenewBefore {
			continue
		}
		when := fmt.Sprintf("ends on %s, in %d days", end.UTC().Format(time.DateOnly), int(left/(24*time.Hour)))
		if left <= 0 {
			when = fmt.Sprintf("ended on %s, %d days ago", end.UTC().Format(time.DateOnly), int(-left/(24*time.Hour)))
		}
		hint := fmt.Sprintf("give it a new certificate for the same key, in %s, and keep a copy of the old one: what it signed stays valid, and apply brings the new one to the hosts\n"+
			"openssl x509 -in %[2]s-ca.crt -signkey %[2]s-ca.key -days %[3]d -out %[2]s-ca.new && mv %[2]s-ca.new %[2]s-ca.crt",
			p.Inventory.PKI.Dir, a.Name, int(a.Validity/(24*time.Hour)))
		if a.Remote || !a.SelfSigned() {
			hint = fmt.Sprintf("have it certified anew for the same key, and put that certificate in the place of the old one in %s/%s-ca.crt: what it signed stays valid, and apply brings the new one to the hosts", p.Inventory.PKI.Dir, a.Name)
		}
		problems = append(problems, Problem{Operator,
			fmt.Sprintf("the authority %q %s, and with it what it signed: %s", a.Name, when, strings.Join(p.signedBy(a.Name), ", ")),
			hint})
	}
	return problems
}

// now is the time on the operator's machine, as far as it is known from a
// host's clock and how far that was off.
func (o Observed) now(p *Plan) (time.Time, bool) {
	for _, name := range p.Hosts() {
		if found, ok := o.Hosts[name]; ok && found.Err == nil && !found.Facts.Host.Time.IsZero() {
			return found.Facts.Host.Time.Add(-found.Skew), true
		}
	}
	return time.Time{}, false
}

// signedBy names the certificates on hosts that an authority signs, sorted.
func (p *Plan) signedBy(authority string) []string {
	var names []string
	for _, row := range certificateTable() {
		for _, h := range p.Inventory.Hosts {
			if row.authority == authority && row.on(p.Inventory, h) {
				names = append(names, strings.TrimPrefix(strings.TrimPrefix(row.path, pkiDir+"/"), path.Dir(kubeletCert)+"/"))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

package plan

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// endingAuthorities is a pki directory whose authority of etcd ends at a time,
// and the others years later.
type endingAuthorities struct {
	certificates map[string][]byte
}

func (a endingAuthorities) Chain(string) []byte            { return nil }
func (a endingAuthorities) Encrypted(string) bool          { return false }
func (a endingAuthorities) Exists(string) bool             { return true }
func (a endingAuthorities) Certificate(name string) []byte { return a.certificates[name] }
func (a endingAuthorities) SHA256(name string, part resource.Part) string {
	return resource.SHA256([]byte(name + string(part)))
}

func endingAt(t *testing.T, end time.Time) endingAuthorities {
	t.Helper()
	a := endingAuthorities{certificates: map[string][]byte{}}
	for _, name := range []string{AuthorityEtcd, AuthorityKubernetes, AuthorityFrontProxy} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, NotBefore: end.AddDate(-9, 0, 0), NotAfter: end}
		if name != AuthorityEtcd {
			template.NotAfter = end.AddDate(9, 0, 0)
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		a.certificates[name] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return a
}

func TestPreflightOfAuthorities(t *testing.T) {
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) // of the hosts
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name  string
		left  time.Duration
		skew  time.Duration
		limit []string
		want  []string
	}{
		{name: "long before", left: 31 * day},
		{name: "at the window", left: 30 * day},
		{name: "near its end", left: 12*day + time.Hour, want: []string{
			`(operator): the authority "etcd" ends on 2026-01-13, in 12 days, and with it what it signed: apiserver-etcd-client.crt, etcd/healthcheck-client.crt, etcd/peer.crt, etcd/server.crt`}},
		{name: "for one host", left: 12*day + time.Hour, limit: []string{"huashan"}, want: []string{
			`(operator): the authority "etcd" ends on 2026-01-13, in 12 days, and with it what it signed: apiserver-etcd-client.crt, etcd/healthcheck-client.crt, etcd/peer.crt, etcd/server.crt`}},
		{name: "ended", left: -2 * day, want: []string{
			`(operator): the authority "etcd" ended on 2025-12-30, 2 days ago, and with it what it signed: apiserver-etcd-client.crt, etcd/healthcheck-client.crt, etcd/peer.crt, etcd/server.crt`}},
		{name: "by a clock that is behind", left: 30*day + time.Second, skew: -2 * time.Second, want: []string{
			`(operator): the authority "etcd" ends on 2026-01-31, in 29 days, and with it what it signed: apiserver-etcd-client.crt, etcd/healthcheck-client.crt, etcd/peer.crt, etcd/server.crt`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inv := load(t, "lab")
			p, diags := Compile(inv, ProposeLock(inv, inventory.Lock{}, digests(inv)), nil, endingAt(t, clock.Add(tt.left)), operatorFiles(inv))
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			p = p.Limit(tt.limit)
			observed := Observed{Hosts: map[string]Observation{}, Cluster: fact.NewSet(fact.Host{})}
			for _, name := range p.Hosts() {
				h, _ := inv.Host(name)
				o := bare(p, h)
				o.Skew = tt.skew
				observed.Hosts[name] = o
			}
			var got []string
			for _, problem := range p.Diff(observed).Problems {
				if problem.Host != Operator {
					continue // what a skewed clock means otherwise
				}
				got = append(got, problem.Host+": "+problem.Summary)
				if want := "openssl x509 -in etcd-ca.crt -signkey etcd-ca.key -days 3650"; !strings.Contains(problem.Hint, want) || !strings.Contains(problem.Hint, inv.PKI.Dir) {
					t.Errorf("hint %q does not say %q", problem.Hint, want)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

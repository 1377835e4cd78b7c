package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

// below is a pki directory whose authorities are intermediates.
type below struct{ endingAuthorities }

func (below) Chain(name string) []byte { return []byte("the chain of " + name) }

// Below an intermediate, hosts verify clients by the intermediate alone, and give
// pods what leads to the root.
func TestIntermediates(t *testing.T) {
	p := compileWith(t, load(t, "lab"), below{endingAt(t, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))})
	parts := map[string]resource.Part{}
	for _, s := range p.Steps {
		switch r := s.Resource.(type) {
		case resource.AuthorityFile:
			parts[r.Path] = r.Part
		case resource.Certificate:
			if got, want := string(r.Chain), "the chain of "+r.Authority; got != want {
				t.Errorf("%s is served with %q, want %q", s.ID(), got, want)
			}
		case resource.File:
			if r.Path == kubeletConfig && !strings.Contains(string(r.Content), "clientCAFile: "+clientCAFile) {
				t.Errorf("%s does not verify clients by the intermediate:\n%s", s.ID(), r.Content)
			}
		}
	}
	want := map[string]resource.Part{
		caFile: resource.PartBundle, clientCAFile: resource.PartCertificate, caKeyFile: resource.PartPrivateKey, frontProxyCAFile: resource.PartCertificate,
		saKeyFile: resource.PartPrivateKey, saPublicFile: resource.PartPublicKey, etcdCAFile: resource.PartCertificate,
	}
	if diff := cmp.Diff(want, parts); diff != "" {
		t.Errorf("parts on hosts (-want +got):\n%s", diff)
	}
	for pod, flags := range map[string][]string{
		apiServerPod:  {"--client-ca-file=" + clientCAFile, "--kubelet-certificate-authority=" + caFile},
		controllerPod: {"--client-ca-file=" + clientCAFile, "--cluster-signing-cert-file=" + clientCAFile, "--cluster-signing-key-file=" + caKeyFile, "--root-ca-file=" + caFile},
	} {
		hasFlags(t, p, pod, flags, nil)
	}
}

// hasFlags holds every master's static pod to flags that it must and must not have.
func hasFlags(t *testing.T, p *Plan, pod string, must, mustNot []string) {
	t.Helper()
	seen := 0
	for _, s := range p.Steps {
		r, ok := s.Resource.(resource.StaticPod)
		if !ok || r.Name != pod {
			continue
		}
		seen++
		for _, flag := range must {
			if !strings.Contains(r.Manifest, flag+"\n") && !strings.Contains(r.Manifest, flag+"\"") && !strings.Contains(r.Manifest, flag+"'") {
				t.Errorf("%s has no %s", s.ID(), flag)
			}
		}
		for _, flag := range mustNot {
			if strings.Contains(r.Manifest, flag) {
				t.Errorf("%s has %s", s.ID(), flag)
			}
		}
	}
	if seen == 0 {
		t.Errorf("no pod %s", pod)
	}
}

// The key of an authority that a signer signs for is nowhere, and what needs it
// in the cluster is left out, which is said.
func TestAuthoritiesOfASigner(t *testing.T) {
	inv := load(t, "lab")
	inv.PKI.Signers = []*inventory.Signer{{Kind: inventory.SignerCommand, Authorities: []string{AuthorityKubernetes, AuthorityEtcd}, Place: "lab.hcl:7"}}
	authorities := endingAt(t, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	if got := warnings(t, inv, authorities); len(got) != 1 || !strings.Contains(got[0], "signer at lab.hcl:7") || !strings.Contains(got[0], "CertificateSigningRequests") {
		t.Errorf("warned of %q", got)
	}
	p := compileWith(t, inv, authorities)
	for _, s := range p.Steps {
		switch r := s.Resource.(type) {
		case resource.AuthorityFile:
			if r.Path == caKeyFile {
				t.Errorf("%s: a key that is not there", s.ID())
			}
		case resource.Certificate:
			if want := r.Authority != AuthorityFrontProxy; r.Remote != want {
				t.Errorf("%s: signed elsewhere: %v", s.ID(), r.Remote)
			}
		case resource.Authority:
			if want := r.Name == AuthorityKubernetes || r.Name == AuthorityEtcd; r.Remote != want {
				t.Errorf("%s: kept elsewhere: %v", s.ID(), r.Remote)
			}
		}
	}
	hasFlags(t, p, controllerPod, []string{"--root-ca-file=" + caFile}, []string{"cluster-signing", caKeyFile})
}

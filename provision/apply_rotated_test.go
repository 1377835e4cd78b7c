package provision

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// A kubelet's certificate comes with its key behind the link where the kubelet
// looks for it: a new one, or the one that the node has; nothing stays of it when
// it leaves.
func TestRotatedCertificateEndToEnd(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.program(t, "systemctl", "echo \"$@\" >> "+h.path("/systemctl")+"\n")
	authority := resource.Authority{Name: plan.AuthorityKubernetes, CommonName: "kubernetes-ca", Validity: 24 * time.Hour}
	link := h.path("/var/lib/kubelet/pki/kubelet-client-current.pem")
	describe := func(rotated bool) plan.StepID {
		f.steps = nil
		authority.Exists = f.authorities.Exists(authority.Name)
		created := f.step(plan.Operator, authority)
		planned := resource.Certificate{
			Path: h.path("/var/lib/kubelet/pki/kubelet-client.crt"), KeyPath: h.path("/var/lib/kubelet/pki/kubelet-client.key"),
			Authority: authority.Name, Issuer: f.authorities.Certificate(authority.Name),
			CommonName: "system:node:shaolin", Organization: []string{"system:nodes"}, Client: true,
			Validity: 12 * time.Hour, RenewBefore: time.Hour,
		}
		if !rotated {
			return f.step("shaolin", planned, created)
		}
		wanted := planned
		wanted.Path, wanted.KeyPath = link, link
		return f.step("shaolin", resource.RotatedCertificate{Wanted: wanted, Takes: planned, Unit: "kubelet.service"}, created)
	}
	again := func(rotated bool) plan.StepID {
		f.connectAnew(t, Options{})
		return describe(rotated)
	}
	whole := func(what string) string {
		t.Helper()
		info, err := os.Lstat(link)
		if err != nil || info.Mode().Type() != os.ModeSymlink {
			t.Fatalf("%s: %v, %v", what, info, err)
		}
		if info, err = os.Stat(link); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", what, info, err)
		}
		pair := h.read(t, link)
		if err := fits([]byte(pair), []byte(pair)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return pair
	}

	describe(false)
	f.mustApply(t, f.survey(t))
	planned := h.read(t, h.path("/var/lib/kubelet/pki/kubelet-client.crt"))

	// The node keeps the certificate that it has.
	rotated := again(true)
	delta := f.survey(t)
	f.mustApply(t, delta)
	if pair := whole("taken over"); pair[:len(planned)] != planned {
		t.Error("the node has another certificate than before")
	}
	if left, _ := filepath.Glob(h.path("/var/lib/kubelet/pki/kubelet-client.*")); len(left) > 0 {
		t.Errorf("the planned one is still there: %v", left)
	}
	again(true)
	if found := changes(f.survey(t)); len(found) > 0 {
		t.Errorf("the second plan changes %v", found)
	}

	// The kubelet puts another one in its place: nothing is to be done. What it
	// could not have made is replaced.
	other := h.path("/var/lib/kubelet/pki/kubelet-client-2026-06-01-12-00-00.pem")
	if err := os.WriteFile(other, []byte(whole("before")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	again(true)
	if found := changes(f.survey(t)); len(found) > 0 {
		t.Errorf("a renewed certificate is drift: %v", found)
	}
	if err := os.WriteFile(other, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	again(true)
	delta = f.survey(t)
	if diff := cmp.Diff(map[plan.StepID]resource.Action{rotated: resource.Replace}, changes(delta)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.mustApply(t, delta)
	if pair := whole("made anew"); pair[:len(planned)] == planned {
		t.Error("the certificate was not made anew")
	}

	if told := h.read(t, h.path("/systemctl")); told != "is-active --quiet -- kubelet.service\nrestart -- kubelet.service\n" {
		t.Errorf("systemctl was told %q", told)
	}

	// And back.
	again(false)
	f.mustApply(t, f.survey(t))
	left, err := filepath.Glob(h.path("/var/lib/kubelet/pki/*"))
	if diff := cmp.Diff([]string{h.path("/var/lib/kubelet/pki/kubelet-client.crt"), h.path("/var/lib/kubelet/pki/kubelet-client.key")}, left); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// What has become another certificate since the plan is not taken over.
func TestRotatedCertificateIsStale(t *testing.T) {
	needRoot(t)
	m, h := machineOf(t)
	taken := resource.Certificate{Path: h.path("/a.crt"), KeyPath: h.path("/a.key")}
	if err := os.WriteFile(taken.Path, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := h.path("/a-current.pem")
	err := m.write(t.Context(), command("take over", scriptHeader+takeOver(fileWrite{path: firstPair(link), then: leadTo(link, firstPair(link))}, taken, resource.SHA256([]byte("planned")))))
	if _, there := os.Lstat(link); err == nil || there == nil {
		t.Errorf("%v, %v", err, there)
	}
}

// A kubelet that runs with what kinstall issued is left alone until its turn, when
// it asks for what it serves with; one that can't use what it has is made to ask.
func TestRequestedCertificate(t *testing.T) {
	needRoot(t)
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	h.program(t, "systemctl", "echo \"$@\" >> "+h.path("/systemctl")+"\n")
	h.file(t, "/systemctl", "")
	h.file(t, "/kubelet.crt", "of somebody else")
	wanted := resource.Certificate{Path: h.path("/kubelet-server-current.pem"), KeyPath: h.path("/kubelet-server-current.pem"), CommonName: "system:node:shaolin", Server: true}
	f.step("shaolin", resource.RotatedCertificate{Wanted: wanted, Takes: resource.Certificate{Path: h.path("/kubelet.crt"), KeyPath: h.path("/kubelet.key")}, Unit: "kubelet.service", Requested: true})
	f.mustApply(t, f.survey(t))
	if told := h.read(t, h.path("/systemctl")); told != "" || h.read(t, h.path("/kubelet.crt")) == "" {
		t.Errorf("systemctl was told %q", told)
	}
	h.file(t, "/pair.pem", "garbage")
	if err := os.Symlink(h.path("/pair.pem"), wanted.Path); err != nil {
		t.Fatal(err)
	}
	f.connectAnew(t, Options{})
	f.mustApply(t, f.survey(t))
	if told := h.read(t, h.path("/systemctl")); !strings.Contains(told, "restart -- kubelet.service") {
		t.Errorf("systemctl was told %q", told)
	}
	if _, err := os.Lstat(wanted.Path); err == nil {
		t.Error("the kubelet would find what it can't use")
	}
}

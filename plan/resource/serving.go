package resource

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
)

// ServingCertificate waits until a kubelet has the certificate with which it
// serves, and approves of its request for that if the request fits.
type ServingCertificate struct {
	Certificate RotatedCertificate // Requested
}

// ID implements Resource.
func (s ServingCertificate) ID() ID {
	return NewID(KindServingCertificate, s.Certificate.Wanted.Path)
}

// Queries implements Resource.
func (s ServingCertificate) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindCertificates, Name: s.Certificate.Wanted.Path}}
}

// Diff implements Resource.
func (s ServingCertificate) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Certificates(s.Certificate.Wanted.Path)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp}
	if _, wrong := s.Certificate.judge(found, facts.Host.Time); !found.Exists || len(wrong) > 0 {
		change.Action = Deferred
		change.because(Unknown, "the kubelet asks for it when it runs; approved of if it fits")
		change.Text = &Text{Name: "certificate", After: s.Certificate.Text()}
	}
	return change, nil
}

// ServingSigner signs certificates with which kubelets serve
// (https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers).
const ServingSigner = "kubernetes.io/kubelet-serving"

// CertificateRequest is a request for a certificate as the API has it.
type CertificateRequest struct {
	Name string
	// Username and Groups are those of who made it, by the API server's word.
	Username string
	Groups   []string
	Signer   string
	Usages   []string
	PEM      []byte // PKCS #10
}

// Misfits says what a request asks for, or who asks, that this certificate does not
// say; nothing for one that may be approved of.
func (c Certificate) Misfits(r CertificateRequest) []string {
	var misfits []string
	not := func(format string, args ...any) { misfits = append(misfits, fmt.Sprintf(format, args...)) }
	if r.Signer != ServingSigner {
		not("it is for the signer %q", r.Signer)
	}
	if r.Username != c.CommonName {
		not("it was made by %q", r.Username)
	}
	for _, group := range c.Organization {
		if !slices.Contains(r.Groups, group) {
			not("who made it is not in the group %s", group)
		}
	}
	// RSA keys are used to encipher, too.
	usages := slices.DeleteFunc(sorted(r.Usages), func(u string) bool { return u == "key encipherment" })
	if want := []string{"digital signature", "server auth"}; !slices.Equal(usages, want) {
		not("it is to be used for %s", strings.Join(sorted(r.Usages), ", "))
	}
	block, rest := pem.Decode(r.PEM)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return append(misfits, "it holds no PEM request, or more than one")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return append(misfits, fmt.Sprintf("it can't be read: %v", err))
	}
	subject := request.Subject
	if subject.CommonName != c.CommonName {
		not("it is for the name %q", subject.CommonName)
	}
	if !slices.Equal(sorted(subject.Organization), sorted(c.Organization)) {
		not("it is for the organizations %q", strings.Join(sorted(subject.Organization), ", "))
	}
	if more := len(subject.Names) - len(subject.Organization) - 1; more > 0 {
		not("its subject says more than a name and organizations: %q", subject.String())
	}
	if len(request.EmailAddresses) > 0 || len(request.URIs) > 0 {
		not("it is for e-mail addresses or URIs")
	}
	misfits = append(misfits, misfitNames("the name", request.DNSNames, c.DNSNames)...)
	return append(misfits, misfitNames("the address", addressStrings(request.IPAddresses), c.Addresses)...)
}

func misfitNames(what string, found, want []string) []string {
	var misfits []string
	for _, name := range found {
		if !slices.Contains(want, name) {
			misfits = append(misfits, fmt.Sprintf("%s %q is not its own", what, name))
		}
	}
	for _, name := range want {
		if !slices.Contains(found, name) {
			misfits = append(misfits, fmt.Sprintf("%s %s is missing", what, name))
		}
	}
	sort.Strings(misfits)
	return misfits
}

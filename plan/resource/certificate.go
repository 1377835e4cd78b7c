package resource

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
)

// Certificate is the specification of a leaf certificate: not bytes, but what
// they must say. Diff reads the certificate found on the host and says what is
// wrong with it; apply mints a new key and certificate, keeps neither anywhere
// else, and writes the key before the certificate.
type Certificate struct {
	Path    string // of the PEM certificate
	KeyPath string // of the PEM private key
	// Authority is the name of the issuing authority; Issuer its certificate
	// in PEM, empty while the authority does not exist.
	Authority string
	Issuer    []byte
	// Chain follows the certificate in its file, in PEM: the authority's own
	// certificate and those above it but for the root, which whoever verifies has.
	// nil where the authority is a root itself.
	Chain []byte
	// IssuedBy is Issuer, read: hosts have thousands of certificates of one
	// authority. nil to have it read when asked for.
	IssuedBy *x509.Certificate

	// Key is the algorithm of the certificate's key.
	Key KeyAlgorithm
	// Remote says that somebody else signs for the authority, who may give a
	// certificate for servers and clients alike where one of the two was asked for.
	Remote bool

	CommonName   string
	Organization []string
	DNSNames     []string
	Addresses    []string // IP addresses in canonical form
	Server       bool     // extended key usage: TLS server
	Client       bool     // extended key usage: TLS client
	Validity     time.Duration
	RenewBefore  time.Duration

	// KeyOwnership of the private key; default 0600 root.
	KeyOwnership Ownership
}

// ID implements Resource.
func (c Certificate) ID() ID { return NewID(KindCertificate, c.Path) }

// KeyOwn returns the key's ownership with defaults.
func (c Certificate) KeyOwn() Ownership { return c.KeyOwnership.withDefaults(0o600) }

// Own is the certificate's ownership.
func (c Certificate) Own() Ownership { return Ownership{}.withDefaults(0o644) }

// Queries implements Resource. The key's content is never asked for.
func (c Certificate) Queries() []fact.Query {
	return []fact.Query{
		{Kind: fact.KindFile, Name: c.Path, Content: true},
		{Kind: fact.KindFile, Name: c.KeyPath},
	}
}

// InputDigest implements Input: known only while the certificate on the host
// is good.
func (c Certificate) InputDigest(facts fact.Set) (string, bool) {
	change, err := c.Diff(facts)
	if err != nil || change.Action == Create || change.Action == Replace {
		return "", false
	}
	return change.Record.Files[c.Path], true
}

// Text is the specification in words, one fact a line, as it is shown in a plan.
func (c Certificate) Text() string {
	return describeCertificate(c.CommonName, c.Organization, c.DNSNames, c.Addresses, c.Usages(), c.Key.Or(), c.Authority,
		fmt.Sprintf("validity      %s, renewed %s before it ends", days(c.Validity), days(c.RenewBefore)))
}

// Usages names what the certificate is for: "server", "client".
func (c Certificate) Usages() []string {
	var usages []string
	if c.Server {
		usages = append(usages, "server")
	}
	if c.Client {
		usages = append(usages, "client")
	}
	return usages
}

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}

// describeCertificate tells of a key only where it is not what kinstall makes
// unless asked for another.
func describeCertificate(cn string, organization, names, addresses, usages []string, key KeyAlgorithm, issuer, validity string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "subject       CN=%s", cn)
	for _, o := range sorted(organization) {
		fmt.Fprintf(&b, ", O=%s", o)
	}
	fmt.Fprintf(&b, "\nissuer        %s\nusages        %s\n%s\n", issuer, strings.Join(usages, ", "), validity)
	if key != KeyDefault {
		fmt.Fprintf(&b, "key           %s\n", key)
	}
	for _, n := range sorted(names) {
		fmt.Fprintf(&b, "SAN           DNS %s\n", n)
	}
	for _, a := range sorted(addresses) {
		fmt.Fprintf(&b, "SAN           IP %s\n", a)
	}
	return b.String()
}

func sorted(s []string) []string {
	c := append([]string{}, s...)
	sort.Strings(c)
	return c
}

// Diff implements Resource. The clock is the host's own, as observed.
func (c Certificate) Diff(facts fact.Set) (Change, error) {
	type judgement struct {
		change Change
		err    error
	}
	// Units that are started with it ask, too, and reading a certificate takes long.
	j := fact.Conclude(facts, string(c.ID()), func() judgement {
		change, err := c.diff(facts)
		return judgement{change, err}
	})
	return j.change, j.err
}

func (c Certificate) diff(facts fact.Set) (Change, error) {
	found, err := facts.File(c.Path)
	if err != nil {
		return Change{}, err
	}
	key, err := facts.File(c.KeyPath)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp, Evidence: found.SHA256}
	record, known := recorded(facts, c.ID())
	if !found.Exists {
		change.Action = Create
		if known {
			change.because(Drift, "deleted on the host")
		}
		change.Text = &Text{Name: "certificate", After: c.Text()}
		return change, nil
	}
	if found.Type != "file" {
		return Change{}, fmt.Errorf("%s: a %s is in the way of a certificate; move it aside", c.Path, found.Type)
	}
	describe := func() string { return "not a certificate\n" }
	cert, err := ParseCertificate(found.Content)
	_, rest := pem.Decode(found.Content)
	switch {
	case err != nil:
		change.because(Drift, err.Error())
	default:
		if !bytes.Equal(bytes.TrimSpace(rest), bytes.TrimSpace(c.Chain)) {
			change.because(Intent, "its chain is not that of authority "+c.Authority)
		}
		change.Reasons = append(change.Reasons, c.judge(cert, facts.Host.Time, known && record.Files[c.Path] == found.SHA256)...)
		describe = func() string {
			return describeCertificate(cert.Subject.CommonName, cert.Subject.Organization, cert.DNSNames, addressStrings(cert.IPAddresses),
				UsagesOf(cert), AlgorithmOf(cert.PublicKey), c.issuerName(cert), fmt.Sprintf("valid         %s to %s", cert.NotBefore.UTC().Format(time.DateOnly), cert.NotAfter.UTC().Format(time.DateOnly)))
		}
	}
	switch {
	case !key.Exists:
		change.because(Drift, "private key missing")
	case record.Files[c.KeyPath] != "" && record.Files[c.KeyPath] != key.SHA256:
		change.because(Drift, "private key changed on the host")
	case record.Files[c.Path] != "" && record.Files[c.Path] != found.SHA256:
		// A certificate that satisfies the specification but is not the one
		// issued last need not fit the key.
		change.because(Drift, "certificate changed on the host")
	case !known && len(change.Reasons) == 0:
		change.because(Missing, "exists, but was not issued by kinstall")
	}
	if len(change.Reasons) > 0 {
		change.Action = Replace
		change.Text = &Text{Name: "certificate", Before: describe(), After: c.Text()}
		return change, nil
	}
	change.Record = fact.Record{
		Digest: c.KeyOwn().digest(),
		Files:  map[string]string{c.Path: found.SHA256, c.KeyPath: key.SHA256},
	}
	if fields := c.KeyOwn().fields(key); len(fields) > 0 {
		change.Action = Update
		for _, f := range fields {
			f.Name = "key " + f.Name
			change.Fields = append(change.Fields, f)
			change.because(Drift, fmt.Sprintf("%s %s instead of %s", f.Name, f.Before, f.After))
		}
	}
	if fields := c.Own().fields(found); len(fields) > 0 {
		change.Action = Update
		change.Fields = append(change.Fields, fields...)
		for _, f := range fields {
			change.because(Drift, fmt.Sprintf("%s %s instead of %s", f.Name, f.Before, f.After))
		}
	}
	return change, nil
}

// judge returns what is wrong with a certificate at the given time. One that was
// issued here, byte for byte, is told to be of an authority by the authority's
// key: with thousands of hosts, verifying signatures takes longer than all the
// rest of a plan.
func (c Certificate) judge(cert *x509.Certificate, now time.Time, issuedHere bool) []Reason {
	var reasons []Reason
	if cert.Subject.CommonName != c.CommonName {
		reasons = append(reasons, Reason{Intent, fmt.Sprintf("subject is CN=%s", cert.Subject.CommonName)})
	}
	if a, b := sorted(cert.Subject.Organization), sorted(c.Organization); strings.Join(a, ",") != strings.Join(b, ",") {
		reasons = append(reasons, Reason{Intent, fmt.Sprintf("organization is %q", strings.Join(a, ","))})
	}
	reasons = append(reasons, compareNames(cert.DNSNames, c.DNSNames)...)
	reasons = append(reasons, compareNames(addressStrings(cert.IPAddresses), c.Addresses)...)
	if found := UsagesOf(cert); !c.fits(found) {
		reasons = append(reasons, Reason{Intent, fmt.Sprintf("usages are %q", strings.Join(found, ", "))})
	}
	if found := AlgorithmOf(cert.PublicKey); found != c.Key.Or() {
		reasons = append(reasons, Reason{Intent, fmt.Sprintf("key is %s instead of %s", found, c.Key.Or())})
	}
	withIssuer := false
	if len(c.Issuer) == 0 {
		reasons = append(reasons, Reason{Follows, "authority " + c.Authority + " will be created"})
	} else if issuer, err := c.issuer(); err != nil || (!issuedHere || !namesKeyOf(cert, issuer)) && cert.CheckSignatureFrom(issuer) != nil {
		reasons = append(reasons, Reason{Drift, "not issued by authority " + c.Authority})
	} else {
		// No certificate outlives its authority: a new one would end on the same
		// day. That the authority ends is a problem of its own.
		withIssuer = !cert.NotAfter.Before(issuer.NotAfter)
	}
	switch left := cert.NotAfter.Sub(now); {
	case left < c.RenewBefore && withIssuer:
	case left <= 0:
		reasons = append(reasons, Reason{Expiry, fmt.Sprintf("expired %d days ago", int(-left/(24*time.Hour)))})
	case left < c.RenewBefore:
		reasons = append(reasons, Reason{Expiry, fmt.Sprintf("expires in %d days", int(left/(24*time.Hour)))})
	case cert.NotBefore.After(now):
		reasons = append(reasons, Reason{Drift, "not valid yet by the host's clock"})
	}
	return reasons
}

// namesKeyOf reports whether a certificate says that it was signed with the key
// of another one (RFC 5280, 4.2.1.1).
func namesKeyOf(cert, issuer *x509.Certificate) bool {
	return len(issuer.SubjectKeyId) > 0 && bytes.Equal(cert.AuthorityKeyId, issuer.SubjectKeyId)
}

func compareNames(found, want []string) []Reason {
	var reasons []Reason
	for _, n := range sorted(want) {
		if !slices.Contains(found, n) {
			reasons = append(reasons, Reason{Intent, "SAN " + n + " missing"})
		}
	}
	for _, n := range sorted(found) {
		if !slices.Contains(want, n) {
			reasons = append(reasons, Reason{Intent, "SAN " + n + " too many"})
		}
	}
	return reasons
}

// issuerName is the authority's name if it issued the certificate, else the issuer's own.
func (c Certificate) issuerName(cert *x509.Certificate) string {
	if issuer, err := c.issuer(); err == nil && cert.CheckSignatureFrom(issuer) == nil {
		return c.Authority
	}
	return cert.Issuer.CommonName
}

// fits reports whether usages are those of the specification, or more than those
// where somebody else decides on them.
func (c Certificate) fits(found []string) bool {
	if c.Remote {
		return !slices.ContainsFunc(c.Usages(), func(u string) bool { return !slices.Contains(found, u) })
	}
	return slices.Equal(found, c.Usages())
}

// UsagesOf names what a certificate may be used for: "server", "client".
func UsagesOf(cert *x509.Certificate) []string {
	var usages []string
	for _, want := range []struct {
		usage x509.ExtKeyUsage
		name  string
	}{{x509.ExtKeyUsageServerAuth, "server"}, {x509.ExtKeyUsageClientAuth, "client"}} {
		for _, u := range cert.ExtKeyUsage {
			if u == want.usage {
				usages = append(usages, want.name)
			}
		}
	}
	return usages
}

func addressStrings(addresses []net.IP) []string {
	var s []string
	for _, a := range addresses {
		s = append(s, a.String())
	}
	return s
}

// issuer returns the issuing authority's certificate.
func (c Certificate) issuer() (*x509.Certificate, error) {
	if c.IssuedBy != nil {
		return c.IssuedBy, nil
	}
	return ParseCertificate(c.Issuer)
}

// ParseCertificate reads a certificate in PEM.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(bytes.TrimSpace(data))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("holds no PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("holds no readable certificate: %w", err)
	}
	return cert, nil
}

// Authority is material kept on the operator's machine: a certificate
// authority, or the key pair that signs service account tokens.
type Authority struct {
	Name       string // "kubernetes", "etcd", "front-proxy", "service-account"
	CommonName string // of a certificate authority; "" for a bare key pair
	Subject    Subject
	// Key is the algorithm of its key when it is made; one that exists keeps its own.
	Key      KeyAlgorithm
	Validity time.Duration
	Exists   bool
	// Certificate of an authority that exists, in PEM; nil of a bare key pair.
	Certificate []byte
	// Remote says that somebody else keeps its key.
	Remote bool
	// Encrypt says that its private key is to be encrypted in its file, and
	// Encrypted that it is.
	Encrypt, Encrypted bool
}

// Ends returns the time at which a certificate authority ends; ok is false of
// one that does not exist, and of a bare key pair.
func (a Authority) Ends() (end time.Time, ok bool) {
	if a.CommonName == "" || len(a.Certificate) == 0 {
		return time.Time{}, false
	}
	cert, err := ParseCertificate(a.Certificate)
	if err != nil {
		return time.Time{}, false
	}
	return cert.NotAfter, true
}

// SelfSigned reports whether an authority's certificate is its own root.
func (a Authority) SelfSigned() bool {
	cert, err := ParseCertificate(a.Certificate)
	return err == nil && bytes.Equal(cert.RawIssuer, cert.RawSubject)
}

// ID implements Resource.
func (a Authority) ID() ID { return NewID(KindAuthority, a.Name) }

// Queries implements Resource: nothing is asked of a host.
func (a Authority) Queries() []fact.Query { return nil }

// Diff implements Resource.
func (a Authority) Diff(fact.Set) (Change, error) {
	const encrypted = "encrypted with age"
	if a.Exists {
		change := Change{Action: NoOp}
		if a.Encrypt && !a.Encrypted && !a.Remote {
			change = Change{Action: Update, Sensitive: true, Fields: []Field{{Name: "private key", Before: "in the clear", After: encrypted}}}
			change.because(Intent, "its private key lies in the clear")
		}
		return change, nil
	}
	change := Change{Action: Create, Sensitive: true}
	if a.CommonName != "" {
		change.Fields = []Field{{Name: "subject", After: "CN=" + a.CommonName + a.Subject.String()}, {Name: "validity", After: days(a.Validity)}}
		if a.Key.Or() != KeyDefault {
			change.Fields = append(change.Fields, Field{Name: "key", After: string(a.Key)})
		}
	} else {
		change.Fields = []Field{{Name: "key", After: "new, for signing tokens"}}
	}
	if a.Encrypt {
		change.Fields = append(change.Fields, Field{Name: "private key", After: encrypted})
	}
	return change, nil
}

// Part is the half of an authority's material that a host holds.
type Part string

// The parts.
const (
	PartCertificate Part = "certificate"
	PartPrivateKey  Part = "private key"
	PartPublicKey   Part = "public key"
	// PartBundle is the certificate with those above it, up to its root: for who
	// verifies servers and may know of no other anchor than a root. Clients are
	// verified by PartCertificate: below the root there may be other authorities,
	// whose certificates are nobody's here.
	PartBundle Part = "certificate with its chain"
	// PartVRRPPassword is derived from the private key: the line of keepalived's
	// configuration by which hosts that share an address know each other.
	PartVRRPPassword Part = "VRRP password"
)

// AuthorityFile is an authority's material on a host: one and the same
// wherever it is. While the authority does not exist its bytes are unknown.
type AuthorityFile struct {
	Authority string
	Part      Part
	Path      string
	Ownership
	// SHA256 is the digest of the bytes, "" while the authority does not exist.
	SHA256 string
}

// ID implements Resource.
func (f AuthorityFile) ID() ID { return NewID(KindAuthorityFile, f.Path) }

// Own returns the ownership with defaults: 0600 for what is secret, else 0644.
func (f AuthorityFile) Own() Ownership {
	if f.Part == PartPrivateKey || f.Part == PartVRRPPassword {
		return f.withDefaults(0o600)
	}
	return f.withDefaults(0o644)
}

// Queries implements Resource.
func (f AuthorityFile) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindFile, Name: f.Path, WantSHA256: f.SHA256}}
}

// InputDigest implements Input.
func (f AuthorityFile) InputDigest(fact.Set) (string, bool) { return f.SHA256, f.SHA256 != "" }

// Diff implements Resource.
func (f AuthorityFile) Diff(facts fact.Set) (Change, error) {
	found, err := facts.File(f.Path)
	if err != nil {
		return Change{}, err
	}
	own := f.Own()
	change := Change{Action: NoOp, Sensitive: true, Evidence: found.SHA256}
	if f.SHA256 != "" {
		change.Record = fact.Record{Digest: own.digest(), Files: map[string]string{f.Path: f.SHA256}}
	}
	switch {
	case found.Exists && f.SHA256 == "":
		return Change{}, fmt.Errorf("%s: the host holds the %s of an authority that is not in the pki directory; restore the directory's file for %q, or remove the host's cluster first: a new authority would cut off everything the old one signed", f.Path, f.Part, f.Authority)
	case !found.Exists:
		change.Action = Create
		change.Fields = []Field{{Name: "holds", After: fmt.Sprintf("%s of authority %s", f.Part, f.Authority)}}
		if _, ok := recorded(facts, f.ID()); ok {
			change.because(Drift, "deleted on the host")
		}
		return change, nil
	case found.SHA256 != f.SHA256:
		change.Action = Update
		change.Reasons = append(change.Reasons, cause(facts, f.ID(), f.Path, f.SHA256, found.SHA256))
	}
	compareOwnership(&change, facts, f.ID(), own, found)
	if len(change.Fields) > 0 {
		change.Action = Update
	}
	return change, nil
}

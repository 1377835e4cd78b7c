package ssh

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// HostKeyProblem says in what way a host key failed verification.
type HostKeyProblem string

// The ways in which a host key fails verification.
const (
	HostKeyUnknown     HostKeyProblem = "unknown"     // known_hosts has no line for the host
	HostKeyChanged     HostKeyProblem = "changed"     // known_hosts has another key for the host
	HostKeyRevoked     HostKeyProblem = "revoked"     // known_hosts has it marked @revoked
	HostKeyMismatch    HostKeyProblem = "mismatch"    // none of the host's keys has the pinned fingerprint
	HostKeyCertificate HostKeyProblem = "certificate" // no certificate, or one that is not valid for the host
)

// A KnownKey is a line of a known_hosts file.
type KnownKey struct {
	File        string
	Line        int
	Type        string
	Fingerprint string
}

// A HostKeyError says that a host did not prove its identity. Nothing was sent
// to it.
type HostKeyError struct {
	Host, Address string
	Problem       HostKeyProblem
	// Type and Fingerprint are those of the key that the host showed.
	Type, Fingerprint string
	// Others are the host's further keys, as "type fingerprint", where more than
	// one was looked at.
	Others []string
	// Want is the pinned fingerprint, if one is pinned.
	Want string
	// Known holds the lines of known_hosts that speak of the host.
	Known []KnownKey
	// File is the known_hosts file that was consulted, if any.
	File string
	// KnownHostsLine is the line that would make the key known.
	KnownHostsLine string
	Err            error
}

func (e *HostKeyError) Error() string {
	seen := e.Type + " " + e.Fingerprint
	switch e.Problem {
	case HostKeyUnknown:
		return fmt.Sprintf("%s: the host key of %s is not in %s: it shows %s", e.Host, e.Address, e.File, seen)
	case HostKeyChanged:
		known := make([]string, len(e.Known))
		for i, k := range e.Known {
			known[i] = fmt.Sprintf("%s:%d has %s %s", k.File, k.Line, k.Type, k.Fingerprint)
		}
		return fmt.Sprintf("%s: THE HOST KEY OF %s HAS CHANGED: it shows %s but %s", e.Host, e.Address, seen, strings.Join(known, ", "))
	case HostKeyRevoked:
		return fmt.Sprintf("%s: the host key of %s is revoked: it shows %s, see %s:%d", e.Host, e.Address, seen, e.Known[0].File, e.Known[0].Line)
	case HostKeyMismatch:
		shown := strings.Join(append(slices.Clone(e.Others), seen), ", ")
		return fmt.Sprintf("%s: the host key of %s does not have the pinned fingerprint: it shows %s, want %s", e.Host, e.Address, shown, e.Want)
	}
	return fmt.Sprintf("%s: the host certificate of %s is not accepted: it shows %s: %v", e.Host, e.Address, seen, e.Err)
}

func (e *HostKeyError) Unwrap() error { return e.Err }

// Hint implements the interface behind the function Hint.
func (e *HostKeyError) Hint() string {
	const compare = `compare the fingerprint with what "ssh-keygen -lf FILE" prints for each /etc/ssh/ssh_host_*_key.pub on the host's own console`
	switch e.Problem {
	case HostKeyUnknown:
		return fmt.Sprintf("%s; if it is the same, add this line to %s:\n%s", compare, e.File, e.KnownHostsLine)
	case HostKeyChanged:
		return fmt.Sprintf("either the host was installed anew or somebody is in between: %s; only if it is the same, replace the lines named above by:\n%s", compare, e.KnownHostsLine)
	case HostKeyRevoked:
		return "give the host a new key; this one must not be trusted any more"
	case HostKeyMismatch:
		return compare + "; only if it is the same, put it into the inventory"
	}
	return "sign the host's key with the host CA, for a principal equal to its address, and name the certificate as HostCertificate in its sshd_config"
}

// Trusted is what trust on first use wrote down.
type Trusted struct {
	Host, Address     string
	Type, Fingerprint string
	File              string // the known_hosts file appended to
	Line              string // the line appended
}

// String tells the operator what was believed, so that it can be compared with
// what the host itself says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub.
func (t Trusted) String() string {
	return fmt.Sprintf("%s: trusted on first use: %s has the key %s (%s), which was added to %s", t.Host, t.Address, t.Fingerprint, t.Type, t.File)
}

// The signature algorithms of host keys, by family, the preferred family first.
// SHA-1 signatures and DSA are left out.
var hostKeyFamilies = [...][]string{
	{gossh.KeyAlgoED25519},
	{gossh.KeyAlgoECDSA256, gossh.KeyAlgoECDSA384, gossh.KeyAlgoECDSA521},
	{gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256},
}

var hostCertAlgorithms = [...]string{
	gossh.CertAlgoED25519v01,
	gossh.CertAlgoECDSA256v01, gossh.CertAlgoECDSA384v01, gossh.CertAlgoECDSA521v01,
	gossh.CertAlgoRSASHA512v01, gossh.CertAlgoRSASHA256v01,
}

func allHostKeyAlgorithms() []string { return slices.Concat(hostKeyFamilies[:]...) }

// familyOf returns the algorithms that a key of the given type can be
// negotiated with. ECDSA curves are told apart: a server has one key for each.
func familyOf(keyType string) []string {
	if keyType == gossh.KeyAlgoRSA {
		return hostKeyFamilies[2]
	}
	return []string{keyType}
}

// A verifier decides about the host key of one target. The server shows only
// one of its keys, chosen by the order of the algorithms the client names;
// therefore the verifier also names them, those that can succeed first.
type verifier struct {
	algorithms []string
	// check is called for each key exchange, so also when a long connection
	// renews its keys.
	check func(gossh.PublicKey) error
	// retry is set if a server that fails check may have another key that
	// passes, of a type not seen yet.
	retry bool
}

func (d *Dialer) verifier(t *Target) (*verifier, error) {
	if t.Fingerprint != "" {
		return pinned(t), nil
	}
	return d.known.verifier(t)
}

// pinned accepts the one key with the target's fingerprint. The fingerprint
// does not tell the key's type, so all are tried until one fits.
func pinned(t *Target) *verifier {
	return &verifier{
		algorithms: allHostKeyAlgorithms(),
		retry:      true,
		check: func(key gossh.PublicKey) error {
			if got := gossh.FingerprintSHA256(key); got != strings.TrimRight(t.Fingerprint, "=") {
				e := hostKeyError(t, HostKeyMismatch, key)
				e.Want = t.Fingerprint
				return e
			}
			return nil
		},
	}
}

func hostKeyError(t *Target, problem HostKeyProblem, key gossh.PublicKey) *HostKeyError {
	e := &HostKeyError{
		Host:        t.name(),
		Address:     t.hostPort(),
		Problem:     problem,
		Type:        key.Type(),
		Fingerprint: gossh.FingerprintSHA256(key),
	}
	if _, cert := key.(*gossh.Certificate); !cert {
		e.KnownHostsLine = knownhosts.Line([]string{t.hostPort()}, key)
	}
	return e
}

// knownHosts reads known_hosts files, each once as long as it does not change,
// and appends to them on first use where that is allowed.
type knownHosts struct {
	firstUse bool
	onTrust  func(Trusted)

	mu    sync.Mutex
	files map[string]*hostsFile
}

// hostsFile is one state of a known_hosts file.
type hostsFile struct {
	size    int64
	modTime time.Time
	check   gossh.HostKeyCallback
	caLines map[int]bool // line numbers of @cert-authority lines
}

// load reads path unless the state read before is still current.
func (k *knownHosts) load(path string) (*hostsFile, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.loadLocked(path)
}

func (k *knownHosts) loadLocked(path string) (*hostsFile, error) {
	var size int64
	var modTime time.Time
	info, err := os.Stat(path)
	switch {
	case err == nil:
		size, modTime = info.Size(), info.ModTime()
	case errors.Is(err, fs.ErrNotExist) && k.firstUse:
		// The first host that is trusted creates it.
		size = -1
	case errors.Is(err, fs.ErrNotExist):
		return nil, &SettingError{
			Err:    fmt.Errorf("known_hosts: %w", err),
			Advice: "log in to each host with ssh once and compare its key, give the fingerprints in the inventory, or let -trust-on-first-use write the file",
		}
	default:
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	if f := k.files[path]; f != nil && f.size == size && f.modTime.Equal(modTime) {
		return f, nil
	}
	f := &hostsFile{size: size, modTime: modTime, caLines: map[int]bool{}}
	var paths []string
	if size >= 0 {
		paths = append(paths, path)
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("known_hosts: %w", err)
		}
		n := 0
		for line := range bytes.Lines(content) {
			n++
			f.caLines[n] = bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("@cert-authority"))
		}
	}
	if f.check, err = knownhosts.New(paths...); err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	if k.files == nil {
		k.files = map[string]*hostsFile{}
	}
	k.files[path] = f
	return f, nil
}

// probeKey belongs to nobody: its seed is all zeros. It is only ever compared.
func probeKey() gossh.PublicKey {
	public := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public()
	key, err := gossh.NewPublicKey(public)
	if err != nil {
		panic(err) // an Ed25519 key is always convertible
	}
	return key
}

// noAddr stands for the peer's address, which knownhosts parses but, given the
// address from the inventory, does not use.
func noAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero} }

// lines returns the lines about an address: plain keys and authorities.
func (f *hostsFile) lines(address string) (plain, authorities []knownhosts.KnownKey) {
	var e *knownhosts.KeyError
	if errors.As(f.check(address, noAddr(), probeKey()), &e) {
		for _, k := range e.Want {
			if f.caLines[k.Line] {
				authorities = append(authorities, k)
			} else {
				plain = append(plain, k)
			}
		}
	}
	return plain, authorities
}

func (k *knownHosts) verifier(t *Target) (*verifier, error) {
	path, err := expandHome(t.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("%s: known_hosts: %w", t.name(), err)
	}
	file, err := k.load(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.name(), err)
	}
	plain, authorities := file.lines(t.hostPort())
	var algorithms []string
	if len(authorities) > 0 {
		algorithms = append(algorithms, hostCertAlgorithms[:]...)
	}
	for _, family := range allHostKeyAlgorithms() {
		for _, known := range plain {
			if slices.Contains(familyOf(known.Key.Type()), family) && !slices.Contains(algorithms, family) {
				algorithms = append(algorithms, family)
			}
		}
	}
	// The rest, for first use and so that a changed key can be named.
	for _, a := range allHostKeyAlgorithms() {
		if !slices.Contains(algorithms, a) {
			algorithms = append(algorithms, a)
		}
	}
	return &verifier{
		algorithms: algorithms,
		check:      func(key gossh.PublicKey) error { return k.check(t, path, key) },
	}, nil
}

// check holds a key against the file's current content.
func (k *knownHosts) check(t *Target, path string, key gossh.PublicKey) error {
	// One lock around looking up and appending: two first connections to one
	// host must not both be the first.
	k.mu.Lock()
	file, err := k.loadLocked(path)
	if err != nil {
		k.mu.Unlock()
		return fmt.Errorf("%s: %w", t.name(), err)
	}
	problem := file.judge(t, path, key)
	if problem == nil {
		k.mu.Unlock()
		return nil
	}
	if problem.Problem != HostKeyUnknown || !k.firstUse {
		k.mu.Unlock()
		return problem
	}
	err = appendLine(path, problem.KnownHostsLine)
	k.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: trust on first use: %w", t.name(), err)
	}
	if k.onTrust != nil {
		k.onTrust(Trusted{
			Host: t.name(), Address: t.hostPort(),
			Type: problem.Type, Fingerprint: problem.Fingerprint,
			File: path, Line: problem.KnownHostsLine,
		})
	}
	return nil
}

func (f *hostsFile) judge(t *Target, path string, key gossh.PublicKey) *HostKeyError {
	err := f.check(t.hostPort(), noAddr(), key)
	plain, authorities := f.lines(t.hostPort())
	_, isCert := key.(*gossh.Certificate)
	var unknown *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case err == nil && (isCert || slices.ContainsFunc(plain, func(k knownhosts.KnownKey) bool { return sameKey(k.Key, key) })):
		return nil
	case err == nil:
		// knownhosts lets an authority's own key pass as a host key.
		e := hostKeyError(t, HostKeyCertificate, key)
		e.File, e.Err = path, errors.New("the key of a certificate authority is not a host key")
		return e
	case errors.As(err, &revoked):
		e := hostKeyError(t, HostKeyRevoked, key)
		e.File, e.Known = path, knownKeys([]knownhosts.KnownKey{revoked.Revoked})
		return e
	case !errors.As(err, &unknown):
		e := hostKeyError(t, HostKeyCertificate, key)
		e.File, e.Err = path, err
		return e
	case len(plain) > 0:
		e := hostKeyError(t, HostKeyChanged, key)
		e.File, e.Known = path, knownKeys(plain)
		return e
	case len(authorities) > 0:
		e := hostKeyError(t, HostKeyCertificate, key)
		e.File, e.Known = path, knownKeys(authorities)
		e.Err = fmt.Errorf("%s:%d wants a certificate, the host shows a plain key", authorities[0].Filename, authorities[0].Line)
		return e
	}
	e := hostKeyError(t, HostKeyUnknown, key)
	e.File = path
	return e
}

func knownKeys(lines []knownhosts.KnownKey) []KnownKey {
	keys := make([]KnownKey, len(lines))
	for i, l := range lines {
		keys[i] = KnownKey{l.Filename, l.Line, l.Key.Type(), gossh.FingerprintSHA256(l.Key)}
	}
	return keys
}

// appendLine adds a line to a known_hosts file in one write, on a line of its
// own even where the file does not end with a newline.
func appendLine(path, line string) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if size := info.Size(); size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if last[0] != '\n' {
			line = "\n" + line
		}
	}
	if _, err := f.WriteString(line + "\n"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kinstall/kinstall/plan/resource"
)

// clockSkew is how far certificates are dated back, so that hosts whose clocks
// are a little behind accept them at once.
const clockSkew = 5 * time.Minute

// Create makes an authority that does not exist yet and writes it to the
// directory, which is made if need be. An authority with a common name is a
// certificate authority: self-signed, for leaf certificates only (path length
// 0). One without is a bare key pair for signing tokens: RSA, with 2048 bits
// unless the authority asks for more, because tokens are verified outside the
// cluster too, and RS256 is the one algorithm that every OpenID Connect relying
// party must support (OpenID Connect Core 1.0, section 15.1).
//
// The error wraps fs.ErrExist if the authority, or a file of its name, is
// already there; then nothing was changed.
func (s *Store) Create(a resource.Authority) error {
	l, err := layoutOf(a.Name)
	if err != nil {
		return fmt.Errorf("create authority: %w", err)
	}
	if isCA := l.part == resource.PartCertificate; isCA != (a.CommonName != "") {
		return fmt.Errorf("create authority %q: a common name is for certificate authorities, and for all of them", a.Name)
	}
	// Made before the lock is taken: an RSA key takes a while.
	p, err := s.generate(l, a)
	if err != nil {
		return fmt.Errorf("create authority %q: %w", a.Name, err)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pairs[a.Name] != nil {
		return fmt.Errorf("create authority %q in %s: %w", a.Name, s.dir, fs.ErrExist)
	}
	if err := s.write(p); err != nil {
		return fmt.Errorf("create authority %q: %w", a.Name, err)
	}
	p.encrypted = s.options.Encryption != nil
	s.pairs[a.Name] = p
	return nil
}

// nameOf is the subject of a certificate authority.
func nameOf(a resource.Authority) pkix.Name {
	one := func(s string) []string {
		if s == "" {
			return nil
		}
		return []string{s}
	}
	return pkix.Name{
		CommonName: a.CommonName, Organization: one(a.Subject.Organization), OrganizationalUnit: one(a.Subject.OrganizationalUnit),
		Country: one(a.Subject.Country), Province: one(a.Subject.Province), Locality: one(a.Subject.Locality),
	}
}

// newKey makes a private key.
func newKey(algorithm resource.KeyAlgorithm) (key crypto.Signer, err error) {
	switch algorithm.Or() {
	case resource.KeyECDSAP256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case resource.KeyECDSAP384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case resource.KeyRSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case resource.KeyRSA3072:
		key, err = rsa.GenerateKey(rand.Reader, 3072)
	case resource.KeyRSA4096:
		key, err = rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("keys of %q can't be made", algorithm)
	}
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return key, nil
}

func (s *Store) generate(l layout, a resource.Authority) (*pair, error) {
	p := &pair{layout: l}
	if a.CommonName == "" {
		algorithm := resource.KeyRSA2048
		if a.Key.IsRSA() {
			algorithm = a.Key
		}
		key, err := newKey(algorithm)
		if err != nil {
			return nil, err
		}
		public, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return nil, fmt.Errorf("encode public key: %w", err)
		}
		p.signer, p.publicPEM = key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	} else {
		if a.Validity <= 0 {
			return nil, fmt.Errorf("validity is %s", a.Validity)
		}
		key, err := newKey(a.Key)
		if err != nil {
			return nil, err
		}
		serial, err := newSerial()
		if err != nil {
			return nil, err
		}
		now := s.now().UTC()
		template := &x509.Certificate{
			SerialNumber:          serial,
			Subject:               nameOf(a),
			NotBefore:             now.Add(-clockSkew),
			NotAfter:              now.Add(a.Validity),
			KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
			BasicConstraintsValid: true,
			IsCA:                  true,
			MaxPathLenZero:        true, // issues leaves, no further authorities
			// SubjectKeyId is derived from the key by CreateCertificate.
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			return nil, fmt.Errorf("sign certificate: %w", err)
		}
		if p.cert, err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("read back certificate: %w", err)
		}
		p.signer, p.publicPEM, p.bundlePEM = key, encodeCertificate(der), encodeCertificate(der)
	}
	var err error
	p.keyPEM, err = encodeKey(p.signer)
	return p, err
}

// write puts a pair into the directory: the key first, so that there is never
// a certificate whose key is lost.
func (s *Store) write(p *pair) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fileError(s.dir, "make pki directory", err)
	}
	info, err := os.Stat(s.dir)
	if err != nil {
		return fileError(s.dir, "open pki directory", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return tooOpen(s.dir, info.Mode(), 0o700)
	}
	unlock, err := lock(s.dir, true)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.removeRemains(); err != nil {
		return err
	}
	keyPath, publicPath := filepath.Join(s.dir, p.key), filepath.Join(s.dir, p.public)
	for _, path := range []string{keyPath, publicPath} {
		switch _, err := os.Lstat(path); {
		case err == nil:
			return &FileError{Path: path, Err: fmt.Errorf("is there already: %w", fs.ErrExist),
				hint: "it was made since the pki directory was read; run the command again"}
		case !errors.Is(err, fs.ErrNotExist):
			return fileError(path, "look for", err)
		}
	}
	text, err := s.sealed(p)
	if err != nil {
		return err
	}
	keyTemp, err := s.stage(text, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(keyTemp)
	publicTemp, err := s.stage(p.publicPEM, 0o644)
	if err != nil {
		return err
	}
	defer os.Remove(publicTemp)
	// A link fails if the name is taken, where a rename would replace.
	if err := os.Link(keyTemp, keyPath); err != nil {
		return linkError(keyPath, err)
	}
	if err := os.Link(publicTemp, publicPath); err != nil {
		// Nothing was signed with this key yet, and it is ours: the pair goes as a whole.
		os.Remove(keyPath)
		return linkError(publicPath, err)
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(s.dir)) // the directory's own entry, if it is new
}

// tempPrefix marks files that are not part of the store yet.
const tempPrefix = ".new-"

// stage writes data to a new file in the directory, on disk and complete when
// it returns.
func (s *Store) stage(data []byte, mode fs.FileMode) (path string, err error) {
	f, err := os.CreateTemp(s.dir, tempPrefix+"*") // 0600, whatever the umask
	if err != nil {
		return "", fileError(s.dir, "write", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return "", fileError(f.Name(), "write", err)
	}
	if mode != 0o600 {
		if err := f.Chmod(mode); err != nil {
			return "", fileError(f.Name(), "chmod", err)
		}
	}
	if err := f.Sync(); err != nil {
		return "", fileError(f.Name(), "fsync", err)
	}
	if err := f.Close(); err != nil {
		return "", fileError(f.Name(), "close", err)
	}
	return f.Name(), nil
}

// removeRemains removes what a crash left of an earlier write. The caller
// holds the lock, so no other process is at work on them.
func (s *Store) removeRemains() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fileError(s.dir, "list", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) && e.Type().IsRegular() {
			path := filepath.Join(s.dir, e.Name())
			if err := os.Remove(path); err != nil {
				return fileError(path, "remove remains of an interrupted run", err)
			}
		}
	}
	return nil
}

func linkError(path string, err error) error {
	var link *os.LinkError
	if errors.As(err, &link) {
		err = link.Err
	}
	e := &FileError{Path: path, Err: fmt.Errorf("put in place: %w", err)}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
		e.hint = "the file system knows no hard links; put the pki directory on another one"
	}
	return e
}

// lock takes the directory's advisory lock, shared or exclusive, and waits for
// it. The kernel frees it if the process dies.
func lock(dir string, exclusive bool) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fileError(dir, "open pki directory", err)
	}
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	for {
		err = unix.Flock(int(d.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		d.Close()
		return nil, fileError(dir, "lock pki directory", err)
	}
	return func() { d.Close() }, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fileError(dir, "fsync", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fileError(dir, "fsync", err)
	}
	return nil
}

// newSerial returns 128 random bits; RFC 5280 asks for a positive number of at
// most 20 octets.
func newSerial() (*big.Int, error) {
	for {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
		if err != nil {
			return nil, fmt.Errorf("draw serial number: %w", err)
		}
		if serial.Sign() > 0 {
			return serial, nil
		}
	}
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("encode private key: unsupported kind of key")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

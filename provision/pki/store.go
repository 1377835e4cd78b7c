// Package pki keeps the cluster's authorities on the operator's machine and
// signs with them: certificate authorities, the key pair behind service
// account tokens, and the leaf certificates minted from them.
//
// A directory holds one pair of files for each authority, flat, in PEM:
//
//	kubernetes-ca.crt   kubernetes-ca.key
//	etcd-ca.crt         etcd-ca.key
//	front-proxy-ca.crt  front-proxy-ca.key
//	service-account.pub service-account.key
//
// The contract:
//
//   - The directory is 0700 and private keys are 0600 from the first byte on;
//     Open refuses anything that others can read.
//   - What exists is never overwritten or removed, by this process or by
//     another one running at the same time: losing an authority cuts off
//     everything it signed.
//   - A pair is whole or an error: a half, unreadable, corrupt or mismatched
//     pair is reported with its files' names and never taken for "absent".
//   - Leaf keys and client certificates live in memory only; the caller puts
//     them where they belong and keeps them nowhere else.
//   - No error and no formatting of a Store shows key material. Advice for the
//     operator is separate from the error: it is what its method Hint returns.
//
// Authorities brought along from elsewhere work if they are in this layout:
// RSA, ECDSA or Ed25519, in PKCS#8, PKCS#1 or SEC 1, in the clear or encrypted
// with age; what keys are in their files is chosen by Options. The first
// certificate of a file is the authority's own; the file of an intermediate holds
// those above it up to the root, too. The key of an authority that a Signer signs
// for is not in the directory.
package pki

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan/resource"
)

// layout names the files of one authority. The second file of a pair is the
// certificate of a certificate authority, or the bare public key.
type layout struct {
	name   string // the authority's name in a plan
	key    string // file of the private key
	public string // file of the certificate or public key
	part   resource.Part
}

var layouts = []layout{
	{"kubernetes", "kubernetes-ca.key", "kubernetes-ca.crt", resource.PartCertificate},
	{"etcd", "etcd-ca.key", "etcd-ca.crt", resource.PartCertificate},
	{"front-proxy", "front-proxy-ca.key", "front-proxy-ca.crt", resource.PartCertificate},
	{"service-account", "service-account.key", "service-account.pub", resource.PartPublicKey},
}

func layoutOf(name string) (layout, error) {
	for _, l := range layouts {
		if l.name == name {
			return l, nil
		}
	}
	return layout{}, fmt.Errorf("authority %q is not one that kinstall knows", name)
}

// pair is one authority's material.
type pair struct {
	layout
	keyPEM    []byte // nil where the key is with a Signer
	publicPEM []byte // of a certificate authority: with what is trusted beside it, without those above it
	encrypted bool   // in its file
	signer    crypto.Signer
	remote    Signer            // nil where the key is here
	cert      *x509.Certificate // nil of a bare key pair
	chain     []*x509.Certificate
	bundlePEM []byte // the whole file
	served    []byte // what follows a certificate that the authority signed, nil of a root
}

// bytes returns a part as it stands in its file, nil if the authority has no such part.
func (p *pair) bytes(part resource.Part) []byte {
	switch part {
	case resource.PartPrivateKey:
		return p.keyPEM
	case resource.PartVRRPPassword:
		if p.part != resource.PartPublicKey {
			return nil // no certificate authority's key is for this
		}
		return vrrpPassword(p.keyPEM)
	case p.part:
		return p.publicPEM
	case resource.PartBundle:
		if p.part == resource.PartCertificate {
			return p.bundlePEM
		}
	}
	return nil
}

// Options are what a store takes beside its directory.
type Options struct {
	// Signers sign for authorities whose keys are not in the directory, by the
	// authority's name.
	Signers map[string]Signer
	// Encryption says how private keys are encrypted; nil: they lie in the clear.
	Encryption *Encryption
}

// Store is a pki directory. Its methods may be called concurrently.
type Store struct {
	dir     string
	options Options
	now     func() time.Time
	cipher  *cipher // nil without Encryption

	mu      sync.RWMutex
	pairs   map[string]*pair
	clients map[string]*clientCertificate // of authorities that a Signer signs for
}

// Open reads a pki directory. A directory that does not exist is an empty
// store and is not created, unless authorities must be in it, for which others
// sign. All that is wrong with the directory is reported at once; each finding is
// a *FileError.
func Open(dir string, options Options) (*Store, error) {
	s := &Store{dir: dir, options: options, now: time.Now, pairs: map[string]*pair{}, clients: map[string]*clientCertificate{}}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(options.Signers) == 0:
		return s, s.unlock()
	case errors.Is(err, fs.ErrNotExist):
		var missing []error
		for _, l := range layouts {
			if remote := options.Signers[l.name]; remote != nil {
				missing = append(missing, noCertificate(filepath.Join(dir, l.public), remote))
			}
		}
		return nil, errors.Join(missing...)
	case err != nil:
		return nil, fileError(dir, "open pki directory", err)
	case !info.IsDir():
		return nil, &FileError{Path: dir, Err: errors.New("open pki directory: is not a directory")}
	case info.Mode().Perm()&0o077 != 0:
		return nil, tooOpen(dir, info.Mode(), 0o700)
	}
	// Shared with readers, exclusive with Create: a pair is never seen half written.
	unlock, err := lock(dir, false)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.unlock(); err != nil {
		return nil, err
	}
	var found []error
	for _, l := range layouts {
		p, err := s.read(l)
		switch {
		case err != nil:
			found = append(found, err)
		case p != nil:
			s.pairs[l.name] = p
		}
	}
	if len(found) > 0 {
		return nil, errors.Join(found...)
	}
	return s, nil
}

// unlock makes ready to read and write encrypted keys.
func (s *Store) unlock() (err error) {
	if s.options.Encryption != nil {
		s.cipher, err = s.newCipher(s.options.Encryption)
	}
	return err
}

// read returns an authority from its files, nil if there is neither of them.
func (s *Store) read(l layout) (*pair, error) {
	keyPath, publicPath := filepath.Join(s.dir, l.key), filepath.Join(s.dir, l.public)
	keyPEM, keyErr := readFile(keyPath, true)
	publicPEM, publicErr := readFile(publicPath, false)
	keyMissing, publicMissing := errors.Is(keyErr, fs.ErrNotExist), errors.Is(publicErr, fs.ErrNotExist)
	remote := s.options.Signers[l.name]
	switch {
	case remote != nil && !keyMissing:
		return nil, &FileError{Path: keyPath, Err: fmt.Errorf("is there, although %s signs for the authority %q", remote, l.name),
			hint: "keep one of the two: remove the block signer from the inventory, or the key from the directory"}
	case remote != nil && publicMissing:
		return nil, noCertificate(publicPath, remote)
	case remote != nil && publicErr != nil:
		return nil, publicErr
	case remote != nil:
		p := &pair{layout: l, remote: remote}
		return p, p.read(publicPath, publicPEM)
	case keyMissing && publicMissing:
		return nil, nil
	case keyMissing:
		return nil, halfPair(keyPath, publicPath)
	case publicMissing:
		return nil, halfPair(publicPath, keyPath)
	case keyErr != nil || publicErr != nil:
		return nil, errors.Join(keyErr, publicErr)
	}
	p := &pair{layout: l, publicPEM: publicPEM}
	var err error
	if p.keyPEM, p.encrypted, err = s.decrypted(keyPath, keyPEM); err != nil {
		return nil, err
	}
	if p.signer, err = parseKey(p.keyPEM); err != nil {
		return nil, &FileError{Path: keyPath, Err: err, hint: "restore the file from a backup"}
	}
	var public crypto.PublicKey
	if l.part == resource.PartCertificate {
		if err := p.read(publicPath, publicPEM); err != nil {
			return nil, err
		}
		public = p.cert.PublicKey
	} else if public, err = parsePublic(publicPEM); err != nil {
		return nil, &FileError{Path: publicPath, Err: err, hint: "restore the file from a backup"}
	}
	if own, ok := p.signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !own.Equal(public) {
		return nil, &FileError{Path: publicPath, Err: fmt.Errorf("does not belong to the private key %s", l.key),
			hint: "restore both files from the same backup"}
	}
	return p, nil
}

// Exists reports whether the authority is there.
func (s *Store) Exists(name string) bool {
	_, err := s.pair(name)
	return err == nil
}

// Certificate returns an authority's certificate in PEM, nil if there is none.
func (s *Store) Certificate(name string) []byte {
	p, err := s.pair(name)
	if err != nil {
		return nil
	}
	return bytes.Clone(p.bytes(resource.PartCertificate))
}

// Chain returns what follows a certificate of the authority where it is served:
// the authority's own certificate and those above it, but for the root, in PEM.
// nil of a root. All who ask get the same bytes, which must not be changed: a plan
// has thousands of certificates.
func (s *Store) Chain(name string) []byte {
	p, err := s.pair(name)
	if err != nil {
		return nil
	}
	return p.served
}

// SHA256 returns the digest of a part's file in lower-case hex, "" if there is none.
func (s *Store) SHA256(name string, part resource.Part) string {
	p, err := s.pair(name)
	if err != nil || p.bytes(part) == nil {
		return ""
	}
	sum := sha256.Sum256(p.bytes(part))
	return hex.EncodeToString(sum[:])
}

// Bytes returns a part of an authority as it stands in its file. Those of
// PartPrivateKey are a secret: they go to a host over SSH and nowhere else.
func (s *Store) Bytes(name string, part resource.Part) ([]byte, error) {
	p, err := s.pair(name)
	if err != nil {
		return nil, err
	}
	data := p.bytes(part)
	if data == nil {
		return nil, fmt.Errorf("authority %q has no %s", name, part)
	}
	return bytes.Clone(data), nil
}

// Format implements fmt.Formatter, so that no verb shows keys.
func (s *Store) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "pki %s", s.dir) }

func (s *Store) pair(name string) (*pair, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.pairs[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("authority %q does not exist in %s: %w", name, s.dir, fs.ErrNotExist)
}

// maxFile bounds what is read as PEM, in bytes.
const maxFile = 1 << 20

// readFile reads a file that is not readable by others if it is private. What
// is judged is the file opened, not whatever bears its name a moment later.
func readFile(path string, private bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, "open", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fileError(path, "stat", err)
	case !info.Mode().IsRegular():
		return nil, &FileError{Path: path, Err: errors.New("is not a regular file")}
	case private && info.Mode().Perm()&0o077 != 0:
		return nil, tooOpen(path, info.Mode(), 0o600)
	case info.Size() > maxFile:
		return nil, &FileError{Path: path, Err: fmt.Errorf("is too large for a PEM file: %d bytes", info.Size())}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fileError(path, "read", err)
	}
	return data, nil
}

// parseKey reads a private key. Its errors tell nothing of the content.
func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block != nil && block.Type == "EC PARAMETERS" { // openssl ecparam puts them first
		_, rest := pem.Decode(data)
		block, _ = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("holds no PEM private key")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, errors.New("holds an encrypted private key, but not one of age: that form is not supported")
		}
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, errors.New("holds an encrypted private key, but not one of age: that form is not supported")
		}
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("holds an encrypted private key, but not one of age: that form is not supported")
	default:
		return nil, fmt.Errorf("holds no PEM private key but %q", printable(block.Type))
	}
	if err != nil {
		return nil, errors.New("holds a private key that can't be parsed: the file is corrupt")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("holds a private key of a kind that can't sign")
	}
	return signer, nil
}

// printable keeps a PEM type from a hostile file short enough for an error.
func printable(s string) string { return s[:min(len(s), 40)] }

func parsePublic(data []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("holds no PEM public key")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("holds a public key that can't be parsed: %w", err)
	}
	return public, nil
}

package pki

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// Encryption says how private keys lie in the directory: encrypted with age
// (https://age-encryption.org/v1), armored, under the names they have in the
// clear. Either Recipients and IdentityFile are set, or Passphrase is.
type Encryption struct {
	// Recipients are those for whom keys are encrypted, IdentityFile the file of
	// an age identity by which this machine reads them.
	Recipients   []string
	IdentityFile string
	Place        string // where the inventory says so, as FILE:LINE
	// Passphrase returns what the identity is encrypted with that lies beside the
	// keys. It is asked once. isNew says that there is none yet and that this one
	// will be; "" is then an answer, too: nothing is to be encrypted in this run.
	Passphrase func(isNew bool) (string, error)

	workFactor int // of new identities; 0: workFactor
}

// identityFile is an age identity encrypted with the passphrase. Keys are
// encrypted for it: one passphrase for all of them is stretched once.
const identityFile = "identity.age"

// workFactor is how hard passphrases are stretched: age's own default, about a
// second. Tests make do with less.
const workFactor = 18

// cipher encrypts and decrypts keys.
type cipher struct {
	recipients []age.Recipient // none: nothing can be encrypted in this run
	identities []age.Identity
	// identity is the file of a new identity, which must be written before the
	// first key that is encrypted for it; nil otherwise.
	identity []byte
}

// newCipher reads what it takes; nothing is written.
func (s *Store) newCipher(e *Encryption) (*cipher, error) {
	if e.Passphrase != nil {
		return s.cipherOfPassphrase(e)
	}
	c := &cipher{}
	var err error
	if c.recipients, err = age.ParseRecipients(strings.NewReader(strings.Join(e.Recipients, "\n"))); err != nil {
		return nil, fmt.Errorf("%s: recipients: %w", e.Place, err)
	}
	text, err := readFile(e.IdentityFile, true)
	if err != nil {
		return nil, err
	}
	if c.identities, err = age.ParseIdentities(bytes.NewReader(text)); err != nil {
		// Its own errors may quote the file.
		return nil, &FileError{Path: e.IdentityFile, Err: errors.New("holds no age identities"), hint: "`age-keygen` makes one; it must not be encrypted itself"}
	}
	// What this machine encrypts it must be able to read again.
	sample, err := c.encrypt([]byte("sample"))
	if err == nil {
		_, err = c.decrypt(sample)
	}
	if err != nil {
		return nil, &FileError{Path: e.IdentityFile, Err: errors.New("none of its identities can read what is encrypted for pki.encryption.recipients"),
			hint: "add the identity's own recipient (`age-keygen -y FILE` prints it) to recipients"}
	}
	return c, nil
}

func (s *Store) cipherOfPassphrase(e *Encryption) (*cipher, error) {
	path := filepath.Join(s.dir, identityFile)
	text, err := readFile(path, true)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err != nil && !isNew {
		return nil, err
	}
	passphrase, err := e.Passphrase(isNew)
	switch {
	case err != nil:
		return nil, err
	case passphrase == "" && isNew:
		return &cipher{}, nil
	case isNew:
		return newIdentity(passphrase, cmp.Or(e.workFactor, workFactor))
	}
	wrong := &FileError{Path: path, Err: errors.New("can't be read with this passphrase"), hint: "mind the keyboard's layout; nothing was changed"}
	lock, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, wrong
	}
	plain, err := (&cipher{identities: []age.Identity{lock}}).decrypt(text)
	if err != nil {
		return nil, wrong
	}
	identities, err := age.ParseIdentities(bytes.NewReader(plain))
	if err != nil {
		return nil, &FileError{Path: path, Err: errors.New("holds no age identity"), hint: "restore the file from a backup"}
	}
	c := &cipher{identities: identities}
	for _, i := range identities {
		if x, ok := i.(*age.X25519Identity); ok {
			c.recipients = append(c.recipients, x.Recipient())
		}
	}
	return c, nil
}

func newIdentity(passphrase string, factor int) (*cipher, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("generate age identity: %w", err)
	}
	lock, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	lock.SetWorkFactor(factor)
	c := &cipher{recipients: []age.Recipient{identity.Recipient()}, identities: []age.Identity{identity}}
	c.identity, err = (&cipher{recipients: []age.Recipient{lock}}).encrypt([]byte(identity.String() + "\n"))
	return c, err
}

// isEncrypted reports whether a file's content is age's.
func isEncrypted(content []byte) bool {
	return bytes.HasPrefix(content, []byte(armor.Header)) || bytes.HasPrefix(content, []byte("age-encryption.org/"))
}

func (c *cipher) encrypt(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, c.recipients...)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = armored.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return out.Bytes(), nil
}

func (c *cipher) decrypt(content []byte) ([]byte, error) {
	var in io.Reader = bytes.NewReader(content)
	if bytes.HasPrefix(content, []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	plain, err := age.Decrypt(in, c.identities...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(plain, maxFile))
}

// decrypted returns a key in the clear, and whether it is encrypted in its file.
func (s *Store) decrypted(path string, content []byte) (plain []byte, encrypted bool, err error) {
	if !isEncrypted(content) {
		return content, false, nil
	}
	if s.cipher == nil || len(s.cipher.identities) == 0 {
		return nil, true, &FileError{Path: path, Err: errors.New("is encrypted with age, and nothing says by which identity or passphrase it is read"),
			hint: "add a block encryption to pki in the inventory; to have it in the clear again: age --decrypt"}
	}
	plain, err = s.cipher.decrypt(content)
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other):
		return nil, true, &FileError{Path: path, Err: errors.New("is encrypted for others than the identity of pki.encryption"), hint: "use the identity that it was encrypted for"}
	case err != nil:
		return nil, true, &FileError{Path: path, Err: errors.New("can't be decrypted: the file is corrupt"), hint: "restore the file from a backup"}
	}
	return plain, true, nil
}

// sealed is a key as it is written: encrypted if that is asked for. What a new
// identity takes is written first.
func (s *Store) sealed(p *pair) ([]byte, error) {
	if s.options.Encryption == nil {
		return p.keyPEM, nil
	}
	if s.cipher == nil || len(s.cipher.recipients) == 0 {
		return nil, errors.New("there is no passphrase to encrypt the key with")
	}
	if s.cipher.identity != nil {
		if err := s.place(s.cipher.identity, 0o600, filepath.Join(s.dir, identityFile)); err != nil {
			return nil, err
		}
		s.cipher.identity = nil
	}
	return s.cipher.encrypt(p.keyPEM)
}

// place writes a new file; one that is there stays, and is an error.
func (s *Store) place(data []byte, mode fs.FileMode, path string) error {
	temp, err := s.stage(data, mode)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	if err := os.Link(temp, path); err != nil {
		return linkError(path, err)
	}
	return syncDir(s.dir)
}

// Encrypted reports whether an authority's private key is encrypted in its file.
func (s *Store) Encrypted(name string) bool {
	p, err := s.pair(name)
	return err == nil && p.encrypted
}

// Encrypt encrypts the private key of an authority that lies in the clear. Its
// file is replaced as a whole: at any moment it holds the one or the other, and
// nobody else can read either. One that was changed meanwhile is left as it is.
func (s *Store) Encrypt(name string) error {
	wrap := func(err error) error { return fmt.Errorf("encrypt the key of authority %q: %w", name, err) }
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pairs[name]
	switch {
	case p == nil || p.keyPEM == nil:
		return wrap(fmt.Errorf("there is none in %s: %w", s.dir, fs.ErrNotExist))
	case p.encrypted:
		return nil
	case s.options.Encryption == nil:
		return wrap(errors.New("the inventory does not ask for it"))
	}
	unlock, err := lock(s.dir, true)
	if err != nil {
		return wrap(err)
	}
	defer unlock()
	if err := s.removeRemains(); err != nil {
		return wrap(err)
	}
	path := filepath.Join(s.dir, p.key)
	found, err := readFile(path, true)
	if err != nil {
		return wrap(err)
	}
	if !bytes.Equal(found, p.keyPEM) {
		return wrap(&FileError{Path: path, Err: errors.New("was changed since the plan was made"), hint: "plan again"})
	}
	text, err := s.sealed(p)
	if err != nil {
		return wrap(err)
	}
	// What can't be read again must not take the place of what can.
	if again, err := s.cipher.decrypt(text); err != nil || !bytes.Equal(again, p.keyPEM) {
		return wrap(errors.New("what was encrypted can't be read again"))
	}
	temp, err := s.stage(text, 0o600)
	if err != nil {
		return wrap(err)
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return wrap(fileError(path, "put in place", err))
	}
	p.encrypted = true
	return syncDir(s.dir)
}

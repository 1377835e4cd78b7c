package pki

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/resource"
)

const privateKey = "PRIVATE KEY-----"

// phrase answers with a passphrase, and counts how often it was asked.
func phrase(text string, asked *[]bool) Options {
	return Options{Encryption: &Encryption{workFactor: 4, Passphrase: func(isNew bool) (string, error) {
		*asked = append(*asked, isNew)
		return text, nil
	}}}
}

// recipient returns how keys are encrypted for a new identity, and read by others.
func recipient(t *testing.T, readers ...*age.X25519Identity) Options {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if readers == nil {
		readers = []*age.X25519Identity{identity}
	}
	var text strings.Builder
	for _, r := range readers {
		fmt.Fprintf(&text, "# of a test\n%s\n", r)
	}
	file := filepath.Join(t.TempDir(), "age.txt")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return Options{Encryption: &Encryption{Recipients: []string{identity.Recipient().String()}, IdentityFile: file}}
}

// inTheClear are the files of a directory that hold a private key which anybody
// could read who has the file.
func inTheClear(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	for name, text := range tree(t, dir) {
		if strings.Contains(text, privateKey) || strings.Contains(text, "AGE-SECRET-KEY") {
			found = append(found, name)
		}
		if (strings.HasSuffix(name, ".key") || name == identityFile) && text[:4] != "0600" {
			t.Errorf("%s has mode %s", name, text[:4])
		}
	}
	return found
}

// Keys that are made are encrypted from the first byte on, and read again.
func TestCreateEncrypted(t *testing.T) {
	var asked []bool
	for name, options := range map[string]Options{"passphrase": phrase("correct horse", &asked), "recipient": recipient(t)} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "pki")
			s, err := Open(dir, options)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Error("opening wrote something")
			}
			for _, a := range all {
				if err := s.Create(a); err != nil {
					t.Fatal(err)
				}
				if !s.Encrypted(a.Name) {
					t.Errorf("%s is not encrypted", a.Name)
				}
			}
			if found := inTheClear(t, dir); len(found) > 0 {
				t.Errorf("in the clear: %v", found)
			}
			again, err := Open(dir, options)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range all {
				if got, want := again.SHA256(a.Name, resource.PartPrivateKey), s.SHA256(a.Name, resource.PartPrivateKey); got != want || !again.Encrypted(a.Name) {
					t.Errorf("%s: another key, or not encrypted", a.Name)
				}
			}
			if _, _, err := again.Issue(t.Context(), apiserver); err != nil {
				t.Error(err)
			}
		})
	}
	if diff := cmp.Diff([]bool{true, false}, asked); diff != "" {
		t.Errorf("asked once in a run, first for a new passphrase (-want +got):\n%s", diff)
	}
}

// Keys that lie in the clear are encrypted in their places, and stay the same keys.
func TestEncrypt(t *testing.T) {
	dir := filled(t)
	plain := open(t, dir)
	var asked []bool
	options := phrase("correct horse", &asked)
	s, err := Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if s.Encrypted(a.Name) {
			t.Errorf("%s is encrypted already", a.Name)
		}
		for range 2 { // the second time there is nothing to do
			if err := s.Encrypt(a.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found := inTheClear(t, dir); len(found) > 0 {
		t.Errorf("in the clear: %v", found)
	}
	again, err := Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if again.SHA256(a.Name, resource.PartPrivateKey) != plain.SHA256(a.Name, resource.PartPrivateKey) || !again.Encrypted(a.Name) {
			t.Errorf("%s: another key, or not encrypted", a.Name)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", again, again, again); strings.Contains(text, "horse") || strings.Contains(text, "SECRET") {
		t.Errorf("a store shows %q", text)
	}
}

// A plan needs no passphrase for keys that are yet to be encrypted.
func TestNoPassphraseYet(t *testing.T) {
	dir := filled(t)
	before := tree(t, dir)
	var asked []bool
	s, err := Open(dir, phrase("", &asked))
	if err != nil || !s.Exists("etcd") {
		t.Fatal(err)
	}
	if err := s.Encrypt("etcd"); err == nil || !strings.Contains(err.Error(), "no passphrase") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("the directory changed:\n%s", diff)
	}
}

// What can't be read is said before anything is touched, and nothing is told of it.
func TestEncryptedAndUnreadable(t *testing.T) {
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var asked []bool
	byPhrase := phrase("correct horse", &asked)
	dir := filled(t)
	s, err := Open(dir, byPhrase)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if err := s.Encrypt(a.Name); err != nil {
			t.Fatal(err)
		}
	}
	broken := filled(t)
	if err := os.Chmod(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "etcd-ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"etcd-ca.key": bytes.Replace(text, text[200:210], []byte("AAAAAAAAAA"), 1), identityFile: nil} {
		if content == nil {
			if content, err = os.ReadFile(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(broken, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openIdentity := recipient(t)
	if err := os.Chmod(openIdentity.Encryption.IdentityFile, 0o644); err != nil {
		t.Fatal(err)
	}
	noIdentity := recipient(t)
	if err := os.WriteFile(noIdentity.Encryption.IdentityFile, []byte("AGE-SECRET-KEY-1-a-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	badRecipient := recipient(t)
	badRecipient.Encryption.Recipients = []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8q"}
	badRecipient.Encryption.Place = "lab.hcl:7"
	for _, tt := range []struct {
		name    string
		dir     string
		options Options
		want    string
	}{
		{"wrong passphrase", dir, phrase("wrong horse", &asked), "identity.age: can't be read with this passphrase"},
		{"empty passphrase", dir, phrase("", &asked), "identity.age: can't be read with this passphrase"},
		{"nothing said", dir, Options{}, "is encrypted with age, and nothing says"},
		{"another identity", dir, recipient(t), "is encrypted for others than the identity"},
		{"a broken key", broken, byPhrase, "etcd-ca.key: can't be decrypted: the file is corrupt"},
		{"identity of somebody else", dir, recipient(t, other), "none of its identities can read what is encrypted for pki.encryption.recipients"},
		{"identity open to others", dir, openIdentity, "is open to others (mode 0644)"},
		{"no identity", dir, noIdentity, "holds no age identities"},
		{"bad recipient", dir, badRecipient, "lab.hcl:7: recipients: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := tree(t, dir)
			_, err := Open(tt.dir, tt.options)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "horse") || strings.Contains(err.Error(), "a-secret")) {
				t.Errorf("a secret is told of: %v", err)
			}
			if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
				t.Errorf("the directory changed:\n%s", diff)
			}
		})
	}
}

// A key that somebody else wrote since the plan was made stays as it is.
func TestEncryptStale(t *testing.T) {
	dir := filled(t, "etcd")
	s, err := Open(dir, recipient(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "etcd-ca.key")
	if err := os.WriteFile(path, []byte("another key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Encrypt("etcd"); err == nil || !strings.Contains(err.Error(), "was changed since the plan was made") {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "another key\n" {
		t.Errorf("it holds %q (%v)", text, err)
	}
}

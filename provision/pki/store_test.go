package pki

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/resource"
)

// The interface that package plan asks of a store.
var _ interface {
	Certificate(name string) []byte
	SHA256(name string, part resource.Part) string
	Exists(name string) bool
} = (*Store)(nil)

const year = 365 * 24 * time.Hour

var all = []resource.Authority{
	{Name: "kubernetes", CommonName: "kubernetes", Validity: 10 * year},
	{Name: "etcd", CommonName: "etcd-ca", Validity: 10 * year},
	{Name: "front-proxy", CommonName: "front-proxy-ca", Validity: 10 * year},
	{Name: "service-account"},
}

// filled returns a directory with the named authorities in it, all if none is named.
func filled(t *testing.T, names ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	s := open(t, dir)
	for _, a := range all {
		wanted := len(names) == 0
		for _, n := range names {
			wanted = wanted || n == a.Name
		}
		if wanted {
			if err := s.Create(a); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// private gives a directory the mode that a store's has.
func private(t *testing.T, dir string) string {
	t.Helper()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tree maps the names in a directory to mode and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = fmt.Sprintf("%04o %s", info.Mode().Perm(), data)
	}
	return files
}

func TestMissingDirectoryIsEmpty(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	s := open(t, dir)
	if s.Exists("kubernetes") || s.Certificate("kubernetes") != nil || s.SHA256("kubernetes", resource.PartCertificate) != "" {
		t.Error("an empty store has an authority")
	}
	if _, err := s.Bytes("kubernetes", resource.PartPrivateKey); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Bytes: got error %v, want one that wraps fs.ErrNotExist", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("reading made the directory")
	}
}

func TestCreate(t *testing.T) {
	dir := filled(t)
	modes := map[string]string{}
	for name, file := range tree(t, dir) {
		modes[name] = file[:4]
	}
	want := map[string]string{
		"kubernetes-ca.crt": "0644", "kubernetes-ca.key": "0600",
		"etcd-ca.crt": "0644", "etcd-ca.key": "0600",
		"front-proxy-ca.crt": "0644", "front-proxy-ca.key": "0600",
		"service-account.pub": "0644", "service-account.key": "0600",
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("files and modes (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory has mode %v, want 0700 (%v)", info.Mode().Perm(), err)
	}

	s := open(t, dir)
	for _, a := range all {
		if !s.Exists(a.Name) {
			t.Errorf("%s: not there after opening again", a.Name)
		}
		if a.CommonName == "" {
			continue
		}
		cert := certificate(t, s.Certificate(a.Name))
		if cert.Subject.CommonName != a.CommonName || !cert.IsCA || !cert.BasicConstraintsValid || !cert.MaxPathLenZero || len(cert.SubjectKeyId) == 0 {
			t.Errorf("%s: subject %s, CA %v, path length 0 %v, key id %x", a.Name, cert.Subject, cert.IsCA, cert.MaxPathLenZero, cert.SubjectKeyId)
		}
		if got, want := cert.KeyUsage, x509.KeyUsageCertSign|x509.KeyUsageCRLSign|x509.KeyUsageDigitalSignature; got != want {
			t.Errorf("%s: key usage %b, want %b", a.Name, got, want)
		}
		if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve.Params().Name != "P-256" {
			t.Errorf("%s: key is a %T, want ECDSA P-256", a.Name, cert.PublicKey)
		}
		if left := time.Until(cert.NotAfter); left < a.Validity-time.Minute || left > a.Validity {
			t.Errorf("%s: valid for another %s, want %s", a.Name, left, a.Validity)
		}
		if err := cert.CheckSignatureFrom(cert); err != nil {
			t.Errorf("%s: %v", a.Name, err)
		}
	}
	public, err := s.Bytes("service-account", resource.PartPublicKey)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(public)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if rsaKey, ok := key.(*rsa.PublicKey); !ok || rsaKey.N.BitLen() != 2048 {
		t.Errorf("service-account: key is a %T, want RSA 2048 (%v)", key, err)
	}
}

func TestBytesAndDigests(t *testing.T) {
	dir := filled(t, "etcd", "service-account")
	s := open(t, dir)
	for _, c := range []struct {
		name string
		part resource.Part
		file string // "" when there is no such part
	}{
		{"etcd", resource.PartCertificate, "etcd-ca.crt"},
		{"etcd", resource.PartPrivateKey, "etcd-ca.key"},
		{"etcd", resource.PartPublicKey, ""},
		{"service-account", resource.PartPrivateKey, "service-account.key"},
		{"service-account", resource.PartPublicKey, "service-account.pub"},
		{"service-account", resource.PartCertificate, ""},
		{"etcd", resource.PartVRRPPassword, ""},
		{"kubernetes", resource.PartCertificate, ""},
	} {
		t.Run(c.name+" "+string(c.part), func(t *testing.T) {
			got, err := s.Bytes(c.name, c.part)
			if c.file == "" {
				if err == nil || s.SHA256(c.name, c.part) != "" {
					t.Errorf("got %d bytes and digest %q, want none", len(got), s.SHA256(c.name, c.part))
				}
				return
			}
			want, readErr := os.ReadFile(filepath.Join(dir, c.file))
			if err != nil || readErr != nil || string(got) != string(want) {
				t.Errorf("bytes differ from those of %s (%v, %v)", c.file, err, readErr)
			}
			if digest := resource.SHA256(want); s.SHA256(c.name, c.part) != digest {
				t.Errorf("digest %s, want %s", s.SHA256(c.name, c.part), digest)
			}
		})
	}
	// What a caller does to the bytes it got is its own business.
	got, _ := s.Bytes("etcd", resource.PartPrivateKey)
	clear(got)
	if again, _ := s.Bytes("etcd", resource.PartPrivateKey); string(again) == string(got) {
		t.Error("Bytes hands out the store's own memory")
	}
}

func TestCreateRefuses(t *testing.T) {
	for name, a := range map[string]resource.Authority{
		"unknown name":            {Name: "admin", CommonName: "admin", Validity: year},
		"path for a name":         {Name: "../etcd", CommonName: "etcd", Validity: year},
		"CA without common name":  {Name: "etcd", Validity: year},
		"CA without validity":     {Name: "etcd", CommonName: "etcd"},
		"key pair with a subject": {Name: "service-account", CommonName: "sa", Validity: year},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "pki")
			if err := open(t, dir).Create(a); err == nil {
				t.Error("no error")
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Error("the directory was made all the same")
			}
		})
	}
}

func TestNeverOverwrites(t *testing.T) {
	dir := filled(t)
	before := tree(t, dir)
	s := open(t, dir)
	for _, a := range all {
		if err := s.Create(a); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: got error %v, want one that wraps fs.ErrExist", a.Name, err)
		}
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}
}

func TestNeverOverwritesWhatAppearedSince(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	early := open(t, dir)
	if err := open(t, dir).Create(all[0]); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	err := early.Create(all[0])
	if !errors.Is(err, fs.ErrExist) || hint(err) == "" {
		t.Errorf("got error %v with hint %q, want fs.ErrExist with one", err, hint(err))
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}

	// Half a pair, even a dangling link, is no less in the way.
	for _, file := range []string{"etcd-ca.key", "etcd-ca.crt"} {
		path := filepath.Join(dir, file)
		if err := os.Symlink("/nonexistent", path); err != nil {
			t.Fatal(err)
		}
		if err := early.Create(all[1]); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s in the way: got error %v", file, err)
		}
		os.Remove(path)
		if len(tree(t, dir)) != len(before) {
			t.Errorf("%s in the way: something was left behind", file)
		}
	}
}

func TestConcurrentCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	var wg sync.WaitGroup
	won := make(chan int, 100)
	start := make(chan struct{})
	for i := range 8 {
		s := open(t, dir)
		for _, a := range all[:3] {
			wg.Go(func() {
				<-start
				switch err := s.Create(a); {
				case err == nil:
					won <- i
				case !errors.Is(err, fs.ErrExist):
					t.Errorf("create %s: %v", a.Name, err)
				}
			})
		}
		wg.Go(func() { // a reader meanwhile sees whole pairs or none
			<-start
			if _, err := Open(dir, Options{}); err != nil {
				t.Errorf("open meanwhile: %v", err)
			}
		})
	}
	close(start)
	wg.Wait()
	close(won)
	n := 0
	for range won {
		n++
	}
	if n != 3 {
		t.Errorf("%d creations succeeded, want 3", n)
	}
	s := open(t, dir)
	if !s.Exists("kubernetes") || !s.Exists("etcd") || !s.Exists("front-proxy") || len(tree(t, dir)) != 6 {
		t.Errorf("directory holds %d files, want 3 pairs", len(tree(t, dir)))
	}
}

func TestCreateRemovesRemainsOfACrash(t *testing.T) {
	dir := filled(t, "etcd")
	write(t, filepath.Join(dir, tempPrefix+"123"), "half a key", 0o600)
	if err := open(t, dir).Create(all[0]); err != nil {
		t.Fatal(err)
	}
	for name := range tree(t, dir) {
		if strings.HasPrefix(name, tempPrefix) {
			t.Errorf("%s is still there", name)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	const secret = "c2VjcmV0IGJ5dGVz"
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  []string // in the error
		hint  string   // in the hint
	}{
		"directory open to others": {
			func(t *testing.T, dir string) { chmod(t, dir, 0o755) },
			[]string{"pki: holds private keys and is open to others (mode 0755)"}, "chmod 0700"},
		"key open to others": {
			func(t *testing.T, dir string) { chmod(t, filepath.Join(dir, "etcd-ca.key"), 0o640) },
			[]string{"etcd-ca.key: holds private keys and is open to others (mode 0640)"}, "chmod 0600"},
		"all at once": {
			func(t *testing.T, dir string) {
				chmod(t, filepath.Join(dir, "etcd-ca.key"), 0o644)
				write(t, filepath.Join(dir, "kubernetes-ca.crt"), "x", 0o644)
			},
			[]string{"etcd-ca.key", "kubernetes-ca.crt: holds no PEM certificate"}, ""},
		"certificate missing": {
			func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "etcd-ca.crt")) },
			[]string{"etcd-ca.crt: is missing, but etcd-ca.key is there"}, "restore"},
		"key missing": {
			func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "etcd-ca.key")) },
			[]string{"etcd-ca.key: is missing, but etcd-ca.crt is there"}, "restore"},
		"public key missing": {
			func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "service-account.pub")) },
			[]string{"service-account.pub: is missing"}, "restore"},
		"empty key": {
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "etcd-ca.key"), "", 0o600) },
			[]string{"etcd-ca.key: holds no PEM private key"}, "restore"},
		"corrupt key": {
			func(t *testing.T, dir string) {
				write(t, filepath.Join(dir, "etcd-ca.key"), "-----BEGIN PRIVATE KEY-----\n"+secret+"\n-----END PRIVATE KEY-----\n", 0o600)
			},
			[]string{"etcd-ca.key: holds a private key that can't be parsed"}, "restore"},
		"encrypted key": {
			func(t *testing.T, dir string) {
				write(t, filepath.Join(dir, "etcd-ca.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"+secret+"\n-----END ENCRYPTED PRIVATE KEY-----\n", 0o600)
			},
			[]string{"etcd-ca.key: holds an encrypted private key"}, ""},
		"certificate for a key": {
			func(t *testing.T, dir string) { copyFile(t, dir, "etcd-ca.crt", "etcd-ca.key", 0o600) },
			[]string{`etcd-ca.key: holds no PEM private key but "CERTIFICATE"`}, ""},
		"corrupt certificate": {
			func(t *testing.T, dir string) {
				write(t, filepath.Join(dir, "etcd-ca.crt"), "-----BEGIN CERTIFICATE-----\n"+secret+"\n-----END CERTIFICATE-----\n", 0o644)
			},
			[]string{"etcd-ca.crt: holds a certificate that can't be parsed"}, ""},
		"mismatched pair": {
			func(t *testing.T, dir string) { copyFile(t, dir, "kubernetes-ca.crt", "etcd-ca.crt", 0o644) },
			[]string{"etcd-ca.crt: does not belong to the private key etcd-ca.key"}, "same backup"},
		"mismatched key pair": {
			func(t *testing.T, dir string) { copyFile(t, dir, "etcd-ca.key", "service-account.key", 0o600) },
			[]string{"service-account.pub: does not belong to the private key service-account.key"}, ""},
		"leaf certificate for an authority": {
			func(t *testing.T, dir string) {
				cert, key, err := open(t, dir).Issue(t.Context(), resource.Certificate{Authority: "etcd", CommonName: "leaf", Client: true, Validity: year})
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "etcd-ca.crt"), string(cert), 0o644)
				write(t, filepath.Join(dir, "etcd-ca.key"), string(key), 0o600)
			},
			[]string{"etcd-ca.crt: holds a certificate that is not a certificate authority's"}, ""},
		"directory for a key": {
			func(t *testing.T, dir string) {
				remove(t, filepath.Join(dir, "etcd-ca.key"))
				if err := os.Mkdir(filepath.Join(dir, "etcd-ca.key"), 0o700); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"etcd-ca.key: is not a regular file"}, ""},
		"file for the directory": {
			func(t *testing.T, dir string) {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				write(t, dir, "", 0o600)
			},
			[]string{"pki: open pki directory: is not a directory"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			c.spoil(t, dir)
			_, err := Open(dir, Options{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if !strings.Contains(hint(err), c.hint) {
				t.Errorf("hint %q does not say %q", hint(err), c.hint)
			}
			if strings.Contains(err.Error()+hint(err), secret) {
				t.Errorf("error shows the file's content: %v", err)
			}
			var file *FileError
			if !errors.As(err, &file) {
				t.Errorf("error is a %T, want a *FileError", err)
			}
		})
	}
}

func TestCreateRefusesOpenDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	s := open(t, dir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(all[0]); err == nil || !strings.Contains(hint(err), "chmod 0700") {
		t.Errorf("got error %v with hint %q", err, hint(err))
	}
	if len(tree(t, dir)) != 0 {
		t.Error("something was written")
	}
}

func TestOpenTakesAuthoritiesFromElsewhere(t *testing.T) {
	// An RSA authority in PKCS#1, as kubeadm makes it.
	dir := filepath.Join(t.TempDir(), "pki")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM := rsaAuthority(t)
	write(t, filepath.Join(dir, "kubernetes-ca.crt"), string(certPEM), 0o644)
	write(t, filepath.Join(dir, "kubernetes-ca.key"), string(keyPEM), 0o600)
	s := open(t, dir)
	leaf, _, err := s.Issue(t.Context(), resource.Certificate{Authority: "kubernetes", CommonName: "x", Client: true, Validity: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := certificate(t, leaf).CheckSignatureFrom(certificate(t, certPEM)); err != nil {
		t.Error(err)
	}
}

func TestFormatShowsNoKeys(t *testing.T) {
	s := open(t, filled(t, "etcd"))
	want := "pki " + s.dir
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		if got := fmt.Sprintf(verb, s); got != want {
			t.Errorf("%s: %.80q, want %q", verb, got, want)
		}
	}
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
}

func copyFile(t *testing.T, dir, from, to string, mode fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, from))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, to), string(data), mode)
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
)

// Of a file with a certificate and its key the certificate alone comes.
func TestCertificates(t *testing.T) {
	const (
		cert  = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
		other = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"
		key   = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"
	)
	for name, tt := range map[string]struct {
		content string // "" for no file
		link    bool
		want    fact.Certificates
	}{
		"nothing there":               {"", false, fact.Certificates{}},
		"a link that leads nowhere":   {"", true, fact.Certificates{Link: true}},
		"certificate and key":         {cert + key, false, fact.Certificates{Exists: true, PEM: []byte(cert)}},
		"behind a link":               {cert + key, true, fact.Certificates{Exists: true, Link: true, PEM: []byte(cert)}},
		"the key first":               {key + cert, false, fact.Certificates{Exists: true, PEM: []byte(cert)}},
		"with an intermediate":        {cert + other + key, false, fact.Certificates{Exists: true, PEM: []byte(cert + other)}},
		"only a key":                  {key, false, fact.Certificates{Exists: true}},
		"a certificate without end":   {strings.TrimSuffix(cert, "-----END CERTIFICATE-----\n") + key, false, fact.Certificates{Exists: true, PEM: []byte("-----BEGIN CERTIFICATE-----\nMIIB\n")}},
		"something else, of any size": {strings.Repeat("x", 1<<20) + "\n", false, fact.Certificates{Exists: true}},
	} {
		for shellName, shell := range shells(t) {
			t.Run(name+"/"+shellName, func(t *testing.T) {
				m := newMachine(t, shell)
				path := filepath.Join(m.root, "kubelet client current.pem")
				file := path
				if tt.link {
					file = filepath.Join(m.root, "pairs", "first.pem")
					if err := os.Symlink(file, path); err != nil {
						t.Fatal(err)
					}
				}
				if tt.content != "" {
					write(t, file, tt.content, 0o600)
				}
				set, err := m.probe(t, []fact.Query{{Kind: fact.KindCertificates, Name: path}})
				if err != nil {
					t.Fatal(err)
				}
				got, err := set.Certificates(path)
				got.PEM = []byte(strings.TrimSpace(string(got.PEM)))
				tt.want.PEM = []byte(strings.TrimSpace(string(tt.want.PEM)))
				if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
			})
		}
	}
}

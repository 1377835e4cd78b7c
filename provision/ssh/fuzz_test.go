package ssh

import (
	"os"
	"path/filepath"
	"testing"

	gossh "golang.org/x/crypto/ssh"
)

// FuzzKnownHosts verifies a key by a known_hosts file of any content: it is
// accepted only where a line of the file has it.
func FuzzKnownHosts(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
	for _, line := range []string{
		"", "\n", "# a comment\n", "10.0.0.1 " + key, "[10.0.0.1]:22 " + key + " emei\n", "10.0.0.*,!10.0.0.2 " + key + "\n",
		"@revoked * " + key + "\n", "@cert-authority * " + key + "\n", "10.0.0.1 ssh-ed25519 AAAA\n", "10.0.0.1 ssh-rsa\n",
		"|1|QdEGrh7nTwmWNB9vHiYVAd6aMYA=|SdhFrq7vBQVXbnBJCf9Yp+Q7UAo= " + key + "\n", "|1||\n", "\xff\xfe",
	} {
		f.Add([]byte(line))
	}
	shown, _, _, _, err := gossh.ParseAuthorizedKey([]byte(key))
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "known_hosts")
	to := &Target{Name: "emei", Address: "10.0.0.1", User: "root", KnownHosts: path}
	other := probeKey()
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := new(knownHosts).verifier(to)
		if err != nil {
			return
		}
		if len(v.algorithms) == 0 {
			t.Error("no algorithm to ask for")
		}
		_ = v.check(shown)
		if err := v.check(other); err == nil && !hasKey(content, other) {
			t.Errorf("a key is accepted that the file does not hold")
		}
	})
}

// hasKey reports whether a line of a known_hosts file has a key.
func hasKey(content []byte, key gossh.PublicKey) bool {
	for len(content) > 0 {
		_, _, found, _, rest, err := gossh.ParseKnownHosts(content)
		if err != nil {
			return false
		}
		if sameKey(found, key) {
			return true
		}
		content = rest
	}
	return false
}

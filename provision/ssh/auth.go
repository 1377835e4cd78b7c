package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// An identity is a key to log in with and where it comes from.
type identity struct {
	gossh.Signer
	source string
}

func (i identity) String() string {
	return fmt.Sprintf("%s %s (%s)", i.PublicKey().Type(), gossh.FingerprintSHA256(i.PublicKey()), i.source)
}

// identities collects the keys of a target in the order in which they are
// offered: key files first, then the rest of the agent's. The closer ends the
// connection to the agent and is called when authentication is over.
func identities(ctx context.Context, t *Target, agentSocket string) ([]identity, io.Closer, error) {
	var closer io.Closer = nopCloser{}
	var fromAgent []identity
	if t.Agent {
		if agentSocket == "" {
			return nil, nil, fmt.Errorf("%s: SSH agent: SSH_AUTH_SOCK is not set", t.name())
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unix", agentSocket)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: SSH agent: %w", t.name(), err)
		}
		closer = conn
		signers, err := agent.NewClient(conn).Signers()
		if err != nil {
			conn.Close()
			return nil, nil, fmt.Errorf("%s: SSH agent: list keys: %w", t.name(), err)
		}
		for _, s := range signers {
			fromAgent = append(fromAgent, identity{s, "agent"})
		}
	}

	var ids []identity
	for _, file := range t.KeyFiles {
		id, err := keyFile(file, fromAgent)
		if err != nil {
			closer.Close()
			return nil, nil, fmt.Errorf("%s: %w", t.name(), err)
		}
		ids = append(ids, id)
	}
	for _, id := range fromAgent {
		if !offered(ids, id.PublicKey()) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		closer.Close()
		if t.Agent {
			return nil, nil, fmt.Errorf("%s: the SSH agent holds no keys and no key file is given", t.name())
		}
		return nil, nil, fmt.Errorf("%s: neither a key file nor the SSH agent is given to log in with", t.name())
	}
	return ids, closer, nil
}

// keyFile reads a private key. One that needs a passphrase stands for the key
// of the same name in the agent.
func keyFile(file string, fromAgent []identity) (identity, error) {
	path, err := expandHome(file)
	if err != nil {
		return identity{}, fmt.Errorf("key file: %w", err)
	}
	pem, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, &SettingError{
			Err:    fmt.Errorf("key file: %w", err),
			Advice: "make a key with \"ssh-keygen -t ed25519\" and put its public half into authorized_keys on the hosts, or name another one as key_files in the inventory's ssh block",
		}
	}
	if err != nil {
		return identity{}, fmt.Errorf("key file: %w", err)
	}
	if _, _, _, _, err := gossh.ParseAuthorizedKey(pem); err == nil {
		return identity{}, &SettingError{
			Err:    fmt.Errorf("key file %s holds a public key, where the private one is needed", path),
			Advice: "name the private key, usually the same path without .pub",
		}
	}
	signer, err := gossh.ParsePrivateKey(pem)
	var locked *gossh.PassphraseMissingError
	if errors.As(err, &locked) {
		public := locked.PublicKey
		if public == nil {
			public = publicKeyOf(path)
		}
		for _, id := range fromAgent {
			if public != nil && sameKey(id.PublicKey(), public) {
				return identity{id.Signer, file + ", agent"}, nil
			}
		}
		return identity{}, &PassphraseError{Path: path}
	}
	if err != nil {
		return identity{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return identity{signer, file}, nil
}

// publicKeyOf reads the public half beside a private key in the old PEM format,
// which does not carry it in the clear; nil if there is none.
func publicKeyOf(path string) gossh.PublicKey {
	b, err := os.ReadFile(path + ".pub")
	if err != nil {
		return nil
	}
	key, _, _, _, err := gossh.ParseAuthorizedKey(b)
	if err != nil {
		return nil
	}
	return key
}

func offered(ids []identity, key gossh.PublicKey) bool {
	for _, id := range ids {
		if sameKey(id.PublicKey(), key) {
			return true
		}
	}
	return false
}

func sameKey(a, b gossh.PublicKey) bool { return string(a.Marshal()) == string(b.Marshal()) }

// A PassphraseError says that a key file can't be used without its passphrase,
// which this package never asks for.
type PassphraseError struct{ Path string }

func (e *PassphraseError) Error() string {
	return fmt.Sprintf("key file %s is protected by a passphrase and the SSH agent does not hold it", e.Path)
}

// Hint implements the interface behind the function Hint.
func (e *PassphraseError) Hint() string {
	return fmt.Sprintf("load it with \"ssh-add %s\" and set agent = true in the inventory's ssh block", e.Path)
}

// A SettingError says that the operator's own files are not as the inventory has
// it, and what to do.
type SettingError struct {
	Err    error
	Advice string
}

func (e *SettingError) Error() string { return e.Err.Error() }
func (e *SettingError) Unwrap() error { return e.Err }

// Hint implements the interface behind the function Hint.
func (e *SettingError) Hint() string { return e.Advice }

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

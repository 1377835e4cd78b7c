package lab

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// OperatorDir returns the folder with what an operator needs to reach the
// machines, each file with mode 0600:
//
//	id_ed25519    private key that root and the user "operator" (passwordless
//	              sudo) of every machine accept
//	known_hosts   the machines' host keys, by name and address
//	ssh_config    makes "ssh -F ssh_config NAME" work inside the lab's network
//
// Its path depends on the lab's name alone. It exists while the lab is up.
func (l *Lab) OperatorDir() string { return filepath.Join(l.dir(), "operator") }

// Exec prepares a command that runs on the operator's side of the lab's network,
// with the caller's environment and
//
//	KINSTALL_VAR_lab     OperatorDir, as the inventory's variable "lab"
//	KINSTALL_VAR_mirror  MirrorDir, as the inventory's variable "mirror"
//
// The prepared process becomes the command (no parent in between), so signals
// and exit codes are the command's own. If the lab isn't up, starting it fails
// with an error that says so.
func (l *Lab) Exec(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + namespacePath(l.namespace()), "--"}, argv...)...)
	cmd.Env = append(os.Environ(), "KINSTALL_VAR_lab="+l.OperatorDir(), "KINSTALL_VAR_mirror="+l.MirrorDir())
	switch {
	case len(argv) == 0:
		cmd.Err = errors.New("no command given")
	case os.Geteuid() != 0:
		cmd.Err = l.Supported()
	case !namespaceExists(l.namespace()):
		cmd.Err = fmt.Errorf("lab %s isn't up", l.name)
	}
	return cmd
}

// SSH prepares an SSH session with a machine, as root or, for "USER@NAME", as
// that user: the system's ssh client, run as by Exec, which verifies the host
// key. Without a command it is a login shell; a command's words are joined by
// blanks and read by the remote shell, as ssh(1) has it.
func (l *Lab) SSH(ctx context.Context, host string, command ...string) *exec.Cmd {
	argv := append([]string{"ssh", "-F", l.sshConfigPath(), "--", host}, command...)
	cmd := l.Exec(ctx, argv...)
	if cmd.Err == nil {
		_, cmd.Err = l.find(host[strings.LastIndexByte(host, '@')+1:])
	}
	return cmd
}

func (l *Lab) sshConfigPath() string { return filepath.Join(l.OperatorDir(), "ssh_config") }

// loginKey is the public half of the operator's key.
type loginKey struct{ authorized []byte }

// ensureOperatorKey returns the operator's key, making it if there is none.
func (l *Lab) ensureOperatorKey() (loginKey, error) {
	if err := os.MkdirAll(l.OperatorDir(), 0o700); err != nil {
		return loginKey{}, err
	}
	file := filepath.Join(l.OperatorDir(), "id_ed25519")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return loginKey{}, err
		}
		if data, err = marshalPrivateKey(private, "operator of lab "+l.name); err != nil {
			return loginKey{}, err
		}
		if err := writeFile(file, data, 0o600); err != nil {
			return loginKey{}, err
		}
	} else if err != nil {
		return loginKey{}, err
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return loginKey{}, fmt.Errorf("read %s: %w", file, err)
	}
	return loginKey{ssh.MarshalAuthorizedKey(signer.PublicKey())}, nil
}

func marshalPrivateKey(key crypto.PrivateKey, comment string) ([]byte, error) {
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

type hostKey struct {
	file            string // in /etc/ssh
	private, public []byte
}

// newHostKeys makes the keys that sshd-keygen would, but for RSA, which takes
// long and no client here needs.
func newHostKeys() ([]hostKey, error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	var keys []hostKey
	for _, k := range []struct {
		file string
		key  crypto.Signer
	}{{"ssh_host_ecdsa_key", ec}, {"ssh_host_ed25519_key", ed}} {
		private, err := marshalPrivateKey(k.key, "")
		if err != nil {
			return nil, err
		}
		public, err := ssh.NewPublicKey(k.key.Public())
		if err != nil {
			return nil, err
		}
		keys = append(keys, hostKey{k.file, private, ssh.MarshalAuthorizedKey(public)})
	}
	return keys, nil
}

// writeOperatorFiles writes known_hosts, from the keys on the machines' disks,
// and ssh_config.
func (l *Lab) writeOperatorFiles(machines []Machine) error {
	var known bytes.Buffer
	for _, m := range machines {
		keys, err := filepath.Glob(filepath.Join(l.machineDir(m.Name), "upper/etc/ssh/ssh_host_*_key.pub"))
		if err != nil {
			return err
		}
		for _, file := range keys {
			key, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			fmt.Fprintf(&known, "%s,%s %s\n", m.Name, m.Address, bytes.TrimSpace(key))
		}
	}
	knownFile := filepath.Join(l.OperatorDir(), "known_hosts")
	if err := writeFile(knownFile, known.Bytes(), 0o600); err != nil {
		return err
	}
	return writeFile(l.sshConfigPath(), []byte(sshConfig(machines, l.OperatorDir())), 0o600)
}

// sshConfig is an ssh_config(5) that knows the machines by name.
func sshConfig(machines []Machine, operatorDir string) string {
	var b strings.Builder
	for _, m := range machines {
		fmt.Fprintf(&b, "Host %s\n\tHostName %s\n\tHostKeyAlias %s\n\n", m.Name, m.Address, m.Name)
	}
	fmt.Fprintf(&b, `Host *
	User root
	IdentityFile %s
	IdentitiesOnly yes
	UserKnownHostsFile %s
	GlobalKnownHostsFile /dev/null
	StrictHostKeyChecking yes
	BatchMode yes
	ConnectTimeout 10
	ServerAliveInterval 5
	ServerAliveCountMax 3
`, filepath.Join(operatorDir, "id_ed25519"), filepath.Join(operatorDir, "known_hosts"))
	return b.String()
}

// Package sshtest is an SSH host inside a test: a real server side of the
// protocol on a loopback port, with a host key of its own, that runs commands
// through the machine's /bin/sh, serves SFTP on the machine's file system and
// forwards TCP connections. It serves tests of scale, of faults and of what is
// built on package ssh; it is no substitute for a test against real machines.
//
// Any user name may log in with the server's client key. What runs, runs as the
// test's own user. Everything ends with the test.
package sshtest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/kinstall/kinstall/provision/ssh"
)

// A Handler stands for the host's shell: it is given the command line of an
// exec request and returns the exit code, 0 to 255.
type Handler func(cmd string, stdin io.Reader, stdout, stderr io.Writer) int

// Options configure a Server. The zero value is a well-behaved host.
type Options struct {
	// Handler answers exec requests. nil runs them with /bin/sh -c.
	Handler Handler
	// Misbehave, if set, answers them in its stead.
	Misbehave Misbehaviour
	// RefuseSessions refuses every session, as administratively prohibited.
	RefuseSessions bool
	// Dir is the working directory of commands, a fresh one by default.
	Dir string
	// Env is the whole environment of commands, "NAME=value" each; by default
	// the PATH of the test and HOME=Dir. The host's sudo, for one, is whatever a
	// directory put in front of this PATH holds.
	Env []string
	// HostKeys are the server's host keys or certificates; one Ed25519 key by
	// default.
	HostKeys []gossh.Signer
	// MaxSessions is how many sessions a connection may have, 10 by default as
	// with sshd.
	MaxSessions int
	// MaxStartups drops new connections while that many are not authenticated
	// yet; 0 is no limit.
	MaxStartups int
	// Latency delays every byte in each direction.
	Latency time.Duration
	// NoForwarding refuses to forward TCP connections, NoSFTP the subsystem.
	NoForwarding, NoSFTP bool
}

// Counts says what a Server saw so far.
type Counts struct {
	Dials       int // TCP connections accepted, refused ones included
	Connections int // authenticated connections
	Sessions    int // session channels opened
	Execs       int
	SFTP        int
	Tunnels     int // TCP connections forwarded

	PeakSessions        int // most session channels open at a time, over all connections
	PeakUnauthenticated int // most unauthenticated connections at a time
}

// A Server is one host. Its methods are safe for concurrent use.
type Server struct {
	// Host and Port are where it listens.
	Host string
	Port int
	// HostKey is the first of its host keys; of a certificate, the certified key.
	HostKey gossh.PublicKey
	// Fingerprint is the SHA-256 fingerprint of HostKey.
	Fingerprint string
	// KnownHosts is the path of a known_hosts file with KnownHostsLine in it.
	KnownHosts     string
	KnownHostsLine string
	// ClientKey is the path of the private key that may log in.
	ClientKey string
	// Dir is the working directory of commands.
	Dir string

	opts      Options
	config    *gossh.ServerConfig
	listener  net.Listener
	wg        sync.WaitGroup
	mu        sync.Mutex
	closed    bool
	conns     map[*conn]bool
	processes map[int]bool // process groups that run
	counts    Counts
	unauth    int
	sessions  int
	faults    faults
	commands  []string
}

// New starts a server that ends with t.
func New(t testing.TB, opts Options) *Server {
	t.Helper()
	s, err := start(t, opts)
	if err != nil {
		t.Fatalf("sshtest: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func start(t testing.TB, opts Options) (*Server, error) {
	tmp := t.TempDir()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	if opts.Env == nil {
		opts.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + opts.Dir}
	}
	if opts.MaxSessions == 0 {
		opts.MaxSessions = 10
	}
	if len(opts.HostKeys) == 0 {
		opts.HostKeys = []gossh.Signer{NewEd25519(t)}
	}
	private, client, err := clientKey()
	if err != nil {
		return nil, err
	}
	hostKey := opts.HostKeys[0].PublicKey()
	if cert, ok := hostKey.(*gossh.Certificate); ok {
		hostKey = cert.Key
	}
	s := &Server{
		HostKey:     hostKey,
		Fingerprint: gossh.FingerprintSHA256(hostKey),
		KnownHosts:  filepath.Join(tmp, "known_hosts"),
		ClientKey:   filepath.Join(tmp, "id_ed25519"),
		Dir:         opts.Dir,
		opts:        opts,
		conns:       map[*conn]bool{},
		processes:   map[int]bool{},
	}
	s.config = &gossh.ServerConfig{
		PublicKeyCallback: func(_ gossh.ConnMetadata, key gossh.PublicKey) (*gossh.Permissions, error) {
			if string(key.Marshal()) != string(client.Marshal()) {
				return nil, fmt.Errorf("key %s may not log in", gossh.FingerprintSHA256(key))
			}
			return nil, nil
		},
	}
	for _, k := range opts.HostKeys {
		s.config.AddHostKey(k)
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	addr := s.listener.Addr().(*net.TCPAddr)
	s.Host, s.Port = addr.IP.String(), addr.Port
	s.KnownHostsLine = knownhosts.Line([]string{s.Addr()}, s.HostKey)
	for path, content := range map[string][]byte{
		s.KnownHosts: []byte(s.KnownHostsLine + "\n"),
		s.ClientKey:  private,
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			s.listener.Close()
			return nil, err
		}
	}
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// Addr returns "127.0.0.1:PORT".
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Target returns how to reach the server as root, so that privileged commands
// run without sudo. Its fields may be changed.
func (s *Server) Target(name string) ssh.Target {
	return ssh.Target{
		Name: name, Address: s.Host, Port: s.Port, User: "root",
		KeyFiles: []string{s.ClientKey}, KnownHosts: s.KnownHosts,
	}
}

// Counts returns what the server saw so far.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Commands returns the command lines of all exec requests, in order.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

// Close ends the server with all its connections and processes. New arranges for
// it to be called.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.faults.release()
	s.mu.Unlock()
	s.listener.Close()
	s.DropConnections()
	s.killProcesses()
	s.wg.Wait()
}

// NewEd25519 makes an Ed25519 key.
func NewEd25519(t testing.TB) gossh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return signer(t, private, err)
}

// NewECDSA makes an ECDSA key on the curve P-256.
func NewECDSA(t testing.TB) gossh.Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return signer(t, private, err)
}

func signer(t testing.TB, private any, err error) gossh.Signer {
	t.Helper()
	if err != nil {
		t.Fatalf("sshtest: make key: %v", err)
	}
	s, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatalf("sshtest: make key: %v", err)
	}
	return s
}

// HostCertificate returns a host certificate for key, valid for the principals
// from an hour ago until an hour from now, signed by ca.
func HostCertificate(t testing.TB, ca, key gossh.Signer, principals ...string) gossh.Signer {
	t.Helper()
	now := time.Now()
	cert := &gossh.Certificate{
		Key: key.PublicKey(), CertType: gossh.HostCert, ValidPrincipals: principals,
		ValidAfter: uint64(now.Add(-time.Hour).Unix()), ValidBefore: uint64(now.Add(time.Hour).Unix()),
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatalf("sshtest: sign host certificate: %v", err)
	}
	s, err := gossh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatalf("sshtest: host certificate: %v", err)
	}
	return s
}

// clientKey makes the key that may log in.
func clientKey() (private []byte, public gossh.PublicKey, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := gossh.MarshalPrivateKey(key, "sshtest")
	if err != nil {
		return nil, nil, err
	}
	if public, err = gossh.NewPublicKey(key.Public()); err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(block), public, nil
}

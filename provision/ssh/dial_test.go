package ssh_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/kinstall/kinstall/provision/ssh"
	"github.com/kinstall/kinstall/provision/sshtest"
)

func newDialer(t *testing.T, opts ssh.Options) *ssh.Dialer {
	t.Helper()
	d := ssh.NewDialer(opts)
	t.Cleanup(func() { d.Close() })
	return d
}

func dial(t *testing.T, target ssh.Target) *ssh.Client {
	t.Helper()
	return dialWith(t, newDialer(t, ssh.Options{}), target)
}

func dialWith(t *testing.T, d *ssh.Dialer, target ssh.Target) *ssh.Client {
	t.Helper()
	c, err := d.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// write puts content into a new file and returns its path.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustRun(t *testing.T, c *ssh.Client, script string) string {
	t.Helper()
	r, err := c.Run(t.Context(), ssh.Command{Label: "test", Script: script})
	if err != nil {
		t.Fatal(err)
	}
	return string(r.Stdout)
}

func TestHostKey(t *testing.T) {
	ecdsa, ed25519 := sshtest.NewECDSA(t), sshtest.NewEd25519(t)
	ca, other := sshtest.NewEd25519(t), sshtest.NewEd25519(t)
	plain := sshtest.New(t, sshtest.Options{HostKeys: []gossh.Signer{ecdsa, ed25519}})
	certified := sshtest.New(t, sshtest.Options{HostKeys: []gossh.Signer{
		sshtest.HostCertificate(t, ca, ed25519, "emei", "127.0.0.1"), ecdsa,
	}})
	foreign := sshtest.New(t, sshtest.Options{HostKeys: []gossh.Signer{
		sshtest.HostCertificate(t, ca, ed25519, "shaolin"), ecdsa,
	}})
	line := func(s *sshtest.Server, key gossh.PublicKey) string {
		return knownhosts.Line([]string{s.Addr()}, key) + "\n"
	}
	authority := func(s *sshtest.Server, key gossh.PublicKey) string { return "@cert-authority " + line(s, key) }
	hashed := func(s *sshtest.Server, key gossh.PublicKey) string {
		_, rest, _ := strings.Cut(line(s, key), " ")
		return knownhosts.HashHostname(knownhosts.Normalize(s.Addr())) + " " + rest
	}
	fingerprint := gossh.FingerprintSHA256
	authorized := func(key gossh.PublicKey) string { return string(gossh.MarshalAuthorizedKey(key)) }

	for _, tt := range []struct {
		name       string
		server     *sshtest.Server
		knownHosts string // content
		target     ssh.Target
		want       ssh.HostKeyProblem // "" is success
		message    string             // part of the error
		hint       string             // part of the hint
	}{
		{name: "known, the server's less preferred key", server: plain, knownHosts: line(plain, ecdsa.PublicKey())},
		{name: "known, the other key", server: plain, knownHosts: line(plain, ed25519.PublicKey())},
		{name: "hashed", server: plain, knownHosts: hashed(plain, ecdsa.PublicKey())},
		{name: "unknown", server: plain, knownHosts: "# nothing\n", want: ssh.HostKeyUnknown,
			message: fingerprint(ed25519.PublicKey()), hint: line(plain, ed25519.PublicKey())[:40]},
		{name: "known for another port", server: plain, knownHosts: "127.0.0.1 " + authorized(ed25519.PublicKey()), want: ssh.HostKeyUnknown},
		{name: "changed", server: plain, knownHosts: "\n" + line(plain, other.PublicKey()), want: ssh.HostKeyChanged,
			message: ":2 has ssh-ed25519 " + fingerprint(other.PublicKey()), hint: "installed anew"},
		{name: "changed, of a type the server does not have", server: certified,
			knownHosts: line(certified, other.PublicKey()), want: ssh.HostKeyChanged, message: fingerprint(ecdsa.PublicKey())},
		{name: "revoked", server: plain, want: ssh.HostKeyRevoked,
			knownHosts: line(plain, ed25519.PublicKey()) + "@revoked * " + authorized(ed25519.PublicKey())},
		{name: "authority in known_hosts", server: certified, knownHosts: authority(certified, ca.PublicKey())},
		{name: "authority in known_hosts, no certificate", server: plain, want: ssh.HostKeyCertificate,
			knownHosts: authority(plain, ca.PublicKey()), hint: "HostCertificate"},
		{name: "authority's key as a host key", server: plain, want: ssh.HostKeyCertificate,
			knownHosts: authority(plain, ed25519.PublicKey())},
		{name: "another authority", server: certified, want: ssh.HostKeyCertificate,
			knownHosts: authority(certified, other.PublicKey())},
		{name: "pinned, preferred type", server: plain, target: ssh.Target{Fingerprint: fingerprint(ed25519.PublicKey())}},
		{name: "pinned, another type", server: plain, target: ssh.Target{Fingerprint: fingerprint(ecdsa.PublicKey())}},
		{name: "pinned, mismatch", server: plain, target: ssh.Target{Fingerprint: fingerprint(other.PublicKey())},
			want: ssh.HostKeyMismatch, message: fingerprint(ed25519.PublicKey()) + ", ecdsa-sha2-nistp256 " + fingerprint(ecdsa.PublicKey())},
		{name: "authority in known_hosts, other principal", server: foreign, want: ssh.HostKeyCertificate,
			knownHosts: authority(foreign, ca.PublicKey()), message: "principal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := tt.server.Target("emei")
			target.KnownHosts, target.Fingerprint = "", tt.target.Fingerprint
			if tt.knownHosts != "" {
				target.KnownHosts = write(t, tt.knownHosts)
			}
			before := tt.server.Counts().Connections
			client, err := newDialer(t, ssh.Options{}).Dial(t.Context(), target)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				client.Close()
				return
			}
			var e *ssh.HostKeyError
			if !errors.As(err, &e) || e.Problem != tt.want {
				t.Fatalf("Dial = %v, want a HostKeyError %q", err, tt.want)
			}
			if !strings.HasPrefix(err.Error(), "emei: ") || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %q, want it to begin with the host and to contain %q", err, tt.message)
			}
			if !strings.Contains(ssh.Hint(err), tt.hint) {
				t.Errorf("hint %q, want it to contain %q", ssh.Hint(err), tt.hint)
			}
			if ssh.IsTransient(err) {
				t.Error("a host key error must not invite another try")
			}
			if n := tt.server.Counts().Connections; n != before {
				t.Error("logged in to a host that is not verified")
			}
		})
	}
}

// The line in the hint is the one that makes the host known.
// A connection knows the key it was made with, of a certificate the key in it.
func TestClientKnowsTheHostKey(t *testing.T) {
	ca, key := sshtest.NewEd25519(t), sshtest.NewEd25519(t)
	plain := sshtest.New(t, sshtest.Options{HostKeys: []gossh.Signer{key}})
	certified := sshtest.New(t, sshtest.Options{HostKeys: []gossh.Signer{sshtest.HostCertificate(t, ca, key, "127.0.0.1")}})
	for name, tt := range map[string]struct {
		server *sshtest.Server
		line   string
	}{
		"plain":     {plain, plain.KnownHostsLine},
		"certified": {certified, "@cert-authority " + knownhosts.Line([]string{certified.Addr()}, ca.PublicKey())},
	} {
		client := dial(t, ssh.Target{
			Name: "emei", Address: tt.server.Host, Port: tt.server.Port, User: "root",
			KeyFiles: []string{tt.server.ClientKey}, KnownHosts: write(t, tt.line+"\n"),
		})
		if got, want := client.HostKey(), gossh.FingerprintSHA256(key.PublicKey()); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestHintMakesHostKnown(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	target := s.Target("emei")
	target.KnownHosts = write(t, "")
	d := newDialer(t, ssh.Options{})
	_, err := d.Dial(t.Context(), target)
	var e *ssh.HostKeyError
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if err := os.WriteFile(target.KnownHosts, []byte(e.KnownHostsLine), 0o600); err != nil {
		t.Fatal(err)
	}
	dialWith(t, d, target)
}

func TestTrustOnFirstUse(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	target := s.Target("emei")
	target.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
	if _, err := newDialer(t, ssh.Options{}).Dial(t.Context(), target); err == nil || !strings.Contains(err.Error(), target.KnownHosts) {
		t.Fatalf("Dial without a known_hosts file = %v", err)
	}

	var mu sync.Mutex
	var trusted []ssh.Trusted
	d := newDialer(t, ssh.Options{TrustOnFirstUse: true, OnTrust: func(tr ssh.Trusted) {
		mu.Lock()
		defer mu.Unlock()
		trusted = append(trusted, tr)
	}})
	// Several first connections at once write one line.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c, err := d.Dial(t.Context(), target)
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		})
	}
	wg.Wait()
	want := []ssh.Trusted{{
		Host: "emei", Address: s.Addr(), Type: "ssh-ed25519", Fingerprint: s.Fingerprint,
		File: target.KnownHosts, Line: s.KnownHostsLine,
	}}
	if diff := cmp.Diff(want, trusted); diff != "" {
		t.Errorf("trusted (-want +got):\n%s", diff)
	}
	if got, want := trusted[0].String(), "emei: trusted on first use: "+s.Addr()+" has the key "+s.Fingerprint+" (ssh-ed25519), which was added to "+target.KnownHosts; got != want {
		t.Errorf("told as\n%s\nwant\n%s", got, want)
	}
	got, err := os.ReadFile(target.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.KnownHostsLine+"\n", string(got)); diff != "" {
		t.Errorf("known_hosts (-want +got):\n%s", diff)
	}

	// What is written holds without the flag, and a changed key is refused with it.
	dial(t, target)
	changed := knownhosts.Line([]string{s.Addr()}, sshtest.NewEd25519(t).PublicKey())
	target.KnownHosts = write(t, changed)
	var e *ssh.HostKeyError
	if _, err := d.Dial(t.Context(), target); !errors.As(err, &e) || e.Problem != ssh.HostKeyChanged {
		t.Errorf("Dial with a changed key = %v", err)
	}
	if got, _ := os.ReadFile(target.KnownHosts); string(got) != changed {
		t.Errorf("known_hosts was changed to %q", got)
	}
}

func TestTargetErrors(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	block, err := gossh.MarshalPrivateKeyWithPassphrase(newEd25519(t), "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	encrypted := write(t, string(pem.EncodeToMemory(block)))
	for _, tt := range []struct {
		name   string
		change func(*ssh.Target)
		want   string
	}{
		{"no verification", func(x *ssh.Target) { x.KnownHosts = "" }, "exactly one of"},
		{"two verifications", func(x *ssh.Target) { x.Fingerprint = s.Fingerprint }, "exactly one of"},
		{"no user", func(x *ssh.Target) { x.User = "" }, "no login user"},
		{"MD5 fingerprint", func(x *ssh.Target) { x.KnownHosts, x.Fingerprint = "", "MD5:00" }, "SHA256:"},
		{"no key", func(x *ssh.Target) { x.KeyFiles = nil }, "neither a key file"},
		{"missing key file", func(x *ssh.Target) { x.KeyFiles = []string{"/nonexistent/id"} }, "/nonexistent/id"},
		{"broken key file", func(x *ssh.Target) { x.KeyFiles = []string{write(t, "no key")} }, "key file"},
		{"passphrase", func(x *ssh.Target) { x.KeyFiles = []string{encrypted} }, "passphrase"},
		{"broken known_hosts", func(x *ssh.Target) { x.KnownHosts = write(t, "\nemei ssh-ed25519 !!!\n") }, ":2:"},
		{"bastion cycle", func(x *ssh.Target) { x.Bastion = x }, "cycle"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := s.Target("emei")
			tt.change(&target)
			_, err := newDialer(t, ssh.Options{}).Dial(t.Context(), target)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "emei: ") {
				t.Errorf("Dial = %v, want an error of emei with %q", err, tt.want)
			}
			if tt.name == "passphrase" && !strings.Contains(ssh.Hint(err), "ssh-add "+encrypted) {
				t.Errorf("hint %q", ssh.Hint(err))
			}
		})
	}
	if n := s.Counts().Connections; n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestHomeIsExpanded(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	t.Setenv("HOME", filepath.Dir(s.ClientKey))
	target := s.Target("emei")
	target.KeyFiles = []string{"~/" + filepath.Base(s.ClientKey)}
	target.KnownHosts = "~/" + filepath.Base(s.KnownHosts)
	dial(t, target)
}

func TestAuthError(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	target := s.Target("emei")
	target.KeyFiles = []string{sshtest.New(t, sshtest.Options{}).ClientKey}
	_, err := newDialer(t, ssh.Options{}).Dial(t.Context(), target)
	var e *ssh.AuthError
	if !errors.As(err, &e) || len(e.Offered) != 1 || ssh.IsTransient(err) {
		t.Fatalf("Dial = %v, want an AuthError with one key", err)
	}
	if n := s.Counts().Dials; n != 1 {
		t.Errorf("%d dials, a refused login must not be tried again", n)
	}
}

func TestAgent(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	content, err := os.ReadFile(s.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := gossh.ParseRawPrivateKey(content)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = agent.ServeAgent(keyring, conn)
				conn.Close()
			}()
		}
	}()
	d := newDialer(t, ssh.Options{AgentSocket: socket})

	target := s.Target("emei")
	target.KeyFiles, target.Agent = nil, true
	dialWith(t, d, target)

	// A key file under a passphrase stands for the agent's key.
	block, err := gossh.MarshalPrivateKeyWithPassphrase(key, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	target.KeyFiles = []string{write(t, string(pem.EncodeToMemory(block)))}
	dialWith(t, d, target)
}

func TestDialRetries(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	s.RefuseDials(3)
	dial(t, s.Target("emei"))
	if n := s.Counts().Dials; n != 4 {
		t.Errorf("%d dials, want 4", n)
	}

	t.Run("bounded by the context", func(t *testing.T) {
		s.RefuseDials(1000)
		defer s.RefuseDials(0)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := newDialer(t, ssh.Options{}).Dial(ctx, s.Target("emei"))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "emei: ") {
			t.Errorf("Dial = %v", err)
		}
	})
}

func TestDialFailures(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	d := newDialer(t, ssh.Options{})

	t.Run("never answers", func(t *testing.T) {
		s.Silent(true)
		defer s.Silent(false)
		target := s.Target("emei")
		target.Timeout = 100 * time.Millisecond
		_, err := d.Dial(t.Context(), target)
		if !ssh.IsTransient(err) || !strings.Contains(err.Error(), "no answer within 100ms") {
			t.Errorf("Dial = %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := d.Dial(ctx, s.Target("emei")); !errors.Is(err, context.Canceled) {
			t.Errorf("Dial = %v", err)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		target := s.Target("emei")
		target.Port = listener.Addr().(*net.TCPAddr).Port
		listener.Close()
		_, err = d.Dial(t.Context(), target)
		if !ssh.IsTransient(err) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Dial = %v", err)
		}
	})
}

// A server that drops the eleventh unauthenticated connection, as sshd does, is
// never brought to do so.
func TestDialsArePaced(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{Latency: 5 * time.Millisecond, MaxStartups: 9})
	d := newDialer(t, ssh.Options{})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			c, err := d.Dial(t.Context(), s.Target("emei"))
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		})
	}
	wg.Wait()
	// One more than the cap: the server may learn of a login's end a moment later
	// than the client.
	if got := s.Counts(); got.PeakUnauthenticated > 9 || got.PeakUnauthenticated < 4 || got.Connections != 30 {
		t.Errorf("counts = %+v", got)
	}
}

func TestBastion(t *testing.T) {
	outer, inner := sshtest.New(t, sshtest.Options{}), sshtest.New(t, sshtest.Options{})
	var hosts []*sshtest.Server
	d := newDialer(t, ssh.Options{})
	var wg sync.WaitGroup
	clients := make([]*ssh.Client, 5)
	for i := range clients {
		host := sshtest.New(t, sshtest.Options{})
		hosts = append(hosts, host)
		wg.Go(func() {
			// Equal bastions share a connection even if they are distinct values.
			o, b := outer.Target("outer"), inner.Target("inner")
			b.Bastion = &o
			target := host.Target("emei")
			target.Bastion = &b
			c, err := d.Dial(t.Context(), target)
			if err != nil {
				t.Error(err)
				return
			}
			clients[i] = c
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for i, c := range clients {
		if got := mustRun(t, c, "pwd"); got != hosts[i].Dir+"\n" {
			t.Errorf("pwd = %q, want %q", got, hosts[i].Dir)
		}
	}
	for name, s := range map[string]*sshtest.Server{"outer": outer, "inner": inner} {
		if got := s.Counts(); got.Connections != 1 || got.Execs != 0 {
			t.Errorf("%s: counts = %+v", name, got)
		}
	}
	if got := d.Counts(); got.Connections != 7 || got.Execs != 5 || got.Tunnels != 6 {
		t.Errorf("counts = %+v", got)
	}

	// When the bastion goes, its hosts go, with errors that may be retried, and
	// the next dial makes a new connection.
	inner.DropConnections()
	_, err := clients[0].Run(t.Context(), ssh.Command{Label: "probe", Script: "true"})
	if !ssh.IsTransient(err) {
		t.Errorf("Run through a lost bastion = %v", err)
	}
	o, b := outer.Target("outer"), inner.Target("inner")
	b.Bastion = &o
	target := hosts[0].Target("emei")
	target.Bastion = &b
	waitDone(t, clients[0])
	mustRun(t, dialWith(t, d, target), "true")
}

func waitDone(t *testing.T, c *ssh.Client) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the connection still lives")
	}
}

func TestBastionFailures(t *testing.T) {
	s, bad := sshtest.New(t, sshtest.Options{}), sshtest.New(t, sshtest.Options{})

	t.Run("not verified", func(t *testing.T) {
		b := bad.Target("gate")
		b.KnownHosts = write(t, knownhosts.Line([]string{bad.Addr()}, sshtest.NewEd25519(t).PublicKey()))
		target := s.Target("emei")
		target.Bastion = &b
		d := newDialer(t, ssh.Options{})
		for range 2 {
			_, err := d.Dial(t.Context(), target)
			var e *ssh.HostKeyError
			if !errors.As(err, &e) || e.Host != "gate" || !strings.HasPrefix(err.Error(), "emei: bastion: ") {
				t.Errorf("Dial = %v", err)
			}
		}
		if n := bad.Counts().Dials; n != 1 {
			t.Errorf("%d dials of a failed bastion, want 1", n)
		}
	})
	t.Run("forwarding forbidden", func(t *testing.T) {
		b := sshtest.New(t, sshtest.Options{NoForwarding: true}).Target("gate")
		target := s.Target("emei")
		target.Bastion = &b
		_, err := newDialer(t, ssh.Options{}).Dial(t.Context(), target)
		if err == nil || ssh.IsTransient(err) || !strings.Contains(ssh.Hint(err), "AllowTcpForwarding") {
			t.Errorf("Dial = %v, hint %q", err, ssh.Hint(err))
		}
	})
	t.Run("the host refuses", func(t *testing.T) {
		s.RefuseDials(2)
		b := bad.Target("gate")
		target := s.Target("emei")
		target.Bastion = &b
		dial(t, target)
	})
	t.Run("closed", func(t *testing.T) {
		b := bad.Target("gate")
		target := s.Target("emei")
		target.Bastion = &b
		d := ssh.NewDialer(ssh.Options{})
		c, err := d.Dial(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		waitDone(t, c)
		if _, err := d.Dial(t.Context(), target); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Dial after Close = %v", err)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	d := newDialer(t, ssh.Options{KeepAlive: 20 * time.Millisecond})
	c := dialWith(t, d, s.Target("emei"))
	// A connection in order survives many intervals.
	mustRun(t, c, "sleep 0.3")
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	_, err := c.Run(t.Context(), ssh.Command{Label: "probe", Script: "true"})
	if !ssh.IsTransient(err) || !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("Run = %v", err)
	}
	if err := c.Err(); !ssh.IsTransient(err) {
		t.Errorf("Err = %v", err)
	}
}

func TestClose(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	c := dial(t, s.Target("emei"))
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	_, err := c.Run(t.Context(), ssh.Command{Script: "true"})
	if err == nil || ssh.IsTransient(err) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run after Close = %v", err)
	}
}

func TestCounts(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	d := newDialer(t, ssh.Options{})
	c := dialWith(t, d, s.Target("emei"))
	mustRun(t, c, "true")
	got := d.Counts()
	if got.BytesSent == 0 || got.BytesReceived == 0 {
		t.Errorf("counts = %+v, want bytes", got)
	}
	got.BytesSent, got.BytesReceived = 0, 0
	if diff := cmp.Diff(ssh.Counts{Connections: 1, Execs: 1}, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if seen := s.Counts(); seen.Dials != 1 || seen.Sessions != 1 || seen.Execs != 1 {
		t.Errorf("the server counts %+v", seen)
	}
	if !slices.Equal([]int64{c.Counts().Execs, c.Counts().Connections}, []int64{1, 1}) {
		t.Errorf("client counts = %+v", c.Counts())
	}
}

package ssh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kinstall/kinstall/provision/shell"
	"github.com/kinstall/kinstall/provision/ssh"
	"github.com/kinstall/kinstall/provision/sshtest"
)

// syncBuffer is what a process logs, readable while it runs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startSSHD runs OpenSSH's sshd as the test's own user on a loopback port, with
// the defaults of its configuration where they matter.
func startSSHD(t *testing.T) (ssh.Target, *syncBuffer) {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd"
		if _, err := os.Stat(sshd); err != nil {
			t.Skip("OpenSSH's sshd is not installed")
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, kind := range map[string]string{"host_ecdsa": "ecdsa", "host_ed25519": "ed25519", "id": "ed25519"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path(name)).CombinedOutput(); err != nil {
			t.Skipf("ssh-keygen: %v: %s", err, out)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	config := fmt.Sprintf(`ListenAddress 127.0.0.1
Port %d
HostKey %s
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
PermitRootLogin yes
UsePAM no
LogLevel VERBOSE
Subsystem sftp internal-sftp
`, port, path("host_ecdsa"), path("host_ed25519"), path("id.pub"))
	if err := os.WriteFile(path("config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(sshd, "-t", "-f", path("config")).CombinedOutput(); err != nil {
		t.Skipf("sshd can't run here: %v: %s", err, out)
	}
	log := &syncBuffer{}
	cmd := exec.Command(sshd, "-D", "-e", "-f", path("config"))
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd:\n%s", log)
		}
	})
	waitFor(t, "sshd", func() bool { return strings.Contains(log.String(), "Server listening") })

	// What a user would have: the line that ssh-keyscan prints, hashed.
	public, err := os.ReadFile(path("host_ecdsa.pub"))
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("[127.0.0.1]:%d %s", port, public)
	if err := os.WriteFile(path("known_hosts"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-H", "-f", path("known_hosts")).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen -H: %v: %s", err, out)
	}
	return ssh.Target{
		Name: "emei", Address: "127.0.0.1", Port: port, User: me.Username,
		KeyFiles: []string{path("id")}, KnownHosts: path("known_hosts"),
		Become: exec.Command("sudo", "-n", "true").Run() == nil,
	}, log
}

// TestOpenSSH holds against OpenSSH what the other tests hold against sshtest.
func TestOpenSSH(t *testing.T) {
	target, log := startSSHD(t)
	c := dial(t, target)
	root := target.Become || target.User == "root"
	t.Logf("as %s, sudo %t", target.User, target.Become)

	t.Run("run", func(t *testing.T) {
		payload, value := randomBytes(t, 5<<20), strings.Repeat("'\n$x`é\\", 1<<17)
		for _, asRoot := range []bool{false, true} {
			if asRoot && !root {
				continue
			}
			start := time.Now()
			r, err := c.Run(t.Context(), ssh.Command{
				Script: "id -u >&2; x=" + shell.Quote(value) + "\nprintf %s \"$x\" | sha256sum\ncat",
				Stdin:  payload, Root: asRoot,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("1.4 MB of script, 5 MiB there and back: %v", time.Since(start))
			if want := digest([]byte(value)) + "  -\n" + string(payload); string(r.Stdout) != want {
				t.Errorf("%d bytes came back, want %d", len(r.Stdout), len(want))
			}
			if uid := string(r.Stderr); asRoot && uid != "0\n" {
				t.Errorf("uid %q", uid)
			}
		}
		var exit *ssh.ExitError
		if _, err := c.Run(t.Context(), ssh.Command{Script: "echo no >&2; exit 3", Root: root}); !errors.As(err, &exit) || exit.ExitCode != 3 {
			t.Errorf("Run = %v", err)
		}
	})
	t.Run("pinned", func(t *testing.T) {
		key, err := exec.Command("ssh-keygen", "-lf", filepath.Join(filepath.Dir(target.KnownHosts), "host_ecdsa.pub")).Output()
		if err != nil {
			t.Fatal(err)
		}
		target := target
		target.KnownHosts, target.Fingerprint = "", strings.Fields(string(key))[1]
		dial(t, target)
	})
	t.Run("cancel", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "pid")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			// As root no signal of the protocol arrives, with sudo none would help.
			_, err := c.Run(ctx, ssh.Command{Root: root, Script: "sleep 1000 & echo $! >" + shell.Quote(file+".tmp") +
				"; mv " + shell.Join(file+".tmp", file) + "; wait"})
			ended <- err
		}()
		pid := waitFile(t, file)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
		waitFor(t, "the end of the remote process", func() bool {
			_, err := os.Stat("/proc/" + pid)
			return errors.Is(err, os.ErrNotExist)
		})
	})
	t.Run("sessions", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				if _, err := c.Run(t.Context(), ssh.Command{Script: "sleep 0.02"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := strings.Count(log.String(), "no more sessions"); n > 0 {
			t.Logf("sshd refused %d sessions, which were opened again", n)
		}
	})
	t.Run("upload", func(t *testing.T) {
		dir, err := c.StagingDir(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		content := randomBytes(t, 20<<20+7)
		if err := c.Upload(t.Context(), bytes.NewReader(content), int64(len(content)), dir+"/a", 0o640, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(dir + "/a"); err != nil || digest(got) != digest(content) {
			t.Errorf("%d of %d bytes arrived, %v", len(got), len(content), err)
		}
		if err := c.Upload(t.Context(), bytes.NewReader(content), int64(len(content)), dir+"/a", 0o640, nil); !errors.Is(err, os.ErrExist) {
			t.Errorf("Upload over an existing file = %v", err)
		}
		if err := c.Upload(t.Context(), bytes.NewReader(content), int64(len(content))+1, dir+"/b", 0o640, nil); err == nil {
			t.Error("a short source was accepted")
		}
		if _, err := os.Stat(dir + "/b"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the partial file: %v", err)
		}
	})
	t.Run("lock", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "lock")
		other := dial(t, target)
		lock, err := other.Hold(t.Context(), path, claim("alice"))
		if err != nil {
			t.Fatal(err)
		}
		var locked *ssh.LockedError
		if _, err := c.Hold(t.Context(), path, claim("bob")); !errors.As(err, &locked) || locked.Holder != "alice" {
			t.Errorf("Hold = %v", err)
		}
		other.Close()
		<-lock.Lost()
		waitFor(t, "the lock of a closed connection", func() bool {
			lock, err = c.Hold(t.Context(), path, claim("bob"))
			return err == nil
		})
		lock.Release()
		select {
		case <-lock.Lost():
		default:
			t.Error("the lock is not lost after Release")
		}
	})
	t.Run("bastion and pace", func(t *testing.T) {
		inner := sshtest.New(t, sshtest.Options{})
		d := newDialer(t, ssh.Options{})
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				host := target
				if i%2 == 0 {
					host = inner.Target("inner")
					host.Bastion = &target
				}
				c, err := d.Dial(t.Context(), host)
				if err != nil {
					t.Error(err)
					return
				}
				c.Close()
			})
		}
		wg.Wait()
		// Not an error: sshd may learn of a login's end later than its client.
		if n := strings.Count(log.String(), "MaxStartups"); n > 0 {
			t.Logf("sshd dropped connections: %d lines in its log", n)
		}
	})
	t.Run("end of sshd's connection", func(t *testing.T) {
		c := dial(t, target)
		// The parent of the login shell is the sshd process of this connection.
		_, err := c.Run(t.Context(), ssh.Command{Label: "cut", Script: `p=$$
while read -r _ name _ <"/proc/$p/stat"; do
	case $name in "(sshd)") kill "$p"; sleep 5; exit 0 ;; esac
	p=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$p/status")
done`})
		if !ssh.IsTransient(err) {
			t.Errorf("Run = %v", err)
		}
		waitDone(t, c)
	})
}

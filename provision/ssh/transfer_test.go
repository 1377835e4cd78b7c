package ssh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/kinstall/kinstall/provision/ssh"
	"github.com/kinstall/kinstall/provision/sshtest"
)

// dialRaw connects without this package's help.
func dialRaw(t *testing.T, s *sshtest.Server) *gossh.Client {
	t.Helper()
	pem, err := os.ReadFile(s.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := gossh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	c, err := gossh.Dial("tcp", s.Addr(), &gossh.ClientConfig{
		User: "root", Auth: []gossh.AuthMethod{gossh.PublicKeys(key)}, HostKeyCallback: gossh.FixedHostKey(s.HostKey),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestUpload(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	c := dial(t, s.Target("emei"))
	for _, size := range []int{0, 1, 32 << 10, 5<<20 + 13} {
		content := randomBytes(t, size)
		path := filepath.Join(s.Dir, digest(content))
		var sent int64
		// A reader of which the size can't be guessed.
		src := io.MultiReader(iotest.HalfReader(bytes.NewReader(content)))
		if err := c.Upload(t.Context(), src, int64(size), path, 0o640, func(n int64) { sent = n }); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if digest(got) != digest(content) || sent != int64(size) {
			t.Errorf("%d bytes: %d arrived, progress says %d", size, len(got), sent)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
			t.Errorf("mode %v", info.Mode())
		}
	}
	if got := s.Counts(); got.SFTP != 1 || got.Connections != 1 {
		t.Errorf("counts = %+v, want SFTP started once", got)
	}
}

func TestUploadFailures(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	c := dial(t, s.Target("emei"))
	content := randomBytes(t, 3<<20)
	broken := errors.New("the disk is on fire")
	for _, tt := range []struct {
		name   string
		reader io.Reader
		size   int64
		want   string
	}{
		{"local read error", io.MultiReader(bytes.NewReader(content), iotest.ErrReader(broken)), 4 << 20, broken.Error()},
		{"too short", bytes.NewReader(content), 4 << 20, "are missing"},
		{"too long", bytes.NewReader(content), 1 << 20, "more than the announced"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(s.Dir, "partial")
			err := c.Upload(t.Context(), tt.reader, tt.size, path, 0o600, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "emei: upload "+path) {
				t.Errorf("Upload = %v", err)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the partial file: %v", err)
			}
		})
	}
	t.Run("existing file", func(t *testing.T) {
		path := filepath.Join(s.Dir, "existing")
		if err := os.WriteFile(path, []byte("keep"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := c.Upload(t.Context(), bytes.NewReader(content), int64(len(content)), path, 0o600, nil); !errors.Is(err, os.ErrExist) {
			t.Errorf("Upload = %v", err)
		}
		if got, _ := os.ReadFile(path); string(got) != "keep" {
			t.Errorf("the file now holds %d bytes", len(got))
		}
	})
	t.Run("no such directory", func(t *testing.T) {
		err := c.Upload(t.Context(), bytes.NewReader(content), int64(len(content)), filepath.Join(s.Dir, "no", "file"), 0o600, nil)
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Upload = %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		path := filepath.Join(s.Dir, "cancelled")
		ctx, cancel := context.WithCancel(t.Context())
		err := c.Upload(ctx, bytes.NewReader(content), int64(len(content)), path, 0o600, func(n int64) {
			if n > 1<<20 {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Upload = %v", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the partial file: %v", err)
		}
	})
	t.Run("connection lost", func(t *testing.T) {
		err := c.Upload(t.Context(), bytes.NewReader(content), int64(len(content)), filepath.Join(s.Dir, "lost"), 0o600, func(n int64) {
			if n > 1<<20 {
				s.DropConnections()
			}
		})
		if !ssh.IsTransient(err) {
			t.Errorf("Upload = %v", err)
		}
	})
	t.Run("no SFTP", func(t *testing.T) {
		c := dial(t, sshtest.New(t, sshtest.Options{NoSFTP: true}).Target("emei"))
		err := c.Upload(t.Context(), bytes.NewReader(nil), 0, "/nonexistent", 0o600, nil)
		if err == nil || ssh.IsTransient(err) || !strings.Contains(ssh.Hint(err), "Subsystem") {
			t.Errorf("Upload = %v", err)
		}
	})
}

func TestStagingDir(t *testing.T) {
	s := sshtest.New(t, sshtest.Options{})
	c := dial(t, s.Target("emei"))
	dir, err := c.StagingDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.StagingDir(t.Context()); err != nil || again != dir {
		t.Errorf("StagingDir again = %q, %v", again, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeDir|0o700 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := c.Upload(t.Context(), strings.NewReader("x"), 1, dir+"/file", 0o600, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory after Close: %v", err)
	}
}

// What a lost connection left behind goes, once it is old enough to be
// nobody's any more.
func TestStagingDirRemovesStaleOnes(t *testing.T) {
	leave := func(age time.Duration) string {
		dir := fmt.Sprintf("/var/tmp/kinstall.%010d", time.Now().UnixNano()%1e10)
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
		}
		if err == nil {
			err = os.Chtimes(dir, time.Time{}, time.Now().Add(-age))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	old, young := leave(25*time.Hour), leave(time.Hour)
	s := sshtest.New(t, sshtest.Options{})
	if _, err := dial(t, s.Target("emei")).StagingDir(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one of yesterday: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("one that may be in use: %v", err)
	}
}

func TestTunnel(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	t.Cleanup(web.Close)
	s := sshtest.New(t, sshtest.Options{})
	c := dial(t, s.Target("emei"))
	transport := &http.Transport{DialContext: c.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	content := randomBytes(t, 3<<20)
	resp, err := (&http.Client{Transport: transport}).Post(web.URL, "", bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || digest(got) != digest(content) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	if n := c.Counts().Tunnels; n != 1 {
		t.Errorf("%d tunnels", n)
	}
}

func TestTunnelDeadlines(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	accepted := make(chan net.Conn, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			accepted <- conn
		}
	}()
	s := sshtest.New(t, sshtest.Options{})
	c := dial(t, s.Target("emei"))
	conn, err := c.DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer := <-accepted
	defer peer.Close()
	if got := conn.RemoteAddr().String(); got != listener.Addr().String() {
		t.Errorf("remote address %s", got)
	}

	// A deadline ends a Read, and the connection goes on after it.
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	var netErr net.Error
	if _, err := conn.Read(buf); !errors.As(err, &netErr) || !netErr.Timeout() {
		t.Errorf("Read = %v", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("Read = %q, %v", buf[:n], err)
	}

	// Close ends a Read, even on a dead network, and reaches the peer after all
	// that was written.
	if _, err := conn.Write([]byte("bye")); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	s.Freeze()
	conn.Close()
	if err := <-ended; err == nil {
		t.Error("Read succeeded after Close")
	}
	s.Thaw()
	if got, err := io.ReadAll(peer); err != nil || string(got) != "bye" {
		t.Errorf("the peer read %q, %v", got, err)
	}
}

func TestTunnelFailures(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	c := dial(t, sshtest.New(t, sshtest.Options{}).Target("emei"))
	if _, err := c.DialContext(t.Context(), "tcp", closed); !ssh.IsTransient(err) || !strings.Contains(err.Error(), "emei: open tunnel to "+closed) {
		t.Errorf("DialContext = %v", err)
	}
	c = dial(t, sshtest.New(t, sshtest.Options{NoForwarding: true}).Target("emei"))
	if _, err := c.DialContext(t.Context(), "tcp", closed); err == nil || ssh.IsTransient(err) || ssh.Hint(err) == "" {
		t.Errorf("DialContext = %v", err)
	}
}

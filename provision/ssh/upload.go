package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/pkg/sftp"

	"github.com/kinstall/kinstall/plan/fault"
)

// abortTimeout bounds the removal of a partial file after ctx has ended.
const abortTimeout = 5 * time.Second

// Upload writes size bytes from r to a new file on the host over SFTP, as the
// login user. An existing file is an error. The file has mode 0600 until it is
// complete, then mode; on any error it is removed, unless the connection is
// gone.
//
// SFTP can't name a mode when it creates a file: content that others must not
// see is uploaded into StagingDir, which only the login user can enter.
//
// progress, if set, is called with the number of bytes read from r so far, from
// one goroutine at a time; some 2 MB of them may not have arrived yet. r may
// still be read from for a moment after ctx has ended.
func (c *Client) Upload(ctx context.Context, r io.Reader, size int64, remotePath string, mode os.FileMode, progress func(sent int64)) error {
	op := "upload " + remotePath
	client, err := c.sftpClient(ctx, op)
	if err != nil {
		return err
	}
	src := &source{ctx: ctx, r: r, left: size, progress: progress}
	ended := make(chan error, 1)
	go func() {
		ended <- fault.Recover(func() error { return c.upload(client, src, size, remotePath, mode) })
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		// The source has stopped too; what remains is to remove the file.
		timer := time.NewTimer(abortTimeout)
		defer timer.Stop()
		select {
		case err = <-ended:
		case <-timer.C:
			return contextError(ctx, c.Host(), op)
		}
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return contextError(ctx, c.Host(), op)
	case src.err == nil && (errors.Is(err, sftp.ErrSSHFxConnectionLost) || isDisconnect(err)):
		return c.lost(op)
	}
	return fmt.Errorf("%s: %s: %w", c.Host(), op, err)
}

func (c *Client) upload(client *sftp.Client, src *source, size int64, remotePath string, mode os.FileMode) (err error) {
	f, err := client.OpenFile(remotePath, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		if _, statErr := client.Lstat(remotePath); statErr == nil {
			return fmt.Errorf("create: %w", os.ErrExist) // sshd only says "failure"
		}
		return fmt.Errorf("create: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			if removeErr := client.Remove(remotePath); removeErr != nil && !errors.Is(removeErr, sftp.ErrSSHFxConnectionLost) {
				err = fmt.Errorf("%w; the partial file could not be removed: %w", err, removeErr)
			}
		}
	}()
	if err := f.Chmod(0o600); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	if _, err := f.ReadFromWithConcurrency(src, 0); err != nil {
		if src.err != nil { // the local side failed, not the host
			return src.err
		}
		return fmt.Errorf("write: %w", spaceError(client, remotePath, src.left, err))
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if info.Size() != size {
		return fmt.Errorf("check: the host has %d of %d bytes", info.Size(), size)
	}
	if err := f.Chmod(mode.Perm()); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close: %w", spaceError(client, remotePath, 0, err))
	}
	return nil
}

// spaceError adds what SFTP version 3 can't say: that the disk is full.
func spaceError(client *sftp.Client, remotePath string, left int64, err error) error {
	fs, statErr := client.StatVFS(path.Dir(remotePath))
	if statErr != nil {
		return err
	}
	free := fs.Bavail * fs.Frsize
	if free > uint64(left)+1<<20 {
		return err
	}
	return fmt.Errorf("no space left in %s, %d bytes free: %w", path.Dir(remotePath), free, err)
}

// source reads exactly the announced number of bytes and stops with ctx. A
// reader that holds fewer or more is an error: the announced size belongs to a
// digest that the file must match.
type source struct {
	ctx      context.Context
	r        io.Reader
	left     int64
	sent     int64
	progress func(int64)
	err      error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func (s *source) read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if s.left == 0 {
		if n, _ := io.ReadFull(s.r, make([]byte, 1)); n > 0 {
			return 0, fmt.Errorf("the source holds more than the announced %d bytes", s.sent)
		}
		return 0, io.EOF
	}
	n, err := s.r.Read(b[:min(int64(len(b)), s.left)])
	s.left -= int64(n)
	s.sent += int64(n)
	if n > 0 && s.progress != nil {
		s.progress(s.sent)
	}
	if err == io.EOF {
		if s.left > 0 {
			return n, fmt.Errorf("the source ends after %d bytes, %d are missing: %w", s.sent, s.left, io.ErrUnexpectedEOF)
		}
		err = nil // the next read looks for surplus bytes
	}
	if err != nil {
		return n, fmt.Errorf("read the source: %w", err)
	}
	return n, nil
}

// sftpClient starts SFTP once for the connection. Its session stays open, and
// counted, until the connection ends.
func (c *Client) sftpClient(ctx context.Context, op string) (*sftp.Client, error) {
	if err := c.lazy.Acquire(ctx, 1); err != nil {
		return nil, contextError(ctx, c.Host(), op)
	}
	if c.sftp != nil {
		defer c.lazy.Release(1)
		return c.sftp, nil
	}
	if err := c.sessions.Acquire(ctx, 1); err != nil {
		c.lazy.Release(1)
		return nil, contextError(ctx, c.Host(), op)
	}
	type outcome struct {
		client *sftp.Client
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		// It goes on after the end of ctx, for the next caller to find.
		defer c.lazy.Release(1)
		var client *sftp.Client
		err := fault.Recover(func() (err error) {
			client, err = c.startSFTP(op)
			return err
		})
		if err != nil {
			c.sessions.Release(1)
		}
		c.sftp = client
		ended <- outcome{client, err}
	}()
	select {
	case o := <-ended:
		return o.client, o.err
	case <-ctx.Done():
		return nil, contextError(ctx, c.Host(), op)
	}
}

func (c *Client) startSFTP(op string) (*sftp.Client, error) {
	session, err := c.openSession(context.Background(), op)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*sftp.Client, error) {
		session.Close()
		if c.ended() {
			return nil, c.lost(op)
		}
		return nil, &ConnError{
			Host: c.Host(), Op: op, Err: fmt.Errorf("start SFTP: %w", err),
			hint: "the host's sshd_config needs \"Subsystem sftp internal-sftp\"",
		}
	}
	in, err := session.StdinPipe()
	if err != nil {
		return fail(err)
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	if err := session.RequestSubsystem("sftp"); err != nil {
		return fail(err)
	}
	client, err := sftp.NewClientPipe(out, in, sftp.UseConcurrentWrites(true))
	if err != nil {
		return fail(err)
	}
	c.counters.add(sftpSessions, 1)
	c.faults.Go(func() {
		_ = client.Wait()
		session.Close()
		// Should the SFTP server alone have died, the next upload starts another.
		if c.lazy.Acquire(context.Background(), 1) == nil {
			c.sftp = nil
			c.lazy.Release(1)
		}
		c.sessions.Release(1)
	})
	return client, nil
}

// StagingDir returns a directory on the host that only the login user can
// enter, to upload into. It is made on first use and removed by Close.
func (c *Client) StagingDir(ctx context.Context) (string, error) {
	const label = "make staging directory"
	if err := c.lazy.Acquire(ctx, 1); err != nil {
		return "", contextError(ctx, c.Host(), label)
	}
	defer c.lazy.Release(1)
	if c.staging != "" {
		return c.staging, nil
	}
	// /var/tmp is on disk; /tmp often is memory, too small for images. What lost
	// connections left behind there is removed when it is a day old.
	result, err := c.Run(ctx, Command{
		Label: label,
		Script: `umask 077
find /var/tmp -xdev -maxdepth 1 -type d -name 'kinstall.??????????' -user "$(id -u)" -mtime +0 -exec rm -rf -- {} + 2>/dev/null || true
mktemp -d /var/tmp/kinstall.XXXXXXXXXX
`,
	})
	if err != nil {
		return "", err
	}
	dir := string(bytes.TrimSuffix(result.Stdout, []byte("\n")))
	// Close removes it recursively, so it must be what was asked for.
	if ok, _ := path.Match("/var/tmp/kinstall.??????????", dir); !ok {
		return "", fmt.Errorf("%s: %s: mktemp answered %q", c.Host(), label, dir)
	}
	c.staging = dir
	return dir, nil
}

package release

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// maxSmall bounds a checksum file, in bytes.
const maxSmall = 1 << 20

// readSmall reads a checksum file.
func (s *Store) readSmall(ctx context.Context, from target) ([]byte, error) {
	if from.url == nil {
		f, err := os.Open(from.path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readAll(f, from.path)
	}
	var data []byte
	err := s.retry(ctx, func(ctx context.Context) error {
		body, _, err := s.get(ctx, from.url)
		if err != nil {
			return err
		}
		defer body.Close()
		data, err = readAll(body, from.String())
		return err
	})
	return data, err
}

func readAll(r io.Reader, from string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSmall+1))
	if err != nil {
		return nil, transferError{fmt.Errorf("read %s: %w", from, err)}
	}
	if len(data) > maxSmall {
		return nil, fmt.Errorf("read %s: too large for a checksum file", from)
	}
	return data, nil
}

// download writes what a URL leads to into an empty file and returns its digest.
func (s *Store) download(ctx context.Context, from *url.URL, to *os.File, progress func(done, total int64)) (digest string, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		if err := to.Truncate(0); err != nil {
			return err
		}
		if _, err := to.Seek(0, io.SeekStart); err != nil {
			return err
		}
		body, total, err := s.get(ctx, from)
		if err != nil {
			return err
		}
		defer body.Close()
		hash := sha256.New()
		counted := &counter{total: total, progress: progress}
		if _, err := io.Copy(io.MultiWriter(to, hash, counted), body); err != nil {
			if total >= 0 && counted.done < total {
				return transferError{fmt.Errorf("%s: broke off after %d of %d bytes: %w", shown(from), counted.done, total, err)}
			}
			return transferError{fmt.Errorf("%s: %w", shown(from), err)}
		}
		digest = hex.EncodeToString(hash.Sum(nil))
		return nil
	})
	return digest, err
}

// counter counts what is written to it and tells.
type counter struct {
	done, total int64
	progress    func(done, total int64)
}

func (c *counter) Write(p []byte) (int, error) {
	c.done += int64(len(p))
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
	return len(p), nil
}

// get asks for a URL. Total is the size of the body in bytes, -1 if unknown.
func (s *Store) get(ctx context.Context, from *url.URL) (body io.ReadCloser, total int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, 0, fmt.Errorf("%s: not a URL", shown(from))
	}
	response, err := s.client.Do(request)
	if err != nil {
		cancel(nil)
		var wrapped *url.Error // says method and URL again, and the URL may hold a password
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, 0, transferError{fmt.Errorf("%s: %w", shown(from), unconnected(err))}
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		cancel(nil)
		return nil, 0, &StatusError{URL: shown(from), Code: response.StatusCode, Status: response.Status}
	}
	watched := &watchedBody{ReadCloser: response.Body, ctx: ctx, cancel: cancel, stall: s.stall}
	watched.timer = time.AfterFunc(s.stall, func() { cancel(errStalled) })
	return watched, response.ContentLength, nil
}

var errStalled = errors.New("no data for too long")

// watchedBody gives a transfer up when nothing comes for a while, however long
// the whole of it takes.
type watchedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration
	timer  *time.Timer
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.timer.Reset(b.stall)
	}
	if err != nil && b.ctx.Err() != nil {
		// Even io.EOF: a server may end its answer in good order when it sees us go.
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

var errRedirect = errors.New("redirect refused")

func checkRedirect(request *http.Request, via []*http.Request) error {
	switch {
	case request.URL.Scheme != "https":
		return fmt.Errorf("%w: it leads from https to %s", errRedirect, request.URL.Scheme)
	case len(via) >= 10:
		return fmt.Errorf("%w: the tenth in a row", errRedirect)
	}
	return nil
}

// retry repeats do while its error is one of the network's that may pass.
func (s *Store) retry(ctx context.Context, do func(context.Context) error) error {
	for try := 1; ; try++ {
		err := do(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !passing(err):
			return err
		case try == tries:
			return fmt.Errorf("%w (tried %d times)", err, tries)
		}
		if err := wait(ctx, s.backoff(try)); err != nil {
			return err
		}
	}
}

// transferError is whatever went wrong between us and a server.
type transferError struct{ error }

func (e transferError) Unwrap() error { return e.error }

// passing reports whether an error is one of the network that may pass.
func passing(err error) bool {
	var (
		status    *StatusError
		resolve   *net.DNSError
		local     *fs.PathError // of the file written to: a full disk
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		transfer  transferError
		network   net.Error
	)
	switch {
	case errors.As(err, &status):
		return status.Temporary()
	case errors.As(err, &resolve):
		return !resolve.IsNotFound
	case errors.As(err, &local), errors.Is(err, errRedirect), errors.Is(err, errUnencrypted),
		errors.As(err, &verify), errors.As(err, &authority), errors.As(err, &record), errors.As(err, &alert):
		return false
	}
	return errors.As(err, &transfer) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

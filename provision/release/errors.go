package release

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
)

// A MismatchError says that a file is not what it should be: altered,
// truncated, or another version. It is of no use to try again.
type MismatchError struct {
	From      string // URL, path or image reference
	Want, Got string // lower-case hex SHA-256
	Size      int64  // bytes, of what was found
	hint      string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: SHA-256 is %s (%d bytes), expected %s; refused", e.From, e.Got, e.Size, e.Want)
}

// Hint returns advice for the operator.
func (e *MismatchError) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	return "the source's file was altered or truncated, or the digest it is pinned to (artifacts.sha256, the lock file, the source's checksum file) is that of another file; find out which before changing either"
}

// A StatusError is an answer of an HTTP server other than success.
type StatusError struct {
	URL    string
	Code   int    // 404
	Status string // "404 Not Found"
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: the server answers %s", e.URL, e.Status)
}

// Temporary reports whether trying again can help.
func (e *StatusError) Temporary() bool {
	switch e.Code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return e.Code >= 500 && e.Code != http.StatusNotImplemented
}

// Hint returns advice for the operator, or "".
func (e *StatusError) Hint() string {
	switch e.Code {
	case http.StatusNotFound, http.StatusGone:
		return "check that this version exists, or put the file into the mirror"
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return "check the credentials and the proxy settings"
	}
	return ""
}

// advised is an error with advice.
type advised struct {
	error
	hint string
}

func (e *advised) Unwrap() error { return e.error }

// Hint returns advice for the operator.
func (e *advised) Hint() string { return e.hint }

// unconnected adds advice to the error of a connection that could not be made.
func unconnected(err error) error {
	var dial *net.OpError
	if !errors.As(err, &dial) || dial.Op != "dial" {
		return err
	}
	return &advised{err, "is this machine on the internet? HTTPS_PROXY names a proxy; without either, `source` in the inventory's artifacts block names a mirror or a directory"}
}

// missing is the error of a local source without a file; versions are those that
// it has of it.
func missing(path string, versions []string) error {
	hint := "put the file there: a directory holds what `wget -x` of the official locations would give, HOST/PATH"
	if len(versions) > 0 {
		hint = fmt.Sprintf("the source has %s: set one of these versions in the inventory, or %s", strings.Join(versions, ", "), hint)
	}
	return &advised{fmt.Errorf("%s: %w", path, fs.ErrNotExist), hint}
}

// isMissing reports whether the source has no such file.
func isMissing(err error) bool {
	var status *StatusError
	return errors.Is(err, fs.ErrNotExist) ||
		errors.As(err, &status) && (status.Code == http.StatusNotFound || status.Code == http.StatusGone)
}

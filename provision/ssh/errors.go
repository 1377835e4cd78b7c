package ssh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Hint returns the advice that goes with err, or "". It is meant for the
// operator, to be shown apart from the error itself.
func Hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// IsConnectionLost reports whether err says that an established connection ended,
// so that what was under way on it has an unknown outcome. Another connection can
// be made.
func IsConnectionLost(err error) bool {
	var c *ConnError
	return errors.As(err, &c) && c.lost
}

// A ConnError says that a connection could not be made or was lost. Whether the
// command under way took effect on the host is unknown.
type ConnError struct {
	Host string
	// Op is what was being done: "connect to 10.0.0.1:22", a command's label.
	Op  string
	Err error

	temporary bool
	lost      bool // the connection had been made
	refused   bool // sshd dropped the connection before it showed its key
	hint      string
}

func (e *ConnError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Host, e.Op, e.Err) }
func (e *ConnError) Unwrap() error { return e.Err }

// Temporary reports whether trying again can help.
func (e *ConnError) Temporary() bool { return e.temporary }

// Hint implements the interface behind the function Hint.
func (e *ConnError) Hint() string { return e.hint }

// An AuthError says that the host, whose own key was verified, did not accept
// the login.
type AuthError struct {
	Host, User, Address string
	// Offered lists the public keys offered, as "type fingerprint (source)".
	Offered []string
	Err     error
}

func (e *AuthError) Error() string {
	offered := "no key"
	if len(e.Offered) > 0 {
		offered = strings.Join(e.Offered, ", ")
	}
	return fmt.Sprintf("%s: log in to %s as %s: not accepted, offered %s: %v", e.Host, e.Address, e.User, offered, e.Err)
}
func (e *AuthError) Unwrap() error { return e.Err }

// Hint implements the interface behind the function Hint.
func (e *AuthError) Hint() string {
	return fmt.Sprintf("put one of the offered public keys into ~%s/.ssh/authorized_keys on the host, or name another key or user in the inventory", e.User)
}

// An ExitError says that a command ran to its end with a non-zero exit code.
type ExitError struct {
	Host    string
	Command string // the command's label
	// ExitCode is 1 to 255, or 128 + n when signal n ended the command.
	ExitCode int
	// Stderr is everything the command wrote to standard error.
	Stderr []byte
}

// Error shows the last lines of standard error; the field Stderr has them all.
func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s: %s: exit code %d", e.Host, e.Command, e.ExitCode)
	if tail := lastLines(e.Stderr); tail != "" {
		s += ": " + tail
	}
	return s
}

// A BecomeError says that a command never started because the login user could
// not become root.
type BecomeError struct {
	Host, User string
	Reason     string
	// Stderr is what sudo wrote.
	Stderr []byte
	hint   string
}

func (e *BecomeError) Error() string {
	s := fmt.Sprintf("%s: become root from %s: %s", e.Host, e.User, e.Reason)
	if tail := lastLines(e.Stderr); tail != "" {
		s += " (" + tail + ")"
	}
	return s
}

// Hint implements the interface behind the function Hint.
func (e *BecomeError) Hint() string { return e.hint }

// A LockedError says that somebody else holds the lock of a host.
type LockedError struct {
	Host, Path string
	// Holder is the text the holder wrote into the lock file; empty if it had
	// not written it yet.
	Holder string
	// Step is set if the holder itself is gone, and a script that it began still
	// runs.
	Step bool
}

func (e *LockedError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	if e.Step {
		return fmt.Sprintf("%s: lock %s: a step of %s still runs, though that has ended or lost its connection", e.Host, e.Path, holder)
	}
	return fmt.Sprintf("%s: lock %s is held by %s", e.Host, e.Path, holder)
}

// Hint implements the interface behind the function Hint.
func (e *LockedError) Hint() string {
	return "wait for the other run to end, or let apply wait for it: -lock-timeout 10m; the lock frees itself when its connection ends"
}

// A TokenError says that a lost lock can't be taken back: its token is no longer
// in force.
type TokenError struct {
	Host, Path string
	// Holder is who took the lock meanwhile; "" if it is free again, or if the
	// host was started anew.
	Holder string
}

func (e *TokenError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("%s: lock %s is no longer the same: it was held by somebody else meanwhile, or the host was started anew", e.Host, e.Path)
	}
	return fmt.Sprintf("%s: lock %s was taken meanwhile by %s", e.Host, e.Path, e.Holder)
}

// A TimeoutError says that something on a host was given all of its time and did
// not end; its session was ended. Whether it took effect is unknown.
type TimeoutError struct {
	Host, Op string
	After    time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("%s: %s: not done within %s, and ended", e.Host, e.Op, e.After)
}

// Unwrap makes it the end of a context, as which it comes about.
func (e *TimeoutError) Unwrap() error { return context.DeadlineExceeded }

// Hint implements the interface behind the function Hint.
func (e *TimeoutError) Hint() string {
	return "log in with ssh and look whether the host is overloaded or hangs; -observe-timeout and -step-timeout give it longer"
}

// WithTimeout bounds what is done on a host: when the time is over, it ends with
// a *TimeoutError. No time is no bound.
func WithTimeout(ctx context.Context, host, op string, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, limit, &TimeoutError{Host: host, Op: op, After: limit})
}

// dialHint is advice for a TCP connection that could not be made, "" for none.
func dialHint(t *Target, err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens there: does sshd run on the host, and on port %d? The inventory's ssh block has `port`", t.Port)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "check the address and this machine's routes; a host behind another one is reached with a `bastion` block"
	}
	return ""
}

// contextError wraps the end of ctx with the host and what was being done.
func contextError(ctx context.Context, host, op string) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	var timeout *TimeoutError
	if errors.As(cause, &timeout) {
		return timeout
	}
	if cause == nil || errors.Is(cause, err) {
		return fmt.Errorf("%s: %s: %w", host, op, err)
	}
	return fmt.Errorf("%s: %s: %w: %w", host, op, err, cause)
}

const (
	shownLines = 3
	shownBytes = 400
)

// lastLines shortens remote output for an error message: the last lines that
// say something, without control characters, which could otherwise rewrite the
// operator's terminal.
func lastLines(b []byte) string {
	var lines []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(printable(line)); line != "" {
			lines = append(lines, line)
		}
	}
	lines = lines[max(0, len(lines)-shownLines):]
	s := strings.Join(lines, "; ")
	if len(s) > shownBytes {
		s = "…" + strings.ToValidUTF8(s[len(s)-shownBytes:], "")
	}
	return s
}

// printable replaces everything but printable characters and tabs.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}

package sshtest

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// A Session is an exec request to a host that misbehaves, in the terms of package
// ssh: its standard input began with a mark and a script.
type Session struct {
	Mark, Script   string
	Stdout, Stderr io.Writer
	// Done is closed when the client has closed the session, or the connection.
	Done <-chan struct{}
	// Drop ends the connection.
	Drop func()
}

// Begin says on both streams that the script begins.
func (s *Session) Begin() {
	_, _ = io.WriteString(s.Stdout, s.Mark+" 1\n")
	_, _ = io.WriteString(s.Stderr, s.Mark+"\n")
}

// A Misbehaviour answers exec requests in place of the shell. It returns the exit
// code, or NoStatus.
type Misbehaviour func(*Session) (code int)

// NoStatus ends a session without an exit status.
const NoStatus = -1

// Silent lets the client in and never says anything.
func Silent(s *Session) int {
	<-s.Done
	return NoStatus
}

// SilentAfterMark begins the script and says nothing more.
func SilentAfterMark(s *Session) int {
	s.Begin()
	return Silent(s)
}

// Drip says one byte at a time, without end.
func Drip(every time.Duration) Misbehaviour {
	return func(s *Session) int {
		s.Begin()
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if _, err := io.WriteString(s.Stdout, "."); err != nil {
					return NoStatus
				}
			case <-s.Done:
				return NoStatus
			}
		}
	}
}

// Flood writes without end to standard output or standard error, before the
// mark or behind it.
func Flood(toStderr, afterMark bool) Misbehaviour {
	return func(s *Session) int {
		if afterMark {
			s.Begin()
		}
		to := s.Stdout
		if toStderr {
			to = s.Stderr
		}
		block := []byte(strings.Repeat("all work and no play makes a dull host\n", 800))
		for {
			if _, err := to.Write(block); err != nil {
				return NoStatus
			}
		}
	}
}

// Say answers with a text.
func Say(stdout, stderr string, code int) Misbehaviour {
	out, errOut := []byte(stdout), []byte(stderr)
	return func(s *Session) int {
		s.Begin()
		_, _ = s.Stderr.Write(errOut)
		_, _ = s.Stdout.Write(out)
		return code
	}
}

// DropAfter answers with a text and drops the connection.
func DropAfter(stdout string) Misbehaviour {
	out := []byte(stdout)
	return func(s *Session) int {
		s.Begin()
		_, _ = s.Stdout.Write(out)
		s.Drop()
		return NoStatus
	}
}

// readSession reads what package ssh sends before a script's payload.
func readSession(stdin io.Reader) (mark, script string, err error) {
	in := bufio.NewReader(stdin)
	header, err := in.ReadString('\n')
	if err != nil {
		return "", "", err
	}
	var size, payload int
	if _, err := fmt.Sscanf(header, "%s %d %d\n", &mark, &size, &payload); err != nil {
		return "", "", err
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(in, text); err != nil {
		return "", "", err
	}
	go func() { _, _ = io.Copy(io.Discard, in) }()
	return mark, string(text), nil
}

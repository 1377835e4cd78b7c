package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/kinstall/kinstall/provision"
)

// Exit codes. 3 means that a host was changed by somebody else between plan
// and apply, so that what was shown is not what would be done.
const (
	exitOK          = 0
	exitFailure     = 1
	exitChanges     = 2 // plan -detailed-exitcode
	exitStale       = 3
	exitUnreachable = 4
	exitPanic       = 70 // EX_SOFTWARE of sysexits.h
	exitInterrupted = 130
)

// exitCodes is the table as shown in the help.
const exitCodes = `Exit codes:
  0    no change, or success
  1    error
  2    changes are pending (plan -detailed-exitcode)
  3    the plan is stale: a host was changed by somebody else meanwhile
  4    some hosts are unreachable (not those left out by -skip-unreachable)
  70   a fault of kinstall itself; a file with its trace is named
  130  interrupted`

// exitError ends the program with a code. Without err everything has been said.
type exitError struct {
	code int
	err  error
	hint string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

// Hint is advice for the user, "" for none.
func (e *exitError) Hint() string { return e.hint }

// silently ends the program with a code when everything has been said.
func silently(code int) error { return &exitError{code: code} }

// usageError is a mistake on the command line.
func usageError(hint, format string, args ...any) error {
	return &exitError{code: exitFailure, err: fmt.Errorf(format, args...), hint: hint}
}

// hintOf returns the advice that goes with an error, "" for none.
func hintOf(err error) string {
	var adviser interface{ Hint() string }
	if errors.As(err, &adviser) {
		return adviser.Hint()
	}
	return ""
}

// codeOf is the exit code for what a command returned.
func codeOf(err error) int {
	var exit *exitError
	var fault *provision.PanicError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &fault):
		return exitPanic
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case isStale(err):
		return exitStale
	default:
		return exitFailure
	}
}

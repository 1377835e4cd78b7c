package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// page shows a text on the terminal: through a pager as git does it, with $PAGER
// or less, which leaves at once when all fits on the screen (LESS=FRX). Without
// a terminal or a pager, and with none wanted, it is written as it is.
func (a *app) page(text []byte, wanted bool) error {
	pager := a.pager()
	if !wanted || pager == "" {
		_, err := a.out.Write(text)
		return err
	}
	cmd := exec.Command("sh", "-c", pager)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), a.out, a.err
	cmd.Env = append([]string{}, a.environ...)
	if a.getenv("LESS") == "" {
		cmd.Env = append(cmd.Env, "LESS=FRX")
	}
	defer a.enter(paging)()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == notFound:
		fmt.Fprintf(a.err, "The pager %s was not found; -no-pager prints without one.\n", pager)
		_, err = io.Copy(a.out, bytes.NewReader(text))
		return err
	case errors.As(err, &exit): // the reader had enough
		return nil
	}
	return err
}

// notFound is the exit code of a shell that does not find a command.
const notFound = 127

// pager is the command that pages, "" for none.
func (a *app) pager() string {
	if !a.outTerminal || a.getenv("TERM") == "dumb" {
		return ""
	}
	for _, entry := range a.environ {
		if entry == "PAGER=" {
			return "" // set to none, which is not the same as not set
		}
	}
	switch pager := strings.TrimSpace(a.getenv("PAGER")); pager {
	case "":
		if _, err := exec.LookPath("less"); err != nil {
			return ""
		}
		return "less"
	case "cat":
		return ""
	default:
		return pager
	}
}

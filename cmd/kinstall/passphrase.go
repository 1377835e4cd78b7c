package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/kinstall/kinstall/plan/inventory"
)

// passphrase returns what asks for the passphrase of the authorities' keys, as a
// command's flags say, on the terminal without them. It never stands in arguments,
// and in the environment no longer than it takes to read it. A new one is asked
// for where it will be used, by apply, and typed twice.
func (a *app) passphrase(c *cli.Context) passphrase {
	return func(isNew bool) (string, error) {
		file, variable := c.String("passphrase-file"), c.String("passphrase-env")
		switch {
		case isNew && c.Command.Name != "apply":
			return "", nil
		case file != "" && variable != "":
			return "", usageError("keep one of them", "kinstall %s: -passphrase-file and -passphrase-env are both given", c.Command.Name)
		case file != "":
			return passphraseFrom(file)
		case variable != "":
			text := a.getenv(variable)
			if err := os.Unsetenv(variable); err != nil { // lest programs that are started have it
				return "", fmt.Errorf("-passphrase-env %s: %w", variable, err)
			}
			if text == "" {
				return "", usageError("", "kinstall %s: -passphrase-env %s: the environment has no such variable, or it is empty", c.Command.Name, variable)
			}
			return text, nil
		case a.password == nil:
			return "", usageError("give it with -passphrase-file FILE or -passphrase-env NAME", "kinstall %s: the keys of the authorities are encrypted with a passphrase, and there is no terminal to ask for it on", c.Command.Name)
		}
		return a.askPassphrase(isNew)
	}
}

// passphraseFrom reads the first line of a file that nobody else can read.
func passphraseFrom(path string) (string, error) {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return "", usageError("chmod 0600; if others may have read it, it is no longer secret", "-passphrase-file %s is open to others (mode %04o)", path, info.Mode().Perm())
	}
	text, err := inventory.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("-passphrase-file: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", usageError("", "-passphrase-file %s begins with an empty line", path)
	}
	return line, nil
}

func (a *app) askPassphrase(isNew bool) (string, error) {
	if !isNew {
		return a.password("Passphrase of the authorities' keys: ")
	}
	first, err := a.password("New passphrase for the authorities' keys: ")
	if err != nil {
		return "", err
	}
	if first == "" {
		return "", &exitError{code: exitFailure, err: errors.New("no passphrase was given, nothing was changed")}
	}
	again, err := a.password("Once more: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", &exitError{code: exitFailure, err: errors.New("the two passphrases differ, nothing was changed")}
	}
	return first, nil
}

// readPassword asks on standard error and reads from standard input. The terminal
// is read raw: an interrupt comes as a character, and leaves no terminal behind
// that shows nothing.
func readPassword(prompt string) (string, error) {
	state, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return "", fmt.Errorf("ask for the passphrase: %w", err)
	}
	defer func() { _ = term.Restore(int(os.Stdin.Fd()), state) }()
	fmt.Fprint(os.Stderr, "\r\x1b[K") // over a status line that may be there
	text, err := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{os.Stdin, os.Stderr}, "").ReadPassword(prompt)
	if errors.Is(err, io.EOF) {
		return "", &exitError{code: exitInterrupted, err: errors.New("no passphrase was given, nothing was changed")}
	}
	return text, err
}

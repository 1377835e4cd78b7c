package main

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// Where a passphrase comes from, when it is asked for, and what is said where
// there is none.
func TestPassphrase(t *testing.T) {
	t.Chdir(t.TempDir())
	file := func(name, content string, mode os.FileMode) {
		if err := os.WriteFile(name, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	file("good", "correct horse\nsecond line\n", 0o600)
	file("open", "correct horse\n", 0o644)
	file("empty", "\n", 0o600)
	typing := func(words ...string) func(string) (string, error) {
		return func(string) (string, error) {
			if len(words) == 0 {
				return "", errors.New("asked too often")
			}
			word := words[0]
			words = words[1:]
			return word, nil
		}
	}
	for _, tt := range []struct {
		name    string
		command string
		args    []string
		typed   func(string) (string, error)
		isNew   bool
		want    string
		err     string
	}{
		{name: "typed", command: "plan", typed: typing("correct horse"), want: "correct horse"},
		{name: "new, for a plan", command: "plan", typed: typing()},
		{name: "new, typed twice", command: "apply", typed: typing("correct horse", "correct horse"), isNew: true, want: "correct horse"},
		{name: "new, typed otherwise", command: "apply", typed: typing("correct horse", "correct hose"), isNew: true, err: "the two passphrases differ, nothing was changed"},
		{name: "new, nothing", command: "apply", typed: typing(""), isNew: true, err: "no passphrase was given, nothing was changed"},
		{name: "no terminal", command: "kubeconfig", err: "there is no terminal to ask for it on"},
		{name: "file", command: "apply", args: []string{"-passphrase-file", "good"}, isNew: true, want: "correct horse"},
		{name: "file open to others", command: "apply", args: []string{"-passphrase-file", "open"}, err: "is open to others (mode 0644)"},
		{name: "empty file", command: "apply", args: []string{"-passphrase-file", "empty"}, err: "begins with an empty line"},
		{name: "no file", command: "apply", args: []string{"-passphrase-file", "none"}, err: "no such file"},
		{name: "environment", command: "plan", args: []string{"-passphrase-env", "PHRASE"}, want: "correct horse"},
		{name: "empty environment", command: "plan", args: []string{"-passphrase-env", "OTHER"}, err: "the environment has no such variable"},
		{name: "both", command: "plan", args: []string{"-passphrase-env", "PHRASE", "-passphrase-file", "good"}, err: "are both given"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("PHRASE", "correct horse")
			isNew := tt.isNew || strings.HasPrefix(tt.name, "new")
			a := &app{console: console{password: tt.typed, environ: os.Environ()}}
			set := flag.NewFlagSet("", flag.ContinueOnError)
			for _, f := range secretFlags() {
				if err := f.Apply(set); err != nil {
					t.Fatal(err)
				}
			}
			if err := set.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			c := cli.NewContext(nil, set, nil)
			c.Command = &cli.Command{Name: tt.command}
			got, err := a.passphrase(c)(isNew)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v; want %q, %q", got, err, tt.want, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "horse") {
				t.Errorf("the error tells it: %v", err)
			}
			if tt.name == "environment" && os.Getenv("PHRASE") != "" {
				t.Error("programs that are started have it in their environment")
			}
		})
	}
}

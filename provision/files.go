package provision

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
	"github.com/kinstall/kinstall/provision/ssh"
)

// ErrStale is the cause of a failed step whose host was changed by somebody
// else between the plan and its execution.
var ErrStale = errors.New("changed on the host since it was planned; plan again")

// exitStale is the exit code by which a script says ErrStale.
const exitStale = 97

// fileWrite is one file to be written atomically.
type fileWrite struct {
	label   string
	path    string
	content []byte
	own     resource.Ownership
	// before is the SHA-256 the file must have now, "" for absent; not looked
	// at if anyBefore is set.
	before    string
	anyBefore bool
	// first and then are scripts that run before and after the file is put in
	// its place.
	first, then string
	// test is asked about the configuration with the new file, see
	// resource.File.Test.
	test resource.ConfigTest
	// likeBefore keeps the owner and mode of the file that is replaced.
	likeBefore bool
}

// guardScript checks that a file is still what the plan was computed from.
func guardScript(file, before string) string {
	return fmt.Sprintf(`found=
if [ -e %[1]s ]; then found=$(sha256sum < %[1]s); found=${found%%%% *}; fi
if [ "$found" != %[2]s ]; then
	echo %[1]s" has SHA-256 ${found:-none: it is not there}" >&2
	exit %[3]d
fi
`, shell.Quote(file), shell.Quote(before), exitStale)
}

// placeScript writes one file from a command that prints its content: private
// from the first byte, then owner and mode, on disk, then renamed into place.
func placeScript(w fileWrite, content string) string {
	var b strings.Builder
	b.WriteString(w.first)
	file, dir := shell.Quote(w.path), shell.Quote(path.Dir(w.path))
	// The umask is opened for missing directories alone.
	fmt.Fprintf(&b, "(umask 022; mkdir -p -- %s)\n", dir)
	fmt.Fprintf(&b, "tmp=$(mktemp %s)\n", shell.Quote(temporaryFor(w.path)))
	fmt.Fprintf(&b, "%s > \"$tmp\"\n", content)
	fmt.Fprintf(&b, "got=$(sha256sum < \"$tmp\"); if [ \"${got%%%% *}\" != %s ]; then echo %s\" arrived damaged\" >&2; exit 1; fi\n",
		resource.SHA256(w.content), file)
	if w.likeBefore {
		fmt.Fprintf(&b, "if [ -e %[1]s ]; then chown --reference=%[1]s -- \"$tmp\"; chmod --reference=%[1]s -- \"$tmp\"; else chmod 0644 -- \"$tmp\"; fi\n", file)
	} else {
		fmt.Fprintf(&b, "chown -- %s \"$tmp\"; chmod -- %04o \"$tmp\"\n", shell.Quote(w.own.Owner+":"+w.own.Group), w.own.Mode)
	}
	b.WriteString(testScript(w))
	fmt.Fprintf(&b, "sync -- \"$tmp\"; mv -fT -- \"$tmp\" %s; sync -- %s\ntmp=\n", file, dir)
	b.WriteString(w.then)
	return b.String()
}

// scriptHeader opens every script but the probe's: fail at the first error, nothing
// readable by others, no temporary file left behind however it ends.
//
// systemd, Docker and containerd are given a time: a client that waits for a
// daemon that hangs would outlive the script's session. In the foreground, it
// stays in the script's process group.
const scriptHeader = `set -eu
systemctl() { timeout --foreground -k 10 300 systemctl "$@"; }
docker() { timeout --foreground -k 10 1500 docker "$@"; }
ctr() { timeout --foreground -k 10 1500 ctr "$@"; }
umask 077
tmp=
trap 'if [ -n "$tmp" ]; then rm -rf -- "$tmp"; fi' EXIT
trap 'exit 129' HUP INT TERM
`

// writeFile writes one file whose content travels on standard input.
func (m *machine) writeFile(ctx context.Context, w fileWrite) error {
	return m.write(ctx, ssh.Command{
		Label:  w.label,
		Script: scriptHeader + guards(w) + placeScript(w, "cat"),
		Stdin:  w.content,
		Root:   true,
	})
}

// writeFiles writes several files in order with one exec, after all of them
// have been found to be as planned for; their contents travel on standard
// input, a line of base64 each.
func (m *machine) writeFiles(ctx context.Context, label string, writes ...fileWrite) error {
	var script, payload strings.Builder
	script.WriteString(scriptHeader + guards(writes...))
	for _, w := range writes {
		payload.WriteString(base64.StdEncoding.EncodeToString(w.content) + "\n")
		script.WriteString("IFS= read -r line\n")
		// printf is the shell's own: the line enters no process list.
		script.WriteString(placeScript(w, `printf '%s\n' "$line" | base64 -d`))
	}
	return m.write(ctx, ssh.Command{Label: label, Script: script.String(), Stdin: []byte(payload.String()), Root: true})
}

func guards(writes ...fileWrite) string {
	var b strings.Builder
	for _, w := range writes {
		if !w.anyBefore {
			b.WriteString(guardScript(w.path, w.before))
		}
	}
	return b.String()
}

// write runs a script that writes files; its error is ErrStale where one of
// them is not as it was planned for, and *RefusedError where the program that
// reads one would not take it.
func (m *machine) write(ctx context.Context, command ssh.Command) error {
	result, err := m.change(ctx, command)
	var exit *ssh.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	switch exit.ExitCode {
	case exitRefused:
		return refused(exit, string(result.Stdout))
	case exitStale:
		return fmt.Errorf("%s: %s: %s: %w", exit.Host, exit.Command, strings.TrimSpace(string(exit.Stderr)), ErrStale)
	}
	return err
}

// command is a script without payload, run as root.
func command(label, script string) ssh.Command {
	return ssh.Command{Label: label, Script: script, Root: true}
}

// script runs a short script without payload as root.
func (m *machine) script(ctx context.Context, label, body string) error {
	_, err := m.output(ctx, label, body)
	return err
}

// output runs a script that changes the host as root and returns what it printed.
func (m *machine) output(ctx context.Context, label, body string) (string, error) {
	result, err := m.change(ctx, command(label, scriptHeader+body))
	return string(result.Stdout), err
}

// look runs a script that changes nothing as root and returns what it printed. It
// needs no lock, and is run again when the connection breaks.
func (m *machine) look(ctx context.Context, label, body string) (string, error) {
	result, err := m.read(ctx, command(label, scriptHeader+body))
	return string(result.Stdout), err
}

// temporaryFor is mktemp's template for the file that will replace a path.
func temporaryFor(file string) string { return stagingDirectory(file) + "/.kinstall.XXXXXXXX" }

// stagingDirectory is where the temporary file for a path is made: beside it,
// so that the rename is atomic, but never in a directory that a daemon reads
// as a whole.
func stagingDirectory(file string) string {
	dir := path.Dir(file)
	if dir == plan.ManifestDirectory {
		return path.Dir(dir)
	}
	return dir
}

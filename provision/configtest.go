package provision

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
	"github.com/kinstall/kinstall/provision/ssh"
)

// exitRefused is the exit code by which a script says that a program would not
// take its new configuration, see RefusedError.
const exitRefused = 96

// RefusedError says that a file was not written, because the program that reads
// it was asked and would not take it. Nothing was changed.
type RefusedError struct {
	Path string
	// Exit has the host, the program's command, its exit code and what it wrote.
	Exit *ssh.ExitError
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s was not changed: %v", e.Path, e.Exit)
}

func (e *RefusedError) Unwrap() error { return e.Exit }

// Hint is the advice that goes with the error.
func (e *RefusedError) Hint() string {
	return fmt.Sprintf("%s is as it was, and what runs was left alone; if the cause is another file, run `%s` on the host", e.Path, e.Exit.Command)
}

// testScript asks the program that reads a file whether it would take its
// configuration with the staged one, $tmp, in the file's place; nothing where it
// is not installed: then it does not run either.
//
// It is asked in a mount namespace of its own, where the staged file covers the
// real one. So it is asked about the configuration as a whole, of which the file
// may be a part; what runs can't read the new file by accident; and however the
// script ends, there is nothing to put back. Where there is no file yet to be
// covered, a copy of its directory is, in memory; the working directory is still
// the real one when the copy covers it.
func testScript(w fileWrite) string {
	words := w.test.Command()
	if len(words) == 0 {
		return ""
	}
	const private = `set -eu
staged=$1 file=$2
shift 2
if [ -e "$file" ]; then
	mount --bind -- "$staged" "$file"
else
	cd -- "${file%/*}"
	mount -t tmpfs -o mode=0700 kinstall "${file%/*}"
	cp -a -- ./. "${file%/*}"
	cp -p -- "$staged" "$file"
	cd /
fi
echo asked >&3
exec "$@" </dev/null >&2 3>&-
`
	return fmt.Sprintf(`if command -v %[1]s >/dev/null; then
	code=0
	asked=$(unshare -m -- sh -c %[2]s sh "$tmp" %[3]s timeout --foreground -k 10 %[4]d %[5]s 3>&1) || code=$?
	if [ "$asked" != asked ]; then echo %[3]s" can't be tried out" >&2; exit 1; fi
	if [ "$code" -ne 0 ]; then printf '%%s %%s\n' "$code" %[6]s; exit %[7]d; fi
fi
`, shell.Quote(words[0]), shell.Quote(private), shell.Quote(w.path), w.test.Limit(), shell.Join(words...),
		shell.Quote(strings.Join(append([]string{string(w.test)}, w.path), " ")), exitRefused)
}

// refused reads what testScript printed before it ended a script: the program's
// exit code, the test's name and the path.
func refused(exit *ssh.ExitError, stdout string) error {
	code, rest, _ := strings.Cut(strings.TrimSuffix(stdout, "\n"), " ")
	test, file, ok := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	words := resource.ConfigTest(test).Command()
	if !ok || err != nil || len(words) == 0 {
		return exit // a script of another kind, which may end with any code
	}
	return &RefusedError{Path: file, Exit: &ssh.ExitError{Host: exit.Host, Command: strings.Join(words, " "), ExitCode: n, Stderr: exit.Stderr}}
}

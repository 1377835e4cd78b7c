package ssh

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/kinstall/kinstall/plan/fault"
)

// A Command is a script for the host's POSIX sh, run once, in the C locale.
type Command struct {
	// Label is a short description for errors: "restart etcd".
	Label string
	// Script is run as is. It travels on standard input, so it may be long (1 MB
	// is fine) and shows up in no process list. Values enter it only through
	// shell.Quote, secrets not at all: they go into Stdin.
	Script string
	// Stdin is what the script reads on its standard input, byte for byte. It is
	// not to be changed before Run returns.
	//
	// Should the connection break, or ctx end, while the payload is under way,
	// the script sees the end of file early. A script that keeps the payload
	// compares its size with the shell variable kinstall_stdin, which holds
	// len(Stdin), before it takes it for whole.
	Stdin []byte
	// Root runs the script as root: directly if that is the login user, else
	// through "sudo -n".
	Root bool
	// Timeout bounds the whole of the run, however much arrives meanwhile; 0 is
	// no bound but ctx's. The error is a *TimeoutError.
	Timeout time.Duration
	// MaxOutput is how many bytes of standard output are taken, 1 MiB if 0. A
	// host that sends more is disconnected, the error is an *OutputError.
	MaxOutput int
}

// A Result is what a command that ran to its end left behind. Of a long standard
// error there are the beginning and the end, and a line between them that says
// so.
type Result struct {
	Stdout, Stderr []byte
	// ExitCode is 0, or what the *ExitError returned with it says.
	ExitCode int
}

// bootstrap is what is executed on the host for each command: a constant, in
// which no data ever appears. It is a single line within single quotes and
// without backslashes or exclamation marks, so that every login shell, the C
// shells included, takes it alike.
//
// Standard input holds a line with a random mark and two sizes, then the script,
// then the payload:
//
//	MARK SIZE PAYLOADSIZE\n
//	script …\n#MARK
//	payload …
//
// The shell's read takes single bytes from a pipe and so stops right behind the
// line. dd with iflag=fullblock (POSIX.1-2024; coreutils, busybox) asks for
// exactly what is missing of SIZE; "head -c" of some implementations reads ahead
// and would swallow payload, and reading the script with the shell itself costs
// a system call a byte. The mark behind the script proves that it arrived whole:
// half a script is never run. The same mark on standard output and standard
// error says that the script is about to start, and separates its output from
// what login scripts and sudo print. On standard output the shell's process id
// follows it, for kill.
const bootstrap = `sh -c '` +
	`IFS=" " read -r kinstall_mark kinstall_size kinstall_stdin && ` +
	`echo "$kinstall_mark $$" && echo "$kinstall_mark" >&2 && ` +
	`kinstall_script=$(dd bs="$kinstall_size" count=1 iflag=fullblock 2>/dev/null) && ` +
	`case $kinstall_script in ` +
	`*"#$kinstall_mark") eval "${kinstall_script%"#$kinstall_mark"}" ;; ` +
	`*) echo "kinstall: the script arrived incomplete" >&2; exit 125 ;; ` +
	`esac'`

// The two forms of the remote command line. The C locale makes messages and
// sort orders the same everywhere.
const (
	execLine = "env LC_ALL=C " + bootstrap
	sudoLine = "env LC_ALL=C sudo -n -- " + bootstrap
)

// request is one use of bootstrap.
type request struct {
	line   string // the remote command line, one of the constants
	mark   string
	header []byte // all of standard input before the payload
}

func (c *Client) request(cmd Command) (*request, error) {
	r := &request{line: execLine}
	if cmd.Root && c.target.User != "root" {
		if !c.target.Become {
			return nil, &BecomeError{
				Host: c.Host(), User: c.target.User, Reason: "the inventory does not allow it",
				hint: "set become = true in the inventory's ssh block, or log in as root",
			}
		}
		r.line = sudoLine
	}
	if strings.IndexByte(cmd.Script, 0) >= 0 {
		return nil, fmt.Errorf("%s: %s: the script holds a NUL byte", c.Host(), cmd.label())
	}
	nonce := make([]byte, 12)
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", c.Host(), cmd.label(), err)
	}
	r.mark = "kinstall-" + hex.EncodeToString(nonce)
	script := cmd.Script + "\n#" + r.mark
	r.header = fmt.Appendf(nil, "%s %d %d\n%s", r.mark, len(script), len(cmd.Stdin), script)
	return r, nil
}

func (cmd *Command) label() string {
	if cmd.Label != "" {
		return cmd.Label
	}
	return "command"
}

// Run runs a command and waits for its end. At most eight commands run at a
// time on one connection; others wait.
//
// Errors: *ExitError for a non-zero exit code, in which case the Result is valid
// too; *ConnError if the end of the command was not seen; *BecomeError if it
// never started because of sudo; one that wraps ctx's error if ctx ended first.
// In that case the remote command is killed with all of its process group, as
// far as the connection still carries that, but its end is not waited for.
func (c *Client) Run(ctx context.Context, cmd Command) (Result, error) {
	r, err := c.request(cmd)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := WithTimeout(ctx, c.Host(), cmd.label(), cmd.Timeout)
	defer cancel()
	if err := c.sessions.Acquire(ctx, 1); err != nil {
		return Result{}, contextError(ctx, c.Host(), cmd.label())
	}
	type outcome struct {
		result Result
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		// The slot is free when sshd has let go of the session, which may be
		// later than the end of ctx.
		defer c.sessions.Release(1)
		var result Result
		err := fault.Recover(func() (err error) {
			result, err = c.exec(ctx, cmd, r)
			return err
		})
		ended <- outcome{result, err}
	}()
	select {
	case o := <-ended:
		if o.err != nil && ctx.Err() != nil {
			return Result{}, contextError(ctx, c.Host(), cmd.label())
		}
		return o.result, o.err
	case <-ctx.Done():
		return Result{}, contextError(ctx, c.Host(), cmd.label())
	}
}

func (c *Client) exec(ctx context.Context, cmd Command, r *request) (Result, error) {
	session, err := c.openSession(ctx, cmd.label())
	if err != nil {
		return Result{}, err
	}
	defer session.Close()
	tooMuch := func(err error) { c.fail(&OutputError{Host: c.Host(), Op: cmd.label(), Err: err}) }
	stdout := newOutput(r.mark, cmd.MaxOutput, tooMuch)
	stderr := newErrorOutput(r.mark, tooMuch)
	session.Stdout, session.Stderr = stdout, stderr
	stop := context.AfterFunc(ctx, func() {
		c.faults.Guard(func() {
			if pid, ok := processID(stdout.Bytes(), r.mark); ok {
				c.kill(pid, cmd.Root)
			}
			stdout.discard() // the host may keep the session open
			stderr.discard()
			_ = session.Signal(gossh.SIGKILL)
			session.Close()
		})
	})
	defer stop()
	stdin, err := session.StdinPipe()
	if err != nil {
		return Result{}, fmt.Errorf("%s: %s: %w", c.Host(), cmd.label(), err)
	}
	c.counters.add(execs, 1)
	if err := session.Start(r.line); err != nil {
		return Result{}, c.startError(cmd.label(), err)
	}
	written := make(chan struct{})
	c.faults.Go(func() {
		defer close(written)
		// A command need not read all of its input, so a failed write alone says
		// nothing; a lost connection shows in the missing exit status.
		if _, err := stdin.Write(r.header); err != nil {
			return
		}
		if _, err := stdin.Write(cmd.Stdin); err != nil {
			return
		}
		_ = stdin.Close()
	})
	waitErr := session.Wait()
	session.Close()
	<-written // the caller may change cmd.Stdin now

	code, err := c.exitCode(waitErr, cmd.label())
	if flood := cmp.Or(stdout.exceeded(), stderr.exceeded()); flood != nil {
		return Result{}, &OutputError{Host: c.Host(), Op: cmd.label(), Err: flood}
	}
	if err != nil {
		return Result{}, err
	}
	out, started := afterMark(stdout.Bytes(), r.mark)
	errOut, _ := afterMark(stderr.Bytes(), r.mark)
	if !started {
		return Result{}, c.notStarted(r, cmd.label(), out, stderr.Bytes())
	}
	result := Result{Stdout: out, Stderr: errOut, ExitCode: code}
	if code != 0 {
		return result, &ExitError{Host: c.Host(), Command: cmd.label(), ExitCode: code, Stderr: errOut}
	}
	return result, nil
}

// exitCode tells an exit status from everything else that ends a session.
func (c *Client) exitCode(waitErr error, label string) (int, error) {
	var exit *gossh.ExitError
	var missing *gossh.ExitMissingError
	switch {
	case waitErr == nil:
		return 0, nil
	case errors.As(waitErr, &exit):
		if code := exit.ExitStatus(); code > 0 && code < 256 {
			return code, nil
		}
		return 0, &ConnError{Host: c.Host(), Op: label, Err: fmt.Errorf("the host sent exit status %d, which does not exist", exit.ExitStatus())}
	case !errors.As(waitErr, &missing):
		return 0, &ConnError{Host: c.Host(), Op: label, Err: waitErr, temporary: true}
	case c.ended():
		return 0, c.lost(label)
	}
	return 0, &ConnError{Host: c.Host(), Op: label, Err: errors.New("the session ended without an exit status"), temporary: true}
}

// ended reports whether the connection is gone, given a moment for it to be
// noticed.
func (c *Client) ended() bool {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

func (c *Client) startError(label string, err error) error {
	if c.ended() {
		return c.lost(label)
	}
	return &ConnError{Host: c.Host(), Op: label, Err: fmt.Errorf("sshd did not start the command: %w", err)}
}

const (
	sessionRetryMin = 10 * time.Millisecond
	sessionRetryMax = 250 * time.Millisecond
	sessionTimeout  = 30 * time.Second
)

// openSession opens a session. sshd refuses it while MaxSessions are open, and
// then it is tried again. That happens on hardened hosts, which allow fewer than
// this package's own limit, and now and then on others: sshd frees a session only
// after it has read everything that arrived together with the client's farewell,
// be it a request for the next session.
func (c *Client) openSession(ctx context.Context, label string) (*gossh.Session, error) {
	deadline := time.Now().Add(sessionTimeout)
	for pause := sessionRetryMin; ; pause = min(2*pause, sessionRetryMax) {
		session, err := c.conn.NewSession()
		var refused *gossh.OpenChannelError
		switch {
		case err == nil:
			return session, nil
		case !errors.As(err, &refused):
			return nil, c.lost(label)
		case refused.Reason == gossh.Prohibited:
			return nil, &ConnError{
				Host: c.Host(), Op: label, Err: errors.New("sshd refuses to open a session: " + lastLines([]byte(refused.Message))),
				hint: "the host lets the user log in, but run nothing: look for ForceCommand, restrict and the like in its sshd_config and in the user's authorized_keys",
			}
		case time.Now().After(deadline):
			return nil, &ConnError{
				Host: c.Host(), Op: label, Err: fmt.Errorf("sshd refuses to open a session: %s", lastLines([]byte(refused.Message))), temporary: true,
				hint: "sshd refuses further sessions on the connection: raise MaxSessions in its sshd_config to 10, the default",
			}
		}
		timer := time.NewTimer(pause/2 + mathrand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, contextError(ctx, c.Host(), label)
		case <-c.done:
			timer.Stop()
			return nil, c.lost(label)
		}
	}
}

// afterMark returns what follows the line with the mark, and whether there is
// such a line.
func afterMark(out []byte, mark string) ([]byte, bool) {
	_, line, found := bytes.Cut(out, []byte(mark))
	if found {
		_, after, whole := bytes.Cut(line, []byte("\n"))
		if whole {
			return after, true
		}
	}
	return out, false
}

// processID reads the process id behind the mark.
func processID(out []byte, mark string) (pid int, ok bool) {
	_, line, _ := bytes.Cut(out, []byte(mark+" "))
	digits, _, whole := bytes.Cut(line, []byte("\n"))
	pid, err := strconv.Atoi(string(digits))
	return pid, whole && err == nil && pid > 1
}

// killTimeout bounds the attempt to kill the command of an ended context.
const killTimeout = 5 * time.Second

// kill ends a command by a second one. The protocol's own signals don't do: sshd
// delivers them neither to sessions of root nor past sudo. Only a process that
// runs bootstrap is touched, so that a process id which has passed to another
// process meanwhile does no harm.
func (c *Client) kill(pid int, root bool) {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	r, err := c.request(Command{Root: root, Script: fmt.Sprintf(`
grep -qs kinstall_script /proc/%[1]d/cmdline || exit 0
read -r stat </proc/%[1]d/stat && set -- $stat && kill -KILL "-$5"
`, pid)})
	if err != nil {
		return
	}
	session, err := c.openSession(ctx, "kill")
	if err != nil {
		return
	}
	defer session.Close()
	defer context.AfterFunc(ctx, func() { session.Close() })()
	session.Stdin = bytes.NewReader(r.header)
	c.counters.add(execs, 1)
	_ = session.Run(r.line)
}

// notStarted explains why the mark never came.
func (c *Client) notStarted(r *request, label string, stdout, stderr []byte) error {
	if r.line == sudoLine {
		e := &BecomeError{Host: c.Host(), User: c.target.User, Stderr: slices.Clone(stderr)}
		e.Reason, e.hint = sudoFailure(string(stderr), c.target.User)
		return e
	}
	said := lastLines(append(slices.Clone(stdout), stderr...))
	if said == "" {
		said = "no output"
	}
	return &ConnError{
		Host: c.Host(), Op: label,
		Err:  fmt.Errorf("the login shell of %s did not run sh: %s", c.target.User, said),
		hint: "the login user needs a shell that runs commands, and env, sh and dd in its PATH",
	}
}

// sudoFailure tells the common failures of sudo apart, by its messages in the C
// locale.
func sudoFailure(stderr, user string) (reason, hint string) {
	grant := fmt.Sprintf("allow it on the host with \"%s ALL=(ALL:ALL) NOPASSWD: ALL\" in a file under /etc/sudoers.d, or log in as root", user)
	has := func(s string) bool { return strings.Contains(stderr, s) }
	switch {
	case has("password is required") || has("terminal is required") || has("askpass"):
		return "sudo wants a password", grant
	case has("not in the sudoers") || has("not allowed to") || has("may not run sudo"):
		return "sudo does not allow it", grant
	case has("you must have a tty"):
		return "sudo wants a terminal", "remove requiretty from the host's sudoers file"
	case has("not found") || has("No such file"):
		return "sudo is not installed", "install sudo on the host, or log in as root"
	}
	return "sudo failed", grant
}

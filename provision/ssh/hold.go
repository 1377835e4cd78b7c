package ssh

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/provision/shell"
)

// patience is how many heartbeats the host waits for before it takes the holder
// of a lock for dead.
const patience = 4

// releaseTimeout bounds the wait for the end of a lock's remote process.
const releaseTimeout = 5 * time.Second

// A Lock is an flock(2) on a file of the host, held by a process at the other
// end of a session.
type Lock struct {
	session *gossh.Session
	stdin   io.WriteCloser
	lost    chan struct{}
	stop    chan struct{}
	once    sync.Once
}

// Lost is closed when the lock is no longer held, be it through Release or
// because the connection or the remote process ended. Whoever relies on the lock
// stops then.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Release frees the lock, empties its file and waits until the host has done so,
// for 5 s at most.
func (l *Lock) Release() {
	l.once.Do(func() {
		close(l.stop)
		go func() { // a network that swallows everything may block it
			_, _ = io.WriteString(l.stdin, farewell+"\n")
			_ = l.stdin.Close()
		}()
		timer := time.NewTimer(releaseTimeout)
		defer timer.Stop()
		select {
		case <-l.lost:
		case <-timer.C:
		}
		l.session.Close()
	})
}

// A Claim is what the holder of a lock writes into the lock's file.
type Claim struct {
	// Holder is for others to see: who, where, which process, since when. One
	// line.
	Holder string
	// Token is the fencing token: random, one for each time that a set of locks
	// is taken, and no secret. Scripts name it to prove that the lock is still
	// theirs, see Fence.
	Token string
}

// NewToken returns a fencing token that nobody else has.
func NewToken() string { return rand.Text() }

// Hold takes the lock on the file path of the host, without waiting for it. The
// file is created if need be and never removed; the claim is written into it. As
// root where the target allows it, else as the login user.
//
// The lock is held until Release or until the connection ends. When the network
// swallows the end of the connection, the host notices within four keepalive
// intervals by the missing heartbeat. If somebody else holds the lock, or a
// script that a previous holder began behind Fence still runs, the error is a
// *LockedError.
func (c *Client) Hold(ctx context.Context, path string, claim Claim) (*Lock, error) {
	return c.take(ctx, path, claim, "")
}

// Retake takes back a lock that was lost with its connection. That the file
// still holds the claim's token proves that nobody held the lock meanwhile: a
// holder overwrites it, and Release empties it. Otherwise the error is a
// *TokenError. A holder at the end of the lost connection, which the host may
// believe to be alive, is ended; the error is a *LockedError if that does not
// free the lock within 2 s.
func (c *Client) Retake(ctx context.Context, path string, claim Claim) (*Lock, error) {
	return c.take(ctx, path, claim, "yes")
}

func (c *Client) take(ctx context.Context, path string, claim Claim, again string) (*Lock, error) {
	label := "lock " + path
	cmd := Command{Label: label, Root: c.target.Become, Script: c.lockScript(path, claim, again)}
	r, err := c.request(cmd)
	if err != nil {
		return nil, err
	}
	if err := c.sessions.Acquire(ctx, 1); err != nil {
		return nil, contextError(ctx, c.Host(), label)
	}
	type outcome struct {
		lock *Lock
		err  error
	}
	ended := make(chan outcome, 1)
	go func() {
		var lock *Lock
		err := fault.Recover(func() (err error) {
			lock, err = c.hold(ctx, path, cmd, r)
			return err
		})
		if err != nil {
			c.sessions.Release(1)
		}
		ended <- outcome{lock, err}
	}()
	select {
	case o := <-ended:
		if o.err != nil && ctx.Err() != nil {
			return nil, contextError(ctx, c.Host(), label)
		}
		return o.lock, o.err
	case <-ctx.Done():
		c.faults.Go(func() { // it may have been taken at the last moment
			if o := <-ended; o.lock != nil {
				o.lock.Release()
			}
		})
		return nil, contextError(ctx, c.Host(), label)
	}
}

// The protocol of a lock has two files.
//
// PATH is locked with flock(2), exclusively, by the process that holds the lock.
// Its lines are the claim's holder and token.
//
// PATH.writers is locked, shared, by each script behind Fence for as long as it
// runs. Who takes the lock anew locks this file exclusively before it writes its
// token: so nobody comes between a script's look at the token and the script's
// end, and no script of a previous holder runs on beside those of the next. It
// contains the process id of the lock's holder.

// farewell is the line that says that a lock is given back. Heartbeats are empty
// lines.
const farewell = "release"

// writersTimeout bounds the wait for scripts of a previous holder, and for the
// end of one at a lost connection.
const writersTimeout = 2 * time.Second

// lockScript takes the lock, says so and holds it while heartbeats arrive. File
// descriptor 9 carries the lock; only the shell itself has it, so that the lock
// is free when the shell is gone. What stands in the file stays there unless
// the lock is given back with the farewell, for Retake to find.
func (c *Client) lockScript(path string, claim Claim, again string) string {
	return fmt.Sprintf(`umask 022
lock=%[1]s again=%[4]s
mine() {
	{ IFS= read -r holder; IFS= read -r token; } <"$lock"
	[ "${token-}" = %[3]s ]
}
say() { echo "$1"; head -c 4096 "$lock" | head -n 1; exit 0; }
exec 9>>"$lock" || exit 73
flock -n -E 75 9
case $? in
0) ;;
75)
	[ -n "$again" ] || say taken
	mine || say lost
	pid=
	[ ! -e "$lock.writers" ] || read -r pid <"$lock.writers"
	# Some shells keep a descriptor at another number while a command runs without it.
	for fd in "/proc/${pid:-none}/fd"/*; do
		if [ "$fd" -ef "$lock" ]; then kill "$pid"; fi
	done
	flock -w %[6]d -E 75 9 || say taken
	;;
*) exit 70 ;;
esac
exec 8>>"$lock.writers" || exit 73
if [ -n "$again" ]; then
	mine || say lost
else
	flock -w %[6]d -E 75 8
	case $? in
	0) ;;
	75) say busy ;;
	*) exit 70 ;;
	esac
	printf '%%s\n%%s\n' %[2]s %[3]s >"$lock"
fi
echo $$ >"$lock.writers"
exec 8>&-
echo held
while :; do
	timeout %.3[5]f sh -c 'IFS= read -r line || exit 1; [ -z "$line" ] || exit 3' 9>&-
	case $? in
	0) ;;
	3) : >"$lock"; exit 0 ;;
	*) exit 0 ;;
	esac
done
`, shell.Quote(path), shell.Quote(printable(claim.Holder)), shell.Quote(claim.Token), shell.Quote(again),
		(patience * c.keepAlive).Seconds(), int(writersTimeout.Seconds()))
}

// exitFenced is the exit code of a script that Fence kept from running.
const exitFenced = 96

// fenced opens what such a script says on standard error; the holder of the lock
// follows.
const fenced = "kinstall: fenced: "

// Fence returns a script that runs another one under the lock on the file path:
// only if the token in force is the given one, and so that nobody else takes
// the lock before the script and all that it started in the foreground have
// ended. An error of which Fenced reports true says that nothing was run.
//
// That a process holds the lock at that moment is not asked for: where nobody has
// taken it since, a lost connection alone does no harm.
func Fence(path, token, script string) string {
	// The lock is the outer shell's alone: a daemon that the script leaves behind
	// must not keep it. The outer shell outlives signals until the script ends.
	return fmt.Sprintf(`kinstall_lock=%[1]s kinstall_holder= kinstall_token=
if [ -r "$kinstall_lock.writers" ]; then
	exec 8<"$kinstall_lock.writers"
	flock -s 8 || exit
	{ IFS= read -r kinstall_holder; IFS= read -r kinstall_token; } <"$kinstall_lock"
fi 2>/dev/null
if [ "$kinstall_token" != %[2]s ]; then
	printf '%[3]s%%s\n' "$kinstall_holder" >&2
	exit %[4]d
fi
trap : HUP INT TERM
(
trap - HUP INT TERM
%[5]s
) 8>&-
`, shell.Quote(path), shell.Quote(token), fenced, exitFenced, script)
}

// Fenced reports whether err says that a script behind Fence was not run, and
// who holds the lock instead: "" for nobody, as after a start of the host.
func Fenced(err error) (holder string, is bool) {
	var exit *ExitError
	if !errors.As(err, &exit) || exit.ExitCode != exitFenced {
		return "", false
	}
	holder, is = strings.CutPrefix(string(exit.Stderr), fenced)
	return strings.TrimSpace(printable(holder)), is
}

func (c *Client) hold(ctx context.Context, path string, cmd Command, r *request) (*Lock, error) {
	session, err := c.openSession(ctx, cmd.label())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { session.Close() })
	defer stop()
	tooMuch := func(err error) { c.fail(&OutputError{Host: c.Host(), Op: cmd.label(), Err: err}) }
	stderr := newErrorOutput(r.mark, tooMuch)
	session.Stderr = stderr
	fail := func(err error) (*Lock, error) {
		session.Close()
		return nil, err
	}
	stdin, err := session.StdinPipe()
	if err != nil {
		return fail(err)
	}
	stdout, err := session.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	c.counters.add(execs, 1)
	if err := session.Start(r.line); err != nil {
		return fail(c.startError(cmd.label(), err))
	}
	// A failed write shows as the end of standard output.
	_, _ = stdin.Write(r.header)

	// What comes before an answer is bounded; what follows it is not kept.
	limited := &io.LimitedReader{R: stdout, N: maxLogin}
	lines := bufio.NewReader(limited)
	var before bytes.Buffer // the mark, and what login scripts printed
	for started := false; ; {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil && limited.N <= 0:
			e := &OutputError{Host: c.Host(), Op: cmd.label(), Err: fmt.Errorf("the host sent more than %d bytes and no answer", maxLogin)}
			c.fail(e)
			return fail(e)
		case err != nil:
			return fail(c.holdError(session, cmd, r, before.Bytes(), stderr))
		case !started:
			before.WriteString(line)
			_, started = afterMark([]byte(line), r.mark)
			continue
		case line == "taken\n", line == "busy\n", line == "lost\n":
			text, _ := io.ReadAll(io.LimitReader(lines, 4096))
			_ = stdin.Close()
			holder := strings.TrimSpace(printable(string(text)))
			if line == "lost\n" {
				return fail(&TokenError{Host: c.Host(), Path: path, Holder: holder})
			}
			return fail(&LockedError{Host: c.Host(), Path: path, Holder: holder, Step: line == "busy\n"})
		case line == "held\n":
			lock := &Lock{session: session, stdin: stdin, lost: make(chan struct{}), stop: make(chan struct{})}
			c.faults.Go(func() {
				_, _ = io.Copy(io.Discard, stdout)
				_ = session.Wait()
				c.sessions.Release(1)
				close(lock.lost)
			})
			c.faults.Go(func() { lock.heartbeat(c.keepAlive) })
			return lock, nil
		}
		return fail(fmt.Errorf("%s: %s: unexpected answer: %s", c.Host(), cmd.label(), lastLines([]byte(line))))
	}
}

// heartbeat writes a line now and then; see lockScript.
func (l *Lock) heartbeat(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if _, err := l.stdin.Write([]byte("\n")); err != nil {
				return
			}
		case <-l.stop:
			return
		case <-l.lost:
			return
		}
	}
}

// holdError explains why a lock's session ended before the lock was held.
func (c *Client) holdError(session *gossh.Session, cmd Command, r *request, stdout []byte, stderr *output) error {
	code, err := c.exitCode(session.Wait(), cmd.label())
	if err != nil {
		return err
	}
	errOut, _ := afterMark(stderr.Bytes(), r.mark)
	if _, started := afterMark(stdout, r.mark); !started {
		return c.notStarted(r, cmd.label(), stdout, stderr.Bytes())
	}
	if code == 0 {
		return fmt.Errorf("%s: %s: the remote process ended without an answer", c.Host(), cmd.label())
	}
	return &ExitError{Host: c.Host(), Command: cmd.label(), ExitCode: code, Stderr: errOut}
}

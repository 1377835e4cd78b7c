package ssh

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"

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

// Release frees the lock and waits until the host has done so, for 5 s at most.
func (l *Lock) Release() {
	l.once.Do(func() {
		close(l.stop)
		_ = l.stdin.Close()
		timer := time.NewTimer(releaseTimeout)
		defer timer.Stop()
		select {
		case <-l.lost:
		case <-timer.C:
		}
		l.session.Close()
	})
}

// Hold takes the lock on the file path of the host, without waiting for it. The
// file is created if need be and never removed; holder is written into it for
// others to see: who, where, which process, since when. As root where the target
// allows it, else as the login user.
//
// The lock is held until Release or until the connection ends. When the network
// swallows the end of the connection, the host notices within four keepalive
// intervals by the missing heartbeat. If somebody else holds the lock, the error
// is a *LockedError.
func (c *Client) Hold(ctx context.Context, path, holder string) (*Lock, error) {
	label := "lock " + path
	cmd := Command{Label: label, Root: c.target.Become, Script: c.lockScript(path, holder)}
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
		lock, err := c.hold(ctx, path, cmd, r)
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
		go func() { // it may have been taken at the last moment
			if o := <-ended; o.lock != nil {
				o.lock.Release()
			}
		}()
		return nil, contextError(ctx, c.Host(), label)
	}
}

// lockScript takes the lock, says so and holds it while heartbeats arrive. File
// descriptor 9 carries the lock; only the shell itself has it, so that the lock
// is free when the shell is gone.
func (c *Client) lockScript(path, holder string) string {
	return fmt.Sprintf(`umask 022
exec 9>>%[1]s || exit 73
flock -n -E 75 9
case $? in
0) ;;
75) echo taken; head -c 4096 %[1]s; exit 0 ;;
*) exit 70 ;;
esac
printf '%%s\n' %[2]s >%[1]s
echo held
while timeout %.3[3]f sh -c 'read -r heartbeat' 9>&-; do :; done
: >%[1]s
`, shell.Quote(path), shell.Quote(printable(holder)), (patience * c.keepAlive).Seconds())
}

func (c *Client) hold(ctx context.Context, path string, cmd Command, r *request) (*Lock, error) {
	session, err := c.openSession(ctx, cmd.label())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { session.Close() })
	defer stop()
	var stderr bytes.Buffer
	session.Stderr = &stderr
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

	lines := bufio.NewReader(stdout)
	var before bytes.Buffer // the mark, and what login scripts printed
	for started := false; ; {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil:
			return fail(c.holdError(session, cmd, r, before.Bytes(), &stderr))
		case !started:
			before.WriteString(line)
			_, started = afterMark([]byte(line), r.mark)
			continue
		case line == "taken\n":
			text, _ := io.ReadAll(io.LimitReader(lines, 4096))
			_ = stdin.Close()
			return fail(&LockedError{Host: c.Host(), Path: path, Holder: strings.TrimSpace(printable(string(text)))})
		case line == "held\n":
			lock := &Lock{session: session, stdin: stdin, lost: make(chan struct{}), stop: make(chan struct{})}
			go func() {
				_, _ = io.Copy(io.Discard, lines)
				_ = session.Wait()
				c.sessions.Release(1)
				close(lock.lost)
			}()
			go lock.heartbeat(c.keepAlive)
			return lock, nil
		}
		return fail(fmt.Errorf("%s: %s: unexpected answer %q", c.Host(), cmd.label(), line))
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
func (c *Client) holdError(session *gossh.Session, cmd Command, r *request, stdout []byte, stderr *bytes.Buffer) error {
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

package ssh

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
)

const (
	// defaultMaxOutput is how much standard output of a command is taken, in bytes.
	defaultMaxOutput = 1 << 20
	// maxLogin is how much may come before the mark: what login scripts and sudo
	// print.
	maxLogin = 64 << 10
	// keptErrors is how much of a standard error is kept, from its beginning and
	// from its end in equal parts, and maxErrors how much may arrive.
	keptErrors = 64 << 10
	maxErrors  = 64 << 20
)

// An OutputError says that a host sent more than there is any use for, and was
// disconnected for it. What the command did is unknown.
type OutputError struct {
	Host, Op string
	Err      error // which limit was passed
}

func (e *OutputError) Error() string {
	return fmt.Sprintf("%s: %s: %v, so that it was disconnected", e.Host, e.Op, e.Err)
}

func (e *OutputError) Unwrap() error { return e.Err }

// Hint implements the interface behind the function Hint.
func (e *OutputError) Hint() string {
	return "log in with ssh and look at what the host prints: login scripts, sudo, or a program in place of the one that was meant"
}

// An output collects a stream of a command. Memory is bounded: see the limits
// above. It can be read while it is written.
type output struct {
	mark    string
	name    string
	max     int // bytes after the mark
	excess  func(error)
	tailing bool // beyond keptErrors, drop from the middle

	mu     sync.Mutex
	kept   []byte // all of it, or its beginning
	tail   []byte // the latest bytes, oldest first as a ring from next
	next   int
	total  int
	marked bool
	over   bool
	err    error // the limit that was passed
}

// newOutput keeps everything up to a limit, and calls excess at most once, when
// there is more.
func newOutput(mark string, limit int, excess func(error)) *output {
	if limit <= 0 {
		limit = defaultMaxOutput
	}
	return &output{mark: mark, name: "standard output", max: limit, excess: excess}
}

// newErrorOutput keeps the beginning and the end.
func newErrorOutput(mark string, excess func(error)) *output {
	return &output{mark: mark, name: "standard error", max: maxErrors, excess: excess, tailing: true}
}

// Write never fails: that would leave what arrives in the connection's buffers.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return len(p), nil
	}
	o.total += len(p)
	o.keep(p)
	if !o.marked {
		o.marked = bytes.Contains(o.kept[:min(len(o.kept), maxLogin)], []byte(o.mark))
	}
	switch {
	case o.total > o.max+maxLogin:
		o.stop(fmt.Errorf("the host sent more than %d bytes of %s", o.max, o.name))
	case !o.marked && !o.tailing && o.total > maxLogin:
		o.stop(fmt.Errorf("the host sent more than %d bytes before the script began", maxLogin))
	}
	return len(p), nil
}

func (o *output) keep(p []byte) {
	if !o.tailing {
		if room := o.max + maxLogin - len(o.kept); len(p) > room {
			p = p[:room]
		}
		o.kept = append(o.kept, p...)
		return
	}
	const half = keptErrors / 2
	room := min(half-len(o.kept), len(p))
	o.kept = append(o.kept, p[:room]...)
	p = p[room:]
	for len(p) > 0 {
		if len(o.tail) < half {
			n := min(half-len(o.tail), len(p))
			o.tail = append(o.tail, p[:n]...)
			p = p[n:]
			continue
		}
		n := copy(o.tail[o.next:], p)
		o.next = (o.next + n) % half
		p = p[n:]
	}
}

// stop forgets what came: there is no use for it.
func (o *output) stop(err error) {
	o.over, o.kept, o.tail, o.err = true, nil, nil, err
	go o.excess(err)
}

// exceeded returns which limit was passed, nil if none was.
func (o *output) exceeded() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// discard forgets what came, and whatever else will come.
func (o *output) discard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over, o.kept, o.tail = true, nil, nil
}

// Bytes returns what was kept so far. Later writes don't change it.
func (o *output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.tail) == 0 {
		return o.kept[:len(o.kept):len(o.kept)]
	}
	var note []byte
	if cut := o.total - len(o.kept) - len(o.tail); cut > 0 {
		note = fmt.Appendf(nil, "\n[%d bytes are left out here]\n", cut)
	}
	return slices.Concat(o.kept, note, o.tail[o.next:], o.tail[:o.next])
}

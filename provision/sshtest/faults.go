package sshtest

import (
	"io"
	"net"
	"sync"
	"time"
)

// faults are what a Server does wrong. All of it can change at any time.
type faults struct {
	refuse       int  // dials still to refuse
	silent       bool // accept connections, never answer
	dropAfter    int  // bytes of output until the connection drops; -1 is never
	dropArmed    bool
	noExitStatus bool
	frozen       chan struct{} // closed when the network is whole again; nil if it is
}

func (f *faults) release() {
	if f.frozen != nil {
		close(f.frozen)
		f.frozen = nil
	}
}

// RefuseDials closes the next n connections right after accepting them, as sshd
// does when MaxStartups is reached.
func (s *Server) RefuseDials(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.refuse = n
}

// Silent makes the server accept connections without ever saying a word.
func (s *Server) Silent(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.silent = on
}

// DropAfterOutput makes the next command's connection drop once the command has
// written n bytes to standard output.
func (s *Server) DropAfterOutput(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.dropAfter, s.faults.dropArmed = n, true
}

// NoExitStatus makes commands end without an exit status, over a connection that
// stays.
func (s *Server) NoExitStatus(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.noExitStatus = on
}

// Freeze makes the network swallow everything, in both directions, without
// closing anything, like a cut cable. Thaw lets it all through again.
func (s *Server) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.frozen == nil {
		s.faults.frozen = make(chan struct{})
	}
}

// Thaw ends Freeze.
func (s *Server) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.release()
}

// DropConnections closes all connections at once.
func (s *Server) DropConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Conn.Close()
	}
}

// thawed blocks while the network is frozen.
func (s *Server) thawed() {
	s.mu.Lock()
	frozen := s.faults.frozen
	s.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// dropWriter passes output on until it has seen n bytes, then drops the
// connection.
type dropWriter struct {
	io.Writer
	left int
	drop func()
}

func (w *dropWriter) Write(b []byte) (int, error) {
	if len(b) < w.left {
		w.left -= len(b)
		return w.Writer.Write(b)
	}
	n, _ := w.Writer.Write(b[:w.left])
	w.left = 0
	w.drop()
	return n, net.ErrClosed
}

// conn is the server's end of a transport, with the network's faults in it.
// Bytes wait in a queue in each direction until their time has come.
type conn struct {
	net.Conn
	s        *Server
	in, out  queue
	leftover []byte
}

// A queue hands on chunks of bytes in order, each when it is due.
type queue struct {
	chunks chan chunk
	done   chan struct{} // the reader is gone
	once   sync.Once
}

type chunk struct {
	data []byte
	due  time.Time
	err  error
}

func newQueue() queue { return queue{chunks: make(chan chunk, 512), done: make(chan struct{})} }

func (q *queue) put(c chunk) bool {
	select {
	case q.chunks <- c:
		return true
	case <-q.done:
		return false
	}
}

func (q *queue) stop() { q.once.Do(func() { close(q.done) }) }

func newConn(raw net.Conn, s *Server) *conn {
	c := &conn{Conn: raw, s: s, in: newQueue(), out: newQueue()}
	s.wg.Add(2)
	go func() {
		defer s.wg.Done()
		for {
			buf := make([]byte, 32<<10)
			n, err := raw.Read(buf)
			if !c.in.put(chunk{buf[:n], time.Now().Add(s.opts.Latency), err}) || err != nil {
				return
			}
		}
	}()
	go func() {
		defer s.wg.Done()
		for {
			select {
			case k := <-c.out.chunks:
				time.Sleep(time.Until(k.due))
				s.thawed()
				if _, err := raw.Write(k.data); err != nil {
					c.out.stop()
					return
				}
			case <-c.out.done:
				// What was written before Close still goes out.
				for {
					select {
					case k := <-c.out.chunks:
						s.thawed()
						if _, err := raw.Write(k.data); err == nil {
							continue
						}
					default:
					}
					raw.Close()
					return
				}
			}
		}
	}()
	return c
}

func (c *conn) Read(b []byte) (int, error) {
	for len(c.leftover) == 0 {
		select {
		case k := <-c.in.chunks:
			time.Sleep(time.Until(k.due))
			c.s.thawed()
			if len(k.data) == 0 && k.err != nil {
				return 0, k.err
			}
			c.leftover = k.data
			if k.err != nil {
				c.in.put(chunk{err: k.err})
			}
		case <-c.in.done:
			return 0, net.ErrClosed
		}
	}
	n := copy(b, c.leftover)
	c.leftover = c.leftover[n:]
	return n, nil
}

func (c *conn) Write(b []byte) (int, error) {
	if !c.out.put(chunk{data: append([]byte(nil), b...), due: time.Now().Add(c.s.opts.Latency)}) {
		return 0, net.ErrClosed
	}
	return len(b), nil
}

// Close ends the connection after what was written. The raw connection is closed
// by the goroutine that writes.
func (c *conn) Close() error {
	c.in.stop()
	c.out.stop()
	return nil
}

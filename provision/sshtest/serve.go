package sshtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"syscall"

	"github.com/pkg/sftp"
	gossh "golang.org/x/crypto/ssh"
)

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		raw, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.counts.Dials++
		refuse := s.closed || s.faults.refuse > 0 || s.opts.MaxStartups > 0 && s.unauth >= s.opts.MaxStartups
		if s.faults.refuse > 0 {
			s.faults.refuse--
		}
		if refuse {
			s.mu.Unlock()
			raw.Close()
			continue
		}
		s.unauth++
		s.counts.PeakUnauthenticated = max(s.counts.PeakUnauthenticated, s.unauth)
		c := newConn(raw, s)
		s.conns[c] = true
		silent := s.faults.silent
		s.wg.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.wg.Done()
			if silent {
				_, _ = io.Copy(io.Discard, c)
				s.authenticated()
			} else {
				s.serve(c)
			}
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
	}
}

func (s *Server) authenticated() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unauth--
}

func (s *Server) serve(c *conn) {
	server, channels, requests, err := gossh.NewServerConn(c, s.config)
	s.authenticated()
	if err != nil {
		return
	}
	s.count(func(n *Counts) { n.Connections++ })
	var wg sync.WaitGroup
	defer wg.Wait()
	defer server.Close()
	go gossh.DiscardRequests(requests)
	open := 0 // session channels of this connection, guarded by s.mu
	for channel := range channels {
		switch channel.ChannelType() {
		case "session":
			if s.opts.RefuseSessions {
				_ = channel.Reject(gossh.Prohibited, "no sessions here\x1b[2J")
				continue
			}
			s.mu.Lock()
			full := open >= s.opts.MaxSessions
			if !full {
				open++
				s.sessions++
				s.counts.Sessions++
				s.counts.PeakSessions = max(s.counts.PeakSessions, s.sessions)
			}
			s.mu.Unlock()
			if full {
				_ = channel.Reject(gossh.ConnectionFailed, "open failed")
				continue
			}
			wg.Go(func() {
				s.session(c, channel, func() {
					s.mu.Lock()
					defer s.mu.Unlock()
					open--
					s.sessions--
				})
			})
		case "direct-tcpip":
			wg.Go(func() { s.forward(channel) })
		default:
			_ = channel.Reject(gossh.UnknownChannelType, "unknown channel type")
		}
	}
}

func (s *Server) count(f func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counts)
}

// session serves one session channel. ended is called when it no longer counts.
func (s *Server) session(c *conn, nc gossh.NewChannel, ended func()) {
	channel, requests, err := nc.Accept()
	if err != nil {
		ended()
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	// The slot is free before the client can know that the session has ended.
	var once sync.Once
	closeChannel := func() {
		once.Do(func() {
			ended()
			channel.Close()
		})
	}
	defer closeChannel()
	done := make(chan struct{})
	defer close(done)
	kill := func(syscall.Signal) {}
	for r := range requests {
		switch r.Type {
		case "exec":
			var p struct{ Command string }
			if gossh.Unmarshal(r.Payload, &p) != nil {
				_ = r.Reply(false, nil)
				continue
			}
			s.count(func(n *Counts) { n.Execs++ })
			s.mu.Lock()
			s.commands = append(s.commands, p.Command)
			s.mu.Unlock()
			_ = r.Reply(true, nil)
			if s.opts.Misbehave != nil {
				wg.Go(func() {
					defer closeChannel()
					mark, script, err := readSession(channel)
					if err != nil {
						return
					}
					code := s.opts.Misbehave(&Session{
						Mark: mark, Script: script, Stdout: channel, Stderr: channel.Stderr(),
						Done: done, Drop: func() { c.Conn.Close() },
					})
					if code != NoStatus {
						_, _ = channel.SendRequest("exit-status", false, gossh.Marshal(struct{ Status uint32 }{uint32(code)}))
					}
				})
				continue
			}
			run, killer := s.command(c, channel, p.Command)
			kill = killer
			wg.Go(func() {
				run()
				closeChannel()
			})
		case "subsystem":
			var p struct{ Name string }
			ok := gossh.Unmarshal(r.Payload, &p) == nil && p.Name == "sftp" && !s.opts.NoSFTP
			_ = r.Reply(ok, nil)
			if ok {
				s.count(func(n *Counts) { n.SFTP++ })
				wg.Go(func() {
					defer closeChannel()
					server, err := sftp.NewServer(channel, sftp.WithServerWorkingDirectory(s.Dir))
					if err == nil {
						_ = server.Serve()
						server.Close()
					}
				})
			}
		case "signal":
			var p struct{ Signal string }
			if gossh.Unmarshal(r.Payload, &p) == nil && p.Signal == string(gossh.SIGKILL) {
				kill(syscall.SIGKILL)
			}
		default:
			_ = r.Reply(false, nil)
		}
	}
}

// command prepares a command: run runs it and reports its end to the client,
// kill sends it a signal.
func (s *Server) command(c *conn, channel gossh.Channel, line string) (run func(), kill func(syscall.Signal)) {
	var stdout io.Writer = channel
	s.mu.Lock()
	if s.faults.dropArmed {
		stdout = &dropWriter{channel, s.faults.dropAfter, func() { c.Conn.Close() }}
		s.faults.dropArmed = false
	}
	s.mu.Unlock()

	report := func(name string, payload any) {
		s.mu.Lock()
		silent := s.faults.noExitStatus
		s.mu.Unlock()
		if !silent {
			_, _ = channel.SendRequest(name, false, gossh.Marshal(payload))
		}
	}
	exitStatus := func(code int) { report("exit-status", struct{ Status uint32 }{uint32(code)}) }

	if s.opts.Handler != nil {
		return func() {
			exitStatus(s.opts.Handler(line, channel, stdout, channel.Stderr()))
		}, func(syscall.Signal) {}
	}

	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir, cmd.Env = s.opts.Dir, s.opts.Env
	cmd.Stdout, cmd.Stderr = stdout, channel.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = s.start(cmd)
	}
	if err != nil {
		return func() {
			fmt.Fprintf(channel.Stderr(), "sshtest: %v\n", err)
			exitStatus(127)
		}, func(syscall.Signal) {}
	}
	pid := cmd.Process.Pid
	go func() {
		_, _ = io.Copy(stdin, channel)
		stdin.Close()
	}()
	return func() {
			err := cmd.Wait()
			s.mu.Lock()
			delete(s.processes, pid)
			s.mu.Unlock()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				exitStatus(0)
				return
			}
			if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
				report("exit-signal", struct {
					Signal        string
					CoreDumped    bool
					Message, Lang string
				}{Signal: signalName(ws.Signal())})
				return
			}
			exitStatus(exit.ExitCode())
		}, func(sig syscall.Signal) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.processes[pid] {
				_ = syscall.Kill(-pid, sig)
			}
		}
}

// start starts a process that Close will end.
func (s *Server) start(cmd *exec.Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.processes[cmd.Process.Pid] = true
	return nil
}

// killProcesses ends the process groups that still run: only ones that start
// put into the table, and that have not been waited for.
func (s *Server) killProcesses() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid := range s.processes {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// signalName is the name of a signal in RFC 4254, section 6.10.
func signalName(sig syscall.Signal) string {
	switch sig {
	case syscall.SIGKILL:
		return "KILL"
	case syscall.SIGTERM:
		return "TERM"
	case syscall.SIGINT:
		return "INT"
	case syscall.SIGHUP:
		return "HUP"
	case syscall.SIGPIPE:
		return "PIPE"
	}
	return strconv.Itoa(int(sig))
}

// forward serves one forwarded TCP connection.
func (s *Server) forward(nc gossh.NewChannel) {
	if s.opts.NoForwarding {
		_ = nc.Reject(gossh.Prohibited, "administratively prohibited")
		return
	}
	// RFC 4254, section 7.2
	var p struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := gossh.Unmarshal(nc.ExtraData(), &p); err != nil {
		_ = nc.Reject(gossh.ConnectionFailed, "malformed request")
		return
	}
	target, err := net.Dial("tcp", net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))))
	if err != nil {
		_ = nc.Reject(gossh.ConnectionFailed, "Connection refused")
		return
	}
	defer target.Close()
	channel, requests, err := nc.Accept()
	if err != nil {
		return
	}
	s.count(func(n *Counts) { n.Tunnels++ })
	go gossh.DiscardRequests(requests)
	go func() {
		_, _ = io.Copy(target, channel)
		// Nothing half-closes through this package; the end of one direction is
		// the end of both.
		target.Close()
	}()
	_, _ = io.Copy(channel, target)
	channel.Close()
}

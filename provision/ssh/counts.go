package ssh

import (
	"net"
	"sync/atomic"
)

// Counts says what a connection, or all connections of a Dialer, cost so far.
type Counts struct {
	Connections   int64 // authenticated connections, bastions included
	Execs         int64 // commands, locks included
	SFTP          int64 // SFTP sessions started
	Tunnels       int64 // TCP connections opened through hosts, bastions included
	BytesSent     int64 // on the wire, encrypted
	BytesReceived int64 // on the wire, encrypted
}

// counters are the live form of Counts. What is added to a client's counters is
// also added to its dialer's.
type counters struct {
	parent                                        *counters
	connections, execs, sftp, tunnels, sent, recv atomic.Int64
}

type counter func(*counters) *atomic.Int64

func (c *counters) add(which counter, n int) {
	for ; c != nil; c = c.parent {
		which(c).Add(int64(n))
	}
}

func connections(c *counters) *atomic.Int64   { return &c.connections }
func execs(c *counters) *atomic.Int64         { return &c.execs }
func sftpSessions(c *counters) *atomic.Int64  { return &c.sftp }
func tunnels(c *counters) *atomic.Int64       { return &c.tunnels }
func bytesSent(c *counters) *atomic.Int64     { return &c.sent }
func bytesReceived(c *counters) *atomic.Int64 { return &c.recv }

func (c *counters) counts() Counts {
	return Counts{
		Connections:   c.connections.Load(),
		Execs:         c.execs.Load(),
		SFTP:          c.sftp.Load(),
		Tunnels:       c.tunnels.Load(),
		BytesSent:     c.sent.Load(),
		BytesReceived: c.recv.Load(),
	}
}

// meteredConn counts the bytes of a transport. The keepalive reads the count of
// received bytes as a sign of life.
type meteredConn struct {
	net.Conn
	*counters
}

func (m *meteredConn) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.add(bytesReceived, n)
	return n, err
}

func (m *meteredConn) Write(b []byte) (int, error) {
	n, err := m.Conn.Write(b)
	m.add(bytesSent, n)
	return n, err
}

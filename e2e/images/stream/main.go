// Stream measures the way to another host: how much a TCP connection carries,
// and how long a byte takes there and back.
//
//	stream serve ADDRESS:PORT    answers
//	stream ADDRESS:PORT TIME     measures each for TIME ("2s") and prints
//	                             MB/s, median and 99th percentile in microseconds
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"
)

// What the first byte of a connection asks for: counting what comes, or
// sending each byte back.
const (
	count = 'c'
	echo  = 'e'
)

func main() {
	err := errors.New("usage: stream serve ADDRESS:PORT | stream ADDRESS:PORT TIME")
	if len(os.Args) == 3 {
		if os.Args[1] == "serve" {
			err = serve(os.Args[2])
		} else {
			err = measure(os.Args[1], os.Args[2])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stream:", err)
		os.Exit(1)
	}
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address) //nolint:noctx // it ends with the process
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go answer(conn)
	}
}

func answer(conn net.Conn) {
	defer conn.Close()
	what := make([]byte, 1)
	if _, err := io.ReadFull(conn, what); err != nil {
		return
	}
	switch what[0] {
	case count:
		buffer := make([]byte, 1<<20)
		var n uint64
		for {
			got, err := conn.Read(buffer)
			n += uint64(got)
			if err != nil {
				break
			}
		}
		_ = binary.Write(conn, binary.BigEndian, n)
	case echo:
		for {
			if _, err := io.ReadFull(conn, what); err != nil {
				return
			}
			if _, err := conn.Write(what); err != nil {
				return
			}
		}
	}
}

func measure(address, duration string) error {
	d, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	throughput, err := carry(address, d)
	if err != nil {
		return err
	}
	trips, err := roundTrips(address, d)
	if err != nil {
		return err
	}
	fmt.Printf("%.1f %.1f %.1f\n", throughput, micros(trips[len(trips)/2]), micros(trips[len(trips)*99/100]))
	return nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func dial(address string, what byte) (*net.TCPConn, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second) //nolint:noctx,gosec // it has its timeout, and dials what it is told
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte{what}); err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// carry returns how many megabytes a second arrive. The time ends when the other
// side has counted the last of them.
func carry(address string, d time.Duration) (float64, error) {
	conn, err := dial(address, count)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	buffer := make([]byte, 256<<10)
	begin := time.Now()
	for time.Since(begin) < d {
		if _, err := conn.Write(buffer); err != nil {
			return 0, err
		}
	}
	if err := conn.CloseWrite(); err != nil {
		return 0, err
	}
	var n uint64
	if err := binary.Read(conn, binary.BigEndian, &n); err != nil {
		return 0, err
	}
	return float64(n) / 1e6 / time.Since(begin).Seconds(), nil
}

// roundTrips returns the times of single bytes there and back, sorted.
func roundTrips(address string, d time.Duration) ([]time.Duration, error) {
	conn, err := dial(address, echo)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var trips []time.Duration
	one := []byte{0}
	for begin := time.Now(); time.Since(begin) < d; {
		sent := time.Now()
		if _, err := conn.Write(one); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(conn, one); err != nil {
			return nil, err
		}
		trips = append(trips, time.Since(sent))
	}
	slices.Sort(trips)
	return trips, nil
}

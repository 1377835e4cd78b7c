// Pulse asks servers for something small, ten times a second each, over a new
// connection every time, until its standard input ends.
//
//	pulse AUTHORITIES SERVER-NAME ADDRESS:PORT…
//
// AUTHORITIES is a PEM file, SERVER-NAME the name in the servers' certificates.
// A line for each server says how many requests were made, how many of them
// failed, and for how many seconds at most none succeeded. Standard error has a
// line for each that failed: when it was begun, as nanoseconds since 1970, and why.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	interval = 100 * time.Millisecond
	// patience with one request.
	patience = 5 * time.Second
)

func main() {
	err := errors.New("usage: pulse AUTHORITIES SERVER-NAME ADDRESS:PORT…")
	if len(os.Args) > 3 {
		err = run(os.Args[1], os.Args[2], os.Args[3:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulse:", err)
		os.Exit(1)
	}
}

func run(authorities, name string, addresses []string) error {
	bundle, err := os.ReadFile(authorities)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("%s: no certificate in it", authorities)
	}
	stop := make(chan struct{})
	servers := make([]*server, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		servers[i] = newServer(roots, name, address)
		all.Go(func() { servers[i].ask(stop) })
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	close(stop)
	all.Wait()
	for _, s := range servers {
		fmt.Printf("%s %d %d %.2f\n", s.address, s.asked, s.failed, s.away.Seconds())
	}
	return nil
}

type server struct {
	address, url string
	client       *http.Client

	mu            sync.Mutex
	asked, failed int
	// last is when the latest of the requests that succeeded was begun, away the
	// longest time between two of them.
	last time.Time
	away time.Duration
}

func newServer(roots *x509.CertPool, name, address string) *server {
	return &server{
		address: address,
		url:     "https://" + address + "/livez",
		client: &http.Client{Timeout: patience, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       (&net.Dialer{Timeout: patience}).DialContext,
			TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12},
		}},
	}
}

// ask begins a request at each tick, whether the one before has ended or not.
func (s *server) ask(stop <-chan struct{}) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var requests sync.WaitGroup
	defer requests.Wait()
	for {
		select {
		case <-stop:
			return
		case begun := <-tick.C:
			requests.Go(func() { s.note(begun, s.once()) })
		}
	}
}

func (s *server) once() error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// note counts a request that was begun at a time.
func (s *server) note(begun time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	switch {
	case err != nil:
		s.failed++
		fmt.Fprintf(os.Stderr, "%d %v\n", begun.UnixNano(), err)
	case s.last.IsZero():
		s.last = begun
	case begun.After(s.last): // answers may overtake each other
		s.away = max(s.away, begun.Sub(s.last))
		s.last = begun
	}
}

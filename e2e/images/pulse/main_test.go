package main

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// A server that refuses requests for a while is away for that long.
func TestPulse(t *testing.T) {
	var requests atomic.Int32
	answered := make(chan struct{})
	tls := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n := requests.Add(1); {
		case n > 2 && n <= 5:
			w.WriteHeader(http.StatusServiceUnavailable)
		case n == 6:
			close(answered)
		}
	}))
	defer tls.Close()
	roots := x509.NewCertPool()
	roots.AddCert(tls.Certificate())
	s := newServer(roots, "example.com", tls.Listener.Addr().String())
	stop := make(chan struct{})
	go func() {
		<-answered
		close(stop)
	}()
	s.ask(stop)
	if s.asked < 6 || s.failed != 3 || s.away < 3*interval || s.away > time.Minute {
		t.Errorf("%d requests, %d failed, away for %s", s.asked, s.failed, s.away)
	}
}

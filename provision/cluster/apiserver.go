package cluster

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Instance is one very API server, or what stands before several of them.
type Instance struct {
	Server
	// TLS holds the authorities and, if any, a client certificate. The
	// certificate served must be valid for ServerName, or for the host in
	// Address if that is empty.
	TLS *tls.Config
}

// WaitAPIServer waits until an API server says on /readyz that it is ready, and
// check (may be nil) finds nothing wrong with the certificate it serves. Every
// try makes a connection of its own, so that the certificate is the one a new
// client would see. report (may be nil) is told what is being waited for.
func WaitAPIServer(ctx context.Context, instance Instance, check func(context.Context, *x509.Certificate) error, report func(string)) error {
	say := onChange(report)
	for {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		err := instance.ready(try, check)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			say(err.Error())
		}
		if !pause(ctx) {
			return fmt.Errorf("API server %s is not ready: %w; last: %w", instance.Name, context.Cause(ctx), err)
		}
	}
}

// WaitEndpoint waits until the cluster's endpoint leads to an API server that
// is ready.
func WaitEndpoint(ctx context.Context, endpoint Instance, report func(string)) error {
	return WaitAPIServer(ctx, endpoint, nil, report)
}

// get makes one request on a new connection. The caller closes the body.
func (i Instance) get(ctx context.Context, path string) (*http.Response, error) {
	tlsConfig := cloneTLS(i.TLS)
	if tlsConfig.ServerName == "" {
		host, _, err := net.SplitHostPort(i.Address)
		if err != nil {
			return nil, err
		}
		tlsConfig.ServerName = host
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return i.Dial(ctx, network, i.Address)
		},
		TLSClientConfig:   tlsConfig,
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+i.Address+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		// Without the URL that http.Client puts before it.
		if cause := errors.Unwrap(err); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	return response, nil
}

// ready returns nil, or what is still missing.
func (i Instance) ready(ctx context.Context, check func(context.Context, *x509.Certificate) error) error {
	response, err := i.get(ctx, "/readyz")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if check != nil {
		if err := check(ctx, response.TLS.PeerCertificates[0]); err != nil {
			return err
		}
	}
	if response.StatusCode == http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return err
	}
	if missing := failedChecks(string(body)); missing != "" {
		return fmt.Errorf("waiting for %s", missing)
	}
	return fmt.Errorf("/readyz says %s", response.Status)
}

// failedChecks lists the checks of /readyz that did not pass, as in
// "[-]poststarthook/rbac/bootstrap-roles failed: reason withheld".
func failedChecks(body string) string {
	var names []string
	for _, line := range strings.Split(body, "\n") {
		if rest, ok := strings.CutPrefix(line, "[-]"); ok {
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, name)
		}
	}
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// StartedAt returns when an API server's process began, as its metric
// process_start_time_seconds prints it: not a time to compare with a clock, but
// a value that differs after a restart. The metrics need an administrator's
// certificate.
func (i Instance) StartedAt(ctx context.Context) (string, error) {
	response, err := i.get(ctx, "/metrics")
	if err != nil {
		return "", fmt.Errorf("API server %s: %w", i.Name, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("API server %s: /metrics says %s", i.Name, response.Status)
	}
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if value, ok := strings.CutPrefix(scanner.Text(), "process_start_time_seconds "); ok {
			return value, nil
		}
	}
	if err := scanner.Err(); err != nil {
		return "", fmt.Errorf("API server %s: /metrics: %w", i.Name, err)
	}
	return "", fmt.Errorf("API server %s: /metrics does not tell when it started", i.Name)
}

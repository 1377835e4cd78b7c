package cluster

import (
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

// Ready reports whether an API server says on /readyz that it is ready, and
// check (may be nil) finds nothing wrong with the certificate it serves: nil, or
// what is still missing. Every call makes a connection of its own, so that the
// certificate is the one a new client would see.
func (i Instance) Ready(ctx context.Context, check func(context.Context, *x509.Certificate) error) error {
	if err := i.ready(ctx, check); err != nil {
		return fmt.Errorf("API server %s is not ready: %w", i.Name, err)
	}
	return nil
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

// Healthz asks a program at a URL whether it is well, from its own host. Who it
// is is not asked: such programs make their certificates themselves, and no
// secret is told.
func Healthz(ctx context.Context, dial DialFunc, url string) error {
	client := &http.Client{Transport: &http.Transport{
		DialContext: dial,
		//nolint:gosec // see above
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return err
	}
	if failed := failedChecks(string(body)); failed != "" {
		return fmt.Errorf("%s says %s: %s", url, response.Status, failed)
	}
	return fmt.Errorf("%s says %s", url, response.Status)
}

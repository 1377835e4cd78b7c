package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	certificatesv1 "k8s.io/client-go/kubernetes/typed/certificates/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// FieldManager is the name under which kinstall owns fields of objects.
const FieldManager = "kinstall"

// ErrNoAPI says that there is no API server yet: every candidate refused the
// connection. What depends on one is deferred.
var ErrNoAPI = errors.New("no API server answers yet")

// Server is one way to an API server.
type Server struct {
	Name    string // for messages: the host's name
	Address string // "HOST:PORT" as seen from where Dial ends
	Dial    DialFunc
}

// Config says how to reach the Kubernetes API.
type Config struct {
	// Servers are tried in order; the one that answered last comes first.
	Servers []Server
	// TLS holds the authorities and the administrator's certificate. Its
	// ServerName is the name every API server's certificate has;
	// "kubernetes.default.svc" if it is empty.
	TLS *tls.Config
}

// Client talks to the Kubernetes API. It is safe for concurrent use.
type Client struct {
	nodes     corev1.NodeInterface
	pods      corev1.PodsGetter
	secrets   corev1.SecretInterface // of the namespace kube-system
	requests  certificatesv1.CertificateSigningRequestInterface
	core      rest.Interface
	dynamic   dynamic.Interface
	kinds     *kinds
	transport *http.Transport
}

// New prepares a client; no connection is made before the first request.
func New(config Config) (*Client, error) {
	if len(config.Servers) == 0 {
		return nil, errors.New("kubernetes: no API server to talk to")
	}
	tlsConfig := cloneTLS(config.TLS)
	if tlsConfig.ServerName == "" {
		tlsConfig.ServerName = "kubernetes.default.svc"
	}
	candidates := &candidates{servers: config.Servers}
	transport := &http.Transport{
		DialContext:         candidates.dial,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		IdleConnTimeout:     time.Minute,
		// A host that lost its power never says so: ask.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
	}
	restConfig := &rest.Config{
		Host:           "https://" + tlsConfig.ServerName,
		Transport:      transport,
		QPS:            200,
		Burst:          400,
		Timeout:        30 * time.Second,
		UserAgent:      "kinstall",
		WarningHandler: rest.NoWarnings{},
	}
	core, err := corev1.NewForConfig(restConfig)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	certificates, err := certificatesv1.NewForConfig(restConfig)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	dyn, err := dynamic.NewForConfig(restConfig)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	return &Client{
		nodes:     core.Nodes(),
		pods:      core,
		secrets:   core.Secrets(metav1.NamespaceSystem),
		requests:  certificates.CertificateSigningRequests(),
		core:      core.RESTClient(),
		dynamic:   dyn,
		kinds:     &kinds{client: core.RESTClient(), groups: map[schema.GroupVersion][]metav1.APIResource{}},
		transport: transport,
	}, nil
}

// Close ends idle connections; requests under way go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

func cloneTLS(config *tls.Config) *tls.Config {
	if config == nil {
		return &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return config.Clone()
}

// candidates dials whichever server answers, the last good one first.
type candidates struct {
	servers []Server

	mu   sync.Mutex
	good int
}

func (c *candidates) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	c.mu.Lock()
	first := c.good
	c.mu.Unlock()
	var errs []error
	none := true
	for i := range c.servers {
		n := (first + i) % len(c.servers)
		server := c.servers[n]
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		conn, err := server.Dial(try, network, server.Address)
		cancel()
		if err == nil {
			c.mu.Lock()
			c.good = n
			c.mu.Unlock()
			return conn, nil
		}
		none = none && refused(err)
		errs = append(errs, fmt.Errorf("API server %s: %w", server.Name, err))
		if ctx.Err() != nil {
			break
		}
	}
	if none {
		errs = append([]error{ErrNoAPI}, errs...)
	}
	return nil, errors.Join(errs...)
}

// transient reports whether a request may succeed when it is simply made again:
// the API server, or the way to it, is not up yet or any more.
func transient(err error) bool {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
			apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) || apierrors.IsConflict(err)
	}
	if untrusted := (*tls.CertificateVerificationError)(nil); errors.As(err, &untrusted) {
		return false
	}
	request := (*url.Error)(nil) // what http.Client wraps every failure of a connection in
	return errors.As(err, &request) || errors.Is(err, errNotRegistered) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// settlePatience bounds how long an API server may say no that has just
// started: its own roles and namespaces come a few seconds after it answers.
const settlePatience = time.Minute

// retry runs try until it succeeds, fails for good, or ctx ends. settling
// reports errors that last only while a new API server sets itself up.
func retry(ctx context.Context, what string, settling func(error) bool, try func(context.Context) error) error {
	started := time.Now()
	for {
		err := try(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
		case transient(err):
		case settling != nil && settling(err) && time.Since(started) < settlePatience:
		default:
			return fmt.Errorf("%s: %w", what, err)
		}
		if !pause(ctx) {
			return fmt.Errorf("%s: %w; last: %w", what, context.Cause(ctx), err)
		}
	}
}

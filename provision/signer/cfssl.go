package signer

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/inventory"
)

// cfssl speaks to a cfssl server's authenticated endpoint for signing
// (https://github.com/cloudflare/cfssl/blob/master/doc/api/endpoint_authsign.txt).
// The protocol is two small JSON documents and an HMAC; cfssl's own client
// would bring its whole library, with databases and command line, for them.
type cfssl struct {
	url, profile string
	key          []byte
	timeout      time.Duration
	client       *http.Client
}

func newCFSSL(s *inventory.Signer) (*cfssl, error) {
	key, err := readAuthKey(s.AuthKeyFile)
	if err != nil {
		return nil, fmt.Errorf("auth_key_file %s: %w", s.AuthKeyFile, err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		text, err := inventory.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("ca_file %s holds no PEM certificate", s.CAFile)
		}
	}
	return &cfssl{
		url: strings.TrimRight(s.URL, "/"), profile: s.Profile, key: key, timeout: s.Timeout,
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects, which a cfssl server does not")
		}},
	}, nil
}

// readAuthKey reads the key that requests are authenticated with: hexadecimal
// digits, as they stand in cfssl's own configuration. Errors tell nothing of it.
func readAuthKey(path string) ([]byte, error) {
	text, err := inventory.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("is open to others (mode %04o); it must be readable by you alone (0600)", info.Mode().Perm())
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) == 0 {
		return nil, errors.New("holds no key in hexadecimal digits, as cfssl's auth_keys have them")
	}
	return key, nil
}

func (c *cfssl) String() string { return "cfssl " + c.url }

// signRequest is what cfssl's handler for signing reads. It takes names from the
// request for a certificate, usages and validity from its own profile.
type signRequest struct {
	Request string `json:"certificate_request"`
	Profile string `json:"profile,omitempty"`
}

// authenticated is cfssl's AuthenticatedRequest; both fields are Base64 in JSON.
type authenticated struct {
	Token   []byte `json:"token"` // HMAC-SHA256 of Request
	Request []byte `json:"request"`
}

// answer is what cfssl's API says to everything.
type answer struct {
	Success bool `json:"success"`
	Result  struct {
		Certificate string `json:"certificate"`
	} `json:"result"`
	Errors []struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"errors"`
}

// Sign implements Signer.
func (c *cfssl) Sign(ctx context.Context, r Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := json.Marshal(signRequest{Request: string(r.CSR), Profile: c.profile})
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, c.key)
	mac.Write(request)
	body, err := json.Marshal(authenticated{Token: mac.Sum(nil), Request: request})
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/api/v1/cfssl/authsign", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	post.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(post)
	if err != nil {
		return nil, c.late(ctx, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, c.late(ctx, err)
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("answered with more than %d bytes", maxAnswer)
	}
	var found answer
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, fmt.Errorf("answered %s, which is not cfssl's JSON: %s", response.Status, quoted(text))
	}
	if !found.Success || response.StatusCode != http.StatusOK {
		var told []string
		for _, e := range found.Errors {
			told = append(told, fmt.Sprintf("%.*q (code %d)", maxQuoted, e.Message, e.Code))
		}
		if len(told) == 0 {
			told = []string{quoted(text)}
		}
		return nil, fmt.Errorf("refused (%s): %s", response.Status, strings.Join(told, "; "))
	}
	if found.Result.Certificate == "" {
		return nil, fmt.Errorf("answered without a certificate: %s", quoted(text))
	}
	return []byte(found.Result.Certificate), nil
}

// late says that the time was up where that is what happened.
func (c *cfssl) late(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("gave no answer within %s", c.timeout)
	}
	return err
}

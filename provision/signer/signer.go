// Package signer asks those who keep an authority's key to sign: a cfssl server
// or a program of the user's.
//
// What it returns was said by somebody else and is not looked at here: the
// caller holds it to what was asked before it is used. Answers are bounded in
// size and time, and no error holds a credential.
package signer

import (
	"context"
	"fmt"
	"time"

	"github.com/kinstall/kinstall/plan/inventory"
)

// Request asks for one certificate.
type Request struct {
	Authority string // its name: "kubernetes", "etcd" or "front-proxy"
	// CSR is the PKCS #10 request in PEM: subject, SANs, and the usages as
	// requested extensions (RFC 2986, RFC 5280).
	CSR      []byte
	NotAfter time.Time // when the certificate should end
}

// Signer has requests signed.
type Signer interface {
	// Sign returns the answer, which should be certificates in PEM, the one
	// asked for first.
	Sign(context.Context, Request) ([]byte, error)
	// String names the signer in messages.
	String() string
}

const (
	// maxAnswer bounds an answer, in bytes: a chain of certificates has a few thousand.
	maxAnswer = 1 << 20
	// maxQuoted is how much of an answer that is none stands in an error, in bytes.
	maxQuoted = 300
)

// New returns the signer that an inventory describes. What of its files and
// programs is not there, or not as it must be, is an error that names them.
func New(s *inventory.Signer) (Signer, error) {
	switch s.Kind {
	case inventory.SignerCFSSL:
		return newCFSSL(s)
	case inventory.SignerCommand:
		return newCommand(s)
	}
	return nil, fmt.Errorf("signer %q: there is no such kind", s.Kind)
}

// quoted shows the beginning of an answer on one line.
func quoted(answer []byte) string {
	if len(answer) == 0 {
		return "nothing"
	}
	if len(answer) > maxQuoted {
		return fmt.Sprintf("%q and %d bytes more", answer[:maxQuoted], len(answer)-maxQuoted)
	}
	return fmt.Sprintf("%q", answer)
}

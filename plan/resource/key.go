package resource

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"strings"
)

// KeyAlgorithm is a kind of key and its size, as inventories write it; ""
// stands for KeyDefault.
type KeyAlgorithm string

// The algorithms that keys are made with.
const (
	KeyECDSAP256 KeyAlgorithm = "ecdsa-p256"
	KeyECDSAP384 KeyAlgorithm = "ecdsa-p384"
	KeyRSA2048   KeyAlgorithm = "rsa-2048"
	KeyRSA3072   KeyAlgorithm = "rsa-3072"
	KeyRSA4096   KeyAlgorithm = "rsa-4096"

	// KeyDefault is what keys are made with where nobody chose.
	KeyDefault = KeyECDSAP256
)

// KeyAlgorithms are all algorithms that keys are made with.
func KeyAlgorithms() []KeyAlgorithm {
	return []KeyAlgorithm{KeyECDSAP256, KeyECDSAP384, KeyRSA2048, KeyRSA3072, KeyRSA4096}
}

// Or returns the algorithm, KeyDefault for "".
func (a KeyAlgorithm) Or() KeyAlgorithm {
	if a == "" {
		return KeyDefault
	}
	return a
}

// IsRSA reports whether keys are RSA's.
func (a KeyAlgorithm) IsRSA() bool { return strings.HasPrefix(string(a), "rsa-") }

// AlgorithmOf names the algorithm of a public key, also of one that is none of
// KeyAlgorithms.
func AlgorithmOf(public any) KeyAlgorithm {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return KeyAlgorithm("ecdsa-" + strings.ToLower(strings.ReplaceAll(key.Curve.Params().Name, "-", "")))
	case *rsa.PublicKey:
		return KeyAlgorithm(fmt.Sprintf("rsa-%d", key.N.BitLen()))
	case ed25519.PublicKey:
		return "ed25519"
	}
	return "unknown"
}

// Subject is what an authority's name says beside its common name; fields may
// be empty.
type Subject struct {
	Organization, OrganizationalUnit, Country, Province, Locality string
}

// String is the subject in the order in which OpenSSL and RFC 4514 list it
// behind a common name, each part led by a comma; "" for none.
func (s Subject) String() string {
	var b strings.Builder
	for _, part := range []struct{ name, value string }{
		{"OU", s.OrganizationalUnit}, {"O", s.Organization}, {"L", s.Locality}, {"ST", s.Province}, {"C", s.Country},
	} {
		if part.value != "" {
			fmt.Fprintf(&b, ", %s=%s", part.name, part.value)
		}
	}
	return b.String()
}

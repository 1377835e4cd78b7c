package pki

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// vrrpAlphabet is what a password is made of: 64 characters, none of which means
// anything to keepalived.
const vrrpAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// vrrpPassword is the line of keepalived's configuration with a password of eight
// characters, which is all that VRRP has room for (RFC 2338, 5.3.6). It is derived
// from a private key, which can't be found out from it, so that there is no further
// secret to be kept and restored.
func vrrpPassword(key []byte) []byte {
	derived, err := hkdf.Key(sha256.New, key, nil, "kinstall vrrp password", 8)
	if err != nil {
		panic("pki: " + err.Error()) // eight bytes can always be derived
	}
	line := []byte("auth_pass ")
	for _, b := range derived {
		line = append(line, vrrpAlphabet[int(b)%len(vrrpAlphabet)])
	}
	return append(line, '\n')
}

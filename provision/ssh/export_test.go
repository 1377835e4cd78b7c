package ssh

import "errors"

// IsTransient reports whether err comes from the network or from a busy sshd, so
// that trying again later can succeed.
func IsTransient(err error) bool {
	var c *ConnError
	return errors.As(err, &c) && c.Temporary()
}

package provision

import "github.com/kinstall/kinstall/plan/fault"

// PanicError is a panic: a fault of kinstall itself, and of no host.
type PanicError = fault.Error

// Recover makes do's panic its error, a *PanicError; see fault.Recover.
func Recover(do func() error) error { return fault.Recover(do) }

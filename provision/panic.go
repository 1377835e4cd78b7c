package provision

import (
	"fmt"
	"runtime/debug"
)

// PanicError is a panic: a fault of kinstall itself, and of no host.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine, as runtime/debug.Stack prints it
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error, as those of the runtime are.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Recover makes do's panic its error, a *PanicError. It catches none of other
// goroutines, and none of what the runtime calls fatal (out of memory, a stack
// that overflows).
func Recover(do func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	return do()
}

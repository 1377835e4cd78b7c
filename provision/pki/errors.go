package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/kinstall/kinstall/provision/shell"
)

// A FileError says what is wrong with a file or directory of the store.
type FileError struct {
	Path string
	Err  error
	hint string
}

func (e *FileError) Error() string { return fmt.Sprintf("%s: %v", e.Path, e.Err) }
func (e *FileError) Unwrap() error { return e.Err }

// Hint returns advice for the operator, or "".
func (e *FileError) Hint() string { return e.hint }

// fileError wraps an error of the operating system without saying the path twice.
func fileError(path, operation string, err error) *FileError {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return &FileError{Path: path, Err: fmt.Errorf("%s: %w", operation, err)}
}

func tooOpen(path string, mode, want fs.FileMode) *FileError {
	return &FileError{
		Path: path,
		Err:  fmt.Errorf("holds private keys and is open to others (mode %04o)", mode.Perm()),
		hint: fmt.Sprintf("chmod %04o %s; if others may have read it, its keys are no longer secret", want, shell.Quote(path)),
	}
}

func halfPair(missing, there string) *FileError {
	return &FileError{
		Path: missing,
		Err:  fmt.Errorf("is missing, but %s is there: %w", filepath.Base(there), errHalf),
		hint: fmt.Sprintf("restore it from a backup; only if no cluster was ever built from %s, remove that file and a new pair will be made; if somebody else keeps the key, name a signer in the inventory", there),
	}
}

// errHalf takes the place of fs.ErrNotExist, lest half a pair pass for none.
var errHalf = errors.New("half a pair")

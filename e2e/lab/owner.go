package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Owner says for whom a lab is up. Its machines hold the cluster of that
// checkout: its authorities lie beside its inventory, and another checkout, which
// has others, could only break it.
type Owner struct {
	Checkout  string    `json:"checkout"`  // absolute path
	Inventory string    `json:"inventory"` // absolute path, or what else the machines are from
	Since     time.Time `json:"since"`     // of the first Up
}

// OwnerOf names the owner that an inventory file makes: the checkout it lies in,
// or, outside of one, its own folder.
func OwnerOf(inventory string) (Owner, error) {
	file, err := filepath.Abs(inventory)
	if err == nil {
		file, err = filepath.EvalSymlinks(file)
	}
	if err != nil {
		return Owner{}, err
	}
	owner := Owner{Checkout: filepath.Dir(file), Inventory: file}
	for dir := owner.Checkout; ; dir = filepath.Dir(dir) {
		for _, mark := range []string{".git", "go.mod"} {
			if _, err := os.Lstat(filepath.Join(dir, mark)); err == nil {
				owner.Checkout = dir
				return owner, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return owner, nil
		}
	}
}

// TakenError tells that a lab is up for another checkout.
type TakenError struct {
	Lab              string
	Owner            Owner
	Wanted           string // the checkout that asks for it
	Running, Stopped int    // machines
	now              time.Time
}

// Error implements error: whose lab it is, and what to do.
func (e *TakenError) Error() string {
	gone := ""
	if _, err := os.Stat(e.Owner.Checkout); errors.Is(err, fs.ErrNotExist) {
		gone = ", which is no longer there"
	}
	return fmt.Sprintf(`lab %s belongs to another checkout: %s%s
  up for    %s
  since     %s (%s ago)
  machines  %d running, %d stopped
This is %s. The machines hold a cluster of the other one's authorities, so this one can't use them. Either
  give this one a lab of its own beside it, under another name:  KINSTALL_LAB=NAME make lab  (or lab -name NAME up INVENTORY)
  or remove the other lab, with its machines' disks:  lab -name %s down`,
		e.Lab, e.Owner.Checkout, gone, e.Owner.Inventory, e.Owner.Since.Format("2006-01-02 15:04:05"), e.now.Sub(e.Owner.Since).Round(time.Second),
		e.Running, e.Stopped, e.Wanted, e.Lab)
}

// Holder returns whom the lab is up for; the zero Owner if it isn't up, or was
// brought up by someone who didn't say.
func (l *Lab) Holder() (Owner, error) {
	var state labState
	if err := readJSON(l.statePath(), &state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Owner{}, err
	}
	return state.Owner, nil
}

// claim writes down whom the lab is for, or fails with a TakenError if that is
// another checkout. The lab's lock is held.
func (l *Lab) claim(now time.Time) error {
	var state labState
	if err := readJSON(l.statePath(), &state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	before := state.Owner
	if l.For.Checkout != "" && before.Checkout != "" && before.Checkout != l.For.Checkout {
		taken := &TakenError{Lab: l.name, Owner: before, Wanted: l.For.Checkout, now: now}
		names, err := l.machineNames()
		if err != nil {
			return err
		}
		for _, name := range names {
			if l.running(name) {
				taken.Running++
			} else {
				taken.Stopped++
			}
		}
		return taken
	}
	if l.For.Checkout == "" {
		return nil
	}
	state.Owner = l.For
	if state.Owner.Since = before.Since; before.Checkout == "" {
		state.Owner.Since = now.UTC().Truncate(time.Second)
	}
	return writeJSON(l.statePath(), state)
}

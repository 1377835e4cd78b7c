package resource

import "github.com/kinstall/kinstall/plan/fact"

// LockFile is the lock file beside the inventory, on the operator's machine.
type LockFile struct {
	Path          string
	Before, After []byte
}

// ID implements Resource.
func (l LockFile) ID() ID { return NewID(KindLockFile, l.Path) }

// Queries implements Resource: the file was read with the inventory.
func (l LockFile) Queries() []fact.Query { return nil }

// Diff implements Resource.
func (l LockFile) Diff(fact.Set) (Change, error) {
	change := Change{Action: NoOp}
	if string(l.Before) == string(l.After) {
		return change, nil
	}
	change.Action = Update
	if len(l.Before) == 0 {
		change.Action = Create
	}
	change.Text = &Text{Name: "content", Before: string(l.Before), After: string(l.After)}
	return change, nil
}

// Orphan is a resource that a host's state remembers and no plan wants any more.
type Orphan struct {
	Was    ID
	Record fact.Record
}

// ID implements Resource: the ID of what it was.
func (o Orphan) ID() ID { return o.Was }

// Queries implements Resource.
func (o Orphan) Queries() []fact.Query { return nil }

// Removable reports whether it is deleted, and not only forgotten.
func (o Orphan) Removable() bool {
	d, _ := Describe(o.Was.Kind())
	return d.Removable
}

// Diff implements Resource.
func (o Orphan) Diff(fact.Set) (Change, error) {
	if !o.Removable() {
		return Change{Action: NoOp}, nil
	}
	change := Change{Action: Delete}
	change.because(Intent, "left the inventory")
	return change, nil
}

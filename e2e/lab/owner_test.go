package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOwnerOf(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	for _, sub := range []string{"checkout/inventories", "worktree", "loose"} {
		must(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	for _, file := range []string{"checkout/go.mod", "checkout/inventories/lab.hcl", "worktree/.git", "worktree/lab.hcl", "loose/lab.hcl"} {
		must(t, os.WriteFile(filepath.Join(dir, file), nil, 0o600))
	}
	must(t, os.Symlink(filepath.Join(dir, "checkout"), filepath.Join(dir, "link")))
	for inventory, checkout := range map[string]string{
		"checkout/inventories/lab.hcl": "checkout",
		"link/inventories/lab.hcl":     "checkout", // the same by another name
		"worktree/lab.hcl":             "worktree",
		"loose/lab.hcl":                "loose",
	} {
		owner, err := OwnerOf(filepath.Join(dir, inventory))
		if err != nil || owner.Checkout != filepath.Join(dir, checkout) {
			t.Errorf("%s: %+v, %v", inventory, owner, err)
		}
	}
	if _, err := OwnerOf(filepath.Join(dir, "nowhere/lab.hcl")); err == nil {
		t.Error("an inventory that isn't there has an owner")
	}
}

// A lab that is up for one checkout is no other's: it is told whose it is, since
// when, and what to do.
func TestUpOfAnotherCheckout(t *testing.T) {
	l, err := Open(NameFor("lab-ownertest", "."))
	must(t, err)
	if err := l.Supported(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { must(t, l.Down(context.Background())) })
	must(t, l.Down(t.Context()))
	must(t, os.MkdirAll(filepath.Join(l.dir(), "machines", "emei"), 0o700))
	mine := Owner{Checkout: t.TempDir(), Inventory: "/mine/lab.hcl"}
	begin := time.Date(2026, 11, 21, 15, 0, 0, 0, time.UTC)
	l.For = mine
	must(t, l.claim(begin))

	l.For = Owner{Checkout: "/theirs", Inventory: "/theirs/lab.hcl"}
	err = l.Up(t.Context(), []Machine{{Name: "emei", Address: netip.MustParseAddr("10.27.52.72")}})
	var taken *TakenError
	if !errors.As(err, &taken) {
		t.Fatalf("up of another checkout: %v", err)
	}
	taken.now = begin.Add(90 * time.Second)
	for _, want := range []string{
		"lab " + l.Name() + " belongs to another checkout: " + mine.Checkout + "\n", "up for    /mine/lab.hcl", "2026-11-21 15:00:00 (1m30s ago)",
		"0 running, 1 stopped", "This is /theirs.", "KINSTALL_LAB=NAME make lab", "lab -name " + l.Name() + " down",
	} {
		if !strings.Contains(taken.Error(), want) {
			t.Errorf("not said: %q\n%s", want, taken)
		}
	}
	if _, err := os.Stat(filepath.Join(l.dir(), "machines", "emei")); err != nil {
		t.Errorf("the other's machine was touched: %v", err)
	}
	if _, err := os.Stat(filepath.Join(l.dir(), "operator")); err == nil {
		t.Error("the other's lab was given an operator's key")
	}

	// The same checkout may come back with another inventory; the lab stays as old as it is.
	l.For = Owner{Checkout: mine.Checkout, Inventory: "/mine/other.hcl"}
	must(t, l.claim(begin.Add(time.Hour)))
	holder, err := l.Holder()
	must(t, err)
	if diff := cmp.Diff(Owner{Checkout: mine.Checkout, Inventory: "/mine/other.hcl", Since: begin}, holder); diff != "" {
		t.Errorf("holder (-want +got):\n%s", diff)
	}
}

func TestTakenByACheckoutThatIsGone(t *testing.T) {
	err := &TakenError{Lab: "kinstall", Owner: Owner{Checkout: "/no/such/checkout"}}
	if !strings.Contains(err.Error(), "/no/such/checkout, which is no longer there") {
		t.Error(err)
	}
}

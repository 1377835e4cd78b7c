package provision

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/resource"
)

// heldRequests are requests that nobody has decided on.
type heldRequests struct {
	held    []resource.CertificateRequest
	decided map[string][]string // misfits by name
	fails   string
}

func (h *heldRequests) ServingRequests(context.Context) ([]resource.CertificateRequest, error) {
	return h.held, nil
}

func (h *heldRequests) Decide(_ context.Context, name string, misfits []string) error {
	if name == h.fails {
		return errors.New("no")
	}
	h.decided[name] = misfits
	return nil
}

// Requests of the inventory's nodes are decided on; those of others are left alone,
// and one that fails holds up no other.
func TestDecide(t *testing.T) {
	api := &heldRequests{decided: map[string][]string{}, fails: "csr-b", held: []resource.CertificateRequest{
		{Name: "csr-a", Username: "system:node:emei"}, {Name: "csr-b", Username: "system:node:emei"}, {Name: "csr-c", Username: "system:node:mallory"}, {Name: "csr-d", Username: "system:node:emei"},
	}}
	decisions, err := decide(t.Context(), api, map[string]resource.Certificate{"system:node:emei": {CommonName: "system:node:emei"}})
	if err == nil {
		t.Error("a request that could not be decided on is no error")
	}
	var lines []string
	for _, d := range decisions {
		line, _, _ := strings.Cut(d.String(), ":  ")
		lines = append(lines, line[:min(len(line), 50)])
	}
	want := []string{
		`csr-a of system:node:emei is refused: it is for th`, `csr-c of "system:node:mallory" is left alone: that`, `csr-d of system:node:emei is refused: it is for th`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(api.decided) != 2 || len(api.decided["csr-a"]) == 0 || api.decided["csr-c"] != nil {
		t.Errorf("decided: %v", api.decided)
	}
}

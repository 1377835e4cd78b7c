package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

// requests are those of kubelets for certificates to serve with.
type requests interface {
	ServingRequests(ctx context.Context) ([]resource.CertificateRequest, error)
	Decide(ctx context.Context, name string, misfits []string) error
}

// Decision is what became of a kubelet's request for a certificate.
type Decision struct {
	Request string // its name
	User    string // who made it, by the API server's word
	// Misfits is why it was refused; empty for one that was approved of.
	Misfits []string
	// Unknown says that who made it is no node of the inventory: it was left alone.
	Unknown bool
}

// String is the decision in a line.
func (d Decision) String() string {
	switch {
	case d.Unknown:
		return fmt.Sprintf("%s of %q is left alone: that is no node of the inventory", d.Request, d.User)
	case len(d.Misfits) > 0:
		return fmt.Sprintf("%s of %s is refused: %s", d.Request, d.User, strings.Join(d.Misfits, "; "))
	}
	return fmt.Sprintf("%s of %s is approved of", d.Request, d.User)
}

// decide judges all requests that nobody has decided on by the certificates that
// nodes are to have, by their users.
func decide(ctx context.Context, api requests, wanted map[string]resource.Certificate) ([]Decision, error) {
	found, err := api.ServingRequests(ctx)
	if err != nil {
		return nil, err
	}
	var decisions []Decision
	var errs []error
	for _, r := range found {
		d := Decision{Request: r.Name, User: r.Username}
		want, known := wanted[r.Username]
		if d.Unknown = !known; known {
			d.Misfits = want.Misfits(r)
			if err := api.Decide(ctx, r.Name, d.Misfits); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		decisions = append(decisions, d)
	}
	return decisions, errors.Join(errs...)
}

// ApproveRequests decides on the requests of an inventory's kubelets for
// certificates to serve with: those are approved of whose users, groups, names and
// addresses fit.
func (f *Fleet) ApproveRequests(ctx context.Context, p *plan.Plan) ([]Decision, error) {
	wanted := map[string]resource.Certificate{}
	for _, s := range p.Steps {
		if r, is := s.Resource.(resource.ServingCertificate); is {
			wanted[r.Certificate.Wanted.CommonName] = r.Certificate.Wanted
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	client, err := f.kubernetes(ctx, f.masterNames())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return decide(ctx, client, wanted)
}

// servingTimeout is how long a kubelet that runs may take to ask for the
// certificate that it serves with and get it. It asks again later and later.
const servingTimeout = 5 * time.Minute

// applyServingCertificate decides on requests of the node until it has its
// certificate. Those of others are left to their own steps.
func applyServingCertificate(ctx context.Context, t *task, s resource.ServingCertificate) (fact.Record, error) {
	api, err := t.executor.kubernetes(ctx)
	if err != nil {
		return fact.Record{}, err
	}
	c := s.Certificate
	t.report("waiting for the kubelet to ask for its certificate")
	ctx, cancel := context.WithTimeout(ctx, servingTimeout)
	defer cancel()
	own := map[string]resource.Certificate{c.Wanted.CommonName: c.Wanted}
	var refused string
	for {
		decisions, err := decide(ctx, api, own)
		if err != nil {
			return fact.Record{}, err
		}
		for _, d := range decisions {
			if len(d.Misfits) > 0 {
				refused = "; " + d.String()
				t.report(d.String())
			}
		}
		out, err := t.machine.look(ctx, t.label(), fmt.Sprintf("if [ -e %[1]s ]; then echo there; else sleep 1; if [ -e %[1]s ]; then echo there; fi; fi\n", shell.Quote(c.Wanted.Path)))
		switch {
		case ctx.Err() != nil:
			return fact.Record{}, fmt.Errorf("the kubelet got no certificate to serve with within %s%s", servingTimeout, refused)
		case err != nil:
			return fact.Record{}, err
		case out == "":
			continue
		}
		facts, _, err := t.machine.ask(ctx, s.Queries())
		if err != nil {
			return fact.Record{}, err
		}
		if change, err := s.Diff(facts); err != nil || change.Action == resource.NoOp {
			return fact.Record{}, err
		}
		select { // the kubelet is to replace it
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

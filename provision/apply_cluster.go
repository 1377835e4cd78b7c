package provision

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

// gateTimeout bounds how long a gate is waited for. A first start pulls
// nothing and takes seconds; slow disks and a busy machine take minutes.
const gateTimeout = 5 * time.Minute

func applyAuthority(_ context.Context, t *task) (fact.Record, error) {
	a, err := want[resource.Authority](t)
	if err != nil {
		return fact.Record{}, err
	}
	return fact.Record{}, t.executor.Authorities.Create(a)
}

func applyLockFile(_ context.Context, t *task) (fact.Record, error) {
	l, err := want[resource.LockFile](t)
	if err != nil {
		return fact.Record{}, err
	}
	found, err := os.ReadFile(l.Path)
	if err != nil && !os.IsNotExist(err) {
		return fact.Record{}, err
	}
	if string(found) != string(l.Before) {
		return fact.Record{}, fmt.Errorf("%s: %w", l.Path, ErrStale)
	}
	return fact.Record{}, replaceFile(l.Path, l.After)
}

// replaceFile writes a file of the operator's machine atomically.
func replaceFile(file string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".kinstall.*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once renamed, which is as wanted
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(0o644) // a lock file holds no secret and is committed
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	return err
}

func applyNode(ctx context.Context, t *task) (fact.Record, error) {
	n, err := want[resource.Node](t)
	if err != nil {
		return fact.Record{}, err
	}
	client, err := t.executor.kubernetes(ctx)
	if err != nil {
		return fact.Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	t.report("waiting for the kubelet to register")
	return fact.Record{}, client.ApplyNode(ctx, n)
}

func applyObject(ctx context.Context, t *task) (fact.Record, error) {
	o, err := want[resource.Object](t)
	if err != nil {
		return fact.Record{}, err
	}
	client, err := t.executor.kubernetes(ctx)
	if err != nil {
		return fact.Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	return fact.Record{}, client.ApplyObject(ctx, o)
}

func applyGate(ctx context.Context, t *task) (fact.Record, error) {
	g, err := want[resource.Gate](t)
	if err != nil {
		return fact.Record{}, err
	}
	return fact.Record{}, t.executor.wait(ctx, g, t.report)
}

// wait waits until a gate's condition holds.
func (e *Executor) wait(ctx context.Context, g resource.Gate, report func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	switch g.Gate {
	case resource.GateEtcd:
		members, err := e.Fleet.etcdMembers(ctx)
		if err != nil {
			return err
		}
		config, err := e.Authorities.ClientTLS(plan.AuthorityEtcd, "kinstall", nil, adminLifetime)
		if err != nil {
			return err
		}
		_, err = cluster.WaitEtcd(ctx, members, config, report)
		return err
	case resource.GateAPIServer:
		server, err := e.Fleet.apiServer(ctx, g.Host)
		if err != nil {
			return err
		}
		instance, err := e.instance(server)
		if err != nil {
			return err
		}
		return cluster.WaitAPIServer(ctx, instance, e.servesCertificate(g.Host), report)
	case resource.GateEndpoint:
		server, err := e.endpoint(ctx)
		if err != nil {
			return err
		}
		instance, err := e.instance(server)
		if err != nil {
			return err
		}
		return cluster.WaitEndpoint(ctx, instance, report)
	case resource.GateNode:
		client, err := e.kubernetes(ctx)
		if err != nil {
			return err
		}
		return client.WaitNodeReady(ctx, g.Host, report)
	}
	return fmt.Errorf("gate %q: no such gate", g.Gate)
}

// endpoint is the cluster's endpoint, dialled from the first host of the
// inventory that is not the load balancer's own, as any client would.
func (e *Executor) endpoint(ctx context.Context) (cluster.Server, error) {
	inv := e.Fleet.inventory
	from := inv.Hosts[0]
	for _, host := range inv.Hosts {
		if !inv.Balances(host.Name) && host.Has(inventory.RoleMaster) {
			from = host
			break
		}
	}
	m, err := e.Fleet.connect(ctx, from.Name)
	if err != nil {
		return cluster.Server{}, err
	}
	return cluster.Server{
		Name:    fmt.Sprintf("%s from %s", inv.Cluster.Endpoint, from.Name),
		Address: inv.Cluster.Endpoint.String(),
		Dial:    m.client.DialContext,
	}, nil
}

// instance adds an administrator's short-lived certificate to a server.
func (e *Executor) instance(server cluster.Server) (cluster.Instance, error) {
	config, err := e.Authorities.ClientTLS(plan.AuthorityKubernetes, "kinstall", []string{"system:masters"}, adminLifetime)
	return cluster.Instance{Server: server, TLS: config}, err
}

// servesCertificate checks that an API server serves the certificate that was
// written to its host last, not one it still has in memory.
func (e *Executor) servesCertificate(host string) func(context.Context, *x509.Certificate) error {
	record, _ := e.Fleet.machines[host].state.record(resource.NewID("cert", plan.APIServerCertificate))
	wanted := record.Files[plan.APIServerCertificate]
	return func(_ context.Context, served *x509.Certificate) error {
		file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: served.Raw})
		if wanted != "" && resource.SHA256(file) != wanted {
			return errors.New("still serves its previous certificate")
		}
		return nil
	}
}

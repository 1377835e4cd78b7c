package provision

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

const (
	// gateTimeout bounds how long a gate is waited for. A first start pulls
	// nothing and takes seconds; slow disks and a busy machine take minutes.
	gateTimeout = 5 * time.Minute
	// startedTimeout bounds one question for the start of an API server.
	startedTimeout = 10 * time.Second
	// askInterval lies between two questions for the health of etcd.
	askInterval = 300 * time.Millisecond
)

// gatekeeper asks the cluster whether it is as a gate wants it.
type gatekeeper interface {
	// before is called before a member of what serves is changed: it waits
	// until the others can do without it, and returns what wait needs to tell
	// the member's next process from the one that runs now ("" if nothing is
	// needed, or if none runs).
	before(ctx context.Context, g resource.Gate, host string, report func(string)) (since string, err error)
	// wait waits until the gate's condition holds.
	wait(ctx context.Context, g resource.Gate, since string, report func(string)) error
}

func applyGate(ctx context.Context, t *task, g resource.Gate) (fact.Record, error) {
	return fact.Record{}, t.executor.gates.wait(ctx, g, "", t.report)
}

// clusterGates asks the real cluster.
type clusterGates struct{ *Executor }

// before implements gatekeeper.
func (e clusterGates) before(ctx context.Context, g resource.Gate, host string, report func(string)) (string, error) {
	switch g.Gate {
	case resource.GateEtcd:
		return "", e.waitOthers(ctx, host, report)
	case resource.GateAPIServer:
		server, err := e.Fleet.apiServer(ctx, g.Host)
		if err != nil {
			return "", err
		}
		instance, err := e.instance(server)
		if err != nil {
			return "", err
		}
		ctx, cancel := context.WithTimeout(ctx, startedTimeout)
		defer cancel()
		// One that does not answer can't be taken for its successor.
		since, _ := instance.StartedAt(ctx)
		return since, nil
	}
	return "", nil
}

// wait implements gatekeeper.
func (e clusterGates) wait(ctx context.Context, g resource.Gate, since string, report func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	switch g.Gate {
	case resource.GateEtcd:
		members, config, err := e.etcd(ctx)
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
		check := e.servesCertificate(g.Host)
		if since != "" {
			check = allOf(check, succeeds(instance, since))
		}
		return cluster.WaitAPIServer(ctx, instance, check, report)
	case resource.GateDocker:
		return e.waitDocker(ctx, g.Host, report)
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
	case resource.GateReachable, resource.GateStillReachable:
		return e.waitReachable(ctx, g, report)
	case resource.GateLearnt:
		return e.waitLearnt(ctx, report)
	}
	return fmt.Errorf("gate %q: no such gate", g.Gate)
}

// etcd returns the members of etcd and how to ask them.
func (e clusterGates) etcd(ctx context.Context) ([]cluster.Member, *tls.Config, error) {
	members, err := e.Fleet.etcdMembers(ctx)
	if err != nil {
		return nil, nil, err
	}
	config, err := e.Authorities.ClientTLS(plan.AuthorityEtcd, "kinstall", nil, adminLifetime)
	return members, config, err
}

// waitOthers waits until etcd can do without the member on a host.
func (e clusterGates) waitOthers(ctx context.Context, host string, report func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	members, config, err := e.etcd(ctx)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(askInterval)
	defer ticker.Stop()
	for last := (cluster.Health{}); ; {
		health, err := cluster.EtcdHealth(ctx, members, config)
		switch {
		case err == nil && canDoWithout(health, host):
			return nil
		case err == nil:
			if health.String() != last.String() {
				report(health.String())
			}
			last = health
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("etcd is not healthy: %w; last: %s (%s)", context.Cause(ctx), last, strings.Join(last.Problems(), "; "))
		}
	}
}

// canDoWithout reports whether a member may be taken down: all others are
// healthy under one leader. It may be ill itself; to change it may be what
// heals it. The only member there is can always be taken down, since nothing
// is gained by leaving it.
func canDoWithout(health cluster.Health, host string) bool {
	others := 0
	for _, m := range health.Members {
		if m.Name == host {
			continue
		}
		if others++; m.Problem != "" {
			return false
		}
	}
	return others == 0 || health.Leader != "" && len(health.Alarms) == 0
}

// dockerTimeout bounds how long a Docker is waited for that is being started.
const dockerTimeout = time.Minute

// waitDocker waits until a host's Docker answers.
func (e clusterGates) waitDocker(ctx context.Context, host string, report func(string)) error {
	m, err := e.Fleet.connect(ctx, host)
	if err != nil {
		return err
	}
	report("waiting for Docker")
	_, err = m.look(ctx, "wait for Docker", fmt.Sprintf(`end=$(($(date +%%s) + %d))
until said=$(timeout 10 docker version --format '{{.Server.Version}}' 2>&1); do
	if [ "$(date +%%s)" -ge "$end" ]; then printf '%%s\n' "$said" >&2; exit 1; fi
	sleep 1
done
`, int(dockerTimeout.Seconds())))
	return err
}

// endpoint is the cluster's endpoint, dialled from the first host of the
// inventory that is not the load balancer's own, as any client would.
func (e clusterGates) endpoint(ctx context.Context) (cluster.Server, error) {
	inv := e.Fleet.inventory
	from := inv.Hosts[0]
	if i := slices.IndexFunc(inv.Hosts, func(h inventory.Host) bool {
		return h.Has(inventory.RoleMaster) && !inv.Balances(h.Name)
	}); i >= 0 {
		from = inv.Hosts[i]
	}
	m, err := e.Fleet.connect(ctx, from.Name)
	if err != nil {
		return cluster.Server{}, err
	}
	return cluster.Server{
		Name:    fmt.Sprintf("%s from %s", inv.Cluster.Endpoint, from.Name),
		Address: inv.Cluster.Endpoint.String(),
		Dial:    m.tunnel,
	}, nil
}

// instance adds an administrator's short-lived certificate to a server.
func (e clusterGates) instance(server cluster.Server) (cluster.Instance, error) {
	config, err := e.Authorities.ClientTLS(plan.AuthorityKubernetes, "kinstall", []string{"system:masters"}, adminLifetime)
	return cluster.Instance{Server: server, TLS: config}, err
}

// check looks at an API server that answered with the given certificate.
type check func(context.Context, *x509.Certificate) error

func allOf(checks ...check) check {
	return func(ctx context.Context, served *x509.Certificate) error {
		for _, c := range checks {
			if err := c(ctx, served); err != nil {
				return err
			}
		}
		return nil
	}
}

// servesCertificate checks that an API server serves the certificate that was
// written to its host last, not one it still has in memory.
func (e clusterGates) servesCertificate(host string) check {
	var wanted string
	if m, ok := e.Fleet.machines[host]; ok {
		record, _ := m.state.record(resource.NewID("cert", plan.APIServerCertificate))
		wanted = record.Files[plan.APIServerCertificate]
	}
	return func(_ context.Context, served *x509.Certificate) error {
		file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: served.Raw})
		if wanted != "" && resource.SHA256(file) != wanted {
			return errors.New("still serves its previous certificate")
		}
		return nil
	}
}

// succeeds checks that an API server is not the process that started at since:
// that one goes on answering until the kubelet has read the new manifest.
func succeeds(instance cluster.Instance, since string) check {
	return func(ctx context.Context, _ *x509.Certificate) error {
		switch started, err := instance.StartedAt(ctx); {
		case err != nil:
			return err
		case started == since:
			return errors.New("the previous process still runs")
		}
		return nil
	}
}

package provision

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	// externalTimeout bounds how long is waited for a load balancer of the user's to
	// have found all API servers: most look every few seconds.
	externalTimeout = 2 * time.Minute
	// externalTries is how many connections are made for each API server before one
	// that none of them reached counts as left out. Of three that are chosen at
	// random, a particular one is missed by 24 connections once in 17,000.
	externalTries = 8
)

// UnreachedError says which API servers a load balancer of the user's leads
// nobody to.
type UnreachedError struct {
	Endpoint    string
	Masters     []string
	Connections int
	From        int   // hosts
	Failed      int   // of the connections
	Last        error // of those that failed
}

func (e *UnreachedError) Error() string {
	text := fmt.Sprintf("%s leads to no API server of %s: %d connections from %d hosts, and none reached it", e.Endpoint, strings.Join(e.Masters, ", "), e.Connections, e.From)
	if e.Failed > 0 {
		text += fmt.Sprintf("; %d failed, the last one: %v", e.Failed, e.Last)
	}
	return text
}

func (e *UnreachedError) Unwrap() error { return e.Last }

// Hint is the advice that goes with the error.
func (e *UnreachedError) Hint() string {
	return "look in the load balancer whether it has these servers, at port 6443, and takes them for healthy; if it sends each client to one server by design, remove the block load_balancer \"external\": without it, kinstall asks only whether the endpoint answers"
}

// external reports whether the endpoint is a load balancer of the user's that is
// to be looked at.
func external(inv *inventory.Inventory) bool {
	return inv.LoadBalancer != nil && inv.LoadBalancer.Kind == inventory.BalancerExternal
}

// tryExternal asks the endpoint again and again, from one host after the other,
// until each API server has answered: every one has a certificate of its own.
func (e clusterChecks) tryExternal(ctx context.Context) error {
	inv := e.Fleet.inventory
	waiting := map[string]string{} // master by the digest of its certificate
	var from []string
	for _, h := range inv.Hosts {
		if e.delta.Unreachable[h.Name] != nil {
			continue
		}
		from = append(from, h.Name)
		if !h.Has(inventory.RoleMaster) {
			continue
		}
		digest, err := e.servedDigest(ctx, h.Name)
		if err != nil {
			return err
		}
		waiting[digest] = h.Name
	}
	return reachAll(ctx, inv.Cluster.Endpoint.String(), waiting, from, func(ctx context.Context, host string) (string, error) {
		server := e.endpoint()
		server.Name, server.Dial = fmt.Sprintf("%s from %s", inv.Cluster.Endpoint, host), e.Fleet.dialFrom(host)
		instance, err := e.instance(server)
		if err != nil {
			return "", err
		}
		answered := ""
		err = instance.Ready(ctx, func(_ context.Context, served *x509.Certificate) error {
			answered = e.digestOf(served)
			return nil
		})
		return answered, err
	})
}

// reachAll asks from one host after the other until each of those that are waited
// for has answered, by the digest of its certificate.
func reachAll(ctx context.Context, endpoint string, waiting map[string]string, from []string, ask func(ctx context.Context, host string) (digest string, err error)) error {
	missing := &UnreachedError{Endpoint: endpoint, From: len(from)}
	for tries := externalTries * len(waiting); missing.Connections < tries && len(waiting) > 0; missing.Connections++ {
		answered, err := ask(ctx, from[missing.Connections%len(from)])
		if err == nil {
			delete(waiting, answered)
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		missing.Failed, missing.Last = missing.Failed+1, err
	}
	if len(waiting) == 0 {
		return nil
	}
	missing.Masters = slices.Sorted(maps.Values(waiting))
	return missing
}

// servedDigest is that of the certificate which an API server serves: the one
// that was written to its host last, or else what it shows when it is asked itself.
func (e clusterChecks) servedDigest(ctx context.Context, host string) (string, error) {
	if known := e.latest(host, resource.NewID("cert", plan.APIServerCertificate)).Files[plan.APIServerCertificate]; known != "" {
		return known, nil
	}
	instance, err := e.instance(e.Fleet.apiServer(host))
	if err != nil {
		return "", err
	}
	digest := ""
	err = instance.Ready(ctx, func(_ context.Context, served *x509.Certificate) error {
		digest = e.digestOf(served)
		return nil
	})
	return digest, err
}

// digestOf is the digest of an API server's certificate as it is written to a
// host, with the chain of its authority.
func (e clusterChecks) digestOf(certificate *x509.Certificate) string {
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	return resource.SHA256(append(file, e.Authorities.Chain(plan.AuthorityKubernetes)...))
}

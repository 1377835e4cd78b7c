package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision"
	"github.com/kinstall/kinstall/provision/pki"
	"github.com/kinstall/kinstall/provision/release"
	"github.com/kinstall/kinstall/provision/signer"
)

// backend is what commands need of the other packages; tests put fakes in.
type backend struct {
	load       func(path string, o inventory.Options) (*inventory.Inventory, *inventory.Lock, hcl.Diagnostics)
	prepare    func(context.Context, *inventory.Inventory, *inventory.Lock, passphrase) (*prepared, hcl.Diagnostics, error)
	kubeconfig func(context.Context, *inventory.Inventory, passphrase) ([]byte, error)
}

// prepared is a compiled inventory and the way to its hosts.
type prepared struct {
	plan    *plan.Plan
	connect func(connectOptions) fleet
}

// connectOptions say how hosts are reached.
type connectOptions struct {
	Parallelism     int           // 0: the default
	ConfirmTimeout  time.Duration // 0: the default
	TrustOnFirstUse bool
	LockTimeout     time.Duration // how long to wait for locks that somebody else holds
	Deadlines       provision.Deadlines
	Fault           func(*provision.PanicError) // is told of a panic that no error can tell of
	Log             func(string)
}

// fleet is the hosts of an inventory. Its methods are those of
// provision.Fleet and provision.Executor.
type fleet interface {
	CheckAccess(ctx context.Context, hosts []string) error
	Lock(ctx context.Context, hosts []string, description string) (release func(), err error)
	Observe(context.Context, *plan.Plan) (plan.Observed, error)
	Apply(ctx context.Context, d *plan.Delta, notify func(provision.Event)) (*provision.Report, error)
	ApproveRequests(context.Context, *plan.Plan) ([]provision.Decision, error)
	Close() error
}

// realBackend is the program as users run it.
func realBackend() backend {
	return backend{load: inventory.Load, prepare: prepare, kubeconfig: kubeconfig}
}

// prepare compiles: with the authorities beside the inventory, and a lock that
// has the digest of every release.
func prepare(ctx context.Context, inv *inventory.Inventory, lock *inventory.Lock, secret passphrase) (*prepared, hcl.Diagnostics, error) {
	authorities, err := openPKI(inv, secret)
	if err != nil {
		return nil, nil, err
	}
	present, err := inventory.ReadFile(inventory.LockPath(inv.Path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	releases, digests, err := releasesOf(ctx, inv, lock)
	if err != nil {
		return nil, nil, err
	}
	files := map[string][]byte{}
	for _, path := range plan.OperatorFiles(inv) {
		if files[path], err = inventory.ReadFile(path); err != nil {
			return nil, nil, fmt.Errorf("a file the inventory names for a registry: %w", err)
		}
	}
	p, diags := plan.Compile(inv, plan.ProposeLock(inv, *lock, digests), present, authorities, files)
	if diags.HasErrors() {
		return nil, diags, nil
	}
	connect := func(o connectOptions) fleet {
		options := provision.Options{Parallelism: o.Parallelism, ConfirmTimeout: o.ConfirmTimeout, TrustOnFirstUse: o.TrustOnFirstUse, LockTimeout: o.LockTimeout, Deadlines: o.Deadlines, Fault: o.Fault, Log: o.Log}
		return &realFleet{Fleet: provision.NewFleet(inv, authorities, options), authorities: authorities, releases: releases}
	}
	return &prepared{plan: p, connect: connect}, diags, nil
}

// passphrase returns that of the directory of the authorities; see pki.Encryption.
type passphrase = func(isNew bool) (string, error)

// openPKI opens the directory of the authorities, and makes ready those who sign
// for authorities whose keys are not in it.
func openPKI(inv *inventory.Inventory, secret passphrase) (*pki.Store, error) {
	options := pki.Options{Signers: map[string]pki.Signer{}}
	for _, described := range inv.PKI.Signers {
		s, err := signer.New(described)
		if err != nil {
			return nil, fmt.Errorf("signer %q at %s: %w", described.Kind, described.Place, err)
		}
		for _, name := range described.Authorities {
			if !inv.Kubernetes() && name != plan.AuthorityEtcd {
				continue // nobody uses it
			}
			options.Signers[name] = s
		}
	}
	if e := inv.PKI.Encryption; e != nil {
		options.Encryption = &pki.Encryption{Recipients: e.Recipients, IdentityFile: e.IdentityFile, Place: e.Place}
		if e.Passphrase {
			options.Encryption.Passphrase = secret
		}
	}
	return pki.Open(inv.PKI.Dir, options)
}

// releasesOf opens the source of artifacts and learns the digests that neither
// the inventory nor the lock file pins.
func releasesOf(ctx context.Context, inv *inventory.Inventory, lock *inventory.Lock) (*release.Store, map[string]string, error) {
	images := map[string]string{}
	var wanted []release.Wanted
	for _, r := range plan.Releases(inv) {
		w := release.Wanted{Name: r.Name, Version: r.Version, Location: r.Location, ChecksumLocation: r.Checksum.Location}
		if r.Registry {
			w.Image = r.Image
			images[r.Location] = r.Image
		}
		if inv.Artifacts.SHA256[r.Name] == "" && (!r.Pinned() || lock.Artifacts[r.Location] == "") {
			wanted = append(wanted, w)
		}
	}
	store, err := release.New(release.Config{Source: inv.Artifacts.Source, CAFile: inv.Artifacts.CAFile, Pinned: inv.Artifacts.SHA256, Images: images})
	if err != nil {
		return nil, nil, err
	}
	digests, err := store.Digests(ctx, wanted)
	return store, digests, err
}

// realFleet adds to a Fleet the Executor that works on it.
type realFleet struct {
	*provision.Fleet
	authorities *pki.Store
	releases    *release.Store
}

// Apply implements fleet.
func (f *realFleet) Apply(ctx context.Context, d *plan.Delta, notify func(provision.Event)) (*provision.Report, error) {
	executor := &provision.Executor{Fleet: f.Fleet, Authorities: f.authorities, Releases: f.releases, Notify: notify}
	return executor.Apply(ctx, d)
}

// kubeconfig is an administrator's. It leads to the load balancer's address
// where that is known: the operator's machine need not resolve the name that
// the hosts do.
func kubeconfig(ctx context.Context, inv *inventory.Inventory, secret passphrase) ([]byte, error) {
	store, err := openPKI(inv, secret)
	if err != nil {
		return nil, err
	}
	if !store.Exists(plan.AuthorityKubernetes) {
		return nil, usageError(fmt.Sprintf("`kinstall apply %s` creates it", inv.Path), "the cluster has no authority yet in %s", inv.PKI.Dir)
	}
	certificate, key, err := store.Issue(ctx, resource.Certificate{
		Authority: plan.AuthorityKubernetes, CommonName: "kubernetes-admin", Organization: []string{"system:masters"},
		Client: true, Validity: inv.Cluster.CertValidity, RenewBefore: inv.Cluster.CertRenewBefore, Key: resource.KeyAlgorithm(inv.PKI.KeyAlgorithm),
	})
	if err != nil {
		return nil, err
	}
	bundle, err := store.Bytes(plan.AuthorityKubernetes, resource.PartBundle)
	if err != nil {
		return nil, err
	}
	host := inv.Cluster.Endpoint.Host
	if address := inv.Cluster.Endpoint.Address; address.IsValid() {
		host = address.String()
	}
	server := "https://" + net.JoinHostPort(host, strconv.Itoa(inv.Cluster.Endpoint.Port))
	return pki.Kubeconfig(inv.Cluster.Name, server, bundle, certificate, key), nil
}

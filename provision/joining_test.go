package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
)

// countedTokens are made by nobody.
type countedTokens struct {
	mu            sync.Mutex
	made, removed int
	lifetime      time.Duration
	err           error
}

func (c *countedTokens) create(_ context.Context, lifetime time.Duration) (cluster.Token, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	c.lifetime = lifetime
	return cluster.Token{}, c.err
}

func (c *countedTokens) remove(context.Context, cluster.Token) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed++
	return nil
}

// A hundred workers join with one token, which is gone in the end; one whose
// kubelet does not work holds up no other.
func TestManyWorkersJoin(t *testing.T) {
	needRoot(t)
	const workers, ill = 100, "worker-042"
	var names []string
	for i := range workers {
		names = append(names, fmt.Sprintf("worker-%03d", i))
	}
	f := newFleet(t, Options{}, names...)
	authority := resource.Authority{Name: plan.AuthorityKubernetes, CommonName: "kubernetes-ca", Validity: 24 * time.Hour}
	if err := f.authorities.Create(authority); err != nil {
		t.Fatal(err)
	}
	authority.Exists = true
	var last []plan.StepID
	for _, name := range names {
		h := f.hosts[name]
		taken := resource.Certificate{
			Path: h.path("/kubelet-client.crt"), KeyPath: h.path("/kubelet-client.key"), Authority: authority.Name, Issuer: f.authorities.Certificate(authority.Name),
			CommonName: "system:node:" + name, Organization: []string{"system:nodes"}, Client: true, Validity: 12 * time.Hour, RenewBefore: time.Hour,
		}
		wanted := taken
		wanted.Path, wanted.KeyPath = h.path("/kubelet-client-current.pem"), h.path("/kubelet-client-current.pem")
		rotated := resource.RotatedCertificate{Wanted: wanted, Takes: taken, Unit: "kubelet.service",
			Join: &resource.Join{Server: "https://api.example.com:6443", Authority: "/ca.crt", File: h.path("/bootstrap.conf")}}
		asked := f.step(name, rotated)
		// In the place of the kubelet, somebody who has a certificate.
		start := h.path("/started")
		if name == ill {
			start = h.path("/a-file/started")
			h.file(t, "/a-file", "")
		}
		started := f.step(name, resource.File{Path: start, Content: []byte("x")}, asked)
		last = append(last, f.step(name, resource.Joined{Certificate: rotated, File: rotated.Join.File}, started))
		certificate, key, err := f.authorities.Issue(t.Context(), wanted)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.path("/issued.pem"), append(certificate, key...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	made := &countedTokens{}
	executor := f.executor()
	executor.tokens = made
	// The kubelets, whose tokens are looked at before they are taken away.
	stop := make(chan struct{})
	var kubelets sync.WaitGroup
	for _, name := range names {
		h := f.hosts[name]
		kubelets.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				info, err := os.Stat(h.path("/bootstrap.conf"))
				if _, started := os.Stat(h.path("/started")); err != nil || started != nil || name == ill {
					continue
				}
				if info.Mode().Perm() != 0o600 {
					t.Errorf("%s: the token can be read by others: %v", name, info.Mode())
				}
				if err := os.Symlink(h.path("/issued.pem"), h.path("/kubelet-client-current.pem")); err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	delta := f.survey(t)
	begin := time.Now()
	report, err := executor.Apply(t.Context(), delta)
	t.Logf("%d workers on simulated hosts: %s", workers, time.Since(begin).Round(10*time.Millisecond))
	close(stop)
	kubelets.Wait()
	var failed *FailedError
	if !errors.As(err, &failed) || failed.Failed != 1 {
		t.Errorf("%v", err)
	}
	joined := 0
	for _, r := range report.Results {
		if _, is := r.Item.Step.Resource.(resource.Joined); is && r.Kind == Finished {
			joined++
		}
	}
	if joined != workers-1 {
		t.Errorf("%d of %d joined", joined, len(last))
	}
	if made.made != 1 || made.removed != 1 || made.lifetime != tokenLifetime {
		t.Errorf("%d tokens were made, %d deleted; for %s", made.made, made.removed, made.lifetime)
	}
	for _, name := range names {
		if _, err := os.Stat(f.hosts[name].path("/bootstrap.conf")); (err == nil) != (name == ill) {
			t.Errorf("%s: the token's file: %v", name, err)
		}
	}
}

// A token that can't be made fails the step, and what waits for it, with the reason.
func TestNoToken(t *testing.T) {
	f := newFleet(t, Options{}, "shaolin")
	h := f.hosts["shaolin"]
	executor := f.executor()
	executor.tokens = &countedTokens{err: errors.New("secrets is forbidden")}
	path := h.path("/current.pem")
	f.step("shaolin", resource.RotatedCertificate{
		Wanted: resource.Certificate{Path: path, KeyPath: path}, Takes: resource.Certificate{Path: h.path("/a.crt"), KeyPath: h.path("/a.key")},
		Unit: "kubelet.service", Join: &resource.Join{File: h.path("/bootstrap.conf")},
	})
	_, err := executor.Apply(t.Context(), f.survey(t))
	if err == nil || !strings.Contains(err.Error(), "secrets is forbidden") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(h.path("/bootstrap.conf")); err == nil {
		t.Error("a file without a token was written")
	}
}

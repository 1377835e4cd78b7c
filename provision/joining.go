package provision

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sigs.k8s.io/yaml"

	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/cluster"
	"github.com/kinstall/kinstall/provision/shell"
)

// tokens are made and deleted in the cluster.
type tokens interface {
	create(ctx context.Context, lifetime time.Duration) (cluster.Token, error)
	remove(ctx context.Context, token cluster.Token) error
}

// clusterTokens are the real ones.
type clusterTokens struct{ *Executor }

func (e clusterTokens) create(ctx context.Context, lifetime time.Duration) (cluster.Token, error) {
	client, err := clusterNodes(e).api(ctx)
	if err != nil {
		return cluster.Token{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patchTimeout)
	defer cancel()
	return client.CreateToken(ctx, lifetime)
}

func (e clusterTokens) remove(ctx context.Context, token cluster.Token) error {
	client, err := clusterNodes(e).api(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patchTimeout)
	defer cancel()
	return client.DeleteToken(ctx, token)
}

const (
	// tokenLifetime is how long a token is good for if the apply that made it dies.
	tokenLifetime = 15 * time.Minute
	// tokenUse is how long a token is given to further nodes: each has the rest of
	// its life to ask and be answered.
	tokenUse = 5 * time.Minute
)

// joining is what one apply has nodes join with. The tokens are nowhere else but
// in the cluster and, until they have their certificates, on the nodes.
type joining struct {
	mu     sync.Mutex
	tokens []cluster.Token // those made, the newest last
	made   time.Time       // when the newest was
}

// token returns a token that is good for a while: one for all nodes that join at
// about the same time.
func (j *joining) token(ctx context.Context, e *Executor) (cluster.Token, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.tokens); n > 0 && time.Since(j.made) < tokenUse {
		return j.tokens[n-1], nil
	}
	token, err := e.tokens.create(ctx, tokenLifetime)
	if err != nil {
		return cluster.Token{}, err
	}
	j.tokens, j.made = append(j.tokens, token), time.Now()
	return token, nil
}

// forget deletes the tokens. One that can't be deleted ends by itself.
func (j *joining) forget(ctx context.Context, e *Executor) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, token := range j.tokens {
		if err := e.tokens.remove(ctx, token); err != nil {
			e.Fleet.options.Log(fmt.Sprintf("%s could not be deleted and is good for up to %s more: %v", token, tokenLifetime, err))
		}
	}
	j.tokens = nil
}

// bootstrapConfig is the kubeconfig of a kubelet that has nothing but a token.
func bootstrapConfig(join resource.Join, token cluster.Token) ([]byte, error) {
	const name = "bootstrap"
	return yaml.Marshal(clientcmdv1.Config{
		APIVersion:     "v1",
		Kind:           "Config",
		Clusters:       []clientcmdv1.NamedCluster{{Name: name, Cluster: clientcmdv1.Cluster{Server: join.Server, CertificateAuthority: join.Authority}}},
		AuthInfos:      []clientcmdv1.NamedAuthInfo{{Name: name, AuthInfo: clientcmdv1.AuthInfo{Token: token.Bearer()}}},
		Contexts:       []clientcmdv1.NamedContext{{Name: name, Context: clientcmdv1.Context{Cluster: name, AuthInfo: name}}},
		CurrentContext: name,
	})
}

// letJoin gives a kubelet a token to ask for its certificate with. It would use any
// that it finds, and what is there is of no use.
func letJoin(ctx context.Context, t *task, c resource.RotatedCertificate, restart string) error {
	token, err := t.executor.joining.token(ctx, t.executor)
	if err != nil {
		return err
	}
	config, err := bootstrapConfig(*c.Join, token)
	if err != nil {
		return err
	}
	return t.machine.writeFile(ctx, fileWrite{
		label: t.label(), path: c.Join.File, content: config, own: resource.Ownership{Owner: "root", Group: "root", Mode: 0o600}, anyBefore: true,
		then: "rm -f -- " + shell.Join(c.Wanted.Path, c.Takes.Path, c.Takes.KeyPath) + "\n" + restart,
	})
}

// joinTimeout is how long a kubelet that was started may take to get a certificate.
const joinTimeout = 5 * time.Minute

// applyJoined waits for the certificate and takes the token away.
func applyJoined(ctx context.Context, t *task, j resource.Joined) (fact.Record, error) {
	if t.item.Change.Action != resource.Update {
		t.report("waiting for the kubelet to get its certificate")
		if err := t.awaitCertificate(ctx, j.Certificate); err != nil {
			return fact.Record{}, err
		}
	}
	return fact.Record{}, t.machine.script(ctx, t.label(), "rm -f -- "+shell.Quote(j.File)+"\n")
}

// awaitCertificate waits until a kubelet has a certificate that is as it must be.
func (t *task) awaitCertificate(ctx context.Context, c resource.RotatedCertificate) error {
	ctx, cancel := context.WithTimeoutCause(ctx, joinTimeout, fmt.Errorf("the kubelet got no certificate within %s; its log says why: journalctl -u %s", joinTimeout, c.Unit))
	defer cancel()
	link := shell.Quote(c.Wanted.Path)
	for {
		out, err := t.machine.look(ctx, t.label(), fmt.Sprintf("for i in 1 2 3 4 5 6 7 8 9 10; do if [ -e %[1]s ]; then echo there; exit; fi; sleep 0.5; done\n", link))
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case out == "":
			continue
		}
		facts, _, err := t.machine.ask(ctx, c.Queries())
		if err != nil {
			return err
		}
		change, err := c.Diff(facts)
		if err == nil && change.Action != resource.NoOp {
			err = fmt.Errorf("the kubelet has a certificate that it can't use: %s", change.Reasons[0].Text)
		}
		return err
	}
}

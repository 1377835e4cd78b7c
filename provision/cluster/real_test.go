package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

func object(t *testing.T, text string) resource.Object {
	t.Helper()
	manifest, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	head := struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
	}{}
	if err := json.Unmarshal(manifest, &head); err != nil {
		t.Fatal(err)
	}
	return resource.Object{APIVersion: head.APIVersion, Kind: head.Kind, Namespace: head.Namespace, Name: head.Name, Manifest: manifest, YAML: text}
}

// movedObjects changes an object between the plan and its execution.
func movedObjects(ctx context.Context, t *testing.T, c *Client) {
	t.Helper()
	manifest := func(a, b string) resource.Object {
		return object(t, fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: moved, namespace: lab}\ndata: {a: %s, b: %s}\n", a, b))
	}
	look := func(o resource.Object) (fact.Object, resource.Change) {
		t.Helper()
		set, err := c.Observe(ctx, o.Queries())
		if err != nil {
			t.Fatal(err)
		}
		seen, err := set.Object(o.ID().Name())
		if err != nil {
			t.Fatal(err)
		}
		change, err := o.Diff(set)
		if err != nil {
			t.Fatal(err)
		}
		return seen, change
	}
	endpoint := c.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("lab")
	edit := func(patch string) {
		t.Helper()
		if _, err := endpoint.Patch(ctx, "moved", types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
			t.Fatal(err)
		}
	}
	values := func() string {
		t.Helper()
		found, err := endpoint.Get(ctx, "moved", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		data, _, _ := unstructured.NestedMap(found.Object, "data")
		return fmt.Sprint(data)
	}
	because := func(change resource.Change, want resource.Cause) {
		t.Helper()
		if len(change.Reasons) != 1 || change.Reasons[0].Cause != want {
			t.Errorf("%s because %v, want %s", change.Action, change.Reasons, want)
		}
	}

	first := manifest("one", "two")
	absent, change := look(first)
	if change.Action != resource.Create {
		t.Errorf("an object that is not there: %s", change.Action)
	}
	if err := c.ApplyObject(ctx, first, &absent); err != nil {
		t.Fatal(err)
	}
	// As after an answer that was lost.
	if err := c.ApplyObject(ctx, first, &absent); err != nil {
		t.Errorf("created twice: %v", err)
	}
	seen, change := look(first)
	if change.Action != resource.NoOp || !seen.Managed || seen.Applied != first.Digest() || strings.Contains(seen.Live, resource.AppliedAnnotation) {
		t.Errorf("just applied: %s, %+v", change.Action, seen)
	}
	edit(`{"data":{"a":"by hand"}}`)
	_, change = look(first)
	because(change, resource.Drift)
	if err := c.ApplyObject(ctx, first, &absent); !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), "ConfigMap/lab/moved: data.a: ") {
		t.Errorf("one that came meanwhile and is another: %v", err)
	}
	edit(`{"data":{"a":"one"}}`)

	next := manifest("one", "three")
	seen, change = look(next)
	because(change, resource.Intent)
	edit(`{"data":{"b":"by hand"}}`)
	if err := c.ApplyObject(ctx, next, &seen); !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), "ConfigMap/lab/moved: data.b: ") {
		t.Errorf("changed where it is to be changed: %v", err)
	}
	edit(`{"data":{"b":"two","a":"by hand"}}`)
	if err := c.ApplyObject(ctx, next, &seen); !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), "data.a: ") {
		t.Errorf("changed where the plan showed nothing: %v", err)
	}
	if got := values(); got != "map[a:by hand b:two]" {
		t.Errorf("changed all the same: %s", got)
	}
	edit(`{"metadata":{"labels":{"theirs":"1"}},"data":{"a":"one","theirs":"2"}}`)
	if err := c.ApplyObject(ctx, next, &seen); err != nil {
		t.Errorf("changed where it is nobody's business: %v", err)
	}
	if got := values(); got != "map[a:one b:three theirs:2]" {
		t.Errorf("applied: %s", got)
	}
	seen, _ = look(manifest("four", "three"))
	edit(`{"data":{"a":"four"}}`)
	if err := c.ApplyObject(ctx, manifest("four", "three"), &seen); err != nil {
		t.Errorf("as wanted by now: %v", err)
	}
	if err := endpoint.Delete(ctx, "moved", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.ApplyObject(ctx, first, &seen); !errors.Is(err, ErrMoved) {
		t.Errorf("deleted meanwhile: %v", err)
	}
}

// TestRealAPIServer runs an API server and its etcd on the loopback.
func TestRealAPIServer(t *testing.T) {
	etcd, apiserver := binary(t, "KINSTALL_ETCD"), binary(t, "KINSTALL_KUBE_APISERVER")
	ca := newAuthority(t)
	ports := freePorts(t, 3)
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	address := net.JoinHostPort("127.0.0.1", fmt.Sprint(ports[2]))
	server := Server{Name: "shaolin", Address: address, Dial: direct}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := newClient(t, ca, gone("wudang"), server)

	node := resource.Node{Name: "emei", Labels: map[string]string{"zone": "north", "node-role.kubernetes.io/control-plane": ""},
		Taints: []fact.Taint{{Key: "node-role.kubernetes.io/control-plane", Effect: "NoSchedule"}}, PodCIDRs: []string{"10.244.3.0/24"}}
	namespace := object(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: lab}\n")
	objects := []resource.Object{
		namespace,
		object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: lab}\ndata: {a: b}\n"),
		object(t, "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'system:lab'}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n"),
		object(t, "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: lab}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n"),
		object(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: token, namespace: lab}\nstringData: {key: hunter2}\n"),
		object(t, `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: proxy, namespace: lab}
spec:
  selector: {matchLabels: {app: proxy}}
  template:
    metadata: {labels: {app: proxy}}
    spec: {containers: [{name: proxy, image: "proxy:1", resources: {requests: {cpu: 0.1}}}]}
`),
		object(t, `apiVersion: apps/v1
kind: Deployment
metadata: {name: dns, namespace: lab}
spec:
  replicas: 2
  selector: {matchLabels: {app: dns}}
  template:
    metadata: {labels: {app: dns}}
    spec: {containers: [{name: dns, image: "dns:1", ports: [{containerPort: 53, protocol: UDP}]}]}
`),
	}
	var queries []fact.Query
	for _, o := range objects {
		queries = append(queries, o.Queries()...)
	}
	queries = append(queries, node.Queries()...)

	if _, err := c.Observe(ctx, queries); err == nil || !strings.Contains(err.Error(), ErrNoAPI.Error()) {
		t.Fatalf("before the start: error %v", err)
	}

	// Everything is applied while the API server starts, as in a first bring-up.
	start(t, etcd, "--data-dir", ca.path("etcd"), "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--log-level", "warn")
	ca.issueFiles(t, "apiserver", "127.0.0.1", "kubernetes.default.svc")
	ca.issueFiles(t, "sa")
	stop := start(t, apiserver, "--etcd-servers", client, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", fmt.Sprint(ports[2]),
		"--tls-cert-file", ca.path("apiserver.crt"), "--tls-private-key-file", ca.path("apiserver.key"), "--client-ca-file", ca.path("ca.crt"),
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", ca.path("sa.key"), "--service-account-signing-key-file", ca.path("sa.key"),
		"--service-cluster-ip-range", "10.96.0.0/16", "--authorization-mode", "Node,RBAC", "--disable-admission-plugins", "ServiceAccount",
		"--allow-privileged", "--anonymous-auth=false", "--endpoint-reconciler-type", "none")
	began := time.Now()
	for _, o := range objects {
		if err := c.ApplyObject(ctx, o, nil); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("all objects applied %s after the start", time.Since(began).Round(time.Millisecond))
	instance := Instance{Server: server, TLS: ca.clientTLS(t)}
	served := ""
	eventually(ctx, t, func() error {
		return instance.Ready(ctx, func(_ context.Context, cert *x509.Certificate) error {
			served = cert.Subject.CommonName
			return nil
		})
	})
	if served != "apiserver" {
		t.Errorf("served %q", served)
	}
	t.Logf("ready %s after the start", time.Since(began).Round(time.Millisecond))

	observe := func() fact.Set {
		t.Helper()
		set, err := c.Observe(ctx, queries)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	actions := func(set fact.Set) map[string]resource.Action {
		t.Helper()
		found := map[string]resource.Action{}
		for _, o := range objects {
			change, err := o.Diff(set)
			if err != nil {
				t.Fatal(err)
			}
			if change.Action != resource.NoOp {
				found[o.Kind] = change.Action
				if change.Text != nil {
					t.Logf("%s\nlive:\n%s\nplanned:\n%s", o.ID(), change.Text.Before, change.Text.After)
				}
			}
		}
		change, err := node.Diff(set)
		if err != nil {
			t.Fatal(err)
		}
		if change.Action != resource.NoOp {
			found["Node"] = change.Action
		}
		return found
	}
	if diff := cmp.Diff(map[string]resource.Action{"Node": resource.Deferred}, actions(observe())); diff != "" {
		t.Errorf("after applying (-want +got):\n%s", diff)
	}

	// The kubelet registers while the node is waited for.
	applied := make(chan error, 1)
	go func() { applied <- c.ApplyNode(ctx, node) }()
	if _, err := c.nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "emei", Labels: map[string]string{"kubernetes.io/hostname": "emei"}},
		Spec:   corev1.NodeSpec{Taints: []corev1.Taint{{Key: "node.kubernetes.io/not-ready", Effect: "NoSchedule"}}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-applied; err != nil {
		t.Fatal(err)
	}
	set := observe()
	if diff := cmp.Diff(map[string]resource.Action{}, actions(set)); diff != "" {
		t.Errorf("with the node (-want +got):\n%s", diff)
	}
	got, err := set.Node("emei")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fact.Node{
		Exists:      true,
		Labels:      map[string]string{"zone": "north", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/hostname": "emei"},
		Annotations: map[string]string{resource.ManagedLabelsAnnotation: "node-role.kubernetes.io/control-plane=,zone=north", resource.ManagedTaintsAnnotation: "node-role.kubernetes.io/control-plane=:NoSchedule"},
		Taints:      []fact.Taint{{Key: "node.kubernetes.io/not-ready", Effect: "NoSchedule"}, {Key: "node-role.kubernetes.io/control-plane", Effect: "NoSchedule"}},
		PodCIDRs:    []string{"10.244.3.0/24"},
		Ready:       true,
		Reason:      "KubeletReady",
	}, got); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}

	// Labels and taints that leave the inventory go; those of others stay.
	node.Labels, node.Taints = map[string]string{"zone": "south"}, nil
	if diff := cmp.Diff(map[string]resource.Action{"Node": resource.Update}, actions(observe())); diff != "" {
		t.Errorf("changed node (-want +got):\n%s", diff)
	}
	if err := c.ApplyNode(ctx, node); err != nil {
		t.Fatal(err)
	}
	set = observe()
	if got, err = set.Node("emei"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"zone": "south", "kubernetes.io/hostname": "emei"}, got.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]fact.Taint{{Key: "node.kubernetes.io/not-ready", Effect: "NoSchedule"}}, got.Taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}

	// Drift: fields kinstall wants, changed by hand.
	objects[1] = object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: lab}\ndata: {a: changed by hand}\n")
	if err := c.ApplyObject(ctx, objects[1], nil); err != nil {
		t.Fatal(err)
	}
	objects[1] = object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: lab}\ndata: {a: b}\n")
	objects[4] = object(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: token, namespace: lab}\nstringData: {key: other}\n")
	queries[4] = objects[4].Queries()[0]
	set = observe()
	if diff := cmp.Diff(map[string]resource.Action{"ConfigMap": resource.Update, "Secret": resource.Update}, actions(set)); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
	if secret, err := set.Object("v1/Secret/lab/token"); err != nil || strings.Contains(secret.Live+secret.Planned, "aHVudGVyMg") || !strings.Contains(secret.Planned, "(sensitive, after)") {
		t.Errorf("secret: %+v, %v", secret, err)
	}

	movedObjects(ctx, t, c)

	// A kind that is defined later.
	custom := object(t, "apiVersion: example.org/v1\nkind: Sword\nmetadata: {name: dragon}\nspec: {length: 3}\n")
	if set, err = c.Observe(ctx, custom.Queries()); err != nil {
		t.Fatal(err)
	}
	if o, err := set.Object("example.org/v1/Sword//dragon"); err != nil || o.Exists {
		t.Errorf("a kind that is not there: %+v, %v", o, err)
	}
	if err := c.ApplyObject(ctx, object(t, `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: swords.example.org}
spec:
  group: example.org
  scope: Cluster
  names: {plural: swords, singular: sword, kind: Sword}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {length: {type: integer}}}}}}}]
`), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.ApplyObject(ctx, custom, nil); err != nil {
		t.Fatal(err)
	}

	for _, id := range []resource.ID{custom.ID(), objects[2].ID(), objects[6].ID(), objects[6].ID(), "object:example.net/v1/Nothing//x"} {
		if err := c.DeleteObject(ctx, id); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(map[string]resource.Action{"ConfigMap": resource.Update, "Secret": resource.Update, "ClusterRole": resource.Create, "Deployment": resource.Create}, actions(observe())); diff != "" {
		t.Errorf("after deletion (-want +got):\n%s", diff)
	}

	if _, err := c.nodes.UpdateStatus(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "emei"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.NodeReadySince(ctx, "emei", time.Time{}); err != nil {
		t.Error(err)
	}

	tokensAndRequests(ctx, t, c)

	// The machine goes away under a client with an open connection.
	stop()
	if _, err := c.Observe(ctx, queries); err == nil || !strings.Contains(err.Error(), ErrNoAPI.Error()) {
		t.Errorf("after the end: error %v", err)
	}
}

// eventually tries until it goes well.
func eventually(ctx context.Context, t *testing.T, try func() error) {
	t.Helper()
	for {
		err := try()
		if err == nil {
			return
		}
		if !pause(ctx) {
			t.Fatalf("%v; last: %v", context.Cause(ctx), err)
		}
	}
}

// tokensAndRequests are of an API server that knows what a bootstrap token is, and
// who may ask for a certificate.
func tokensAndRequests(ctx context.Context, t *testing.T, c *Client) {
	t.Helper()
	token, err := c.CreateToken(ctx, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := c.secrets.Get(ctx, token.object(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	end, err := time.Parse(time.RFC3339, string(secret.Data["expiration"]))
	if left := time.Until(end); err != nil || left < 14*time.Minute || left > 15*time.Minute || string(secret.Data["usage-bootstrap-authentication"]) != "true" {
		t.Errorf("the token ends in %s (%v): %v", left, err, secret.Data)
	}
	if err := c.DeleteToken(ctx, token); err != nil {
		t.Error(err)
	}
	if _, err := c.secrets.Get(ctx, token.object(), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the token is still there: %v", err)
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:emei", Organization: []string{"system:nodes"}}, DNSNames: []string{"emei"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fits", "misfits"} {
		if _, err := c.requests.Create(ctx, &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				SignerName: resource.ServingSigner, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
				Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}),
			},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	wanted := resource.Certificate{CommonName: "system:node:emei", Organization: []string{"system:nodes"}, DNSNames: []string{"emei"}, Server: true}
	found, err := c.ServingRequests(ctx)
	if err != nil || len(found) != 2 {
		t.Fatalf("%v, %v", found, err)
	}
	for _, r := range found {
		// An administrator asked.
		if misfits := wanted.Misfits(r); len(misfits) != 2 || !strings.Contains(misfits[0], "it was made by") {
			t.Errorf("%s: %q", r.Name, misfits)
		}
	}
	for name, misfits := range map[string][]string{"fits": nil, "misfits": {"one", "two"}} {
		if err := c.Decide(ctx, name, misfits); err != nil {
			t.Error(err)
		}
		csr, err := c.requests.Get(ctx, name, metav1.GetOptions{})
		if err != nil || len(csr.Status.Conditions) != 1 || (csr.Status.Conditions[0].Type == certificatesv1.CertificateApproved) != (misfits == nil) {
			t.Errorf("%s: %v, %v", name, csr.Status.Conditions, err)
		}
	}
	if found, err := c.ServingRequests(ctx); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}

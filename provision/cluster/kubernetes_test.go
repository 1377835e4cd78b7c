package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// serve runs an HTTPS server whose certificate has the names, and returns a
// way to it.
func serve(t *testing.T, ca *authority, handler http.Handler, sans ...string) Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = ca.serverTLS(t, sans...)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return Server{Name: "shaolin", Address: server.Listener.Addr().String(), Dial: direct}
}

// gone is a server that is not there.
func gone(name string) Server {
	return Server{Name: name, Address: "10.0.0.1:6443", Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New(name + ": open tunnel to 10.0.0.1:6443: connection failed: Connection refused") // as provision/ssh has it
	}}
}

func newClient(t *testing.T, ca *authority, servers ...Server) *Client {
	t.Helper()
	client, err := New(Config{Servers: servers, TLS: ca.clientTLS(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func respond(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

func respondStatus(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	respond(w, code, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: reason, Message: message, Code: int32(code)})
}

func TestNoAPI(t *testing.T) {
	ca := newAuthority(t)
	queries := []fact.Query{{Kind: fact.KindNode, Name: "emei"}}
	object := []fact.Query{{Kind: fact.KindObject, Name: "v1/ConfigMap/kube-system/x", Manifest: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"kube-system"}}`)}}
	silent := Server{Name: "wudang", Address: "10.0.0.2:6443", Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("wudang: open tunnel: Connection timed out")
	}}
	plain := Server{Name: "emei", Address: "10.0.0.3:6443", Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}}
	for _, tt := range []struct {
		name    string
		servers []Server
		queries []fact.Query
		want    bool
	}{
		{"nodes", []Server{gone("shaolin"), plain}, queries, true},
		{"objects", []Server{gone("shaolin")}, object, true},
		{"one is silent", []Server{gone("shaolin"), silent}, queries, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newClient(t, ca, tt.servers...).Observe(testContext(t), tt.queries)
			if err == nil || errors.Is(err, ErrNoAPI) != tt.want {
				t.Errorf("got error %v", err)
			}
		})
	}
	t.Run("wrong certificate", func(t *testing.T) {
		server := serve(t, newAuthority(t), http.NotFoundHandler(), "kubernetes.default.svc")
		client := newClient(t, ca, server)
		_, err := client.Observe(testContext(t), queries)
		if err == nil || errors.Is(err, ErrNoAPI) {
			t.Errorf("got error %v", err)
		}
		// No use in trying again.
		if err := client.ApplyNode(testContext(t), resource.Node{Name: "emei"}); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v", err)
		}
	})
	t.Run("nothing asked", func(t *testing.T) {
		if set, err := newClient(t, ca, silent).Observe(testContext(t), nil); err != nil || set.Len() != 0 {
			t.Errorf("got %v, %v", set, err)
		}
	})
	if _, err := New(Config{}); err == nil {
		t.Error("no servers are no error")
	}
}

// nodeServer is the part of an API server that nodes need.
type nodeServer struct {
	mu        sync.Mutex
	node      *corev1.Node // nil until it registers
	gets      int
	conflicts int // patches to refuse
	patches   []string
	onGet     func(n int, s *nodeServer)
}

func (s *nodeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/nodes":
		list := corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}}
		if s.node != nil {
			list.Items = append(list.Items, *s.node)
		}
		respond(w, http.StatusOK, list)
	case r.URL.Path != "/api/v1/nodes/emei":
		respondStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, "no such path "+r.URL.Path)
	case r.Method == http.MethodGet:
		s.gets++
		if s.onGet != nil {
			s.onGet(s.gets, s)
		}
		if s.node == nil {
			respondStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, `nodes "emei" not found`)
			return
		}
		respond(w, http.StatusOK, s.node)
	case r.Method == http.MethodPatch:
		body, _ := io.ReadAll(r.Body)
		if s.conflicts > 0 {
			s.conflicts--
			s.node.ResourceVersion += "1"
			respondStatus(w, http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified")
			return
		}
		s.patches = append(s.patches, r.Header.Get("Content-Type")+" "+string(body))
		respond(w, http.StatusOK, s.node)
	}
}

func TestApplyNode(t *testing.T) {
	ca := newAuthority(t)
	api := &nodeServer{conflicts: 2}
	api.onGet = func(n int, s *nodeServer) {
		switch n {
		case 3: // registers while it is waited for
			s.node = &corev1.Node{
				TypeMeta:   metav1.TypeMeta{Kind: "Node", APIVersion: "v1"},
				ObjectMeta: metav1.ObjectMeta{Name: "emei", ResourceVersion: "7", Labels: map[string]string{"zone": "south", "old": "1", "others": "x"}, Annotations: map[string]string{resource.ManagedLabelsAnnotation: "old,zone", resource.ManagedTaintsAnnotation: "gone:NoSchedule"}},
				Spec: corev1.NodeSpec{Taints: []corev1.Taint{
					{Key: "node.kubernetes.io/not-ready", Effect: "NoSchedule"},
					{Key: "gone", Effect: "NoSchedule"},
					{Key: "dedicated", Value: "web", Effect: "NoSchedule"},
				}},
			}
		}
	}
	client := newClient(t, ca, gone("wudang"), serve(t, ca, api, "kubernetes.default.svc"))
	err := client.ApplyNode(testContext(t), resource.Node{
		Name:        "emei",
		Labels:      map[string]string{"zone": "north", "disk": "ssd"},
		Taints:      []fact.Taint{{Key: "dedicated", Value: "db", Effect: "NoSchedule"}},
		PodCIDRs:    []string{"10.244.3.0/24", "fd00:10:244:3::/64"},
		Annotations: map[string]string{"flannel.alpha.coreos.com/node-public-ipv6": "fd00::3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`application/merge-patch+json {"metadata":{` +
		`"annotations":{"flannel.alpha.coreos.com/node-public-ipv6":"fd00::3","kinstall.io/managed-annotations":"flannel.alpha.coreos.com/node-public-ipv6=be8cae0d5002be8a","kinstall.io/managed-labels":"disk=ssd,zone=north","kinstall.io/managed-taints":"dedicated=db:NoSchedule"},` +
		`"labels":{"disk":"ssd","old":null,"zone":"north"},"resourceVersion":"711"},` +
		`"spec":{"podCIDR":"10.244.3.0/24","podCIDRs":["10.244.3.0/24","fd00:10:244:3::/64"],` +
		`"taints":[{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"},{"key":"dedicated","value":"db","effect":"NoSchedule"}]}}`}
	if diff := cmp.Diff(want, api.patches); diff != "" {
		t.Errorf("patches (-want +got):\n%s", diff)
	}
}

// A node's heartbeat is that of its lease, and of its status without one.
func TestNode(t *testing.T) {
	ca := newAuthority(t)
	said := time.Date(2026, 3, 14, 9, 20, 0, 0, time.UTC)
	api := &nodeServer{node: &corev1.Node{
		TypeMeta:   metav1.TypeMeta{Kind: "Node", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "emei"},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasNoDiskPressure"},
			{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: "cni plugin not initialized", LastHeartbeatTime: metav1.NewTime(said)},
		}},
	}}
	renewed := ""
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/emei" || renewed == "" {
			api.ServeHTTP(w, r)
			return
		}
		respond(w, http.StatusOK, map[string]any{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
			"metadata": map[string]any{"name": "emei"}, "spec": map[string]any{"renewTime": renewed}})
	})
	client := newClient(t, ca, serve(t, ca, handler, "kubernetes.default.svc"))
	want := fact.Node{Exists: true, Reason: "KubeletNotReady", Message: "cni plugin not initialized", Heartbeat: said}
	for _, tt := range []struct {
		renewed   string
		heartbeat time.Time
	}{
		{"", said},
		{"2026-03-14T09:26:53.500000Z", said.Add(6*time.Minute + 53*time.Second + 500*time.Millisecond)},
		{"2026-03-14T09:10:00.000000Z", said}, // one that is not renewed any more
	} {
		renewed, want.Heartbeat = tt.renewed, tt.heartbeat
		got, err := client.Node(testContext(t), "emei")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(0)); diff != "" {
			t.Errorf("lease of %q (-want +got):\n%s", tt.renewed, diff)
		}
	}
	if got, err := client.Node(testContext(t), "kunlun"); err != nil || got.Exists {
		t.Errorf("a node that is not there: %+v, %v", got, err)
	}
}

func TestApplyNodeRefuses(t *testing.T) {
	ca := newAuthority(t)
	api := &nodeServer{node: &corev1.Node{
		TypeMeta:   metav1.TypeMeta{Kind: "Node", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "emei", Annotations: map[string]string{resource.ManagedLabelsAnnotation: "zone=north", resource.ManagedTaintsAnnotation: ""}, Labels: map[string]string{"zone": "north"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244.9.0/24"},
	}}
	client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
	node := resource.Node{Name: "emei", Labels: map[string]string{"zone": "north"}}
	if err := client.ApplyNode(testContext(t), node); err != nil {
		t.Error(err)
	}
	node.PodCIDRs = []string{"10.244.9.0/24"}
	if err := client.ApplyNode(testContext(t), node); err != nil {
		t.Error(err)
	}
	for _, other := range [][]string{{"10.244.3.0/24"}, {"10.244.9.0/24", "fd00:10:244:9::/64"}} {
		node.PodCIDRs = other
		if err := client.ApplyNode(testContext(t), node); err == nil || !strings.Contains(err.Error(), "node emei: has the pod network 10.244.9.0/24") {
			t.Errorf("another pod network: error %v", err)
		}
	}
	if len(api.patches) > 0 {
		t.Errorf("patched without need: %q", api.patches)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	api.mu.Lock()
	api.node = nil
	api.mu.Unlock()
	if err := client.ApplyNode(ctx, node); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "has not registered") {
		t.Errorf("a node that never comes: error %v", err)
	}
}

func TestNodeReadySince(t *testing.T) {
	ca := newAuthority(t)
	api := &nodeServer{onGet: func(n int, s *nodeServer) {
		condition := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Message: "cni plugin not initialized",
			LastHeartbeatTime: metav1.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
		switch n {
		case 2, 3:
			s.node = &corev1.Node{TypeMeta: metav1.TypeMeta{Kind: "Node", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: "emei"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{condition}}}
		case 4:
			// Ready, but from before the restart.
			s.node.Status.Conditions[0].Status = corev1.ConditionTrue
			s.node.Status.Conditions[0].LastHeartbeatTime = metav1.Date(2026, 5, 4, 3, 2, 0, 0, time.UTC)
		case 5:
			s.node.Status.Conditions[0].LastHeartbeatTime = metav1.Date(2026, 5, 4, 3, 2, 2, 0, time.UTC)
		}
	}}
	client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
	var said []string
	restarted := time.Date(2026, 5, 4, 3, 2, 1, 500_000_000, time.UTC)
	for range 6 {
		if err := client.NodeReadySince(testContext(t), "emei", restarted); err != nil {
			said = append(said, err.Error())
		}
	}
	if diff := cmp.Diff([]string{"node emei: the kubelet has not registered", "node emei is not Ready: cni plugin not initialized",
		"node emei is not Ready: cni plugin not initialized", "node emei: its kubelet has not reported since it was started"}, said); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

// TestApplyObjectSettles: what a new API server says no to at first.
func TestApplyObjectSettles(t *testing.T) {
	ca := newAuthority(t)
	var mu sync.Mutex
	tries := 0
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	})
	mux.HandleFunc("GET /apis", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}})
	})
	mux.HandleFunc("GET /api/v1", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList"}, GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "configmaps", Namespaced: true, Kind: "ConfigMap", Verbs: metav1.Verbs{"get", "patch"}}}})
	})
	mux.HandleFunc("PATCH /api/v1/namespaces/kube-system/configmaps/x", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		tries++
		switch tries {
		case 1:
			respondStatus(w, http.StatusForbidden, metav1.StatusReasonForbidden, "configmaps is forbidden")
		case 2:
			respondStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, `namespaces "kube-system" not found`)
		case 3:
			respondStatus(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "etcdserver: leader changed")
		case 4:
			if got := r.URL.Query(); got.Get("fieldManager") != "kinstall" || got.Get("force") != "true" || got.Has("dryRun") {
				t.Errorf("query %v", got)
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.Copy(w, r.Body)
		default:
			respondStatus(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "data: Invalid value")
		}
	})
	client := newClient(t, ca, serve(t, ca, mux, "kubernetes.default.svc"))
	object := resource.Object{APIVersion: "v1", Kind: "ConfigMap", Namespace: "kube-system", Name: "x", Manifest: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"kube-system"},"data":{"a":"b"}}`)}
	if err := client.ApplyObject(testContext(t), object, nil); err != nil || tries != 4 {
		t.Errorf("%d tries, error %v", tries, err)
	}
	if err := client.ApplyObject(testContext(t), object, nil); err == nil || !strings.Contains(err.Error(), "apply object:v1/ConfigMap/kube-system/x") || tries != 5 {
		t.Errorf("an invalid object: %d tries, error %v", tries, err)
	}
	object.Manifest = []byte(`{"kind":"ConfigMap"}`)
	if err := client.ApplyObject(testContext(t), object, nil); err == nil {
		t.Error("a manifest without a name was accepted")
	}
}

// configMap is the part of an API server that one ConfigMap needs: an apply
// sets the keys of data that it names.
type configMap struct {
	mu      sync.Mutex
	data    map[string]string // nil: not there
	version int
	// between is called before an apply that is no dry run, once.
	between func(*configMap)
	applied int
}

func (s *configMap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := func(data map[string]string) {
		respond(w, http.StatusOK, corev1.ConfigMap{TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"},
			ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "kube-system", ResourceVersion: fmt.Sprint(s.version)}, Data: data})
	}
	switch {
	case r.URL.Path == "/api/v1":
		respond(w, http.StatusOK, metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "configmaps", Kind: "ConfigMap", Namespaced: true}}})
	case r.Method == http.MethodGet && s.data == nil:
		respondStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, "not found")
	case r.Method == http.MethodGet:
		answer(s.data)
	case r.Method == http.MethodPatch:
		dry := r.URL.Query().Has("dryRun")
		if between := s.between; between != nil && !dry {
			s.between = nil
			between(s)
		}
		var want corev1.ConfigMap
		_ = json.NewDecoder(r.Body).Decode(&want)
		if want.ResourceVersion != "" && want.ResourceVersion != fmt.Sprint(s.version) {
			respondStatus(w, http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified")
			return
		}
		merged := maps.Clone(s.data)
		if merged == nil {
			merged = map[string]string{}
		}
		maps.Copy(merged, want.Data)
		if !dry {
			s.data, s.version, s.applied = merged, s.version+1, s.applied+1
		}
		answer(merged)
	}
}

// An apply changes nothing that the plan did not show.
func TestApplyObjectMoved(t *testing.T) {
	object := resource.Object{APIVersion: "v1", Kind: "ConfigMap", Namespace: "kube-system", Name: "x",
		Manifest: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"kube-system"},"data":{"a":"new","b":"same"}}`)}
	for _, tt := range []struct {
		name    string
		planned map[string]string // what was there
		found   map[string]string // and is now
		between func(*configMap)  // happens between the last look and the apply
		want    map[string]string
		moved   string
	}{
		{name: "as planned", planned: map[string]string{"a": "old", "b": "same"}, found: map[string]string{"a": "old", "b": "same"}, want: map[string]string{"a": "new", "b": "same"}},
		{name: "created", want: map[string]string{"a": "new", "b": "same"}},
		{name: "created by somebody else", found: map[string]string{"a": "theirs"}, moved: "data.a, data.b: "},
		{name: "as wanted by now", planned: map[string]string{"a": "old"}, found: map[string]string{"a": "new", "b": "same"}, want: map[string]string{"a": "new", "b": "same"}},
		{name: "half as wanted by now", planned: map[string]string{"a": "old"}, found: map[string]string{"a": "new"}, want: map[string]string{"a": "new", "b": "same"}},
		{name: "what nobody applies", planned: map[string]string{"a": "old", "b": "same"}, found: map[string]string{"a": "old", "b": "same", "c": "theirs"}, want: map[string]string{"a": "new", "b": "same", "c": "theirs"}},
		{name: "the same field", planned: map[string]string{"a": "old", "b": "same"}, found: map[string]string{"a": "theirs", "b": "same"}, moved: "data.a: "},
		{name: "another field", planned: map[string]string{"a": "old", "b": "same"}, found: map[string]string{"a": "old", "b": "theirs"}, moved: "data.b: "},
		{name: "deleted", planned: map[string]string{"a": "old"}, moved: "it is not there any more: "},
		{name: "at the last moment", planned: map[string]string{"a": "old", "b": "same"}, found: map[string]string{"a": "old", "b": "same"},
			between: func(s *configMap) { s.data["a"] = "theirs"; s.version++ }, moved: "data.a: "},
		{name: "its status at the last moment", planned: map[string]string{"a": "old", "b": "same"}, found: map[string]string{"a": "old", "b": "same"},
			between: func(s *configMap) { s.version++ }, want: map[string]string{"a": "new", "b": "same"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := &configMap{data: maps.Clone(tt.planned), version: 7}
			ca := newAuthority(t)
			client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
			set, err := client.Observe(testContext(t), object.Queries())
			if err != nil {
				t.Fatal(err)
			}
			seen, err := set.Object(object.ID().Name())
			if err != nil {
				t.Fatal(err)
			}
			api.mu.Lock()
			api.data, api.between = maps.Clone(tt.found), tt.between
			api.version++
			api.mu.Unlock()
			err = client.ApplyObject(testContext(t), object, &seen)
			if tt.moved != "" {
				if !errors.Is(err, ErrMoved) || !strings.HasPrefix(err.Error(), "apply object:v1/ConfigMap/kube-system/x: "+tt.moved) || api.applied != 0 {
					t.Errorf("applied %d times, error %v", api.applied, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, api.data); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
		})
	}
}

// What differs in a Secret is told without its values.
func TestDifferences(t *testing.T) {
	of := func(password string, names ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"kind": "Secret", "metadata": map[string]any{"resourceVersion": password},
			"data": map[string]any{"password": password}, "names": names}}
	}
	paths := func(found map[string]string) []string { return slices.Sorted(maps.Keys(found)) }
	one, two, three := of("hunter2", "a", "b"), of("other", "a", "c"), of("third", "a")
	if diff := cmp.Diff([]string{"data.password", "names.1"}, paths(differences(one, two))); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"data.password", "names"}, paths(differences(one, three))); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if a, b := differences(one, two), differences(three, two); a["data.password"] == b["data.password"] {
		t.Error("two changes of a value to the same are told apart by nothing")
	}
	if text := fmt.Sprint(differences(one, two)); strings.Contains(text, "hunter2") {
		t.Errorf("a secret shows: %s", text)
	}
}

func TestParseObjectID(t *testing.T) {
	for id, want := range map[resource.ID]string{
		"object:apps/v1/Deployment/kube-system/coredns":                        "apps v1 Deployment kube-system coredns",
		"object:v1/ConfigMap/kube-system/x":                                    " v1 ConfigMap kube-system x",
		"object:rbac.authorization.k8s.io/v1/ClusterRole//system:coredns":      "rbac.authorization.k8s.io v1 ClusterRole  system:coredns",
		"object:v1/Namespace//lab":                                             " v1 Namespace  lab",
		resource.Object{APIVersion: "v1", Kind: "Namespace", Name: "lab"}.ID(): " v1 Namespace  lab",
		"object:v1/ConfigMap/x":                                                "",
		"file:/etc/a/b":                                                        "",
		"object:v1/ConfigMap/kube-system/":                                     "",
	} {
		kind, namespace, name, err := parseObjectID(id)
		got := fmt.Sprintf("%s %s %s %s %s", kind.Group, kind.Version, kind.Kind, namespace, name)
		if (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%s: got %q, %v", id, got, err)
		}
	}
}

func TestHideSecret(t *testing.T) {
	secret := func(data map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "data": data}}
	}
	live, planned := secret(map[string]any{"same": "c2FtZQ==", "other": "b2xk", "gone": "eA=="}), secret(map[string]any{"same": "c2FtZQ==", "other": "bmV3"})
	hideSecret(live, planned)
	want := []map[string]any{
		{"same": "(sensitive)", "other": "(sensitive, before)", "gone": "(sensitive)"},
		{"same": "(sensitive)", "other": "(sensitive, after)"},
	}
	if diff := cmp.Diff(want, []map[string]any{live.Object["data"].(map[string]any), planned.Object["data"].(map[string]any)}); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

func TestInstanceReady(t *testing.T) {
	ca := newAuthority(t)
	var mu sync.Mutex
	tries := 0
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case "/readyz":
			if tries++; tries < 3 {
				w.WriteHeader(http.StatusInternalServerError)
				fmt.Fprint(w, "[+]ping ok\n[-]etcd failed: reason withheld\n[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\nreadyz check failed\n")
			}
		}
	})
	server := serve(t, ca, handler, "127.0.0.1")
	instance := Instance{Server: server, TLS: &tls.Config{RootCAs: ca.pool()}}
	var said []string
	checked := 0
	check := func(_ context.Context, cert *x509.Certificate) error {
		if checked++; checked < 5 {
			return errors.New("serves the old certificate")
		}
		if cert.Subject.CommonName != "server" {
			t.Errorf("checked %v", cert.Subject)
		}
		return nil
	}
	for range 5 {
		if err := instance.Ready(testContext(t), check); err != nil {
			said = append(said, err.Error())
		}
	}
	old := "API server shaolin is not ready: serves the old certificate"
	if diff := cmp.Diff([]string{old, old, old, old}, said); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
	mu.Lock()
	tries = 0
	mu.Unlock()
	if err := instance.Ready(testContext(t), nil); err == nil || !strings.Contains(err.Error(), "waiting for etcd, poststarthook/rbac/bootstrap-roles") {
		t.Errorf("got error %v", err)
	}

	for _, tt := range []struct {
		name     string
		instance Instance
		want     string
	}{
		{"nothing there", Instance{Server: gone("shaolin"), TLS: instance.TLS}, "Connection refused"},
		{"another authority", Instance{Server: server, TLS: &tls.Config{RootCAs: newAuthority(t).pool()}}, "certificate signed by unknown authority"},
		{"another name", Instance{Server: server, TLS: &tls.Config{RootCAs: ca.pool(), ServerName: "wudang"}}, "wudang"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.instance.Ready(testContext(t), nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v", err)
			}
		})
	}
}

// An object that the server would not take is an answer about that object, and
// no reason to know nothing of the others.
func TestObserveRefusedObject(t *testing.T) {
	ca := newAuthority(t)
	api := http.NewServeMux()
	api.HandleFunc("GET /api/v1", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "services", Kind: "Service", Namespaced: true}}})
	})
	api.HandleFunc("GET /api/v1/namespaces/kube-system/services/kube-dns", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, corev1.Service{TypeMeta: metav1.TypeMeta{Kind: "Service", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Namespace: "kube-system"}})
	})
	api.HandleFunc("PATCH /api/v1/namespaces/kube-system/services/kube-dns", func(w http.ResponseWriter, _ *http.Request) {
		respondStatus(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "spec.clusterIPs[1]: Invalid value")
	})
	query := fact.Query{Kind: fact.KindObject, Name: "v1/Service/kube-system/kube-dns", Manifest: []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"kube-dns","namespace":"kube-system"}}`)}
	set, err := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc")).Observe(testContext(t), []fact.Query{query})
	if err != nil {
		t.Fatal(err)
	}
	found, err := set.Object(query.Name)
	if err != nil || !found.Exists || found.Refused != "spec.clusterIPs[1]: Invalid value" || !strings.Contains(found.Live, "name: kube-dns") || found.Planned != "" {
		t.Errorf("got %+v, %v", found, err)
	}
}

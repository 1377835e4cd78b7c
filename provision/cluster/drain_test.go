package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// podServer is the part of an API server that a drain needs: one node, emei, and
// the pods on it.
type podServer struct {
	mu      sync.Mutex
	node    corev1.Node
	pods    []corev1.Pod
	evicted []string // in the order in which evictions were asked for
	// onEvict decides on an eviction: nil lets the pod end at once.
	onEvict func(s *podServer, pod *corev1.Pod) *metav1.Status
	onList  func(s *podServer)
	asked   string // the last list's field selector
}

func (s *podServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/nodes":
		respond(w, http.StatusOK, corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}, Items: []corev1.Node{s.node}})
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/nodes/emei":
		respond(w, http.StatusOK, s.node)
	case r.Method == http.MethodPatch && r.URL.Path == "/api/v1/nodes/emei":
		s.patch(body)
		respond(w, http.StatusOK, s.node)
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/pods":
		if s.onList != nil {
			s.onList(s)
		}
		s.asked = r.URL.Query().Get("fieldSelector")
		respond(w, http.StatusOK, corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: s.pods})
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/eviction"):
		s.evict(w, r, body)
	default:
		respondStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, "no such path "+r.URL.Path)
	}
}

// patch merges as the API server does.
func (s *podServer) patch(body []byte) {
	before, _ := json.Marshal(s.node)
	after, err := strategicpatch.StrategicMergePatch(before, body, corev1.Node{})
	if err == nil {
		s.node = corev1.Node{}
		err = json.Unmarshal(after, &s.node)
	}
	if err != nil {
		panic(err)
	}
}

func (s *podServer) evict(w http.ResponseWriter, r *http.Request, body []byte) {
	parts := strings.Split(r.URL.Path, "/") // /api/v1/namespaces/NAMESPACE/pods/NAME/eviction
	eviction := policyv1.Eviction{}
	if err := json.Unmarshal(body, &eviction); err != nil || eviction.APIVersion != "policy/v1" {
		respondStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, string(body))
		return
	}
	i := slices.IndexFunc(s.pods, func(p corev1.Pod) bool { return p.Namespace == parts[4] && p.Name == parts[6] })
	if i < 0 {
		respondStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, "no such pod")
		return
	}
	s.evicted = append(s.evicted, parts[4]+"/"+parts[6])
	if uid := eviction.DeleteOptions.Preconditions.UID; *uid != s.pods[i].UID {
		respondStatus(w, http.StatusConflict, metav1.StatusReasonConflict, "another pod")
		return
	}
	if s.onEvict != nil {
		if status := s.onEvict(s, &s.pods[i]); status != nil {
			respond(w, int(status.Code), status)
			return
		}
	} else {
		s.pods = slices.Delete(s.pods, i, i+1)
	}
	respond(w, http.StatusCreated, metav1.Status{Status: "Success"})
}

// pod is one on the node, made by a controller of that kind ("": by nobody).
func pod(name, controller string, edit ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid of " + name)}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	if controller != "" {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: controller, Name: name, Controller: &yes}}
	}
	for _, e := range edit {
		e(&p)
	}
	return p
}

// budget refuses an eviction.
func budget(message string) *metav1.Status {
	return &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonTooManyRequests, Code: http.StatusTooManyRequests,
		Message: "Cannot evict pod as it would violate the pod's disruption budget.",
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: message}}, RetryAfterSeconds: 10}}
}

func tolerant(p *corev1.Pod) {
	p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
}

func left(s *podServer) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, p := range s.pods {
		names = append(names, p.Name)
	}
	return names
}

func TestDrain(t *testing.T) {
	ca := newAuthority(t)
	api := &podServer{pods: []corev1.Pod{
		pod("web-1", "ReplicaSet"),
		pod("store-0", "StatefulSet", func(p *corev1.Pod) { p.Namespace = "data" }),
		pod("agent", "ReplicaSet", tolerant), // comes back, under another name
		pod("flannel", "DaemonSet"),
		pod("kube-apiserver-emei", "Node", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }),
		pod("job", "Job", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		pod("ran", "", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
	}}
	lists := 0
	api.onList = func(s *podServer) {
		if lists++; lists == 2 { // bound to the node before it was cordoned; and what no cordon keeps away
			s.pods = append(s.pods, pod("late", "ReplicaSet"), pod("agent-2", "ReplicaSet", tolerant))
		}
	}
	client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
	if err := client.Drain(testContext(t), "emei", func(string) {}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(api.evicted)
	if diff := cmp.Diff([]string{"data/store-0", "default/agent", "default/late", "default/web-1"}, api.evicted); diff != "" {
		t.Errorf("evicted (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"flannel", "kube-apiserver-emei", "job", "ran", "agent-2"}, left(api)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if api.asked != "spec.nodeName=emei" {
		t.Errorf("asked for pods with %q", api.asked)
	}
}

// A pod counts as gone when it has ended, not when it was told to.
func TestDrainWaitsForPodsToEnd(t *testing.T) {
	ca := newAuthority(t)
	api := &podServer{pods: []corev1.Pod{pod("web-1", "ReplicaSet")}}
	api.onEvict = func(_ *podServer, p *corev1.Pod) *metav1.Status {
		p.DeletionTimestamp = &metav1.Time{}
		*p.DeletionTimestamp = metav1.Now()
		return nil
	}
	var said []string
	client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
	err := client.Drain(testContext(t), "emei", func(text string) {
		if said = append(said, text); len(said) == 2 {
			api.mu.Lock()
			defer api.mu.Unlock()
			api.pods = nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"waiting for default/web-1: it is ending", "waiting for default/web-1: it is ending"}, said); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(api.evicted) != 1 {
		t.Errorf("evicted %v", api.evicted)
	}
}

// What a budget forbids is asked for again, and said, until it is allowed or
// given up.
func TestDrainWaitsForBudgets(t *testing.T) {
	const needs = "The disruption budget web needs 2 healthy pods and has 2 currently"
	for name, allowed := range map[string]bool{"allowed later": true, "given up": false} {
		t.Run(name, func(t *testing.T) {
			ca := newAuthority(t)
			api := &podServer{pods: []corev1.Pod{pod("web-1", "ReplicaSet"), pod("other", "ReplicaSet")}}
			client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
			open := false
			api.onEvict = func(s *podServer, p *corev1.Pod) *metav1.Status {
				if p.Name == "web-1" && !open {
					return budget(needs)
				}
				s.pods = slices.DeleteFunc(s.pods, func(other corev1.Pod) bool { return other.UID == p.UID })
				return nil
			}
			ctx, giveUp := context.WithCancelCause(testContext(t))
			tired := errors.New("given up after 5m0s")
			said := ""
			err := client.Drain(ctx, "emei", func(text string) {
				said = text
				if strings.Contains(text, "other") {
					return // it goes all the same
				}
				if !allowed {
					giveUp(tired)
					return
				}
				api.mu.Lock()
				defer api.mu.Unlock()
				open = true
			})
			if allowed && err != nil {
				t.Error(err)
			}
			if want := "default/web-1: the disruption budget web needs 2 healthy pods and has 2 currently"; !strings.HasSuffix(said, want) && !allowed {
				t.Errorf("said %q", said)
			} else if !allowed {
				var given *DrainError
				if !errors.As(err, &given) || !errors.Is(err, tired) || err.Error() != "node emei was not drained: given up after 5m0s; it waited for "+want {
					t.Errorf("error %v", err)
				}
			}
		})
	}
}

// A drain that is given up while it asks says what it was told before.
func TestDrainGivenUpWhileItAsks(t *testing.T) {
	for asked, want := range map[int]string{
		1: "node emei was not drained: given up",
		2: "node emei was not drained: given up; it waited for default/web-1: the disruption budget web needs 2 healthy pods",
	} {
		ca := newAuthority(t)
		api := &podServer{pods: []corev1.Pod{pod("web-1", "ReplicaSet")}}
		client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
		ctx, giveUp := context.WithCancelCause(testContext(t))
		api.onEvict = func(s *podServer, _ *corev1.Pod) *metav1.Status {
			if len(s.evicted) == asked {
				giveUp(errors.New("given up"))
			}
			return budget("The disruption budget web needs 2 healthy pods")
		}
		if err := client.Drain(ctx, "emei", func(string) {}); err == nil || err.Error() != want {
			t.Errorf("given up at eviction %d: %v, not %s", asked, err, want)
		}
	}
}

// Where a pod would be gone for good, none is evicted.
func TestDrainLeavesBarePods(t *testing.T) {
	ca := newAuthority(t)
	api := &podServer{pods: []corev1.Pod{pod("a", "ReplicaSet"), pod("by-hand", ""), pod("z", "ReplicaSet")}}
	client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
	err := client.Drain(testContext(t), "emei", func(string) {})
	var bare *BarePodsError
	if !errors.As(err, &bare) || err.Error() != "node emei can't be drained: no controller would make these pods again elsewhere: default/by-hand" {
		t.Errorf("error %v", err)
	}
	if len(api.evicted) > 0 {
		t.Errorf("evicted %v", api.evicted)
	}
}

func TestObserveEvictedPods(t *testing.T) {
	ca := newAuthority(t)
	api := &podServer{node: corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "emei"}}, pods: []corev1.Pod{
		pod("web", "ReplicaSet", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		}),
		pod("by-hand", ""), pod("flannel", "DaemonSet"), pod("agent", "ReplicaSet", tolerant),
		pod("ending", "ReplicaSet", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} }),
	}}
	client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
	look := func(pods bool) []fact.NodePod {
		t.Helper()
		set, err := client.Observe(testContext(t), []fact.Query{{Kind: fact.KindNode, Name: "emei", Pods: pods}})
		if err != nil {
			t.Fatal(err)
		}
		node, err := set.Node("emei")
		if err != nil {
			t.Fatal(err)
		}
		return node.Pods
	}
	agent, byHand, web := fact.NodePod{Namespace: "default", Name: "agent"}, fact.NodePod{Namespace: "default", Name: "by-hand", Bare: true}, fact.NodePod{Namespace: "default", Name: "web", EmptyDir: true}
	if diff := cmp.Diff([]fact.NodePod{agent, byHand, web}, look(true)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := look(false); got != nil {
		t.Errorf("without being asked: %v", got)
	}
	api.node.Spec.Unschedulable = true // the agent has come in spite of it, and would again
	if diff := cmp.Diff([]fact.NodePod{byHand, web}, look(true)); diff != "" {
		t.Errorf("cordoned (-want +got):\n%s", diff)
	}
}

// kinstall lifts the cordons that it has set, for the reason for which it has
// set them, and no others.
func TestCordon(t *testing.T) {
	by := func(manager string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{Manager: manager, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:unschedulable":{}}}`)}}
	}
	cordoned := func(mark, manager string) corev1.Node {
		node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "emei", ManagedFields: by(manager)}, Spec: corev1.NodeSpec{Unschedulable: true}}
		if mark != "" {
			node.Annotations = map[string]string{resource.CordonAnnotation: mark}
		}
		return node
	}
	for _, c := range []struct {
		name string
		node corev1.Node
		own  bool
		mark string // once it was cordoned for a turn
		lift bool   // whether a turn's end lifts it
	}{
		{"free", corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "emei"}}, true, "turn", true},
		{"left by a turn", cordoned("turn", FieldManager), true, "turn", true},
		{"for its state", cordoned("state", FieldManager), false, "state", false},
		{"by somebody else", cordoned("", "kubectl-cordon"), false, "", false},
		{"by somebody else, since", cordoned("turn", "kubectl-cordon"), false, "turn", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca := newAuthority(t)
			api := &podServer{node: c.node}
			client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
			own, err := client.Cordon(testContext(t), "emei", resource.CordonForTurn)
			if err != nil || own != c.own {
				t.Errorf("own: %v, %v", own, err)
			}
			if mark := api.node.Annotations[resource.CordonAnnotation]; !api.node.Spec.Unschedulable || mark != c.mark {
				t.Errorf("cordoned: %v, marked %q", api.node.Spec.Unschedulable, mark)
			}
			if err := client.Uncordon(testContext(t), "emei", resource.CordonForTurn); err != nil {
				t.Error(err)
			}
			if api.node.Spec.Unschedulable == c.lift {
				t.Errorf("still cordoned: %v", api.node.Spec.Unschedulable)
			}
			if _, marked := api.node.Annotations[resource.CordonAnnotation]; marked && c.lift {
				t.Error("the mark has outlived the cordon")
			}
		})
	}
	ca := newAuthority(t)
	nobody := newClient(t, ca, serve(t, ca, &podServer{}, "kubernetes.default.svc"))
	if own, err := nobody.Cordon(testContext(t), "kunlun", resource.CordonForTurn); own || err != nil {
		t.Errorf("a node that is not there: %v, %v", own, err)
	}
	if err := nobody.Uncordon(testContext(t), "kunlun", resource.CordonForTurn); err != nil {
		t.Errorf("a node that is not there: %v", err)
	}
	if err := nobody.DeleteNode(testContext(t), "kunlun"); err != nil {
		t.Errorf("a node that is not there: %v", err)
	}
	if err := newClient(t, newAuthority(t), gone("emei")).DeleteNode(canceled(t), "emei"); err == nil {
		t.Error("no API server is no error")
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// What a host's state says is patched with the rest of the node.
func TestApplyNodeSchedules(t *testing.T) {
	ca := newAuthority(t)
	api := &podServer{node: corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "emei"}}}
	client := newClient(t, ca, serve(t, ca, api, "kubernetes.default.svc"))
	steps := []struct {
		schedule resource.Schedule
		edit     func()
		cordoned bool
		mark     string
	}{
		{resource.Active, func() {}, false, ""},
		{resource.Cordoned, func() {}, true, "state"},
		{resource.Drained, func() {}, true, "state"},
		{resource.Active, func() {}, false, ""},
		{resource.Active, func() { api.node.Spec.Unschedulable = true }, true, ""},                             // by somebody else
		{resource.Drained, func() {}, true, ""},                                                                // it stays theirs
		{resource.Active, func() { api.node.Annotations[resource.CordonAnnotation] = "turn" }, false, ""},      // left by a run that died
		{resource.Active, func() { api.node.Annotations[resource.CordonAnnotation] = "departure" }, false, ""}, // a cordon that somebody has lifted
	}
	for i, s := range steps {
		s.edit()
		if err := client.ApplyNode(testContext(t), resource.Node{Name: "emei", Schedule: s.schedule}); err != nil {
			t.Fatal(err)
		}
		if mark := api.node.Annotations[resource.CordonAnnotation]; api.node.Spec.Unschedulable != s.cordoned || mark != s.mark {
			t.Errorf("%d: cordoned %v, marked %q", i, api.node.Spec.Unschedulable, mark)
		}
	}
}

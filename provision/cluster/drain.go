package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/fault"
)

const (
	// drainInterval lies between two looks at a node that is drained.
	drainInterval = time.Second
	// parallelEvictions bounds how many pods are evicted at a time.
	parallelEvictions = 8
	// evictTimeout bounds one request to evict a pod.
	evictTimeout = 30 * time.Second
)

// DrainError says that a drain did not come to its end, and what it still waited
// for.
type DrainError struct {
	Node string
	// Waiting names each pod that was still there, and why:
	// "default/web-1: the disruption budget web needs 2 healthy pods and has 2 currently".
	Waiting []string
	Err     error // why it was given up
}

func (e *DrainError) Error() string {
	text := fmt.Sprintf("node %s was not drained: %v", e.Node, e.Err)
	if len(e.Waiting) > 0 {
		text += "; it waited for " + few(e.Waiting)
	}
	return text
}

func (e *DrainError) Unwrap() error { return e.Err }

// Hint is advice for the user.
func (e *DrainError) Hint() string {
	for _, text := range e.Waiting {
		if strings.Contains(text, "budget") {
			return "give the pods' controller another replica, or wait until its pods are healthy; drain_timeout in the rollout block gives them longer"
		}
	}
	return ""
}

// few joins the first of many texts.
func few(texts []string) string {
	const most = 5
	if len(texts) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(texts[:most], "; "), len(texts)-most)
	}
	return strings.Join(texts, "; ")
}

// evictable reports whether a drain evicts a pod. Mirrors of static pods go with
// the files of these; a DaemonSet would put its pods on a cordoned node again;
// those that have ended run no more.
func evictable(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	owner := metav1.GetControllerOf(pod)
	return !mirror && !ended && (owner == nil || owner.Kind != "DaemonSet")
}

// returns reports whether a pod may be put on a cordoned node: evicting it from
// there would only bring another one.
func returns(pod *corev1.Pod) bool {
	taint := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	return slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		return (t.Effect == "" || t.Effect == taint.Effect) && (t.Key == taint.Key || t.Key == "" && t.Operator == corev1.TolerationOpExists)
	})
}

// podFact reduces a pod to what a plan looks at.
func podFact(pod *corev1.Pod) fact.NodePod {
	return fact.NodePod{
		Namespace: pod.Namespace, Name: pod.Name,
		Bare:     metav1.GetControllerOf(pod) == nil,
		EmptyDir: slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.EmptyDir != nil }),
	}
}

// podsOn lists the pods on a node that a drain evicts, sorted by name.
func (c *Client) podsOn(ctx context.Context, node string) ([]corev1.Pod, error) {
	list, err := c.pods.Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
	if err != nil {
		return nil, fmt.Errorf("pods on node %s: %w", node, err)
	}
	pods := slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return !evictable(&pod) })
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return pods, nil
}

// evictedPods are those that a drain of a node would evict, but for those that end
// already. On one that is cordoned, pods that come in spite of that don't count.
func (c *Client) evictedPods(ctx context.Context, node string, cordoned bool) ([]fact.NodePod, error) {
	pods, err := c.podsOn(ctx, node)
	var found []fact.NodePod
	for i := range pods {
		if pods[i].DeletionTimestamp == nil && (!cordoned || !returns(&pods[i])) {
			found = append(found, podFact(&pods[i]))
		}
	}
	return found, err
}

// BarePodsError says that a node has pods that no controller would make again
// elsewhere.
type BarePodsError struct {
	Node string
	Pods []string // "default/web"
}

func (e *BarePodsError) Error() string {
	return fmt.Sprintf("node %s can't be drained: no controller would make these pods again elsewhere: %s", e.Node, few(e.Pods))
}

// Hint is advice for the user.
func (e *BarePodsError) Hint() string {
	return "delete them if they may go (kubectl delete pod), or have a Deployment, StatefulSet or Job make them"
}

// Drain evicts the pods of a cordoned node and waits until they have ended. Pods
// that no controller would make again are left, and so are all others then: a
// *BarePodsError. Where a disruption budget forbids an eviction, it is tried again
// until ctx ends; report is told what is waited for. If it does not come to its
// end, the error is a *DrainError.
func (c *Client) Drain(ctx context.Context, node string, report func(string)) error {
	d := drain{client: c, node: node, report: report}
	for {
		done, err := d.look(ctx)
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return d.failed(context.Cause(ctx))
		case err != nil && !transient(err):
			return d.failed(err)
		}
		timer := time.NewTimer(drainInterval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return d.failed(context.Cause(ctx))
		case <-timer.C:
		}
	}
}

// drain is a drain under way.
type drain struct {
	client  *Client
	node    string
	report  func(string)
	first   map[types.UID]bool // the pods that were there at the first look; nil before it
	waiting []string           // what the last whole look waited for
}

func (d *drain) failed(err error) error {
	if bare := (*BarePodsError)(nil); errors.As(err, &bare) {
		return bare
	}
	return &DrainError{Node: d.node, Waiting: d.waiting, Err: err}
}

// look evicts the pods that are there, and reports whether none is left.
func (d *drain) look(ctx context.Context) (done bool, err error) {
	pods, err := d.client.podsOn(ctx, d.node)
	if err != nil {
		return false, err
	}
	if d.first == nil {
		d.first = map[types.UID]bool{}
		for _, pod := range pods {
			d.first[pod.UID] = true
		}
	}
	pods = slices.DeleteFunc(pods, func(pod corev1.Pod) bool { return !d.first[pod.UID] && returns(&pod) })
	var bare []string
	for i := range pods {
		if pod := podFact(&pods[i]); pod.Bare && pods[i].DeletionTimestamp == nil {
			bare = append(bare, pod.String())
		}
	}
	if len(bare) > 0 {
		return false, &BarePodsError{d.node, bare}
	}
	if len(pods) == 0 {
		return true, nil
	}
	reasons := make([]string, len(pods))
	var group fault.Group
	group.SetLimit(parallelEvictions)
	for i, pod := range pods {
		if pod.DeletionTimestamp != nil {
			reasons[i] = ending
			continue
		}
		group.Go(func() (err error) {
			reasons[i], err = d.client.evict(ctx, pod)
			return err
		})
	}
	err = group.Wait()
	if ctx.Err() != nil {
		return false, ctx.Err() // of what was cut short, the look before knows more
	}
	d.waiting = nil
	for i, pod := range pods {
		if reasons[i] != "" {
			d.waiting = append(d.waiting, pod.Namespace+"/"+pod.Name+": "+reasons[i])
		}
	}
	if len(d.waiting) > 0 {
		d.report("waiting for " + few(d.waiting))
	}
	return false, err
}

// ending is a pod that has been told to end.
const ending = "it is ending"

// evict has a pod end as its disruption budgets allow, and says what it is
// waited for.
func (c *Client) evict(ctx context.Context, pod corev1.Pod) (waiting string, err error) {
	ctx, cancel := context.WithTimeout(ctx, evictTimeout)
	defer cancel()
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))},
	}
	// As EvictV1 does, but for its trying again by itself, which says nothing of
	// the budget meanwhile.
	err = c.core.Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").MaxRetries(0).Body(eviction).Do(ctx).Error()
	switch {
	case err == nil:
		return ending, nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // it is gone, or another one has its name
		return "", nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return "its namespace is being deleted", nil
	case apierrors.IsTooManyRequests(err), apierrors.IsForbidden(err): // a budget that can't be reckoned with forbids it
		return refusal(err), nil
	}
	return err.Error(), fmt.Errorf("evict %s/%s: %w", pod.Namespace, pod.Name, err)
}

// refusal is why an eviction is refused, in the API server's words: those about
// the budget stand in the details.
func refusal(err error) string {
	if cause, ok := apierrors.StatusCause(err, policyv1.DisruptionBudgetCause); ok && cause.Message != "" {
		return lowerFirst(cause.Message)
	}
	return lowerFirst(err.Error())
}

func lowerFirst(text string) string {
	if text == "" {
		return text
	}
	return strings.ToLower(text[:1]) + text[1:]
}

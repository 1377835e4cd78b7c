package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// nodeFact reduces a node to what a plan looks at.
func nodeFact(node *corev1.Node) fact.Node {
	found := fact.Node{
		Exists:      true,
		Labels:      node.Labels,
		Annotations: node.Annotations,
		PodCIDRs:    podCIDRs(node),
		Ready:       ready(node),
		Kubelet:     strings.TrimPrefix(node.Status.NodeInfo.KubeletVersion, "v"),

		Unschedulable: node.Spec.Unschedulable,
		Cordon:        ownCordon(node),
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			found.Reason, found.Message, found.Heartbeat = c.Reason, c.Message, c.LastHeartbeatTime.Time
		}
	}
	for _, t := range node.Spec.Taints {
		found.Taints = append(found.Taints, fact.Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)})
	}
	return found
}

func podCIDRs(node *corev1.Node) []string {
	if len(node.Spec.PodCIDRs) == 0 && node.Spec.PodCIDR != "" {
		return []string{node.Spec.PodCIDR}
	}
	return node.Spec.PodCIDRs
}

func ready(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// leases are those by which kubelets say that they are there
// (https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats).
var leases = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}

// Node returns what the API says of one node now, with the heartbeat of its
// lease: that comes every few seconds, while a status that stays the same is
// written every few minutes. Without a lease the status counts.
func (c *Client) Node(ctx context.Context, name string) (fact.Node, error) {
	node, err := c.nodes.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fact.Node{}, nil
	}
	if err != nil {
		return fact.Node{}, fmt.Errorf("node %s: %w", name, err)
	}
	found := nodeFact(node)
	lease, err := c.dynamic.Resource(leases).Namespace(corev1.NamespaceNodeLease).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return found, nil
	}
	if err != nil {
		return fact.Node{}, fmt.Errorf("lease of node %s: %w", name, err)
	}
	text, _, _ := unstructured.NestedString(lease.Object, "spec", "renewTime")
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil && at.After(found.Heartbeat) {
		found.Heartbeat = at
	}
	return found, nil
}

// ApplyNode makes a node's labels, taints, pod network and cordon as wanted, in
// one patch; those kinstall never set stay. It waits for the kubelet to register
// the node, and patches nothing when nothing differs.
func (c *Client) ApplyNode(ctx context.Context, want resource.Node) error {
	return retry(ctx, "node "+want.Name, apierrors.IsForbidden, func(ctx context.Context) error {
		node, err := c.nodes.Get(ctx, want.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return errNotRegistered
		}
		if err != nil {
			return err
		}
		patch, err := nodePatch(node, want)
		if err != nil || patch == nil {
			return err
		}
		_, err = c.nodes.Patch(ctx, want.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
		return err
	})
}

// errNotRegistered is waited out for as long as the context allows.
var errNotRegistered = errors.New("the kubelet has not registered")

// nodePatch returns a JSON merge patch (RFC 7396), nil if nothing differs. It
// carries the version it was made for, because a merge patch replaces the list
// of taints as a whole.
func nodePatch(node *corev1.Node, want resource.Node) ([]byte, error) {
	staleLabels, staleTaints := want.Stale(nodeFact(node))
	labels := map[string]any{}
	for key, value := range want.Labels {
		if found, ok := node.Labels[key]; !ok || found != value {
			labels[key] = value
		}
	}
	for _, key := range staleLabels {
		labels[key] = nil
	}
	annotations := map[string]any{}
	for key, value := range want.Managed() {
		if found, ok := node.Annotations[key]; found != value || !ok {
			annotations[key] = value
		}
	}
	for key, value := range want.Annotations {
		if node.Annotations[key] != value {
			annotations[key] = value
		}
	}
	spec := map[string]any{}
	if taints := mergeTaints(node.Spec.Taints, want.Taints, staleTaints); !sameTaints(taints, node.Spec.Taints) {
		spec["taints"] = taints
	}
	set, err := want.SetsPodCIDRs(podCIDRs(node))
	if err != nil {
		return nil, err
	}
	if set {
		spec["podCIDR"] = want.PodCIDRs[0]
		spec["podCIDRs"] = want.PodCIDRs
	}
	if want.Schedule == resource.Active {
		uncordon(node, ownCordon(node), spec, annotations)
	} else {
		cordon(node, resource.CordonForState, spec, annotations)
	}
	return mergePatch(node, spec, labels, annotations)
}

// mergePatch is the patch that makes these changes, nil for none.
func mergePatch(node *corev1.Node, spec, labels, annotations map[string]any) ([]byte, error) {
	metadata := map[string]any{}
	if len(labels) > 0 {
		metadata["labels"] = labels
	}
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	patch := map[string]any{}
	if len(spec) > 0 {
		patch["spec"] = spec
	}
	if len(patch) == 0 && len(metadata) == 0 {
		return nil, nil
	}
	metadata["resourceVersion"] = node.ResourceVersion
	patch["metadata"] = metadata
	return json.Marshal(patch)
}

// mergeTaints returns what a node's taints should be: those found, without the
// stale ones and without those that are replaced (key and effect identify a
// taint), then those wanted that are not there.
func mergeTaints(found []corev1.Taint, want []fact.Taint, stale []string) []corev1.Taint {
	merged := []corev1.Taint{}
	have := map[fact.Taint]bool{}
	for _, t := range found {
		asFact := fact.Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)}
		replaced := slices.ContainsFunc(want, func(w fact.Taint) bool {
			return w.Key == asFact.Key && w.Effect == asFact.Effect && w.Value != asFact.Value
		})
		if replaced || slices.Contains(stale, t.Key+":"+string(t.Effect)) {
			continue
		}
		have[asFact] = true
		merged = append(merged, t)
	}
	missing := append([]fact.Taint{}, want...)
	sort.Slice(missing, func(i, j int) bool {
		return missing[i].Key+":"+missing[i].Effect < missing[j].Key+":"+missing[j].Effect
	})
	for _, w := range missing {
		if !have[w] {
			merged = append(merged, corev1.Taint{Key: w.Key, Value: w.Value, Effect: corev1.TaintEffect(w.Effect)})
		}
	}
	return merged
}

func sameTaints(a, b []corev1.Taint) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.Taint) bool {
		return x.Key == y.Key && x.Value == y.Value && x.Effect == y.Effect
	})
}

// NodeReadySince reports whether a node is Ready, and its kubelet has said so
// since the given moment of the node's own clock (zero: at any time): nil, or
// why not, in the kubelet's words.
func (c *Client) NodeReadySince(ctx context.Context, name string, since time.Time) error {
	node, err := c.nodes.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("node %s: %w", name, errNotRegistered)
	case err != nil:
		return fmt.Errorf("node %s: %w", name, err)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		switch {
		case condition.LastHeartbeatTime.Time.Before(since.Truncate(time.Second)): // the API's times are whole seconds
			return fmt.Errorf("node %s: its kubelet has not reported since it was started", name)
		case condition.Status == corev1.ConditionTrue:
			return nil
		}
	}
	return fmt.Errorf("node %s is not Ready: %s", name, notReady(node))
}

// notReady says why a node is not Ready, in the kubelet's words.
func notReady(node *corev1.Node) string {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Message != "" {
			return c.Message
		}
	}
	return "the kubelet has not reported its status"
}

package cluster

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kinstall/kinstall/plan/resource"
)

// ownCordon is why kinstall has cordoned a node, "" where it has not. The mark
// alone does not tell: somebody may have lifted that cordon and set another one
// since. The API server knows who wrote the field last
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management).
func ownCordon(node *corev1.Node) string {
	why := node.Annotations[resource.CordonAnnotation]
	if why == "" || !node.Spec.Unschedulable {
		return ""
	}
	for _, entry := range node.ManagedFields {
		if entry.FieldsV1 == nil || entry.Manager == FieldManager {
			continue
		}
		fields := struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}{}
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		if _, theirs := fields.Spec["f:unschedulable"]; theirs {
			return ""
		}
	}
	return why
}

// cordon adds to a patch what keeps new pods from a node, and the mark that says
// why, unless somebody else has cordoned it.
func cordon(node *corev1.Node, why string, spec, annotations map[string]any) {
	if node.Spec.Unschedulable && ownCordon(node) == "" {
		return
	}
	if !node.Spec.Unschedulable {
		spec["unschedulable"] = true
	}
	if node.Annotations[resource.CordonAnnotation] != why {
		annotations[resource.CordonAnnotation] = why
	}
}

// uncordon adds to a patch what lifts the cordon that kinstall has set for that
// reason, and takes away a mark without a cordon of kinstall's.
func uncordon(node *corev1.Node, why string, spec, annotations map[string]any) {
	own := ownCordon(node)
	if own != "" && own != why {
		return
	}
	if own != "" {
		spec["unschedulable"] = nil
	}
	if _, marked := node.Annotations[resource.CordonAnnotation]; marked {
		annotations[resource.CordonAnnotation] = nil
	}
}

// Cordon keeps new pods from a node and marks it with why (resource.CordonFor…).
// One that is cordoned already stays as it is: own says whether the cordon is one
// for this very reason, from now or from a run that ended before it lifted it.
// A node that is not there takes no pods anyway.
func (c *Client) Cordon(ctx context.Context, name, why string) (own bool, err error) {
	err = c.patchNode(ctx, "cordon node "+name, name, func(node *corev1.Node) ([]byte, error) {
		spec, annotations := map[string]any{}, map[string]any{}
		if !node.Spec.Unschedulable {
			cordon(node, why, spec, annotations)
		}
		own = !node.Spec.Unschedulable || ownCordon(node) == why
		return mergePatch(node, spec, nil, annotations)
	})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return own, err
}

// Uncordon lets new pods come to a node again that Cordon has cordoned for that
// reason. Any other cordon stays. A node that is not there is as it should be.
func (c *Client) Uncordon(ctx context.Context, name, why string) error {
	err := c.patchNode(ctx, "uncordon node "+name, name, func(node *corev1.Node) ([]byte, error) {
		spec, annotations := map[string]any{}, map[string]any{}
		uncordon(node, why, spec, annotations)
		return mergePatch(node, spec, nil, annotations)
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// patchNode patches a node as it is found; a change of it in between has that
// done again.
func (c *Client) patchNode(ctx context.Context, what, name string, patch func(*corev1.Node) ([]byte, error)) error {
	return retry(ctx, what, apierrors.IsForbidden, func(ctx context.Context) error {
		node, err := c.nodes.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		data, err := patch(node)
		if err != nil || data == nil {
			return err
		}
		_, err = c.nodes.Patch(ctx, name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: FieldManager})
		return err
	})
}

// DeleteNode deletes a node's object, with what the cluster knows of the pods on
// it. One that is not there is as it should be.
func (c *Client) DeleteNode(ctx context.Context, name string) error {
	return retry(ctx, "delete node "+name, apierrors.IsForbidden, func(ctx context.Context) error {
		err := c.nodes.Delete(ctx, name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// resourceFor returns the endpoint of a kind and namespace.
func (c *Client) resourceFor(ctx context.Context, kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	where, namespaced, err := c.kinds.find(ctx, kind)
	if err != nil {
		return nil, err
	}
	endpoint := c.dynamic.Resource(where)
	if !namespaced {
		return endpoint, nil
	}
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return endpoint.Namespace(namespace), nil
}

func decodeManifest(manifest []byte) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(manifest, &object.Object); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if object.GetName() == "" || object.GetKind() == "" || object.GetAPIVersion() == "" {
		return nil, fmt.Errorf("manifest: apiVersion, kind or metadata.name is missing")
	}
	return object, nil
}

// observeObject compares an object as it is with what the server would make of
// the manifest.
func (c *Client) observeObject(ctx context.Context, manifest []byte) (fact.Object, error) {
	want, err := decodeManifest(manifest)
	if err != nil {
		return fact.Object{}, err
	}
	endpoint, err := c.resourceFor(ctx, want.GroupVersionKind(), want.GetNamespace())
	if errors.Is(err, errNoKind) { // the kind itself is still to be defined
		return fact.Object{}, nil
	}
	if err != nil {
		return fact.Object{}, err
	}
	live, err := endpoint.Get(ctx, want.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fact.Object{}, nil
	}
	if err != nil {
		return fact.Object{}, err
	}
	planned, err := endpoint.Apply(ctx, want.GetName(), want, metav1.ApplyOptions{
		FieldManager: FieldManager, Force: true, DryRun: []string{metav1.DryRunAll},
	})
	refused := ""
	switch {
	case apierrors.IsInvalid(err):
		planned, refused = live.DeepCopy(), err.Error()
	case err != nil:
		return fact.Object{}, fmt.Errorf("dry run: %w", err)
	}
	reduce(live)
	reduce(planned)
	hideSecret(live, planned)
	liveText, err := yaml.Marshal(live.Object)
	if err != nil {
		return fact.Object{}, err
	}
	if refused != "" {
		return fact.Object{Exists: true, Live: string(liveText), Refused: refused}, nil
	}
	plannedText, err := yaml.Marshal(planned.Object)
	if err != nil {
		return fact.Object{}, err
	}
	return fact.Object{Exists: true, Live: string(liveText), Planned: string(plannedText)}, nil
}

// serverFields are what the server keeps for itself, and changes at any write.
var serverFields = [][]string{
	{"metadata", "managedFields"},
	{"metadata", "resourceVersion"},
	{"metadata", "uid"},
	{"metadata", "creationTimestamp"},
	{"metadata", "generation"},
	{"metadata", "selfLink"},
	{"metadata", "annotations", "deployment.kubernetes.io/revision"},
	{"metadata", "annotations", "deprecated.daemonset.template.generation"},
	{"status"},
}

func reduce(object *unstructured.Unstructured) {
	for _, path := range serverFields {
		unstructured.RemoveNestedField(object.Object, path...)
	}
	if len(object.GetAnnotations()) == 0 {
		unstructured.RemoveNestedField(object.Object, "metadata", "annotations")
	}
}

// hideSecret replaces what a Secret holds by whether it is the same.
func hideSecret(live, planned *unstructured.Unstructured) {
	if planned.GetKind() != "Secret" || planned.GetAPIVersion() != "v1" {
		return
	}
	before, _, _ := unstructured.NestedMap(live.Object, "data")
	after, _, _ := unstructured.NestedMap(planned.Object, "data")
	hide := func(object *unstructured.Unstructured, data, other map[string]any, word string) {
		if data == nil {
			return
		}
		hidden := map[string]any{}
		for key, value := range data {
			hidden[key] = "(sensitive)"
			if there, ok := other[key]; ok && there != value {
				hidden[key] = "(sensitive, " + word + ")"
			}
		}
		object.Object["data"] = hidden
	}
	hide(live, before, after, "before")
	hide(planned, after, before, "after")
}

// ApplyObject applies an object on the server (server-side apply, forced). An
// API server that has just started may lack the namespace, the kind or the
// permission for a moment: then it is tried again.
func (c *Client) ApplyObject(ctx context.Context, object resource.Object) error {
	want, err := decodeManifest(object.Manifest)
	if err != nil {
		return fmt.Errorf("apply %s: %w", object.ID(), err)
	}
	return retry(ctx, "apply "+string(object.ID()), settlingObject, func(ctx context.Context) error {
		endpoint, err := c.resourceFor(ctx, want.GroupVersionKind(), want.GetNamespace())
		if err != nil {
			return err
		}
		_, err = endpoint.Apply(ctx, want.GetName(), want, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
		return err
	})
}

// settlingObject: roles, namespaces and kinds that come soon after a start. A
// "not found" in answer to an apply is always about the namespace.
func settlingObject(err error) bool {
	if apierrors.IsInvalid(err) {
		// A service's fixed address can't be had until the API server has
		// written down its service network.
		return strings.Contains(err.Error(), "the provided network does not match the current range")
	}
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || errors.Is(err, errNoKind)
}

// DeleteObject deletes the object of an ID ("object:apps/v1/Deployment/kube-system/coredns")
// and, in the background, what it owns. One that is not there is as it should be.
func (c *Client) DeleteObject(ctx context.Context, id resource.ID) error {
	kind, namespace, name, err := parseObjectID(id)
	if err != nil {
		return err
	}
	return retry(ctx, "delete "+string(id), apierrors.IsForbidden, func(ctx context.Context) error {
		endpoint, err := c.resourceFor(ctx, kind, namespace)
		if errors.Is(err, errNoKind) {
			return nil
		}
		if err != nil {
			return err
		}
		background := metav1.DeletePropagationBackground
		err = endpoint.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// parseObjectID reads [GROUP/]VERSION/KIND/NAMESPACE/NAME; the namespace of a
// cluster's own object is empty.
func parseObjectID(id resource.ID) (kind schema.GroupVersionKind, namespace, name string, err error) {
	parts := strings.Split(id.Name(), "/")
	if id.Kind() == resource.KindObject && len(parts) == 4 {
		parts = append([]string{""}, parts...)
	}
	if id.Kind() != resource.KindObject || len(parts) != 5 || parts[1] == "" || parts[2] == "" || parts[4] == "" {
		return kind, "", "", fmt.Errorf("%s: not the ID of an object", id)
	}
	return schema.GroupVersionKind{Group: parts[0], Version: parts[1], Kind: parts[2]}, parts[3], parts[4], nil
}

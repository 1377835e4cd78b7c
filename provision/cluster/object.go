package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sort"
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

// comparison is an object as it is and as an apply would make it.
type comparison struct {
	live, planned *unstructured.Unstructured // nil where it is not there
	refused       string                     // why the server would not take it; planned is then nil
}

// compareObject asks for an object, and what the server would make of the
// manifest. What is not there has neither.
func compareObject(ctx context.Context, endpoint dynamic.ResourceInterface, want *unstructured.Unstructured) (comparison, error) {
	live, err := endpoint.Get(ctx, want.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return comparison{}, nil
	}
	if err != nil {
		return comparison{}, err
	}
	planned, err := endpoint.Apply(ctx, want.GetName(), want, metav1.ApplyOptions{
		FieldManager: FieldManager, Force: true, DryRun: []string{metav1.DryRunAll},
	})
	switch {
	case apierrors.IsInvalid(err):
		return comparison{live: live, refused: err.Error()}, nil
	case err != nil:
		return comparison{}, fmt.Errorf("dry run: %w", err)
	}
	return comparison{live: live, planned: planned}, nil
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
	compared, err := compareObject(ctx, endpoint, want)
	if err != nil || compared.live == nil {
		return fact.Object{}, err
	}
	live, planned := compared.live, compared.planned
	found := fact.Object{Exists: true, Refused: compared.refused, Applied: live.GetAnnotations()[resource.AppliedAnnotation]}
	for _, owner := range live.GetManagedFields() {
		found.Managed = found.Managed || owner.Manager == FieldManager
	}
	if planned != nil {
		found.Differences = differences(live, planned)
	} else {
		planned = live.DeepCopy()
	}
	reduce(live)
	reduce(planned)
	hideSecret(live, planned)
	text, err := yaml.Marshal(live.Object)
	if err != nil {
		return fact.Object{}, err
	}
	found.Live = string(text)
	if found.Refused != "" {
		return found, nil
	}
	if text, err = yaml.Marshal(planned.Object); err != nil {
		return fact.Object{}, err
	}
	found.Planned = string(text)
	return found, nil
}

// differences are the paths at which two versions of an object differ, each
// with a digest of the values: a Secret's are never kept.
func differences(live, planned *unstructured.Unstructured) map[string]string {
	live, planned = live.DeepCopy(), planned.DeepCopy()
	reduce(live)
	reduce(planned)
	found := map[string]string{}
	compareValues("", live.Object, planned.Object, found)
	return found
}

// compareValues adds the differences of two values at a path.
func compareValues(path string, before, after any, found map[string]string) {
	switch b := before.(type) {
	case map[string]any:
		if a, ok := after.(map[string]any); ok {
			for key := range b {
				compareValues(path+"."+key, b[key], a[key], found)
			}
			for key := range a {
				if _, both := b[key]; !both {
					compareValues(path+"."+key, nil, a[key], found)
				}
			}
			return
		}
	case []any:
		if a, ok := after.([]any); ok && len(a) == len(b) {
			for i := range b {
				compareValues(fmt.Sprintf("%s.%d", path, i), b[i], a[i], found)
			}
			return
		}
	}
	if !reflect.DeepEqual(before, after) {
		text, err := json.Marshal([]any{before, after})
		if err != nil {
			panic(err) // it came as JSON
		}
		found[strings.TrimPrefix(path, ".")] = resource.SHA256(text)
	}
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
	{"metadata", "annotations", resource.AppliedAnnotation}, // kinstall's own mark
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

// ErrMoved says that an object, or etcd's list of members, is not what the plan
// was made of.
var ErrMoved = errors.New("changed on the cluster since it was planned; plan again")

// ApplyObject applies an object on the server (server-side apply, forced). An
// API server that has just started may lack the namespace, the kind or the
// permission for a moment: then it is tried again.
//
// With what a plan saw of it, nothing is changed that the plan did not show:
// the error matches ErrMoved and names the object and the fields. What others
// changed meanwhile and an apply would leave alone does not matter, nor does
// an object that has become what is wanted. Where nothing was seen (nil), it is
// applied as it is.
func (c *Client) ApplyObject(ctx context.Context, object resource.Object, seen *fact.Object) error {
	want, err := decodeManifest(object.Manifest)
	if err != nil {
		return fmt.Errorf("apply %s: %w", object.ID(), err)
	}
	annotations := want.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[resource.AppliedAnnotation] = object.Digest()
	want.SetAnnotations(annotations)
	return retry(ctx, "apply "+string(object.ID()), settlingObject, func(ctx context.Context) error {
		endpoint, err := c.resourceFor(ctx, want.GroupVersionKind(), want.GetNamespace())
		if err != nil {
			return err
		}
		want.SetResourceVersion("")
		if seen != nil {
			compared, err := compareObject(ctx, endpoint, want)
			if err != nil {
				return err
			}
			if moved := moved(*seen, compared); moved != "" {
				return fmt.Errorf("%s: %w", moved, ErrMoved)
			}
			if compared.live != nil {
				// Refused as a conflict if it changes once more; then all this is
				// done again.
				want.SetResourceVersion(compared.live.GetResourceVersion())
			}
		}
		_, err = endpoint.Apply(ctx, want.GetName(), want, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
		return err
	})
}

// moved names what an apply would change now and the plan did not show, "" if
// there is nothing.
func moved(seen fact.Object, now comparison) string {
	switch {
	case now.refused != "": // the apply will say so
		return ""
	case now.live == nil && seen.Exists:
		return "it is not there any more"
	case now.live == nil:
		return ""
	}
	var paths []string
	for path, digest := range differences(now.live, now.planned) {
		if seen.Differences[path] != digest {
			paths = append(paths, path)
		}
	}
	sort.Strings(paths)
	const most = 5
	if len(paths) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(paths[:most], ", "), len(paths)-most)
	}
	return strings.Join(paths, ", ")
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

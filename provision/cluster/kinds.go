package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// errNoKind says that the API server does not have a kind (yet).
var errNoKind = errors.New("the API server has no such kind")

// kinds knows under which path each kind is served. It asks for one API group
// at a time, when it is first needed: groups that other servers provide, and
// that may be out of order, are of no concern.
type kinds struct {
	client rest.Interface

	mu     sync.Mutex
	groups map[schema.GroupVersion][]metav1.APIResource
}

// find returns where a kind is served, and whether its objects have namespaces.
func (k *kinds) find(ctx context.Context, kind schema.GroupVersionKind) (where schema.GroupVersionResource, namespaced bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	group := kind.GroupVersion()
	if r, ok := lookUp(k.groups[group], kind.Kind); ok {
		return group.WithResource(r.Name), r.Namespaced, nil
	}
	// Also when the group was read before: a definition may have come since.
	resources, err := k.read(ctx, group)
	if err != nil {
		return where, false, err
	}
	k.groups[group] = resources
	r, ok := lookUp(resources, kind.Kind)
	if !ok {
		return where, false, fmt.Errorf("%s %s: %w", group, kind.Kind, errNoKind)
	}
	return group.WithResource(r.Name), r.Namespaced, nil
}

// lookUp finds a kind's resource; names with a slash are subresources.
func lookUp(resources []metav1.APIResource, kind string) (metav1.APIResource, bool) {
	for _, r := range resources {
		if r.Kind == kind && !strings.Contains(r.Name, "/") {
			return r, true
		}
	}
	return metav1.APIResource{}, false
}

// read asks for the resources of a group; an unknown group has none.
func (k *kinds) read(ctx context.Context, group schema.GroupVersion) ([]metav1.APIResource, error) {
	path := "/apis/" + group.String()
	if group.Group == "" {
		path = "/api/" + group.Version
	}
	data, err := k.client.Get().AbsPath(path).SetHeader("Accept", "application/json").DoRaw(ctx)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kinds of %s: %w", group, err)
	}
	list := metav1.APIResourceList{}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("kinds of %s: %w", group, err)
	}
	return list.APIResources, nil
}

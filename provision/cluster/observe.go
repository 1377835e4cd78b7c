package cluster

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/fault"
)

// parallelObjects bounds how many objects are asked about at a time.
const parallelObjects = 8

// Observe answers the queries about nodes and objects; others are left alone.
// All nodes cost one request, the pods of a node that is to be drained another,
// an object two. The error matches ErrNoAPI when
// there is no API server yet. Nothing is changed: objects are applied as a dry
// run.
func (c *Client) Observe(ctx context.Context, queries []fact.Query) (fact.Set, error) {
	set := fact.NewSet(fact.Host{})
	var nodes, objects []fact.Query
	for _, q := range queries {
		switch q.Kind {
		case fact.KindNode:
			nodes = append(nodes, q)
		case fact.KindObject:
			objects = append(objects, q)
		}
	}
	if len(nodes) > 0 {
		list, err := c.nodes.List(ctx, metav1.ListOptions{})
		if err != nil {
			return fact.Set{}, fmt.Errorf("observe nodes: %w", err)
		}
		found := map[string]fact.Node{}
		for i := range list.Items {
			found[list.Items[i].Name] = nodeFact(&list.Items[i])
		}
		for _, q := range nodes {
			node := found[q.Name]
			if q.Pods && node.Exists {
				if node.Pods, err = c.evictedPods(ctx, q.Name, node.Unschedulable); err != nil {
					return fact.Set{}, fmt.Errorf("observe nodes: %w", err)
				}
			}
			set.Put(q.Key(), node)
		}
	}
	answers := make([]fact.Object, len(objects))
	group, groupCtx := fault.WithContext(ctx)
	group.SetLimit(parallelObjects)
	for i, q := range objects {
		group.Go(func() (err error) {
			if answers[i], err = c.observeObject(groupCtx, q.Manifest); err != nil {
				return fmt.Errorf("observe object %s: %w", q.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return fact.Set{}, err
	}
	for i, q := range objects {
		set.Put(q.Key(), answers[i])
	}
	return set, nil
}

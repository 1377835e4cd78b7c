package resource

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
)

// Node is what kinstall keeps on a Kubernetes node: labels, taints, pod
// network, and whether pods may run there.
type Node struct {
	Name   string
	Labels map[string]string
	Taints []fact.Taint
	// PodCIDRs, one of each address family, are set when the node has none;
	// without any, they are left alone.
	PodCIDRs []string
	// Annotations are set and kept; one that leaves stays on the node.
	Annotations map[string]string
	Schedule    Schedule
}

// ID implements Resource.
func (n Node) ID() ID { return NewID(KindNode, n.Name) }

// Queries implements Resource.
func (n Node) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindNode, Name: n.Name, Pods: n.Schedule == Drained}}
}

func keysOf(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func formatTaint(t fact.Taint) string {
	if t.Value == "" {
		return t.Key + ":" + t.Effect
	}
	return t.Key + "=" + t.Value + ":" + t.Effect
}

// pair writes a key and its value, nothing for none.
func pair(key, value string) string {
	if value == "" {
		return ""
	}
	return key + "=" + value
}

// SetsPodCIDRs reports whether a node's pod networks are to be set, given those
// it has. The API sets them once and for all
// (https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/):
// it is an error if the node has others.
func (n Node) SetsPodCIDRs(found []string) (bool, error) {
	switch {
	case len(n.PodCIDRs) == 0 || slices.Equal(found, n.PodCIDRs):
		return false, nil
	case len(found) == 0:
		return true, nil
	}
	return false, fmt.Errorf("has the pod network %s, the plan says %s; a node keeps its pod network for life: delete the node object and restart its kubelet to change it",
		strings.Join(found, ","), strings.Join(n.PodCIDRs, ","))
}

// Diff implements Resource.
func (n Node) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Node(n.Name)
	if errors.Is(err, fact.ErrNotObserved) {
		change := Change{Action: Deferred}
		change.because(Unknown, "the API server does not answer yet")
		n.describe(&change)
		return change, nil
	}
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp}
	if !found.Exists {
		change.Action = Deferred
		change.because(Unknown, "the kubelet has not registered yet")
		n.describe(&change)
		return change, nil
	}
	n.differences(&change, found)
	n.schedules(&change, found)
	set, err := n.SetsPodCIDRs(found.PodCIDRs)
	if err != nil {
		return Change{}, fmt.Errorf("node %s %w", n.Name, err)
	}
	if set {
		change.Fields = append(change.Fields, Field{Name: "podCIDR", After: strings.Join(n.PodCIDRs, ",")})
		change.because(Intent, "pod network not set")
	}
	if len(change.Fields) > 0 {
		change.Action = Update
	} else if text := n.recordOf(found); text != "" {
		change.Action = Update
		change.because(Intent, text)
	}
	if !found.Ready {
		cause := Drift
		if _, seen := found.Annotations[ManagedLabelsAnnotation]; !seen {
			cause = Unknown // it has just registered
		}
		trouble := found.Trouble()
		change.because(cause, trouble)
		change.Hint = fact.Hint(trouble)
		if change.Action == NoOp {
			change.Action = Verify
		}
	}
	return change, nil
}

// describe lists what a deferred node will get.
func (n Node) describe(change *Change) {
	for _, key := range keysOf(n.Labels) {
		change.Fields = append(change.Fields, Field{Name: "label", After: key + "=" + n.Labels[key]})
	}
	for _, t := range n.Taints {
		change.Fields = append(change.Fields, Field{Name: "taint", After: formatTaint(t)})
	}
	for _, key := range keysOf(n.Annotations) {
		change.Fields = append(change.Fields, Field{Name: "annotation", After: pair(key, n.Annotations[key])})
	}
	if len(n.PodCIDRs) > 0 {
		change.Fields = append(change.Fields, Field{Name: "podCIDR", After: strings.Join(n.PodCIDRs, ",")})
	}
	if n.Schedule != Active {
		change.Fields = append(change.Fields, Field{Name: "unschedulable", After: "true"})
	}
}

// Object is an object of the Kubernetes API, applied by the server
// (server-side apply, field manager "kinstall").
type Object struct {
	APIVersion string
	Kind       string
	Namespace  string
	Name       string
	Manifest   []byte // JSON
	YAML       string // the same for people
	// Conditional says that steps before it change what the server takes: that it
	// refuses the object now is no verdict.
	Conditional bool
}

// ID implements Resource: "object:apps/v1/Deployment/kube-system/coredns".
func (o Object) ID() ID { return NewID(KindObject, o.key()) }

func (o Object) key() string {
	return o.APIVersion + "/" + o.Kind + "/" + o.Namespace + "/" + o.Name
}

// AppliedAnnotation on an object holds the digest of the manifest that kinstall
// applied last. It is written with the object, so that it is right whoever
// applied; it tells a change of the inventory from one on the cluster.
const AppliedAnnotation = "kinstall.io/applied"

// Digest identifies the manifest.
func (o Object) Digest() string { return SHA256(o.Manifest) }

// Queries implements Resource.
func (o Object) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindObject, Name: o.key(), Manifest: o.Manifest}}
}

// Diff implements Resource.
func (o Object) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Object(o.key())
	if errors.Is(err, fact.ErrNotObserved) {
		change := Change{Action: Deferred, Text: &Text{Name: "object", After: o.YAML}, Record: applied()}
		change.because(Unknown, "the API server does not answer yet")
		return change, nil
	}
	if err != nil {
		return Change{}, err
	}
	switch {
	case found.Refused != "":
		if !o.Conditional {
			return Change{}, fmt.Errorf("the API server refuses it: %s", found.Refused)
		}
		change := Change{Action: Deferred, Text: &Text{Name: "object", Before: found.Live, After: o.YAML}, Record: applied()}
		change.because(Unknown, "the API server would refuse it now: "+found.Refused)
		return change, nil
	case !found.Exists:
		return Change{Action: Create, Text: &Text{Name: "object", After: o.YAML}, Record: applied()}, nil
	case found.Live != found.Planned:
		change := Change{Action: Update, Text: &Text{Name: "object", Before: found.Live, After: found.Planned}, Record: applied()}
		switch {
		case found.Applied == o.Digest():
			change.because(Drift, "changed on the cluster")
		case found.Applied != "":
			change.because(Intent, "changed in the inventory")
		case found.Managed:
			change.because(Unknown, "differs; what kinstall applied before is not recorded")
		default:
			change.because(Missing, "exists, but was not applied by kinstall")
		}
		return change, nil
	}
	return Change{Action: NoOp, Record: applied()}, nil
}

// applied is what is remembered of an object: that kinstall brought it.
func applied() fact.Record { return fact.Record{Digest: "applied"} }

// Gate is a condition that must hold before what depends on it goes on. It
// changes nothing; it is waited for only when something before it changes.
type Gate struct {
	Check
	// Watches are the programs whose failure makes waiting vain.
	Watches []Process
	// Without are members of etcd that CheckEtcd does not ask, on hosts that are
	// left for later. A quorum must be healthy.
	Without []string
}

// ID implements Resource.
func (g Gate) ID() ID {
	if g.Host == "" {
		return NewID(KindGate, string(g.Kind))
	}
	return NewID(KindGate, string(g.Kind)+"/"+g.Host)
}

// Queries implements Resource.
func (g Gate) Queries() []fact.Query { return nil }

// Diff implements Resource. Whether it is waited for is the plan's to say.
func (g Gate) Diff(fact.Set) (Change, error) { return Change{Action: NoOp}, nil }

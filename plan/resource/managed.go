package resource

import (
	"slices"
	"sort"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
)

// What kinstall last set on a node stands on the node itself, in annotations
// that are written in the same patch: so it is right whoever applied last, and
// from wherever. It tells a change of the inventory from one on the cluster,
// and lets what left the inventory be removed while what others set stays.
//
// Each is a list, comma-separated and sorted, of KEY=VALUE for labels, of
// KEY=VALUE:EFFECT for taints, and of KEY=DIGEST for annotations, whose values
// may hold anything. Lists of older kinstalls lack the values.
const (
	ManagedLabelsAnnotation      = "kinstall.io/managed-labels"
	ManagedTaintsAnnotation      = "kinstall.io/managed-taints"
	ManagedAnnotationsAnnotation = "kinstall.io/managed-annotations"
)

// Managed returns the annotations that record what kinstall sets on a node.
func (n Node) Managed() map[string]string {
	labels, taints, annotations := map[string]string{}, []string{}, map[string]string{}
	for key, value := range n.Labels {
		labels[key] = value
	}
	for _, t := range n.Taints {
		taints = append(taints, t.Key+"="+t.Value+":"+t.Effect)
	}
	for key, value := range n.Annotations {
		annotations[key] = annotationDigest(value)
	}
	managed := map[string]string{
		ManagedLabelsAnnotation: joinPairs(labels),
		ManagedTaintsAnnotation: strings.Join(sorted(taints), ","),
	}
	if len(annotations) > 0 {
		managed[ManagedAnnotationsAnnotation] = joinPairs(annotations)
	}
	return managed
}

func joinPairs(pairs map[string]string) string {
	var list []string
	for _, key := range keysOf(pairs) {
		list = append(list, key+"="+pairs[key])
	}
	return strings.Join(list, ",")
}

// annotationDigest is enough of a digest to see that a value has changed.
func annotationDigest(value string) string { return SHA256([]byte(value))[:16] }

// setting is the value that kinstall set last; known is false where an older
// kinstall noted only that it set one.
type setting struct {
	value string
	known bool
}

// settings are the last settings by name, as an annotation has them: names are
// keys, those of taints KEY:EFFECT.
type settings map[string]setting

func readSettings(annotation string) settings {
	found := settings{}
	for _, entry := range split(annotation) {
		effect := ""
		if i := strings.LastIndexByte(entry, ':'); i >= 0 {
			entry, effect = entry[:i], entry[i:]
		}
		key, value, known := strings.Cut(entry, "=")
		found[key+effect] = setting{value, known}
	}
	return found
}

// cause tells who changed something that is not as wanted.
func (s settings) cause(name, wanted, found string, there bool) (Cause, string) {
	last, managed := s[name]
	switch {
	case !managed && !there:
		return Intent, "missing"
	case !managed:
		return Missing, "exists, but was not set by kinstall"
	case last.known && last.value != wanted && !there:
		return Drift, "changed in the inventory and removed on the cluster"
	case !there:
		return Drift, "removed on the cluster"
	case !last.known:
		return Unknown, "differs; what kinstall set before is not recorded"
	case last.value == wanted:
		return Drift, "changed on the cluster"
	case last.value == found:
		return Intent, "changed in the inventory"
	}
	return Drift, "changed in the inventory and on the cluster"
}

// Stale returns the label keys and taints (KEY:EFFECT), sorted, that kinstall
// once set on the node and no longer wants.
func (n Node) Stale(found fact.Node) (labels, taints []string) {
	for key := range readSettings(found.Annotations[ManagedLabelsAnnotation]) {
		_, wanted := n.Labels[key]
		if _, there := found.Labels[key]; there && !wanted {
			labels = append(labels, key)
		}
	}
	is := func(name string) func(fact.Taint) bool {
		return func(t fact.Taint) bool { return t.Key+":"+t.Effect == name }
	}
	for name := range readSettings(found.Annotations[ManagedTaintsAnnotation]) {
		if slices.ContainsFunc(found.Taints, is(name)) && !slices.ContainsFunc(n.Taints, is(name)) {
			taints = append(taints, name)
		}
	}
	sort.Strings(labels)
	sort.Strings(taints)
	return labels, taints
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// differences adds what is not as wanted on a node that exists.
func (n Node) differences(change *Change, found fact.Node) {
	last := readSettings(found.Annotations[ManagedLabelsAnnotation])
	for _, key := range keysOf(n.Labels) {
		value, there := found.Labels[key]
		if there && value == n.Labels[key] {
			continue
		}
		before := ""
		if there {
			before = key + "=" + value
		}
		change.Fields = append(change.Fields, Field{Name: "label", Before: before, After: key + "=" + n.Labels[key]})
		cause, text := last.cause(key, n.Labels[key], value, there)
		change.because(cause, "label "+key+" "+text)
	}
	last = readSettings(found.Annotations[ManagedTaintsAnnotation])
	for _, want := range n.Taints {
		i := slices.IndexFunc(found.Taints, func(t fact.Taint) bool { return t.Key == want.Key && t.Effect == want.Effect })
		there, value, before := i >= 0, "", ""
		if there {
			value, before = found.Taints[i].Value, formatTaint(found.Taints[i])
		}
		if there && value == want.Value {
			continue
		}
		change.Fields = append(change.Fields, Field{Name: "taint", Before: before, After: formatTaint(want)})
		cause, text := last.cause(want.Key+":"+want.Effect, want.Value, value, there)
		change.because(cause, "taint "+formatTaint(want)+" "+text)
	}
	labels, taints := n.Stale(found)
	for _, key := range labels {
		change.Fields = append(change.Fields, Field{Name: "label", Before: key + "=" + found.Labels[key]})
		change.because(Intent, "label "+key+" left the inventory")
	}
	for _, name := range taints {
		change.Fields = append(change.Fields, Field{Name: "taint", Before: name})
		change.because(Intent, "taint "+name+" left the inventory")
	}
	last = readSettings(found.Annotations[ManagedAnnotationsAnnotation])
	for _, key := range keysOf(n.Annotations) {
		value, there := found.Annotations[key]
		if value == n.Annotations[key] {
			continue
		}
		change.Fields = append(change.Fields, Field{Name: "annotation", Before: pair(key, value), After: pair(key, n.Annotations[key])})
		cause, text := last.cause(key, annotationDigest(n.Annotations[key]), annotationDigest(value), there)
		change.because(cause, "annotation "+key+" "+text)
	}
}

// recordOf says what is wrong with the record of what kinstall set, "" if
// nothing is.
func (n Node) recordOf(found fact.Node) string {
	text := ""
	for _, key := range keysOf(n.Managed()) {
		switch value, there := found.Annotations[key]; {
		case !there && key != ManagedAnnotationsAnnotation:
			return "not yet marked as managed by kinstall"
		case value != n.Managed()[key]:
			text = "what kinstall sets is not recorded there"
		}
	}
	return text
}

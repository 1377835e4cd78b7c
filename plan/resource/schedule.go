package resource

import (
	"fmt"

	"github.com/kinstall/kinstall/plan/fact"
)

// Schedule is what may run on a node.
type Schedule string

// The schedules.
const (
	Active   Schedule = ""         // pods come and go
	Cordoned Schedule = "cordoned" // no new pods come
	Drained  Schedule = "drained"  // and those that are there are evicted
)

// CordonAnnotation marks a node that kinstall has cordoned, with why as its
// value. It is set in the same patch as the cordon: whatever becomes of a run,
// the next one knows which cordons are its own to lift.
const CordonAnnotation = "kinstall.io/cordoned"

// Why kinstall cordons a node.
const (
	CordonForState     = "state"     // its host block says so
	CordonForTurn      = "turn"      // something on it is changed; lifted afterwards
	CordonForDeparture = "departure" // its host leaves
)

// cordonReasons say why a node is cordoned.
var cordonReasons = map[string]string{
	CordonForState:     "for its `state` in the inventory",
	CordonForTurn:      "for a change of its host that did not come to its end",
	CordonForDeparture: "because its host was to leave",
}

// maxPodsShown is how many of the pods that a drain evicts are listed.
const maxPodsShown = 20

// schedules adds what is to be done for the wanted schedule. A cordon that
// somebody else has set is left alone.
func (n Node) schedules(change *Change, found fact.Node) {
	mark := func(value string) string { return pair(CordonAnnotation, value) }
	switch was := found.Annotations[CordonAnnotation]; {
	case n.Schedule == Active && found.Cordon != "":
		change.Fields = append(change.Fields, Field{Name: "unschedulable", Before: "true"})
		change.because(Intent, "uncordon: kinstall cordoned it "+cordonReasons[found.Cordon])
	case n.Schedule != Active && !found.Unschedulable:
		change.Fields = append(change.Fields, Field{Name: "unschedulable", After: "true"})
		if was == "" {
			change.because(Intent, "cordon: "+string(n.Schedule)+" in the inventory")
		} else {
			change.because(Drift, "cordon: it was uncordoned on the cluster")
		}
	case n.Schedule != Active && found.Cordon != "" && found.Cordon != CordonForState:
		change.Fields = append(change.Fields, Field{Name: "annotation", Before: mark(was), After: mark(CordonForState)})
		change.because(Intent, "stays cordoned: "+string(n.Schedule)+" in the inventory")
	case was != "" && found.Cordon == "":
		change.Fields = append(change.Fields, Field{Name: "annotation", Before: mark(was)})
		change.because(Drift, "what kinstall cordoned was uncordoned on the cluster")
	}
	if n.Schedule == Drained {
		change.evict(found.Pods)
	}
}

// evict lists the pods that a drain evicts.
func (c *Change) evict(pods []fact.NodePod) {
	if len(pods) == 0 {
		return
	}
	data := 0
	for i, pod := range pods {
		if pod.EmptyDir {
			data++
		}
		if i < maxPodsShown {
			c.Fields = append(c.Fields, Field{Name: "pod", Before: pod.String()})
		}
	}
	if more := len(pods) - maxPodsShown; more > 0 {
		c.Fields = append(c.Fields, Field{Name: "pod", Before: fmt.Sprintf("and %d more", more)})
	}
	text := "drain: " + plural(len(pods), "pod") + " would be evicted"
	if data > 0 {
		text += fmt.Sprintf(", %d with data in an emptyDir volume, which ends with it", data)
	}
	c.because(Intent, text)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

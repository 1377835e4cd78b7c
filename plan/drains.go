package plan

import (
	"fmt"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// maxBarePods is how many pods a problem names.
const maxBarePods = 5

// checkDrains finds nodes that are to be drained, by their state or for another
// minor version of their kubelet, and have pods that would be gone for good: no
// controller makes them again elsewhere.
func checkDrains(p *Plan, observed Observed) []Problem {
	var problems []Problem
	for i := range p.Steps {
		node, ok := p.Steps[i].Resource.(resource.Node)
		if !ok || node.Schedule != resource.Drained && !p.evacuates(observed, node.Name) {
			continue
		}
		if found, err := observed.Cluster.Node(node.Name); err == nil {
			problems = append(problems, barePods(node.Name, found.Pods)...)
		}
	}
	return problems
}

// barePods is the problem of a node that is to be drained and has such pods.
func barePods(node string, pods []fact.NodePod) []Problem {
	var bare, commands []string
	for _, pod := range pods {
		if pod.Bare {
			bare = append(bare, pod.String())
			commands = append(commands, fmt.Sprintf("kubectl delete pod -n %s %s", pod.Namespace, pod.Name))
		}
	}
	if len(bare) == 0 {
		return nil
	}
	more := ""
	if len(bare) > maxBarePods {
		more = fmt.Sprintf(" and %d more", len(bare)-maxBarePods)
		bare, commands = bare[:maxBarePods], commands[:maxBarePods]
	}
	return []Problem{{
		Host:    node,
		Summary: fmt.Sprintf("can't be drained: no controller would make these pods again elsewhere: %s%s", strings.Join(bare, ", "), more),
		Hint:    "have a Deployment, StatefulSet or Job make them; or, if they may go, delete them:\n" + strings.Join(commands, "\n"),
	}}
}

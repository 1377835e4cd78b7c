package plan

import (
	"fmt"
	"strings"

	"github.com/kinstall/kinstall/plan/resource"
)

// maxBarePods is how many pods a problem names.
const maxBarePods = 5

// checkDrains finds nodes that are to be drained and have pods that would be
// gone for good: no controller makes them again elsewhere.
func checkDrains(p *Plan, observed Observed) []Problem {
	var problems []Problem
	for i := range p.Steps {
		node, ok := p.Steps[i].Resource.(resource.Node)
		if !ok || node.Schedule != resource.Drained {
			continue
		}
		found, err := observed.Cluster.Node(node.Name)
		if err != nil {
			continue
		}
		var bare, commands []string
		for _, pod := range found.Pods {
			if pod.Bare {
				bare = append(bare, pod.String())
				commands = append(commands, fmt.Sprintf("kubectl delete pod -n %s %s", pod.Namespace, pod.Name))
			}
		}
		if len(bare) == 0 {
			continue
		}
		named, more := bare, ""
		if len(bare) > maxBarePods {
			named, commands, more = bare[:maxBarePods], commands[:maxBarePods], fmt.Sprintf(" and %d more", len(bare)-maxBarePods)
		}
		problems = append(problems, Problem{
			Host:    node.Name,
			Summary: fmt.Sprintf("can't be drained: no controller would make these pods again elsewhere: %s%s", strings.Join(named, ", "), more),
			Hint:    "have a Deployment, StatefulSet or Job make them; or, if they may go, delete them:\n" + strings.Join(commands, "\n"),
		})
	}
	return problems
}

package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Postponed is a change that is known to be wanted, and not made as long as
// hosts can't be reached that it depends on or that depend on it.
type Postponed struct {
	Item   Item
	Reason string // "huashan may still use it"
}

// SkipUnreachable returns the plan that goes on without hosts that can't be
// reached. Its deltas leave them for later, see Delta.Later.
func (p *Plan) SkipUnreachable() *Plan {
	other := p.another()
	other.skips = true
	return other
}

// Blocked reports whether hosts that can't be reached keep the delta from being
// applied.
func (d *Delta) Blocked() bool { return len(d.Unreachable) > 0 && !d.Plan.skips }

// Skipped names the hosts that are left for later, in inventory order.
func (d *Delta) Skipped() []string {
	if !d.Plan.skips {
		return nil
	}
	return slices.DeleteFunc(d.Plan.Hosts(), func(host string) bool { return d.Unreachable[host] == nil })
}

// about is the host that a step of the cluster is about, "" for none.
func about(r resource.Resource) string {
	switch r := r.(type) {
	case resource.Node:
		return r.Name
	case resource.Gate:
		return r.Host
	}
	return ""
}

// postpone leaves hosts that can't be reached for later. What waits for them only
// so that things come in order goes on without them. What they, or others
// through them, could be harmed by is taken out of the delta and put into Later,
// with everything that waits for it.
func (d *Delta) postpone() {
	missing := d.Skipped()
	if len(missing) == 0 {
		return
	}
	d.Problems = append(d.Problems, d.TooFew()...)
	d.gatesWithout(missing)
	reasons := d.mustWait(missing)
	d.waitToo(reasons)
	if len(reasons) > 0 {
		d.openGates(reasons)
	}

	var items []Item
	here := map[StepID]bool{}
	for _, item := range d.Items {
		id := item.Step.ID()
		_, isGate := item.Step.Resource.(resource.Gate)
		switch reason, waits := reasons[id]; {
		case waits && isGate, isGate && d.Unreachable[about(item.Step.Resource)] != nil:
		case waits && item.Change.Action == resource.NoOp: // on the disk, and not seen to work: not done
		case waits:
			d.Later = append(d.Later, Postponed{item, reason.text})
		default:
			if _, waits := reasons[NewStepID(item.Step.Host, unitID(KubeletUnit))]; waits && item.Step.Rollout != nil {
				item.OwnStep().Rollout = d.askable(*item.Step) // no kubelet, no node
			}
			here[id] = true
			items = append(items, item)
		}
	}
	for i := range items {
		// What is not in the delta won't happen: nothing that is left waits for it.
		if after := keptOnly(items[i].Step.After, here); len(after) < len(items[i].Step.After) {
			items[i].OwnStep().After = after
		}
	}
	d.Items = items
	d.Turns = slices.DeleteFunc(d.Turns, func(t Turn) bool { return !here[t.Step] })
}

// TooFew are those of the problems which say that too few hosts can be reached to
// go on without the others.
func (d *Delta) TooFew() []Problem {
	inv := d.Plan.Inventory
	switch len(d.Skipped()) {
	case 0:
		return nil
	case len(d.Plan.Hosts()):
		return []Problem{{Cluster, "no host can be reached", "nothing is left to go on with"}}
	}
	var problems []Problem
	count := func(counts func(inventory.Host) bool) (reachable, all int, missing []string) {
		for _, h := range inv.Hosts {
			if !counts(h) {
				continue
			}
			all++
			if d.Unreachable[h.Name] != nil {
				missing = append(missing, h.Name)
			} else {
				reachable++
			}
		}
		return reachable, all, missing
	}
	few := func(reachable, all, needed int, what, why string, missing []string) {
		if all > 0 && reachable < needed {
			problems = append(problems, Problem{Cluster, fmt.Sprintf("%d of %d %s can be reached, %d are needed %s", reachable, all, what, needed, why),
				"bring back " + strings.Join(missing, " or ") + " first; -skip-unreachable does not go on without them"})
		}
	}
	member := func(h inventory.Host) bool { return h.Has(inventory.RoleEtcd) }
	master := func(h inventory.Host) bool { return h.Has(inventory.RoleMaster) }
	reachable, all, missing := count(member)
	few(reachable, all, all/2+1, "members of etcd", "for a quorum", missing)
	if len(problems) > 0 {
		return problems
	}
	reachable, all, missing = count(func(h inventory.Host) bool { return member(h) || master(h) })
	few(reachable, all, all/2+1, "masters and members of etcd", "to be sure that no other kinstall is at work", missing)
	if reachable, all, missing = count(master); len(problems) == 0 {
		few(reachable, all, 1, "masters", "to reach the cluster's API", missing)
	}
	return problems
}

// gatesWithout has the gates that are about all hosts look at those that can be
// reached.
func (d *Delta) gatesWithout(missing []string) {
	away := func(host string) bool { return slices.Contains(missing, host) }
	for i := range d.Items {
		gate, ok := d.Items[i].Step.Resource.(resource.Gate)
		if !ok {
			continue
		}
		gate.Watches = slices.DeleteFunc(slices.Clone(gate.Watches), func(p resource.Process) bool { return away(p.Host) })
		if gate.Kind == resource.CheckEtcd && gate.Host == "" {
			members := d.Plan.Inventory.With(inventory.RoleEtcd)
			for _, h := range members {
				if away(h.Name) {
					gate.Without = append(gate.Without, h.Name)
				}
			}
			if n := len(gate.Without); n > 0 {
				gate.Text = fmt.Sprintf("%d of %d members healthy, one leader", len(members)-n, len(members))
			}
		}
		d.Items[i].OwnStep().Resource = gate
	}
}

// postponement says why a step must wait.
type postponement struct {
	text string
	root string // the change that it is all about, as people call it
}

// mustWait finds the changes that hosts which can't be reached stand in the way
// of, by themselves.
func (d *Delta) mustWait(missing []string) map[StepID]postponement {
	names := strings.Join(missing, ", ")
	reasons := map[StepID]postponement{}
	hold := func(step *Step, format string, args ...any) {
		if id := step.ID(); reasons[id].text == "" {
			reasons[id] = postponement{fmt.Sprintf(format, args...), strings.Join([]string{strings.Trim(step.Host, "()"), string(step.Resource.ID().Kind()), step.Resource.ID().Name()}, " ")}
		}
	}
	stays := map[StepID]bool{} // drop-ins that must not outlive the restart of their unit
	for _, ids := range d.dropIns() {
		for _, id := range ids {
			stays[id] = true
		}
	}
	// What leaves a host goes together: a program that others may live by, and
	// what it works with.
	served := map[string]bool{Cluster: true}
	for _, item := range d.Items {
		if orphan, ok := item.Step.Resource.(resource.Orphan); ok {
			kind := describe(orphan.Was)
			served[item.Step.Host] = served[item.Step.Host] || kind.Program() || kind.Kind == resource.KindStaticPod || carriesPods(orphan.Was)
		}
	}
	others := map[string]bool{} // authorities that would be other ones
	byID := make(map[StepID]Item, len(d.Items))
	for _, item := range d.Items {
		byID[item.Step.ID()] = item
		if item.Change.Action == resource.NoOp {
			continue
		}
		switch r := item.Step.Resource.(type) {
		case resource.Node:
			if d.Unreachable[r.Name] != nil {
				hold(item.Step, "%s can't be reached", r.Name)
			}
		case resource.Orphan:
			if served[item.Step.Host] && !stays[item.Step.ID()] {
				hold(item.Step, "%s may still use it", names)
			}
		case resource.EtcdRemoval:
			if d.removesLate(r) { // its service stays as well
				hold(item.Step, "%s may still use it", names)
			}
		case resource.AuthorityFile:
			if slices.ContainsFunc(item.Change.Reasons, func(why resource.Reason) bool { return why.Cause == resource.Intent }) {
				others[r.Authority] = true
				hold(item.Step, "another authority would cut off %s", names)
			}
		case resource.Gate:
			if lost := d.balancersLost(); r.Kind == resource.CheckEndpoint && len(lost) > 0 {
				reasons[item.Step.ID()] = postponement{root: "the load balancer on " + strings.Join(lost, " or ")}
			}
		}
	}
	for _, item := range d.Items {
		if c, ok := item.Step.Resource.(resource.Certificate); ok && others[c.Authority] && item.Change.Changes() {
			hold(item.Step, "another authority would cut off %s", names)
		}
	}
	for _, turn := range d.Turns {
		step := byID[turn.Step].Step
		if !turn.Down && !turn.Unchanged {
			for _, check := range step.Rollout.Before {
				if host := d.asks(check); host != "" {
					hold(step, "the others might not do without it: %s can't be asked", host)
				}
			}
		}
		for _, part := range turn.Parts {
			if master := d.slowMaster(byID[part]); master != "" {
				hold(step, "must not be newer than the API server of %s", master)
			}
		}
	}
	return reasons
}

// asks is a host that a check is about and that can't be reached, "" for none.
func (d *Delta) asks(c resource.Check) string {
	if c.Kind == resource.CheckEtcdWithout {
		for _, host := range d.Skipped() {
			if h, _ := d.Plan.host(host); h.Has(inventory.RoleEtcd) && host != c.Host {
				return host
			}
		}
		return ""
	}
	if d.Unreachable[c.Host] != nil {
		return c.Host
	}
	return ""
}

// balancersLost are the hosts of the load balancers if none of them can be
// reached.
func (d *Delta) balancersLost() []string {
	balancer := d.Plan.Inventory.LoadBalancer
	if balancer == nil || slices.ContainsFunc(balancer.Hosts, func(host string) bool { return d.Unreachable[host] == nil }) {
		return nil
	}
	return balancer.Hosts
}

// slowMaster is a master that can't be reached, if the item brings another
// version of what must not be newer than any API server.
func (d *Delta) slowMaster(item Item) string {
	artifact, ok := item.Step.Resource.(resource.Artifact)
	if !ok || item.Change.Action == resource.Create || artifact.Name != releaseKubelet && artifact.Name != releaseKubeProxy {
		return ""
	}
	for _, host := range d.Skipped() {
		if h, _ := d.Plan.host(host); h.Has(inventory.RoleMaster) {
			return host
		}
	}
	return ""
}

// waitToo adds what waits for steps that must wait. A turn and its parts are
// one. A gate does not wait for a change of what is there and works as it is.
func (d *Delta) waitToo(reasons map[StepID]postponement) {
	turns, created := map[StepID]*Turn{}, map[StepID]bool{}
	for _, item := range d.Items {
		created[item.Step.ID()] = item.Change.Action == resource.Create
	}
	for i := range d.Turns {
		turns[d.Turns[i].Step] = &d.Turns[i]
		for _, part := range d.Turns[i].Parts {
			turns[part] = &d.Turns[i]
		}
	}
	hold := func(id StepID, because postponement) bool {
		if _, waits := reasons[id]; waits {
			return false
		}
		because.text = "waits for " + because.root
		reasons[id] = because
		return true
	}
	for more := len(reasons) > 0; more; { // some edges lead back in the order of items
		more = false
		for _, item := range d.Items {
			if item.Change.Action == resource.NoOp {
				continue
			}
			id := item.Step.ID()
			_, isGate := item.Step.Resource.(resource.Gate)
			for _, before := range item.Step.After {
				if because, waits := reasons[before]; waits && (!isGate || created[before] || before.Kind() == resource.KindGate) {
					more = hold(id, because) || more
				}
			}
			turn := turns[id]
			if because, waits := reasons[id]; waits && turn != nil {
				more = hold(turn.Step, because) || more
				for _, part := range turn.Parts {
					more = hold(part, because) || more
				}
			}
		}
	}
}

// openGates has gates wait for nothing that waits for nothing but changes which
// are not made.
func (d *Delta) openGates(reasons map[StepID]postponement) {
	changes := map[StepID]bool{}
	for i := range d.Items {
		item := &d.Items[i]
		if _, isGate := item.Step.Resource.(resource.Gate); isGate && item.Change.Action == resource.Wait &&
			!slices.ContainsFunc(item.Step.After, func(before StepID) bool { return changes[before] }) {
			item.OwnChange().Action = resource.NoOp
		}
		_, waits := reasons[item.Step.ID()]
		changes[item.Step.ID()] = !waits && item.Change.Action != resource.NoOp
	}
}

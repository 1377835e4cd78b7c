package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// bootstrapFile holds what a member of etcd reads at its very first start.
const bootstrapFile = "/etc/etcd/bootstrap.env"

// memberDirectory is what etcd makes in its data directory when it first
// starts: a host that has it is, or was, a member.
func memberDirectory(inv *inventory.Inventory) string { return inv.Etcd.DataDir + "/member" }

// memberQueries ask what tells a host that is, or was, a member of etcd from
// one that never was.
func memberQueries(p *Plan, host inventory.Host) []fact.Query {
	inv := p.Inventory
	if !p.look().etcd {
		return nil
	}
	queries := []fact.Query{{Kind: fact.KindFile, Name: memberDirectory(inv)}, {Kind: fact.KindUnit, Name: etcdUnit}}
	if host.Has(inventory.RoleEtcd) {
		queries = append(queries, fact.Query{Kind: fact.KindFile, Name: bootstrapFile, Content: true})
	}
	return queries
}

// ElsewhereQueries are what must be known of a host that the plan leaves out, to
// judge etcd's list of members and versions (see Observed.Elsewhere).
func (p *Plan) ElsewhereQueries(host string) []fact.Query {
	h, _ := p.Inventory.Host(host)
	return fact.Merge(slices.Concat(memberQueries(p, h), versionQueries(h)))
}

// ElsewhereAsked names the hosts that the plan leaves out and that are asked all
// the same, in inventory order: members of etcd, and masters.
func (p *Plan) ElsewhereAsked() []string {
	return slices.DeleteFunc(p.Elsewhere(""), func(name string) bool {
		h, _ := p.Inventory.Host(name)
		return !h.Has(inventory.RoleEtcd) && !h.Has(inventory.RoleMaster)
	})
}

// Elsewhere names the hosts that the plan leaves out, in inventory order, with
// the given role ("": all of them).
func (p *Plan) Elsewhere(role string) []string {
	inPlan := map[string]bool{}
	for _, name := range p.Hosts() {
		inPlan[name] = true
	}
	var names []string
	for _, h := range p.Inventory.Hosts {
		if p.limited && !inPlan[h.Name] && (role == "" || h.Has(role)) {
			names = append(names, h.Name)
		}
	}
	return names
}

// Learnt returns what was learnt of a host, of the plan or left out of it.
func (o Observed) Learnt(host string) (facts fact.Set, ok bool) {
	observation, ok := o.Hosts[host]
	if !ok {
		observation, ok = o.Elsewhere[host]
	}
	return observation.Facts, ok && observation.Err == nil
}

// WasMember reports whether kinstall made a host a member of etcd that it may
// still be: its unit is remembered, and its data is there or it runs.
func WasMember(inv *inventory.Inventory, facts fact.Set) bool {
	if _, recorded := facts.Host.State.Resources[EtcdUnit]; !recorded {
		return false
	}
	data, err := facts.File(memberDirectory(inv))
	unit, unitErr := facts.Unit(etcdUnit)
	return err == nil && data.Exists || unitErr == nil && unit.ActiveState == "active"
}

// LacksData reports whether a host is known to have no data of etcd.
func LacksData(inv *inventory.Inventory, facts fact.Set) bool {
	data, err := facts.File(memberDirectory(inv))
	return err == nil && !data.Exists
}

// checkMembers finds changes of etcd's list of members. The plan does not know
// yet how to make them: members that lose the role would all be stopped at
// once, and those that gain it would found a cluster of their own.
//
// Where etcd answers, its own list counts. Where it does not, it does not exist
// yet, its first start was interrupted, or it is down; then the hosts tell.
func checkMembers(p *Plan, observed Observed) []Problem {
	wanted := p.Inventory.With(inventory.RoleEtcd)
	if len(wanted) == 0 {
		return nil
	}
	if found, err := observed.Cluster.EtcdMembers(); err == nil {
		return compareMembers(p, observed, found.Members)
	}
	return guessMembers(p, observed)
}

// peerURL is where a member is reached by its peers.
func peerURL(h inventory.Host) string { return "https://" + hostPort(h.Address, EtcdPeerPort) }

// compareMembers compares the inventory with the list of an etcd that answers.
func compareMembers(p *Plan, observed Observed, members []fact.EtcdMember) []Problem {
	inv := p.Inventory
	var problems []Problem
	matched := map[uint64]bool{}
	for _, h := range inv.With(inventory.RoleEtcd) {
		i := slices.IndexFunc(members, func(m fact.EtcdMember) bool { return slices.Contains(m.PeerURLs, peerURL(h)) })
		if i < 0 {
			i = slices.IndexFunc(members, func(m fact.EtcdMember) bool { return m.Name == h.Name })
		}
		if i < 0 {
			problems = append(problems, Problem{h.Name, "would be a new member of an etcd that lives with other members: " + nameMembers(members),
				"take the role `etcd` from the host again: kinstall does not add members to a living etcd yet"})
			continue
		}
		m := members[i]
		matched[m.ID] = true
		o, inPlan := observed.Hosts[h.Name]
		lacksData := inPlan && o.Err == nil && LacksData(inv, o.Facts)
		switch {
		case !slices.Contains(m.PeerURLs, peerURL(h)):
			problems = append(problems, Problem{h.Name, fmt.Sprintf("is known to etcd as %s, the inventory says %s", strings.Join(m.PeerURLs, ", "), peerURL(h)),
				fmt.Sprintf("put the address back; or, once the host has the new one, tell etcd of it on a member that stays:\n%s member update %x --peer-urls=%s", etcdctl, m.ID, peerURL(h))})
		case lacksData && m.Name == "":
			problems = append(problems, Problem{h.Name, "was added to etcd's members by hand and has not started: kinstall would start it as a member of a new cluster",
				fmt.Sprintf("start it by hand with ETCD_INITIAL_CLUSTER_STATE=existing, or take it off the list on another member:\n%s member remove %x", etcdctl, m.ID)})
		case lacksData && len(m.ClientURLs) > 0:
			// A member tells the others its client URLs once it serves, and
			// etcd itself refuses to bootstrap one that has. One that never
			// got that far is an installation that was interrupted.
			problems = append(problems, Problem{h.Name, fmt.Sprintf("is a member of etcd, but its data is gone: %s is not there", memberDirectory(inv)),
				fmt.Sprintf("if `data_dir` was changed, change it back, or move the data. If the host was installed anew, its peers would not know it again: take the role `etcd` from it, and take it off etcd's list on another member:\n%s member remove %x", etcdctl, m.ID)})
		}
	}
	for _, m := range members {
		if matched[m.ID] {
			continue
		}
		host, name := Cluster, m.Name
		if _, ok := inv.Host(m.Name); ok {
			host = m.Name
		}
		if name == "" {
			name = strings.Join(m.PeerURLs, ", ")
		}
		problems = append(problems, Problem{host, fmt.Sprintf("%s is a member of etcd and not one in the inventory; its members are %s", name, nameMembers(members)),
			fmt.Sprintf("give the role `etcd` back; or take it off etcd's list first, one member at a time, on one that stays:\n%s member remove %x", etcdctl, m.ID)})
	}
	return problems
}

// etcdctl is the command on a member with what it needs to be let in.
const etcdctl = "etcdctl --cacert " + etcdCAFile + " --cert " + etcdHealthCert + " --key " + pkiDir + "/etcd/healthcheck-client.key"

// nameMembers lists members by name, or by address where they have none yet.
func nameMembers(members []fact.EtcdMember) string {
	var names []string
	for _, m := range members {
		if m.Name == "" {
			names = append(names, strings.Join(m.PeerURLs, ", "))
		} else {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// guessMembers judges by what hosts have, where etcd does not answer. An
// installation that was interrupted must be able to go on: there, members have
// data already that wait for others, which have none.
func guessMembers(p *Plan, observed Observed) []Problem {
	inv := p.Inventory
	lived := false // etcd once served: what is in it was recorded
	for _, h := range inv.Hosts {
		facts, _ := observed.Learnt(h.Name)
		for id := range facts.Host.State.Resources {
			lived = lived || ofCluster(resource.ID(id))
		}
	}
	begun := map[string]bool{}
	for _, h := range inv.With(inventory.RoleEtcd) {
		begun[h.Name+"="+peerURL(h)] = true
	}
	said := map[string]bool{}
	var problems []Problem
	for _, h := range inv.Hosts {
		facts, ok := observed.Learnt(h.Name)
		if !ok {
			continue
		}
		_, inPlan := observed.Hosts[h.Name]
		switch {
		case !h.Has(inventory.RoleEtcd):
			if WasMember(inv, facts) {
				problems = append(problems, Problem{h.Name, fmt.Sprintf("has the data of a member of etcd in %s and not the role `etcd`; whether it is one still can't be asked, because etcd does not answer", inv.Etcd.DataDir),
					"give the role back and let etcd come up; or, if it is no member any more, stop etcd and move its data aside on the host:\nsystemctl stop etcd && mv " + memberDirectory(inv) + " " + memberDirectory(inv) + ".old"})
			}
		case LacksData(inv, facts):
			if lived && inPlan {
				problems = append(problems, Problem{h.Name, fmt.Sprintf("has no data of etcd (%s is not there), though the cluster has lived, and etcd does not answer", memberDirectory(inv)),
					"if `data_dir` was changed, change it back, or move the data; start the members that have their data; if all is lost, restore a snapshot on every member (etcdutl snapshot restore) before you go on"})
			}
		default:
			other := beganWith(facts, begun)
			if other != "" && !said[other] {
				said[other] = true
				problems = append(problems, Problem{h.Name, fmt.Sprintf("its etcd was begun with the members %s, the inventory says %s; etcd does not answer", other, membersOf(begun)),
					"put the roles back and let etcd come up. Only if it never served (an installation that was interrupted), stop it and remove what it has begun, on each of these hosts:\nsystemctl stop etcd && rm -r " + memberDirectory(inv)})
			}
		}
	}
	return problems
}

// beganWith returns the names of the members that an etcd was begun with, where
// they are not those wanted ("NAME=URL"); "" if they are, or are not known.
func beganWith(facts fact.Set, wanted map[string]bool) string {
	file, err := facts.File(bootstrapFile)
	if err != nil || !file.HasContent { // no content: the file is as planned
		return ""
	}
	for _, line := range strings.Split(string(file.Content), "\n") {
		value, ok := strings.CutPrefix(line, "ETCD_INITIAL_CLUSTER=")
		if !ok {
			continue
		}
		found := map[string]bool{}
		for _, member := range strings.Split(strings.Trim(value, `"`), ",") {
			found[member] = true
		}
		if !maps.Equal(found, wanted) {
			return membersOf(found)
		}
	}
	return ""
}

func membersOf(set map[string]bool) string {
	members := slices.Sorted(maps.Keys(set))
	return strings.Join(members, ", ")
}

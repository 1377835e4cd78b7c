package plan

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// bootstrapFile holds what a member of etcd reads at its very first start.
const bootstrapFile = "/etc/etcd/bootstrap.env"

// etcdConfig holds what it reads at every start.
const etcdConfig = "/etc/etcd/etcd.env"

// memberDirectory is what etcd makes in its data directory when it first
// starts: a host that has it is, or was, a member.
func memberDirectory(inv *inventory.Inventory) string { return inv.Etcd.DataDir + "/member" }

// logDirectory is where a member keeps its write-ahead log.
func logDirectory(inv *inventory.Inventory) string { return memberDirectory(inv) + "/wal" }

// memberQueries ask what tells a host that is, or was, a member of etcd from
// one that never was.
func memberQueries(p *Plan, host inventory.Host) []fact.Query {
	inv := p.Inventory
	if !p.look().etcd {
		return nil
	}
	queries := []fact.Query{{Kind: fact.KindFile, Name: memberDirectory(inv)}, {Kind: fact.KindUnit, Name: etcdUnit}}
	if host.Has(inventory.RoleEtcd) {
		queries = append(queries, fact.Query{Kind: fact.KindFile, Name: bootstrapFile, Content: true}, fact.Query{Kind: fact.KindEtcdData, Name: logDirectory(inv)})
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

// Learnt returns what was learnt of a host: of the plan, left out of it, or
// leaving.
func (o Observed) Learnt(host string) (facts fact.Set, ok bool) {
	observation, ok := o.Hosts[host]
	if !ok {
		observation, ok = o.Elsewhere[host]
	}
	if !ok {
		observation, ok = o.Leaving[host]
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

// memberChanges computes how etcd's list of members becomes that of the
// inventory, and what is in the way of it.
//
// Where etcd answers, its own list counts. Where it does not, it does not exist
// yet, its first start was interrupted, or it is down; then the hosts tell, and
// no change of the list is planned.
func memberChanges(p *Plan, observed Observed) ([]memberChange, []Problem) {
	if len(p.Inventory.With(inventory.RoleEtcd)) == 0 {
		return nil, nil
	}
	found, err := observed.Cluster.EtcdMembers()
	if err != nil {
		return nil, guessMembers(p, observed)
	}
	changes, problems := planMembers(seatsIn(p, observed, found), found)
	problems = append(problems, p.withoutServers(changes, found)...)
	if len(problems) > 0 {
		return nil, problems
	}
	return changes, nil
}

// isAt reports whether a listed member is that of a host, by its address or name.
func isAt(m fact.EtcdMember, h inventory.Host) bool {
	return slices.Contains(m.PeerURLs, peerURL(h)) || m.Name == h.Name
}

// seatsIn are the hosts of the inventory that are members of etcd, or are to be,
// then those that leave it.
func seatsIn(p *Plan, observed Observed, found fact.EtcdMembers) []seat {
	inv := p.Inventory
	leftOut := p.Elsewhere("")
	var seats []seat
	for _, h := range inv.Hosts {
		member := h.Has(inventory.RoleEtcd)
		if !member && !slices.ContainsFunc(found.Members, func(m fact.EtcdMember) bool { return isAt(m, h) }) {
			continue // of many workers
		}
		s := seat{host: h.Name, peerURL: peerURL(h), wanted: member, directory: memberDirectory(inv)}
		o, inPlan := observed.Hosts[h.Name]
		s.planned = inPlan && o.Err == nil
		s.leftOut = slices.Contains(leftOut, h.Name)
		if facts, ok := observed.Learnt(h.Name); ok {
			s.data = !LacksData(inv, facts)
			if whose, err := facts.EtcdData(logDirectory(inv)); err == nil {
				s.whose, s.told = whose, true
			}
			unit, err := facts.Unit(etcdUnit)
			s.runs = err == nil && unit.LoadState != "not-found" && !slices.Contains([]string{"", "inactive", "failed"}, unit.ActiveState)
			if dir := cmp.Or(dataDirectoryIn(facts), flagIn(facts, etcdConfig, "ETCD_DATA_DIR")); dir != "" && dir != inv.Etcd.DataDir {
				s.elsewhere = dir
			}
		}
		seats = append(seats, s)
	}
	for _, l := range p.Departures(observed) {
		facts, asked := observed.Learnt(l.Name)
		seats = append(seats, seat{
			host: l.Name, peerURL: "https://" + net.JoinHostPort(l.Address, strconv.Itoa(EtcdPeerPort)), directory: memberDirectory(inv),
			planned: asked, data: asked && !LacksData(inv, facts),
		})
	}
	return seats
}

// withoutServers finds API servers that -limit leaves out though the members
// that they should know of change.
func (p *Plan) withoutServers(changes []memberChange, found fact.EtcdMembers) []Problem {
	if !slices.ContainsFunc(changes, func(c memberChange) bool {
		replaced := slices.ContainsFunc(found.Members, func(m fact.EtcdMember) bool { return slices.Equal(m.PeerURLs, c.entry.PeerURLs) })
		return c.late || c.action == addLearner && !replaced
	}) {
		return nil
	}
	var problems []Problem
	for _, host := range p.Elsewhere(inventory.RoleMaster) {
		problems = append(problems, Problem{host, "its API server is to learn of the change of etcd's members, and -limit leaves the host out", "add it to -limit, or plan without"})
	}
	return problems
}

// peerURL is where a member is reached by its peers.
func peerURL(h inventory.Host) string { return "https://" + hostPort(h.Address, EtcdPeerPort) }

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
			if lived = ofCluster(resource.ID(id)); lived {
				break
			}
		}
		if lived {
			break
		}
	}
	begun := map[string]bool{}
	for _, h := range inv.With(inventory.RoleEtcd) {
		begun[h.Name+"="+peerURL(h)] = true
	}
	said := map[string]bool{}
	problems := foundsAnother(p, observed, begun)
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
					"if the role `etcd` is new here, take it away until etcd answers; if `data_dir` was changed, change it back, or move the data; start the members that have their data; if all is lost, restore a snapshot on every member (etcdutl snapshot restore) before you go on"})
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

// foundsAnother finds hosts that would found an etcd while one that can't be asked
// may have it already. A host where kinstall was at work says that there may be one;
// a member that has data says that it was begun with the same members, whoever
// starts next.
func foundsAnother(p *Plan, observed Observed, begun map[string]bool) []Problem {
	var founders, silent []string
	atWork := false
	for _, h := range p.Inventory.Hosts {
		facts, ok := observed.Learnt(h.Name)
		member := h.Has(inventory.RoleEtcd)
		switch _, inPlan := observed.Hosts[h.Name]; {
		case !ok && (member || h.Has(inventory.RoleMaster)):
			silent = append(silent, h.Name)
		case ok && member && !LacksData(p.Inventory, facts) && beganWith(facts, begun) == "":
			return nil
		case ok && member && inPlan:
			founders = append(founders, h.Name)
		}
		atWork = atWork || ok && len(facts.Host.State.Resources) > 0
	}
	for _, l := range p.Departures(observed) {
		if _, asked := observed.Learnt(l.Name); !asked {
			silent = append(silent, l.Name)
		}
	}
	if !atWork || len(founders) == 0 || len(silent) == 0 {
		return nil
	}
	return []Problem{{Cluster, fmt.Sprintf("etcd does not answer, and %s can't be asked: if its data is there, %s would found another etcd beside it", enumerate(silent), enumerate(founders)),
		fmt.Sprintf("bring %s back first. If it is lost, and the cluster with it, restore a snapshot on every member (etcdutl snapshot restore); if there never was a cluster, take the role away from it, or its block out", enumerate(silent))}}
}

// beganWith returns the names of the members that an etcd was begun with, where
// they are not those wanted ("NAME=URL"); "" if they are, or are not known.
func beganWith(facts fact.Set, wanted map[string]bool) string {
	members := flagIn(facts, bootstrapFile, "ETCD_INITIAL_CLUSTER")
	if members == "" {
		return ""
	}
	found := map[string]bool{}
	for _, member := range strings.Split(members, ",") {
		found[member] = true
	}
	if !maps.Equal(found, wanted) {
		return membersOf(found)
	}
	return ""
}

// etcdUnitFile is the file of etcd's unit.
const etcdUnitFile = "/etc/systemd/system/" + etcdUnit

var dataDirectoryFlag = regexp.MustCompile(`(?m)^ExecStart=.* "--data-dir=([^"]*)"$`)

// dataDirectoryIn returns the data directory that etcd's unit on the host names; ""
// if it is not known, or the host's configuration is from a kinstall that had it
// in etcd.env.
func dataDirectoryIn(facts fact.Set) string {
	found, err := facts.File(etcdUnitFile)
	if err != nil {
		return ""
	}
	if match := dataDirectoryFlag.FindSubmatch(found.Content); match != nil {
		return string(match[1])
	}
	return ""
}

// flagIn returns a flag of etcd as a file of variables on the host has it; "" if
// it has none, or is as planned.
func flagIn(facts fact.Set, file, name string) string {
	found, err := facts.File(file)
	if err != nil || !found.HasContent { // no content: the file is as planned
		return ""
	}
	for line := range strings.Lines(string(found.Content)) {
		if value, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), name+"="); ok {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

func membersOf(set map[string]bool) string {
	members := slices.Sorted(maps.Keys(set))
	return strings.Join(members, ", ")
}

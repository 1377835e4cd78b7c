package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Upgrade is a change of versions on a cluster that lives.
type Upgrade struct {
	Software []Upgraded
	// Phases are what happens, in this order: none begins before the one ahead of
	// it has ended.
	Phases []Phase
	// Risks are what a reader should know before anything else.
	Risks []string

	minor bool // Kubernetes changes its minor version
}

// Upgraded is one thing whose version changes.
type Upgraded struct {
	Name string   `json:"name"` // "Kubernetes"
	From []string `json:"from"` // versions found, without those that are as wanted; oldest first
	To   string   `json:"to"`
	// Begun: it is as wanted on some hosts already.
	Begun bool `json:"begun,omitempty"`
}

// Phase is a part of an upgrade.
type Phase struct {
	Title string   `json:"title"`
	Hosts []string `json:"hosts"` // in the order of the plan
}

// kubernetesName is what Kubernetes is called as one of Upgrade.Software.
const kubernetesName = "Kubernetes"

// String is "Kubernetes 1.35.4 → 1.36.3".
func (u Upgraded) String() string {
	text := fmt.Sprintf("%s %s → %s", u.Name, strings.Join(u.From, ", "), u.To)
	if u.Begun {
		text += " (begun)"
	}
	return text
}

// Title is "Upgrade of Kubernetes 1.35.4 → 1.36.3".
func (u *Upgrade) Title() string {
	var all []string
	word := "Downgrade"
	for _, s := range u.Software {
		all = append(all, s.String())
		if inventory.CompareVersions(s.From[0], s.To) < 0 {
			word = "Upgrade"
		}
	}
	return word + " of " + strings.Join(all, ", ")
}

// otherSoftware is what is upgraded beside Kubernetes, and its version in an inventory.
func otherSoftware(inv *inventory.Inventory) []struct {
	program
	wanted string
} {
	all := []struct {
		program
		wanted string
	}{{program{name: "etcd", plural: "members of etcd", found: ofArtifact(releaseEtcd)}, inv.Etcd.Version}}
	if inv.Runtime.Kind == inventory.RuntimeContainerd {
		all = append(all, struct {
			program
			wanted string
		}{program{name: "containerd", plural: "containerds", found: ofArtifact(releaseContainerd)}, inv.Runtime.Version})
	}
	return all
}

// upgraded compares what was found with what is wanted; ok is false where it is
// the same everywhere.
func upgraded(name string, found []finding, wanted string) (u Upgraded, ok bool) {
	u = Upgraded{Name: name, To: wanted}
	for _, version := range distinct(found) {
		if version == wanted {
			u.Begun = true
		} else {
			u.From = append(u.From, version)
		}
	}
	return u, len(u.From) > 0
}

// upgrade is the change of versions that a plan makes of what was observed; nil
// where versions stay.
func (p *Plan) upgrade(o Observed) *Upgrade {
	if !p.Inventory.Kubernetes() {
		return nil
	}
	u := &Upgrade{}
	target := p.Inventory.Cluster.Version
	planned := map[string]bool{}
	for _, host := range p.Hosts() {
		planned[host] = true
	}
	elsewhere := func(f finding) bool { return !planned[f.host] }
	var found []finding
	for _, program := range kubernetesPrograms() {
		found = append(found, slices.DeleteFunc(p.findings(o, program), elsewhere)...)
	}
	if s, ok := upgraded(kubernetesName, found, target); ok {
		u.Software = append(u.Software, s)
		u.minor = slices.ContainsFunc(s.From, func(from string) bool { return inventory.MinorsBetween(from, target) != 0 })
		if inventory.CompareVersions(s.From[len(s.From)-1], target) > 0 && !u.minor {
			u.Risks = append(u.Risks, fmt.Sprintf("downgrade: Kubernetes goes back from %s to %s, and loses what was mended in between", s.From[len(s.From)-1], target))
		}
		if len(checkSkew(p, o)) == 0 {
			u.Risks = append(u.Risks, p.skewMended(o)...)
			u.Risks = append(u.Risks, p.deprecated(o)...)
		}
	}
	for _, other := range otherSoftware(p.Inventory) {
		s, ok := upgraded(other.name, slices.DeleteFunc(p.findings(o, other.program), elsewhere), other.wanted)
		if !ok {
			continue
		}
		u.Software = append(u.Software, s)
		if last := s.From[len(s.From)-1]; inventory.CompareVersions(last, s.To) > 0 {
			u.Risks = append(u.Risks, fmt.Sprintf("downgrade: %s goes back from %s to %s", s.Name, last, s.To))
		}
	}
	if len(u.Software) == 0 {
		return nil
	}
	return u
}

// kubernetes reports whether the version of Kubernetes changes.
func (u *Upgrade) kubernetes() bool { return u != nil && u.Software[0].Name == kubernetesName }

// skewMended names what is newer than an API server and as new as wanted: the
// API servers come first, and are as new then.
func (p *Plan) skewMended(o Observed) []string {
	servers := p.findings(o, serverProgram())
	if len(servers) == 0 {
		return nil
	}
	oldest := slices.MinFunc(servers, func(a, b finding) int { return inventory.CompareVersions(a.version, b.version) })
	var risks []string
	for _, program := range kubernetesPrograms()[1:] {
		for _, group := range byVersion(p.findings(o, program)) {
			if inventory.MinorsBetween(oldest.version, group.version) > 0 && inventory.MinorsBetween(group.version, p.Inventory.Cluster.Version) == 0 {
				risks = append(risks, fmt.Sprintf("version skew: %s, newer than the API server of %s, which is %s; the API servers come first and mend that",
					group.state(program), oldest.host, oldest.version))
			}
		}
	}
	return risks
}

// LaterQueries are what must be known of the cluster besides, once the versions
// of what runs are known.
func (p *Plan) LaterQueries(o Observed) []fact.Query {
	u := p.upgrade(o)
	if u == nil || !u.minor {
		return nil
	}
	var queries []fact.Query
	for _, f := range p.findings(o, serverProgram()) {
		queries = append(queries, fact.Query{Kind: fact.KindDeprecated, Name: f.host})
	}
	for _, host := range p.Hosts() {
		if p.evacuates(o, host) {
			queries = append(queries, fact.Query{Kind: fact.KindNode, Name: host, Pods: true})
		}
	}
	return queries
}

// deprecated names APIs that somebody still asks for and that the new version
// lacks (https://kubernetes.io/docs/reference/using-api/deprecation-policy/).
func (p *Plan) deprecated(o Observed) []string {
	minor := inventory.MinorOf(p.Inventory.Cluster.Version)
	asked := map[string][]string{} // hosts of API servers, by what they say
	for _, f := range p.findings(o, serverProgram()) {
		found, err := o.Cluster.Deprecated(f.host)
		if err != nil {
			continue // versions stay within a minor
		}
		if found.Err != "" {
			text := fmt.Sprintf("deprecated APIs: whether somebody uses what %s lacks is not known: %s", minor, found.Err)
			asked[text] = append(asked[text], f.host)
		}
		for _, api := range found.APIs {
			if releaseForm.MatchString(api.Removed+".0") && inventory.CompareVersions(api.Removed, minor) <= 0 {
				text := fmt.Sprintf("deprecated API: %s is in use, and %s lacks it; its clients have to change first", api, minor)
				asked[text] = append(asked[text], f.host)
			}
		}
	}
	var risks []string
	for _, text := range slices.Sorted(maps.Keys(asked)) {
		risks = append(risks, fmt.Sprintf("%s (API server of %s)", text, enumerate(asked[text])))
	}
	return risks
}

// versionGroup is the hosts on which a program was found in the same version.
type versionGroup struct {
	version string
	names   []string
}

func (g versionGroup) hosts() string { return enumerate(g.names) }

// state is "the kubelet of shaolin is 1.35.4", or "the kubelets of shaolin and
// wudang are 1.35.4".
func (g versionGroup) state(of program) string {
	if len(g.names) == 1 {
		return fmt.Sprintf("the %s of %s is %s", of.name, g.names[0], g.version)
	}
	return fmt.Sprintf("the %s of %s are %s", of.plural, g.hosts(), g.version)
}

// place is where a problem of the group is shown.
func (g versionGroup) place() string {
	if len(g.names) == 1 {
		return g.names[0]
	}
	return Cluster
}

// enumerate is "a", "a and b", or "a, b and c".
func enumerate(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// byVersion groups findings of one program, oldest version first.
func byVersion(found []finding) []versionGroup {
	var groups []versionGroup
	for _, f := range found {
		i := slices.IndexFunc(groups, func(g versionGroup) bool { return g.version == f.version })
		if i < 0 {
			i = len(groups)
			groups = append(groups, versionGroup{version: f.version})
		}
		groups[i].names = append(groups[i].names, f.host)
	}
	slices.SortStableFunc(groups, func(a, b versionGroup) int { return inventory.CompareVersions(a.version, b.version) })
	return groups
}

// check finds changes of versions that must not be made, and what must be seen to
// before those that may.
func (u *Upgrade) check(p *Plan, o Observed) []Problem {
	if u == nil {
		return nil
	}
	problems := checkEtcdVersions(p, o)
	if !u.kubernetes() {
		return problems
	}
	skew := checkSkew(p, o)
	problems = append(problems, skew...)
	if len(skew) > 0 {
		return problems // another version has to come first
	}
	if u.minor {
		problems = append(problems, checkLeftOut(p, o)...)
	}
	return slices.Concat(problems, checkRunningKubelets(p, o), checkEtcdQuorum(o), checkUpgradeDisk(p, o))
}

// version is how an inventory says it.
func setVersion(version string) string { return fmt.Sprintf("`version = %q`", version) }

// nextMinor is the version to go to from another on the way further: a patch that
// is known to exist, or words where kinstall does not know the minor.
func nextMinor(version string) string {
	major, rest, _ := strings.Cut(inventory.MinorOf(version), ".")
	n := 0
	_, _ = fmt.Sscan(rest, &n) // a number: it has the form of a release
	return fmt.Sprintf("%s.%d", major, n+1)
}

// checkSkew holds the versions found to those that the API servers will have.
// All else may be older by what its program says, and nothing newer; so that
// each step of the upgrade keeps Kubernetes' own policy.
func checkSkew(p *Plan, o Observed) []Problem {
	target := p.Inventory.Cluster.Version
	minor := inventory.MinorOf(target)
	servers := byVersion(p.findings(o, serverProgram()))
	if len(servers) > 1 && inventory.MinorsBetween(servers[0].version, servers[len(servers)-1].version) > 1 {
		oldest, newest := servers[0], servers[len(servers)-1]
		return []Problem{{oldest.place(), fmt.Sprintf("%s, and %s: they may be one minor version apart, not more", oldest.state(serverProgram()), newest.state(serverProgram())),
			fmt.Sprintf("set %s in the cluster block, and take away the older manifest on %s; the next apply installs it anew:\nmv %s /root/", setVersion(newest.version), oldest.hosts(), manifestPath(apiServerPod))}}
	}
	var problems []Problem
	newer, skipped := false, false
	for i, program := range kubernetesPrograms() {
		for _, group := range byVersion(p.findings(o, program)) {
			distance := inventory.MinorsBetween(group.version, target)
			what := fmt.Sprintf("%s, and the inventory says %s", group.state(program), target)
			switch {
			case distance < 0 && i == 0:
				newer = true
				problems = append(problems, Problem{group.place(), what + ": Kubernetes does not go back a minor version, because an older one may not be able to read what a newer one has stored",
					fmt.Sprintf("set %s in the cluster block again; what did not come so far yet is upgraded then. To go back for good, restore a snapshot of etcd from before the upgrade into a new cluster", setVersion(group.version))})
			case distance < 0 && !newer:
				problems = append(problems, Problem{group.place(), what + ": nothing may be newer than the API servers",
					fmt.Sprintf("set %s in the cluster block: the API servers are upgraded to it first", setVersion(group.version))})
			case distance > program.behind && program.behind == 1 && !skipped:
				skipped = i == 0
				problems = append(problems, Problem{group.place(), what + ": no minor version may be skipped", passThrough(nextMinor(group.version), target)})
			case distance > program.behind && program.behind > 1:
				problems = append(problems, Problem{group.place(), fmt.Sprintf("%s: API servers of %s support no %s that are more than %d minor versions older", what, minor, program.plural, program.behind),
					fmt.Sprintf("upgrade %s first: set %s in the cluster block, which the API servers have, and apply; then set it to %q again", group.hosts(), setVersion(serversVersion(servers, target)), target)})
			}
		}
	}
	return problems
}

// serversVersion is that of the oldest API server.
func serversVersion(servers []versionGroup, otherwise string) string {
	if len(servers) == 0 {
		return otherwise
	}
	return servers[0].version
}

// passThrough says how to go over a minor in between.
func passThrough(minor, target string) string {
	patch := inventory.PatchOf(minor)
	if patch == "" {
		return fmt.Sprintf("upgrade to a patch of %s first, with a kinstall that knows it; this one knows %s", minor, strings.Join(inventory.SupportedMinors(), ", "))
	}
	return fmt.Sprintf("go to %s first: set %s in the cluster block (or another patch of %s) and apply, then set it to %q again", minor, setVersion(patch), minor, target)
}

// checkLeftOut refuses a new minor version where an API server stays behind: what
// is changed on other hosts would be newer than it.
func checkLeftOut(p *Plan, o Observed) []Problem {
	target := p.Inventory.Cluster.Version
	planned := map[string]bool{}
	for _, host := range p.Hosts() {
		planned[host] = true
	}
	var left, silent []string
	for _, f := range p.findings(o, serverProgram()) {
		if !planned[f.host] && inventory.MinorsBetween(f.version, target) > 0 {
			left = append(left, fmt.Sprintf("%s (%s)", f.host, f.version))
		}
	}
	for _, h := range p.Inventory.With(inventory.RoleMaster) {
		if _, known := o.Learnt(h.Name); !known {
			silent = append(silent, h.Name)
		}
	}
	var problems []Problem
	if len(left) > 0 {
		problems = append(problems, Problem{Cluster, fmt.Sprintf("-limit leaves out API servers that are older than %s: %s; what is upgraded on other hosts would be newer than they are", target, enumerate(left)),
			"leave -limit away, or name all masters; workers can be left for later"})
	}
	if len(silent) > 0 {
		problems = append(problems, Problem{Cluster, fmt.Sprintf("the API server of %s can't be asked for its version, and a new minor version needs all of them: none may be older by more than one, and nothing newer than any", enumerate(silent)),
			"make the host reachable; or take it out of the inventory first, if it is gone for good"})
	}
	return problems
}

// checkRunningKubelets finds masters whose kubelet does not run, which has to
// run the API server's new version before it is changed itself.
func checkRunningKubelets(p *Plan, o Observed) []Problem {
	target := p.Inventory.Cluster.Version
	var problems []Problem
	for _, f := range p.findings(o, serverProgram()) {
		facts, _ := o.Learnt(f.host)
		unit, err := facts.Unit(KubeletUnit)
		if err != nil || unit.Running() || f.version == target {
			continue
		}
		state := cmp.Or(unit.Trouble(), unit.ActiveState)
		problems = append(problems, Problem{f.host, fmt.Sprintf("%s does not run (%s), which has to start the API server's new version", KubeletUnit, state),
			fmt.Sprintf("start it first: set %s in the cluster block again and apply, or look at it on the host:\nsystemctl status %s", setVersion(f.version), KubeletUnit)})
	}
	return problems
}

// checkEtcdVersions finds ways that etcd does not go
// (https://etcd.io/docs/v3.6/upgrades/upgrade_3_6/).
func checkEtcdVersions(p *Plan, o Observed) []Problem {
	target := p.Inventory.Etcd.Version
	var problems []Problem
	etcd := otherSoftware(p.Inventory)[0].program
	for _, group := range byVersion(p.findings(o, etcd)) {
		what := fmt.Sprintf("%s, and the inventory says %s", group.state(etcd), target)
		first := inventory.EtcdBefore(inventory.MinorOf(target))
		switch distance := inventory.MinorsBetween(group.version, target); {
		case distance < 0:
			problems = append(problems, Problem{group.place(), what + ": etcd does not go back a minor version with the data it has",
				fmt.Sprintf("set %s in the etcd block again", setVersion(group.version))})
		case distance > 1:
			problems = append(problems, Problem{group.place(), what + ": no minor version may be skipped",
				fmt.Sprintf("set %s in the etcd block to the newest patch of %s and apply, then go on to %s", "`version`", nextMinor(group.version), target)})
		case distance == 1 && first != "" && inventory.CompareVersions(group.version, first) < 0:
			problems = append(problems, Problem{group.place(), what + fmt.Sprintf(": members that were removed long ago may come back, unless etcd was %s or newer before", first),
				fmt.Sprintf("set %s in the etcd block and apply, then go on to %s; see https://etcd.io/blog/2025/zombie_members_upgrade/", setVersion(first), target)})
		}
	}
	return problems
}

// checkEtcdQuorum finds an etcd that could not serve a new API server.
func checkEtcdQuorum(o Observed) []Problem {
	members, err := o.Cluster.EtcdMembers()
	if err != nil || members.Quorum {
		return nil // where etcd does not answer, a gate waits for it before the API servers
	}
	return []Problem{{Cluster, "etcd has no leader that a majority follows", "heal etcd before an upgrade: look at its members' logs\njournalctl -u " + etcdUnit}}
}

// upgradeNeeds is what the new binaries and images take, with room for those
// that they replace.
const upgradeNeeds = 1 << 30

// checkUpgradeDisk finds hosts without room for another version beside the one
// that is kept.
func checkUpgradeDisk(p *Plan, o Observed) []Problem {
	var problems []Problem
	for _, name := range p.Hosts() {
		facts, ok := o.Learnt(name)
		if !ok || len(facts.Host.State.Resources) == 0 {
			continue // checkDisk sees to bare hosts
		}
		for _, path := range []string{"/", "/var/lib"} {
			if free, known := facts.Host.DiskFree[path]; known && free < upgradeNeeds {
				problems = append(problems, Problem{name, fmt.Sprintf("%s has %d MiB free, %d MiB are needed for the new version beside the one that runs", path, free>>20, int64(upgradeNeeds)>>20), "free some space, or grow the disk"})
				break
			}
		}
	}
	return problems
}

// phases says in which order things happen, as Delta.arrange has it.
func (d *Delta) phases() []Phase {
	var phases []Phase
	add := func(title string, hosts map[string]bool) {
		if len(hosts) == 0 {
			return
		}
		phase := Phase{Title: title}
		for _, host := range d.Plan.Hosts() {
			if hosts[host] {
				phase.Hosts = append(phase.Hosts, host)
			}
		}
		phases = append(phases, phase)
	}
	changing := func(of func(Item) bool) map[string]bool {
		hosts := map[string]bool{}
		for _, item := range d.Items {
			if item.Change.Changes() && item.Step.Host != Operator && of(item) {
				hosts[item.Step.Host] = true
			}
		}
		return hosts
	}
	groups, evacuated := map[string]map[string]bool{}, map[string]bool{}
	for _, item := range d.Items {
		if item.Step.Rollout != nil && item.Step.Rollout.Evacuate != "" {
			evacuated[item.Step.Rollout.Group] = true
		}
	}
	for _, turn := range d.Turns {
		host, _, _ := strings.Cut(string(turn.Step), "/")
		if groups[turn.Group] == nil {
			groups[turn.Group] = map[string]bool{}
		}
		groups[turn.Group][host] = true
	}
	add("binaries uploaded beside those in use", changing(func(i Item) bool { _, ok := i.Step.Resource.(resource.Artifact); return ok }))
	for _, group := range []string{groupEtcd, groupMasterRuntimes, groupWorkerRuntimes} {
		add(GroupTitle(group), groups[group])
	}
	add("images imported", changing(func(i Item) bool { _, ok := i.Step.Resource.(resource.Image); return ok }))
	for _, group := range []string{groupAPIServers, groupControllers, groupMasterKubelets, groupWorkerKubelets} {
		title := GroupTitle(group)
		if ProgramTitle(group) == kubeletsTitle && evacuated[group] {
			title += ", their nodes drained"
		}
		if ProgramTitle(group) == kubeletsTitle && len(groups[groupProxies]) > 0 {
			title += ", each followed by its kube-proxy"
		}
		add(title, groups[group])
	}
	return phases
}

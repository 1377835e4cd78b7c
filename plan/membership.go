package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// seat is a host of the inventory that is a member of etcd, or is to be one.
type seat struct {
	host    string
	peerURL string
	wanted  bool // it has the role `etcd`
	planned bool // it is in the plan and was reached: it may be changed
	leftOut bool // by -limit
	data    bool // it has a member's data
	whose   fact.EtcdData
	told    bool // whose is known, or known not to be told by the data
	runs    bool // its etcd.service runs or tries to
	// elsewhere is the data directory that its etcd was configured with last, where
	// that is another one.
	elsewhere string
	directory string // where its data lies, or would
}

// holds reports whether a seat has the data of a member. Data that could not be
// looked into counts as that of whoever is listed there.
func (s seat) holds(m fact.EtcdMember) bool {
	return s.data && (!s.told || s.whose.MemberID == m.ID)
}

// memberAction is what one step does about a member.
type memberAction int

const (
	clearData     memberAction = iota // stop the unit, and move aside what it has of another member
	removeMember                      // take it off the list
	addLearner                        // put it on the list, without a vote
	startMember                       // have its unit start with the list as it then is
	promoteMember                     // give it its vote
)

// memberChange is one step on the way from etcd's list of members to that of
// the inventory.
type memberChange struct {
	action memberAction
	host   string // of the inventory, "" for none
	entry  resource.EtcdEntry
	list   resource.EtcdList // just before
	reason resource.Reason
	// late changes wait until nobody needs the member any more.
	late bool
}

// planMembers computes how etcd's list of members becomes that of the
// inventory: one change at a time, in an order in which a quorum is kept at each
// moment. What can't be done so is a problem, and then nothing is done.
//
// Members that can't serve any more go first: each of them counts for the
// quorum, and etcd adds none while one is away. Then members join, one after the
// other: listed without a vote, started, and given the vote when they have
// caught up. Those that leave in good health go last, the leader behind the
// others, since clients rely on them until they have learnt the new list.
//
// A member that was listed and has not joined yet is taken further from where
// it stands: so an apply that was killed is resumed.
func planMembers(seats []seat, found fact.EtcdMembers) ([]memberChange, []Problem) {
	c := memberPlanner{found: found, seats: seats, at: seatsOf(seats, found)}
	c.sort()
	if len(c.problems) > 0 || !c.changes() {
		return nil, c.problems
	}
	c.order()
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return c.steps, nil
}

// seatsOf finds the seat of each listed member, by its place in the list: the
// host that has its data, else the one that it is reached at, else the one
// that has its name; -1 for none.
func seatsOf(seats []seat, found fact.EtcdMembers) []int {
	at := make([]int, len(found.Members))
	for i := range at {
		at[i] = -1
	}
	for _, fits := range []func(seat, fact.EtcdMember) bool{
		func(s seat, m fact.EtcdMember) bool {
			return s.whose.Known() && s.whose.MemberID == m.ID && s.whose.ClusterID == found.ClusterID
		},
		func(s seat, m fact.EtcdMember) bool { return slices.Contains(m.PeerURLs, s.peerURL) },
		func(s seat, m fact.EtcdMember) bool { return s.host == m.Name },
	} {
		for i, m := range found.Members {
			for j, s := range seats {
				if at[i] < 0 && !slices.Contains(at, j) && fits(s, m) {
					at[i] = j
				}
			}
		}
	}
	return at
}

// memberPlanner is the computation of planMembers.
type memberPlanner struct {
	found fact.EtcdMembers
	seats []seat
	at    []int // the seat of each listed member, -1 for none

	dead     []int  // listed members that can't serve any more, by their place in the list
	departed []int  // that leave, and don't serve
	leaving  []int  // that leave, and serve
	begun    []int  // that are listed and have not started, or have no vote yet
	joining  []int  // seats that are not listed
	live     []bool // whether a listed member serves, or will when the plan has repaired it
	reasons  map[int]string

	list     resource.EtcdList
	steps    []memberChange
	problems []Problem
}

func (c *memberPlanner) problem(host, summary, hint string) {
	c.problems = append(c.problems, Problem{host, summary, hint})
}

// sort says what is to become of each member and seat.
func (c *memberPlanner) sort() {
	c.reasons = map[int]string{}
	c.live = make([]bool, len(c.found.Members))
	for i, m := range c.found.Members {
		c.list = append(c.list, resource.EtcdEntry{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, Learner: m.Learner})
		c.live[i] = m.Healthy
		if c.at[i] < 0 {
			c.unknown(m)
			continue
		}
		s := c.seats[c.at[i]]
		switch {
		case departs(s) && s.leftOut:
			c.leftOut(s, "leaves etcd")
		case departs(s) && (!m.Healthy || m.Learner):
			c.departed = append(c.departed, i)
		case departs(s):
			c.leaving = append(c.leaving, i)
		default:
			c.stays(i, m, s)
		}
	}
	for j, s := range c.seats {
		switch {
		case !s.wanted:
		case s.whose.Known() && c.found.ClusterID != 0 && s.whose.ClusterID != c.found.ClusterID:
			c.problem(s.host, fmt.Sprintf("has the data of another etcd in %s: that of cluster %x, and this one is %x", s.directory, s.whose.ClusterID, c.found.ClusterID),
				fmt.Sprintf("if nobody needs it any more, move it aside on the host and plan again:\nsystemctl stop etcd; mv %[1]s %[1]s.other", s.directory))
		case slices.Contains(c.at, j):
		case s.leftOut:
			c.leftOut(s, "is to become a member of etcd")
		case s.planned:
			c.joining = append(c.joining, j)
		}
	}
}

// departs reports whether a member on that host is planned to leave: its host
// is in the inventory without the role, or leaves it.
func departs(s seat) bool { return !s.wanted }

func (c *memberPlanner) leftOut(s seat, what string) {
	c.problem(s.host, fmt.Sprintf("%s, and -limit leaves the host out", what),
		"add it to -limit, or give the role `etcd` to the hosts that have it in etcd's own list: "+nameMembers(c.found.Members))
}

// unknown refuses a member of which kinstall knows no host.
func (c *memberPlanner) unknown(m fact.EtcdMember) {
	name := entryOf(m).String()
	if m.Learner {
		c.problem(Cluster, fmt.Sprintf("%s is being added to etcd by somebody else: it is listed without a vote, and no host of the inventory is reached there", name),
			fmt.Sprintf("wait until that is done and add the host to the inventory; or, if nobody is at it any more, take the member off etcd's list:\n%s member remove %x", etcdctl, m.ID))
		return
	}
	c.problem(Cluster, fmt.Sprintf("%s is a member of etcd and not one in the inventory; its members are %s", name, nameMembers(c.found.Members)),
		fmt.Sprintf("add its host to the inventory, with the role `etcd` or without; or take it off etcd's list on a member that stays:\n%s member remove %x", etcdctl, m.ID))
}

// stays says how a listed member stands whose host has the role.
func (c *memberPlanner) stays(i int, m fact.EtcdMember, s seat) {
	served := len(m.ClientURLs) > 0
	moved := !slices.Contains(m.PeerURLs, s.peerURL)
	switch {
	case moved && (!s.planned || s.holds(m)):
		c.problem(s.host, fmt.Sprintf("is known to etcd as %s, the inventory says %s", strings.Join(m.PeerURLs, ", "), s.peerURL),
			fmt.Sprintf("put the address back; or, once the host has the new one, tell etcd of it on a member that stays:\n%s member update %x --peer-urls=%s", etcdctl, m.ID, s.peerURL))
	case !s.planned:
	case s.holds(m):
		c.live[i] = m.Healthy || !s.runs // what is down is started first
		if m.Learner || !served && m.Name == "" {
			c.begun = append(c.begun, i)
		}
	case s.elsewhere != "" && !s.data:
		c.problem(s.host, fmt.Sprintf("has its data of etcd in %s, the inventory says %s", s.elsewhere, s.directory),
			"change `data_dir` back; or move the data while etcd is stopped, one member at a time, before you plan again")
	case served || moved:
		c.dead, c.live[i] = append(c.dead, i), false
		c.reasons[i] = "its data is gone: " + s.directory + " is not there"
		if s.data {
			c.reasons[i] = "its data is gone: " + s.directory + " is " + s.others()
		}
	default:
		c.begun, c.live[i] = append(c.begun, i), false
	}
}

// others says whose data a seat has.
func (s seat) others() string {
	if !s.whose.Known() {
		return "without a log that says whose it is"
	}
	return fmt.Sprintf("that of member %x, which is not on etcd's list", s.whose.MemberID)
}

// changes reports whether anything is to be done. Where all members are listed
// as they are to be, and some of them have not started yet, etcd is coming up
// for the first time.
func (c *memberPlanner) changes() bool {
	if len(c.dead)+len(c.departed)+len(c.leaving)+len(c.joining) > 0 {
		return true
	}
	return slices.ContainsFunc(c.begun, func(i int) bool { return c.found.Members[i].Learner || c.found.Members[i].Name == "" })
}

// order makes the steps.
func (c *memberPlanner) order() {
	voters, live := 0, 0
	var away []string
	gone := func(i int) bool { return slices.Contains(c.dead, i) || slices.Contains(c.departed, i) }
	for i, m := range c.found.Members {
		if m.Learner {
			continue
		}
		voters++
		switch {
		case c.live[i]:
			live++
		case !gone(i) && !slices.Contains(c.begun, i):
			away = append(away, entryOf(m).String())
		}
	}
	serve := fmt.Sprintf("%d of %d members of etcd serve", live, voters)
	if !c.found.Quorum || 2*live <= voters {
		why := fmt.Sprintf("; %d are needed to change its list of members", voters/2+1)
		for _, i := range c.dead {
			why += fmt.Sprintf("; %s: %s", entryOf(c.found.Members[i]), c.reasons[i])
		}
		c.problem(Cluster, serve+why,
			"start the members that have their data; if `data_dir` was changed, change it back; if all is lost, restore a snapshot on every member (etcdutl snapshot restore)")
		return
	}
	if len(away) > 0 && len(c.joining)+len(c.dead) > 0 {
		c.problem(Cluster, fmt.Sprintf("%s does not serve; etcd adds members only while all others do", strings.Join(away, ", ")),
			"bring it back first; or, if it is gone for good, give its role `etcd` to another host")
		return
	}

	for _, i := range c.dead {
		c.clear(c.seats[c.at[i]])
	}
	for _, i := range slices.Concat(c.dead, c.departed) {
		reason := resource.Reason{Cause: resource.Drift, Text: c.reasons[i]}
		if slices.Contains(c.departed, i) {
			reason = resource.Reason{Cause: resource.Intent, Text: "left the inventory, and does not answer"}
		}
		c.remove(i, reason, false)
		if !c.found.Members[i].Learner {
			voters--
		}
	}
	for _, i := range c.begun { // those with a vote first: they are missed
		if !c.found.Members[i].Learner {
			c.join(c.seats[c.at[i]], c.list[c.position(c.found.Members[i].ID)])
			live++
		}
	}
	for _, i := range c.begun {
		if c.found.Members[i].Learner {
			c.join(c.seats[c.at[i]], c.list[c.position(c.found.Members[i].ID)])
			voters, live = voters+1, live+1
		}
	}
	joining := slices.Clone(c.joining)
	for _, i := range c.dead {
		joining = append(joining, c.at[i])
	}
	slices.Sort(joining)
	for _, j := range joining {
		fresh := resource.EtcdEntry{}
		if i := slices.Index(c.at, j); i >= 0 {
			fresh.Replaces = c.found.Members[i].ID
		}
		c.join(c.seats[j], fresh)
		voters, live = voters+1, live+1
	}

	slices.SortStableFunc(c.leaving, func(a, b int) int { return c.leads(a) - c.leads(b) })
	for _, i := range c.leaving {
		voters, live = voters-1, live-1
		if 2*live <= voters {
			c.problem(Cluster, fmt.Sprintf("%s can't leave etcd: of the %d members that stay %d would serve, and %d are needed; %s", entryOf(c.found.Members[i]), voters, max(live, 0), voters/2+1, serve),
				"bring the other members back first, or leave the role `etcd` with more hosts that serve")
			return
		}
		c.remove(i, resource.Reason{Cause: resource.Intent, Text: "left the inventory"}, true)
	}
}

// leads is 1 for the member that leads, 0 for the others.
func (c *memberPlanner) leads(i int) int {
	if c.found.Members[i].ID == c.found.Leader {
		return 1
	}
	return 0
}

// position is where a member stands in the list as it is by then.
func (c *memberPlanner) position(id uint64) int {
	return slices.IndexFunc(c.list, func(e resource.EtcdEntry) bool { return e.ID == id })
}

func (c *memberPlanner) step(s memberChange) {
	s.list = slices.Clone(c.list)
	c.steps = append(c.steps, s)
}

// clear has a host that joins begin without what it has of another member, and
// without a process that may try to go on with it.
func (c *memberPlanner) clear(s seat) {
	if s.data {
		c.step(memberChange{action: clearData, host: s.host, reason: resource.Reason{Cause: resource.Follows, Text: "it is " + s.others()}})
	} else if s.runs {
		c.step(memberChange{action: clearData, host: s.host, reason: resource.Reason{Cause: resource.Follows, Text: "etcd runs without it"}})
	}
}

// join takes a member further from where it stands: an entry without an ID is
// not listed yet.
func (c *memberPlanner) join(s seat, entry resource.EtcdEntry) {
	listed := c.position(entry.ID)
	fresh := entry.ID == 0
	i := slices.IndexFunc(c.found.Members, func(m fact.EtcdMember) bool { return !fresh && m.ID == entry.ID })
	begun := i >= 0 && s.holds(c.found.Members[i])
	dead := slices.ContainsFunc(c.steps, func(done memberChange) bool { return done.action == clearData && done.host == s.host })
	if !begun && !dead {
		c.clear(s)
	}
	if fresh {
		entry = resource.EtcdEntry{Name: s.host, PeerURLs: []string{s.peerURL}, Replaces: entry.Replaces}
		c.step(memberChange{action: addLearner, host: s.host, entry: entry})
		entry.Learner = true
		listed = len(c.list)
		c.list = append(c.list, entry)
	}
	entry.Name = s.host // it may be listed without a name yet
	c.list[listed].Name = s.host
	if !begun {
		c.step(memberChange{action: startMember, host: s.host, entry: entry})
	}
	if entry.Learner {
		c.step(memberChange{action: promoteMember, host: s.host, entry: entry})
		c.list[listed].Learner = false
	}
}

func (c *memberPlanner) remove(i int, reason resource.Reason, late bool) {
	m := c.found.Members[i]
	change := memberChange{action: removeMember, entry: entryOf(m), reason: reason, late: late}
	if c.at[i] >= 0 {
		change.host = c.seats[c.at[i]].host
	}
	c.step(change)
	at := c.position(m.ID)
	c.list = slices.Delete(slices.Clone(c.list), at, at+1)
}

func entryOf(m fact.EtcdMember) resource.EtcdEntry {
	return resource.EtcdEntry{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, Learner: m.Learner}
}

package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/hardening"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// simEtcd is etcd's own list of its members, as far as all of them agree.
type simEtcd struct {
	members  []simMember
	founders string // what the first ones were begun with
	last     uint64 // ID
}

type simMember struct {
	id      uint64
	host    string
	url     string
	learner bool
	served  bool
}

const simClusterID = 1

func (e *simEtcd) add(host, url string, learner bool) uint64 {
	e.last++
	e.members = append(e.members, simMember{id: e.last, host: host, url: url, learner: learner})
	return e.last
}

// find returns the place of a member in the list, -1 for none.
func (e *simEtcd) find(fits func(simMember) bool) int { return slices.IndexFunc(e.members, fits) }

// initial is the list as a member that joins must have it.
func (e *simEtcd) initial() string {
	var all []string
	for _, m := range e.members {
		all = append(all, m.host+"="+m.url)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// lists reports whether a host has the data of a member that is listed.
func (w *world) lists(host string) bool {
	id := w.host(host).member
	return id != 0 && w.etcd.find(func(m simMember) bool { return m.id == id }) >= 0
}

func (w *world) memberRuns(m simMember) bool {
	return !w.host(m.host).down && w.host(m.host).member == m.id && w.runs(m.host, etcdUnit)
}

// voters counts the members with a vote, and those that run; one may be left out.
func (w *world) voters(without uint64) (up, all int) {
	for _, m := range w.etcd.members {
		if m.learner || m.id == without {
			continue
		}
		all++
		if w.memberRuns(m) {
			up++
		}
	}
	return up, all
}

func (w *world) quorum() bool {
	up, all := w.voters(0)
	return all > 0 && up > all/2
}

// joins is what etcd does when it starts: whether it comes up. A host without
// data founds an etcd, or joins one whose list is exactly what it was told.
func (w *world) joins(host string) bool {
	h := w.host(host)
	if h.member == 0 {
		file := h.files[bootstrapFile]
		facts := fact.NewSet(fact.Host{})
		facts.Put(fact.Key{Kind: fact.KindFile, Name: bootstrapFile}, file)
		initial := flagIn(facts, bootstrapFile, "ETCD_INITIAL_CLUSTER")
		switch state := flagIn(facts, bootstrapFile, "ETCD_INITIAL_CLUSTER_STATE"); {
		case state == "existing" && initial != w.etcd.initial():
			return false
		case state == "new" && len(w.etcd.members) == 0:
			w.etcd.founders = initial
			for _, word := range strings.Split(initial, ",") {
				name, url, _ := strings.Cut(word, "=")
				w.etcd.add(name, url, false)
			}
		case state == "new" && initial != w.etcd.founders:
			panic(fmt.Sprintf("%s founds an etcd of its own: %s", host, initial))
		}
		i := w.etcd.find(func(m simMember) bool { return m.host == host })
		if i < 0 || w.etcd.members[i].served {
			return false // the others know that it was begun once
		}
		h.member = w.etcd.members[i].id
		w.put(host, memberPath, fact.File{Exists: true, Type: "directory", Owner: hardening.EtcdUser, Group: hardening.EtcdUser})
	}
	return w.lists(host)
}

const memberPath = "/var/lib/etcd/member"

// serveMembers has members tell the others that they have come up.
func (w *world) serveMembers() {
	if !w.quorum() {
		return
	}
	for i, m := range w.etcd.members {
		w.etcd.members[i].served = m.served || w.memberRuns(m)
	}
}

// observeMembers adds etcd's list where a member answers: one that waits for
// its first quorum does not.
func (w *world) observeMembers(observed Observed) {
	found := fact.EtcdMembers{Quorum: w.quorum(), ClusterID: simClusterID}
	answers := found.Quorum
	found.Quorum = found.Quorum && !w.noQuorum
	for _, m := range w.etcd.members {
		e := fact.EtcdMember{ID: m.id, Name: m.host, PeerURLs: []string{m.url}, Learner: m.learner, Healthy: found.Quorum && w.memberRuns(m)}
		if m.served {
			e.ClientURLs = []string{"https://client"}
			answers = answers || w.memberRuns(m)
		} else if w.etcd.founders == "" || !strings.Contains(w.etcd.founders, m.host+"=") {
			e.Name = "" // it tells it when it starts
		}
		if e.Healthy && found.Leader == 0 && !m.learner {
			found.Leader = m.id
		}
		found.Members = append(found.Members, e)
	}
	if answers {
		observed.Cluster.Put(fact.EtcdMembersKey, found)
	}
}

// wipe takes a member's data away.
func (w *world) wipe(host string) {
	h := w.host(host)
	h.member = 0
	delete(h.files, memberPath)
	if p := h.processes[etcdUnit]; p != nil {
		p.running, p.starting, p.unhealthy = false, false, false
	}
}

// changesList tells steps that change etcd's list of members.
func changesList(r resource.Resource) bool {
	switch r.(type) {
	case resource.EtcdLearner, resource.EtcdVoter, resource.EtcdRemoval:
		return true
	}
	return false
}

// changeList makes a change of the list as etcd and provision do: refused where
// the list is another one, put off while etcd would refuse it.
func (r *simRun) changeList(item Item) error {
	w := r.w
	observed := Observed{Cluster: fact.NewSet(fact.Host{})}
	w.observeMembers(observed)
	found, err := observed.Cluster.EtcdMembers()
	if err != nil || !found.Quorum {
		return errNot
	}
	place := func(e resource.EtcdEntry) int {
		return w.etcd.find(func(m simMember) bool { return (e.ID == 0 || e.ID == m.id) && slices.Contains(e.PeerURLs, m.url) })
	}
	judge := func(list resource.EtcdList, done func([]fact.EtcdMember) bool) (bool, error) {
		if done(found.Members) {
			return true, nil
		}
		if differs := list.Differs(found.Members); differs != "" {
			return false, fmt.Errorf("%s: %s: %w", item.Step.ID(), differs, errStale)
		}
		return false, nil
	}
	var do func()
	up, all := w.voters(0)
	switch c := item.Step.Resource.(type) {
	case resource.EtcdLearner:
		if done, err := judge(c.List, c.Done); done || err != nil {
			return err
		}
		if up < all {
			return errNot
		}
		do = func() { w.etcd.add(c.Entry.Name, c.Entry.PeerURLs[0], true) }
	case resource.EtcdVoter:
		if done, err := judge(c.List, c.Done); done || err != nil {
			return err
		}
		i := place(c.Entry)
		if !w.memberRuns(w.etcd.members[i]) {
			return errNot
		}
		do = func() { w.etcd.members[i].learner = false }
	case resource.EtcdRemoval:
		if done, err := judge(c.List, c.Done); done || err != nil {
			return err
		}
		i := place(c.Entry)
		if up, all := w.voters(c.Entry.ID); 2*up <= all {
			return errNot
		}
		do = func() { w.etcd.members = slices.Delete(slices.Clone(w.etcd.members), i, i+1) }
	}
	return r.script(Cluster, func() error {
		do()
		if !w.quorum() {
			r.fatalf("%s loses the quorum", item.Step.ID())
		}
		w.serveMembers()
		return nil
	})
}

// candidates are the hosts that may be members of etcd.
func (d draft) candidates() []string {
	var names []string
	for i := range d.masters {
		names = append(names, fmt.Sprint("master-", i))
	}
	for i := range d.workers {
		names = append(names, fmt.Sprint("worker-", i))
	}
	return names
}

func (d draft) isMember(host string) bool {
	if d.members == nil {
		return strings.HasPrefix(host, "master-")
	}
	return slices.Contains(d.members, host)
}

// holdsEtcd looks whether etcd is as a gate, or a turn of the member on a host,
// wants it.
func (w *world) holdsEtcd(inv *inventory.Inventory, c resource.Check) bool {
	votes := func(host string) bool {
		i := w.etcd.find(func(m simMember) bool { return m.host == host && !m.learner })
		return i >= 0 && w.memberRuns(w.etcd.members[i])
	}
	switch {
	case !w.quorum():
		return false
	case c.Host != "":
		return w.lists(c.Host) && w.runs(c.Host, etcdUnit)
	}
	for _, h := range inv.With(inventory.RoleEtcd) {
		if !votes(h.Name) {
			return false
		}
	}
	return true
}

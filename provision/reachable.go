package provision

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

const (
	// reachableTimeout bounds how long the pods of a host are waited for: routing
	// programs learn of each other within some seconds.
	reachableTimeout = time.Minute
	reachableAgain   = 500 * time.Millisecond
	// headers of IPv4 and ICMP, which an echo request of the size of an MTU has
	// beside its payload.
	pingHeaders = 28
)

// reach is what comes through from the pods of one host to those of another.
type reach int

const (
	reachNothing reach = iota
	reachSmall         // small packets
	reachFull          // packets of the size that pods are to send
)

// reachWords are the script's words for them.
var reachWords = map[string]reach{"nothing": reachNothing, "small": reachSmall, "full": reachFull}

// podPaths is what came through between hosts before the network was changed,
// from either end: what a change must not break. Hosts that had nothing to say
// to each other are not in it.
//
// What stands for the pods of a host is the bridge they are on: it is there as
// soon as there is one, has an address of their subnet, and answers the same
// way.
type podPaths struct {
	mu     sync.Mutex
	before map[string]map[string]reach
}

// of returns what came through between a host and others.
func (p *podPaths) of(host string) map[string]reach {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.before[host]
}

func (p *podPaths) put(a, b string, found reach) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 2 {
		if p.before[a] == nil {
			p.before[a] = map[string]reach{}
		}
		p.before[a][b] = found
		a, b = b, a
	}
}

// waitReachable waits until the pods of a host and those of the others reach
// each other as they did before the change; without the previous network, also
// with packets as large as pods are to send. Without a host it finds out how it
// is.
func (e clusterChecks) waitReachable(ctx context.Context, g resource.Gate, report func(string)) error {
	if g.Host == "" {
		return e.survey(ctx, report)
	}
	wanted := map[string]reach{}
	var peers []string
	for peer, before := range e.paths.of(g.Host) {
		if g.Kind == resource.CheckStillReachable {
			before = reachFull
		}
		wanted[peer] = before
		peers = append(peers, peer)
	}
	if len(peers) == 0 {
		report("no pods here that reached others before")
		return nil
	}
	slices.Sort(peers)
	silent, err := e.untilNone(ctx, func() ([]string, error) {
		found, err := e.reaches(ctx, g.Host, peers)
		var missing []string
		for _, peer := range peers {
			switch {
			case err != nil || found[peer] >= wanted[peer]:
			case found[peer] == reachSmall:
				missing = append(missing, fmt.Sprintf("%s with packets of %d bytes", peer, e.delta.Plan.Inventory.Network.PodMTU()))
			default:
				missing = append(missing, peer)
			}
		}
		return missing, err
	}, func(missing string) { report("waiting for " + missing) })
	if len(silent) > 0 {
		return fmt.Errorf("after %s, pods on %s don't reach those on %s; no further host was changed; "+
			"to go back, set the previous network in the inventory and apply it",
			e.timeLimit(), g.Host, strings.Join(silent, ", "))
	}
	return err
}

// timeLimit is how long hosts are waited for that don't reach each other.
func (e clusterChecks) timeLimit() time.Duration { return cmp.Or(e.patience, reachableTimeout) }

// untilNone asks again and again which hosts are missing, until none is. When
// the time is over, it returns those of the last answer; there is one at least,
// or an error.
func (e clusterChecks) untilNone(ctx context.Context, ask func() ([]string, error), report func(string)) (missing []string, err error) {
	over := time.After(e.timeLimit())
	for {
		var found []string
		if found, err = ask(); err == nil {
			missing = found
			if len(missing) == 0 {
				return nil, nil
			}
			report(strings.Join(missing, ", "))
		}
		select {
		case <-over:
			return missing, err
		case <-ctx.Done():
			return missing, cmp.Or(err, ctx.Err())
		case <-time.After(reachableAgain):
		}
	}
}

// rows are the address plan's lines of the hosts that are being changed and
// have a part of the pod network.
func (e clusterChecks) rows() []plan.AddressRow {
	changing := e.delta.Plan.Hosts()
	return slices.DeleteFunc(slices.Clone(e.delta.Plan.Addresses), func(row plan.AddressRow) bool {
		return row.Bridge == "" || !slices.Contains(changing, row.Host) || e.delta.Unreachable[row.Host] != nil
	})
}

// survey fills in podPaths, asking once for each pair of hosts.
func (e clusterChecks) survey(ctx context.Context, report func(string)) error {
	var hosts []string
	for _, row := range e.rows() {
		hosts = append(hosts, row.Host)
	}
	e.paths.before = map[string]map[string]reach{}
	var group fault.Group
	group.SetLimit(e.Fleet.options.Parallelism)
	for i, host := range hosts {
		group.Go(func() error {
			found, err := e.reaches(ctx, host, hosts[i+1:])
			for peer, r := range found {
				if r != reachNothing {
					e.paths.put(host, peer, r)
				}
			}
			return err
		})
	}
	err := group.Wait()
	report(fmt.Sprintf("pods on %d of %d hosts reach others", len(e.paths.before), len(hosts)))
	return err
}

// reaches asks the bridges of other hosts for an answer, from the bridge of one.
func (e clusterChecks) reaches(ctx context.Context, host string, peers []string) (map[string]reach, error) {
	if len(peers) == 0 {
		return nil, nil
	}
	m, err := e.Fleet.connect(ctx, host)
	if err != nil {
		return nil, err
	}
	bridges := map[string]string{}
	for _, row := range e.delta.Plan.Addresses {
		bridges[row.Host] = row.Bridge
	}
	ping := "ping -n -q -c 1 -W 1 -I " + shell.Quote(bridges[host])
	script := fmt.Sprintf(`ask() {
	if %[1]s -M do -s %[2]d "$2" >/dev/null 2>&1; then
		echo "$1 full"
	elif %[1]s "$2" >/dev/null 2>&1; then
		echo "$1 small"
	else
		echo "$1 nothing"
	fi
}
`, ping, e.delta.Plan.Inventory.Network.PodMTU()-pingHeaders)
	for _, peer := range peers {
		script += "ask " + shell.Join(peer, bridges[peer]) + " &\n"
	}
	out, err := m.look(ctx, "look which pods answer", script+"wait\n")
	if err != nil {
		return nil, err
	}
	found := map[string]reach{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		peer, word, _ := strings.Cut(line, " ")
		r, known := reachWords[word]
		if !known {
			return nil, fmt.Errorf("look which pods answer: unexpected %q", line)
		}
		found[peer] = r
	}
	return found, nil
}

// waitLearnt waits until the network's own program has set a route to each
// other host's subnet, on every host.
func (e clusterChecks) waitLearnt(ctx context.Context, report func(string)) error {
	metric, learnt := plan.LearntRouteMetric(e.delta.Plan.Inventory)
	if !learnt {
		return nil
	}
	rows := e.rows()
	var mu sync.Mutex
	var group fault.Group
	group.SetLimit(e.Fleet.options.Parallelism)
	for _, row := range rows {
		group.Go(func() error {
			unknown, err := e.untilNone(ctx, func() ([]string, error) {
				return e.notLearnt(ctx, row, rows, metric)
			}, func(missing string) {
				mu.Lock()
				defer mu.Unlock()
				report(row.Host + " waits for the way to " + missing)
			})
			if len(unknown) > 0 {
				return fmt.Errorf("after %s, %s has learnt no way to the pods on %s; the previous network is left as it is",
					e.timeLimit(), row.Host, strings.Join(unknown, ", "))
			}
			return err
		})
	}
	return group.Wait()
}

// notLearnt are the hosts to whose subnet a host has no route of that metric.
func (e clusterChecks) notLearnt(ctx context.Context, of plan.AddressRow, rows []plan.AddressRow, metric int) ([]string, error) {
	m, err := e.Fleet.connect(ctx, of.Host)
	if err != nil {
		return nil, err
	}
	queries := make([]fact.Query, 0, len(rows))
	for _, row := range rows {
		queries = append(queries, fact.Query{Kind: fact.KindRoute, Name: fact.RouteOfMetric(row.PodSubnet, metric)})
	}
	facts, _, err := m.ask(ctx, queries)
	if err != nil {
		return nil, err
	}
	var unknown []string
	for i, row := range rows {
		if row.Host == of.Host {
			continue
		}
		if route, err := facts.Route(queries[i].Name); err != nil || !route.Exists {
			unknown = append(unknown, row.Host)
		}
	}
	return unknown, nil
}

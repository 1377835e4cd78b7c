package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
)

// identity is what tells one machine from another.
type identity struct {
	host      string
	machineID string // "" if not known
	hostKey   string // fingerprint; "" if not known
	addresses []string
}

// machineIDForm is that of machine-id(5). Images that were never booted have
// other words there.
var machineIDForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

func (o Observed) identity(h inventory.Host) identity {
	// A pinned fingerprint is known without asking.
	id := identity{host: h.Name, hostKey: strings.TrimRight(h.SSH.Fingerprint, "=")}
	observation, ok := o.Hosts[h.Name]
	if !ok {
		observation, ok = o.Elsewhere[h.Name]
	}
	if !ok || observation.Err != nil {
		return id
	}
	if observation.HostKey != "" {
		id.hostKey = observation.HostKey
	}
	if found := observation.Facts.Host.MachineID; machineIDForm.MatchString(found) {
		id.machineID = found
	}
	id.addresses = slices.Sorted(slices.Values(observation.Facts.Host.Addresses))
	return id
}

// checkIdentities finds hosts of the inventory that are one machine, or that
// pass for one: two names that lead to the same machine, and clones. Hosts
// behind one address, on ports of their own, are told apart as any others are.
func checkIdentities(p *Plan, observed Observed) []Problem {
	byID, byKey := map[string][]identity{}, map[string][]identity{}
	var ids, keys []string // in inventory order
	for _, h := range p.Inventory.Hosts {
		i := observed.identity(h)
		if i.machineID != "" {
			if byID[i.machineID] == nil {
				ids = append(ids, i.machineID)
			}
			byID[i.machineID] = append(byID[i.machineID], i)
		}
		if i.hostKey != "" {
			if byKey[i.hostKey] == nil {
				keys = append(keys, i.hostKey)
			}
			byKey[i.hostKey] = append(byKey[i.hostKey], i)
		}
	}
	var problems []Problem
	said := map[string]bool{} // groups of hosts that were named as one machine
	for _, id := range ids {
		group := byID[id]
		if len(group) < 2 {
			continue
		}
		others := othersOf(group)
		if oneMachine(group) {
			said[group[0].host+" "+others] = true
			problems = append(problems, Problem{group[0].host, fmt.Sprintf("is the same machine as %s: the machine-id %s and the addresses %s are the same", others, id, strings.Join(group[0].addresses, ", ")),
				"name each machine once: correct the address, port or bastion of one of them, or take it out of the inventory"})
			continue
		}
		problems = append(problems, Problem{group[0].host, fmt.Sprintf("has the same machine-id as %s: %s", others, id),
			"these are clones of one machine, or of an image that was not made ready for that; addresses and leases are given by machine-id. On each but one of them:\n" +
				"rm -f /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup && reboot"})
	}
	for _, key := range keys {
		group := byKey[key]
		if len(group) < 2 || said[group[0].host+" "+othersOf(group)] {
			continue
		}
		problems = append(problems, Problem{group[0].host, fmt.Sprintf("shows the same SSH host key as %s: %s", othersOf(group), key),
			"if these are one machine, name it once; if they are clones, give each but one a key of its own, and make the new keys known:\n" +
				"rm -f /etc/ssh/ssh_host_* && ssh-keygen -A && systemctl restart ssh"})
	}
	return problems
}

// oneMachine tells one machine under several names from clones: it has one set
// of addresses.
func oneMachine(group []identity) bool {
	for _, i := range group[1:] {
		if !slices.Equal(i.addresses, group[0].addresses) {
			return false
		}
	}
	return len(group[0].addresses) > 0
}

// othersOf names the hosts of a group but the first.
func othersOf(group []identity) string {
	var names []string
	for _, i := range group[1:] {
		names = append(names, i.host)
	}
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

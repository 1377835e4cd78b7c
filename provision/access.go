package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/provision/ssh"
)

// AccessError says what this machine lacks to log in to hosts. None was dialled.
type AccessError struct {
	lacks []lack
}

// lack is the same for one or more hosts.
type lack struct {
	text, hint string
	hosts      []string
}

// namedHosts is how many hosts are named of those that lack the same.
const namedHosts = 5

func (e *AccessError) Error() string {
	var lines []string
	for _, l := range e.lacks {
		hosts := l.hosts
		if n := len(hosts); n > namedHosts {
			hosts = append(slices.Clone(hosts[:namedHosts]), fmt.Sprintf("%d more", n-namedHosts))
		}
		lines = append(lines, fmt.Sprintf("%s (for %s)", l.text, strings.Join(hosts, ", ")))
	}
	return strings.Join(lines, "\n")
}

// Hint is advice for the user, "" for none.
func (e *AccessError) Hint() string {
	var hints []string
	for _, l := range e.lacks {
		if l.hint != "" && !slices.Contains(hints, l.hint) {
			hints = append(hints, l.hint)
		}
	}
	return strings.Join(hints, "\n")
}

// CheckAccess finds what this machine lacks to log in to hosts: keys, known_hosts,
// an agent. What is wrong is the same for many hosts, as a rule, and not the
// hosts' fault: it is said once, before the first is dialled. The error is an
// *AccessError.
func (f *Fleet) CheckAccess(ctx context.Context, hosts []string) error {
	e := &AccessError{}
	for _, name := range hosts {
		m, ok := f.machines[name]
		if !ok {
			continue
		}
		err := f.dialer.Check(ctx, target(m.host))
		if err == nil {
			continue
		}
		text := strings.TrimPrefix(err.Error(), name+": ")
		i := slices.IndexFunc(e.lacks, func(l lack) bool { return l.text == text })
		if i < 0 {
			i = len(e.lacks)
			e.lacks = append(e.lacks, lack{text: text, hint: ssh.Hint(err)})
		}
		e.lacks[i].hosts = append(e.lacks[i].hosts, name)
	}
	if len(e.lacks) == 0 {
		return nil
	}
	return e
}

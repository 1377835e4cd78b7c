package resource

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
)

// Switch is a bridge of Open vSwitch as it is in force: its ports, its flows and
// what it hangs on. A script on the host makes all of it, at boot as now; the
// unit that runs the script is restarted for what changes in the inventory, and
// this finds what is otherwise on the host.
type Switch struct {
	Name     string
	Datapath string // as Open vSwitch has it: "system", "netdev"
	FailMode string // "secure", or "" for a switch that learns addresses
	Ports    []SwitchPort
	// Flows is the file whose flows must be in force, exactly; "": any may be.
	Flows string
	// Address is that of the switch's own interface, with its prefix length; "":
	// it needs none.
	Address string
	Cable   *Cable
	Script  string // path of the script
	// Device is a file that must be there, for those who check before applying.
	Device string `json:"-"`
}

// SwitchPort is a port and what it is made of.
type SwitchPort struct {
	Name    string
	Type    string // "" for an interface of the host
	Options map[string]string
}

// Cable is an interface of the host that must be a port of a Linux bridge.
type Cable struct {
	Name   string
	Bridge string
	MTU    int
}

// ID implements Resource.
func (s Switch) ID() ID { return NewID(KindSwitch, s.Name) }

// Queries implements Resource. Interfaces are among what is always learnt.
func (s Switch) Queries() []fact.Query {
	q := fact.Query{Kind: fact.KindSwitch, Name: s.Name}
	if s.Flows != "" {
		q.Args = []string{s.Flows}
	}
	queries := []fact.Query{q}
	if s.Device != "" {
		queries = append(queries, fact.Query{Kind: fact.KindFile, Name: s.Device})
	}
	return queries
}

// digest identifies what is wanted, the flows apart: they are a file's.
func (s Switch) digest() string {
	data, err := json.Marshal(s) // maps are sorted by encoding/json
	if err != nil {
		panic(err) // plain strings always encode
	}
	return SHA256(data)
}

// flowsShown is how many flows that are not as they should be a plan lists.
const flowsShown = 10

// Diff implements Resource.
func (s Switch) Diff(facts fact.Set) (Change, error) {
	found, err := facts.Switch(s.Name)
	if err != nil {
		return Change{}, err
	}
	change := Change{Action: NoOp, Record: fact.Record{Digest: s.digest()}}
	if !found.Exists {
		change.Action = Create
		change.compareRecord(facts, s.ID(), change.Record.Digest)
		return change, nil
	}
	field := func(name, before, after string) {
		if before != after {
			change.Fields = append(change.Fields, Field{Name: name, Before: before, After: after})
		}
	}
	field("datapath", found.Datapath, s.Datapath)
	field("fail mode", found.FailMode, s.FailMode)
	for _, port := range s.Ports {
		before := "" // not there
		if p, ok := found.Ports[port.Name]; ok {
			before = cmp.Or(p.Error, describePort(p.Type, p.Options))
		}
		field("port "+port.Name, before, describePort(port.Type, port.Options))
	}
	if s.Address != "" && !slices.Contains(facts.Host.Interfaces[s.Name], s.Address) {
		field("address", strings.Join(facts.Host.Interfaces[s.Name], ", "), s.Address)
	}
	if c := s.Cable; c != nil {
		link := facts.Host.Links[c.Name]
		field(c.Name+" in", link.Master, c.Bridge)
		if link.MTU != c.MTU && link.MTU != 0 {
			field("MTU of "+c.Name, strconv.Itoa(link.MTU), strconv.Itoa(c.MTU))
		}
	}
	for i, line := range found.Flows {
		if i == flowsShown {
			field("flow", "", fmt.Sprintf("and %d more", len(found.Flows)-i))
			break
		}
		// What "-" marks is in the switch, "+" in the file; else it says why it can't be told.
		switch {
		case strings.HasPrefix(line, "-"):
			field("flow", line[1:], "")
		case strings.HasPrefix(line, "+"):
			field("flow", "", line[1:])
		default:
			field("flows", line, "those of "+s.Flows)
		}
	}
	if len(change.Fields) > 0 {
		change.Action = Update
		change.compareRecord(facts, s.ID(), change.Record.Digest)
	}
	return change, nil
}

// describePort says what a port is in one line: "vxlan remote_ip=flow".
func describePort(kind string, options map[string]string) string {
	words := []string{cmp.Or(kind, "there")}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		words = append(words, name+"="+options[name])
	}
	return strings.Join(words, " ")
}

package render

import (
	"encoding/json"
	"io"
	"net"
	"strconv"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
)

// FormatVersion of the JSON document. The part after the dot grows when
// something is added, the part before it when something is changed or removed:
// a reader should accept any document whose first part it knows, and ignore
// attributes it does not know.
const FormatVersion = "1.2"

// Document is a delta as JSON; docs/plan-json.md describes it to its readers.
type Document struct {
	FormatVersion string            `json:"format_version"`
	Cluster       Cluster           `json:"cluster"`
	Applicable    bool              `json:"applicable"` // no problems, nobody unreachable but whom apply goes on without
	Summary       plan.Summary      `json:"summary"`
	Hosts         []Host            `json:"hosts"`   // in inventory order
	Changes       []Change          `json:"changes"` // by place as in Text; within a place in an order that can be carried out
	Later         []Later           `json:"later"`   // changes that wait for unreachable hosts
	Gates         []Gate            `json:"gates"`
	Upgrade       *Upgrade          `json:"upgrade,omitempty"` // where versions change on a cluster that lives
	Rollouts      []Rollout         `json:"rollouts"`          // of members that serve; empty on a first installation
	Problems      []plan.Problem    `json:"problems"`
	Addresses     []plan.AddressRow `json:"addresses"`
}

// Cluster names what the plan is for.
type Cluster struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Endpoint string `json:"endpoint"`
	Error    string `json:"error,omitempty"` // why the API was not observed
}

// Host is one host and how it stands.
type Host struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Status  string `json:"status"` // unchanged, changed or unreachable
	Error   string `json:"error,omitempty"`
	// Skipped: apply goes on without it, see plan.Plan.SkipUnreachable.
	Skipped bool `json:"skipped,omitempty"`
	Leaves  bool `json:"leaves,omitempty"` // it left the inventory
}

// Change is one resource that would change.
type Change struct {
	Host string      `json:"host"` // or "(operator)", "(cluster)"
	ID   resource.ID `json:"id"`   // KIND:NAME
	Kind string      `json:"kind"`
	Name string      `json:"name"`
	// Armed changes are undone by the host itself unless it is reached again.
	Armed bool `json:"armed,omitempty"`
	resource.Change
}

// Gate is a condition that is waited for.
type Gate struct {
	Host string      `json:"host"`
	ID   resource.ID `json:"id"`
	Text string      `json:"text"`
}

// NewDocument describes a delta. What is sensitive is left out.
func NewDocument(d *plan.Delta) Document {
	inv := d.Plan.Inventory
	doc := Document{
		FormatVersion: FormatVersion,
		Cluster: Cluster{
			Name: inv.Cluster.Name, Version: inv.Cluster.Version,
			Endpoint: net.JoinHostPort(inv.Cluster.Endpoint.Host, strconv.Itoa(inv.Cluster.Endpoint.Port)),
		},
		Applicable: len(d.Problems) == 0 && !d.Blocked(),
		Summary:    d.Summary(),
		Hosts:      []Host{},
		Changes:    []Change{},
		Later:      laterOf(d),
		Gates:      []Gate{},
		Upgrade:    upgradeOf(d),
		Rollouts:   append([]Rollout{}, rolloutsOf(d)...),
		Problems:   append([]plan.Problem{}, d.Problems...),
		Addresses:  append([]plan.AddressRow{}, d.Plan.Addresses...),
	}
	if d.Observed.ClusterErr != nil {
		doc.Cluster.Error = d.Observed.ClusterErr.Error()
	}
	changed := map[string]bool{}
	for _, s := range sectionsOf(d) {
		for _, item := range s.items {
			id := item.Step.Resource.ID()
			if gate, ok := item.Step.Resource.(resource.Gate); ok {
				doc.Gates = append(doc.Gates, Gate{Host: s.host, ID: id, Text: gate.Text})
				continue
			}
			changed[s.host] = true
			doc.Changes = append(doc.Changes, Change{Host: s.host, ID: id, Kind: string(id.Kind()), Name: id.Name(), Armed: item.Armed(), Change: redacted(*item.Change)})
		}
	}
	addresses := map[string]string{}
	for _, l := range d.Leaving {
		addresses[l.Name] = l.Address
	}
	for _, name := range d.Hosts() {
		host := Host{Name: name, Status: "unchanged", Address: addresses[name]}
		host.Leaves = host.Address != ""
		if h, ok := inv.Host(name); ok {
			host.Address = h.Address.String()
		}
		if changed[name] {
			host.Status = "changed"
		}
		if err := d.Unreachable[name]; err != nil {
			host.Status, host.Error, host.Skipped = "unreachable", err.Error(), !d.Blocked()
		}
		doc.Hosts = append(doc.Hosts, host)
	}
	return doc
}

// redacted is a change without anything sensitive, should a kind have left
// something in it.
func redacted(c resource.Change) resource.Change {
	if c.Sensitive {
		c.Text = nil
	}
	fields := append([]resource.Field{}, c.Fields...)
	for i, f := range fields {
		if f.Sensitive {
			fields[i] = resource.Field{Name: f.Name, Sensitive: true}
		}
	}
	if c.Fields = nil; len(fields) > 0 {
		c.Fields = fields
	}
	return c
}

// JSON writes a delta as one indented JSON document.
func JSON(w io.Writer, d *plan.Delta) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(NewDocument(d))
}

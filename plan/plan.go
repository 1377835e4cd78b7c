// Package plan says what should be and how it differs from what is: it
// compiles an inventory into steps and compares them with observed facts.
//
// Everything here is pure: no clock, no network, no files, no randomness. The
// same inventory, lock file and authorities give the same Plan, byte for byte;
// the same Plan and Observed give the same Delta. What the user is shown is
// the Delta, and the executor carries out the Delta and nothing else.
package plan

import (
	"slices"
	"strings"
	"sync"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Names that stand where a host's name does. Parentheses can't occur in a host's name.
const (
	Operator = "(operator)" // the machine kinstall runs on
	Cluster  = "(cluster)"  // the cluster's API
)

// StepID names a step: HOST/RESOURCE-ID.
type StepID string

// Step is one resource on one host, and what must be done before it.
type Step struct {
	Host     string
	Resource resource.Resource
	After    []StepID // edges within and across hosts; sorted
	// Rollout is how it is carried out where it changes what serves; nil for
	// what serves nobody.
	Rollout *Rollout
	// Successor steps carry pods between hosts: where another network did so
	// before, they take over from it host by host (see Delta.handOver).
	Successor bool

	// id is the step's name once a builder has it: it is asked for again and again.
	id StepID
}

// ID returns the step's name.
func (s Step) ID() StepID {
	if s.id != "" {
		return s.id
	}
	return NewStepID(s.Host, s.Resource.ID())
}

// resourceID returns the name of the step's resource.
func (s Step) resourceID() resource.ID {
	if s.id != "" {
		return resource.ID(s.id[len(s.Host)+1:])
	}
	return s.Resource.ID()
}

// NewStepID joins a host and a resource.
func NewStepID(host string, id resource.ID) StepID { return StepID(host + "/" + string(id)) }

// Kind is that of the step's resource.
func (id StepID) Kind() resource.Kind {
	_, of, _ := strings.Cut(string(id), "/") // no host's name has a slash
	return resource.ID(of).Kind()
}

// Plan is what should be, on every host: steps in an order in which each
// stands after those it depends on.
type Plan struct {
	Inventory *inventory.Inventory
	Steps     []Step
	Addresses []AddressRow // the address plan
	limited   bool         // hosts were left out
	skips     bool         // those that can't be reached are left for later
	forgotten []string     // hosts that are gone for good

	indexed sync.Once
	index   *index
}

// AddressRow is one host's line of the address plan.
type AddressRow struct {
	Host      string `json:"host"`
	Address   string `json:"address"`
	PodSubnet string `json:"pod_subnet"`
	Bridge    string `json:"bridge_address"`
	Routes    int    `json:"routes"`
	// With dual-stack only.
	AddressV6   string `json:"address_v6,omitempty"`
	PodSubnetV6 string `json:"pod_subnet_v6,omitempty"`
	BridgeV6    string `json:"bridge_address_v6,omitempty"`
}

// Hosts returns the names of the real hosts that have steps, in inventory order.
func (p *Plan) Hosts() []string {
	return slices.Clone(p.look().hosts)
}

// Queries returns what must be known of a host (or of Cluster), merged.
func (p *Plan) Queries(host string) []fact.Query {
	steps := p.look().steps[host]
	queries := make([]fact.Query, 0, 3*len(steps)) // units ask for their inputs once more
	for _, i := range steps {
		queries = append(queries, p.Steps[i].Resource.Queries()...)
	}
	if h, ok := p.host(host); ok {
		queries = append(queries, networkQueries(p, h)...)
		queries = append(queries, runtimeQueries(p.Inventory, h)...)
		queries = append(queries, memberQueries(p, h)...)
	}
	if host == Cluster && p.limited && len(queries) > 0 {
		for _, h := range p.Inventory.Nodes() { // for their kubelets' versions
			queries = append(queries, fact.Query{Kind: fact.KindNode, Name: h.Name})
		}
	}
	return fact.Merge(queries)
}

// Limit returns the plan for some hosts only; steps of the operator's machine
// stay, steps on the cluster's API stay when they are about a host that stays.
// Edges to steps that are left out are dropped.
func (p *Plan) Limit(hosts []string) *Plan {
	if len(hosts) == 0 {
		return p
	}
	stay := map[string]bool{Operator: true}
	for _, h := range hosts {
		stay[h] = true
	}
	limited := p.another()
	limited.Steps, limited.limited = nil, true
	kept := map[StepID]bool{}
	for _, s := range p.Steps {
		keep := stay[s.Host]
		if s.Host == Cluster {
			host := about(s.Resource)
			keep = host == "" || stay[host]
		}
		if !keep {
			continue
		}
		s.After = keptOnly(s.After, kept)
		kept[s.ID()] = true
		limited.Steps = append(limited.Steps, s)
	}
	return limited
}

// another returns a plan like this one, to be changed before it is used.
func (p *Plan) another() *Plan {
	return &Plan{Inventory: p.Inventory, Steps: p.Steps, Addresses: p.Addresses, limited: p.limited, skips: p.skips, forgotten: p.forgotten}
}

func keptOnly(ids []StepID, kept map[StepID]bool) []StepID {
	var rest []StepID
	for _, id := range ids {
		if kept[id] {
			rest = append(rest, id)
		}
	}
	return rest
}

// builder collects steps while an inventory is compiled.
type builder struct {
	inventory   *inventory.Inventory
	lock        inventory.Lock
	authorities Authorities
	steps       []Step
	index       map[StepID]int
}

// add appends a step and returns its ID. Adding a resource twice on one host
// is a mistake of the programmer, unless it is of a kind that several
// components may ask for: then the edges are joined.
func (b *builder) add(host string, r resource.Resource, after ...[]StepID) StepID {
	return b.addStep(Step{Host: host, Resource: r}, after...)
}

func (b *builder) addStep(step Step, after ...[]StepID) StepID {
	id := step.ID()
	before := slices.Concat(append(after, step.After)...)
	for i := range before { // keep one copy of each name
		if j, ok := b.index[before[i]]; ok {
			before[i] = b.steps[j].id
		}
	}
	if i, ok := b.index[id]; ok {
		if describe(step.Resource.ID()).Shared {
			b.steps[i].After = sortedIDs(append(b.steps[i].After, before...))
			return b.steps[i].id
		}
		panic("plan: step " + string(id) + " added twice")
	}
	step.id, step.After = id, sortIDs(before)
	b.index[id] = len(b.steps)
	b.steps = append(b.steps, step)
	return id
}

// describe returns what has to be known of a resource's kind; nothing of one
// that a host remembers from another version of kinstall.
func describe(id resource.ID) resource.Descriptor {
	d, _ := resource.Describe(id.Kind())
	return d
}

// sortedIDs returns names sorted, each once, and "" left out.
func sortedIDs(ids []StepID) []StepID { return sortIDs(slices.Clone(ids)) }

// sortIDs does so in place.
func sortIDs(ids []StepID) []StepID {
	slices.Sort(ids)
	unique := slices.Compact(ids)
	if len(unique) > 0 && unique[0] == "" {
		unique = unique[1:]
	}
	if len(unique) == 0 {
		return nil
	}
	return unique
}

// Authorities is what compiling needs to know of the operator's pki
// directory. An authority that does not exist yet has no bytes.
type Authorities interface {
	// Certificate returns an authority's certificate in PEM, nil if there is none.
	Certificate(name string) []byte
	// Chain returns what follows a certificate that the authority signed where it
	// is served, in PEM: its own and those above it but for the root; nil of a root.
	Chain(name string) []byte
	// SHA256 returns the digest of a part's file, "" if there is none.
	SHA256(name string, part resource.Part) string
	// Encrypted reports whether an authority's private key is encrypted in its file.
	Encrypted(name string) bool
	// Exists reports whether the authority is there.
	Exists(name string) bool
}

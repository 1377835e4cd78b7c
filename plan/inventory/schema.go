package inventory

import (
	"fmt"
	"slices"
)

// The schema is one tree of plain data. It drives decoding (decode.go), the
// canonical form (resolved.go) and the reference (reference.go), so that the
// three can't disagree.

// block describes one type of block.
type block struct {
	name string
	// place replaces the name in messages, for what is no block.
	place string
	label *label // nil: the block has no label
	doc   string
	// example is a whole block, as the reference shows it.
	example  string
	required bool
	// many blocks of this type may stand side by side.
	many bool
	// attrs in the order in which people write them.
	attrs []attr
	// blocks nested in this one.
	blocks []*block
	// target returns the struct that attributes of this block fill, given the
	// one of the block around it. With make it creates an optional one;
	// otherwise it may return nil, which means that the block is absent.
	target func(outer any, make bool) any
	// each returns the targets of a nested block that may stand many times.
	each func(outer any) []any
}

// label describes the quoted name after a block's type.
type label struct {
	name  string
	doc   string
	kind  kind
	field func(target any) any
}

// attr describes one attribute.
type attr struct {
	name string
	kind kind
	// field returns the pointer to the struct's field; it identifies the
	// attribute's place in everything that is later said about its source.
	field func(target any) any
	// fallback is the default as HCL; "" means that there is none, or that it
	// is computed, as said in computed.
	fallback string
	computed string
	required bool
	// kubernetes says that a required attribute is so only where there is Kubernetes.
	kubernetes bool
	// alias marks a second spelling of a field, which the canonical form does not use.
	alias bool
	// meta marks what is used up in expanding host groups.
	meta bool
	// labels, when set, are the labels of the block that the attribute is for.
	labels []string
	// refusal, when set, is what to say when the attribute is used here.
	refusal *mistake
	doc     string
	example string
}

// of adapts a typed field accessor to the schema.
func of[T any](field func(*T) any) func(any) any {
	return func(target any) any {
		t, ok := target.(*T)
		if !ok {
			panic(fmt.Sprintf("inventory: the schema uses %T as %T", target, t))
		}
		return field(t)
	}
}

// part is a block's target that always exists.
func part[T any](field func(*T) any) func(any, bool) any {
	get := of(field)
	return func(outer any, _ bool) any { return get(outer) }
}

// has reports whether a block with this target has the attribute: some are for
// blocks with certain labels only.
func (b *block) has(a attr, target any) bool {
	if len(a.labels) == 0 {
		return true
	}
	label, ok := b.label.field(target).(*string)
	return ok && slices.Contains(a.labels, *label)
}

func (b *block) attr(name string) (attr, bool) {
	for _, a := range b.attrs {
		if a.name == name {
			return a, true
		}
	}
	return attr{}, false
}

// attrOf is the attribute of that name that a block with this target has: two
// may share a name where they are for blocks with different labels.
func (b *block) attrOf(name string, target any) (attr, bool) {
	for _, a := range b.attrs {
		if a.name == name && b.has(a, target) {
			return a, true
		}
	}
	return b.attr(name)
}

func (b *block) nested(name string) *block {
	for _, n := range b.blocks {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (b *block) attrNames() []string {
	names := make([]string, 0, len(b.attrs))
	for _, a := range b.attrs {
		if !slices.Contains(names, a.name) {
			names = append(names, a.name)
		}
	}
	return names
}

func (b *block) blockNames() []string {
	names := make([]string, 0, len(b.blocks))
	for _, n := range b.blocks {
		names = append(names, n.name)
	}
	return names
}

// where says in a message in what something stands.
func (b *block) where() string {
	if b.place != "" {
		return b.place
	}
	return "in the block " + b.name
}

// form shows how the block is written: `load_balancer "KIND"`.
func (b *block) form() string {
	if b.label == nil {
		return b.name
	}
	return fmt.Sprintf("%s %q", b.name, b.label.name)
}

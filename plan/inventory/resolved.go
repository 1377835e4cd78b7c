package inventory

import (
	"maps"
	"reflect"
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// Resolved writes an inventory in canonical form: no variables, locals or
// groups, every default filled in, paths absolute. Loaded from the same path
// it gives an equal Inventory. It is stable and holds no secret, since an
// Inventory has none.
func Resolved(inv *Inventory) []byte {
	file := hclwrite.NewEmptyFile()
	root := schema()
	first := true
	for _, b := range root.blocks {
		if b.target == nil || b.many {
			continue
		}
		target := b.target(inv, false)
		if target == nil {
			continue
		}
		// A block that would be empty says nothing, unless it has a label.
		scratch := writeBlock(hclwrite.NewEmptyFile().Body(), b, target)
		if b.label == nil && len(scratch.Attributes()) == 0 {
			continue
		}
		separate(file.Body(), &first)
		writeBlock(file.Body(), b, target)
	}
	for _, h := range inv.Hosts {
		separate(file.Body(), &first)
		writeHost(file.Body(), h, inv.SSH)
	}
	return hclwrite.Format(file.Bytes())
}

func separate(body *hclwrite.Body, first *bool) {
	if !*first {
		body.AppendNewline()
	}
	*first = false
}

// writeBlock writes a block with every attribute that has a value.
func writeBlock(outer *hclwrite.Body, b *block, target any) *hclwrite.Body {
	var labels []string
	if b.label != nil {
		labels = []string{*b.label.field(target).(*string)}
	}
	body := outer.AppendNewBlock(b.name, labels).Body()
	for _, a := range b.attrs {
		if a.alias || a.meta || a.refusal != nil || !b.has(a, target) {
			continue
		}
		if v := a.kind.get(a.field(target)); v != cty.NilVal && !isEmpty(v) {
			body.SetAttributeRaw(a.name, valueTokens(v))
		}
	}
	for _, n := range b.blocks {
		if n.name == "ssh" {
			continue // a host's: only what differs is written
		}
		if n.each != nil {
			for _, inner := range n.each(target) {
				body.AppendNewline()
				writeBlock(body, n, inner)
			}
			continue
		}
		if inner := n.target(target, false); inner != nil {
			body.AppendNewline()
			writeBlock(body, n, inner)
		}
	}
	return body
}

func isEmpty(v cty.Value) bool {
	t := v.Type()
	return (t.IsCollectionType() || t.IsTupleType() || t.IsObjectType()) && v.LengthInt() == 0
}

func writeHost(outer *hclwrite.Body, host Host, common SSH) {
	h := declare(host)
	b := hostBlock()
	body := writeBlock(outer, b, h)
	if host.Has(RoleMaster) && len(host.Taints) == 0 {
		// Left out, the default taint would come back.
		body.SetAttributeRaw("taints", valueTokens(cty.ListValEmpty(cty.String)))
	}
	ssh := b.nested("ssh")
	inner := hclwrite.NewBlock(ssh.name, nil)
	differs := false
	for _, a := range ssh.attrs {
		mine, theirs := a.field(&h.SSH), a.field(&common)
		if a.alias || reflect.DeepEqual(mine, theirs) {
			continue
		}
		v := a.kind.get(mine)
		if v == cty.NilVal {
			continue
		}
		inner.Body().SetAttributeRaw(a.name, valueTokens(v))
		differs = true
	}
	if !reflect.DeepEqual(host.SSH.Bastion, common.Bastion) {
		jump := host.SSH.Bastion
		if jump == nil {
			jump = &Bastion{}
		}
		if differs {
			inner.Body().AppendNewline()
		}
		nested := writeBlock(inner.Body(), bastionBlock(), jump)
		if jump.Address == "" {
			for name := range nested.Attributes() {
				nested.RemoveAttribute(name)
			}
			nested.SetAttributeValue("address", cty.StringVal(""))
		} else if len(jump.KeyFiles) == 0 && len(host.SSH.KeyFiles) > 0 {
			nested.SetAttributeRaw("key_files", valueTokens(cty.ListValEmpty(cty.String)))
		}
		differs = true
	}
	if differs {
		body.AppendNewline()
		body.AppendBlock(inner)
	}
}

// valueTokens writes a value; keys of objects are quoted unless they are plain
// identifiers, and empty collections stay on one line.
func valueTokens(v cty.Value) hclwrite.Tokens {
	t := v.Type()
	switch {
	case v.IsNull() || t.IsPrimitiveType():
		return hclwrite.TokensForValue(v)
	case t.IsMapType() || t.IsObjectType():
		if v.LengthInt() == 0 {
			return bare("{}")
		}
		return objectTokens(v.AsValueMap(), func(key string) bool {
			// "for" would begin a for expression.
			return hclsyntax.ValidIdentifier(key) && key != "for"
		})
	default:
		var items []hclwrite.Tokens
		for _, item := range v.AsValueSlice() {
			items = append(items, valueTokens(item))
		}
		return hclwrite.TokensForTuple(items)
	}
}

func objectTokens(values map[string]cty.Value, plain func(key string) bool) hclwrite.Tokens {
	attrs := make([]hclwrite.ObjectAttrTokens, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name := hclwrite.TokensForValue(cty.StringVal(key))
		if plain(key) {
			name = hclwrite.TokensForIdentifier(key)
		}
		attrs = append(attrs, hclwrite.ObjectAttrTokens{Name: name, Value: valueTokens(values[key])})
	}
	return hclwrite.TokensForObject(attrs)
}

func bare(s string) hclwrite.Tokens {
	return hclwrite.Tokens{{Type: hclsyntax.TokenIdent, Bytes: []byte(s)}}
}

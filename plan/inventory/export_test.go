package inventory

import "github.com/zclconf/go-cty/cty"

// TextAttribute is a place of the schema where users write text.
type TextAttribute struct {
	Path   []string // the blocks around it, outermost first
	Labels []string // of the last block, which has the attribute with these labels only
	Name   string   // "" for the last block's label
	Shape  string   // "text", "list", "map", "keys" or "settings"
}

// TextAttributes walks the schema.
func TextAttributes() []TextAttribute {
	var all []TextAttribute
	var walk func(path []string, b *block)
	walk = func(path []string, b *block) {
		if b.name != "" {
			path = append(path[:len(path):len(path)], b.name)
		}
		if b.label != nil && b.label.field != nil {
			all = append(all, TextAttribute{Path: path, Shape: "text"})
		}
		for _, a := range b.attrs {
			if a.refusal != nil {
				continue
			}
			shapes := []string{}
			switch want := a.kind.want; {
			case want == cty.NilType: // variable's, and what makes groups
			case want == cty.String:
				shapes = []string{"text"}
			case want.IsListType() && want.ElementType() == cty.String:
				shapes = []string{"list"}
			case want.IsMapType() && want.ElementType() == cty.String:
				shapes = []string{"map", "keys"}
			case want == cty.DynamicPseudoType:
				shapes = []string{"settings"}
			}
			for _, shape := range shapes {
				all = append(all, TextAttribute{Path: path, Labels: a.labels, Name: a.name, Shape: shape})
			}
		}
		for _, n := range b.blocks {
			if n.target != nil {
				walk(path, n)
			}
		}
	}
	walk(nil, schema())
	return all
}

package inventory

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/kinstall/kinstall/plan/spelling"
)

// decoder carries what one Load gathers on its way.
type decoder struct {
	env   env
	read  func(path string) ([]byte, error)
	files map[string]*hcl.File
	diags hcl.Diagnostics
	work  work
	// givenUnknown: some variables file could not be read.
	givenUnknown bool
	// fileBytes is how much file() has read.
	fileBytes int

	// src says where the field behind a pointer was written, bad that what was
	// written there is wrong (and reported). Rules over several fields look
	// only at fields that are not bad, so that one mistake is reported once.
	src map[any]origin
	bad map[any]bool
	// headers of optional blocks, by their target.
	headers map[any]hcl.Range
	// functionNames are the functions expressions may call, in the order of the
	// reference; none in a lock file.
	functionNames []string
	// forKubernetes is what is missing where there is Kubernetes.
	forKubernetes hcl.Diagnostics
	// hostsUnknown: some host block could not be expanded, so that rules that
	// count or look up hosts would mislead.
	hostsUnknown bool
}

// origin is the place of an attribute or label in the source.
type origin struct {
	rng  hcl.Range
	expr hclsyntax.Expression // nil for labels
	ctx  *hcl.EvalContext
}

// at returns the range of an element inside the value.
func (o origin) at(path ...any) *hcl.Range {
	rng := o.rng
	if o.expr != nil {
		rng = rangeAt(o.expr, o.ctx, path)
	}
	return &rng
}

// rangeAt descends into literal objects and lists as far as they are written
// out; beyond that the whole expression is to blame.
func rangeAt(expr hclsyntax.Expression, ctx *hcl.EvalContext, path []any) hcl.Range {
	for len(path) > 0 {
		switch e := expr.(type) {
		case *hclsyntax.ParenthesesExpr:
			expr = e.Expression
			continue
		case *hclsyntax.ObjectConsExpr:
			item := slices.IndexFunc(e.Items, func(item hclsyntax.ObjectConsItem) bool {
				key, diags := item.KeyExpr.Value(ctx)
				if diags.HasErrors() || key.IsNull() || !key.IsKnown() {
					return false
				}
				key, err := convert.Convert(key, cty.String)
				return err == nil && any(key.AsString()) == path[0]
			})
			if item < 0 {
				return expr.Range()
			}
			if len(path) == 1 {
				return hcl.RangeBetween(e.Items[item].KeyExpr.Range(), e.Items[item].ValueExpr.Range())
			}
			expr = e.Items[item].ValueExpr
		case *hclsyntax.TupleConsExpr:
			i, ok := path[0].(int)
			if !ok || i >= len(e.Exprs) {
				return expr.Range()
			}
			expr = e.Exprs[i]
		default:
			return expr.Range()
		}
		path = path[1:]
	}
	return expr.Range()
}

func (d *decoder) report(diags ...*hcl.Diagnostic) {
	d.diags = append(d.diags, diags...)
}

// place names a field's source for a message about another one: "lab.hcl:12".
func (d *decoder) place(ptr any) string {
	if o, ok := d.src[ptr]; ok {
		return place(o.rng)
	}
	return ""
}

func place(rng hcl.Range) string {
	return fmt.Sprintf("%s:%d", rng.Filename, rng.Start.Line)
}

// good says that all these fields hold what the user meant, or a default.
func (d *decoder) good(ptrs ...any) bool {
	return !slices.ContainsFunc(ptrs, func(ptr any) bool { return d.bad[ptr] })
}

func (d *decoder) isSet(ptr any) bool {
	_, ok := d.src[ptr]
	return ok
}

// body fills target from the attributes and nested blocks of one block.
func (d *decoder) body(b *block, body *hclsyntax.Body, header hcl.Range, target any, sc scope) {
	misspelt := make(map[string]bool)
	for _, name := range sourceOrder(body.Attributes) {
		a, ok := b.attrOf(name, target)
		if !ok {
			d.report(unknownAttributeIn(b, body.Attributes[name]))
			misspelt[spelling.Nearest(name, b.attrNames())] = true
			continue
		}
		if !a.meta {
			d.attribute(b, a, body.Attributes[name], target, sc)
		}
	}
	d.nestedBlocks(b, body, target, sc)
	for _, a := range b.attrs {
		if a.field == nil || !a.required && !misspelt[a.name] || !b.has(a, target) {
			continue
		}
		if ptr := a.field(target); !d.isSet(ptr) && !d.bad[ptr] {
			d.bad[ptr] = true
			if misspelt[a.name] {
				continue // what it was meant to say is not known, and that is reported
			}
			diag := advise(missingAttribute.at(header.Ptr(), "The block %s needs the attribute %q: %s", b.name, a.name, a.doc),
				"Add it, like: %s = %s", a.name, a.example)
			if a.kubernetes {
				d.forKubernetes = append(d.forKubernetes, diag)
			} else {
				d.report(diag)
			}
		}
	}
}

// sourceOrder lists attributes as they stand in the file.
func sourceOrder(attrs hclsyntax.Attributes) []string {
	names := make([]string, 0, len(attrs))
	for name := range attrs {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return attrs[a].NameRange.Start.Byte - attrs[b].NameRange.Start.Byte
	})
	return names
}

func unknownAttributeIn(b *block, attr *hclsyntax.Attribute) *hcl.Diagnostic {
	diag := unknownAttribute.at(attr.NameRange.Ptr(), "There is no attribute %q %s.", attr.Name, b.where())
	if nested := b.nested(attr.Name); nested != nil {
		return advise(diag, "%q is a block: write %s { … } without the equals sign.", attr.Name, nested.form())
	}
	if near := spelling.Nearest(attr.Name, b.attrNames()); near != "" {
		return advise(diag, "Did you mean %q?", near)
	}
	if near := spelling.Nearest(attr.Name, b.blockNames()); near != "" {
		return advise(diag, "Did you mean the block %s?", b.nested(near).form())
	}
	if len(b.attrs) > 0 {
		diag = advise(diag, "It takes: %s.", strings.Join(b.attrNames(), ", "))
	}
	return diag
}

func unknownBlockIn(b *block, blk *hclsyntax.Block) *hcl.Diagnostic {
	diag := unknownBlock.at(blk.TypeRange.Ptr(), "There is no block %q %s.", blk.Type, b.where())
	diag.Context = blk.DefRange().Ptr()
	if _, ok := b.attr(blk.Type); ok {
		return advise(diag, "%q is an attribute: write %s = { … } with an equals sign.", blk.Type, blk.Type)
	}
	if near := spelling.Nearest(blk.Type, b.blockNames()); near != "" {
		return advise(diag, "Did you mean %q?", near)
	}
	if near := spelling.Nearest(blk.Type, b.attrNames()); near != "" {
		return advise(diag, "Did you mean the attribute %q?", near)
	}
	if len(b.blocks) > 0 {
		diag = advise(diag, "The blocks here are: %s.", strings.Join(b.blockNames(), ", "))
	}
	return diag
}

// nestedBlocks decodes the blocks inside body by the schema of b.
func (d *decoder) nestedBlocks(b *block, body *hclsyntax.Body, target any, sc scope) {
	first := make(map[string]*hclsyntax.Block)
	for _, blk := range body.Blocks {
		n := b.nested(blk.Type)
		if n == nil {
			d.report(unknownBlockIn(b, blk))
			continue
		}
		if n.target == nil {
			continue // variable and locals
		}
		labelled := d.labels(n, blk)
		if !n.many {
			if other := first[blk.Type]; other != nil {
				diag := duplicateBlock.at(blk.DefRange().Ptr(), "The block %s stands once; the first one is at %s.", n.name, place(other.DefRange()))
				d.report(diag)
				continue
			}
			first[blk.Type] = blk
		}
		if n.name == "host" && b.name == "" {
			continue // hosts.go, after everything else
		}
		inner := n.target(target, true)
		d.headers[inner] = blk.DefRange()
		if n.label != nil {
			ptr := n.label.field(inner)
			if labelled {
				d.src[ptr] = origin{rng: blk.LabelRanges[0]}
				d.store(n.label.kind, cty.StringVal(blk.Labels[0]), ptr)
			} else {
				d.bad[ptr] = true
			}
		}
		d.body(n, blk.Body, blk.DefRange(), inner, sc)
	}
	for _, n := range b.blocks {
		if n.required && first[n.name] == nil && !n.many {
			d.bad[n.target(target, true)] = true
			for _, a := range n.attrs {
				if a.required {
					d.bad[a.field(n.target(target, true))] = true
				}
			}
			rng := body.MissingItemRange()
			if b.name == "" {
				rng = startOf(rng.Filename)
			}
			d.report(advise(missingBlock.at(&rng, "The inventory needs a block %s.", n.form()), "Add one, like:\n%s", n.example))
		}
	}
}

func startOf(filename string) hcl.Range {
	return hcl.Range{Filename: filename, Start: hcl.InitialPos, End: hcl.InitialPos}
}

// labels checks that a block has as many labels as its type wants.
func (d *decoder) labels(n *block, blk *hclsyntax.Block) bool {
	want := 0
	if n.label != nil {
		want = 1
	}
	if len(blk.Labels) == want {
		return true
	}
	if want == 0 {
		diag := wrongLabels.at(blk.LabelRanges[0].Ptr(), "The block %s takes no name.", n.name)
		d.report(advise(diag, "Write: %s { … }", n.name))
		return false
	}
	subject, found := blk.DefRange(), "it has none"
	if len(blk.Labels) > want {
		subject, found = blk.LabelRanges[1], fmt.Sprintf("it has %d", len(blk.Labels))
	}
	diag := wrongLabels.at(&subject, "The block %s takes one name in quotes; %s.", n.name, found)
	d.report(advise(diag, "Write: %s { … }", n.form()))
	return false
}

// attribute decodes one attribute of target's block.
func (d *decoder) attribute(b *block, a attr, at *hclsyntax.Attribute, target any, sc scope) {
	ptr := a.field(target)
	if a.refusal != nil {
		d.report((*a.refusal).at(at.Range().Ptr(), "%s stands in the block %s that all hosts share.", a.name, b.name))
		return
	}
	if !b.has(a, target) {
		if label := b.label.field(target); d.good(label) {
			d.report(foreignAttribute.at(at.NameRange.Ptr(), "%s is for %s %s, not for %q.", a.name, b.name, enumerate(a.labels), *label.(*string)))
		}
		return
	}
	if other, ok := d.src[ptr]; ok {
		d.report(conflictingAttributes.at(at.Range().Ptr(), "%s says again what is said at %s.", a.name, place(other.rng)))
		return
	}
	v, ok := d.eval(at.Expr, sc)
	if ok && v.IsKnown() && v.IsNull() {
		return // as if it were not there
	}
	d.src[ptr] = origin{rng: at.Expr.Range(), expr: at.Expr, ctx: sc.ctx}
	if !ok || !v.IsWhollyKnown() {
		d.bad[ptr] = true // already reported, here or where the value comes from
		return
	}
	d.store(a.kind, v, ptr)
}

// store converts a value to what the kind wants, judges it and sets the field.
func (d *decoder) store(k kind, v cty.Value, ptr any) {
	o := d.src[ptr]
	fail := func(f *fault) {
		d.bad[ptr] = true
		diag := f.mistake.at(o.at(f.path...), "%s", f.detail)
		if f.hint != "" {
			diag = advise(diag, "%s", f.hint)
		}
		if f.secret {
			diag.Extra = &Advice{Hint: Hint(diag), HideSource: true}
		} else if o.expr != nil {
			diag.Expression, diag.EvalContext = o.expr, o.ctx
		}
		d.report(diag)
	}
	v, _ = v.UnmarkDeep()
	converted, err := convert.Convert(v, k.want)
	if err != nil || !converted.IsWhollyKnown() {
		fail(wrongTypeFault(k, v))
		return
	}
	faults := k.set(d.env, converted, ptr)
	secret := slices.ContainsFunc(faults, func(f *fault) bool { return f.secret })
	for _, f := range faults {
		f.secret = secret // they share a line
		fail(f)
	}
}

// wrongTypeFault finds the part of v that does not convert.
func wrongTypeFault(k kind, v cty.Value) *fault {
	var path []any
	found, want := v, k.want
	for want.IsCollectionType() && !found.IsNull() && found.CanIterateElements() &&
		(want.IsMapType() == (found.Type().IsMapType() || found.Type().IsObjectType())) {
		key, element, ok := misfit(found, want.ElementType())
		if !ok {
			break
		}
		path, found, want = append(path, key), element, want.ElementType()
	}
	var f *fault
	if want.IsPrimitiveType() && !found.IsNull() && found.Type() == cty.String {
		f = faultf(wrongType, "%s is not %s.", quote(found.AsString()), typeName(want))
	} else {
		f = faultf(wrongType, "Found %s, expected %s (%s).", typeName(found.Type()), typeName(want), k.name)
		if len(path) > 0 {
			f.detail = fmt.Sprintf("Found %s in a %s, expected %s.", typeName(found.Type()), k.name, typeName(want))
		}
	}
	f.path = path
	if want.IsListType() && found.Type().IsPrimitiveType() {
		f.advise("Put it in brackets: [ … ].")
	}
	return f
}

// misfit returns the first element that does not convert, with its key as
// rangeAt wants it.
func misfit(v cty.Value, want cty.Type) (key any, element cty.Value, ok bool) {
	i := 0
	for it := v.ElementIterator(); it.Next(); i++ {
		k, element := it.Element()
		if _, err := convert.Convert(element, want); err == nil {
			continue
		}
		if k.Type() == cty.String && !v.Type().IsSetType() {
			return k.AsString(), element, true
		}
		return i, element, true
	}
	return nil, cty.NilVal, false
}

// defaults fills the fields that have a fixed default and were not written.
func (d *decoder) defaults(b *block, target any) {
	for _, a := range b.attrs {
		if a.fallback == "" || !b.has(a, target) {
			continue
		}
		if ptr := a.field(target); !d.isSet(ptr) {
			d.fallback(a, ptr)
		}
	}
	for _, n := range b.blocks {
		if n.target == nil || n.many {
			continue
		}
		if inner := n.target(target, false); inner != nil && !isNil(inner) {
			d.defaults(n, inner)
		}
	}
}

// fallback stores an attribute's default. A default that does not decode is
// this package's own mistake, but for a home directory that is not known.
func (d *decoder) fallback(a attr, ptr any) {
	expr, diags := hclsyntax.ParseExpression([]byte(a.fallback), "default", hcl.InitialPos)
	if diags.HasErrors() {
		panic(fmt.Sprintf("inventory: default of %s: %s", a.name, diags))
	}
	v, diags := expr.Value(nil)
	if diags.HasErrors() {
		panic(fmt.Sprintf("inventory: default of %s: %s", a.name, diags))
	}
	for _, f := range a.kind.set(d.env, v, ptr) {
		d.bad[ptr] = true
		diag := f.mistake.at(nil, "The default of %s: %s", a.name, f.detail)
		if f.hint != "" {
			diag = advise(diag, "%s", f.hint)
		}
		d.report(diag)
	}
}

func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}

// copyField copies what one field pointer points at to another of its type.
func copyField(dst, src any) {
	reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(src).Elem())
}

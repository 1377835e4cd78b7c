package inventory

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/kinstall/kinstall/plan/spelling"
)

// scope is what expressions may refer to at one place.
type scope struct {
	ctx    *hcl.EvalContext
	vars   []string // declared variables, sorted
	locals []string // declared locals, sorted
	group  string   // "count", "each" or ""
}

// instance is the scope of one host of a group.
func (sc scope) instance(group string, value cty.Value) scope {
	inner := sc
	inner.group = group
	inner.ctx = sc.ctx.NewChild()
	inner.ctx.Variables = map[string]cty.Value{group: value}
	return inner
}

// eval evaluates an expression. Names are checked first, so that every wrong
// one is reported with a suggestion. When ok is false the reason is reported.
func (d *decoder) eval(expr hclsyntax.Expression, sc scope) (v cty.Value, ok bool) {
	if !d.references(expr, sc) {
		return cty.DynamicVal, false
	}
	v, diags := expr.Value(sc.ctx)
	d.report(diags...)
	if diags.HasErrors() {
		return cty.DynamicVal, false
	}
	if cost(v) < 0 {
		d.report(tooMuch.at(expr.Range().Ptr(), "This makes more than %d MiB, a list of more than %d elements, or nests more than %d deep.", maxValue>>20, maxElements, maxNesting))
		return cty.DynamicVal, false
	}
	v, _ = v.UnmarkDeep()
	return v, true
}

// references reports every reference to something that does not exist.
func (d *decoder) references(expr hclsyntax.Expression, sc scope) bool {
	ok := true
	for _, t := range expr.Variables() {
		if diag := unknownIn(t, sc); diag != nil {
			d.report(diag)
			ok = false
		}
	}
	if diags := hclsyntax.VisitAll(expr, func(node hclsyntax.Node) hcl.Diagnostics {
		call, isCall := node.(*hclsyntax.FunctionCallExpr)
		if !isCall {
			return nil
		}
		return d.unknownFunction(call)
	}); len(diags) > 0 {
		d.report(diags...)
		ok = false
	}
	return ok
}

// unknownFunction reports calls of functions that don't exist, with the same
// suggestion every time.
func (d *decoder) unknownFunction(call *hclsyntax.FunctionCallExpr) hcl.Diagnostics {
	if slices.Contains(d.functionNames, call.Name) {
		return nil
	}
	diag := unknownFunction.at(call.NameRange.Ptr(), "There is no function %q.", call.Name)
	if near := spelling.Nearest(call.Name, d.functionNames); near != "" {
		diag = advise(diag, "Did you mean %q?", near)
	}
	return hcl.Diagnostics{diag}
}

func unknownIn(t hcl.Traversal, sc scope) *hcl.Diagnostic {
	if t.IsRelative() || len(t) == 0 {
		return nil
	}
	rng := t.SourceRange()
	root := t.RootName()
	member := ""
	if len(t) > 1 {
		if step, ok := t[1].(hcl.TraverseAttr); ok {
			member = step.Name
		}
	}
	missing := func(what, how string, known []string) *hcl.Diagnostic {
		diag := unknownReference.at(&rng, "There is no %s %q.", what, member)
		if near := spelling.Nearest(member, known); near != "" {
			return advise(diag, "Did you mean %s.%s?", root, near)
		}
		return advise(diag, how, member)
	}
	switch root {
	case "var":
		if member != "" && !slices.Contains(sc.vars, member) {
			return missing("variable", "Declare it: variable %q { default = … }", sc.vars)
		}
		return nil
	case "local":
		if member != "" && !slices.Contains(sc.locals, member) {
			return missing("local value", "Declare it: locals { %s = … }", sc.locals)
		}
		return nil
	case "count", "each":
		names := map[string][]string{"count": {"index"}, "each": {"key", "value"}}[root]
		if sc.group != root {
			use := map[string]string{"count": "count = NUMBER", "each": "for_each = …"}[root]
			return advise(unknownReference.at(&rng, "%s means something only in a host block with %s.", root, use),
				"Add %s to the host block.", use)
		}
		if len(t) < 2 || !slices.Contains(names, member) {
			return advise(unknownReference.at(&rng, "%s has no %q.", root, member), "Use %s.%s.", root, strings.Join(names, " or "+root+"."))
		}
		return nil
	}
	diag := unknownReference.at(&rng, "%q is not something an expression can refer to.", root)
	if len(t) == 1 {
		return advise(diag, "If it is text, put it in quotes: %q.", root)
	}
	if near := spelling.Nearest(root, []string{"var", "local", "count", "each"}); near != "" {
		return advise(diag, "Did you mean %q?", near)
	}
	return advise(diag, "Expressions may use var.NAME, local.NAME and, in host groups, count.index, each.key and each.value.")
}

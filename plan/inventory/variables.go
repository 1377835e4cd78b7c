package inventory

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/kinstall/kinstall/plan/spelling"
)

const environmentPrefix = "KINSTALL_VAR_"

// variable is a declared one.
type variable struct {
	name        string
	rng         hcl.Range
	typ         cty.Type
	defaults    *typeexpr.Defaults
	fallback    *cty.Value
	validations []*hclsyntax.Block
	broken      bool // its declaration is reported
	misspelt    bool // an attribute that is reported may have been its default
}

// given is a value from outside: text from the command line or environment,
// or an attribute of a variables file.
type given struct {
	text  string
	value *cty.Value
	rng   hcl.Range
}

// scopeOf evaluates variables and locals and returns what the rest of the
// inventory may refer to.
func (d *decoder) scopeOf(body *hclsyntax.Body, opts Options) scope {
	sc := scope{ctx: &hcl.EvalContext{Functions: d.functions()}}
	variables := d.variables(body, sc)
	values := d.variableValues(variables, d.givenValues(variables, opts))
	sc.vars = slices.Sorted(maps.Keys(values))
	sc.ctx.Variables = map[string]cty.Value{"var": cty.ObjectVal(values)}
	for _, v := range variables {
		if values[v.name].IsWhollyKnown() {
			d.validateVariable(v, sc)
		}
	}
	d.locals(body, &sc)
	return sc
}

// variables decodes the declarations.
func (d *decoder) variables(body *hclsyntax.Body, sc scope) []*variable {
	var declared []*variable
	schema := variableBlock()
	for _, blk := range body.Blocks {
		if blk.Type != "variable" || !d.labels(schema, blk) {
			continue
		}
		v := &variable{name: blk.Labels[0], rng: blk.LabelRanges[0], typ: cty.DynamicPseudoType}
		if !hclsyntax.ValidIdentifier(v.name) {
			d.report(invalidVariable.at(&v.rng, "%s is not a name for a variable: expected a letter, then letters, digits, '_' and '-'.", quote(v.name)))
			continue
		}
		if i := slices.IndexFunc(declared, func(o *variable) bool { return o.name == v.name }); i >= 0 {
			d.report(duplicateDeclaration.at(&v.rng, "The variable %q is declared already at %s.", v.name, place(declared[i].rng)))
			continue
		}
		declared = append(declared, v)
		d.variable(v, schema, blk, sc)
	}
	return declared
}

func (d *decoder) variable(v *variable, schema *block, blk *hclsyntax.Block, sc scope) {
	for _, name := range sourceOrder(blk.Body.Attributes) {
		if _, ok := schema.attr(name); !ok {
			d.report(unknownAttributeIn(schema, blk.Body.Attributes[name]))
			v.misspelt = v.misspelt || spelling.Nearest(name, schema.attrNames()) == "default"
		}
	}
	typed := false
	if a := blk.Body.Attributes["type"]; a != nil {
		typ, defaults, diags := typeexpr.TypeConstraintWithDefaults(a.Expr)
		if diags.HasErrors() {
			for _, diag := range diags {
				d.report(advise(invalidVariable.at(diag.Subject, "%s", diag.Detail), "Write type = string, number, bool, list(string), map(string) …"))
			}
			v.broken = true
		} else {
			v.typ, v.defaults, typed = typ, defaults, true
		}
	}
	if a := blk.Body.Attributes["default"]; a != nil {
		value, ok := d.eval(a.Expr, sc)
		if !ok {
			v.broken = true
			return
		}
		if !typed && !value.IsNull() && value.Type().IsPrimitiveType() {
			v.typ = value.Type()
		}
		converted, err := v.convert(value)
		if err != nil {
			d.report(invalidVariable.at(a.Expr.Range().Ptr(), "The default does not fit the type %s: %s.", typeexpr.TypeString(v.typ), err))
			v.broken = true
			return
		}
		v.fallback = &converted
	}
	for _, inner := range blk.Body.Blocks {
		if inner.Type != "validation" {
			d.report(unknownBlockIn(schema, inner))
			continue
		}
		v.validations = append(v.validations, inner)
	}
}

func (v *variable) convert(value cty.Value) (cty.Value, error) {
	if v.defaults != nil && !value.IsNull() {
		value = v.defaults.Apply(value)
	}
	return convert.Convert(value, v.typ)
}

// wantsText says that text from outside is taken literally.
func (v *variable) wantsText() bool {
	if v.typ == cty.DynamicPseudoType {
		return v.fallback == nil || v.fallback.IsNull() || v.fallback.Type() == cty.String
	}
	return v.typ.IsPrimitiveType() // numbers and bools convert
}

// givenValues gathers values from outside, later ones winning: environment,
// variables files in their order, command line.
func (d *decoder) givenValues(variables []*variable, opts Options) map[string]given {
	values := make(map[string]given)
	names := make([]string, 0, len(variables))
	for _, v := range variables {
		names = append(names, v.name)
	}
	suggest := func(diag *hcl.Diagnostic, name string) *hcl.Diagnostic {
		if near := spelling.Nearest(name, names); near != "" {
			return advise(diag, "Did you mean %q?", near)
		}
		return diag
	}
	for _, entry := range opts.Env {
		key, text, _ := strings.Cut(entry, "=")
		// Others than the declared may belong to other inventories.
		if name, ok := strings.CutPrefix(key, environmentPrefix); ok && slices.Contains(names, name) {
			values[name] = d.givenText(key, text)
		}
	}
	for _, file := range opts.VarFiles {
		for name, g := range d.variablesFile(file) {
			if !slices.Contains(names, name) {
				diag := undeclaredVariable.at(&g.rng, "The inventory declares no variable %q.", name)
				diag.Severity = hcl.DiagWarning // the file may serve several inventories
				d.report(suggest(diag, name))
				continue
			}
			values[name] = g
		}
	}
	for _, name := range slices.Sorted(maps.Keys(opts.Vars)) {
		if !slices.Contains(names, name) {
			d.report(suggest(undeclaredVariable.at(nil, "-var sets %s, which the inventory does not declare.", quote(name)), name))
			continue
		}
		values[name] = d.givenText("-var "+name, opts.Vars[name])
	}
	return values
}

// givenText registers the text as a source of its own, so that messages can
// show it.
func (d *decoder) givenText(source, text string) given {
	d.files[source] = &hcl.File{Bytes: []byte(text)}
	end := hcl.InitialPos
	end.Byte, end.Column = len(text), len([]rune(text))+1
	return given{text: text, rng: hcl.Range{Filename: source, Start: hcl.InitialPos, End: end}}
}

func (d *decoder) variablesFile(file string) map[string]given {
	src, diag := d.readSource(file)
	if diag != nil {
		d.givenUnknown = true
		d.report(diag)
		return nil
	}
	var parsed *hcl.File
	var diags hcl.Diagnostics
	if filepath.Ext(file) == ".json" {
		if diag := anotherFormat(src, file); diag != nil {
			d.givenUnknown = true
			d.report(diag)
			return nil
		}
		if jsonTooDeep(src) {
			d.givenUnknown = true
			d.report(nestedTooDeep.at(nil, "%s has brackets that are nested more than %d deep.", file, maxDepth))
			return nil
		}
		parsed, diags = hcljson.Parse(src, file)
	} else {
		d.files[file] = &hcl.File{Bytes: src}
		if d.parseHCL(src, file) == nil {
			d.givenUnknown = true
			return nil
		}
		parsed = d.files[file]
	}
	if parsed != nil {
		d.files[file] = parsed
	}
	d.report(diags...)
	if diags.HasErrors() {
		d.givenUnknown = true
		return nil
	}
	attrs, diags := parsed.Body.JustAttributes()
	d.report(diags...)
	values := make(map[string]given, len(attrs))
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		value, diags := attrs[name].Expr.Value(nil)
		if !diags.HasErrors() && cost(value) < 0 {
			diags = append(diags, tooMuch.at(attrs[name].Expr.Range().Ptr(), "The value has more than %d MiB, a list of more than %d elements, or nests more than %d deep.", maxValue>>20, maxElements, maxNesting))
		}
		d.report(diags...)
		if diags.HasErrors() {
			value = cty.DynamicVal
		}
		values[name] = given{value: &value, rng: attrs[name].Expr.Range()}
	}
	return values
}

// variableValues decides each variable's value. One that is wrong becomes
// unknown, which silences everything that depends on it.
func (d *decoder) variableValues(variables []*variable, values map[string]given) map[string]cty.Value {
	result := make(map[string]cty.Value, len(variables))
	for _, v := range variables {
		result[v.name] = cty.DynamicVal
		if v.broken {
			continue
		}
		g, ok := values[v.name]
		switch {
		case ok:
			if value, ok := d.givenValue(v, g); ok {
				result[v.name] = value
			}
		case v.fallback != nil:
			result[v.name] = *v.fallback
		case v.misspelt || d.givenUnknown:
			// Its default, or the file with its value, could not be read, which is
			// reported.
		default:
			d.report(advise(missingVariable.at(&v.rng, "The variable %q has no default and was given no value.", v.name),
				"Give it with -var %s=…, in a file with -var-file, or in the environment as %s%s.", v.name, environmentPrefix, v.name))
		}
	}
	return result
}

func (d *decoder) givenValue(v *variable, g given) (cty.Value, bool) {
	value := cty.StringVal(g.text)
	switch {
	case g.value != nil:
		value = *g.value
	case !v.wantsText():
		if diag := tooDeep([]byte(g.text), g.rng.Filename); diag != nil {
			d.report(diag)
			return value, false
		}
		expr, diags := hclsyntax.ParseExpression([]byte(g.text), g.rng.Filename, hcl.InitialPos)
		if !diags.HasErrors() {
			var more hcl.Diagnostics
			value, more = d.boundExpr(expr).Value(nil)
			diags = append(diags, more...)
			if !diags.HasErrors() && cost(value) < 0 {
				diags = append(diags, tooMuch.at(&g.rng, "The value has too many elements, or nests too deep."))
			}
		}
		if diags.HasErrors() {
			d.report(invalidVariableValue.at(&g.rng, "The value of %q is not %s in HCL's syntax: %s", v.name, typeexpr.TypeString(v.typ), diags[0].Detail))
			return value, false
		}
	}
	if !value.IsWhollyKnown() {
		return value, false
	}
	value, err := v.convert(value)
	if err != nil {
		d.report(invalidVariableValue.at(&g.rng, "The value of %q is not %s: %s.", v.name, typeexpr.TypeString(v.typ), err))
		return value, false
	}
	return value, true
}

// validateVariable evaluates a variable's validation blocks.
func (d *decoder) validateVariable(v *variable, sc scope) {
	schema := variableBlock().nested("validation")
	for _, blk := range v.validations {
		for _, name := range sourceOrder(blk.Body.Attributes) {
			if _, ok := schema.attr(name); !ok {
				d.report(unknownAttributeIn(schema, blk.Body.Attributes[name]))
			}
		}
		for _, inner := range blk.Body.Blocks {
			d.report(unknownBlockIn(schema, inner))
		}
		condition, message := blk.Body.Attributes["condition"], blk.Body.Attributes["error_message"]
		if condition == nil || message == nil {
			d.report(missingAttribute.at(blk.DefRange().Ptr(), "A validation block needs condition and error_message."))
			continue
		}
		own := sc
		own.vars = []string{v.name}
		result, ok := d.eval(condition.Expr, own)
		if !ok {
			continue
		}
		text, ok := d.eval(message.Expr, own)
		if !ok {
			continue
		}
		result, err := convert.Convert(result, cty.Bool)
		if err != nil || result.IsNull() || !result.IsKnown() {
			d.report(invalidVariable.at(condition.Expr.Range().Ptr(), "The condition is neither true nor false."))
			continue
		}
		text, err = convert.Convert(text, cty.String)
		if err != nil || text.IsNull() || !text.IsKnown() {
			d.report(invalidVariable.at(message.Expr.Range().Ptr(), "The error message is not text."))
			continue
		}
		if result.False() {
			diag := variableRefused.at(condition.Expr.Range().Ptr(), "%s", text.AsString())
			diag.Expression, diag.EvalContext = condition.Expr, sc.ctx
			d.report(diag)
		}
	}
}

// locals evaluates local values in the order of their dependencies and adds
// them to the scope.
func (d *decoder) locals(body *hclsyntax.Body, sc *scope) {
	exprs := make(map[string]*hclsyntax.Attribute)
	schema := localsBlock()
	var order []string
	for _, blk := range body.Blocks {
		if blk.Type != "locals" {
			continue
		}
		d.labels(schema, blk)
		for _, inner := range blk.Body.Blocks {
			d.report(unknownBlockIn(schema, inner))
		}
		for _, name := range sourceOrder(blk.Body.Attributes) {
			a := blk.Body.Attributes[name]
			if other := exprs[name]; other != nil {
				d.report(duplicateDeclaration.at(a.NameRange.Ptr(), "The local value %q is declared already at %s.", name, place(other.NameRange)))
				continue
			}
			exprs[name] = a
			order = append(order, name)
		}
	}
	sc.locals = slices.Sorted(maps.Keys(exprs))
	l := &localValues{decoder: d, scope: sc, exprs: exprs, values: make(map[string]cty.Value)}
	for _, name := range order {
		l.value(name, nil)
	}
	sc.ctx.Variables["local"] = cty.ObjectVal(l.values)
}

// localValues evaluates locals depth first.
type localValues struct {
	decoder *decoder
	scope   *scope
	exprs   map[string]*hclsyntax.Attribute
	values  map[string]cty.Value
}

// maxLocalChain bounds how many locals may hang on each other, and with it the
// depth of the recursion.
const maxLocalChain = 1000

// value evaluates one local; trail holds those that wait for it.
func (l *localValues) value(name string, trail []string) {
	if _, done := l.values[name]; done {
		return
	}
	a := l.exprs[name]
	if i := slices.Index(trail, name); i >= 0 || len(trail) > maxLocalChain {
		circle := append(slices.Clone(trail[max(0, i):]), name)
		if len(circle) > 12 {
			circle = append(circle[:6:6], append([]string{"…"}, circle[len(circle)-5:]...)...)
		}
		l.values[name] = cty.DynamicVal
		l.decoder.report(localCycle.at(a.Range().Ptr(), "The local value %q depends on itself: %s.", name, strings.Join(circle, " → ")))
		return
	}
	trail = append(trail, name)
	own := make(map[string]cty.Value)
	for _, t := range a.Expr.Variables() {
		if t.RootName() != "local" {
			continue
		}
		needed := l.scope.locals // local itself was named: all of them
		if len(t) > 1 {
			if step, ok := t[1].(hcl.TraverseAttr); ok {
				needed = []string{step.Name}
			}
		}
		for _, n := range needed {
			if l.exprs[n] != nil {
				l.value(n, trail)
				own[n] = l.values[n]
			}
		}
	}
	if _, done := l.values[name]; done {
		return // part of a circle that was reported
	}
	inner := *l.scope
	inner.ctx = l.scope.ctx.NewChild()
	inner.ctx.Variables = map[string]cty.Value{"local": cty.ObjectVal(own)}
	v, ok := l.decoder.eval(a.Expr, inner)
	if !ok {
		v = cty.DynamicVal
	}
	l.values[name] = v
}

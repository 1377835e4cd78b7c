package inventory

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Few characters of an inventory can ask for a great deal: a product of lists, a
// local that doubles another, a loop in a loop. What they would make is counted
// before it is made, in bytes of text and elementCost for each element.
const (
	elementCost = 64
	// maxValue bounds one value, maxWork all that one Load evaluates.
	maxValue = 16 << 20
	maxWork  = 64 << 20
	// maxElements bounds one list or map: what converts them compares the types of
	// all elements with each other.
	maxElements = 16384
	// maxNesting bounds how deep values lie in each other.
	maxNesting = 200
)

// work is what has been evaluated so far.
type work struct {
	spent int
	// exhausted is where the bound was met. From there on everything bounded is
	// unknown and makes nothing; it is reported once, when all is done (a loop
	// would report it in every round, and try() never).
	exhausted *hcl.Range
}

// over says that the bound was met.
func (w *work) over() bool { return w.spent > maxWork }

// charge counts the cost of something that is about to be made.
func (w *work) charge(cost int) error {
	if cost < 0 || cost > maxValue {
		return fmt.Errorf("the result would be larger than %d MiB or have more than %d elements", maxValue>>20, maxElements)
	}
	w.spent += cost
	return nil
}

// cost is what a value costs, negative when it is more than maxValue or nested
// deeper than maxNesting. It looks at no more than maxValue of it: values that
// share their parts can be far larger than the memory they take.
func cost(v cty.Value) int {
	left := maxValue
	if !measure(v, &left, 0) {
		return -1
	}
	return maxValue - left
}

func measure(v cty.Value, left *int, depth int) bool {
	*left -= elementCost
	if *left < 0 || depth > maxNesting {
		return false
	}
	v, _ = v.Unmark()
	if !v.IsKnown() || v.IsNull() {
		return true
	}
	switch t := v.Type(); {
	case t == cty.String:
		*left -= len(v.AsString())
	case t == cty.Number:
		*left -= digits(v.AsBigFloat())
	case v.CanIterateElements():
		if v.LengthInt() > maxElements {
			return false
		}
		for it := v.ElementIterator(); it.Next(); {
			k, element := it.Element()
			if k.Type() == cty.String {
				*left -= len(k.AsString())
			}
			if !measure(element, left, depth+1) {
				return false
			}
		}
	}
	return *left >= 0
}

// digits is how long a number can be when it is written out.
func digits(f *big.Float) int {
	exponent := f.MantExp(nil)
	if exponent < 0 {
		exponent = -exponent
	}
	return exponent / 3
}

// bound guards the expressions of a body against making more than charge lets
// them.
func (d *decoder) bound(body *hclsyntax.Body) {
	for _, attr := range body.Attributes {
		attr.Expr = d.boundExpr(attr.Expr)
	}
	for _, blk := range body.Blocks {
		d.bound(blk.Body)
	}
}

// boundExpr replaces the expressions that can make something larger than what
// they are made of, anywhere in expr. Functions are bounded where they are
// called (functions.go).
func (d *decoder) boundExpr(expr hclsyntax.Expression) hclsyntax.Expression {
	each := func(exprs ...*hclsyntax.Expression) {
		for _, e := range exprs {
			if *e != nil {
				*e = d.boundExpr(*e)
			}
		}
	}
	switch e := expr.(type) {
	case *hclsyntax.BinaryOpExpr:
		each(&e.LHS, &e.RHS)
	case *hclsyntax.UnaryOpExpr:
		each(&e.Val)
	case *hclsyntax.ConditionalExpr:
		each(&e.Condition, &e.TrueResult, &e.FalseResult)
	case *hclsyntax.FunctionCallExpr:
		for i := range e.Args {
			each(&e.Args[i])
		}
	case *hclsyntax.IndexExpr:
		each(&e.Collection, &e.Key)
	case *hclsyntax.ObjectConsExpr:
		d.countItems(len(e.Items), e)
		for i := range e.Items {
			each(&e.Items[i].KeyExpr, &e.Items[i].ValueExpr)
		}
	case *hclsyntax.ObjectConsKeyExpr:
		each(&e.Wrapped)
	case *hclsyntax.ParenthesesExpr:
		each(&e.Expression)
	case *hclsyntax.RelativeTraversalExpr:
		each(&e.Source)
	case *hclsyntax.TupleConsExpr:
		d.countItems(len(e.Exprs), e)
		for i := range e.Exprs {
			each(&e.Exprs[i])
		}
	case *hclsyntax.TemplateWrapExpr:
		each(&e.Wrapped)
	case *hclsyntax.TemplateExpr:
		for i := range e.Parts {
			each(&e.Parts[i])
		}
		if !e.IsStringLiteral() {
			return &boundTemplate{e, d}
		}
	case *hclsyntax.TemplateJoinExpr:
		each(&e.Tuple)
		return &boundJoin{e, d}
	case *hclsyntax.SplatExpr:
		each(&e.Source, &e.Each)
		return &boundSplat{e, d}
	case *hclsyntax.ForExpr:
		each(&e.CollExpr, &e.KeyExpr, &e.ValExpr, &e.CondExpr)
		return &boundFor{e, d}
	}
	return expr
}

// countItems bounds what is written out, too.
func (d *decoder) countItems(n int, expr hclsyntax.Expression) {
	if n > maxElements {
		d.report(tooMuch.at(expr.StartRange().Ptr(), "Here stand %d elements; at most %d are allowed.", n, maxElements))
	}
}

// literal stands for an expression that was evaluated already, so that it is not
// evaluated again.
func literal(v cty.Value, of hclsyntax.Expression) hclsyntax.Expression {
	return &hclsyntax.LiteralValueExpr{Val: v, SrcRange: of.Range()}
}

// afford charges for an expression; ok says that it is to be evaluated.
func (d *decoder) afford(cost int, expr hclsyntax.Expression) (diags hcl.Diagnostics, ok bool) {
	if err := d.work.charge(cost); err != nil {
		return hcl.Diagnostics{tooMuch.at(expr.Range().Ptr(), "This makes too much: %s.", err)}, false
	}
	if d.work.over() && d.work.exhausted == nil {
		d.work.exhausted = expr.Range().Ptr()
	}
	return nil, !d.work.over()
}

// exhaustion reports that there was too much in all.
func (d *decoder) exhaustion() {
	if !d.work.over() {
		return
	}
	d.report(tooMuch.at(d.work.exhausted, "All expressions together make too much: more than %d MiB, or about a million rounds of loops.", maxWork>>20))
}

// boundFor counts the rounds of a loop before it begins.
type boundFor struct {
	*hclsyntax.ForExpr
	decoder *decoder
}

// Value implements hclsyntax.Expression.
func (e *boundFor) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	coll, diags := e.CollExpr.Value(ctx)
	if diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	body := e.ValExpr.Range()
	rounds := times(many(elements(coll))/elementCost, elementCost+body.End.Byte-body.Start.Byte)
	if elements(coll) > maxElements {
		rounds = -1
	}
	if diags, ok := e.decoder.afford(rounds, e); !ok {
		return cty.DynamicVal, diags
	}
	inner := *e.ForExpr
	inner.CollExpr = literal(coll, e.CollExpr)
	v, diags := inner.Value(ctx)
	if len(diags) > maxDiagnostics {
		diags = diags[:maxDiagnostics] // the other rounds say the same
	}
	return v, diags
}

func elements(v cty.Value) int {
	v, _ = v.Unmark()
	if !v.IsKnown() || v.IsNull() || !v.CanIterateElements() {
		return 0
	}
	return v.LengthInt()
}

// boundSplat does so for a splat, which is a loop, too.
type boundSplat struct {
	*hclsyntax.SplatExpr
	decoder *decoder
}

// Value implements hclsyntax.Expression.
func (e *boundSplat) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	source, diags := e.Source.Value(ctx)
	if diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	if diags, ok := e.decoder.afford(many(elements(source)), e); !ok {
		return cty.DynamicVal, diags
	}
	inner := *e.SplatExpr
	inner.Source = literal(source, e.Source)
	return inner.Value(ctx)
}

// boundTemplate counts the text of a template before it is put together.
type boundTemplate struct {
	*hclsyntax.TemplateExpr
	decoder *decoder
}

// Value implements hclsyntax.Expression.
func (e *boundTemplate) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	inner := *e.TemplateExpr
	inner.Parts = make([]hclsyntax.Expression, 0, len(e.Parts))
	var diags hcl.Diagnostics
	total := 0
	for _, part := range e.Parts {
		v, more := part.Value(ctx)
		diags = append(diags, more...)
		total = sum(total, textLength(v))
		inner.Parts = append(inner.Parts, literal(v, part))
	}
	if diags.HasErrors() {
		return cty.UnknownVal(cty.String), diags
	}
	if diags, ok := e.decoder.afford(total, e); !ok {
		return cty.UnknownVal(cty.String), diags
	}
	return inner.Value(ctx)
}

// boundJoin does so for a loop in a template.
type boundJoin struct {
	*hclsyntax.TemplateJoinExpr
	decoder *decoder
}

// Value implements hclsyntax.Expression.
func (e *boundJoin) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	tuple, diags := e.Tuple.Value(ctx)
	if diags.HasErrors() {
		return cty.UnknownVal(cty.String), diags
	}
	if diags, ok := e.decoder.afford(cost(tuple), e); !ok {
		return cty.UnknownVal(cty.String), diags
	}
	inner := *e.TemplateJoinExpr
	inner.Tuple = literal(tuple, e.Tuple)
	return inner.Value(ctx)
}

// textLength is how long one value is as text, -1 when that is too long.
func textLength(v cty.Value) int {
	v, _ = v.Unmark()
	switch {
	case !v.IsKnown() || v.IsNull():
		return 0
	case v.Type() == cty.String:
		return len(v.AsString())
	case v.Type() == cty.Number:
		return digits(v.AsBigFloat()) + 2
	}
	return 5
}

// many is the cost of so many new elements in one list.
func many(n int) int {
	if n < 0 || n > maxElements {
		return -1
	}
	return n * elementCost
}

// leaves counts what is left of lists in lists.
func leaves(v cty.Value) int {
	t := v.Type()
	if !t.IsTupleType() && !t.IsListType() && !t.IsSetType() || !v.IsKnown() || v.IsNull() {
		return 1
	}
	total := 0
	for it := v.ElementIterator(); it.Next() && total >= 0; {
		_, element := it.Element()
		total = sum(total, leaves(element))
	}
	return total
}

// sum adds costs; a negative one stays so.
func sum(costs ...int) int {
	total := 0
	for _, c := range costs {
		if c < 0 || total > maxValue {
			return -1
		}
		total += c
	}
	return total
}

// times multiplies costs without overflow.
func times(costs ...int) int {
	total := 1
	for _, c := range costs {
		if c < 0 || c > 0 && total > maxValue/c {
			return -1
		}
		total *= c
	}
	return total
}

// bounded is a function whose result is counted before it is made. size says
// what the call would make of arguments that are known; nil means no more than
// they are.
func (d *decoder) bounded(fn function.Function, size func(args []cty.Value) int) function.Function {
	check := func(args []cty.Value) error {
		total := 0
		for _, arg := range args {
			if !arg.IsKnown() {
				return nil
			}
			// Converting the argument has compared the types of its elements.
			total = sum(total, cost(arg), elements(arg)*elements(arg)/16)
		}
		if total >= 0 && size != nil {
			total = sum(total, size(args))
		}
		return d.work.charge(total)
	}
	return function.New(&function.Spec{
		Params:   fn.Params(),
		VarParam: fn.VarParam(),
		// Already the type of a product is as large as the product.
		Type: func(args []cty.Value) (cty.Type, error) {
			if err := check(args); err != nil {
				return cty.NilType, err
			}
			if d.work.over() {
				return cty.DynamicPseudoType, nil
			}
			return fn.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if d.work.over() {
				return cty.DynamicVal, nil
			}
			return fn.Call(args)
		},
	})
}

func textOf(v cty.Value) string {
	if v.IsKnown() && !v.IsNull() && v.Type() == cty.String {
		return v.AsString()
	}
	return ""
}

// growth is what the functions make that can make more than they are given.
func growth() map[string]func(args []cty.Value) int {
	number := regexp.MustCompile(`[0-9]+`)
	format := func(args []cty.Value) int {
		layout := textOf(args[0])
		if strings.Contains(layout, "*") {
			return -1 // a width that is an argument
		}
		total := 0
		for _, width := range number.FindAllString(layout, -1) {
			n, err := strconv.Atoi(width)
			if err != nil {
				return -1
			}
			total = sum(total, n)
		}
		largest := 0
		for _, arg := range args[1:] {
			largest = max(largest, cost(arg))
		}
		return sum(total, times(strings.Count(layout, "%"), largest)) // %[1]s may repeat
	}
	structure := func(args []cty.Value) int {
		n := 0
		for _, r := range textOf(args[0]) {
			if strings.ContainsRune(",:[{\n", r) {
				n++
			}
		}
		return times(n, elementCost)
	}
	return map[string]func(args []cty.Value) int{
		"format": format,
		"formatlist": func(args []cty.Value) int {
			longest := 1
			for _, arg := range args[1:] {
				longest = max(longest, elements(arg))
			}
			return times(format(args), longest)
		},
		"join": func(args []cty.Value) int {
			total := 0
			for _, arg := range args[1:] {
				total = sum(total, elements(arg))
			}
			return times(len(textOf(args[0])), total)
		},
		"replace": func(args []cty.Value) int {
			return times(strings.Count(textOf(args[0]), textOf(args[1])), len(textOf(args[2])))
		},
		"split": func(args []cty.Value) int {
			return many(strings.Count(textOf(args[1]), textOf(args[0])) + 1)
		},
		// At most one match for each character, which regular expressions find in
		// linear time.
		"regexall": func(args []cty.Value) int { return times(len(textOf(args[1])), elementCost) },
		"setproduct": func(args []cty.Value) int {
			product := 1
			for _, arg := range args {
				product = times(product, elements(arg))
			}
			return times(many(product), len(args)+1)
		},
		// It compares all with all.
		"distinct":   func(args []cty.Value) int { return times(elements(args[0]), elements(args[0])) },
		"jsonencode": func(args []cty.Value) int { return times(6, cost(args[0])) },
		"jsondecode": structure,
		"yamldecode": structure,
		"concat": func(args []cty.Value) int {
			total := 0
			for _, arg := range args {
				total = sum(total, elements(arg))
			}
			return many(total)
		},
		"flatten": func(args []cty.Value) int { return many(leaves(args[0])) },
		"merge": func(args []cty.Value) int {
			total := 0
			for _, arg := range args {
				total = sum(total, elements(arg))
			}
			return many(total)
		},
		"zipmap":   nil,
		"tolist":   nil,
		"toset":    nil,
		"tomap":    nil,
		"tostring": func(args []cty.Value) int { return textLength(args[0]) },
		"reverse":  nil,
		"slice":    nil,
		"sort":     nil,
		"keys":     nil,
		"values":   nil,
		"upper":    nil,
		"lower":    nil,
	}
}

// jsonTooDeep finds JSON that nests deeper than its readers should recurse.
func jsonTooDeep(src []byte) bool {
	depth, inString, escaped := 0, false, false
	for _, b := range src {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = b == '\\', b != '"'
		case b == '"':
			inString = true
		case b == '[' || b == '{':
			if depth++; depth > maxDepth {
				return true
			}
		case b == ']' || b == '}':
			depth--
		}
	}
	return false
}

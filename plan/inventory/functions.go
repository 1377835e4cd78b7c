package inventory

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"sigs.k8s.io/yaml"
)

// callable is a function an expression may call, as the reference lists it.
type callable struct {
	name string
	use  string // how it is called
	doc  string
	fn   function.Function
}

// callables lists all functions by group. All are pure but file, which reads
// on this machine at load time.
func (d *decoder) callables() []callable {
	return []callable{
		{"cidrhost", `cidrhost("10.0.0.0/24", 5)`, "the address of that number in a network; negative numbers count from the end", cidrHost()},
		{"cidrnetmask", `cidrnetmask("10.0.0.0/24")`, "the netmask of an IPv4 network", cidrNetmask()},
		{"cidrsubnet", `cidrsubnet("10.0.0.0/16", 8, 3)`, "the subnet of that number, with so many bits more", cidrSubnet()},

		{"format", `format("rack-%02d", 7)`, "text with values put in, as in printf", stdlib.FormatFunc},
		{"formatlist", `formatlist("%s.example.com", ["a", "b"])`, "format, for each element", stdlib.FormatListFunc},
		{"join", `join(",", ["a", "b"])`, "elements joined to one text", stdlib.JoinFunc},
		{"split", `split(",", "a,b")`, "text cut into elements", stdlib.SplitFunc},
		{"replace", `replace("a_b", "_", "-")`, "text with every occurrence replaced", stdlib.ReplaceFunc},
		{"regex", `regex("^[a-z]+", "abc1")`, "what a regular expression matches", stdlib.RegexFunc},
		{"regexall", `regexall("[a-z]+", "ab1cd")`, "all that a regular expression matches", stdlib.RegexAllFunc},
		{"lower", `lower("Emei")`, "in lower case", stdlib.LowerFunc},
		{"upper", `upper("emei")`, "in upper case", stdlib.UpperFunc},
		{"trimspace", `trimspace(" a ")`, "without space at both ends", stdlib.TrimSpaceFunc},
		{"trimprefix", `trimprefix("v1.2", "v")`, "without a prefix", stdlib.TrimPrefixFunc},
		{"trimsuffix", `trimsuffix("a.hcl", ".hcl")`, "without a suffix", stdlib.TrimSuffixFunc},
		{"substr", `substr("wudang", 0, 2)`, "a part of a text", stdlib.SubstrFunc},

		{"concat", `concat(["a"], ["b"])`, "lists put together", stdlib.ConcatFunc},
		{"contains", `contains(["a"], "a")`, "whether a list has an element", stdlib.ContainsFunc},
		{"distinct", `distinct(["a", "a"])`, "without repetitions", stdlib.DistinctFunc},
		{"element", `element(["a", "b"], 3)`, "an element, counting round and round", stdlib.ElementFunc},
		{"flatten", `flatten([["a"], ["b"]])`, "lists in lists made one list", stdlib.FlattenFunc},
		{"keys", `keys({ a = 1 })`, "the keys of a map, sorted", stdlib.KeysFunc},
		{"length", `length(["a"])`, "how many elements or characters", lengthFunction()},
		{"lookup", `lookup({ a = 1 }, "b", 0)`, "an element of a map, or a default", stdlib.LookupFunc},
		{"merge", `merge({ a = 1 }, { b = 2 })`, "maps put together, later ones winning", stdlib.MergeFunc},
		{"range", `range(3)`, "the numbers 0, 1, 2", stdlib.RangeFunc},
		{"reverse", `reverse(["a", "b"])`, "in reverse order", stdlib.ReverseListFunc},
		{"setproduct", `setproduct(["a"], ["1", "2"])`, "all combinations", stdlib.SetProductFunc},
		{"slice", `slice(["a", "b", "c"], 0, 2)`, "a part of a list", stdlib.SliceFunc},
		{"sort", `sort(["b", "a"])`, "texts in order", stdlib.SortFunc},
		{"values", `values({ a = 1 })`, "the values of a map, in the order of its keys", stdlib.ValuesFunc},
		{"zipmap", `zipmap(["a"], [1])`, "a map from keys and values", stdlib.ZipmapFunc},

		{"tobool", `tobool("true")`, "as true or false", stdlib.MakeToFunc(cty.Bool)},
		{"tolist", `tolist(["a"])`, "as a list", stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType))},
		{"tomap", `tomap({ a = 1 })`, "as a map", stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType))},
		{"tonumber", `tonumber("3")`, "as a number", stdlib.MakeToFunc(cty.Number)},
		{"toset", `toset(["a", "a"])`, "as a set", stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType))},
		{"tostring", `tostring(3)`, "as text", stdlib.MakeToFunc(cty.String)},

		{"abs", `abs(-1)`, "without the sign", stdlib.AbsoluteFunc},
		{"ceil", `ceil(1.2)`, "rounded up", stdlib.CeilFunc},
		{"floor", `floor(1.8)`, "rounded down", stdlib.FloorFunc},
		{"max", `max(1, 2)`, "the largest", stdlib.MaxFunc},
		{"min", `min(1, 2)`, "the smallest", stdlib.MinFunc},

		{"jsondecode", `jsondecode("[1]")`, "a value from JSON", decodes(decodeJSON)},
		{"jsonencode", `jsonencode([1])`, "a value as JSON", stdlib.JSONEncodeFunc},
		{"yamldecode", `yamldecode("a: 1")`, "a value from YAML", decodes(decodeYAML)},
		{"file", `file("users.txt")`, "the text of a file, relative to the inventory", d.fileFunction()},
		{"pathexpand", `pathexpand("~/x")`, "a path with ~ replaced by the home directory", d.pathExpand()},

		{"can", `can(regex("^a", var.x))`, "whether an expression has a value", tryfunc.CanFunc},
		{"coalesce", `coalesce(var.x, "a")`, "the first value that is not null", stdlib.CoalesceFunc},
		{"try", `try(local.x.y, "a")`, "the first expression that has a value", tryfunc.TryFunc},
	}
}

// functions makes the table that expressions are evaluated with.
func (d *decoder) functions() map[string]function.Function {
	functions := make(map[string]function.Function)
	sizes := growth()
	for _, c := range d.callables() {
		functions[c.name] = c.fn
		if size, grows := sizes[c.name]; grows {
			functions[c.name] = d.bounded(c.fn, size)
		}
		d.functionNames = append(d.functionNames, c.name)
	}
	return functions
}

func pure(result cty.Type, impl func(args []cty.Value) (cty.Value, error), params ...function.Parameter) function.Function {
	return function.New(&function.Spec{
		Params: params,
		Type:   function.StaticReturnType(result),
		Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return impl(args) },
	})
}

func param(name string, t cty.Type) function.Parameter {
	return function.Parameter{Name: name, Type: t}
}

func networkArg(v cty.Value) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v.AsString())
	if err != nil {
		return p, function.NewArgErrorf(0, "%s is not a network like \"10.0.0.0/24\"", quote(v.AsString()))
	}
	return p.Masked(), nil
}

func integerArg(i int, v cty.Value) (*big.Int, error) {
	f := v.AsBigFloat()
	if !f.IsInt() || f.MantExp(nil) > 200 {
		return nil, function.NewArgErrorf(i, "a whole number is needed")
	}
	n, _ := f.Int(nil)
	return n, nil
}

// offset returns p's address plus n << shift; the caller has checked that it
// stays inside.
func offset(p netip.Prefix, n *big.Int, shift int) netip.Addr {
	base := new(big.Int).SetBytes(p.Addr().AsSlice())
	base.Add(base, new(big.Int).Lsh(n, uint(shift)))
	addr, _ := netip.AddrFromSlice(base.FillBytes(make([]byte, p.Addr().BitLen()/8)))
	return addr
}

func cidrHost() function.Function {
	return pure(cty.String, func(args []cty.Value) (cty.Value, error) {
		p, err := networkArg(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		n, err := integerArg(1, args[1])
		if err != nil {
			return cty.NilVal, err
		}
		size := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
		index := new(big.Int).Set(n)
		if n.Sign() < 0 {
			index.Add(size, n)
		}
		if index.Sign() < 0 || index.Cmp(size) >= 0 {
			return cty.NilVal, function.NewArgErrorf(1, "%s has no address number %s", p, n)
		}
		return cty.StringVal(offset(p, index, 0).String()), nil
	}, param("network", cty.String), param("number", cty.Number))
}

func cidrNetmask() function.Function {
	return pure(cty.String, func(args []cty.Value) (cty.Value, error) {
		p, err := networkArg(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		if !p.Addr().Is4() {
			return cty.NilVal, function.NewArgErrorf(0, "IPv6 has no netmasks")
		}
		mask := ^uint32(0) << (32 - p.Bits())
		return cty.StringVal(netip.AddrFrom4([4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}).String()), nil
	}, param("network", cty.String))
}

func cidrSubnet() function.Function {
	return pure(cty.String, func(args []cty.Value) (cty.Value, error) {
		p, err := networkArg(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		bits, err := integerArg(1, args[1])
		if err != nil {
			return cty.NilVal, err
		}
		n, err := integerArg(2, args[2])
		if err != nil {
			return cty.NilVal, err
		}
		width := p.Addr().BitLen()
		if bits.Sign() < 0 || bits.Cmp(big.NewInt(int64(width-p.Bits()))) > 0 {
			return cty.NilVal, function.NewArgErrorf(1, "%s can't have %s bits more", p, bits)
		}
		more := int(bits.Int64())
		if n.Sign() < 0 || n.BitLen() > more {
			return cty.NilVal, function.NewArgErrorf(2, "%s has no subnet number %s with %d bits more", p, n, more)
		}
		length := p.Bits() + more
		return cty.StringVal(netip.PrefixFrom(offset(p, n, width-length), length).String()), nil
	}, param("network", cty.String), param("bits", cty.Number), param("number", cty.Number))
}

// lengthFunction also takes text, which the standard library's does not.
func lengthFunction() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true, AllowUnknown: true}},
		Type:   function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			v := args[0]
			switch t := v.Type(); {
			case !v.IsKnown():
				return cty.UnknownVal(cty.Number), nil
			case t == cty.String:
				return stdlib.Strlen(v)
			case t.IsObjectType():
				return cty.NumberIntVal(int64(len(t.AttributeTypes()))), nil
			case t.IsTupleType() || t.IsCollectionType():
				return v.Length(), nil
			default:
				return cty.NilVal, function.NewArgErrorf(0, "a list, a map or text is needed")
			}
		},
	})
}

func decodeJSON(text string) (cty.Value, error) {
	if jsonTooDeep([]byte(text)) {
		return cty.NilVal, function.NewArgErrorf(0, "brackets are nested more than %d deep", maxDepth)
	}
	t, err := ctyjson.ImpliedType([]byte(text))
	if err != nil {
		return cty.NilVal, function.NewArgErrorf(0, "not JSON: %s", firstLine(err.Error()))
	}
	v, err := ctyjson.Unmarshal([]byte(text), t)
	if err == nil && cost(v) < 0 {
		err = function.NewArgErrorf(0, "more than %d elements in one list, or more than %d MiB in all", maxElements, maxValue>>20)
	}
	return v, err
}

// maxYAML bounds what is decoded as YAML: its reader takes many times the size
// of a text.
const maxYAML = 1 << 20

func decodeYAML(text string) (cty.Value, error) {
	if len(text) > maxYAML {
		return cty.NilVal, function.NewArgErrorf(0, "more than %d bytes of YAML", maxYAML)
	}
	converted, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return cty.NilVal, function.NewArgErrorf(0, "not YAML: %s", firstLine(err.Error()))
	}
	if len(converted) > maxSource {
		return cty.NilVal, function.NewArgErrorf(0, "more than %d bytes with all aliases written out", maxSource)
	}
	return decodeJSON(string(converted))
}

// decodes is a function that makes a value of text.
func decodes(decode func(string) (cty.Value, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{param("text", cty.String)},
		Type: func(args []cty.Value) (cty.Type, error) {
			if !args[0].IsKnown() {
				return cty.DynamicPseudoType, nil
			}
			v, err := decode(args[0].AsString())
			if err != nil {
				return cty.NilType, err
			}
			return v.Type(), nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return decode(args[0].AsString()) },
	})
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (d *decoder) fileFunction() function.Function {
	return pure(cty.String, func(args []cty.Value) (cty.Value, error) {
		name, f := d.env.resolvePath(args[0].AsString())
		if f != nil {
			return cty.NilVal, function.NewArgErrorf(0, "%s", f.detail)
		}
		tooMany := function.NewArgErrorf(0, "%s and the files read before have more than %d bytes together", filepath.Base(name), 4*maxSource)
		if d.fileBytes > 4*maxSource {
			return cty.NilVal, tooMany
		}
		content, err := d.read(name)
		if err != nil {
			return cty.NilVal, function.NewArgErrorf(0, "%s", readFailure(name, err))
		}
		if len(content) > maxSource {
			return cty.NilVal, function.NewArgErrorf(0, "%s has more than %d bytes", filepath.Base(name), maxSource)
		}
		if d.fileBytes += len(content); d.fileBytes > 4*maxSource {
			return cty.NilVal, tooMany
		}
		if !utf8.Valid(content) {
			return cty.NilVal, function.NewArgErrorf(0, "%s is not text in UTF-8", filepath.Base(name))
		}
		return cty.StringVal(string(content)), nil
	}, param("path", cty.String))
}

func (d *decoder) pathExpand() function.Function {
	return pure(cty.String, func(args []cty.Value) (cty.Value, error) {
		s := args[0].AsString()
		if s != "~" && !strings.HasPrefix(s, "~/") {
			return args[0], nil
		}
		if d.env.home == "" {
			return cty.NilVal, errors.New("the home directory is not known")
		}
		return cty.StringVal(filepath.Join(d.env.home, s[1:])), nil
	}, param("path", cty.String))
}

// readFailure says why a file can't be read, without the operation's name.
func readFailure(name string, err error) string {
	cause := err
	for errors.Unwrap(cause) != nil {
		cause = errors.Unwrap(cause)
	}
	return fmt.Sprintf("%s: %s", name, cause)
}

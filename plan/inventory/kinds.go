package inventory

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/kinstall/kinstall/plan/spelling"
)

// kind is a type of attribute as its users see it: what to write, how that
// becomes a Go value, and how it is written back.
type kind struct {
	name string // "list of names", as the reference says it
	want cty.Type
	// set stores a known, non-null value of type want.
	set func(e env, v cty.Value, dst any) []*fault
	// get writes the Go value back; cty.NilVal means unset.
	get func(src any) cty.Value
}

// env is what operator-side paths are resolved against.
type env struct {
	dir  string // of the inventory, absolute
	home string // "" when unknown
}

func one(f *fault) []*fault {
	if f == nil {
		return nil
	}
	return []*fault{f}
}

// written is a value that users write as a string. read takes it from there,
// write puts it back; "" means unset.
func written[T any](name string, read func(e env, s string) (T, *fault), write func(T) string) kind {
	return kind{
		name: name,
		want: cty.String,
		set: func(e env, v cty.Value, dst any) []*fault {
			value, f := read(e, v.AsString())
			if f == nil {
				*dst.(*T) = value
			}
			return one(f)
		},
		get: func(src any) cty.Value {
			if s := write(*src.(*T)); s != "" {
				return cty.StringVal(s)
			}
			return cty.NilVal
		},
	}
}

func asIs(s string) string { return s }

// text is a string that g accepts.
func text(name string, g grammar) kind {
	return written(name, func(_ env, s string) (string, *fault) { return s, g(s) }, asIs)
}

func oneOf(words ...string) grammar {
	return func(s string) *fault {
		if slices.Contains(words, s) {
			return nil
		}
		f := faultf(unknownChoice, "%s is none of %s.", quote(s), enumerate(words))
		if near := spelling.Nearest(s, words); near != "" {
			f.advise("Did you mean %q?", near)
		}
		return f
	}
}

func choice(words ...string) kind {
	return text("one of "+enumerate(words), oneOf(words...))
}

func enumerate(words []string) string {
	quoted := make([]string, 0, len(words))
	for _, w := range words {
		quoted = append(quoted, strconv.Quote(w))
	}
	return strings.Join(quoted, ", ")
}

// number is a whole number from lo to hi.
func number(lo, hi int64) kind {
	return kind{
		name: "number",
		want: cty.Number,
		set: func(_ env, v cty.Value, dst any) []*fault {
			n, f := wholeNumber(v, lo, hi)
			if f == nil {
				*dst.(*int) = int(n)
			}
			return one(f)
		},
		get: func(src any) cty.Value {
			if n := *src.(*int); n != 0 {
				return cty.NumberIntVal(int64(n))
			}
			return cty.NilVal
		},
	}
}

func wholeNumber(v cty.Value, lo, hi int64) (int64, *fault) {
	f := v.AsBigFloat()
	if !f.IsInt() {
		return 0, faultf(outOfRange, "%s is not a whole number.", f.Text('g', 10))
	}
	n, accuracy := f.Int64()
	if accuracy != big.Exact || n < lo || n > hi {
		return 0, faultf(outOfRange, "%s is not between %d and %d.", f.Text('g', 20), lo, hi)
	}
	return n, nil
}

func port() kind { return number(1, math.MaxUint16) }

func boolean() kind {
	return kind{
		name: "bool",
		want: cty.Bool,
		set: func(_ env, v cty.Value, dst any) []*fault {
			*dst.(*bool) = v.True()
			return nil
		},
		get: func(src any) cty.Value { return cty.BoolVal(*src.(*bool)) },
	}
}

// duration is at most a century, and at least lo, which is more than nothing.
func duration(lo time.Duration) kind {
	const century = 100 * 366 * 24 * time.Hour
	return written("duration", func(_ env, s string) (time.Duration, *fault) {
		d, err := time.ParseDuration(s)
		if err != nil && tooLong(s) {
			return 0, faultf(invalidDuration, "%s is longer than 100 years.", quote(s))
		}
		if err != nil {
			f := faultf(invalidDuration, "%s is not a duration: expected a number with a unit (h, m, s, ms).", quote(s))
			if days, err := strconv.ParseUint(strings.TrimSuffix(s, "d"), 10, 16); err == nil && strings.HasSuffix(s, "d") {
				f.advise("There is no unit for days; %d days are \"%dh\".", days, days*24)
			}
			return 0, f
		}
		switch {
		case d <= 0 || d > century:
			return 0, faultf(invalidDuration, "%s is not between 0 and 100 years.", quote(s))
		case d < lo:
			return 0, faultf(invalidDuration, "%s is too short: expected at least %s.", quote(s), durationText(lo))
		}
		return d, nil
	}, func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return durationText(d)
	})
}

// batch is a number of hosts, or a share of them in percent.
func batch() kind {
	return written("batch", func(_ env, s string) (Batch, *fault) {
		digits, percent := strings.CutSuffix(s, "%")
		n, err := strconv.ParseUint(digits, 10, 16)
		switch {
		case err != nil || n == 0:
			f := faultf(invalidBatch, "%s is not a number of hosts, nor a share of them.", quote(s))
			f.advise("Write \"3\" for three hosts at a time, or \"10%%\" for a tenth of them.")
			return Batch{}, f
		case percent && n > 100:
			return Batch{}, faultf(invalidBatch, "%s is more than all hosts.", quote(s))
		case percent:
			return Batch{Percent: int(n)}, nil
		}
		return Batch{Hosts: int(n)}, nil
	}, func(b Batch) string {
		if b == (Batch{}) {
			return ""
		}
		return b.String()
	})
}

// tooLong tells a duration that time.Duration can't hold from what is none.
func tooLong(s string) bool {
	return regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(h|m|s|ms))+$`).MatchString(s)
}

// durationText is time.Duration's own form without trailing zero units.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func prefix() kind {
	return written("network", func(_ env, s string) (netip.Prefix, *fault) { return network(s) }, prefixText)
}

// interfaceAddress is an address with the length of its network.
func interfaceAddress() kind {
	return written("IP address with prefix length", func(_ env, s string) (netip.Prefix, *fault) { return addressInNetwork(s) }, prefixText)
}

// prefixV6 and addressV6 are those of the second family.
func prefixV6() kind {
	return written("IPv6 network", func(_ env, s string) (netip.Prefix, *fault) {
		p, f := network(s)
		if f == nil && !p.Addr().Is6() {
			f = faultf(invalidCIDR, "%s is an IPv4 network; this is the place of the IPv6 one.", quote(s)).
				advise("Write it like \"fd00:10:244::/56\".")
		}
		return p, f
	}, prefixText)
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func address() kind {
	return written("IP address", func(_ env, s string) (netip.Addr, *fault) { return machineAddress(s) }, addressText)
}

func addressV6() kind {
	return written("IPv6 address", func(_ env, s string) (netip.Addr, *fault) {
		a, f := machineAddress(s)
		if f == nil && !a.Is6() {
			f = faultf(invalidAddress, "%s is an IPv4 address; this is the place of the IPv6 one.", quote(s)).
				advise("Write it like \"fd00:27:52::80\".")
		}
		return a, f
	}, addressText)
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func endpoint() kind {
	return written("HOST:PORT", func(_ env, s string) (Endpoint, *fault) { return parseEndpoint(s) }, func(e Endpoint) string {
		if e.Host == "" {
			return ""
		}
		return e.String()
	})
}

// String writes the endpoint as HOST:PORT, IPv6 addresses in brackets.
func (e Endpoint) String() string {
	return net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
}

// parseEndpoint leaves Address unset unless Host is one.
func parseEndpoint(s string) (Endpoint, *fault) {
	if strings.Contains(s, "://") {
		f := faultf(invalidEndpoint, "%s is a URL; expected HOST:PORT.", quote(s))
		if u, err := url.Parse(s); err == nil && u.Port() != "" {
			f.advise("Write %q.", u.Host)
		}
		return Endpoint{}, f
	}
	host, portText, err := net.SplitHostPort(s)
	if err != nil {
		f := faultf(invalidEndpoint, "%s is not HOST:PORT.", quote(s))
		if addr, err := netip.ParseAddr(s); err == nil {
			return Endpoint{}, f.advise("Add the port, like %q.", netip.AddrPortFrom(addr, 6443).String())
		}
		if isDNSName(s) {
			return Endpoint{}, f.advise("Add the port, like \"%s:6443\".", s)
		}
		return Endpoint{}, f
	}
	p, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || p == 0 || strings.HasPrefix(portText, "+") {
		return Endpoint{}, faultf(invalidEndpoint, "%s is not a port in %s: expected 1 to 65535.", quote(portText), quote(s))
	}
	e := Endpoint{Host: host, Port: int(p)}
	if _, err := netip.ParseAddr(host); err == nil {
		addr, f := machineAddress(host)
		if f != nil {
			return Endpoint{}, f
		}
		// One spelling for one address, so that comparisons hold.
		e.Host, e.Address = addr.String(), addr
		return e, nil
	}
	if !isDNSName(host) {
		return Endpoint{}, faultf(invalidEndpoint, "%s is neither an IP address nor a DNS name in lower case.", quote(host))
	}
	if ownName(host) {
		return Endpoint{}, faultf(invalidEndpoint, "%s means each machine itself, or all of them; it can't lead to one.", quote(host)).
			advise("Use a name of its own, like \"kubernetes.default.svc:8443\", or an address.")
	}
	return e, nil
}

// resolvePath makes an operator-side path absolute: "~" is the home
// directory, everything else is relative to the inventory.
func (e env) resolvePath(s string) (string, *fault) {
	if f := localPath(s); f != nil {
		return "", f
	}
	switch {
	case s == "~" || strings.HasPrefix(s, "~/"):
		if e.home == "" {
			return "", faultf(invalidPath, "%s can't be expanded: the home directory is not known.", quote(s)).
				advise("Write an absolute path, or set HOME.")
		}
		return filepath.Join(e.home, s[1:]), nil
	case strings.HasPrefix(s, "~"):
		return "", faultf(invalidPath, "%s names another user's home, which is not expanded.", quote(s)).
			advise("Write an absolute path.")
	case filepath.IsAbs(s):
		return filepath.Clean(s), nil
	default:
		return filepath.Join(e.dir, s), nil
	}
}

func filePath() kind { return written("path", env.resolvePath, asIs) }

// singlePath stores one path as a list of one.
func singlePath() kind {
	return kind{
		name: "path",
		want: cty.String,
		set: func(e env, v cty.Value, dst any) []*fault {
			p, f := e.resolvePath(v.AsString())
			if f == nil {
				*dst.(*[]string) = []string{p}
			}
			return one(f)
		},
		get: getList,
	}
}

// artifactSource is a directory, a file:// URL or an https:// URL.
func artifactSource() kind {
	return written("path or URL", func(e env, s string) (string, *fault) {
		scheme, _, isURL := strings.Cut(s, "://")
		if !isURL {
			return e.resolvePath(s)
		}
		u, err := url.Parse(s)
		switch {
		case err != nil || anyText(s) != nil:
			// url.Error repeats the URL, which might hold a password.
			f := faultf(invalidSource, "The value is not a URL.")
			f.secret = true
			return "", f
		case u.User != nil:
			f := faultf(invalidSource, "The URL contains a user name or password.")
			f.secret = true
			return "", f.advise("Keep credentials out of the inventory, which is meant for version control.")
		case scheme == "https" && u.Host != "" && u.RawQuery == "" && u.Fragment == "":
		case scheme == "file" && (u.Host == "" || u.Host == "localhost") && filepath.IsAbs(u.Path):
		case scheme == "http":
			return "", faultf(invalidSource, "%s is not encrypted.", quote(s)).advise("Use https://.")
		default:
			return "", faultf(invalidSource, "%s is neither \"https://HOST/PATH\" nor \"file:///PATH\".", quote(s))
		}
		return strings.TrimRight(s, "/"), nil
	}, asIs)
}

// list is a list of strings that g accepts, in the order of the file or sorted.
func list(name string, g grammar, sorted bool) kind {
	return kind{
		name: "list of " + name,
		want: cty.List(cty.String),
		set: func(_ env, v cty.Value, dst any) []*fault {
			return setList(v, dst, sorted, func(s string) (string, *fault) { return s, g(s) })
		},
		get: getList,
	}
}

// arguments is a command line: an argument may stand in it twice, and be empty,
// but for the first.
func arguments() kind {
	return kind{
		name: "list of arguments",
		want: cty.List(cty.String),
		set: func(_ env, v cty.Value, dst any) []*fault {
			var faults []*fault
			var items []string
			for i, element := range v.AsValueSlice() {
				var f *fault
				switch {
				case element.IsNull():
					f = faultf(wrongType, "The element is null.")
				case i == 0 && element.AsString() == "":
					f = faultf(invalidText, "The program has no name.")
				default:
					f = anyText(element.AsString())
				}
				if f != nil {
					f.path = []any{i}
					faults = append(faults, f)
					continue
				}
				items = append(items, element.AsString())
			}
			*dst.(*[]string) = items
			return faults
		},
		get: getList,
	}
}

func pathList() kind {
	return kind{
		name: "list of paths",
		want: cty.List(cty.String),
		set: func(e env, v cty.Value, dst any) []*fault {
			return setList(v, dst, false, e.resolvePath)
		},
		get: getList,
	}
}

func setList(v cty.Value, dst any, sorted bool, convert func(string) (string, *fault)) []*fault {
	var faults []*fault
	var items []string
	for i, element := range v.AsValueSlice() {
		s := ""
		var f *fault
		if element.IsNull() {
			f = faultf(wrongType, "The element is null.")
		} else if s, f = convert(element.AsString()); f == nil && slices.Contains(items, s) {
			f = faultf(repeatedElement, "%s stands in the list already.", quote(s))
		}
		if f != nil {
			f.path = []any{i}
			faults = append(faults, f)
			continue
		}
		items = append(items, s)
	}
	if sorted {
		slices.Sort(items)
	}
	*dst.(*[]string) = items
	return faults
}

func getList(src any) cty.Value {
	items := *src.(*[]string)
	if len(items) == 0 {
		return cty.ListValEmpty(cty.String)
	}
	values := make([]cty.Value, 0, len(items))
	for _, s := range items {
		values = append(values, cty.StringVal(s))
	}
	return cty.ListVal(values)
}

// noUpstream is the one element that stands for "ask nobody".
const noUpstream = "none"

// upstreams is a list of name servers. An empty list asks nobody, which the
// model says as "none", so that it differs from a list that was not written.
func upstreams() kind {
	return kind{
		name: "list of name servers",
		want: cty.List(cty.String),
		set: func(_ env, v cty.Value, dst any) []*fault {
			if v.LengthInt() == 0 {
				*dst.(*[]string) = []string{noUpstream}
				return nil
			}
			alone := v.LengthInt() == 1
			return setList(v, dst, false, func(s string) (string, *fault) {
				if s == noUpstream && alone {
					return s, nil
				}
				return nameServer(s)
			})
		},
		get: getList,
	}
}

// textMap is a map from names to texts. Null values mean "not set".
func textMap(name string, key, value grammar) kind {
	return kind{
		name: name,
		want: cty.Map(cty.String),
		set: func(_ env, v cty.Value, dst any) []*fault {
			m, faults := readMap(v, key, value)
			maps.DeleteFunc(m, func(_ string, s *string) bool { return s == nil })
			var plain map[string]string
			if len(m) > 0 {
				plain = make(map[string]string, len(m))
				for k, s := range m {
					plain[k] = *s
				}
			}
			*dst.(*map[string]string) = plain
			return faults
		},
		get: func(src any) cty.Value {
			m := make(map[string]*string)
			for k, s := range *src.(*map[string]string) {
				m[k] = &s
			}
			return writeMap(m)
		},
	}
}

// silence is how long a connection may be silent: HAProxy counts milliseconds in 31
// bits.
func silence() kind {
	const most = 24 * 24 * time.Hour
	k := duration(time.Minute)
	within := k.set
	k.set = func(e env, v cty.Value, dst any) []*fault {
		faults := within(e, v, dst)
		if d := dst.(*time.Duration); len(faults) == 0 && *d > most {
			return one(faultf(invalidDuration, "%s is too long: expected at most %s.", quote(v.AsString()), durationText(most)))
		}
		return faults
	}
	return k
}

// weights is a map from the names of hosts to their shares.
func weights() kind {
	const most = 256 // HAProxy's
	plain := textMap("map of host names to numbers", hostName, func(s string) *fault {
		v, err := cty.ParseNumberVal(s)
		if err != nil {
			return faultf(outOfRange, "%s is not a number.", quote(s))
		}
		_, f := wholeNumber(v, 1, most)
		return f
	})
	return kind{
		name: plain.name,
		want: plain.want,
		set: func(e env, v cty.Value, dst any) []*fault {
			var texts map[string]string
			faults := plain.set(e, v, &texts)
			var numbers map[string]int
			for name, text := range texts {
				if numbers == nil {
					numbers = make(map[string]int, len(texts))
				}
				n, _ := wholeNumber(cty.MustParseNumberVal(text), 1, most)
				numbers[name] = int(n)
			}
			*dst.(*map[string]int) = numbers
			return faults
		},
		get: func(src any) cty.Value {
			values := make(map[string]cty.Value)
			for name, n := range *src.(*map[string]int) {
				values[name] = cty.NumberIntVal(int64(n))
			}
			if len(values) == 0 {
				return cty.MapValEmpty(cty.Number)
			}
			return cty.MapVal(values)
		},
	}
}

// imageMap is a map from image references to the paths of their archives.
func imageMap() kind {
	plain := textMap("map of images", imageReference, func(string) *fault { return nil })
	return kind{
		name: plain.name,
		want: plain.want,
		set: func(e env, v cty.Value, dst any) []*fault {
			faults := plain.set(e, v, dst)
			images := *dst.(*map[string]string)
			for _, reference := range slices.Sorted(maps.Keys(images)) {
				file, f := e.resolvePath(images[reference])
				if f != nil {
					f.path = []any{reference}
					faults = append(faults, f)
					continue
				}
				images[reference] = file
			}
			return faults
		},
		get: plain.get,
	}
}

// labelMap is a textMap in which null has a meaning: without this label,
// though it is a default.
func labelMap() kind {
	return kind{
		name: "map of labels",
		want: cty.Map(cty.String),
		set: func(_ env, v cty.Value, dst any) []*fault {
			m, faults := readMap(v, labelKey, labelValue)
			*dst.(*map[string]*string) = m
			return faults
		},
		get: func(src any) cty.Value { return writeMap(*src.(*map[string]*string)) },
	}
}

func readMap(v cty.Value, key, value grammar) (map[string]*string, []*fault) {
	m := make(map[string]*string)
	var faults []*fault
	for it := v.ElementIterator(); it.Next(); { // in the order of keys
		k, element := it.Element()
		name := k.AsString()
		f := key(name)
		if f == nil && !element.IsNull() {
			f = value(element.AsString())
		}
		if f != nil {
			f.path = []any{name}
			faults = append(faults, f)
			continue
		}
		if element.IsNull() {
			m[name] = nil
		} else {
			s := element.AsString()
			m[name] = &s
		}
	}
	return m, faults
}

func writeMap(m map[string]*string) cty.Value {
	if len(m) == 0 {
		return cty.MapValEmpty(cty.String)
	}
	values := make(map[string]cty.Value, len(m))
	for k, s := range m {
		if s == nil {
			values[k] = cty.NullVal(cty.String)
		} else {
			values[k] = cty.StringVal(*s)
		}
	}
	return cty.MapVal(values)
}

func taints() kind {
	return kind{
		name: "list of taints",
		want: cty.List(cty.String),
		set: func(_ env, v cty.Value, dst any) []*fault {
			var texts []string
			var parsed []Taint
			faults := setList(v, &texts, false, func(s string) (string, *fault) {
				t, f := parseTaint(s)
				if f != nil {
					return s, f
				}
				for _, other := range parsed {
					if other.Key == t.Key && other.Effect == t.Effect {
						return s, faultf(repeatedElement, "%s has the key and effect of %q; a node holds only one of them.", quote(s), other)
					}
				}
				parsed = append(parsed, t)
				return s, nil
			})
			*dst.(*[]Taint) = parsed
			return faults
		},
		get: func(src any) cty.Value {
			var texts []string
			for _, t := range *src.(*[]Taint) {
				texts = append(texts, t.String())
			}
			return getList(&texts)
		},
	}
}

// settings is a component's own configuration, as JSON-like values. check
// judges it; it gets maps, slices, strings, bools, int64 and float64.
func settings(name string, check func(map[string]any) []*fault) kind {
	return kind{
		name: name,
		want: cty.DynamicPseudoType,
		set: func(_ env, v cty.Value, dst any) []*fault {
			if !v.Type().IsObjectType() && !v.Type().IsMapType() {
				return one(faultf(wrongType, "The value is %s; expected an object, like { key = \"value\" }.", typeName(v.Type())))
			}
			plain, f := plainValue(v)
			if f != nil {
				return one(f)
			}
			m, ok := plain.(map[string]any)
			if !ok || len(m) == 0 {
				return nil
			}
			if faults := check(m); len(faults) > 0 {
				return faults
			}
			*dst.(*map[string]any) = m
			return nil
		},
		get: func(src any) cty.Value {
			m := *src.(*map[string]any)
			if len(m) == 0 {
				return cty.EmptyObjectVal
			}
			return ctyValue(m)
		},
	}
}

// plainValue turns a wholly known value into JSON-like Go values. Null
// attributes are dropped: in HCL, null means "not set".
func plainValue(v cty.Value) (any, *fault) {
	t := v.Type()
	switch {
	case v.IsNull():
		return nil, nil
	case t == cty.String:
		return v.AsString(), settingText(v.AsString())
	case t == cty.Bool:
		return v.True(), nil
	case t == cty.Number:
		f := v.AsBigFloat()
		if n, accuracy := f.Int64(); accuracy == big.Exact {
			return n, nil
		}
		n, _ := f.Float64()
		if math.IsInf(n, 0) {
			return nil, faultf(outOfRange, "%s is too large.", f.Text('g', 10))
		}
		return n, nil
	case t.IsObjectType() || t.IsMapType():
		m := make(map[string]any)
		for it := v.ElementIterator(); it.Next(); {
			k, element := it.Element()
			plain, f := plainValue(element)
			if f == nil {
				f = anyText(k.AsString())
			}
			if f != nil {
				f.path = append([]any{k.AsString()}, f.path...)
				return nil, f
			}
			if plain != nil {
				m[k.AsString()] = plain
			}
		}
		return m, nil
	case t.IsTupleType() || t.IsListType() || t.IsSetType():
		items := []any{}
		for i, element := range v.AsValueSlice() {
			plain, f := plainValue(element)
			if f == nil && plain == nil {
				f = faultf(wrongType, "The element is null.")
			}
			if f != nil {
				f.path = append([]any{i}, f.path...)
				return nil, f
			}
			items = append(items, plain)
		}
		return items, nil
	}
	return nil, faultf(wrongType, "A value of type %s can't be written into a configuration file.", typeName(t))
}

// ctyValue is plainValue's inverse.
func ctyValue(plain any) cty.Value {
	switch p := plain.(type) {
	case string:
		return cty.StringVal(p)
	case bool:
		return cty.BoolVal(p)
	case int64:
		return cty.NumberIntVal(p)
	case float64:
		return cty.NumberFloatVal(p)
	case json.Number:
		return cty.MustParseNumberVal(p.String())
	case []any:
		values := make([]cty.Value, 0, len(p))
		for _, item := range p {
			values = append(values, ctyValue(item))
		}
		return cty.TupleVal(values)
	case map[string]any:
		values := make(map[string]cty.Value, len(p))
		for k, item := range p {
			values[k] = ctyValue(item)
		}
		return cty.ObjectVal(values)
	case nil:
		return cty.NullVal(cty.DynamicPseudoType)
	}
	panic(fmt.Sprintf("inventory: %T in settings", plain))
}

// typeName names a type for people.
func typeName(t cty.Type) string {
	switch {
	case t == cty.String:
		return "text"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		return "a list"
	case t.IsMapType() || t.IsObjectType():
		return "an object"
	case t == cty.DynamicPseudoType:
		return "any value"
	}
	return t.FriendlyName()
}

package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	kubeproxyconfig "k8s.io/kube-proxy/config/v1alpha1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	"github.com/kinstall/kinstall/plan/spelling"
)

// checkKubelet judges kubelet settings against KubeletConfiguration
// (kubelet.config.k8s.io/v1beta1) and against what kinstall sets itself.
func checkKubelet(m map[string]any) []*fault {
	var faults []*fault
	if driver, ok := m["cgroupDriver"].(string); ok {
		if f := oneOf(CgroupSystemd, CgroupFS)(driver); f != nil {
			f.path = []any{"cgroupDriver"}
			faults = append(faults, f)
		}
	}
	return append(faults, checkSettings(m, reflect.TypeFor[kubeletconfig.KubeletConfiguration](), ownedKubelet())...)
}

// checkKubeProxy does so against KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1).
func checkKubeProxy(m map[string]any) []*fault {
	return checkSettings(m, reflect.TypeFor[kubeproxyconfig.KubeProxyConfiguration](), ownedKubeProxySettings())
}

// anySettings is for settings that are judged when it is known whose they are.
func anySettings(map[string]any) []*fault { return nil }

// checkRuntime has no types to ask; only what kinstall sets itself is refused.
func checkRuntime(kind string, m map[string]any) []*fault {
	table, directory := ownedContainerdSettings(), "root"
	if kind == RuntimeDocker {
		table, directory = ownedDockerSettings(), "data-root"
	}
	faults := ownedFaults(m, table)
	if found, ok := m[directory]; ok {
		f := faultf(invalidSetting, "%s is not the path of a directory.", quote(fmt.Sprint(found)))
		if s, ok := found.(string); ok {
			f = dataDirectory(kind)(s)
		}
		if f != nil {
			f.path = []any{directory}
			faults = append(faults, f)
		}
	}
	return faults
}

func checkSettings(m map[string]any, t reflect.Type, owned []owned) []*fault {
	faults := slices.DeleteFunc(ownedFaults(m, owned), func(f *fault) bool { return f.mistake == invalidSetting }) // which the type says, too
	return append(faults, checkType(m, t, nil)...)
}

// ownedFaults finds the settings of the table in m. On the way to one of them
// only objects may stand: anything else would take it away with all the rest.
func ownedFaults(m map[string]any, table []owned) []*fault {
	var faults []*fault
	replaced := make(map[string]bool)
	for _, o := range table {
		if len(o.setting) == 0 {
			continue
		}
		var at any = m
		path := make([]any, 0, len(o.setting))
		for i, step := range o.setting {
			inner, ok := at.(map[string]any)
			if !ok {
				if name := settingName(o.setting[:i]); !replaced[name] {
					replaced[name] = true
					f := faultf(invalidSetting, "%s is an object, of which kinstall sets a part.", quote(name)).advise("Write { … } with the keys you mean.")
					f.path = path
					faults = append(faults, f)
				}
				at = nil
				break
			}
			at = inner[step]
			path = append(path, step)
			if at == nil {
				break
			}
		}
		if at == nil {
			continue
		}
		f := faultf(ownedSetting, "%q is set by kinstall: %s.", settingName(o.setting), o.why)
		f.hint, f.path = o.instead, path
		faults = append(faults, f)
	}
	return faults
}

// settingName joins a path with dots, keys that have dots in quotes.
func settingName(path []string) string {
	var words []string
	for _, step := range path {
		if strings.Contains(step, ".") {
			step = "'" + step + "'"
		}
		words = append(words, step)
	}
	return strings.Join(words, ".")
}

// checkType walks value and Go type side by side: fields by their JSON names,
// leaves by trying to decode them, so that types with a decoder of their own
// (durations, quantities) are judged by it.
func checkType(value any, t reflect.Type, path []any) []*fault {
	if t.Kind() == reflect.Pointer {
		return checkType(value, t.Elem(), path)
	}
	decodesItself := reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
	if !decodesItself {
		switch t.Kind() {
		case reflect.Interface:
			return nil
		case reflect.Struct, reflect.Map:
			m, ok := value.(map[string]any)
			if !ok {
				return wrongSetting(value, t, path)
			}
			var fields map[string]reflect.Type
			if t.Kind() == reflect.Struct {
				fields = jsonFields(t)
			}
			var faults []*fault
			for _, name := range slices.Sorted(maps.Keys(m)) {
				inner := append(slices.Clone(path), name)
				if fields == nil {
					faults = append(faults, checkType(m[name], t.Elem(), inner)...)
					continue
				}
				field, ok := fields[name]
				if !ok {
					f := faultf(unknownSetting, "%s has no field %s.", t.Name(), quote(name))
					if near := spelling.Nearest(name, slices.Sorted(maps.Keys(fields))); near != "" {
						f.advise("Did you mean %q?", near)
					}
					f.path = inner
					faults = append(faults, f)
					continue
				}
				faults = append(faults, checkType(m[name], field, inner)...)
			}
			return faults
		case reflect.Slice:
			items, ok := value.([]any)
			if !ok || t.Elem().Kind() == reflect.Uint8 {
				break
			}
			var faults []*fault
			for i, item := range items {
				faults = append(faults, checkType(item, t.Elem(), append(slices.Clone(path), i))...)
			}
			return faults
		}
	}
	encoded, err := json.Marshal(value)
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(encoded))
		err = decoder.Decode(reflect.New(t).Interface())
	}
	if err != nil {
		return wrongSetting(value, t, path)
	}
	return nil
}

func wrongSetting(value any, t reflect.Type, path []any) []*fault {
	found, err := json.Marshal(value)
	if err != nil {
		found = []byte("this value")
	}
	f := faultf(invalidSetting, "%s is not %s.", clip(string(found)), settingType(t))
	f.path = path
	return []*fault{f}
}

func clip(s string) string {
	const limit = 80
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
}

func settingType(t reflect.Type) string {
	switch {
	case t.String() == "v1.Duration":
		return `a duration, like "10s"`
	case t.String() == "resource.Quantity":
		return `a quantity, like "100Mi"`
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number that fits " + t.Kind().String()
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "text in quotes"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a " + t.String()
}

// jsonFields returns a struct's fields by JSON name, inlined ones included.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type)
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			maps.Copy(fields, jsonFields(inner))
		case name == "-" || !f.IsExported():
		case name == "":
			fields[f.Name] = f.Type
		default:
			fields[name] = f.Type
		}
	}
	return fields
}

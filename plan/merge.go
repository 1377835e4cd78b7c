package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/pelletier/go-toml/v2"
	"sigs.k8s.io/yaml"
)

// writtenBy heads generated files whose format is a plain list of settings.
const writtenBy = "# Written by kinstall.\n"

// mergedYAML is a rendered YAML document with a user's settings merged over
// it, keys sorted.
func mergedYAML(document []byte, user map[string]any) []byte {
	var base map[string]any
	if err := yaml.UnmarshalStrict(document, &base); err != nil {
		panic(fmt.Sprintf("plan: template is not YAML: %v", err))
	}
	merged, err := yaml.Marshal(merge(base, user))
	if err != nil {
		panic(fmt.Sprintf("plan: settings are not YAML: %v", err)) // decoded from HCL, so they are
	}
	return append([]byte(writtenBy), merged...)
}

// mergedTOML is the same for TOML.
func mergedTOML(document []byte, user map[string]any) []byte {
	var base map[string]any
	if err := toml.Unmarshal(document, &base); err != nil {
		panic(fmt.Sprintf("plan: template is not TOML: %v", err))
	}
	merged, err := toml.Marshal(merge(base, user))
	if err != nil {
		panic(fmt.Sprintf("plan: settings are not TOML: %v", err))
	}
	return append([]byte(writtenBy), merged...)
}

// merge lays user's settings over generated ones: objects are merged key by
// key, everything else is replaced. A null takes a setting away. Neither
// argument is changed.
func merge(base, user map[string]any) map[string]any {
	merged := maps.Clone(base)
	for _, key := range slices.Sorted(maps.Keys(user)) {
		value := plain(user[key])
		if value == nil {
			delete(merged, key)
			continue
		}
		inner, ok := value.(map[string]any)
		if !ok {
			merged[key] = value
			continue
		}
		under, ok := base[key].(map[string]any)
		if !ok {
			under = map[string]any{}
		}
		merged[key] = merge(under, inner)
	}
	return merged
}

// plain turns whole numbers into integers, however the inventory holds them:
// TOML knows the difference, and programs that read it insist on it.
func plain(value any) any {
	switch v := value.(type) {
	case json.Number:
		if whole, err := v.Int64(); err == nil {
			return whole
		}
		if number, err := v.Float64(); err == nil {
			return plain(number)
		}
		return v.String()
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
		return v
	case int:
		return int64(v)
	case []any:
		list := make([]any, 0, len(v))
		for _, item := range v {
			list = append(list, plain(item))
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key, item := range v {
			object[key] = plain(item)
		}
		return object
	}
	return value
}

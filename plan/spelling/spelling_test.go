package spelling

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		words string
		want  map[string]string
	}{
		{"version endpoint pod_cidr service_cidr", map[string]string{
			"vresion": "version", "Version": "version", "podcidr": "pod_cidr", "zebra": "", "": "", "endpoints": "endpoint",
		}},
		{"plan apply validate detailed-exitcode y", map[string]string{
			"aply": "apply", "paln": "plan", "valid": "validate", "detail-exitcode": "detailed-exitcode", "destroy": "", "x": "", "Plan": "plan", "va": "",
		}},
		{"host port user", map[string]string{"hsot": "host", "prot": "port", "part": "port", "stho": ""}},
		{"first förste", map[string]string{"förtse": "förste", strings.Repeat("f", 65): ""}},
	} {
		for word, want := range c.want {
			if got := Nearest(word, strings.Fields(c.words)); got != want {
				t.Errorf("Nearest(%q, %s) = %q, want %q", word, c.words, got, want)
			}
		}
	}
}

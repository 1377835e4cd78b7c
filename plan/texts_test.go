package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// A name put into a finished document is written as it would have been in the
// making, whatever YAML takes it for.
func TestWithHostName(t *testing.T) {
	for _, name := range []string{"worker0001", "123", "1e3", "0x1f", "true", "no", "null", "a.example.com", "1-2", "2026-01-01"} {
		want := mergedYAML([]byte("hostnameOverride: \""+name+"\"\nmode: nftables\n"), map[string]any{"bindAddress": "::"})
		merged := mergedYAML([]byte("hostnameOverride: \""+nameOfHost+"\"\nmode: nftables\n"), map[string]any{"bindAddress": "::"})
		got := withHostName(merged, name)
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		var read struct{ HostnameOverride string }
		if err := yaml.Unmarshal(got, &read); err != nil || read.HostnameOverride != name {
			t.Errorf("%s is read as %q (%v)", name, read.HostnameOverride, err)
		}
	}
}

// Hosts share what is the same for them, and nothing else.
func TestTextsAreShared(t *testing.T) {
	texts := newTexts()
	render := func(modules ...string) []byte {
		return texts.Render("etc/modules-load.d/kinstall.conf", map[string]any{"Modules": modules})
	}
	first, again, other := render("overlay", "br_netfilter"), render("overlay", "br_netfilter"), render("overlay_br_netfilter")
	if &first[0] != &again[0] {
		t.Error("the same text is made twice")
	}
	if string(first) == string(other) {
		t.Errorf("two modules and one that is named for both: %q", first)
	}
	for _, content := range [][]byte{first, other, nil, first[:5]} {
		f := texts.file("/f", content)
		if f.Digest() != texts.file("/g", append([]byte{}, content...)).Digest() {
			t.Errorf("%q has the digest of something else", content)
		}
	}
}

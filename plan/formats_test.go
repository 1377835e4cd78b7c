package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"

	"github.com/kinstall/kinstall/plan/resource"
)

// Everything that is rendered is read back by a reader of its format.
func TestRenderedFilesParse(t *testing.T) {
	for name, inv := range variants(t) {
		p := compile(t, inv)
		for _, s := range p.Steps {
			var err error
			switch r := s.Resource.(type) {
			case resource.File:
				err = parse(r.Path, r.Content)
				if strings.HasSuffix(r.Path, ".sh") {
					shell := exec.Command("sh", "-n")
					shell.Stdin = bytes.NewReader(r.Content)
					if out, failed := shell.CombinedOutput(); failed != nil {
						err = fmt.Errorf("%w: %s", failed, out)
					}
				}
				if strings.HasSuffix(r.Path, ".conf") && bytes.Contains(r.Content, []byte("\nkind: Config\n")) {
					err = strict[clientcmdv1.Config](r.Content)
				}
			case resource.StaticPod:
				err = parsePod(r)
			case resource.Object:
				err = parseObject(r)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", name, s.ID(), err)
			}
		}
	}
}

func TestMerge(t *testing.T) {
	base := func() map[string]any {
		return map[string]any{"a": map[string]any{"x": "1", "y": "2"}, "b": []any{"one"}, "c": true}
	}
	for _, test := range []struct {
		name string
		user map[string]any
		want string
	}{
		{"nothing", nil, `{"a":{"x":"1","y":"2"},"b":["one"],"c":true}`},
		{"key by key", map[string]any{"a": map[string]any{"y": "3", "z": 4.0}}, `{"a":{"x":"1","y":"3","z":4},"b":["one"],"c":true}`},
		{"lists are replaced", map[string]any{"b": []any{json.Number("2"), json.Number("2.5")}}, `{"a":{"x":"1","y":"2"},"b":[2,2.5],"c":true}`},
		{"null takes away", map[string]any{"c": nil, "a": map[string]any{"x": nil}}, `{"a":{"y":"2"},"b":["one"]}`},
		{"object over text", map[string]any{"c": map[string]any{"d": map[string]any{"e": nil, "f": 1}}}, `{"a":{"x":"1","y":"2"},"b":["one"],"c":{"d":{"f":1}}}`},
	} {
		under := base()
		got, err := json.Marshal(merge(under, test.user))
		if err != nil || string(got) != test.want {
			t.Errorf("%s: %s (%v), want %s", test.name, got, err, test.want)
		}
		if before, _ := json.Marshal(base()); !bytes.Equal(before, must(json.Marshal(under))) {
			t.Errorf("%s: merging changed what it was merged over", test.name)
		}
	}
}

// containerd's reader takes 200.0 for no integer.
func TestWholeNumbersStayWhole(t *testing.T) {
	got := string(mergedTOML([]byte("version = 3\n"), map[string]any{"max": 200.0, "part": 0.5, "big": json.Number("32768"), "list": []any{1.0}}))
	want := writtenBy + "big = 32768\nlist = [1]\nmax = 200\npart = 0.5\nversion = 3\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

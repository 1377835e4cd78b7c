package provision

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReachAll(t *testing.T) {
	refused := errors.New("connection refused")
	for _, c := range []struct {
		name    string
		answers []string // in turn, "" for a connection that fails
		missing []string
		asked   int
		failed  int
	}{
		{"in turn", []string{"a", "b", "c"}, nil, 3, 0},
		{"by chance", []string{"a", "a", "c", "a", "c", "b"}, nil, 6, 0},
		{"one is left out", []string{"a", "b"}, []string{"emei"}, 24, 0},
		{"one does not answer there", []string{"a", "b", ""}, []string{"emei"}, 24, 8},
		{"a server of somebody else's", []string{"x"}, []string{"emei", "shaolin", "wudang"}, 24, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var hosts []string
			err := reachAll(t.Context(), "api.example.com:6443", map[string]string{"a": "shaolin", "b": "wudang", "c": "emei"}, []string{"shaolin", "huashan"},
				func(_ context.Context, host string) (string, error) {
					answer := c.answers[len(hosts)%len(c.answers)]
					hosts = append(hosts, host)
					if answer == "" {
						return "", refused
					}
					return answer, nil
				})
			var unreached *UnreachedError
			if errors.As(err, &unreached) != (len(c.missing) > 0) {
				t.Fatal(err)
			}
			if len(hosts) != c.asked || !slices.Contains(hosts, "huashan") && c.asked > 1 {
				t.Errorf("asked from %v", hosts)
			}
			if unreached == nil {
				return
			}
			if diff := cmp.Diff(c.missing, unreached.Masters); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if unreached.Failed != c.failed || errors.Is(err, refused) != (c.failed > 0) || !strings.Contains(err.Error(), strings.Join(c.missing, ", ")) || unreached.Hint() == "" {
				t.Errorf("%v", err)
			}
		})
	}
}

// What ends the asking is told as what it is.
func TestReachAllInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := reachAll(ctx, "api.example.com:6443", map[string]string{"a": "shaolin"}, []string{"shaolin"}, func(context.Context, string) (string, error) {
		cancel()
		return "", ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || errors.As(err, new(*UnreachedError)) {
		t.Error(err)
	}
}

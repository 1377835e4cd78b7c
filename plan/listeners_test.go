package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// A listener of the user's leads to the hosts it asks for, also while an API server
// is left out; and nothing of the API's own part changes with it.
func TestListeners(t *testing.T) {
	inv := load(t, "virtual-address")
	configs := func() (with, without string) {
		for _, s := range compile(t, inv).Steps {
			if f, ok := s.Resource.(resource.File); ok && s.Host == "balancer-1" && strings.HasPrefix(f.Path, "/etc/nginx/stream.d/") {
				with = string(f.Content)
			}
			if s.Rollout == nil {
				continue
			}
			for _, d := range s.Rollout.Drains {
				if s.Host == "master-1" && d.Host == "balancer-1" {
					without = string(d.Without)
				}
			}
		}
		return with, without
	}
	const listener = `

upstream listen-https {
    # worker-1
    server 192.168.10.21:30443 max_fails=1 fail_timeout=5s;
}

server {
    listen 443;
    proxy_pass listen-https;
`
	with, without := configs()
	for _, config := range []string{with, without} {
		if !strings.Contains(config, listener) {
			t.Errorf("no listener:\n%s", config)
		}
		if err := parseNginx([]byte(config)); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(without, " down;") || strings.Contains(with, " down;") {
		t.Errorf("nobody is left out:\n%s", without)
	}
	inv.LoadBalancer.Listeners = nil
	plain, _ := configs()
	if !strings.HasPrefix(with, strings.TrimSuffix(plain, "\n")+"\n\nupstream listen-https {") {
		t.Errorf("with:\n%s\nwithout:\n%s", with, plain)
	}
}

func TestListenersTake(t *testing.T) {
	master := inventory.Host{Name: "m", Roles: []string{"etcd", "master"}, Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}}
	worker := inventory.Host{Name: "w", Roles: []string{"worker"}, Labels: map[string]string{"ingress": "public", "zone": "a"}}
	balancer := inventory.Host{Name: "b"}
	for _, c := range []struct {
		name   string
		roles  []string
		labels map[string]string
		want   []string
	}{
		{"all nodes", nil, nil, []string{"m", "w"}},
		{"a role", []string{"worker"}, nil, []string{"w"}},
		{"one of two roles", []string{"worker", "etcd"}, nil, []string{"m", "w"}},
		{"a label", nil, map[string]string{"ingress": "public"}, []string{"w"}},
		{"a default label", nil, map[string]string{"node-role.kubernetes.io/control-plane": ""}, []string{"m"}},
		{"two labels", nil, map[string]string{"ingress": "public", "zone": "b"}, nil},
		{"role and label", []string{"master"}, map[string]string{"ingress": "public"}, nil},
	} {
		listener := inventory.Listener{Roles: c.roles, Labels: c.labels}
		var got []string
		for _, h := range []inventory.Host{master, worker, balancer} {
			if listener.Takes(h) {
				got = append(got, h.Name)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

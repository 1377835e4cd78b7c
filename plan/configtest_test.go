package plan

import (
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan/resource"
)

// What a program can be asked about before it is written, it is asked about:
// wherever the file stands, in a step or as a balancer's way to leave a server out.
func TestConfigurationsAreTested(t *testing.T) {
	tests := map[string]resource.ConfigTest{
		"/etc/nginx/":                     resource.NginxTest,
		"/etc/keepalived/":                resource.KeepalivedTest,
		"/etc/haproxy/kinstall.cfg":       resource.HAProxyTest,
		"/etc/haproxy/kinstall-local.cfg": resource.LocalHAProxyTest,
	}
	found := map[resource.ConfigTest]bool{}
	look := func(name string, f resource.File) {
		for prefix, test := range tests {
			if !strings.HasPrefix(f.Path, prefix) || strings.HasSuffix(f.Path, ".sh") {
				continue
			}
			if f.Test != test {
				t.Errorf("%s: %s is tested by %q, not by %q", name, f.Path, f.Test, test)
			}
			found[test] = true
		}
		if f.Test != resource.NoConfigTest && len(f.Test.Command()) == 0 {
			t.Errorf("%s: %s: test %q has no command", name, f.Path, f.Test)
		}
	}
	for name, inv := range variants(t) {
		for _, s := range compile(t, inv).Steps {
			if f, ok := s.Resource.(resource.File); ok {
				look(name, f)
			}
			if s.Rollout == nil {
				continue
			}
			for _, drain := range s.Rollout.Drains {
				look(name, drain.File)
			}
		}
	}
	for _, test := range []resource.ConfigTest{resource.NginxTest, resource.HAProxyTest, resource.LocalHAProxyTest} {
		if !found[test] {
			t.Errorf("no variant has a file that %s tests", test)
		}
	}
}

package pki

import (
	"regexp"
	"testing"

	"github.com/kinstall/kinstall/plan/resource"
)

// The password is as long as VRRP allows, plain to keepalived, the same each time
// and another with another key; and nothing of the key stands in it.
func TestVRRPPassword(t *testing.T) {
	form := regexp.MustCompile(`^auth_pass [A-Za-z0-9_-]{8}\n$`)
	seen := map[string]bool{}
	for range 3 {
		s := open(t, filled(t, "service-account"))
		line, err := s.Bytes("service-account", resource.PartVRRPPassword)
		if err != nil || !form.Match(line) {
			t.Fatalf("%q, %v", line, err)
		}
		again, _ := s.Bytes("service-account", resource.PartVRRPPassword)
		if string(again) != string(line) || s.SHA256("service-account", resource.PartVRRPPassword) != resource.SHA256(line) {
			t.Errorf("%q, then %q", line, again)
		}
		seen[string(line)] = true
	}
	if len(seen) < 2 {
		t.Errorf("all keys have the same password: %v", seen)
	}
}

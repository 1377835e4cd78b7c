package provision

import (
	"errors"
	"net/netip"
	"testing"
)

func TestHolder(t *testing.T) {
	vip := netip.MustParseAddr("10.88.0.40")
	down := errors.New("down")
	for _, c := range []struct {
		name    string
		sharers []sharer
		want    string
		err     bool
	}{
		{"one", []sharer{{host: "wudang"}, {host: "emei", has: true}}, "emei", false},
		{"none", []sharer{{host: "wudang"}, {host: "emei"}}, "", true},
		{"two", []sharer{{host: "wudang", has: true}, {host: "emei", has: true}}, "", true},
		{"one, and who knows of the other", []sharer{{host: "wudang", err: down}, {host: "emei", has: true}}, "emei", true},
		{"nobody can be asked", []sharer{{host: "wudang", err: down}}, "", true},
	} {
		got, err := holder(c.sharers, vip)
		if got != c.want || (err != nil) != c.err {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

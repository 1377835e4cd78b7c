package lab

import (
	"strings"
	"testing"
)

func TestKernelName(t *testing.T) {
	for _, tc := range []struct{ lab, machine, want string }{
		{"kinstall", "", "kinstall-f4be93"},
		{"kinstall", "emei", "emei-5b4db6"},
		{"kinstall", "a-rather-long.host.example", "a-rather-7a52e0"},
		{"trial", "emei", "emei-2ababb"},
		{"trial", "a.b", "a-b-ca9fcd"}, // a dot would read like a VLAN
	} {
		got := kernelName(tc.lab, tc.machine)
		if got != tc.want {
			t.Errorf("kernelName(%q, %q) = %q, want %q", tc.lab, tc.machine, got, tc.want)
		}
		if len(got) > maxKernelName {
			t.Errorf("kernelName(%q, %q) = %q: longer than %d bytes", tc.lab, tc.machine, got, maxKernelName)
		}
	}
}

func TestMACAddress(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"", "shaolin", "wudang", "emei", "huashan"} {
		mac := macAddress("kinstall", name)
		if mac[0]&1 != 0 || mac[0]&2 == 0 {
			t.Errorf("MAC of %q is %s: want a unicast, locally administered one", name, mac)
		}
		if other, taken := seen[mac.String()]; taken {
			t.Errorf("%q and %q share the MAC %s", name, other, mac)
		}
		seen[mac.String()] = name
		if again := macAddress("kinstall", name); again.String() != mac.String() {
			t.Errorf("MAC of %q changes: %s, %s", name, mac, again)
		}
	}
}

func TestCheckNames(t *testing.T) {
	for name, valid := range map[string]bool{
		"kinstall": true, "a": true, "e2e-ha-3": true, strings.Repeat("a", 32): true,
		"": false, "-a": false, "a-": false, "A": false, "a.b": false, "a/b": false, "..": false, strings.Repeat("a", 33): false,
	} {
		if err := checkLabName(name); (err == nil) != valid {
			t.Errorf("checkLabName(%q) = %v, want valid: %t", name, err, valid)
		}
	}
	for name, valid := range map[string]bool{
		"shaolin": true, "n1.example.org": true, "0": true,
		"": false, ".hidden": false, "..": false, "a..b": false, "a_b": false, "Emei": false, "a/b": false, "a b": false, strings.Repeat("a", 64): false,
	} {
		if err := checkHostName(name); (err == nil) != valid {
			t.Errorf("checkHostName(%q) = %v, want valid: %t", name, err, valid)
		}
	}
}

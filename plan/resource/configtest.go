package resource

import "slices"

// ConfigTest names a program's own way to say whether it would take its
// configuration as it is on the disk. A file that has one replaces what was there
// only after the program has been asked about its whole configuration with the
// new file in place, see File.Test.
type ConfigTest string

// The tests.
const (
	NoConfigTest   ConfigTest = ""
	NginxTest      ConfigTest = "nginx"
	KeepalivedTest ConfigTest = "keepalived"
	// Of HAProxy as Debian's service, and of the one that each node has for itself.
	HAProxyTest      ConfigTest = "haproxy"
	LocalHAProxyTest ConfigTest = "haproxy-local"

	configTestLimit = 60 // seconds
)

// configTests has one line a test: its command, constant words. It must exit with
// 0 for a configuration that its program would run with, and change nothing.
var configTests = map[ConfigTest][]string{
	NginxTest:      {"nginx", "-t", "-q"},
	KeepalivedTest: {"/usr/local/lib/kinstall/keepalived.sh", "test"},
	// As the service has it, whose user may have other files in /etc/default/haproxy.
	HAProxyTest:      {"haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg", "-f", "/etc/haproxy/kinstall.cfg"},
	LocalHAProxyTest: {"haproxy", "-c", "-q", "-f", "/etc/haproxy/kinstall-local.cfg"},
}

// Command returns the words of the test's command; none for NoConfigTest.
func (t ConfigTest) Command() []string { return slices.Clone(configTests[t]) }

// Limit is how many seconds the command may take.
func (t ConfigTest) Limit() int { return configTestLimit }

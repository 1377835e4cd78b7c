package hardening

import (
	"strings"
)

// FlagsOf reads a program's flags from its command line, and, for etcd, from its
// environment ("ETCD_KEY_FILE=…", nil for the others). A flag without a value is
// "true".
func FlagsOf(commandLine, environment []string) map[string]string {
	flags := map[string]string{}
	for _, variable := range environment {
		name, value, ok := strings.Cut(variable, "=")
		if name, etcd := strings.CutPrefix(name, "ETCD_"); ok && etcd {
			flags[strings.ToLower(strings.ReplaceAll(name, "_", "-"))] = value
		}
	}
	for i := 1; i < len(commandLine); i++ {
		word, isFlag := strings.CutPrefix(commandLine[i], "-")
		if !isFlag {
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(word, "-"), "=")
		if !given {
			value = "true"
			if i+1 < len(commandLine) && !strings.HasPrefix(commandLine[i+1], "-") {
				value = commandLine[i+1]
			}
		}
		flags[name] = value
	}
	return flags
}

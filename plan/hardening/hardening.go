// Package hardening is the table of what makes a cluster hard to break into, as
// the CIS Kubernetes Benchmark asks for it (1.12, with the numbers that
// kube-bench's cis-1.12 has), and of some rules that the benchmark lacks.
//
// A rule says what it demands of a host, what kinstall sets for it, and at which
// level. Package plan asks the table for the flags, settings and modes to set;
// Check holds what was found on a host, or rendered for it, against the rules.
// Both read the same rows, so that what is documented is what is set and what is
// looked at.
package hardening

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/kinstall/kinstall/plan/inventory"
)

// The programs that rules are about, as they are called in a list of processes.
const (
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
	KubeProxy         = "kube-proxy"
	Etcd              = "etcd"
)

// Rule is a row of the table.
type Rule struct {
	// ID is the benchmark's, "" for a rule of kinstall's own.
	ID string
	// Demand in a few words, as documentation has it.
	Demand string
	// Level from which on kinstall sees to it: inventory.HardeningBaseline (always)
	// or inventory.HardeningCIS.
	Level string
	// Manual rules are not scored by the benchmark: what is right depends on the
	// cluster.
	Manual bool
	// Since and Until are the first and last Kubernetes minors that know what the
	// rule sets; "" for all that are supported.
	Since, Until string
	// Tests must all hold.
	Tests []Test
	// Note tells what a reader of the benchmark would not expect.
	Note string
}

// Test is one thing that is looked at.
type Test interface {
	// Check returns what is wrong, "" if nothing is.
	Check(Seen) string
	// Where is what is looked at, in a few words.
	Where() string
}

// Seen is what there is to see on a host: kube-bench reads the same from `ps`,
// `stat` and the kubelet's configuration.
type Seen struct {
	// Flags of each program that runs, without dashes. Etcd's are those of its
	// command line and those it has as environment variables, by the flag's name.
	Flags map[string]map[string]string
	// Users of each program that runs.
	Users map[string]string
	// Files with all that is below /etc/kubernetes, by path; what does not exist
	// is not there.
	Files map[string]File
	// Kubelet and Proxy are the configuration files, nil where there is none.
	Kubelet, Proxy map[string]any
	// Anonymous is the anonymous part of the API server's AuthenticationConfiguration,
	// nil where there is none.
	Anonymous map[string]any
}

// File is what `stat` says of one.
type File struct {
	Mode  uint32 // permission bits
	Owner string // USER:GROUP
}

// Applies reports whether kinstall sees to the rule at a level, for a Kubernetes
// version.
func (r Rule) Applies(level, version string) bool {
	minor := inventory.MinorOf(version)
	return (r.Level == inventory.HardeningBaseline || level == inventory.HardeningCIS) &&
		(r.Since == "" || inventory.CompareVersions(minor, r.Since) >= 0) &&
		(r.Until == "" || inventory.CompareVersions(minor, r.Until) <= 0)
}

// Check returns what is wrong on a host, "" if nothing is.
func (r Rule) Check(seen Seen) string {
	for _, t := range r.Tests {
		if problem := t.Check(seen); problem != "" {
			return problem
		}
	}
	return ""
}

// Flags are the flags that the table sets of a program.
func Flags(program, level, version string) map[string]string {
	flags := map[string]string{}
	each(level, version, func(t Test) {
		if f, ok := t.(Flag); ok && f.Program == program && f.Set != "" {
			flags[f.Name] = f.Set
		}
	})
	return flags
}

// KubeletSettings are the settings that the table sets of the kubelet's
// configuration.
func KubeletSettings(level, version string) map[string]any {
	settings := map[string]any{}
	each(level, version, func(t Test) {
		if s, ok := t.(Setting); ok && s.Set != nil && len(s.Path) == 1 {
			settings[s.Path[0]] = s.Set
		}
	})
	return settings
}

// Mode is the mode that the table sets of a file; 0 where it has nothing to say
// of it.
func Mode(file, level, version string) uint32 {
	mode := uint32(0)
	each(level, version, func(t Test) {
		if f, ok := t.(Files); ok && f.Set && f.Means(file) {
			mode = f.Mode
		}
	})
	return mode
}

func each(level, version string, do func(Test)) {
	for _, r := range Rules() {
		if r.Applies(level, version) {
			for _, t := range r.Tests {
				do(t)
			}
		}
	}
}

// matches reports whether a path is one of those a pattern means: the pattern
// itself, everything below "DIR/", or what path.Match says of "DIR/**/*.key".
func matches(pattern, file string) bool {
	if dir, name := path.Split(pattern); name == "" || path.Base(dir) == "**" {
		root := path.Clean(dir)
		if path.Base(dir) == "**" {
			root = path.Dir(root)
		}
		below := file == root || len(file) > len(root) && file[:len(root)+1] == root+"/"
		if name == "" {
			return below
		}
		ok, err := path.Match(name, path.Base(file))
		return below && ok && err == nil
	}
	return pattern == file
}

// Flag is a test of a program's flag. A program that does not run on the host
// has none to be wrong.
type Flag struct {
	Program, Name string
	Is            Is
	// Set is the value that kinstall sets because of this rule; "" where the flag
	// is among what the component needs anyway, or must not be set.
	Set string
}

// Check implements Test.
func (f Flag) Check(seen Seen) string {
	flags, runs := seen.Flags[f.Program]
	if !runs {
		return ""
	}
	value, set := flags[f.Name]
	if f.Is.holds(value, set) {
		return ""
	}
	return fmt.Sprintf("%s: found %s, expected %s", f.Where(), shown(value, set), f.Is)
}

// Where implements Test.
func (f Flag) Where() string { return fmt.Sprintf("`--%s` of %s", f.Name, f.Program) }

// Setting is a test of a setting in a configuration file: the kubelet's, or
// kube-proxy's with Proxy.
type Setting struct {
	Path  []string
	Is    Is
	Set   any // what kinstall sets because of this rule, nil as with Flag
	Proxy bool
}

// Check implements Test.
func (s Setting) Check(seen Seen) string {
	document := seen.Kubelet
	if s.Proxy {
		document = seen.Proxy
	}
	if document == nil {
		return ""
	}
	value, set := lookUp(document, s.Path)
	text := fmt.Sprint(value)
	if list, ok := value.([]any); ok {
		text = ""
		for i, item := range list {
			if i > 0 {
				text += ","
			}
			text += fmt.Sprint(item)
		}
	}
	if s.Is.holds(text, set) {
		return ""
	}
	return fmt.Sprintf("%s: found %s, expected %s", s.Where(), shown(text, set), s.Is)
}

// Where implements Test.
func (s Setting) Where() string {
	program := "the kubelet"
	if s.Proxy {
		program = "kube-proxy"
	}
	name := ""
	for i, step := range s.Path {
		if i > 0 {
			name += "."
		}
		name += step
	}
	return fmt.Sprintf("`%s` of %s", name, program)
}

func lookUp(document map[string]any, path []string) (any, bool) {
	var at any = document
	for _, step := range path {
		m, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = m[step]; !ok {
			return nil, false
		}
	}
	return at, true
}

// Files is a test of the modes and owners of files and directories, those that
// exist.
type Files struct {
	// Paths as they are, "DIR/" for a directory and all that is in it, or
	// "DIR/**/*.key" for some of that.
	Paths []string
	// Mode is the most that may be allowed; 0: it is not looked at.
	Mode uint32
	// Owner is who must own them, USER:GROUP; "": it is not looked at.
	Owner string
	// Set says that kinstall gives files this mode because of this rule.
	Set bool
}

// Means reports whether a path is one of those that are looked at.
func (f Files) Means(file string) bool {
	return slices.ContainsFunc(f.Paths, func(p string) bool { return matches(p, file) })
}

// Check implements Test.
func (f Files) Check(seen Seen) string {
	for _, file := range slices.Sorted(maps.Keys(seen.Files)) {
		if !f.Means(file) {
			continue
		}
		found := seen.Files[file]
		if f.Mode != 0 && found.Mode&^f.Mode != 0 {
			return fmt.Sprintf("%s: found mode %04o, expected %04o or less", file, found.Mode, f.Mode)
		}
		if f.Owner != "" && found.Owner != f.Owner {
			return fmt.Sprintf("%s: found owner %s, expected %s", file, found.Owner, f.Owner)
		}
	}
	return ""
}

// Where implements Test.
func (f Files) Where() string {
	var what string
	switch {
	case f.Mode != 0 && f.Owner != "":
		what = fmt.Sprintf("mode %04o, owner %s of ", f.Mode, f.Owner)
	case f.Mode != 0:
		what = fmt.Sprintf("mode %04o of ", f.Mode)
	default:
		what = fmt.Sprintf("owner %s of ", f.Owner)
	}
	for i, p := range f.Paths {
		if i > 0 {
			what += ", "
		}
		what += "`" + p + "`"
	}
	return what
}

// Absent is a test that a file does not exist.
type Absent struct{ Path string }

// Check implements Test.
func (a Absent) Check(seen Seen) string {
	if _, there := seen.Files[a.Path]; there {
		return a.Path + " exists on the host"
	}
	return ""
}

// Where implements Test.
func (a Absent) Where() string { return "no `" + a.Path + "` on hosts" }

// User is a test of whom a program runs as.
type User struct{ Program, Name string }

// Check implements Test.
func (u User) Check(seen Seen) string {
	if found, runs := seen.Users[u.Program]; runs && found != u.Name {
		return fmt.Sprintf("%s runs as %s, expected %s", u.Program, found, u.Name)
	}
	return ""
}

// Where implements Test.
func (u User) Where() string { return fmt.Sprintf("%s runs as `%s`", u.Program, u.Name) }

// AnonymousPaths is a test of what requests without credentials reach.
type AnonymousPaths struct{}

// HealthPaths are what is open to requests without credentials: load balancers
// and probes have none.
func HealthPaths() []string { return []string{"/healthz", "/livez", "/readyz"} }

// Check implements Test.
func (a AnonymousPaths) Check(seen Seen) string {
	flags, runs := seen.Flags[APIServer]
	if !runs || flags["anonymous-auth"] == "false" {
		return ""
	}
	conditions, ok := seen.Anonymous["conditions"].([]any)
	if enabled, said := seen.Anonymous["enabled"]; said && enabled == false {
		return ""
	}
	if !ok || len(conditions) == 0 || flags["authentication-config"] == "" {
		return "requests without credentials are authenticated as system:anonymous on every path"
	}
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		if at := fmt.Sprint(condition["path"]); !slices.Contains(HealthPaths(), at) {
			return "requests without credentials are let through to " + at
		}
	}
	return ""
}

// Where implements Test.
func (AnonymousPaths) Where() string {
	return "`anonymous` of the API server's AuthenticationConfiguration"
}

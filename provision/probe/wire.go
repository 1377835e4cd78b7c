package probe

import (
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
)

// wire reads what other machines say: lines of "path INDEX RESULT", "neighbor
// INDEX MAC" (or "-") and "duplicate MAC".
func (p *parser) wire(set *fact.Set, queries []fact.Query) {
	text, ok := p.take("other machines", "wire")
	if !ok {
		return
	}
	paths, neighbors := map[int]fact.Path{}, map[int]fact.Neighbor{}
	for _, line := range lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == "duplicate":
			mac, err := net.ParseMAC(words[1])
			if err == nil {
				set.Host.Duplicate = mac.String()
				continue
			}
		case len(words) == 3 && words[0] == "neighbor":
			index, err := strconv.Atoi(words[1])
			mac, macErr := net.ParseMAC(words[2])
			if err == nil && (macErr == nil || words[2] == "-") {
				neighbors[index] = fact.Neighbor{MAC: mac.String()}
				continue
			}
		case len(words) >= 3 && words[0] == "path":
			index, err := strconv.Atoi(words[1])
			found, known := parsePath(words[2:])
			if err == nil && known {
				paths[index] = found
				continue
			}
		}
		p.fail("other machines", "unexpected answer "+excerpt([]byte(line)))
	}
	for i, q := range queries {
		var found any
		var there bool
		switch q.Kind {
		case fact.KindPath:
			found, there = paths[i]
		case fact.KindNeighbor:
			found, there = neighbors[i]
		default:
			continue
		}
		if !there {
			p.fail(string(q.Kind)+" "+q.Name, "was not answered")
			continue
		}
		set.Put(q.Key(), found)
	}
}

func parsePath(words []string) (fact.Path, bool) {
	switch {
	case len(words) == 1 && words[0] == "fits":
		return fact.Path{Answers: true, Fits: true}, true
	case len(words) == 1 && (words[0] == "silent" || words[0] == "unknown"):
		return fact.Path{}, true
	case len(words) == 2 && words[0] == "small":
		largest, err := strconv.Atoi(words[1])
		return fact.Path{Answers: true, Largest: largest}, err == nil
	}
	return fact.Path{}, false
}

// sysctlDirectories come first where files in two of them have one name.
var sysctlDirectories = []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"}

// dotted swaps the separators of a kernel parameter's name.
var dotted = strings.NewReplacer(".", "/", "/", ".")

// parseSysctlFiles reads lines of "PATH:LINE" into the order of sysctl.d(5):
// by the name of the file, whatever its directory; of files with one name, only
// that in the first directory counts. What is no assignment is left out.
func parseSysctlFiles(text string) []fact.SysctlLine {
	var all []fact.SysctlLine
	holder := map[string]string{} // directory by name of the file
	for _, line := range lines([]byte(text)) {
		file, rest, ok := strings.Cut(line, ".conf:")
		if !ok {
			continue
		}
		file += ".conf"
		rank := func(dir string) int { return slices.Index(sysctlDirectories, dir) }
		if dir, seen := holder[path.Base(file)]; !seen || rank(path.Dir(file)) < rank(dir) {
			holder[path.Base(file)] = path.Dir(file)
		}
		key, value, assigns := strings.Cut(rest, "=")
		below, err := SysctlPath(strings.TrimPrefix(strings.TrimSpace(key), "-"))
		if !assigns || err != nil {
			continue // a pattern sets no key that a line elsewhere names
		}
		all = append(all, fact.SysctlLine{
			File: file, Value: strings.Join(strings.Fields(value), " "),
			Key: dotted.Replace(below),
		})
	}
	all = slices.DeleteFunc(all, func(l fact.SysctlLine) bool { return holder[path.Base(l.File)] != path.Dir(l.File) })
	slices.SortStableFunc(all, func(a, b fact.SysctlLine) int { return strings.Compare(path.Base(a.File), path.Base(b.File)) })
	return all
}

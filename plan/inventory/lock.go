package inventory

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

const lockHeader = `# Written by kinstall apply; commit it.
#
# What has been decided and shall stay so when hosts come and go: each node's
# part of the pod network, and the digests of the artifacts in use.
`

// LockPath returns the lock file's path for an inventory's: lab.lock.hcl for
// lab.hcl.
func LockPath(inventoryPath string) string {
	return strings.TrimSuffix(inventoryPath, ".hcl") + ".lock.hcl"
}

// lockContent is the lock file as texts, so that the kinds of the schema decode it.
type lockContent struct {
	subnets   map[string]string
	subnetsV6 map[string]string
	artifacts map[string]string
}

func lockBlock() *block {
	subnet := func(s string) *fault {
		_, f := network(s)
		return f
	}
	return &block{
		place: "in a lock file",
		attrs: []attr{
			{name: "subnets", kind: textMap("map of networks", hostName, subnet),
				field: of(func(l *lockContent) any { return &l.subnets })},
			{name: "subnets_v6", kind: textMap("map of networks", hostName, subnet),
				field: of(func(l *lockContent) any { return &l.subnetsV6 })},
			{name: "artifacts", kind: textMap("map of digests", artifactLocation, digest),
				field: of(func(l *lockContent) any { return &l.artifacts })},
		},
	}
}

// lock reads the lock file; one that does not exist is the zero Lock.
func (d *decoder) lock(path string) *Lock {
	src, err := d.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Lock{}
	}
	if diag := unreadable(path, src, err); diag != nil {
		d.report(diag)
		return nil
	}
	d.files[path] = &hcl.File{Bytes: src}
	if diag := anotherFormat(src, path); diag != nil {
		d.report(invalidLock.at(diag.Subject, "%s", diag.Detail))
		return nil
	}
	if diag := tooDeep(src, path); diag != nil {
		d.report(diag)
		return nil
	}
	file, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	if file != nil {
		d.files[path] = file
	}
	if diags.HasErrors() {
		for _, diag := range diags {
			d.report(invalidLock.at(diag.Subject, "%s", diag.Detail))
		}
		return nil
	}
	body := d.bodyOf(file)
	content := &lockContent{}
	d.functionNames = nil
	before := len(d.diags)
	d.body(lockBlock(), body, startOf(path), content, scope{ctx: &hcl.EvalContext{}})
	// Whatever is wrong here, the advice is the same: restore the file.
	for _, diag := range d.diags[before:] {
		diag.Summary = invalidLock.explain().summary
		diag.Extra = &Advice{Hint: invalidLock.explain().hint}
	}
	return &Lock{
		Subnets:   d.lockedSubnets(&content.subnets),
		SubnetsV6: d.lockedSubnets(&content.subnetsV6),
		Artifacts: content.artifacts,
	}
}

// lockedSubnets are those of one family. They never overlap.
func (d *decoder) lockedSubnets(content *map[string]string) map[string]netip.Prefix {
	var subnets map[string]netip.Prefix
	var taken []string
	var sorted []netip.Prefix
	for _, text := range *content {
		if p, f := network(text); f == nil {
			sorted = append(sorted, p)
		}
	}
	// Of subnets in order, some overlap if and only if two neighbours do.
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	overlap := false
	for i := 1; i < len(sorted); i++ {
		overlap = overlap || sorted[i-1].Overlaps(sorted[i])
	}
	for _, name := range slices.Sorted(maps.Keys(*content)) {
		p, f := network((*content)[name])
		if f != nil {
			continue
		}
		if overlap {
			taken = append(taken, name)
		}
		for _, other := range taken {
			if other != name && subnets[other].Overlaps(p) {
				d.report(invalidLock.at(d.src[content].at(name), "The subnets of %q and %q overlap: %s and %s.", name, other, p, subnets[other]))
			}
		}
		if subnets == nil {
			subnets = make(map[string]netip.Prefix)
		}
		subnets[name] = p
	}
	return subnets
}

// FormatLock writes a lock file: canonical, sorted, one line for each entry,
// so that version control merges it well.
func FormatLock(l Lock) []byte {
	var b bytes.Buffer
	b.WriteString(lockHeader)
	entries := func(name string, m map[string]string) {
		if len(m) == 0 {
			fmt.Fprintf(&b, "\n%s = {}\n", name)
			return
		}
		keys := slices.Sorted(maps.Keys(m))
		quoted, width := make([]string, len(keys)), 0
		for i, key := range keys {
			quoted[i] = quotedText(key)
			width = max(width, utf8.RuneCountInString(quoted[i]))
		}
		fmt.Fprintf(&b, "\n%s = {\n", name)
		for i, key := range keys {
			fmt.Fprintf(&b, "  %-*s = %s\n", width, quoted[i], quotedText(m[key]))
		}
		b.WriteString("}\n")
	}
	texts := func(subnets map[string]netip.Prefix) map[string]string {
		m := make(map[string]string, len(subnets))
		for name, p := range subnets {
			m[name] = p.String()
		}
		return m
	}
	entries("subnets", texts(l.Subnets))
	if len(l.SubnetsV6) > 0 {
		entries("subnets_v6", texts(l.SubnetsV6))
	}
	// What lies on the operator's own disk is the operator's to change: its
	// digest is read anew each time, and its path means nothing to others.
	shared := make(map[string]string, len(l.Artifacts))
	for location, sum := range l.Artifacts {
		if !filepath.IsAbs(location) {
			shared[location] = sum
		}
	}
	entries("artifacts", shared)
	return b.Bytes()
}

// quotedText is a string as HCL has it. Most are plain and need no more than
// quotes; package hclwrite takes kilobytes for each.
func quotedText(s string) string {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '$' || c == '%' {
			return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes())
		}
	}
	return `"` + s + `"`
}

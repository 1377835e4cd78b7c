package inventory

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Reference writes docs/inventory.md from the schema: every block and
// attribute, the functions, the versions and every message.
func Reference() []byte {
	var out bytes.Buffer
	root := schema()
	out.WriteString(referenceHead)
	out.WriteString("## Blocks\n\n")
	for _, b := range root.blocks {
		fmt.Fprintf(&out, "- [`%s`](#%s): %s\n", b.form(), b.name, firstSentence(b.doc))
	}
	out.WriteByte('\n')
	for _, b := range root.blocks {
		referBlock(&out, b, 3, "")
	}
	referExpressions(&out)
	referVersions(&out)
	referMistakes(&out)
	return out.Bytes()
}

const referenceHead = `# The inventory

<!-- Written by the tests of plan/inventory (go test ./plan/inventory -update); don't edit. -->

An inventory is one HCL file. ` + "`kinstall init`" + ` writes one to start from, ` + "`kinstall validate`" + ` checks it without
touching any machine, and ` + "`kinstall validate -resolved`" + ` shows it with every default filled in. Examples are in
[inventories](../inventories).

Blocks may stand in any order. Paths on this machine may be absolute, relative to the inventory, or begin with ` + "`~/`" + `.
Durations are written like ` + "`\"10s\"`, `\"5m\"`, `\"8760h\"`" + `. An attribute set to ` + "`null`" + ` counts as not set.

Beside ` + "`NAME.hcl`" + `, ` + "`kinstall apply`" + ` keeps ` + "`NAME.lock.hcl`" + `: the pod subnets given to nodes and the digests of
artifacts. It belongs into version control.

`

func firstSentence(s string) string {
	if i := strings.Index(s, ". "); i >= 0 {
		return s[:i+1]
	}
	return s
}

func referBlock(out *bytes.Buffer, b *block, level int, outer string) {
	fmt.Fprintf(out, "%s %s%s\n\n%s", strings.Repeat("#", level), outer, b.name, b.doc)
	switch {
	case b.required:
		out.WriteString(" Required.")
	case b.many:
	default:
		out.WriteString(" Optional.")
	}
	if b.many {
		out.WriteString(" May stand several times.")
	}
	out.WriteString("\n\n")
	if b.label != nil {
		fmt.Fprintf(out, "`%s`: %s\n\n", b.form(), b.label.doc)
	}
	if b.example != "" {
		fmt.Fprintf(out, "```hcl\n%s\n```\n\n", b.example)
	}
	if len(b.attrs) > 0 {
		out.WriteString("| attribute | type | default | |\n|---|---|---|---|\n")
		for _, a := range b.attrs {
			if a.refusal != nil {
				continue
			}
			fmt.Fprintf(out, "| `%s` | %s | %s | %s Example: `%s` |\n", a.name, cell(a.kind.name), cell(defaultText(a)), cell(onlyFor(b, a)+a.doc), strings.ReplaceAll(a.example, "|", `\|`))
		}
		out.WriteByte('\n')
	}
	for _, n := range b.blocks {
		referBlock(out, n, min(level+1, 6), outer+b.name+" › ")
	}
}

// onlyFor says for which labels of the block the attribute is.
func onlyFor(b *block, a attr) string {
	var labels []string
	for _, label := range a.labels {
		labels = append(labels, fmt.Sprintf("`%s %q`", b.name, label))
	}
	if len(labels) == 0 {
		return ""
	}
	return "Only for " + strings.Join(labels, ", ") + ". "
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func defaultText(a attr) string {
	switch {
	case a.required:
		return "**required**"
	case a.fallback != "":
		return "`" + a.fallback + "`"
	case a.computed != "":
		return a.computed
	}
	return "none"
}

func referExpressions(out *bytes.Buffer) {
	out.WriteString("## Expressions\n\nAttributes may be expressions of HCL: `var.NAME`, `local.NAME`, `\"text ${var.NAME}\"`, conditions, `for` expressions and calls of these functions. They can't refer to other blocks.\n\n| function | example | gives |\n|---|---|---|\n")
	for _, c := range (&decoder{}).callables() {
		fmt.Fprintf(out, "| `%s` | `%s` | %s |\n", c.name, c.use, c.doc)
	}
	out.WriteByte('\n')
}

func referVersions(out *bytes.Buffer) {
	out.WriteString("## Versions\n\n| Kubernetes | etcd by default | etcd that works |\n|---|---|---|\n")
	for _, r := range releases() {
		fmt.Fprintf(out, "| %s | %s | %s to %s |\n", r.minor, r.etcd, r.etcdMin, r.etcdMax)
	}
	fmt.Fprintf(out, "\nWith all of them by default: containerd %s, runc %s, CNI plugins %s, `%s`, CoreDNS %s, flannel %s.\n\n",
		defaultContainerd, defaultRunc, defaultCNI, defaultSandbox, defaultCoreDNS, defaultFlannel)
}

func referMistakes(out *bytes.Buffer) {
	out.WriteString("## Messages\n\nAll mistakes are reported at once, each with its place and what was expected. Errors of HCL's own syntax are worded by its parser.\n\n| message | meaning | what to do |\n|---|---|---|\n")
	for m := range mistakeCount {
		e := m.explain()
		summary := e.summary
		if e.severity == hcl.DiagWarning {
			summary += " (warning)"
		}
		fmt.Fprintf(out, "| %s | %s | %s |\n", cell(summary), cell(e.meaning), cell(e.hint))
	}
}

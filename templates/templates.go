// Package templates holds the text of every unit, manifest and configuration
// kinstall writes: one file each, embedded, at the path it has on a host
// (those under objects/ become objects of the Kubernetes API).
//
// The files are Go templates. A value never enters one bare: quote, pod, env,
// unit, line, sh and nginx write it in the grammar of the file at hand, and what
// is written without any of them goes through word, which lets nothing pass that
// has a meaning anywhere. Rendering is pure: equal data give equal bytes.
package templates

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

//go:embed etc var usr objects partials.tmpl
var files embed.FS

// Set is every template, parsed. It is safe for concurrent use.
type Set struct{ parsed *template.Template }

// New parses the embedded templates.
func New() *Set {
	root := template.New("").Option("missingkey=error").Funcs(template.FuncMap{
		"base":    path.Base,
		"dict":    dict,
		"env":     environmentValue,
		"envname": environmentName,
		"line":    line,
		"nginx":   nginxWord,
		"pod":     PodWord,
		"quote":   Quote,
		"sh":      shellWord,
		"unit":    UnitWord,
		"word":    word,
	})
	for _, name := range Names() {
		text, err := files.ReadFile(name)
		if err != nil {
			panic(err) // embedded, so it is there
		}
		template.Must(root.New(name).Parse(string(text)))
	}
	for _, t := range root.Templates() {
		if t.Tree != nil {
			guard(t.Tree, t.Root)
		}
	}
	return &Set{root}
}

// escapers are the functions that write a value in some file's grammar.
func escapers() []string {
	return []string{"env", "envname", "line", "nginx", "pod", "quote", "sh", "unit", "word"}
}

// guard sends every value that a template writes bare through word.
func guard(tree *parse.Tree, node parse.Node) {
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, inner := range n.Nodes {
			guard(tree, inner)
		}
	case *parse.IfNode:
		guard(tree, n.List)
		guard(tree, n.ElseList)
	case *parse.RangeNode:
		guard(tree, n.List)
		guard(tree, n.ElseList)
	case *parse.WithNode:
		guard(tree, n.List)
		guard(tree, n.ElseList)
	case *parse.ActionNode:
		if len(n.Pipe.Decl) > 0 {
			return // writes nothing
		}
		last := n.Pipe.Cmds[len(n.Pipe.Cmds)-1]
		if name, ok := last.Args[0].(*parse.IdentifierNode); ok && slices.Contains(escapers(), name.Ident) {
			return
		}
		n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{
			NodeType: parse.NodeCommand,
			Args:     []parse.Node{parse.NewIdentifier("word").SetTree(tree).SetPos(n.Pos)},
		})
	}
}

var wordForm = regexp.MustCompile(`^[A-Za-z0-9_./:@+,\[\]-]*$`)

// word writes a value that needs no quoting in any of the formats: numbers,
// addresses, names, paths.
func word(v any) (string, error) {
	s := fmt.Sprint(v)
	if !wordForm.MatchString(s) {
		return "", fmt.Errorf("%q is not a plain word", s)
	}
	return s, nil
}

// line writes a value that is the rest of its line.
func line(s string) (string, error) {
	if err := oneLine(s); err != nil {
		return "", err
	}
	return s, nil
}

// PodWord writes one word of a pod's command as a YAML string. The kubelet
// replaces $(NAME) in it by the pod's environment; a doubled dollar sign stands
// for one
// (https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/).
func PodWord(s string) (string, error) {
	return Quote(strings.ReplaceAll(s, "$", "$$"))
}

// Names are the paths of all templates, sorted.
func Names() []string {
	var names []string
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		panic(err) // an embedded tree can be walked
	}
	return names
}

// Render fills in the template of that name, which is a path without the
// leading slash. It panics if there is none, or if the data do not fit it:
// both are the programmer's mistakes, never the user's.
func (s *Set) Render(name string, data any) []byte {
	var b bytes.Buffer
	b.Grow(1 << 10)
	if err := s.parsed.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("templates: %v", err))
	}
	return bytes.Clone(b.Bytes()) // kept for long, and of many hosts: without room for more
}

// dict makes a map of alternating names and values.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict: odd number of arguments")
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: name %v is not a string", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// Quote writes a string in double quotes as JSON has it, which YAML and TOML
// read the same way (YAML 1.2, 7.3.1; TOML 1.0, basic strings).
func Quote(s string) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

var (
	unitEscapes        = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`)
	environmentEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`)
)

// UnitWord writes one word of a systemd ExecStart line: quoted, and without
// specifiers or variables in it (systemd.service(5), "Command lines").
func UnitWord(s string) (string, error) {
	if err := oneLine(s); err != nil {
		return "", err
	}
	return `"` + unitEscapes.Replace(s) + `"`, nil
}

// environmentValue writes a value of a file for EnvironmentFile=
// (systemd.exec(5)): in double quotes a backslash escapes what a shell would
// have escaped there; specifiers and variables are not expanded.
func environmentValue(s string) (string, error) {
	if err := oneLine(s); err != nil {
		return "", err
	}
	return `"` + environmentEscapes.Replace(s) + `"`, nil
}

// environmentName is the variable of a flag: "data-dir" becomes DATA_DIR.
func environmentName(flag string) string {
	return strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

var (
	plainWord    = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`) // the same to a shell with quotes and without
	nginxAddress = regexp.MustCompile(`^[A-Za-z0-9.:\[\]-]+$`)
)

// shellWord writes one word of a POSIX shell command.
func shellWord(s string) (string, error) {
	if err := oneLine(s); err != nil {
		return "", err
	}
	if plainWord.MatchString(s) {
		return s, nil
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'", nil
}

// nginxWord lets only addresses and ports through: nginx has no way to quote a
// variable's dollar sign.
func nginxWord(s string) (string, error) {
	if !nginxAddress.MatchString(s) {
		return "", fmt.Errorf("nginx: %q is not an address", s)
	}
	return s, nil
}

func oneLine(s string) error {
	if strings.ContainsAny(s, "\n\r\x00") {
		return fmt.Errorf("%q has more than one line", s)
	}
	return nil
}

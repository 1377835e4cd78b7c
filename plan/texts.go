package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/templates"
)

// texts are the contents of files. Most hosts have most of them in common: each
// is made, and its digest computed, once, and the hosts share its bytes, which
// nobody changes.
type texts struct {
	templates *templates.Set
	rendered  map[[sha256.Size]byte][]byte // by template and data
	merged    map[[sha256.Size]byte][]byte // by document, or by what it is
	sums      map[place]string
}

// place is where bytes are in memory.
type place struct {
	first  *byte
	length int
}

func newTexts() *texts {
	return &texts{templates.New(), map[[sha256.Size]byte][]byte{}, map[[sha256.Size]byte][]byte{}, map[place]string{}}
}

// Render is that of the templates. Data that make the same JSON make the same text.
func (t *texts) Render(name string, data any) []byte {
	key, err := json.Marshal([]any{name, data})
	if err != nil {
		return t.templates.Render(name, data)
	}
	return remembered(t.rendered, key, func() []byte { return t.templates.Render(name, data) })
}

// merge merges settings of the user, always the same ones for one kind of
// document, over a document.
func (t *texts) merge(kind string, document []byte, user map[string]any, merge func([]byte, map[string]any) []byte) []byte {
	return remembered(t.merged, append([]byte(kind+"\x00"), document...), func() []byte { return merge(document, user) })
}

// once makes what is the same for all hosts.
func (t *texts) once(what string, make func() []byte) []byte {
	return remembered(t.merged, []byte(what), make)
}

func remembered(known map[[sha256.Size]byte][]byte, key []byte, make func() []byte) []byte {
	sum := sha256.Sum256(key)
	text, ok := known[sum]
	if !ok {
		text = make()
		known[sum] = text
	}
	return text
}

// file is a file with that content.
func (t *texts) file(path string, content []byte) resource.File {
	f := resource.File{Path: path, Content: content}
	if len(content) == 0 {
		return f
	}
	at := place{&content[0], len(content)}
	sum, ok := t.sums[at]
	if !ok {
		sum = resource.SHA256(content)
		t.sums[at] = sum
	}
	f.SHA256 = sum
	return f
}

// nameOfHost stands for a host's name in a text that is otherwise the same for
// many hosts.
const nameOfHost = "kinstall-name-of-this-host"

// withHostName puts a host's name into a YAML document where nameOfHost is a value.
func withHostName(document []byte, host string) []byte {
	scalar, err := yaml.Marshal(host)
	if err != nil {
		panic("plan: " + err.Error()) // strings always encode
	}
	return bytes.ReplaceAll(document, []byte(nameOfHost), []byte(strings.TrimSuffix(string(scalar), "\n")))
}

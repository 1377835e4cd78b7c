package resource

import (
	"fmt"
	"strconv"

	"github.com/kinstall/kinstall/plan/fact"
)

// Ownership is who owns a path and who may do what with it.
type Ownership struct {
	Mode  uint32 // permission bits; 0 means the kind's default
	Owner string // "" means root
	Group string // "" means root
}

func (o Ownership) withDefaults(mode uint32) Ownership {
	if o.Mode == 0 {
		o.Mode = mode
	}
	if o.Owner == "" {
		o.Owner = "root"
	}
	if o.Group == "" {
		o.Group = "root"
	}
	return o
}

// fields compares ownership with what was found.
func (o Ownership) fields(found fact.File) []Field {
	var fields []Field
	if found.Mode != o.Mode {
		fields = append(fields, Field{Name: "mode", Before: fmt.Sprintf("%04o", found.Mode), After: fmt.Sprintf("%04o", o.Mode)})
	}
	if found.Owner != o.Owner || found.Group != o.Group {
		fields = append(fields, Field{Name: "owner", Before: found.Owner + ":" + found.Group, After: o.Owner + ":" + o.Group})
	}
	return fields
}

// digest of the ownership, so that a record tells a changed mode in the
// inventory from one changed on the host.
func (o Ownership) digest() string {
	mode := strconv.FormatUint(uint64(o.Mode), 8)
	return "0000"[min(len(mode), 4):] + mode + " " + o.Owner + ":" + o.Group
}

// compareOwnership adds what differs in mode and owner to a change.
func compareOwnership(change *Change, facts fact.Set, id ID, want Ownership, found fact.File) {
	fields := want.fields(found)
	if len(fields) == 0 {
		return
	}
	change.Fields = append(change.Fields, fields...)
	record, ok := recorded(facts, id)
	for _, f := range fields {
		text := fmt.Sprintf("%s %s instead of %s", f.Name, f.Before, f.After)
		if ok && record.Digest == want.digest() {
			change.because(Drift, text+", changed on the host")
		} else {
			change.because(Intent, text)
		}
	}
}

// File is a regular file with exactly the given content.
type File struct {
	Path    string
	Content []byte
	SHA256  string // of the content, in lower-case hex; "" to have it computed when asked for
	Ownership
	// Sensitive content is neither fetched nor shown.
	Sensitive bool
	// Test is how the program that reads the file is asked whether it would take
	// it, before it replaces what is there. The file may be a part of a
	// configuration: other parts are as they are on the host by then. Where the
	// program is not installed yet, nobody is asked.
	Test ConfigTest
}

// ID implements Resource.
func (f File) ID() ID { return NewID(KindFile, f.Path) }

// Own returns the ownership with defaults: 0644 (0600 if sensitive), root.
func (f File) Own() Ownership {
	if f.Sensitive {
		return f.withDefaults(0o600)
	}
	return f.withDefaults(0o644)
}

// Queries implements Resource.
func (f File) Queries() []fact.Query {
	return []fact.Query{{Kind: fact.KindFile, Name: f.Path, WantSHA256: f.Digest(), Content: !f.Sensitive}}
}

// InputDigest implements Input.
func (f File) InputDigest(fact.Set) (string, bool) { return f.Digest(), true }

// Digest is the SHA-256 of the content, in lower-case hex.
func (f File) Digest() string {
	if f.SHA256 != "" {
		return f.SHA256
	}
	return SHA256(f.Content)
}

// Diff implements Resource.
func (f File) Diff(facts fact.Set) (Change, error) {
	return diffContent(facts, f.ID(), f.Path, f.Content, f.Digest(), f.Own(), f.Sensitive)
}

// diffContent judges one path that must hold exactly the wanted bytes, whose
// digest is given.
func diffContent(facts fact.Set, id ID, path string, want []byte, digest string, own Ownership, sensitive bool) (Change, error) {
	found, err := facts.File(path)
	if err != nil {
		return Change{}, err
	}
	change := Change{
		Action:    NoOp,
		Sensitive: sensitive,
		Evidence:  found.SHA256,
		Record:    fact.Record{Digest: own.digest(), Files: map[string]string{path: digest}},
	}
	switch {
	case !found.Exists:
		change.Action = Create
		if _, ok := recorded(facts, id); ok {
			change.because(Drift, "deleted on the host")
		}
		if !sensitive {
			change.Text = &Text{Name: "content", After: string(want)}
		}
		change.Fields = append(change.Fields, Field{Name: "mode", After: fmt.Sprintf("%04o", own.Mode)})
		if own.Owner != "root" || own.Group != "root" {
			change.Fields = append(change.Fields, Field{Name: "owner", After: own.Owner + ":" + own.Group})
		}
		return change, nil
	case found.Type != "file":
		return Change{}, fmt.Errorf("%s: a %s is in the way of a file; move it aside", path, found.Type)
	}
	if found.SHA256 != digest {
		change.Action = Update
		change.Reasons = append(change.Reasons, cause(facts, id, path, digest, found.SHA256))
		switch {
		case found.ContentLeftOut:
			change.Fields = append(change.Fields,
				Field{Name: "size", Before: fmt.Sprintf("%d bytes, too large to be shown", found.Size), After: fmt.Sprintf("%d bytes", len(want))},
				Field{Name: "sha256", Before: found.SHA256, After: digest})
		case !sensitive:
			change.Text = &Text{Name: "content", Before: string(found.Content), After: string(want)}
		}
	}
	compareOwnership(&change, facts, id, own, found)
	if len(change.Fields) > 0 {
		change.Action = Update
	}
	return change, nil
}

// Directory is a directory; what lies in it is not managed by it.
type Directory struct {
	Path string
	Ownership
	// Unit is the program whose data it is, "" for none. The program runs as Owner,
	// a system user with a group of the same name, which is made if the host has
	// none; everything in the directory belongs to it, of which Inner, directories
	// that the program makes, are looked at. As an input of the unit it changes hands
	// in the unit's turn, while the program is stopped.
	Unit  string
	Inner []string // "/var/lib/etcd/member"
}

// ID implements Resource.
func (d Directory) ID() ID { return NewID(KindDirectory, d.Path) }

// Own returns the ownership with defaults: 0755, root.
func (d Directory) Own() Ownership { return d.withDefaults(0o755) }

// Queries implements Resource.
func (d Directory) Queries() []fact.Query {
	queries := []fact.Query{{Kind: fact.KindFile, Name: d.Path}}
	for _, inner := range d.Inner {
		queries = append(queries, fact.Query{Kind: fact.KindFile, Name: inner})
	}
	return queries
}

// InputDigest implements Input: of what is in it, a unit knows by itself.
func (d Directory) InputDigest(fact.Set) (string, bool) { return d.Own().digest(), true }

// AsFound is the directory with the ownership that it has now; false if it is
// not there.
func (d Directory) AsFound(facts fact.Set) (Directory, bool) {
	found, err := facts.File(d.Path)
	if err != nil || !found.Exists {
		return d, false
	}
	d.Ownership = Ownership{Mode: found.Mode, Owner: found.Owner, Group: found.Group}
	return d, true
}

// Diff implements Resource.
func (d Directory) Diff(facts fact.Set) (Change, error) {
	found, err := facts.File(d.Path)
	if err != nil {
		return Change{}, err
	}
	own := d.Own()
	change := Change{Action: NoOp, Record: fact.Record{Digest: own.digest()}}
	switch {
	case !found.Exists:
		change.Action = Create
		change.Fields = append(change.Fields, Field{Name: "mode", After: fmt.Sprintf("%04o", own.Mode)})
		if own.Owner != "root" || own.Group != "root" {
			change.Fields = append(change.Fields, Field{Name: "owner", After: own.Owner + ":" + own.Group})
		}
		return change, nil
	case found.Type != "directory":
		return Change{}, fmt.Errorf("%s: a %s is in the way of a directory; move it aside", d.Path, found.Type)
	}
	compareOwnership(&change, facts, d.ID(), own, found)
	for _, inner := range d.Inner {
		found, err := facts.File(inner)
		if err != nil {
			return Change{}, err
		}
		if found.Exists && (found.Owner != own.Owner || found.Group != own.Group) && len(change.Fields) == 0 {
			change.Fields = append(change.Fields, Field{Name: "owner of " + inner, Before: found.Owner + ":" + found.Group, After: own.Owner + ":" + own.Group})
			change.because(Drift, fmt.Sprintf("%s belongs to %s", inner, found.Owner))
		}
	}
	if len(change.Fields) > 0 {
		change.Action = Update
	}
	return change, nil
}

// Block is a part of a file that others write too, between marker lines
// "# BEGIN kinstall NAME" and "# END kinstall NAME".
type Block struct {
	Path    string
	Name    string
	Content string // whole lines, each with its newline
	// Of the content, and of it with the lines that enclose it, in lower-case hex;
	// "" to have them computed when asked for.
	SHA256, LinesSHA256 string
}

// ID implements Resource.
func (b Block) ID() ID { return NewID(KindBlock, b.Path+"#"+b.Name) }

// WithDigests returns the block with its digests, for many hosts to share.
func (b Block) WithDigests() Block {
	begin, end := b.Markers()
	b.SHA256, b.LinesSHA256 = SHA256([]byte(b.Content)), SHA256([]byte(begin+"\n"+b.Content+end+"\n"))
	return b
}

// Queries implements Resource. The whole file is needed unless the block is as
// wanted.
func (b Block) Queries() []fact.Query {
	if b.LinesSHA256 == "" {
		b = b.WithDigests()
	}
	return []fact.Query{{Kind: fact.KindFile, Name: b.Path, Content: true, Block: true, WantSHA256: b.LinesSHA256}}
}

// Markers returns the lines that enclose the block, without newlines.
func (b Block) Markers() (begin, end string) {
	return "# BEGIN kinstall " + b.Name, "# END kinstall " + b.Name
}

// Splice returns the file's content with the block in it: replaced in place,
// appended where it is missing, removed where b.Content is empty. Everything
// else stays byte for byte.
func (b Block) Splice(content string) (string, error) {
	begin, end := b.Markers()
	before, inside, after, found, err := cutBlock(content, begin, end)
	if err != nil {
		return "", fmt.Errorf("%s: %w", b.Path, err)
	}
	_ = inside
	wanted := ""
	if b.Content != "" {
		wanted = begin + "\n" + b.Content + end + "\n"
	}
	if !found && wanted != "" && before != "" && before[len(before)-1] != '\n' {
		before += "\n"
	}
	return before + wanted + after, nil
}

// Diff implements Resource.
func (b Block) Diff(facts fact.Set) (Change, error) {
	found, err := facts.File(b.Path)
	if err != nil {
		return Change{}, err
	}
	if found.Exists && found.Type != "file" {
		return Change{}, fmt.Errorf("%s: a %s, not a file", b.Path, found.Type)
	}
	if b.SHA256 == "" {
		b = b.WithDigests()
	}
	change := Change{
		Action:   NoOp,
		Evidence: found.SHA256,
		Record:   fact.Record{Files: map[string]string{b.Path + "#" + b.Name: b.SHA256}},
	}
	if found.BlockAsWanted {
		return change, nil
	}
	current := string(found.Content)
	want, err := b.Splice(current)
	if err != nil {
		return Change{}, err
	}
	begin, end := b.Markers()
	_, inside, _, had, err := cutBlock(current, begin, end)
	if err != nil {
		return Change{}, err
	}
	if want == current {
		return change, nil
	}
	change.Action = Update
	if !had {
		change.Action = Create
		if _, ok := recorded(facts, b.ID()); ok {
			change.because(Drift, "deleted on the host")
		}
	} else {
		change.Reasons = append(change.Reasons, cause(facts, b.ID(), b.Path+"#"+b.Name, b.SHA256, SHA256([]byte(inside))))
	}
	change.Text = &Text{Name: "content", Before: current, After: want}
	return change, nil
}

package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Options are what Load takes beside the inventory's path.
type Options struct {
	// Vars are values from the command line (-var NAME=VALUE): text for
	// variables of a primitive type, HCL expressions for others.
	Vars map[string]string
	// VarFiles are files of NAME = VALUE lines (or JSON, by their ending),
	// later ones winning. Relative paths are relative to the working directory.
	VarFiles []string
	// Env is the environment as KEY=VALUE; KINSTALL_VAR_NAME sets a variable.
	Env []string
	// ReadFile reads the inventory and everything it refers to; nil: ReadFile.
	ReadFile func(path string) ([]byte, error)
	// HomeDir is what "~" stands for; "": os.UserHomeDir.
	HomeDir string
	// Files, when not nil, receives every source that was parsed, by the name
	// that diagnostics use, for WriteDiagnostics.
	Files map[string]*hcl.File
}

// maxDiagnostics is how many are reported; what is left is counted.
const maxDiagnostics = 50

// maxSource bounds every file that is read, in bytes.
const maxSource = 16 << 20

// ReadFile reads a file that the operator names. It reads no more than one byte
// beyond maxSource, and nothing but files: a device gives without end, and a pipe
// that nobody writes to never answers. A pipe that is open already, as a shell's
// <(command) gives one, is read.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() && (!strings.HasPrefix(path, "/dev/fd/") || info.Mode().Type() != fs.ModeNamedPipe) {
		what := "not a file"
		switch {
		case info.IsDir():
			what = "a directory, not a file"
		case info.Mode().Type() == fs.ModeNamedPipe:
			what = "a pipe, not a file"
		case info.Mode()&fs.ModeDevice != 0:
			what = "a device, not a file"
		}
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New(what)}
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxSource+1))
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return content, err
}

// Load reads, decodes, completes and validates an inventory and the lock file
// beside it. It is the only function of the package that reads files.
//
// When the diagnostics have errors, both results are nil. Otherwise both are
// not; the lock of an inventory that has no lock file is empty. Diagnostics
// come in the order of the source.
func Load(path string, opts Options) (*Inventory, *Lock, hcl.Diagnostics) {
	d := &decoder{
		read:    opts.ReadFile,
		files:   opts.Files,
		src:     make(map[any]origin),
		bad:     make(map[any]bool),
		headers: make(map[any]hcl.Range),
	}
	if d.read == nil {
		d.read = ReadFile
	}
	if d.files == nil {
		d.files = make(map[string]*hcl.File)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, hcl.Diagnostics{fileUnreadable.at(nil, "The directory of %s is not known: %s.", path, err)}
	}
	d.env = env{dir: filepath.Dir(absolute), home: opts.HomeDir}
	if d.env.home == "" {
		// Without a home directory "~" is an error where it is used.
		if home, err := os.UserHomeDir(); err == nil {
			d.env.home = home
		}
	}

	body := d.parse(path)
	var inv *Inventory
	if body != nil {
		inv = d.inventory(path, body, opts)
	}
	lock := d.lock(LockPath(path))
	d.exhaustion()
	d.finish(path)
	if d.diags.HasErrors() {
		return nil, nil, d.diags
	}
	return inv, lock, d.diags
}

// inventory decodes, completes and validates; its result counts only when no
// error was reported.
func (d *decoder) inventory(path string, body *hclsyntax.Body, opts Options) *Inventory {
	inv := &Inventory{Path: path, Dir: d.env.dir}
	root := schema()
	sc := d.scopeOf(body, opts)
	for _, name := range sourceOrder(body.Attributes) {
		d.report(unknownAttributeIn(root, body.Attributes[name]))
	}
	d.nestedBlocks(root, body, inv, sc)
	hosts := d.hosts(body, sc)
	d.complete(root, inv, hosts)
	d.validate(inv, hosts, body)
	for _, h := range hosts {
		inv.Hosts = append(inv.Hosts, h.resolve(d))
	}
	return inv
}

// parse reads and parses the inventory; nil when that failed.
func (d *decoder) parse(path string) *hclsyntax.Body {
	src, err := d.read(path)
	if diag := unreadable(path, src, err); diag != nil {
		if errors.Is(err, fs.ErrNotExist) {
			diag = advise(diag, "`kinstall init` writes an inventory to start from.")
		}
		d.report(diag)
		return nil
	}
	d.files[path] = &hcl.File{Bytes: src}
	return d.parseHCL(src, path)
}

// parseHCL parses a source that was read; nil when it has errors, which are
// reported.
func (d *decoder) parseHCL(src []byte, path string) *hclsyntax.Body {
	diag := anotherFormat(src, path)
	if diag == nil {
		diag = tooDeep(src, path)
	}
	if diag != nil {
		d.report(diag)
		return nil
	}
	file, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	if file != nil {
		d.files[path] = file
	}
	if diags.HasErrors() {
		if what := looksLike(src); what != "" {
			at := startOf(path)
			diags = hcl.Diagnostics{advise(invalidFormat.at(&at, "This looks like %s, not like HCL: %s", what, diags[0].Detail), "`kinstall init` shows the form.")}
		}
	}
	d.report(diags...)
	if diags.HasErrors() {
		return nil
	}
	return d.bodyOf(file)
}

// anotherFormat finds sources of which the parser would complain at every byte.
func anotherFormat(src []byte, path string) *hcl.Diagnostic {
	at := startOf(path)
	switch {
	case bytes.HasPrefix(src, []byte("\xff\xfe")), bytes.HasPrefix(src, []byte("\xfe\xff")), bytes.IndexByte(src[:min(len(src), 512)], 0) >= 0 && bytes.Count(src, []byte{0}) >= len(src)/4:
		return advise(invalidFormat.at(&at, "This is text in UTF-16, or no text at all."), "Save it as UTF-8: iconv -f UTF-16 -t UTF-8.")
	case !utf8.Valid(src):
		line := 1
		rest := src
		for len(rest) > 0 {
			r, size := utf8.DecodeRune(rest)
			if r == utf8.RuneError && size <= 1 {
				break
			}
			if r == '\n' {
				line++
			}
			rest = rest[size:]
		}
		return advise(invalidFormat.at(&at, "Line %d has a byte that is no text in UTF-8.", line), "Save it as UTF-8.")
	}
	return nil
}

var yamlLine = regexp.MustCompile(`^(---|- |[A-Za-z_][A-Za-z0-9_.-]*:( |$))`)

// looksLike names the format of a source that is not HCL, by its first line that
// says something; "" for HCL gone wrong.
func looksLike(src []byte) string {
	for line := range bytes.Lines(src) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0 || line[0] == '#':
		case line[0] == '{' || line[0] == '[' && (len(line) == 1 || !regexp.MustCompile(`^\[[A-Za-z_.:-]+\]$`).Match(line)):
			return "JSON"
		case line[0] == '[':
			return "an INI file"
		case yamlLine.Match(line):
			return "YAML"
		default:
			return ""
		}
	}
	return ""
}

// bodyOf is a file's body with its expressions bounded.
func (d *decoder) bodyOf(file *hcl.File) *hclsyntax.Body {
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		panic(fmt.Sprintf("inventory: hclsyntax parsed a %T", file.Body))
	}
	d.bound(body)
	return body
}

// readSource reads a file of bounded size.
func (d *decoder) readSource(path string) ([]byte, *hcl.Diagnostic) {
	src, err := d.read(path)
	if diag := unreadable(path, src, err); diag != nil {
		return nil, diag
	}
	return src, nil
}

// unreadable says what is wrong with a file that was read, nil if nothing.
func unreadable(path string, src []byte, err error) *hcl.Diagnostic {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fileUnreadable.at(nil, "%s does not exist.", path)
	case err != nil:
		return fileUnreadable.at(nil, "%s.", readFailure(path, err))
	case len(src) > maxSource:
		return fileTooLarge.at(nil, "%s has more than %d MiB.", path, maxSource>>20)
	}
	return nil
}

// Bounds on what one expression may hold; the parser and evaluator recurse.
const (
	maxDepth     = 100
	maxOperators = 2000
)

// tooDeep finds sources that nest so deep that parsing or evaluating them
// could exhaust the stack: by brackets and templates, or by a long chain of
// operators without a comma or line end.
func tooDeep(src []byte, filename string) *hcl.Diagnostic {
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos)
	depth, operators := 0, 0
	for _, token := range tokens {
		switch token.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp,
			hclsyntax.TokenTemplateControl, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
			depth++
		case hclsyntax.TokenOBrack:
			depth++
			operators++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCParen, hclsyntax.TokenCBrack,
			hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			depth--
		case hclsyntax.TokenComma:
			operators = 0
		case hclsyntax.TokenNewline:
			if depth <= 2 { // the end of an attribute, but for nested blocks
				operators = 0
			}
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenPlus, hclsyntax.TokenStar,
			hclsyntax.TokenSlash, hclsyntax.TokenPercent, hclsyntax.TokenQuestion, hclsyntax.TokenDot,
			hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual,
			hclsyntax.TokenGreaterThan, hclsyntax.TokenLessThan,
			hclsyntax.TokenGreaterThanEq, hclsyntax.TokenLessThanEq:
			operators++
		}
		if depth > maxDepth {
			return nestedTooDeep.at(token.Range.Ptr(), "Here %d brackets or templates are open.", depth)
		}
		if operators > maxOperators {
			return nestedTooDeep.at(token.Range.Ptr(), "This expression has more than %d operators.", maxOperators)
		}
	}
	return nil
}

// finish sorts the diagnostics by their place in the source, the inventory's
// first, and folds those that say the same of one place, as happens when a
// group's block is wrong.
func (d *decoder) finish(path string) {
	rank := func(diag *hcl.Diagnostic) (int, string, int) {
		switch {
		case diag.Subject == nil:
			return 0, "", 0
		case diag.Subject.Filename == path:
			return 1, "", diag.Subject.Start.Byte
		}
		return 2, diag.Subject.Filename, diag.Subject.Start.Byte
	}
	slices.SortStableFunc(d.diags, func(a, b *hcl.Diagnostic) int {
		ra, fa, ba := rank(a)
		rb, fb, bb := rank(b)
		if ra != rb {
			return ra - rb
		}
		if c := strings.Compare(fa, fb); c != 0 {
			return c
		}
		return ba - bb
	})
	type key struct {
		summary string
		subject hcl.Range
	}
	kept := make(map[key][]*hcl.Diagnostic)
	repeats := make(map[*hcl.Diagnostic]int)
	var folded hcl.Diagnostics
	for _, diag := range d.diags {
		k := key{summary: diag.Summary}
		if diag.Subject != nil {
			k.subject = *diag.Subject
		}
		same := func(other *hcl.Diagnostic) bool {
			if other.Detail == diag.Detail {
				return true
			}
			// Another host of the same group.
			return diag.Subject != nil && diag.EvalContext != nil && other.EvalContext != nil && diag.EvalContext != other.EvalContext
		}
		if i := slices.IndexFunc(kept[k], same); i >= 0 {
			repeats[kept[k][i]]++
			continue
		}
		kept[k] = append(kept[k], diag)
		folded = append(folded, diag)
	}
	for diag, n := range repeats {
		if diag.Subject == nil {
			continue
		}
		times := "once more"
		if n > 1 {
			times = fmt.Sprintf("%d times more", n)
		}
		diag.Detail += fmt.Sprintf(" (Found %s at this place, for other hosts.)", times)
	}
	d.diags = limited(folded)
}

// limited keeps messages and their number to what can be read: errors before
// warnings, and what is left as a count.
func limited(diags hcl.Diagnostics) hcl.Diagnostics {
	for _, diag := range diags {
		diag.Summary, diag.Detail = shortened(diag.Summary, 200), shortened(diag.Detail, 2000)
		if advice, ok := diag.Extra.(*Advice); ok {
			advice.Hint = shortened(advice.Hint, 2000)
		}
	}
	if len(diags) <= maxDiagnostics {
		return diags
	}
	var errs, warnings int
	for _, diag := range diags {
		if diag.Severity == hcl.DiagError {
			errs++
		}
	}
	room := map[hcl.DiagnosticSeverity]int{hcl.DiagError: min(errs, maxDiagnostics)}
	room[hcl.DiagWarning] = maxDiagnostics - room[hcl.DiagError]
	var kept hcl.Diagnostics
	for _, diag := range diags {
		if room[diag.Severity] > 0 {
			room[diag.Severity]--
			kept = append(kept, diag)
		} else if diag.Severity == hcl.DiagWarning {
			warnings++
		}
	}
	left := fmt.Sprintf("%d more errors", max(errs-maxDiagnostics, 0))
	switch {
	case errs <= maxDiagnostics:
		left = fmt.Sprintf("%d more warnings", warnings)
	case warnings > 0:
		left += fmt.Sprintf(" and %d warnings", warnings)
	}
	rest := tooMany.at(nil, "Not shown: %s.", left)
	if errs <= maxDiagnostics {
		rest.Severity = hcl.DiagWarning
	}
	if advice, ok := rest.Extra.(*Advice); ok {
		advice.MoreErrors, advice.MoreWarnings = max(errs-maxDiagnostics, 0), warnings
	}
	return append(kept, rest)
}

// shortened cuts a text in the middle of a line that nobody would read.
func shortened(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

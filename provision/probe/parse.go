package probe

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/kinstall/kinstall/plan/fact"
)

// An AnswerError says that a host could not answer one question.
type AnswerError struct {
	About   string // "file /etc/hosts", "host listen"
	Message string // the host's words, or what is wrong with its answer
}

func (e *AnswerError) Error() string { return e.About + ": " + e.Message }

// Parse reads what the script of the same queries printed. The error joins one
// *AnswerError for each question the host could not answer; it wraps
// ErrIncomplete when the output as a whole is not what the script prints.
func Parse(output []byte, queries []fact.Query) (fact.Set, error) {
	return ParseShared(new(fact.States), output, queries)
}

// ParseShared does so where many hosts' states are read, for them to share what
// they have in common.
func ParseShared(states *fact.States, output []byte, queries []fact.Query) (fact.Set, error) {
	answers, err := readFrames(output)
	if err != nil {
		return fact.Set{}, err
	}
	p := parser{states: states, answers: answers, used: map[string]bool{}}
	host := p.host()
	set := fact.NewSet(host)
	p.wire(&set, queries)
	var units, packages []fact.Query
	var routes, images bool
	var tables map[string][]route
	for i, q := range queries {
		about := string(q.Kind) + " " + q.Name
		switch q.Kind {
		case fact.KindFile:
			p.put(set, q, about, strconv.Itoa(i), func(text []byte) (any, error) { return parseFile(text, q) })
		case fact.KindSysctl:
			p.put(set, q, about, strconv.Itoa(i), parseSysctl)
		case fact.KindModule, fact.KindFirewall:
			p.put(set, q, about, strconv.Itoa(i), parsePresence)
		case fact.KindSwitch:
			p.put(set, q, about, strconv.Itoa(i), parseSwitch)
		case fact.KindEtcdData:
			p.put(set, q, about, strconv.Itoa(i), parseEtcdData)
		case fact.KindCertificates:
			p.put(set, q, about, strconv.Itoa(i), parseCertificates)
		case fact.KindRoutes:
			p.put(set, q, about, strconv.Itoa(i), parseRouteTable)
		case fact.KindUnit:
			units = append(units, q)
		case fact.KindStaticPod:
			p.put(set, q, about, strconv.Itoa(i), func(text []byte) (any, error) { return parsePod(text, host) })
		case fact.KindPackage:
			packages = append(packages, q)
		case fact.KindRoute:
			routes = true
		case fact.KindImage:
			images = true
		case fact.KindPath, fact.KindNeighbor:
			// answered by wire
		case fact.KindDockerImage:
			p.put(set, q, about, strconv.Itoa(i), parseDockerImage)
		default:
			p.fail(about, "a host can't answer this kind of question")
		}
	}
	if len(units) > 0 {
		p.units(set, units)
	}
	if len(packages) > 0 {
		p.packages(set, packages)
	}
	if routes {
		tables = map[string][]route{}
		for _, q := range queries {
			if q.Kind == fact.KindRoute {
				p.route(set, q, tables)
			}
		}
	}
	if images {
		p.images(set, queries)
	}
	for label := range answers {
		if !p.used[label] {
			p.fail("answer "+label, "nobody asked for it")
		}
	}
	if more := p.wrong - len(p.errs); more > 0 {
		p.errs = append(p.errs, fmt.Errorf("and %d more answers are wrong", more))
	}
	if len(p.errs) > 0 {
		return fact.Set{}, errors.Join(p.errs...)
	}
	return set, nil
}

// parser takes answers and collects what is wrong with them.
type parser struct {
	states  *fact.States
	answers map[string]answer
	used    map[string]bool
	errs    []error
	wrong   int // answers, those in errs included
}

// Of what is wrong, so many answers are told, and so many bytes of each.
const (
	maxErrors  = 20
	maxMessage = 1000
)

func (p *parser) fail(about, message string) {
	p.add(&AnswerError{clean(about), clean(message)})
}

func (p *parser) add(err error) {
	if p.wrong++; p.wrong <= maxErrors {
		p.errs = append(p.errs, err)
	}
}

// clean shortens what a host says, and takes out what would do something to the
// operator's terminal.
func clean(text string) string {
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r != unicode.ReplacementChar && unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

// take returns an answer once; ok is false when there is none, which is noted.
func (p *parser) take(about, label string) (text []byte, ok bool) {
	a, there := p.answers[label]
	p.used[label] = true
	switch {
	case !there:
		p.add(fmt.Errorf("%w: %s was not answered", ErrIncomplete, about))
		return nil, false
	case a.failed:
		message := strings.TrimSpace(string(a.text))
		if message == "" {
			message = "failed without a word"
		}
		p.fail(about, message)
		return nil, false
	}
	return a.text, true
}

// put records the answer that is one query's own.
func (p *parser) put(set fact.Set, q fact.Query, about, label string, parse func([]byte) (any, error)) {
	text, ok := p.take(about, label)
	if !ok {
		return
	}
	value, err := parse(text)
	if err != nil {
		p.fail(about, err.Error())
		return
	}
	set.Put(q.Key(), value)
}

// The bits of st_mode, as stat's %f prints them (inode(7)).
const (
	modeType      = 0o170000
	modeDirectory = 0o040000
	modeRegular   = 0o100000
	modeLink      = 0o120000
	modeBits      = 0o7777
)

// parseFile reads "FORM DIGEST SIZE MODE UID USER GID GROUP MTIME CTIME", the times
// as three words each, and, after a newline, the content in base64 or the link's
// target.
func parseFile(text []byte, q fact.Query) (any, error) {
	if string(text) == "absent" {
		return fact.File{}, nil
	}
	head, rest, _ := bytes.Cut(text, []byte("\n"))
	words := strings.Split(string(head), " ")
	if len(words) != 14 {
		return nil, fmt.Errorf("unreadable answer %s", excerpt(head))
	}
	size, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil || size < 0 {
		return nil, fmt.Errorf("unreadable size %q", words[2])
	}
	mode, err := strconv.ParseUint(words[3], 16, 32)
	if err != nil {
		return nil, fmt.Errorf("unreadable mode %q", words[3])
	}
	mtime, err := parseStatTime(words[8:11])
	if err != nil {
		return nil, err
	}
	ctime, err := parseStatTime(words[11:14])
	if err != nil {
		return nil, err
	}
	file := fact.File{
		Exists: true,
		MTime:  mtime,
		CTime:  ctime,
		Type:   "other",
		Mode:   uint32(mode) & modeBits,
		Owner:  nameOr(words[5], words[4]),
		Group:  nameOr(words[7], words[6]),
		Size:   size,
	}
	switch mode & modeType {
	case modeDirectory:
		file.Type = "directory"
	case modeRegular:
		file.Type = "file"
	case modeLink:
		file.Type = "link"
	}
	if file.Type == "file" {
		if !sha256Hex.MatchString(words[1]) {
			return nil, fmt.Errorf("unreadable digest %s", excerpt([]byte(words[1])))
		}
		// Not a part of the answer: it would be kept as long as the digest is.
		if file.SHA256 = q.WantSHA256; words[1] != file.SHA256 {
			file.SHA256 = strings.Clone(words[1])
		}
	}
	// A file may be nothing but the block.
	file.BlockAsWanted = q.Block && file.Type == "file" && file.SHA256 == q.WantSHA256
	switch form := words[0]; {
	case form == "block" && file.Type == "file" && q.Block:
		file.BlockAsWanted = true
		return file, nil
	case form == "large" && file.Type == "file" && q.Content && !q.Block && q.WantSHA256 != "":
		file.ContentLeftOut = true
		return file, nil
	case form == "plain" && file.Type != "link":
	case form == "target" && file.Type == "link":
		file.Target = string(rest)
	case form == "content" && file.Type == "file" && q.Content:
		content, err := decode(rest)
		if err != nil {
			return nil, err
		}
		// The file may have changed since it was hashed: what came is what counts.
		sum := sha256.Sum256(content)
		file.SHA256, file.Size = hex.EncodeToString(sum[:]), int64(len(content))
		if file.SHA256 != q.WantSHA256 {
			file.Content, file.HasContent = content, true
		}
	default:
		return nil, fmt.Errorf("unexpected answer %s", excerpt(head))
	}
	if q.Content && file.Type == "file" && !file.HasContent && file.SHA256 != q.WantSHA256 {
		return nil, errors.New("the content was asked for and did not come")
	}
	return file, nil
}

// parseStatTime reads a time as stat's %y prints it; a fraction may be missing.
func parseStatTime(words []string) (time.Time, error) {
	text := strings.Join(words, " ")
	t, err := time.Parse("2006-01-02 15:04:05 -0700", text)
	if err != nil {
		return time.Time{}, fmt.Errorf("unreadable time %q", text)
	}
	return t.UTC(), nil
}

// nameOr returns the name of a user or group, or the number where stat knows none.
func nameOr(name, number string) string {
	switch name {
	case "root":
		return "root" // and not a part of the answer, which would be kept with it
	case "UNKNOWN":
		return strings.Clone(number)
	}
	return strings.Clone(name)
}

func decode(text []byte) ([]byte, error) {
	packed := bytes.ReplaceAll(text, []byte("\n"), nil)
	content := make([]byte, base64.StdEncoding.DecodedLen(len(packed)))
	n, err := base64.StdEncoding.Strict().Decode(content, packed)
	if err != nil {
		return nil, fmt.Errorf("unreadable content: %w", err)
	}
	return content[:n], nil
}

func parseSysctl(text []byte) (any, error) {
	if string(text) == "absent" {
		return fact.Value{}, nil
	}
	value, ok := bytes.CutPrefix(text, []byte("value\n"))
	if !ok {
		return nil, fmt.Errorf("unexpected answer %s", excerpt(text))
	}
	return fact.Value{Exists: true, Value: string(value)}, nil
}

// parseCertificates reads "absent", "dangling" (a link that leads nowhere), or the
// form of the path and certificates in PEM.
func parseCertificates(text []byte) (any, error) {
	form, rest, _ := bytes.Cut(text, []byte("\n"))
	switch string(form) {
	case "absent":
		return fact.Certificates{}, nil
	case "dangling":
		return fact.Certificates{Link: true}, nil
	case "file", "link":
		return fact.Certificates{Exists: true, Link: string(form) == "link", PEM: rest}, nil
	}
	return nil, fmt.Errorf("unexpected answer %s", excerpt(form))
}

// parsePresence reads the answers about modules and firewall rules.
func parsePresence(text []byte) (any, error) {
	switch word := string(text); word {
	case "absent":
		return fact.Value{}, nil
	case fact.Loadable, fact.Unlisted:
		return fact.Value{Value: word}, nil
	case "present", "loaded", "built in", "in effect":
		return fact.Value{Exists: true, Value: word}, nil
	}
	return nil, fmt.Errorf("unexpected answer %s", excerpt(text))
}

// parseSwitch reads the datapath and the fail mode ("[]" for none), a line each,
// a table of interfaces in ovs-vsctl's JSON (RFC 7047, 5.1) and what diff-flows
// says.
func parseSwitch(text []byte) (any, error) {
	if string(text) == "absent" {
		return fact.Switch{}, nil
	}
	all := strings.Split(string(text), "\n")
	if len(all) < 4 || all[0] != "switch" {
		return nil, fmt.Errorf("unexpected answer %s", excerpt(text))
	}
	word := func(line string) string { return strings.Trim(strings.Trim(line, `"`), "[]") }
	found := fact.Switch{Exists: true, Datapath: word(all[1]), FailMode: word(all[2]), Ports: map[string]fact.SwitchPort{}}
	var table struct{ Data [][4]any }
	if err := json.Unmarshal([]byte(all[3]), &table); err != nil {
		return nil, fmt.Errorf("unreadable table of interfaces: %w", err)
	}
	for _, row := range table.Data {
		name, _ := row[0].(string)
		port := fact.SwitchPort{}
		port.Type, _ = row[1].(string)
		port.Error, _ = row[3].(string) // an empty set where there is none
		if options, ok := row[2].([]any); ok && len(options) == 2 {
			pairs, _ := options[1].([]any)
			for _, pair := range pairs {
				if kv, ok := pair.([]any); ok && len(kv) == 2 {
					if port.Options == nil {
						port.Options = map[string]string{}
					}
					port.Options[fmt.Sprint(kv[0])] = fmt.Sprint(kv[1])
				}
			}
		}
		found.Ports[name] = port
	}
	for _, line := range all[4:] {
		if line != "" {
			found.Flows = append(found.Flows, line)
		}
	}
	return found, nil
}

// packages reads dpkg-query's lines "NAME STATUS VERSION". A package has one
// line for each architecture, and none when dpkg never heard of it.
func (p *parser) packages(set fact.Set, queries []fact.Query) {
	text, ok := p.take("packages", "packages")
	if !ok {
		return
	}
	known := map[string]fact.Package{}
	for _, line := range lines(text) {
		words := strings.Split(line, " ")
		if len(words) != 3 {
			p.fail("packages", fmt.Sprintf("unexpected answer %s", excerpt([]byte(line))))
			return
		}
		if words[1] == "installed" {
			known[words[0]] = fact.Package{Installed: true, Version: words[2]}
		}
	}
	for _, q := range queries {
		set.Put(q.Key(), known[q.Name])
	}
}

// images reads `ctr images ls`: REF TYPE DIGEST SIZE PLATFORMS LABELS.
func (p *parser) images(set fact.Set, queries []fact.Query) {
	text, ok := p.take("images", "images")
	if !ok {
		return
	}
	observable := string(text) != "unobservable"
	digests := map[string]string{}
	if observable {
		table := lines(text)
		if table[0] != "observable" || len(table) > 1 && !strings.HasPrefix(table[1], "REF") {
			p.fail("images", fmt.Sprintf("unexpected answer %s", excerpt(text)))
			return
		}
		for _, line := range table[1:] {
			words := strings.Fields(line)
			if len(words) >= 3 && strings.HasPrefix(words[2], "sha256:") {
				digests[words[0]] = words[2]
			}
		}
	}
	for _, q := range queries {
		if q.Kind == fact.KindImage {
			digest, exists := digests[q.Name]
			set.Put(q.Key(), fact.Image{Observable: observable, Exists: exists, Digest: digest})
		}
	}
}

// parseDockerImage reads the answer about one image: its ID, if there is one.
func parseDockerImage(text []byte) (any, error) {
	switch word := string(text); {
	case word == "unobservable":
		return fact.Image{}, nil
	case word == "absent":
		return fact.Image{Observable: true}, nil
	case strings.HasPrefix(word, "sha256:"):
		return fact.Image{Observable: true, Exists: true, Digest: word}, nil
	}
	return nil, fmt.Errorf("unexpected answer %s", excerpt(text))
}

// route is one entry of the main routing table.
type route struct {
	destination netip.Prefix
	metric      int
	fact.Route
}

// route answers from the table of the destination's family, read once.
func (p *parser) route(set fact.Set, q fact.Query, tables map[string][]route) {
	about := "route " + q.Name
	destination, metric, err := parseRouteName(q.Name)
	if err != nil {
		p.fail(about, "not a network prefix")
		return
	}
	label := "routes4"
	if destination.Addr().Is6() {
		label = "routes6"
	}
	table, read := tables[label]
	if !read {
		if text, ok := p.take(about, label); ok {
			if table, err = parseRoutes(text, label == "routes6"); err != nil {
				p.fail(about, err.Error())
			}
		}
		tables[label] = table
	}
	best := route{}
	for _, r := range table {
		if r.destination == destination && (metric < 0 || r.metric == metric) && (!best.Exists || r.metric < best.metric) {
			best = r
		}
	}
	set.Put(q.Key(), best.Route)
}

// parseRouteName reads a destination, or what fact.RouteOfMetric makes of one;
// the metric is -1 where any will do.
func parseRouteName(name string) (destination netip.Prefix, metric int, err error) {
	prefix, number, hasMetric := strings.Cut(name, " metric ")
	if destination, err = parseDestination(prefix); err != nil || !hasMetric {
		return destination, -1, err
	}
	metric, err = strconv.Atoi(number)
	return destination, metric, err
}

// routeTypes are the words that may stand before a destination (ip-route(8)).
var routeTypes = map[string]bool{
	"unicast": true, "unreachable": true, "blackhole": true, "prohibit": true, "throw": true,
	"local": true, "broadcast": true, "multicast": true, "anycast": true, "nat": true,
}

// parseRoutes reads `ip -o route show`: one line a route, its next hops
// separated by backslashes when there are several.
func parseRoutes(text []byte, six bool) ([]route, error) {
	var table []route
	for _, line := range lines(text) {
		words := strings.Fields(strings.ReplaceAll(line, `\`, " "))
		if len(words) > 0 && routeTypes[words[0]] {
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		r := route{Route: fact.Route{Exists: true}}
		destination := words[0]
		if destination == "default" {
			destination = "0.0.0.0/0"
			if six {
				destination = "::/0"
			}
		}
		var err error
		if r.destination, err = parseDestination(destination); err != nil {
			return nil, fmt.Errorf("unreadable route %s", excerpt([]byte(line)))
		}
		var hops []string
		for i := 1; i+1 < len(words); i++ {
			switch value := words[i+1]; words[i] {
			case "via":
				if (value == "inet" || value == "inet6") && i+2 < len(words) { // a next hop of the other family
					value = words[i+2]
				}
				hops = append(hops, value)
			case "dev":
				if r.Device == "" {
					r.Device = value
				}
			case "metric":
				r.metric, err = strconv.Atoi(value)
				if err != nil {
					return nil, fmt.Errorf("unreadable metric in route %s", excerpt([]byte(line)))
				}
			}
		}
		r.Via = strings.Join(hops, ",")
		table = append(table, r)
	}
	return table, nil
}

// parseRouteTable reads the answer about all routes of a metric: a word and,
// where they are not as wanted, those of both families.
func parseRouteTable(text []byte) (any, error) {
	word, rest, _ := bytes.Cut(text, []byte("\n"))
	switch string(word) {
	case "wanted":
		return fact.Routes{AsWanted: true}, nil
	case "found":
	default:
		return nil, fmt.Errorf("unexpected answer %s", excerpt(text))
	}
	var found fact.Routes
	four, six, ok := bytes.Cut(rest, []byte("--\n"))
	if !ok {
		return nil, fmt.Errorf("unexpected answer %s", excerpt(text))
	}
	for _, family := range []struct {
		text []byte
		six  bool
	}{{four, false}, {six, true}} {
		table, err := parseRoutes(family.text, family.six)
		if err != nil {
			return nil, err
		}
		for _, r := range table {
			found.Routes = append(found.Routes, fact.HostRoute{Destination: r.destination.String(), Route: r.Route})
		}
	}
	return found, nil
}

// parseDestination reads a prefix, or an address as the prefix of its own.
func parseDestination(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	return prefix.Masked(), err
}

// lines splits text, without an empty line for no text.
func lines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

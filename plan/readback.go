package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/pelletier/go-toml/v2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	kubeproxyv1 "k8s.io/kube-proxy/config/v1alpha1"
	kubeletv1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// readBack reads everything that was rendered by a reader of its format and
// reports what is not as it was meant. What many hosts have in common is read
// once. Hosts' own files differ in little but names and addresses, which have
// grammars of their own: what is equal but for them is read once as well.
func (c *compiler) readBack() {
	type content struct{ path, sum string }
	shared := map[content]bool{}
	seen := map[[sha256.Size]byte]bool{}
	masks := make(map[string]mask, len(c.inventory.Hosts)) // none where nothing is a host's
	for i := range c.inventory.Hosts {
		h := &c.inventory.Hosts[i]
		masks[h.Name] = c.maskOf(h)
	}
	for i := range c.steps {
		s := &c.steps[i]
		if f, ok := s.Resource.(resource.File); ok && f.SHA256 != "" {
			key := content{f.Path, f.SHA256}
			if shared[key] {
				continue
			}
			shared[key] = true
		}
		text, check := readerOf(s.Resource)
		if check == nil {
			continue
		}
		own := masks[s.Host]
		key := own.sum(text)
		if seen[key] {
			continue
		}
		seen[key] = true
		if err := check(); err != nil {
			c.diags = append(c.diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Rendered file can't be read back",
				Detail: fmt.Sprintf("%s would not be what it is meant to be, so that nothing is planned: %s. A value of the inventory has no place in it, or this is a mistake of kinstall's: please report it.", s.ID(), clip(err.Error())),
			})
		}
	}
}

func clip(s string) string {
	const limit = 500
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// mask is what is a host's alone in its files: names and addresses, each always
// in the same place, nil if there is none.
type mask [5][]byte

func (c *compiler) maskOf(h *inventory.Host) mask {
	m := mask{[]byte(h.Address.String()), []byte(h.Name)}
	if h.AddressV6.IsValid() {
		m[2] = []byte(h.AddressV6.String())
	}
	for i, subnets := range []map[string]netip.Prefix{c.subnets, c.subnetsV6} {
		if subnet, ok := subnets[h.Name]; ok {
			m[3+i] = []byte(subnet.String()) //nolint:gosec // i is 0 or 1
		}
	}
	return m
}

// sum is the digest of a text with marks in place of what is the host's alone.
// Nothing that is rendered holds a zero byte, so that no text looks masked.
func (m *mask) sum(text string) [sha256.Size]byte {
	masked := []byte(text)
	for i, own := range m {
		if own != nil && bytes.Contains(masked, own) {
			masked = bytes.ReplaceAll(masked, own, []byte{0, byte(i)})
		}
	}
	return sha256.Sum256(masked)
}

// readerOf returns what was rendered and who reads it; nil for resources that
// are no text.
func readerOf(r resource.Resource) (text string, check func() error) {
	switch r := r.(type) {
	case resource.File:
		if r.Sensitive {
			return r.Path, func() error { return parse(r.Path, r.Content) }
		}
		return r.Path + "\n" + string(r.Content), func() error { return parse(r.Path, r.Content) }
	case resource.StaticPod:
		return r.Path + "\n" + r.Manifest, func() error { return parsePod(r) }
	case resource.Object:
		return string(r.ID()) + "\n" + r.YAML, func() error { return parseObject(r) }
	}
	return "", nil
}

// ReadBack reads everything the plan renders by a reader of its format and
// returns the single values: "STEP PLACE" → value, where PLACE is the path of
// keys in a structured format and the number of line and word in the others.
// Escapes of the format are undone.
func (p *Plan) ReadBack() (map[string]string, error) {
	all := map[string]string{}
	for _, s := range p.Steps {
		_, check := readerOf(s.Resource)
		if check == nil {
			if b, ok := s.Resource.(resource.Block); ok {
				wordsInto(all, string(s.ID()), b.Content)
			}
			continue
		}
		if err := check(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.ID(), err)
		}
		at := string(s.ID())
		var err error
		switch r := s.Resource.(type) {
		case resource.File:
			err = valuesInto(all, at, r.Path, r.Content)
		case resource.StaticPod:
			values := map[string]string{}
			err = valuesInto(values, at, r.Path, []byte(r.Manifest))
			for place, value := range values {
				if strings.Contains(place, ` "command" `) {
					value = undoubled(value, '$', "(")
				}
				all[place] = value
			}
		case resource.Object:
			err = valuesInto(all, at, ".json", r.Manifest)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.ID(), err)
		}
	}
	return all, nil
}

func valuesInto(all map[string]string, at, path string, content []byte) error {
	var document any
	switch {
	case strings.HasSuffix(path, ".yaml"), strings.HasSuffix(path, ".json"), strings.HasSuffix(path, ".conflist"),
		strings.HasSuffix(path, ".conf") && bytes.Contains(content, []byte("\nkind: Config\n")):
		if err := yaml.Unmarshal(content, &document); err != nil {
			return err
		}
		leavesInto(all, at, document)
	case strings.HasSuffix(path, ".toml"):
		if err := toml.Unmarshal(content, &document); err != nil {
			return err
		}
		leavesInto(all, at, document)
	case strings.HasSuffix(path, ".service"):
		// Escapes of systemd.service(5); a backslash joins lines.
		text := strings.ReplaceAll(string(content), "\\\n", " ")
		wordsInto(all, at, undoubled(undoubled(text, '%', ""), '$', ""))
	case strings.HasPrefix(path, "/etc/sysctl.d/"):
		for line := range strings.Lines(string(content)) {
			if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " = "); ok {
				all[at+" "+key] = value
			}
		}
	default:
		wordsInto(all, at, string(content))
	}
	return nil
}

// undoubled reads a sign that stands for itself when it is doubled. Alone, and
// before one of the characters in before (before any if there are none), its
// reader would put something else in its place.
func undoubled(s string, sign byte, before string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != sign {
			b.WriteByte(s[i])
			continue
		}
		switch {
		case i+1 < len(s) && s[i+1] == sign:
			b.WriteByte(sign)
			i++
		case before == "" || i+1 < len(s) && strings.IndexByte(before, s[i+1]) >= 0:
			b.WriteString("(replaced)")
		default:
			b.WriteByte(sign)
		}
	}
	return b.String()
}

// leavesInto walks a document.
func leavesInto(all map[string]string, at string, node any) {
	switch n := node.(type) {
	case map[string]any:
		for key, value := range n {
			leavesInto(all, at+" "+strconv.Quote(key), value)
		}
	case []any:
		for i, value := range n {
			leavesInto(all, at+" "+strconv.Itoa(i), value)
		}
	default:
		all[at] = fmt.Sprint(n)
	}
}

// wordsInto cuts lines into words as a shell and systemd do: double quotes keep
// blanks together, in them a backslash takes the next character as it is.
func wordsInto(all map[string]string, at, text string) {
	for number, line := range strings.Split(text, "\n") {
		word, quoted, index, any := "", byte(0), 0, false
		end := func() {
			if any {
				all[fmt.Sprintf("%s line %d word %d", at, number, index)] = word
				index++
			}
			word, any = "", false
		}
		for i := 0; i < len(line); i++ {
			switch b := line[i]; {
			case b == '\\' && quoted == '"' && i+1 < len(line):
				i++
				word += string(line[i])
			case quoted != 0 && b == quoted:
				quoted = 0
			case quoted == 0 && b == '"':
				quoted, any = b, true
			case quoted == 0 && (b == ' ' || b == '\t'):
				end()
			default:
				word += string([]byte{b})
				any = true
			}
		}
		end()
	}
}

// strict reads exactly one YAML document without unknown or repeated keys.
func strict[T any](content []byte) error {
	var into T
	if err := oneDocument(content); err != nil {
		return err
	}
	return yaml.UnmarshalStrict(content, &into)
}

// oneDocument refuses a second document, which yaml.Unmarshal would pass over.
func oneDocument(content []byte) error {
	for line := range bytes.Lines(content) {
		if bytes.HasPrefix(line, []byte("---")) || bytes.HasPrefix(line, []byte("...")) {
			return fmt.Errorf("a second YAML document")
		}
	}
	return nil
}

// parseKubeconfig reads a kubeconfig that names its credentials by path.
func parseKubeconfig(content []byte) error {
	type named[T any] struct {
		Name    string `json:"name"`
		Cluster T      `json:"cluster"`
		Context T      `json:"context"`
		User    T      `json:"user"`
	}
	return strict[struct {
		APIVersion     string                     `json:"apiVersion"`
		Kind           string                     `json:"kind"`
		Clusters       []named[map[string]string] `json:"clusters"`
		Contexts       []named[map[string]string] `json:"contexts"`
		Users          []named[map[string]string] `json:"users"`
		CurrentContext string                     `json:"current-context"`
	}](content)
}

// parse reads a file by its path.
func parse(path string, content []byte) error {
	if !bytes.HasSuffix(content, []byte("\n")) || bytes.Contains(content, []byte("<no value>")) {
		return fmt.Errorf("not rendered as meant:\n%s", content)
	}
	switch {
	case path == kubeletConfig:
		return strict[kubeletv1.KubeletConfiguration](content)
	case path == birdConfig:
		return parseBird(content)
	case path == routesFile:
		return lines(content, `^(#.*|[0-9a-f.:]+/[0-9]+ via [0-9a-f.:]+)$`)
	case path == switchFlows:
		const network = `[0-9.]+/[0-9]+`
		return lines(content, `^priority=(200,in_port=tunnel0,(ip,nw_dst|arp,arp_tpa)=`+network+` actions=output:pods0`+
			`|100,in_port=pods0,(ip,nw_dst|arp,arp_tpa)=`+network+` actions=set_field:[0-9.]+->tun_dst,output:tunnel0)$`)
	case strings.HasPrefix(path, "/etc/modprobe.d/"):
		return lines(content, `^install [a-z]+ /bin/true$`)
	case path == flannelConfig:
		var config struct {
			Network, SubnetMin         string
			SubnetLen                  int
			EnableIPv6                 bool
			IPv6Network, IPv6SubnetMin string
			IPv6SubnetLen              int
			Backend                    struct {
				Type string
				MTU  int
			}
		}
		decoder := json.NewDecoder(bytes.NewReader(content))
		decoder.DisallowUnknownFields()
		return decoder.Decode(&config)
	case path == auditPolicyFile:
		return parseAuditPolicy(content)
	case path == auditWebhookFile:
		return parseWebhook(content)
	case path == authenticationFile:
		return parseAuthentication(content)
	case path == admissionFile:
		return parseAdmission(content)
	case path == "/var/lib/kube-proxy/config.yaml":
		return strict[kubeproxyv1.KubeProxyConfiguration](content)
	case path == keepalivedConfig:
		return parseKeepalived(content)
	case strings.HasSuffix(path, "/"+KeepalivedUnit+".d/kinstall.conf"):
		return lines(content, `^(\[Service\]|ExecStartPre=/[a-z/.]+ interface)$`)
	case strings.HasPrefix(path, "/etc/nginx/"):
		return parseNginx(content)
	case strings.HasPrefix(path, "/etc/haproxy/"):
		return parseHAProxy(content)
	case strings.HasSuffix(path, ".service.d/kinstall.conf"):
		return lines(content, `^(\[Service\]|Exec(Start|Reload)=(/[^"\\%]+)?)$`)
	case strings.HasPrefix(path, "/etc/modules-load.d/"):
		return lines(content, `^[a-z0-9_]+$`)
	case strings.HasPrefix(path, "/etc/sysctl.d/"):
		return lines(content, `^[a-z0-9_./-]+ = .+$`)
	case strings.HasSuffix(path, ".env"):
		return lines(content, `^ETCD_[A-Z0-9_]+="([^"\\]|\\.)*"$`)
	case strings.HasSuffix(path, ".service.d/kinstall-proxy.conf"):
		return lines(content, `^(\[Service\]|Environment="[A-Z_]+=[^"\\%]+")$`)
	case strings.HasSuffix(path, "/ca.crt"):
		return nil // the user's
	case path == dockerConfig, strings.HasSuffix(path, "/config.json"):
		var into map[string]any
		return json.Unmarshal(content, &into)
	case strings.HasSuffix(path, "/hosts.toml"):
		var into struct {
			Server string                    `toml:"server"`
			CA     string                    `toml:"ca"`
			Host   map[string]map[string]any `toml:"host"`
		}
		return toml.NewDecoder(bytes.NewReader(content)).DisallowUnknownFields().Decode(&into)
	case strings.HasSuffix(path, ".conf"):
		return parseKubeconfig(content)
	case strings.HasSuffix(path, ".toml"):
		var config struct {
			Version int
			Plugins map[string]any
		}
		if err := toml.Unmarshal(content, &config); err != nil {
			return err
		}
		if config.Version != 3 || config.Plugins["io.containerd.cri.v1.runtime"] == nil {
			return fmt.Errorf("not a configuration of containerd: %+v", config)
		}
		return nil
	case strings.HasSuffix(path, ".conflist"):
		var list struct {
			CNIVersion string
			Plugins    []struct{ Type string }
		}
		return json.Unmarshal(content, &list)
	case strings.HasSuffix(path, ".socket"):
		return lines(content, `^(\[(Unit|Socket|Install)\]|[A-Za-z]+=.+|)$`)
	case strings.HasSuffix(path, ".service"):
		return parseUnit(content)
	case strings.HasSuffix(path, ".sh"):
		return nil // constants, and words that are quoted one by one
	}
	return fmt.Errorf("nobody reads this format back")
}

// lines checks that each line but comments has a form.
func lines(content []byte, form string) error {
	expression := regexp.MustCompile(form)
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "#") && !expression.MatchString(line) {
			return fmt.Errorf("line %q", line)
		}
	}
	return nil
}

// parseUnit reads a systemd unit as systemd.syntax(7) has it.
func parseUnit(content []byte) error {
	sections := map[string]map[string]bool{
		"Unit": {"Description": true, "Documentation": true, "After": true, "Wants": true, "Before": true, "StartLimitIntervalSec": true, "Requires": true, "PartOf": true},
		"Service": {"Type": true, "ExecStart": true, "ExecStartPre": true, "ExecReload": true, "RuntimeDirectory": true, "Delegate": true, "KillMode": true, "Restart": true, "RestartSec": true, "TasksMax": true, "TimeoutStartSec": true, "EnvironmentFile": true, "NoNewPrivileges": true, "ProtectSystem": true, "RemainAfterExit": true, "SuccessExitStatus": true,
			"User": true, "Group": true, "LoadCredential": true},
		"Install": {"WantedBy": true},
	}
	section := ""
	starts := 0
	for line := range strings.Lines(strings.ReplaceAll(string(content), "\\\n", " ")) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || value == "" || !sections[section][key] {
			return fmt.Errorf("section %q, line %q", section, line)
		}
		if key == "ExecStart" {
			starts++
			if !strings.HasPrefix(value, "/") {
				return fmt.Errorf("not an absolute path: %q", line)
			}
		}
	}
	if starts != 1 {
		return fmt.Errorf("%d lines ExecStart", starts)
	}
	return nil
}

// parseNginx checks that directives end with a semicolon and blocks close.
func parseNginx(content []byte) error {
	depth := 0
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case strings.HasSuffix(line, "{"):
			depth++
		case line == "}":
			depth--
		case !strings.HasSuffix(line, ";") || strings.ContainsAny(strings.TrimSuffix(line, ";"), ";{}$"):
			return fmt.Errorf("line %q", line)
		}
		if depth < 0 {
			return fmt.Errorf("a block too many is closed")
		}
	}
	if depth != 0 {
		return fmt.Errorf("%d blocks stay open", depth)
	}
	return nil
}

// parseHAProxy checks that every line stands in a section that is known, starts
// with a keyword and has no word that HAProxy would read otherwise: quotes,
// backslashes, variables and comments have a meaning to it.
func parseHAProxy(content []byte) error {
	section := regexp.MustCompile(`^(global|defaults kinstall|(frontend|backend) (kinstall-apiserver|listen-[a-z0-9-]+) from kinstall)$`)
	statement := regexp.MustCompile(`^    [a-z][a-z_-]*( [A-Za-z0-9_./:@+*\[\]-]+)*$`)
	open := false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.TrimSpace(line) == "" || strings.TrimSpace(line)[0] == '#':
		case section.MatchString(line):
			open = true
		case !open || !statement.MatchString(line):
			return fmt.Errorf("line %q", line)
		}
	}
	return nil
}

// parseKeepalived checks that each line is a keyword with plain words or one
// quoted command after it, and that blocks close.
func parseKeepalived(content []byte) error {
	form := regexp.MustCompile(`^([a-z_]+( [A-Za-z0-9_./:-]+)*( "[A-Za-z0-9_./ -]+")?( \{)?|[0-9a-f.:]+|\})$`)
	depth := 0
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case !form.MatchString(line):
			return fmt.Errorf("line %q", line)
		case line == "}":
			depth--
		case strings.HasSuffix(line, "{"):
			depth++
		}
		if depth < 0 {
			return fmt.Errorf("a block too many is closed")
		}
	}
	if depth != 0 {
		return fmt.Errorf("%d blocks stay open", depth)
	}
	return nil
}

// parseBird checks that statements end with a semicolon and blocks close.
func parseBird(content []byte) error {
	depth := 0
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case strings.HasSuffix(line, "{"):
			depth++
		case line == "}" || line == "};":
			depth--
			if (depth == 0) != (line == "}") {
				return fmt.Errorf("a block ends with %q at depth %d", line, depth)
			}
		case !strings.HasSuffix(line, ";"):
			return fmt.Errorf("line %q", line)
		}
	}
	if depth != 0 {
		return fmt.Errorf("%d blocks stay open", depth)
	}
	return nil
}

func parsePod(r resource.StaticPod) error {
	if strings.Count(r.Manifest, resource.Placeholder) != 1 {
		return fmt.Errorf("the placeholder must stand there once:\n%s", r.Manifest)
	}
	var pod corev1.Pod
	if err := oneDocument([]byte(r.Manifest)); err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict([]byte(r.Manifest), &pod); err != nil {
		return err
	}
	if pod.Name != r.Name || !pod.Spec.HostNetwork || pod.Spec.PriorityClassName != "system-node-critical" || len(pod.Spec.Containers) != 1 {
		return fmt.Errorf("not the pod that was meant")
	}
	// What a flag names must be mounted.
	container := pod.Spec.Containers[0]
	for _, word := range container.Command {
		_, value, _ := strings.Cut(word, "=")
		if strings.HasPrefix(value, "/etc/kubernetes/") && !slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.MountPath == value || strings.HasPrefix(value, m.MountPath+"/")
		}) {
			return fmt.Errorf("%s is not mounted", value)
		}
	}
	var names []string
	for _, v := range pod.Spec.Volumes {
		if len(v.Name) > 63 || slices.Contains(names, v.Name) {
			return fmt.Errorf("volume name %q", v.Name)
		}
		names = append(names, v.Name)
	}
	return nil
}

func parseObject(r resource.Object) error {
	switch r.Kind {
	case "ServiceAccount":
		return strict[corev1.ServiceAccount](r.Manifest)
	case "ConfigMap":
		return strict[corev1.ConfigMap](r.Manifest)
	case "Service":
		return strict[corev1.Service](r.Manifest)
	case "DaemonSet":
		return strict[appsv1.DaemonSet](r.Manifest)
	case "Deployment":
		return strict[appsv1.Deployment](r.Manifest)
	case "ClusterRole":
		return strict[rbacv1.ClusterRole](r.Manifest)
	case "ClusterRoleBinding":
		return strict[rbacv1.ClusterRoleBinding](r.Manifest)
	}
	return fmt.Errorf("nobody reads a %s back", r.Kind)
}

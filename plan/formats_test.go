package plan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	kubeproxyv1 "k8s.io/kube-proxy/config/v1alpha1"
	kubeletv1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/resource"
)

// Everything that is rendered is read back by a reader of its format.
func TestRenderedFilesParse(t *testing.T) {
	for name, inv := range variants(t) {
		p := compile(t, inv)
		for _, s := range p.Steps {
			var err error
			switch r := s.Resource.(type) {
			case resource.File:
				err = parse(r.Path, r.Content)
			case resource.StaticPod:
				err = parsePod(r)
			case resource.Object:
				err = parseObject(r)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", name, s.ID(), err)
			}
		}
	}
}

func strict[T any](content []byte) error {
	var into T
	return yaml.UnmarshalStrict(content, &into)
}

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
	case path == "/var/lib/kube-proxy/config.yaml":
		return strict[kubeproxyv1.KubeProxyConfiguration](content)
	case strings.HasPrefix(path, "/etc/nginx/"):
		return parseNginx(content)
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
		return strict[clientcmdv1.Config](content)
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
		shell := exec.Command("sh", "-n")
		shell.Stdin = bytes.NewReader(content)
		if out, err := shell.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	return fmt.Errorf("nobody reads this format back")
}

// lines checks that each line but comments has a form.
func lines(content []byte, form string) error {
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "#") && !regexp.MustCompile(form).MatchString(line) {
			return fmt.Errorf("line %q", line)
		}
	}
	return nil
}

// parseUnit reads a systemd unit as systemd.syntax(7) has it.
func parseUnit(content []byte) error {
	sections := map[string]map[string]bool{
		"Unit":    {"Description": true, "Documentation": true, "After": true, "Wants": true, "Before": true, "StartLimitIntervalSec": true, "Requires": true, "PartOf": true},
		"Service": {"Type": true, "ExecStart": true, "ExecStartPre": true, "ExecReload": true, "RuntimeDirectory": true, "Delegate": true, "KillMode": true, "Restart": true, "RestartSec": true, "TasksMax": true, "TimeoutStartSec": true, "EnvironmentFile": true, "NoNewPrivileges": true, "ProtectSystem": true, "RemainAfterExit": true},
		"Install": {"WantedBy": true},
	}
	section := ""
	starts := 0
	scanner := bufio.NewScanner(strings.NewReader(strings.ReplaceAll(string(content), "\\\n", " ")))
	for scanner.Scan() {
		line := scanner.Text()
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

func TestMerge(t *testing.T) {
	base := func() map[string]any {
		return map[string]any{"a": map[string]any{"x": "1", "y": "2"}, "b": []any{"one"}, "c": true}
	}
	for _, test := range []struct {
		name string
		user map[string]any
		want string
	}{
		{"nothing", nil, `{"a":{"x":"1","y":"2"},"b":["one"],"c":true}`},
		{"key by key", map[string]any{"a": map[string]any{"y": "3", "z": 4.0}}, `{"a":{"x":"1","y":"3","z":4},"b":["one"],"c":true}`},
		{"lists are replaced", map[string]any{"b": []any{json.Number("2"), json.Number("2.5")}}, `{"a":{"x":"1","y":"2"},"b":[2,2.5],"c":true}`},
		{"null takes away", map[string]any{"c": nil, "a": map[string]any{"x": nil}}, `{"a":{"y":"2"},"b":["one"]}`},
		{"object over text", map[string]any{"c": map[string]any{"d": map[string]any{"e": nil, "f": 1}}}, `{"a":{"x":"1","y":"2"},"b":["one"],"c":{"d":{"f":1}}}`},
	} {
		under := base()
		got, err := json.Marshal(merge(under, test.user))
		if err != nil || string(got) != test.want {
			t.Errorf("%s: %s (%v), want %s", test.name, got, err, test.want)
		}
		if before, _ := json.Marshal(base()); !bytes.Equal(before, must(json.Marshal(under))) {
			t.Errorf("%s: merging changed what it was merged over", test.name)
		}
	}
}

// containerd's reader takes 200.0 for no integer.
func TestWholeNumbersStayWhole(t *testing.T) {
	got := string(mergedTOML([]byte("version = 3\n"), map[string]any{"max": 200.0, "part": 0.5, "big": json.Number("32768"), "list": []any{1.0}}))
	want := writtenBy + "big = 32768\nlist = [1]\nmax = 200\npart = 0.5\nversion = 3\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

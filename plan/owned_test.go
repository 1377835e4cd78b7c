package plan

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// refusedBy loads an inventory with a block in it and returns what is said
// against it.
func refusedBy(t *testing.T, block string) string {
	t.Helper()
	text := "cluster \"c\" {\n  version = \"1.36.3\"\n}\nhost \"a\" {\n  address = \"10.1.0.1\"\n  roles = [\"etcd\", \"master\"]\n}\n" + block + "\n"
	_, _, diags := inventory.Load("/inventory.hcl", inventory.Options{HomeDir: "/home/user", ReadFile: func(path string) ([]byte, error) {
		if path == "/inventory.hcl" {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}})
	var all []string
	for _, d := range diags {
		all = append(all, d.Summary+": "+d.Detail)
	}
	return strings.Join(all, "\n")
}

// Every flag that kinstall itself sets stays its own, but for those that are
// meant to be overridden. One that is added later must be in one of the two.
func TestOwnFlagsStayKinstalls(t *testing.T) {
	inv := load(t, "lab")
	p := compile(t, dual(inv))
	overridable := map[string][]string{
		"api_server": {
			"enable-admission-plugins", "kubelet-preferred-address-types", "shutdown-delay-duration", "shutdown-watch-termination-grace-period",
			// What hardening sets, the user may see otherwise.
			"audit-log-maxage", "audit-log-maxbackup", "audit-log-maxsize", "audit-log-path", "audit-policy-file", "authentication-config",
			"profiling", "service-account-extend-token-expiration", "tls-cipher-suites",
		},
		"controller_manager": {"bind-address", "profiling"}, // the probes follow the address
		"scheduler":          {"bind-address", "profiling"},
		"kubelet":            nil,
		"etcd":               {"feature-gates", "watch-progress-notify-interval"},
	}
	own := map[string][]string{}
	for _, s := range p.Steps {
		switch r := s.Resource.(type) {
		case resource.StaticPod:
			block := map[string]string{"kube-apiserver": "api_server", "kube-controller-manager": "controller_manager", "kube-scheduler": "scheduler"}[r.Name]
			own[block] = append(own[block], flagsIn(r.Manifest, "- --")...)
		case resource.File:
			switch r.Path {
			case "/etc/systemd/system/kubelet.service":
				own["kubelet"] = append(own["kubelet"], flagsIn(string(r.Content), `"--`)...)
			case "/etc/etcd/etcd.env", "/etc/etcd/bootstrap.env":
				for line := range strings.Lines(string(r.Content)) {
					if name, _, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, "ETCD_") {
						own["etcd"] = append(own["etcd"], strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "ETCD_"), "_", "-")))
					}
				}
			}
		}
	}
	for block, free := range overridable {
		flags := slices.Compact(slices.Sorted(slices.Values(own[block])))
		if len(flags) < 4 {
			t.Errorf("%s: only the flags %v were found", block, flags)
		}
		for _, name := range flags {
			said := refusedBy(t, fmt.Sprintf("%s {\n  args = { %s = \"x\" }\n}", block, name))
			if refused := strings.Contains(said, "is set by kinstall"); refused == slices.Contains(free, name) {
				t.Errorf("%s.args.%s: refused is %v: %s", block, name, refused, said)
			}
		}
	}
}

func flagsIn(text, before string) []string {
	var names []string
	for line := range strings.Lines(text) {
		if _, rest, ok := strings.Cut(strings.ReplaceAll(line, `- "--`, "- --"), before); ok {
			name, _, _ := strings.Cut(rest, "=")
			names = append(names, name)
		}
	}
	return names
}

// The same of settings: what a generated configuration says is kinstall's, or is
// listed here as the user's to change.
func TestOwnSettingsStayKinstalls(t *testing.T) {
	free := []string{
		"kubelet.failSwapOn", "kubelet.resolvConf",
		"kubelet.cgroupDriver", // of two words; the runtime follows it
		"kubelet.podPidsLimit", "kubelet.protectKernelDefaults", "kubelet.seccompDefault", "kubelet.tlsCipherSuites",
		"runtime.plugins.'io.containerd.cri.v1.runtime'.containerd.default_runtime_name",
		"runtime.plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.runtime_type",
		"runtime.plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options.BinaryName",
		"runtime.plugins.'io.containerd.cri.v1.images'.registry.config_path",
	}
	inv := load(t, "lab")
	inv.Kubelet.Settings, inv.KubeProxy.Settings, inv.Runtime.Settings = nil, nil, nil
	p := compile(t, inv)
	block := map[string]string{kubeletConfig: "kubelet", "/var/lib/kube-proxy/config.yaml": "kube_proxy", "/etc/containerd/config.toml": "runtime"}
	checked := map[string]bool{}
	for _, s := range p.Steps {
		f, ok := s.Resource.(resource.File)
		if !ok || block[f.Path] == "" {
			continue
		}
		var config map[string]any
		var err error
		if strings.HasSuffix(f.Path, ".toml") {
			err = toml.Unmarshal(f.Content, &config)
		} else {
			err = yaml.Unmarshal(f.Content, &config)
		}
		if err != nil {
			t.Fatal(err)
		}
		walkSettings(config, nil, func(path []string, value any) {
			name, nested := block[f.Path], fmt.Sprintf("%#v", value)
			switch value.(type) {
			case []any:
				nested = "[]"
			case float64, int64:
				nested = fmt.Sprint(value)
			}
			for i := len(path) - 1; i >= 0; i-- {
				nested = fmt.Sprintf("{ %q = %s }", path[i], nested)
			}
			for _, step := range path {
				if strings.Contains(step, ".") {
					step = "'" + step + "'"
				}
				name += "." + step
			}
			if checked[name] {
				return
			}
			checked[name] = true
			label := ""
			if block[f.Path] == "runtime" {
				label = ` "containerd"`
			}
			said := refusedBy(t, fmt.Sprintf("%s%s {\n  settings = %s\n}", block[f.Path], label, nested))
			if refused := strings.Contains(said, "is set by kinstall"); refused == slices.Contains(free, name) {
				t.Errorf("%s: refused is %v: %s", name, refused, said)
			}
		})
	}
	if len(checked) < 20 {
		t.Errorf("only %d settings were found", len(checked))
	}
}

func walkSettings(m map[string]any, path []string, leaf func(path []string, value any)) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at := append(slices.Clone(path), key)
		if inner, ok := m[key].(map[string]any); ok {
			walkSettings(inner, at, leaf)
		} else {
			leaf(at, m[key])
		}
	}
}

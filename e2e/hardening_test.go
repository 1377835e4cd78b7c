package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/hardening"
	"github.com/kinstall/kinstall/plan/inventory"
)

// hardeningScript prints what kube-bench reads: programs with their users and
// arguments, modes and owners of files, and the configuration files that the
// arguments name.
const hardeningScript = `for p in /proc/[0-9]*; do
	exe=$(readlink "$p/exe") || continue
	case ${exe##*/} in kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kube-proxy|etcd) ;; *) continue ;; esac
	environment=
	if [ "${exe##*/}" = etcd ]; then environment=$(base64 -w0 <"$p/environ"); fi
	printf 'process %s %s %s %s\n' "${exe##*/}" "$(stat -c %U "$p")" "$(base64 -w0 <"$p/cmdline")" "$environment"
done
find /etc/kubernetes /etc/etcd /var/lib/etcd /var/lib/kubelet/config.yaml /var/lib/kube-proxy/kubeconfig.conf /etc/systemd/system/kubelet.service -maxdepth 5 -exec stat -c 'file %a %U:%G %n' {} + 2>/dev/null
for f in /var/lib/kubelet/config.yaml /var/lib/kube-proxy/config.yaml /etc/kubernetes/apiserver/authentication.yaml; do
	if [ -e "$f" ]; then printf 'text %s %s\n' "$f" "$(base64 -w0 <"$f")"; fi
done
`

// lookAt reads a machine as a checker of the benchmark does.
func lookAt(t *testing.T, w *world, host string) hardening.Seen {
	t.Helper()
	seen := hardening.Seen{Flags: map[string]map[string]string{}, Users: map[string]string{}, Files: map[string]hardening.File{}}
	decoded := func(text string) []byte {
		content, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	words := func(text string) []string {
		return strings.Split(strings.TrimSuffix(string(decoded(text)), "\x00"), "\x00")
	}
	for line := range strings.Lines(w.ssh(t, host, hardeningScript)) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "process":
			var environment []string
			if len(fields) > 4 {
				environment = words(fields[4])
			}
			seen.Flags[fields[1]], seen.Users[fields[1]] = hardening.FlagsOf(words(fields[3]), environment), fields[2]
		case "file":
			mode, err := strconv.ParseUint(fields[1], 8, 32)
			if err != nil {
				t.Fatal(err)
			}
			seen.Files[fields[3]] = hardening.File{Mode: uint32(mode), Owner: fields[2]}
		case "text":
			var document map[string]any
			if err := yaml.Unmarshal(decoded(fields[2]), &document); err != nil {
				t.Fatal(err)
			}
			switch {
			case strings.HasSuffix(fields[1], "/authentication.yaml"):
				seen.Anonymous, _ = document["anonymous"].(map[string]any)
			case strings.Contains(fields[1], "kube-proxy"):
				seen.Proxy = document
			default:
				seen.Kubelet = document
			}
		}
	}
	if data := seen.Flags[hardening.Etcd]["data-dir"]; data != "" {
		seen.Files[hardening.DataDirectory] = seen.Files[data]
	}
	return seen
}

// benchmark holds real processes and files against the table of hardening.
// waived are rules by their demand, with why the lab can't keep to them.
func benchmark(t *testing.T, w *world, waived map[string]string) {
	programs := map[string][]string{
		"shaolin": {hardening.APIServer, hardening.ControllerManager, hardening.Etcd, hardening.Scheduler, hardening.Kubelet, hardening.KubeProxy},
		"huashan": {hardening.Kubelet, hardening.KubeProxy},
	}
	for host, expected := range programs {
		seen := lookAt(t, w, host)
		for _, program := range expected {
			if len(seen.Flags[program]) == 0 {
				t.Errorf("%s: %s was not seen", host, program)
			}
		}
		passed, scored := 0, 0
		for _, rule := range hardening.Rules() {
			if !rule.Applies(inventory.HardeningCIS, "1.36.3") {
				continue
			}
			switch problem := rule.Check(seen); {
			case problem != "" && waived[rule.Demand] == "":
				t.Errorf("%s: %s %s: %s", host, rule.ID, rule.Demand, problem)
			case problem == "" && waived[rule.Demand] != "":
				t.Errorf("%s: %s holds, though the test says %q", host, rule.Demand, waived[rule.Demand])
			default:
				passed++
				if !rule.Manual && rule.ID != "" {
					scored++
				}
			}
		}
		t.Logf("%s: %d rules hold, %d of them scored by the benchmark", host, passed, scored)
	}
}

// anonymousRequests asks an API server without credentials.
func anonymousRequests(t *testing.T, w *world) {
	for path, want := range map[string]string{"/readyz": "200", "/livez": "200", "/healthz": "200", "/version": "401", "/api": "401", "/readyz/ping": "401"} {
		got := w.ssh(t, "shaolin", fmt.Sprintf("curl -sk -o /dev/null -w '%%{http_code}' https://%s:6443%s", addresses["shaolin"], path))
		if got != want {
			t.Errorf("%s without credentials: %s, expected %s", path, got, want)
		}
	}
}

// auditLog finds who read a secret, and not what is in it.
func auditLog(t *testing.T, w *world) {
	const content = "nobody-may-log-this"
	w.mustKubectl(t, "create", "secret", "generic", "audited", "--from-literal=password="+content)
	if got := w.mustKubectl(t, "get", "secret", "audited", "-o", "jsonpath={.data.password}"); got != base64.StdEncoding.EncodeToString([]byte(content)) {
		t.Fatalf("the secret is %q", got)
	}
	var line string
	eventually(t, 10*time.Second, "an audit line", func() string {
		for _, host := range masters {
			found := w.ssh(t, host, `grep -F '"name":"audited"' /var/log/kubernetes/audit/audit.log | grep -F '"verb":"get"' | tail -n 1`)
			if found != "" {
				line = found
				return ""
			}
		}
		return "nothing"
	})
	var event struct {
		Level, Stage, Verb string
		User               struct{ Username string }
		ObjectRef          struct{ Resource, Namespace, Name string }
		SourceIPs          []string
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		t.Fatal(err)
	}
	if event.Level != "Metadata" || event.ObjectRef.Resource != "secrets" || event.ObjectRef.Namespace != "default" || event.User.Username == "" || len(event.SourceIPs) == 0 {
		t.Errorf("the audit line says %s", line)
	}
	for _, host := range masters {
		if mode := w.ssh(t, host, "stat -c '%a %U' /var/log/kubernetes/audit /var/log/kubernetes/audit/audit.log"); !slices.Equal(strings.Split(mode, "\n"), []string{"700 root", "600 root"}) {
			t.Errorf("%s: modes of the audit log: %s", host, mode)
		}
		encoded := base64.StdEncoding.EncodeToString([]byte(content))
		if held := w.ssh(t, host, fmt.Sprintf("grep -cE '%s|%s' /var/log/kubernetes/audit/audit.log || true", content, encoded)); held != "0" {
			t.Errorf("%s: the audit log holds what is in a secret (%s lines)", host, held)
		}
	}
	w.mustKubectl(t, "delete", "secret", "audited")
}

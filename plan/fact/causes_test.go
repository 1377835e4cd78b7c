package fact

import (
	"strings"
	"testing"
)

// The lines are those of the components themselves.
func TestHint(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"kubelet, instances", `E1121 15:04:45.123456    1234 kubelet.go:1649] "Failed to start cAdvisor" err="inotify_init: too many open files"`, "fs.inotify.max_user_instances"},
		{"kubelet, manifests", `E1121 15:04:45.123456    1234 file_linux.go:61] "Unable to read config path" err="unable to create inotify: too many open files" path="/etc/kubernetes/manifests"`, "fs.inotify.max_user_instances"},
		{"containerd, instances", `level=fatal msg="Failed to run CRI service" error="failed to create cni conf monitor for default: failed to create fsnotify watcher: too many open files"`, "fs.inotify.max_user_instances"},
		{"systemd, instances", `Failed to allocate directory watch: Too many open files`, "fs.inotify.max_user_instances"},
		{"cadvisor, watches", `W1121 15:04:45.1 manager.go:1159] Failed to process watch event: inotify_add_watch /sys/fs/cgroup/kubepods.slice: no space left on device`, "fs.inotify.max_user_watches"},
		{"etcd, disk", `{"level":"fatal","msg":"failed to save Raft hard state and entries","error":"write /var/lib/etcd/member/wal/0.wal: no space left on device"}`, "a disk is full"},
		{"etcd, quota", `rpc error: code = ResourceExhausted desc = etcdserver: mvcc: database space exceeded`, "quota"},
		{"api server, port", `E1121 15:04:45.1 run.go:72] "command failed" err="failed to create listener: failed to listen on 0.0.0.0:6443: listen tcp 0.0.0.0:6443: bind: address already in use"`, "port 6443 is taken by another program: ss -lntup 'sport = :6443' says which"},
		{"etcd, port", `{"level":"fatal","msg":"discovery failed","error":"listen tcp 10.27.53.32:2380: bind: address already in use"}`, "port 2380"},
		{"nginx, port", `nginx: [emerg] bind() to 0.0.0.0:8443 failed (98: Address already in use)`, "port 8443"},
		{"kubelet, IPv6", `"Failed to listen and serve" err="listen tcp [::]:10250: bind: address already in use"`, "port 10250"},
		{"kubelet, clock", `tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2020-01-01T00:00:05Z is before 2026-11-21T15:04:45Z`, "not valid yet: a clock is wrong"},
		{"etcd, expired", `{"msg":"rejected connection","error":"remote error: tls: expired certificate","x":"x509: certificate has expired or is not yet valid: current time 2027-01-01T00:00:00Z is after 2026-11-21T00:00:00Z"}`, "a certificate has expired"},
		{"systemd, memory", Unit{ActiveState: "failed", Result: "oom-kill", ExecMainCode: 2, ExecMainStatus: 9}.Trouble(), "not enough memory"},
		{"container, memory", `"Container died" exitCode=137 reason="OOMKilled"`, "not enough memory"},
		{"etcd, memory", `fatal error: runtime: out of memory`, "not enough memory"},
		{"kubelet, image", `"Error syncing pod, skipping" err="failed to \"StartContainer\" for \"kube-apiserver\" with ErrImageNeverPull: \"Container image \\\"registry.k8s.io/kube-apiserver:v9\\\" is not present with pull policy of Never\""`, "image is not on the host"},
		{"kubelet, registry", `"Error syncing pod, skipping" err="failed to \"StartContainer\" for \"coredns\" with ImagePullBackOff: \"Back-off pulling image\""`, "can't be fetched"},
		{"kubelet, flag", `E1121 15:04:45.1 run.go:72] "command failed" err="failed to parse kubelet flag: unknown flag: --no-such-flag"`, "does not know --no-such-flag: look for it in args"},
		{"api server, flag", `Error: unknown flag: --no-such-flag`, "does not know --no-such-flag"},
		{"etcd, flag", `{"level":"warn","msg":"failed to verify flags","error":"flag provided but not defined: -no-such-flag"}`, "does not know -no-such-flag"},
		{"api server, gate", `Error: invalid argument "NoSuchGate=true" for "--feature-gates" flag: unrecognized feature gate: NoSuchGate`, "the feature gate NoSuchGate"},
		{"HAProxy, port", `[ALERT]    (31419) : Binding [/etc/haproxy/kinstall.cfg:17] for frontend kinstall-apiserver: cannot bind socket (Address already in use) for [0.0.0.0:8443]`, "port 8443 is taken"},
		{"HAProxy, forbidden port", `[ALERT]    (31419) : Binding [/etc/haproxy/kinstall.cfg:17] for frontend kinstall-apiserver: cannot bind socket (Permission denied) for [:::443]`, "port 443 may not be used: look at `port`"},
		{"HAProxy, address", `[ALERT]    (31429) : Binding [/etc/haproxy/kinstall.cfg:17] for frontend kinstall-apiserver: cannot bind socket (Cannot assign requested address) for [10.99.0.1:8443]`, "does not have the address"},
		{"nginx, directive", `nginx: [emerg] unknown directive "no_such" in /etc/nginx/nginx.conf:3`, "the setting no_such"},
		{"kube-proxy, field", `strict decoding error: unknown field "noSuch"`, "the setting noSuch"},
		{"kubelet, swap", `"command failed" err="failed to run Kubelet: running with swap on is not supported, please disable swap or set --fail-swap-on flag to false"`, "beside swap"},
		{"systemd, architecture", "etcd.service: Failed to execute /usr/local/bin/etcd: Exec format error\n" + Unit{ActiveState: "failed", Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 203}.Trouble(), "another architecture"},
		{"systemd, program", Unit{ActiveState: "failed", Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 203}.Trouble() + "\nkubelet.service: Failed to locate executable /usr/local/bin/kubelet: No such file or directory", "the program /usr/local/bin/kubelet is missing"},
		{"systemd, 203 alone", Unit{ActiveState: "failed", Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 203}.Trouble(), "can't be executed"},
		{"etcd, permission", `{"level":"fatal","error":"open /etc/etcd/server.key: permission denied"}`, "/etc/etcd/server.key may not be used"},
		{"kubelet, file", `"command failed" err="failed to load kubelet config file, path: /var/lib/kubelet/config.yaml, error: open /var/lib/kubelet/config.yaml: no such file or directory"`, "/var/lib/kubelet/config.yaml is missing"},
		{"nginx, file", `nginx: [emerg] open() "/etc/nginx/stream.d/x.conf" failed (2: No such file or directory)`, "/etc/nginx/stream.d/x.conf is missing"},
		{"etcd, value", `{"level":"warn","ts":"2026-11-21T18:46:41.681683Z","caller":"etcdmain/etcd.go:66","msg":"failed to verify flags","error":"invalid value \"abc\" for ETCD_SNAPSHOT_COUNT: parse error"}`, "the value of ETCD_SNAPSHOT_COUNT is not one"},
		{"etcd, value of a flag", `invalid value "abc" for flag -snapshot-count: parse error`, "the value of -snapshot-count is not one"},
		{"etcd, timeouts", `{"level":"warn","msg":"failed to verify flags","error":"--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[500ms]"}`, "five times as long as heartbeat-interval"},
		{"etcd, mode", `{"level":"warn","msg":"failed to verify flags","error":"unknown auto-compaction-mode \"foo\""}`, "the value of auto-compaction-mode"},
		{"etcd, retention", `{"level":"fatal","msg":"discovery failed","error":"error parsing CompactionRetention: time: invalid duration \"foo\""}`, "the value of CompactionRetention"},
		{"etcd, address", `{"level":"fatal","msg":"discovery failed","error":"listen tcp 10.27.53.99:2380: bind: cannot assign requested address"}`, "does not have the address"},
		{"containerd, type", `containerd: toml: cannot decode TOML string into struct field config.RuntimeConfig.MaxContainerLogLineSize of type int`, "config.RuntimeConfig.MaxContainerLogLineSize has a value of another type"},
		{"containerd, type at its place", `containerd: failed to unmarshal TOML at row 2 column 13: toml: cannot decode TOML string into struct field config.Config.OOMScore of type int`, "config.Config.OOMScore has a value"},
		{"containerd, TOML", `containerd: failed to unmarshal TOML at row 2 column 8: toml: array is incomplete`, "does not take its configuration"},
		{"containerd, version", "containerd: failed to load TOML from c.toml: expected containerd config version equal to or less than `4`, got `9`", "does not take its configuration"},
		{"containerd, level", `containerd: not a valid logrus Level: "foo"`, "no level foo"},
		{"kube-proxy, mode", `E1121 18:46:42.075155   13919 run.go:72] "command failed" err="failed validate: KubeProxyConfiguration.Mode.ProxyMode: Invalid value: \"foo\": must be iptables, ipvs, nftables or blank"`, "the value of KubeProxyConfiguration.Mode.ProxyMode"},
		{"kube-proxy, network", `E1121 18:46:42.587528   13970 run.go:72] "command failed" err="failed validate: KubeProxyConfiguration.DetectLocalConfiguration.ClusterCIDRs[0]: Invalid value: \"foo\": must be a valid CIDR block"`, "ClusterCIDRs[0] is not one"},
		{"kube-proxy, duration", `E1121 18:46:42.328605   13944 run.go:72] "command failed" err="failed complete: failed to decode: time: invalid duration \"abc\""`, "abc is not a duration"},
		{"kube-proxy, type", `E1121 18:46:42.376037   13953 run.go:72] "command failed" err="failed complete: failed to decode: json: cannot unmarshal string into Go struct field KubeProxyConntrackConfiguration.conntrack.maxPerCore of type int32"`, "KubeProxyConntrackConfiguration.conntrack.maxPerCore has a value"},
		{"kube-proxy, flag's value", `Error: invalid argument "abc" for "-v, --v" flag: strconv.ParseUint: parsing "abc": invalid syntax`, "the value of --v is not one"},
		{"api server, flag's value", `Error: invalid argument "abc" for "--max-requests-inflight" flag: strconv.ParseInt: parsing "abc": invalid syntax`, "the value of --max-requests-inflight"},
		{"nginx, forbidden port", `nginx: [emerg] bind() to 0.0.0.0:443 failed (13: Permission denied)`, "port 443 may not be used: look at `port`"},
		{"nginx, no port", `nginx: [emerg] invalid port in "0.0.0.0:99999" of the "listen" directive in /etc/nginx/stream.d/kinstall.conf:7`, "0.0.0.0:99999 has no port"},
		{"nginx, address", `nginx: [emerg] bind() to 10.27.52.99:8443 failed (99: Cannot assign requested address)`, "does not have the address"},
		{"the last counts", "Error: unknown flag: --one\nError: unknown flag: --two", "--two"},
		{"more telling first", "open /x: no such file or directory\nError: unknown flag: --one", "--one"},
	} {
		if got := Hint(tt.text); !strings.Contains(got, tt.want) || strings.Contains(got, "$") {
			t.Errorf("%s: hint is %q, want %q in it", tt.name, got, tt.want)
		}
	}
	for _, text := range []string{
		"", "failed: exit code 1, restarted 7 times", `dial tcp 10.27.53.32:6443: connect: connection refused`,
		`"Attempting to register node" node="emei"`, "runs, but not for long: restarted 3 times",
	} {
		if got := Hint(text); got != "" {
			t.Errorf("%q: hint %q out of nothing", text, got)
		}
	}
}

func TestTrouble(t *testing.T) {
	for _, tt := range []struct {
		want string
		unit Unit
	}{
		{"", Unit{ActiveState: "active", SubState: "running"}},
		{"", Unit{ActiveState: "inactive", ExecMainCode: 1, ExecMainStatus: 1, Result: "exit-code"}},
		{"", Unit{ActiveState: "activating", SubState: "start", NRestarts: 1, Started: "b/1"}},
		{"failed", Unit{ActiveState: "failed"}},
		{"failed: exit code 203/EXEC, restarted 7 times", Unit{ActiveState: "failed", Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 203, NRestarts: 7}},
		{"failed: exit code 1, restarted once", Unit{ActiveState: "failed", Result: "start-limit-hit", ExecMainCode: 1, ExecMainStatus: 1, NRestarts: 1}},
		{"failed: start-limit-hit", Unit{ActiveState: "failed", Result: "start-limit-hit"}},
		{"failed: killed by signal 11/SEGV", Unit{ActiveState: "failed", Result: "core-dump", ExecMainCode: 3, ExecMainStatus: 11}},
		{"failed: timeout", Unit{ActiveState: "failed", Result: "timeout", ExecMainCode: 2, ExecMainStatus: 15}},
		{"failed: killed for lack of memory (oom-kill)", Unit{ActiveState: "failed", Result: "oom-kill", ExecMainCode: 2, ExecMainStatus: 9}},
		{"crashes: exit code 1, restarted 12 times", Unit{ActiveState: "activating", SubState: "auto-restart", Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 1, NRestarts: 12}},
		{"crashes: restarted 2 times", Unit{ActiveState: "activating", SubState: "auto-restart-queued", Result: "success", ExecMainCode: 1, NRestarts: 2}},
		{"crashes: restarted 4 times", Unit{ActiveState: "activating", SubState: "start", Result: "success", NRestarts: 4, Started: "b/1", Age: Settling}},
		{"runs, but not for long: restarted 3 times", Unit{ActiveState: "active", SubState: "running", Result: "success", NRestarts: 3, Started: "b/1", Age: Settling}},
		{"", Unit{ActiveState: "active", SubState: "running", Result: "success", NRestarts: 3, Started: "b/1", Age: Settling + 1}},
	} {
		if got := tt.unit.Trouble(); got != tt.want {
			t.Errorf("%+v: trouble %q, want %q", tt.unit, got, tt.want)
		}
	}
}

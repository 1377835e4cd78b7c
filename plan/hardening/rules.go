package hardening

import (
	"strings"

	"github.com/kinstall/kinstall/plan/inventory"
)

// CipherSuites are those of TLS 1.2 with forward secrecy and AES-GCM: what both of
// the benchmark's lists (1.2.29 and 4.2.12) have. Those of TLS 1.3 can't be chosen.
func CipherSuites() []string {
	return []string{
		"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	}
}

// strongSuites are what the benchmark takes for strong.
func strongSuites() []string {
	return append(CipherSuites(),
		"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
		"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256")
}

// PodPIDs is how many processes and threads a pod may have: a fork bomb ends
// there, a large Java program does not.
const PodPIDs = 4096

// EtcdUser is the system user, and its group, that etcd runs as and that owns its data.
const EtcdUser = "etcd"

const root = "root:root"

// private is a file that root alone reads.
func private(paths ...string) Test { return Files{Paths: paths, Mode: 0o600, Set: true} }

func owned(paths ...string) Test { return Files{Paths: paths, Owner: root} }

// anyValue is of a flag that the component sets for its own sake.
func anyValue(program, name string) Test { return Flag{Program: program, Name: name} }

// Rules is the table, in the benchmark's order; kinstall's own rules come last.
func Rules() []Rule {
	const always, cis = inventory.HardeningBaseline, inventory.HardeningCIS
	const manifests, pki = "/etc/kubernetes/manifests/", "/etc/kubernetes/pki/"
	profiling := func(program string) []Test {
		return []Test{Flag{Program: program, Name: "profiling", Is: Is{Value: "false"}, Set: "false"}}
	}
	suites := strings.Join(CipherSuites(), ",")
	etcdFiles := []string{"/etc/etcd/etcd.env", "/etc/etcd/bootstrap.env"}
	const noPod = "etcd is a systemd service here and has no pod specification: what it is started with stands in these files."
	const noAdmin = "No administrator's credentials are written to hosts; `kinstall kubeconfig` makes them on the operator's machine, mode 0600. kube-bench, which finds no file, says FAIL."
	return []Rule{
		{ID: "1.1.1", Demand: "the API server's manifest is readable by root alone", Level: always, Tests: []Test{Files{Paths: []string{manifests + "kube-apiserver.yaml"}, Mode: 0o600}}},
		{ID: "1.1.2", Demand: "and belongs to root", Level: always, Tests: []Test{owned(manifests + "kube-apiserver.yaml")}},
		{ID: "1.1.3", Demand: "the controller manager's manifest is readable by root alone", Level: always, Tests: []Test{Files{Paths: []string{manifests + "kube-controller-manager.yaml"}, Mode: 0o600}}},
		{ID: "1.1.4", Demand: "and belongs to root", Level: always, Tests: []Test{owned(manifests + "kube-controller-manager.yaml")}},
		{ID: "1.1.5", Demand: "the scheduler's manifest is readable by root alone", Level: always, Tests: []Test{Files{Paths: []string{manifests + "kube-scheduler.yaml"}, Mode: 0o600}}},
		{ID: "1.1.6", Demand: "and belongs to root", Level: always, Tests: []Test{owned(manifests + "kube-scheduler.yaml")}},
		{ID: "1.1.7", Demand: "etcd's flags are readable by root alone", Level: always, Tests: []Test{private(etcdFiles...)}, Note: noPod + " Tell kube-bench of them (`etcd: confs:` in its config.yaml), else it says FAIL."},
		{ID: "1.1.8", Demand: "and belong to root", Level: always, Tests: []Test{owned(etcdFiles...)}, Note: noPod},
		{ID: "1.1.11", Demand: "etcd's data is open to its owner alone", Level: always, Tests: []Test{Files{Paths: []string{DataDirectory}, Mode: 0o700}}},
		{ID: "1.1.12", Demand: "and belongs to a user of its own", Level: always, Tests: []Test{Files{Paths: []string{DataDirectory}, Owner: EtcdUser + ":" + EtcdUser}}},
		{ID: "1.1.13", Demand: "administrators' credentials are readable by root alone", Level: always, Tests: []Test{Absent{"/etc/kubernetes/admin.conf"}, Absent{"/etc/kubernetes/super-admin.conf"}}, Note: noAdmin},
		{ID: "1.1.14", Demand: "and belong to root", Level: always, Tests: []Test{Absent{"/etc/kubernetes/admin.conf"}, Absent{"/etc/kubernetes/super-admin.conf"}}, Note: noAdmin},
		{ID: "1.1.15", Demand: "the scheduler's kubeconfig is readable by root alone", Level: always, Tests: []Test{private("/etc/kubernetes/scheduler.conf")}},
		{ID: "1.1.16", Demand: "and belongs to root", Level: always, Tests: []Test{owned("/etc/kubernetes/scheduler.conf")}},
		{ID: "1.1.17", Demand: "the controller manager's kubeconfig is readable by root alone", Level: always, Tests: []Test{private("/etc/kubernetes/controller-manager.conf")}},
		{ID: "1.1.18", Demand: "and belongs to root", Level: always, Tests: []Test{owned("/etc/kubernetes/controller-manager.conf")}},
		{ID: "1.1.19", Demand: "all of the PKI belongs to root", Level: always, Tests: []Test{owned(pki)}, Note: "etcd, which runs as another user, has its keys from systemd (`LoadCredential`)."},
		{ID: "1.1.20", Demand: "certificates can't be overwritten", Level: always, Manual: true, Tests: []Test{Files{Paths: []string{pki + "**/*.crt"}, Mode: 0o644}}},
		{ID: "1.1.21", Demand: "keys are readable by root alone", Level: always, Manual: true, Tests: []Test{Files{Paths: []string{pki + "**/*.key"}, Mode: 0o600}}},

		{ID: "1.2.2", Demand: "no tokens in files", Level: always, Tests: []Test{Flag{Program: APIServer, Name: "token-auth-file", Is: Is{Nothing: true}}}},
		{ID: "1.2.4", Demand: "API servers show kubelets a certificate", Level: always, Tests: []Test{anyValue(APIServer, "kubelet-client-certificate"), anyValue(APIServer, "kubelet-client-key")}},
		{ID: "1.2.5", Demand: "API servers verify kubelets' certificates", Level: always, Tests: []Test{anyValue(APIServer, "kubelet-certificate-authority")}},
		{ID: "1.2.6", Demand: "nobody may do everything", Level: always, Tests: []Test{Flag{Program: APIServer, Name: "authorization-mode", Is: Is{Lacks: "AlwaysAllow"}}}},
		{ID: "1.2.7", Demand: "nodes are confined to what is theirs", Level: always, Tests: []Test{Flag{Program: APIServer, Name: "authorization-mode", Is: Is{Has: "Node"}}}},
		{ID: "1.2.8", Demand: "RBAC decides for everybody else", Level: always, Tests: []Test{Flag{Program: APIServer, Name: "authorization-mode", Is: Is{Has: "RBAC"}}}},
		{ID: "1.2.10", Demand: "admission is not switched off", Level: always, Tests: []Test{Flag{Program: APIServer, Name: "enable-admission-plugins", Is: Is{Lacks: "AlwaysAdmit", Unset: true}}}},
		{ID: "1.2.12", Demand: "admission plugin ServiceAccount", Level: always, Tests: []Test{Flag{Program: APIServer, Name: "disable-admission-plugins", Is: Is{Lacks: "ServiceAccount", Unset: true}}}},
		{ID: "1.2.13", Demand: "admission plugin NamespaceLifecycle", Level: always, Tests: []Test{Flag{Program: APIServer, Name: "disable-admission-plugins", Is: Is{Lacks: "NamespaceLifecycle", Unset: true}}}},
		{ID: "1.2.14", Demand: "admission plugin NodeRestriction", Level: always, Tests: []Test{Flag{Program: APIServer, Name: "enable-admission-plugins", Is: Is{Has: "NodeRestriction"}}}},
		{ID: "1.2.15", Demand: "no profiling at the API server", Level: cis, Tests: profiling(APIServer)},
		{ID: "1.2.16", Demand: "an audit log", Level: cis, Tests: []Test{anyValue(APIServer, "audit-log-path")}},
		{ID: "1.2.17", Demand: "kept for 30 days", Level: cis, Tests: []Test{Flag{Program: APIServer, Name: "audit-log-maxage", Is: Is{AtLeast: 30}}}},
		{ID: "1.2.18", Demand: "in ten files more", Level: cis, Tests: []Test{Flag{Program: APIServer, Name: "audit-log-maxbackup", Is: Is{AtLeast: 10}}}},
		{ID: "1.2.19", Demand: "of 100 MB", Level: cis, Tests: []Test{Flag{Program: APIServer, Name: "audit-log-maxsize", Is: Is{AtLeast: 100}}}},
		{ID: "1.2.21", Demand: "tokens of deleted service accounts are refused", Level: always, Tests: []Test{Flag{Program: APIServer, Name: "service-account-lookup", Is: Is{Value: "true", Unset: true}}}},
		{ID: "1.2.22", Demand: "tokens are verified by a key pair of their own", Level: always, Tests: []Test{anyValue(APIServer, "service-account-key-file")}},
		{ID: "1.2.23", Demand: "API servers show etcd a certificate", Level: always, Tests: []Test{anyValue(APIServer, "etcd-certfile"), anyValue(APIServer, "etcd-keyfile")}},
		{ID: "1.2.24", Demand: "API servers have a certificate", Level: always, Tests: []Test{anyValue(APIServer, "tls-cert-file"), anyValue(APIServer, "tls-private-key-file")}},
		{ID: "1.2.25", Demand: "clients are known by certificates", Level: always, Tests: []Test{anyValue(APIServer, "client-ca-file")}},
		{ID: "1.2.26", Demand: "API servers verify etcd's certificates", Level: always, Tests: []Test{anyValue(APIServer, "etcd-cafile")}},
		{ID: "1.2.29", Demand: "strong cipher suites at the API server", Level: cis, Manual: true, Tests: []Test{Flag{Program: APIServer, Name: "tls-cipher-suites", Is: Is{Within: strongSuites()}, Set: suites}}},
		{ID: "1.2.30", Demand: "tokens of pods end when they say, not a year later", Level: cis, Tests: []Test{Flag{Program: APIServer, Name: "service-account-extend-token-expiration", Is: Is{Value: "false"}, Set: "false"}},
			Note: "Clients from before 2021, which never read their token anew, lose access after an hour."},

		{ID: "1.3.2", Demand: "no profiling at the controller manager", Level: cis, Tests: profiling(ControllerManager)},
		{ID: "1.3.3", Demand: "each controller has rights of its own", Level: always, Tests: []Test{Flag{Program: ControllerManager, Name: "use-service-account-credentials", Is: Is{Not: "false"}}}},
		{ID: "1.3.4", Demand: "tokens are signed by a key of their own", Level: always, Tests: []Test{anyValue(ControllerManager, "service-account-private-key-file")}},
		{ID: "1.3.5", Demand: "pods can verify the API server", Level: always, Tests: []Test{anyValue(ControllerManager, "root-ca-file")}},
		{ID: "1.3.6", Demand: "kubelets' serving certificates may rotate", Level: always, Tests: []Test{Flag{Program: ControllerManager, Name: "feature-gates", Is: Is{Lacks: "RotateKubeletServerCertificate=false", Unset: true}}}},
		{ID: "1.3.7", Demand: "the controller manager listens on loopback", Level: always, Tests: []Test{Flag{Program: ControllerManager, Name: "bind-address", Is: Is{Within: []string{"127.0.0.1", "::1"}, Unset: true}}}},
		{ID: "1.4.1", Demand: "no profiling at the scheduler", Level: cis, Tests: profiling(Scheduler)},
		{ID: "1.4.2", Demand: "the scheduler listens on loopback", Level: always, Tests: []Test{Flag{Program: Scheduler, Name: "bind-address", Is: Is{Within: []string{"127.0.0.1", "::1"}, Unset: true}}}},

		{ID: "2.1", Demand: "etcd has a certificate", Level: always, Tests: []Test{anyValue(Etcd, "cert-file"), anyValue(Etcd, "key-file")}},
		{ID: "2.2", Demand: "etcd's clients have one", Level: always, Tests: []Test{Flag{Program: Etcd, Name: "client-cert-auth", Is: Is{Value: "true"}}}},
		{ID: "2.3", Demand: "none that it signed itself", Level: always, Tests: []Test{Flag{Program: Etcd, Name: "auto-tls", Is: Is{Value: "false", Unset: true}}}},
		{ID: "2.4", Demand: "etcd's members have certificates for each other", Level: always, Tests: []Test{anyValue(Etcd, "peer-cert-file"), anyValue(Etcd, "peer-key-file")}},
		{ID: "2.5", Demand: "and ask for them", Level: always, Tests: []Test{Flag{Program: Etcd, Name: "peer-client-cert-auth", Is: Is{Value: "true"}}}},
		{ID: "2.6", Demand: "none that they signed themselves", Level: always, Tests: []Test{Flag{Program: Etcd, Name: "peer-auto-tls", Is: Is{Value: "false", Unset: true}}}},
		{ID: "2.7", Demand: "etcd has an authority of its own", Level: always, Manual: true, Tests: []Test{Flag{Program: Etcd, Name: "trusted-ca-file", Is: Is{Value: pki + "etcd/ca.crt"}}}},

		{ID: "3.2.1", Demand: "an audit policy", Level: cis, Manual: true, Tests: []Test{anyValue(APIServer, "audit-policy-file")}},

		{ID: "4.1.1", Demand: "the kubelet's unit is readable by root alone", Level: always, Tests: []Test{private("/etc/systemd/system/kubelet.service")}},
		{ID: "4.1.2", Demand: "and belongs to root", Level: always, Tests: []Test{owned("/etc/systemd/system/kubelet.service")}},
		{ID: "4.1.3", Demand: "kube-proxy's kubeconfig is readable by root alone", Level: always, Manual: true, Tests: []Test{private("/var/lib/kube-proxy/kubeconfig.conf")}},
		{ID: "4.1.4", Demand: "and belongs to root", Level: always, Manual: true, Tests: []Test{owned("/var/lib/kube-proxy/kubeconfig.conf")}},
		{ID: "4.1.5", Demand: "the kubelet's kubeconfig is readable by root alone", Level: always, Tests: []Test{private("/etc/kubernetes/kubelet.conf")}},
		{ID: "4.1.6", Demand: "and belongs to root", Level: always, Tests: []Test{owned("/etc/kubernetes/kubelet.conf")}},
		{ID: "4.1.7", Demand: "the authority's certificate can't be overwritten", Level: always, Manual: true, Tests: []Test{Files{Paths: []string{pki + "ca.crt"}, Mode: 0o644}}},
		{ID: "4.1.8", Demand: "and belongs to root", Level: always, Manual: true, Tests: []Test{owned(pki + "ca.crt")}},
		{ID: "4.1.9", Demand: "the kubelet's configuration is readable by root alone", Level: always, Tests: []Test{private("/var/lib/kubelet/config.yaml")}},
		{ID: "4.1.10", Demand: "and belongs to root", Level: always, Tests: []Test{owned("/var/lib/kubelet/config.yaml")}},

		{ID: "4.2.1", Demand: "kubelets answer nobody without credentials", Level: always, Tests: []Test{Setting{Path: []string{"authentication", "anonymous", "enabled"}, Is: Is{Value: "false"}}}},
		{ID: "4.2.2", Demand: "kubelets ask the API server who may do what", Level: always, Tests: []Test{Setting{Path: []string{"authorization", "mode"}, Is: Is{Lacks: "AlwaysAllow"}}}},
		{ID: "4.2.3", Demand: "kubelets know clients by certificates", Level: always, Tests: []Test{Setting{Path: []string{"authentication", "x509", "clientCAFile"}}}},
		{ID: "4.2.4", Demand: "no port that is open to everybody", Level: always, Manual: true, Tests: []Test{Setting{Path: []string{"readOnlyPort"}, Is: Is{Value: "0"}, Set: 0}}},
		{ID: "4.2.5", Demand: "idle streams end", Level: always, Manual: true, Tests: []Test{Setting{Path: []string{"streamingConnectionIdleTimeout"}, Is: Is{Not: "0", Unset: true}}}},
		{ID: "4.2.6", Demand: "kubelets keep their own chains in iptables", Level: always, Tests: []Test{Setting{Path: []string{"makeIPTablesUtilChains"}, Is: Is{Value: "true", Unset: true}}}},
		{ID: "4.2.8", Demand: "events are not dropped", Level: always, Manual: true, Tests: []Test{Setting{Path: []string{"eventRecordQPS"}, Is: Is{AtLeast: 1, Unset: true}}}},
		{ID: "4.2.9", Demand: "kubelets have a certificate", Level: always, Manual: true, Tests: []Test{Setting{Path: []string{"tlsCertFile"}}, Setting{Path: []string{"tlsPrivateKeyFile"}}}},
		{ID: "4.2.10", Demand: "rotation of the kubelet's certificate is not refused", Level: always, Tests: []Test{Setting{Path: []string{"rotateCertificates"}, Is: Is{Value: "true", Unset: true}}},
			Note: "Nothing is said in the file: kinstall issues these certificates and renews them before they expire."},
		{ID: "4.2.11", Demand: "nor that of its serving certificate", Level: always, Manual: true, Tests: []Test{Setting{Path: []string{"featureGates", "RotateKubeletServerCertificate"}, Is: Is{Not: "false", Unset: true}}}},
		{ID: "4.2.12", Demand: "strong cipher suites at kubelets", Level: cis, Manual: true, Tests: []Test{Setting{Path: []string{"tlsCipherSuites"}, Is: Is{Within: strongSuites()}, Set: anyList(CipherSuites())}}},
		{ID: "4.2.13", Demand: "a limit of processes for each pod", Level: cis, Manual: true, Tests: []Test{Setting{Path: []string{"podPidsLimit"}, Is: Is{AtLeast: 1}, Set: PodPIDs}}},
		{ID: "4.2.14", Demand: "the runtime's seccomp profile for pods that name none", Level: cis, Manual: true, Tests: []Test{Setting{Path: []string{"seccompDefault"}, Is: Is{Value: "true"}, Set: true}}},
		{ID: "4.3.1", Demand: "kube-proxy's metrics are for its own host", Level: always, Tests: []Test{Setting{Path: []string{"metricsBindAddress"}, Proxy: true, Is: Is{Within: []string{"127.0.0.1:10249", "[::1]:10249"}, Unset: true}}}},

		{Demand: "etcd runs as a user of its own", Level: always, Tests: []Test{User{Etcd, EtcdUser}}},
		{Demand: "requests without credentials reach health endpoints only", Level: cis, Tests: []Test{AnonymousPaths{}},
			Note: "The benchmark's 1.2.1 (manual) would refuse them there, too, and with them load balancers and probes. `/version` and the `cluster-info` of kubeadm need credentials."},
		{Demand: "no ABAC policies", Level: always, Tests: []Test{Flag{Program: APIServer, Name: "authorization-policy-file", Is: Is{Nothing: true}}}},
		{Demand: "the kernel's settings are those the kubelet wants", Level: cis, Tests: []Test{Setting{Path: []string{"protectKernelDefaults"}, Is: Is{Value: "true"}, Set: true}},
			Note: "kinstall sets them (vm.overcommit_memory, vm.panic_on_oom, kernel.panic, kernel.panic_on_oops, kernel.keys.root_maxkeys, kernel.keys.root_maxbytes); a kubelet refuses to start with others."},
	}
}

// DataDirectory stands for etcd's, wherever the inventory has it.
const DataDirectory = "etcd.data_dir"

func anyList(words []string) []any {
	list := make([]any, len(words))
	for i, w := range words {
		list[i] = w
	}
	return list
}

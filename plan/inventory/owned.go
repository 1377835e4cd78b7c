package inventory

import "strings"

// owned is something that stays kinstall's: what it would break, and where the
// inventory says it instead. One row has both names of it, the flag's and the
// setting's, so that what is refused under one can't be had under the other.
type owned struct {
	flag    string   // without dashes; "" where there is none
	setting []string // path of keys in the configuration file; nil where there is none
	why     string
	instead string
}

func ownedFlag(name, why, instead string) owned { return owned{flag: name, why: why, instead: instead} }

// setting takes the path with dots; a key that has dots itself is given as one.
func ownedSettingAt(why, instead string, path ...string) owned {
	return owned{setting: path, why: why, instead: instead}
}

// both is a flag that is a setting, too.
func both(name, path, why, instead string) owned {
	return owned{name, strings.Split(path, "."), why, instead}
}

const (
	whyCertificates = "keys and certificates are issued and renewed by kinstall"
	whyEtcd         = "API servers are joined to the etcd members of this inventory"
	whyProbes       = "the kubelet asks at the usual port whether it lives"
	useHosts        = "Give hosts the role \"etcd\"."
	useNothing      = "Leave it out."
)

// The tables below list names, not families: a flag that is not listed is the
// user's. They are functions because tables of slices can't be constants.

// everyProgram is what no program may be started with.
func everyProgram() []owned {
	const ends = "programs are started to serve, not to print something and end"
	return []owned{ownedFlag("help", ends, useNothing), ownedFlag("version", ends, useNothing)}
}

func ownedAPIServerArgs() []owned {
	return append(everyProgram(), []owned{
		ownedFlag("advertise-address", "each API server advertises its host's address", "Change the host's address."),
		ownedFlag("allow-privileged", "the cluster's own pods need it", useNothing),
		ownedFlag("authorization-config", "kubelets are confined by Node and RBAC", useNothing),
		ownedFlag("authorization-mode", "kubelets are confined by Node and RBAC", useNothing),
		ownedFlag("authorization-policy-file", "RBAC and Node decide who may do what; ABAC would let through what they refuse", useNothing),
		ownedFlag("bind-address", "the load balancer reaches each API server at its host's address", useNothing),
		ownedFlag("cert-dir", whyCertificates, useNothing),
		ownedFlag("client-ca-file", whyCertificates, useNothing),
		ownedFlag("enable-bootstrap-token-auth", "it follows from how kubelets get their certificates", "Set kubelet.certificates."),
		ownedFlag("etcd-cafile", whyEtcd, useNothing),
		ownedFlag("etcd-certfile", whyEtcd, useNothing),
		ownedFlag("etcd-keyfile", whyEtcd, useNothing),
		ownedFlag("etcd-prefix", whyEtcd, useNothing),
		ownedFlag("etcd-servers", whyEtcd, useHosts),
		ownedFlag("etcd-servers-overrides", whyEtcd, useHosts),
		ownedFlag("kubelet-certificate-authority", whyCertificates, useNothing),
		ownedFlag("kubelet-client-certificate", whyCertificates, useNothing),
		ownedFlag("kubelet-client-key", whyCertificates, useNothing),
		ownedFlag("proxy-client-cert-file", whyCertificates, useNothing),
		ownedFlag("proxy-client-key-file", whyCertificates, useNothing),
		ownedFlag("requestheader-allowed-names", whyCertificates, useNothing),
		ownedFlag("requestheader-client-ca-file", whyCertificates, useNothing),
		ownedFlag("requestheader-extra-headers-prefix", whyCertificates, useNothing),
		ownedFlag("requestheader-group-headers", whyCertificates, useNothing),
		ownedFlag("requestheader-username-headers", whyCertificates, useNothing),
		ownedFlag("secure-port", "the load balancer and the firewall count on 6443", "To have clients dial another port, set load_balancer.port."),
		ownedFlag("service-account-issuer", "tokens of running pods depend on it", "Set cluster.domain."),
		ownedFlag("service-account-key-file", whyCertificates, useNothing),
		ownedFlag("service-account-signing-key-file", whyCertificates, useNothing),
		ownedFlag("service-cluster-ip-range", "certificates and DNS depend on it", "Set cluster.service_cidr."),
		ownedFlag("tls-cert-file", whyCertificates, "For more names in it, set cluster.cert_sans."),
		ownedFlag("tls-private-key-file", whyCertificates, useNothing),
		ownedFlag("token-auth-file", "tokens in a file never expire and stand there in clear", "Use certificates, service accounts or an identity provider."),
		ownedFlag("tls-sni-cert-key", whyCertificates, "For more names in the certificate, set cluster.cert_sans."),
	}...)
}

func ownedControllerManagerArgs() []owned {
	return append(everyProgram(), []owned{
		ownedFlag("allocate-node-cidrs", "pod subnets are allocated in the plan", "Set pod_subnet in the host's block."),
		ownedFlag("authentication-kubeconfig", whyCertificates, useNothing),
		ownedFlag("authorization-always-allow-paths", whyProbes, useNothing),
		ownedFlag("authorization-kubeconfig", whyCertificates, useNothing),
		ownedFlag("cert-dir", whyCertificates, useNothing),
		ownedFlag("client-ca-file", whyCertificates, useNothing),
		ownedFlag("cluster-cidr", "pod subnets are allocated in the plan", "Set cluster.pod_cidr."),
		ownedFlag("cluster-name", "it is the cluster's name", "Change the label of the cluster block."),
		ownedFlag("cluster-signing-cert-file", whyCertificates, useNothing),
		ownedFlag("cluster-signing-key-file", whyCertificates, useNothing),
		ownedFlag("kubeconfig", whyCertificates, useNothing),
		ownedFlag("leader-elect", "masters must agree on one leader", useNothing),
		ownedFlag("master", "it dials the API server of its own host", useNothing),
		ownedFlag("node-cidr-mask-size", "pod subnets are allocated in the plan", "Set cluster.pod_subnet_size."),
		ownedFlag("node-cidr-mask-size-ipv4", "pod subnets are allocated in the plan", "Set cluster.pod_subnet_size."),
		ownedFlag("node-cidr-mask-size-ipv6", "pod subnets are allocated in the plan", "Set cluster.pod_subnet_size_v6."),
		ownedFlag("requestheader-client-ca-file", whyCertificates, useNothing),
		ownedFlag("root-ca-file", whyCertificates, useNothing),
		ownedFlag("secure-port", whyProbes, useNothing),
		ownedFlag("service-account-private-key-file", whyCertificates, useNothing),
		ownedFlag("service-cluster-ip-range", "certificates and DNS depend on it", "Set cluster.service_cidr."),
		ownedFlag("tls-cert-file", whyCertificates, useNothing),
		ownedFlag("tls-private-key-file", whyCertificates, useNothing),
		ownedFlag("use-service-account-credentials", "each controller has rights of its own", useNothing),
	}...)
}

func ownedSchedulerArgs() []owned {
	return append(everyProgram(), []owned{
		ownedFlag("authentication-kubeconfig", whyCertificates, useNothing),
		ownedFlag("authorization-always-allow-paths", whyProbes, useNothing),
		ownedFlag("authorization-kubeconfig", whyCertificates, useNothing),
		ownedFlag("cert-dir", whyCertificates, useNothing),
		ownedFlag("client-ca-file", whyCertificates, useNothing),
		ownedFlag("config", "it would replace kinstall's flags, and is not mounted into the pod", useNothing),
		ownedFlag("kubeconfig", whyCertificates, useNothing),
		ownedFlag("leader-elect", "masters must agree on one leader", useNothing),
		ownedFlag("master", "it dials the API server of its own host", useNothing),
		ownedFlag("requestheader-client-ca-file", whyCertificates, useNothing),
		ownedFlag("secure-port", whyProbes, useNothing),
		ownedFlag("tls-cert-file", whyCertificates, useNothing),
		ownedFlag("tls-private-key-file", whyCertificates, useNothing),
	}...)
}

// ownedKubelet is by the names of
// https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/ and
// https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/.
func ownedKubelet() []owned {
	const (
		authentication = "kubelets answer to nobody without a certificate or token"
		ports          = "the API server, the preflight and the firewall's owner count on the usual ports"
	)
	return append(everyProgram(),
		ownedSettingAt("it is the version kinstall writes", useNothing, "apiVersion"),
		ownedSettingAt("it is what the file is", useNothing, "kind"),
		both("anonymous-auth", "authentication.anonymous.enabled", authentication, useNothing),
		both("authentication-token-webhook", "authentication.webhook.enabled", authentication, useNothing),
		both("authorization-mode", "authorization.mode", "kubelets ask the API server who may do what", useNothing),
		ownedFlag("bootstrap-kubeconfig", whyCertificates, useNothing),
		ownedFlag("cert-dir", whyCertificates, useNothing),
		ownedFlag("cgroup-driver", "runtime and kubelet must have one cgroup driver", "Set runtime.cgroup_driver."),
		both("client-ca-file", "authentication.x509.clientCAFile", whyCertificates, useNothing),
		both("cluster-dns", "clusterDNS", "the address follows from the service network", "Set cluster.service_cidr."),
		both("cluster-domain", "clusterDomain", "it is the cluster's domain", "Set cluster.domain."),
		ownedFlag("config", "the file is written by kinstall", "Set kubelet.settings."),
		ownedFlag("config-dir", "the configuration is written by kinstall", "Set kubelet.settings."),
		both("container-runtime-endpoint", "containerRuntimeEndpoint", "it follows from the runtime", "Use the runtime block."),
		both("healthz-port", "healthzPort", ports, useNothing),
		ownedFlag("hostname-override", "the node's name is the host's", "Change the label of the host block."),
		both("image-service-endpoint", "imageServiceEndpoint", "it follows from the runtime", "Use the runtime block."),
		ownedFlag("kubeconfig", whyCertificates, useNothing),
		both("manifest-url", "staticPodURL", "nothing but the control plane's manifests runs outside of the API", useNothing),
		ownedFlag("node-ip", "the node's address is the host's", "Change the host's address."),
		ownedFlag("node-labels", "labels are kept up to date through the API", "Set labels in the host's block."),
		both("pod-cidr", "podCIDR", "pod subnets are allocated in the plan", "Set pod_subnet in the host's block."),
		both("pod-manifest-path", "staticPodPath", "the control plane's manifests are written there", useNothing),
		both("port", "port", ports, useNothing),
		both("read-only-port", "readOnlyPort", authentication, useNothing),
		both("register-node", "registerNode", "nodes register themselves, and the plan waits for them", useNothing),
		both("register-with-taints", "registerWithTaints", "taints are kept up to date through the API", "Set taints in the host's block."),
		ownedFlag("root-dir", "kinstall writes what the kubelet reads there", useNothing),
		both("rotate-certificates", "rotateCertificates", whyCertificates, useNothing),
		both("rotate-server-certificates", "serverTLSBootstrap", whyCertificates, useNothing),
		ownedFlag("runonce", "the kubelet would end at once", useNothing),
		both("tls-cert-file", "tlsCertFile", whyCertificates, useNothing),
		both("tls-private-key-file", "tlsPrivateKeyFile", whyCertificates, useNothing),
	)
}

func ownedEtcdArgs() []owned {
	const (
		members = "it follows from the hosts with the role etcd"
		port    = "kinstall asks it there whether it lives"
	)
	return append(everyProgram(), []owned{
		ownedFlag("advertise-client-urls", members, useNothing),
		ownedFlag("auto-tls", whyCertificates, useNothing),
		ownedFlag("cert-file", whyCertificates, useNothing),
		ownedFlag("client-cert-auth", "etcd holds every secret; nobody reads it without a certificate", useNothing),
		ownedFlag("config-file", "etcd would read nothing but that file", "Set etcd.args."),
		ownedFlag("data-dir", "kinstall prepares it", "Set etcd.data_dir."),
		ownedFlag("discovery", members, useNothing),
		ownedFlag("discovery-endpoints", members, useNothing),
		ownedFlag("discovery-srv", members, useNothing),
		ownedFlag("discovery-token", members, useNothing),
		ownedFlag("force-new-cluster", "it throws members away at every start", useNothing),
		ownedFlag("initial-advertise-peer-urls", members, useNothing),
		ownedFlag("initial-cluster", members, useHosts),
		ownedFlag("initial-cluster-state", members, useNothing),
		ownedFlag("initial-cluster-token", members, useNothing),
		ownedFlag("key-file", whyCertificates, useNothing),
		ownedFlag("listen-client-http-urls", members, useNothing),
		ownedFlag("listen-client-urls", members, useNothing),
		ownedFlag("listen-metrics-urls", port, useNothing),
		ownedFlag("listen-peer-urls", members, useNothing),
		ownedFlag("name", members, useNothing),
		ownedFlag("peer-auto-tls", whyCertificates, useNothing),
		ownedFlag("peer-cert-file", whyCertificates, useNothing),
		ownedFlag("peer-client-cert-auth", "members join with a certificate only", useNothing),
		ownedFlag("peer-key-file", whyCertificates, useNothing),
		ownedFlag("peer-trusted-ca-file", whyCertificates, useNothing),
		ownedFlag("trusted-ca-file", whyCertificates, useNothing),
		ownedFlag("wal-dir", "a member is backed up and removed by its data directory", "Set etcd.data_dir."),
	}...)
}

func ownedKubeProxySettings() []owned {
	return []owned{
		ownedSettingAt("it is the version kinstall writes", useNothing, "apiVersion"),
		ownedSettingAt("it is what the file is", useNothing, "kind"),
		ownedSettingAt("it names the API server that nodes dial", "Set cluster.endpoint.", "clientConnection", "kubeconfig"),
		ownedSettingAt("it is the pod network", "Set cluster.pod_cidr.", "clusterCIDR"),
		ownedSettingAt("the node's name is the host's", "Change the label of the host block.", "hostnameOverride"),
		ownedSettingAt("it has an attribute of its own", "Set kube_proxy.mode.", "mode"),
	}
}

func ownedContainerdSettings() []owned {
	const runtime = "io.containerd.cri.v1.runtime"
	return []owned{
		ownedSettingAt("it is the version of the file that kinstall writes", useNothing, "version"),
		ownedSettingAt("kubelets and kinstall itself reach containerd there", useNothing, "grpc", "address"),
		ownedSettingAt("runtime and kubelet must have one cgroup driver", "Set runtime.cgroup_driver.",
			"plugins", runtime, "containerd", "runtimes", "runc", "options", "SystemdCgroup"),
		ownedSettingAt("it has an attribute of its own", "Set runtime.sandbox_image.", "plugins", "io.containerd.cri.v1.images", "pinned_images", "sandbox"),
	}
}

func ownedDockerSettings() []owned {
	return []owned{
		ownedSettingAt("docker0 has the first address of the host's part of pod_cidr", "Set pod_subnet in the host's block.", "bip"),
		ownedSettingAt("pods of Kubernetes have a network of their own", useNothing, "bridge"),
		ownedSettingAt("runtime and kubelet must have one cgroup driver", "Set runtime.cgroup_driver.", "exec-opts"),
		ownedSettingAt("it would let containers share addresses with docker0", useNothing, "fixed-cidr"),
		ownedSettingAt("the service's own -H flag names them; dockerd refuses both", "Write a drop-in for docker.service.", "hosts"),
		ownedSettingAt("it has an attribute of its own", "Set runtime.live_restore.", "live-restore"),
		ownedSettingAt("it is the network's", "Set network.mtu.", "mtu"),
		ownedSettingAt("they have an attribute of their own", "Set mirrors in the block registry \"docker.io\".", "registry-mirrors"),
	}
}

// args makes a grammar for flags: well-formed and not owned.
func args(table func() []owned) kind {
	name := func(s string) *fault {
		if f := flagName(s); f != nil {
			return f
		}
		for _, o := range table() {
			if o.flag == s {
				f := faultf(ownedArgument, "%q is set by kinstall: %s.", s, o.why)
				f.hint = o.instead
				return f
			}
		}
		return nil
	}
	return textMap("map of flags", name, flagValue)
}

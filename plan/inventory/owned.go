package inventory

// owned is a flag or setting that stays kinstall's: what it would break, and
// where the inventory says it instead.
type owned struct {
	name    string
	why     string
	instead string
}

const (
	whyCertificates = "keys and certificates are issued and renewed by kinstall"
	whyEtcd         = "API servers are joined to the etcd members of this inventory"
	useHosts        = "Give hosts the role \"etcd\"."
	useNothing      = "Leave it out."
)

// The tables below list names, not families: a flag that is not listed is the
// user's. They are functions because tables of slices can't be constants.

func ownedAPIServerArgs() []owned {
	return []owned{
		{"advertise-address", "each API server advertises its host's address", "Change the host's address."},
		{"allow-privileged", "the cluster's own pods need it", useNothing},
		{"authorization-mode", "kubelets are confined by Node and RBAC", useNothing},
		{"bind-address", "the load balancer reaches each API server at its host's address", useNothing},
		{"client-ca-file", whyCertificates, useNothing},
		{"enable-bootstrap-token-auth", "kubelets get certificates of their own", useNothing},
		{"etcd-cafile", whyEtcd, useNothing},
		{"etcd-certfile", whyEtcd, useNothing},
		{"etcd-keyfile", whyEtcd, useNothing},
		{"etcd-prefix", whyEtcd, useNothing},
		{"etcd-servers", whyEtcd, useHosts},
		{"kubelet-certificate-authority", whyCertificates, useNothing},
		{"kubelet-client-certificate", whyCertificates, useNothing},
		{"kubelet-client-key", whyCertificates, useNothing},
		{"proxy-client-cert-file", whyCertificates, useNothing},
		{"proxy-client-key-file", whyCertificates, useNothing},
		{"requestheader-allowed-names", whyCertificates, useNothing},
		{"requestheader-client-ca-file", whyCertificates, useNothing},
		{"secure-port", "the load balancer and the firewall count on 6443", "To have clients dial another port, set load_balancer.port."},
		{"service-account-issuer", "tokens of running pods depend on it", "Set cluster.domain."},
		{"service-account-key-file", whyCertificates, useNothing},
		{"service-account-signing-key-file", whyCertificates, useNothing},
		{"service-cluster-ip-range", "certificates and DNS depend on it", "Set cluster.service_cidr."},
		{"tls-cert-file", whyCertificates, "For more names in it, set cluster.cert_sans."},
		{"tls-private-key-file", whyCertificates, useNothing},
		{"tls-sni-cert-key", whyCertificates, "For more names in the certificate, set cluster.cert_sans."},
	}
}

func ownedControllerManagerArgs() []owned {
	return []owned{
		{"allocate-node-cidrs", "pod subnets are allocated in the plan", "Set pod_subnet in the host's block."},
		{"authentication-kubeconfig", whyCertificates, useNothing},
		{"authorization-kubeconfig", whyCertificates, useNothing},
		{"client-ca-file", whyCertificates, useNothing},
		{"cluster-cidr", "pod subnets are allocated in the plan", "Set cluster.pod_cidr."},
		{"cluster-name", "it is the cluster's name", "Change the label of the cluster block."},
		{"cluster-signing-cert-file", whyCertificates, useNothing},
		{"cluster-signing-key-file", whyCertificates, useNothing},
		{"kubeconfig", whyCertificates, useNothing},
		{"leader-elect", "masters must agree on one leader", useNothing},
		{"node-cidr-mask-size", "pod subnets are allocated in the plan", "Set cluster.pod_subnet_size."},
		{"requestheader-client-ca-file", whyCertificates, useNothing},
		{"root-ca-file", whyCertificates, useNothing},
		{"service-account-private-key-file", whyCertificates, useNothing},
		{"service-cluster-ip-range", "certificates and DNS depend on it", "Set cluster.service_cidr."},
		{"use-service-account-credentials", "each controller has rights of its own", useNothing},
	}
}

func ownedSchedulerArgs() []owned {
	return []owned{
		{"authentication-kubeconfig", whyCertificates, useNothing},
		{"authorization-kubeconfig", whyCertificates, useNothing},
		{"kubeconfig", whyCertificates, useNothing},
		{"leader-elect", "masters must agree on one leader", useNothing},
	}
}

func ownedKubeletArgs() []owned {
	return []owned{
		{"bootstrap-kubeconfig", whyCertificates, useNothing},
		{"cert-dir", whyCertificates, useNothing},
		{"cluster-dns", "the address follows from the service network", "Set cluster.service_cidr."},
		{"cluster-domain", "it is the cluster's domain", "Set cluster.domain."},
		{"config", "the file is written by kinstall", "Set kubelet.settings."},
		{"config-dir", "the configuration is written by kinstall", "Set kubelet.settings."},
		{"container-runtime-endpoint", "it follows from the runtime", "Use the runtime block."},
		{"hostname-override", "the node's name is the host's", "Change the label of the host block."},
		{"kubeconfig", whyCertificates, useNothing},
		{"node-ip", "the node's address is the host's", "Change the host's address."},
		{"node-labels", "labels are kept up to date through the API", "Set labels in the host's block."},
		{"register-with-taints", "taints are kept up to date through the API", "Set taints in the host's block."},
	}
}

func ownedEtcdArgs() []owned {
	const members = "it follows from the hosts with the role etcd"
	return []owned{
		{"advertise-client-urls", members, useNothing},
		{"auto-tls", whyCertificates, useNothing},
		{"cert-file", whyCertificates, useNothing},
		{"client-cert-auth", "etcd holds every secret; nobody reads it without a certificate", useNothing},
		{"data-dir", "kinstall prepares it", "Set etcd.data_dir."},
		{"discovery", members, useNothing},
		{"force-new-cluster", "it throws members away at every start", useNothing},
		{"initial-advertise-peer-urls", members, useNothing},
		{"initial-cluster", members, useHosts},
		{"initial-cluster-state", members, useNothing},
		{"initial-cluster-token", members, useNothing},
		{"key-file", whyCertificates, useNothing},
		{"listen-client-urls", members, useNothing},
		{"listen-peer-urls", members, useNothing},
		{"name", members, useNothing},
		{"peer-auto-tls", whyCertificates, useNothing},
		{"peer-cert-file", whyCertificates, useNothing},
		{"peer-client-cert-auth", "members join with a certificate only", useNothing},
		{"peer-key-file", whyCertificates, useNothing},
		{"peer-trusted-ca-file", whyCertificates, useNothing},
		{"trusted-ca-file", whyCertificates, useNothing},
	}
}

func ownedKubeletSettings() []owned {
	return []owned{
		{"apiVersion", "it is the version kinstall writes", useNothing},
		{"kind", "it is what the file is", useNothing},
		{"authentication.anonymous.enabled", "kubelets answer to nobody without a certificate or token", useNothing},
		{"authentication.x509.clientCAFile", whyCertificates, useNothing},
		{"authorization.mode", "kubelets ask the API server who may do what", useNothing},
		{"clusterDNS", "the address follows from the service network", "Set cluster.service_cidr."},
		{"clusterDomain", "it is the cluster's domain", "Set cluster.domain."},
		{"containerRuntimeEndpoint", "it follows from the runtime", "Use the runtime block."},
		{"podCIDR", "pod subnets are allocated in the plan", "Set pod_subnet in the host's block."},
		{"registerWithTaints", "taints are kept up to date through the API", "Set taints in the host's block."},
		{"staticPodPath", "the control plane's manifests are written there", useNothing},
		{"tlsCertFile", whyCertificates, useNothing},
		{"tlsPrivateKeyFile", whyCertificates, useNothing},
	}
}

func ownedKubeProxySettings() []owned {
	return []owned{
		{"apiVersion", "it is the version kinstall writes", useNothing},
		{"kind", "it is what the file is", useNothing},
		{"clientConnection.kubeconfig", "kube-proxy dials the load balancer", "Set cluster.endpoint."},
		{"clusterCIDR", "it is the pod network", "Set cluster.pod_cidr."},
		{"hostnameOverride", "the node's name is the host's", "Change the label of the host block."},
		{"mode", "it has an attribute of its own", "Set kube_proxy.mode."},
	}
}

func ownedContainerdSettings() []owned {
	return []owned{
		{"version", "it is the version of the file that kinstall writes", useNothing},
	}
}

func ownedDockerSettings() []owned {
	return []owned{
		{"bip", "docker0 has the first address of the host's part of pod_cidr", "Set pod_subnet in the host's block."},
		{"bridge", "pods of Kubernetes have a network of their own", useNothing},
		{"exec-opts", "runtime and kubelet must have one cgroup driver", "Set runtime.cgroup_driver."},
		{"fixed-cidr", "it would let containers share addresses with docker0", useNothing},
		{"hosts", "the service's own -H flag names them; dockerd refuses both", "Write a drop-in for docker.service."},
		{"live-restore", "it has an attribute of its own", "Set runtime.live_restore."},
		{"mtu", "it is the network's", "Set network.mtu."},
		{"registry-mirrors", "they have an attribute of their own", "Set mirrors in the block registry \"docker.io\"."},
	}
}

// args makes a grammar for flags: well-formed and not owned.
func args(table func() []owned) kind {
	name := func(s string) *fault {
		if f := flagName(s); f != nil {
			return f
		}
		for _, o := range table() {
			if o.name == s {
				f := faultf(ownedArgument, "%q is set by kinstall: %s.", s, o.why)
				f.hint = o.instead
				return f
			}
		}
		return nil
	}
	return textMap("map of flags", name, flagValue)
}

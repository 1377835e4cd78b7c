package plan

// Authorities of a cluster, by the name their files have in the pki directory.
const (
	AuthorityKubernetes     = "kubernetes"
	AuthorityEtcd           = "etcd"
	AuthorityFrontProxy     = "front-proxy"
	AuthorityServiceAccount = "service-account"
)

// Ports that kinstall's components listen on.
const (
	APIServerPort         = 6443
	EtcdClientPort        = 2379
	EtcdPeerPort          = 2380
	KubeletPort           = 10250
	ControllerManagerPort = 10257
	SchedulerPort         = 10259
)

// APIServerCertificate is the path of an API server's serving certificate.
const APIServerCertificate = "/etc/kubernetes/pki/apiserver.crt"

// ManifestDirectory is where the kubelet finds its static pods.
const ManifestDirectory = "/etc/kubernetes/manifests"

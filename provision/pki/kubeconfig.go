package pki

import (
	api "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// Kubeconfig returns a kubeconfig with everything embedded, private key
// included: its caller must treat it as a secret. Server is a URL, the rest is
// in PEM. Cluster and context bear the cluster's name and the user CLUSTER-admin,
// so that files of several clusters can be merged.
func Kubeconfig(clusterName, server string, caPEM, certPEM, keyPEM []byte) []byte {
	user := clusterName + "-admin"
	config := api.Config{
		Kind:           "Config",
		APIVersion:     "v1",
		Clusters:       []api.NamedCluster{{Name: clusterName, Cluster: api.Cluster{Server: server, CertificateAuthorityData: caPEM}}},
		AuthInfos:      []api.NamedAuthInfo{{Name: user, AuthInfo: api.AuthInfo{ClientCertificateData: certPEM, ClientKeyData: keyPEM}}},
		Contexts:       []api.NamedContext{{Name: clusterName, Context: api.Context{Cluster: clusterName, AuthInfo: user}}},
		CurrentContext: clusterName,
	}
	data, err := yaml.Marshal(config)
	if err != nil {
		panic("pki: a kubeconfig of strings and bytes can't be encoded") // err might quote the key
	}
	return data
}

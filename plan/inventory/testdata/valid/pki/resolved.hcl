cluster "c" {
  version           = "1.36.3"
  endpoint          = "10.27.1.1:6443"
  pod_cidr          = "10.244.0.0/16"
  pod_subnet_size   = 24
  service_cidr      = "10.96.0.0/12"
  domain            = "cluster.local"
  cert_validity     = "8760h"
  cert_renew_before = "720h"
  ca_validity       = "87600h"
  hardening         = "cis"
}

ssh {
  user        = "root"
  port        = 22
  agent       = true
  known_hosts = "/home/operator/.ssh/known_hosts"
  become      = false
  timeout     = "10s"
}

etcd {
  version  = "3.6.8"
  data_dir = "/var/lib/etcd"
}

network "routes" {
}

runtime "containerd" {
  version       = "2.4.2"
  runc_version  = "1.3.3"
  cni_version   = "1.9.1"
  sandbox_image = "registry.k8s.io/pause:3.10.1"
  cgroup_driver = "systemd"
}

pki {
  dir                 = "/inventories/secrets/pki"
  key_algorithm       = "rsa-3072"
  organization        = "Wuxia Ltd"
  organizational_unit = "Platform"
  country             = "CN"
  province            = "Henan"
  locality            = "Dengfeng"

  signer "cfssl" {
    authorities   = ["kubernetes", "front-proxy"]
    url           = "https://ca.example.com:8888"
    profile       = "kubernetes"
    auth_key_file = "/inventories/secrets/cfssl.key"
    ca_file       = "/inventories/cfssl-ca.pem"
    timeout       = "1m"
  }

  signer "command" {
    authorities = ["etcd"]
    command     = ["./sign.sh", "-v", "-v", ""]
    timeout     = "30s"
  }

  encryption {
    passphrase    = false
    recipients    = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
    identity_file = "/inventories/age.txt"
  }
}

audit {
  enabled     = true
  log_path    = "/var/log/kubernetes/audit/audit.log"
  max_age     = 30
  max_backups = 10
  max_size    = 100
}

kubelet {
  certificates         = "planned"
  serving_certificates = "planned"
}

kube_proxy {
  mode = "iptables"
}

dns {
  kind    = "coredns"
  version = "1.14.7"
}

preparation {
  set_hostname   = false
  swap           = "off"
  max_clock_skew = "2s"
}

rollout {
  workers       = "10%"
  drain_timeout = "5m"
}

host "a" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"
}

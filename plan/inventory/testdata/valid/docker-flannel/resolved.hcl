cluster "redis" {
  pod_cidr          = "10.1.0.0/16"
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

network "flannel" {
  mtu     = 1450
  backend = "vxlan"
  store   = "etcd"
  version = "0.28.4"
}

runtime "docker" {
  package             = "docker.io"
  cri_dockerd_version = "0.3.24"
  cni_version         = "1.9.1"
  sandbox_image       = "registry.k8s.io/pause:3.10.1"
  cgroup_driver       = "systemd"
  log_max_size        = "10m"
  log_max_file        = 3
  live_restore        = true
}

pki {
  dir           = "/inventories/pki"
  key_algorithm = "ecdsa-p256"
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

host "one" {
  address = "10.27.1.1"
  roles   = ["container", "etcd"]
}

host "two" {
  address = "10.27.1.2"
  roles   = ["etcd"]
}

host "three" {
  address = "10.27.1.3"
  roles   = ["etcd"]
}

cluster "c" {
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
  data_dir = "/var/lib/etcd"
}

network "openvswitch" {
  mtu       = 1462
  tunnel    = "gre"
  datapath  = "userspace"
  interface = "ens5"
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

host "a" {
  address        = "10.1.0.1"
  roles          = ["container"]
  tunnel_address = "10.92.0.11/24"
}

host "b" {
  address        = "10.1.0.2"
  roles          = ["container"]
  tunnel_address = "10.92.0.12/24"
}

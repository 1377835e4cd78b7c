cluster "large" {
  version           = "1.36.3"
  endpoint          = "api.k8s.example.com:6443"
  pod_cidr          = "10.128.0.0/14"
  pod_subnet_size   = 26
  service_cidr      = "10.96.0.0/16"
  domain            = "cluster.local"
  cert_sans         = ["api.k8s.example.com"]
  cert_validity     = "8760h"
  cert_renew_before = "720h"
  ca_validity       = "87600h"
  hardening         = "cis"
}

ssh {
  user        = "debian"
  port        = 22
  key_files   = ["/home/operator/.ssh/fleet_ed25519"]
  agent       = false
  known_hosts = "/home/operator/.ssh/known_hosts"
  become      = true
  timeout     = "10s"

  bastion {
    address     = "gate.example.com"
    port        = 22
    user        = "jump"
    key_files   = ["/home/operator/.ssh/fleet_ed25519"]
    known_hosts = "/home/operator/.ssh/known_hosts"
  }
}

etcd {
  version  = "3.6.8"
  data_dir = "/var/lib/etcd"
}

network "external" {
}

runtime "containerd" {
  version       = "2.4.2"
  runc_version  = "1.3.3"
  cni_version   = "1.9.1"
  sandbox_image = "registry.k8s.io/pause:3.10.1"
  cgroup_driver = "systemd"
}

load_balancer "local" {
  port    = 7443
  timeout = "1h"
}

artifacts {
  source = "https://mirror.example.com/kubernetes"
}

pki {
  dir           = "/inventories/pki"
  key_algorithm = "ecdsa-p256"
}

api_server {
  args = {
    max-mutating-requests-inflight = "400"
    max-requests-inflight          = "800"
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
  mode = "nftables"
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

host "master-a" {
  address = "10.30.1.10"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
    "topology.kubernetes.io/zone"           = "a"
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"
}

host "master-b" {
  address = "10.30.2.10"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
    "topology.kubernetes.io/zone"           = "b"
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"
}

host "master-c" {
  address = "10.30.3.10"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
    "topology.kubernetes.io/zone"           = "c"
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"
}

host "worker000" {
  address = "10.30.10.10"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "a"
  }
  state = "active"
}

host "worker001" {
  address = "10.30.10.11"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "b"
  }
  state = "active"
}

host "worker002" {
  address = "10.30.10.12"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "c"
  }
  state = "active"
}

host "worker003" {
  address = "10.30.10.13"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "a"
  }
  state = "active"
}

host "worker004" {
  address = "10.30.10.14"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "b"
  }
  state = "active"
}

host "worker005" {
  address = "10.30.10.15"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "c"
  }
  state = "active"
}

host "worker006" {
  address = "10.30.10.16"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "a"
  }
  state = "active"
}

host "worker007" {
  address = "10.30.10.17"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "b"
  }
  state = "active"
}

host "worker008" {
  address = "10.30.10.18"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "c"
  }
  state = "active"
}

host "worker009" {
  address = "10.30.10.19"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "a"
  }
  state = "active"
}

host "worker010" {
  address = "10.30.10.20"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "b"
  }
  state = "active"
}

host "worker011" {
  address = "10.30.10.21"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "c"
  }
  state = "active"
}

host "worker012" {
  address = "10.30.10.22"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "a"
  }
  state = "active"
}

host "worker013" {
  address = "10.30.10.23"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "b"
  }
  state = "active"
}

host "worker014" {
  address = "10.30.10.24"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "c"
  }
  state = "active"
}

host "worker015" {
  address = "10.30.10.25"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "a"
  }
  state = "active"
}

host "worker016" {
  address = "10.30.10.26"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "b"
  }
  state = "active"
}

host "worker017" {
  address = "10.30.10.27"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "c"
  }
  state = "active"
}

host "worker018" {
  address = "10.30.10.28"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "a"
  }
  state = "active"
}

host "worker019" {
  address = "10.30.10.29"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "b"
  }
  state = "active"
}

host "worker020" {
  address = "10.30.10.30"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "c"
  }
  state = "active"
}

host "worker021" {
  address = "10.30.10.31"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "a"
  }
  state = "active"
}

host "worker022" {
  address = "10.30.10.32"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "b"
  }
  state = "active"
}

host "worker023" {
  address = "10.30.10.33"
  roles   = ["worker"]
  labels = {
    "topology.kubernetes.io/zone" = "c"
  }
  state = "active"
}

host "db-a" {
  address = "10.30.1.100"
  roles   = ["worker"]
  labels = {
    memory                        = "large"
    "topology.kubernetes.io/zone" = "a"
  }
  taints = ["dedicated=database:NoSchedule"]
  state  = "active"
}

host "db-b" {
  address = "10.30.2.101"
  roles   = ["worker"]
  labels = {
    memory                        = "large"
    "topology.kubernetes.io/zone" = "b"
  }
  taints = ["dedicated=database:NoSchedule"]
  state  = "active"
}

host "db-c" {
  address = "10.30.3.102"
  roles   = ["worker"]
  labels = {
    memory                        = "large"
    "topology.kubernetes.io/zone" = "c"
  }
  taints = ["dedicated=database:NoSchedule"]
  state  = "active"
}

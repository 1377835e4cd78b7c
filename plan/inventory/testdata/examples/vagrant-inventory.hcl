cluster "vagrant" {
  version           = "1.36.3"
  endpoint          = "kubernetes.default.svc:8443"
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
  user        = "vagrant"
  port        = 22
  agent       = true
  known_hosts = "/inventories/known_hosts"
  become      = true
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

load_balancer "nginx" {
  hosts   = ["master-3"]
  port    = 8443
  timeout = "1h"
}

pki {
  dir           = "/inventories/pki"
  key_algorithm = "ecdsa-p256"
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
  set_hostname   = true
  swap           = "off"
  max_clock_skew = "2s"
}

rollout {
  workers       = "10%"
  drain_timeout = "5m"
}

host "master-1" {
  address = "192.168.56.11"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"

  ssh {
    key_files = ["/inventories/.vagrant/machines/master-1/virtualbox/private_key"]
    agent     = false
  }
}

host "master-2" {
  address = "192.168.56.12"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"

  ssh {
    key_files = ["/inventories/.vagrant/machines/master-2/virtualbox/private_key"]
    agent     = false
  }
}

host "master-3" {
  address = "192.168.56.13"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"

  ssh {
    key_files = ["/inventories/.vagrant/machines/master-3/virtualbox/private_key"]
    agent     = false
  }
}

host "worker-1" {
  address = "192.168.56.21"
  roles   = ["worker"]
  state   = "active"

  ssh {
    key_files = ["/inventories/.vagrant/machines/worker-1/virtualbox/private_key"]
    agent     = false
  }
}

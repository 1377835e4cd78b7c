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
  data_dir = "/var/lib/etcd"
}

network "routes" {
}

runtime "docker" {
  package             = "docker-ce"
  cri_dockerd_version = "0.3.24"
  cni_version         = "1.9.1"
  sandbox_image       = "registry.k8s.io/pause:3.10.1"
  cgroup_driver       = "systemd"
  log_max_size        = "50m"
  log_max_file        = 3
  live_restore        = false
  settings = {
    default-ulimits = {
      nofile = {
        Hard = 64000
        Name = "nofile"
        Soft = 64000
      }
    }
  }

  proxy {
    http     = "http://proxy.example.com:3128"
    no_proxy = [".example.com", "10.0.0.0/8"]
  }

  registry "docker.io" {
    mirrors = ["https://mirror.example.com", "http://10.9.0.1:5000"]
  }

  registry "registry.example.com:5000" {
    ca_file       = "/inventories/ca.pem"
    username      = "robot$puller"
    password_file = "/home/operator/registry-password"
  }
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
  address    = "10.27.1.1"
  roles      = ["container"]
  pod_subnet = "10.1.10.0/24"
}

host "two" {
  address = "10.27.1.2"
  roles   = ["container"]
}

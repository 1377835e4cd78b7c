cluster "wuxia" {
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
  user        = "root"
  port        = 22
  key_files   = ["/var/lib/kinstall-lab/kinstall/operator/id_ed25519"]
  agent       = false
  known_hosts = "/var/lib/kinstall-lab/kinstall/operator/known_hosts"
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
  runc_version  = "1.1.5"
  cni_version   = "1.9.1"
  sandbox_image = "registry.k8s.io/pause:3.10.1"
  cgroup_driver = "cgroupfs"
  settings = {
    plugins = {
      "io.containerd.cri.v1.runtime" = {
        restrict_oom_score_adj = true
      }
    }
  }
}

load_balancer "nginx" {
  hosts   = ["emei"]
  port    = 8443
  timeout = "1h"
}

artifacts {
  source = "/home/operator/.cache/kinstall/lab/mirror"
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
  settings = {
    cgroupDriver = "cgroupfs"
    failCgroupV1 = false
    failSwapOn   = false
  }
}

kube_proxy {
  mode = "iptables"
  settings = {
    conntrack = {
      maxPerCore            = 0
      min                   = 0
      tcpCloseWaitTimeout   = "0s"
      tcpEstablishedTimeout = "0s"
    }
  }
}

dns {
  kind      = "coredns"
  version   = "1.14.7"
  upstreams = ["none"]
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

host "shaolin" {
  address = "10.88.0.11"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"
}

host "wudang" {
  address = "10.88.0.12"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"
}

host "emei" {
  address = "10.88.0.13"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"
}

host "huashan" {
  address = "10.88.0.14"
  roles   = ["worker"]
  labels = {
    zone = "north"
  }
  state = "active"
}

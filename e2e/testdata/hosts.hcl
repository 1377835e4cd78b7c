# A cluster whose hosts come and go: at first a master and a worker.

variable "lab" {
  type        = string
  description = "directory with the operator's key and known_hosts"
}

variable "mirror" {
  type        = string
  description = "directory with binaries and images"
}

cluster "wuxia" {
  version  = "1.36.3"
  endpoint = "kubernetes.default.svc:8443"
}

ssh {
  user        = "root"
  key_file    = "${var.lab}/id_ed25519"
  known_hosts = "${var.lab}/known_hosts"
}

etcd {
  version = "3.6.8"
}

network "routes" {}

load_balancer "nginx" {
  hosts = ["shaolin"]
  port  = 8443
}

artifacts {
  source = var.mirror
  images = { "kinstall.example/toolbox:1" = "toolbox.tar" }
}

runtime "containerd" {
  version      = "2.4.2"
  runc_version = "1.1.5"
  # A machine in a sandbox may not lower oom_score_adj.
  settings = {
    plugins = { "io.containerd.cri.v1.runtime" = { restrict_oom_score_adj = true } }
  }
}

kubelet {
  settings = {
    failCgroupV1 = false
    cgroupDriver = "cgroupfs"
    failSwapOn   = false
  }
}

kube_proxy {
  settings = {
    conntrack = {
      maxPerCore            = 0
      min                   = 0
      tcpEstablishedTimeout = "0s"
      tcpCloseWaitTimeout   = "0s"
    }
  }
}

dns {
  upstreams = []
}

rollout {
  drain_timeout = "20s"
}

host "shaolin" {
  address = "10.88.0.11"
  roles   = ["etcd", "master"]
}

host "wudang" {
  address = "10.88.0.12"
  roles   = ["etcd", "master"]
}

host "emei" {
  address = "10.88.0.13"
  roles   = ["etcd", "master"]
}

host "huashan" {
  address = "10.88.0.14"
  roles   = ["worker"]
}

# Reached as a user who is not root.
host "hengshan" {
  address = "10.88.0.15"
  roles   = ["worker"]

  ssh {
    user   = "operator"
    become = true
  }
}

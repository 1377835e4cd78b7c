# A master, and two machines that share an address before it.

variable "lab" {
  type = string
}

variable "mirror" {
  type = string
}

cluster "solo" {
  version  = "1.36.3"
  endpoint = "kubernetes.default.svc:8443"
}

ssh {
  key_file    = "${var.lab}/id_ed25519"
  known_hosts = "${var.lab}/known_hosts"
}

network "routes" {}

load_balancer "nginx" {
  hosts = ["wudang", "emei"]
  vip   = "10.88.0.40"

  listen "greeting" {
    port        = 8080
    target_port = 8081
    roles       = ["master"]
  }
}

artifacts {
  source = var.mirror
}

runtime "containerd" {
  runc_version = "1.1.5"
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

host "shaolin" {
  address = "10.88.0.11"
  roles   = ["etcd", "master"]
  taints  = []
}

host "wudang" {
  address = "10.88.0.12"
}

host "emei" {
  address = "10.88.0.13"
}

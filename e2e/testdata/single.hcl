# One machine that is everything: for what goes wrong.

variable "lab" {
  type = string
}

variable "mirror" {
  type = string
}

cluster "solo" {
  version = "1.36.3"
}

ssh {
  key_file    = "${var.lab}/id_ed25519"
  known_hosts = "${var.lab}/known_hosts"
}

network "routes" {}

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

host "taishan" {
  address = "10.89.0.11"
  roles   = ["etcd", "master"]
  taints  = []
}

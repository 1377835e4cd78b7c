# Two machines with an address of each family, for one network after the other: the
# tests put theirs in place of routes.

variable "lab" {
  type = string
}

variable "mirror" {
  type = string
}

cluster "dual" {
  version         = "1.36.3"
  pod_cidr_v6     = "fd00:10:244::/56"
  service_cidr_v6 = "fd00:10:96::/112"
}

ssh {
  key_file    = "${var.lab}/id_ed25519"
  known_hosts = "${var.lab}/known_hosts"
}

network "routes" {}

artifacts {
  source = var.mirror
  images = { "kinstall.example/toolbox:1" = "toolbox.tar" }
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
  upstreams = ["none"]
}

host "putuo" {
  address    = "10.92.0.11"
  address_v6 = "fd00:92::11"
  roles      = ["etcd", "master"]
  taints     = []
}

host "jiuhua" {
  address       = "10.92.0.12"
  address_v6    = "fd00:92::12"
  roles         = ["worker"]
  pod_subnet_v6 = "fd00:10:244:77::/64"
}

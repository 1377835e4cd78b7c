# Three machines that run pods, for one network after the other: the tests put
# theirs in place of routes.

variable "lab" {
  type = string
}

variable "mirror" {
  type = string
}

cluster "nets" {
  version = "1.36.3"
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

host "hengshan" {
  address        = "10.91.0.11"
  tunnel_address = "10.92.0.11/24"
  roles          = ["etcd", "master"]
  taints         = []
}

host "lushan" {
  address        = "10.91.0.12"
  tunnel_address = "10.92.0.12/24"
  roles          = ["worker"]
}

host "yandang" {
  address        = "10.91.0.13"
  tunnel_address = "10.92.0.13/24"
  roles          = ["worker"]
  pod_subnet     = "10.244.77.0/24"
}

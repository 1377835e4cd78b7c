# The four machines that `make lab` boots: three masters, one of them with the
# load balancer, and a worker. What is set beyond that is what machines in a
# sandbox need; a cluster of your own starts better from three-masters.hcl.

variable "lab" {
  type        = string
  default     = "/var/lib/kinstall-lab/kinstall/operator"
  description = "Directory of the lab's SSH key and known_hosts"
}

variable "mirror" {
  type        = string
  default     = "~/.cache/kinstall/lab/mirror"
  description = "Directory of the components that the lab has built"
}

cluster "wuxia" {
  version      = "1.36.3"
  endpoint     = "kubernetes.default.svc:8443"
  pod_cidr     = "10.244.0.0/16"
  service_cidr = "10.96.0.0/12"
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

runtime "containerd" {
  runc_version = "1.1.5" # Debian's

  # Nothing in a sandbox may lower oom_score_adj.
  settings = {
    plugins = {
      "io.containerd.cri.v1.runtime" = { restrict_oom_score_adj = true }
    }
  }
}

load_balancer "nginx" {
  hosts = ["emei"]
  port  = 8443
}

artifacts {
  source = var.mirror
}

# The sandbox's kernel has the first version of cgroups.
kubelet {
  settings = {
    failCgroupV1 = false
    cgroupDriver = "cgroupfs"
    failSwapOn   = false
  }
}

# Nor may it change the limits of connection tracking.
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

# The lab's network has no name server to ask.
dns {
  upstreams = ["none"]
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
  labels  = { zone = "north" }
}

# Two hosts with containerd and nothing else: for changes that cut the operator
# off.

variable "lab" {
  type = string
}

variable "mirror" {
  type = string
}

cluster "cut" {
  pod_cidr = "10.77.0.0/16"
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

host "taishan" {
  address    = "10.95.0.11"
  roles      = ["container"]
  pod_subnet = "10.77.10.0/24"
}

host "songshan" {
  address    = "10.95.0.12"
  roles      = ["container"]
  pod_subnet = "10.77.20.0/24"
}

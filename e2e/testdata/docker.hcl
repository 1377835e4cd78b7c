# Docker alone: three hosts without Kubernetes whose containers reach each other.

variable "lab" {
  type        = string
  description = "directory with the operator's key and known_hosts"
}

variable "mirror" {
  type        = string
  description = "directory with binaries and images"
}

cluster "redis" {
  pod_cidr = "10.1.0.0/16"
}

ssh {
  user        = "root"
  key_file    = "${var.lab}/id_ed25519"
  known_hosts = "${var.lab}/known_hosts"
}

network "routes" {}

runtime "docker" {
  cgroup_driver = "cgroupfs" # a sandbox without cgroups v2
}

artifacts {
  source = var.mirror
  images = { "kinstall.example/toolbox:1" = "toolbox.tar" }
}

host "taishan" {
  address        = "10.90.0.11"
  tunnel_address = "10.92.0.11/24"
  roles          = ["container"]
  pod_subnet     = "10.1.10.0/24"
}

host "songshan" {
  address        = "10.90.0.12"
  tunnel_address = "10.92.0.12/24"
  roles          = ["container"]
}

host "heng" {
  address        = "10.90.0.13"
  tunnel_address = "10.92.0.13/24"
  roles          = ["container"]
}

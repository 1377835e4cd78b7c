# Docker alone: three hosts without Kubernetes whose containers reach each other.

cluster "redis" {
  pod_cidr = "10.1.0.0/16"
}

network "routes" {}

runtime "docker" {
  cgroup_driver = "cgroupfs" # a sandbox without cgroups v2
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

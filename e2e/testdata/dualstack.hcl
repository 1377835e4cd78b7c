# Two machines with an address of each family, for one network after the other: the
# tests put theirs in place of routes.

cluster "dual" {
  version         = "1.36.3"
  pod_cidr_v6     = "fd00:10:244::/56"
  service_cidr_v6 = "fd00:10:96::/112"
}

network "routes" {}

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

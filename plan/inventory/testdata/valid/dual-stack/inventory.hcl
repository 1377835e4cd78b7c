cluster "c" {
  version         = "1.36.3"
  pod_cidr_v6     = "fd00:10:244::/56"
  service_cidr_v6 = "fd00:10:96::/112"
}

network "flannel" {}

host "a" {
  address    = "10.1.0.1"
  address_v6 = "fd00:1::1"
  roles      = ["etcd", "master"]
}

host "worker" {
  count         = 2
  address       = cidrhost("10.1.0.0/24", 10 + count.index)
  address_v6    = cidrhost("fd00:1::/64", 16 + count.index)
  pod_subnet_v6 = cidrsubnet("fd00:10:244::/56", 8, 128 + count.index)
  roles         = ["worker"]
}

cluster "c" {
  version         = "1.36.3"
  pod_cidr        = "fd00:1:244::/56"
  service_cidr    = "fd00:1:96::/112"
  pod_cidr_v6     = "fd00:10:244::/56"
  service_cidr_v6 = "fd00:10:96::/112"
}

network "external" {}

host "a" {
  address    = "fd00:2::1"
  address_v6 = "fd00:1::1"
  roles      = ["etcd", "master"]
}

cluster "c" {
  version         = "1.36.3"
  pod_cidr_v6     = "10.245.0.0/16"
  service_cidr_v6 = "fd00:10:96::/112"
}

host "a" {
  address       = "10.1.0.1"
  address_v6    = "10.1.0.1"
  pod_subnet_v6 = "10.245.0.0/24"
  roles         = ["etcd", "master"]
}

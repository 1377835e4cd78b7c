cluster "c" {
  version = "1.36.3"
  pod_cidr_v6     = "fe80::/56"
  service_cidr_v6 = "ff00::/112"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

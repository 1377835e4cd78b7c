cluster "c" {
  version     = "1.36.3"
  pod_cidr_v6 = "fd00:10:244::/56"
}

host "a" {
  address    = "10.1.0.1"
  address_v6 = "fd00:1::1"
  roles      = ["etcd", "master"]
}

host "b" {
  address = "10.1.0.2"
  roles   = ["worker"]
}

host "e" {
  address = "10.1.0.3"
  roles   = ["etcd"]
}

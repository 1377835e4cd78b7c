cluster "c" {
  version = "1.36.3"
}

host "a" {
  address    = "10.1.0.1"
  address_v6 = "fd00:1::1"
  roles      = ["etcd", "master"]
}

cluster "wuxia" {
  version = "1.36.3"
  pod_cidr = "fd00:10::/48"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

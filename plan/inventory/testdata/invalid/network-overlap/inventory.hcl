cluster "wuxia" {
  version = "1.36.3"
  pod_cidr     = "10.96.0.0/16"
}

host "shaolin" {
  address = "10.96.3.1"
  roles   = ["etcd", "master"]
}

host "w" {
  count   = 3
  address = cidrhost("10.100.0.0/24", count.index)
  roles   = ["worker"]
}

cluster "wuxia" {
  version = "1.36.3"
  pod_cidr        = "172.16.0.0/12"
  pod_subnet_size = 29
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

cluster "wuxia" {
  version = "1.36.3"
  pod_cidr        = "10.244.0.0/16"
  pod_subnet_size = 12
  service_cidr    = "10.96.0.0/29"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

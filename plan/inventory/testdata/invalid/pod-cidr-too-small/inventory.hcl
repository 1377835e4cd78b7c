cluster "wuxia" {
  version = "1.36.3"
  pod_cidr = "10.244.0.0/23"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "huashan" {
  address = "10.0.0.9"
  roles   = ["worker"]
}

host "b" {
  address = "10.0.0.10"
  roles   = ["worker"]
}
